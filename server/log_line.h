/* One log record as text: JSON or `TIME LEVEL message name=value`, with every value escaped so
 * that it can neither end the line nor pass for another field. No state; any thread.
 */
#ifndef TRMD_LOG_LINE_H
#define TRMD_LOG_LINE_H

#include "log.h"

enum { LOG_LEVELS = TRMD_DEBUG + 1 };
extern const char *const log_level_names[LOG_LEVELS];

/* Writes the record with its newline into out (size >= 512, no closing NUL) and returns its
 * length. Fields that do not fit are left out and "cut":true is added. */
size_t log_line(char *out, size_t size, bool json, trmd_level level, const char *message,
    const trmd_field *fields);

#endif

/* `trmd --healthcheck`. */
#ifndef TRMD_HEALTHCHECK_H
#define TRMD_HEALTHCHECK_H

#include "options.h"

/* The exit code: 0 if the daemon at o's host and port says it is ready; else a line on stderr
 * and 1. */
int trmd_healthcheck(const trmd_options *o);

#endif

/* The log: one line a record on stderr, JSON or text, safe against injection.
 *
 * One log per process. Any thread may write. A record is formatted on the caller's stack and
 * appended to a ring of TRMD_LOG_RING bytes; a thread of the log's own writes the ring out.
 * So a caller never waits for stderr: when its reader stalls and the ring is full, records
 * are dropped and counted, and the next record that finds room is preceded by a warning that
 * tells how many. Before trmd_log_open() and after trmd_log_close() records are written
 * directly. A value longer than TRMD_LOG_VALUE bytes
 * loses its end; what a record of TRMD_LOG_LINE bytes has no room for is left out ("cut").
 */
#ifndef TRMD_LOG_H
#define TRMD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/error.h"

enum { TRMD_LOG_RING = 1 << 20, TRMD_LOG_LINE = 8192, TRMD_LOG_VALUE = 1024 };

typedef enum trmd_level { TRMD_ERROR, TRMD_WARN, TRMD_INFO, TRMD_DEBUG } trmd_level;

typedef struct trmd_field {
    const char *name; /* a C identifier; NULL ends a list */
    enum { TRMD_F_STR, TRMD_F_INT, TRMD_F_REAL, TRMD_F_BOOL } kind;
    union {
        const char *s; /* any bytes; NULL leaves the field out */
        int64_t i;
        double d;
        bool b;
    };
} trmd_field;

#define TRMD_STR(name_, v)                                                                         \
    { .name = (name_), .kind = TRMD_F_STR, .s = (v) }
#define TRMD_INT(name_, v)                                                                         \
    { .name = (name_), .kind = TRMD_F_INT, .i = (v) }
#define TRMD_REAL(name_, v)                                                                        \
    { .name = (name_), .kind = TRMD_F_REAL, .d = (v) }
#define TRMD_BOOL(name_, v)                                                                        \
    { .name = (name_), .kind = TRMD_F_BOOL, .b = (v) }
/* trmd_log(TRMD_INFO, "model loaded", TRMD_FIELDS(TRMD_STR("model", m), TRMD_INT("n", n))); */
#define TRMD_FIELDS(...) ((const trmd_field[]){__VA_ARGS__, {.name = NULL}})

/* "error".."debug" -> level, -1 if it is none of them. */
int trmd_level_named(const char *name);

/* Starts the writing thread (all signals blocked in it) on `fd`, which stays the caller's. */
int trmd_log_open(int fd, trmd_level level, bool json, trm_error *err);
/* Changes level and form while running (reload). */
void trmd_log_set(trmd_level level, bool json);
/* Waits up to `ms` for everything written so far to reach the fd; true if it did. */
bool trmd_log_flush(int ms);
/* Flushes for at most a second and stops the thread; a reader that stalls is left behind. */
void trmd_log_close(void);
/* Is a record of this level wanted? For callers whose fields are costly. */
bool trmd_log_wants(trmd_level level);
/* Records dropped since the start. */
uint64_t trmd_log_dropped(void);

/* `message` is constant text; what varies belongs in fields (NULL: none). */
void trmd_log(trmd_level level, const char *message, const trmd_field *fields);

/* One answered request. Strings may be NULL (left out); times in seconds, < 0 is left out. */
typedef struct trmd_access {
    const char *request_id, *traceparent;
    const char *client; /* address */
    const char *key;    /* name of the API key */
    const char *method, *path, *user_agent;
    const char *kind;   /* "sudoku", ... */
    const char *reason; /* as in trmd_requests_total */
    int status;         /* 499: the client left */
    int puzzles;        /* 0 is left out */
    uint64_t bytes_in, bytes_out;
    double queue, compute, total;
} trmd_access;

void trmd_log_access(const trmd_access *a);

enum { TRMD_ID_MAX = 64, TRMD_ID_ROOM = TRMD_ID_MAX + 1 };
/* Is a client's X-Request-Id fit to be echoed and logged? 1..64 of [A-Za-z0-9._:+/=-]. */
bool trmd_request_id_ok(const char *id);
/* Makes 32 random hexadecimal digits. */
void trmd_request_id_make(char out[TRMD_ID_ROOM]);
/* Is it a version-00 W3C traceparent with non-zero ids? */
bool trmd_traceparent_ok(const char *value);

#endif

/* Where jobs are kept: one interface, and what stands behind it.
 *
 *   trmd_store_sqlite()  a file in --state-dir, or memory without it
 *   trmd_store_redis()   shared by several daemons (--jobs)
 *
 * A job is queued, claimed by a daemon (running), and ends once: done, failed or cancelled.
 * Every claim raises the job's `claim` number, and only the holder of the latest may write to
 * it: a daemon that was thought dead and comes back records nothing. So work on a job may be
 * done more than once, its result is recorded once. A job is claimed TRMD_CLAIMS times at most:
 * one that kills its daemon each time must not go on for ever.
 *
 * A store belongs to one thread, the jobs thread (jobs.h); its calls may wait for a disk or a
 * network. Times are milliseconds since 1970. Functions return TRM_OK, one of the positive
 * answers named at each, or a negative TRM_E_ code with err; after an error the store can be
 * asked again.
 */
#ifndef TRMD_STORE_H
#define TRMD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/error.h"

enum { TRMD_JOB_ID_ROOM = 33, TRMD_JOB_OWNER_ROOM = 65, TRMD_CLAIMS = 5 };
enum { TRMD_STORE_FULL = 1, TRMD_STORE_NONE = 2 };

typedef enum trmd_job_state {
    TRMD_JOB_QUEUED,
    TRMD_JOB_RUNNING,
    TRMD_JOB_DONE,
    TRMD_JOB_FAILED,
    TRMD_JOB_CANCELLED,
    TRMD_JOB_STATES
} trmd_job_state;

extern const char *const trmd_job_states[TRMD_JOB_STATES]; /* "queued", ... */

/* Owns its texts (NULL where there is none): trmd_job_clear(). */
typedef struct trmd_job {
    char id[TRMD_JOB_ID_ROOM]; /* 32 hexadecimal digits, not to be guessed */
    char kind[8];
    char owner[TRMD_JOB_OWNER_ROOM]; /* the API key's name, or "" */
    trmd_job_state state;
    int claim;
    int64_t created, started, ended, expires; /* 0 = not yet */
    char *body;                               /* the request, while the job has not ended */
    char *progress;                           /* JSON */
    char *result;                             /* JSON: the answer, or problem details */
} trmd_job;

void trmd_job_clear(trmd_job *j);
static inline bool trmd_job_over(const trmd_job *j) {
    return j->state >= TRMD_JOB_DONE;
}

typedef struct trmd_store_limits {
    int queued;      /* jobs that may wait */
    int kept;        /* jobs there may be, ended ones included */
    int64_t bytes;   /* of requests and results together */
    int64_t keep_ms; /* a job is forgotten this long after it was made or has ended */
    int64_t idle_ms; /* a running job whose daemon is silent for so long is taken over */
} trmd_store_limits;

typedef struct trmd_store_counts {
    int64_t state[TRMD_JOB_STATES], bytes;
} trmd_store_counts;

typedef struct trmd_store trmd_store;
struct trmd_store {
    const struct trmd_store_ops *ops;
    bool lasting; /* jobs outlive the daemon */
};

struct trmd_store_ops {
    /* Adds a queued job (id, kind, owner, body). TRMD_STORE_FULL: err says which limit. */
    int (*add)(trmd_store *s, const trmd_job *j, int64_t now, trm_error *err);
    /* A copy without body. TRMD_STORE_NONE: no such job. */
    int (*get)(trmd_store *s, const char *id, trmd_job *out, trm_error *err);
    /* One whose daemon is silent, or the oldest queued job. TRMD_STORE_NONE. */
    int (*claim)(trmd_store *s, trmd_job *out, int64_t now, trm_error *err);
    /* A sign of life, with progress or NULL. TRMD_STORE_NONE: the job is no longer the
     * claim's: cancelled, or taken over. */
    int (*progress)(
        trmd_store *s, const trmd_job *j, const char *progress, int64_t now, trm_error *err);
    /* Ends it as j->state with j->result. TRMD_STORE_NONE as above; nothing is recorded. */
    int (*finish)(trmd_store *s, const trmd_job *j, int64_t now, trm_error *err);
    /* Back into the queue, the claim not counted. */
    int (*release)(trmd_store *s, const trmd_job *j, int64_t now, trm_error *err);
    /* Cancels a job that has not ended. TRMD_STORE_NONE: no such job. */
    int (*cancel)(trmd_store *s, const char *id, int64_t now, trm_error *err);
    /* Forgets expired jobs and counts the others. */
    int (*sweep)(trmd_store *s, int64_t now, trmd_store_counts *out, trm_error *err);
    void (*close)(trmd_store *s);
};

/* dir "" keeps jobs in memory. A directory serves one daemon at a time. Jobs that were running
 * when the last daemon ended are queued again. */
int trmd_store_sqlite(
    trmd_store **out, const char *dir, const trmd_store_limits *limits, trm_error *err);

/* url as redis_url.h reads it; `who` names this daemon in Redis. A running job whose daemon says
 * nothing for limits->idle_ms is claimed by another. Fails when Redis does not answer now; later
 * every call tries anew. */
int trmd_store_redis(trmd_store **out, const char *url, const char *who,
    const trmd_store_limits *limits, trm_error *err);

#endif

/* A job as clients see it. No state. */
#ifndef TRMP_JOB_H
#define TRMP_JOB_H

#include <stdbool.h>
#include <stdint.h>

/* Times in milliseconds since 1970, 0 = not yet; progress and result are JSON text or NULL. */
typedef struct trmp_job {
    const char *id, *kind, *state;
    int64_t created, started, ended, expires;
    int claims; /* how often work on it was begun */
    const char *progress, *result;
    bool failed; /* result is problem details, shown as "problem" */
} trmp_job;

/* malloc'd text, NULL when out of memory. */
char *trmp_job_dump(const trmp_job *j);

#endif

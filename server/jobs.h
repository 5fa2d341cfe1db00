/* Jobs: requests that are answered later (Prefer: respond-async).
 *
 * Three parts. jobs.c: a thread that alone talks to the job store (store.h); the loop thread
 * gives it `asks` and gets them back answered, so a slow disk or network holds nothing up.
 * job_runs.c: the jobs that this daemon has claimed and works on, as calls without a
 * connection. job_http.c: what clients see of it. All functions here are the loop thread's.
 */
#ifndef TRMD_JOBS_H
#define TRMD_JOBS_H

#include "http.h"
#include "store.h"

typedef enum trmd_ask_kind {
    TRMD_ASK_ADD,
    TRMD_ASK_GET,
    TRMD_ASK_CANCEL, /* and get what the job then is */
    TRMD_ASK_CLAIM,
    TRMD_ASK_PROGRESS,
    TRMD_ASK_FINISH,
    TRMD_ASK_RELEASE,
    TRMD_ASK_SWEEP
} trmd_ask_kind;

/* A question to the store, and its answer. For GET and CANCEL a job.owner that is not "" must
 * be the job's, else there is no such job. */
typedef struct trmd_ask {
    trmd_ask_kind kind;
    trmd_job job;
    int result; /* as store.h says */
    trm_error err;
    trmd_store_counts counts;
    void (*then)(struct trmd_ask *q); /* on the loop thread; owns q from there */
    trmd_app *app;
    void *whose; /* the asker's; NULL once it has gone */
    struct trmd_ask *next;
} trmd_ask;

typedef struct trmd_run { /* a job that this daemon works on */
    trmd_app *app;
    trmd_job job;
    trmd_call *call; /* NULL = not begun, or through */
    bool lost;       /* cancelled, or another daemon's by now: nothing is recorded */
    bool giving;     /* is given back to the queue */
    bool over;       /* has its result, which must be recorded */
    trmd_ask *asked; /* progress that is under way to the store */
    bool recording;  /* so is its end */
    uint64_t told;   /* when the store last heard of it */
    struct trmd_run *next;
} trmd_run;

typedef struct trmd_jobs {
    trmd_app *app;
    trmd_store *store; /* the thread's */
    pthread_t thread;
    pthread_mutex_t lock; /* the queues of asks, stop */
    pthread_cond_t wake;
    trmd_ask *in, **in_last, *out, **out_last;
    bool started, stop;
    uv_async_t async;
    uv_timer_t tick;
    unsigned ticks;
    /* loop thread: */
    trmd_run *runs;
    int running;
    bool claiming, draining, sweeping;
    uint64_t complained; /* when the log last told of a failing store */
    struct trmd_follow *follows;
} trmd_jobs;

/* Opens the store and starts its thread: a->jobs. */
int trmd_jobs_open(trmd_app *a, trm_error *err);
/* No more claims. What runs is given back to a store that lasts; streams end. */
void trmd_jobs_drain(trmd_app *a);
/* Waits until the store has taken all that it was told, and closes it. Before the loop's
 * handles are closed. */
void trmd_jobs_stop(trmd_app *a);
void trmd_jobs_free(trmd_app *a);

/* NULL when out of memory. */
trmd_ask *trmd_ask_new(trmd_app *a, trmd_ask_kind kind, void (*then)(trmd_ask *q), void *whose);
void trmd_ask_send(trmd_ask *q);
void trmd_ask_free(trmd_ask *q);
/* The store failed: the log is told, not too often. */
void trmd_jobs_complain(trmd_app *a, const trm_error *err);

/* job_runs.c: a work of the call of the run has ended. */
void trmd_run_stepped(trmd_run *r);
/* There may be a job to claim. */
void trmd_runs_claim(trmd_app *a);
/* Four times a second: progress, signs of life, results that could not be recorded. */
void trmd_runs_tick(trmd_app *a);
void trmd_runs_drain(trmd_app *a, bool give_back);
/* The job was cancelled by a client. */
void trmd_runs_cancelled(trmd_app *a, const char *id);
void trmd_runs_free(trmd_app *a);

/* job_http.c: followers look again at the job, or at all jobs (NULL). */
void trmd_follows_look(trmd_app *a, const char *id);
void trmd_follows_end(trmd_app *a);

#endif

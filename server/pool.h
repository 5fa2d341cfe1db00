/* The worker pool: threads that own engines and run the step loop.
 *
 * The pool holds the scheduler behind one lock. Each worker owns one engine per model; those
 * that have work share its time equally. Finished work and streamed steps
 * go out through callbacks on the worker's thread: they must only queue and wake.
 */
#ifndef TRMD_POOL_H
#define TRMD_POOL_H

#include "proto/answer.h"
#include "schedule.h"

typedef struct trmd_pool trmd_pool;

typedef struct trmd_pool_options {
    const char *backend;
    bool gpu_fallback; /* a GPU engine that fails is replaced by one on the CPU */
    int threads, workers, slots;
    int queue_puzzles;
    size_t queue_bytes;
    int arc_runs, arc_queue; /* ARC tasks learned at a time; that may wait beside them */
    /* A puzzle has ended; called once for each, from a worker. */
    void (*ended)(void *arg, trmd_work *w);
    /* A lane has made a step; called only for work whose call streams. */
    void (*stepped)(void *arg, trmd_work *w, const trm_lane *lane, trm_engine *e);
    bool (*streams)(const trmd_work *w);
    /* An ARC task has had a turn and goes on. */
    void (*turned)(void *arg, trmd_work *w, uint64_t now);
    /* trmd_pool_health() or trmd_pool_info() have changed; from a worker. */
    void (*changed)(void *arg);
    void *arg;
    struct trmd_metrics *metrics;
} trmd_pool_options;

uint64_t trmd_now(void); /* nanoseconds, monotonic */

/* Takes the models over (trmd_pool_free frees them). Makes all engines and runs one step on
 * each before it returns: a pool that is there works. */
int trmd_pool_new(
    trmd_pool **out, trm_model **models, int n, const trmd_pool_options *o, trm_error *err);
/* All submitted work must have ended. Frees older generations too. */
void trmd_pool_free(trmd_pool *p);

int trmd_pool_models(const trmd_pool *p);
const trm_model *trmd_pool_model(const trmd_pool *p, int i);
void trmd_pool_info(trmd_pool *p, int i, trmp_model_info *out);
/* The model for a kind: by name, or the first that fits; -1 with err. */
int trmd_pool_find(const trmd_pool *p, const trm_task *t, const char *name, trm_error *err);

/* Is there room for n puzzles of so many bytes just now? */
bool trmd_pool_room(trmd_pool *p, int n, size_t bytes);
/* An ARC task comes alone. */
bool trmd_pool_submit(trmd_pool *p, trmd_work *const *work, int n, size_t bytes);
/* For a caller whose works come one after the other: enter once, then give as there is room. */
void trmd_pool_enter(trmd_pool *p);
bool trmd_pool_give(trmd_pool *p, trmd_work *w);
/* Once for each successful submit or enter, when its works have ended and nothing of them is
 * needed. */
void trmd_pool_leave(trmd_pool *p, size_t bytes);
/* Cancelled work was marked: look at the queues now. */
void trmd_pool_wake(trmd_pool *p);
/* Puzzles that wait, and the bytes of all requests in the house. */
int trmd_pool_waiting(trmd_pool *p, size_t *bytes);
int trmd_pool_retry_after(trmd_pool *p);
/* False when a worker that has work has not moved for `seconds`. Waits for no lock. */
bool trmd_pool_alive(const trmd_pool *p, double seconds);

/* FELL: a GPU has failed, and the CPU does its work. FAILED: an engine has failed for good, and
 * what is submitted ends with an error. */
typedef enum trmd_health { TRMD_WELL, TRMD_FELL, TRMD_FAILED } trmd_health;
trmd_health trmd_pool_health(const trmd_pool *p);
/* Has anything changed since it was last asked? */
bool trmd_pool_changed(trmd_pool *p);

/* Generations: p takes over from `elder`, which goes on with what it has. What waits there
 * still counts against p's bounds, and is seen by trmd_pool_waiting and trmd_pool_alive. */
void trmd_pool_succeed(trmd_pool *p, trmd_pool *elder);
/* Takes out and returns an older generation that nobody uses any more, or NULL. */
trmd_pool *trmd_pool_spent(trmd_pool *p);

#endif

/* A call is a request whose puzzles are being worked on.
 *
 * Made by the loop thread when the body is parsed; its works go to the pool and come back
 * through the mailbox; it is freed when both its connection and all of its works are through
 * with it. Workers touch only the works, `events` (under its lock) and nothing else.
 */
#ifndef TRMD_CALL_H
#define TRMD_CALL_H

#include <pthread.h>

#include "app.h"

typedef struct trmd_event { /* one server-sent event, ready to write */
    struct trmd_event *next;
    size_t size;
    char text[];
} trmd_event;

typedef struct trmd_call {
    trmd_app *app;
    trmd_pool *pool;        /* the generation of models that works on it */
    struct trmd_conn *conn; /* NULL once the connection is gone */
    trmp_request request;
    struct trmd_run *run; /* the job it is, or NULL: then nobody's connection */
    trmd_work *work;      /* (n) */
    int n, left;          /* works not ended */
    int given;            /* of a job: works that the pool has been given */
    size_t bytes;
    uint64_t began;
    bool streaming;
    pthread_mutex_t lock; /* events */
    trmd_event *first, **last;
    size_t event_bytes;           /* waiting to be written */
    char *told;                   /* an ARC job's last progress; under lock */
    bool submitted;               /* the pool has some of its works */
    bool finished;                /* the done event is queued */
    struct trmd_call *next_ready; /* mailbox */
    bool ready;
} trmd_call;

/* Parses, checks and queues a body; NULL with *problem where that fails. `v2`: the model, where it
 * is a body of that face; else NULL. */
trmd_call *trmd_call_start(trmd_app *a, trmp_kind kind, const char *v2, const char *body,
    size_t size, bool streaming, trmp_problem *problem);
/* Parses and checks a body without working on it. */
int trmd_call_check(
    trmd_app *a, trmp_kind kind, const char *body, size_t size, trmp_problem *problem);
/* A call for a job, without a connection. Where a request asks for no deadline it gets the
 * longest there is, counted from now. Its works go to the pool a few at a time, so that jobs
 * leave slots and queue to those who wait: trmd_call_feed(), now and then and after each work.
 * Ends of works are told to trmd_run_stepped(). */
int trmd_call_start_job(trmd_call **out, trmd_app *a, trmp_kind kind, const char *body,
    struct trmd_run *run, trmp_problem *problem);
void trmd_call_feed(trmd_call *c);
/* Nobody wants the answer any more. True if all works have ended already. */
bool trmd_call_cancel(trmd_call *c);
/* What a job tells of itself while it runs: malloc'd JSON or NULL. */
char *trmd_call_progress(trmd_call *c);
/* Did the engine fail? */
bool trmd_call_failed(const trmd_call *c);
/* The connection is gone or answered: cancels what still runs and frees when it can. */
void trmd_call_leave(trmd_call *c);
/* A work has ended (loop thread). */
void trmd_call_ended(trmd_call *c, trmd_work *w);
/* The whole answer, malloc'd. */
char *trmd_call_answer(const trmd_call *c);
double trmd_call_seconds(const trmd_call *c, double *queue, double *compute);

/* call_arc.c: the same for ARC tasks. Reads the task of a call of one work. */
int trmd_call_make_arc(trmd_call *c, const char *body, size_t size, trmp_problem *p);
char *trmd_call_arc_answer(const trmd_call *c);
/* On a worker, after each turn: tells progress four times a second, to a stream or a job. */
void trmd_call_turned(trmd_work *w, uint64_t now);
/* Takes malloc'd JSON over, or NULL; on a worker. */
void trmd_call_tell(trmd_call *c, char *progress);

/* Streams: called by workers (stepped) and the loop thread (finish, take). */
void trmd_call_stepped(trmd_work *w, const trm_lane *lane, trm_engine *e);
void trmd_call_finish_stream(trmd_call *c);
trmd_event *trmd_call_take_event(trmd_call *c);

#endif

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
    trmd_work *work; /* (n) */
    int n, left;     /* works not ended */
    size_t bytes;
    uint64_t began;
    bool streaming;
    pthread_mutex_t lock; /* events */
    trmd_event *first, **last;
    int waiting_events;
    bool finished;                /* the done event is queued */
    struct trmd_call *next_ready; /* mailbox */
    bool ready;
} trmd_call;

/* Parses, checks and queues a body. 0 with *out, or -1 with *problem. */
int trmd_call_start(trmd_call **out, trmd_app *a, trmp_kind kind, const char *body, size_t size,
    bool streaming, trmp_problem *problem);
/* The connection is gone or answered: cancels what still runs and frees when it can. */
void trmd_call_leave(trmd_call *c);
/* A work has ended (loop thread). */
void trmd_call_ended(trmd_call *c, trmd_work *w);
/* The whole answer, malloc'd. */
char *trmd_call_answer(const trmd_call *c);
double trmd_call_seconds(const trmd_call *c, double *queue, double *compute);

/* Streams: called by workers (stepped) and the loop thread (finish, take). */
void trmd_call_stepped(trmd_work *w, const trm_lane *lane, trm_engine *e);
void trmd_call_finish_stream(trmd_call *c);
trmd_event *trmd_call_take_event(trmd_call *c);

#endif

/* The scheduler: which puzzle gets the next free slot. Pure logic over the caller's clock.
 *
 * A trmd_work is one puzzle of a request. It waits here, runs as one or more lanes in a
 * worker's slots, comes back here between attempts, and ends once. Order: fresh puzzles by
 * deadline; puzzles that have had an attempt after them, fewest attempts first, but every
 * fourth slot is theirs so that a stream of easy puzzles cannot starve them. So easy puzzles
 * do not wait for hard ones, whatever their share.
 *
 * No locks, no threads, no clock: the caller serialises calls and passes `now` (nanoseconds
 * of a monotonic clock). Work items are the caller's; a scheduler only links them.
 */
#ifndef TRMD_SCHEDULE_H
#define TRMD_SCHEDULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/task.h"

struct trmd_call;

typedef struct trmd_work {
    trm_task task;
    int model;         /* index of the model that serves it */
    uint64_t deadline; /* ns; absolute */
    uint64_t queued, started, ended;
    atomic_bool cancelled; /* set by any thread: nobody waits for the answer */
    bool done;
    const char *halt;       /* why it ended: verified, act, budget, deadline, cancelled, error */
    int lanes;              /* slots it occupies now */
    struct trmd_call *call; /* the request it belongs to */
    int index;              /* its place there */
    uint8_t shown[900];     /* the last step that was streamed */
    bool any_shown;
    struct trmd_work *next; /* the scheduler's */
} trmd_work;

typedef struct trmd_sched {
    int models;
    struct trmd_queue {
        trmd_work *fresh, *again; /* sorted */
    } queue[8];
    int waiting, most;        /* fresh puzzles in the queue; the most it takes */
    size_t bytes, most_bytes; /* of requests in the house */
    unsigned picks;
} trmd_sched;

enum { TRMD_MODELS = 8 };

void trmd_sched_init(trmd_sched *s, int models, int most, size_t most_bytes);
/* Is there room for n more puzzles and so many bytes? */
bool trmd_sched_room(const trmd_sched *s, int n, size_t bytes);
/* Queues all n or none. */
bool trmd_sched_add(trmd_sched *s, trmd_work *const *work, int n, size_t bytes);
/* The request that brought these bytes is answered. */
void trmd_sched_leave(trmd_sched *s, size_t bytes);
/* Back from an attempt, wanting another. */
void trmd_sched_again(trmd_sched *s, trmd_work *w);
/* The next puzzle for a free slot of `model`, or NULL. Never one that is cancelled or late:
 * those come out of trmd_sched_overdue(). */
trmd_work *trmd_sched_take(trmd_sched *s, int model, uint64_t now);
/* Takes out one waiting puzzle that is cancelled or past its deadline, or NULL. */
trmd_work *trmd_sched_overdue(trmd_sched *s, uint64_t now);
bool trmd_sched_idle(const trmd_sched *s);
/* Seconds until a place may be free again, for Retry-After: waiting puzzles by the rate at
 * which they have been leaving, 1 to 60. */
int trmd_sched_retry_after(const trmd_sched *s, double puzzles_per_s);

#endif

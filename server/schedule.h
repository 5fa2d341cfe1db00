/* The scheduler: which puzzle gets the next free slot. Pure logic over the caller's clock.
 *
 * A trmd_work is one puzzle of a request. It waits here, runs as one or more lanes in a
 * worker's slots, comes back here between attempts, and ends once. Order: fresh puzzles by
 * deadline; puzzles that have had an attempt after them, fewest attempts first, but every
 * fourth slot is theirs so that a stream of easy puzzles cannot starve them. So easy puzzles
 * do not wait for hard ones, whatever their share.
 *
 * Equal work in the house is computed once: a work that asks for what another, its leader, is
 * to do or doing already takes its place in the queue but follows that one, and ends with it.
 * Deadlines stay each one's own: a leader that ends without an answer that holds for all hands
 * the lead to one of its followers.
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
    atomic_bool cancelled;  /* set by any thread: nobody waits for the answer */
    atomic_bool done;       /* read by the loop while a worker may end it */
    const char *halt;       /* why it ended: verified, act, budget, deadline, cancelled, error */
    int lanes;              /* slots it occupies now */
    struct trmd_call *call; /* the request it belongs to */
    int index;              /* its place there */
    bool alone;             /* neither leads nor follows: its own steps are wanted */
    bool coalesced;         /* it ended with a leader */
    int runner;             /* the worker that has it in slots; -1 = none */
    uint64_t due;           /* by which it is sorted: the earliest deadline that depends on it */
    struct trmd_arc *arc;   /* an ARC task, which stands in arcs.h's lists instead of these */
    uint8_t shown[900];     /* the last step that was streamed */
    bool any_shown;
    /* the scheduler's */
    struct trmd_work *next, *twin; /* in a list; in the table of leaders */
    struct trmd_work *leader;
    uint64_t hash;
} trmd_work;

enum { TRMD_MODELS = 8, TRMD_TABLE = 1024 };

typedef struct trmd_sched {
    int models;
    struct trmd_queue {
        trmd_work *fresh, *again; /* sorted */
    } queue[TRMD_MODELS];
    trmd_work *following;         /* all followers, wherever their leader is */
    trmd_work *leads[TRMD_TABLE]; /* by hash: all that are in the house and not alone */
    int waiting, most;            /* fresh puzzles and followers; the most there may be */
    size_t bytes, most_bytes;     /* of requests in the house */
    unsigned picks;
} trmd_sched;

void trmd_sched_init(trmd_sched *s, int models, int most, size_t most_bytes);
/* Is there room for n more puzzles and so many bytes? */
bool trmd_sched_room(const trmd_sched *s, int n, size_t bytes);
/* Queues all n or none. */
bool trmd_sched_add(trmd_sched *s, trmd_work *const *work, int n, size_t bytes);
/* The request that brought these bytes is answered. */
void trmd_sched_leave(trmd_sched *s, size_t bytes);
/* Back from an attempt, wanting another. */
void trmd_sched_again(trmd_sched *s, trmd_work *w);
/* The next puzzle for a free slot of `model`, or NULL; one that has had an attempt only if
 * `later`. Never one that is cancelled or late:
 * those come out of trmd_sched_overdue(). */
trmd_work *trmd_sched_take(trmd_sched *s, int model, uint64_t now, bool later);
/* Of so many slots, how many later attempts may take: the others are for fresh puzzles, which
 * therefore do not wait for an attempt at a hard one to end. */
int trmd_sched_later_slots(int slots);
/* Takes out one waiting puzzle that is cancelled or past its deadline, or NULL. A follower of
 * a work in slots is taken out only by that one's worker, `runner`, with what has been found
 * so far. */
trmd_work *trmd_sched_overdue(trmd_sched *s, uint64_t now, int runner);
/* A work, in no list any more, ends. With `final` its answer holds for its followers, which
 * are taken out and returned, linked by `next`. Else one of them takes the lead. */
trmd_work *trmd_sched_end(trmd_sched *s, trmd_work *w, bool final);
bool trmd_sched_idle(const trmd_sched *s);
/* Seconds until a place may be free again, for Retry-After: waiting puzzles by the rate at
 * which they have been leaving, 1 to 60. */
int trmd_sched_retry_after(const trmd_sched *s, double puzzles_per_s);

/* Which lanes make the next step. A step of all would be as long as they are many, and who comes
 * meanwhile, or needs one step more, would wait for it; so on a CPU, where few are as cheap each as
 * many, a step takes no more than keep the threads at work. Those go first whose puzzles have had
 * fewest steps, and with them every puzzle that is easy; half of the time goes to whoever has
 * waited longest, so that no stream of easy ones starves the hard. */
typedef struct trmd_rider {
    int slot, steps; /* steps: of its puzzle, in all its lanes */
    uint64_t seen;   /* when it last made a step; 0 = never */
} trmd_rider;

typedef struct trmd_share {
    bool few, all; /* the last choice: by fewest steps; nobody was left out */
    int64_t ahead; /* ns that steps of those with fewest have had more, while others waited */
} trmd_share;

/* Brings to the front those that make the next step, and returns how many they are. */
int trmd_share_pick(trmd_share *h, trmd_rider *r, int n, int threads);
void trmd_share_spent(trmd_share *h, uint64_t ns);

/* Turns: which model makes the next step. Those that have work share the time, whatever their
 * steps cost; one that had none does not save its time up. */
typedef struct trmd_turns {
    uint64_t spent[TRMD_MODELS]; /* ns */
    bool busy[TRMD_MODELS];
} trmd_turns;

/* The model among n whose turn it is, of those that are busy; -1 if none is. */
int trmd_turn_next(trmd_turns *t, const bool *busy, int n);
void trmd_turn_spent(trmd_turns *t, int model, uint64_t ns);

#endif

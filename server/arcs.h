/* ARC tasks in work: those that wait, those that run, whose turn is next.
 *
 * A task is learned in micro-batches. Between the steps of puzzles a worker takes the next
 * turn, makes one micro-batch and puts the task back, so tasks take turns, and a puzzle waits
 * for at most one of them. At most `running` tasks hold a private model at a time; `waiting`
 * more may stand in line.
 *
 * trmd_arcs_*: no locks, no threads, no clock; the caller serialises. trmd_arc_*: whoever has
 * the task's turn.
 */
#ifndef TRMD_ARCS_H
#define TRMD_ARCS_H

#include "schedule.h"
#include "trm/arc.h"

typedef struct trmd_arc {
    trm_arc_task task;
    trm_arc_run *run;          /* from the first turn to the end */
    trm_arc_progress progress; /* after the last turn */
    trm_arc_attempt *attempt;  /* (tests * TRM_ARC_ATTEMPTS) best answers, or NULL: none yet */
    size_t bytes;              /* that the run holds */
    uint64_t shown;            /* when progress was last told; trmd_call's */
} trmd_arc;

typedef struct trmd_arcs {
    trmd_work *line, *ring; /* waiting; running and nobody's turn, the next one first */
    int waiting, running;
    int most_waiting, most_running;
} trmd_arcs;

/* Takes the task over; NULL when out of memory (the task then stays the caller's). */
trmd_arc *trmd_arc_new(trm_arc_task *task);
void trmd_arc_free(trmd_arc *a);
/* One turn: the first makes the run. Why the work has ended ("votes": all of them are in), or
 * NULL: it goes on. */
const char *trmd_arc_turn(trmd_work *w, const trm_model *m, const trm_arc_options *o, uint64_t now);
/* Reads the best answers so far into a->attempt. */
void trmd_arc_read(trmd_arc *a);

void trmd_arcs_init(trmd_arcs *s, int running, int waiting);
bool trmd_arcs_add(trmd_arcs *s, trmd_work *w);
/* The work whose turn is next, or NULL. It may be cancelled or late, also one from the line. */
trmd_work *trmd_arcs_take(trmd_arcs *s, uint64_t now);
/* The model of the work that take() would give, or -1. */
int trmd_arcs_model(trmd_arcs *s, uint64_t now);
/* After its turn: to the end of the ring; or gone. */
void trmd_arcs_back(trmd_arcs *s, trmd_work *w);
void trmd_arcs_gone(trmd_arcs *s);
/* Would take() give nothing, whatever the time? */
bool trmd_arcs_idle(const trmd_arcs *s);

#endif

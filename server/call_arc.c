/* Calls that are ARC tasks: parsed, learned in turns, told of while they are, answered. Which
 * thread does what is call.h's. */
#include <stdlib.h>
#include <string.h>

#include "arcs.h"
#include "call.h"
#include "mailbox.h"
#include "proto/arc.h"

enum { SHOW_NS = 250000000 };

int trmd_call_make_arc(trmd_call *c, const char *body, size_t size, trmp_problem *p) {
    trm_arc_task task;
    char place[TRM_ARC_PLACE];
    trm_error err;
    int r = trm_arc_task_parse(&task, body, size, place, &err);
    if (r == TRM_E_NOMEM)
        return trmp_problem_set(p, 503, "unavailable", NULL, "%s", err.text);
    if (r)
        return trmp_problem_set(p, 422, "invalid-request", place, "%s", err.text);
    c->work[0].task.kind = TRM_KIND_ARC;
    c->work[0].arc = trmd_arc_new(&task);
    if (c->work[0].arc)
        return 0;
    trm_arc_task_free(&task);
    return trmp_problem_set(p, 503, "unavailable", NULL, "out of memory");
}

static const char *phase_of(const trmd_work *w) {
    static const char *const names[] = {"training", "predicting", "done"};
    return !w->started ? "queued" : names[w->arc->progress.phase];
}

/* `attempt` has room for the task's tests. */
static void fill(const trmd_work *w, trmp_arc *out, trmp_arc_attempt *attempt) {
    const trmd_arc *a = w->arc;
    const trm_arc_progress *g = &a->progress;
    *out = (trmp_arc){.phase = phase_of(w),
        .steps = g->steps,
        .loss = g->loss,
        .given = a->task.demos,
        .reproduced = g->reproduced,
        .held_out = g->held_out,
        .held_out_right = g->held_out_right,
        .predictions = g->predictions,
        .predictions_wanted = g->predictions_wanted,
        .votes = g->votes,
        .tests = a->task.tests,
        .attempt = a->attempt ? attempt : NULL};
    for (int i = 0; a->attempt && i < a->task.tests * TRM_ARC_ATTEMPTS; i++)
        attempt[i] = (trmp_arc_attempt){.rows = a->attempt[i].grid.rows,
            .cols = a->attempt[i].grid.cols,
            .cell = a->attempt[i].grid.cell,
            .votes = a->attempt[i].votes,
            .share = a->attempt[i].share,
            .confidence = a->attempt[i].confidence};
}

void trmd_call_turned(trmd_work *w, uint64_t now) {
    trmp_arc told;
    trmp_arc_attempt attempt[TRM_ARC_TESTS * TRM_ARC_ATTEMPTS];
    trmd_arc *a = w->arc;
    if ((!w->call->streaming && !w->call->run) || now - a->shown < SHOW_NS)
        return;
    a->shown = now;
    if (a->progress.votes)
        trmd_arc_read(a);
    fill(w, &told, attempt);
    trmd_call_tell(w->call, trmp_arc_progress_dump(&told));
}

char *trmd_call_arc_answer(const trmd_call *c) {
    const trmd_work *w = &c->work[0];
    trmp_arc_answer a;
    trmp_arc_attempt attempt[TRM_ARC_TESTS * TRM_ARC_ATTEMPTS];
    fill(w, &a.arc, attempt);
    a.status = strcmp(w->halt, "votes") == 0 ? "answered" : "deadline";
    a.halt = w->halt;
    a.model = trmd_pool_model(c->pool, w->model)->name;
    a.queue_ms = (double)((w->started ? w->started : w->ended) - w->queued) * 1e-6;
    a.compute_ms = w->started ? (double)(w->ended - w->started) * 1e-6 : 0;
    a.total_ms = (double)(w->ended - w->queued) * 1e-6;
    return trmp_arc_answer_dump(&a);
}

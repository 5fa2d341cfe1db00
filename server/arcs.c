/* See arcs.h. */
#include <stdlib.h>
#include <string.h>

#include "arcs.h"

trmd_arc *trmd_arc_new(trm_arc_task *task) {
    trmd_arc *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->task = *task;
    a->progress.demonstrations = task->demos;
    *task = (trm_arc_task){.pair = NULL};
    return a;
}

void trmd_arc_free(trmd_arc *a) {
    if (!a)
        return;
    trm_arc_run_free(a->run);
    trm_arc_task_free(&a->task);
    free(a->attempt);
    free(a);
}

void trmd_arc_read(trmd_arc *a) {
    size_t n = (size_t)a->task.tests * TRM_ARC_ATTEMPTS;
    if (a->run && !a->attempt)
        a->attempt = calloc(n, sizeof *a->attempt);
    for (int t = 0; a->run && a->attempt && t < a->task.tests; t++)
        trm_arc_run_answer(a->run, t, &a->attempt[(size_t)t * TRM_ARC_ATTEMPTS]);
}

/* Equal tasks are learned equally: the seed is the task's. */
static uint64_t seed_of(const trm_arc_task *t) {
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < t->demos + t->tests; i++) {
        const trm_arc_grid *g = &t->pair[i].input;
        for (int c = 0; c < g->rows * g->cols; c++)
            h = (h ^ g->cell[c]) * 0x100000001b3u;
    }
    return h;
}

static const char *ended(trmd_arc *a, const char *halt) {
    trmd_arc_read(a);
    if (a->run)
        trm_arc_run_progress(a->run, &a->progress);
    trm_arc_run_free(a->run);
    a->run = NULL;
    a->bytes = 0;
    return halt;
}

const char *trmd_arc_turn(
    trmd_work *w, const trm_model *m, const trm_arc_options *o, uint64_t now) {
    trmd_arc *a = w->arc;
    trm_error err;
    if (atomic_load(&w->cancelled))
        return ended(a, "cancelled");
    if (now >= w->deadline)
        return ended(a, "deadline");
    if (!a->run) {
        w->started = now;
        if (trm_arc_run_new(&a->run, m, &a->task, o, seed_of(&a->task), &err))
            return ended(a, "error");
        a->bytes = trm_arc_run_bytes(a->run);
        return NULL;
    }
    trm_arc_run_spent(a->run, (double)(now - w->started) / (double)(w->deadline - w->started));
    if (trm_arc_run_step(a->run, &err))
        return ended(a, "error");
    trm_arc_run_progress(a->run, &a->progress);
    w->task.steps = (int)a->progress.steps;
    a->bytes = trm_arc_run_bytes(a->run);
    return a->progress.phase == TRM_ARC_DONE ? ended(a, "votes") : NULL;
}

void trmd_arcs_init(trmd_arcs *s, int running, int waiting) {
    *s = (trmd_arcs){.most_running = running, .most_waiting = waiting};
}

static void append(trmd_work **at, trmd_work *w) {
    while (*at)
        at = &(*at)->next;
    w->next = NULL;
    *at = w;
}

static trmd_work *pull(trmd_work **at) {
    trmd_work *w = *at;
    *at = w->next;
    w->next = NULL;
    return w;
}

bool trmd_arcs_add(trmd_arcs *s, trmd_work *w) {
    bool at_once = !s->line && s->running < s->most_running;
    if (!at_once && s->waiting >= s->most_waiting)
        return false;
    append(&s->line, w);
    s->waiting++;
    return true;
}

/* From the line: one that is late or left, else the first if one more may run. */
static trmd_work **next_in_line(trmd_arcs *s, uint64_t now) {
    trmd_work **at = &s->line;
    while (*at && now < (*at)->deadline && !atomic_load(&(*at)->cancelled))
        at = &(*at)->next;
    return !*at && s->running < s->most_running ? &s->line : at;
}

trmd_work *trmd_arcs_take(trmd_arcs *s, uint64_t now) {
    trmd_work **at = next_in_line(s, now);
    if (*at) {
        s->waiting--;
        s->running++;
        return pull(at);
    }
    return s->ring ? pull(&s->ring) : NULL;
}

int trmd_arcs_model(trmd_arcs *s, uint64_t now) {
    const trmd_work *w = *next_in_line(s, now);
    w = w ? w : s->ring;
    return w ? w->model : -1;
}

void trmd_arcs_back(trmd_arcs *s, trmd_work *w) {
    append(&s->ring, w);
}

void trmd_arcs_gone(trmd_arcs *s) {
    s->running--;
}

bool trmd_arcs_idle(const trmd_arcs *s) {
    return !s->ring && (!s->line || s->running >= s->most_running);
}

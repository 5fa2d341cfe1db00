/* See schedule.h. Two sorted lists per model; lists are short (the queue is bounded), so
 * insertion by walking is fine. */
#include <string.h>

#include "schedule.h"

void trmd_sched_init(trmd_sched *s, int models, int most, size_t most_bytes) {
    memset(s, 0, sizeof *s);
    s->models = models;
    s->most = most;
    s->most_bytes = most_bytes;
}

bool trmd_sched_room(const trmd_sched *s, int n, size_t bytes) {
    return n <= s->most - s->waiting && bytes <= s->most_bytes - s->bytes;
}

static void insert_fresh(trmd_work **at, trmd_work *w) {
    while (*at && (*at)->deadline <= w->deadline)
        at = &(*at)->next;
    w->next = *at;
    *at = w;
}

static void insert_again(trmd_work **at, trmd_work *w) {
    while (*at && ((*at)->task.started < w->task.started ||
                      ((*at)->task.started == w->task.started && (*at)->deadline <= w->deadline)))
        at = &(*at)->next;
    w->next = *at;
    *at = w;
}

bool trmd_sched_add(trmd_sched *s, trmd_work *const *work, int n, size_t bytes) {
    if (!trmd_sched_room(s, n, bytes))
        return false;
    for (int i = 0; i < n; i++)
        insert_fresh(&s->queue[work[i]->model].fresh, work[i]);
    s->waiting += n;
    s->bytes += bytes;
    return true;
}

void trmd_sched_leave(trmd_sched *s, size_t bytes) {
    s->bytes -= bytes;
}

void trmd_sched_again(trmd_sched *s, trmd_work *w) {
    insert_again(&s->queue[w->model].again, w);
}

static bool overdue(const trmd_work *w, uint64_t now) {
    return now >= w->deadline || atomic_load(&w->cancelled);
}

/* The first of a list that may run. */
static trmd_work *take_from(trmd_work **at, uint64_t now) {
    while (*at && overdue(*at, now))
        at = &(*at)->next;
    trmd_work *w = *at;
    if (w)
        *at = w->next;
    return w;
}

trmd_work *trmd_sched_take(trmd_sched *s, int model, uint64_t now) {
    struct trmd_queue *q = &s->queue[model];
    bool again_first = s->picks % 4 == 3;
    trmd_work *w = again_first ? take_from(&q->again, now) : NULL;
    if (!w) {
        w = take_from(&q->fresh, now);
        s->waiting -= w != NULL;
    }
    if (!w)
        w = take_from(&q->again, now);
    s->picks += w != NULL;
    if (w)
        w->next = NULL;
    return w;
}

static trmd_work *overdue_of(trmd_work **at, uint64_t now) {
    while (*at && !overdue(*at, now))
        at = &(*at)->next;
    trmd_work *w = *at;
    if (w) {
        *at = w->next;
        w->next = NULL;
    }
    return w;
}

trmd_work *trmd_sched_overdue(trmd_sched *s, uint64_t now) {
    for (int m = 0; m < s->models; m++) {
        trmd_work *w = overdue_of(&s->queue[m].fresh, now);
        if (w) {
            s->waiting--;
            return w;
        }
        w = overdue_of(&s->queue[m].again, now);
        if (w)
            return w;
    }
    return NULL;
}

bool trmd_sched_idle(const trmd_sched *s) {
    for (int m = 0; m < s->models; m++)
        if (s->queue[m].fresh || s->queue[m].again)
            return false;
    return true;
}

int trmd_sched_retry_after(const trmd_sched *s, double puzzles_per_s) {
    double seconds = puzzles_per_s > 0 ? (double)s->waiting / puzzles_per_s : 1;
    return seconds < 1 ? 1 : seconds > 60 ? 60 : (int)seconds;
}

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

/* FNV-1a over all that decides an answer. */
static uint64_t mix(uint64_t h, const void *bytes, size_t n) {
    for (const unsigned char *b = bytes; n; n--)
        h = (h ^ *b++) * 0x100000001b3u;
    return h;
}

static uint64_t hash_of(const trmd_work *w) {
    const trm_task *t = &w->task;
    const int what[] = {
        w->model, (int)t->kind, t->policy.max_steps, t->policy.attempts, (int)t->policy.halt};
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof what / sizeof *what; i++)
        h = (h ^ (uint64_t)what[i]) * 0x100000001b3u;
    if (t->kind == TRM_KIND_SUDOKU)
        return mix(h, t->puzzle.sudoku.cell, sizeof t->puzzle.sudoku.cell);
    const trm_maze *m = &t->puzzle.maze;
    return mix(mix(h, &m->rows, sizeof m->rows), m->cell, (size_t)(m->rows * m->cols));
}

static bool equal(const trmd_work *a, const trmd_work *b) {
    const trm_task *p = &a->task, *q = &b->task;
    if (a->model != b->model || p->kind != q->kind || p->policy.max_steps != q->policy.max_steps ||
        p->policy.attempts != q->policy.attempts || p->policy.halt != q->policy.halt)
        return false;
    if (p->kind == TRM_KIND_SUDOKU)
        return memcmp(&p->puzzle.sudoku, &q->puzzle.sudoku, sizeof p->puzzle.sudoku) == 0;
    const trm_maze *m = &p->puzzle.maze, *n = &q->puzzle.maze;
    return p->kind == TRM_KIND_MAZE && m->rows == n->rows && m->cols == n->cols &&
           memcmp(m->cell, n->cell, (size_t)(m->rows * m->cols)) == 0;
}

static void insert_fresh(trmd_work **at, trmd_work *w) {
    while (*at && (*at)->due <= w->due)
        at = &(*at)->next;
    w->next = *at;
    *at = w;
}

static void insert_again(trmd_work **at, trmd_work *w) {
    while (*at && ((*at)->task.started < w->task.started ||
                      ((*at)->task.started == w->task.started && (*at)->due <= w->due)))
        at = &(*at)->next;
    w->next = *at;
    *at = w;
}

static bool take_out(trmd_work **at, const trmd_work *w) {
    while (*at && *at != w)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = w->next;
    return true;
}

static void lead(trmd_sched *s, trmd_work *w) {
    w->leader = NULL;
    w->twin = s->leads[w->hash % TRMD_TABLE];
    s->leads[w->hash % TRMD_TABLE] = w;
}

static trmd_work *leader_of(const trmd_sched *s, const trmd_work *w) {
    trmd_work *l = s->leads[w->hash % TRMD_TABLE];
    while (l && (l->hash != w->hash || !equal(l, w)))
        l = l->twin;
    return l;
}

/* A leader that still waits moves up to the deadline of a follower that is in more haste. */
static void follow(trmd_sched *s, trmd_work *w, trmd_work *leader) {
    w->leader = leader;
    w->next = s->following;
    s->following = w;
    if (w->due >= leader->due)
        return;
    struct trmd_queue *q = &s->queue[leader->model];
    leader->due = w->due;
    if (take_out(&q->fresh, leader))
        insert_fresh(&q->fresh, leader);
    else if (take_out(&q->again, leader))
        insert_again(&q->again, leader);
}

bool trmd_sched_add(trmd_sched *s, trmd_work *const *work, int n, size_t bytes) {
    if (!trmd_sched_room(s, n, bytes))
        return false;
    for (int i = 0; i < n; i++) {
        trmd_work *w = work[i], *leader = NULL;
        w->due = w->deadline;
        w->runner = -1;
        w->leader = NULL;
        if (!w->alone) {
            w->hash = hash_of(w);
            leader = leader_of(s, w);
        }
        if (leader) {
            follow(s, w, leader);
            continue;
        }
        if (!w->alone)
            lead(s, w);
        insert_fresh(&s->queue[w->model].fresh, w);
    }
    s->waiting += n;
    s->bytes += bytes;
    return true;
}

void trmd_sched_leave(trmd_sched *s, size_t bytes) {
    s->bytes -= bytes;
}

void trmd_sched_again(trmd_sched *s, trmd_work *w) {
    w->runner = -1;
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

int trmd_sched_later_slots(int slots) {
    return slots - slots / 4;
}

trmd_work *trmd_sched_take(trmd_sched *s, int model, uint64_t now, bool later) {
    struct trmd_queue *q = &s->queue[model];
    bool again_first = later && s->picks % 4 == 3;
    trmd_work *w = again_first ? take_from(&q->again, now) : NULL;
    if (!w) {
        w = take_from(&q->fresh, now);
        s->waiting -= w != NULL;
    }
    if (!w && later)
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

/* What a follower has if it must end now: what its leader has found so far. */
static void catch_up(trmd_work *w, const trmd_work *leader) {
    w->task = leader->task;
    if (leader->started)
        w->started = leader->started > w->queued ? leader->started : w->queued;
}

static trmd_work *overdue_follower(trmd_sched *s, uint64_t now, int runner) {
    for (trmd_work **at = &s->following; *at; at = &(*at)->next) {
        trmd_work *w = *at;
        int busy = w->leader->runner;
        if (!overdue(w, now) || (busy >= 0 && busy != runner))
            continue;
        catch_up(w, w->leader);
        *at = w->next;
        return w;
    }
    return NULL;
}

trmd_work *trmd_sched_overdue(trmd_sched *s, uint64_t now, int runner) {
    trmd_work *w = overdue_follower(s, now, runner);
    for (int m = 0; m < s->models && !w; m++)
        w = overdue_of(&s->queue[m].fresh, now);
    s->waiting -= w != NULL;
    for (int m = 0; m < s->models && !w; m++)
        w = overdue_of(&s->queue[m].again, now);
    if (w)
        w->next = NULL;
    return w;
}

static void resign(trmd_sched *s, const trmd_work *w) {
    for (trmd_work **at = &s->leads[w->hash % TRMD_TABLE]; *at; at = &(*at)->twin)
        if (*at == w) {
            *at = w->twin;
            return;
        }
}

/* The first of w's followers leads, the others follow it. */
static void hand_over(trmd_sched *s, const trmd_work *w) {
    trmd_work *heir = NULL;
    for (trmd_work **at = &s->following; *at;) {
        trmd_work *f = *at;
        if (f->leader == w && !heir) {
            *at = f->next;
            heir = f;
            continue;
        }
        if (f->leader == w) {
            f->leader = heir;
            heir->due = f->due < heir->due ? f->due : heir->due;
        }
        at = &f->next;
    }
    if (!heir)
        return;
    lead(s, heir);
    insert_fresh(&s->queue[heir->model].fresh, heir);
}

trmd_work *trmd_sched_end(trmd_sched *s, trmd_work *w, bool final) {
    trmd_work *list = NULL;
    if (w->alone || w->leader)
        return NULL;
    resign(s, w);
    if (!final) {
        hand_over(s, w);
        return NULL;
    }
    for (trmd_work **at = &s->following; *at;) {
        trmd_work *f = *at;
        if (f->leader != w) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        catch_up(f, w);
        f->coalesced = true;
        f->next = list;
        list = f;
        s->waiting--;
    }
    return list;
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

/* So much ahead may those be that have had fewest steps; more where one may be easy yet. */
enum { HEADSTART_NS = 10 * 1000 * 1000, YOUNG_NS = 200 * 1000 * 1000, YOUNG_STEPS = 4 };

/* As many as keep the threads at work: two each, which is as cheap as more; but no young one waits
 * for an old one, and where young ones alone would fill a longer step it may be up to twice that.
 */
static int riders(int n, int young, int threads) {
    int most = young == 0 ? 2 * threads : young < threads ? threads : young;
    most = most < 4 * threads ? most : 4 * threads;
    most = most < n ? most : n;
    return most > threads ? most - most % threads : most;
}

int trmd_share_pick(trmd_share *h, trmd_rider *r, int n, int threads) {
    int young = 0;
    for (int i = 0; i < n; i++)
        young += r[i].steps < YOUNG_STEPS;
    int most = riders(n, young, threads);
    h->all = most == n;
    if (h->all)
        h->ahead = 0;
    h->few = h->ahead < (young > 0 ? YOUNG_NS : HEADSTART_NS);
    for (int i = 0; i < most && !h->all; i++) {
        int best = i;
        for (int k = i + 1; k < n; k++) {
            int less = h->few ? r[best].steps - r[k].steps : 0;
            if (less > 0 || (less == 0 && r[k].seen < r[best].seen))
                best = k;
        }
        trmd_rider first = r[best];
        r[best] = r[i];
        r[i] = first;
    }
    return most;
}

void trmd_share_spent(trmd_share *h, uint64_t ns) {
    if (!h->all)
        h->ahead += h->few ? (int64_t)ns : -(int64_t)ns;
}

/* Whoever comes back to work starts level with the one who has had least. */
int trmd_turn_next(trmd_turns *t, const bool *busy, int n) {
    uint64_t least = UINT64_MAX;
    int next = -1;
    for (int i = 0; i < n; i++)
        if (busy[i] && t->busy[i] && t->spent[i] < least)
            least = t->spent[i];
    for (int i = 0; i < n; i++) {
        if (busy[i] && !t->busy[i] && least != UINT64_MAX && t->spent[i] < least)
            t->spent[i] = least;
        t->busy[i] = busy[i];
        if (busy[i] && (next < 0 || t->spent[i] < t->spent[next]))
            next = i;
    }
    return next;
}

void trmd_turn_spent(trmd_turns *t, int model, uint64_t ns) {
    t->spent[model] += ns;
}

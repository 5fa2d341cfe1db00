/* See call.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arcs.h"
#include "call.h"
#include "jobs.h"
#include "mailbox.h"
#include "proto/v2.h"

/* SEARCH_NODES: what a request may cost the loop thread to find that a puzzle has no solution,
 * some 25 ms in all; what is left undecided is simply worked on. */
enum { SEARCH_NODES = 50000 };

static void to_sudoku(trm_sudoku *out, const trmp_puzzle *p) {
    memcpy(out->cell, p->cell, sizeof out->cell);
}

static void to_maze(trm_maze *out, const trmp_puzzle *p) {
    static const char known[] = "?# SGo";
    out->rows = p->rows;
    out->cols = p->cols;
    for (int i = 0; i < p->rows * p->cols; i++)
        out->cell[i] = (uint8_t)(strchr(known, p->cell[i]) - known);
}

static void rule_cell(trmp_rule *rule, int cell, int cols) {
    rule->cell[rule->cells][0] = cell / cols + 1;
    rule->cell[rule->cells][1] = cell % cols + 1;
    rule->cells++;
}

/* An impossible Sudoku: which rule, and where. */
static int refuse_sudoku(const trmp_request *r, int i, const trm_sudoku_fault *f, trmp_problem *p) {
    static const char *const kinds[] = {
        NULL, "row", "column", "box", "clue", "blank", "no-solution"};
    char pointer[160], text[200];
    trm_sudoku_explain(f, text, sizeof text);
    if (f->a >= 0)
        trmp_cell_pointer(r, i, f->a / 9, f->a % 9, pointer, sizeof pointer);
    else
        trmp_puzzle_pointer(r, i, pointer, sizeof pointer);
    (void)trmp_problem_set(p, 422, "impossible-puzzle", pointer, "%s", text);
    p->rule = (trmp_rule){.kind = kinds[f->rule], .index = f->unit + 1, .digit = f->digit};
    if (f->a >= 0)
        rule_cell(&p->rule, f->a, 9);
    if (f->b >= 0)
        rule_cell(&p->rule, f->b, 9);
    return -1;
}

static int refuse_maze(
    const trmp_request *r, int i, const trm_maze *m, const trm_maze_fault *f, trmp_problem *p) {
    static const char *const kinds[] = {
        NULL, "no-start", "no-goal", "two-starts", "two-goals", "no-path", NULL, NULL, NULL};
    char pointer[160], text[200];
    trm_maze_explain(m, f, text, sizeof text);
    if (f->a >= 0)
        trmp_cell_pointer(r, i, f->a / m->cols, f->a % m->cols, pointer, sizeof pointer);
    else
        trmp_puzzle_pointer(r, i, pointer, sizeof pointer);
    (void)trmp_problem_set(p, 422, "impossible-puzzle", pointer, "%s", text);
    p->rule = (trmp_rule){.kind = kinds[f->rule]};
    if (f->a >= 0)
        rule_cell(&p->rule, f->a, m->cols);
    return -1;
}

/* Puzzles that break their own rules are refused before they cost a step. */
static int make_task(trmd_call *c, int i, const trm_policy *policy, long *nodes, trmp_problem *p) {
    const trmp_puzzle *puzzle = &c->request.puzzle[i];
    trm_task *t = &c->work[i].task;
    if (c->request.kind == TRMP_SUDOKU) {
        trm_sudoku s;
        trm_sudoku_fault fault;
        to_sudoku(&s, puzzle);
        if (!trm_sudoku_consistent(&s, &fault))
            return refuse_sudoku(&c->request, i, &fault, p);
        if (!trm_sudoku_possible(&s, nodes)) {
            fault = (trm_sudoku_fault){TRM_SUDOKU_NO_SOLUTION, -1, -1, -1, 0};
            return refuse_sudoku(&c->request, i, &fault, p);
        }
        trm_task_sudoku(t, &s, policy);
        return 0;
    }
    trm_maze m;
    trm_maze_fault fault;
    to_maze(&m, puzzle);
    if (!trm_maze_valid(&m, &fault))
        return refuse_maze(&c->request, i, &m, &fault, p);
    trm_task_maze(t, &m, policy);
    return 0;
}

static void policy_of(const trmd_app *a, const trmp_request *r, trm_policy *policy) {
    trm_policy_defaults(policy, r->kind == TRMP_SUDOKU ? TRM_KIND_SUDOKU : TRM_KIND_MAZE);
    if (a->o.max_steps)
        policy->max_steps = a->o.max_steps;
    if (a->o.attempts)
        policy->attempts = a->o.attempts;
    if (r->options.max_steps)
        policy->max_steps = r->options.max_steps;
    if (r->options.attempts)
        policy->attempts = r->options.attempts;
    policy->halt = r->options.halt == TRMP_HALT_ACT     ? TRM_HALT_ACT
                   : r->options.halt == TRMP_HALT_FIXED ? TRM_HALT_FIXED
                                                        : TRM_HALT_AUTO;
}

static int make_works(
    trmd_call *c, const char *body, size_t size, int deadline_ms, trmp_problem *p) {
    trmd_app *a = c->app;
    trm_policy policy;
    int ms = c->request.options.deadline_ms ? c->request.options.deadline_ms : deadline_ms;
    long nodes = SEARCH_NODES;
    policy_of(a, &c->request, &policy);
    c->work = calloc((size_t)c->n, sizeof *c->work);
    if (!c->work)
        return trmp_problem_set(p, 503, "unavailable", NULL, "out of memory");
    for (int i = 0; i < c->n; i++) {
        trmd_work *w = &c->work[i];
        trm_error err;
        if (c->request.kind == TRMP_ARC ? trmd_call_make_arc(c, body, size, p)
                                        : make_task(c, i, &policy, &nodes, p))
            return -1;
        w->model = trmd_pool_find(c->pool, &w->task, c->request.options.model, &err);
        if (w->model < 0)
            return trmp_problem_set(
                p, 422, "no-model", c->request.options.model[0] ? "/model" : NULL, "%s", err.text);
        w->call = c;
        w->index = i;
        w->queued = c->began;
        w->deadline = c->began + (uint64_t)ms * 1000000u;
    }
    return 0;
}

static void count_answer(const trmd_call *c, const trmd_work *w);

/* An equal request was answered before. A stream shows its own steps. */
static bool remembered(const trmd_call *c, trmd_work *w) {
    trmd_app *a = c->app;
    if (!a->cache || c->streaming)
        return false;
    bool hit = trmd_cache_get(a->cache, trmd_pool_model(c->pool, w->model)->id, w);
    trmd_count(a->metrics, TRMD_M_CACHE, 1, TRMD_LABELS(hit ? "hit" : "miss"));
    if (!hit)
        return false;
    w->ended = trmd_now();
    w->done = true;
    count_answer(c, w);
    return true;
}

static int submit(trmd_call *c, trmp_problem *p) {
    trmd_work **list = calloc((size_t)c->n, sizeof(trmd_work *));
    if (!list)
        return trmp_problem_set(p, 503, "unavailable", NULL, "out of memory");
    c->left = 0;
    for (int i = 0; i < c->n; i++) {
        c->work[i].alone = c->streaming || !c->app->o.coalesce;
        if (!remembered(c, &c->work[i]))
            list[c->left++] = &c->work[i];
    }
    c->submitted = c->left > 0 && trmd_pool_submit(c->pool, list, c->left, c->bytes);
    free(list);
    if (c->submitted || c->left == 0)
        return 0;
    if (c->request.kind == TRMP_ARC) {
        (void)trmp_problem_set(
            p, 429, "queue-full", NULL, "%d ARC tasks wait already", c->app->o.arc_queue);
        p->retry_after = 30;
        return -1;
    }
    (void)trmp_problem_set(p, 429, "queue-full", NULL,
        "the queue has no room for %d puzzle%s just now", c->left, c->left == 1 ? "" : "s");
    p->retry_after = trmd_pool_retry_after(c->pool);
    return -1;
}

static void call_free(trmd_call *c) {
    trmd_event *e;
    while ((e = trmd_call_take_event(c)))
        free(e);
    trmp_request_free(&c->request);
    for (int i = 0; c->work && i < c->n; i++)
        trmd_arc_free(c->work[i].arc);
    free(c->work);
    free(c->told);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

static void call_limits(const trmd_app *a, trmp_limits *out) {
    *out = (trmp_limits){.puzzles = a->o.max_puzzles_per_request,
        .max_steps = a->o.max_steps_limit,
        .attempts = a->o.max_attempts,
        .deadline_ms = a->o.max_deadline_ms};
}

/* A call that is checked and has its works, none of them submitted; NULL with *problem. */
static trmd_call *call_new(trmd_app *a, trmp_kind kind, const char *v2, const char *body,
    size_t size, int deadline_ms, trmp_problem *problem) {
    trmp_limits limits;
    trmd_call *c = calloc(1, sizeof *c);
    if (!c) {
        (void)trmp_problem_set(problem, 503, "unavailable", NULL, "out of memory");
        return NULL;
    }
    c->app = a;
    c->pool = a->pool;
    c->began = trmd_now();
    c->last = &c->first;
    (void)pthread_mutex_init(&c->lock, NULL);
    call_limits(a, &limits);
    int r = v2 ? trmp_v2_parse(&c->request, kind, v2, body, size, &limits, problem)
               : trmp_request_parse(&c->request, kind, body, size, &limits, problem);
    c->n = c->left = c->request.n;
    if (!r)
        r = make_works(c, body, size, deadline_ms, problem);
    if (!r)
        return c;
    call_free(c);
    return NULL;
}

int trmd_call_check(
    trmd_app *a, trmp_kind kind, const char *body, size_t size, trmp_problem *problem) {
    trmd_call *c = call_new(a, kind, NULL, body, size, a->o.deadline_ms, problem);
    if (!c)
        return -1;
    call_free(c);
    return 0;
}

trmd_call *trmd_call_start(trmd_app *a, trmp_kind kind, const char *v2, const char *body,
    size_t size, bool streaming, trmp_problem *problem) {
    int deadline_ms = kind == TRMP_ARC ? a->o.arc_deadline_ms : a->o.deadline_ms;
    trmd_call *c = call_new(a, kind, v2, body, size, deadline_ms, problem);
    if (!c)
        return NULL;
    c->bytes = size;
    c->streaming = streaming;
    if (submit(c, problem)) {
        call_free(c);
        return NULL;
    }
    a->calls++;
    return c;
}

int trmd_call_start_job(trmd_call **out, trmd_app *a, trmp_kind kind, const char *body,
    struct trmd_run *run, trmp_problem *problem) {
    trmd_call *c = call_new(a, kind, NULL, body, strlen(body), a->o.max_deadline_ms, problem);
    if (!c)
        return -1;
    c->run = run;
    c->submitted = true;
    trmd_pool_enter(c->pool);
    a->calls++;
    *out = c;
    trmd_call_feed(c);
    return 0;
}

/* Half of the slots and of the queue stay free of jobs. */
void trmd_call_feed(trmd_call *c) {
    const trmd_options *o = &c->app->o;
    int window = o->slots * o->workers / (2 * o->job_runs);
    if (window < 1)
        window = 1;
    while (c->given < c->n && c->given - (c->n - c->left) < window &&
           trmd_pool_room(c->pool, o->queue_puzzles / 2 + 1, 0)) {
        if (!trmd_pool_give(c->pool, &c->work[c->given]))
            return;
        c->given++;
    }
}

bool trmd_call_cancel(trmd_call *c) {
    for (int i = 0; i < c->given; i++)
        atomic_store(&c->work[i].cancelled, true);
    for (int i = c->given; i < c->n; i++) {
        trmd_arc_free(c->work[i].arc);
        c->work[i].arc = NULL;
    }
    c->left -= c->n - c->given; /* those that were never given */
    c->n = c->given;
    trmd_pool_wake(c->pool);
    return c->left == 0;
}

static void free_if_through(trmd_call *c) {
    if (c->conn || c->run || c->left > 0)
        return;
    if (c->submitted)
        trmd_pool_leave(c->pool, c->bytes);
    c->app->calls--;
    call_free(c);
}

void trmd_call_leave(trmd_call *c) {
    c->conn = NULL;
    if (c->left > 0) {
        for (int i = 0; i < c->n; i++)
            atomic_store(&c->work[i].cancelled, true);
        trmd_pool_wake(c->pool);
    }
    free_if_through(c);
}

static const char *status_of(const trmd_work *w) {
    if (w->arc && strcmp(w->halt, "votes") == 0)
        return "answered"; /* nothing checks it */
    if (w->task.verified)
        return "solved";
    return strcmp(w->halt, "deadline") == 0 ? "deadline" : "unsolved";
}

static void count_answer(const trmd_call *c, const trmd_work *w) {
    struct trmd_metrics *m = c->app->metrics;
    const char *kind = trmp_kind_name(c->request.kind);
    double queue = (double)((w->started ? w->started : w->ended) - w->queued) * 1e-9;
    double compute = w->started ? (double)(w->ended - w->started) * 1e-9 : 0;
    trmd_count(m, TRMD_M_PUZZLES, 1, TRMD_LABELS(kind, status_of(w)));
    trmd_count(m, TRMD_M_VERIFIED, w->task.verified, TRMD_LABELS(kind));
    trmd_count(m, TRMD_M_HALTS, 1, TRMD_LABELS(kind, w->halt));
    trmd_observe(m, TRMD_M_QUEUE_SECONDS, queue, TRMD_LABELS(kind));
    trmd_observe(m, TRMD_M_COMPUTE_SECONDS, compute, TRMD_LABELS(kind));
    trmd_observe(m, TRMD_M_STEPS_PER_ANSWER, w->task.steps, TRMD_LABELS(kind));
    trmd_observe(m, TRMD_M_ATTEMPTS_PER_ANSWER, w->task.started, TRMD_LABELS(kind));
    trmd_count(m, TRMD_M_COALESCED, w->coalesced, TRMD_LABELS(kind));
}

void trmd_call_ended(trmd_call *c, trmd_work *w) {
    count_answer(c, w);
    if (c->app->cache)
        trmd_cache_put(c->app->cache, trmd_pool_model(c->pool, w->model)->id, w);
    c->left--;
    if (c->run)
        trmd_run_stepped(c->run);
    else if (!c->conn)
        free_if_through(c);
}

static void grid_of(const trm_task *t, uint8_t *cell, int *rows, int *cols) {
    static const char shown[] = "?# SGo";
    *rows = *cols = 9;
    if (t->kind == TRM_KIND_SUDOKU) {
        memcpy(cell, t->answer.sudoku.cell, 81);
        return;
    }
    const trm_maze *m = &t->answer.maze;
    *rows = m->rows;
    *cols = m->cols;
    for (int i = 0; i < m->rows * m->cols; i++)
        cell[i] = (uint8_t)shown[m->cell[i]];
}

static void fill_answer(const trmd_call *c, const trmd_work *w, trmp_answer *a) {
    const trm_task *t = &w->task;
    memset(a, 0, sizeof *a);
    a->kind = c->request.kind;
    a->shape = c->request.puzzle[w->index].shape;
    a->status = status_of(w);
    a->halt = w->halt;
    a->model = trmd_pool_model(c->pool, w->model)->name;
    a->verified = t->verified;
    a->optimal = t->optimal;
    a->steps = t->steps;
    a->attempts = t->started;
    a->confidence = t->confidence;
    a->queue_ms = (double)((w->started ? w->started : w->ended) - w->queued) * 1e-6;
    a->compute_ms = w->started ? (double)(w->ended - w->started) * 1e-6 : 0;
    a->total_ms = (double)(w->ended - w->queued) * 1e-6;
    grid_of(t, a->cell, &a->rows, &a->cols);
    a->moves = -1;
    if (t->kind == TRM_KIND_MAZE && t->verified)
        (void)trm_maze_check(&t->puzzle.maze, &t->answer.maze, a->path, &a->moves, NULL);
}

char *trmd_call_answer(const trmd_call *c) {
    if (c->request.kind == TRMP_ARC)
        return trmd_call_arc_answer(c);
    trmp_answer *a = calloc((size_t)c->n, sizeof *a);
    if (!a)
        return NULL;
    for (int i = 0; i < c->n; i++)
        fill_answer(c, &c->work[i], &a[i]);
    char *text = c->request.v2.used ? trmp_v2_answer_dump(&c->request, a)
                                    : trmp_answers_dump(a, c->n, c->request.many);
    free(a);
    return text;
}

char *trmd_call_progress(trmd_call *c) {
    int solved = 0;
    if (c->request.kind == TRMP_ARC) {
        (void)pthread_mutex_lock(&c->lock);
        char *told = c->told ? strdup(c->told) : NULL;
        (void)pthread_mutex_unlock(&c->lock);
        return told;
    }
    for (int i = 0; i < c->n; i++)
        solved += c->work[i].done && c->work[i].task.verified;
    return trmp_progress_dump(c->n - c->left, solved, c->n);
}

bool trmd_call_failed(const trmd_call *c) {
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->work[i].halt, "error") == 0)
            return true;
    return false;
}

double trmd_call_seconds(const trmd_call *c, double *queue, double *compute) {
    uint64_t end = c->began;
    *queue = *compute = 0;
    for (int i = 0; i < c->n; i++) {
        const trmd_work *w = &c->work[i];
        end = w->ended > end ? w->ended : end;
        *queue = fmax(*queue, (double)((w->started ? w->started : w->ended) - w->queued) * 1e-9);
        *compute = fmax(*compute, w->started ? (double)(w->ended - w->started) * 1e-9 : 0);
    }
    return (double)(end - c->began) * 1e-9;
}

/* Appends an event. A reader too slow for what may wait misses steps; never the end. */
static void push_event(trmd_call *c, const char *name, const char *json, bool must) {
    size_t room = strlen(name) + strlen(json) + 32;
    trmd_event *e = malloc(sizeof *e + room);
    if (!e)
        return;
    e->next = NULL;
    e->size = (size_t)snprintf(e->text, room, "event: %s\ndata: %s\n\n", name, json);
    (void)pthread_mutex_lock(&c->lock);
    bool take = must || c->event_bytes + e->size <= (size_t)c->app->o.stream_buffer_bytes;
    if (take) {
        *c->last = e;
        c->last = &e->next;
        c->event_bytes += e->size;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (!take)
        free(e);
}

trmd_event *trmd_call_take_event(trmd_call *c) {
    (void)pthread_mutex_lock(&c->lock);
    trmd_event *e = c->first;
    if (e) {
        c->first = e->next;
        c->event_bytes -= e->size;
        if (!c->first)
            c->last = &c->first;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return e;
}

/* On a worker. Shows the lane's own step, mapped back, not the best answer so far. */
void trmd_call_stepped(trmd_work *w, const trm_lane *lane, trm_engine *e) {
    trmd_call *c = w->call;
    trm_task shown;
    uint8_t cell[900];
    trmp_step s = {.kind = c->request.kind,
        .puzzle = w->index,
        .step = w->task.steps,
        .attempt = lane->attempt + 1};
    trm_lane_show(lane, e, &shown);
    grid_of(&shown, cell, &s.rows, &s.cols);
    s.cell = cell;
    s.before = w->any_shown ? w->shown : NULL;
    s.confidence = shown.confidence;
    s.cell_confidence = shown.cell_confidence;
    char *json = trmp_step_dump(&s);
    if (json) {
        push_event(c, "step", json, false);
        memcpy(w->shown, cell, sizeof cell);
        w->any_shown = true;
    }
    free(json);
    trmd_mailbox_events(c->app->mailbox, c);
}

void trmd_call_tell(trmd_call *c, char *progress) {
    if (!progress)
        return;
    if (c->streaming) {
        push_event(c, "progress", progress, false);
        free(progress);
        trmd_mailbox_events(c->app->mailbox, c);
        return;
    }
    (void)pthread_mutex_lock(&c->lock);
    free(c->told);
    c->told = progress;
    (void)pthread_mutex_unlock(&c->lock);
}

void trmd_call_finish_stream(trmd_call *c) {
    char *json = trmd_call_answer(c);
    push_event(c, "done", json ? json : "{}", true);
    free(json);
    c->finished = true;
}

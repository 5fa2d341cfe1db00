/* See pool.h. One lock guards the scheduler; engines and lanes belong to their worker. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arcs.h"
#include "log.h"
#include "metrics.h"
#include "pool.h"

static const char *const kind_names[] = {"sudoku", "maze", "arc"};

struct lane {
    trm_lane lane;
    trmd_work *work; /* NULL = free slot */
    uint64_t seen;   /* its last step's number; 0 = none yet */
};

struct station { /* one model on one worker */
    trm_engine *engine;
    struct lane *lane;
    trmd_rider *rider;
    int *slot;
    int slots, busy;
    trmd_share share;
    uint64_t steps; /* made */
};

struct worker {
    trmd_pool *pool;
    int number;
    pthread_t thread;
    bool started;
    struct station *station; /* one per model */
    trmd_turns turns;
    atomic_bool working;
    atomic_uint_fast64_t beat;
    int threads;
};

struct trmd_pool {
    trmd_pool_options o;
    trm_model **model;
    int models, workers;
    struct worker *worker;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    trmd_sched sched;
    trmd_arcs arcs;
    bool stop;
    atomic_int health; /* trmd_health */
    atomic_bool changed;
    double rate; /* puzzles per second that ended lately */
    uint64_t last_end;
    /* loop thread */
    trmd_pool *elder;
    int users; /* submitted and not left */
};

uint64_t trmd_now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void tell_end(trmd_pool *p, trmd_work *w, const char *halt, uint64_t now) {
    w->ended = now;
    w->halt = halt;
    w->done = true;
    p->o.ended(p->o.arg, w); /* and with that it may be gone */
}

/* What a deadline or a client that left has ended holds for that request alone. */
static void end_work(trmd_pool *p, trmd_work *w, const char *halt, uint64_t now) {
    bool final = strcmp(halt, "deadline") != 0 && strcmp(halt, "cancelled") != 0;
    (void)pthread_mutex_lock(&p->lock);
    trmd_work *same = trmd_sched_end(&p->sched, w, final);
    (void)pthread_mutex_unlock(&p->lock);
    while (same) {
        trmd_work *f = same;
        same = f->next;
        tell_end(p, f, halt, now);
    }
    tell_end(p, w, halt, now);
}

static const char *halt_of(const trm_task *t) {
    return t->outcome == TRM_DONE_VERIFIED ? "verified"
           : t->outcome == TRM_DONE_ACT    ? "act"
                                           : "budget";
}

/* Takes a work out of all slots it has on this worker. */
static void clear_lanes(struct station *s, const trmd_work *w) {
    for (int i = 0; i < s->slots; i++)
        if (s->lane[i].work == w) {
            s->lane[i].work->lanes--;
            s->lane[i].work = NULL;
        }
}

/* Work that is late or that nobody waits for leaves its slots before the next step. */
static void drop_overdue(struct worker *k, struct station *s, uint64_t now) {
    for (int i = 0; i < s->slots; i++) {
        trmd_work *w = s->lane[i].work;
        bool cancelled = w && atomic_load(&w->cancelled);
        if (!w || (!cancelled && now < w->deadline))
            continue;
        clear_lanes(s, w);
        end_work(k->pool, w, cancelled ? "cancelled" : "deadline", now);
    }
}

static void drop_waiting(trmd_pool *p, uint64_t now, int runner) {
    for (;;) {
        (void)pthread_mutex_lock(&p->lock);
        trmd_work *w = trmd_sched_overdue(&p->sched, now, runner);
        (void)pthread_mutex_unlock(&p->lock);
        if (!w)
            return;
        end_work(p, w, atomic_load(&w->cancelled) ? "cancelled" : "deadline", now);
    }
}

/* Slots that later attempts may still take. */
static int later_room(const struct station *s) {
    int room = trmd_sched_later_slots(s->slots);
    for (int i = 0; i < s->slots; i++)
        room -= s->lane[i].work && s->lane[i].lane.attempt > 0;
    return room;
}

/* With processors to spare, another attempt at a puzzle that is already running. */
static trmd_work *spare(const struct worker *k, const struct station *s) {
    trmd_work *best = NULL;
    if (s->busy >= k->threads || later_room(s) <= 0)
        return NULL;
    for (int i = 0; i < s->slots; i++) {
        trmd_work *w = s->lane[i].work;
        if (w && trm_task_wants_lane(&w->task) && (!best || w->task.started < best->task.started))
            best = w;
    }
    return best;
}

static void start_lane(struct worker *k, struct station *s, int slot, trmd_work *w) {
    trm_error err;
    if (!w->started)
        w->started = trmd_now();
    if (trm_lane_start(&s->lane[slot].lane, &w->task, s->engine, slot, &err)) {
        clear_lanes(s, w);
        end_work(k->pool, w, "error", trmd_now());
        return;
    }
    s->lane[slot].work = w;
    s->lane[slot].seen = 0;
    w->lanes++;
    s->busy++;
}

/* An attempt at a Sudoku goes on best where the one before it has left its latents. */
static int place(const struct station *s, const trmd_work *w, int otherwise) {
    int slot = w->task.left.slot;
    bool there = w->task.left.loaded && slot < s->slots && !s->lane[slot].work;
    return there ? slot : otherwise;
}

static void fill(struct worker *k, int model, uint64_t now) {
    trmd_pool *p = k->pool;
    struct station *s = &k->station[model];
    s->busy = 0;
    for (int i = 0; i < s->slots; i++)
        s->busy += s->lane[i].work != NULL;
    for (int i = 0; i < s->slots;) {
        if (s->lane[i].work) {
            i++;
            continue;
        }
        (void)pthread_mutex_lock(&p->lock);
        trmd_work *w = trmd_sched_take(&p->sched, model, now, later_room(s) > 0);
        if (w)
            w->runner = k->number;
        (void)pthread_mutex_unlock(&p->lock);
        if (!w)
            w = spare(k, s);
        if (!w)
            return;
        start_lane(k, s, place(s, w, i), w);
    }
}

static void count_step(struct worker *k, int model, int n, uint64_t ns) {
    const char *name = k->pool->model[model]->name;
    struct trmd_metrics *m = k->pool->o.metrics;
    trmd_observe(m, TRMD_M_BATCH_SIZE, n, TRMD_LABELS(name));
    trmd_observe(m, TRMD_M_STEP_SECONDS, (double)ns * 1e-9, TRMD_LABELS(name));
    trmd_count(m, TRMD_M_ENGINE_BUSY, (double)ns * 1e-9, TRMD_LABELS(name));
}

/* After a step: the lane is over when its puzzle is decided or its attempt is spent. */
static void advance(struct worker *k, struct station *s, int slot) {
    trmd_pool *p = k->pool;
    struct lane *l = &s->lane[slot];
    trmd_work *w = l->work;
    if (!w)
        return; /* ended by another of its lanes in this very step */
    bool over = trm_lane_advance(&l->lane, s->engine);
    if (p->o.streams(w))
        p->o.stepped(p->o.arg, w, &l->lane, s->engine);
    if (!over)
        return;
    if (w->task.outcome != TRM_RUNNING) {
        clear_lanes(s, w);
        end_work(p, w, halt_of(&w->task), trmd_now());
        return;
    }
    l->work = NULL;
    w->lanes--;
    if (w->lanes > 0)
        return;
    (void)pthread_mutex_lock(&p->lock);
    trmd_sched_again(&p->sched, w);
    (void)pthread_mutex_unlock(&p->lock);
}

static void fall(trmd_pool *p, const trm_model *m, trmd_health health, const trm_error *why) {
    bool cpu = health == TRMD_FELL;
    trmd_count(p->o.metrics, TRMD_M_ENGINE_FAILURES, 1, TRMD_LABELS(m->name, cpu ? "cpu" : "none"));
    trmd_log(cpu ? TRMD_WARN : TRMD_ERROR,
        cpu ? "the GPU failed; going on on the CPU" : "the engine failed",
        TRMD_FIELDS(TRMD_STR("model", m->name), TRMD_STR("error", why->text)));
    if (atomic_load(&p->health) < (int)health)
        atomic_store(&p->health, health);
    atomic_store(&p->changed, true);
    p->o.changed(p->o.arg);
}

/* The engine is no more. Where another may take its place, what was in its slots begins anew
 * there. */
static bool replace(struct worker *k, int model, const trm_error *why) {
    trmd_pool *p = k->pool;
    struct station *s = &k->station[model];
    const trm_engine_options o = {.backend = "cpu", .threads = k->threads, .slots = s->slots};
    trm_engine *fresh = NULL, *old = s->engine;
    trm_error err = *why;
    bool may = p->o.gpu_fallback && trm_engine_on_gpu(old);
    if (!may || trm_engine_new(&fresh, p->model[model], &o, &err)) {
        if (atomic_load(&p->health) != TRMD_FAILED)
            fall(p, p->model[model], TRMD_FAILED, &err);
        return false;
    }
    (void)pthread_mutex_lock(&p->lock);
    s->engine = fresh;
    (void)pthread_mutex_unlock(&p->lock);
    trm_engine_free(old);
    fall(p, p->model[model], TRMD_FELL, why);
    for (int i = 0; i < s->slots; i++) {
        trmd_work *w = s->lane[i].work;
        if (w && trm_lane_restart(&s->lane[i].lane, s->engine, &err)) {
            clear_lanes(s, w);
            end_work(p, w, "error", trmd_now());
        }
    }
    return true;
}

/* Which slots make the next step. A GPU's costs the same for few and many. */
static int choose(const struct worker *k, struct station *s) {
    int n = 0;
    for (int i = 0; i < s->slots; i++)
        if (s->lane[i].work)
            s->rider[n++] = (trmd_rider){
                .slot = i, .steps = s->lane[i].work->task.steps, .seen = s->lane[i].seen};
    n = trmd_share_pick(&s->share, s->rider, n, trm_engine_on_gpu(s->engine) ? n : k->threads);
    s->steps++;
    for (int i = 0; i < n; i++) {
        s->slot[i] = s->rider[i].slot;
        s->lane[s->slot[i]].seen = s->steps;
    }
    return n;
}

static void step(struct worker *k, int model) {
    struct station *s = &k->station[model];
    trm_error err;
    int n = choose(k, s);
    uint64_t began = trmd_now();
    if (trm_engine_step(s->engine, s->slot, n, &err)) {
        bool replaced = replace(k, model, &err);
        for (int i = 0; i < n && !replaced; i++) {
            trmd_work *w = s->lane[s->slot[i]].work;
            if (w) {
                clear_lanes(s, w);
                end_work(k->pool, w, "error", trmd_now());
            }
        }
        return;
    }
    uint64_t spent = trmd_now() - began;
    trmd_turn_spent(&k->turns, model, spent);
    trmd_share_spent(&s->share, spent);
    count_step(k, model, n, spent);
    for (int i = 0; i < n; i++)
        advance(k, s, s->slot[i]);
}

static void count_arcs(trmd_pool *p) {
    trmd_gauge_set(p->o.metrics, TRMD_M_ARC_TASKS, p->arcs.running, TRMD_LABELS("running"));
    trmd_gauge_set(p->o.metrics, TRMD_M_ARC_TASKS, p->arcs.waiting, TRMD_LABELS("waiting"));
}

/* ARC tasks are learned on the CPU, also where the puzzles' models are on a GPU. */
static const char *arc_backend(const trmd_pool *p) {
    return strncmp(p->o.backend, "cuda", 4) == 0 ? "cpu" : p->o.backend;
}

/* One micro-batch of the ARC task whose turn it is; another worker may have been quicker. */
static void arc_turn(struct worker *k) {
    static const char *const phases[] = {"training", "predicting", "predicting"};
    trmd_pool *p = k->pool;
    uint64_t began = trmd_now();
    atomic_store(&k->beat, began);
    (void)pthread_mutex_lock(&p->lock);
    trmd_work *w = trmd_arcs_take(&p->arcs, began);
    count_arcs(p);
    (void)pthread_mutex_unlock(&p->lock);
    if (!w)
        return;
    const trm_arc_options o = {.backend = arc_backend(p), .threads = k->threads};
    trmd_arc *a = w->arc;
    double held = (double)a->bytes;
    const char *halt = trmd_arc_turn(w, p->model[w->model], &o, began);
    uint64_t now = trmd_now();
    trmd_gauge_add(p->o.metrics, TRMD_M_ARC_BYTES, (double)a->bytes - held, NULL);
    trmd_observe(p->o.metrics, TRMD_M_ARC_TURN_SECONDS, (double)(now - began) * 1e-9,
        TRMD_LABELS(phases[a->progress.phase]));
    trmd_turn_spent(&k->turns, w->model, now - began);
    if (!halt)
        p->o.turned(p->o.arg, w, now);
    (void)pthread_mutex_lock(&p->lock);
    if (halt)
        trmd_arcs_gone(&p->arcs);
    else
        trmd_arcs_back(&p->arcs, w);
    count_arcs(p);
    (void)pthread_cond_signal(&p->wake); /* another worker may have slept without a turn */
    (void)pthread_mutex_unlock(&p->lock);
    if (halt)
        tell_end(p, w, halt, now);
}

/* Every station is brought up to date; then one model makes a step, or one ARC task a
 * micro-batch. False if there is nothing to do. */
static bool round_of(struct worker *k) {
    trmd_pool *p = k->pool;
    bool busy[TRMD_MODELS] = {false};
    uint64_t now = trmd_now();
    atomic_store(&k->beat, now);
    drop_waiting(p, now, k->number);
    (void)pthread_mutex_lock(&p->lock);
    int arc = trmd_arcs_model(&p->arcs, now); /* the model whose time it takes */
    (void)pthread_mutex_unlock(&p->lock);
    for (int m = 0; m < p->models; m++) {
        drop_overdue(k, &k->station[m], now);
        fill(k, m, now);
        busy[m] = m == arc;
        for (int i = 0; i < k->station[m].slots; i++)
            busy[m] |= k->station[m].lane[i].work != NULL;
    }
    int m = trmd_turn_next(&k->turns, busy, p->models);
    if (m >= 0 && m == arc)
        arc_turn(k);
    else if (m >= 0)
        step(k, m);
    return m >= 0;
}

static void *work(void *arg) {
    struct worker *k = arg;
    trmd_pool *p = k->pool;
    for (;;) {
        bool any = round_of(k);
        (void)pthread_mutex_lock(&p->lock);
        bool stop = p->stop;
        if (!any && !stop && trmd_sched_idle(&p->sched) && trmd_arcs_idle(&p->arcs)) {
            atomic_store(&k->working, false);
            (void)pthread_cond_wait(&p->wake, &p->lock);
            atomic_store(&k->beat, trmd_now());
            atomic_store(&k->working, true);
        }
        (void)pthread_mutex_unlock(&p->lock);
        if (stop && !any)
            return NULL;
    }
}

/* An engine that cannot take one step must not be called ready. */
static int self_test(trm_engine *e, trm_error *err) {
    const trm_config *c = &trm_engine_model(e)->config;
    int32_t *tokens = calloc((size_t)c->seq_len, sizeof *tokens);
    uint8_t *place = calloc((size_t)c->seq_len, 1);
    int slot = 0, r;
    if (tokens && place) {
        for (int i = 0; i < c->seq_len; i++)
            tokens[i] = 1;
        trm_input in = {.cells = c->seq_len, .tokens = tokens, .row = place, .col = place};
        r = trm_engine_load(e, slot, &in, err);
        if (!r)
            r = trm_engine_step(e, &slot, 1, err);
        if (!r && !isfinite(trm_engine_halt_logit(e, slot)))
            r = trm_fail(err, TRM_E_BACKEND, "model %s: the first step gives no finite number",
                trm_engine_model(e)->name);
    } else {
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for a self-test");
    }
    free(tokens);
    free(place);
    return r;
}

static const char *model_kind(const trm_model *m) {
    if (m->config.task[0])
        return m->config.task;
    return m->config.vocab_size == TRM_SUDOKU_VOCAB ? "sudoku"
           : m->config.vocab_size == TRM_MAZE_VOCAB ? "maze"
                                                    : "arc";
}

static int open_engine(
    struct station *s, const trm_model *m, const trm_engine_options *o, trm_error *err) {
    s->engine = NULL;
    int r = trm_engine_new(&s->engine, m, o, err);
    return r ? r : self_test(s->engine, err);
}

static int make_station(struct worker *k, int m, trm_error *err) {
    trmd_pool *p = k->pool;
    struct station *s = &k->station[m];
    trm_engine_options o = {.backend = p->o.backend, .threads = k->threads, .slots = p->o.slots};
    if (strcmp(model_kind(p->model[m]), kind_names[TRM_KIND_ARC]) == 0) {
        o.slots = 1; /* for the self-test: a task works on a copy */
        o.backend = arc_backend(p);
    }
    o.keep_logits = strcmp(model_kind(p->model[m]), kind_names[TRM_KIND_SUDOKU]) == 0;
    s->slots = o.slots;
    s->lane = calloc((size_t)s->slots, sizeof *s->lane);
    s->slot = calloc((size_t)s->slots, sizeof *s->slot);
    s->rider = calloc((size_t)s->slots, sizeof *s->rider);
    if (!s->lane || !s->slot || !s->rider)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d slots", s->slots);
    int r = open_engine(s, p->model[m], &o, err);
    bool gpu = s->engine ? trm_engine_on_gpu(s->engine) : r == TRM_E_NOMEM || r == TRM_E_BACKEND;
    if (r && gpu && p->o.gpu_fallback) {
        trm_engine_free(s->engine);
        fall(p, p->model[m], TRMD_FELL, err);
        o.backend = "cpu";
        r = open_engine(s, p->model[m], &o, err);
    }
    if (!r && trm_engine_slots(s->engine) < s->slots)
        trmd_log(TRMD_WARN, "the GPU has room for fewer slots than were asked for",
            TRMD_FIELDS(TRMD_STR("model", p->model[m]->name), TRMD_INT("asked", s->slots),
                TRMD_INT("slots", trm_engine_slots(s->engine))));
    if (!r)
        s->slots = trm_engine_slots(s->engine);
    return r;
}

static int start_worker(struct worker *k, trm_error *err) {
    trmd_pool *p = k->pool;
    k->threads = p->o.threads / p->workers > 0 ? p->o.threads / p->workers : 1;
    k->station = calloc((size_t)p->models, sizeof *k->station);
    if (!k->station)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a worker");
    for (int m = 0; m < p->models; m++) {
        int r = make_station(k, m, err);
        if (r)
            return r;
    }
    atomic_store(&k->beat, trmd_now());
    atomic_store(&k->working, true);
    sigset_t all, old; /* signals are the loop thread's */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    k->started = pthread_create(&k->thread, NULL, work, k) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (k->started)
        (void)pthread_setname_np(k->thread, "trmd-engine");
    return k->started ? TRM_OK : trm_fail(err, TRM_E_IO, "cannot start a worker thread");
}

int trmd_pool_new(
    trmd_pool **out, trm_model **models, int n, const trmd_pool_options *o, trm_error *err) {
    trmd_pool *p = calloc(1, sizeof *p);
    if (p) {
        p->model = calloc((size_t)n, sizeof(trm_model *));
        p->worker = calloc((size_t)o->workers, sizeof *p->worker);
    }
    if (!p || !p->model || !p->worker) {
        if (p)
            free(p->model);
        free(p);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the worker pool");
    }
    p->o = *o;
    p->models = n;
    p->workers = o->workers;
    memcpy(p->model, models, (size_t)n * sizeof(trm_model *));
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->wake, NULL);
    trmd_arcs_init(&p->arcs, o->arc_runs, o->arc_queue);
    trmd_sched_init(&p->sched, n, o->queue_puzzles, o->queue_bytes);
    int r = TRM_OK;
    for (int i = 0; i < o->workers && !r; i++) {
        p->worker[i].pool = p;
        p->worker[i].number = i;
        r = start_worker(&p->worker[i], err);
    }
    if (r) {
        p->models = n;
        trmd_pool_free(p);
        return r;
    }
    *out = p;
    return TRM_OK;
}

void trmd_pool_free(trmd_pool *p) {
    if (!p)
        return;
    trmd_pool_free(p->elder);
    (void)pthread_mutex_lock(&p->lock);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->wake);
    (void)pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->workers; i++) {
        struct worker *k = &p->worker[i];
        if (k->started)
            (void)pthread_join(k->thread, NULL);
        for (int m = 0; k->station && m < p->models; m++) {
            trm_engine_free(k->station[m].engine);
            free(k->station[m].lane);
            free(k->station[m].slot);
            free(k->station[m].rider);
        }
        free(k->station);
    }
    for (int m = 0; m < p->models; m++)
        trm_model_free(p->model[m]);
    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_cond_destroy(&p->wake);
    free(p->model);
    free(p->worker);
    free(p);
}

int trmd_pool_models(const trmd_pool *p) {
    return p->models;
}

const trm_model *trmd_pool_model(const trmd_pool *p, int i) {
    return p->model[i];
}

void trmd_pool_info(trmd_pool *p, int i, trmp_model_info *out) {
    const trm_model *m = p->model[i];
    trm_policy policy;
    const char *kind = model_kind(m);
    trm_policy_defaults(
        &policy, strcmp(kind, kind_names[TRM_KIND_MAZE]) == 0 ? TRM_KIND_MAZE : TRM_KIND_SUDOKU);
    (void)pthread_mutex_lock(&p->lock); /* its worker may be replacing it */
    const trm_engine *e = p->worker[0].station[i].engine;
    *out = (trmp_model_info){.name = m->name,
        .id = m->id,
        .kind = kind,
        .backend = trm_engine_backend(e),
        .max_steps = policy.max_steps,
        .attempts = policy.attempts,
        .bytes = trm_engine_bytes(e),
        .slot_bytes = trm_engine_slot_bytes(e),
        .slots = p->workers * p->worker[0].station[i].slots};
    (void)pthread_mutex_unlock(&p->lock);
    for (int k = 0; k < m->layout.count; k++)
        out->parameters += (long)m->layout.param[k].rows * m->layout.param[k].cols;
}

int trmd_pool_find(const trmd_pool *p, const trm_task *t, const char *name, trm_error *err) {
    bool named = name && name[0];
    for (int i = 0; i < p->models; i++) {
        if (named && strcmp(name, p->model[i]->name) != 0)
            continue;
        if (!named && strcmp(model_kind(p->model[i]), kind_names[t->kind]) != 0)
            continue;
        if (t->kind == TRM_KIND_ARC && strcmp(model_kind(p->model[i]), "arc") == 0)
            return i;
        return trm_task_fits(t, p->model[i], err) ? -1 : i;
    }
    if (named)
        (void)trm_fail(err, TRM_E_ARG, "there is no model \"%.60s\"", name);
    else
        (void)trm_fail(err, TRM_E_ARG, "no %s model is loaded", kind_names[t->kind]);
    return -1;
}

/* What older generations hold counts too. */
static void add_elders(const trmd_pool *p, int *n, size_t *bytes) {
    for (trmd_pool *e = p->elder; e; e = e->elder) {
        (void)pthread_mutex_lock(&e->lock);
        *n += e->sched.waiting;
        *bytes += e->sched.bytes;
        (void)pthread_mutex_unlock(&e->lock);
    }
}

bool trmd_pool_room(trmd_pool *p, int n, size_t bytes) {
    add_elders(p, &n, &bytes);
    (void)pthread_mutex_lock(&p->lock);
    bool room = trmd_sched_room(&p->sched, n, bytes);
    (void)pthread_mutex_unlock(&p->lock);
    return room;
}

/* Whoever was asleep has work from now on: one that does not wake is seen to hang. */
static void rouse(trmd_pool *p) {
    uint64_t now = trmd_now();
    for (int i = 0; i < p->workers; i++) {
        struct worker *k = &p->worker[i];
        if (atomic_load(&k->working))
            continue;
        atomic_store(&k->beat, now);
        atomic_store(&k->working, true);
    }
    (void)pthread_cond_broadcast(&p->wake);
}

static bool take(trmd_pool *p, trmd_work *const *list, int n, size_t bytes) {
    int held = 0;
    size_t held_bytes = 0;
    add_elders(p, &held, &held_bytes);
    (void)pthread_mutex_lock(&p->lock);
    bool arc = list[0]->arc != NULL;
    bool taken = trmd_sched_room(&p->sched, arc ? 0 : n + held, bytes + held_bytes) &&
                 (!arc || trmd_arcs_add(&p->arcs, list[0])) &&
                 trmd_sched_add(&p->sched, list, arc ? 0 : n, bytes);
    if (taken)
        rouse(p);
    (void)pthread_mutex_unlock(&p->lock);
    return taken;
}

bool trmd_pool_submit(trmd_pool *p, trmd_work *const *list, int n, size_t bytes) {
    bool taken = take(p, list, n, bytes);
    p->users += taken;
    return taken;
}

void trmd_pool_enter(trmd_pool *p) {
    p->users++;
}

bool trmd_pool_give(trmd_pool *p, trmd_work *w) {
    return take(p, &w, 1, 0);
}

void trmd_pool_leave(trmd_pool *p, size_t bytes) {
    (void)pthread_mutex_lock(&p->lock);
    trmd_sched_leave(&p->sched, bytes);
    uint64_t now = trmd_now();
    double gap = p->last_end ? (double)(now - p->last_end) * 1e-9 : 0.1;
    p->last_end = now;
    p->rate = 0.9 * p->rate + 0.1 / (gap > 1e-4 ? gap : 1e-4);
    (void)pthread_mutex_unlock(&p->lock);
    p->users--;
}

void trmd_pool_wake(trmd_pool *p) {
    (void)pthread_mutex_lock(&p->lock);
    rouse(p);
    (void)pthread_mutex_unlock(&p->lock);
}

int trmd_pool_waiting(trmd_pool *p, size_t *bytes) {
    int n = 0;
    *bytes = 0;
    add_elders(p, &n, bytes);
    (void)pthread_mutex_lock(&p->lock);
    n += p->sched.waiting;
    *bytes += p->sched.bytes;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

int trmd_pool_retry_after(trmd_pool *p) {
    (void)pthread_mutex_lock(&p->lock);
    int s = trmd_sched_retry_after(&p->sched, p->rate);
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}

bool trmd_pool_alive(const trmd_pool *p, double seconds) {
    uint64_t now = trmd_now();
    for (int i = 0; i < p->workers; i++) {
        const struct worker *k = &p->worker[i];
        uint64_t beat = atomic_load(&k->beat);
        if (atomic_load(&k->working) && now > beat && (double)(now - beat) * 1e-9 > seconds)
            return false;
    }
    return !p->elder || trmd_pool_alive(p->elder, seconds);
}

trmd_health trmd_pool_health(const trmd_pool *p) {
    return (trmd_health)atomic_load(&p->health);
}

bool trmd_pool_changed(trmd_pool *p) {
    return atomic_exchange(&p->changed, false);
}

void trmd_pool_succeed(trmd_pool *p, trmd_pool *elder) {
    p->elder = elder;
    p->rate = elder->rate;
}

trmd_pool *trmd_pool_spent(trmd_pool *p) {
    for (trmd_pool **at = &p->elder; *at; at = &(*at)->elder)
        if ((*at)->users == 0) {
            trmd_pool *spent = *at;
            *at = spent->elder;
            spent->elder = NULL;
            return spent;
        }
    return NULL;
}

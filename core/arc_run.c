/* A run: one ARC task, learned from its demonstrations and answered by vote. See trm/arc.h.
 *
 * The private copy of the weights is trained on the demonstrations in a fixed set of frames
 * (symmetries and exchanged colours); the same frames vote. Now and then the copy is examined:
 * on the demonstrations as given, and in some frames on the one demonstration that was kept
 * from it there. Training and exams are lessons of one class. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arc_source.h"
#include "backend.h"
#include "optim.h"

enum {
    STEPS = 20000,
    PREDICTIONS = 64,
    LOOK_EVERY = 40, /* training micro-batches between looks at the demonstrations */
    LAST_LEAST = 80, /* micro-batches at falling rates once all of them came out right */
    SYMMETRIES = 8,
    HELD_OUT = 8,
    ALONE = 160,   /* micro-batches that train the task's embedding alone, or a quarter of all */
    WARM_UP = 150, /* then so many until the weights have their full rate */
    FRAMES_LEAST = SYMMETRIES + HELD_OUT,
    LESSONS_MOST = 8, /* of a thread in a micro-batch */
};

/* What a thread takes on in a micro-batch, in floating-point operations: some 10 ms. */
static const double WORK = 0.9e9;
static const double TRAINED_BY = 0.8; /* share of the time after which predictions begin */

struct trm_arc_run {
    trm_arc_task task;
    trm_arc_options options;
    trm_arc_relation relation;
    trm_arc_frame turned; /* what the task's outputs were turned by */
    trm_arc_frame *frame;
    int frames, held_out;
    trm_recipe recipe;
    trm_model *model;
    trm_team *team;
    trm_net *net;
    trm_class *class;
    trm_optim *optim;
    const trm_mm_lib *lib;
    float *grads;
    int lessons, examined; /* lessons of a micro-batch: training, exams */
    bool large;            /* a lesson of training takes several micro-batches */
    trm_arc_progress progress;
    trm_arc_votes votes[TRM_ARC_TESTS];
    double spent;
    int since_look, alone;
    int64_t last_from, last; /* the last micro-batches of training, 0 = not begun */
    bool averaged;           /* the model holds its average, optim->ema the weights */
    int *item;               /* of each lesson in an exam, -1 = none */
    int next, items;         /* of the exam; items 0: no exam is on */
    int right, held_right;
};

/* --- making one -------------------------------------------------------------------------- */

static void make_frames(trm_arc_run *r, uint64_t seed) {
    trm_rng rng;
    trm_rng_seed(&rng, seed);
    for (int i = 0; i < r->frames; i++) {
        trm_arc_frame_random(&r->frame[i], i >= SYMMETRIES, &rng);
        r->frame[i].sym = (uint8_t)(i % SYMMETRIES);
    }
    r->held_out = r->task.demos > 1 ? HELD_OUT : 0;
}

/* A task whose outputs are its inputs turned is learned with them turned back: the network cannot
 * exchange rows and columns in the time it has, but sees at once that nothing, or colours alone,
 * changed. Answers are turned again before they vote. */
static void turn_outputs(trm_arc_run *r) {
    trm_arc_frame_identity(&r->turned);
    r->turned.sym = (uint8_t)trm_arc_turned(r->task.pair, r->task.demos);
    for (int i = 0; i < r->task.demos; i++) {
        const trm_arc_grid given = r->task.pair[i].output;
        trm_arc_frame_apply(&r->task.pair[i].output, &r->turned, &given);
    }
}

/* The most cells that any pair of the task takes. */
static int cells_needed(const trm_arc_run *r, int first, int last) {
    int most = 0;
    for (int i = first; i < last; i++) {
        const trm_arc_pair *p = &r->task.pair[i];
        trm_arc_canvas c;
        trm_arc_canvas_fit(&c, &r->relation, &p->input, i < r->task.demos ? &p->output : NULL);
        most = c.rows * c.cols > most ? c.rows * c.cols : most;
    }
    return most;
}

/* Floating-point operations of one supervision step, forward. */
static double step_work(const trm_config *c, int cells) {
    double s = c->puzzle_emb_len + cells, d = c->hidden_size, in = trm_config_inner(c);
    double pass = c->L_layers * (2 * s * (4 * d * d + 3 * d * in) + 4 * s * s * d);
    return c->H_cycles * (c->L_cycles + 1) * pass;
}

static int at_once(double work) {
    int n = (int)(WORK / work);
    return n < 1 ? 1 : n > LESSONS_MOST ? LESSONS_MOST : n;
}

static void make_recipe(trm_arc_run *r) {
    r->recipe = (trm_recipe){.optimizer = TRM_MUON,
        .momentum = 0.95,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .clip = 1,
        .ema = 0.98,
        .loss = TRM_SOFTMAX,
        .q_weight = 0.5,
        .puzzle_emb_decay = 1};
}

static int make_engine(trm_arc_run *r, const trm_model *m, trm_error *err) {
    int n = r->task.demos + r->task.tests, seen = cells_needed(r, 0, r->task.demos);
    int asked = cells_needed(r, r->task.demos, n), most = seen > asked ? seen : asked;
    int e = trm_arc_trunk(&r->model, m, most, err);
    if (!e)
        e = trm_backend_find(&r->lib, r->options.backend, err);
    if (!e && r->lib->learner)
        r->lib = r->lib->learner;
    if (!e)
        e = trm_team_new(&r->team, r->options.threads, r->lib->enter_thread, err);
    if (!e)
        e = trm_net_new(
            &r->net, &r->model->config, &r->model->layout, r->model->w, r->lib, true, err);
    if (e)
        return e;
    const trm_config *c = &r->model->config;
    r->lessons = r->options.threads * at_once(3 * step_work(c, seen));
    r->large = 3 * step_work(c, seen) > 2 * WORK;
    int exams = r->options.threads * at_once(step_work(c, most));
    r->examined = exams < r->lessons ? exams : r->lessons;
    trm_class_options o = {.loss = r->recipe.loss,
        .q_weight = r->recipe.q_weight,
        .tape = most > 300 ? 1 : 4,
        .batch = r->lessons};
    e = trm_class_new(&r->class, r->net, r->team, &o, err);
    if (!e)
        e = trm_optim_new(&r->optim, &r->recipe, &r->model->layout, r->team, err);
    r->grads = aligned_alloc(64, r->model->layout.floats * sizeof(float));
    r->item = malloc((size_t)r->lessons * sizeof *r->item);
    if (!e && (!r->grads || !r->item))
        e = trm_fail(err, TRM_E_NOMEM, "out of memory for an ARC run");
    return e;
}

static int start(trm_arc_run *r, const trm_model *m, uint64_t seed, trm_error *err) {
    r->frames = r->options.predictions > FRAMES_LEAST ? r->options.predictions : FRAMES_LEAST;
    r->frame = malloc((size_t)r->frames * sizeof *r->frame);
    if (!r->frame)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for an ARC run");
    make_frames(r, seed);
    make_recipe(r);
    turn_outputs(r);
    trm_arc_relate(&r->relation, r->task.pair, r->task.demos);
    int e = make_engine(r, m, err);
    if (e)
        return e;
    for (int i = 0; i < r->lessons; i++) {
        trm_lesson *l = trm_class_lesson(r->class, i);
        trm_rng_seed(&l->rng, seed * 1000003u + 17u * (uint64_t)i + 5);
        l->done = true;
    }
    r->progress.demonstrations = r->task.demos;
    r->progress.held_out = r->held_out;
    r->progress.predictions_wanted = r->options.predictions * r->task.tests;
    return TRM_OK;
}

int trm_arc_run_new(trm_arc_run **out, const trm_model *m, const trm_arc_task *task,
    const trm_arc_options *o, uint64_t seed, trm_error *err) {
    char place[TRM_ARC_PLACE];
    trm_error why;
    if (!m->config.frames)
        return trm_fail(err, TRM_E_ARG, "model %s is not an ARC model with frames", m->name);
    if (o->threads < 1 || o->steps < 0 || o->predictions < 0 || o->predictions > 10000)
        return trm_fail(err, TRM_E_ARG, "an ARC run needs a thread, and steps and predictions");
    if (trm_arc_task_check(task, place, &why))
        return trm_fail(err, TRM_E_ARG, "%s: %s", place, why.text);
    trm_arc_run *r = calloc(1, sizeof *r);
    if (!r)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for an ARC run");
    r->options = *o;
    r->options.steps = o->steps ? o->steps : STEPS;
    r->options.predictions = o->predictions ? o->predictions : PREDICTIONS;
    int e = trm_arc_task_copy(&r->task, task, err);
    if (!e)
        e = start(r, m, seed, err);
    if (e) {
        trm_arc_run_free(r);
        return e;
    }
    *out = r;
    return TRM_OK;
}

void trm_arc_run_free(trm_arc_run *r) {
    if (!r)
        return;
    trm_optim_free(r->optim);
    trm_class_free(r->class);
    trm_net_free(r->net);
    trm_team_free(r->team);
    trm_model_free(r->model);
    for (int i = 0; i < TRM_ARC_TESTS; i++)
        trm_arc_votes_free(&r->votes[i]);
    trm_arc_task_free(&r->task);
    free(r->grads);
    free(r->item);
    free(r->frame);
    free(r);
}

size_t trm_arc_run_bytes(const trm_arc_run *r) {
    size_t floats = r->model->layout.floats * sizeof(float), votes = 0;
    for (int i = 0; i < r->task.tests; i++)
        votes += (size_t)r->votes[i].room * sizeof *r->votes[i].at;
    /* weights, gradients, two moments, average; the backend's two copies of the matrices */
    return 5 * floats + 2 * r->net->bytes + trm_class_bytes(r->class) + votes + sizeof *r +
           (size_t)(r->task.demos + r->task.tests) * sizeof *r->task.pair;
}

/* --- training ---------------------------------------------------------------------------- */

/* A demonstration in a frame, half the time in exchanged colours, which is what keeps the copy
 * from learning the pairs by heart; the pair that is held out there is passed over. Called on the
 * thread that has the lesson. */
static int prepare(void *arg, trm_lesson *l, trm_error *err) {
    trm_arc_run *r = arg;
    (void)err;
    if (l->exam || !l->done)
        return TRM_OK;
    double u = trm_rng_unit(&l->rng);
    int k = 0, pair = (int)trm_rng_below(&l->rng, (uint32_t)r->task.demos);
    if (u > 0.5)
        k = SYMMETRIES + (int)trm_rng_below(&l->rng, (uint32_t)(r->frames - SYMMETRIES));
    else if (u > 0.15)
        k = 1 + (int)trm_rng_below(&l->rng, SYMMETRIES - 1);
    int held = k - SYMMETRIES;
    if (held >= 0 && held < r->held_out && held % r->task.demos == pair)
        pair = (pair + 1) % r->task.demos;
    trm_arc_teach(l, &r->task.pair[pair], &r->frame[k], 0, trm_rng_unit(&l->rng) < 0.15);
    l->done = false;
    l->fresh = true;
    return TRM_OK;
}

static void refresh(void *arg, int member) {
    trm_arc_run *r = arg;
    int n = r->model->config.L_layers, team = trm_team_size(r->team);
    /* Cannot fail where it has worked at the start; see the trainer's. */
    (void)trm_net_refresh(r->net, n * member / team, n * (member + 1) / team, NULL);
}

/* How far training is, 0..1, by the caller's time or the step budget. */
static double trained(const trm_arc_run *r) {
    double by_time = r->spent / TRAINED_BY;
    double by_steps = (double)r->progress.steps / (double)r->options.steps;
    double f = by_time > by_steps ? by_time : by_steps;
    return f < 1 ? f : 1;
}

/* The task's embedding leads: a rule that the trunk knows is found by it alone. Then the weights
 * follow. */
static void set_rates(trm_arc_run *r) {
    double fall = 1 - 0.9 * trained(r);
    if (r->last)
        fall *= 1 - (double)(r->progress.steps - r->last_from) / (double)r->last;
    r->alone += r->progress.steps < ALONE && trained(r) < 0.25;
    double after = (double)(r->progress.steps - r->alone) / WARM_UP;
    double both = fall * fmin(fmax(after, 0), 1);
    r->recipe.lr = 0.008 * both;
    r->recipe.lr_rest = 0.002 * both;
    r->recipe.puzzle_emb_lr = (after > 0 ? 0.006 : 0.012) * fall;
}

static void halt(const trm_arc_run *r, trm_lesson *l) {
    const trm_config *c = &r->model->config;
    bool longer = trm_rng_unit(&l->rng) < c->halt_exploration_prob;
    l->done = l->steps >= c->halt_max_steps || (l->q[0] > 0 && !longer);
}

static int train(trm_arc_run *r, trm_error *err) {
    trm_arc_progress *p = &r->progress;
    trm_loss sum;
    bool whole = true;
    int e = r->large ? trm_class_part(r->class, prepare, r, r->grads, &sum, &whole, err)
                     : trm_class_step(r->class, prepare, r, r->grads, &sum, err);
    if (e || !whole)
        return e;
    if (!isfinite(sum.total))
        return trm_fail(err, TRM_E_ARG, "the loss is not finite: training diverged");
    set_rates(r);
    (void)trm_optim_update(r->optim, r->model->w, r->grads, 1);
    trm_team_run(r->team, refresh, r);
    for (int i = 0; i < r->lessons; i++)
        halt(r, trm_class_lesson(r->class, i));
    double lm = sum.lm / r->lessons;
    p->loss = p->steps ? 0.95 * p->loss + 0.05 * lm : lm;
    p->steps++;
    r->since_look++;
    return TRM_OK;
}

/* --- exams: looks at the demonstrations, and predictions --------------------------------- */

/* Exams ask the weights' average, which is steadier than they are. */
static void exchange_average(trm_arc_run *r) {
    float *w = r->model->w, *ema = r->optim->ema;
    for (size_t i = 0; i < r->model->layout.floats; i++) {
        float keep = w[i];
        w[i] = ema[i];
        ema[i] = keep;
    }
    r->averaged = !r->averaged;
    trm_team_run(r->team, refresh, r);
}

static void begin_exam(trm_arc_run *r, int items) {
    if (!r->averaged && r->progress.steps)
        exchange_average(r);
    r->items = items;
    r->next = r->right = r->held_right = 0;
    for (int i = 0; i < r->lessons; i++) {
        trm_lesson *l = trm_class_lesson(r->class, i);
        l->exam = true;
        l->cells = 0;
        r->item[i] = -1;
    }
}

static void end_exam(trm_arc_run *r) {
    if (r->averaged)
        exchange_average(r);
    r->items = r->since_look = 0;
    for (int i = 0; i < r->lessons; i++) {
        trm_lesson *l = trm_class_lesson(r->class, i);
        l->exam = false;
        l->done = true;
    }
}

/* What an item of the exam is about: a pair, the frame it is seen in, and whether elsewhere than
 * in the canvas's corner. Test inputs are seen in the eight symmetries first; then also elsewhere,
 * and every other time in exchanged colours if the copy has learned to see through those. */
static const trm_arc_pair *item_pair(const trm_arc_run *r, int item, int *frame, bool *moved) {
    *moved = false;
    if (r->progress.phase == TRM_ARC_TRAINING) {
        int held = item - r->task.demos;
        *frame = held < 0 ? 0 : SYMMETRIES + held;
        return &r->task.pair[held < 0 ? item : held % r->task.demos];
    }
    int image = item / r->task.tests;
    bool colours = image >= SYMMETRIES && image % 2 && 2 * r->progress.held_out_right > r->held_out;
    *moved = image >= SYMMETRIES;
    *frame = colours ? SYMMETRIES + image / 2 % (r->frames - SYMMETRIES) : image % SYMMETRIES;
    return &r->task.pair[r->task.demos + item % r->task.tests];
}

/* The item's input as it is seen in its frame, its canvas and the size its answer must have, 0
 * where that is not known. */
struct view {
    const trm_arc_pair *pair;
    const trm_arc_frame *frame;
    trm_arc_grid input;
    trm_arc_canvas canvas;
    int rows, cols;
};

static void see(const trm_arc_run *r, int item, struct view *v) {
    trm_arc_relation relation = r->relation;
    bool moved;
    int k;
    v->pair = item_pair(r, item, &k, &moved);
    v->frame = &r->frame[k];
    trm_arc_relation_turn(&relation, v->frame->sym);
    trm_arc_frame_apply(&v->input, v->frame, &v->pair->input);
    trm_arc_canvas_fit(&v->canvas, &relation, &v->input, NULL);
    (void)trm_arc_expect(&relation, &v->input, &v->rows, &v->cols);
    if (moved) {
        trm_rng rng;
        trm_rng_seed(&rng, (uint64_t)item);
        trm_arc_canvas_move(&v->canvas, &rng);
    }
}

static void load_items(trm_arc_run *r) {
    for (int i = 0; i < r->examined && r->next < r->items; i++) {
        trm_lesson *l = trm_class_lesson(r->class, i);
        struct view v;
        if (r->item[i] >= 0)
            continue;
        r->item[i] = r->next++;
        see(r, r->item[i], &v);
        l->cells = trm_arc_draw(&v.canvas, &v.input, NULL, l->tokens, NULL, l->row, l->col);
        l->puzzle = 0;
        trm_arc_frame_code(l->frame, v.frame, &v.canvas, &v.input);
        l->fresh = true;
    }
}

static int vote(
    trm_arc_run *r, int test, const trm_arc_grid *answer, double confidence, trm_error *err) {
    trm_arc_frame back;
    trm_arc_grid given;
    trm_arc_frame_inverse(&back, &r->turned);
    trm_arc_frame_apply(&given, &back, answer);
    return trm_arc_vote(&r->votes[test], &given, confidence, err);
}

static int settle(trm_arc_run *r, int i, trm_error *err) {
    trm_lesson *l = trm_class_lesson(r->class, i);
    trm_arc_progress *g = &r->progress;
    trm_arc_grid seen, answer;
    trm_arc_frame back;
    struct view v;
    int item = r->item[i], e = TRM_OK;
    see(r, item, &v);
    r->item[i] = -1;
    l->cells = 0;
    bool valid = trm_arc_read(&seen, &v.canvas, l->answer, v.rows, v.cols);
    trm_arc_frame_inverse(&back, v.frame);
    if (valid)
        trm_arc_frame_apply(&answer, &back, &seen);
    if (g->phase == TRM_ARC_PREDICTING) {
        g->predictions++;
        g->votes += valid;
        if (valid)
            e = vote(r, item % r->task.tests, &answer, 1 / (1 + exp(-(double)l->q[0])), err);
    } else if (valid && trm_arc_grid_equal(&answer, &v.pair->output)) {
        r->right += item < r->task.demos;
        r->held_right += item >= r->task.demos;
    }
    return e;
}

/* True in *over when every item has been answered. */
static int examine(trm_arc_run *r, bool *over, trm_error *err) {
    trm_loss sum;
    load_items(r);
    int e = trm_class_step(r->class, NULL, NULL, r->grads, &sum, err);
    *over = r->next == r->items;
    for (int i = 0; i < r->examined && !e; i++) {
        trm_lesson *l = trm_class_lesson(r->class, i);
        bool settled = l->q[0] > 0 || l->steps >= r->model->config.halt_max_steps;
        if (r->item[i] >= 0 && settled)
            e = settle(r, i, err);
        *over &= r->item[i] < 0;
    }
    return e;
}

/* --- the run ----------------------------------------------------------------------------- */

void trm_arc_run_predict(trm_arc_run *r) {
    if (r->progress.phase != TRM_ARC_TRAINING)
        return;
    r->progress.phase = TRM_ARC_PREDICTING;
    begin_exam(r, r->progress.predictions_wanted);
}

void trm_arc_run_spent(trm_arc_run *r, double fraction) {
    r->spent = fraction > r->spent ? fraction : r->spent;
}

static void looked(trm_arc_run *r) {
    trm_arc_progress *p = &r->progress;
    p->reproduced = r->right;
    p->held_out_right = r->held_right;
    bool all = p->reproduced == p->demonstrations && p->held_out_right == p->held_out;
    if (all && !r->last) {
        r->last_from = p->steps;
        r->last = p->steps / 4 > LAST_LEAST ? p->steps / 4 : LAST_LEAST;
    }
    end_exam(r);
}

static int advance(trm_arc_run *r, trm_error *err) {
    bool over = false;
    int e;
    if (r->items) {
        e = examine(r, &over, err);
        if (e || !over)
            return e;
        if (r->progress.phase == TRM_ARC_PREDICTING)
            r->progress.phase = TRM_ARC_DONE;
        else
            looked(r);
    } else {
        e = train(r, err);
        if (e)
            return e;
        if (r->since_look >= LOOK_EVERY)
            begin_exam(r, r->task.demos + r->held_out);
    }
    bool over_last = r->last && r->progress.steps - r->last_from >= r->last;
    if (over_last || trained(r) >= 1)
        trm_arc_run_predict(r);
    return TRM_OK;
}

int trm_arc_run_step(trm_arc_run *r, trm_error *err) {
    if (r->progress.phase == TRM_ARC_DONE)
        return TRM_OK;
    r->lib->enter_thread(); /* the caller may be another thread than last time */
    int e = advance(r, err);
    if (e)
        r->progress.phase = TRM_ARC_DONE;
    return e;
}

void trm_arc_run_progress(const trm_arc_run *r, trm_arc_progress *out) {
    *out = r->progress;
}

void trm_arc_run_answer(const trm_arc_run *r, int test, trm_arc_attempt out[TRM_ARC_ATTEMPTS]) {
    int n = trm_arc_votes_best(&r->votes[test], out);
    for (int i = n; i < TRM_ARC_ATTEMPTS; i++)
        out[i] = (trm_arc_attempt){.grid = r->task.pair[r->task.demos + test].input};
}

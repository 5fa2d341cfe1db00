/* The trainer: lessons, optimizer, data and curriculum put together. Owned by one thread. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "arc_source.h"
#include "backend.h"
#include "trainer.h"

/* Called on the thread that has the lesson, before its step. */
static int prepare(void *arg, trm_lesson *l, trm_error *err) {
    trm_trainer *t = arg;
    if (!l->done)
        return TRM_OK;
    int r = trm_source_next(t->source, t->log.easier, l, err);
    l->done = false;
    l->fresh = true;
    return r;
}

static int start_model(trm_trainer *t, trm_error *err) {
    trm_rng rng;
    /* its weights; how they are run (cycles, halting) is the recipe's */
    if (t->options.init && strcmp(t->recipe.task, "arc") == 0)
        return trm_arc_init(&t->model, t->options.init, &t->recipe.model, err);
    if (t->options.init)
        return trm_model_open(&t->model, t->options.init, &t->recipe.model, err);
    trm_rng_seed(&rng, t->recipe.seed);
    return trm_model_new(&t->model, &t->recipe.model, &rng, err);
}

trm_lesson *trm_trainer_lesson(trm_trainer *t, int i) {
    return t->learner ? &t->learner->lesson[i] : trm_class_lesson(t->class, i);
}

static int start_device(trm_trainer *t, const trm_device_lib *lib, trm_error *err) {
    int e = trm_team_new(&t->team, t->options.threads, NULL, err);
    if (!e)
        e = trm_learner_new(
            &t->learner, lib, t->options.backend, t->model, &t->recipe, t->team, t->source, err);
    if (!e)
        e = trm_optim_new(&t->optim, &t->recipe, &t->model->layout, t->team, err);
    return e;
}

static int start_threads(trm_trainer *t, trm_error *err) {
    const trm_recipe *r = &t->recipe;
    const trm_mm_lib *lib;
    const trm_device_lib *device = trm_device_find(t->options.backend);
    if (device && r->share_assumed > 0) { /* it looks at logits, which a device keeps */
        if (!trm_backend_is_auto(t->options.backend))
            return trm_fail(err, TRM_E_UNSUPPORTED, "share_assumed is trained on the CPU backends");
        device = NULL;
    }
    if (device) {
        int d = start_device(t, device, err);
        if (d != TRM_E_UNSUPPORTED || !trm_backend_is_auto(t->options.backend))
            return d;
        trm_team_free(t->team); /* a model that the device cannot take */
        t->team = NULL;
    }
    trm_class_options o = {.loss = r->loss,
        .assumes = r->share_assumed > 0,
        .label_smoothing = r->label_smoothing,
        .q_weight = r->q_weight,
        .tape = r->tape,
        .one_step_gradient = r->one_step_gradient,
        .batch = r->batch};
    int e = trm_backend_find(&lib, t->options.backend, err);
    if (!e)
        e = trm_team_new(&t->team, t->options.threads, lib->enter_thread, err);
    if (!e)
        e = trm_net_new(&t->net, &t->model->config, &t->model->layout, t->model->w, lib, true, err);
    if (!e)
        e = trm_class_new(&t->class, t->net, t->team, &o, err);
    if (!e)
        e = trm_optim_new(&t->optim, &t->recipe, &t->model->layout, t->team, err);
    return e;
}

static void start_lessons(trm_trainer *t) {
    for (int i = 0; i < t->recipe.batch; i++) {
        trm_lesson *l = trm_trainer_lesson(t, i);
        trm_rng_seed(&l->rng, t->recipe.seed * 1000003u + 17u * (uint64_t)i + 5);
        l->done = true;
    }
    const trm_recipe *r = &t->recipe;
    bool sudoku = strcmp(r->task, "sudoku") == 0;
    t->log.easier = sudoku ? r->extra_clues : r->size_start ? r->size_max - r->size_start : 0;
    if (t->learner)
        trm_learner_promise(t->learner, t->log.easier);
}

static int start(trm_trainer *t, trm_error *err) {
    trm_layout layout;
    int r = trm_layout_make(&layout, &t->recipe.model, err);
    if (r)
        return r;
    t->floats = layout.floats;
    trm_layout_free(&layout);
    if (mkdir(t->options.out, 0777) && errno != EEXIST)
        return trm_fail(err, TRM_E_IO, "%s: %s", t->options.out, strerror(errno));
    /* Data first: a file that is missing is told before much is made. */
    r = trm_source_new(&t->source, &t->recipe, t->options.data, err);
    if (!r)
        r = start_model(t, err);
    if (!r)
        r = start_threads(t, err);
    t->grads = aligned_alloc(64, t->floats * sizeof(float));
    if (!r && !t->grads)
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for gradients");
    if (r)
        return r;
    start_lessons(t);
    return t->options.resume ? trm_trainer_load(t, err) : TRM_OK;
}

int trm_trainer_new(
    trm_trainer **out, const trm_recipe *r, const trm_train_options *o, trm_error *err) {
    if (o->threads < 1)
        return trm_fail(err, TRM_E_ARG, "training needs at least one thread");
    trm_trainer *t = calloc(1, sizeof *t);
    if (!t)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a trainer");
    t->recipe = *r;
    t->options = *o;
    t->options.out = strdup(o->out);
    int e = t->options.out ? start(t, err) : trm_fail(err, TRM_E_NOMEM, "out of memory");
    if (e) {
        trm_trainer_free(t);
        return e;
    }
    *out = t;
    return TRM_OK;
}

void trm_trainer_free(trm_trainer *t) {
    if (!t)
        return;
    trm_optim_free(t->optim);
    trm_learner_free(t->learner);
    trm_class_free(t->class);
    trm_net_free(t->net);
    trm_team_free(t->team);
    trm_source_free(t->source);
    trm_model_free(t->model);
    free(t->grads);
    free((void *)(uintptr_t)t->options.out);
    free(t);
}

/* Linear warm-up, then constant, then linear annealing. */
static double rate_at(const trm_recipe *r, long step) {
    double rate = 1;
    if (step < r->warmup)
        rate = (double)(step + 1) / (double)r->warmup;
    if (r->anneal_from >= 0 && step > r->anneal_from && r->steps > r->anneal_from) {
        double f = (double)(step - r->anneal_from) / (double)(r->steps - r->anneal_from);
        rate *= 1 - (1 - r->anneal_to) * (f < 1 ? f : 1);
    }
    return rate;
}

/* ACT of the official code: halt at the last step, or when the halt logit is positive,
 * unless exploration asks for more steps. */
static bool halts(const trm_recipe *r, trm_lesson *l) {
    int least = 1, most = r->model.halt_max_steps;
    if (trm_rng_unit(&l->rng) < r->model.halt_exploration_prob && most > 1)
        least = 2 + (int)trm_rng_below(&l->rng, (uint32_t)(most - 1));
    bool sure = l->q[0] > 0 || (l->q[1] > 0 && trm_lesson_unsat(l, &r->model));
    return l->steps >= most || (sure && l->steps >= least);
}

static void average(double *a, double x, double keep) {
    *a = keep * *a + (1 - keep) * x;
}

/* One clue more for a Sudoku that is not solved yet; after a wrong one it has no answer. */
static void assume(const trm_recipe *r, trm_lesson *l) {
    const double now = 0.4;
    if (l->open_cell < 0 || trm_rng_unit(&l->rng) >= now)
        return;
    bool wrong = l->unlike && trm_rng_unit(&l->rng) < r->share_assumed_wrong;
    l->tokens[l->open_cell] = wrong ? l->unlike : l->likely;
    for (int i = 0; i < l->cells && wrong; i++)
        l->labels[i] = -100;
}

static void after_step(trm_trainer *t) {
    int assuming = (int)lround(t->recipe.share_assumed * t->recipe.batch);
    trm_train_log *g = &t->log;
    for (int i = 0; i < t->recipe.batch; i++) {
        trm_lesson *l = trm_trainer_lesson(t, i);
        l->done = halts(&t->recipe, l);
        if (!l->done && i < assuming)
            assume(&t->recipe, l);
        if (!l->done)
            continue;
        const double keep = 0.998;
        if (trm_lesson_unsat(l, &t->recipe.model))
            continue;
        average(&g->cells, l->counted ? (double)l->right / l->counted : 1, keep);
        average(&g->exact, l->right == l->counted, keep);
        average(&g->halted_steps, l->steps, keep);
        g->puzzles++;
        t->since_change++;
    }
    if (g->easier > t->recipe.extra_clues_least && g->exact > t->recipe.curriculum_at &&
        t->since_change >= 250) {
        g->easier--;
        t->since_change = 0;
    }
}

static void refresh(void *arg, int member) {
    trm_trainer *t = arg;
    int n = t->recipe.model.L_layers, team = trm_team_size(t->team);
    /* Packing cannot fail where it has worked at the start: same shapes, no allocation of
     * ours; a backend error would repeat in the next product and is caught there. */
    (void)trm_net_refresh(t->net, n * member / team, n * (member + 1) / team, NULL);
}

static int learn(trm_trainer *t, double rate, trm_loss *sum, trm_error *err) {
    if (t->learner) {
        const trm_device_update u = {.update = true, .t = ++t->optim->t, .rate = rate};
        return trm_learner_step(t->learner, t->log.easier, &u, sum, &t->log.grad_norm, err);
    }
    int r = trm_class_step(t->class, prepare, t, t->grads, sum, err);
    if (r || !isfinite(sum->total))
        return r;
    t->log.grad_norm = trm_optim_update(t->optim, t->model->w, t->grads, rate);
    trm_team_run(t->team, refresh, t);
    return TRM_OK;
}

int trm_trainer_step(trm_trainer *t, trm_train_log *log, trm_error *err) {
    trm_train_log *g = &t->log;
    trm_loss sum;
    double rate = rate_at(&t->recipe, g->step), n = t->recipe.batch;
    int r = learn(t, rate, &sum, err);
    if (r)
        return r;
    if (!isfinite(sum.total))
        return trm_fail(
            err, TRM_E_ARG, "the loss is not finite at step %ld: training diverged", g->step);
    g->loss = (trm_loss){sum.lm / n, sum.q_halt / n, sum.total / n};
    g->lr = rate * t->recipe.lr;
    after_step(t);
    g->step++;
    g->samples += t->recipe.batch;
    *log = *g;
    return TRM_OK;
}

bool trm_trainer_done(const trm_trainer *t) {
    return t->log.step >= t->recipe.steps;
}

long trm_trainer_resumed(const trm_trainer *t) {
    return t->resumed;
}

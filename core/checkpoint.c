/* Checkpoints: everything a run needs to go on as if it had never stopped.
 *
 * state.safetensors      weights, moments, average, counters
 * slots.STEP.safetensors puzzles, latents and random numbers of the batch at that step
 * model.safetensors      the average (or the weights), ready to be served
 * Slots are written first under their step's name, then the state that names them, so a kill
 * at any moment leaves a state with its own slots. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc_source.h"
#include "trainer.h"

enum { COUNTERS = 8, AVERAGES = 3 };

static void path_of(const trm_trainer *t, char *out, size_t size, const char *name) {
    (void)snprintf(out, size, "%s/%s", t->options.out, name);
}

static void slots_path(const trm_trainer *t, char *out, size_t size, long step) {
    (void)snprintf(out, size, "%s/slots.%ld.safetensors", t->options.out, step);
}

static void counters_get(const trm_trainer *t, int64_t c[COUNTERS], double a[AVERAGES]) {
    const trm_train_log *g = &t->log;
    const int64_t all[COUNTERS] = {g->step, g->samples, g->puzzles, g->easier, t->since_change,
        t->optim->t, t->recipe.batch, 0};
    memcpy(c, all, sizeof all);
    a[0] = g->cells;
    a[1] = g->exact;
    a[2] = g->halted_steps;
}

static void counters_set(trm_trainer *t, const int64_t c[COUNTERS], const double a[AVERAGES]) {
    trm_train_log *g = &t->log;
    g->step = (long)c[0];
    g->samples = (long)c[1];
    g->puzzles = (long)c[2];
    g->easier = (int)c[3];
    t->since_change = (long)c[4];
    t->optim->t = (long)c[5];
    g->cells = a[0];
    g->exact = a[1];
    g->halted_steps = a[2];
}

static trm_st_view vector(const char *name, trm_dtype t, const void *data, size_t n) {
    return (trm_st_view){name, t, 1, {(int64_t)n}, data, n * trm_st_dtype_size(t)};
}

static int save_state(trm_trainer *t, trm_error *err) {
    int64_t c[COUNTERS];
    double a[AVERAGES];
    char path[1200];
    const trm_optim *o = t->optim;
    counters_get(t, c, a);
    trm_st_view v[6] = {vector("weights", TRM_F32, t->model->w, t->floats),
        vector("m", TRM_F32, o->m, t->floats), vector("v", TRM_F32, o->v, t->floats),
        vector("counters", TRM_I64, c, COUNTERS), vector("averages", TRM_F64, a, AVERAGES)};
    if (o->ema)
        v[5] = vector("ema", TRM_F32, o->ema, t->floats);
    path_of(t, path, sizeof path, "state.safetensors");
    return trm_st_write(path, v, o->ema ? 6 : 5, NULL, 0, err);
}

/* What a slot holds beside its latents and grids. */
enum { FIXED = 5, META = FIXED + TRM_FRAME_CODE };

struct slots {
    size_t n, l, sd;
    int32_t *tokens, *labels, *meta;
    uint8_t *row, *col;
    int64_t *rng;
    float *y, *z;
};

static void slots_free(struct slots *s) {
    void *all[] = {s->tokens, s->labels, s->meta, s->row, s->col, s->rng, s->y, s->z};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static int slots_make(struct slots *s, const trm_trainer *t, trm_error *err) {
    const trm_config *c = &t->recipe.model;
    size_t n = (size_t)t->recipe.batch, l = (size_t)c->seq_len;
    size_t sd = (size_t)trm_plan_length(c, trm_config_positions(c)) * (size_t)c->hidden_size;
    *s = (struct slots){n, l, sd, calloc(n * l, 4), calloc(n * l, 4), calloc(n * META, 4),
        calloc(n, l), calloc(n, l), calloc(n * 4, 8), calloc(n * sd, 4), calloc(n * sd, 4)};
    if (s->tokens && s->labels && s->meta && s->row && s->col && s->rng && s->y && s->z)
        return TRM_OK;
    slots_free(s);
    return trm_fail(err, TRM_E_NOMEM, "out of memory for a checkpoint");
}

static void slots_copy(struct slots *s, trm_trainer *t, bool load) {
    for (size_t i = 0; i < s->n; i++) {
        trm_lesson *l = trm_trainer_lesson(t, (int)i);
        int32_t *m = s->meta + i * META;
        struct {
            void *ours, *theirs;
            size_t bytes;
        } part[] = {{l->tokens, s->tokens + i * s->l, s->l * 4},
            {l->labels, s->labels + i * s->l, s->l * 4}, {l->row, s->row + i * s->l, s->l},
            {l->col, s->col + i * s->l, s->l}, {l->rng.s, s->rng + i * 4, 32},
            {l->y, s->y + i * s->sd, s->sd * 4}, {l->z, s->z + i * s->sd, s->sd * 4}};
        for (size_t k = 0; k < sizeof part / sizeof *part; k++)
            memcpy(load ? part[k].ours : part[k].theirs, load ? part[k].theirs : part[k].ours,
                part[k].bytes);
        if (load) {
            l->cells = m[0];
            l->puzzle = m[1];
            l->steps = m[2];
            l->done = m[3];
            l->fresh = m[4];
            for (int k = 0; k < TRM_FRAME_CODE; k++)
                l->frame[k] = (uint8_t)m[FIXED + k];
            if (!l->done)
                trm_lesson_places(l, &t->recipe.model);
        } else {
            const int32_t all[FIXED] = {l->cells, l->puzzle, l->steps, l->done, l->fresh};
            memcpy(m, all, sizeof all);
            for (int k = 0; k < TRM_FRAME_CODE; k++)
                m[FIXED + k] = l->frame[k];
        }
    }
}

static int slots_views(const struct slots *s, trm_st_view *v) {
    v[0] = vector("tokens", TRM_I32, s->tokens, s->n * s->l);
    v[1] = vector("labels", TRM_I32, s->labels, s->n * s->l);
    v[2] = vector("meta", TRM_I32, s->meta, s->n * META);
    v[3] = vector("row", TRM_U8, s->row, s->n * s->l);
    v[4] = vector("col", TRM_U8, s->col, s->n * s->l);
    v[5] = vector("rng", TRM_I64, s->rng, s->n * 4);
    v[6] = vector("y", TRM_F32, s->y, s->n * s->sd);
    v[7] = vector("z", TRM_F32, s->z, s->n * s->sd);
    return 8;
}

/* What a learner has promised: seeds and easiness of the puzzles ahead, (batch, 2). */
static int64_t *ahead_new(const trm_learner *k) {
    int n = k->recipe->batch;
    int64_t *ahead = calloc((size_t)n * 2, sizeof *ahead);
    for (int i = 0; ahead && i < n; i++) {
        memcpy(&ahead[2 * i], &k->seed[i], sizeof k->seed[i]);
        ahead[2 * i + 1] = k->easier[i];
    }
    return ahead;
}

/* A checkpoint of the CPU's has promised nothing. */
static void ahead_take(trm_learner *k, const trm_st_file *f, int easier) {
    const trm_st_view *v = trm_st_find(f, "ahead");
    int n = k->recipe->batch;
    if (!v || v->dtype != TRM_I64 || v->bytes != (size_t)n * 2 * sizeof(int64_t)) {
        trm_learner_promise(k, easier);
        return;
    }
    for (int i = 0; i < n; i++) {
        int64_t pair[2];
        memcpy(pair, (const char *)v->data + (size_t)i * sizeof pair, sizeof pair);
        memcpy(&k->seed[i], &pair[0], sizeof k->seed[i]);
        k->easier[i] = (int)pair[1];
        k->drawn[i] = false;
    }
}

static int save_slots(trm_trainer *t, trm_error *err) {
    struct slots s;
    trm_st_view v[9];
    char path[1200];
    int64_t *ahead = t->learner ? ahead_new(t->learner) : NULL;
    if (t->learner && !ahead)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a checkpoint");
    int r = slots_make(&s, t, err);
    if (r) {
        free(ahead);
        return r;
    }
    slots_copy(&s, t, false);
    slots_path(t, path, sizeof path, t->log.step);
    int n = slots_views(&s, v);
    if (ahead)
        v[n++] = vector("ahead", TRM_I64, ahead, 2 * s.n);
    r = trm_st_write(path, v, n, NULL, 0, err);
    slots_free(&s);
    free(ahead);
    return r;
}

static int save_model(trm_trainer *t, trm_error *err) {
    char path[1200];
    trm_model average = *t->model;
    if (t->optim->ema && t->log.step > 0)
        average.w = t->optim->ema;
    path_of(t, path, sizeof path, "model.safetensors");
    if (!t->recipe.model.frames)
        return trm_model_save(&average, path, TRM_F32, err);
    trm_model *trunk;
    int r = trm_arc_trunk(&trunk, &average, TRM_ARC_CELLS, err);
    if (r)
        return r;
    r = trm_model_save(trunk, path, TRM_F32, err);
    trm_model_free(trunk);
    return r;
}

/* Everything a device holds, into the host's arrays, or out of them. */
static int exchange(trm_trainer *t, bool out, trm_error *err) {
    trm_learner *k = t->learner;
    const struct {
        trm_device_array which;
        float *at;
    } all[] = {{TRM_DEVICE_W, t->model->w}, {TRM_DEVICE_M, t->optim->m},
        {TRM_DEVICE_V, t->optim->v}, {TRM_DEVICE_EMA, t->optim->ema}};
    int r = TRM_OK;
    for (size_t i = 0; k && i < sizeof all / sizeof *all && !r; i++)
        if (all[i].at)
            r = out ? k->lib->get(k->device, all[i].which, all[i].at, err)
                    : k->lib->put(k->device, all[i].which, all[i].at, err);
    if (k && !r)
        r = out ? trm_learner_pull(k, err) : trm_learner_push(k, err);
    return r;
}

int trm_trainer_save(trm_trainer *t, trm_error *err) {
    long last = t->saved;
    int r = exchange(t, true, err);
    if (!r)
        r = save_slots(t, err);
    if (!r)
        r = save_state(t, err);
    if (!r)
        r = save_model(t, err);
    if (r)
        return r;
    t->saved = t->log.step;
    if (last > 0 && last != t->log.step) {
        char path[1200];
        slots_path(t, path, sizeof path, last);
        (void)unlink(path);
    }
    return TRM_OK;
}

/* A tensor of exactly these elements, or an error that names it. */
static int take(
    const trm_st_file *f, const char *name, trm_dtype type, void *to, size_t n, trm_error *err) {
    const trm_st_view *v = trm_st_find(f, name);
    if (!v || v->dtype != type || v->bytes != n * trm_st_dtype_size(type))
        return trm_fail(
            err, TRM_E_FORMAT, "checkpoint: tensor %s is missing or not of this recipe", name);
    memcpy(to, v->data, v->bytes);
    return TRM_OK;
}

static int load_state(trm_trainer *t, const trm_st_file *f, trm_error *err) {
    int64_t c[COUNTERS];
    double a[AVERAGES];
    int r = take(f, "weights", TRM_F32, t->model->w, t->floats, err);
    if (!r)
        r = take(f, "m", TRM_F32, t->optim->m, t->floats, err);
    if (!r)
        r = take(f, "v", TRM_F32, t->optim->v, t->floats, err);
    if (!r && t->optim->ema)
        r = trm_st_find(f, "ema") ? take(f, "ema", TRM_F32, t->optim->ema, t->floats, err)
                                  : take(f, "weights", TRM_F32, t->optim->ema, t->floats, err);
    if (!r)
        r = take(f, "counters", TRM_I64, c, COUNTERS, err);
    if (!r)
        r = take(f, "averages", TRM_F64, a, AVERAGES, err);
    if (r)
        return r;
    counters_set(t, c, a);
    return t->net ? trm_net_refresh(t->net, 0, t->recipe.model.L_layers, err) : TRM_OK;
}

static int load_slots(trm_trainer *t, const trm_st_file *f, trm_error *err) {
    struct slots s;
    trm_st_view v[8];
    int r = slots_make(&s, t, err);
    if (r)
        return r;
    int n = slots_views(&s, v);
    for (int i = 0; i < n && !r; i++)
        r = take(f, v[i].name, v[i].dtype, (void *)(uintptr_t)v[i].data,
            v[i].bytes / trm_st_dtype_size(v[i].dtype), err);
    if (!r)
        slots_copy(&s, t, true);
    if (!r && t->learner)
        ahead_take(t->learner, f, t->log.easier);
    slots_free(&s);
    return r;
}

/* Without its slots (a state that was moved alone, or a changed batch size) a run goes on
 * with new puzzles: the same training, not the same numbers. */
int trm_trainer_load(trm_trainer *t, trm_error *err) {
    char path[1200];
    trm_st_file *f;
    path_of(t, path, sizeof path, "state.safetensors");
    if (access(path, F_OK) && errno == ENOENT)
        return TRM_OK;
    int r = trm_st_open(&f, path, err);
    if (r)
        return r;
    r = load_state(t, f, err);
    trm_st_close(f);
    if (r)
        return r;
    t->resumed = t->saved = t->log.step;
    slots_path(t, path, sizeof path, t->log.step);
    if (access(path, F_OK) && errno == ENOENT)
        return exchange(t, false, err);
    r = trm_st_open(&f, path, err);
    if (r)
        return r;
    const trm_st_view *meta = trm_st_find(f, "meta");
    if (meta && meta->bytes == (size_t)t->recipe.batch * META * 4)
        r = load_slots(t, f, err);
    trm_st_close(f);
    return r ? r : exchange(t, false, err);
}

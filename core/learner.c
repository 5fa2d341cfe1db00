/* See learner.h. */
#include <stdlib.h>
#include <string.h>

#include "learner.h"

int trm_learner_new(trm_learner **out, const trm_device_lib *lib, const char *backend,
    const trm_model *m, const trm_recipe *r, trm_team *team, const trm_source *source,
    trm_error *err) {
    trm_device_options o = trm_device_options_of(m, backend, r->batch);
    size_t n = (size_t)r->batch, members = (size_t)trm_team_size(team);
    if (!trm_device_takes(&m->config))
        return trm_fail(err, TRM_E_UNSUPPORTED, "models with frames are trained on the CPU");
    trm_learner *k = calloc(1, sizeof *k);
    if (!k)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for training");
    *k = (trm_learner){.lib = lib, .team = team, .recipe = r, .c = &m->config, .source = source};
    k->seed = calloc(n, sizeof *k->seed);
    k->easier = calloc(n, sizeof *k->easier);
    k->drawn = calloc(n, sizeof *k->drawn);
    k->failed = calloc(members, sizeof *k->failed);
    k->error = calloc(members, sizeof *k->error);
    k->verdict = calloc(n, sizeof *k->verdict);
    int e = TRM_OK;
    if (!k->seed || !k->easier || !k->drawn || !k->failed || !k->error || !k->verdict)
        e = trm_fail(err, TRM_E_NOMEM, "out of memory for training");
    if (!e)
        e = trm_lessons_new(&k->lesson, k->c, r->batch, err);
    if (!e && source)
        e = trm_lessons_new(&k->ahead, k->c, r->batch, err);
    o.recipe = r;
    if (!e)
        e = lib->open(&k->device, &o, err);
    if (e) {
        trm_learner_free(k);
        return e;
    }
    *out = k;
    return TRM_OK;
}

void trm_learner_free(trm_learner *k) {
    if (!k)
        return;
    if (k->device)
        k->lib->close(k->device);
    trm_lessons_free(k->lesson, k->recipe->batch);
    trm_lessons_free(k->ahead, k->recipe->batch);
    free(k->seed);
    free(k->easier);
    free(k->drawn);
    free(k->failed);
    free(k->error);
    free(k->verdict);
    free(k);
}

static void promise(trm_learner *k, int i, int easier) {
    k->seed[i] = trm_rng_next(&k->lesson[i].rng);
    k->easier[i] = easier;
    k->drawn[i] = false;
}

void trm_learner_promise(trm_learner *k, int easier) {
    for (int i = 0; i < k->recipe->batch; i++)
        promise(k, i, easier);
}

/* Each member draws every so many-th of the puzzles ahead that are wanted. */
static void draw(void *arg, int member) {
    trm_learner *k = arg;
    k->failed[member] = TRM_OK;
    for (int i = member; i < k->recipe->batch && !k->failed[member]; i += trm_team_size(k->team)) {
        if (k->drawn[i])
            continue;
        trm_rng_seed(&k->ahead[i].rng, k->seed[i]);
        k->failed[member] =
            trm_source_next(k->source, k->easier[i], &k->ahead[i], &k->error[member]);
        k->drawn[i] = true;
    }
}

static int draw_ahead(trm_learner *k, trm_error *err) {
    if (!k->source)
        return TRM_OK;
    trm_team_run(k->team, draw, k);
    for (int i = 0; i < trm_team_size(k->team); i++)
        if (k->failed[i])
            return trm_fail(err, k->failed[i], "%s", k->error[i].text);
    return TRM_OK;
}

/* What a source fills changes places; random numbers, latents and tables stay. */
static void take_ahead(trm_lesson *l, trm_lesson *ahead) {
    trm_lesson was = *l;
    l->cells = ahead->cells;
    l->puzzle = ahead->puzzle;
    memcpy(l->frame, ahead->frame, sizeof l->frame);
    l->tokens = ahead->tokens;
    l->labels = ahead->labels;
    l->row = ahead->row;
    l->col = ahead->col;
    ahead->tokens = was.tokens;
    ahead->labels = was.labels;
    ahead->row = was.row;
    ahead->col = was.col;
    l->done = false;
    l->fresh = true;
}

static void load(trm_learner *k, int i) {
    trm_lesson *l = &k->lesson[i];
    trm_lesson_places(l, k->c);
    const trm_device_input in = {.cells = l->cells,
        .real = trm_config_span(k->c, l->cells),
        .s = l->s,
        .puzzle = l->puzzle,
        .tokens = l->tokens,
        .rope = l->rope,
        .near = l->near,
        .labels = l->labels};
    k->lib->load(k->device, i, &in);
}

static int next_lessons(trm_learner *k, int easier, trm_error *err) {
    int r = draw_ahead(k, err); /* of the first step; later there is nothing left to draw */
    for (int i = 0; i < k->recipe->batch && !r; i++) {
        trm_lesson *l = &k->lesson[i];
        if (l->done && k->source) {
            take_ahead(l, &k->ahead[i]);
            promise(k, i, easier);
        }
        if (!l->fresh)
            continue;
        load(k, i);
        l->steps = 0;
        l->fresh = false;
    }
    return r;
}

int trm_learner_step(trm_learner *k, int easier, const trm_device_update *u, trm_loss *sum,
    double *norm, trm_error *err) {
    int r = next_lessons(k, easier, err);
    if (r)
        return r;
    trm_error late;
    r = k->lib->learn(k->device, u, err);
    int d = r ? r : draw_ahead(k, &late); /* while the device works */
    if (!r)
        r = k->lib->learned(k->device, k->verdict, norm, err);
    if (!r && d)
        r = trm_fail(err, d, "%s", late.text);
    *sum = (trm_loss){0, 0, 0};
    for (int i = 0; i < k->recipe->batch && !r; i++) {
        trm_lesson *l = &k->lesson[i];
        const trm_device_verdict *v = &k->verdict[i];
        l->lm = v->lm;
        l->q_loss = v->q_loss;
        memcpy(l->q, v->q, sizeof l->q);
        l->right = v->right;
        l->counted = v->counted;
        l->steps++;
        sum->lm += v->lm;
        sum->q_halt += v->q_loss;
    }
    sum->total = sum->lm + k->recipe->q_weight * sum->q_halt;
    return r;
}

int trm_learner_pull(trm_learner *k, trm_error *err) {
    int r = TRM_OK;
    for (int i = 0; i < k->recipe->batch && !r; i++)
        if (!k->lesson[i].fresh)
            r = k->lib->latents_get(k->device, i, k->lesson[i].y, k->lesson[i].z, err);
    return r;
}

int trm_learner_push(trm_learner *k, trm_error *err) {
    int r = TRM_OK;
    for (int i = 0; i < k->recipe->batch && !r; i++) {
        if (k->lesson[i].done || k->lesson[i].fresh)
            continue;
        load(k, i);
        r = k->lib->latents_put(k->device, i, k->lesson[i].y, k->lesson[i].z, err);
    }
    return r;
}

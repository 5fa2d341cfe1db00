/* trm_grad: losses and gradients on a given batch, for tests and for the curious. */
#include <string.h>

#include "backend.h"
#include "learner.h"

static int check(const trm_model *m, const trm_grad_request *q, trm_error *err) {
    const trm_config *c = &m->config;
    if (q->batch < 1 || q->steps < 1 || q->threads < 1)
        return trm_fail(err, TRM_E_ARG, "batch, steps and threads must be at least 1");
    for (int i = 0; i < q->batch * c->seq_len; i++) {
        if (q->inputs[i] < 0 || q->inputs[i] >= c->vocab_size)
            return trm_fail(
                err, TRM_E_ARG, "input %d is not in 0..%d", q->inputs[i], c->vocab_size - 1);
        if (q->labels[i] != -100 && (q->labels[i] < 0 || q->labels[i] >= c->vocab_size))
            return trm_fail(err, TRM_E_ARG, "label %d is neither -100 nor in 0..%d", q->labels[i],
                c->vocab_size - 1);
    }
    for (int i = 0; i < q->batch && c->puzzle_emb_ndim; i++)
        if (q->puzzles[i] < 0 || q->puzzles[i] >= c->num_puzzle_identifiers)
            return trm_fail(err, TRM_E_ARG, "puzzle identifier %d is not in 0..%d", q->puzzles[i],
                c->num_puzzle_identifiers - 1);
    if (c->packed && c->pos_encodings == TRM_POS_ROPE2D)
        return trm_fail(err, TRM_E_UNSUPPORTED, "gradients of packed 2-D inputs need the trainer");
    return TRM_OK;
}

static void fill(trm_lesson *s, const trm_model *m, const trm_grad_request *q, int i) {
    size_t l = (size_t)m->config.seq_len;
    s->cells = (int)l;
    s->puzzle = m->config.puzzle_emb_ndim ? q->puzzles[i] : 0;
    memcpy(s->tokens, q->inputs + (size_t)i * l, l * sizeof(int32_t));
    memcpy(s->labels, q->labels + (size_t)i * l, l * sizeof(int32_t));
}

/* The same on a device. */
static int on_device(const trm_device_lib *lib, const trm_model *m, const trm_grad_request *q,
    trm_team *team, trm_loss *losses, float *grads, trm_error *err) {
    const trm_device_update none = {.update = false};
    trm_recipe recipe = {.batch = q->batch, .loss = q->loss, .q_weight = q->q_weight};
    trm_learner *k;
    double norm;
    int r = trm_learner_new(&k, lib, q->backend, m, &recipe, team, NULL, err);
    if (r)
        return r;
    for (int i = 0; i < q->batch; i++)
        fill(&k->lesson[i], m, q, i);
    for (int i = 0; i < q->steps && !r; i++)
        r = trm_learner_step(k, 0, &none, &losses[i], &norm, err);
    if (!r)
        r = lib->get(k->device, TRM_DEVICE_GRADS, grads, err);
    trm_learner_free(k);
    return r;
}

static int run(trm_class *k, const trm_model *m, const trm_grad_request *q, trm_loss *losses,
    float *grads, trm_error *err) {
    int r = TRM_OK;
    for (int i = 0; i < q->batch; i++)
        fill(trm_class_lesson(k, i), m, q, i);
    for (int i = 0; i < q->steps && !r; i++)
        r = trm_class_step(k, NULL, NULL, grads, &losses[i], err);
    return r;
}

int trm_grad(
    const trm_model *m, const trm_grad_request *q, trm_loss *losses, float *grads, trm_error *err) {
    const trm_mm_lib *lib;
    trm_net *net = NULL;
    trm_team *team = NULL;
    trm_class *k = NULL;
    int r = check(m, q, err);
    const trm_device_lib *device = r ? NULL : trm_device_find(q->backend);
    if (device) {
        r = trm_team_new(&team, q->threads, NULL, err);
        if (!r)
            r = on_device(device, m, q, team, losses, grads, err);
        trm_team_free(team);
        if (r != TRM_E_UNSUPPORTED || !trm_backend_is_auto(q->backend))
            return r;
        team = NULL;
        r = TRM_OK;
    }
    if (!r)
        r = trm_backend_find(&lib, q->backend, err);
    if (!r)
        r = trm_team_new(&team, q->threads, lib->enter_thread, err);
    if (!r)
        r = trm_net_new(&net, &m->config, &m->layout, m->w, lib, true, err);
    trm_class_options o = {.loss = q->loss, .q_weight = q->q_weight, .tape = 1, .batch = q->batch};
    if (!r)
        r = trm_class_new(&k, net, team, &o, err);
    if (!r)
        r = run(k, m, q, losses, grads, err);
    trm_class_free(k);
    trm_net_free(net);
    trm_team_free(team);
    return r;
}

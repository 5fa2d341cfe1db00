/* A training step: forward with a tape, losses, backward; the GPU's counterpart of core/lesson.c.
 * Where there is no room for all lessons at once they are taken in several batches of one size,
 * whose gradients add up. */
#include <math.h>
#include <string.h>

#include "gpu.h"

static float *grad(const trm_device *g, trm_role role) {
    for (int i = 0; i < g->layout->count; i++)
        if (g->layout->param[i].role == role && g->layout->param[i].layer < 0)
            return g->learn->grads + g->layout->param[i].offset;
    return NULL;
}

/* Logits, losses, and the gradients of both heads' outputs in dl. */
static void losses(trm_device *g) {
    trm_gpu_learning *t = g->learn;
    int l = g->c.seq_len, slots = g->slots;
    trm_k_loss a = {.shape = g->shape,
        .list = g->list,
        .slot = g->slot,
        .labels = t->labels,
        .logits = g->logits,
        .dl = t->dl,
        .loss = t->loss,
        .right = t->right,
        .l = l,
        .v = g->c.vocab_size,
        .ld = t->ld,
        .prefix = g->c.puzzle_emb_len,
        .per_cell = g->per_cell,
        .softmax = t->recipe.loss == TRM_SOFTMAX,
        .smoothing = t->recipe.label_smoothing,
        .k = 1.0 / slots};
    trm_k_judge j = {g->list, g->slot, t->labels, t->loss, t->right, g->q, t->dq, t->verdict, l,
        g->c.unsat_head, t->recipe.q_weight / slots};
    trm_k_share s = {g->shape, g->list, g->slot, t->dq, t->dl, g->told, t->ld, g->c.q_mean};
    trm_gpu_heads(g);
    trm_dev_loss(g->dev, &a, trm_gpu_rows(g));
    trm_dev_judge(g->dev, &j, g->shape.b);
    trm_dev_share(g->dev, &s, trm_gpu_rows(g));
}

/* From dl to the gradient of y, and to those of the heads. */
static void heads_back(trm_device *g) {
    trm_gpu_learning *t = g->learn;
    int rows = (int)trm_gpu_rows(g), v = g->told, d = g->d;
    trm_k_sum bias = {grad(g, TRM_W_Q_BIAS), t->dq, g->shape.b, 2};
    trm_gpu_product(g, rows, d, v, t->dl, t->ld, g->lm_head, d, t->g, TRM_MM_F32);
    trm_gpu_product(g, rows, d, 2, t->dl + v, t->ld, g->q_head, d, t->g, TRM_MM_F32 | TRM_MM_ADD);
    trm_gpu_product(g, v, d, rows, t->dl, t->ld, g->y, d, grad(g, TRM_W_LM_HEAD),
        TRM_MM_TA | TRM_MM_F32 | TRM_MM_ADD);
    trm_gpu_product(g, 2, d, rows, t->dl + v, t->ld, g->y, d, grad(g, TRM_W_Q_HEAD),
        TRM_MM_TA | TRM_MM_F32 | TRM_MM_ADD);
    trm_dev_sum(g->dev, &bias, 2);
}

static void embed_back(trm_device *g) {
    trm_gpu_learning *t = g->learn;
    int prefix = g->c.puzzle_emb_len, d = g->d;
    int chunks = (d + 127) / 128, rows = (int)trm_gpu_rows(g);
    float scale = sqrtf((float)d) * (g->pos ? sqrtf(0.5f) : 1.0f);
    trm_k_one_hot a = {g->shape, g->list, g->slot, g->tokens, t->dl, g->c.seq_len, t->ld, prefix,
        g->per_cell, scale};
    trm_dev_one_hot(g->dev, &a, rows);
    trm_gpu_product(g, g->shown, d, rows, t->dl, t->ld, t->de, d, grad(g, TRM_W_EMBED),
        TRM_MM_TA | TRM_MM_F32 | TRM_MM_ADD);
    if (g->pos) {
        trm_k_pos_back b = {
            g->shape, g->list, g->slot, t->de, grad(g, TRM_W_POS), d, chunks, scale};
        trm_dev_pos_back(g->dev, &b, (long)g->shape.s * chunks);
    }
    if (g->puzzle && prefix) {
        int ndim = g->c.puzzle_emb_ndim, many = (ndim + 127) / 128;
        trm_k_puzzle_back c = {
            g->shape, g->list, g->slot, t->de, grad(g, TRM_W_PUZZLE), d, ndim, many, scale};
        trm_dev_puzzle_back(g->dev, &c, (long)g->shape.b * many);
    }
}

static void backward(trm_device *g) {
    trm_gpu_learning *t = g->learn;
    long n = trm_gpu_rows(g) * g->d;
    int last = g->c.L_cycles, layers = g->c.L_layers;
    heads_back(g);
    trm_gpu_pass_back(g, t->tape + (long)last * layers);
    for (int i = last - 1; i >= 0 && (i == last - 1 || !t->recipe.one_step_gradient); i--) {
        trm_k_blend sum = {t->de, t->g, n, i == last - 1 ? 0.0f : 1.0f, 1.0f};
        trm_gpu_pass_back(g, t->tape + (long)i * layers);
        trm_dev_blend(g->dev, &sum, (n + TRM_CHUNK - 1) / TRM_CHUNK);
    }
    embed_back(g);
}

/* Lessons first.. of the list; the places behind the last stay empty. */
static void learn_batch(trm_device *g, int first) {
    int s = 1;
    for (int i = first; i < first + g->places && i < g->slots; i++)
        s = g->slot_s[i] > s ? g->slot_s[i] : s;
    g->shape = (trm_k_shape){g->places, trm_gpu_length(g, s), g->c.mlp_t};
    trm_dev_up(g->dev, g->list, g->host_list + first, (size_t)g->places * sizeof *g->list);
    trm_gpu_begin(g);
    for (int t = 0; t < g->c.H_cycles; t++)
        trm_gpu_cycle(g, t == g->c.H_cycles - 1 ? g->learn->tape : NULL);
    losses(g);
    backward(g);
    trm_gpu_end(g);
}

int trm_gpu_learn(trm_device *g, const trm_device_update *u, trm_error *err) {
    trm_gpu_learning *t = g->learn;
    if (!t)
        return trm_fail(err, TRM_E_ARG, "the device was not opened to train");
    for (int i = 0; i < g->slots; i++)
        if (!g->slot_s[i])
            return trm_fail(err, TRM_E_ARG, "lesson %d is empty", i);
    int all = (g->slots + g->places - 1) / g->places * g->places;
    for (int i = 0; i < all; i++)
        g->host_list[i] = i < g->slots ? i : -1;
    trm_gpu_send(g);
    trm_dev_zero(g->dev, t->grads, g->layout->floats * sizeof *t->grads);
    for (int first = 0; first < g->slots; first += g->places)
        learn_batch(g, first);
    if (u->update)
        trm_gpu_update(g, u);
    trm_dev_down(g->dev, t->host_verdict, t->verdict, (size_t)g->slots * sizeof *t->verdict);
    trm_dev_down(g->dev, t->host_norm, t->norm, sizeof *t->norm);
    return TRM_OK;
}

int trm_gpu_learned(trm_device *g, trm_device_verdict *verdict, double *norm, trm_error *err) {
    const trm_gpu_learning *t = g->learn;
    int r = trm_dev_sync(g->dev, err);
    for (int i = 0; i < g->slots && !r; i++) {
        const trm_k_verdict *v = &t->host_verdict[i];
        verdict[i] =
            (trm_device_verdict){v->lm, v->q_loss, {v->q[0], v->q[1]}, v->right, v->counted};
        g->host_slot[i].fresh = 0;
    }
    *norm = r ? 0 : t->host_norm[0];
    return r;
}

static float *array_of(const trm_device *g, trm_device_array which) {
    const trm_gpu_learning *t = g->learn;
    if (which == TRM_DEVICE_W || !t)
        return which == TRM_DEVICE_W ? g->w : NULL;
    return which == TRM_DEVICE_M     ? t->m
           : which == TRM_DEVICE_V   ? t->v
           : which == TRM_DEVICE_EMA ? t->ema
                                     : t->grads;
}

int trm_gpu_get(trm_device *g, trm_device_array which, float *to, trm_error *err) {
    const float *from = array_of(g, which);
    if (!from)
        return trm_fail(err, TRM_E_ARG, "the device has no such array");
    trm_dev_down(g->dev, to, from, g->layout->floats * sizeof *to);
    return trm_dev_sync(g->dev, err);
}

int trm_gpu_put(trm_device *g, trm_device_array which, const float *from, trm_error *err) {
    float *to = array_of(g, which);
    if (!to)
        return trm_fail(err, TRM_E_ARG, "the device has no such array");
    trm_dev_up(g->dev, to, from, g->layout->floats * sizeof *to);
    if (which == TRM_DEVICE_W)
        trm_gpu_refresh(g);
    return trm_dev_sync(g->dev, err);
}

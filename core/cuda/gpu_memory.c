/* Everything a trm_device holds in memory, and how many slots there is room for. */
#include <stdlib.h>
#include <string.h>

#include "gpu.h"

enum { SCORE_BYTES = 256 << 20 }; /* of scores that are there at a time */

int trm_gpu_up8(int n) {
    return (n + 7) / 8 * 8;
}

void *trm_gpu_ask(trm_gpu_asker *k, size_t n, size_t size) {
    void *at = NULL;
    if (!k->r)
        k->r = trm_dev_alloc(k->g->dev, &at, n * size, k->err);
    return at;
}

void *trm_gpu_ask_pinned(trm_gpu_asker *k, size_t n, size_t size) {
    void *at = NULL;
    if (!k->r)
        k->r = trm_dev_pin(k->g->dev, &at, n * size, k->err);
    return at;
}

static const trm_param *param(const trm_device *g, trm_role role) {
    for (int i = 0; i < g->layout->count; i++)
        if (g->layout->param[i].role == role && g->layout->param[i].layer < 0)
            return &g->layout->param[i];
    return NULL;
}

static const float *weight(const trm_device *g, trm_role role) {
    const trm_param *p = param(g, role);
    return p ? g->w + p->offset : NULL;
}

static void make_matrix(trm_gpu_asker *k, trm_gpu_matrix *m, const trm_param *p) {
    m->param = p;
    m->ld = trm_gpu_up8(p->cols);
    m->at = trm_gpu_ask(k, (size_t)p->rows * (size_t)m->ld, (size_t)k->g->act);
}

static trm_gpu_matrix *matrix_of(trm_gpu_layer *l, trm_role role) {
    switch (role) {
    case TRM_W_QKV:
        return &l->qkv;
    case TRM_W_O:
        return &l->o;
    case TRM_W_GATE_UP:
        return &l->gate_up;
    case TRM_W_DOWN:
        return &l->down;
    case TRM_W_GATE_UP_T:
        return &l->gate_up_t;
    case TRM_W_DOWN_T:
        return &l->down_t;
    default:
        return NULL;
    }
}

static void make_weights(trm_gpu_asker *k, const float *w) {
    trm_device *g = k->g;
    g->w = trm_gpu_ask(k, g->layout->floats, sizeof(float));
    g->layer = calloc((size_t)g->c.L_layers, sizeof *g->layer);
    if (!k->r && !g->layer)
        k->r = trm_fail(k->err, TRM_E_NOMEM, "out of memory for a network");
    for (int i = 0; i < g->layout->count && !k->r; i++) {
        const trm_param *p = &g->layout->param[i];
        trm_gpu_matrix *m = p->layer >= 0 ? matrix_of(&g->layer[p->layer], p->role) : NULL;
        if (m)
            make_matrix(k, m, p);
    }
    if (k->r)
        return;
    g->embed = weight(g, TRM_W_EMBED);
    g->pos = weight(g, TRM_W_POS);
    g->puzzle = weight(g, TRM_W_PUZZLE);
    g->lm_head = weight(g, TRM_W_LM_HEAD);
    g->q_head = weight(g, TRM_W_Q_HEAD);
    g->q_bias = weight(g, TRM_W_Q_BIAS);
    g->h_init = weight(g, TRM_W_H_INIT);
    g->l_init = weight(g, TRM_W_L_INIT);
    g->shown = param(g, TRM_W_EMBED)->rows;
    g->told = param(g, TRM_W_LM_HEAD)->rows;
    trm_dev_up(g->dev, g->w, w, g->layout->floats * sizeof(float));
    trm_gpu_refresh(g);
    k->r = trm_dev_sync(g->dev, k->err);
}

void trm_gpu_refresh(trm_device *g) {
    for (int i = 0; i < g->c.L_layers; i++) {
        trm_gpu_layer *l = &g->layer[i];
        trm_gpu_matrix *all[] = {&l->qkv, &l->o, &l->gate_up, &l->down, &l->gate_up_t, &l->down_t};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) {
            const trm_gpu_matrix *m = all[j];
            if (!m->at)
                continue;
            trm_k_to_act a = {m->at, g->w + m->param->offset, m->param->cols, m->ld,
                (m->ld + TRM_CHUNK - 1) / TRM_CHUNK};
            trm_dev_to_act(g->dev, &a, (long)m->param->rows * a.chunks);
        }
    }
}

static bool rotates(const trm_device *g) {
    return !g->c.mlp_t &&
           (g->c.pos_encodings == TRM_POS_ROPE || g->c.pos_encodings == TRM_POS_ROPE2D);
}

static void make_slots(trm_gpu_asker *k) {
    trm_device *g = k->g;
    size_t n = (size_t)g->slots, l = (size_t)g->c.seq_len, sd = (size_t)g->max_s * (size_t)g->d;
    size_t tables = g->c.packed ? n : 1;
    size_t rope = rotates(g) ? (size_t)g->max_s * (size_t)g->hd : 0;
    size_t near = g->near_table ? 4 * (size_t)g->max_s : 0;
    g->rope_stride = g->c.packed ? (long)rope : 0;
    g->near_stride = g->c.packed ? (long)near : 0;
    g->slot = trm_gpu_ask(k, n, sizeof *g->slot);
    g->tokens = trm_gpu_ask(k, n * l, sizeof *g->tokens);
    g->slot_y = trm_gpu_ask(k, n * sd, sizeof(float));
    g->slot_z = trm_gpu_ask(k, n * sd, sizeof(float));
    g->rope = rope ? trm_gpu_ask(k, tables * rope, sizeof(float)) : NULL;
    g->near = near ? trm_gpu_ask(k, tables * near, sizeof *g->near) : NULL;
    g->list = trm_gpu_ask(k, n, sizeof *g->list);
    g->host_slot = trm_gpu_ask_pinned(k, n, sizeof *g->host_slot);
    g->host_tokens = trm_gpu_ask_pinned(k, n * l, sizeof *g->host_tokens);
    g->host_rope = rope ? trm_gpu_ask_pinned(k, tables * rope, sizeof(float)) : NULL;
    g->host_near = near ? trm_gpu_ask_pinned(k, tables * near, sizeof *g->host_near) : NULL;
    g->host_list = trm_gpu_ask_pinned(k, 2 * n, sizeof *g->host_list);
    g->dirty = calloc(n, sizeof *g->dirty);
    g->slot_s = calloc(n, sizeof *g->slot_s);
    if (!k->r && (!g->dirty || !g->slot_s))
        k->r = trm_fail(k->err, TRM_E_NOMEM, "out of memory for %zu slots", n);
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Buffers of a pass. Those of the two halves of a block are never in use together, and share. */
static void make_work(trm_gpu_asker *k) {
    trm_device *g = k->g;
    trm_gpu_place *w = &g->work;
    size_t n = (size_t)g->places, s = (size_t)g->max_s, d = (size_t)g->d, rows = n * s;
    size_t in = (size_t)g->in, in_t = (size_t)g->in_t, act = (size_t)g->act;
    size_t heads = (size_t)g->c.num_heads, ld = (size_t)trm_gpu_up8(g->max_s);
    bool mlp = g->c.mlp_t;
    g->y = trm_gpu_ask(k, rows * d, 4);
    g->z = trm_gpu_ask(k, rows * d, 4);
    g->e = trm_gpu_ask(k, rows * d, 4);
    w->xa0 = w->xa1 = w->xa2 = trm_gpu_ask(k, rows * d, act);
    w->gu = w->gu_t = w->qkv =
        trm_gpu_ask(k, larger(2 * rows * in, mlp ? 2 * in_t * n * d : rows * (size_t)g->wide), act);
    w->h = w->h_t = w->att =
        trm_gpu_ask(k, larger(rows * in, mlp ? in_t * n * d : rows * (size_t)g->mixed), act);
    w->inv1 = w->inv2 = trm_gpu_ask(k, larger(rows, n * d), 4);
    g->mix = g->gated && g->near_table ? trm_gpu_ask(k, rows * (size_t)g->mixed, act) : NULL;
    if (!g->dense)
        return;
    size_t one = heads * s * ld * (4 + act), fit = SCORE_BYTES / one;
    g->group = (int)(fit < 1 ? 1 : fit > n ? n : fit);
    g->scores = trm_gpu_ask(k, (size_t)g->group * heads * s * ld, 4);
    g->p = trm_gpu_ask(k, (size_t)g->group * heads * s * ld, act);
    g->heads = trm_gpu_ask(k, (g->learning ? 7 : 4) * rows * d, act);
    w->lse = trm_gpu_ask(k, rows * heads, 4);
}

static void make_output(trm_gpu_asker *k) {
    trm_device *g = k->g;
    size_t n = (size_t)g->places, l = (size_t)g->c.seq_len, v = (size_t)g->c.vocab_size;
    g->logits = trm_gpu_ask(k, n * l * v, sizeof(float));
    g->q = trm_gpu_ask(k, 2 * n, sizeof(float));
    if (g->learning)
        return;
    g->answer = trm_gpu_ask(k, n * l, sizeof *g->answer);
    g->confidence = trm_gpu_ask(k, n * l, sizeof(float));
    g->host_answer = trm_gpu_ask_pinned(k, n * l, sizeof *g->host_answer);
    g->host_confidence = trm_gpu_ask_pinned(k, n * l, sizeof(float));
    g->host_logits = g->keep_logits ? trm_gpu_ask_pinned(k, n * l * v, sizeof(float)) : NULL;
    g->host_q = trm_gpu_ask_pinned(k, 2 * n, sizeof(float));
}

static int check(const trm_device_options *o, trm_error *err) {
    const trm_config *c = o->config;
    int hd = c->hidden_size / c->num_heads;
    if (c->hidden_size % 8 || o->inner % 8)
        return trm_fail(err, TRM_E_UNSUPPORTED,
            "the GPU needs hidden and inner sizes that are multiples of 8, not %d and %d",
            c->hidden_size, o->inner);
    if (!c->mlp_t && hd % 8)
        return trm_fail(
            err, TRM_E_UNSUPPORTED, "the GPU needs heads of a multiple of 8 channels, not %d", hd);
    return TRM_OK;
}

static int open_with(trm_device **out, const trm_device_options *o, int places, trm_error *err) {
    trm_device *g = calloc(1, sizeof *g);
    bool bf16 = strstr(o->backend, "bf16") != NULL;
    if (!g)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a device");
    g->c = *o->config;
    g->layout = o->layout;
    g->keep_logits = o->keep_logits;
    g->slots = o->recipe ? o->slots : places;
    g->places = places;
    g->learning = o->recipe != NULL;
    g->max_s = o->positions;
    g->d = g->c.hidden_size;
    g->hd = g->d / g->c.num_heads;
    g->in = o->inner;
    g->in_t = o->inner_t;
    g->wide = o->mix_in;
    g->mixed = o->mix_out;
    g->dense = o->dense;
    g->near_table = o->near;
    g->gated = o->gated;
    g->per_cell = g->c.pos_encodings == TRM_POS_CANDIDATES ? 9 : 1;
    g->act = bf16 ? 2 : 4;
    trm_gpu_asker k = {g, err, trm_dev_open(&g->dev, bf16, err)};
    if (!k.r)
        make_weights(&k, o->w);
    if (!k.r) {
        g->fixed_bytes = trm_dev_bytes(g->dev);
        make_slots(&k);
        make_work(&k);
        make_output(&k);
        if (o->recipe)
            trm_gpu_make_learning(&k, o->recipe);
    }
    if (!k.r)
        k.r = trm_dev_sync(g->dev, err);
    if (k.r) {
        trm_gpu_close(g);
        return k.r;
    }
    *out = g;
    return TRM_OK;
}

/* Fewer places where there is no room for all: a smaller batch beats none. A training step then
 * takes its lessons in several batches. */
int trm_gpu_open(trm_device **out, const trm_device_options *o, trm_error *err) {
    int places = o->slots, r = check(o, err);
    if (r)
        return r;
    do
        r = open_with(out, o, places, err);
    while (r == TRM_E_NOMEM && (places /= 2) > 0);
    return r;
}

void trm_gpu_close(trm_device *g) {
    if (!g)
        return;
    for (int i = 0; i < TRM_GPU_BUCKETS; i++)
        trm_dev_graph_free(g->bucket[i].graph);
    trm_dev_close(g->dev);
    trm_gpu_learning_free(g->learn);
    free(g->layer);
    free(g->dirty);
    free(g->slot_s);
    free(g);
}

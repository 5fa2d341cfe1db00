/* One pass of the network over the batch: the GPU's counterpart of core/net_pass.c. */
#include <math.h>

#include "gpu.h"

long trm_gpu_rows(const trm_device *g) {
    return (long)g->shape.b * g->shape.s;
}

static void product(trm_device *g, int m, int n, int k, const void *a, int lda, const void *b,
    int ldb, void *c, int flags) {
    trm_dev_mm mm = {.m = m,
        .n = n,
        .k = k,
        .lda = lda,
        .ldb = ldb,
        .ldc = n,
        .flags = flags,
        .batch = 1,
        .alpha = 1};
    trm_dev_product(g->dev, &mm, a, b, c);
}

/* c = a w^T over all rows of the batch, or c += it. */
static void linear(
    trm_device *g, const void *a, const trm_gpu_matrix *w, void *c, bool into_residual) {
    product(g, (int)trm_gpu_rows(g), w->param->rows, w->param->cols, a, w->param->cols, w->at,
        w->ld, c, TRM_MM_TB | (into_residual ? TRM_MM_ADD : TRM_MM_C_ACT));
}

static void swiglu(trm_device *g, void *h, const void *gu, long rows, long n) {
    trm_k_swiglu a = {h, gu, n, (int)((n + TRM_CHUNK - 1) / TRM_CHUNK)};
    trm_dev_swiglu(g->dev, &a, rows * a.chunks);
}

static void norm(trm_device *g, float *x, void *xa, float *inv) {
    trm_k_norm a = {x, xa, inv, g->d, (float)g->c.rms_norm_eps};
    trm_dev_norm(g->dev, &a, trm_gpu_rows(g));
}

/* Part n of qkv (queries, keys, values) by head; the values are not rotated. */
static void by_head(trm_device *g, void *qkv, int n) {
    long part = trm_gpu_rows(g) * g->d;
    trm_k_heads a = {.shape = g->shape,
        .list = g->list,
        .rows = qkv,
        .heads = (char *)g->heads + n * part * g->act,
        .rope = n < 2 ? g->rope : NULL,
        .rope_stride = g->rope_stride,
        .ld = 3 * g->d,
        .at = n * g->d,
        .h = g->c.num_heads,
        .hd = g->hd,
        .block = g->c.pos_encodings == TRM_POS_ROPE2D ? g->hd / 2 : g->hd,
        .sign = 1};
    trm_dev_heads(g->dev, &a, trm_gpu_rows(g));
}

/* The scores of `n` sequences from `first` on, softmaxed and mixed. */
static void attend(trm_device *g, void *mixed, float *lse, int first, int n) {
    int s = g->shape.s, hd = g->hd, ld = trm_gpu_up8(s), pairs = n * g->c.num_heads;
    long part = trm_gpu_rows(g) * g->d, at = (long)first * s * g->d;
    const char *q = (const char *)g->heads + at * g->act;
    const char *k = q + part * g->act, *v = k + part * g->act;
    float scale = 1.0f / sqrtf((float)hd);
    trm_dev_mm qk = {.m = s,
        .n = s,
        .k = hd,
        .lda = hd,
        .ldb = hd,
        .ldc = ld,
        .flags = TRM_MM_TB,
        .batch = pairs,
        .sa = (long)s * hd,
        .sb = (long)s * hd,
        .sc = (long)s * ld,
        .alpha = 1};
    trm_dev_mm pv = {.m = s,
        .n = hd,
        .k = s,
        .lda = ld,
        .ldb = hd,
        .ldc = hd,
        .flags = TRM_MM_C_ACT,
        .batch = pairs,
        .sa = (long)s * ld,
        .sb = (long)s * hd,
        .sc = (long)s * hd,
        .alpha = 1};
    trm_k_softmax a = {.list = g->list,
        .slot = g->slot,
        .scores = g->scores,
        .p = g->p,
        .lse = lse + (long)first * g->c.num_heads * s,
        .first = first,
        .h = g->c.num_heads,
        .s = s,
        .ld = ld,
        .prefix = g->c.puzzle_emb_len,
        .scale = scale};
    trm_dev_product(g->dev, &qk, q, k, g->scores);
    trm_dev_softmax(g->dev, &a, (long)pairs * s);
    trm_dev_product(g->dev, &pv, g->p, v, (char *)mixed + at * g->act);
}

static void attention_dense(trm_device *g, const trm_gpu_place *p) {
    void *mixed = (char *)g->heads + 3 * trm_gpu_rows(g) * g->d * g->act;
    for (int i = 0; i < 3; i++)
        by_head(g, p->qkv, i);
    for (int first = 0; first < g->shape.b; first += g->group) {
        int left = g->shape.b - first;
        attend(g, mixed, p->lse, first, left < g->group ? left : g->group);
    }
    trm_k_unheads a = {.shape = g->shape,
        .list = g->list,
        .rows = p->att,
        .heads = mixed,
        .ld = g->d,
        .h = g->c.num_heads,
        .hd = g->hd,
        .block = g->hd,
        .sign = 1};
    trm_dev_unheads(g->dev, &a, trm_gpu_rows(g));
}

/* Unit means and shifts: a SwiGLU whose channels come from other cells. */
static void mix_gated(trm_device *g, const trm_gpu_place *p) {
    swiglu(g, g->near_table ? g->mix : p->att, p->qkv, trm_gpu_rows(g), g->mixed);
    if (g->near_table) {
        trm_k_shift a = {
            g->shape, g->list, g->mix, p->att, g->near, g->near_stride, g->max_s, g->mixed};
        trm_dev_shift(g->dev, &a, trm_gpu_rows(g));
    } else {
        trm_k_unit_means a = {p->att, g->mixed};
        trm_dev_unit_means(g->dev, &a, (long)g->shape.b * 27);
    }
}

static void attention(trm_device *g, const trm_gpu_place *p) {
    int heads = g->c.num_heads;
    float scale = 1.0f / sqrtf((float)g->hd);
    if (g->gated) {
        mix_gated(g, p);
    } else if (g->c.pos_encodings == TRM_POS_UNITS) {
        trm_k_units a = {p->qkv, p->att, heads, g->hd, scale};
        trm_dev_units(g->dev, &a, (long)g->shape.b * heads * 9);
    } else if (g->c.pos_encodings == TRM_POS_NEIGHBOURS) {
        trm_k_near a = {g->shape, g->list, p->qkv, p->att, g->near, g->near_stride, g->max_s, heads,
            g->hd, scale};
        trm_dev_near(g->dev, &a, trm_gpu_rows(g) * heads);
    } else {
        attention_dense(g, p);
    }
}

static void mix_attention(trm_device *g, const trm_gpu_layer *l, float *x, const trm_gpu_place *p) {
    linear(g, p->xa0, &l->qkv, p->qkv, false);
    attention(g, p);
    linear(g, p->att, &l->o, x, true);
    norm(g, x, p->xa1, p->inv1);
}

/* Positions lie outermost, so one product mixes those of all sequences. */
static void mix_mlp(trm_device *g, const trm_gpu_layer *l, float *x, const trm_gpu_place *p) {
    int columns = g->shape.b * g->d, s = g->shape.s;
    product(g, 2 * g->in_t, columns, s, l->gate_up_t.at, l->gate_up_t.ld, p->xa0, columns, p->gu_t,
        TRM_MM_C_ACT);
    swiglu(g, p->h_t, p->gu_t, 1, (long)g->in_t * columns);
    product(g, s, columns, g->in_t, l->down_t.at, l->down_t.ld, p->h_t, columns, x, TRM_MM_ADD);
    trm_k_norm_t a = {x, p->xa1, p->inv1, s, columns, (float)g->c.rms_norm_eps};
    trm_dev_norm_t(g->dev, &a, (columns + 127) / 128);
}

void trm_gpu_pass(trm_device *g, float *x, const trm_gpu_place *places) {
    for (int i = 0; i < g->c.L_layers; i++) {
        const trm_gpu_layer *l = &g->layer[i];
        const trm_gpu_place *p = places ? &places[i] : &g->work;
        if (g->c.mlp_t)
            mix_mlp(g, l, x, p);
        else
            mix_attention(g, l, x, p);
        linear(g, p->xa1, &l->gate_up, p->gu, false);
        swiglu(g, p->h, p->gu, trm_gpu_rows(g), g->in);
        linear(g, p->h, &l->down, x, true);
        norm(g, x, p->xa2, p->inv2);
    }
}

/* One pass of the network over the batch: the GPU's counterpart of core/net_pass.c. */
#include <math.h>

#include "gpu.h"

long trm_gpu_rows(const trm_device *g) {
    return (long)g->shape.b * g->shape.s;
}

void trm_gpu_product(trm_device *g, int m, int n, int k, const void *a, int lda, const void *b,
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
    trm_gpu_product(g, (int)trm_gpu_rows(g), w->param->rows, w->param->cols, a, w->param->cols,
        w->at, w->ld, c, TRM_MM_TB | (into_residual ? TRM_MM_ADD : TRM_MM_C_ACT));
}

static void swiglu(trm_device *g, void *h, const void *gu, long rows, long n) {
    trm_k_swiglu a = {h, gu, n, (int)((n + TRM_CHUNK - 1) / TRM_CHUNK)};
    trm_dev_swiglu(g->dev, &a, rows * a.chunks);
}

static void norm(trm_device *g, float *x, void *xa, float *inv) {
    trm_k_norm a = {x, xa, inv, g->d, (float)g->c.rms_norm_eps};
    trm_dev_norm(g->dev, &a, trm_gpu_rows(g));
}

static trm_k_heads heads_of(const trm_device *g, void *rows, int ld, int at, int part, float sign) {
    return (trm_k_heads){.shape = g->shape,
        .list = g->list,
        .rows = rows,
        .heads = trm_gpu_part(g, part, 0),
        .rope = sign != 0.0f ? g->rope : NULL,
        .rope_stride = g->rope_stride,
        .ld = ld,
        .at = at,
        .h = g->c.num_heads,
        .hd = g->hd,
        .block = g->c.pos_encodings == TRM_POS_ROPE2D ? g->hd / 2 : g->hd,
        .sign = sign};
}

void trm_gpu_by_head(trm_device *g, void *rows, int ld, int at, int to, float sign) {
    trm_k_heads a = heads_of(g, rows, ld, at, to, sign);
    trm_dev_heads(g->dev, &a, trm_gpu_rows(g));
}

void trm_gpu_from_head(trm_device *g, void *rows, int ld, int at, int from, float sign) {
    trm_k_unheads a = heads_of(g, rows, ld, at, from, sign);
    trm_dev_unheads(g->dev, &a, trm_gpu_rows(g));
}

void *trm_gpu_part(const trm_device *g, int n, int first) {
    long at = n * trm_gpu_rows(g) * g->d + (long)first * g->shape.s * g->d;
    return (char *)g->heads + at * g->act;
}

trm_gpu_side trm_gpu_heads_side(const trm_device *g, int part, int first) {
    return (trm_gpu_side){trm_gpu_part(g, part, first), g->hd, (long)g->shape.s * g->hd};
}

trm_gpu_side trm_gpu_score_side(const trm_device *g, void *scores) {
    int ld = trm_gpu_up8(g->shape.s);
    return (trm_gpu_side){scores, ld, (long)g->shape.s * ld};
}

void trm_gpu_pairs(trm_device *g, int pairs, int n, int k, trm_gpu_side a, trm_gpu_side b,
    trm_gpu_side c, int flags) {
    trm_dev_mm mm = {.m = g->shape.s,
        .n = n,
        .k = k,
        .lda = a.rows_ld,
        .ldb = b.rows_ld,
        .ldc = c.rows_ld,
        .flags = flags,
        .batch = pairs,
        .sa = a.apart,
        .sb = b.apart,
        .sc = c.apart,
        .alpha = 1};
    trm_dev_product(g->dev, &mm, a.at, b.at, c.at);
}

void trm_gpu_softmax(trm_device *g, float *lse, int first, int n, bool again) {
    int s = g->shape.s, h = g->c.num_heads;
    trm_k_softmax a = {.list = g->list,
        .slot = g->slot,
        .scores = g->scores,
        .p = g->p,
        .lse = lse + (long)first * h * s,
        .first = first,
        .h = h,
        .s = s,
        .ld = trm_gpu_up8(s),
        .again = again,
        .scale = 1.0f / sqrtf((float)g->hd)};
    trm_dev_softmax(g->dev, &a, (long)n * h * s);
}

static void attention_dense(trm_device *g, const trm_gpu_place *p) {
    int s = g->shape.s;
    for (int i = 0; i < 3; i++) /* values are not rotated */
        trm_gpu_by_head(g, p->qkv, 3 * g->d, i * g->d, i, i < 2 ? 1.0f : 0.0f);
    for (int first = 0; first < g->shape.b; first += g->group) {
        int n = g->shape.b - first < g->group ? g->shape.b - first : g->group;
        int pairs = n * g->c.num_heads;
        trm_gpu_pairs(g, pairs, s, g->hd, trm_gpu_heads_side(g, 0, first),
            trm_gpu_heads_side(g, 1, first), trm_gpu_score_side(g, g->scores), TRM_MM_TB);
        trm_gpu_softmax(g, p->lse, first, n, false);
        trm_gpu_pairs(g, pairs, g->hd, s, trm_gpu_score_side(g, g->p),
            trm_gpu_heads_side(g, 2, first), trm_gpu_heads_side(g, 3, first), TRM_MM_C_ACT);
    }
    trm_gpu_from_head(g, p->att, g->d, 0, 3, 0.0f);
}

void trm_gpu_means(trm_device *g, void *h) {
    trm_k_unit_means a = {h, g->mixed};
    if (g->per_cell > 1)
        trm_dev_candidate_means(g->dev, &a, (long)g->shape.b * 324);
    else
        trm_dev_unit_means(g->dev, &a, (long)g->shape.b * 27);
}

/* Unit means, shifts, candidates: a SwiGLU whose channels come from other positions. */
static void mix_gated(trm_device *g, const trm_gpu_place *p) {
    swiglu(g, g->near_table ? g->mix : p->att, p->qkv, trm_gpu_rows(g), g->mixed);
    if (g->near_table) {
        trm_k_shift a = {
            g->shape, g->list, g->mix, p->att, g->near, g->near_stride, g->max_s, g->mixed, 0};
        trm_dev_shift(g->dev, &a, trm_gpu_rows(g));
    } else {
        trm_gpu_means(g, p->att);
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
    trm_gpu_product(g, 2 * g->in_t, columns, s, l->gate_up_t.at, l->gate_up_t.ld, p->xa0, columns,
        p->gu_t, TRM_MM_C_ACT);
    swiglu(g, p->h_t, p->gu_t, 1, (long)g->in_t * columns);
    trm_gpu_product(
        g, s, columns, g->in_t, l->down_t.at, l->down_t.ld, p->h_t, columns, x, TRM_MM_ADD);
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

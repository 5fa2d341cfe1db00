/* The gradient of one pass over the batch: the GPU's counterpart of core/net_pass.c's way back.
 * Gradients of weights are added up pass by pass, over all rows of the batch at once. */
#include <math.h>

#include "gpu.h"

static float *grad_of(const trm_device *g, const trm_gpu_matrix *w) {
    return g->learn->grads + w->param->offset;
}

/* y = x w^T: dw += dy^T x. Before dy's or x's place is taken. */
static void outer(trm_device *g, const trm_gpu_matrix *w, const void *dy, const void *x) {
    trm_gpu_product(g, w->param->rows, w->param->cols, (int)trm_gpu_rows(g), dy, w->param->rows, x,
        w->param->cols, grad_of(g, w), TRM_MM_TA | TRM_MM_ADD);
}

/* dx = dy w, or dx += it. */
static void through(
    trm_device *g, const trm_gpu_matrix *w, const void *dy, void *dx, bool into_residual) {
    trm_gpu_product(g, (int)trm_gpu_rows(g), w->param->cols, w->param->rows, dy, w->param->rows,
        w->at, w->ld, dx, into_residual ? TRM_MM_ADD : TRM_MM_C_ACT);
}

static void norm_back(trm_device *g, const void *y, const float *inv) {
    trm_k_norm_back a = {g->learn->g, g->learn->ga, y, inv, g->d};
    trm_dev_norm_back(g->dev, &a, trm_gpu_rows(g));
}

static void swiglu_back(trm_device *g, void *gu, void *dh, long rows, long n) {
    trm_k_swiglu_back a = {gu, dh, n, (int)((n + TRM_CHUNK - 1) / TRM_CHUNK)};
    trm_dev_swiglu_back(g->dev, &a, rows * a.chunks);
}

/* Parts of g->heads: queries, keys, values, the mixed values' gradient, and gradients of the first
 * three. */
enum { Q, K, V, GO, DQ, DK, DV };

static void scores_back(trm_device *g, const trm_gpu_place *p, int first, int n) {
    trm_gpu_learning *l = g->learn;
    int s = g->shape.s, hd = g->hd, pairs = n * g->c.num_heads;
    trm_gpu_side sides[DV + 1], w = trm_gpu_score_side(g, g->p);
    trm_k_softmax_back a = {g->p, l->dp, l->delta + (long)first * g->c.num_heads * s,
        trm_gpu_up8(s), 1.0f / sqrtf((float)hd)};
    for (int i = Q; i <= DV; i++)
        sides[i] = trm_gpu_heads_side(g, i, first);
    trm_gpu_pairs(g, pairs, s, hd, sides[Q], sides[K], trm_gpu_score_side(g, g->scores), TRM_MM_TB);
    trm_gpu_softmax(g, p->lse, first, n, true);
    trm_gpu_pairs(g, pairs, hd, s, w, sides[GO], sides[DV], TRM_MM_TA | TRM_MM_C_ACT);
    trm_gpu_pairs(g, pairs, s, hd, sides[GO], sides[V], trm_gpu_score_side(g, l->dp), TRM_MM_TB);
    trm_dev_softmax_back(g->dev, &a, (long)pairs * s);
    trm_gpu_pairs(g, pairs, hd, s, w, sides[K], sides[DQ], TRM_MM_C_ACT);
    trm_gpu_pairs(g, pairs, hd, s, w, sides[Q], sides[DK], TRM_MM_TA | TRM_MM_C_ACT);
}

static void *dense_back(trm_device *g, const trm_gpu_place *p, void *datt) {
    int d = g->d;
    trm_k_delta a = {g->shape, p->att, datt, g->learn->delta, g->c.num_heads, g->hd};
    trm_dev_delta(g->dev, &a, trm_gpu_rows(g));
    for (int i = Q; i <= V; i++)
        trm_gpu_by_head(g, p->qkv, 3 * d, i * d, i, i < V ? 1.0f : 0.0f);
    trm_gpu_by_head(g, datt, d, 0, GO, 0.0f);
    for (int first = 0; first < g->shape.b; first += g->group)
        scores_back(g, p, first, g->shape.b - first < g->group ? g->shape.b - first : g->group);
    for (int i = DQ; i <= DV; i++)
        trm_gpu_from_head(g, p->qkv, 3 * d, (i - DQ) * d, i, i < DV ? -1.0f : 0.0f);
    return p->qkv;
}

static void *gated_back(trm_device *g, const trm_gpu_place *p, void *datt) {
    void *dh = datt;
    if (g->near_table) {
        trm_k_shift a = {
            g->shape, g->list, datt, g->mix, g->near, g->near_stride, g->max_s, g->mixed, 1};
        trm_dev_shift(g->dev, &a, trm_gpu_rows(g));
        dh = g->mix;
    } else {
        trm_gpu_means(g, datt);
    }
    swiglu_back(g, p->qkv, dh, trm_gpu_rows(g), g->mixed);
    return p->qkv;
}

/* Where the gradient of p->qkv is, given that of p->att. */
static void *attention_back(trm_device *g, const trm_gpu_place *p, void *datt) {
    int heads = g->c.num_heads;
    float scale = 1.0f / sqrtf((float)g->hd);
    if (g->gated)
        return gated_back(g, p, datt);
    if (g->dense)
        return dense_back(g, p, datt);
    if (g->near_table) {
        trm_k_near_back a = {g->shape, g->list, g->learn->dqkv, datt, p->qkv, g->near,
            g->near_stride, g->max_s, heads, g->hd, scale};
        trm_dev_near_back(g->dev, &a, trm_gpu_rows(g) * heads);
    } else {
        trm_k_units_back a = {g->learn->dqkv, datt, p->qkv, heads, g->hd, scale};
        trm_dev_units_back(g->dev, &a, (long)g->shape.b * heads * 9);
    }
    return g->learn->dqkv;
}

static void mix_attention_back(trm_device *g, const trm_gpu_layer *l, const trm_gpu_place *p) {
    norm_back(g, p->xa1, p->inv1);
    outer(g, &l->o, g->learn->ga, p->att);
    through(g, &l->o, g->learn->ga, g->work.att, false);
    void *dqkv = attention_back(g, p, g->work.att);
    outer(g, &l->qkv, dqkv, p->xa0);
    through(g, &l->qkv, dqkv, g->learn->g, true);
}

static void mix_mlp_back(trm_device *g, const trm_gpu_layer *l, const trm_gpu_place *p) {
    int columns = g->shape.b * g->d, s = g->shape.s, in = g->in_t;
    const trm_gpu_matrix *gate_up = &l->gate_up_t, *down = &l->down_t;
    float *dx = g->learn->g;
    void *ga = g->learn->ga, *h = g->work.h_t;
    trm_k_norm_t_back a = {dx, ga, p->xa1, p->inv1, s, columns};
    trm_dev_norm_t_back(g->dev, &a, (columns + 127) / 128);
    trm_gpu_product(
        g, in, columns, s, down->at, down->ld, ga, columns, h, TRM_MM_TA | TRM_MM_C_ACT);
    swiglu_back(g, p->gu_t, h, 1, (long)in * columns);
    trm_gpu_product(
        g, s, in, columns, ga, columns, h, columns, grad_of(g, down), TRM_MM_TB | TRM_MM_ADD);
    trm_gpu_product(g, 2 * in, s, columns, p->gu_t, columns, p->xa0, columns, grad_of(g, gate_up),
        TRM_MM_TB | TRM_MM_ADD);
    trm_gpu_product(g, s, columns, 2 * in, gate_up->at, gate_up->ld, p->gu_t, columns, dx,
        TRM_MM_TA | TRM_MM_ADD);
}

void trm_gpu_pass_back(trm_device *g, const trm_gpu_place *places) {
    for (int i = g->c.L_layers - 1; i >= 0; i--) {
        const trm_gpu_layer *l = &g->layer[i];
        const trm_gpu_place *p = &places[i];
        norm_back(g, p->xa2, p->inv2);
        through(g, &l->down, g->learn->ga, g->work.h, false);
        swiglu_back(g, p->gu, g->work.h, trm_gpu_rows(g), g->in);
        outer(g, &l->down, g->learn->ga, g->work.h);
        outer(g, &l->gate_up, p->gu, p->xa1);
        through(g, &l->gate_up, p->gu, g->learn->g, true);
        if (g->c.mlp_t)
            mix_mlp_back(g, l, p);
        else
            mix_attention_back(g, l, p);
    }
}

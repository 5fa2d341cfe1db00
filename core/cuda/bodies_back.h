/* The arithmetic of training's kernels; see bodies.h. Sums over many values are taken in double, in
 * an order that depends on sizes alone. */
#ifndef TRM_BODIES_BACK_H
#define TRM_BODIES_BACK_H

#include "bodies.h"
#include "kernels_back.h"

#define ACT float
#define GET(x) (x)
#define PUT(x) (x)
#define GET4(p) four_get(p)
#define PUT4(p, x) four_put(p, x)
#define FN(name) name##_f32
#include "bodies_back_act.h"
#undef ACT
#undef GET
#undef PUT
#undef GET4
#undef PUT4
#undef FN

#define ACT trm_bf16
#define GET(x) bf16_get(x)
#define PUT(x) bf16_put(x)
#define GET4(p) four_get_bf16(p)
#define PUT4(p, x) four_put_bf16(p, x)
#define FN(name) name##_bf16
#include "bodies_back_act.h"
#undef ACT
#undef GET
#undef PUT
#undef GET4
#undef PUT4
#undef FN

/* Stablemax (arXiv 2501.04697) has s(x) = x + 1 for x >= 0 and 1 / (1 - x) below where softmax has
 * e^x. */
TRM_INLINE double shown_weight(double x, double top, int softmax) {
    if (softmax)
        return exp(x - top);
    return x >= 0 ? x + 1.0 : 1.0 / (1.0 - x);
}

TRM_INLINE double shown_slope(double x, double s, int softmax) {
    if (softmax)
        return s;
    return x >= 0 ? 1.0 : s * s;
}

/* How many cells of a lesson count. */
TRM_INLINE int counted_of(const int *labels, int cells, int lane) {
    float n = 0;
    for (int i = lane; i < cells; i += TRM_LANES)
        n += labels[i] >= 0 ? 1.0f : 0.0f;
    return (int)lanes_sum(n);
}

TRM_BODY loss(const trm_k_loss *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i], at = p - a->prefix, cell = at / a->per_cell, v = a->v;
    int cells = slot < 0 ? 0 : a->slot[slot].cells;
    float *dl = a->dl + row * a->ld;
    for (int j = lane; j < a->ld; j += TRM_LANES)
        dl[j] = 0;
    if (at < 0 || cell >= cells)
        return;
    const int *labels = a->labels + (long)slot * a->l;
    const float *x = a->logits + ((long)i * a->l + cell) * v;
    int label = labels[cell], counted = counted_of(labels, cells, lane), best = 0;
    int own = a->per_cell > 1 ? 2 + at % a->per_cell : -1; /* the logit of a candidate */
    bool tells = lane == 0 && at % a->per_cell == 0;       /* one row tells of the cell */
    long to = (long)i * a->l + cell;
    if (label < 0) {
        if (tells) {
            a->loss[to] = 0;
            a->right[to] = 0;
        }
        return;
    }
    TRM_MEET(); /* its zeros are there */
    double sum = 0, loss = 0, k = a->k / counted;
    for (int j = 1; j < v; j++)
        best = x[j] > x[best] ? j : best;
    for (int j = lane; j < v; j += TRM_LANES)
        sum += shown_weight(x[j], x[best], a->softmax);
    sum = lanes_sum_double(sum);
    for (int j = lane; j < v; j += TRM_LANES) {
        double s = shown_weight(x[j], x[best], a->softmax), ds = shown_slope(x[j], s, a->softmax);
        double want = a->smoothing / v + (j == label ? 1 - a->smoothing : 0);
        if (want > 0)
            loss -= want * log(s / sum);
        if (own < 0 || j == own)
            dl[own < 0 ? j : 0] = (float)(k * (ds / sum - want * ds / s));
    }
    loss = lanes_sum_double(loss);
    if (tells) {
        a->loss[to] = loss;
        a->right[to] = best == label;
    }
}

/* Binary cross-entropy of a logit, and its gradient times k. */
TRM_INLINE double yes_no(double logit, bool yes, double k, float *d) {
    *d = (float)(k * (1 / (1 + exp(-logit)) - (yes ? 1 : 0)));
    return (logit > 0 ? logit : 0) - (yes ? logit : 0) + log1p(exp(-fabs(logit)));
}

TRM_BODY judge(const trm_k_judge *a, long i, int lane, float *scratch) {
    int slot = a->list[i], cells = slot < 0 ? 0 : a->slot[slot].cells;
    const double *loss = a->loss + i * a->l;
    const int *right = a->right + i * a->l;
    double lm = 0;
    float got = 0;
    (void)scratch;
    int counted = cells ? counted_of(a->labels + (long)slot * a->l, cells, lane) : 0;
    for (int c = lane; c < cells; c += TRM_LANES) {
        lm += loss[c];
        got += right[c] ? 1.0f : 0.0f;
    }
    lm = lanes_sum_double(lm);
    int all = (int)lanes_sum(got);
    if (lane)
        return;
    bool unsat = a->unsat && !counted;
    float *dq = a->dq + 2 * i;
    dq[0] = dq[1] = 0;
    if (slot < 0)
        return;
    trm_k_verdict *v = a->verdict + slot;
    v->lm = lm / (counted ? counted : 1);
    v->q_loss = yes_no(a->q[2 * i], all == counted && !unsat, a->k, &dq[0]);
    if (a->unsat)
        v->q_loss += yes_no(a->q[2 * i + 1], unsat, a->k, &dq[1]);
    v->q[0] = a->q[2 * i];
    v->q[1] = a->q[2 * i + 1];
    v->right = all;
    v->counted = counted;
}

TRM_BODY share(const trm_k_share *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i], real = slot < 0 ? 0 : a->mean ? a->slot[slot].real : 1;
    for (int h = lane; h < 2; h += TRM_LANES)
        a->dl[row * a->ld + a->at + h] = p < real ? a->dq[2 * i + h] / (float)real : 0.0f;
}

TRM_BODY sum(const trm_k_sum *a, long item, int lane, float *scratch) {
    double all = 0;
    (void)scratch;
    for (int i = lane; i < a->n; i += TRM_LANES)
        all += a->x[(long)i * a->columns + item];
    all = lanes_sum_double(all);
    if (lane == 0)
        a->sum[item] += (float)all;
}

TRM_BODY one_hot(const trm_k_one_hot *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i], at = p - a->prefix;
    bool real = slot >= 0 && at >= 0 && p < a->slot[slot].real;
    int shown = real ? shown_at(a->tokens + (long)slot * a->l, at, a->per_cell) : -1;
    for (int j = lane; j < a->ld; j += TRM_LANES)
        a->hot[row * a->ld + j] = j == shown ? a->scale : 0.0f;
}

TRM_BODY pos_back(const trm_k_pos_back *a, long item, int lane, float *scratch) {
    int p = (int)(item / a->chunks), first = (int)(item % a->chunks) * 128;
    (void)scratch;
    for (int c = first + lane; c < first + 128 && c < a->d; c += TRM_LANES) {
        double all = 0;
        for (int i = 0; i < a->shape.b; i++) {
            int slot = a->list[i];
            if (slot >= 0 && p < a->slot[slot].real)
                all += a->de[row_of(a->shape, i, p) * a->d + c];
        }
        a->dpos[(long)p * a->d + c] += a->scale * (float)all;
    }
}

TRM_BODY puzzle_back(const trm_k_puzzle_back *a, long item, int lane, float *scratch) {
    int i = (int)(item / a->chunks), first = (int)(item % a->chunks) * 128;
    int puzzle = a->list[i] < 0 ? -1 : a->slot[a->list[i]].puzzle;
    (void)scratch;
    for (int k = 0; k < i && puzzle >= 0; k++)
        if (a->list[k] >= 0 && a->slot[a->list[k]].puzzle == puzzle)
            return;
    for (int c = first + lane; c < first + 128 && c < a->ndim && puzzle >= 0; c += TRM_LANES) {
        double all = 0;
        for (int k = i; k < a->shape.b; k++)
            if (a->list[k] >= 0 && a->slot[a->list[k]].puzzle == puzzle)
                all += a->de[row_of(a->shape, k, c / a->d) * a->d + c % a->d];
        a->dpuzzle[(long)puzzle * a->ndim + c] += a->scale * (float)all;
    }
}

/* The bounds of a chunk of n. */
TRM_INLINE long chunk_end(long item, long n) {
    return (item + 1) * TRM_CHUNK < n ? (item + 1) * TRM_CHUNK : n;
}

TRM_BODY blend(const trm_k_blend *a, long item, int lane, float *scratch) {
    (void)scratch;
    for (long i = item * TRM_CHUNK + lane; i < chunk_end(item, a->n); i += TRM_LANES)
        a->x[i] = (a->keep == 0.0f ? 0.0f : a->keep * a->x[i]) + a->share * a->y[i];
}

TRM_BODY squares(const trm_k_squares *a, long item, int lane, float *scratch) {
    double all = 0;
    (void)scratch;
    for (long i = item * TRM_CHUNK + lane; i < chunk_end(item, a->n); i += TRM_LANES)
        all += (double)a->x[i] * a->x[i];
    all = lanes_sum_double(all);
    if (lane == 0)
        a->partial[item] = all;
}

TRM_INLINE double root_of(const double *partial, long n, int lane) {
    double all = 0;
    for (long i = lane; i < n; i += TRM_LANES)
        all += partial[i];
    return sqrt(lanes_sum_double(all));
}

TRM_BODY clip(const trm_k_clip *a, long item, int lane, float *scratch) {
    double norm = root_of(a->partial, a->n, lane);
    (void)item;
    (void)scratch;
    if (lane == 0) {
        a->norm[0] = norm;
        a->norm[1] = a->clip > 0 && norm > a->clip ? a->clip / norm : 1;
    }
}

TRM_BODY momentum(const trm_k_momentum *a, long item, int lane, float *scratch) {
    float scale = (float)a->norm[1];
    (void)scratch;
    for (long i = item * TRM_CHUNK + lane; i < chunk_end(item, a->n); i += TRM_LANES) {
        float g = scale * a->g[i], m = a->mu * a->m[i] + g;
        a->m[i] = m;
        a->x[i] = g + a->mu * m; /* Nesterov */
    }
}

TRM_BODY normalise(const trm_k_normalise *a, long item, int lane, float *scratch) {
    float inv = (float)(1 / (root_of(a->partial, a->partials, lane) + 1e-7));
    (void)scratch;
    for (long i = item * TRM_CHUNK + lane; i < chunk_end(item, a->n); i += TRM_LANES)
        a->x[i] *= inv;
}

TRM_BODY adam(const trm_k_adam *a, long item, int lane, float *scratch) {
    double scale = a->norm[1];
    (void)scratch;
    for (long i = item * TRM_CHUNK + lane; i < chunk_end(item, a->n); i += TRM_LANES) {
        double g = scale * a->g[i];
        float m = (float)(a->beta1 * a->m[i] + (1 - a->beta1) * g);
        float v = (float)(a->beta2 * a->v[i] + (1 - a->beta2) * g * g);
        double mh = m / a->c1, vh = sqrt(v / a->c2);
        double step = a->atan2 ? atan2(mh, vh) : mh / (vh + 1e-8);
        a->m[i] = m;
        a->v[i] = v;
        a->w[i] = (float)(a->decay * a->w[i] - a->lr * step);
    }
}

TRM_BODY sign(const trm_k_sign *a, long row, int lane, float *scratch) {
    float *w = a->w + row * a->cols, most = 0;
    const float *g = a->g + row * a->cols;
    (void)scratch;
    for (int i = lane; i < a->cols; i += TRM_LANES)
        most = fmaxf(most, fabsf(g[i]));
    if (lanes_max(most) == 0)
        return;
    for (int i = lane; i < a->cols; i += TRM_LANES)
        w[i] = a->keep * w[i] - (g[i] > 0 ? a->step : g[i] < 0 ? -a->step : 0);
}

#endif

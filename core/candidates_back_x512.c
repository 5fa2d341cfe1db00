/* The backward pass of candidates_x512.c, over the same tape as the separate kernels': what that
 * leaves out is computed again, nine rows at a time, and what the products of the weights'
 * gradients need is put there. A mean's gradient is the mean of its unit's gradients, so these are
 * added up before they meet the matrix. Pure functions over the caller's buffers. */
#include "candidates_x512.h"

/* g (9, d) through the rmsnorm that gave y, bf16 in ga too. */
static inline void normalise_back(
    float *g, uint16_t *ga, const uint16_t *y, const float *inv, int d) {
    for (int r = 0; r < NINE; r++, g += d, ga += d, y += d) {
        __m512 dot = _mm512_setzero_ps(), k = _mm512_set1_ps(inv[r]);
        for (int i = 0; i < d; i += LANES)
            dot = _mm512_fmadd_ps(_mm512_loadu_ps(g + i), get_bf16(y + i, LANES), dot);
        __m512 m = _mm512_set1_ps(_mm512_reduce_add_ps(dot) / (float)d);
        for (int i = 0; i < d; i += LANES) {
            __m512 v = _mm512_fnmadd_ps(get_bf16(y + i, LANES), m, _mm512_loadu_ps(g + i));
            v = _mm512_mul_ps(v, k);
            _mm512_storeu_ps(g + i, v);
            put_bf16(ga + i, v, LANES);
        }
    }
}

/* With s = sigmoid(gate), h = gate s up: dgate = dh up s (1 + gate (1 - s)), dup = dh gate s, both
 * put into a row of 2 n, and h into one of n where that is wanted. */
static inline void gated_back(
    uint16_t *dgu, uint16_t *h, const __m512 *g, const __m512 *u, const __m512 *dh, int n) {
    const __m512 one = _mm512_set1_ps(1);
    for (int r = 0; r < NINE; r++, dgu += 2 * n) {
        __m512 s = sigmoid(g[r]), gs = _mm512_mul_ps(g[r], s), ds = _mm512_mul_ps(dh[r], s);
        __m512 bend = _mm512_fmadd_ps(g[r], _mm512_sub_ps(one, s), one);
        put_bf16(dgu, _mm512_mul_ps(_mm512_mul_ps(ds, u[r]), bend), LANES);
        put_bf16(dgu + n, _mm512_mul_ps(dh[r], gs), LANES);
        if (h)
            put_bf16(h + (ptrdiff_t)r * n, _mm512_mul_ps(gs, u[r]), LANES);
    }
}

/* out = a (9, d) times 16 columns of a transposed matrix. */
static inline void rows_through(__m512 out[NINE], const uint16_t *a, const uint16_t *w, int d) {
    for (int r = 0; r < NINE; r++)
        out[r] = _mm512_setzero_ps();
    for (int i = 0; i < d; i += 2) {
        __m512bh x = weights_at(w + (ptrdiff_t)i * LANES);
        for (int r = 0; r < NINE; r++)
            out[r] = _mm512_dpbf16_ps(out[r], both_of(a + (ptrdiff_t)r * d + i), x);
    }
}

struct weights {
    const uint16_t *mix_in, *gate_up; /* as the forward pass has them */
    const uint16_t *mix_in_t, *mix_out_t, *gate_up_t, *down_t;
};

static inline struct weights weights_of(const void *packed, int d, int inner) {
    const uint16_t *w = packed, *t = w + packed_weights(d, inner);
    const ptrdiff_t mix_in = (ptrdiff_t)2 * KINDS * d * d, mix_out = (ptrdiff_t)KINDS * d * d;
    const ptrdiff_t gate_up = (ptrdiff_t)2 * inner * d;
    return (struct weights){w, w + mix_in + mix_out, t, t + mix_in, t + mix_in + mix_out,
        t + mix_in + mix_out + gate_up};
}

/* The MLP of one cell: g (9, d) from behind it to before it. */
static inline void mlp_back(
    float *g, const trm_candidate_tape *t, const struct weights *w, int cell, int d, int inner) {
    ptrdiff_t row = (ptrdiff_t)cell * NINE;
    const uint16_t *xa1 = (const uint16_t *)t->xa1 + row * d;
    uint16_t *gd = (uint16_t *)t->gd + row * d, *h = (uint16_t *)t->h + row * inner;
    uint16_t *dgu = (uint16_t *)t->dgu + row * 2 * inner;
    normalise_back(g, gd, (const uint16_t *)t->xa2 + row * d, t->inv2 + row, d);
    for (int c = 0; c < inner; c += LANES) {
        __m512 gate[NINE], up[NINE], dh[NINE];
        rows_through(dh, gd, w->down_t + (ptrdiff_t)c * d, d);
        gates(gate, up, xa1, w->gate_up + (ptrdiff_t)c * d, d, inner);
        gated_back(dgu + c, h + c, gate, up, dh, inner);
    }
    product(g, dgu, w->gate_up_t, d, 2 * inner, true);
}

/* Each row's gradient, to all its units. */
static inline void add_to_units(float *sums, const float *g, int cell, int d) {
    for (int r = 0; r < NINE; r++)
        for (int kind = 0; kind < KINDS; kind++) {
            float *at = sums + (ptrdiff_t)(kind * CELLS + unit_of(kind, cell, r)) * d;
            for (int i = 0; i < d; i += LANES)
                _mm512_storeu_ps(at + i, _mm512_add_ps(_mm512_loadu_ps(at + i),
                                             _mm512_loadu_ps(g + (ptrdiff_t)r * d + i)));
        }
}

/* What a cell's rows gave to their units; outputs (4, 81, d): the gradient of each unit's share. */
static inline void mix_back(float *g, const trm_candidate_tape *t, const struct weights *w,
    const float *outputs, int cell, int d) {
    ptrdiff_t row = (ptrdiff_t)cell * NINE;
    const int n = KINDS * d;
    const uint16_t *xa0 = (const uint16_t *)t->xa0 + row * d;
    uint16_t *dqkv = (uint16_t *)t->dqkv + row * 2 * n;
    for (int c = 0; c < n; c += LANES) {
        __m512 gate[NINE], up[NINE], dh[NINE];
        int kind = c / d;
        for (int r = 0; r < NINE; r++)
            dh[r] = _mm512_loadu_ps(
                outputs + (ptrdiff_t)(kind * CELLS + unit_of(kind, cell, r)) * d + c % d);
        gates(gate, up, xa0, w->mix_in + (ptrdiff_t)c * d, d, n);
        gated_back(dqkv + c, NULL, gate, up, dh, n);
    }
    product(g, dqkv, w->mix_in_t, d, 2 * n, true);
}

/* Always inlined with d a constant for the shipped width, so that the inner loops unroll. */
static inline __attribute__((always_inline)) void layer_back(float *g, const trm_candidate_tape *t,
    const void *packed, void *space, const int d, const int inner) {
    const struct weights w = weights_of(packed, d, inner);
    float *sums = space;
    uint16_t *means = (uint16_t *)(sums + (ptrdiff_t)KINDS * CELLS * d);
    memset(sums, 0, (size_t)KINDS * CELLS * (size_t)d * sizeof *sums);
    for (int cell = 0; cell < CELLS; cell++) {
        ptrdiff_t at = (ptrdiff_t)cell * NINE * d;
        mlp_back(g + at, t, &w, cell, d, inner);
        normalise_back(g + at, (uint16_t *)t->go + at, (const uint16_t *)t->xa1 + at,
            t->inv1 + (ptrdiff_t)cell * NINE, d);
        add_to_units(sums, g + at, cell, d);
    }
    unit_outputs(sums, w.mix_out_t, means, d);
    for (int cell = 0; cell < CELLS; cell++)
        mix_back(g + (ptrdiff_t)cell * NINE * d, t, &w, sums, cell, d);
}

void trm_candidates_back_x512(
    float *g, const trm_candidate_tape *t, const void *weights, void *space, int d, int inner) {
    if (d == 32 && inner == 128)
        layer_back(g, t, weights, space, 32, 128);
    else
        layer_back(g, t, weights, space, d, inner);
}

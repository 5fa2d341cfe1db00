/* A layer of a model of candidates in one kernel, for bf16 on AVX-512 with BF16 instructions. What
 * lies between its products stays in registers or in the first cache, and what the means make equal
 * is multiplied once: nine positions of a unit share a row. Nine rows at a time, the candidates of
 * a cell. Pure functions over the caller's buffers; see trm_rows.candidates. */
#include <string.h>

#include "rows_units.h"
#include "rows_x512.h"

enum { CELLS = 81, NINE = 9, KINDS = 4, LANES = 16 };

static __m512bh weights_at(const uint16_t *w) {
    return (__m512bh)_mm512_loadu_si512(w);
}

/* Two neighbouring activations in every lane. */
static __m512bh both_of(const uint16_t *a) {
    int bits;
    memcpy(&bits, a, sizeof bits);
    return (__m512bh)_mm512_set1_epi32(bits);
}

/* (out, in) with row stride ld -> for 16 outputs at a time, each pair of inputs' 32 weights. */
static uint16_t *pack(uint16_t *to, const float *w, int out, int in, int ld) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i row = _mm512_mullo_epi32(lane, _mm512_set1_epi32(ld));
    for (int o = 0; o < out; o += LANES)
        for (int i = 0; i < in; i += 2, to += 2 * LANES) {
            const float *at = w + (ptrdiff_t)o * ld + i;
            pair v = {_mm512_i32gather_ps(row, at, 4), _mm512_i32gather_ps(row, at + 1, 4)};
            put_pair(to, v, 2 * LANES);
        }
    return to;
}

static size_t candidates_bytes(int d, int inner) {
    size_t weights = (size_t)d * (size_t)(2 * KINDS * d + KINDS * d + 2 * inner + inner);
    return d % (2 * LANES) == 0 && inner % LANES == 0 ? weights * sizeof(uint16_t) : 0;
}

static void candidates_pack(
    void *out, const float *const w[TRM_CANDIDATE_WEIGHTS], int d, int inner) {
    uint16_t *to = pack(out, w[0], 2 * KINDS * d, d, d);
    for (int k = 0; k < KINDS; k++)
        to = pack(to, w[1] + (ptrdiff_t)k * d, d, d, KINDS * d);
    to = pack(to, w[2], 2 * inner, d, d);
    (void)pack(to, w[3], d, inner, inner);
}

/* h = silu(gate) * up of nine rows for 16 of n channels; w as packed, up n outputs later. */
static inline void gated(__m512 h[NINE], const uint16_t *a, const uint16_t *w, int d, int n) {
    __m512 g[NINE], u[NINE];
    const uint16_t *up = w + (ptrdiff_t)n * d;
    for (int r = 0; r < NINE; r++)
        g[r] = u[r] = _mm512_setzero_ps();
    for (int i = 0; i < d; i += 2) {
        __m512bh wg = weights_at(w + (ptrdiff_t)i * LANES);
        __m512bh wu = weights_at(up + (ptrdiff_t)i * LANES);
        for (int r = 0; r < NINE; r++) {
            __m512bh x = both_of(a + (ptrdiff_t)r * d + i);
            g[r] = _mm512_dpbf16_ps(g[r], x, wg);
            u[r] = _mm512_dpbf16_ps(u[r], x, wu);
        }
    }
    for (int r = 0; r < NINE; r++) {
        __m512 e = exp2_coarse(_mm512_mul_ps(g[r], _mm512_set1_ps(-LOG2E)));
        __m512 s = _mm512_rcp14_ps(_mm512_add_ps(e, _mm512_set1_ps(1)));
        h[r] = _mm512_mul_ps(_mm512_mul_ps(g[r], u[r]), s);
    }
}

/* y (9, d) = a (9, k) w^T, or y += where `add`. */
static inline void product(float *y, const uint16_t *a, const uint16_t *w, int d, int k, bool add) {
    for (int o = 0; o < d; o += 2 * LANES, w += (ptrdiff_t)2 * LANES * k) {
        __m512 c[2][NINE];
        for (int r = 0; r < NINE; r++)
            for (int j = 0; j < 2; j++)
                c[j][r] = add ? _mm512_loadu_ps(y + (ptrdiff_t)r * d + o + (ptrdiff_t)j * LANES)
                              : _mm512_setzero_ps();
        for (int i = 0; i < k; i += 2) {
            __m512bh w0 = weights_at(w + (ptrdiff_t)i * LANES);
            __m512bh w1 = weights_at(w + (ptrdiff_t)(i + k) * LANES);
            for (int r = 0; r < NINE; r++) {
                __m512bh x = both_of(a + (ptrdiff_t)r * k + i);
                c[0][r] = _mm512_dpbf16_ps(c[0][r], x, w0);
                c[1][r] = _mm512_dpbf16_ps(c[1][r], x, w1);
            }
        }
        for (int r = 0; r < NINE; r++)
            for (int j = 0; j < 2; j++)
                _mm512_storeu_ps(y + (ptrdiff_t)r * d + o + (ptrdiff_t)j * LANES, c[j][r]);
    }
}

/* The unit of a kind that a digit of a cell belongs to, as trm_unit_candidates counts them. */
static int unit_of(int kind, int cell, int digit) {
    int row = cell / NINE, col = cell % NINE;
    int place = kind == 1 ? row : kind == 2 ? col : row / 3 * 3 + col / 3;
    return kind == 0 ? cell : place * NINE + digit;
}

/* sums (4, 81, d): the gated channels of each kind, added up over each of its units. */
static inline void unit_sums(float *sums, const uint16_t *xa, const uint16_t *w, int d) {
    memset(sums, 0, (size_t)KINDS * CELLS * (size_t)d * sizeof *sums);
    for (int c = 0; c < KINDS * d; c += LANES) {
        int kind = c / d;
        float *to = sums + (ptrdiff_t)kind * CELLS * d + c % d;
        for (int cell = 0; cell < CELLS; cell++) {
            __m512 h[NINE];
            gated(h, xa + (ptrdiff_t)cell * NINE * d, w + (ptrdiff_t)c * d, d, KINDS * d);
            for (int r = 0; r < NINE; r++) {
                float *at = to + (ptrdiff_t)unit_of(kind, cell, r) * d;
                _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), h[r]));
            }
        }
    }
}

/* Each unit's mean through its kind's part of the output matrix, in place. */
static inline void unit_outputs(float *sums, const uint16_t *w, uint16_t *mean, int d) {
    for (int kind = 0; kind < KINDS; kind++)
        for (int u = 0; u < CELLS; u += NINE) {
            float *at = sums + (ptrdiff_t)(kind * CELLS + u) * d;
            for (int i = 0; i < NINE * d; i += LANES)
                put_bf16(mean + i,
                    _mm512_mul_ps(_mm512_loadu_ps(at + i), _mm512_set1_ps(1.0f / NINE)), LANES);
            product(at, mean, w + (ptrdiff_t)kind * d * d, d, d, false);
        }
}

/* x (9, d) of a cell += what its units say. */
static inline void add_units(float *x, const float *outputs, int cell, int d) {
    for (int r = 0; r < NINE; r++)
        for (int i = 0; i < d; i += LANES) {
            __m512 s = _mm512_loadu_ps(x + (ptrdiff_t)r * d + i);
            for (int kind = 0; kind < KINDS; kind++) {
                ptrdiff_t unit = kind * CELLS + unit_of(kind, cell, r);
                s = _mm512_add_ps(s, _mm512_loadu_ps(outputs + unit * d + i));
            }
            _mm512_storeu_ps(x + (ptrdiff_t)r * d + i, s);
        }
}

/* x (9, d) = rmsnorm(x), xa = act(x). */
static inline void normalise(float *x, uint16_t *xa, int d, float eps) {
    float square[LANES] = {0};
    for (int r = 0; r < NINE; r++) {
        __m512 sum = _mm512_setzero_ps();
        for (int i = 0; i < d; i += LANES) {
            __m512 v = _mm512_loadu_ps(x + (ptrdiff_t)r * d + i);
            sum = _mm512_fmadd_ps(v, v, sum);
        }
        square[r] = _mm512_reduce_add_ps(sum);
    }
    __m512 mean = _mm512_fmadd_ps(
        _mm512_loadu_ps(square), _mm512_set1_ps(1.0f / (float)d), _mm512_set1_ps(eps));
    _mm512_storeu_ps(square, _mm512_div_ps(_mm512_set1_ps(1), _mm512_sqrt_ps(mean)));
    for (int r = 0; r < NINE; r++)
        for (int i = 0; i < d; i += LANES) {
            ptrdiff_t at = (ptrdiff_t)r * d + i;
            __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + at), _mm512_set1_ps(square[r]));
            _mm512_storeu_ps(x + at, v);
            put_bf16(xa + at, v, LANES);
        }
}

/* Always inlined with d a constant for the shipped width, so that the inner loops unroll. */
static inline __attribute__((always_inline)) void layer(float *x, uint16_t *xa, const uint16_t *w,
    void *space, const int d, const int inner, float eps) {
    float *sums = space;
    uint16_t *h = (uint16_t *)(sums + (ptrdiff_t)KINDS * CELLS * d);
    const uint16_t *mix_out = w + (ptrdiff_t)2 * KINDS * d * d;
    const uint16_t *gate_up = mix_out + (ptrdiff_t)KINDS * d * d;
    const uint16_t *down = gate_up + (ptrdiff_t)2 * inner * d;
    unit_sums(sums, xa, w, d);
    unit_outputs(sums, mix_out, h, d);
    for (int cell = 0; cell < CELLS; cell++, x += NINE * d, xa += NINE * d) {
        add_units(x, sums, cell, d);
        normalise(x, xa, d, eps);
        for (int c = 0; c < inner; c += LANES) {
            __m512 v[NINE];
            gated(v, xa, gate_up + (ptrdiff_t)c * d, d, inner);
            for (int r = 0; r < NINE; r++)
                put_bf16(h + (ptrdiff_t)r * inner + c, v[r], LANES);
        }
        product(x, h, down, d, inner, true);
        normalise(x, xa, d, eps);
    }
}

static size_t candidates_space(int d, int inner) {
    size_t h = (size_t)NINE * (size_t)(inner > d ? inner : d);
    return (size_t)KINDS * CELLS * (size_t)d * sizeof(float) + h * sizeof(uint16_t);
}

static void candidates(
    float *x, void *xa, const void *weights, void *space, int d, int inner, float eps) {
    if (d == 32 && inner == 128)
        layer(x, xa, weights, space, 32, 128, eps);
    else
        layer(x, xa, weights, space, d, inner, eps);
}

void trm_candidates_x512(trm_rows *t) {
    t->candidates = candidates;
    t->candidates_bytes = candidates_bytes;
    t->candidates_space = candidates_space;
    t->candidates_pack = candidates_pack;
}

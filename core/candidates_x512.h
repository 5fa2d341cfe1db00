/* What the kernels of candidates_x512.c and candidates_back_x512.c share: products of nine rows,
 * the candidates of a cell, and the units these belong to. Included by files compiled for AVX-512
 * with BF16 only. */
#ifndef TRM_CANDIDATES_X512_H
#define TRM_CANDIDATES_X512_H

#include <string.h>

#include "rows_x512.h"

enum { CELLS = 81, NINE = 9, KINDS = 4, LANES = 16 };

static inline __m512bh weights_at(const uint16_t *w) {
    return (__m512bh)_mm512_loadu_si512(w);
}

/* Two neighbouring activations in every lane. */
static inline __m512bh both_of(const uint16_t *a) {
    int bits;
    memcpy(&bits, a, sizeof bits);
    return (__m512bh)_mm512_set1_epi32(bits);
}

/* Gates and ups of nine rows for 16 of n channels; w as packed, up n outputs later. */
static inline void gates(
    __m512 g[NINE], __m512 u[NINE], const uint16_t *a, const uint16_t *w, int d, int n) {
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
}

/* 1 / (1 + e^-x) */
static inline __m512 sigmoid(__m512 x) {
    __m512 e = exp2_coarse(_mm512_mul_ps(x, _mm512_set1_ps(-LOG2E)));
    return _mm512_rcp14_ps(_mm512_add_ps(e, _mm512_set1_ps(1)));
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
static inline int unit_of(int kind, int cell, int digit) {
    int row = cell / NINE, col = cell % NINE;
    int place = kind == 1 ? row : kind == 2 ? col : row / 3 * 3 + col / 3;
    return kind == 0 ? cell : place * NINE + digit;
}

/* Each unit's mean through its kind's matrix w (d, d), in place; means (4, 81, d) keeps them. */
static inline void unit_outputs(float *sums, const uint16_t *w, uint16_t *means, int d) {
    for (int kind = 0; kind < KINDS; kind++)
        for (int u = 0; u < CELLS; u += NINE) {
            ptrdiff_t at = (ptrdiff_t)(kind * CELLS + u) * d;
            for (int i = 0; i < NINE * d; i += LANES)
                put_bf16(means + at + i,
                    _mm512_mul_ps(_mm512_loadu_ps(sums + at + i), _mm512_set1_ps(1.0f / NINE)),
                    LANES);
            product(sums + at, means + at, w + (ptrdiff_t)kind * d * d, d, d, false);
        }
}

/* Sums over units and their means: what both passes need beside the tape. */
static inline size_t sums_bytes(int d) {
    return (size_t)KINDS * CELLS * (size_t)d * (sizeof(float) + sizeof(uint16_t));
}

/* Packed weights: bf16 numbers of the forward pass, as many again of the backward one. */
static inline size_t packed_weights(int d, int inner) {
    return (size_t)d * (size_t)(2 * KINDS * d + KINDS * d + 2 * inner + inner);
}

void trm_candidates_back_x512(
    float *g, const trm_candidate_tape *t, const void *weights, void *space, int d, int inner);

#endif

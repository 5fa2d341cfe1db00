/* What the hand-written row kernels of AVX-512 with BF16 share: 16 floats or 32 bf16 at a
 * time, the last few under a mask. Included by files compiled for those instructions only. */
#ifndef TRM_ROWS_X512_H
#define TRM_ROWS_X512_H

#include <immintrin.h>
#include <stdint.h>

#include "rows.h"

/* Puts the kernels of a file into the table in place of the compiler's. */
void trm_rows_x512(trm_rows *table);
void trm_units_x512(trm_rows *table);
void trm_near_x512(trm_rows *table);
void trm_means_x512(trm_rows *table);
void trm_outer_x512(trm_rows *table);
void trm_candidates_x512(trm_rows *table);
void trm_swiglu_x512(trm_rows *table); /* of f32; all others are of bf16 */

static inline __mmask16 few(int left) {
    return (__mmask16)(left >= 16 ? 0xFFFF : (1 << left) - 1);
}

static inline __m512 get_f32(const float *p, int left) {
    return left >= 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(few(left), p);
}

static inline void put_f32(float *p, __m512 v, int left) {
    if (left >= 16)
        _mm512_storeu_ps(p, v);
    else
        _mm512_mask_storeu_ps(p, few(left), v);
}

static inline __m512 get_bf16(const uint16_t *p, int left) {
    __m256i v = left >= 16 ? _mm256_loadu_si256((const __m256i *)(const void *)p)
                           : _mm256_maskz_loadu_epi16(few(left), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

static inline void put_bf16(uint16_t *p, __m512 v, int left) {
    __m256i b = (__m256i)_mm512_cvtneps_pbh(v);
    if (left >= 16)
        _mm256_storeu_si256((__m256i *)(void *)p, b);
    else
        _mm256_mask_storeu_epi16(p, few(left), b);
}

/* 32 bf16 as the floats of even and of odd place: two operations instead of four. */
typedef struct pair {
    __m512 even, odd;
} pair;

static inline __mmask32 few32(int left) {
    return left >= 32 ? 0xFFFFFFFFu : (1u << left) - 1;
}

static inline pair get_pair(const uint16_t *p, int left) {
    __m512i v = left >= 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16(few32(left), p);
    return (pair){_mm512_castsi512_ps(_mm512_slli_epi32(v, 16)),
        _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32((int)0xFFFF0000)))};
}

/* Lane i holds bf16(even[i]) in its lower half and bf16(odd[i]) in its upper one. */
static inline __m512i join(pair v) {
    const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
        8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(zip, (__m512i)_mm512_cvtne2ps_pbh(v.odd, v.even));
}

static inline void put_pair(uint16_t *p, pair v, int left) {
    if (left >= 32)
        _mm512_storeu_si512(p, join(v));
    else
        _mm512_mask_storeu_epi16(p, few32(left), join(v));
}

/* 2^t with a relative error of 7e-5, enough where bf16 follows: a cubic on [0, 1). Overflow
 * gives infinity, underflow zero. */
static inline __m512 exp2_coarse(__m512 t) {
    __m512 f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF), p = _mm512_set1_ps(7.80245268e-2f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.26067149e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.95833543e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.99925219e-1f));
    return _mm512_scalef_ps(p, t);
}

#define LOG2E 1.44269504f

#endif

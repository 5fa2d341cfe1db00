/* Attention within rows, columns and boxes, for bf16 on AVX-512 with BF16 instructions.
 *
 * A unit's nine queries lie in the lanes of a vector, so that its softmax runs down nine
 * vectors of scores and never across lanes. Products are of pairs of bf16, as the instruction
 * wants them: pairs of channels for the scores, of cells for what the weights mix. Each matrix
 * "turned" has one vector a pair of channels, lane i cell i; "zipped", one a pair of cells.
 * Pure functions; lanes past the ninth are zero wherever another lane could see them. */
#include <string.h>

#include "rows_units.h"
#include "rows_x512.h"

#define INLINE static inline __attribute__((always_inline))
enum { CELLS = 9, ZIPS = 5, MOST = 2 }; /* MOST: vectors of channels a head */

/* Offsets of the nine cells of a unit in rows of stride ld. */
typedef struct unit {
    ptrdiff_t at[CELLS];
} unit;

static unit unit_of(int kind, int u, int ld) {
    unit out;
    for (int i = 0; i < CELLS; i++)
        out.at[i] = (ptrdiff_t)trm_unit_cell(kind, u, i) * ld;
    return out;
}

INLINE __m256i load16(const uint16_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

INLINE __m512i two(const uint16_t *x, const unit *u, int i) {
    return _mm512_inserti64x4(
        _mm512_castsi256_si512(load16(x + u->at[i])), load16(x + u->at[i + 1]), 1);
}

/* 9 x 16 channels, turned. */
INLINE void turn(__m512i t[8], const uint16_t *x, const unit *u) {
    const __m512i pick = _mm512_set_epi32(27, 19, 11, 3, 26, 18, 10, 2, 25, 17, 9, 1, 24, 16, 8, 0);
    const __m512i join4 = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 19, 18, 17, 16, 3, 2, 1, 0);
    __m512i a = two(x, u, 0), b = two(x, u, 2), c = two(x, u, 4), d = two(x, u, 6);
    __m512i last = _mm512_castsi256_si512(load16(x + u->at[8]));
    for (int g = 0; g < 2; g++) {
        __m512i from = _mm512_add_epi32(pick, _mm512_set1_epi32(4 * g));
        __m512i lo = _mm512_permutex2var_epi32(a, from, b);
        __m512i hi = _mm512_permutex2var_epi32(c, from, d);
        for (int k = 0; k < 4; k++) {
            __m512i at = _mm512_add_epi32(join4, _mm512_set1_epi32(4 * k));
            __m512i v = _mm512_maskz_permutex2var_epi32(0xFF, lo, at, hi);
            t[4 * g + k] =
                _mm512_mask_permutexvar_epi32(v, 1 << 8, _mm512_set1_epi32(4 * g + k), last);
        }
    }
}

/* 9 x 16 channels, zipped. */
INLINE void zip(__m512i z[ZIPS], const uint16_t *x, const unit *u) {
    for (int i = 0; i < ZIPS; i++) {
        __m512i lo = _mm512_cvtepu16_epi32(load16(x + u->at[2 * i]));
        if (i < ZIPS - 1)
            lo = _mm512_or_si512(
                lo, _mm512_slli_epi32(_mm512_cvtepu16_epi32(load16(x + u->at[2 * i + 1])), 16));
        z[i] = lo;
    }
}

INLINE __m512 dot2(__m512 sum, __m512i a, const void *pair_of_b) {
    int32_t b;
    memcpy(&b, pair_of_b, sizeof b);
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)_mm512_set1_epi32(b));
}

/* s[j], lane i: cell i of what was turned by cell j of x. */
INLINE void scores(
    __m512 s[CELLS], const __m512i (*t)[8], const uint16_t *x, const unit *u, int vectors) {
    for (int j = 0; j < CELLS; j++)
        s[j] = _mm512_setzero_ps();
    for (int v = 0; v < vectors; v++)
        for (int c = 0; c < 8; c++)
            for (int j = 0; j < CELLS; j++)
                s[j] = dot2(s[j], t[v][c], x + u->at[j] + (ptrdiff_t)v * 16 + (ptrdiff_t)c * 2);
}

/* Over j in every lane; lanes past the ninth become zero. */
INLINE void soften(__m512 s[CELLS], float scale) {
    const __m512 k = _mm512_set1_ps(scale * LOG2E);
    __m512 top = s[0], sum = _mm512_setzero_ps();
    for (int j = 1; j < CELLS; j++)
        top = _mm512_max_ps(top, s[j]);
    for (int j = 0; j < CELLS; j++) {
        s[j] = exp2_coarse(_mm512_mul_ps(_mm512_sub_ps(s[j], top), k));
        sum = _mm512_add_ps(sum, s[j]);
    }
    __m512 inv = _mm512_div_ps(_mm512_set1_ps(1), sum);
    for (int j = 0; j < CELLS; j++)
        s[j] = _mm512_maskz_mul_ps(0x1FF, s[j], inv);
}

/* w[p], dword i: the pair (s[2p][i], s[2p+1][i]). */
INLINE void pairs_down(int32_t w[ZIPS][16], const __m512 s[CELLS]) {
    for (int p = 0; p < ZIPS; p++)
        _mm512_store_si512(
            w[p], join((pair){s[2 * p], p < ZIPS - 1 ? s[2 * p + 1] : _mm512_setzero_ps()}));
}

/* w[j], dword p: the pair (s[j][2p], s[j][2p+1]). */
INLINE void pairs_across(int32_t w[CELLS][8], const __m512 s[CELLS]) {
    for (int j = 0; j < CELLS; j++)
        _mm256_store_si256((__m256i *)(void *)w[j], (__m256i)_mm512_cvtneps_pbh(s[j]));
}

/* out[i] = sum over p of the pair w(p, i) by z[p]; w has strides of dwords. */
INLINE void mix(
    uint16_t *out, const unit *u, const int32_t *w, int by_p, int by_i, const __m512i z[ZIPS]) {
    __m512 sum[CELLS];
    for (int i = 0; i < CELLS; i++)
        sum[i] = _mm512_setzero_ps();
    for (int p = 0; p < ZIPS; p++)
        for (int i = 0; i < CELLS; i++)
            sum[i] = dot2(sum[i], z[p], w + p * by_p + i * by_i);
    for (int i = 0; i < CELLS; i++)
        put_bf16(out + u->at[i], sum[i], 16);
}

INLINE void units_of(
    uint16_t *out, const uint16_t *qkv, int heads, const int vectors, float scale) {
    int hd = 16 * vectors, d = heads * hd;
    __m512i t[MOST][8], z[ZIPS];
    __m512 s[CELLS];
    _Alignas(64) int32_t w[ZIPS][16];
    for (int n = 0; n < heads * 9; n++) {
        int h = n / 9;
        unit in = unit_of(h % 3, n % 9, 3 * d), to = unit_of(h % 3, n % 9, d);
        const uint16_t *q = qkv + (ptrdiff_t)h * hd, *k = q + d, *v = k + d;
        for (int c = 0; c < vectors; c++)
            turn(t[c], q + (ptrdiff_t)c * 16, &in);
        scores(s, t, k, &in, vectors);
        soften(s, scale);
        pairs_down(w, s);
        for (int c = 0; c < vectors; c++) {
            zip(z, v + (ptrdiff_t)c * 16, &in);
            mix(out + (ptrdiff_t)h * hd + (ptrdiff_t)c * 16, &to, w[0], 16, 1, z);
        }
    }
}

/* ds = scale p (dp - sum over j of p dp), left in dp. */
INLINE void soften_back(__m512 dp[CELLS], const __m512 p[CELLS], float scale) {
    __m512 delta = _mm512_setzero_ps(), k = _mm512_set1_ps(scale);
    for (int j = 0; j < CELLS; j++)
        delta = _mm512_fmadd_ps(p[j], dp[j], delta);
    for (int j = 0; j < CELLS; j++)
        dp[j] = _mm512_mul_ps(_mm512_mul_ps(p[j], k), _mm512_sub_ps(dp[j], delta));
}

INLINE void units_back_of(uint16_t *dqkv, const uint16_t *dout, const uint16_t *qkv, int heads,
    const int vectors, float scale) {
    int hd = 16 * vectors, d = heads * hd;
    __m512i t[MOST][8], z[ZIPS];
    __m512 p[CELLS], ds[CELLS];
    _Alignas(64) int32_t down[ZIPS][16], across[CELLS][8], across_p[CELLS][8];
    for (int n = 0; n < heads * 9; n++) {
        int h = n / 9;
        unit in = unit_of(h % 3, n % 9, 3 * d), from = unit_of(h % 3, n % 9, d);
        const uint16_t *q = qkv + (ptrdiff_t)h * hd, *k = q + d, *v = k + d;
        const uint16_t *g = dout + (ptrdiff_t)h * hd;
        uint16_t *to = dqkv + (ptrdiff_t)h * hd;
        for (int c = 0; c < vectors; c++)
            turn(t[c], q + (ptrdiff_t)c * 16, &in);
        scores(p, t, k, &in, vectors);
        soften(p, scale);
        for (int c = 0; c < vectors; c++)
            turn(t[c], g + (ptrdiff_t)c * 16, &from);
        scores(ds, t, v, &in, vectors);
        soften_back(ds, p, scale);
        pairs_across(across_p, p);
        pairs_across(across, ds);
        pairs_down(down, ds);
        for (int c = 0; c < 16 * vectors; c += 16) {
            zip(z, k + c, &in);
            mix(to + c, &in, down[0], 16, 1, z);
            zip(z, q + c, &in);
            mix(to + d + c, &in, across[0], 1, 8, z);
            zip(z, g + c, &from);
            mix(to + (ptrdiff_t)2 * d + c, &in, across_p[0], 1, 8, z);
        }
    }
}

/* Heads of 16 and 32 channels; others stay with the compiler's kernels. */
static trm_rows plain;

static void units(void *out, const void *qkv, int heads, int hd, float scale) {
    if (hd == 16)
        units_of(out, qkv, heads, 1, scale);
    else if (hd == 32)
        units_of(out, qkv, heads, 2, scale);
    else
        plain.units(out, qkv, heads, hd, scale);
}

static void units_back(
    void *dqkv, const void *dout, const void *qkv, int heads, int hd, float scale) {
    if (hd == 16)
        units_back_of(dqkv, dout, qkv, heads, 1, scale);
    else if (hd == 32)
        units_back_of(dqkv, dout, qkv, heads, 2, scale);
    else
        plain.units_back(dqkv, dout, qkv, heads, hd, scale);
}

void trm_units_x512(trm_rows *t) {
    plain = *t;
    t->units = units;
    t->units_back = units_back;
}

/* Attention of a cell to itself and one neighbour, for bf16 on AVX-512 with BF16 instructions.
 *
 * Sixteen cells at a time: their scores meet in the lanes of one vector, where the logistic
 * function is taken once for all. A cell without that neighbour is its own: its scores differ
 * by zero, and what it mixes is its own value. Going back, a cell gathers what the one cell
 * that looks at it sends, for near[3 - k] turns near[k] round; so nothing is summed in memory.
 * Pure functions; see rows.h. */
#include <string.h>

#include "rows_x512.h"

#define INLINE static inline __attribute__((always_inline))
enum { CELLS = 16 };

/* A head's view of sixteen cells: offsets of the cells and of their neighbours, in rows. */
typedef struct view {
    ptrdiff_t cell[CELLS], other[CELLS];
    int n;
} view;

INLINE view view_of(const int32_t *near, int first, int rows) {
    view w = {.n = rows - first < CELLS ? rows - first : CELLS};
    for (int i = 0; i < CELLS; i++) {
        w.cell[i] = i < w.n ? first + i : rows - 1;
        w.other[i] = near[w.cell[i]] < 0 ? w.cell[i] : near[w.cell[i]];
    }
    return w;
}

INLINE __m256bh load16(const uint16_t *p) {
    return (__m256bh)_mm256_loadu_si256((const __m256i *)(const void *)p);
}

INLINE __m512bh load32(const uint16_t *p) {
    return (__m512bh)_mm512_loadu_si512(p);
}

/* a . (b - c) over 16 channels, left in the eight lanes of a vector; two such in one. */
INLINE __m256 half_dot(const uint16_t *a, const uint16_t *b, const uint16_t *c) {
    const __m256 zero = _mm256_setzero_ps();
    return _mm256_sub_ps(
        _mm256_dpbf16_ps(zero, load16(a), load16(b)), _mm256_dpbf16_ps(zero, load16(a), load16(c)));
}

INLINE __m512 whole_dot(const uint16_t *a, const uint16_t *b, const uint16_t *c) {
    const __m512 zero = _mm512_setzero_ps();
    return _mm512_sub_ps(
        _mm512_dpbf16_ps(zero, load32(a), load32(b)), _mm512_dpbf16_ps(zero, load32(a), load32(c)));
}

/* Lane i: a(cell i) . (b(cell i) - b(its neighbour)); strides of rows lda, ldb. */
INLINE __m512 dots(const uint16_t *a, ptrdiff_t lda, const uint16_t *b, ptrdiff_t ldb,
    const view *w, const int hd) {
    __m512 v[8], t[4], y[2];
    for (int i = 0; i < 8; i++) {
        const uint16_t *a0 = a + w->cell[i] * lda, *a1 = a + w->cell[i + 8] * lda;
        const uint16_t *b0 = b + w->cell[i] * ldb, *b1 = b + w->cell[i + 8] * ldb;
        const uint16_t *c0 = b + w->other[i] * ldb, *c1 = b + w->other[i + 8] * ldb;
        if (hd == 16) {
            v[i] = _mm512_castpd_ps(
                _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_castps_pd(half_dot(a0, b0, c0))),
                    _mm256_castps_pd(half_dot(a1, b1, c1)), 1));
        } else {
            __m512 lo = whole_dot(a0, b0, c0), hi = whole_dot(a1, b1, c1);
            v[i] = _mm512_add_ps(
                _mm512_shuffle_f32x4(lo, hi, 0x44), _mm512_shuffle_f32x4(lo, hi, 0xEE));
        }
    }
    for (int i = 0; i < 4; i++) /* quarters: cells i, i + 8, i + 4, i + 12 */
        t[i] = _mm512_add_ps(
            _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), _mm512_shuffle_f32x4(v[i], v[i + 4], 0xDD));
    for (int i = 0; i < 2; i++)
        y[i] =
            _mm512_add_ps(_mm512_unpacklo_ps(t[i], t[i + 2]), _mm512_unpackhi_ps(t[i], t[i + 2]));
    __m512 z = _mm512_add_ps(_mm512_unpacklo_ps(y[0], y[1]), _mm512_unpackhi_ps(y[0], y[1]));
    return _mm512_shuffle_f32x4(z, z, 0xD8);
}

/* 1 / (1 + e^(-scale x)) */
INLINE __m512 logistic(__m512 x, float scale) {
    __m512 e = exp2_coarse(_mm512_mul_ps(x, _mm512_set1_ps(-LOG2E * scale)));
    return _mm512_div_ps(_mm512_set1_ps(1), _mm512_add_ps(e, _mm512_set1_ps(1)));
}

INLINE void near_of(void *out, const void *qkv, const int32_t *near, int rows, int heads,
    const int hd, float scale) {
    ptrdiff_t d = (ptrdiff_t)heads * hd, ld = 3 * d;
    _Alignas(64) float p[CELLS];
    for (int r = 0; r < rows; r += CELLS)
        for (int h = 0; h < heads; h++) {
            const uint16_t *q = (const uint16_t *)qkv + (ptrdiff_t)h * hd, *v = q + 2 * d;
            uint16_t *o = (uint16_t *)out + (ptrdiff_t)h * hd;
            view w = view_of(near + (ptrdiff_t)(h % 4) * rows, r, rows);
            _mm512_store_ps(p, logistic(dots(q, ld, q + d, ld, &w, hd), scale));
            for (int i = 0; i < w.n; i++)
                for (int c = 0; c < hd; c += 16) {
                    __m512 b = get_bf16(v + w.other[i] * ld + c, 16);
                    __m512 a = _mm512_sub_ps(get_bf16(v + w.cell[i] * ld + c, 16), b);
                    put_bf16(
                        o + w.cell[i] * d + c, _mm512_fmadd_ps(a, _mm512_set1_ps(p[i]), b), 16);
                }
        }
}

/* p and ds (rows + 1): a head's weights and slopes of scores; the last, of no cell, stay 0. */
INLINE void slopes(float *p, float *ds, const uint16_t *q, const uint16_t *g, const int32_t *near,
    int rows, ptrdiff_t d, const int hd, float scale) {
    const __m512 one = _mm512_set1_ps(1);
    for (int r = 0; r < rows; r += CELLS) {
        view w = view_of(near, r, rows);
        __m512 s = logistic(dots(q, 3 * d, q + d, 3 * d, &w, hd), scale);
        __m512 t = dots(g, d, q + 2 * d, 3 * d, &w, hd);
        t = _mm512_mul_ps(
            _mm512_mul_ps(t, _mm512_set1_ps(scale)), _mm512_mul_ps(s, _mm512_sub_ps(one, s)));
        put_f32(p + r, s, w.n);
        put_f32(ds + r, t, w.n);
    }
    p[rows] = 1;
    ds[rows] = 0;
}

INLINE void near_back_of(void *dqkv, float *acc, const void *dout, const void *qkv,
    const int32_t *near, int rows, int heads, const int hd, float scale) {
    ptrdiff_t d = (ptrdiff_t)heads * hd, ld = 3 * d;
    float *p = acc, *ds = acc + rows + 1;
    for (int h = 0; h < heads; h++) {
        const uint16_t *q = (const uint16_t *)qkv + (ptrdiff_t)h * hd;
        const uint16_t *g = (const uint16_t *)dout + (ptrdiff_t)h * hd;
        const int32_t *to = near + (ptrdiff_t)(h % 4) * rows;
        const int32_t *from = near + (ptrdiff_t)(3 - h % 4) * rows;
        uint16_t *dq = (uint16_t *)dqkv + (ptrdiff_t)h * hd;
        slopes(p, ds, q, g, to, rows, d, hd, scale);
        for (int r = 0; r < rows; r++) {
            ptrdiff_t n = to[r] < 0 ? r : to[r], m = from[r] < 0 ? r : from[r];
            int sender = from[r] < 0 ? rows : from[r];
            /* a cell without a neighbour keeps all of its value */
            __m512 own = _mm512_set1_ps(to[r] < 0 ? 1 : p[r]), slope = _mm512_set1_ps(ds[r]);
            __m512 sent = _mm512_set1_ps(1 - p[sender]), pull = _mm512_set1_ps(ds[sender]);
            for (int c = 0; c < hd; c += 16) {
                __m512 k = get_bf16(q + d + r * ld + c, 16), kn = get_bf16(q + d + n * ld + c, 16);
                __m512 qr = get_bf16(q + r * ld + c, 16), qm = get_bf16(q + m * ld + c, 16);
                __m512 gr = get_bf16(g + r * d + c, 16), gm = get_bf16(g + m * d + c, 16);
                uint16_t *at = dq + r * ld + c;
                put_bf16(at, _mm512_mul_ps(slope, _mm512_sub_ps(k, kn)), 16);
                put_bf16(at + d, _mm512_fmsub_ps(slope, qr, _mm512_mul_ps(pull, qm)), 16);
                put_bf16(at + 2 * d, _mm512_fmadd_ps(own, gr, _mm512_mul_ps(sent, gm)), 16);
            }
        }
    }
}

/* Heads of 16 and 32 channels; others stay with the compiler's kernels. */
static trm_rows plain;

static void near16(
    void *out, const void *qkv, const int32_t *near, int rows, int heads, int hd, float scale) {
    if (hd == 16)
        near_of(out, qkv, near, rows, heads, 16, scale);
    else if (hd == 32)
        near_of(out, qkv, near, rows, heads, 32, scale);
    else
        plain.near(out, qkv, near, rows, heads, hd, scale);
}

static void near16_back(void *dqkv, float *acc, const void *dout, const void *qkv,
    const int32_t *near, int rows, int heads, int hd, float scale) {
    if (hd == 16)
        near_back_of(dqkv, acc, dout, qkv, near, rows, heads, 16, scale);
    else if (hd == 32)
        near_back_of(dqkv, acc, dout, qkv, near, rows, heads, 32, scale);
    else
        plain.near_back(dqkv, acc, dout, qkv, near, rows, heads, hd, scale);
}

void trm_near_x512(trm_rows *t) {
    plain = *t;
    t->near = near16;
    t->near_back = near16_back;
}

/* The row kernels that cost most, for bf16 on AVX-512 with BF16 instructions: what a compiler
 * cannot find by itself is rounding to bf16 in one instruction, 2^x by scaling the exponent,
 * and a reciprocal as coarse as its result. Pure functions; see rows.h for each. */
#include <math.h>
#include <string.h>

#include "rows_x512.h"

static void to_act(void *out, const float *in, size_t n) {
    uint16_t *o = out;
    for (size_t i = 0; i < n; i += 16) {
        int left = n - i < 16 ? (int)(n - i) : 16;
        put_bf16(o + i, get_f32(in + i, left), left);
    }
}

static void add(float *x, void *xa, const float *a, const float *b, const float *c, size_t n) {
    uint16_t *o = xa;
    for (size_t i = 0; i < n; i += 16) {
        int left = n - i < 16 ? (int)(n - i) : 16;
        __m512 s = _mm512_add_ps(get_f32(a + i, left), get_f32(b + i, left));
        if (c)
            s = _mm512_add_ps(s, get_f32(c + i, left));
        put_f32(x + i, s, left);
        put_bf16(o + i, s, left);
    }
}

static void norm(float *x, void *xa, float *inv, const float *o, int rows, int d, float eps) {
    for (int r = 0; r < rows; r++) {
        float *xr = x + (ptrdiff_t)r * d;
        const float *or_ = o + (ptrdiff_t)r * d;
        uint16_t *ar = (uint16_t *)xa + (ptrdiff_t)r * d;
        __m512 sum = _mm512_setzero_ps();
        for (int i = 0; i < d; i += 16) {
            __m512 s = _mm512_add_ps(get_f32(xr + i, d - i), get_f32(or_ + i, d - i));
            put_f32(xr + i, s, d - i);
            sum = _mm512_fmadd_ps(s, s, sum);
        }
        inv[r] = 1.0f / sqrtf(_mm512_reduce_add_ps(sum) / (float)d + eps);
        __m512 k = _mm512_set1_ps(inv[r]);
        for (int i = 0; i < d; i += 16) {
            __m512 y = _mm512_mul_ps(get_f32(xr + i, d - i), k);
            put_f32(xr + i, y, d - i);
            put_bf16(ar + i, y, d - i);
        }
    }
}

static void norm_t(float *x, void *xa, float *inv, const float *o, int rows, int d, float eps) {
    memset(inv, 0, (size_t)d * sizeof *inv);
    for (int r = 0; r < rows; r++) {
        float *xr = x + (ptrdiff_t)r * d;
        const float *or_ = o + (ptrdiff_t)r * d;
        for (int i = 0; i < d; i += 16) {
            __m512 s = _mm512_add_ps(get_f32(xr + i, d - i), get_f32(or_ + i, d - i));
            put_f32(xr + i, s, d - i);
            put_f32(inv + i, _mm512_fmadd_ps(s, s, get_f32(inv + i, d - i)), d - i);
        }
    }
    for (int i = 0; i < d; i++)
        inv[i] = 1.0f / sqrtf(inv[i] / (float)rows + eps);
    for (int r = 0; r < rows; r++) {
        float *xr = x + (ptrdiff_t)r * d;
        uint16_t *ar = (uint16_t *)xa + (ptrdiff_t)r * d;
        for (int i = 0; i < d; i += 16) {
            __m512 y = _mm512_mul_ps(get_f32(xr + i, d - i), get_f32(inv + i, d - i));
            put_f32(xr + i, y, d - i);
            put_bf16(ar + i, y, d - i);
        }
    }
}

static void norm_back(float *g, void *ga, const void *y, const float *inv, int rows, int d) {
    for (int r = 0; r < rows; r++) {
        float *gr = g + (ptrdiff_t)r * d;
        const uint16_t *yr = (const uint16_t *)y + (ptrdiff_t)r * d;
        uint16_t *ar = (uint16_t *)ga + (ptrdiff_t)r * d;
        __m512 dot = _mm512_setzero_ps(), k = _mm512_set1_ps(inv[r]);
        for (int i = 0; i < d; i += 16)
            dot = _mm512_fmadd_ps(get_f32(gr + i, d - i), get_bf16(yr + i, d - i), dot);
        __m512 m = _mm512_set1_ps(_mm512_reduce_add_ps(dot) / (float)d);
        for (int i = 0; i < d; i += 16) {
            __m512 v = _mm512_fnmadd_ps(get_bf16(yr + i, d - i), m, get_f32(gr + i, d - i));
            v = _mm512_mul_ps(v, k);
            put_f32(gr + i, v, d - i);
            put_bf16(ar + i, v, d - i);
        }
    }
}

/* 1 / (1 + e^-x) */
static inline __m512 sigmoid(__m512 x) {
    __m512 e = exp2_coarse(_mm512_mul_ps(x, _mm512_set1_ps(-LOG2E)));
    return _mm512_rcp14_ps(_mm512_add_ps(e, _mm512_set1_ps(1)));
}

static void swiglu(void *h, int ldh, const void *gu, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        const uint16_t *g = (const uint16_t *)gu + (ptrdiff_t)r * 2 * n, *u = g + n;
        uint16_t *o = (uint16_t *)h + (ptrdiff_t)r * ldh;
        for (int i = 0; i < n; i += 32) {
            pair x = get_pair(g + i, n - i), up = get_pair(u + i, n - i);
            x.even = _mm512_mul_ps(_mm512_mul_ps(x.even, up.even), sigmoid(x.even));
            x.odd = _mm512_mul_ps(_mm512_mul_ps(x.odd, up.odd), sigmoid(x.odd));
            put_pair(o + i, x, n - i);
        }
    }
}

/* With s = sigmoid(x): dx = go up s (1 + x (1 - s)), dup = go x s. */
static inline void swiglu_slope(__m512 *x, __m512 *up, __m512 go) {
    const __m512 one = _mm512_set1_ps(1);
    __m512 s = sigmoid(*x), gs = _mm512_mul_ps(go, s);
    __m512 bend = _mm512_fmadd_ps(*x, _mm512_sub_ps(one, s), one);
    __m512 dx = _mm512_mul_ps(_mm512_mul_ps(gs, *up), bend);
    *up = _mm512_mul_ps(gs, *x);
    *x = dx;
}

static void swiglu_back(void *gu, const void *dh, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        uint16_t *g = (uint16_t *)gu + (ptrdiff_t)r * 2 * n, *u = g + n;
        const uint16_t *d = (const uint16_t *)dh + (ptrdiff_t)r * n;
        for (int i = 0; i < n; i += 32) {
            pair x = get_pair(g + i, n - i), up = get_pair(u + i, n - i);
            pair go = get_pair(d + i, n - i);
            swiglu_slope(&x.even, &up.even, go.even);
            swiglu_slope(&x.odd, &up.odd, go.odd);
            put_pair(g + i, x, n - i);
            put_pair(u + i, up, n - i);
        }
    }
}

/* Heads of 32 channels in blocks of 16, whose pairs lie in one register: what a channel meets is
 * a quarter of the register away, and all heads share a row's angles. */
static void rope_two_blocks(void *x, int rows, int ld, int heads, const float *cs, float sign) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 8, 10, 12, 14, 8, 10, 12, 14);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __m512 turn = _mm512_mask_blend_ps(0x0F0F, _mm512_set1_ps(sign), _mm512_set1_ps(-sign));
    for (int r = 0; r < rows; r++, cs += 32) {
        __m512 c = _mm512_loadu_ps(cs), s = _mm512_loadu_ps(cs + 16);
        pair co = {_mm512_permutexvar_ps(even, c), _mm512_permutexvar_ps(odd, c)};
        pair si = {_mm512_mul_ps(turn, _mm512_permutexvar_ps(even, s)),
            _mm512_mul_ps(turn, _mm512_permutexvar_ps(odd, s))};
        for (int h = 0; h < heads; h++) {
            uint16_t *at = (uint16_t *)x + (ptrdiff_t)r * ld + (ptrdiff_t)h * 32;
            pair v = get_pair(at, 32);
            __m512 other_even = _mm512_shuffle_f32x4(v.even, v.even, 0xB1);
            __m512 other_odd = _mm512_shuffle_f32x4(v.odd, v.odd, 0xB1);
            v.even = _mm512_fmadd_ps(v.even, co.even, _mm512_mul_ps(other_even, si.even));
            v.odd = _mm512_fmadd_ps(v.odd, co.odd, _mm512_mul_ps(other_odd, si.odd));
            put_pair(at, v, 32);
        }
    }
}

static void rope(
    void *x, int rows, int ld, int heads, int hd, int block, const float *cs, float sign) {
    int half = block / 2, blocks = hd / block;
    if (hd == 32 && block == 16) {
        rope_two_blocks(x, rows, ld, heads, cs, sign);
        return;
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < heads * blocks; h++) {
            const float *c = cs + (ptrdiff_t)r * hd + (ptrdiff_t)(h % blocks) * half;
            uint16_t *lo = (uint16_t *)x + (ptrdiff_t)r * ld + (ptrdiff_t)h * block;
            uint16_t *hi = lo + half;
            for (int i = 0; i < half; i += 16) {
                int left = half - i;
                __m512 a = get_bf16(lo + i, left), z = get_bf16(hi + i, left);
                __m512 co = get_f32(c + i, left);
                __m512 si = _mm512_mul_ps(get_f32(c + hd / 2 + i, left), _mm512_set1_ps(sign));
                put_bf16(lo + i, _mm512_fmsub_ps(a, co, _mm512_mul_ps(z, si)), left);
                put_bf16(hi + i, _mm512_fmadd_ps(z, co, _mm512_mul_ps(a, si)), left);
            }
        }
}

static float row_max(const float *s, int cols) {
    __m512 top[4];
    for (int k = 0; k < 4; k++)
        top[k] = _mm512_set1_ps(s[0]);
    int i = 0;
    for (; i + 64 <= cols; i += 64)
        for (int k = 0; k < 4; k++)
            top[k] = _mm512_max_ps(top[k], _mm512_loadu_ps(s + i + (ptrdiff_t)k * 16));
    for (; i < cols; i += 16)
        top[0] = _mm512_mask_max_ps(top[0], few(cols - i), top[0], get_f32(s + i, cols - i));
    return _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_max_ps(top[0], top[1]), _mm512_max_ps(top[2], top[3])));
}

/* Zeros from `from`, where the last vector has left them, to `to`. */
static void pad(uint16_t *p, int from, int to) {
    if (to > from)
        memset(p + from, 0, (size_t)(to - from) * sizeof *p);
}

static void softmax(void *p, int ldp, const float *s, int ld, int rows, int cols, float scale,
    float *inv, float *lse) {
    const __m512 k = _mm512_set1_ps(scale * LOG2E);
    for (int r = 0; r < rows; r++) {
        const float *sr = s + (ptrdiff_t)r * ld;
        uint16_t *pr = (uint16_t *)p + (ptrdiff_t)r * ldp;
        float top = row_max(sr, cols);
        __m512 sum = _mm512_setzero_ps(), base = _mm512_set1_ps(-scale * LOG2E * top);
        for (int i = 0; i < cols; i += 16) {
            __m512 e = exp2_coarse(_mm512_fmadd_ps(get_f32(sr + i, cols - i), k, base));
            sum = _mm512_mask_add_ps(sum, few(cols - i), sum, e);
            put_bf16(pr + i, e, cols - i);
        }
        pad(pr, cols, ldp);
        float total = _mm512_reduce_add_ps(sum);
        inv[r] = 1.0f / total;
        if (lse)
            lse[r] = scale * top + logf(total);
    }
}

static void scale_rows(void *x, const float *k, int rows, int ld, int n) {
    for (int r = 0; r < rows; r++) {
        uint16_t *xr = (uint16_t *)x + (ptrdiff_t)r * ld;
        __m512 kr = _mm512_set1_ps(k[r]);
        for (int i = 0; i < n; i += 32) {
            pair v = get_pair(xr + i, n - i);
            v.even = _mm512_mul_ps(v.even, kr);
            v.odd = _mm512_mul_ps(v.odd, kr);
            put_pair(xr + i, v, n - i);
        }
    }
}

static void softmax_again(
    void *p, int ldp, const float *s, int ld, int rows, int cols, float scale, const float *lse) {
    const __m512 k = _mm512_set1_ps(scale * LOG2E);
    for (int r = 0; r < rows; r++) {
        const float *sr = s + (ptrdiff_t)r * ld;
        uint16_t *pr = (uint16_t *)p + (ptrdiff_t)r * ldp;
        __m512 base = _mm512_set1_ps(-LOG2E * lse[r]);
        for (int i = 0; i < cols; i += 16)
            put_bf16(
                pr + i, exp2_coarse(_mm512_fmadd_ps(get_f32(sr + i, cols - i), k, base)), cols - i);
        pad(pr, cols, ldp);
    }
}

static void softmax_back(void *ds, int ldp, const void *p, const float *dp, int ld, int rows,
    int cols, float scale, const float *delta) {
    for (int r = 0; r < rows; r++) {
        const uint16_t *pr = (const uint16_t *)p + (ptrdiff_t)r * ldp;
        const float *dr = dp + (ptrdiff_t)r * ld;
        uint16_t *o = (uint16_t *)ds + (ptrdiff_t)r * ldp;
        __m512 k = _mm512_set1_ps(scale), shift = _mm512_set1_ps(delta[r]);
        for (int i = 0; i < cols; i += 16) {
            __m512 v = _mm512_sub_ps(get_f32(dr + i, cols - i), shift);
            v = _mm512_mul_ps(v, _mm512_mul_ps(k, get_bf16(pr + i, cols - i)));
            put_bf16(o + i, v, cols - i);
        }
        pad(o, cols, ldp);
    }
}

/* Magnitudes of bf16 compare as the integers they are made of. */
static float magnitude(const uint16_t *x, int n) {
    __m512i top = _mm512_setzero_si512(), bits = _mm512_set1_epi16(0x7FFF);
    for (int i = 0; i < n; i += 32) {
        __m512i v = _mm512_maskz_loadu_epi16(few32(n - i), x + i);
        top = _mm512_max_epu16(top, _mm512_and_si512(v, bits));
    }
    __m512i hi = _mm512_srli_epi32(top, 16), lo = _mm512_and_si512(top, _mm512_set1_epi32(0xFFFF));
    unsigned most = (unsigned)_mm512_reduce_max_epi32(_mm512_max_epi32(hi, lo)) << 16;
    float f;
    memcpy(&f, &most, sizeof f);
    return f;
}

static void quantise(int8_t *q, float *scale, const void *x, int rows, int cols, int ld) {
    for (int r = 0; r < rows; r++) {
        const uint16_t *xr = (const uint16_t *)x + (ptrdiff_t)r * ld;
        int8_t *qr = q + (ptrdiff_t)r * cols;
        float top = magnitude(xr, cols);
        __m512 k = _mm512_set1_ps(top > 0 ? 127.0f / top : 0.0f);
        scale[r] = top / 127.0f;
        for (int i = 0; i < cols; i += 16) {
            __m512i v = _mm512_cvtps_epi32(_mm512_mul_ps(get_bf16(xr + i, cols - i), k));
            _mm512_mask_cvtepi32_storeu_epi8(qr + i, few(cols - i), v);
        }
    }
}

void trm_rows_x512(trm_rows *t) {
    t->to_act = to_act;
    t->add = add;
    t->norm = norm;
    t->norm_t = norm_t;
    t->norm_back = norm_back;
    t->swiglu = swiglu;
    t->swiglu_back = swiglu_back;
    t->rope = rope;
    t->softmax = softmax;
    t->scale_rows = scale_rows;
    t->softmax_again = softmax_again;
    t->softmax_back = softmax_back;
    t->quantise = quantise;
}

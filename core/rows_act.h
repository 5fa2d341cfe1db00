/* The text of the row kernels, included by rows.c once per element type: ACT the type,
 * GET/PUT its conversions, FN the name of a function. Not a header of its own. */

static void FN(to_act)(void *out, const float *in, size_t n) {
    ACT *restrict o = out;
    for (size_t i = 0; i < n; i++)
        o[i] = PUT(in[i]);
}

static void FN(from_act)(float *out, const void *in, size_t n) {
    const ACT *restrict a = in;
    for (size_t i = 0; i < n; i++)
        out[i] = GET(a[i]);
}

static void FN(add)(float *x, void *xa, const float *a, const float *b, const float *c, size_t n) {
    ACT *restrict o = xa;
    for (size_t i = 0; i < n; i++) {
        float s = a[i] + b[i];
        if (c)
            s += c[i];
        x[i] = s;
        o[i] = PUT(s);
    }
}

static void FN(norm)(float *x, void *xa, float *inv, const float *o, int rows, int d, float eps) {
    for (int r = 0; r < rows; r++) {
        float *restrict xr = x + (ptrdiff_t)r * d;
        const float *restrict or_ = o + (ptrdiff_t)r * d;
        ACT *restrict ar = (ACT *)xa + (ptrdiff_t)r * d;
        float sum = 0;
        for (int i = 0; i < d; i++) {
            float s = xr[i] + or_[i];
            xr[i] = s;
            sum += s * s;
        }
        float k = 1.0f / sqrtf(sum / (float)d + eps);
        inv[r] = k;
        for (int i = 0; i < d; i++) {
            float y = xr[i] * k;
            xr[i] = y;
            ar[i] = PUT(y);
        }
    }
}

static void FN(norm_t)(float *x, void *xa, float *inv, const float *o, int rows, int d, float eps) {
    for (int i = 0; i < d; i++)
        inv[i] = 0;
    for (int r = 0; r < rows; r++) {
        float *restrict xr = x + (ptrdiff_t)r * d;
        const float *restrict or_ = o + (ptrdiff_t)r * d;
        for (int i = 0; i < d; i++) {
            float s = xr[i] + or_[i];
            xr[i] = s;
            inv[i] += s * s;
        }
    }
    for (int i = 0; i < d; i++)
        inv[i] = 1.0f / sqrtf(inv[i] / (float)rows + eps);
    for (int r = 0; r < rows; r++) {
        float *restrict xr = x + (ptrdiff_t)r * d;
        ACT *restrict ar = (ACT *)xa + (ptrdiff_t)r * d;
        for (int i = 0; i < d; i++) {
            float y = xr[i] * inv[i];
            xr[i] = y;
            ar[i] = PUT(y);
        }
    }
}

static void FN(norm_back)(float *g, void *ga, const void *y, const float *inv, int rows, int d) {
    for (int r = 0; r < rows; r++) {
        float *restrict gr = g + (ptrdiff_t)r * d;
        const ACT *restrict yr = (const ACT *)y + (ptrdiff_t)r * d;
        ACT *restrict ar = (ACT *)ga + (ptrdiff_t)r * d;
        float dot = 0;
        for (int i = 0; i < d; i++)
            dot += gr[i] * GET(yr[i]);
        float m = dot / (float)d, k = inv[r];
        for (int i = 0; i < d; i++) {
            float v = k * (gr[i] - GET(yr[i]) * m);
            gr[i] = v;
            ar[i] = PUT(v);
        }
    }
}

static void FN(norm_t_back)(
    float *g, void *ga, const void *y, const float *inv, int rows, int d, float *tmp) {
    float *restrict dot = tmp;
    for (int i = 0; i < d; i++)
        dot[i] = 0;
    for (int r = 0; r < rows; r++) {
        const float *restrict gr = g + (ptrdiff_t)r * d;
        const ACT *restrict yr = (const ACT *)y + (ptrdiff_t)r * d;
        for (int i = 0; i < d; i++)
            dot[i] += gr[i] * GET(yr[i]);
    }
    for (int i = 0; i < d; i++)
        dot[i] /= (float)rows;
    for (int r = 0; r < rows; r++) {
        float *restrict gr = g + (ptrdiff_t)r * d;
        const ACT *restrict yr = (const ACT *)y + (ptrdiff_t)r * d;
        ACT *restrict ar = (ACT *)ga + (ptrdiff_t)r * d;
        for (int i = 0; i < d; i++) {
            float v = inv[i] * (gr[i] - GET(yr[i]) * dot[i]);
            gr[i] = v;
            ar[i] = PUT(v);
        }
    }
}

static void FN(swiglu)(void *h, int ldh, const void *gu, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        const ACT *restrict g = (const ACT *)gu + (ptrdiff_t)r * 2 * n, *restrict u = g + n;
        ACT *restrict o = (ACT *)h + (ptrdiff_t)r * ldh;
        for (int i = 0; i < n; i++) {
            float x = GET(g[i]);
            o[i] = PUT(x * GET(u[i]) / (1.0f + EXP(-x)));
        }
    }
}

static void FN(swiglu_back)(void *gu, const void *dh, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        ACT *restrict g = (ACT *)gu + (ptrdiff_t)r * 2 * n, *restrict u = g + n;
        const ACT *restrict d = (const ACT *)dh + (ptrdiff_t)r * n;
        for (int i = 0; i < n; i++) {
            float x = GET(g[i]), up = GET(u[i]), go = GET(d[i]), s = 1.0f / (1.0f + EXP(-x));
            g[i] = PUT(go * up * s * (1.0f + x * (1.0f - s)));
            u[i] = PUT(go * x * s);
        }
    }
}

static void FN(rope)(
    void *x, int rows, int ld, int heads, int hd, int block, const float *cs, float sign) {
    int half = block / 2;
    for (int r = 0; r < rows; r++) {
        const float *restrict c = cs + (ptrdiff_t)r * hd, *restrict s = c + hd / 2;
        for (int h = 0; h < heads; h++)
            for (int b = 0; b < hd / block; b++) {
                ACT *restrict lo =
                    (ACT *)x + (ptrdiff_t)r * ld + (ptrdiff_t)h * hd + (ptrdiff_t)b * block;
                ACT *restrict hi = lo + half;
                for (int i = 0; i < half; i++) {
                    float a = GET(lo[i]), z = GET(hi[i]);
                    float co = c[b * half + i], si = sign * s[b * half + i];
                    lo[i] = PUT(a * co - z * si);
                    hi[i] = PUT(z * co + a * si);
                }
            }
    }
}

/* The rows are left undivided and their sums handed out: dividing the few channels of the
 * mixed values costs less than dividing every weight. */
static void FN(softmax)(void *p, int ldp, const float *s, int ld, int rows, int cols, float scale,
    float *inv, float *lse) {
    for (int r = 0; r < rows; r++) {
        const float *restrict sr = s + (ptrdiff_t)r * ld;
        ACT *restrict pr = (ACT *)p + (ptrdiff_t)r * ldp;
        float top = sr[0], sum = 0;
        for (int i = 0; i < cols; i++)
            top = sr[i] > top ? sr[i] : top;
        float base = -scale * top;
        for (int i = 0; i < cols; i++) {
            float e = EXP(scale * sr[i] + base);
            sum += e;
            pr[i] = PUT(e);
        }
        for (int i = cols; i < ldp; i++)
            pr[i] = 0;
        inv[r] = 1.0f / sum;
        if (lse)
            lse[r] = scale * top + logf(sum);
    }
}

static void FN(scale_rows)(void *x, const float *k, int rows, int ld, int n) {
    for (int r = 0; r < rows; r++) {
        ACT *restrict xr = (ACT *)x + (ptrdiff_t)r * ld;
        for (int i = 0; i < n; i++)
            xr[i] = PUT(k[r] * GET(xr[i]));
    }
}

static void FN(softmax_again)(
    void *p, int ldp, const float *s, int ld, int rows, int cols, float scale, const float *lse) {
    for (int r = 0; r < rows; r++) {
        const float *restrict sr = s + (ptrdiff_t)r * ld;
        ACT *restrict pr = (ACT *)p + (ptrdiff_t)r * ldp;
        for (int i = 0; i < cols; i++)
            pr[i] = PUT(EXP(scale * sr[i] - lse[r]));
        for (int i = cols; i < ldp; i++)
            pr[i] = 0;
    }
}

static void FN(softmax_back)(void *ds, int ldp, const void *p, const float *dp, int ld, int rows,
    int cols, float scale, const float *delta) {
    for (int r = 0; r < rows; r++) {
        const ACT *restrict pr = (const ACT *)p + (ptrdiff_t)r * ldp;
        const float *restrict dr = dp + (ptrdiff_t)r * ld;
        ACT *restrict o = (ACT *)ds + (ptrdiff_t)r * ldp;
        for (int i = 0; i < cols; i++)
            o[i] = PUT(scale * GET(pr[i]) * (dr[i] - delta[r]));
        for (int i = cols; i < ldp; i++)
            o[i] = 0;
    }
}

static void FN(row_dot)(float *delta, const void *o, const void *go, int rows, int ld, int hd) {
    for (int r = 0; r < rows; r++) {
        const ACT *restrict a = (const ACT *)o + (ptrdiff_t)r * ld;
        const ACT *restrict b = (const ACT *)go + (ptrdiff_t)r * ld;
        float sum = 0;
        for (int i = 0; i < hd; i++)
            sum += GET(a[i]) * GET(b[i]);
        delta[r] = sum;
    }
}

static void FN(quantise)(int8_t *q, float *scale, const void *x, int rows, int cols, int ld) {
    for (int r = 0; r < rows; r++) {
        const ACT *restrict xr = (const ACT *)x + (ptrdiff_t)r * ld;
        int8_t *restrict qr = q + (ptrdiff_t)r * cols;
        float top = 0;
        for (int i = 0; i < cols; i++) {
            float a = __builtin_fabsf(GET(xr[i]));
            top = a > top ? a : top;
        }
        float k = top > 0 ? 127.0f / top : 0.0f;
        scale[r] = top / 127.0f;
        for (int i = 0; i < cols; i++)
            qr[i] = (int8_t)(int32_t)__builtin_rintf(k * GET(xr[i]));
    }
}

/* One unit of one head: gathers nine rows of `in` (stride ld) into out (9, hd). */
static inline __attribute__((always_inline)) void FN(gather)(
    float *restrict out, const ACT *restrict in, int ld, int kind, int u, int hd) {
    for (int i = 0; i < 9; i++) {
        const ACT *restrict row = in + (ptrdiff_t)trm_unit_cell(kind, u, i) * ld;
        for (int c = 0; c < hd; c++)
            out[i * hd + c] = GET(row[c]);
    }
}

/* s (9, 16) = a b^T, columns 9..15 zero: keys are laid out by channel so that the inner loop
 * runs over keys without a reduction. */
static inline __attribute__((always_inline)) void FN(dots)(
    float *restrict s, const float *restrict a, const float *restrict b, int hd) {
    float bt[64 * 16];
    for (int c = 0; c < hd; c++) {
        for (int j = 0; j < 9; j++)
            bt[c * 16 + j] = b[j * hd + c];
        for (int j = 9; j < 16; j++)
            bt[c * 16 + j] = 0;
    }
    for (int i = 0; i < 9; i++) {
        float acc[16] = {0};
        for (int c = 0; c < hd; c++)
            for (int j = 0; j < 16; j++)
                acc[j] += a[i * hd + c] * bt[c * 16 + j];
        for (int j = 0; j < 16; j++)
            s[i * 16 + j] = acc[j];
    }
}

/* Softmax of nine rows of nine scores, in place; columns 9..15 become zero. */
static inline __attribute__((always_inline)) void FN(unit_softmax)(float *restrict s, float scale) {
    for (int i = 0; i < 9; i++) {
        float *restrict r = s + (ptrdiff_t)i * 16;
        float top = r[0], sum = 0;
        for (int j = 1; j < 9; j++)
            top = r[j] > top ? r[j] : top;
        for (int j = 0; j < 16; j++)
            r[j] = j < 9 ? exp_fast(scale * (r[j] - top)) : 0.0f;
        for (int j = 0; j < 16; j++)
            sum += r[j];
        for (int j = 0; j < 16; j++)
            r[j] /= sum;
    }
}

/* out (9, hd) = p (9, 16) v (9, hd), or p^T v where `transposed`. */
static inline __attribute__((always_inline)) void FN(mix)(float *restrict out,
    const float *restrict p, const float *restrict v, int hd, bool transposed) {
    for (int i = 0; i < 9; i++) {
        float acc[64] = {0};
        for (int j = 0; j < 9; j++) {
            float w = transposed ? p[j * 16 + i] : p[i * 16 + j];
            for (int c = 0; c < hd; c++)
                acc[c] += w * v[j * hd + c];
        }
        for (int c = 0; c < hd; c++)
            out[i * hd + c] = acc[c];
    }
}

static inline __attribute__((always_inline)) void FN(scatter)(
    ACT *restrict out, const float *restrict in, int ld, int kind, int u, int hd) {
    for (int i = 0; i < 9; i++) {
        ACT *restrict row = out + (ptrdiff_t)trm_unit_cell(kind, u, i) * ld;
        for (int c = 0; c < hd; c++)
            row[c] = PUT(in[i * hd + c]);
    }
}

/* Always inlined with hd a constant for the usual head widths, so that every loop over
 * channels is unrolled. */
static inline __attribute__((always_inline)) void FN(units_of)(
    void *out, const void *qkv, int heads, const int hd, float scale) {
    int d = heads * hd;
    float q[9 * 64], k[9 * 64], v[9 * 64], s[9 * 16];
    for (int h = 0; h < heads; h++)
        for (int u = 0; u < 9; u++) {
            const ACT *at = (const ACT *)qkv + (ptrdiff_t)h * hd;
            FN(gather)(q, at, 3 * d, h % 3, u, hd);
            FN(gather)(k, at + d, 3 * d, h % 3, u, hd);
            FN(gather)(v, at + (ptrdiff_t)2 * d, 3 * d, h % 3, u, hd);
            FN(dots)(s, q, k, hd);
            FN(unit_softmax)(s, scale);
            FN(mix)(q, s, v, hd, false);
            FN(scatter)((ACT *)out + (ptrdiff_t)h * hd, q, d, h % 3, u, hd);
        }
}

static inline __attribute__((always_inline)) void FN(units_back_of)(
    void *dqkv, const void *dout, const void *qkv, int heads, const int hd, float scale) {
    int d = heads * hd;
    float q[9 * 64], k[9 * 64], v[9 * 64], g[9 * 64], p[9 * 16], ds[9 * 16], t[9 * 64];
    for (int h = 0; h < heads; h++)
        for (int u = 0; u < 9; u++) {
            const ACT *at = (const ACT *)qkv + (ptrdiff_t)h * hd;
            ACT *to = (ACT *)dqkv + (ptrdiff_t)h * hd;
            int kind = h % 3;
            FN(gather)(q, at, 3 * d, kind, u, hd);
            FN(gather)(k, at + d, 3 * d, kind, u, hd);
            FN(gather)(v, at + (ptrdiff_t)2 * d, 3 * d, kind, u, hd);
            FN(gather)(g, (const ACT *)dout + (ptrdiff_t)h * hd, d, kind, u, hd);
            FN(dots)(p, q, k, hd);
            FN(unit_softmax)(p, scale);
            FN(mix)(t, p, g, hd, true);
            FN(scatter)(to + (ptrdiff_t)2 * d, t, 3 * d, kind, u, hd);
            FN(dots)(ds, g, v, hd);
            for (int i = 0; i < 9; i++) {
                float dot = 0;
                for (int j = 0; j < 9; j++)
                    dot += p[i * 16 + j] * ds[i * 16 + j];
                for (int j = 0; j < 16; j++)
                    ds[i * 16 + j] = scale * p[i * 16 + j] * (ds[i * 16 + j] - dot);
            }
            FN(mix)(t, ds, k, hd, false);
            FN(scatter)(to, t, 3 * d, kind, u, hd);
            FN(mix)(t, ds, q, hd, true);
            FN(scatter)(to + d, t, 3 * d, kind, u, hd);
        }
}

static void FN(units)(void *out, const void *qkv, int heads, int hd, float scale) {
    if (hd == 16)
        FN(units_of)(out, qkv, heads, 16, scale);
    else if (hd == 32)
        FN(units_of)(out, qkv, heads, 32, scale);
    else
        FN(units_of)(out, qkv, heads, hd, scale);
}

static void FN(units_back)(
    void *dqkv, const void *dout, const void *qkv, int heads, int hd, float scale) {
    if (hd == 16)
        FN(units_back_of)(dqkv, dout, qkv, heads, 16, scale);
    else if (hd == 32)
        FN(units_back_of)(dqkv, dout, qkv, heads, 32, scale);
    else
        FN(units_back_of)(dqkv, dout, qkv, heads, hd, scale);
}

/* Replaces m channels of nine rows of stride n by their mean over the rows. */
static inline __attribute__((always_inline)) void FN(average)(
    ACT *h, const int row[9], int n, int m) {
    enum { STRIP = 64 }; /* channels at a time, their sums in registers */
    for (int c = 0; c < m; c += STRIP) {
        float sum[STRIP] = {0};
        int most = m - c < STRIP ? m - c : STRIP;
        for (int i = 0; i < 9; i++) {
            const ACT *restrict from = h + (ptrdiff_t)row[i] * n + c;
            for (int k = 0; k < most; k++)
                sum[k] += GET(from[k]);
        }
        for (int i = 0; i < 9; i++) {
            ACT *restrict to = h + (ptrdiff_t)row[i] * n + c;
            for (int k = 0; k < most; k++)
                to[k] = PUT(sum[k] * (1.0f / 9.0f));
        }
    }
}

static void FN(unit_means)(void *h, int n) {
    int row[9];
    for (int kind = 0; kind < 3; kind++)
        for (int u = 0; u < 9; u++) {
            trm_unit_cells(row, kind, u);
            FN(average)((ACT *)h + (ptrdiff_t)kind * (n / 3), row, n, n / 3);
        }
}

static void FN(candidate_means)(void *h, int n) {
    int row[9];
    for (int kind = 0; kind < 4; kind++)
        for (int u = 0; u < 81; u++) {
            trm_unit_candidates(row, kind, u);
            FN(average)((ACT *)h + (ptrdiff_t)kind * (n / 4), row, n, n / 4);
        }
}

#include "rows_near.h"

extern const trm_rows FN(trm_rows);
const trm_rows FN(trm_rows) = {
    .bf16 = ACT_IS_BF16,
    .act_size = sizeof(ACT),
    .isa = TEXT(TRM_ISA),
    .to_act = FN(to_act),
    .from_act = FN(from_act),
    .add = FN(add),
    .norm = FN(norm),
    .norm_t = FN(norm_t),
    .norm_back = FN(norm_back),
    .norm_t_back = FN(norm_t_back),
    .swiglu = FN(swiglu),
    .swiglu_back = FN(swiglu_back),
    .rope = FN(rope),
    .softmax = FN(softmax),
    .scale_rows = FN(scale_rows),
    .softmax_again = FN(softmax_again),
    .softmax_back = FN(softmax_back),
    .row_dot = FN(row_dot),
    .quantise = FN(quantise),
    .near = FN(near),
    .near_back = FN(near_back),
    .units = FN(units),
    .units_back = FN(units_back),
    .unit_means = FN(unit_means),
    .candidate_means = FN(candidate_means),
    .shift = FN(shift),
    .head = head_f32,
    .head_back = head_back_f32,
    .argmax = argmax_f32,
};

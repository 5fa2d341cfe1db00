/* Row kernels for one instruction set (see rows.h). CMake compiles this file once per
 * instruction set with TRM_ISA naming it; the loops are plain C that the compiler
 * vectorises. The two element types share their text through rows_act.h. */
#include <math.h>
#include <string.h>

#include "rows.h"
#include "rows_units.h"

#define PASTE3_(a, b, c) a##b##c
#define PASTE3(a, b, c) PASTE3_(a, b, c)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

/* e^x, clamped to |x| <= 87: 2^k * p(f) with |f| <= 1/2, p a minimax polynomial of relative
 * error 7e-8, or 7e-5 where the result is rounded to bf16 anyway. Inline so that loops over it
 * vectorise. */
static inline __attribute__((always_inline)) float exp_by(float x, bool coarse) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    float t = x * 1.44269504f, k = __builtin_rintf(t), f = t - k, p;
    if (coarse) {
        p = 5.5171672e-2f;
        p = p * f + 2.42611122e-1f;
        p = p * f + 6.93260985e-1f;
        p = p * f + 9.99928074e-1f;
    } else {
        p = 1.32764726e-3f;
        p = p * f + 9.67554134e-3f;
        p = p * f + 5.55071327e-2f;
        p = p * f + 2.40221197e-1f;
        p = p * f + 6.93146967e-1f;
        p = p * f + 1.00000007f;
    }
    int32_t bits = ((int32_t)k + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

static inline float exp_fast(float x) {
    return exp_by(x, false);
}

static inline float bf16_to_float(uint16_t b) {
    uint32_t u = (uint32_t)b << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint16_t bf16_from_float(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (uint16_t)((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);
}

static void argmax_f32(int32_t *answer, float *conf, const float *logits, int rows, int v) {
    for (int r = 0; r < rows; r++) {
        const float *l = logits + (ptrdiff_t)r * v;
        int best = 0;
        for (int i = 1; i < v; i++)
            best = l[i] > l[best] ? i : best;
        float sum = 0;
        for (int i = 0; i < v; i++)
            sum += exp_fast(l[i] - l[best]);
        answer[r] = best;
        conf[r] = 1.0f / sum;
    }
}

static void head_f32(float *logits, const float *x, const float *w, int rows, int d, int v) {
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < v; j++) {
            const float *restrict a = x + (ptrdiff_t)r * d, *restrict b = w + (ptrdiff_t)j * d;
            float sum = 0;
            for (int i = 0; i < d; i++)
                sum += a[i] * b[i];
            logits[(ptrdiff_t)r * v + j] = sum;
        }
}

static void head_back_f32(float *g, float *dw, const float *dlogits, const float *x, const float *w,
    int rows, int d, int v) {
    for (int r = 0; r < rows; r++) {
        float *restrict gr = g + (ptrdiff_t)r * d;
        const float *restrict xr = x + (ptrdiff_t)r * d;
        memset(gr, 0, (size_t)d * sizeof(float));
        for (int j = 0; j < v; j++) {
            float k = dlogits[(ptrdiff_t)r * v + j];
            const float *restrict wj = w + (ptrdiff_t)j * d;
            float *restrict dj = dw + (ptrdiff_t)j * d;
            for (int i = 0; i < d; i++) {
                gr[i] += k * wj[i];
                dj[i] += k * xr[i];
            }
        }
    }
}

#define ACT float
#define GET(x) (x)
#define PUT(x) (x)
#define FN(name) PASTE3(name, _f32_, TRM_ISA)
#define ACT_IS_BF16 false
#define EXP(x) exp_by(x, false)
#include "rows_act.h"
#undef ACT
#undef GET
#undef PUT
#undef FN
#undef ACT_IS_BF16
#undef EXP

#define ACT uint16_t
#define GET(x) bf16_to_float(x)
#define PUT(x) bf16_from_float(x)
#define FN(name) PASTE3(name, _bf16_, TRM_ISA)
#define ACT_IS_BF16 true
#define EXP(x) exp_by(x, true)
#include "rows_act.h"

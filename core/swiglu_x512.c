/* SwiGLU in f32 by hand: the compiler neither finds 2^x by scaling the exponent nor sees that a
 * whole division now costs no more than an estimate and its correction. A pure function; see
 * rows.h. */
#include "rows_x512.h"

/* 1 + e^-x */
static inline __m512 divisor(__m512 x) {
    __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(-LOG2E));
    __m512 f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEAREST_INT), p = _mm512_set1_ps(1.32764726e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.67554134e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55071327e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40221197e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93146967e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.00000007f));
    return _mm512_add_ps(_mm512_scalef_ps(p, _mm512_sub_ps(t, f)), _mm512_set1_ps(1));
}

static void swiglu(void *h, int ldh, const void *gu, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        const float *g = (const float *)gu + (ptrdiff_t)r * 2 * n, *u = g + n;
        float *o = (float *)h + (ptrdiff_t)r * ldh;
        for (int i = 0; i < n; i += 16) {
            __m512 x = get_f32(g + i, n - i), up = get_f32(u + i, n - i);
            put_f32(o + i, _mm512_mul_ps(_mm512_div_ps(x, divisor(x)), up), n - i);
        }
    }
}

void trm_swiglu_x512(trm_rows *t) {
    t->swiglu = swiglu;
}

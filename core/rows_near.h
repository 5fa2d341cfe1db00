/* Attention of a cell to itself and one neighbour, and shifts; part of the text of the row kernels:
 * included by rows.c once per element type, as rows_act.h is. Not a header of its own.
 *
 * Head h looks in direction h % 4. Of two scores only the difference counts, so the softmax
 * is one logistic function; a cell without that neighbour keeps its own value. */

static inline __attribute__((always_inline)) float FN(near_dot)(
    const ACT *restrict a, const ACT *restrict b, const ACT *restrict c, const int hd) {
    float sum = 0;
    for (int i = 0; i < hd; i++)
        sum += GET(a[i]) * (GET(b[i]) - GET(c[i]));
    return sum;
}

static inline __attribute__((always_inline)) void FN(near_of)(void *out, const void *qkv,
    const int32_t *near, int rows, int heads, const int hd, float scale) {
    ptrdiff_t d = (ptrdiff_t)heads * hd;
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < heads; h++) {
            int32_t n = near[(ptrdiff_t)(h % 4) * rows + r];
            const ACT *restrict q = (const ACT *)qkv + 3 * d * r + (ptrdiff_t)h * hd;
            ACT *restrict o = (ACT *)out + d * r + (ptrdiff_t)h * hd;
            const ACT *restrict v = q + 2 * d;
            if (n < 0) {
                memcpy(o, v, (size_t)hd * sizeof *o);
                continue;
            }
            const ACT *restrict k = (const ACT *)qkv + 3 * d * n + (ptrdiff_t)h * hd + d;
            float p = 1.0f / (1.0f + exp_fast(-scale * FN(near_dot)(q, q + d, k, hd)));
            for (int i = 0; i < hd; i++)
                o[i] = PUT(GET(k[d + i]) + p * (GET(v[i]) - GET(k[d + i])));
        }
}

/* acc (rows, 2 d): gradients of keys and values, which two cells each add to. */
static inline __attribute__((always_inline)) void FN(near_back_of)(void *dqkv, float *acc,
    const void *dout, const void *qkv, const int32_t *near, int rows, int heads, const int hd,
    float scale) {
    ptrdiff_t d = (ptrdiff_t)heads * hd;
    memset(acc, 0, (size_t)(2 * d * rows) * sizeof *acc);
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < heads; h++) {
            int32_t n = near[(ptrdiff_t)(h % 4) * rows + r];
            ptrdiff_t at = (ptrdiff_t)h * hd;
            const ACT *restrict q = (const ACT *)qkv + 3 * d * r + at, *restrict v = q + 2 * d;
            const ACT *restrict g = (const ACT *)dout + d * r + at;
            ACT *restrict dq = (ACT *)dqkv + 3 * d * r + at;
            float *restrict own = acc + 2 * d * r + at;
            if (n < 0) {
                memset(dq, 0, (size_t)hd * sizeof *dq);
                for (int i = 0; i < hd; i++)
                    own[d + i] += GET(g[i]);
                continue;
            }
            const ACT *restrict k = (const ACT *)qkv + 3 * d * n + at + d;
            float *restrict other = acc + 2 * d * n + at;
            float p = 1.0f / (1.0f + exp_fast(-scale * FN(near_dot)(q, q + d, k, hd)));
            float ds = scale * p * (1.0f - p) * FN(near_dot)(g, v, k + d, hd);
            for (int i = 0; i < hd; i++) {
                float gi = GET(g[i]), qi = ds * GET(q[i]);
                dq[i] = PUT(ds * (GET(q[d + i]) - GET(k[i])));
                own[i] += qi;
                other[i] -= qi;
                own[d + i] += p * gi;
                other[d + i] += (1.0f - p) * gi;
            }
        }
    for (int r = 0; r < rows; r++)
        FN(to_act)((ACT *)dqkv + 3 * d * r + d, acc + 2 * d * r, (size_t)(2 * d));
}

static void FN(near)(
    void *out, const void *qkv, const int32_t *near, int rows, int heads, int hd, float scale) {
    if (hd == 16)
        FN(near_of)(out, qkv, near, rows, heads, 16, scale);
    else if (hd == 32)
        FN(near_of)(out, qkv, near, rows, heads, 32, scale);
    else
        FN(near_of)(out, qkv, near, rows, heads, hd, scale);
}

static void FN(near_back)(void *dqkv, float *acc, const void *dout, const void *qkv,
    const int32_t *near, int rows, int heads, int hd, float scale) {
    if (hd == 16)
        FN(near_back_of)(dqkv, acc, dout, qkv, near, rows, heads, 16, scale);
    else if (hd == 32)
        FN(near_back_of)(dqkv, acc, dout, qkv, near, rows, heads, 32, scale);
    else
        FN(near_back_of)(dqkv, acc, dout, qkv, near, rows, heads, hd, scale);
}

/* Direction 3 - q is the opposite of q: what came from below goes back up. */
static void FN(shift)(void *out, const void *in, const int32_t *near, int rows, int n, bool back) {
    size_t m = (size_t)n / 4;
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < 4; q++) {
            int32_t from = near[(ptrdiff_t)(back ? 3 - q : q) * rows + r];
            ACT *to = (ACT *)out + (ptrdiff_t)r * n + (size_t)q * m;
            if (from < 0)
                memset(to, 0, m * sizeof *to);
            else
                memcpy(to, (const ACT *)in + (ptrdiff_t)from * n + (size_t)q * m, m * sizeof *to);
        }
}

/* Weight gradients, C += A^T B over many rows, for bf16 on AVX-512 with BF16 instructions.
 *
 * Both matrices come row by row, and the instruction wants pairs of rows. So a block of rows is
 * "zipped" into panels of sixteen columns, a vector for each pair of rows, and tiles of four
 * rows of C by 64 columns, or eight by 32, are summed in registers. What the next block needs is
 * fetched while this one is computed: a tape is far larger than the caches. Pure functions; see
 * rows.h. */
#include "rows_x512.h"

#define INLINE static inline __attribute__((always_inline))
enum {
    LANES = 16,
    PAIRS = TRM_OUTER_ROWS / 2,  /* of rows in a block */
    PANEL = (PAIRS + 1) * LANES, /* one vector more, or all panels would share cache sets */
    STRIP = 256,                 /* columns of A zipped at a time */
    MOST_M = 8,
    MOST_V = 4
};

/* Cache lines that will be wanted, some at each call. */
typedef struct ahead {
    const uint16_t *at;
    ptrdiff_t ld;
    int rows, width, col;
} ahead;

INLINE void fetch(ahead *a, int lines) {
    for (int i = 0; i < lines && a->rows > 0; i++) {
        _mm_prefetch((const char *)(a->at + a->col), _MM_HINT_T1);
        a->col += 32;
        if (a->col >= a->width) {
            a->col = 0;
            a->at += a->ld;
            a->rows--;
        }
    }
}

/* Columns first..first+cols-1 of `rows` rows of x; an odd last row is paired with zeros. */
static void zip(uint32_t *out, const uint16_t *x, int ld, int rows, int cols) {
    const __m512i lo = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
        8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i hi = _mm512_add_epi16(lo, _mm512_set1_epi16(LANES));
    for (int r = 0; r < rows; r += 2)
        for (int c = 0; c < cols; c += 32) {
            const uint16_t *p = x + (ptrdiff_t)r * ld + c;
            __mmask32 some = few32(cols - c);
            __m512i a = _mm512_maskz_loadu_epi16(some, p);
            __m512i b = _mm512_maskz_loadu_epi16(r + 1 < rows ? some : 0, p + ld);
            uint32_t *to = out + (ptrdiff_t)(c / LANES) * PANEL + (ptrdiff_t)(r / 2) * LANES;
            _mm512_store_si512(to, _mm512_permutex2var_epi16(a, lo, b));
            if (cols - c > LANES)
                _mm512_store_si512(to + PANEL, _mm512_permutex2var_epi16(a, hi, b));
        }
}

/* C (tm, 16 tv) += the pairs of tm columns of A by tv panels of B. */
INLINE void tile(float *c, int ldc, const uint32_t *a, const uint32_t *b, int pairs, const int tm,
    const int tv) {
    __m512 s[MOST_M][MOST_V];
    for (int i = 0; i < tm; i++)
        for (int v = 0; v < tv; v++) {
            s[i][v] = _mm512_setzero_ps();
            _mm_prefetch(
                (const char *)(c + (ptrdiff_t)i * ldc + (ptrdiff_t)v * LANES), _MM_HINT_T0);
        }
    for (int k = 0; k < pairs; k++, a += LANES, b += LANES) {
        __m512bh y[MOST_V];
        for (int v = 0; v < tv; v++)
            y[v] = (__m512bh)_mm512_load_si512(b + (ptrdiff_t)v * PANEL);
        for (int i = 0; i < tm; i++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i]);
            for (int v = 0; v < tv; v++)
                s[i][v] = _mm512_dpbf16_ps(s[i][v], x, y[v]);
        }
    }
    for (int i = 0; i < tm; i++)
        for (int v = 0; v < tv; v++) {
            float *p = c + (ptrdiff_t)i * ldc + (ptrdiff_t)v * LANES;
            _mm512_storeu_ps(p, _mm512_add_ps(_mm512_loadu_ps(p), s[i][v]));
        }
}

INLINE void tiles(float *c, int n, const uint32_t *a, int cols, const uint32_t *b, int pairs,
    ahead *next, ahead *next_b, const int tm, const int tv) {
    int count = cols / tm * (n / (tv * LANES));
    int lines = (next->rows * next->width + next_b->rows * next_b->width) / 32 / count + 1;
    for (int j = 0; j < n; j += tv * LANES)
        for (int i = 0; i < cols; i += tm) {
            fetch(next->rows ? next : next_b, lines);
            tile(c + (ptrdiff_t)i * n + j, n, a + (ptrdiff_t)(i / LANES) * PANEL + i % LANES,
                b + (ptrdiff_t)(j / LANES) * PANEL, pairs, tm, tv);
        }
}

static void strip(float *c, int n, const uint32_t *a, int cols, const uint32_t *b, int pairs,
    ahead *next, ahead *next_b) {
    if (n % (4 * LANES) == 0)
        tiles(c, n, a, cols, b, pairs, next, next_b, 4, 4);
    else
        tiles(c, n, a, cols, b, pairs, next, next_b, 8, 2);
}

static int least(int a, int b) {
    return a < b ? a : b;
}

static void outer(float *c, const void *av, const void *bv, int m, int n, int rows, void *space) {
    uint32_t *za = space, *zb = za + (ptrdiff_t)(STRIP / LANES) * PANEL;
    const uint16_t *a = av, *b = bv;
    for (int r = 0; r < rows; r += TRM_OUTER_ROWS) {
        int some = least(rows - r, TRM_OUTER_ROWS), left = rows - r - some;
        zip(zb, b + (ptrdiff_t)r * n, n, some, n);
        ahead next_b = {b + (ptrdiff_t)(r + some) * n, n, least(left, TRM_OUTER_ROWS), n, 0};
        for (int i = 0; i < m; i += STRIP) {
            int cols = least(m - i, STRIP);
            bool last = i + STRIP >= m;
            ahead next = {a + (ptrdiff_t)(last ? r + some : r) * m + (last ? 0 : i + STRIP), m,
                last ? least(left, TRM_OUTER_ROWS) : some, least(last ? m : m - i - STRIP, STRIP),
                0};
            ahead none = {0};
            zip(za, a + (ptrdiff_t)r * m + i, m, some, cols);
            strip(c + (ptrdiff_t)i * n, n, za, cols, zb, (some + 1) / 2, &next,
                last ? &next_b : &none);
        }
    }
}

static size_t outer_space(int n) {
    return ((size_t)STRIP + (size_t)n) / LANES * PANEL * sizeof(uint32_t);
}

void trm_outer_x512(trm_rows *t) {
    t->outer = outer;
    t->outer_space = outer_space;
}

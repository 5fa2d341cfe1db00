/* Means over groups of nine rows, for bf16 on AVX-512 with BF16 instructions: 32 channels at a
 * time, their sums in registers. Pure functions; see rows.h. */
#include "rows_x512.h"

enum { CELLS = 9 };

/* Replaces m channels of nine rows of stride n by their mean over the rows. */
static void average(uint16_t *h, const int row[CELLS], int n, int m) {
    const __m512 ninth = _mm512_set1_ps(1.0f / CELLS);
    for (int c = 0; c < m; c += 32) {
        pair sum = get_pair(h + (ptrdiff_t)row[0] * n + c, m - c);
        for (int i = 1; i < CELLS; i++) {
            pair v = get_pair(h + (ptrdiff_t)row[i] * n + c, m - c);
            sum.even = _mm512_add_ps(sum.even, v.even);
            sum.odd = _mm512_add_ps(sum.odd, v.odd);
        }
        __m512i mean = join((pair){_mm512_mul_ps(sum.even, ninth), _mm512_mul_ps(sum.odd, ninth)});
        for (int i = 0; i < CELLS; i++)
            _mm512_mask_storeu_epi16(h + (ptrdiff_t)row[i] * n + c, few32(m - c), mean);
    }
}

static void unit_means(void *h, int n) {
    int row[CELLS], m = n / 3;
    for (int kind = 0; kind < 3; kind++)
        for (int u = 0; u < 9; u++) {
            for (int i = 0; i < CELLS; i++)
                row[i] = unit_cell(kind, u, i);
            average((uint16_t *)h + (ptrdiff_t)kind * m, row, n, m);
        }
}

void trm_means_x512(trm_rows *t) {
    t->unit_means = unit_means;
}

/* Means over the units of a Sudoku, for bf16 on AVX-512 with BF16 instructions: 32 channels of nine
 * rows at a time, their sums in registers. Pure functions. */
#include "rows_units.h"
#include "rows_x512.h"

/* Replaces m channels of nine rows of stride n by their mean over the rows. */
static inline void average(uint16_t *h, const int row[9], int n, int m) {
    const __m512 ninth = _mm512_set1_ps(1.0f / 9.0f);
    for (int c = 0; c < m; c += 32) {
        pair sum = get_pair(h + (ptrdiff_t)row[0] * n + c, m - c);
        for (int i = 1; i < 9; i++) {
            pair x = get_pair(h + (ptrdiff_t)row[i] * n + c, m - c);
            sum.even = _mm512_add_ps(sum.even, x.even);
            sum.odd = _mm512_add_ps(sum.odd, x.odd);
        }
        sum.even = _mm512_mul_ps(sum.even, ninth);
        sum.odd = _mm512_mul_ps(sum.odd, ninth);
        __m512i mean = join(sum);
        for (int i = 0; i < 9; i++)
            _mm512_mask_storeu_epi16(h + (ptrdiff_t)row[i] * n + c, few32(m - c), mean);
    }
}

static void unit_means(void *h, int n) {
    int row[9];
    for (int kind = 0; kind < 3; kind++)
        for (int u = 0; u < 9; u++) {
            trm_unit_cells(row, kind, u);
            average((uint16_t *)h + (ptrdiff_t)kind * (n / 3), row, n, n / 3);
        }
}

static void candidate_means(void *h, int n) {
    int row[9];
    for (int kind = 0; kind < 4; kind++)
        for (int u = 0; u < 81; u++) {
            trm_unit_candidates(row, kind, u);
            average((uint16_t *)h + (ptrdiff_t)kind * (n / 4), row, n, n / 4);
        }
}

void trm_means_x512(trm_rows *t) {
    t->unit_means = unit_means;
    t->candidate_means = candidate_means;
}

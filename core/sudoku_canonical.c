/* The least image of a Sudoku under its symmetry group. No state.
 *
 * Rows are laid one after another; a column order is fixed with the first row and refined
 * only by being tried. For every choice of first row (18 with the transpose) and of column
 * order that makes that row least (as a pattern of clues), the remaining rows are chosen
 * greedily within the rules of bands, with branches where several fit; digits are numbered
 * as they appear. */
#include <string.h>

#include "trm/sudoku.h"

struct search {
    uint8_t grid[2][81]; /* the puzzle and its transpose */
    uint8_t best[81];
    bool have;
    const uint8_t *g;
    uint8_t col[9];
};

static const uint8_t perm3[6][3] = {
    {0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* Writes row `from` under the column order into out; new digits take the next number. */
static void lay_row(const struct search *s, int from, uint8_t *out, uint8_t label[10], int *next) {
    for (int c = 0; c < 9; c++) {
        int d = s->g[from * 9 + s->col[c]];
        if (d && !label[d])
            label[d] = (uint8_t)++ * next;
        out[c] = label[d];
    }
}

/* Lays row `at` in every allowed way; `used` is a mask of source rows. tied: everything so
 * far equals the best grid. */
static void lay(struct search *s, int at, unsigned used, uint8_t *grid, const uint8_t *label,
    int next, int band, bool tied) {
    if (at == 9) {
        if (!s->have || !tied)
            memcpy(s->best, grid, 81);
        s->have = true;
        return;
    }
    uint8_t row[9][9], labels[9][10];
    int n[9], least = -1;
    for (int r = 0; r < 9; r++) {
        bool open = !(used >> r & 1) && (at % 3 ? r / 3 == band : !(used >> (r / 3 * 3) & 7u));
        n[r] = -1;
        if (!open)
            continue;
        n[r] = next;
        memcpy(labels[r], label, 10);
        lay_row(s, r, row[r], labels[r], &n[r]);
        if (least < 0 || memcmp(row[r], row[least], 9) < 0)
            least = r;
    }
    int against = s->have && tied ? memcmp(row[least], s->best + (ptrdiff_t)at * 9, 9) : -1;
    if (against > 0)
        return;
    for (int r = 0; r < 9; r++) {
        if (n[r] < 0 || memcmp(row[r], row[least], 9) != 0)
            continue;
        /* An earlier branch may have lowered the best grid below this prefix. */
        bool now_tied = s->have && memcmp(grid, s->best, (size_t)at * 9) == 0;
        if (s->have && memcmp(grid, s->best, (size_t)at * 9) > 0)
            return;
        int cmp = now_tied ? memcmp(row[r], s->best + (ptrdiff_t)at * 9, 9) : -1;
        if (cmp > 0)
            return;
        memcpy(grid + (ptrdiff_t)at * 9, row[r], 9);
        lay(s, at + 1, used | 1u << r, grid, labels[r], n[r], r / 3, cmp == 0);
    }
}

/* All column orders whose clue pattern of the first row is least. */
static void first_row(struct search *s, int r) {
    unsigned pattern[3];
    for (int k = 0; k < 3; k++)
        pattern[k] = (s->g[r * 9 + k * 3] ? 1u : 0) + (s->g[r * 9 + k * 3 + 1] ? 1u : 0) +
                     (s->g[r * 9 + k * 3 + 2] ? 1u : 0);
    for (int p = 0; p < 6; p++) {
        const uint8_t *stack = perm3[p];
        if (pattern[stack[0]] > pattern[stack[1]] || pattern[stack[1]] > pattern[stack[2]])
            continue;
        for (int q = 0; q < 216; q++) {
            const uint8_t *in[3] = {perm3[q % 6], perm3[q / 6 % 6], perm3[q / 36]};
            bool least = true;
            for (int c = 0; c < 9; c++)
                s->col[c] = (uint8_t)(stack[c / 3] * 3 + in[c / 3][c % 3]);
            for (int c = 0; c < 9 && least; c++)
                if (c % 3)
                    least = !s->g[r * 9 + s->col[c - 1]] || s->g[r * 9 + s->col[c]];
            if (!least)
                continue;
            uint8_t grid[81], label[10] = {0};
            int next = 0;
            lay_row(s, r, grid, label, &next);
            int cmp = s->have ? memcmp(grid, s->best, 9) : -1;
            if (cmp <= 0)
                lay(s, 1, 1u << r, grid, label, next, r / 3, cmp == 0);
        }
    }
}

void trm_sudoku_canonical(trm_sudoku *out, const trm_sudoku *in) {
    struct search s = {.have = false};
    for (int i = 0; i < 81; i++) {
        s.grid[0][i] = in->cell[i];
        s.grid[1][i % 9 * 9 + i / 9] = in->cell[i];
    }
    for (int t = 0; t < 2; t++) {
        s.g = s.grid[t];
        for (int r = 0; r < 9; r++)
            first_row(&s, r);
    }
    memcpy(out->cell, s.best, 81);
}

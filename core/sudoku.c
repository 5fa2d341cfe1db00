/* Sudoku grids: text, tokens, the exact checker and the symmetry group. No state. */
#include <stdio.h>
#include <string.h>

#include "rows_units.h"
#include "trm/sudoku.h"

int trm_sudoku_parse(trm_sudoku *out, const char *text, size_t len, trm_error *err) {
    if (len != TRM_SUDOKU_CELLS)
        return trm_fail(err, TRM_E_FORMAT, "a Sudoku has 81 characters, this has %zu", len);
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++) {
        char c = text[i];
        if (c >= '1' && c <= '9')
            out->cell[i] = (uint8_t)(c - '0');
        else if (c == '.' || c == '0' || c == '_')
            out->cell[i] = 0;
        else
            return trm_fail(err, TRM_E_FORMAT,
                "row %d column %d: neither a digit nor a blank ('.', '0' or '_')", i / 9 + 1,
                i % 9 + 1);
    }
    return TRM_OK;
}

void trm_sudoku_format(const trm_sudoku *s, char out[82]) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        out[i] = s->cell[i] ? (char)('0' + s->cell[i]) : '.';
    out[TRM_SUDOKU_CELLS] = 0;
}

void trm_sudoku_encode(const trm_sudoku *s, int32_t tokens[81]) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        tokens[i] = s->cell[i] + 1;
}

void trm_sudoku_decode(trm_sudoku *out, const int32_t tokens[81]) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        out->cell[i] = tokens[i] >= 2 && tokens[i] <= 10 ? (uint8_t)(tokens[i] - 1) : 0;
}

static bool found(
    trm_sudoku_fault *fault, trm_sudoku_rule rule, int unit, int a, int b, int digit) {
    if (fault)
        *fault = (trm_sudoku_fault){rule, unit, a, b, digit};
    return false;
}

bool trm_sudoku_consistent(const trm_sudoku *s, trm_sudoku_fault *fault) {
    for (int kind = 0; kind < 3; kind++)
        for (int u = 0; u < 9; u++) {
            int at[10];
            memset(at, -1, sizeof at);
            for (int i = 0; i < 9; i++) {
                int cell = trm_unit_cell(kind, u, i), d = s->cell[cell];
                if (d && at[d] >= 0)
                    return found(
                        fault, (trm_sudoku_rule)(TRM_SUDOKU_ROW + kind), u, at[d], cell, d);
                if (d)
                    at[d] = cell;
            }
        }
    return found(fault, TRM_SUDOKU_FINE, -1, -1, -1, 0), true;
}

bool trm_sudoku_check(const trm_sudoku *puzzle, const trm_sudoku *answer, trm_sudoku_fault *fault) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++) {
        int clue = puzzle->cell[i], d = answer->cell[i];
        if (d < 1 || d > 9)
            return found(fault, TRM_SUDOKU_BLANK, -1, i, -1, 0);
        if (clue && clue != d)
            return found(fault, TRM_SUDOKU_CLUE, -1, i, -1, clue);
    }
    return trm_sudoku_consistent(answer, fault);
}

void trm_sudoku_explain(const trm_sudoku_fault *f, char *out, size_t size) {
    int ar = f->a / 9 + 1, ac = f->a % 9 + 1, br = f->b / 9 + 1, bc = f->b % 9 + 1;
    switch (f->rule) {
    case TRM_SUDOKU_FINE:
        (void)snprintf(out, size, "no rule is broken");
        break;
    case TRM_SUDOKU_ROW:
        (void)snprintf(
            out, size, "row %d has two %ds, in columns %d and %d", f->unit + 1, f->digit, ac, bc);
        break;
    case TRM_SUDOKU_COLUMN:
        (void)snprintf(
            out, size, "column %d has two %ds, in rows %d and %d", f->unit + 1, f->digit, ar, br);
        break;
    case TRM_SUDOKU_BOX:
        (void)snprintf(out, size, "box %d has two %ds, at row %d column %d and row %d column %d",
            f->unit + 1, f->digit, ar, ac, br, bc);
        break;
    case TRM_SUDOKU_CLUE:
        (void)snprintf(out, size, "the clue %d at row %d column %d was changed", f->digit, ar, ac);
        break;
    case TRM_SUDOKU_BLANK:
        (void)snprintf(out, size, "row %d column %d is not filled", ar, ac);
        break;
    case TRM_SUDOKU_NO_SOLUTION:
        (void)snprintf(out, size, "the clues do not clash, but no solution exists");
        break;
    }
}

void trm_sudoku_sym_identity(trm_sudoku_sym *sym) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        sym->cell[i] = (uint8_t)i;
    for (int d = 0; d < 10; d++)
        sym->digit[d] = (uint8_t)d;
}

/* A permutation of nine lines that keeps bands together. */
static void random_lines(uint8_t line[9], trm_rng *rng) {
    uint8_t band[3] = {0, 1, 2};
    trm_rng_shuffle(rng, band, 3);
    for (int b = 0; b < 3; b++) {
        uint8_t in[3] = {0, 1, 2};
        trm_rng_shuffle(rng, in, 3);
        for (int i = 0; i < 3; i++)
            line[b * 3 + i] = (uint8_t)(band[b] * 3 + in[i]);
    }
}

void trm_sudoku_sym_random(trm_sudoku_sym *sym, trm_rng *rng) {
    uint8_t row[9], col[9];
    random_lines(row, rng);
    random_lines(col, rng);
    bool transpose = trm_rng_below(rng, 2);
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++) {
        int r = row[i / 9], c = col[i % 9];
        sym->cell[i] = (uint8_t)(transpose ? c * 9 + r : r * 9 + c);
    }
    for (int d = 0; d < 10; d++)
        sym->digit[d] = (uint8_t)d;
    trm_rng_shuffle(rng, sym->digit + 1, 9);
}

void trm_sudoku_sym_inverse(trm_sudoku_sym *out, const trm_sudoku_sym *sym) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        out->cell[sym->cell[i]] = (uint8_t)i;
    for (int d = 0; d < 10; d++)
        out->digit[sym->digit[d]] = (uint8_t)d;
}

void trm_sudoku_sym_apply(trm_sudoku *out, const trm_sudoku_sym *sym, const trm_sudoku *in) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        out->cell[sym->cell[i]] = sym->digit[in->cell[i]];
}

/* Sudokus with exactly one solution, made from random full grids. No state. */
#include <string.h>

#include "trm/sudoku.h"

static bool fits(const trm_sudoku *s, int i, int d) {
    for (int k = 0; k < 9; k++)
        if (s->cell[i / 9 * 9 + k] == d || s->cell[k * 9 + i % 9] == d ||
            s->cell[(i / 27 * 3 + k / 3) * 9 + i % 9 / 3 * 3 + k % 3] == d)
            return false;
    return true;
}

/* Three diagonal boxes are free of each other: filled at random, they leave a grid that the
 * solver completes; a few more random digits keep it from always completing alike. */
void trm_sudoku_fill(trm_sudoku *out, trm_rng *rng) {
    trm_sudoku start;
    do {
        memset(&start, 0, sizeof start);
        for (int b = 0; b < 3; b++) {
            uint8_t d[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
            trm_rng_shuffle(rng, d, 9);
            for (int i = 0; i < 9; i++)
                start.cell[(b * 3 + i / 3) * 9 + b * 3 + i % 3] = d[i];
        }
        for (int k = 0; k < 8; k++) {
            int i = (int)trm_rng_below(rng, 81), d = 1 + (int)trm_rng_below(rng, 9);
            if (!start.cell[i] && fits(&start, i, d))
                start.cell[i] = (uint8_t)d;
        }
    } while (trm_sudoku_solutions(&start, 1, out, NULL) != 1);
    trm_sudoku_sym sym;
    trm_sudoku full = *out;
    trm_sudoku_sym_random(&sym, rng);
    trm_sudoku_sym_apply(out, &sym, &full);
}

static bool unique(const trm_sudoku *p) {
    return trm_sudoku_solutions(p, 2, NULL, NULL) == 1;
}

/* Removes clues in random order while the solution stays the only one. */
static void minimise(trm_sudoku *p, trm_rng *rng) {
    uint8_t order[81];
    for (int i = 0; i < 81; i++)
        order[i] = (uint8_t)i;
    trm_rng_shuffle(rng, order, 81);
    for (int k = 0; k < 81; k++) {
        int i = order[k], d = p->cell[i];
        p->cell[i] = 0;
        if (d && !unique(p))
            p->cell[i] = (uint8_t)d;
    }
}

static int clues(const trm_sudoku *p) {
    int n = 0;
    for (int i = 0; i < 81; i++)
        n += p->cell[i] != 0;
    return n;
}

static void give_back(trm_sudoku *p, const trm_sudoku *solution, int n, trm_rng *rng) {
    uint8_t order[81];
    for (int i = 0; i < 81; i++)
        order[i] = (uint8_t)i;
    trm_rng_shuffle(rng, order, 81);
    for (int k = 0; k < 81 && n > 0; k++)
        if (!p->cell[order[k]]) {
            p->cell[order[k]] = solution->cell[order[k]];
            n--;
        }
}

/* Gives two clues back and minimises again; keeps what is harder for the solver, or with
 * target_clues what has fewer clues. */
static void exchange(
    trm_sudoku *p, const trm_sudoku *solution, const trm_sudoku_gen *o, trm_rng *rng) {
    long hard = 0;
    (void)trm_sudoku_solutions(p, 2, NULL, &hard);
    for (int k = 0; k < o->effort; k++) {
        trm_sudoku q = *p;
        long h;
        if (o->target_clues > 0 && clues(p) <= o->target_clues)
            return;
        give_back(&q, solution, 2, rng);
        minimise(&q, rng);
        (void)trm_sudoku_solutions(&q, 2, NULL, &h);
        bool better = o->target_clues > 0 ? clues(&q) <= clues(p) : h >= hard;
        if (better) {
            *p = q;
            hard = h;
        }
    }
}

void trm_sudoku_generate(
    trm_sudoku *puzzle, trm_sudoku *solution, const trm_sudoku_gen *o, trm_rng *rng) {
    trm_sudoku_fill(solution, rng);
    *puzzle = *solution;
    minimise(puzzle, rng);
    if (o->effort > 0)
        exchange(puzzle, solution, o, rng);
    if (o->extra_clues > 0)
        give_back(puzzle, solution, o->extra_clues, rng);
}

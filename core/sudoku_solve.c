/* The exact solver: masks of candidates, singles, then a guess at the tightest cell. It
 * labels training data, checks uniqueness and refuses impossible puzzles; no answer comes
 * from it. No state; recursion at most 81 deep. */
#include <string.h>

#include "trm/sudoku.h"

enum { NODES = 20000000, ALL = 0x1FF };

struct solver {
    uint16_t row[9], col[9], box[9]; /* digits used, bit d-1 */
    uint8_t cell[81];
    int left, limit, count;
    long guesses, nodes, most;
    trm_sudoku *first;
};

static inline int box_of(int i) {
    return i / 27 * 3 + i % 9 / 3;
}

static inline unsigned candidates(const struct solver *s, int i) {
    return ALL & ~(unsigned)(s->row[i / 9] | s->col[i % 9] | s->box[box_of(i)]);
}

static void put(struct solver *s, int i, int d) {
    uint16_t bit = (uint16_t)(1u << (d - 1));
    s->cell[i] = (uint8_t)d;
    s->row[i / 9] |= bit;
    s->col[i % 9] |= bit;
    s->box[box_of(i)] |= bit;
    s->left--;
}

/* Hidden singles of one unit: digits that fit only one of its open cells. -1 = contradiction,
 * else how many were put. */
static int hidden(struct solver *s, const uint8_t unit[9], unsigned used) {
    unsigned once = 0, twice = 0;
    int put_n = 0;
    for (int k = 0; k < 9; k++) {
        unsigned m = s->cell[unit[k]] ? 0 : candidates(s, unit[k]);
        twice |= once & m;
        once |= m;
    }
    if ((once | used) != ALL)
        return -1;
    once &= ~twice;
    for (int k = 0; k < 9 && once; k++) {
        unsigned m = s->cell[unit[k]] ? 0 : candidates(s, unit[k]) & once;
        if (!m)
            continue;
        if (m & (m - 1))
            return -1; /* two digits with only this cell left */
        put(s, unit[k], __builtin_ctz(m) + 1);
        once &= ~m;
        put_n++;
    }
    return once ? -1 : put_n;
}

static void unit_cells(int u, uint8_t out[9]) {
    int k = u % 9;
    for (int i = 0; i < 9; i++)
        out[i] = (uint8_t)(u < 9    ? k * 9 + i
                           : u < 18 ? i * 9 + k
                                    : (k / 3 * 3 + i / 3) * 9 + k % 3 * 3 + i % 3);
}

/* Puts singles until none is left; the tightest open cell goes to *best. False = dead end. */
static bool propagate(struct solver *s, int *best) {
    for (bool moved = true; moved;) {
        int fewest = 10;
        moved = false;
        for (int i = 0; i < 81; i++) {
            if (s->cell[i])
                continue;
            unsigned m = candidates(s, i);
            int n = __builtin_popcount(m);
            if (n == 0)
                return false;
            if (n == 1) {
                put(s, i, __builtin_ctz(m) + 1);
                moved = true;
            } else if (n < fewest) {
                fewest = n;
                *best = i;
            }
        }
        for (int u = 0; u < 27 && !moved && s->left; u++) {
            uint8_t cells[9];
            unit_cells(u, cells);
            int k = u % 9, n = hidden(s, cells, u < 9 ? s->row[k] : u < 18 ? s->col[k] : s->box[k]);
            if (n < 0)
                return false;
            moved = n > 0;
        }
    }
    return true;
}

static void search(struct solver *s) {
    int cell = 0;
    if (++s->nodes > s->most || !propagate(s, &cell))
        return;
    if (!s->left) {
        if (s->count++ == 0 && s->first)
            memcpy(s->first->cell, s->cell, 81);
        return;
    }
    unsigned m = candidates(s, cell);
    for (bool more = false; m && s->count < s->limit; m &= m - 1, more = true) {
        struct solver t = *s;
        t.guesses += more;
        put(&t, cell, __builtin_ctz(m) + 1);
        search(&t);
        s->count = t.count;
        s->nodes = t.nodes;
        s->guesses = t.guesses;
    }
}

static void solve(struct solver *s, const trm_sudoku *in) {
    s->left = 81;
    for (int i = 0; i < 81; i++)
        if (in->cell[i])
            put(s, i, in->cell[i]);
    search(s);
}

int trm_sudoku_solutions(const trm_sudoku *in, int limit, trm_sudoku *first, long *guesses) {
    struct solver s = {.limit = limit, .first = first, .most = NODES};
    if (guesses)
        *guesses = 0;
    if (!trm_sudoku_consistent(in, NULL))
        return 0;
    solve(&s, in);
    if (guesses)
        *guesses = s.guesses;
    return s.nodes > NODES ? -1 : s.count;
}

bool trm_sudoku_possible(const trm_sudoku *in, long *nodes) {
    struct solver s = {.limit = 1, .most = *nodes};
    if (*nodes <= 0)
        return true;
    if (!trm_sudoku_consistent(in, NULL))
        return false;
    solve(&s, in);
    *nodes -= s.nodes;
    return s.count > 0 || s.nodes > s.most;
}

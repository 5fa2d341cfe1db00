/* Which assumptions further attempts at a Sudoku make: see trm/task.h. Plain memory of the task's,
 * one thread at a time. */
#include <math.h>
#include <string.h>

#include "search.h"

/* A digit that the model believes in less than this is not tried. The model is at times too sure,
 * and then no assumption helps, so each round goes lower and longer than the one before. */
static float least_belief(const trm_search *s) {
    return TRM_SEARCH_LEAST * powf(0.5f, (float)s->round);
}

/* A puzzle of few clues needs many assumptions, one after the other. */
static int attempts_of(const trm_search *s) {
    return (32 + 8 * s->missing) << (s->round < 8 ? s->round : 8);
}

/* Stablemax (arXiv 2501.04697) over the digits, as the models are trained. */
static void belief_of(float belief[10], const float *logits) {
    float sum = 0;
    for (int d = 1; d <= 9; d++) {
        float x = logits[d + 1]; /* tokens 2..10 */
        belief[d] = x >= 0 ? x + 1 : 1 / (1 - x);
        sum += belief[d];
    }
    for (int d = 1; d <= 9; d++)
        belief[d] /= sum;
}

/* How promising a cell is to branch on: few digits in question, all of them likely. */
static float promise(const float belief[10], float least) {
    int digits = 0;
    float entropy = 0;
    for (int d = 1; d <= 9; d++) {
        digits += belief[d] > least;
        entropy -= belief[d] * logf(belief[d]);
    }
    return digits < 2 ? -INFINITY : entropy - 10 * (float)digits;
}

void trm_search_clues(const trm_search *s, int node, trm_sudoku *puzzle) {
    for (; node >= 0; node = s->node[node].parent)
        puzzle->cell[s->node[node].cell] = s->node[node].digit;
}

int trm_search_take(trm_search *s) {
    int best = -1;
    if (s->nodes && (!s->open || s->taken >= attempts_of(s))) {
        s->nodes = s->open = s->taken = 0;
        s->round++;
    }
    s->taken++;
    for (int i = 0; i < s->nodes; i++)
        if (s->node[i].open && (best < 0 || s->node[i].likely > s->node[best].likely))
            best = i;
    if (best >= 0) {
        s->node[best].open = false;
        s->open--;
    }
    return best;
}

static void add(trm_search *s, int parent, int cell, int digit, float likely) {
    if (s->nodes == TRM_SEARCH_NODES)
        return;
    s->node[s->nodes++] = (struct trm_assumption){.parent = (int16_t)parent,
        .cell = (uint8_t)cell,
        .digit = (uint8_t)digit,
        .open = true,
        .likely = likely};
    s->open++;
}

int trm_search_cell(float best[10], const bool *known, const float *logits, float least) {
    float belief[10], most = -INFINITY;
    int cell = -1;
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++) {
        if (known[i])
            continue;
        belief_of(belief, logits + (ptrdiff_t)i * TRM_SUDOKU_VOCAB);
        float p = promise(belief, least);
        if (p <= most)
            continue;
        most = p;
        cell = i;
        memcpy(best, belief, sizeof belief);
    }
    return cell;
}

/* What the log of a likelihood becomes when an attempt has shown so much doubt: the doubt moves the
 * odds, half as far as it says, for assumptions have been learned one at a time. Where several
 * answers are sure to exist, a digit is right more often than it is believed in. */
static float trusted(float likely, float unsat, bool several) {
    if (!isfinite(unsat))
        return likely;
    float odds = logf(-expm1f(likely)) - likely; /* log of those against it */
    float x = odds + 0.5f * unsat - (several ? 1.5f : 0);
    return x > 0 ? -x - log1pf(expf(-x)) : -log1pf(expf(x));
}

void trm_search_branch(trm_search *s, int node, const trm_sudoku *puzzle, const float *logits,
    const trm_sudoku_sym *back, float unsat) {
    trm_sudoku with = *puzzle;
    bool known[TRM_SUDOKU_CELLS];
    float belief[10], sum = 0, least = least_belief(s);
    trm_search_clues(s, node, &with);
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        known[i] = with.cell[back->cell[i]] != 0;
    int cell = trm_search_cell(belief, known, logits, least);
    if (cell < 0)
        return;
    for (int d = 1; d <= 9; d++)
        sum += belief[d] > least ? belief[d] : 0;
    float likely = node < 0 ? 0 : trusted(s->node[node].likely, unsat, s->missing > 0);
    for (int d = 1; d <= 9; d++)
        if (belief[d] > least)
            add(s, node, back->cell[cell], back->digit[d], likely + logf(belief[d] / sum));
}

/* The search over assumed clues that trm/task.h describes. Internal to libtrm. */
#ifndef TRM_SEARCH_INTERNAL_H
#define TRM_SEARCH_INTERNAL_H

#include "trm/task.h"

/* Takes the likeliest open assumption out; its node, or -1. Where none is left, or a round's
 * attempts are spent, the search begins again and believes the model less: all nodes are gone. */
int trm_search_take(trm_search *s);
/* Writes into `puzzle` the clues that `node` (-1 = none) and its ancestors assume. */
void trm_search_clues(const trm_search *s, int node, trm_sudoku *puzzle);
/* Of the cells that `known` (81) leaves open, the one to assume a digit of: few digits that the
 * logits (81, TRM_SUDOKU_VOCAB) believe in more than `least`, all of them likely. belief[1..9] is
 * what they say of it. -1 where they are sure of every cell. */
int trm_search_cell(float belief[10], const bool *known, const float *logits, float least);
/* Digits that are believed in less than this are not assumed at first. */
#define TRM_SEARCH_LEAST 0.005f
/* An attempt at `puzzle` with node's clues has ended unsolved with these logits
 * (81, TRM_SUDOKU_VOCAB) of an image that `back` maps to the puzzle's frame: opens an assumption
 * for each digit in question of the cell with fewest of them. Nothing is opened where the model is
 * sure of every cell: the assumptions so far contradict the puzzle. `unsat` is the logit with which
 * the model doubts that there is an answer, -INFINITY where it has no such head. */
void trm_search_branch(trm_search *s, int node, const trm_sudoku *puzzle, const float *logits,
    const trm_sudoku_sym *back, float unsat);

#endif

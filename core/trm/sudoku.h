/* Sudoku: text and tokens, the exact checker, the symmetry group, an exact solver and a
 * generator. Everything works on plain 81-byte grids of the caller's; no state, no
 * allocation, any number of threads.
 *
 * The exact solver labels training data, checks uniqueness and refuses impossible puzzles.
 * No answer ever comes from it.
 */
#ifndef TRM_SUDOKU_H
#define TRM_SUDOKU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/error.h"
#include "trm/rng.h"

enum { TRM_SUDOKU_CELLS = 81, TRM_SUDOKU_VOCAB = 11 };

/* Cells in reading order; 0 = blank, 1..9 = digit. */
typedef struct trm_sudoku {
    uint8_t cell[81];
} trm_sudoku;

/* Which rule a grid breaks, and where. Cells are 0..80. */
typedef enum trm_sudoku_rule {
    TRM_SUDOKU_FINE = 0,
    TRM_SUDOKU_ROW,         /* cells a and b of row `unit` hold the same digit */
    TRM_SUDOKU_COLUMN,      /* ... of column `unit` */
    TRM_SUDOKU_BOX,         /* ... of box `unit` (0..8 in reading order) */
    TRM_SUDOKU_CLUE,        /* the answer changes the clue at cell a */
    TRM_SUDOKU_BLANK,       /* cell a of the answer is not a digit */
    TRM_SUDOKU_NO_SOLUTION, /* no clash among the clues, but no completion exists */
} trm_sudoku_rule;

typedef struct trm_sudoku_fault {
    trm_sudoku_rule rule;
    int unit, a, b, digit; /* unit, a, b 0-based, -1 where the rule has none; digit 1..9 or 0 */
} trm_sudoku_fault;

/* Reads 81 characters: 1-9, and '.', '0' or '_' for blank. TRM_E_FORMAT names the first
 * bad character with row and column (1-based), or the wrong length. */
TRM_API int trm_sudoku_parse(trm_sudoku *out, const char *text, size_t len, trm_error *err);
/* Writes 81 characters ('.' = blank) and a NUL. */
TRM_API void trm_sudoku_format(const trm_sudoku *s, char out[82]);
/* Official token ids: 0 pad, 1 blank, 2..10 digits 1..9. */
TRM_API void trm_sudoku_encode(const trm_sudoku *s, int32_t tokens[81]);
/* Tokens other than 2..10 become blank. */
TRM_API void trm_sudoku_decode(trm_sudoku *out, const int32_t tokens[81]);

/* True if no two equal digits share a row, column or box. `fault` (may be NULL) names the
 * first clash: rows first, then columns, then boxes. */
TRM_API bool trm_sudoku_consistent(const trm_sudoku *s, trm_sudoku_fault *fault);
/* The exact checker: every cell a digit, every clue kept, every rule kept. */
TRM_API bool trm_sudoku_check(
    const trm_sudoku *puzzle, const trm_sudoku *answer, trm_sudoku_fault *fault);
/* One English line for a fault, rows and columns counted from 1:
 * "row 3 has two 5s, in columns 2 and 7". */
TRM_API void trm_sudoku_explain(const trm_sudoku_fault *fault, char *out, size_t size);

/* Number of solutions, counted up to `limit`; the first is stored in `first` if not NULL.
 * `guesses` (may be NULL) receives the number of branches taken beyond the first of each
 * choice: 0 = solved by singles alone; grows with difficulty. The search gives up after a
 * fixed, generous number of nodes and then returns -1 (never seen on a real puzzle). */
TRM_API int trm_sudoku_solutions(const trm_sudoku *s, int limit, trm_sudoku *first, long *guesses);

/* Has the puzzle a solution? Spends at most *nodes search nodes (about half a microsecond each)
 * and takes them off; true also when they ran out before anything was proved. For admission,
 * where a puzzle made to be slow must not hold up everybody else. */
TRM_API bool trm_sudoku_possible(const trm_sudoku *s, long *nodes);

/* A symmetry: the digit d of cell i moves to cell[i] and becomes digit[d]; digit[0] = 0. */
typedef struct trm_sudoku_sym {
    uint8_t cell[81];
    uint8_t digit[10];
} trm_sudoku_sym;

TRM_API void trm_sudoku_sym_identity(trm_sudoku_sym *sym);
/* Uniform over 2 * 6^8 * 9! symmetries: transpose, bands, stacks, rows, columns, relabel. */
TRM_API void trm_sudoku_sym_random(trm_sudoku_sym *sym, trm_rng *rng);
TRM_API void trm_sudoku_sym_inverse(trm_sudoku_sym *out, const trm_sudoku_sym *sym);
/* `out` may not be `in`. */
TRM_API void trm_sudoku_sym_apply(trm_sudoku *out, const trm_sudoku_sym *sym, const trm_sudoku *in);
/* The least grid, as a string of 81 digits, among all images under the symmetry group: two
 * puzzles are the same up to symmetry exactly if their canonical forms are equal. Used to
 * keep measuring puzzles out of training. */
TRM_API void trm_sudoku_canonical(trm_sudoku *out, const trm_sudoku *in);

typedef struct trm_sudoku_gen {
    int extra_clues;  /* clues put back at random into the minimal puzzle; 0 = minimal */
    int effort;       /* clue exchanges tried, keeping what the solver finds harder; 0 = none */
    int target_clues; /* > 0: exchange clues towards this few (17..) where found, else ignored */
} trm_sudoku_gen;

/* A random full grid. */
TRM_API void trm_sudoku_fill(trm_sudoku *out, trm_rng *rng);
/* A puzzle with exactly one solution: clues are removed from a random full grid in random
 * order while the solution stays unique, then options apply. */
TRM_API void trm_sudoku_generate(
    trm_sudoku *puzzle, trm_sudoku *solution, const trm_sudoku_gen *options, trm_rng *rng);

#endif

/* Mazes up to 30x30: text and tokens, refusal, the exact checker, dihedral symmetries,
 * breadth-first labels and a generator. Plain structs of the caller's; no state, no
 * allocation, any number of threads.
 */
#ifndef TRM_MAZE_H
#define TRM_MAZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/error.h"
#include "trm/rng.h"

enum { TRM_MAZE_SIDE = 30, TRM_MAZE_CELLS = 900, TRM_MAZE_VOCAB = 6 };

/* Token ids of the official code, used as cell values: 0 pad, '#', ' ', 'S', 'G', 'o'. */
enum { TRM_MAZE_PAD, TRM_MAZE_WALL, TRM_MAZE_OPEN, TRM_MAZE_START, TRM_MAZE_GOAL, TRM_MAZE_PATH };

/* rows x cols cells in reading order with stride cols. */
typedef struct trm_maze {
    int rows, cols;
    uint8_t cell[900];
} trm_maze;

typedef enum trm_maze_rule {
    TRM_MAZE_FINE = 0,
    TRM_MAZE_NO_START,
    TRM_MAZE_NO_GOAL,
    TRM_MAZE_TWO_STARTS, /* the second is cell a */
    TRM_MAZE_TWO_GOALS,
    TRM_MAZE_NO_PATH, /* S and G are not connected */
    TRM_MAZE_CHANGED, /* answer: cell a differs from the maze other than open -> path */
    TRM_MAZE_BRANCH,  /* answer: the marked cells do not form one path; a is where */
    TRM_MAZE_BROKEN,  /* answer: following the marks from S ends at a before G */
} trm_maze_rule;

typedef struct trm_maze_fault {
    trm_maze_rule rule;
    int a; /* cell index, -1 if none */
} trm_maze_fault;

/* One row of the text form: '#', ' ' or '.', 'S', 'G' ('o' too when allow_path). Appends a
 * row; the first row fixes cols. TRM_E_FORMAT names row and column (1-based). */
TRM_API int trm_maze_add_row(
    trm_maze *m, const char *text, size_t len, bool allow_path, trm_error *err);
/* Rows separated by '\n' (a last newline is allowed), or exactly 900 characters = 30x30. */
TRM_API int trm_maze_parse(
    trm_maze *out, const char *text, size_t len, bool allow_path, trm_error *err);
/* Rows joined by '\n', no final newline; out must hold rows*(cols+1). */
TRM_API void trm_maze_format(const trm_maze *m, char *out);
/* Exactly one S, one G, connected. */
TRM_API bool trm_maze_valid(const trm_maze *m, trm_maze_fault *fault);
TRM_API void trm_maze_explain(
    const trm_maze *m, const trm_maze_fault *fault, char *out, size_t size);

/* Moves from S to G by breadth-first search, -1 if none. */
TRM_API int trm_maze_distance(const trm_maze *m);
/* The benchmark's label: among the shortest paths the one that breadth-first search from S
 * finds when it looks down, left, right, up in that order and keeps the first parent.
 * `out` is the maze with the path's cells (not S, G) marked. False if there is no path. */
TRM_API bool trm_maze_label(trm_maze *out, const trm_maze *m);
/* The exact checker: the answer is the maze with some open cells marked, and the marked
 * cells together with S and G form exactly one simple path from S to G: S and G have one
 * marked (or S-G) neighbour on it and no marked cell is off the path. `path` (may be NULL,
 * room for 900) receives the cell indices from S to G, `length` the number of moves. */
TRM_API bool trm_maze_check(const trm_maze *maze, const trm_maze *answer, uint16_t *path,
    int *length, trm_maze_fault *fault);
/* Reads an answer off a model's argmax: open cells whose token is PATH are marked; all else
 * is taken from the maze. If the marked cells contain a path from S to G, and the shortest such
 * path is at least two thirds of them, the others are unmarked; so the answer either is one path
 * or fails the checker. Nothing that the model did not mark is ever added. */
TRM_API void trm_maze_decode(trm_maze *out, const trm_maze *maze, const int32_t *tokens);

/* The eight symmetries of the square: 0..7, bit 2 = transpose first, then bits 0-1 quarter
 * turns clockwise. Any size; rows and cols swap where they must. */
TRM_API void trm_maze_sym_apply(trm_maze *out, int sym, const trm_maze *in);
TRM_API int trm_maze_sym_inverse(int sym);
/* Where cell i of a rows x cols maze lies in its image (an index with the image's stride). */
TRM_API int trm_maze_sym_cell(int sym, int rows, int cols, int i);

typedef enum trm_maze_style { TRM_MAZE_RANDOM, TRM_MAZE_PERFECT, TRM_MAZE_ROOMS } trm_maze_style;

typedef struct trm_maze_gen {
    trm_maze_style style;
    int rows, cols; /* 2..30 */
    double walls;   /* RANDOM: share of walls, e.g. 0.37 */
    int min_length; /* S and G are at least this many moves apart (shortest path) */
} trm_maze_gen;

/* TRM_E_ARG if nothing with min_length is found after a fixed number of tries. */
TRM_API int trm_maze_generate(
    trm_maze *out, const trm_maze_gen *options, trm_rng *rng, trm_error *err);

#endif

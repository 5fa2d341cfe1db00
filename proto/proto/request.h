/* Requests: JSON bodies of POST /v1/sudoku, /v1/maze and /v1/arc into plain structs. Of an ARC
 * body only the options: the task itself is core's to read.
 *
 * A trmp_request owns its puzzles: trmp_request_free(). Parsing touches nothing else and may
 * run on any thread once json_object_seed() has been called.
 */
#ifndef TRMP_REQUEST_H
#define TRMP_REQUEST_H

#include <stdint.h>

#include "proto/problem.h"

typedef enum trmp_kind { TRMP_SUDOKU, TRMP_MAZE, TRMP_ARC, TRMP_KINDS } trmp_kind;
const char *trmp_kind_name(trmp_kind k);

/* How a puzzle was written, and so how its solution is written. */
typedef enum trmp_shape {
    TRMP_TEXT,  /* one string: 81 characters; a maze of 30x30 as 900 */
    TRMP_FLAT,  /* Sudoku: 81 integers */
    TRMP_ROWS,  /* Sudoku: 9x9 integers; maze: an array of strings */
    TRMP_LINES, /* maze: one string with newlines */
} trmp_shape;

enum { TRMP_CELLS = 900, TRMP_DEPTH = 8 };

/* Sudoku: digits, 0 = blank, 9x9. Maze: the characters '#', ' ', 'S', 'G'. */
typedef struct trmp_puzzle {
    trmp_shape shape;
    int rows, cols;
    uint8_t cell[TRMP_CELLS];
} trmp_puzzle;

typedef enum trmp_halt { TRMP_HALT_AUTO, TRMP_HALT_ACT, TRMP_HALT_FIXED } trmp_halt;

typedef struct trmp_options {
    int max_steps, attempts, deadline_ms; /* 0 = not asked for */
    trmp_halt halt;
    char model[64]; /* "" = not asked for */
} trmp_options;

typedef struct trmp_limits {
    int puzzles, max_steps, attempts, deadline_ms; /* the most a request may ask for */
} trmp_limits;

/* What a request in the other face, v2.h, asks of its answer. */
typedef struct trmp_v2 {
    bool used;        /* it came in that face */
    bool flat;        /* its data is one flat array */
    char *id;         /* to be sent back, or NULL */
    char datatype[8]; /* of the puzzles */
    int dims, dim[4]; /* their shape */
    unsigned outputs; /* bits of the tensors wanted */
} trmp_v2;

typedef struct trmp_request {
    trmp_kind kind;
    bool many; /* "puzzles": answer with "results" */
    int n;
    trmp_puzzle *puzzle; /* (n); ARC: NULL */
    trmp_options options;
    trmp_v2 v2;
} trmp_request;

/* 0, or -1 with *problem filled: 400 where the body is not JSON (with line and column), 422
 * with a JSON pointer where it is not a request, 413 where it holds too many puzzles. */
int trmp_request_parse(trmp_request *out, trmp_kind kind, const char *body, size_t size,
    const trmp_limits *limits, trmp_problem *problem);
void trmp_request_free(trmp_request *r);
/* JSON pointer of puzzle i, and of one of its cells as it was written. Not for ARC. */
void trmp_puzzle_pointer(const trmp_request *r, int i, char *out, size_t size);
void trmp_cell_pointer(const trmp_request *r, int i, int row, int col, char *out, size_t size);

#endif

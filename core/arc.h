/* The inside of ARC, shared by the trainer's source and the run: frames (symmetries), the
 * canvas, shapes of outputs, votes. Plain values; no state; any thread. */
#ifndef TRM_ARC_INSIDE_H
#define TRM_ARC_INSIDE_H

#include "trm/arc.h"

/* --- frames: one of the eight symmetries of the square, and a permutation of the colours that
 * keeps black ---------------------------------------------------------------------------- */

typedef struct trm_arc_frame {
    uint8_t sym;                     /* 0..7 as in trm_maze_sym_cell() */
    uint8_t colour[TRM_ARC_COLOURS]; /* colour c becomes colour[c]; colour[0] = 0 */
} trm_arc_frame;

void trm_arc_frame_identity(trm_arc_frame *f);
/* Uniform over 8 * 9! frames, or over the eight symmetries alone. */
void trm_arc_frame_random(trm_arc_frame *f, bool colours, trm_rng *rng);
void trm_arc_frame_inverse(trm_arc_frame *out, const trm_arc_frame *f);
/* `out` may not be `in`. */
void trm_arc_frame_apply(trm_arc_grid *out, const trm_arc_frame *f, const trm_arc_grid *in);
/* Equal up to a frame exactly if these are equal (but for collisions of 64 bits). */
uint64_t trm_arc_pair_hash(const trm_arc_pair *pair);

/* --- shapes of outputs ------------------------------------------------------------------- */

typedef enum trm_arc_relation_kind {
    TRM_ARC_UNKNOWN,    /* an output may take the full canvas */
    TRM_ARC_SAME,       /* as its input */
    TRM_ARC_FIXED,      /* one size for all */
    TRM_ARC_RATIO,      /* a fixed multiple or fraction of its input, by side */
    TRM_ARC_TRANSPOSED, /* its input's sides exchanged */
    TRM_ARC_WITHIN,     /* no larger than its input; the size itself is not known */
} trm_arc_relation_kind;

typedef struct trm_arc_relation {
    trm_arc_relation_kind kind;
    int rows[2], cols[2]; /* FIXED: [0]; RATIO: [0] / [1] */
} trm_arc_relation;

/* What n >= 1 pairs with known outputs agree on: the first that fits them all of SAME, RATIO and
 * FIXED (in this order for outputs that are whole multiples, else the other), TRANSPOSED and
 * WITHIN. */
void trm_arc_relate(trm_arc_relation *out, const trm_arc_pair *pairs, int n);
/* The output's size for an input, where the relation tells it. */
bool trm_arc_expect(const trm_arc_relation *r, const trm_arc_grid *input, int *rows, int *cols);
/* The relation as it holds in a frame: sides exchanged where the symmetry does. */
void trm_arc_relation_turn(trm_arc_relation *r, int sym);

/* The symmetry, 0..7 and as given (0) first, under which the outputs of n >= 1 pairs are their
 * inputs with some colours put for others; 0 where there is none. */
int trm_arc_turned(const trm_arc_pair *pairs, int n);

/* --- the canvas -------------------------------------------------------------------------- */

/* Rows and columns that an input and its output need, end-of-grid marks included: from the
 * output where it is known (rows > 0), else from the relation, else all 30. */
typedef struct trm_arc_canvas {
    int rows, cols;  /* of the cut-out, at most 30 */
    int down, right; /* where it lies on the 30x30 canvas (translation) */
} trm_arc_canvas;

void trm_arc_canvas_fit(trm_arc_canvas *c, const trm_arc_relation *r, const trm_arc_grid *input,
    const trm_arc_grid *output);
/* A random place, at most TRM_ARC_SHIFT rows and columns from the full canvas's corner. */
enum { TRM_ARC_SHIFT = 3 };
void trm_arc_canvas_move(trm_arc_canvas *c, trm_rng *rng);
/* Writes the rows * cols cells of the cut-out: input tokens, each cell's row and column on
 * the full canvas, and (labels not NULL) the output's tokens, -100 where it has neither a cell
 * nor a mark. Grid and marks as in the official code: an end-of-grid token after each row and
 * below each column, pad elsewhere. Returns the number of cells. */
int trm_arc_draw(const trm_arc_canvas *c, const trm_arc_grid *input, const trm_arc_grid *output,
    int32_t *tokens, int32_t *labels, uint8_t *row, uint8_t *col);
/* Reads a grid off the cut-out's tokens. Where the size is known (rows > 0) that rectangle,
 * tokens that are no colour becoming black; else the largest rectangle from the corner that
 * holds colours alone, as the official evaluator does. False where that is empty. */
bool trm_arc_read(
    trm_arc_grid *out, const trm_arc_canvas *c, const int32_t *tokens, int rows, int cols);

/* --- votes ------------------------------------------------------------------------------- */

typedef struct trm_arc_candidate {
    trm_arc_grid grid;
    int votes;
    double confidence; /* sum over its votes */
} trm_arc_candidate;

typedef struct trm_arc_votes {
    trm_arc_candidate *at; /* malloc'd */
    int n, room, votes;
} trm_arc_votes;

int trm_arc_vote(trm_arc_votes *v, const trm_arc_grid *g, double confidence, trm_error *err);
/* The best two by (votes, then mean confidence, then who came first); returns how many there
 * are. */
int trm_arc_votes_best(const trm_arc_votes *v, trm_arc_attempt out[TRM_ARC_ATTEMPTS]);
void trm_arc_votes_free(trm_arc_votes *v);

#endif

/* The kernels of a GPU step: their arguments, and what one item of each is.
 *
 * A kernel's arithmetic (bodies.h, bodies_act.h) handles one item with the lanes of a warp; on
 * the host there is one lane that does it all. "act" pointers are void: float or bf16 bits, as
 * in rows.h. A batch has b sequences of s positions. Its rows go sequence by sequence for
 * attention, position by position for token mixing, whose products then run over all sequences
 * at once.
 */
#ifndef TRM_KERNELS_H
#define TRM_KERNELS_H

#include <stdint.h>

typedef struct trm_k_shape {
    int b, s, by_position;
} trm_k_shape;

/* What is known of a slot's puzzle; -1 in a list of slots is a place left empty. */
typedef struct trm_k_slot {
    int cells, real, puzzle, fresh; /* real: positions before padding; fresh: latents begin anew */
} trm_k_slot;

enum { TRM_CHUNK = 1024 }; /* elements of one item of an elementwise kernel */

/* item = row: latents of the listed slots into the batch, or back. */
typedef struct trm_k_gather {
    trm_k_shape shape;
    const int *list;
    trm_k_slot *slot;
    float *slot_y, *slot_z; /* (slots, max_s, d) */
    float *y, *z;           /* (rows, d) */
    const float *y0, *z0;   /* (d) what fresh latents are */
    int max_s, d;
} trm_k_gather;
typedef trm_k_gather trm_k_scatter;

/* item = row: the input embedding. per_cell: positions of a cell; 9 are its candidates, each of
 * which shows one of three rows of emb; see rows.h and net.c. */
typedef struct trm_k_embed {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    const int *tokens;               /* (slots, l) */
    float *e;                        /* (rows, d) */
    const float *emb, *pos, *puzzle; /* NULL where the model has none */
    int l, d, prefix, ndim, per_cell;
    float scale;
} trm_k_embed;

/* item = chunk: x = a + b (+ c), xa = act(x) */
typedef struct trm_k_add {
    float *x;
    void *xa;
    const float *a, *b, *c;
    long n;
} trm_k_add;

/* item = row: x = x / rms(x); x already holds the sum with the residual. */
typedef struct trm_k_norm {
    float *x;
    void *xa;
    float *inv; /* (rows) */
    int d;
    float eps;
} trm_k_norm;

/* item = 128 columns: the same over s rows of `columns`. */
typedef struct trm_k_norm_t {
    float *x;
    void *xa;
    float *inv; /* (columns) */
    int s;
    long columns;
    float eps;
} trm_k_norm_t;

/* item = chunk of a row: h (rows, n) = silu(gate) * up of gu (rows, 2 n). */
typedef struct trm_k_swiglu {
    void *h;
    const void *gu;
    long n;
    int chunks; /* of a row */
} trm_k_swiglu;

/* item = row: one part of qkv (rows, parts * d) into heads (b, heads, s, hd), or back; rotated
 * by rope where that is given, backwards for sign -1. */
typedef struct trm_k_heads {
    trm_k_shape shape;
    const int *list;
    void *rows, *heads;
    const float *rope; /* (s, hd) of slot k at rope + k * rope_stride */
    long rope_stride;
    int ld, at; /* row stride and first channel of the part */
    int h, hd, block;
    float sign;
} trm_k_heads;
typedef trm_k_heads trm_k_unheads;

/* item = row of scores: p = softmax(scale * scores) over the sequence's real positions. */
typedef struct trm_k_softmax {
    const int *list;
    const trm_k_slot *slot;
    const float *scores; /* (b * heads, s, ld) */
    void *p;
    float *lse; /* (b * heads, s): taken, or where `again` is set used */
    int first;  /* which sequence of the batch is the first here */
    int h, s, ld, again;
    float scale;
} trm_k_softmax;

/* item = (sequence, head, unit): Sudoku attention in rows, columns, boxes; see rows.h. */
typedef struct trm_k_units {
    const void *qkv;
    void *out;
    int heads, hd;
    float scale;
} trm_k_units;

/* item = (sequence, kind, unit): replaces channels by their means over units; see rows.h. Of
 * candidates there are 4 kinds of 81 units, of cells 3 of 9. */
typedef struct trm_k_unit_means {
    void *h;
    int n;
} trm_k_unit_means;
typedef trm_k_unit_means trm_k_candidate_means;

/* item = row: out (rows, n) has each quarter of in's channels from a neighbour, or where `back` is
 * set what it gave to one; see rows.h. */
typedef struct trm_k_shift {
    trm_k_shape shape;
    const int *list;
    const void *in;
    void *out;
    const int *near;
    long near_stride;
    int max_s, n, back;
} trm_k_shift;

/* item = (row, head): attention to a neighbour; see rows.h. */
typedef struct trm_k_near {
    trm_k_shape shape;
    const int *list;
    const void *qkv;
    void *out;
    const int *near; /* (4, max_s) of slot k at near + k * near_stride */
    long near_stride;
    int max_s, heads, hd;
    float scale;
} trm_k_near;

/* item = row: logits (b, l, v) = y w^T of the cells; of candidates each its digit's, by the one row
 * of w, and the first those of tokens that are no digit. */
typedef struct trm_k_head {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    float *logits;
    const float *y, *w;
    int l, d, v, prefix, per_cell;
} trm_k_head;

/* item = 32 cells: argmax of logits (n, v) and its softmax probability. */
typedef struct trm_k_argmax {
    int *answer;
    float *confidence;
    const float *logits;
    long n;
    int v;
} trm_k_argmax;

/* item = sequence: q (b, 2) of position 0, or of the mean over the real positions. */
typedef struct trm_k_q_head {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    float *q;
    const float *y, *w, *bias;
    int d, mean;
} trm_k_q_head;

/* item = chunk of a row: out (rows, ld) = act(in (rows, cols)), the rest zero. */
typedef struct trm_k_to_act {
    void *out;
    const float *in;
    int cols, ld, chunks;
} trm_k_to_act;

#define TRM_KERNELS_ACT(X)                                                                         \
    X(add)                                                                                         \
    X(norm)                                                                                        \
    X(norm_t)                                                                                      \
    X(swiglu)                                                                                      \
    X(heads)                                                                                       \
    X(unheads) X(softmax) X(units) X(unit_means) X(candidate_means) X(shift) X(near) X(to_act)
#define TRM_KERNELS_F32(X) X(gather) X(scatter) X(embed) X(head) X(argmax) X(q_head)

#endif

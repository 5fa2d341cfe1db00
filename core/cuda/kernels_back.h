/* The kernels of training: their arguments, and what one item of each is. See kernels.h. */
#ifndef TRM_KERNELS_BACK_H
#define TRM_KERNELS_BACK_H

#include "kernels.h"

/* item = row: gradient of norm; g = inv * (g - y * mean(g * y)), ga = act(g). */
typedef struct trm_k_norm_back {
    float *g;
    void *ga;
    const void *y; /* (rows, d) act */
    const float *inv;
    int d;
} trm_k_norm_back;

/* item = 128 columns: the same over s rows of `columns`. */
typedef struct trm_k_norm_t_back {
    float *g;
    void *ga;
    const void *y;
    const float *inv; /* (columns) */
    int s;
    long columns;
} trm_k_norm_t_back;

/* item = chunk of a row: gu becomes its gradient, and dh what swiglu had made of gu, which
 * weight gradients need and the tape does not hold. */
typedef struct trm_k_swiglu_back {
    void *gu; /* (rows, 2 n) */
    void *dh; /* (rows, n) */
    long n;
    int chunks;
} trm_k_swiglu_back;

/* item = row: delta (b, heads, s) = sum over each head's channels of o * go (rows, d). */
typedef struct trm_k_delta {
    trm_k_shape shape;
    const void *o, *go;
    float *delta;
    int h, hd;
} trm_k_delta;

/* item = row of scores: ds = scale * p * (dp - delta), which takes p's place. */
typedef struct trm_k_softmax_back {
    void *p;            /* (pairs, s, ld) */
    const float *dp;    /* (pairs, s, ld) */
    const float *delta; /* (pairs, s) */
    int ld;
    float scale;
} trm_k_softmax_back;

/* item = (sequence, head, unit): gradient of units; dqkv and dout do not overlap qkv. */
typedef struct trm_k_units_back {
    void *dqkv;
    const void *dout, *qkv;
    int heads, hd;
    float scale;
} trm_k_units_back;

/* item = (row, head): gradient of near. A cell's key and value serve itself and the one cell whose
 * neighbour it is, so each item gathers from three cells and adds to its own alone. */
typedef struct trm_k_near_back {
    trm_k_shape shape;
    const int *list;
    void *dqkv;
    const void *dout, *qkv;
    const int *near;
    long near_stride;
    int max_s, heads, hd;
    float scale;
} trm_k_near_back;

/* item = row: loss of a cell and the gradient of its logits, times k over the cells that count.
 * dl (rows, ld) is wide enough for a row's logits, v of a cell or the one of a candidate, and both
 * halt logits' shares; zero where none counts. */
typedef struct trm_k_loss {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    const int *labels;   /* (slots, l), negative = not counted */
    const float *logits; /* (b, l, v) */
    float *dl;
    double *loss; /* (b, l) */
    int *right;   /* (b, l) */
    int l, v, ld, prefix, per_cell, softmax;
    double smoothing, k;
} trm_k_loss;

/* What became of a lesson. */
typedef struct trm_k_verdict {
    double lm, q_loss;
    float q[2];
    int right, counted;
} trm_k_verdict;

/* item = sequence: sums its cells; the halt losses, and their gradients dq (b, 2) times k. `unsat`:
 * the second halt logit tells puzzles without an answer, those where no cell counts. */
typedef struct trm_k_judge {
    const int *list;
    const trm_k_slot *slot;
    const int *labels;
    const double *loss;
    const int *right;
    const float *q; /* (b, 2) */
    float *dq;
    trm_k_verdict *verdict; /* (slots) */
    int l, unsat;
    double k;
} trm_k_judge;

/* item = row: dl's columns at and at + 1 = dq's share of the rows that the halt head reads. */
typedef struct trm_k_share {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    const float *dq;
    float *dl;
    int at, ld, mean;
} trm_k_share;

/* item = column: sum (columns) += of x (n, columns). */
typedef struct trm_k_sum {
    float *sum;
    const float *x;
    int n, columns;
} trm_k_sum;

/* item = row: hot (rows, ld) = scale at the row of the embedding that it shows, else 0. */
typedef struct trm_k_one_hot {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    const int *tokens;
    float *hot;
    int l, ld, prefix, per_cell;
    float scale;
} trm_k_one_hot;

/* item = (position, 128 channels): dpos (s, d) += scale * de over the sequences. */
typedef struct trm_k_pos_back {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    const float *de;
    float *dpos;
    int d, chunks;
    float scale;
} trm_k_pos_back;

/* item = (sequence, 128 numbers): the first of those with a puzzle adds up all of them. */
typedef struct trm_k_puzzle_back {
    trm_k_shape shape;
    const int *list;
    const trm_k_slot *slot;
    const float *de;
    float *dpuzzle; /* (identifiers, ndim) */
    int d, ndim, chunks;
    float scale;
} trm_k_puzzle_back;

/* item = chunk: x = keep * x + share * y. */
typedef struct trm_k_blend {
    float *x;
    const float *y;
    long n;
    float keep, share;
} trm_k_blend;

/* item = chunk: partial[item] = sum of squares. */
typedef struct trm_k_squares {
    const float *x;
    double *partial;
    long n;
} trm_k_squares;

/* one item: norm[0] = root of the sum of n partials, norm[1] = what gradients are scaled by so
 * that they are no longer than `clip` (0: any length). */
typedef struct trm_k_clip {
    const double *partial;
    double *norm;
    long n;
    double clip;
} trm_k_clip;

/* item = chunk: m = mu * m + g, x = g + mu * m, of the scaled gradient. */
typedef struct trm_k_momentum {
    const float *g;
    float *m, *x;
    const double *norm;
    long n;
    float mu;
} trm_k_momentum;

/* item = chunk: x /= its norm, from its partial sums of squares. */
typedef struct trm_k_normalise {
    float *x;
    const double *partial;
    long n, partials;
} trm_k_normalise;

/* item = chunk: AdamW or AdamATan2. c1, c2: what corrects young moments. */
typedef struct trm_k_adam {
    float *w, *m, *v;
    const float *g;
    const double *norm;
    long n;
    double lr, decay, beta1, beta2, c1, c2;
    int atan2;
} trm_k_adam;

/* item = row: SignSGD of a row (cols) that has a gradient. */
typedef struct trm_k_sign {
    float *w;
    const float *g;
    int cols;
    float keep, step;
} trm_k_sign;

#define TRM_KERNELS_BACK_ACT(X)                                                                    \
    X(norm_back)                                                                                   \
    X(norm_t_back) X(swiglu_back) X(delta) X(softmax_back) X(units_back) X(near_back)
#define TRM_KERNELS_BACK_F32(X)                                                                    \
    X(loss)                                                                                        \
    X(judge)                                                                                       \
    X(share)                                                                                       \
    X(sum)                                                                                         \
    X(one_hot)                                                                                     \
    X(pos_back) X(puzzle_back) X(blend) X(squares) X(clip) X(momentum) X(normalise) X(adam) X(sign)

#endif

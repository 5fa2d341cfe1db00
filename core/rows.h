/* Row kernels: everything in a recursion step that is not a matrix product.
 *
 * Activations that feed matrix products are "act" elements: float (f32 backends) or bf16
 * bits in uint16_t (bf16 backends). The residual stream is always f32. Each kernel exists
 * for both and for several instruction sets; trm_rows_get() picks at run time. Kernels are
 * pure functions over the caller's buffers: no state, no allocation, any thread. Buffers of
 * different arguments do not overlap unless a kernel says so.
 */
#ifndef TRM_ROWS_H
#define TRM_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a layer of candidates: qkv (8 d, d), o (d, 4 d), gate_up (2 inner, d), down (d, inner). */
enum { TRM_CANDIDATE_WEIGHTS = 4 };

/* One pass of such a layer on a tape, a row a position. The pass reads xa0 (d) and leaves xa1 and
 * xa2 (d), its input after mixing and after the MLP, the factors inv1 and inv2 of their rmsnorms
 * and att (4 d), what the units said. The way back leaves the gradients go and gd (d) of what was
 * added to xa0 and xa1, dqkv (8 d) and dgu (2 inner) of the products, and h (inner). Without a tape
 * the first three are one buffer and the others NULL. */
typedef struct trm_candidate_tape {
    void *xa0, *xa1, *xa2, *att;
    float *inv1, *inv2;
    void *go, *gd, *dqkv, *dgu, *h;
} trm_candidate_tape;

typedef struct trm_rows {
    bool bf16;
    size_t act_size;
    const char *isa;

    void (*to_act)(void *out, const float *in, size_t n);
    void (*from_act)(float *out, const void *in, size_t n);
    /* x = a + b (+ c if not NULL), xa = act(x) */
    void (*add)(float *x, void *xa, const float *a, const float *b, const float *c, size_t n);
    /* Post-norm residual of the paper: x = rmsnorm(x + o) over the last axis, x (rows, d);
     * inv[row] = 1 / rms. xa = act(x). */
    void (*norm)(float *x, void *xa, float *inv, const float *o, int rows, int d, float eps);
    /* The same over the first axis (token mixing): every column is normalised; inv (d). */
    void (*norm_t)(float *x, void *xa, float *inv, const float *o, int rows, int d, float eps);
    /* Gradient of norm: g = inv * (g - y * mean(g * y)), ga = act(g); y (rows, d) act. */
    void (*norm_back)(float *g, void *ga, const void *y, const float *inv, int rows, int d);
    /* tmp (2 d) floats of work space. */
    void (*norm_t_back)(
        float *g, void *ga, const void *y, const float *inv, int rows, int d, float *tmp);
    /* SwiGLU: h (rows, n; stride ldh) = silu(gate) * up; row r has its gate at gu + r * 2n, up n
     * later. */
    void (*swiglu)(void *h, int ldh, const void *gu, int rows, int n);
    /* Gradient: replaces gu by d(gate), d(up), given dh (rows, n). */
    void (*swiglu_back)(void *gu, const void *dh, int rows, int n);
    /* Rotary positions, in place: x has `rows` rows of stride ld; `heads` heads of hd
     * channels each; pairs lie block/2 apart within blocks of `block` channels. cs holds per
     * row hd/2 cosines, then hd/2 sines. sign -1 rotates back (the gradient). */
    void (*rope)(
        void *x, int rows, int ld, int heads, int hd, int block, const float *cs, float sign);
    /* Row softmax of scores (rows, cols; stride ld) without its division: p = act(exp(scale *
     * (s - max))) with stride ldp, padding columns cols..ldp-1 zeroed; inv[row] = 1 / sum;
     * lse[row] = log sum exp (may be NULL). */
    void (*softmax)(void *p, int ldp, const float *s, int ld, int rows, int cols, float scale,
        float *inv, float *lse);
    /* x[row] *= k[row] over n channels, stride ld. */
    void (*scale_rows)(void *x, const float *k, int rows, int ld, int n);
    /* p = act(exp(scale * s - lse)): the softmax again, in the backward pass. */
    void (*softmax_again)(void *p, int ldp, const float *s, int ld, int rows, int cols, float scale,
        const float *lse);
    /* ds = act(scale * p * (dp - delta[row])); padding zeroed. */
    void (*softmax_back)(void *ds, int ldp, const void *p, const float *dp, int ld, int rows,
        int cols, float scale, const float *delta);
    /* delta[row] = sum over the hd channels of one head of o * do, stride ld. */
    void (*row_dot)(float *delta, const void *o, const void *go, int rows, int ld, int hd);
    /* Sudoku attention within rows, columns or boxes: qkv (81, 3 d) after positions, out
     * (81, d). Head h uses unit kind h % 3. */
    void (*units)(void *out, const void *qkv, int heads, int hd, float scale);
    /* Its gradient: dqkv (81, 3 d) from dout (81, d). */
    void (*units_back)(
        void *dqkv, const void *dout, const void *qkv, int heads, int hd, float scale);
    /* Replaces each of the n channels of h (81, n) by its mean over the cell's row (first third
     * of the channels), column or box. Its own gradient. */
    void (*unit_means)(void *h, int n);
    /* The same for the candidates of a Sudoku, h (729, n): over the cell's digits (first quarter of
     * the channels), or the digit's cells of the row, column or box. */
    void (*candidate_means)(void *h, int n);
    /* A whole layer of a model of candidates, x (729, d) in place, and its way back, g in place.
     * `weights` are what candidates_pack has made of the layer's matrices, of candidates_bytes (0:
     * not for these widths); space is of candidates_space bytes. NULL where the separate kernels
     * are as good. */
    void (*candidates)(float *x, const trm_candidate_tape *t, const void *weights, void *space,
        int d, int inner, float eps);
    void (*candidates_back)(
        float *g, const trm_candidate_tape *t, const void *weights, void *space, int d, int inner);
    size_t (*candidates_bytes)(int d, int inner, bool train);
    size_t (*candidates_space)(int d, int inner);
    void (*candidates_pack)(
        void *out, const float *const w[TRM_CANDIDATE_WEIGHTS], int d, int inner, bool train);
    /* out (rows, n): each quarter q of in's channels from the neighbour near[q] names, 0 where
     * there is none; its gradient where `back`, for which near's directions are taken the other
     * way round. */
    void (*shift)(void *out, const void *in, const int32_t *near, int rows, int n, bool back);
    /* Attention of each cell to itself and one neighbour: near (4, rows) names a cell's
     * neighbour in each direction, -1 where there is none, and direction 3 - k undoes k; head
     * h uses direction h % 4. qkv (rows, 3 d), out (rows, d). */
    void (*near)(
        void *out, const void *qkv, const int32_t *near, int rows, int heads, int hd, float scale);
    /* Its gradient; acc (rows, 2 d) floats of work space. */
    void (*near_back)(void *dqkv, float *acc, const void *dout, const void *qkv,
        const int32_t *near, int rows, int heads, int hd, float scale);
    /* Symmetric int8 per row: scale[row] = max|x| / 127, q = round(x / scale). */
    void (*quantise)(int8_t *q, float *scale, const void *x, int rows, int cols, int ld);
    /* The heads, always in f32: logits (rows, v) = x (rows, d) w^T (v, d). */
    void (*head)(float *logits, const float *x, const float *w, int rows, int d, int v);
    /* g (rows, d) = dlogits w; dw (v, d) += dlogits^T x. */
    void (*head_back)(float *g, float *dw, const float *dlogits, const float *x, const float *w,
        int rows, int d, int v);
    /* c (m, n) += a^T b, of a (rows, m) and b (rows, n) act: gradients of weights. m a multiple
     * of 16, n of 32; space holds outer_space(n) bytes, aligned to 64. NULL where the products'
     * library does as well. */
    void (*outer)(float *c, const void *a, const void *b, int m, int n, int rows, void *space);
    size_t (*outer_space)(int n);
    /* answer[row] = argmax of logits (rows, v), conf[row] = its softmax probability. */
    void (*argmax)(int32_t *answer, float *conf, const float *logits, int rows, int v);
} trm_rows;

/* Rows that outer takes at a time; a multiple of it wastes nothing. */
enum { TRM_OUTER_ROWS = 256 };

const trm_rows *trm_rows_get(bool bf16);
/* As trm_rows_get, but for the named instruction set ("generic" is always there), NULL if
 * this processor or build has none such: tests compare them all. */
const trm_rows *trm_rows_for(bool bf16, const char *isa);

#endif

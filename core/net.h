/* The one network of a TRM on one sequence: forward, and backward through a tape.
 *
 * trm_net   the weights as a backend holds them; read-only between refreshes, shared by
 *           all threads.
 * trm_work  one thread's buffers and prepared products ("plans", one per sequence length).
 * trm_tape  what the backward pass needs of the last cycle's passes.
 *
 * Shapes: s positions (prefix + cells), D hidden, I / It SwiGLU inner widths, "act"
 * elements as in rows.h. All buffers are row-major.
 */
#ifndef TRM_NET_H
#define TRM_NET_H

#include "mm.h"
#include "rows.h"
#include "trm/model.h"

typedef struct trm_net_layer {
    trm_packed qkv, o, down;                  /* y = x W^T */
    trm_packed *gate_up;                      /* trm_net.parts of them, gate and up of each */
    trm_packed qkv_b, o_b, gate_up_b, down_b; /* dx = dy W, training only */
    void *gate_up_t, *down_t;                 /* token mixing: act copies, (2 It, S), (S, It) */
    void *candidates;                         /* all of them for trm_rows.candidates, or NULL */
} trm_net_layer;

typedef struct trm_net {
    const trm_config *c;
    const trm_layout *layout;
    const float *w; /* flat weights */
    const trm_mm_lib *mm;
    const trm_rows *rows;
    bool train;
    int parts; /* of the SwiGLU's inner channels; one where a tape wants them together */
    trm_net_layer *layer;
    size_t bytes;
} trm_net;

/* layout and w stay the caller's and must outlive the net. */
int trm_net_new(trm_net **out, const trm_config *c, const trm_layout *layout, const float *w,
    const trm_mm_lib *mm, bool train, trm_error *err);
/* The weights have changed: packs them again. Layers first..last-1 only, so that threads
 * can share the work. */
int trm_net_refresh(trm_net *net, int first, int last, trm_error *err);
void trm_net_free(trm_net *net);
const float *trm_net_weight(const trm_net *net, trm_role role, int layer);

/* Sequences pass the network one by one, by twos or by fours. */
enum { TRM_GROUP = 4, TRM_GROUPS = 3 };

/* Products for sequences of s positions; the backward ones for a tape of `seqs` of them. */
typedef struct trm_plan {
    int s, seqs, group; /* group: most sequences a pass may take together */
    /* Of one sequence, of two and of four, which read the weights once for all of them. Mixing
     * positions by an MLP (gate_up_t, down_t) is done one by one, else these are qkv and o. */
    trm_mm *mix_in[TRM_GROUPS], *mix_out[TRM_GROUPS], *gate_up[TRM_GROUPS], *down[TRM_GROUPS];
    trm_mm *qk[2], *pv[2]; /* attention blocks: full, and the last one */
    trm_mm *d_mix_in, *d_mix_out, *d_gate_up, *d_down;
    trm_mm *w_mix_in, *w_mix_out, *w_gate_up, *w_down; /* NULL where trm_rows.outer does it */
    trm_mm *dv[2], *dp[2], *dq[2], *dk[2];
    struct trm_plan *next;
} trm_plan;

typedef struct trm_work {
    const trm_net *net;
    int max_s;
    trm_plan *plans;
    float *o, *scores, *dscores, *inv, *tmp, *lse, *dkv;                   /* f32 */
    void *xa, *xa1, *xa2, *qkv, *att, *mix, *gu, *h, *gu_t, *h_t, *p, *ds; /* act */
    void *panels;                                                          /* for trm_rows.outer */
    void *mixed, *mix_gu; /* shifts beside attention: what is shifted, its gate and up */
    void *space;          /* .candidates */
    void *block;
    size_t bytes;
} trm_work;

int trm_work_new(trm_work **out, const trm_net *net, int max_s, trm_error *err);
void trm_work_free(trm_work *w);
/* The plan's length for a sequence of s positions: s itself, or rounded up where packed. */
int trm_plan_length(const trm_config *c, int s);
/* The plan for s positions (and a tape of seqs sequences; 0 = forward only), made on first
 * use by the thread that will run it. */
int trm_work_plan(trm_plan **out, trm_work *w, int s, int seqs, trm_error *err);

/* Everything a backward pass reads, for `seqs` sequences of `passes` passes each. */
typedef struct trm_tape_layer {
    void *xa0, *qkv, *att, *xa1, *gu, *h, *gu_t, *h_t; /* forward */
    void *dqkv, *go, *gd;                              /* backward; gu becomes its gradient */
    float *inv1, *inv2, *lse;
} trm_tape_layer;

typedef struct trm_tape {
    int seqs, passes, s;
    trm_tape_layer *layer; /* one more than there are layers: the last has only xa0 */
    void *block;
    size_t bytes;
} trm_tape;

int trm_tape_new(trm_tape **out, const trm_net *net, int seqs, int passes, int s, trm_error *err);
void trm_tape_free(trm_tape *t);

/* One sequence of a plan's length: the first `keys` positions are real, the others padding
 * (packed inputs are rounded up to a plan's length) that nothing attends to. */
typedef struct trm_seq {
    int keys;
    const float *rope;   /* (s, hd) cosines and sines, or NULL */
    const int32_t *near; /* (4, s) neighbours, or NULL */
} trm_seq;

/* One pass of the network in place: on entry w->xa = act(x) (trm_rows.add leaves it so).
 * at: which (sequence * passes + pass) of the tape to write; tape NULL for inference. */
void trm_net_pass(
    trm_work *w, const trm_plan *plan, float *x, const trm_seq *seq, trm_tape *tape, int at);
/* The same for one sequence, two or four (the plan's `group` at most) at once, without a tape: x[i]
 * and seq[i] are theirs, their act(x) lie one after the other in w->xa. */
void trm_net_pass_group(
    trm_work *w, const trm_plan *plan, float *const x[], const trm_seq seq[], int n);
/* The gradient of a pass: g (s, D) goes in as dL/d(output), comes out as dL/d(input). Token-mixing
 * weight gradients are added to dw here, all others by trm_net_weight_grads. */
void trm_net_pass_back(trm_work *w, const trm_plan *plan, float *g, const trm_seq *seq,
    trm_tape *tape, int at, float *dw);
/* Adds the gradients of all block matrices from a full tape to dw (flat layout). */
void trm_net_weight_grads(trm_work *w, const trm_plan *plan, trm_tape *tape, float *dw);

/* Attention of one sequence, in blocks of queries, or what stands in for it (unit means, shifts);
 * lse (heads, s) or NULL. */
void trm_attention(
    trm_work *w, const trm_plan *plan, const trm_seq *seq, void *out, const void *qkv, float *lse);
/* dout is used up. */
void trm_attention_back(trm_work *w, const trm_plan *plan, const trm_seq *seq, void *dqkv,
    void *dout, const void *qkv, const void *att, const float *lse);
/* Does every cell see every other, so that scores are matrix products? */
bool trm_config_dense(const trm_config *c);
enum { TRM_QUERY_BLOCK = 64 };
/* Of n sequences of s positions, how many should pass the network together on a team of so many. */
int trm_group_size(const trm_config *c, int s, int n, int team);
/* The place of a group's products in a plan. */
static inline int trm_group_at(int n) {
    return n > 2 ? 2 : n - 1;
}

/* Rotary table (s, hd): hd/2 cosines then hd/2 sines per position. Positions before the
 * cells rotate as position index (rope) or not at all (rope2d). */
void trm_rope_table(
    float *out, const trm_config *c, int cells, const uint8_t *row, const uint8_t *col);
/* The neighbours of each cell of a grid, (4, s): below, left, right, above; -1 where there is
 * none. row, col NULL: the full canvas. */
void trm_near_table(
    int32_t *out, const trm_config *c, int s, int cells, const uint8_t *row, const uint8_t *col);
/* Whichever of the two the model needs, for a sequence of s positions whose cells come after
 * the prefix; rope and near NULL where it needs none. */
void trm_places(float *rope, int32_t *near, const trm_config *c, int s, int cells,
    const uint8_t *row, const uint8_t *col);
bool trm_config_rotates(const trm_config *c);
/* Does it need a table of neighbours? */
bool trm_config_near(const trm_config *c);
/* Does it need each cell's row and column? */
bool trm_config_places(const trm_config *c);

/* What one sequence shows: tokens (cells), a puzzle and, where the model has frames, each cell's
 * row and column and a frame. */
typedef struct trm_shown {
    const int32_t *tokens;
    int cells, puzzle;
    const uint8_t *row, *col, *frame;
} trm_shown;

/* Its input embedding e (s, D), scaled by sqrt(D). */
void trm_embed(float *e, const trm_net *net, const trm_shown *in);
/* Its gradient: adds to embed_tokens, embed_pos, puzzle_emb and frame_emb in dw. */
void trm_embed_back(float *dw, const trm_net *net, const float *de, const trm_shown *in);
/* logits (cells, V) of y (s, D), prefix and all; for candidates those of tokens that are no digit
 * are far below all others. */
void trm_lm_head(float *logits, const trm_net *net, const float *y, int cells);
/* Its gradient: g (s, D) is set where cells are, lm_head's part of dw added to. */
void trm_lm_head_back(
    float *g, float *dw, const trm_net *net, const float *dlogits, const float *y, int cells);
/* q (2) = q_head(y): position 0, or the mean over the s real positions. */
void trm_q_head(float q[2], const trm_net *net, const float *y, int s);

#endif

/* The inside of a trm_device: a model on the device, its slots, and the batch in work.
 *
 * A step gathers the listed slots' latents into a batch, runs all passes over it and scatters
 * them back. The batch is as large as the smallest bucket that holds it, empty places included,
 * so that few shapes occur and each is recorded once as a graph. Shapes as in kernels.h; names
 * of buffers as in core/net.h. Owned by one thread at a time.
 */
#ifndef TRM_GPU_INSIDE_H
#define TRM_GPU_INSIDE_H

#include "dev.h"
#include "device.h"

typedef struct trm_gpu_matrix { /* a weight as act elements, rows padded to whole 16 bytes */
    void *at;
    const trm_param *param;
    int ld;
} trm_gpu_matrix;

typedef struct trm_gpu_layer {
    trm_gpu_matrix qkv, o, gate_up, down, gate_up_t, down_t;
} trm_gpu_layer;

/* Where a pass puts what it computes. */
typedef struct trm_gpu_place {
    void *xa0, *qkv, *att, *xa1, *gu, *h, *gu_t, *h_t, *xa2;
    float *inv1, *inv2, *lse;
} trm_gpu_place;

typedef struct trm_gpu_bucket {
    int b, s, cycles, seen;
    trm_dev_graph *graph;
} trm_gpu_bucket;

enum { TRM_GPU_BUCKETS = 256 };

/* What training adds. Arrays of the layout's length are flat, as the weights are. */
typedef struct trm_gpu_learning {
    trm_recipe recipe;
    trm_gpu_place *tape; /* (passes, layers) of the last cycle; h and h_t are the work's */
    float *grads, *m, *v, *ema;
    float *g, *de;     /* (rows, d) gradients of a pass's output, and of the embedding */
    void *ga;          /* (rows, d) act(g) */
    void *dqkv;        /* where a gradient cannot take qkv's place */
    float *dp, *delta; /* dense attention, as scores and lse */
    float *dl;         /* (rows, ld) gradients of logits; then one-hot tokens */
    int ld;
    int *labels, *host_labels;             /* (slots, l) */
    double *loss;                          /* (places, l) */
    int *right;                            /* (places, l) */
    float *dq;                             /* (places, 2) */
    trm_k_verdict *verdict, *host_verdict; /* (slots) */
    double *partial, *norm, *host_norm;    /* norm: see trm_k_clip */
    float *x, *y, *a, *b;                  /* Muon's */
} trm_gpu_learning;

struct trm_device {
    trm_config c;
    const trm_layout *layout;
    trm_dev *dev;
    bool keep_logits, dense, near_table, gated; /* as trm_device_options */
    bool learning;                              /* memory for training is there or asked for */
    int slots, places;                          /* places: of the batch, no more than slots */
    int per_cell;                            /* positions of a cell: 9 where they are candidates */
    int shown, told;                         /* rows of the embedding, and of lm_head */
    int max_s, d, in, in_t, wide, mixed, hd; /* wide, mixed: trm_config_mix_in(), _out() */
    int act;                                 /* bytes of an element */
    float *w;                                /* flat, f32 */
    trm_gpu_layer *layer;
    const float *embed, *pos, *puzzle, *lm_head, *q_head, *q_bias, *h_init, *l_init;
    /* slots, and their mirrors in pinned memory; rope and near have one table for all where
     * every puzzle fills the canvas */
    trm_k_slot *slot, *host_slot;
    int *tokens, *host_tokens, *near, *host_near, *slot_s;
    float *slot_y, *slot_z, *rope, *host_rope;
    long rope_stride, near_stride;
    bool *dirty, places_up;
    /* the batch */
    trm_k_shape shape;
    int *list, *host_list;
    float *y, *z, *e, *scores;
    void *p;     /* softmaxed scores */
    void *mix;   /* gated channels before they are shifted */
    void *heads; /* queries, keys, values and mixed values by head */
    trm_gpu_place work;
    int group; /* sequences whose scores are there at a time */
    /* what comes out, and where it goes in pinned memory */
    int *answer, *host_answer;
    float *confidence, *host_confidence, *logits, *host_logits, *q, *host_q;
    trm_gpu_bucket bucket[TRM_GPU_BUCKETS];
    trm_gpu_learning *learn; /* NULL: for steps alone */
    size_t fixed_bytes;
};

/* gpu_memory.c */
int trm_gpu_open(trm_device **out, const trm_device_options *o, trm_error *err);
void trm_gpu_close(trm_device *g);
/* Converts the matrices of all layers to act elements. */
void trm_gpu_refresh(trm_device *g);
int trm_gpu_up8(int n);

/* Pieces of memory are asked for one after another; the first refusal is kept. */
typedef struct trm_gpu_asker {
    trm_device *g;
    trm_error *err;
    int r;
} trm_gpu_asker;
void *trm_gpu_ask(trm_gpu_asker *k, size_t n, size_t size);
void *trm_gpu_ask_pinned(trm_gpu_asker *k, size_t n, size_t size);

/* gpu_tape.c: what training holds. */
void trm_gpu_make_learning(trm_gpu_asker *k, const trm_recipe *r);
void trm_gpu_learning_free(trm_gpu_learning *l);

/* gpu_pass.c: one pass of the network over the batch, in place; on entry place 0's xa0 (or
 * work.xa0) is act(x). x is y or z of the batch. */
void trm_gpu_pass(trm_device *g, float *x, const trm_gpu_place *places);
long trm_gpu_rows(const trm_device *g);
/* A product whose C has no gaps. */
void trm_gpu_product(trm_device *g, int m, int n, int k, const void *a, int lda, const void *b,
    int ldb, void *c, int flags);
/* Part n of `rows` (queries, keys and values beside each other, or but one part) into part `to` of
 * g->heads; from part n of g->heads back into rows. sign: 1 rotates, -1 back, 0 does not. */
void trm_gpu_by_head(trm_device *g, void *rows, int ld, int at, int to, float sign);
void trm_gpu_from_head(trm_device *g, void *rows, int ld, int at, int from, float sign);
void *trm_gpu_part(const trm_device *g, int n, int first);
/* Softmax of the scores of sequences first.. of the batch: taken, or `again` from lse. */
void trm_gpu_softmax(trm_device *g, float *lse, int first, int n, bool again);
/* A product per sequence and head of n sequences from `first` on: of parts of g->heads, or of
 * scores. */
typedef struct trm_gpu_side {
    void *at;
    int rows_ld; /* s rows of hd, or of score stride */
    long apart;
} trm_gpu_side;
trm_gpu_side trm_gpu_heads_side(const trm_device *g, int part, int first);
trm_gpu_side trm_gpu_score_side(const trm_device *g, void *scores);
void trm_gpu_pairs(trm_device *g, int pairs, int n, int k, trm_gpu_side a, trm_gpu_side b,
    trm_gpu_side c, int flags);

/* What unit means and candidates take from other positions, in place; its own gradient. */
void trm_gpu_means(trm_device *g, void *h);

/* gpu_back.c: gradient of a taped pass: learn->g goes in as dL/d(output), comes out as
 * dL/d(input); gradients of weights are added to learn->grads. */
void trm_gpu_pass_back(trm_device *g, const trm_gpu_place *places);

/* gpu_learn.c */
int trm_gpu_learn(trm_device *g, const trm_device_update *u, trm_error *err);
int trm_gpu_learned(trm_device *g, trm_device_verdict *verdict, double *norm, trm_error *err);
int trm_gpu_get(trm_device *g, trm_device_array which, float *to, trm_error *err);
int trm_gpu_put(trm_device *g, trm_device_array which, const float *from, trm_error *err);

/* gpu_optim.c: clips the gradients and updates the weights. */
void trm_gpu_update(trm_device *g, const trm_device_update *u);

/* gpu_step.c */
/* Sends what has been loaded; rows of the listed slots into the batch; one cycle, onto the tape or
 * not; logits and halt logits; latents back into their slots. */
void trm_gpu_send(trm_device *g);
void trm_gpu_begin(trm_device *g);
void trm_gpu_cycle(trm_device *g, const trm_gpu_place *tape);
void trm_gpu_heads(trm_device *g);
void trm_gpu_end(trm_device *g);
/* How long a batch is whose longest sequence has s positions. */
int trm_gpu_length(const trm_device *g, int s);
void trm_gpu_load(trm_device *g, int slot, const trm_device_input *in);
int trm_gpu_latents_get(trm_device *g, int slot, float *y, float *z, trm_error *err);
int trm_gpu_latents_put(trm_device *g, int slot, const float *y, const float *z, trm_error *err);
int trm_gpu_products(
    trm_device *g, int n, double seconds, double *puzzle_steps_per_s, trm_error *err);
int trm_gpu_step(
    trm_device *g, const int *slots, int n, int cycles, trm_device_output *out, trm_error *err);

#endif

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
    int b, s, seen;
    trm_dev_graph *graph;
} trm_gpu_bucket;

enum { TRM_GPU_BUCKETS = 128 };

struct trm_device {
    trm_config c;
    const trm_layout *layout;
    trm_dev *dev;
    bool keep_logits, dense, near_table, gated;     /* as trm_device_options */
    int slots, max_s, d, in, in_t, wide, mixed, hd; /* wide, mixed: trm_config_mix_in(), _out() */
    int act;                                        /* bytes of an element */
    float *w;                                       /* flat, f32 */
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
    size_t fixed_bytes;
};

/* gpu_memory.c */
int trm_gpu_open(trm_device **out, const trm_device_options *o, trm_error *err);
void trm_gpu_close(trm_device *g);
/* Converts the matrices of all layers to act elements. */
void trm_gpu_refresh(trm_device *g);
int trm_gpu_up8(int n);

/* gpu_pass.c: one pass of the network over the batch, in place; on entry place 0's xa0 (or
 * work.xa0) is act(x). x is y or z of the batch. */
void trm_gpu_pass(trm_device *g, float *x, const trm_gpu_place *places);
/* Attention of dense models, forward: places->qkv becomes queries, keys, values by head. */
long trm_gpu_rows(const trm_device *g);

/* gpu_step.c */
void trm_gpu_load(trm_device *g, int slot, const trm_device_input *in);
int trm_gpu_latents_get(trm_device *g, int slot, float *y, float *z, trm_error *err);
int trm_gpu_latents_put(trm_device *g, int slot, const float *y, const float *z, trm_error *err);
int trm_gpu_products(
    trm_device *g, int n, double seconds, double *puzzle_steps_per_s, trm_error *err);
int trm_gpu_step(trm_device *g, const int *slots, int n, trm_device_output *out, trm_error *err);

#endif

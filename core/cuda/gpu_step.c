/* Slots in and out, and a supervision step of a batch. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "gpu.h"

void trm_gpu_load(trm_device *g, int slot, const trm_device_input *in) {
    size_t l = (size_t)g->c.seq_len, at = (size_t)slot;
    g->host_slot[slot] =
        (trm_k_slot){.cells = in->cells, .real = in->real, .puzzle = in->puzzle, .fresh = 1};
    g->slot_s[slot] = in->s;
    memcpy(g->host_tokens + at * l, in->tokens, (size_t)in->cells * sizeof *in->tokens);
    if (in->rope && (g->c.packed || !g->places_up))
        memcpy(g->host_rope + (long)slot * g->rope_stride, in->rope,
            (size_t)in->s * (size_t)g->hd * sizeof *in->rope);
    for (int k = 0; in->near && (g->c.packed || !g->places_up) && k < 4; k++) {
        int *to = g->host_near + (long)slot * g->near_stride + (long)k * g->max_s;
        memset(to, 0xFF, (size_t)g->max_s * sizeof *to); /* -1: no neighbour */
        memcpy(to, in->near + (long)k * in->s, (size_t)in->s * sizeof *to);
    }
    if (g->learn && in->labels)
        memcpy(g->learn->host_labels + at * l, in->labels, (size_t)in->cells * sizeof *in->labels);
    g->dirty[slot] = true;
}

/* Sends what the loads since the last step have left in the mirrors, runs of slots together. */
void trm_gpu_send(trm_device *g) {
    size_t l = (size_t)g->c.seq_len;
    for (int i = 0; i < g->slots; i++) {
        int n = 0;
        while (i + n < g->slots && g->dirty[i + n])
            g->dirty[i + n++] = false;
        if (!n)
            continue;
        size_t first = (size_t)i, many = (size_t)n;
        trm_dev_up(g->dev, g->slot + first, g->host_slot + first, many * sizeof *g->slot);
        trm_dev_up(g->dev, g->tokens + first * l, g->host_tokens + first * l,
            many * l * sizeof *g->tokens);
        if (g->learn)
            trm_dev_up(g->dev, g->learn->labels + first * l, g->learn->host_labels + first * l,
                many * l * sizeof *g->tokens);
        if (g->rope && g->rope_stride)
            trm_dev_up(g->dev, g->rope + i * g->rope_stride, g->host_rope + i * g->rope_stride,
                many * (size_t)g->rope_stride * sizeof *g->rope);
        if (g->near && g->near_stride)
            trm_dev_up(g->dev, g->near + i * g->near_stride, g->host_near + i * g->near_stride,
                many * (size_t)g->near_stride * sizeof *g->near);
        i += n;
        if (g->places_up)
            continue;
        if (g->rope && !g->rope_stride)
            trm_dev_up(
                g->dev, g->rope, g->host_rope, (size_t)g->max_s * (size_t)g->hd * sizeof *g->rope);
        if (g->near && !g->near_stride)
            trm_dev_up(g->dev, g->near, g->host_near, 4 * (size_t)g->max_s * sizeof *g->near);
        g->places_up = true;
    }
}

int trm_gpu_latents_get(trm_device *g, int slot, float *y, float *z, trm_error *err) {
    size_t sd = (size_t)g->max_s * (size_t)g->d, at = (size_t)slot * sd;
    size_t bytes = (size_t)g->slot_s[slot] * (size_t)g->d * sizeof *y;
    if (!g->host_slot[slot].fresh) {
        trm_dev_down(g->dev, y, g->slot_y + at, bytes);
        trm_dev_down(g->dev, z, g->slot_z + at, bytes);
        return trm_dev_sync(g->dev, err);
    }
    /* They are made in the next step; until then they are the initial ones. */
    size_t real = (size_t)g->host_slot[slot].real, d = (size_t)g->d;
    memset(y, 0, bytes);
    memset(z, 0, bytes);
    trm_dev_down(g->dev, y, g->h_init, d * sizeof *y);
    trm_dev_down(g->dev, z, g->l_init, d * sizeof *z);
    int r = trm_dev_sync(g->dev, err);
    for (size_t i = 1; i < real && !r; i++) {
        memcpy(y + i * d, y, d * sizeof *y);
        memcpy(z + i * d, z, d * sizeof *z);
    }
    return r;
}

int trm_gpu_latents_put(trm_device *g, int slot, const float *y, const float *z, trm_error *err) {
    size_t sd = (size_t)g->max_s * (size_t)g->d, at = (size_t)slot * sd;
    size_t used = (size_t)g->slot_s[slot] * (size_t)g->d;
    trm_dev_zero(g->dev, g->slot_y + at, sd * sizeof *y);
    trm_dev_zero(g->dev, g->slot_z + at, sd * sizeof *z);
    trm_dev_up(g->dev, g->slot_y + at, y, used * sizeof *y);
    trm_dev_up(g->dev, g->slot_z + at, z, used * sizeof *z);
    g->host_slot[slot].fresh = 0;
    g->dirty[slot] = true;
    return trm_dev_sync(g->dev, err);
}

/* Lengths of packed puzzles are rounded up to an eighth of the longest. */
int trm_gpu_length(const trm_device *g, int s) {
    int step = (g->max_s / 8 + 31) / 32 * 32, up = g->c.packed ? (s + step - 1) / step * step : s;
    return up < g->max_s ? up : g->max_s;
}

static trm_gpu_bucket *bucket_of(trm_device *g, const int *slots, int n, int cycles) {
    int b = 1, s = 1;
    while (b < n)
        b *= 2;
    b = b < g->slots ? b : g->slots;
    for (int i = 0; i < n; i++)
        s = g->slot_s[slots[i]] > s ? g->slot_s[slots[i]] : s;
    s = trm_gpu_length(g, s);
    for (int i = 0; i < TRM_GPU_BUCKETS; i++) {
        trm_gpu_bucket *k = &g->bucket[i];
        if (k->b == b && k->s == s && k->cycles == cycles)
            return k;
        if (k->b == 0) {
            *k = (trm_gpu_bucket){.b = b, .s = s, .cycles = cycles};
            return k;
        }
    }
    return NULL; /* cannot be: at most 17 batch sizes times 8 lengths, less those that coincide,
                    times H_cycles and auto_H_cycles */
}

void trm_gpu_begin(trm_device *g) {
    trm_k_gather a = {.shape = g->shape,
        .list = g->list,
        .slot = g->slot,
        .slot_y = g->slot_y,
        .slot_z = g->slot_z,
        .y = g->y,
        .z = g->z,
        .y0 = g->h_init,
        .z0 = g->l_init,
        .max_s = g->max_s,
        .d = g->d};
    trm_k_embed e = {.shape = g->shape,
        .list = g->list,
        .slot = g->slot,
        .tokens = g->tokens,
        .e = g->e,
        .emb = g->embed,
        .pos = g->pos,
        .puzzle = g->puzzle,
        .l = g->c.seq_len,
        .d = g->d,
        .prefix = g->c.puzzle_emb_len,
        .ndim = g->c.puzzle_emb_ndim,
        .per_cell = g->per_cell,
        .scale = sqrtf((float)g->d) * (g->pos ? sqrtf(0.5f) : 1.0f)};
    trm_dev_gather(g->dev, &a, trm_gpu_rows(g));
    trm_dev_embed(g->dev, &e, trm_gpu_rows(g));
}

static void add(trm_device *g, float *x, void *xa, const float *a, const float *b, const float *c) {
    trm_k_add k = {x, xa, a, b, c, trm_gpu_rows(g) * g->d};
    trm_dev_add(g->dev, &k, (k.n + TRM_CHUNK - 1) / TRM_CHUNK);
}

/* n z-updates and one y-update. */
void trm_gpu_cycle(trm_device *g, const trm_gpu_place *tape) {
    for (int i = 0; i <= g->c.L_cycles; i++) {
        const trm_gpu_place *p = tape ? tape + (long)i * g->c.L_layers : NULL;
        bool last = i == g->c.L_cycles;
        float *x = last ? g->y : g->z;
        add(g, x, p ? p->xa0 : g->work.xa0, x, last ? g->z : g->y, last ? NULL : g->e);
        trm_gpu_pass(g, x, p);
    }
}

void trm_gpu_heads(trm_device *g) {
    int b = g->shape.b, prefix = g->c.puzzle_emb_len;
    trm_k_head h = {g->shape, g->list, g->slot, g->logits, g->y, g->lm_head, g->c.seq_len, g->d,
        g->c.vocab_size, prefix, g->per_cell};
    trm_k_q_head q = {
        g->shape, g->list, g->slot, g->q, g->y, g->q_head, g->q_bias, g->d, g->c.q_mean};
    trm_dev_head(g->dev, &h, trm_gpu_rows(g));
    trm_dev_q_head(g->dev, &q, b);
}

void trm_gpu_end(trm_device *g) {
    trm_k_scatter a = {.shape = g->shape,
        .list = g->list,
        .slot = g->slot,
        .slot_y = g->slot_y,
        .slot_z = g->slot_z,
        .y = g->y,
        .z = g->z,
        .max_s = g->max_s,
        .d = g->d};
    trm_dev_scatter(g->dev, &a, trm_gpu_rows(g));
}

static void answer(trm_device *g) {
    size_t b = (size_t)g->shape.b, l = (size_t)g->c.seq_len;
    trm_k_argmax a = {g->answer, g->confidence, g->logits, (long)(b * l), g->c.vocab_size};
    trm_dev_argmax(g->dev, &a, (a.n + 31) / 32);
    trm_dev_down(g->dev, g->host_answer, g->answer, b * l * sizeof *g->answer);
    trm_dev_down(g->dev, g->host_confidence, g->confidence, b * l * sizeof *g->confidence);
    trm_dev_down(g->dev, g->host_q, g->q, 2 * b * sizeof *g->q);
    if (g->keep_logits)
        trm_dev_down(
            g->dev, g->host_logits, g->logits, b * l * (size_t)g->c.vocab_size * sizeof *g->logits);
}

static void whole_step(trm_device *g, int cycles) {
    trm_dev_up(g->dev, g->list, g->host_list, (size_t)g->shape.b * sizeof *g->list);
    trm_gpu_begin(g);
    for (int t = 0; t < cycles; t++)
        trm_gpu_cycle(g, NULL);
    trm_gpu_heads(g);
    trm_gpu_end(g);
    answer(g);
}

/* The first step of a bucket runs as it is, so that every product is prepared and every kernel
 * loaded; the second is recorded. */
static void run_bucket(trm_device *g, trm_gpu_bucket *k) {
    g->shape = (trm_k_shape){k->b, k->s, g->c.mlp_t};
    if (k->seen++ == 0) {
        whole_step(g, k->cycles);
        return;
    }
    if (!k->graph) {
        trm_dev_record(g->dev);
        whole_step(g, k->cycles);
        trm_dev_recorded(g->dev, &k->graph);
    }
    trm_dev_replay(g->dev, k->graph);
}

static void hand_out(trm_device *g, const int *slots, int n, trm_device_output *out) {
    size_t l = (size_t)g->c.seq_len, v = (size_t)g->c.vocab_size;
    for (int i = 0; i < n; i++) {
        size_t cells = (size_t)g->host_slot[slots[i]].cells, at = (size_t)i * l;
        memcpy(out[i].answer, g->host_answer + at, cells * sizeof *g->host_answer);
        memcpy(out[i].confidence, g->host_confidence + at, cells * sizeof(float));
        if (out[i].logits && g->keep_logits)
            memcpy(out[i].logits, g->host_logits + at * v, cells * v * sizeof(float));
        memcpy(out[i].q, g->host_q + (size_t)2 * (size_t)i, 2 * sizeof(float));
        g->host_slot[slots[i]].fresh = 0;
    }
}

int trm_gpu_step(
    trm_device *g, const int *slots, int n, int cycles, trm_device_output *out, trm_error *err) {
    if (n < 1)
        return TRM_OK;
    trm_gpu_bucket *k = bucket_of(g, slots, n, cycles);
    if (!k)
        return trm_fail(err, TRM_E_BACKEND, "more batch shapes than the GPU has places for");
    for (int i = 0; i < k->b; i++)
        g->host_list[i] = i < n ? slots[i] : -1;
    trm_gpu_send(g);
    run_bucket(g, k);
    int r = trm_dev_sync(g->dev, err);
    if (!r)
        hand_out(g, slots, n, out);
    return r;
}

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int trm_gpu_products(
    trm_device *g, int n, double seconds, double *puzzle_steps_per_s, trm_error *err) {
    trm_dev_graph *graph = NULL;
    long steps = 0;
    g->shape = (trm_k_shape){n, g->max_s, g->c.mlp_t};
    trm_dev_only_products(g->dev, true);
    whole_step(g, g->c.H_cycles);
    trm_dev_record(g->dev);
    whole_step(g, g->c.H_cycles);
    trm_dev_recorded(g->dev, &graph);
    trm_dev_only_products(g->dev, false);
    int r = trm_dev_sync(g->dev, err);
    double began = now(), at = began;
    while (!r && (!steps || at - began < seconds)) {
        trm_dev_replay(g->dev, graph);
        r = trm_dev_sync(g->dev, err);
        steps++;
        at = now();
    }
    *puzzle_steps_per_s = (double)steps * n / (at - began);
    trm_dev_graph_free(graph);
    return r;
}

/* The arithmetic of every kernel, one text for the GPU and for the host.
 *
 * Each body handles one item of its kernel with TRM_LANES lanes: the 32 of a warp on the GPU,
 * one on the host. All lanes run it together, so that sums over lanes are allowed anywhere
 * outside of loops whose length differs by lane. `scratch` holds TRM_SCRATCH floats that the
 * lanes share. Included by dev_cuda.cu and dev_host.c alone.
 */
#ifndef TRM_BODIES_H
#define TRM_BODIES_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels.h"
#include "rows_units.h"

enum { TRM_SCRATCH = 192 };

#ifdef __CUDACC__
#define TRM_BODY static __device__ __forceinline__ void
#define TRM_INLINE static __host__ __device__ __forceinline__
#else
#define TRM_BODY static inline void
#define TRM_INLINE static inline
#endif

#ifdef __CUDA_ARCH__
#define TRM_LANES 32
#define TRM_MEET() __syncwarp()
static __device__ __forceinline__ float lanes_sum(float x) {
    for (int k = 16; k; k /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, k);
    return x;
}
static __device__ __forceinline__ double lanes_sum_double(double x) {
    for (int k = 16; k; k /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, k);
    return x;
}
static __device__ __forceinline__ float lanes_max(float x) {
    for (int k = 16; k; k /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, k));
    return x;
}
#else
#define TRM_LANES 1
#define TRM_MEET() (void)0
TRM_INLINE float lanes_sum(float x) {
    return x;
}
TRM_INLINE double lanes_sum_double(double x) {
    return x;
}
TRM_INLINE float lanes_max(float x) {
    return x;
}
#endif

typedef struct trm_bf16 {
    uint16_t bits;
} trm_bf16;

TRM_INLINE float bf16_get(trm_bf16 b) {
    uint32_t u = (uint32_t)b.bits << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* To nearest, ties to even, as the CPU's kernels round. */
TRM_INLINE trm_bf16 bf16_put(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    trm_bf16 b = {(uint16_t)((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16)};
    return b;
}

/* Four elements at a time: whole words on the bus. */
typedef struct trm_four {
    float v[4];
} trm_four;

#ifdef __CUDA_ARCH__
static __device__ __forceinline__ trm_four four_get(const float *p) {
    float4 a = *(const float4 *)p;
    trm_four f = {{a.x, a.y, a.z, a.w}};
    return f;
}
static __device__ __forceinline__ void four_put(float *p, trm_four f) {
    *(float4 *)p = make_float4(f.v[0], f.v[1], f.v[2], f.v[3]);
}
static __device__ __forceinline__ trm_four four_get_bf16(const trm_bf16 *p) {
    uint2 a = *(const uint2 *)p;
    trm_four f = {{__uint_as_float(a.x << 16), __uint_as_float(a.x & 0xffff0000u),
        __uint_as_float(a.y << 16), __uint_as_float(a.y & 0xffff0000u)}};
    return f;
}
static __device__ __forceinline__ void four_put_bf16(trm_bf16 *p, trm_four f) {
    uint2 a;
    a.x = bf16_put(f.v[0]).bits | (uint32_t)bf16_put(f.v[1]).bits << 16;
    a.y = bf16_put(f.v[2]).bits | (uint32_t)bf16_put(f.v[3]).bits << 16;
    *(uint2 *)p = a;
}
#else
TRM_INLINE trm_four four_get(const float *p) {
    trm_four f;
    memcpy(f.v, p, sizeof f.v);
    return f;
}
TRM_INLINE void four_put(float *p, trm_four f) {
    memcpy(p, f.v, sizeof f.v);
}
TRM_INLINE trm_four four_get_bf16(const trm_bf16 *p) {
    trm_four f = {{bf16_get(p[0]), bf16_get(p[1]), bf16_get(p[2]), bf16_get(p[3])}};
    return f;
}
TRM_INLINE void four_put_bf16(trm_bf16 *p, trm_four f) {
    for (int i = 0; i < 4; i++)
        p[i] = bf16_put(f.v[i]);
}
#endif

/* Which sequence and position of the batch a row is, and back. */
TRM_INLINE void place_of(trm_k_shape k, long row, int *i, int *p) {
    *i = (int)(k.by_position ? row % k.b : row / k.s);
    *p = (int)(k.by_position ? row / k.b : row % k.s);
}

TRM_INLINE long row_of(trm_k_shape k, long i, int p) {
    return k.by_position ? (long)p * k.b + i : i * k.s + p;
}

TRM_BODY gather(const trm_k_gather *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i];
    trm_k_slot none = {0, 0, 0, 1}, what = slot < 0 ? none : a->slot[slot];
    long at = ((long)slot * a->max_s + p) * a->d, to = row * a->d;
    trm_four zero = {{0, 0, 0, 0}};
    for (int c = 4 * lane; c < a->d; c += 4 * TRM_LANES) {
        trm_four y = zero, z = zero;
        if (what.fresh ? p < what.real : 1) {
            y = four_get(what.fresh ? a->y0 + c : a->slot_y + at + c);
            z = four_get(what.fresh ? a->z0 + c : a->slot_z + at + c);
        }
        four_put(a->y + to + c, y);
        four_put(a->z + to + c, z);
    }
}

TRM_BODY scatter(const trm_k_scatter *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i];
    if (slot < 0)
        return;
    long to = ((long)slot * a->max_s + p) * a->d, at = row * a->d;
    for (int c = 4 * lane; c < a->d; c += 4 * TRM_LANES) {
        four_put(a->slot_y + to + c, four_get(a->y + at + c));
        four_put(a->slot_z + to + c, four_get(a->z + at + c));
    }
    if (p == 0 && lane == 0)
        a->slot[slot].fresh = 0;
}

/* The row of the embedding that a position after the prefix shows: its token, or of a candidate
 * whether its cell is open (0), holds it (1) or another digit (2). */
TRM_INLINE int shown_at(const int *tokens, int at, int per_cell) {
    int given = tokens[at / per_cell] - 1; /* tokens 2..10 are digits */
    if (per_cell == 1)
        return tokens[at];
    return given < 1 ? 0 : given == at % per_cell + 1 ? 1 : 2;
}

TRM_BODY embed(const trm_k_embed *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int slot = a->list[i], at = p - a->prefix;
    trm_k_slot none = {0, 0, 0, 0}, what = slot < 0 ? none : a->slot[slot];
    bool real = p < what.real;
    const float *from = NULL;
    int have = 0;
    if (real && at >= 0) {
        from = a->emb + (long)shown_at(a->tokens + (long)slot * a->l, at, a->per_cell) * a->d;
        have = a->d;
    } else if (real && a->puzzle) {
        from = a->puzzle + (long)what.puzzle * a->ndim + (long)p * a->d;
        have = a->ndim - p * a->d;
    }
    for (int c = lane; c < a->d; c += TRM_LANES) {
        float x = c < have ? from[c] : 0.0f;
        if (real && a->pos)
            x += a->pos[(long)p * a->d + c];
        a->e[row * a->d + c] = real ? a->scale * x : 0.0f;
    }
}

/* As in net.c: next to nothing in a softmax or stablemax. */
#define TRM_NO_DIGIT (-1e6f)

TRM_BODY head(const trm_k_head *a, long row, int lane, float *scratch) {
    int i, p;
    (void)scratch;
    place_of(a->shape, row, &i, &p);
    int at = p - a->prefix, slot = a->list[i], per_cell = a->per_cell;
    if (at < 0 || at >= a->l * per_cell)
        return;
    float *to = a->logits + ((long)i * a->l + at / per_cell) * a->v;
    bool real = slot >= 0 && p < a->slot[slot].real;
    if (per_cell > 1) {
        if (lane == 0 && at % per_cell == 0)
            to[0] = to[1] = TRM_NO_DIGIT;
        to += 2 + at % per_cell;
    }
    for (int v = 0; v < (per_cell > 1 ? 1 : a->v); v++) {
        float sum = 0;
        for (int c = 4 * lane; real && c < a->d; c += 4 * TRM_LANES) {
            trm_four x = four_get(a->y + row * a->d + c), w = four_get(a->w + (long)v * a->d + c);
            for (int k = 0; k < 4; k++)
                sum += x.v[k] * w.v[k];
        }
        sum = lanes_sum(sum);
        if (lane == 0)
            to[v] = sum;
    }
}

TRM_BODY argmax(const trm_k_argmax *a, long item, int lane, float *scratch) {
    (void)scratch;
    for (long n = item * 32 + lane; n < (item + 1) * 32 && n < a->n; n += TRM_LANES) {
        const float *l = a->logits + n * a->v;
        int best = 0;
        for (int i = 1; i < a->v; i++)
            best = l[i] > l[best] ? i : best;
        float sum = 0;
        for (int i = 0; i < a->v; i++)
            sum += expf(l[i] - l[best]);
        a->answer[n] = best;
        a->confidence[n] = 1.0f / sum;
    }
}

TRM_BODY q_head(const trm_k_q_head *a, long i, int lane, float *scratch) {
    int slot = a->list[i], rows = 1;
    float sum[2] = {0, 0};
    (void)scratch;
    if (slot >= 0 && a->mean)
        rows = a->slot[slot].real;
    for (int p = 0; p < rows; p++) {
        const float *y = a->y + row_of(a->shape, i, p) * a->d;
        for (int c = lane; c < a->d; c += TRM_LANES) {
            sum[0] += y[c] * a->w[c];
            sum[1] += y[c] * a->w[a->d + c];
        }
    }
    for (int k = 0; k < 2; k++) {
        float q = lanes_sum(sum[k]) / (float)rows + a->bias[k];
        if (lane == 0)
            a->q[2 * i + k] = q;
    }
}

#define ACT float
#define GET(x) (x)
#define PUT(x) (x)
#define GET4(p) four_get(p)
#define PUT4(p, x) four_put(p, x)
#define FN(name) name##_f32
#include "bodies_act.h"
#undef ACT
#undef GET
#undef PUT
#undef GET4
#undef PUT4
#undef FN

#define ACT trm_bf16
#define GET(x) bf16_get(x)
#define PUT(x) bf16_put(x)
#define GET4(p) four_get_bf16(p)
#define PUT4(p, x) four_put_bf16(p, x)
#define FN(name) name##_bf16
#include "bodies_act.h"
#undef ACT
#undef GET
#undef PUT
#undef GET4
#undef PUT4
#undef FN

#endif

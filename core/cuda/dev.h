/* The device itself: memory, one stream of work, matrix products and kernels, recorded graphs.
 *
 * Two implementations: dev_cuda.cu, and dev_host.c, which does the same on the CPU so that
 * everything above this header is tested where no GPU is. Work is asynchronous until
 * trm_dev_sync(). The first failure sticks: whatever is asked after it does nothing, and the
 * next trm_dev_sync() says what failed. One thread at a time.
 */
#ifndef TRM_DEV_H
#define TRM_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels_back.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "trm/error.h"

typedef struct trm_dev trm_dev;
typedef struct trm_dev_graph trm_dev_graph;

/* Names the first device in `what`, or says what is missing. */
int trm_dev_probe(char *what, size_t size, trm_error *err);
int trm_dev_open(trm_dev **out, bool bf16, trm_error *err);
void trm_dev_close(trm_dev *d);
bool trm_dev_bf16(const trm_dev *d);

/* Device memory, zeroed, until the device is closed; TRM_E_NOMEM where there is too little, which
 * does not stick. */
int trm_dev_alloc(trm_dev *d, void **out, size_t bytes, trm_error *err);
size_t trm_dev_bytes(const trm_dev *d); /* allocated, working space included */
/* Host memory that copies go to and from at full speed, zeroed, until the device is closed. */
int trm_dev_pin(trm_dev *d, void **out, size_t bytes, trm_error *err);
void trm_dev_up(trm_dev *d, void *to, const void *from, size_t bytes);
void trm_dev_down(trm_dev *d, void *to, const void *from, size_t bytes);
void trm_dev_zero(trm_dev *d, void *p, size_t bytes);
/* Waits for all work; the first error since the device was opened. */
int trm_dev_sync(trm_dev *d, trm_error *err);

/* Work between record and recorded is kept, not run; replay runs it with the same arguments. */
void trm_dev_record(trm_dev *d);
void trm_dev_recorded(trm_dev *d, trm_dev_graph **out);
void trm_dev_replay(trm_dev *d, trm_dev_graph *g);
void trm_dev_graph_free(trm_dev_graph *g);
/* While set, kernels and copies are left out and matrix products alone are run: to time them. */
void trm_dev_only_products(trm_dev *d, bool only);

/* C (m, n) = alpha A B, or C += it; `batch` of them, sa, sb, sc elements apart. Row-major, with
 * strides in elements. A and B hold act elements, C f32, unless flags say otherwise. Sums are
 * taken in f32 (never TF32). Without implicit padding, so that descriptions compare as bytes. */
enum {
    TRM_MM_TA = 1,    /* A is stored (k, m) */
    TRM_MM_TB = 2,    /* B is stored (n, k) */
    TRM_MM_C_ACT = 4, /* C holds act elements */
    TRM_MM_ADD = 8,   /* C += */
    TRM_MM_F32 = 16,  /* A and B are f32 */
};
typedef struct trm_dev_mm {
    int m, n, k, lda, ldb, ldc, flags, batch;
    long sa, sb, sc;
    float alpha;
    int align; /* set by the device */
} trm_dev_mm;
void trm_dev_product(trm_dev *d, const trm_dev_mm *p, const void *a, const void *b, void *c);

/* trm_dev_NAME(d, &arguments, items) runs a kernel of kernels.h over its items. */
#define TRM_DEV_KERNEL(name) void trm_dev_##name(trm_dev *d, const trm_k_##name *a, long items);
TRM_KERNELS_ACT(TRM_DEV_KERNEL)
TRM_KERNELS_F32(TRM_DEV_KERNEL)
TRM_KERNELS_BACK_ACT(TRM_DEV_KERNEL)
TRM_KERNELS_BACK_F32(TRM_DEV_KERNEL)
#undef TRM_DEV_KERNEL

#ifdef __cplusplus
}
#endif

#endif

/* The device of dev.h on an NVIDIA GPU: the CUDA runtime and cuBLASLt. Every call is checked;
 * the first failure is kept with the place it came from. */
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bodies_back.h"
#include "dev.h"

enum { WARPS = 8 };                          /* of a block */
static const size_t workspace_bytes = 64u << 20; /* cuBLASLt's, for split sums */

/* A product that has been prepared: shapes, layouts and the algorithm chosen for them. */
struct plan {
    trm_dev_mm mm;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
    struct plan *next;
};

struct trm_dev_graph {
    cudaGraphExec_t exec;
};

struct block { /* memory that goes when the device does */
    void *at;
    bool pinned;
    struct block *next;
};

struct trm_dev {
    bool bf16, failed, only_products;
    size_t bytes;
    cudaStream_t stream;
    cublasLtHandle_t lt;
    cublasLtMatmulPreference_t preference;
    void *workspace;
    struct plan *plans;
    struct block *blocks;
    trm_error error;
};

/* --- errors ---------------------------------------------------------------------------- */

static void fail(trm_dev *d, int code, const char *call, const char *why) {
    if (!d->failed)
        trm_error_set(&d->error, code, "GPU: %s: %s", call, why);
    d->failed = true;
}

/* Is a copy or kernel to be left out? */
static bool idle(const trm_dev *d) {
    return d->failed || d->only_products;
}

static bool good(trm_dev *d, cudaError_t e, const char *call) {
    if (e != cudaSuccess)
        fail(d, e == cudaErrorMemoryAllocation ? TRM_E_NOMEM : TRM_E_BACKEND, call,
            cudaGetErrorString(e));
    return e == cudaSuccess;
}

static bool good_lt(trm_dev *d, cublasStatus_t s, const char *call) {
    if (s != CUBLAS_STATUS_SUCCESS)
        fail(d, s == CUBLAS_STATUS_ALLOC_FAILED ? TRM_E_NOMEM : TRM_E_BACKEND, call,
            cublasLtGetStatusString(s));
    return s == CUBLAS_STATUS_SUCCESS;
}

#define CUDA(d, call) good(d, call, #call)
#define LT(d, call) good_lt(d, call, #call)

/* --- the device ------------------------------------------------------------------------ */

extern "C" int trm_dev_probe(char *what, size_t size, trm_error *err) {
    cudaDeviceProp p;
    int n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e == cudaSuccess && n < 1)
        e = cudaErrorNoDevice;
    if (e == cudaSuccess)
        e = cudaGetDeviceProperties(&p, 0);
    if (e != cudaSuccess)
        return trm_fail(err, TRM_E_UNSUPPORTED, "%s", cudaGetErrorString(e));
    if (p.major < 8)
        return trm_fail(err, TRM_E_UNSUPPORTED,
            "%s is of compute capability %d.%d; bf16 products need 8.0", p.name, p.major, p.minor);
    (void)snprintf(what, size, "%s, compute capability %d.%d, %.0f GiB", p.name, p.major, p.minor,
        (double)p.totalGlobalMem / 0x1p30);
    return TRM_OK;
}

extern "C" int trm_dev_open(trm_dev **out, bool bf16, trm_error *err) {
    trm_dev *d = (trm_dev *)calloc(1, sizeof *d);
    if (!d)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a device");
    d->bf16 = bf16;
    bool ok = CUDA(d, cudaSetDevice(0)) &&
              CUDA(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking)) &&
              LT(d, cublasLtCreate(&d->lt)) &&
              LT(d, cublasLtMatmulPreferenceCreate(&d->preference)) &&
              LT(d, cublasLtMatmulPreferenceSetAttribute(d->preference,
                        CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                        sizeof workspace_bytes));
    int r = ok ? trm_dev_alloc(d, &d->workspace, workspace_bytes, err)
               : trm_fail(err, d->error.code, "%s", d->error.text);
    if (r) {
        trm_dev_close(d);
        return r;
    }
    *out = d;
    return TRM_OK;
}

extern "C" void trm_dev_close(trm_dev *d) {
    if (!d)
        return;
    while (d->plans) {
        struct plan *p = d->plans;
        d->plans = p->next;
        (void)cublasLtMatrixLayoutDestroy(p->a);
        (void)cublasLtMatrixLayoutDestroy(p->b);
        (void)cublasLtMatrixLayoutDestroy(p->c);
        (void)cublasLtMatmulDescDestroy(p->desc);
        free(p);
    }
    while (d->blocks) {
        struct block *b = d->blocks;
        d->blocks = b->next;
        (void)(b->pinned ? cudaFreeHost(b->at) : cudaFree(b->at));
        free(b);
    }
    if (d->preference)
        (void)cublasLtMatmulPreferenceDestroy(d->preference);
    if (d->lt)
        (void)cublasLtDestroy(d->lt);
    if (d->stream)
        (void)cudaStreamDestroy(d->stream);
    free(d);
}

extern "C" bool trm_dev_bf16(const trm_dev *d) {
    return d->bf16;
}

/* --- memory ---------------------------------------------------------------------------- */

static int take(trm_dev *d, void **out, size_t bytes, bool pinned, trm_error *err) {
    struct block *b = (struct block *)calloc(1, sizeof *b);
    if (!b)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a device");
    size_t n = bytes ? bytes : 1;
    cudaError_t e = pinned ? cudaMallocHost(&b->at, n) : cudaMalloc(&b->at, n);
    if (e == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* this one does not stick */
        free(b);
        return trm_fail(err, TRM_E_NOMEM, "the %s has no room for %zu bytes",
            pinned ? "host" : "GPU", bytes);
    }
    if (!good(d, e, "cudaMalloc")) {
        free(b);
        return trm_fail(err, d->error.code, "%s", d->error.text);
    }
    b->pinned = pinned;
    b->next = d->blocks;
    d->blocks = b;
    *out = b->at;
    return TRM_OK;
}

extern "C" int trm_dev_alloc(trm_dev *d, void **out, size_t bytes, trm_error *err) {
    int r = take(d, out, bytes, false, err);
    if (r)
        return r;
    d->bytes += bytes;
    return CUDA(d, cudaMemsetAsync(*out, 0, bytes, d->stream))
               ? TRM_OK
               : trm_fail(err, d->error.code, "%s", d->error.text);
}

extern "C" size_t trm_dev_bytes(const trm_dev *d) {
    return d->bytes;
}

extern "C" int trm_dev_pin(trm_dev *d, void **out, size_t bytes, trm_error *err) {
    int r = take(d, out, bytes, true, err);
    if (!r)
        memset(*out, 0, bytes);
    return r;
}

extern "C" void trm_dev_up(trm_dev *d, void *to, const void *from, size_t bytes) {
    if (!idle(d))
        (void)CUDA(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, d->stream));
}

extern "C" void trm_dev_down(trm_dev *d, void *to, const void *from, size_t bytes) {
    if (!idle(d))
        (void)CUDA(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, d->stream));
}

extern "C" void trm_dev_zero(trm_dev *d, void *p, size_t bytes) {
    if (!idle(d))
        (void)CUDA(d, cudaMemsetAsync(p, 0, bytes, d->stream));
}

extern "C" int trm_dev_sync(trm_dev *d, trm_error *err) {
    if (!d->failed)
        (void)CUDA(d, cudaStreamSynchronize(d->stream));
    return d->failed ? trm_fail(err, d->error.code, "%s", d->error.text) : TRM_OK;
}

/* --- graphs ---------------------------------------------------------------------------- */

/* Relaxed: choosing an algorithm for a product that is new may allocate. */
extern "C" void trm_dev_record(trm_dev *d) {
    if (!d->failed)
        (void)CUDA(d, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeRelaxed));
}

extern "C" void trm_dev_recorded(trm_dev *d, trm_dev_graph **out) {
    cudaGraph_t graph = NULL;
    trm_dev_graph *g = (trm_dev_graph *)calloc(1, sizeof *g);
    *out = NULL;
    /* Ended even after a failure, or the stream would go on recording. */
    cudaError_t e = cudaStreamEndCapture(d->stream, &graph);
    bool ok = !d->failed && good(d, e, "cudaStreamEndCapture");
    if (ok && !g)
        fail(d, TRM_E_NOMEM, "cudaGraphInstantiate", "out of memory");
    if (ok && g && CUDA(d, cudaGraphInstantiate(&g->exec, graph, 0)))
        *out = g;
    else
        free(g);
    if (graph)
        (void)cudaGraphDestroy(graph);
}

extern "C" void trm_dev_replay(trm_dev *d, trm_dev_graph *g) {
    if (!d->failed && g)
        (void)CUDA(d, cudaGraphLaunch(g->exec, d->stream));
}

extern "C" void trm_dev_graph_free(trm_dev_graph *g) {
    if (!g)
        return;
    (void)cudaGraphExecDestroy(g->exec);
    free(g);
}

extern "C" void trm_dev_only_products(trm_dev *d, bool only) {
    d->only_products = only;
}

/* --- products -------------------------------------------------------------------------- */

static uint32_t alignment(const void *p) {
    uint32_t bytes = 256;
    while (bytes > 1 && (uintptr_t)p % bytes)
        bytes /= 2;
    return bytes;
}

static cublasLtMatrixLayout_t layout(trm_dev *d, cudaDataType_t type, int rows, int cols, int ld,
    int batch, long stride) {
    cublasLtMatrixLayout_t l = NULL;
    int64_t apart = stride;
    int32_t many = batch;
    if (!LT(d, cublasLtMatrixLayoutCreate(&l, type, (uint64_t)rows, (uint64_t)cols, ld)))
        return NULL;
    (void)LT(d, cublasLtMatrixLayoutSetAttribute(
                    l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &many, sizeof many));
    (void)LT(d, cublasLtMatrixLayoutSetAttribute(
                    l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &apart, sizeof apart));
    return l;
}

/* cuBLAS has columns where we have rows: C^T = B^T A^T, so A and B change places and no other
 * transposition is needed. */
static bool prepare(trm_dev *d, struct plan *p) {
    const trm_dev_mm *m = &p->mm;
    bool act = d->bf16 && !(m->flags & TRM_MM_F32), c_act = d->bf16 && (m->flags & TRM_MM_C_ACT);
    cudaDataType_t ab = act ? CUDA_R_16BF : CUDA_R_32F, c = c_act ? CUDA_R_16BF : CUDA_R_32F;
    bool ta = m->flags & TRM_MM_TA, tb = m->flags & TRM_MM_TB;
    cublasOperation_t op_a = tb ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint32_t align = (uint32_t)m->align;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    p->a = layout(d, ab, tb ? m->k : m->n, tb ? m->n : m->k, m->ldb, m->batch, m->sb);
    p->b = layout(d, ab, ta ? m->m : m->k, ta ? m->k : m->m, m->lda, m->batch, m->sa);
    p->c = layout(d, c, m->n, m->m, m->ldc, m->batch, m->sc);
    if (d->failed || !LT(d, cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F)))
        return false;
    (void)LT(d, cublasLtMatmulDescSetAttribute(
                    p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    (void)LT(d, cublasLtMatmulDescSetAttribute(
                    p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    const cublasLtMatmulPreferenceAttributes_t which[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    for (int i = 0; i < 4; i++)
        (void)LT(d, cublasLtMatmulPreferenceSetAttribute(
                        d->preference, which[i], &align, sizeof align));
    if (d->failed)
        return false;
    cublasStatus_t s = cublasLtMatmulAlgoGetHeuristic(
        d->lt, p->desc, p->a, p->b, p->c, p->c, d->preference, 1, &found, &n);
    if (s == CUBLAS_STATUS_SUCCESS && n < 1)
        s = CUBLAS_STATUS_NOT_SUPPORTED;
    if (!good_lt(d, s, "cublasLtMatmulAlgoGetHeuristic"))
        return false;
    p->algo = found.algo;
    return true;
}

static struct plan *plan_of(trm_dev *d, const trm_dev_mm *m) {
    for (struct plan *p = d->plans; p; p = p->next)
        if (memcmp(&p->mm, m, sizeof *m) == 0)
            return p;
    struct plan *p = (struct plan *)calloc(1, sizeof *p);
    if (!p) {
        fail(d, TRM_E_NOMEM, "a product", "out of memory");
        return NULL;
    }
    p->mm = *m;
    p->next = d->plans;
    d->plans = p;
    return prepare(d, p) ? p : NULL;
}

extern "C" void trm_dev_product(
    trm_dev *d, const trm_dev_mm *m, const void *a, const void *b, void *c) {
    if (d->failed)
        return;
    uint32_t x = alignment(a), y = alignment(b), z = alignment(c);
    trm_dev_mm key = *m;
    key.align = (int)(x < y ? (x < z ? x : z) : (y < z ? y : z));
    struct plan *p = plan_of(d, &key);
    float alpha = m->alpha, beta = m->flags & TRM_MM_ADD ? 1.0f : 0.0f;
    if (p)
        (void)LT(d, cublasLtMatmul(d->lt, p->desc, &alpha, b, p->a, a, p->b, &beta, c, p->c, c,
                        p->c, &p->algo, d->workspace, workspace_bytes, d->stream));
}

/* --- kernels: a warp for each item ------------------------------------------------------- */

static unsigned blocks(long items) {
    return (unsigned)((items + WARPS - 1) / WARPS);
}

#define GLOBAL(name, args)                                                                         \
    static __global__ void __launch_bounds__(WARPS * 32) global_##name(args a, long items) {       \
        __shared__ float scratch[WARPS][TRM_SCRATCH];                                              \
        int warp = (int)threadIdx.x / 32;                                                          \
        long item = (long)blockIdx.x * WARPS + warp;                                               \
        if (item < items)                                                                          \
            name(&a, item, (int)threadIdx.x % 32, scratch[warp]);                                  \
    }
#define KERNEL_F32(name)                                                                           \
    GLOBAL(name, trm_k_##name)                                                                     \
    extern "C" void trm_dev_##name(trm_dev *d, const trm_k_##name *a, long items) {                \
        if (idle(d) || items < 1)                                                                  \
            return;                                                                                \
        global_##name<<<blocks(items), WARPS * 32, 0, d->stream>>>(*a, items);                     \
        (void)good(d, cudaGetLastError(), #name);                                                  \
    }
#define KERNEL_ACT(name)                                                                           \
    GLOBAL(name##_f32, trm_k_##name)                                                               \
    GLOBAL(name##_bf16, trm_k_##name)                                                              \
    extern "C" void trm_dev_##name(trm_dev *d, const trm_k_##name *a, long items) {                \
        if (idle(d) || items < 1)                                                                  \
            return;                                                                                \
        if (d->bf16)                                                                               \
            global_##name##_bf16<<<blocks(items), WARPS * 32, 0, d->stream>>>(*a, items);          \
        else                                                                                       \
            global_##name##_f32<<<blocks(items), WARPS * 32, 0, d->stream>>>(*a, items);           \
        (void)good(d, cudaGetLastError(), #name);                                                  \
    }
TRM_KERNELS_F32(KERNEL_F32)
TRM_KERNELS_ACT(KERNEL_ACT)
TRM_KERNELS_BACK_F32(KERNEL_F32)
TRM_KERNELS_BACK_ACT(KERNEL_ACT)

/* The device of dev.h played by the CPU: the same kernels' bodies in loops, plain products, and
 * recordings that are played back. Slow and exact: it is for tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bodies_back.h"
#include "dev.h"

/* One piece of work, with its arguments as they were when it was asked for. */
struct job {
    void (*run)(trm_dev *d, const struct job *j);
    long items;
    void *to;
    const void *from, *with;
    size_t bytes;
    union {
        trm_dev_mm mm;
        char kernel[256];
    } args;
};

struct trm_dev_graph {
    struct job *job;
    int n, room;
};

struct trm_dev {
    bool bf16, failed, only_products;
    size_t bytes;
    trm_dev_graph *recording;
    struct block *blocks;
    trm_error error;
};

/* Before each allocation: closing the device gives all of them back. */
struct block {
    struct block *next;
    char pad[64 - sizeof(void *)];
};

int trm_dev_probe(char *what, size_t size, trm_error *err) {
    (void)err;
    (void)snprintf(what, size, "the CPU in the place of a GPU (for tests)");
    return TRM_OK;
}

int trm_dev_open(trm_dev **out, bool bf16, trm_error *err) {
    trm_dev *d = calloc(1, sizeof *d);
    if (!d)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a device");
    d->bf16 = bf16;
    *out = d;
    return TRM_OK;
}

void trm_dev_close(trm_dev *d) {
    while (d && d->blocks) {
        struct block *b = d->blocks;
        d->blocks = b->next;
        free(b);
    }
    free(d);
}

bool trm_dev_bf16(const trm_dev *d) {
    return d->bf16;
}

/* TRM_CUDA_TEST_MEMORY, in bytes, is how much this device has. */
static size_t memory(void) {
    const char *text = getenv("TRM_CUDA_TEST_MEMORY");
    return text ? strtoull(text, NULL, 10) : SIZE_MAX;
}

static int keep(trm_dev *d, void **out, size_t bytes, trm_error *err) {
    struct block *b = aligned_alloc(64, (sizeof *b + bytes + 63) / 64 * 64);
    if (!b)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %zu bytes", bytes);
    memset(b, 0, sizeof *b + bytes);
    b->next = d->blocks;
    d->blocks = b;
    *out = b + 1;
    return TRM_OK;
}

int trm_dev_alloc(trm_dev *d, void **out, size_t bytes, trm_error *err) {
    if (bytes > memory() || d->bytes > memory() - bytes)
        return trm_fail(err, TRM_E_NOMEM, "the device has no room for %zu bytes", bytes);
    d->bytes += bytes;
    return keep(d, out, bytes, err);
}

size_t trm_dev_bytes(const trm_dev *d) {
    return d->bytes;
}

int trm_dev_pin(trm_dev *d, void **out, size_t bytes, trm_error *err) {
    return keep(d, out, bytes, err);
}

static void fail(trm_dev *d, int code, const char *text) {
    if (!d->failed)
        trm_error_set(&d->error, code, "%s", text);
    d->failed = true;
}

static void run_product(trm_dev *d, const struct job *j);

static void submit(trm_dev *d, const struct job *j) {
    trm_dev_graph *g = d->recording;
    if (d->failed || (d->only_products && j->run != run_product))
        return;
    if (!g) {
        j->run(d, j);
        return;
    }
    if (g->n == g->room) {
        int room = g->room ? 2 * g->room : 256;
        struct job *more = realloc(g->job, (size_t)room * sizeof *more);
        if (!more) {
            fail(d, TRM_E_NOMEM, "out of memory for a recording");
            return;
        }
        g->job = more;
        g->room = room;
    }
    g->job[g->n++] = *j;
}

static void run_copy(trm_dev *d, const struct job *j) {
    (void)d;
    memcpy(j->to, j->from, j->bytes);
}

void trm_dev_up(trm_dev *d, void *to, const void *from, size_t bytes) {
    submit(d, &(struct job){.run = run_copy, .to = to, .from = from, .bytes = bytes});
}

void trm_dev_down(trm_dev *d, void *to, const void *from, size_t bytes) {
    submit(d, &(struct job){.run = run_copy, .to = to, .from = from, .bytes = bytes});
}

static void run_zero(trm_dev *d, const struct job *j) {
    (void)d;
    memset(j->to, 0, j->bytes);
}

void trm_dev_zero(trm_dev *d, void *p, size_t bytes) {
    submit(d, &(struct job){.run = run_zero, .to = p, .bytes = bytes});
}

/* TRM_CUDA_TEST_FAIL names a file: while it is there, the device is dead. */
int trm_dev_sync(trm_dev *d, trm_error *err) {
    const char *path = getenv("TRM_CUDA_TEST_FAIL");
    FILE *f = path ? fopen(path, "r") : NULL;
    if (f) {
        (void)fclose(f);
        fail(d, TRM_E_BACKEND, "the device failed, as the test asked");
    }
    return d->failed ? trm_fail(err, d->error.code, "%s", d->error.text) : TRM_OK;
}

void trm_dev_record(trm_dev *d) {
    d->recording = calloc(1, sizeof *d->recording);
    if (!d->recording)
        fail(d, TRM_E_NOMEM, "out of memory for a recording");
}

void trm_dev_recorded(trm_dev *d, trm_dev_graph **out) {
    *out = d->recording;
    d->recording = NULL;
}

void trm_dev_replay(trm_dev *d, trm_dev_graph *g) {
    for (int i = 0; g && i < g->n && !d->failed; i++)
        g->job[i].run(d, &g->job[i]);
}

void trm_dev_graph_free(trm_dev_graph *g) {
    if (g)
        free(g->job);
    free(g);
}

void trm_dev_only_products(trm_dev *d, bool only) {
    d->only_products = only;
}

/* An operand as a plain (rows, cols) matrix of floats. */
static void plain(
    float *out, const void *m, bool bf16, bool transposed, int rows, int cols, int ld) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            long at = transposed ? (long)j * ld + i : (long)i * ld + j;
            out[(long)i * cols + j] =
                bf16 ? bf16_get(((const trm_bf16 *)m)[at]) : ((const float *)m)[at];
        }
}

static void product_row(
    float *restrict sum, const float *restrict a, const float *restrict b, int k, int n) {
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int i = 0; i < k; i++)
        for (int j = 0; j < n; j++)
            sum[j] += a[i] * b[(long)i * n + j];
}

static void put_row(const trm_dev *d, const trm_dev_mm *p, void *c, long at, const float *sum) {
    for (int j = 0; j < p->n; j++) {
        float y = p->alpha * sum[j];
        if (d->bf16 && (p->flags & TRM_MM_C_ACT))
            ((trm_bf16 *)c)[at + j] = bf16_put(y);
        else if (p->flags & TRM_MM_ADD)
            ((float *)c)[at + j] += y;
        else
            ((float *)c)[at + j] = y;
    }
}

static void run_product(trm_dev *d, const struct job *j) {
    const trm_dev_mm *p = &j->args.mm;
    bool bf16 = d->bf16 && !(p->flags & TRM_MM_F32);
    long size = bf16 ? 2 : 4, m = p->m, n = p->n, k = p->k;
    float *a = malloc((size_t)(m * k + k * n + n) * sizeof *a);
    if (!a) {
        fail(d, TRM_E_NOMEM, "out of memory for a product");
        return;
    }
    float *b = a + m * k, *sum = b + k * n;
    for (int t = 0; t < p->batch; t++) {
        plain(a, (const char *)j->from + t * p->sa * size, bf16, p->flags & TRM_MM_TA, p->m, p->k,
            p->lda);
        plain(b, (const char *)j->with + t * p->sb * size, bf16, p->flags & TRM_MM_TB, p->k, p->n,
            p->ldb);
        for (int i = 0; i < p->m; i++) {
            product_row(sum, a + i * k, b, p->k, p->n);
            put_row(d, p, j->to, t * p->sc + (long)i * p->ldc, sum);
        }
    }
    free(a);
}

void trm_dev_product(trm_dev *d, const trm_dev_mm *p, const void *a, const void *b, void *c) {
    submit(d, &(struct job){.run = run_product, .to = c, .from = a, .with = b, .args.mm = *p});
}

#define SUBMIT(name)                                                                               \
    void trm_dev_##name(trm_dev *d, const trm_k_##name *a, long items) {                           \
        struct job j = {.run = run_##name, .items = items};                                        \
        _Static_assert(sizeof *a <= sizeof j.args, "a kernel's arguments fit a job");              \
        memcpy(j.args.kernel, a, sizeof *a);                                                       \
        submit(d, &j);                                                                             \
    }
#define KERNEL_F32(name)                                                                           \
    static void run_##name(trm_dev *d, const struct job *j) {                                      \
        float scratch[TRM_SCRATCH];                                                                \
        trm_k_##name a;                                                                            \
        (void)d;                                                                                   \
        memcpy(&a, j->args.kernel, sizeof a);                                                      \
        for (long i = 0; i < j->items; i++)                                                        \
            name(&a, i, 0, scratch);                                                               \
    }                                                                                              \
    SUBMIT(name)
#define KERNEL_ACT(name)                                                                           \
    static void run_##name(trm_dev *d, const struct job *j) {                                      \
        float scratch[TRM_SCRATCH];                                                                \
        trm_k_##name a;                                                                            \
        memcpy(&a, j->args.kernel, sizeof a);                                                      \
        for (long i = 0; i < j->items; i++)                                                        \
            if (d->bf16)                                                                           \
                name##_bf16(&a, i, 0, scratch);                                                    \
            else                                                                                   \
                name##_f32(&a, i, 0, scratch);                                                     \
    }                                                                                              \
    SUBMIT(name)
TRM_KERNELS_F32(KERNEL_F32)
TRM_KERNELS_ACT(KERNEL_ACT)
TRM_KERNELS_BACK_F32(KERNEL_F32)
TRM_KERNELS_BACK_ACT(KERNEL_ACT)

/* f32 products: a naive loop to read and to test against, and OpenBLAS. Both read weights
 * where they are. A trm_mm here is only its description. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "mm.h"

struct trm_mm {
    trm_mm_desc d;
};

static int pack_make(trm_packed *p, int k, int n, trm_error *err) {
    (void)err;
    p->k = k;
    p->n = n;
    return TRM_OK;
}

static int pack(trm_packed *p, const float *w, int ld, bool transposed, trm_error *err) {
    (void)err;
    p->source = w;
    p->ld = ld;
    p->transposed = transposed;
    return TRM_OK;
}

static void pack_free(trm_packed *p) {
    memset(p, 0, sizeof *p);
}

static int make(trm_mm **out, const trm_mm_desc *d, trm_error *err) {
    trm_mm *mm = malloc(sizeof *mm);
    if (!mm)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a matrix product");
    mm->d = *d;
    *out = mm;
    return TRM_OK;
}

/* Four sums beside each other, each in the order of k: one alone would wait for its own additions.
 */
static void add_products(
    float sum[4], const float *a, size_t a_step, const float *const b[4], size_t b_step, int n) {
    float s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
    for (size_t k = 0; k < (size_t)n; k++) {
        float x = a[k * a_step];
        s0 += x * b[0][k * b_step];
        s1 += x * b[1][k * b_step];
        s2 += x * b[2][k * b_step];
        s3 += x * b[3][k * b_step];
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
}

static void run_reference(trm_mm *mm, const void *av, const void *bv, void *cv) {
    const trm_mm_desc *d = &mm->d;
    const trm_packed *p = d->pack ? bv : NULL;
    const float *b = p ? p->source : bv;
    size_t lda = (size_t)d->lda, ldb = (size_t)(p ? p->ld : d->ldb);
    bool tb = p ? p->transposed : d->tb;
    for (int i = 0; i < d->m; i++)
        for (int j = 0; j < d->n; j += 4) {
            const float *a = (const float *)av + (size_t)i * (d->ta ? 1 : lda), *column[4];
            float *c = (float *)cv + (size_t)i * (size_t)d->ldc + (size_t)j, sum[4] = {0};
            int width = d->n - j < 4 ? d->n - j : 4;
            if (d->add)
                memcpy(sum, c, sizeof(float) * (size_t)width);
            for (int q = 0; q < 4; q++) /* what is beyond the last is the first again */
                column[q] = b + (size_t)(j + (q < width ? q : 0)) * (tb ? ldb : 1);
            add_products(sum, a, d->ta ? lda : 1, column, tb ? 1 : ldb, d->k);
            memcpy(c, sum, sizeof(float) * (size_t)width);
        }
}

static void run_openblas(trm_mm *mm, const void *a, const void *bv, void *c) {
    const trm_mm_desc *d = &mm->d;
    const trm_packed *p = d->pack ? bv : NULL;
    const float *b = p ? p->source : bv;
    cblas_sgemm(CblasRowMajor, d->ta ? CblasTrans : CblasNoTrans,
        (p ? p->transposed : d->tb) ? CblasTrans : CblasNoTrans, d->m, d->n, d->k, 1, a, d->lda, b,
        p ? p->ld : d->ldb, d->add ? 1 : 0, c, d->ldc);
}

static void free_mm(trm_mm *mm) {
    free(mm);
}

static void enter_reference(void) {
}

/* With OpenMP threads the setting belongs to the calling thread alone. */
static void enter_openblas(void) {
    openblas_set_num_threads(1);
}

const trm_mm_lib trm_mm_reference = {"reference", false, false, false, enter_reference, pack_make,
    pack, pack_free, make, run_reference, free_mm, NULL};
const trm_mm_lib trm_mm_openblas = {"openblas", false, false, false, enter_openblas, pack_make,
    pack, pack_free, make, run_openblas, free_mm, NULL};

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

static void run_reference(trm_mm *mm, const void *av, const void *bv, void *cv) {
    const trm_mm_desc *d = &mm->d;
    const float *a = av, *b = bv;
    float *c = cv;
    int ldb = d->ldb;
    bool tb = d->tb;
    if (d->pack) {
        const trm_packed *p = bv;
        b = p->source;
        ldb = p->ld;
        tb = p->transposed;
    }
    for (int i = 0; i < d->m; i++)
        for (int j = 0; j < d->n; j++) {
            float sum = d->add ? c[(size_t)i * (size_t)d->ldc + (size_t)j] : 0;
            for (int k = 0; k < d->k; k++) {
                float x = d->ta ? a[(size_t)k * (size_t)d->lda + (size_t)i]
                                : a[(size_t)i * (size_t)d->lda + (size_t)k];
                float y = tb ? b[(size_t)j * (size_t)ldb + (size_t)k]
                             : b[(size_t)k * (size_t)ldb + (size_t)j];
                sum += x * y;
            }
            c[(size_t)i * (size_t)d->ldc + (size_t)j] = sum;
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

const trm_mm_lib trm_mm_reference = {"reference", false, false, enter_reference, pack_make, pack,
    pack_free, make, run_reference, free_mm};
const trm_mm_lib trm_mm_openblas = {"openblas", false, false, enter_openblas, pack_make, pack,
    pack_free, make, run_openblas, free_mm};

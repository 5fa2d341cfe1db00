/* Matrix products behind one small interface: plain C, OpenBLAS or oneDNN.
 *
 * C (m, n) = A (m, k) B (k, n), or C += where `add`. A and B hold "act" elements (float, or
 * bf16 bits when the library's bf16 is set), C act or f32. B may be a packed weight matrix.
 * A trm_mm is a product of fixed shape, prepared once; it belongs to one thread at a time
 * and runs on that thread alone. Running allocates nothing.
 */
#ifndef TRM_MM_H
#define TRM_MM_H

#include <stdbool.h>
#include <stddef.h>

#include "trm/error.h"

typedef struct trm_mm trm_mm;

/* A weight matrix in the form its library likes best. */
typedef struct trm_packed {
    const struct trm_mm_lib *lib;
    int k, n;
    const float *source; /* libraries that read the f32 weights where they are */
    int ld;
    bool transposed;
    void *data, *desc; /* libraries that reorder */
    float *scale;      /* (n) int8: of each column of B */
    size_t bytes;
} trm_packed;

typedef struct trm_mm_desc {
    int m, n, k;
    int lda, ldb, ldc;
    bool ta, tb;      /* A is stored (k, m), B is stored (n, k) */
    bool c_act;       /* C holds act elements, else f32 */
    bool add;         /* C += (f32 only) */
    trm_packed *pack; /* B has this packed form; ldb and tb are ignored */
} trm_mm_desc;

typedef struct trm_mm_lib {
    const char *name;
    bool bf16;
    bool copies; /* packed weights are its own: `w` of pack() may go */
    bool rounds; /* bf16 only: weights are rounded to it and no more, as a kernel of rows.h may */
    /* Called once by each thread that will prepare or run products: keeps the library from
     * starting threads of its own. */
    void (*enter_thread)(void);
    int (*pack_make)(trm_packed *p, int k, int n, trm_error *err);
    /* Takes over w: (k, n) with row stride ld, or (n, k) if transposed. */
    int (*pack)(trm_packed *p, const float *w, int ld, bool transposed, trm_error *err);
    void (*pack_free)(trm_packed *p);
    int (*make)(trm_mm **out, const trm_mm_desc *d, trm_error *err);
    void (*run)(trm_mm *mm, const void *a, const void *b, void *c);
    void (*free)(trm_mm *mm);
    const struct trm_mm_lib *learner; /* what trains in its place, NULL if it does itself */
} trm_mm_lib;

extern const trm_mm_lib trm_mm_reference, trm_mm_openblas;
#ifdef TRM_HAVE_DNNL
extern const trm_mm_lib trm_mm_dnnl_f32, trm_mm_dnnl_bf16;
/* bf16, but weights in int8 with a scale per output channel, and their left operands
 * quantised row by row as they come; inference only. */
extern const trm_mm_lib trm_mm_dnnl_int8;
/* Does this processor run oneDNN's int8 products fast (VNNI)? */
bool trm_dnnl_has_int8(void);
/* Does this processor run oneDNN's bf16 products fast (AVX-512 BF16 or AMX)? */
bool trm_dnnl_has_bf16(void);
#endif

#endif

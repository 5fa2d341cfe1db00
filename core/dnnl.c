/* oneDNN products in f32, bf16 and int8: everything that touches oneDNN 2.x's C API is here.
 *
 * One engine object serves the process; each prepared product has a stream, memory objects
 * and scratchpad of its own, so products on different threads never share anything that
 * changes. A product that would run on oneDNN's reference kernels (a thousand times slower)
 * is refused when it is made. */
#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "mm.h"
#include "rows.h"

static dnnl_engine_t engine;
static dnnl_status_t engine_status;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void engine_start(void) {
    engine_status = dnnl_engine_create(&engine, dnnl_cpu, 0);
}

static int engine_get(trm_error *err) {
    (void)pthread_once(&engine_once, engine_start);
    if (engine_status != dnnl_success)
        return trm_fail(err, TRM_E_BACKEND, "oneDNN: no CPU engine (status %d)", engine_status);
    return TRM_OK;
}

static int bad(trm_error *err, const char *what, dnnl_status_t s) {
    return trm_fail(err, s == dnnl_out_of_memory ? TRM_E_NOMEM : TRM_E_BACKEND,
        "oneDNN: %s failed (status %d)", what, (int)s);
}

bool trm_dnnl_has_bf16(void) {
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_bf16 || isa == dnnl_cpu_isa_avx512_core_amx;
}

bool trm_dnnl_has_int8(void) {
    return trm_dnnl_has_bf16() || dnnl_get_effective_cpu_isa() == dnnl_cpu_isa_avx512_core_vnni;
}

struct trm_mm {
    bool packed, int8;
    trm_mm_desc desc;
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    dnnl_exec_arg_t arg[6]; /* A, B, C, scratchpad; int8: column scales, row scales */
    void *scratch;
    int8_t *quantised; /* int8: A and its row scales */
    float *row_scale;
};

/* The count of threads is fixed when a primitive is made, from this thread's setting. */
static void enter_thread(void) {
    omp_set_num_threads(1);
}

static dnnl_data_type_t act_type(const trm_mm_lib *lib) {
    return lib->bf16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_status_t matrix(
    dnnl_memory_desc_t *md, int rows, int cols, int ld, bool transposed, dnnl_data_type_t t) {
    dnnl_dims_t dims = {rows, cols}, strides = {transposed ? 1 : ld, transposed ? ld : 1};
    return dnnl_memory_desc_init_by_strides(md, 2, dims, t, strides);
}

/* Destroys pd where it would run on a reference kernel. */
static int refuse_reference(dnnl_primitive_desc_t pd, int m, int n, int k, trm_error *err) {
    const char *impl = "";
    (void)dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&impl);
    if (strncmp(impl, "ref", 3) != 0)
        return TRM_OK;
    (void)dnnl_primitive_desc_destroy(pd);
    return trm_fail(err, TRM_E_UNSUPPORTED,
        "oneDNN: would run a %dx%dx%d product on its reference kernel", m, n, k);
}

static int make_pd(dnnl_primitive_desc_t *out, const dnnl_memory_desc_t *a,
    const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *c, bool add, trm_error *err) {
    dnnl_matmul_desc_t op;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    dnnl_status_t s = dnnl_matmul_desc_init(&op, a, b, NULL, c);
    if (!s)
        s = dnnl_primitive_attr_create(&attr);
    if (!s)
        s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (!s && add && !(s = dnnl_post_ops_create(&post)) && !(s = dnnl_post_ops_append_sum(post, 1)))
        s = dnnl_primitive_attr_set_post_ops(attr, post);
    if (!s)
        s = dnnl_primitive_desc_create(out, &op, attr, engine, NULL);
    if (post)
        (void)dnnl_post_ops_destroy(post);
    if (attr)
        (void)dnnl_primitive_attr_destroy(attr);
    if (s)
        return bad(err, "choosing a matrix product", s);
    return refuse_reference(*out, (int)a->dims[0], (int)b->dims[1], (int)a->dims[1], err);
}

/* Room for weights in the form that pd wants; takes pd over. */
static int pack_alloc(
    trm_packed *p, int k, int n, dnnl_primitive_desc_t pd, const trm_mm_lib *lib, trm_error *err) {
    const dnnl_memory_desc_t *best = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    *p = (trm_packed){.lib = lib, .k = k, .n = n, .bytes = dnnl_memory_desc_get_size(best)};
    p->desc = malloc(sizeof *best);
    p->data = aligned_alloc(64, (p->bytes + 63) / 64 * 64);
    if (p->desc)
        memcpy(p->desc, best, sizeof *best);
    (void)dnnl_primitive_desc_destroy(pd);
    if (!p->desc || !p->data) {
        lib->pack_free(p);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for packed weights");
    }
    return TRM_OK;
}

static int pack_make_as(trm_packed *p, int k, int n, const trm_mm_lib *lib, trm_error *err) {
    dnnl_memory_desc_t a, b, c;
    dnnl_dims_t dims = {k, n};
    dnnl_primitive_desc_t pd;
    int r = engine_get(err);
    if (r)
        return r;
    dnnl_data_type_t t = act_type(lib);
    dnnl_status_t s = matrix(&a, 128, k, k, false, t);
    if (!s)
        s = dnnl_memory_desc_init_by_tag(&b, 2, dims, t, dnnl_format_tag_any);
    if (!s)
        s = matrix(&c, 128, n, n, false, dnnl_f32);
    if (s)
        return bad(err, "describing weights", s);
    r = make_pd(&pd, &a, &b, &c, false, err);
    if (r)
        return r;
    return pack_alloc(p, k, n, pd, lib, err);
}

static void pack_free(trm_packed *p) {
    free(p->desc);
    free(p->data);
    free(p->scale);
    memset(p, 0, sizeof *p);
}

static int reorder_into(
    trm_packed *p, const dnnl_memory_desc_t *from, const void *w, trm_error *err) {
    dnnl_memory_t src = NULL, dst = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t s = dnnl_memory_create(&src, from, engine, (void *)(uintptr_t)w);
    if (!s)
        s = dnnl_memory_create(&dst, p->desc, engine, p->data);
    if (!s)
        s = dnnl_reorder_primitive_desc_create(&pd, from, engine, p->desc, engine, NULL);
    if (!s)
        s = dnnl_primitive_create(&reorder, pd);
    if (!s)
        s = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    if (!s) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, dst}};
        s = dnnl_primitive_execute(reorder, stream, 2, args);
    }
    if (!s)
        s = dnnl_stream_wait(stream);
    (void)dnnl_stream_destroy(stream);
    (void)dnnl_primitive_destroy(reorder);
    (void)dnnl_primitive_desc_destroy(pd);
    (void)dnnl_memory_destroy(src);
    (void)dnnl_memory_destroy(dst);
    return s ? bad(err, "packing weights", s) : TRM_OK;
}

static int pack(trm_packed *p, const float *w, int ld, bool transposed, trm_error *err) {
    dnnl_memory_desc_t from;
    dnnl_status_t s = matrix(&from, p->k, p->n, ld, transposed, dnnl_f32);
    return s ? bad(err, "describing weights", s) : reorder_into(p, &from, w, err);
}

static void free_mm(trm_mm *mm) {
    if (!mm)
        return;
    for (int i = 0; i < 6; i++)
        if (mm->arg[i].memory)
            (void)dnnl_memory_destroy(mm->arg[i].memory);
    if (mm->stream)
        (void)dnnl_stream_destroy(mm->stream);
    if (mm->primitive)
        (void)dnnl_primitive_destroy(mm->primitive);
    free(mm->scratch);
    free(mm->quantised);
    free(mm->row_scale);
    free(mm);
}

static int fill_mm(
    trm_mm *mm, dnnl_primitive_desc_t pd, const dnnl_memory_desc_t *const md[3], trm_error *err) {
    static const int arg[4] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t bytes = dnnl_memory_desc_get_size(scratch);
    mm->scratch = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!mm->scratch)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a matrix product");
    dnnl_status_t s = dnnl_primitive_create(&mm->primitive, pd);
    if (!s)
        s = dnnl_stream_create(&mm->stream, engine, dnnl_stream_default_flags);
    for (int i = 0; i < 4 && !s; i++) {
        mm->arg[i].arg = arg[i];
        s = dnnl_memory_create(&mm->arg[i].memory, i < 3 ? md[i] : scratch, engine,
            i < 3 ? DNNL_MEMORY_NONE : mm->scratch);
    }
    return s ? bad(err, "making a matrix product", s) : TRM_OK;
}

static int make_as(trm_mm **out, const trm_mm_desc *d, const trm_mm_lib *lib, trm_error *err) {
    dnnl_memory_desc_t a, b, c;
    dnnl_primitive_desc_t pd;
    int r = engine_get(err);
    if (r)
        return r;
    dnnl_data_type_t t = act_type(lib);
    dnnl_status_t s = matrix(&a, d->m, d->k, d->lda, d->ta, t);
    if (!s)
        s = d->pack ? (memcpy(&b, d->pack->desc, sizeof b), dnnl_success)
                    : matrix(&b, d->k, d->n, d->ldb, d->tb, t);
    if (!s)
        s = matrix(&c, d->m, d->n, d->ldc, false, d->c_act ? t : dnnl_f32);
    if (s)
        return bad(err, "describing a matrix product", s);
    r = make_pd(&pd, &a, &b, &c, d->add, err);
    if (r)
        return r;
    trm_mm *mm = calloc(1, sizeof *mm);
    if (!mm)
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for a matrix product");
    else
        r = fill_mm(mm, pd, (const dnnl_memory_desc_t *const[]){&a, &b, &c}, err);
    (void)dnnl_primitive_desc_destroy(pd);
    if (r) {
        free_mm(mm);
        return r;
    }
    mm->packed = d->pack != NULL;
    *out = mm;
    return TRM_OK;
}

/* Nothing here can fail once the product is made: handles are set and a JIT kernel runs. */
static void run(trm_mm *mm, const void *a, const void *b, void *c) {
    const void *weights = mm->packed ? ((const trm_packed *)b)->data : b;
    (void)dnnl_memory_set_data_handle(mm->arg[0].memory, (void *)(uintptr_t)a);
    (void)dnnl_memory_set_data_handle(mm->arg[1].memory, (void *)(uintptr_t)weights);
    (void)dnnl_memory_set_data_handle(mm->arg[2].memory, c);
    (void)dnnl_primitive_execute(mm->primitive, mm->stream, 4, mm->arg);
}

/* int8 products are 3-D with a batch of one: only so do row scales as a post-op stay on the
 * fast kernel. Column scales are a post-op too, for they differ from layer to layer. */
static dnnl_status_t matrix3(
    dnnl_memory_desc_t *md, int rows, int cols, dnnl_data_type_t t, dnnl_format_tag_t tag) {
    dnnl_dims_t dims = {1, rows, cols};
    return dnnl_memory_desc_init_by_tag(md, 3, dims, t, tag);
}

static int int8_pd(dnnl_primitive_desc_t *out, int m, int n, int k, dnnl_data_type_t c_type,
    const dnnl_memory_desc_t *weights, dnnl_memory_desc_t scales[2], trm_error *err) {
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t op;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    dnnl_status_t s = matrix3(&a, m, k, dnnl_s8, dnnl_abc);
    if (!s)
        s = weights ? (memcpy(&b, weights, sizeof b), dnnl_success)
                    : matrix3(&b, k, n, dnnl_s8, dnnl_format_tag_any);
    if (!s)
        s = matrix3(&c, m, n, c_type, dnnl_abc);
    if (!s)
        s = matrix3(&scales[0], 1, n, dnnl_f32, dnnl_abc);
    if (!s)
        s = matrix3(&scales[1], m, 1, dnnl_f32, dnnl_abc);
    if (!s)
        s = dnnl_matmul_desc_init(&op, &a, &b, NULL, &c);
    if (!s)
        s = dnnl_primitive_attr_create(&attr);
    if (!s)
        s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (!s)
        s = dnnl_post_ops_create(&post);
    for (int i = 0; i < 2 && !s; i++)
        s = dnnl_post_ops_append_binary(post, dnnl_binary_mul, &scales[i]);
    if (!s)
        s = dnnl_primitive_attr_set_post_ops(attr, post);
    if (!s)
        s = dnnl_primitive_desc_create(out, &op, attr, engine, NULL);
    (void)dnnl_post_ops_destroy(post);
    (void)dnnl_primitive_attr_destroy(attr);
    return s ? bad(err, "choosing an int8 product", s) : refuse_reference(*out, m, n, k, err);
}

static int pack_make_int8(trm_packed *p, int k, int n, trm_error *err) {
    dnnl_memory_desc_t scales[2];
    dnnl_primitive_desc_t pd;
    int r = engine_get(err);
    if (!r)
        r = int8_pd(&pd, 128, n, k, dnnl_f32, NULL, scales, err);
    if (r)
        return r;
    r = pack_alloc(p, k, n, pd, &trm_mm_dnnl_int8, err);
    if (!r && !(p->scale = malloc((size_t)n * sizeof(float)))) {
        pack_free(p);
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for packed weights");
    }
    return r;
}

static int pack_int8(trm_packed *p, const float *w, int ld, bool transposed, trm_error *err) {
    size_t k = (size_t)p->k, n = (size_t)p->n, stride = (size_t)ld;
    int8_t *q = malloc(k * n);
    dnnl_memory_desc_t from;
    if (!q)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for packed weights");
    for (size_t j = 0; j < n; j++) {
        float top = 0;
        for (size_t i = 0; i < k; i++)
            top = fmaxf(top, fabsf(transposed ? w[j * stride + i] : w[i * stride + j]));
        p->scale[j] = top > 0 ? top / 127 : 1;
        for (size_t i = 0; i < k; i++)
            q[i * n + j] =
                (int8_t)lrintf((transposed ? w[j * stride + i] : w[i * stride + j]) / p->scale[j]);
    }
    dnnl_status_t s = matrix3(&from, p->k, p->n, dnnl_s8, dnnl_abc);
    int r = s ? bad(err, "describing weights", s) : reorder_into(p, &from, q, err);
    free(q);
    return r;
}

static int fill_int8(trm_mm *mm, dnnl_primitive_desc_t pd, dnnl_memory_desc_t scales[2],
    const dnnl_memory_desc_t *weights, trm_error *err) {
    const trm_mm_desc *d = &mm->desc;
    dnnl_memory_desc_t a, c;
    dnnl_status_t s = matrix3(&a, d->m, d->k, dnnl_s8, dnnl_abc);
    if (!s)
        s = matrix3(&c, d->m, d->n, d->c_act ? dnnl_bf16 : dnnl_f32, dnnl_abc);
    if (s)
        return bad(err, "describing an int8 product", s);
    int r = fill_mm(mm, pd, (const dnnl_memory_desc_t *const[]){&a, weights, &c}, err);
    if (r)
        return r;
    mm->quantised = aligned_alloc(64, ((size_t)d->m * (size_t)d->k + 63) / 64 * 64);
    mm->row_scale = malloc((size_t)d->m * sizeof(float));
    if (!mm->quantised || !mm->row_scale)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a matrix product");
    for (int i = 0; i < 2 && !s; i++) {
        mm->arg[4 + i].arg = DNNL_ARG_ATTR_MULTIPLE_POST_OP(i) | DNNL_ARG_SRC_1;
        s = dnnl_memory_create(&mm->arg[4 + i].memory, &scales[i], engine,
            i ? (void *)mm->row_scale : DNNL_MEMORY_NONE);
    }
    if (!s)
        s = dnnl_memory_set_data_handle(mm->arg[0].memory, mm->quantised);
    return s ? bad(err, "making an int8 product", s) : TRM_OK;
}

/* Only products with packed weights are int8; attention and token mixing stay bf16. */
static int make_int8(trm_mm **out, const trm_mm_desc *d, trm_error *err) {
    dnnl_memory_desc_t scales[2];
    dnnl_primitive_desc_t pd;
    if (!d->pack)
        return make_as(out, d, &trm_mm_dnnl_bf16, err);
    if (d->add || d->ta || d->ldc != d->n)
        return trm_fail(err, TRM_E_UNSUPPORTED, "int8 products are for inference only");
    int r =
        int8_pd(&pd, d->m, d->n, d->k, d->c_act ? dnnl_bf16 : dnnl_f32, d->pack->desc, scales, err);
    if (r)
        return r;
    trm_mm *mm = calloc(1, sizeof *mm);
    if (!mm) {
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for a matrix product");
    } else {
        mm->desc = *d;
        mm->packed = mm->int8 = true;
        r = fill_int8(mm, pd, scales, d->pack->desc, err);
    }
    (void)dnnl_primitive_desc_destroy(pd);
    if (r) {
        free_mm(mm);
        return r;
    }
    *out = mm;
    return TRM_OK;
}

static void run_int8(trm_mm *mm, const void *a, const void *b, void *c) {
    if (!mm->int8) {
        run(mm, a, b, c);
        return;
    }
    const trm_packed *p = b;
    trm_rows_get(true)->quantise(
        mm->quantised, mm->row_scale, a, mm->desc.m, mm->desc.k, mm->desc.lda);
    (void)dnnl_memory_set_data_handle(mm->arg[1].memory, p->data);
    (void)dnnl_memory_set_data_handle(mm->arg[2].memory, c);
    (void)dnnl_memory_set_data_handle(mm->arg[4].memory, p->scale);
    (void)dnnl_primitive_execute(mm->primitive, mm->stream, 6, mm->arg);
}

static int pack_make_f32(trm_packed *p, int k, int n, trm_error *err) {
    return pack_make_as(p, k, n, &trm_mm_dnnl_f32, err);
}

static int pack_make_bf16(trm_packed *p, int k, int n, trm_error *err) {
    return pack_make_as(p, k, n, &trm_mm_dnnl_bf16, err);
}

static int make_f32(trm_mm **out, const trm_mm_desc *d, trm_error *err) {
    return make_as(out, d, &trm_mm_dnnl_f32, err);
}

static int make_bf16(trm_mm **out, const trm_mm_desc *d, trm_error *err) {
    return make_as(out, d, &trm_mm_dnnl_bf16, err);
}

const trm_mm_lib trm_mm_dnnl_f32 = {"onednn-f32", false, true, false, enter_thread, pack_make_f32,
    pack, pack_free, make_f32, run, free_mm, NULL};
const trm_mm_lib trm_mm_dnnl_bf16 = {"onednn-bf16", true, true, true, enter_thread, pack_make_bf16,
    pack, pack_free, make_bf16, run, free_mm, NULL};
const trm_mm_lib trm_mm_dnnl_int8 = {"onednn-int8", true, true, false, enter_thread, pack_make_int8,
    pack_int8, pack_free, make_int8, run_int8, free_mm, &trm_mm_dnnl_bf16};

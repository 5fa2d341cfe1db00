/* PyTorch checkpoints: the zip, its pickle and its storages put together. A trm_pt_file owns
 * a private mapping, its tables and copies of tensors that were not contiguous. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import_pickle.h"
#include "import_zip.h"
#include "map.h"
#include "trm/import.h"

struct trm_pt_file {
    trm_map map; /* empty where the bytes are the caller's */
    trm_zip zip;
    trm_pickle_tensor *tensor;
    trm_st_view *view;
    void **copy;
    int count;
};

static int check_order(const trm_zip *z, trm_error *err) {
    const trm_zip_entry *e = trm_zip_find(z, "byteorder");
    if (e && (e->size != 6 || memcmp(e->data, "little", 6) != 0))
        return trm_fail(err, TRM_E_UNSUPPORTED, "the checkpoint's numbers are not little-endian");
    return TRM_OK;
}

/* Elements of the shape; -1 where the product is absurd. */
static int64_t elements(const trm_pickle_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(n, t->shape[i], &n) || n > (int64_t)1 << 40)
            return -1;
    return n;
}

static bool contiguous(const trm_pickle_tensor *t) {
    int64_t want = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != want)
            return false;
        want *= t->shape[i];
    }
    return true;
}

/* The last element must lie in the storage. Strides of zero (expanded tensors) are refused:
 * they claim a size that no file has to pay for. */
static int check_extent(const trm_pickle_tensor *t, int64_t n, trm_error *err) {
    int64_t last = t->offset;
    for (int i = 0; i < t->ndim && n > 0; i++) {
        int64_t reach;
        if (t->stride[i] == 0 && t->shape[i] > 1)
            return trm_fail(err, TRM_E_UNSUPPORTED, "tensor %.100s has a stride of zero", t->name);
        if (__builtin_mul_overflow(t->stride[i], t->shape[i] - 1, &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return trm_fail(err, TRM_E_FORMAT, "tensor %.100s: impossible strides", t->name);
    }
    if (n > 0 && last >= t->storage_elements)
        return trm_fail(err, TRM_E_FORMAT, "tensor %.100s reaches past its storage", t->name);
    if (n > t->storage_elements)
        return trm_fail(err, TRM_E_FORMAT, "tensor %.100s overlaps itself", t->name);
    return TRM_OK;
}

static void *copy_strided(const trm_pickle_tensor *t, const uint8_t *from, int64_t n, size_t size) {
    uint8_t *out = malloc((size_t)n * size + 1);
    int64_t at[TRM_ST_MAX_DIMS] = {0};
    for (int64_t i = 0; out && i < n; i++) {
        int64_t offset = t->offset;
        for (int d = 0; d < t->ndim; d++)
            offset += at[d] * t->stride[d];
        memcpy(out + (size_t)i * size, from + (size_t)offset * size, size);
        for (int d = t->ndim - 1; d >= 0 && ++at[d] == t->shape[d]; d--)
            at[d] = 0;
    }
    return out;
}

static int make_view(trm_pt_file *f, int i, trm_error *err) {
    const trm_pickle_tensor *t = &f->tensor[i];
    char name[80];
    (void)snprintf(name, sizeof name, "data/%s", t->storage);
    const trm_zip_entry *e = trm_zip_find(&f->zip, name);
    size_t size = trm_st_dtype_size(t->dtype);
    int64_t n = elements(t);
    if (!e)
        return trm_fail(err, TRM_E_FORMAT, "tensor %.100s: storage %s is missing", t->name, name);
    if (t->storage_elements > (int64_t)1 << 40 || e->size != (size_t)t->storage_elements * size)
        return trm_fail(err, TRM_E_FORMAT,
            "tensor %.100s: storage %s has %zu bytes, not %lld x %zu", t->name, name, e->size,
            (long long)t->storage_elements, size);
    if (n < 0)
        return trm_fail(err, TRM_E_FORMAT, "tensor %.100s: the shape is impossibly large", t->name);
    int r = check_extent(t, n, err);
    if (!r)
        r = trm_zip_check(e, err);
    if (r)
        return r;
    const void *data = e->data + (size_t)t->offset * size;
    if (n > 0 && !contiguous(t)) {
        data = f->copy[i] = copy_strided(t, e->data, n, size);
        if (!data)
            return trm_fail(err, TRM_E_NOMEM, "out of memory for tensor %.100s", t->name);
    }
    trm_st_view *v = &f->view[i];
    *v = (trm_st_view){.name = t->name,
        .dtype = t->dtype,
        .ndim = t->ndim,
        .data = data,
        .bytes = (size_t)n * size};
    memcpy(v->shape, t->shape, sizeof v->shape);
    return TRM_OK;
}

static int open_bytes(trm_pt_file *f, const uint8_t *data, size_t size, trm_error *err) {
    int n = 0, r = trm_zip_read(&f->zip, data, size, err);
    if (r)
        return r;
    const trm_zip_entry *p = trm_zip_find(&f->zip, "data.pkl");
    if (!p)
        return trm_fail(err, TRM_E_FORMAT, "zip: no data.pkl; not what torch.save() writes");
    r = check_order(&f->zip, err);
    if (!r)
        r = trm_zip_check(p, err);
    if (!r)
        r = trm_pickle_read(&f->tensor, &n, p->data, p->size, err);
    if (r)
        return r;
    f->view = calloc((size_t)n + 1, sizeof *f->view);
    f->copy = calloc((size_t)n + 1, sizeof *f->copy);
    if (!f->view || !f->copy)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d tensors", n);
    f->count = n;
    for (int i = 0; i < n && !r; i++)
        r = make_view(f, i, err);
    return r;
}

int trm_pt_open_memory(
    trm_pt_file **out, const void *data, size_t size, const char *label, trm_error *err) {
    trm_error inner;
    trm_pt_file *f = calloc(1, sizeof *f);
    if (!f)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %s", label);
    int r = open_bytes(f, data, size, &inner);
    if (r) {
        trm_pt_close(f);
        return trm_fail(err, r, "%s: %s", label, inner.text);
    }
    *out = f;
    return TRM_OK;
}

int trm_pt_open(trm_pt_file **out, const char *path, trm_error *err) {
    trm_map map;
    int r = trm_map_open(&map, path, err);
    if (r)
        return r;
    r = trm_pt_open_memory(out, map.data, map.size, path, err);
    if (r)
        trm_map_close(&map);
    else
        (*out)->map = map;
    return r;
}

void trm_pt_close(trm_pt_file *f) {
    if (!f)
        return;
    for (int i = 0; f->copy && i < f->count; i++)
        free(f->copy[i]);
    free(f->copy);
    free(f->view);
    free(f->tensor);
    trm_zip_free(&f->zip);
    trm_map_close(&f->map);
    free(f);
}

int trm_pt_count(const trm_pt_file *f) {
    return f->count;
}

const trm_st_view *trm_pt_at(const trm_pt_file *f, int i) {
    return &f->view[i];
}

/* Safetensors: header parsing with every claim checked, and atomic writing. A file object
 * owns its mapping and tables and does not change once open. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"
#include "trm/safetensors.h"

enum { MAX_HEADER = 16 << 20, MAX_DEPTH = 4, MAX_NAME = 512 };

struct trm_st_file {
    trm_map map;    /* empty where the bytes are the caller's */
    json_t *header; /* names and metadata live in it */
    trm_st_view *view;
    int count;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    {"F32", 4}, {"BF16", 2}, {"F16", 2}, {"I8", 1}, {"U8", 1}, {"I32", 4}, {"I64", 8}, {"F64", 8}};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

size_t trm_st_dtype_size(trm_dtype t) {
    return dtypes[t].size;
}

const char *trm_st_dtype_name(trm_dtype t) {
    return dtypes[t].name;
}

/* jansson recurses to a depth of 2048; a header needs four. */
static bool too_deep(const char *text, size_t n) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (quoted) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                quoted = false;
        } else if (text[i] == '"') {
            quoted = true;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > MAX_DEPTH)
                return true;
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }
    return false;
}

static int read_shape(trm_st_view *v, const json_t *shape, size_t *bytes, trm_error *err) {
    if (!json_is_array(shape) || json_array_size(shape) > TRM_ST_MAX_DIMS)
        return trm_fail(err, TRM_E_FORMAT,
            "tensor %.100s: \"shape\" is not a list of at most %d sizes", v->name, TRM_ST_MAX_DIMS);
    v->ndim = (int)json_array_size(shape);
    for (int i = 0; i < v->ndim; i++) {
        const json_t *s = json_array_get(shape, (size_t)i);
        if (!json_is_integer(s) || json_integer_value(s) < 0)
            return trm_fail(
                err, TRM_E_FORMAT, "tensor %.100s: a size is not a whole number", v->name);
        v->shape[i] = json_integer_value(s);
        if (__builtin_mul_overflow(*bytes, (size_t)v->shape[i], bytes))
            return trm_fail(
                err, TRM_E_FORMAT, "tensor %.100s: the shape is impossibly large", v->name);
    }
    return TRM_OK;
}

static int read_dtype(trm_st_view *v, const json_t *o, trm_error *err) {
    const char *s = json_string_value(json_object_get(o, "dtype"));
    for (int i = 0; s && i < N_DTYPES; i++)
        if (strcmp(s, dtypes[i].name) == 0) {
            v->dtype = (trm_dtype)i;
            return TRM_OK;
        }
    return trm_fail(err, TRM_E_FORMAT, "tensor %.100s: dtype %.20s is not supported", v->name,
        s ? s : "(none)");
}

static int read_tensor(trm_st_view *v, const char *name, const json_t *o, const char *data,
    size_t data_size, trm_error *err) {
    v->name = name;
    if (!json_is_object(o) || json_object_size(o) != 3)
        return trm_fail(
            err, TRM_E_FORMAT, "tensor %.100s: needs dtype, shape and data_offsets", name);
    int r = read_dtype(v, o, err);
    if (r)
        return r;
    size_t want = dtypes[v->dtype].size;
    r = read_shape(v, json_object_get(o, "shape"), &want, err);
    if (r)
        return r;
    const json_t *off = json_object_get(o, "data_offsets");
    const json_t *a = json_array_get(off, 0), *b = json_array_get(off, 1);
    if (json_array_size(off) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return trm_fail(
            err, TRM_E_FORMAT, "tensor %.100s: data_offsets are not two whole numbers", name);
    json_int_t begin = json_integer_value(a), end = json_integer_value(b);
    if (begin < 0 || end < begin || (size_t)end > data_size)
        return trm_fail(err, TRM_E_FORMAT,
            "tensor %.100s: bytes %lld to %lld do not lie within the %zu bytes of data", name,
            (long long)begin, (long long)end, data_size);
    v->bytes = (size_t)(end - begin);
    if (v->bytes != want)
        return trm_fail(err, TRM_E_FORMAT, "tensor %.100s: has %zu bytes, its shape needs %zu",
            name, v->bytes, want);
    v->data = data + begin;
    return TRM_OK;
}

static int by_address(const void *x, const void *y) {
    const trm_st_view *a = x, *b = y;
    if (a->data != b->data)
        return (const char *)a->data < (const char *)b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Tensors cover the data region from its first byte to its last, once each. */
static int check_cover(const trm_st_file *f, const char *data, size_t size, trm_error *err) {
    trm_st_view *sorted = calloc((size_t)f->count + 1, sizeof *sorted);
    if (!sorted)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d tensors", f->count);
    memcpy(sorted, f->view, (size_t)f->count * sizeof *sorted);
    qsort(sorted, (size_t)f->count, sizeof *sorted, by_address);
    const char *at = data;
    int r = TRM_OK;
    for (int i = 0; i < f->count && !r; i++) {
        if ((const char *)sorted[i].data != at)
            r = trm_fail(err, TRM_E_FORMAT, "tensor %.100s: %s in the data before it",
                sorted[i].name, (const char *)sorted[i].data > at ? "a hole" : "an overlap");
        at = (const char *)sorted[i].data + sorted[i].bytes;
    }
    if (!r && at != data + size)
        r = trm_fail(
            err, TRM_E_FORMAT, "%zu bytes after the last tensor", (size_t)(data + size - at));
    free(sorted);
    return r;
}

static int check_metadata(const json_t *m, trm_error *err) {
    const char *key;
    json_t *v;
    if (!json_is_object(m))
        return trm_fail(err, TRM_E_FORMAT, "__metadata__ is not an object");
    json_object_foreach((json_t *)(uintptr_t)m, key, v) if (!json_is_string(v)) return trm_fail(
        err, TRM_E_FORMAT, "__metadata__: \"%.60s\" is not a string", key);
    return TRM_OK;
}

static int read_header(trm_st_file *f, const char *text, size_t n, const char *data,
    size_t data_size, trm_error *err) {
    json_error_t je;
    const char *name;
    json_t *o;
    if (too_deep(text, n))
        return trm_fail(err, TRM_E_FORMAT, "the header is nested too deeply");
    f->header = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!f->header)
        return trm_fail(
            err, TRM_E_FORMAT, "the header is not JSON: position %d: %s", je.position, je.text);
    if (!json_is_object(f->header))
        return trm_fail(err, TRM_E_FORMAT, "the header is not a JSON object");
    f->view = calloc(json_object_size(f->header) + 1, sizeof *f->view);
    if (!f->view)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the header");
    json_object_foreach(f->header, name, o) {
        int r;
        if (strcmp(name, "__metadata__") == 0) {
            r = check_metadata(o, err);
        } else if (strlen(name) > MAX_NAME) {
            r = trm_fail(err, TRM_E_FORMAT, "a tensor's name is longer than %d", MAX_NAME);
        } else {
            r = read_tensor(&f->view[f->count], name, o, data, data_size, err);
            f->count++;
        }
        if (r)
            return r;
    }
    return check_cover(f, data, data_size, err);
}

static int open_bytes(trm_st_file *f, const char *bytes, size_t size, trm_error *err) {
    uint64_t n = 0;
    if (size < 8)
        return trm_fail(err, TRM_E_FORMAT, "%zu bytes are too few for a safetensors file", size);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | (uint8_t)bytes[i];
    if (n > size - 8 || n > MAX_HEADER)
        return trm_fail(err, TRM_E_FORMAT, "not a safetensors file: a header of %llu bytes",
            (unsigned long long)n);
    return read_header(f, bytes + 8, (size_t)n, bytes + 8 + n, size - 8 - (size_t)n, err);
}

int trm_st_open_memory(
    trm_st_file **out, const void *data, size_t size, const char *label, trm_error *err) {
    trm_error inner;
    trm_st_file *f = calloc(1, sizeof *f);
    if (!f)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %s", label);
    int r = open_bytes(f, data, size, &inner);
    if (r) {
        trm_st_close(f);
        return trm_fail(err, r, "%s: %s", label, inner.text);
    }
    *out = f;
    return TRM_OK;
}

int trm_st_open(trm_st_file **out, const char *path, trm_error *err) {
    trm_map map;
    int r = trm_map_open(&map, path, err);
    if (r)
        return r;
    r = trm_st_open_memory(out, map.data, map.size, path, err);
    if (r)
        trm_map_close(&map);
    else
        (*out)->map = map;
    return r;
}

void trm_st_close(trm_st_file *f) {
    if (!f)
        return;
    trm_map_close(&f->map);
    json_decref(f->header);
    free(f->view);
    free(f);
}

int trm_st_count(const trm_st_file *f) {
    return f->count;
}

const trm_st_view *trm_st_at(const trm_st_file *f, int i) {
    return &f->view[i];
}

const trm_st_view *trm_st_find(const trm_st_file *f, const char *name) {
    for (int i = 0; i < f->count; i++)
        if (strcmp(f->view[i].name, name) == 0)
            return &f->view[i];
    return NULL;
}

const char *trm_st_metadata(const trm_st_file *f, const char *key) {
    return json_string_value(json_object_get(json_object_get(f->header, "__metadata__"), key));
}

static float f16_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = h >> 10 & 31, m = h & 0x3FFu, u;
    if (e == 31) {
        u = sign | 0x7F800000u | m << 13;
    } else if (e) {
        u = sign | (e + 112) << 23 | m << 13;
    } else {
        float f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

int trm_st_to_f32(const trm_st_view *v, float *out, trm_error *err) {
    size_t n = v->bytes / dtypes[v->dtype].size;
    const char *data = v->data; /* the format does not promise alignment */
    switch (v->dtype) {
    case TRM_F32:
        memcpy(out, v->data, v->bytes);
        return TRM_OK;
    case TRM_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, data + 2 * i, sizeof half);
            uint32_t u = (uint32_t)half << 16;
            memcpy(out + i, &u, sizeof u);
        }
        return TRM_OK;
    case TRM_F16:
        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, data + 2 * i, sizeof half);
            out[i] = f16_to_float(half);
        }
        return TRM_OK;
    case TRM_F64:
        for (size_t i = 0; i < n; i++) {
            double x;
            memcpy(&x, data + 8 * i, sizeof x);
            out[i] = (float)x;
        }
        return TRM_OK;
    case TRM_I8:
        for (size_t i = 0; i < n; i++)
            out[i] = (int8_t)data[i];
        return TRM_OK;
    default:
        return trm_fail(err, TRM_E_FORMAT, "tensor %.100s holds %s, not numbers to compute with",
            v->name, dtypes[v->dtype].name);
    }
}

/* Header text padded with spaces so that the data starts on a multiple of eight. */
static char *make_header(const trm_st_view *t, int n, const char *const (*meta)[2], int n_meta) {
    json_t *o = json_object(), *m = n_meta ? json_object() : NULL;
    size_t at = 0;
    bool ok = o && (!n_meta || m);
    for (int i = 0; i < n_meta && ok; i++)
        ok = json_object_set_new(m, meta[i][0], json_string(meta[i][1])) == 0;
    if (ok && m)
        ok = json_object_set(o, "__metadata__", m) == 0;
    for (int i = 0; i < n && ok; i++) {
        json_t *shape = json_array();
        for (int k = 0; k < t[i].ndim; k++)
            (void)json_array_append_new(shape, json_integer(t[i].shape[k]));
        json_t *e = json_pack("{s:s,s:o,s:[I,I]}", "dtype", dtypes[t[i].dtype].name, "shape", shape,
            "data_offsets", (json_int_t)at, (json_int_t)(at + t[i].bytes));
        ok = e && json_object_set_new(o, t[i].name, e) == 0;
        at += t[i].bytes;
    }
    char *text = ok ? json_dumps(o, JSON_COMPACT) : NULL, *padded = NULL;
    json_decref(m);
    json_decref(o);
    if (text) {
        size_t len = strlen(text), full = (len + 7) / 8 * 8;
        padded = malloc(full + 1);
        if (padded) {
            memcpy(padded, text, len);
            memset(padded + len, ' ', full - len);
            padded[full] = 0;
        }
    }
    free(text);
    return padded;
}

static bool put(int fd, const void *data, size_t n) {
    const char *p = data;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static bool put_all(int fd, const char *header, const trm_st_view *t, int n) {
    uint64_t len = strlen(header);
    uint8_t le[8];
    for (int i = 0; i < 8; i++)
        le[i] = (uint8_t)(len >> (8 * i));
    if (!put(fd, le, 8) || !put(fd, header, (size_t)len))
        return false;
    for (int i = 0; i < n; i++)
        if (!put(fd, t[i].data, t[i].bytes))
            return false;
    return true;
}

/* The rename itself must reach the disk too. */
static void sync_folder(const char *path) {
    char folder[4096];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

/* A device or a pipe: written to, never replaced by a file of its name. */
static bool is_special(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static int write_special(const char *path, const char *header, const trm_st_view *t, int n) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int e = put_all(fd, header, t, n) ? 0 : errno;
    return close(fd) && !e ? errno : e;
}

/* Under another name until it is whole. */
static int write_file(const char *path, const char *header, const trm_st_view *t, int n) {
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof tmp, "%s.tmp.%ld", path, (long)getpid()) >= (int)sizeof tmp)
        return ENAMETOOLONG;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno;
    int e = put_all(fd, header, t, n) && fsync(fd) == 0 ? 0 : errno;
    if (close(fd) && !e)
        e = errno;
    if (!e && rename(tmp, path))
        e = errno;
    if (e)
        (void)unlink(tmp);
    else
        sync_folder(path);
    return e;
}

int trm_st_write(const char *path, const trm_st_view *tensors, int n,
    const char *const (*metadata)[2], int n_metadata, trm_error *err) {
    char file[PATH_MAX]; /* what links lead to, so that they stay */
    char *header = make_header(tensors, n, metadata, n_metadata);
    if (!header)
        return trm_fail(err, TRM_E_NOMEM, "out of memory to write %s", path);
    int e = is_special(path) ? write_special(path, header, tensors, n)
                             : write_file(realpath(path, file) ? file : path, header, tensors, n);
    free(header);
    return e ? trm_fail_errno(err, path, e) : TRM_OK;
}

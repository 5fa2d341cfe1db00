/* Safetensors files, read through mmap and written atomically.
 *
 * The file is: u64 little-endian header length, JSON header, data. Nothing in it is
 * trusted: header size, JSON shape, duplicate names, dtype, shape products, offsets,
 * overlaps and holes are all checked before a view is handed out, and each refusal names
 * the tensor. A trm_st_file owns its mapping and every string in it; views die with it.
 * Reading from several threads is fine.
 */
#ifndef TRM_SAFETENSORS_H
#define TRM_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "trm/error.h"

typedef enum trm_dtype {
    TRM_F32,
    TRM_BF16,
    TRM_F16,
    TRM_I8,
    TRM_U8,
    TRM_I32,
    TRM_I64,
    TRM_F64
} trm_dtype;

enum { TRM_ST_MAX_DIMS = 8 };

typedef struct trm_st_view {
    const char *name;
    trm_dtype dtype;
    int ndim;
    int64_t shape[TRM_ST_MAX_DIMS];
    const void *data; /* not necessarily aligned for its type */
    size_t bytes;
} trm_st_view;

typedef struct trm_st_file trm_st_file;

TRM_API int trm_st_open(trm_st_file **out, const char *path, trm_error *err);
/* The same checks over memory that the caller keeps alive (fuzzing, tests). */
TRM_API int trm_st_open_memory(
    trm_st_file **out, const void *data, size_t size, const char *label, trm_error *err);
TRM_API void trm_st_close(trm_st_file *f);
TRM_API int trm_st_count(const trm_st_file *f);
TRM_API const trm_st_view *trm_st_at(const trm_st_file *f, int i);
/* NULL if there is none of that name. */
TRM_API const trm_st_view *trm_st_find(const trm_st_file *f, const char *name);
/* A value of __metadata__, or NULL. */
TRM_API const char *trm_st_metadata(const trm_st_file *f, const char *key);
TRM_API size_t trm_st_dtype_size(trm_dtype t);
TRM_API const char *trm_st_dtype_name(trm_dtype t);
/* Converts F32, BF16, F16, F64 or I8 (value only, no scale) elements to f32. TRM_E_FORMAT
 * for other types. */
TRM_API int trm_st_to_f32(const trm_st_view *v, float *out, trm_error *err);

/* Writes n tensors (data pointers are the caller's) and metadata pairs to PATH by way of
 * PATH.tmp.PID, fsync and rename: readers see the old file or the whole new one. A link stays
 * a link; a device or a pipe is written to as it is. */
TRM_API int trm_st_write(const char *path, const trm_st_view *tensors, int n,
    const char *const (*metadata)[2], int n_metadata, trm_error *err);

#endif

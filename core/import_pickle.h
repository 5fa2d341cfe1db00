/* The pickle of a state_dict, read by a machine that can only build tensors. */
#ifndef TRM_IMPORT_PICKLE_H
#define TRM_IMPORT_PICKLE_H

#include "trm/safetensors.h"

typedef struct trm_pickle_tensor {
    char name[512], storage[64]; /* storage: the name of its zip entry under data/ */
    trm_dtype dtype;
    int ndim;
    int64_t shape[TRM_ST_MAX_DIMS], stride[TRM_ST_MAX_DIMS];
    int64_t offset, storage_elements;
} trm_pickle_tensor;

/* malloc's *out. Runs no code of the file's: opcodes and globals beyond the known few are
 * refused by name. */
int trm_pickle_read(
    trm_pickle_tensor **out, int *count, const uint8_t *data, size_t size, trm_error *err);

#endif

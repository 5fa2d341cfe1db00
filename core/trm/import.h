/* Other people's checkpoints: the zip that torch.save() writes, read without PyTorch and
 * without executing pickle.
 *
 * A small interpreter knows only the opcodes that a state_dict of tensors needs and builds
 * strings, integers, tuples and tensor references; every other opcode, global or persistent
 * id is refused by name. Zip offsets, sizes, CRCs, storage names, strides and byte counts
 * are checked against the file. The result owns its memory (a private mapping plus tables).
 */
#ifndef TRM_IMPORT_H
#define TRM_IMPORT_H

#include "trm/safetensors.h"

typedef struct trm_pt_file trm_pt_file;

TRM_API int trm_pt_open(trm_pt_file **out, const char *path, trm_error *err);
TRM_API int trm_pt_open_memory(
    trm_pt_file **out, const void *data, size_t size, const char *label, trm_error *err);
TRM_API void trm_pt_close(trm_pt_file *f);
/* Tensors in the order of the state_dict, contiguous views with their full key names. */
TRM_API int trm_pt_count(const trm_pt_file *f);
TRM_API const trm_st_view *trm_pt_at(const trm_pt_file *f, int i);

#endif

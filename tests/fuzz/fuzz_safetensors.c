/* Any bytes as a model file: refused with an error or opened, and then all of it readable. */
#include <stdint.h>
#include <stdlib.h>

#include "trm/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    trm_st_file *f;
    trm_error err;
    if (trm_st_open_memory(&f, data, size, "input", &err))
        return 0;
    for (int i = 0; i < trm_st_count(f); i++) {
        const trm_st_view *v = trm_st_at(f, i);
        size_t n = v->bytes / trm_st_dtype_size(v->dtype);
        float *x = malloc((n + 1) * sizeof *x);
        if (x)
            (void)trm_st_to_f32(v, x, &err);
        free(x);
    }
    (void)trm_st_metadata(f, "config");
    trm_st_close(f);
    return 0;
}

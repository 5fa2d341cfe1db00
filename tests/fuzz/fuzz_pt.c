/* Any bytes as a PyTorch checkpoint, and any bytes as its pickle. */
#include <stdint.h>
#include <stdlib.h>

#include "import_pickle.h"
#include "trm/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    trm_pt_file *f;
    trm_error err;
    trm_pickle_tensor *t;
    int n;
    if (trm_pt_open_memory(&f, data, size, "input", &err) == 0)
        trm_pt_close(f);
    /* checksums keep a fuzzer out of the pickle inside the zip: offer it alone too */
    if (size > 0 && trm_pickle_read(&t, &n, data, size, &err) == 0)
        free(t);
    return 0;
}

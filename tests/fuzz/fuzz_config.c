/* Any text as a config. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "trm/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    trm_config c;
    trm_error err;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    (void)trm_config_parse(&c, text, &err);
    free(text);
    return 0;
}

/* Stored zip archives, as torch.save() writes them. Views into the caller's bytes. */
#ifndef TRM_IMPORT_ZIP_H
#define TRM_IMPORT_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "trm/error.h"

typedef struct trm_zip_entry {
    char name[256];
    const uint8_t *data;
    size_t size;
    uint32_t crc;
} trm_zip_entry;

typedef struct trm_zip {
    trm_zip_entry *entry;
    int count;
} trm_zip;

/* Reads the central directory; every offset and size is checked, compression is refused. */
int trm_zip_read(trm_zip *out, const uint8_t *data, size_t size, trm_error *err);
void trm_zip_free(trm_zip *z);
/* The entry whose name ends in `suffix` after its first folder, or NULL. */
const trm_zip_entry *trm_zip_find(const trm_zip *z, const char *suffix);
/* Compares the stored checksum with the bytes. */
int trm_zip_check(const trm_zip_entry *e, trm_error *err);

#endif

/* See import_zip.h. Nothing in the file is trusted. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "import_zip.h"

enum { END_SIZE = 22, CENTRAL_SIZE = 46, LOCAL_SIZE = 30, MAX_ENTRIES = 65535 };

static uint32_t le(const uint8_t *p, int n) {
    uint32_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static uint64_t le64(const uint8_t *p) {
    return (uint64_t)le(p + 4, 4) << 32 | le(p, 4);
}

struct directory {
    uint64_t count, offset, size;
};

/* A zip64 end record stands before the locator that stands before the end record. */
static int read_zip64(struct directory *d, const uint8_t *data, size_t end, trm_error *err) {
    if (end < 20 || le(data + end - 20, 4) != 0x07064b50)
        return trm_fail(err, TRM_E_FORMAT, "zip: the zip64 locator is missing");
    uint64_t at = le64(data + end - 20 + 8);
    if (at > end || end - at < 56 || le(data + at, 4) != 0x06064b50)
        return trm_fail(err, TRM_E_FORMAT, "zip: the zip64 end record is not where it should be");
    d->count = le64(data + at + 32);
    d->size = le64(data + at + 40);
    d->offset = le64(data + at + 48);
    return TRM_OK;
}

static int find_end(struct directory *d, const uint8_t *data, size_t size, trm_error *err) {
    size_t most = size < END_SIZE + 65535 ? size : END_SIZE + 65535;
    for (size_t back = END_SIZE; back <= most; back++) {
        const uint8_t *p = data + size - back;
        if (le(p, 4) != 0x06054b50)
            continue;
        *d = (struct directory){le(p + 10, 2), le(p + 16, 4), le(p + 12, 4)};
        int r = TRM_OK;
        if (d->count == 0xFFFF || d->offset == 0xFFFFFFFFu || d->size == 0xFFFFFFFFu)
            r = read_zip64(d, data, size - back, err);
        if (!r && (d->offset > size || d->size > size - d->offset || d->count > MAX_ENTRIES))
            r = trm_fail(err, TRM_E_FORMAT, "zip: the central directory lies outside the file");
        return r;
    }
    return trm_fail(err, TRM_E_FORMAT, "zip: no end record; the file is truncated or no zip");
}

/* The 64-bit sizes and offset that stand in the extra field where the 32-bit ones are full. */
static void read_extra(
    const uint8_t *p, size_t n, uint64_t *full, uint64_t *packed, uint64_t *offset) {
    uint64_t *want[3] = {full, packed, offset};
    while (n >= 4) {
        size_t id = le(p, 2), len = le(p + 2, 2);
        if (len > n - 4)
            return;
        for (int i = 0, at = 0; id == 1 && i < 3; i++)
            if (*want[i] == 0xFFFFFFFFu && (size_t)at + 8 <= len) {
                *want[i] = le64(p + 4 + at);
                at += 8;
            }
        p += 4 + len;
        n -= 4 + len;
    }
}

static int read_entry(trm_zip_entry *e, const uint8_t *data, size_t size, const uint8_t *p,
    size_t left, size_t *used, trm_error *err) {
    if (left < CENTRAL_SIZE || le(p, 4) != 0x02014b50)
        return trm_fail(err, TRM_E_FORMAT, "zip: the central directory is broken");
    size_t name = le(p + 28, 2), extra = le(p + 30, 2), comment = le(p + 32, 2);
    *used = CENTRAL_SIZE + name + extra + comment;
    if (*used > left || name >= sizeof e->name)
        return trm_fail(err, TRM_E_FORMAT, "zip: an entry of the central directory is broken");
    memcpy(e->name, p + CENTRAL_SIZE, name);
    e->name[name] = 0;
    e->crc = le(p + 16, 4);
    uint64_t packed = le(p + 20, 4), full = le(p + 24, 4), offset = le(p + 42, 4);
    read_extra(p + CENTRAL_SIZE + name, extra, &full, &packed, &offset);
    if (le(p + 10, 2) != 0 || packed != full)
        return trm_fail(
            err, TRM_E_UNSUPPORTED, "zip: %s is compressed; torch.save() stores", e->name);
    if (le(p + 8, 2) & 1)
        return trm_fail(err, TRM_E_UNSUPPORTED, "zip: %s is encrypted", e->name);
    if (offset > size || size - offset < LOCAL_SIZE || le(data + offset, 4) != 0x04034b50)
        return trm_fail(err, TRM_E_FORMAT, "zip: %s has no local header where it should", e->name);
    uint64_t begin = offset + LOCAL_SIZE + le(data + offset + 26, 2) + le(data + offset + 28, 2);
    if (begin > size || full > size - begin)
        return trm_fail(err, TRM_E_FORMAT, "zip: %s runs past the end of the file", e->name);
    e->data = data + begin;
    e->size = (size_t)full;
    return TRM_OK;
}

int trm_zip_read(trm_zip *out, const uint8_t *data, size_t size, trm_error *err) {
    struct directory d = {0, 0, 0};
    memset(out, 0, sizeof *out);
    int r = find_end(&d, data, size, err);
    if (r)
        return r;
    out->entry = calloc((size_t)d.count + 1, sizeof *out->entry);
    if (!out->entry)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d zip entries", (int)d.count);
    const uint8_t *p = data + d.offset;
    size_t left = (size_t)d.size, used = 0;
    for (uint64_t i = 0; i < d.count && !r; i++) {
        r = read_entry(&out->entry[out->count], data, size, p, left, &used, err);
        if (r)
            break;
        out->count++;
        p += used;
        left -= used;
    }
    if (r)
        trm_zip_free(out);
    return r;
}

void trm_zip_free(trm_zip *z) {
    free(z->entry);
    memset(z, 0, sizeof *z);
}

const trm_zip_entry *trm_zip_find(const trm_zip *z, const char *suffix) {
    for (int i = 0; i < z->count; i++) {
        const char *slash = strchr(z->entry[i].name, '/');
        if (slash && strcmp(slash + 1, suffix) == 0)
            return &z->entry[i];
    }
    return NULL;
}

int trm_zip_check(const trm_zip_entry *e, trm_error *err) {
    uint32_t table[256], crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    for (size_t i = 0; i < e->size; i++)
        crc = table[(crc ^ e->data[i]) & 255] ^ crc >> 8;
    if (~crc != e->crc)
        return trm_fail(
            err, TRM_E_FORMAT, "zip: %s is damaged: its checksum does not match", e->name);
    return TRM_OK;
}

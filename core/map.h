/* Whole files mapped for reading. */
#ifndef TRM_MAP_H
#define TRM_MAP_H

#include <stddef.h>

#include "trm/error.h"

typedef struct trm_map {
    void *data;
    size_t size;
} trm_map;

/* Maps a regular file that is not empty; private, read-only. */
int trm_map_open(trm_map *out, const char *path, trm_error *err);
void trm_map_close(trm_map *m);

#endif

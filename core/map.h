/* Whole files in memory. They are read, not mapped: one that is cut short meanwhile is an
 * error, not a SIGBUS for a daemon that reloads it. */
#ifndef TRM_MAP_H
#define TRM_MAP_H

#include <stddef.h>

#include "trm/error.h"

typedef struct trm_map {
    void *data;
    size_t size;
} trm_map;

/* Reads a regular file that is not empty. */
int trm_map_open(trm_map *out, const char *path, trm_error *err);
void trm_map_close(trm_map *m);

#endif

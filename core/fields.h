/* JSON objects into plain structs by a table of fields: what configurations and recipes
 * share. No state; values are copied out. */
#ifndef TRM_FIELDS_H
#define TRM_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "trm/error.h"

typedef enum trm_field_kind { TRM_INT, TRM_LONG, TRM_REAL, TRM_BOOL } trm_field_kind;

typedef struct trm_field {
    const char *key;
    trm_field_kind kind;
    size_t offset; /* in the struct */
    double min, max;
    bool required;
} trm_field;

/* Reads v into the struct at `into`; `what` ("config") begins the error. */
int trm_field_read(
    void *into, const trm_field *f, const json_t *v, const char *what, trm_error *err);

/* Parses text, or the file at `path` where text is NULL, and hands the object to `read`.
 * Errors begin with `what`, or with the path. */
int trm_json_read(const char *text, const char *path, const char *what,
    int (*read)(void *arg, json_t *o, trm_error *err), void *arg, trm_error *err);

#endif

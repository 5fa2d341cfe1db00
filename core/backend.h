/* Names of backends and what they compute with. Stateless. */
#ifndef TRM_BACKEND_H
#define TRM_BACKEND_H

#include "mm.h"

/* The matrix products of a backend by name; "auto", "cpu" and NULL are the fastest that this
 * build and processor have. TRM_E_UNSUPPORTED says what is missing. */
bool trm_backend_is_auto(const char *name);
int trm_backend_find(const trm_mm_lib **out, const char *name, trm_error *err);

#endif

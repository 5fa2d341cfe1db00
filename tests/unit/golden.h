/* Opens a golden model and its expected tensors; fails the test with the library's words.
 * Everything returned is the caller's to close. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trm/model.h"

/* Where tests/ is: this machine's, or where the environment says that it was carried to. */
static inline const char *golden_tests(void) {
    const char *carried = getenv("TRM_TEST_DATA");
    return carried ? carried : TRM_TEST_DATA;
}

static inline trm_model *golden_model(const char *name) {
    char path[512];
    trm_config config;
    trm_model *m = NULL;
    trm_error err;
    (void)snprintf(path, sizeof path, "%s/golden/%s/config.json", golden_tests(), name);
    if (trm_config_read(&config, path, &err))
        fail_msg("%s", err.text);
    (void)snprintf(path, sizeof path, "%s/golden/%s/model.safetensors", golden_tests(), name);
    if (trm_model_open(&m, path, &config, &err))
        fail_msg("%s", err.text);
    return m;
}

static inline trm_st_file *golden_expected(const char *name) {
    char path[512];
    trm_st_file *f = NULL;
    trm_error err;
    (void)snprintf(path, sizeof path, "%s/golden/%s/expected.safetensors", golden_tests(), name);
    if (trm_st_open(&f, path, &err))
        fail_msg("%s", err.text);
    return f;
}

#endif

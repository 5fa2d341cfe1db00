/* Which backends there are, best first. The list is made once and never changes. */
#include <pthread.h>
#include <string.h>

#include "backend.h"
#include "device.h"
#include "trm/engine.h"
#include "trm/gpu.h"

static const char *names[16];
static const trm_mm_lib *libs[8];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void list(void) {
    int n = 0;
#ifdef TRM_HAVE_DNNL
    if (trm_dnnl_has_bf16())
        libs[n++] = &trm_mm_dnnl_bf16;
    libs[n++] = &trm_mm_dnnl_f32;
    if (trm_dnnl_has_int8())
        libs[n++] = &trm_mm_dnnl_int8;
#endif
    libs[n++] = &trm_mm_openblas;
    libs[n++] = &trm_mm_reference;
    int devices = 0;
    for (const char *const *name = trm_device_names(); *name; name++)
        names[devices++] = *name;
    for (int i = 0; i < n; i++)
        names[devices + i] = libs[i]->name;
}

const char *const *trm_backends(void) {
    (void)pthread_once(&once, list);
    return names;
}

bool trm_backend_is_auto(const char *name) {
    return !name || !name[0] || strcmp(name, "auto") == 0;
}

int trm_backend_find(const trm_mm_lib **out, const char *name, trm_error *err) {
    (void)pthread_once(&once, list);
    bool any = trm_backend_is_auto(name) || strcmp(name, "cpu") == 0;
    for (int i = 0; libs[i]; i++)
        if (any || strcmp(libs[i]->name, name) == 0) {
            *out = libs[i];
            return TRM_OK;
        }
    if (strncmp(name, "cuda", 4) == 0)
        return trm_fail(err, TRM_E_UNSUPPORTED, "backend \"%.40s\" is not to be had: %s", name,
            trm_gpu_status());
    char have[200] = "";
    for (int i = 0; names[i]; i++) {
        strncat(have, i ? ", " : "", sizeof have - strlen(have) - 1);
        strncat(have, names[i], sizeof have - strlen(have) - 1);
    }
    return trm_fail(err, TRM_E_UNSUPPORTED,
        "no backend \"%.40s\" in this build or on this processor; there are: auto, cpu, %s", name,
        have);
}

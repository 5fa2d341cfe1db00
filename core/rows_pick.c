/* Chooses the row kernels for this processor. No state beyond the compiled tables. */
#include <string.h>

#include "rows.h"

#define TABLES(isa) extern const trm_rows trm_rows_f32_##isa, trm_rows_bf16_##isa;
TABLES(generic)
#if defined(__x86_64__)
TABLES(avx2)
TABLES(avx512)
#endif

#if defined(__x86_64__)
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && has_avx2();
}
#endif

const trm_rows *trm_rows_for(bool bf16, const char *isa) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0)
        return !has_avx512() ? NULL : bf16 ? &trm_rows_bf16_avx512 : &trm_rows_f32_avx512;
    if (strcmp(isa, "avx2") == 0)
        return !has_avx2() ? NULL : bf16 ? &trm_rows_bf16_avx2 : &trm_rows_f32_avx2;
#endif
    if (strcmp(isa, "generic") == 0)
        return bf16 ? &trm_rows_bf16_generic : &trm_rows_f32_generic;
    return NULL;
}

const trm_rows *trm_rows_get(bool bf16) {
    static const char *const best[] = {"avx512", "avx2", "generic"};
    for (int i = 0; i < 2; i++) {
        const trm_rows *r = trm_rows_for(bf16, best[i]);
        if (r)
            return r;
    }
    return trm_rows_for(bf16, "generic");
}

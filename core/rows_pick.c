/* Chooses the row kernels for this processor. The tables are compiled in but for two, which are
 * put together once, under pthread_once, and never change after that. */
#include <pthread.h>
#include <string.h>

#include "rows.h"

#define TABLES(isa) extern const trm_rows trm_rows_f32_##isa, trm_rows_bf16_##isa;
TABLES(generic)
#if defined(__x86_64__)
TABLES(avx2)
TABLES(avx512)
#endif

#if defined(__x86_64__)
void trm_rows_x512(trm_rows *table);
void trm_units_x512(trm_rows *table);
void trm_near_x512(trm_rows *table);
void trm_means_x512(trm_rows *table);
void trm_outer_x512(trm_rows *table);
void trm_candidates_x512(trm_rows *table);
void trm_swiglu_x512(trm_rows *table);

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && has_avx2();
}

static bool has_avx512bf16(void) {
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/* AVX-512's kernels, the hottest of them by hand. */
static trm_rows by_hand, by_hand_f32;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void put_together(void) {
    by_hand = trm_rows_bf16_avx512;
    by_hand.isa = "avx512bf16";
    trm_rows_x512(&by_hand);
    trm_units_x512(&by_hand);
    trm_near_x512(&by_hand);
    trm_means_x512(&by_hand);
    trm_outer_x512(&by_hand);
    trm_candidates_x512(&by_hand);
    by_hand_f32 = trm_rows_f32_avx512;
    by_hand_f32.isa = by_hand.isa;
    trm_swiglu_x512(&by_hand_f32);
}
#endif

const trm_rows *trm_rows_for(bool bf16, const char *isa) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx512bf16") == 0 && has_avx512bf16()) {
        (void)pthread_once(&once, put_together);
        return bf16 ? &by_hand : &by_hand_f32;
    }
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
    static const char *const best[] = {"avx512bf16", "avx512", "avx2"};
    for (size_t i = 0; i < sizeof best / sizeof *best; i++) {
        const trm_rows *r = trm_rows_for(bf16, best[i]);
        if (r)
            return r;
    }
    return trm_rows_for(bf16, "generic");
}

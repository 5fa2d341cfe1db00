/* What the machine's matrix products alone would allow, measured with the engine's own
 * products on its own shapes: the yardstick of `trm bench`. */
#ifndef TRM_BENCH_H
#define TRM_BENCH_H

#include "trm/model.h"

typedef struct trm_product_rate {
    double steps_per_s;     /* supervision steps of one puzzle, if a step were its products alone */
    double flops_per_s;     /* multiply-adds of those products, times two */
    double steps_per_cpu_s; /* by processor time; 0 on a GPU */
} trm_product_rate;

/* Runs every product of a step over and over, on all threads at once, for about `seconds` in
 * all; a GPU runs those of `batch` puzzles together. Blocks the caller; starts and ends its own
 * threads. */
TRM_API int trm_bench_products(trm_product_rate *out, const trm_model *m, const char *backend,
    int threads, int batch, double seconds, trm_error *err);

#endif

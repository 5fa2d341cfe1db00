/* The one random function too long for a header. No state. */
#include <math.h>

#include "trm/rng.h"

double trm_rng_normal(trm_rng *r) {
    double u = 1.0 - trm_rng_unit(r), v = trm_rng_unit(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

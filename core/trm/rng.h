/* The random numbers of data, initialisation and noise: xoshiro256** (Blackman and Vigna,
 * 2018), seeded by splitmix64. 32 bytes of plain state, so a checkpoint can hold it and a
 * resumed run draws the very same numbers. Each user owns its own; no locking.
 */
#ifndef TRM_RNG_H
#define TRM_RNG_H

#include <stdint.h>

typedef struct trm_rng {
    uint64_t s[4];
} trm_rng;

static inline uint64_t trm_rng_splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline void trm_rng_seed(trm_rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++)
        r->s[i] = trm_rng_splitmix(&seed);
}

static inline uint64_t trm_rng_next(trm_rng *r) {
    uint64_t *s = r->s, m = s[1] * 5, out = ((m << 7) | (m >> 57)) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return out;
}

/* Uniform in 0..n-1 (n >= 1), without bias worth noticing: 64-bit multiply-shift. */
static inline uint32_t trm_rng_below(trm_rng *r, uint32_t n) {
    return (uint32_t)(((trm_rng_next(r) >> 32) * (uint64_t)n) >> 32);
}

/* Uniform in [0, 1). */
static inline double trm_rng_unit(trm_rng *r) {
    return (double)(trm_rng_next(r) >> 11) * 0x1.0p-53;
}

/* Standard normal (Box-Muller, one value of the pair). */
double trm_rng_normal(trm_rng *r);

/* Fisher-Yates over n bytes. */
static inline void trm_rng_shuffle(trm_rng *r, uint8_t *v, int n) {
    for (int i = n - 1; i > 0; i--) {
        int j = (int)trm_rng_below(r, (uint32_t)i + 1);
        uint8_t t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

#endif

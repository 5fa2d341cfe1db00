/* A layer of a model of candidates in one kernel, for bf16 on AVX-512 with BF16 instructions. What
 * lies between its products stays in registers or in the first cache, and what the means make equal
 * is multiplied once: nine positions of a unit share a row. Nine rows at a time, the candidates of
 * a cell. Pure functions over the caller's buffers; see trm_rows.candidates. */
#include "candidates_x512.h"

/* The matrix (out, in) whose rows lie `row` and whose columns `col` floats apart -> for 16 outputs
 * at a time, each pair of inputs' 32 weights. */
static uint16_t *pack(uint16_t *to, const float *w, int out, int in, int row, int col) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i rows = _mm512_mullo_epi32(lane, _mm512_set1_epi32(row));
    for (int o = 0; o < out; o += LANES)
        for (int i = 0; i < in; i += 2, to += 2 * LANES) {
            const float *at = w + (ptrdiff_t)o * row + (ptrdiff_t)i * col;
            pair v = {_mm512_i32gather_ps(rows, at, 4), _mm512_i32gather_ps(rows, at + col, 4)};
            put_pair(to, v, 2 * LANES);
        }
    return to;
}

static size_t candidates_bytes(int d, int inner, bool train) {
    bool fits = d % (2 * LANES) == 0 && inner % LANES == 0;
    return fits ? packed_weights(d, inner) * sizeof(uint16_t) * (train ? 2 : 1) : 0;
}

static void candidates_pack(
    void *out, const float *const w[TRM_CANDIDATE_WEIGHTS], int d, int inner, bool train) {
    uint16_t *to = pack(out, w[0], 2 * KINDS * d, d, d, 1);
    for (int k = 0; k < KINDS; k++)
        to = pack(to, w[1] + (ptrdiff_t)k * d, d, d, KINDS * d, 1);
    to = pack(to, w[2], 2 * inner, d, d, 1);
    to = pack(to, w[3], d, inner, inner, 1);
    if (!train)
        return;
    to = pack(to, w[0], d, 2 * KINDS * d, 1, d); /* all transposed */
    for (int k = 0; k < KINDS; k++)
        to = pack(to, w[1] + (ptrdiff_t)k * d, d, d, 1, KINDS * d);
    to = pack(to, w[2], d, 2 * inner, 1, d);
    (void)pack(to, w[3], inner, d, 1, inner);
}

/* silu(g) u. The sigmoid is a parabola, through three Chebyshev nodes, for each whole number that
 * g rounds to, whose lower four bits find it in the tables: off by 7e-4 and by 0.8% at most, twice
 * what bf16 rounds off. It takes fewer operations than e^-g, and those of other pipes than the
 * products'. Below -8.49 it stands still. What is not a number stays so. */
static inline __m512 silu(__m512 g, __m512 u) {
    const __m512 square = _mm512_setr_ps(6.40987551e-17f, -0.0444777124f, -0.0398137644f,
        -0.0205901023f, -0.00861853734f, -0.00332688564f, -0.00124586525f, -0.000461344025f,
        0.000170129249f, 0.000461344025f, 0.00124586525f, 0.00332688564f, 0.00861853734f,
        0.0205901023f, 0.0398137644f, 0.0444777124f);
    const __m512 slope = _mm512_setr_ps(0.246165633f, 0.28444919f, 0.265437394f, 0.169744805f,
        0.0871070772f, 0.0401179492f, 0.0174935013f, 0.00739758695f, 0.00306785852f, 0.00739758695f,
        0.0174935013f, 0.0401179492f, 0.0871070772f, 0.169744805f, 0.265437394f, 0.28444919f);
    const __m512 start = _mm512_setr_ps(0.5f, 0.491087079f, 0.509177327f, 0.628650606f, 0.77148205f,
        0.87588954f, 0.937417507f, 0.969911695f, 0.0139899459f, 0.0300883036f, 0.0625824854f,
        0.12411046f, 0.22851792f, 0.371349365f, 0.490822643f, 0.508912921f);
    g = _mm512_max_ps(_mm512_set1_ps(-8.49f), g);
    __m512 x = _mm512_min_ps(_mm512_set1_ps(7.49f), g);
    /* adding 1.5 * 2^23 leaves the whole number in the lower bits */
    __m512i k = _mm512_castps_si512(_mm512_add_ps(x, _mm512_set1_ps(12582912)));
    __m512 s = _mm512_permutexvar_ps(k, square);
    s = _mm512_fmadd_ps(s, x, _mm512_permutexvar_ps(k, slope));
    s = _mm512_fmadd_ps(s, x, _mm512_permutexvar_ps(k, start));
    return _mm512_mul_ps(_mm512_mul_ps(g, u), s);
}

/* h = silu(gate) * up of nine rows for 16 of n channels; w as packed, up n outputs later. */
static inline void gated(__m512 h[NINE], const uint16_t *a, const uint16_t *w, int d, int n) {
    __m512 u[NINE];
    gates(h, u, a, w, d, n);
    for (int r = 0; r < NINE; r++)
        h[r] = silu(h[r], u[r]);
}

/* sums (4, 81, d): the gated channels of each kind, added up over each of its units. */
static inline void unit_sums(float *sums, const uint16_t *xa, const uint16_t *w, int d) {
    memset(sums, 0, (size_t)KINDS * CELLS * (size_t)d * sizeof *sums);
    for (int c = 0; c < KINDS * d; c += LANES) {
        int kind = c / d;
        float *to = sums + (ptrdiff_t)kind * CELLS * d + c % d;
        for (int cell = 0; cell < CELLS; cell++) {
            __m512 h[NINE];
            gated(h, xa + (ptrdiff_t)cell * NINE * d, w + (ptrdiff_t)c * d, d, KINDS * d);
            if (kind == 0) { /* one unit: added up before memory is */
                for (int r = 1; r < NINE; r++)
                    h[0] = _mm512_add_ps(h[0], h[r]);
                _mm512_storeu_ps(to + (ptrdiff_t)cell * d, h[0]);
                continue;
            }
            for (int r = 0; r < NINE; r++) {
                float *at = to + (ptrdiff_t)unit_of(kind, cell, r) * d;
                _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), h[r]));
            }
        }
    }
}

/* x (9, d) of a cell += what its units say. */
static inline void add_units(float *x, const float *outputs, int cell, int d) {
    for (int r = 0; r < NINE; r++)
        for (int i = 0; i < d; i += LANES) {
            __m512 s = _mm512_loadu_ps(x + (ptrdiff_t)r * d + i);
            for (int kind = 0; kind < KINDS; kind++) {
                ptrdiff_t unit = kind * CELLS + unit_of(kind, cell, r);
                s = _mm512_add_ps(s, _mm512_loadu_ps(outputs + unit * d + i));
            }
            _mm512_storeu_ps(x + (ptrdiff_t)r * d + i, s);
        }
}

/* The sums of the lanes of eight vectors: in lanes 0..3 those of the first four, in 8..11 the rest.
 */
static inline __m512 lane_sums(const __m512 v[8]) {
    __m512 two[4], four[2];
    for (int i = 0; i < 4; i++)
        two[i] = _mm512_add_ps(
            _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 2; i++) {
        __m512d a = _mm512_castps_pd(two[2 * i]), b = _mm512_castps_pd(two[2 * i + 1]);
        four[i] = _mm512_add_ps(
            _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    __m512 half = _mm512_add_ps(
        _mm512_shuffle_f32x4(four[0], four[1], 0x88), _mm512_shuffle_f32x4(four[0], four[1], 0xDD));
    return _mm512_add_ps(half, _mm512_shuffle_f32x4(half, half, 0xB1));
}

/* x (9, d) = rmsnorm(x), xa = act(x); inv (9, or NULL) keeps what it was multiplied by. No sum
 * takes the way through memory, which is what the next product would wait for. */
static inline void normalise(float *x, uint16_t *xa, float *inv, int d, float eps) {
    const __m512 part = _mm512_set1_ps(1.0f / (float)d), least = _mm512_set1_ps(eps);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512 square[NINE];
    for (int r = 0; r < NINE; r++) {
        square[r] = _mm512_setzero_ps();
        for (int i = 0; i < d; i += LANES) {
            __m512 v = _mm512_loadu_ps(x + (ptrdiff_t)r * d + i);
            square[r] = _mm512_fmadd_ps(v, v, square[r]);
        }
    }
    __m512 last = _mm512_set1_ps(_mm512_reduce_add_ps(square[8]));
    __m512 by = _mm512_rsqrt14_ps(_mm512_fmadd_ps(lane_sums(square), part, least));
    by = _mm512_permutexvar_ps(lane, by);
    last = _mm512_rsqrt14_ps(_mm512_fmadd_ps(last, part, least));
    if (inv) {
        _mm512_mask_storeu_ps(inv, 0xFF, by);
        _mm512_mask_storeu_ps(inv + 8, 1, last);
    }
    for (int r = 0; r < NINE; r++) {
        __m512 f = r < 8 ? _mm512_permutexvar_ps(_mm512_set1_epi32(r), by) : last;
        for (int i = 0; i < d; i += LANES) {
            ptrdiff_t at = (ptrdiff_t)r * d + i;
            __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + at), f);
            _mm512_storeu_ps(x + at, v);
            put_bf16(xa + at, v, LANES);
        }
    }
}

/* att (9, 4 d) of a cell: the means of its units. */
static inline void tell_tape(uint16_t *att, const uint16_t *means, int cell, int d) {
    for (int r = 0; r < NINE; r++)
        for (int kind = 0; kind < KINDS; kind++, att += d)
            memcpy(att, means + (ptrdiff_t)(kind * CELLS + unit_of(kind, cell, r)) * d,
                (size_t)d * sizeof *att);
}

/* Always inlined with d a constant for the shipped width, so that the inner loops unroll. */
static inline __attribute__((always_inline)) void layer(float *x, const trm_candidate_tape *t,
    const uint16_t *w, void *space, const int d, const int inner, float eps) {
    float *sums = space;
    uint16_t *means = (uint16_t *)(sums + (ptrdiff_t)KINDS * CELLS * d);
    uint16_t *h = means + (ptrdiff_t)KINDS * CELLS * d;
    const uint16_t *mix_out = w + (ptrdiff_t)2 * KINDS * d * d;
    const uint16_t *gate_up = mix_out + (ptrdiff_t)KINDS * d * d;
    const uint16_t *down = gate_up + (ptrdiff_t)2 * inner * d;
    unit_sums(sums, t->xa0, w, d);
    unit_outputs(sums, mix_out, means, d);
    for (int cell = 0; cell < CELLS; cell++, x += NINE * d) {
        ptrdiff_t row = (ptrdiff_t)cell * NINE;
        uint16_t *xa1 = (uint16_t *)t->xa1 + row * d, *xa2 = (uint16_t *)t->xa2 + row * d;
        if (t->att)
            tell_tape((uint16_t *)t->att + row * KINDS * d, means, cell, d);
        add_units(x, sums, cell, d);
        normalise(x, xa1, t->inv1 ? t->inv1 + row : NULL, d, eps);
        for (int c = 0; c < inner; c += LANES) {
            __m512 v[NINE];
            gated(v, xa1, gate_up + (ptrdiff_t)c * d, d, inner);
            for (int r = 0; r < NINE; r++)
                put_bf16(h + (ptrdiff_t)r * inner + c, v[r], LANES);
        }
        product(x, h, down, d, inner, true);
        normalise(x, xa2, t->inv2 ? t->inv2 + row : NULL, d, eps);
    }
}

static size_t candidates_space(int d, int inner) {
    return sums_bytes(d) + (size_t)NINE * (size_t)inner * sizeof(uint16_t);
}

static void candidates(float *x, const trm_candidate_tape *t, const void *weights, void *space,
    int d, int inner, float eps) {
    if (d == 32 && inner == 128)
        layer(x, t, weights, space, 32, 128, eps);
    else
        layer(x, t, weights, space, d, inner, eps);
}

void trm_candidates_x512(trm_rows *t) {
    t->candidates = candidates;
    t->candidates_back = trm_candidates_back_x512;
    t->candidates_bytes = candidates_bytes;
    t->candidates_space = candidates_space;
    t->candidates_pack = candidates_pack;
}

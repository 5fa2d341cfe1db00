/* Row kernels of every instruction set against the generic ones, and those against libm. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rows.h"
#include "trm/rng.h"

enum { ROWS = 81, D = 48, HEADS = 3, HD = 16, N = ROWS * 3 * D };

struct data {
    float f[4][N];
    uint8_t act[4][N * 4];
};

static void fill(struct data *d, const trm_rows *r, uint64_t seed) {
    trm_rng rng;
    trm_rng_seed(&rng, seed);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < N; j++)
            d->f[i][j] = (float)trm_rng_normal(&rng);
        r->to_act(d->act[i], d->f[i], N);
    }
}

static void same(const float *a, const float *b, int n, double tolerance, const char *what) {
    for (int i = 0; i < n; i++)
        if (!(fabs((double)a[i] - b[i]) <= tolerance * (1 + fabs((double)b[i]))))
            fail_msg("%s: element %d is %g, not %g", what, i, a[i], b[i]);
}

/* Neighbours in a 9 x 9 grid: below, left, right, above. */
static void grid(int32_t near[4 * ROWS]) {
    for (int i = 0; i < ROWS; i++) {
        near[i] = i < 72 ? i + 9 : -1;
        near[ROWS + i] = i % 9 ? i - 1 : -1;
        near[2 * ROWS + i] = i % 9 < 8 ? i + 1 : -1;
        near[3 * ROWS + i] = i < 9 ? -1 : i - 9;
    }
}

/* Runs every kernel on equal data and leaves all results in f and act. */
static void run_all(const trm_rows *r, struct data *d, float *out) {
    float inv[ROWS * 2], tmp[2 * ROWS], lse[ROWS];
    int32_t answer[ROWS];
    r->norm(d->f[0], d->act[0], inv, d->f[1], ROWS, D, 1e-5f);
    r->norm_t(d->f[0], d->act[0], inv, d->f[1], ROWS, D, 1e-5f);
    r->norm_t_back(d->f[2], d->act[1], d->act[0], inv, ROWS, D, tmp);
    r->norm(d->f[0], d->act[0], inv, d->f[1], ROWS, D, 1e-5f);
    r->norm_back(d->f[2], d->act[1], d->act[0], inv, ROWS, D);
    r->swiglu(d->act[1], D, d->act[2], ROWS, D);
    r->swiglu_back(d->act[2], d->act[1], ROWS, D);
    r->unit_means(d->act[1], D / 3);
    r->units(d->act[1], d->act[3], HEADS, HD, 0.25f);
    r->units_back(d->act[0], d->act[1], d->act[3], HEADS, HD, 0.25f);
    int32_t near[4 * ROWS];
    grid(near);
    r->near(d->act[1], d->act[3], near, ROWS, HEADS, HD, 0.25f);
    r->shift(d->act[0], d->act[1], near, ROWS, D, false);
    r->near_back(d->act[0], d->f[1], d->act[1], d->act[3], near, ROWS, HEADS, HD, 0.25f);
    r->softmax(d->act[1], 64, d->f[3], 64, 40, 50, 0.3f, inv, lse);
    r->scale_rows(d->act[1], inv, 40, 64, 64);
    r->rope(d->act[3], ROWS, D, HEADS, HD, 8, d->f[3], 1);
    r->argmax(answer, tmp, d->f[3], ROWS, 11);
    for (int i = 0; i < 4; i++)
        r->from_act(out + (ptrdiff_t)i * N, d->act[i], N);
    memcpy(out + (ptrdiff_t)4 * N, d->f[0], sizeof d->f[0]);
    memcpy(out + (ptrdiff_t)5 * N, lse, 40 * sizeof *lse);
    memcpy(out + (ptrdiff_t)5 * N + 64, tmp, ROWS * sizeof *tmp);
    for (int i = 0; i < ROWS; i++)
        out[5 * N + 256 + i] = (float)answer[i];
}

static void test_all_instruction_sets_agree(void **state) {
    (void)state;
    static const char *const isa[] = {"avx2", "avx512", "avx512bf16"};
    struct data *d = malloc(sizeof *d);
    float *a = calloc(6 * N, sizeof *a), *b = calloc(6 * N, sizeof *b);
    assert_true(d && a && b);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const trm_rows *g = trm_rows_for(bf16, "generic");
        fill(d, g, 7);
        run_all(g, d, a);
        for (int i = 0; i < 3; i++) {
            const trm_rows *r = trm_rows_for(bf16, isa[i]);
            if (!r)
                continue; /* not on this processor */
            fill(d, r, 7);
            run_all(r, d, b);
            same(b, a, 5 * N + 512, bf16 ? 0.02 : 1e-4, isa[i]);
        }
    }
    free(d);
    free(a);
    free(b);
}

/* Means over units, at widths that fill vectors and at some that do not. */
static void test_means_agree(void **state) {
    (void)state;
    static const int width[] = {32, 48, 5};
    static float in[729 * 4 * 48], a[729 * 4 * 48], b[729 * 4 * 48];
    static uint16_t act[729 * 4 * 48];
    const trm_rows *generic = trm_rows_for(true, "generic"), *r = trm_rows_for(true, "avx512bf16");
    if (!r)
        skip();
    for (int w = 0; w < 3; w++) {
        int n = 4 * width[w];
        size_t all = 729 * (size_t)n;
        for (size_t i = 0; i < all; i++)
            in[i] = (float)((i * 2654435761u) % 1000u) / 500.0f - 1.0f;
        r->to_act(act, in, all);
        r->candidate_means(act, n);
        r->unit_means(act, 3 * width[w]);
        r->from_act(a, act, all);
        generic->to_act(act, in, all);
        generic->candidate_means(act, n);
        generic->unit_means(act, 3 * width[w]);
        generic->from_act(b, act, all);
        same(a, b, (int)all, 0.01, "means");
    }
}

/* Heads of 16 and 32 channels have kernels of their own. */
static void heads_agree(const trm_rows *r, const trm_rows *generic, int hd, double tolerance) {
    enum { WIDE = 5, MOST = ROWS * 3 * WIDE * 32 };
    static float f[MOST], a[MOST], b[MOST], acc[MOST];
    static uint8_t qkv[MOST * 4], out[MOST * 4];
    int n = ROWS * 3 * WIDE * hd;
    int32_t near[4 * ROWS];
    trm_rng rng;
    trm_rng_seed(&rng, 5);
    grid(near);
    for (int i = 0; i < n; i++)
        f[i] = (float)trm_rng_normal(&rng);
    r->to_act(qkv, f, (size_t)n);
    for (int kernel = 0; kernel < 6; kernel++)
        for (int i = 0; i < 2; i++) {
            const trm_rows *t = i ? r : generic;
            if (kernel == 0)
                t->units(out, qkv, WIDE, hd, 0.5f);
            else if (kernel == 1)
                t->units_back(out, qkv, qkv, WIDE, hd, 0.5f);
            else if (kernel == 2)
                t->near(out, qkv, near, ROWS, WIDE, hd, 0.5f);
            else if (kernel == 3)
                t->near_back(out, acc, qkv, qkv, near, ROWS, WIDE, hd, 0.5f);
            else { /* any numbers do for angles */
                memcpy(out, qkv, (size_t)n * r->act_size);
                t->rope(out, ROWS, 3 * WIDE * hd, 2 * WIDE, hd, kernel == 4 ? hd : hd / 2, f, -1);
            }
            t->from_act(i ? b : a, out, (size_t)n);
            if (i)
                same(b, a, kernel % 2 || kernel == 4 ? n : n / 3, tolerance, r->isa);
        }
}

static void test_every_head_width_agrees(void **state) {
    (void)state;
    static const char *const isa[] = {"avx2", "avx512", "avx512bf16"};
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int i = 0; i < 3; i++)
            for (int hd = 8; hd <= 32; hd += 8)
                if (trm_rows_for(bf16, isa[i]))
                    heads_agree(trm_rows_for(bf16, isa[i]), trm_rows_for(bf16, "generic"), hd,
                        bf16 ? 0.02 : 1e-4);
}

/* More rows than a block, an odd count of them, and more columns than a strip. */
static void outer_adds_up(const trm_rows *r, int n) {
    enum { M = 272, MOST = 2 * TRM_OUTER_ROWS + 77 };
    size_t all = (size_t)MOST * (size_t)(M + n);
    float *f = malloc(sizeof *f * all), *c = malloc(sizeof *c * M * (size_t)n);
    uint16_t *act = malloc(sizeof *act * all);
    void *space = aligned_alloc(64, (r->outer_space(n) + 63) / 64 * 64);
    assert_true(f && act && c && space);
    trm_rng rng;
    trm_rng_seed(&rng, 9);
    for (int i = 0; i < MOST * (M + n); i++)
        f[i] = (float)trm_rng_normal(&rng);
    r->to_act(act, f, all);
    r->from_act(f, act, all); /* as rounded */
    for (int rows = 1; rows <= MOST; rows += rows < 3 ? 1 : MOST - 3) {
        const float *a = f, *b = f + MOST * M;
        for (int i = 0; i < M * n; i++)
            c[i] = 1;
        r->outer(c, act, act + MOST * M, M, n, rows, space);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < n; j++) {
                double want = 1, size = 1;
                for (int k = 0; k < rows; k++) {
                    want += (double)a[k * M + i] * b[k * n + j];
                    size += fabs((double)a[k * M + i] * b[k * n + j]);
                }
                if (!(fabs(c[i * n + j] - want) <= 1e-6 * size))
                    fail_msg(
                        "%d rows: (%d, %d) is %g, not %g", rows, i, j, (double)c[i * n + j], want);
            }
    }
    free(f);
    free(act);
    free(c);
    free(space);
}

static void test_outer_products_of_rows_add_up(void **state) {
    (void)state;
    const trm_rows *r = trm_rows_get(true);
    if (!r->outer)
        skip();
    for (int n = 32; n <= 128; n += 32)
        outer_adds_up(r, n);
}

static void test_swiglu_is_silu_times_up(void **state) {
    (void)state;
    const trm_rows *r = trm_rows_get(false);
    float gu[64], h[32];
    for (int i = 0; i < 32; i++) {
        gu[i] = (float)(i - 16) * 3;
        gu[32 + i] = 0.5f * (float)i;
    }
    r->swiglu(h, 32, gu, 1, 32);
    for (int i = 0; i < 32; i++) {
        double want = gu[i] / (1 + exp(-(double)gu[i])) * gu[32 + i];
        assert_true(fabs(h[i] - want) <= 1e-5 * (1 + fabs(want)));
    }
}

static void test_softmax_survives_large_scores(void **state) {
    (void)state;
    const trm_rows *r = trm_rows_get(false);
    float s[16] = {1e6f, 1e6f, -1e6f, 0}, p[16], inv, lse;
    r->softmax(p, 16, s, 16, 1, 4, 1.0f, &inv, &lse);
    r->scale_rows(p, &inv, 1, 16, 16);
    assert_true(fabs(p[0] - 0.5) < 1e-6 && fabs(p[1] - 0.5) < 1e-6);
    assert_true(p[2] < 1e-30 && p[3] < 1e-30);
    for (int i = 4; i < 16; i++)
        assert_true(p[i] == 0);
}

/* A unit's attention never sees another unit: moving a value elsewhere changes nothing. */
static void test_units_stay_within_their_unit(void **state) {
    (void)state;
    const trm_rows *r = trm_rows_get(false);
    static float qkv[N], before[ROWS * D], after[ROWS * D];
    trm_rng rng;
    trm_rng_seed(&rng, 3);
    for (int i = 0; i < N; i++)
        qkv[i] = (float)trm_rng_normal(&rng);
    r->units(before, qkv, HEADS, HD, 0.25f);
    int moved = 40; /* the centre: row 4, column 4, box 4 */
    for (int i = 0; i < 3 * D; i++)
        qkv[moved * 3 * D + i] += 1;
    r->units(after, qkv, HEADS, HD, 0.25f);
    for (int c = 0; c < ROWS; c++)
        for (int h = 0; h < HEADS; h++) {
            bool sees = h == 0 ? c / 9 == 4 : h == 1 ? c % 9 == 4 : c / 27 == 1 && c % 9 / 3 == 1;
            bool changed = false;
            for (int i = c * D + h * HD; i < c * D + (h + 1) * HD; i++)
                changed |= before[i] != after[i];
            assert_true(changed == sees);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_instruction_sets_agree),
        cmocka_unit_test(test_means_agree),
        cmocka_unit_test(test_every_head_width_agrees),
        cmocka_unit_test(test_outer_products_of_rows_add_up),
        cmocka_unit_test(test_swiglu_is_silu_times_up),
        cmocka_unit_test(test_softmax_survives_large_scores),
        cmocka_unit_test(test_units_stay_within_their_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

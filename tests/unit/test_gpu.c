/* The GPU engine against the CPU's, on every kind of model. Where no GPU is, the plug-in that
 * plays one on the CPU stands in: the same code but for the device itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trm/engine.h"
#include "trm/gpu.h"

#define SMALL                                                                                      \
    "\"hidden_size\":64,\"num_heads\":4,\"H_cycles\":1,\"L_cycles\":2,\"L_layers\":2,"             \
    "\"inner_size\":72,"
#define PREFIX "\"puzzle_emb_ndim\":72,\"puzzle_emb_len\":2,\"num_puzzle_identifiers\":3"
static const char *const configs[] = {
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"mlp_t\":true,\"pos_encodings\":\"none\"," PREFIX
    "}",
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"pos_encodings\":\"units\","
    "\"puzzle_emb_ndim\":0,\"q_mean\":true}",
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"pos_encodings\":\"unit_means\","
    "\"puzzle_emb_ndim\":0}",
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"pos_encodings\":\"candidates\","
    "\"puzzle_emb_ndim\":0,\"q_mean\":true}",
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"pos_encodings\":\"rope\"," PREFIX "}",
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"pos_encodings\":\"learned\"," PREFIX "}",
    "{" SMALL "\"seq_len\":100,\"vocab_size\":6,\"pos_encodings\":\"rope2d\",\"packed\":true,"
    "\"q_mean\":true," PREFIX "}",
    "{" SMALL "\"seq_len\":400,\"vocab_size\":6,\"pos_encodings\":\"neighbours\",\"packed\":true,"
    "\"puzzle_emb_ndim\":0,\"q_mean\":true}",
    "{" SMALL "\"seq_len\":400,\"vocab_size\":6,\"pos_encodings\":\"shifts\",\"packed\":true,"
    "\"puzzle_emb_ndim\":0,\"q_mean\":true}",
    "{" SMALL "\"seq_len\":100,\"vocab_size\":6,\"pos_encodings\":\"neighbours\","
    "\"puzzle_emb_ndim\":0}",
};
enum { CONFIGS = sizeof configs / sizeof *configs, SLOTS = 5 };

static trm_model *model_of(const char *config) {
    trm_config c;
    trm_model *m = NULL;
    trm_error err;
    trm_rng rng;
    trm_rng_seed(&rng, 7);
    if (trm_config_parse(&c, config, &err) || trm_model_new(&m, &c, &rng, &err))
        fail_msg("%s", err.text);
    return m;
}

static trm_engine *engine_of(const trm_model *m, const char *backend) {
    trm_engine *e = NULL;
    trm_error err;
    trm_engine_options o = {backend, 1, SLOTS, true};
    if (trm_engine_new(&e, m, &o, &err))
        fail_msg("%s", err.text);
    assert_string_equal(trm_engine_backend(e), backend);
    assert_int_equal(trm_engine_slots(e), SLOTS);
    return e;
}

/* Packed puzzles come in several sizes. `change`: with one token more, on from its latents. */
static int put(trm_engine *e, int slot, uint64_t seed, bool change) {
    const trm_config *c = &trm_engine_model(e)->config;
    int side = (int)lround(sqrt(c->seq_len)), rows = side, cols = side;
    int32_t tokens[4096] = {0};
    uint8_t row[4096], col[4096];
    trm_rng rng;
    trm_error err;
    trm_rng_seed(&rng, seed);
    if (c->packed) {
        rows = 2 + (int)trm_rng_below(&rng, (uint32_t)side - 1);
        cols = 2 + (int)trm_rng_below(&rng, (uint32_t)side - 1);
    }
    for (int i = 0; i < rows * cols; i++) {
        tokens[i] = (int32_t)trm_rng_below(&rng, (uint32_t)c->vocab_size);
        row[i] = (uint8_t)(i / cols);
        col[i] = (uint8_t)(i % cols);
    }
    trm_input in = {.cells = rows * cols,
        .tokens = tokens,
        .row = c->packed ? row : NULL,
        .col = c->packed ? col : NULL,
        .puzzle_identifier = c->puzzle_emb_ndim ? (int)trm_rng_below(&rng, 3) : 0};
    tokens[0] = change ? (tokens[0] + 1) % c->vocab_size : tokens[0];
    if (change ? trm_engine_change(e, slot, &in, &err) : trm_engine_load(e, slot, &in, &err))
        fail_msg("%s", err.text);
    return in.cells;
}

static int load(trm_engine *e, int slot, uint64_t seed) {
    return put(e, slot, seed, false);
}

/* The difference's norm against that of what is wanted; but what stands for minus infinity, beside
 * which all else is small, must be the same. */
static void close_to(const char *what, const char *config, const float *got, const float *want,
    int n, double tolerance) {
    double off = 0, all = 0;
    for (int i = 0; i < n; i++) {
        if (want[i] < -1e5f) {
            assert_true(got[i] == want[i]);
            continue;
        }
        off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        all += (double)want[i] * want[i];
    }
    if (!(sqrt(off) <= tolerance * sqrt(all)))
        fail_msg("%s of %s: off by %g of %g", what, config, sqrt(off), sqrt(all));
}

static void step(trm_engine *e, const int *slots, int n) {
    trm_error err;
    if (trm_engine_step(e, slots, n, &err))
        fail_msg("%s", err.text);
}

static void load_all(trm_engine *cpu, trm_engine *gpu, uint64_t seed, int cells[SLOTS]) {
    for (int i = 0; i < SLOTS; i++) {
        cells[i] = load(cpu, i, seed + (uint64_t)i);
        (void)load(gpu, i, seed + (uint64_t)i);
    }
}

/* Some steps are longer than others beside them. */
static void lengthen(trm_engine *cpu, trm_engine *gpu) {
    for (int i = 0; i < SLOTS; i += 2) {
        trm_engine_cycles(cpu, i, 2);
        trm_engine_cycles(gpu, i, 2);
    }
}

/* Slots come and go, in batches of several sizes and orders, each size more than once so that
 * recorded steps are played back; one slot is loaded again, one perturbed, one
 * changed. All begin anew in
 * each round, or before each step: a recursion over random weights doubles, in each step, what
 * rounding it has met. */
static void agrees(const char *config, const char *backend, double tolerance, bool each_step) {
    static const int batch[][SLOTS] = {{0, 1, 2, 3, 4}, {3}, {2, 0, 4}, {1, 3, 0, 2}, {4}, {0}};
    static const int size[] = {5, 1, 3, 4, 1, 1};
    trm_model *m = model_of(config);
    trm_engine *cpu = engine_of(m, "openblas"), *gpu = engine_of(m, backend);
    int cells[SLOTS], v = m->config.vocab_size;
    for (int round = 0; round < 2; round++) {
        load_all(cpu, gpu, (uint64_t)(10 * round), cells);
        if (!each_step)
            lengthen(cpu, gpu);
        for (size_t k = 0; k < sizeof size / sizeof *size; k++) {
            if (each_step && k != 3)
                load_all(cpu, gpu, 1000 * k + (uint64_t)(10 * round), cells);
            step(cpu, batch[k], size[k]);
            step(gpu, batch[k], size[k]);
            for (int i = 0; i < size[k]; i++) {
                int slot = batch[k][i];
                close_to("logits", config, trm_engine_logits(gpu, slot),
                    trm_engine_logits(cpu, slot), cells[slot] * v, tolerance);
                close_to("halt logits", config, trm_engine_q_logits(gpu, slot),
                    trm_engine_q_logits(cpu, slot), 2, tolerance);
                close_to("confidence", config, trm_engine_confidence(gpu, slot),
                    trm_engine_confidence(cpu, slot), cells[slot], tolerance);
            }
            if (k != 2)
                continue;
            trm_rng a, b;
            trm_rng_seed(&a, 3);
            b = a;
            if (each_step)
                load_all(cpu, gpu, (uint64_t)(200 + round), cells);
            cells[0] = load(cpu, 0, (uint64_t)(100 + round));
            (void)load(gpu, 0, (uint64_t)(100 + round));
            trm_engine_perturb(cpu, 0, 0.5f, &a); /* fresh */
            trm_engine_perturb(gpu, 0, 0.5f, &b);
            trm_engine_perturb(cpu, 3, 0.5f, &a); /* in work */
            trm_engine_perturb(gpu, 3, 0.5f, &b);
            uint64_t last = each_step ? (uint64_t)(200 + round) : (uint64_t)(10 * round);
            (void)put(cpu, 2, last + 2, true);
            (void)put(gpu, 2, last + 2, true);
        }
    }
    trm_engine_free(cpu);
    trm_engine_free(gpu);
    trm_model_free(m);
}

static void test_f32_agrees(void **state) {
    (void)state;
    for (int i = 0; i < CONFIGS; i++)
        agrees(configs[i], "cuda-f32", 1e-4, false);
}

static void test_bf16_agrees(void **state) {
    (void)state;
    for (int i = 0; i < CONFIGS; i++)
        agrees(configs[i], "cuda-bf16", 2e-2, true);
}

static void test_odd_sizes_are_refused(void **state) {
    (void)state;
    trm_model *m = model_of("{\"hidden_size\":36,\"num_heads\":4,\"seq_len\":81,\"vocab_size\":11,"
                            "\"pos_encodings\":\"none\",\"puzzle_emb_ndim\":0}");
    trm_engine *e;
    trm_error err;
    trm_engine_options o = {"cuda-f32", 1, 1, false};
    assert_int_equal(trm_engine_new(&e, m, &o, &err), TRM_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "multiples of 8"));
    trm_model_free(m);
}

static bool is_real(void) {
    return !strstr(trm_gpu_status(), "CPU in the place");
}

static void test_short_memory_means_fewer_slots(void **state) {
    (void)state;
    if (is_real())
        skip();
    trm_model *m = model_of(configs[0]);
    trm_engine *all, *few, *none;
    trm_error err;
    trm_engine_options o = {"cuda-f32", 1, 64, false};
    char limit[32];
    assert_int_equal(trm_engine_new(&all, m, &o, &err), 0);
    assert_int_equal(trm_engine_slots(all), 64);
    (void)snprintf(limit, sizeof limit, "%zu", trm_engine_bytes(all) / 2);
    (void)setenv("TRM_CUDA_TEST_MEMORY", limit, 1);
    assert_int_equal(trm_engine_new(&few, m, &o, &err), 0);
    assert_in_range(trm_engine_slots(few), 16, 32);
    assert_true(trm_engine_bytes(few) <= trm_engine_bytes(all) / 2);
    (void)setenv("TRM_CUDA_TEST_MEMORY", "1000", 1);
    assert_int_equal(trm_engine_new(&none, m, &o, &err), TRM_E_NOMEM);
    (void)unsetenv("TRM_CUDA_TEST_MEMORY");
    trm_engine_free(all);
    trm_engine_free(few);
    trm_model_free(m);
}

static void test_dead_device_is_an_error(void **state) {
    (void)state;
    if (is_real())
        skip();
    char path[] = "/tmp/trm-gpu-XXXXXX";
    int fd = mkstemp(path), slot = 0;
    assert_true(fd >= 0);
    trm_model *m = model_of(configs[1]);
    trm_engine *e = engine_of(m, "cuda-f32");
    trm_error err;
    (void)load(e, slot, 1);
    step(e, &slot, 1);
    int32_t before = trm_engine_answer(e, slot)[0];
    (void)setenv("TRM_CUDA_TEST_FAIL", path, 1);
    assert_int_equal(trm_engine_step(e, &slot, 1, &err), TRM_E_BACKEND);
    assert_int_equal(trm_engine_answer(e, slot)[0], before);
    (void)unsetenv("TRM_CUDA_TEST_FAIL");
    assert_int_equal(trm_engine_step(e, &slot, 1, &err), TRM_E_BACKEND); /* it stays dead */
    (void)remove(path);
    trm_engine_free(e);
    trm_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32_agrees),
        cmocka_unit_test(test_bf16_agrees),
        cmocka_unit_test(test_odd_sizes_are_refused),
        cmocka_unit_test(test_short_memory_means_fewer_slots),
        cmocka_unit_test(test_dead_device_is_an_error),
    };
    printf("%s\n", trm_gpu_status());
    return cmocka_run_group_tests(tests, NULL, NULL);
}

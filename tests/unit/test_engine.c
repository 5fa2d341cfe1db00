/* An engine whose answers depend on what is stepped beside them or on the backend, or that is a
 * bad neighbour:
 * memory taken in steps, processor time taken while it has nothing to do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "trm/engine.h"
#include "trm/rng.h"

#define SMALL "\"H_cycles\":2,\"L_cycles\":2,\"L_layers\":2,\"hidden_size\":64,\"num_heads\":4,"
static const char *const configs[] = {
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"mlp_t\":true,\"pos_encodings\":\"none\","
    "\"puzzle_emb_ndim\":64,\"puzzle_emb_len\":2,\"num_puzzle_identifiers\":1}",
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"inner_size\":96,\"q_mean\":true,"
    "\"pos_encodings\":\"unit_means\"}",
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"inner_size\":96,\"q_mean\":true,"
    "\"pos_encodings\":\"units\"}",
    "{" SMALL "\"seq_len\":144,\"vocab_size\":6,\"inner_size\":96,\"q_mean\":true,"
    "\"packed\":true,\"pos_encodings\":\"shifts\"}",
    "{" SMALL "\"seq_len\":144,\"vocab_size\":6,\"inner_size\":96,\"packed\":true,"
    "\"puzzle_emb_ndim\":64,\"puzzle_emb_len\":2,\"num_puzzle_identifiers\":1,"
    "\"pos_encodings\":\"rope2d_shifts\"}",
    "{" SMALL "\"seq_len\":144,\"vocab_size\":6,\"packed\":true,\"pos_encodings\":\"rope2d\"}",
    /* wide enough for its SwiGLU to go in parts, and for four puzzles to go together */
    "{" SMALL "\"seq_len\":81,\"vocab_size\":11,\"inner_size\":2048,\"q_mean\":true,"
    "\"pos_encodings\":\"unit_means\"}",
};
enum { N_CONFIGS = sizeof configs / sizeof *configs, SLOTS = 5, CELLS = 144, LOGITS = CELLS * 11 };

/* How many pieces of memory this process has asked for, and given back. Sanitizers count by
 * means of their own, and want malloc for themselves. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
enum { COUNTED = 0 };
static atomic_long taken, given;
#else
enum { COUNTED = 1 };
static atomic_long taken, given;
#define EXPORT __attribute__((visibility("default")))
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

EXPORT void *malloc(size_t n) {
    atomic_fetch_add(&taken, 1);
    return __libc_malloc(n);
}

EXPORT void *calloc(size_t n, size_t size) {
    atomic_fetch_add(&taken, 1);
    return __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t n) {
    atomic_fetch_add(&taken, !p);
    return __libc_realloc(p, n);
}

EXPORT void *aligned_alloc(size_t alignment, size_t n) {
    atomic_fetch_add(&taken, 1);
    return __libc_memalign(alignment, n);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t n) {
    atomic_fetch_add(&taken, 1);
    *out = __libc_memalign(alignment, n);
    return 0;
}

EXPORT void free(void *p) {
    atomic_fetch_add(&given, p != NULL);
    __libc_free(p);
}
#endif

struct machine {
    trm_model *model;
    trm_engine *engine;
};

/* Slots of 81, 64, 64, 81 and 100 cells where the model takes that, else of all it has. */
static void fill(trm_engine *e) {
    static const int some[SLOTS] = {81, 64, 64, 81, 100};
    const trm_config *c = &trm_engine_model(e)->config;
    int32_t tokens[CELLS];
    uint8_t row[CELLS], col[CELLS];
    trm_error err;
    trm_rng rng;
    trm_rng_seed(&rng, 3);
    for (int s = 0; s < SLOTS; s++) {
        int n = c->packed ? some[s] : c->seq_len;
        for (int i = 0; i < n; i++) {
            tokens[i] = (int32_t)trm_rng_below(&rng, (uint32_t)c->vocab_size);
            row[i] = (uint8_t)(i / 10);
            col[i] = (uint8_t)(i % 10);
        }
        const trm_input in = {n, tokens, row, col, 0, NULL};
        if (trm_engine_load(e, s, &in, &err))
            fail_msg("%s", err.text);
    }
}

static struct machine start(const char *config, const char *backend, int threads) {
    struct machine m;
    trm_config c;
    trm_error err;
    trm_rng rng;
    trm_rng_seed(&rng, 1);
    trm_engine_options o = {backend, threads, SLOTS, true};
    if (trm_config_parse(&c, config, &err) || trm_model_new(&m.model, &c, &rng, &err) ||
        trm_engine_new(&m.engine, m.model, &o, &err)) {
        print_error("%s\n", err.text);
        abort();
    }
    fill(m.engine);
    return m;
}

static void stop(struct machine *m) {
    trm_engine_free(m->engine);
    trm_model_free(m->model);
}

static void step(const struct machine *m, const int *slots, int n) {
    trm_error err;
    if (trm_engine_step(m->engine, slots, n, &err))
        fail_msg("%s", err.text);
}

static void close_to(
    const char *backend, int model, int slot, const float *got, const float *want, size_t n) {
    double most = strstr(backend, "bf16") || strstr(backend, "int8") ? 0.02 : 1e-4;
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) < most))
            fail_msg("%s, model %d, slot %d, logit %zu: %g, not %g", backend, model, slot, i,
                (double)got[i], (double)want[i]);
}

static void test_company_changes_no_answer(void **state) {
    (void)state;
    static float alone[SLOTS][LOGITS];
    const int all[SLOTS] = {3, 1, 0, 2, 4};
    for (const char *const *b = trm_backends(); *b; b++)
        for (int k = 0; k < N_CONFIGS; k++) {
            struct machine m = start(configs[k], *b, 2 - k % 2);
            const trm_config *c = &m.model->config;
            size_t logits = (size_t)c->seq_len * (size_t)c->vocab_size;
            for (int s = 0; s < SLOTS; s++) {
                step(&m, &s, 1);
                memcpy(alone[s], trm_engine_logits(m.engine, s), logits * sizeof(float));
            }
            fill(m.engine);
            step(&m, all, SLOTS);
            for (int s = 0; s < SLOTS; s++)
                close_to(*b, k, s, trm_engine_logits(m.engine, s), alone[s],
                    c->packed ? 64 * (size_t)c->vocab_size : logits);
            stop(&m);
        }
}

/* Some slots take a step of twice as many cycles, the others as many as the model says; loaded
 * anew, all do. */
static void test_a_step_of_more_cycles_is_as_good_as_two(void **state) {
    (void)state;
    static float want[SLOTS][LOGITS];
    const int all[SLOTS] = {3, 1, 0, 2, 4}, longer[2] = {1, 4};
    const char *best = trm_backends()[0];
    for (int k = 0; k < N_CONFIGS; k++) {
        struct machine m = start(configs[k], best, 1 + k % 2);
        size_t n = 64 * (size_t)m.model->config.vocab_size;
        int twice = 2 * m.model->config.H_cycles;
        for (int fresh = 1; fresh >= 0; fresh--) {
            fill(m.engine);
            step(&m, all, SLOTS);
            if (!fresh)
                step(&m, longer, 2);
            for (int s = 0; s < SLOTS; s++)
                memcpy(want[s], trm_engine_logits(m.engine, s), n * sizeof(float));
            for (int i = 0; i < 2 && fresh; i++)
                trm_engine_cycles(m.engine, longer[i], twice);
            fill(m.engine);
            for (int i = 0; i < 2 && !fresh; i++)
                trm_engine_cycles(m.engine, longer[i], twice);
            step(&m, all, SLOTS);
            for (int s = 0; s < SLOTS; s++)
                close_to(best, k, s, trm_engine_logits(m.engine, s), want[s], n);
        }
        stop(&m);
    }
}

/* The latents stay: told the same again, a slot goes on as if nothing had been; told something
 * else, neither as before nor as from the beginning. */
static void test_a_changed_puzzle_goes_on_from_its_latents(void **state) {
    (void)state;
    static float logits[4][LOGITS];
    const int slot = 0, cells[2] = {81, 64};
    int32_t tokens[CELLS] = {0};
    uint8_t row[CELLS], col[CELLS];
    trm_error err;
    for (int i = 0; i < CELLS; i++) {
        row[i] = (uint8_t)(i / 10);
        col[i] = (uint8_t)(i % 10);
    }
    for (int k = 0; k < N_CONFIGS; k++) {
        struct machine m = start(configs[k], "reference", 1);
        const trm_config *c = &m.model->config;
        size_t bytes = (size_t)c->seq_len * (size_t)c->vocab_size * sizeof(float);
        trm_input in = {c->packed ? cells[0] : c->seq_len, tokens, row, col, 0, NULL};
        for (int way = 0; way < 4; way++) {
            tokens[5] = 0;
            assert_int_equal(trm_engine_load(m.engine, slot, &in, &err), 0);
            uint64_t loaded = trm_engine_loaded(m.engine, slot);
            if (way < 3)
                step(&m, &slot, 1);
            tokens[5] = way > 1;
            if (way)
                assert_int_equal(trm_engine_change(m.engine, slot, &in, &err), 0);
            assert_int_equal(way == 0, trm_engine_loaded(m.engine, slot) == loaded);
            step(&m, &slot, 1);
            memcpy(logits[way], trm_engine_logits(m.engine, slot), bytes);
        }
        assert_memory_equal(logits[1], logits[0], bytes);
        assert_memory_not_equal(logits[2], logits[0], bytes);
        assert_memory_not_equal(logits[2], logits[3], bytes);
        in.cells = cells[1];
        assert_int_equal(trm_engine_change(m.engine, slot, &in, &err), TRM_E_ARG);
        stop(&m);
    }
}

/* Random weights amplify what bf16 and int8 round away; the golden tests have the same bounds. */
static double tolerance(const char *backend) {
    return strstr(backend, "int8") ? 0.4 : strstr(backend, "bf16") ? 0.15 : 1e-3;
}

static void test_backends_agree(void **state) {
    (void)state;
    static float want[LOGITS];
    const int slot = 0;
    for (int k = 0; k < N_CONFIGS; k++)
        for (const char *const *b = trm_backends(); *b; b++) {
            struct machine m = start(configs[k], "openblas", 1), other = start(configs[k], *b, 1);
            size_t n = 64 * (size_t)m.model->config.vocab_size;
            step(&m, &slot, 1);
            memcpy(want, trm_engine_logits(m.engine, slot), n * sizeof *want);
            step(&other, &slot, 1);
            const float *got = trm_engine_logits(other.engine, slot);
            double top = 0;
            for (size_t i = 0; i < n; i++) { /* not fmax(): gcc 12 for arm64 fails at it */
                double size = fabs((double)want[i]);
                top = size > top ? size : top;
            }
            for (size_t i = 0; i < n; i++)
                if (!(fabs((double)got[i] - (double)want[i]) <= tolerance(*b) * top))
                    fail_msg("%s, model %d, logit %zu: %g, not %g, where the largest is %g", *b, k,
                        i, (double)got[i], (double)want[i], top);
            stop(&m);
            stop(&other);
        }
}

/* The libraries' own bookkeeping in a product may come and go (oneDNN's does), but nothing may
 * stay; what is ours takes nothing. */
static void test_steps_allocate_nothing(void **state) {
    (void)state;
    const int all[SLOTS] = {0, 1, 2, 3, 4};
    if (!COUNTED)
        skip();
    for (const char *const *b = trm_backends(); *b; b++)
        for (int k = 0; k < N_CONFIGS; k++) {
            struct machine m = start(configs[k], *b, 2);
            step(&m, all, SLOTS); /* threads set themselves up in their first */
            long had = taken, left = taken - given;
            step(&m, all, SLOTS);
            step(&m, all, 3);
            if (taken - given != left)
                fail_msg("%s, model %d: %ld pieces of memory stay", *b, k, taken - given - left);
            if (!strstr(*b, "onednn") && taken != had)
                fail_msg("%s, model %d: %ld pieces of memory taken", *b, k, taken - had);
            stop(&m);
        }
}

static double processor_seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void test_idle_threads_sleep(void **state) {
    (void)state;
    const int all[SLOTS] = {0, 1, 2, 3, 4};
    const struct timespec pause = {0, 400000000};
    for (const char *const *b = trm_backends(); *b; b++) {
        struct machine m = start(configs[0], *b, 3);
        step(&m, all, SLOTS);
        double before = processor_seconds();
        (void)nanosleep(&pause, NULL);
        double spent = processor_seconds() - before;
        if (spent > 0.1)
            fail_msg("%s: idle for 0.4 s, and %.3f s of processor time spent", *b, spent);
        stop(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_changed_puzzle_goes_on_from_its_latents),
        cmocka_unit_test(test_company_changes_no_answer),
        cmocka_unit_test(test_a_step_of_more_cycles_is_as_good_as_two),
        cmocka_unit_test(test_backends_agree),
        cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_idle_threads_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

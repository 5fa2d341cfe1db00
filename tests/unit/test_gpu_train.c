/* Training on the GPU against the CPU's: gradients, updates by every optimizer, checkpoints that
 * go back and forth. Where no GPU is, the plug-in that plays one on the CPU stands in. */
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
#include "trm/train.h"

#define NET                                                                                        \
    "\"hidden_size\":32,\"num_heads\":4,\"H_cycles\":2,\"L_cycles\":2,\"L_layers\":2,\"inner_"     \
    "size\":40,"
#define SUDOKU NET "\"seq_len\":81,\"vocab_size\":11,"
#define MAZE NET "\"seq_len\":900,\"vocab_size\":6,\"halt_max_steps\":8,"
#define PREFIX "\"puzzle_emb_ndim\":40,\"puzzle_emb_len\":2,\"num_puzzle_identifiers\":3"
#define NONE "\"puzzle_emb_ndim\":0"
static const char *const models[] = {
    "{" SUDOKU "\"mlp_t\":true,\"pos_encodings\":\"none\"," PREFIX "}",
    "{" SUDOKU "\"pos_encodings\":\"units\",\"q_mean\":true," NONE "}",
    "{" SUDOKU "\"pos_encodings\":\"unit_means\"," NONE "}",
    "{" SUDOKU "\"pos_encodings\":\"candidates\",\"q_mean\":true," NONE "}",
    "{" SUDOKU "\"pos_encodings\":\"rope\"," PREFIX "}",
    "{" SUDOKU "\"pos_encodings\":\"learned\",\"q_mean\":true," PREFIX "}",
    "{" NET "\"seq_len\":100,\"vocab_size\":6,\"pos_encodings\":\"rope2d\"," PREFIX "}",
    "{" NET "\"seq_len\":100,\"vocab_size\":6,\"pos_encodings\":\"neighbours\"," NONE "}",
    "{" NET "\"seq_len\":100,\"vocab_size\":6,\"pos_encodings\":\"shifts\",\"q_mean\":true," NONE
    "}",
};
enum { MODELS = sizeof models / sizeof *models, BATCH = 3 };

/* By how much got differs from want, in norms. */
static double off(const float *got, const float *want, size_t n) {
    double d = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        all += (double)want[i] * want[i];
    }
    return d > 0 ? sqrt(d / all) : 0;
}

/* Labels are tokens that a model can give: of a Sudoku's candidates, digits. */
static void draw_batch(const trm_config *c, int32_t *inputs, int32_t *labels, int32_t *puzzles) {
    trm_rng rng;
    trm_rng_seed(&rng, 11);
    uint32_t v = (uint32_t)c->vocab_size, first = trm_config_candidates(c) ? 2 : 0;
    for (int i = 0; i < BATCH * c->seq_len; i++) {
        inputs[i] = (int32_t)trm_rng_below(&rng, v);
        labels[i] =
            trm_rng_below(&rng, 3) ? (int32_t)(first + trm_rng_below(&rng, v - first)) : -100;
    }
    for (int i = 0; i < BATCH; i++)
        puzzles[i] = c->puzzle_emb_ndim ? (int32_t)trm_rng_below(&rng, 3) : 0;
}

struct grads {
    trm_model *m;
    float *of[2];
    trm_loss loss[2][2];
};

/* The same gradients of two backends. */
static struct grads grads_of(
    const char *config, const char *const backend[2], trm_loss_kind kind, int steps, int cycles) {
    static int32_t inputs[BATCH * 100], labels[BATCH * 100], puzzles[BATCH];
    struct grads g = {NULL};
    trm_config c;
    trm_error err;
    trm_rng rng;
    trm_rng_seed(&rng, 7);
    if (trm_config_parse(&c, config, &err))
        fail_msg("%s", err.text);
    c.H_cycles = c.L_cycles = cycles;
    if (trm_model_new(&g.m, &c, &rng, &err))
        fail_msg("%s", err.text);
    draw_batch(&c, inputs, labels, puzzles);
    for (int i = 0; i < 2; i++) {
        trm_grad_request q = {.backend = backend[i],
            .threads = 1,
            .batch = BATCH,
            .inputs = inputs,
            .labels = labels,
            .puzzles = puzzles,
            .steps = steps,
            .loss = kind,
            .q_weight = 0.5};
        g.of[i] = calloc(g.m->layout.floats, sizeof(float));
        assert_non_null(g.of[i]);
        if (trm_grad(g.m, &q, g.loss[i], g.of[i], &err))
            fail_msg("%s", err.text);
    }
    return g;
}

static void free_grads(struct grads *g) {
    free(g->of[0]);
    free(g->of[1]);
    trm_model_free(g->m);
}

static void f32_agrees(const char *config, trm_loss_kind kind, int steps) {
    static const char *const backends[] = {"openblas", "cuda-f32"};
    struct grads g = grads_of(config, backends, kind, steps, 2);
    for (int i = 0; i < steps; i++)
        if (!(fabs(g.loss[1][i].total - g.loss[0][i].total) <= 1e-4 * g.loss[0][i].total))
            fail_msg("%s: a loss of %g, not %g", config, g.loss[1][i].total, g.loss[0][i].total);
    for (int i = 0; i < g.m->layout.count; i++) {
        const trm_param *p = &g.m->layout.param[i];
        double d = off(g.of[1] + p->offset, g.of[0] + p->offset, (size_t)p->rows * (size_t)p->cols);
        if (!(d <= 1e-4))
            fail_msg("%s: gradient of %s is off by %g", config, p->name, d);
    }
    free_grads(&g);
}

static void test_f32_gradients_agree(void **state) {
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        f32_agrees(models[i], TRM_STABLEMAX, 2);
        f32_agrees(models[i], TRM_SOFTMAX, 1);
    }
}

static bool has(const char *backend) {
    for (const char *const *b = trm_backends(); *b; b++)
        if (strcmp(*b, backend) == 0)
            return true;
    return false;
}

/* The CPU's bf16 rounds at the same places; where it has none f32 is the measure. One cycle of one
 * update: random weights double in each what rounding has done before. Candidates' gradients are
 * small sums of many: the CPU's own two precisions are 3 % apart there. */
static void test_bf16_gradients_agree(void **state) {
    (void)state;
    bool twin = has("onednn-bf16");
    const char *const backends[] = {twin ? "onednn-bf16" : "openblas", "cuda-bf16"};
    for (int i = 0; i < MODELS; i++) {
        struct grads g = grads_of(models[i], backends, TRM_STABLEMAX, 1, 1);
        double d = off(g.of[1], g.of[0], g.m->layout.floats);
        double most = trm_config_candidates(&g.m->config) ? 6e-2 : twin ? 2e-2 : 3e-2;
        if (!(d <= most))
            fail_msg("%s: the gradient is off by %g", models[i], d);
        free_grads(&g);
    }
}

/* --- the trainer ------------------------------------------------------------------------ */

#define RUN "\"seed\":5,\"batch\":6,\"steps\":40,\"warmup\":1,\"lr\":0.01,\"lr_rest\":0.002,"
#define EASY "{\"task\":\"sudoku\",\"extra_clues\":50," RUN
#define MAZES "{\"task\":\"maze\",\"size_min\":4,\"size_max\":7," RUN
static const char *const recipes[] = {
    EASY "\"weight_decay\":0.1,\"puzzle_emb_lr\":0.01,\"puzzle_emb_decay\":0.1,\"clip\":0.5,"
         "\"label_smoothing\":0.1,\"ema\":0.9,\"model\":{" SUDOKU
         "\"halt_max_steps\":8,\"mlp_t\":true,"
         "\"pos_encodings\":\"none\"," PREFIX "}}",
    EASY "\"optimizer\":\"adamw\",\"weight_decay\":0.1,\"share_wrong\":0.5,\"loss\":\"softmax\","
         "\"model\":{" SUDOKU
         "\"halt_max_steps\":8,\"unsat_head\":true,\"pos_encodings\":\"units\"," NONE "}}",
    EASY "\"optimizer\":\"adam_atan2\",\"one_step_gradient\":true,\"model\":{" SUDOKU
         "\"halt_max_steps\":8,\"pos_encodings\":\"unit_means\",\"q_mean\":true," NONE "}}",
    EASY "\"weight_decay\":0.1,\"ema\":0.9,\"model\":{" SUDOKU
         "\"halt_max_steps\":8,\"pos_encodings\":\"candidates\",\"q_mean\":true," NONE "}}",
    MAZES "\"model\":{" MAZE "\"pos_encodings\":\"rope2d\",\"packed\":true,\"q_mean\":true," NONE
          "}}",
    MAZES "\"model\":{" MAZE "\"pos_encodings\":\"neighbours\",\"packed\":true," NONE "}}",
    MAZES "\"model\":{" MAZE "\"pos_encodings\":\"shifts\",\"packed\":true,\"q_mean\":true," NONE
          "}}",
};
enum { RECIPES = sizeof recipes / sizeof *recipes };

struct folder {
    char path[40];
};

static struct folder make_folder(void) {
    struct folder f = {"/tmp/trm-gpu-train-XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    return f;
}

static struct folder copy_of(const struct folder *f) {
    struct folder c = make_folder();
    char command[128];
    (void)snprintf(command, sizeof command, "cp %s/* %s/", f->path, c.path);
    assert_int_equal(system(command), 0);
    return c;
}

static void remove_folder(const struct folder *f) {
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", f->path);
    assert_int_equal(system(command), 0);
}

/* Runs n steps from where the folder's checkpoint is, and saves. */
static void train(
    const char *recipe, const char *backend, const struct folder *f, int n, double *loss) {
    trm_recipe r;
    trm_error err;
    trm_trainer *t = NULL;
    trm_train_log log;
    trm_train_options o = {.backend = backend, .threads = 2, .out = f->path, .resume = true};
    if (trm_recipe_parse(&r, recipe, &err) || trm_trainer_new(&t, &r, &o, &err))
        fail_msg("%s: %s", backend, err.text);
    for (int i = 0; i < n; i++) {
        if (trm_trainer_step(t, &log, &err))
            fail_msg("%s", err.text);
        if (loss)
            loss[i] = log.loss.total + log.grad_norm;
    }
    if (trm_trainer_save(t, &err))
        fail_msg("%s", err.text);
    trm_trainer_free(t);
}

static trm_st_file *open_file(const struct folder *f, const char *name) {
    char path[80];
    trm_st_file *st = NULL;
    trm_error err;
    (void)snprintf(path, sizeof path, "%s/%s", f->path, name);
    if (trm_st_open(&st, path, &err))
        fail_msg("%s", err.text);
    return st;
}

static double differ(const trm_st_file *a, const trm_st_file *b, const char *name) {
    const trm_st_view *x = trm_st_find(a, name), *y = trm_st_find(b, name);
    if (!x && !y)
        return 0;
    if (!x || !y || x->bytes != y->bytes)
        return INFINITY;
    return off(x->data, y->data, x->bytes / sizeof(float));
}

static bool same(const trm_st_file *a, const trm_st_file *b, const char *name) {
    const trm_st_view *x = trm_st_find(a, name), *y = trm_st_find(b, name);
    return x && y && x->bytes == y->bytes && memcmp(x->data, y->data, x->bytes) == 0;
}

/* From one checkpoint of the CPU's, whose lessons are all in work, both take a step. */
static void step_agrees(const char *recipe) {
    static const char *const arrays[] = {"weights", "m", "v", "ema"};
    struct folder start = make_folder();
    double a, b;
    train(recipe, "openblas", &start, 1, NULL);
    struct folder cpu = copy_of(&start), gpu = copy_of(&start);
    train(recipe, "openblas", &cpu, 1, &a);
    train(recipe, "cuda-f32", &gpu, 1, &b);
    if (!(fabs(a - b) <= 1e-4 * a))
        fail_msg("%s: %g, not %g", recipe, b, a);
    trm_st_file *x = open_file(&gpu, "state.safetensors"),
                *y = open_file(&cpu, "state.safetensors");
    for (int i = 0; i < 4; i++)
        if (!(differ(x, y, arrays[i]) <= 1e-4))
            fail_msg("%s: %s is off by %g", recipe, arrays[i], differ(x, y, arrays[i]));
    trm_st_close(x);
    trm_st_close(y);
    x = open_file(&gpu, "slots.2.safetensors");
    y = open_file(&cpu, "slots.2.safetensors");
    assert_true(differ(x, y, "y") <= 1e-4 && differ(x, y, "z") <= 1e-4);
    assert_true(same(x, y, "tokens"));
    trm_st_close(x);
    trm_st_close(y);
    remove_folder(&start);
    remove_folder(&cpu);
    remove_folder(&gpu);
}

static void test_a_step_from_a_cpu_checkpoint_agrees(void **state) {
    (void)state;
    for (int i = 0; i < RECIPES; i++)
        step_agrees(recipes[i]);
}

static void test_a_resumed_run_repeats_the_unbroken_one(void **state) {
    (void)state;
    struct folder whole = make_folder(), parts = make_folder();
    double a[8], b[8];
    for (int i = 0; i < RECIPES; i += 3) {
        train(recipes[i], "cuda-f32", &whole, 8, a);
        train(recipes[i], "cuda-f32", &parts, 5, b);
        train(recipes[i], "cuda-f32", &parts, 3, b + 5);
        assert_memory_equal(a, b, sizeof a);
        train(recipes[i], "openblas", &parts, 2, b); /* and the CPU goes on */
        assert_true(isfinite(b[1]));
        remove_folder(&whole);
        remove_folder(&parts);
        whole = make_folder();
        parts = make_folder();
    }
    remove_folder(&whole);
    remove_folder(&parts);
}

static bool is_real(void) {
    return !strstr(trm_gpu_status(), "CPU in the place");
}

/* Lessons in several batches, whose gradients add up. */
static void test_short_memory_means_several_batches(void **state) {
    (void)state;
    if (is_real())
        skip();
    struct folder one = make_folder(), many = make_folder();
    double a[3], b[3];
    char limit[32];
    train(recipes[0], "cuda-f32", &one, 3, a);
    for (long bytes = 1L << 20;;
         bytes += bytes / 4) { /* the least in which it can be done at all */
        trm_recipe r;
        trm_trainer *t;
        trm_error err;
        trm_train_options o = {.backend = "cuda-f32", .threads = 1, .out = many.path};
        (void)snprintf(limit, sizeof limit, "%ld", bytes);
        (void)setenv("TRM_CUDA_TEST_MEMORY", limit, 1);
        assert_int_equal(trm_recipe_parse(&r, recipes[0], &err), 0);
        int e = trm_trainer_new(&t, &r, &o, &err);
        if (!e) {
            trm_trainer_free(t);
            break;
        }
        assert_int_equal(e, TRM_E_NOMEM);
        assert_non_null(strstr(err.text, "no room"));
    }
    train(recipes[0], "cuda-f32", &many, 3, b);
    (void)unsetenv("TRM_CUDA_TEST_MEMORY");
    for (int i = 0; i < 3; i++)
        assert_true(fabs(a[i] - b[i]) <= 1e-4 * fabs(a[i]));
    remove_folder(&one);
    remove_folder(&many);
}

static void test_it_learns(void **state) {
    (void)state;
    struct folder f = make_folder();
    double loss[40], early = 0, late = 0;
    train(recipes[1], "cuda-bf16", &f, 40, loss);
    for (int i = 0; i < 10; i++) {
        early += loss[i];
        late += loss[30 + i];
    }
    assert_true(late < 0.8 * early);
    remove_folder(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32_gradients_agree),
        cmocka_unit_test(test_bf16_gradients_agree),
        cmocka_unit_test(test_a_step_from_a_cpu_checkpoint_agrees),
        cmocka_unit_test(test_a_resumed_run_repeats_the_unbroken_one),
        cmocka_unit_test(test_short_memory_means_several_batches),
        cmocka_unit_test(test_it_learns),
    };
    printf("%s\n", trm_gpu_status());
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Logits, losses and gradients against the official implementation's, on every backend. */
#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trm/engine.h"
#include "trm/train.h"

static const char *const names[] = {"sudoku-mlp", "maze-attention"};

/* bf16 rounds every product's inputs to 8 bits, int8 to 7 with a scale a row; on random weights
 * that alone moves logits by several percent of the largest. Trained models are held to
 * accuracy instead (see the model cards). */
static double logit_tolerance(const char *backend) {
    return strstr(backend, "int8") ? 0.4 : strstr(backend, "bf16") ? 0.15 : 1e-4;
}

static void close_to(
    const float *got, const float *want, size_t n, double tolerance, const char *what) {
    double top = 0;
    for (size_t i = 0; i < n; i++) {
        double size = fabs((double)want[i]);
        top = size > top ? size : top;
    }
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * top))
            fail_msg("%s: element %zu is %g, not %g, where the largest is %g", what, i,
                (double)got[i], (double)want[i], top);
}

/* The naive product takes as long as all others together, and minutes under the sanitizers. Here
 * one step must do; `trm forward` is held to all of them on this backend too. */
static bool slow(const char *backend) {
    return strcmp(backend, "reference") == 0;
}

static void forward_matches(const char *name, const char *backend, int threads) {
    trm_model *m = golden_model(name);
    trm_st_file *f = golden_expected(name);
    const trm_st_view *in = trm_st_find(f, "inputs"), *logits = trm_st_find(f, "logits");
    const trm_st_view *q = trm_st_find(f, "q_logits"), *id = trm_st_find(f, "puzzle_identifiers");
    int b = (int)in->shape[0], l = (int)in->shape[1], k = (int)logits->shape[0], slots[8];
    size_t lv = (size_t)l * (size_t)m->config.vocab_size;
    trm_engine *e;
    trm_error err;
    trm_engine_options o = {backend, threads, b, true};
    assert_int_equal(trm_engine_new(&e, m, &o, &err), 0);
    for (int i = 0; i < b; i++) {
        trm_input x = {.cells = l,
            .tokens = (const int32_t *)in->data + (ptrdiff_t)i * l,
            .puzzle_identifier = ((const int32_t *)id->data)[i]};
        assert_int_equal(trm_engine_load(e, i, &x, &err), 0);
        slots[i] = i;
    }
    for (int s = 0; s < (slow(backend) ? 1 : k); s++) {
        assert_int_equal(trm_engine_step(e, slots, b, &err), 0);
        for (int i = 0; i < b; i++) {
            size_t at = (size_t)(s * b + i);
            close_to(trm_engine_logits(e, i), (const float *)logits->data + at * lv, lv,
                logit_tolerance(backend), backend);
            close_to(trm_engine_q_logits(e, i), (const float *)q->data + at * 2, 2,
                logit_tolerance(backend), backend);
        }
    }
    trm_engine_free(e);
    trm_st_close(f);
    trm_model_free(m);
}

static void test_forward_matches_on_every_backend(void **state) {
    (void)state;
    for (size_t n = 0; n < 2; n++)
        for (const char *const *b = trm_backends(); *b; b++)
            for (int threads = slow(*b) ? 2 : 1; threads <= 2; threads++)
                forward_matches(names[n], *b, threads);
}

static void grads_match(const char *name, const char *backend, double tolerance) {
    static const double total[2][2] = {
        {15.65161521116995, 16.70561204186685}, {3.977100345485003, 3.9029387175376042}};
    trm_model *m = golden_model(name);
    trm_st_file *f = golden_expected(name);
    const trm_st_view *in = trm_st_find(f, "inputs");
    trm_grad_request q = {.backend = backend,
        .threads = 2,
        .batch = (int)in->shape[0],
        .inputs = in->data,
        .labels = trm_st_find(f, "labels")->data,
        .puzzles = trm_st_find(f, "puzzle_identifiers")->data,
        .steps = 2,
        .q_weight = 0.5};
    trm_loss loss[2];
    trm_error err;
    float *grads = calloc(m->layout.floats, sizeof *grads);
    assert_non_null(grads);
    assert_int_equal(trm_grad(m, &q, loss, grads, &err), 0);
    for (int s = 0; s < 2; s++)
        assert_true(fabs(loss[s].total - total[strcmp(name, names[0]) != 0][s]) < tolerance * 10);
    for (int i = 0; i < m->layout.count; i++) {
        const trm_param *p = &m->layout.param[i];
        char key[100];
        double off = 0, norm = 0;
        (void)snprintf(key, sizeof key, "grad.%s", p->name);
        const trm_st_view *want = trm_st_find(f, key);
        if (!want)
            continue;
        for (int j = 0; j < p->rows * p->cols; j++) {
            double w = ((const float *)want->data)[j], d = grads[p->offset + (size_t)j] - w;
            off += d * d;
            norm += w * w;
        }
        if (sqrt(off) > tolerance * sqrt(norm))
            fail_msg("%s %s %s: %g", name, backend, key, sqrt(off / norm));
    }
    free(grads);
    trm_st_close(f);
    trm_model_free(m);
}

static void test_gradients_match_on_f32_backends(void **state) {
    (void)state;
    for (size_t n = 0; n < 2; n++)
        for (const char *const *b = trm_backends(); *b; b++)
            if (!strstr(*b, "bf16") && !strstr(*b, "int8"))
                grads_match(names[n], *b, 1e-3);
}

/* A gradient that is not the loss's slope is wrong however well it matches itself. */
static void test_gradient_is_the_slope(void **state) {
    (void)state;
    const char *name = "maze-attention";
    trm_model *m = golden_model(name);
    trm_st_file *f = golden_expected(name);
    trm_grad_request q = {.backend = "openblas",
        .threads = 1,
        .batch = 1,
        .inputs = trm_st_find(f, "inputs")->data,
        .labels = trm_st_find(f, "labels")->data,
        .puzzles = trm_st_find(f, "puzzle_identifiers")->data,
        .steps = 1,
        .q_weight = 0.5,
        .loss = TRM_SOFTMAX};
    trm_loss up, down, at;
    trm_error err;
    float *grads = calloc(m->layout.floats, sizeof *grads),
          *none = calloc(m->layout.floats, sizeof *none);
    assert_non_null(grads);
    assert_non_null(none);
    /* Only the last cycle carries gradient, so the check needs a model of one cycle. */
    m->config.H_cycles = 1;
    assert_int_equal(trm_grad(m, &q, &at, grads, &err), 0);
    const trm_role roles[] = {TRM_W_QKV, TRM_W_O, TRM_W_GATE_UP, TRM_W_DOWN};
    for (int r = 0; r < 4; r++) {
        const trm_param *p = trm_layout_find(&m->layout, roles[r], 1);
        double slope = 0, norm = 0;
        const double eps = 2e-3;
        for (int j = 0; j < p->rows * p->cols; j++)
            norm += (double)grads[p->offset + (size_t)j] * grads[p->offset + (size_t)j];
        norm = sqrt(norm);
        float *saved = malloc(sizeof(float) * (size_t)(p->rows * p->cols));
        assert_non_null(saved);
        memcpy(saved, m->w + p->offset, sizeof(float) * (size_t)(p->rows * p->cols));
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int j = 0; j < p->rows * p->cols; j++)
                m->w[p->offset + (size_t)j] =
                    saved[j] + (float)(sign * eps * grads[p->offset + (size_t)j] / norm);
            assert_int_equal(trm_grad(m, &q, sign < 0 ? &down : &up, none, &err), 0);
        }
        memcpy(m->w + p->offset, saved, sizeof(float) * (size_t)(p->rows * p->cols));
        free(saved);
        slope = (up.total - down.total) / (2 * eps);
        if (fabs(slope - norm) > 0.02 * norm)
            fail_msg("%s: slope %g, gradient %g", p->name, slope, norm);
    }
    free(grads);
    free(none);
    trm_st_close(f);
    trm_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward_matches_on_every_backend),
        cmocka_unit_test(test_gradients_match_on_f32_backends),
        cmocka_unit_test(test_gradient_is_the_slope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

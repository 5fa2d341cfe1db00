/* The project's own ways to mix cells, neighbours, shifts and unit means: the table of neighbours,
 * what a mean takes in, and gradients against differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net.h"
#include "trm/engine.h"
#include "trm/rng.h"
#include "trm/train.h"

static const char *const small =
    "{\"seq_len\":16,\"vocab_size\":6,\"hidden_size\":32,\"num_heads\":4,\"H_cycles\":1,"
    "\"L_cycles\":2,\"L_layers\":2,\"inner_size\":32,\"pos_encodings\":\"neighbours\","
    "\"puzzle_emb_ndim\":0,\"q_mean\":true}";

static const char *const means =
    "{\"seq_len\":81,\"vocab_size\":6,\"hidden_size\":16,\"num_heads\":4,\"H_cycles\":1,"
    "\"L_cycles\":2,\"L_layers\":2,\"inner_size\":32,\"pos_encodings\":\"unit_means\","
    "\"puzzle_emb_ndim\":0,\"q_mean\":true}";

static const char *const shifts =
    "{\"seq_len\":16,\"vocab_size\":6,\"hidden_size\":16,\"num_heads\":4,\"H_cycles\":1,"
    "\"L_cycles\":2,\"L_layers\":2,\"inner_size\":32,\"pos_encodings\":\"shifts\","
    "\"puzzle_emb_ndim\":0,\"q_mean\":true}";

static const char *const beside =
    "{\"seq_len\":16,\"vocab_size\":6,\"hidden_size\":16,\"num_heads\":2,\"H_cycles\":1,"
    "\"L_cycles\":2,\"L_layers\":2,\"inner_size\":32,\"pos_encodings\":\"rope2d_shifts\","
    "\"packed\":true,\"puzzle_emb_ndim\":16,\"puzzle_emb_len\":3,\"num_puzzle_identifiers\":1,"
    "\"q_mean\":true}";

static const char *const unsat =
    "{\"seq_len\":81,\"vocab_size\":6,\"hidden_size\":16,\"num_heads\":4,\"H_cycles\":1,"
    "\"L_cycles\":2,\"L_layers\":2,\"inner_size\":32,\"pos_encodings\":\"unit_means\","
    "\"puzzle_emb_ndim\":0,\"q_mean\":true,\"unsat_head\":true}";

static const char *const candidates =
    "{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":8,\"num_heads\":4,\"H_cycles\":1,"
    "\"L_cycles\":2,\"L_layers\":2,\"inner_size\":16,\"pos_encodings\":\"candidates\","
    "\"puzzle_emb_ndim\":0,\"q_mean\":true,\"unsat_head\":true}";

static void config_of(trm_config *c, const char *json) {
    trm_error err;
    if (trm_config_parse(c, json, &err))
        fail_msg("%s", err.text);
}

static void test_each_cell_finds_its_neighbours(void **state) {
    (void)state;
    /* an L of three cells: (0,0), (1,0), (1,1), and one position of padding */
    const uint8_t row[] = {0, 1, 1}, col[] = {0, 0, 1};
    const int32_t want[4][4] = {{1, -1, -1, -1}, {-1, -1, 1, -1}, {-1, 2, -1, -1}, {-1, 0, -1, -1}};
    int32_t got[4][4], full[4][16];
    trm_config c;
    config_of(&c, small);
    trm_near_table(&got[0][0], &c, 4, 3, row, col);
    assert_memory_equal(got, want, sizeof want);
    trm_near_table(&full[0][0], &c, 16, 16, NULL, NULL);
    assert_int_equal(full[0][5], 9);
    assert_int_equal(full[1][5], 4);
    assert_int_equal(full[2][5], 6);
    assert_int_equal(full[3][5], 1);
    assert_int_equal(full[1][4], -1);
    assert_int_equal(full[2][7], -1);
    assert_int_equal(full[0][12], -1);
    assert_int_equal(full[3][3], -1);
}

static double loss_of(const trm_model *m, const trm_grad_request *q, float *grads) {
    trm_loss loss;
    trm_error err;
    if (trm_grad(m, q, &loss, grads, &err))
        fail_msg("%s", err.text);
    return loss.total / q->batch;
}

static void test_means_take_in_row_column_and_box(void **state) {
    (void)state;
    const trm_rows *r = trm_rows_for(false, "generic");
    float h[81 * 3] = {0};
    for (int k = 0; k < 3; k++)
        h[40 * 3 + k] = 9; /* the middle cell */
    r->unit_means(h, 3);
    for (int i = 0; i < 81; i++) {
        int row = i / 9, col = i % 9;
        assert_float_equal(h[i * 3], (row == 4), 1e-6);
        assert_float_equal(h[i * 3 + 1], (col == 4), 1e-6);
        assert_float_equal(h[i * 3 + 2], (row / 3 == 1 && col / 3 == 1), 1e-6);
    }
}

static void test_candidate_means_take_in_cell_row_column_and_box(void **state) {
    (void)state;
    const trm_rows *r = trm_rows_for(false, "generic");
    static float h[729 * 4];
    for (int k = 0; k < 4; k++)
        h[(40 * 9 + 6) * 4 + k] = 9; /* a 7 in the middle cell */
    r->candidate_means(h, 4);
    for (int i = 0; i < 729; i++) {
        int row = i / 81, col = i / 9 % 9, seven = i % 9 == 6;
        assert_float_equal(h[i * 4], (row == 4 && col == 4), 1e-6);
        assert_float_equal(h[i * 4 + 1], (seven && row == 4), 1e-6);
        assert_float_equal(h[i * 4 + 2], (seven && col == 4), 1e-6);
        assert_float_equal(h[i * 4 + 3], (seven && row / 3 == 1 && col / 3 == 1), 1e-6);
    }
}

/* False where this machine has no such backend. */
static bool logits_by(
    const char *backend, float *logits, const trm_model *m, const int32_t *tokens) {
    trm_engine *e;
    trm_error err;
    const trm_engine_options o = {
        .backend = backend, .threads = 1, .slots = 1, .keep_logits = true};
    const trm_input in = {.tokens = tokens, .cells = 81};
    const int slot = 0;
    int r = trm_engine_new(&e, m, &o, &err);
    if (r == TRM_E_UNSUPPORTED)
        return false;
    if (r || trm_engine_load(e, 0, &in, &err) || trm_engine_step(e, &slot, 1, &err) ||
        trm_engine_step(e, &slot, 1, &err))
        fail_msg("%s", err.text);
    memcpy(logits, trm_engine_logits(e, 0), 81 * 11 * sizeof *logits);
    trm_engine_free(e);
    return true;
}

static void logits_of(float *logits, const trm_model *m, const int32_t *tokens) {
    assert_true(logits_by("reference", logits, m, tokens));
}

/* |a - b| / |a|; of logits without those of tokens that are no digit. */
static double difference(const float *a, const float *b, size_t n) {
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        if (a[i] < -1e5f)
            continue;
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)a[i] * a[i];
    }
    return sqrt(off / all);
}

/* One supervision step on two puzzles. */
static trm_grad_request request(const char *backend, const int32_t *inputs, const int32_t *labels) {
    static const int32_t puzzles[2];
    return (trm_grad_request){.backend = backend,
        .threads = 1,
        .batch = 2,
        .inputs = inputs,
        .labels = labels,
        .puzzles = puzzles,
        .steps = 1,
        .loss = TRM_STABLEMAX,
        .q_weight = 0.5};
}

static void gradient_by(const char *backend, float *grads, const trm_model *m) {
    int32_t inputs[162], labels[162];
    trm_error err;
    trm_loss loss;
    for (int i = 0; i < 162; i++) {
        inputs[i] = i % 5 ? 1 : 2 + i % 9;
        labels[i] = i % 5 ? 5 : inputs[i]; /* one digit, so that gradients do not cancel */
    }
    const trm_grad_request q = request(backend, inputs, labels);
    if (trm_grad(m, &q, &loss, grads, &err))
        fail_msg("%s", err.text);
}

/* Each tensor's, against the reference's. */
static void gradients_agree(const trm_model *m) {
    float *a = calloc(m->layout.floats, sizeof *a), *b = calloc(m->layout.floats, sizeof *b);
    assert_true(a && b);
    gradient_by("reference", a, m);
    gradient_by("onednn-bf16", b, m);
    for (int i = 0; i < m->layout.count; i++) {
        const trm_param *p = &m->layout.param[i];
        if (p->role == TRM_W_H_INIT || p->role == TRM_W_L_INIT)
            continue; /* not trained */
        double off = difference(a + p->offset, b + p->offset, (size_t)p->rows * (size_t)p->cols);
        if (!(off < 0.03))
            fail_msg("%s: off by %g", p->name, off);
    }
    free(a);
    free(b);
}

/* Gates of up to some tens, where a sigmoid by tables ends; and what is no number stays none. */
static void wide_gates_agree(trm_model *m, const int32_t *tokens) {
    static float a[81 * 11], b[81 * 11];
    size_t nan_at = 0;
    for (int i = 0; i < m->layout.count; i++) {
        const trm_param *p = &m->layout.param[i];
        bool gates = p->role == TRM_W_GATE_UP || p->role == TRM_W_QKV;
        for (int k = 0; gates && k < p->rows * p->cols; k++)
            m->w[p->offset + (size_t)k] *= 8;
        nan_at = gates ? p->offset : nan_at;
    }
    logits_of(a, m, tokens);
    assert_true(logits_by("onednn-bf16", b, m, tokens));
    double off = difference(a, b, 81 * 11);
    print_message("  wide gates: %.4f\n", off);
    assert_true(off < 5e-2);
    m->w[nan_at] = NAN;
    assert_true(logits_by("onednn-bf16", b, m, tokens));
    assert_true(isnan(b[2]));
}

/* The kernels that take a layer of candidates whole, forth and back, at their own width and at any
 * other. */
static void test_a_layer_in_one_kernel_is_that_layer(void **state) {
    (void)state;
    static const int width[][2] = {{32, 128}, {64, 48}, {32, 32}, {48, 40}};
    static float a[81 * 11], b[81 * 11];
    int32_t tokens[81];
    char json[512];
    for (int i = 0; i < 81; i++)
        tokens[i] = i % 7 ? 1 : 2 + i * 5 % 9;
    for (size_t k = 0; k < sizeof width / sizeof *width; k++) {
        (void)snprintf(json, sizeof json,
            "{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":%d,\"num_heads\":4,\"H_cycles\":1,"
            "\"L_cycles\":1,\"L_layers\":1,\"inner_size\":%d,\"pos_encodings\":\"candidates\","
            "\"puzzle_emb_ndim\":0,\"q_mean\":true}",
            width[k][0], width[k][1]);
        trm_config c;
        trm_model *m;
        trm_error err;
        trm_rng rng;
        config_of(&c, json);
        trm_rng_seed(&rng, 7);
        if (trm_model_new(&m, &c, &rng, &err))
            fail_msg("%s", err.text);
        logits_of(a, m, tokens);
        if (!logits_by("onednn-bf16", b, m, tokens)) {
            trm_model_free(m);
            skip();
        }
        double off = difference(a, b, 81 * 11);
        print_message("hidden %d, inner %d: %.4f\n", width[k][0], width[k][1], off);
        assert_true(off < 5e-2);
        gradients_agree(m);
        wide_gates_agree(m, tokens);
        trm_model_free(m);
    }
}

/* Digits exchanged in the puzzle are exchanged in the answer, and nothing else is. */
static void test_candidates_know_no_digit_from_another(void **state) {
    (void)state;
    trm_config c;
    trm_model *m;
    trm_error err;
    trm_rng rng;
    int32_t tokens[81], other[81];
    static float a[81 * 11], b[81 * 11];
    config_of(&c, candidates);
    trm_rng_seed(&rng, 5);
    if (trm_model_new(&m, &c, &rng, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < 81; i++) {
        tokens[i] = 1 + (int32_t)trm_rng_below(&rng, 10);
        other[i] = tokens[i] == 1 ? 1 : 2 + (tokens[i] - 2 + 4) % 9; /* every digit 4 further */
    }
    logits_of(a, m, tokens);
    logits_of(b, m, other);
    for (int i = 0; i < 81; i++) {
        assert_true(a[i * 11] < -1e5f && a[i * 11 + 1] < -1e5f);
        for (int d = 0; d < 9; d++)
            assert_float_equal(a[i * 11 + 2 + d], b[i * 11 + 2 + (d + 4) % 9], 1e-4);
    }
    trm_model_free(m);
}

static void test_shifts_bring_each_quarter_from_its_neighbour(void **state) {
    (void)state;
    const trm_rows *r = trm_rows_for(false, "generic");
    /* three cells in a column: below, left, right, above */
    const int32_t near[4][3] = {{1, 2, -1}, {-1, -1, -1}, {-1, -1, -1}, {-1, 0, 1}};
    const float in[3][4] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}};
    const float want[3][4] = {{5, 0, 0, 0}, {9, 0, 0, 4}, {0, 0, 0, 8}};
    float out[3][4];
    r->shift(out, in, &near[0][0], 3, 4, false);
    assert_memory_equal(out, want, sizeof want);
    const float back[3][4] = {{0, 0, 0, 8}, {1, 0, 0, 12}, {5, 0, 0, 0}};
    r->shift(out, in, &near[0][0], 3, 4, true);
    assert_memory_equal(out, back, sizeof back);
}

/* With the head for puzzles without an answer the second puzzle is one. */
static void gradient_matches_differences(const char *json) {
    trm_config c;
    trm_model *m;
    trm_error err;
    trm_rng rng;
    int32_t inputs[162], labels[162];
    config_of(&c, json);
    trm_rng_seed(&rng, 3);
    if (trm_model_new(&m, &c, &rng, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < 2 * c.seq_len; i++) {
        inputs[i] = 1 + (int32_t)trm_rng_below(&rng, 4);
        labels[i] = 2 + (int32_t)trm_rng_below(&rng, 4);
        if (c.unsat_head && i >= c.seq_len)
            labels[i] = -100;
    }
    const trm_grad_request q = request("reference", inputs, labels);
    float *grads = calloc(m->layout.floats, sizeof *grads);
    float *scratch = calloc(m->layout.floats, sizeof *scratch);
    assert_true(grads && scratch);
    (void)loss_of(m, &q, grads);
    for (int k = 0; k < m->layout.count; k++) {
        const trm_param *p = &m->layout.param[k];
        if (p->role == TRM_W_H_INIT || p->role == TRM_W_L_INIT)
            continue; /* not trained */
        /* the steepest of a tensor's entries, so that rounding does not decide */
        size_t at = p->offset, n = (size_t)p->rows * (size_t)p->cols;
        for (size_t i = p->offset; i < p->offset + n; i++)
            at = fabsf(grads[i]) > fabsf(grads[at]) ? i : at;
        float keep = m->w[at], h = 2e-3f;
        m->w[at] = keep + h;
        double up = loss_of(m, &q, scratch);
        m->w[at] = keep - h;
        double down = loss_of(m, &q, scratch);
        m->w[at] = keep;
        double slope = (up - down) / (2 * (double)h);
        if (fabs(slope - grads[at]) > 0.03 * fabs(slope) + 2e-4)
            fail_msg("%s: gradient %g, differences %g", p->name, (double)grads[at], slope);
    }
    free(grads);
    free(scratch);
    trm_model_free(m);
}

static void test_gradients_match_differences(void **state) {
    (void)state;
    gradient_matches_differences(small);
    gradient_matches_differences(means);
    gradient_matches_differences(shifts);
    gradient_matches_differences(beside);
    gradient_matches_differences(unsat);
    gradient_matches_differences(candidates);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_cell_finds_its_neighbours),
        cmocka_unit_test(test_means_take_in_row_column_and_box),
        cmocka_unit_test(test_candidate_means_take_in_cell_row_column_and_box),
        cmocka_unit_test(test_candidates_know_no_digit_from_another),
        cmocka_unit_test(test_a_layer_in_one_kernel_is_that_layer),
        cmocka_unit_test(test_shifts_bring_each_quarter_from_its_neighbour),
        cmocka_unit_test(test_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A run learns a task from random weights, tells how far it is, repeats itself, and answers at
 * any moment; a trunk is a model's weights with the mean of its puzzles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arc_source.h"
#include "backend.h"

static trm_model *small_model(int identifiers) {
    char json[600];
    trm_config c;
    trm_error err;
    trm_rng rng;
    trm_model *m = NULL;
    (void)snprintf(json, sizeof json,
        "{\"task\":\"arc\",\"seq_len\":900,\"vocab_size\":12,\"hidden_size\":32,\"num_heads\":2,"
        "\"H_cycles\":1,\"L_cycles\":2,\"L_layers\":2,\"inner_size\":64,\"pos_encodings\":"
        "\"rope2d\",\"rope_theta\":100,\"packed\":true,\"frames\":true,\"puzzle_emb_ndim\":32,"
        "\"puzzle_emb_len\":11,\"num_puzzle_identifiers\":%d,\"halt_max_steps\":2,"
        "\"q_mean\":true}",
        identifiers);
    trm_rng_seed(&rng, 1);
    if (trm_config_parse(&c, json, &err) || trm_model_new(&m, &c, &rng, &err))
        fail_msg("%s", err.text);
    return m;
}

/* 4 becomes 5, all else stays. */
static void recolour(trm_arc_pair *p, int rows, int cols, trm_rng *rng, bool answer) {
    static const uint8_t colours[] = {0, 4, 7, 2};
    memset(p, 0, sizeof *p);
    p->input.rows = (uint8_t)rows;
    p->input.cols = (uint8_t)cols;
    for (int i = 0; i < rows * cols; i++)
        p->input.cell[i] = colours[trm_rng_below(rng, 4)];
    p->output = p->input;
    for (int i = 0; i < rows * cols; i++)
        if (p->output.cell[i] == 4)
            p->output.cell[i] = 5;
    if (!answer)
        p->output.rows = 0;
}

static void make_task(trm_arc_task *t, trm_arc_pair pair[4], bool answer) {
    trm_rng rng;
    trm_rng_seed(&rng, 2);
    for (int i = 0; i < 4; i++)
        recolour(&pair[i], 2 + i % 2, 3, &rng, i < 3 || answer);
    *t = (trm_arc_task){.demos = 3, .tests = 1, .pair = pair};
}

static trm_arc_run *start(
    const trm_model *m, const trm_arc_task *t, int threads, long steps, int predictions) {
    trm_arc_options o = {.threads = threads, .steps = steps, .predictions = predictions};
    trm_arc_run *r = NULL;
    trm_error err;
    if (trm_arc_run_new(&r, m, t, &o, 7, &err))
        fail_msg("%s", err.text);
    return r;
}

static trm_arc_progress finish(trm_arc_run *r) {
    trm_arc_progress p, before = {0};
    trm_error err;
    do {
        if (trm_arc_run_step(r, &err))
            fail_msg("%s", err.text);
        trm_arc_run_progress(r, &p);
        assert_true(p.phase >= before.phase && p.steps >= before.steps);
        assert_true(p.predictions >= before.predictions && p.votes <= p.predictions);
        before = p;
    } while (p.phase != TRM_ARC_DONE);
    return p;
}

/* The rule, its outputs turned by a symmetry. */
static void learns(int sym) {
    trm_arc_pair pair[4];
    trm_arc_task t;
    trm_arc_attempt best[TRM_ARC_ATTEMPTS];
    trm_arc_frame f;
    make_task(&t, pair, true);
    trm_arc_frame_identity(&f);
    f.sym = (uint8_t)sym;
    for (int i = 0; i < 4; i++) {
        const trm_arc_grid upright = pair[i].output;
        trm_arc_frame_apply(&pair[i].output, &f, &upright);
    }
    const trm_arc_grid right = pair[3].output;
    pair[3].output.rows = 0;
    trm_model *m = small_model(1);
    trm_arc_run *r = start(m, &t, 1, 1200, 16);
    trm_arc_progress p = finish(r);
    assert_int_equal(p.reproduced, 3);
    assert_int_equal(p.demonstrations, 3);
    assert_int_equal(p.held_out, 8);
    assert_int_equal(p.predictions, 16);
    assert_int_equal(p.predictions_wanted, 16);
    trm_arc_run_answer(r, 0, best);
    assert_true(trm_arc_grid_equal(&best[0].grid, &right));
    assert_true(best[0].votes > 0 && best[0].share > 0 && best[0].share <= 1);
    trm_arc_run_free(r);
    trm_model_free(m);
}

static void test_one_rule_is_learned_from_random_weights(void **state) {
    (void)state;
    learns(0);
}

static void test_a_rule_is_learned_in_outputs_that_are_turned(void **state) {
    (void)state;
    learns(1); /* a quarter */
    learns(5);
}

static void test_equal_seeds_give_equal_answers(void **state) {
    (void)state;
    trm_arc_pair pair[4];
    trm_arc_task t;
    trm_arc_attempt a[TRM_ARC_ATTEMPTS], b[TRM_ARC_ATTEMPTS];
    make_task(&t, pair, false);
    trm_model *m = small_model(1);
    trm_arc_run *r = start(m, &t, 2, 50, 12), *again = start(m, &t, 2, 50, 12);
    trm_arc_progress p = finish(r), q = finish(again);
    assert_memory_equal(&p, &q, sizeof p);
    assert_int_equal(p.steps, 50);
    trm_arc_run_answer(r, 0, a);
    trm_arc_run_answer(again, 0, b);
    for (int i = 0; i < TRM_ARC_ATTEMPTS; i++) {
        assert_true(trm_arc_grid_equal(&a[i].grid, &b[i].grid));
        assert_int_equal(a[i].votes, b[i].votes);
    }
    trm_arc_run_free(r);
    trm_arc_run_free(again);
    trm_model_free(m);
}

static void test_the_caller_ends_training(void **state) {
    (void)state;
    trm_arc_pair pair[4];
    trm_arc_task t;
    trm_arc_attempt a[TRM_ARC_ATTEMPTS];
    trm_arc_progress p;
    trm_error err;
    make_task(&t, pair, false);
    trm_model *m = small_model(1);
    trm_arc_run *r = start(m, &t, 1, 0, 4);
    trm_arc_run_answer(r, 0, a);
    assert_true(trm_arc_grid_equal(&a[0].grid, &pair[3].input));
    assert_int_equal(a[0].votes, 0);
    size_t bytes = trm_arc_run_bytes(r);
    assert_true(bytes > m->layout.floats * 4 * sizeof(float) && bytes < 64u << 20);
    for (int i = 0; i < 5; i++)
        assert_int_equal(trm_arc_run_step(r, &err), TRM_OK);
    trm_arc_run_spent(r, 0.5);
    assert_int_equal(trm_arc_run_step(r, &err), TRM_OK);
    trm_arc_run_progress(r, &p);
    assert_int_equal(p.phase, TRM_ARC_TRAINING);
    trm_arc_run_spent(r, 0.9);
    assert_int_equal(trm_arc_run_step(r, &err), TRM_OK);
    trm_arc_run_progress(r, &p);
    assert_int_equal(p.phase, TRM_ARC_PREDICTING);
    assert_int_equal(finish(r).predictions, 4);
    trm_arc_run_free(r);
    r = start(m, &t, 1, 0, 4);
    trm_arc_run_predict(r);
    p = finish(r);
    assert_int_equal(p.steps, 0);
    assert_int_equal(p.predictions, 4);
    trm_arc_run_free(r);
    trm_model_free(m);
}

static void test_outputs_of_unknown_size_get_the_full_canvas(void **state) {
    (void)state;
    trm_rng rng;
    trm_arc_pair pair[3];
    trm_rng_seed(&rng, 3);
    recolour(&pair[0], 2, 2, &rng, true);
    recolour(&pair[1], 3, 3, &rng, true);
    recolour(&pair[2], 2, 3, &rng, false);
    pair[0].output.rows = 5;
    pair[1].output.cols = 4;
    trm_arc_task t = {.demos = 2, .tests = 1, .pair = pair};
    trm_model *m = small_model(1);
    trm_arc_run *r = start(m, &t, 2, 3, 2);
    assert_true(trm_arc_run_bytes(r) < 256u << 20);
    assert_int_equal(finish(r).predictions, 2);
    trm_arc_run_free(r);
    trm_model_free(m);
}

static void test_what_cannot_run_is_refused(void **state) {
    (void)state;
    trm_arc_pair pair[4];
    trm_arc_task t;
    trm_arc_run *r = NULL;
    trm_error err;
    trm_arc_options o = {.threads = 1}, none = {.threads = 0};
    make_task(&t, pair, false);
    trm_model *m = small_model(1);
    assert_int_equal(trm_arc_run_new(&r, m, &t, &none, 1, &err), TRM_E_ARG);
    pair[1].input.cell[2] = 12;
    assert_int_equal(trm_arc_run_new(&r, m, &t, &o, 1, &err), TRM_E_ARG);
    assert_non_null(strstr(err.text, "/train/1/input/0/2"));
    pair[1].input.cell[2] = 0;
    m->config.frames = false;
    assert_int_equal(trm_arc_run_new(&r, m, &t, &o, 1, &err), TRM_E_ARG);
    assert_null(r);
    trm_model_free(m);
}

static void test_a_trunk_starts_from_the_mean_of_trained_puzzles(void **state) {
    (void)state;
    trm_model *m = small_model(5), *trunk = NULL;
    trm_error err;
    float *row = m->w + trm_layout_find(&m->layout, TRM_W_PUZZLE, -1)->offset;
    for (int k = 0; k < 32; k++) {
        row[32 + k] = 1; /* rows 1 and 4 were trained */
        row[4 * 32 + k] = (float)k;
    }
    assert_int_equal(trm_arc_trunk(&trunk, m, 50, &err), TRM_OK);
    assert_int_equal(trunk->config.num_puzzle_identifiers, 1);
    assert_int_equal(trunk->config.seq_len, 50);
    const float *mean = trm_model_weight(trunk, TRM_W_PUZZLE, -1);
    for (int k = 0; k < 32; k++)
        assert_float_equal(mean[k], (1 + (float)k) / 2, 1e-6);
    const trm_param *p = trm_layout_find(&m->layout, TRM_W_QKV, 1);
    assert_memory_equal(trm_model_weight(trunk, TRM_W_QKV, 1), m->w + p->offset,
        (size_t)p->rows * (size_t)p->cols * sizeof(float));
    trm_model_free(trunk);
    trm_model_free(m);
}

static int teach(void *arg, trm_lesson *l, trm_error *err) {
    const trm_arc_pair *pair = arg;
    trm_arc_frame f;
    (void)err;
    trm_arc_frame_identity(&f);
    if (l->steps == 0)
        trm_arc_teach(l, pair, &f, 0, false);
    return TRM_OK;
}

/* Gradients of two steps of two lessons on two threads, each in `parts` parts; one part of a third
 * step that is then given up, and of another pair's first. */
static void gradients(float *grads, const trm_model *m, trm_arc_pair *pair, int parts) {
    const trm_mm_lib *lib;
    trm_team *team;
    trm_net *net;
    trm_class *class;
    trm_error err;
    trm_loss sum;
    const trm_class_options o = {.loss = TRM_SOFTMAX, .q_weight = 0.5, .tape = 1, .batch = 2};
    assert_int_equal(trm_backend_find(&lib, NULL, &err), TRM_OK);
    assert_int_equal(trm_team_new(&team, 2, lib->enter_thread, &err), TRM_OK);
    assert_int_equal(trm_net_new(&net, &m->config, &m->layout, m->w, lib, true, &err), TRM_OK);
    assert_int_equal(trm_class_new(&class, net, team, &o, &err), TRM_OK);
    bool whole = false;
    for (int i = 0; i < 2 * parts; i++) {
        int r = parts == 1 ? trm_class_step(class, teach, pair, grads, &sum, &err)
                           : trm_class_part(class, teach, pair, grads, &sum, &whole, &err);
        assert_int_equal(r, TRM_OK);
        if (parts > 1)
            assert_int_equal(whole, i % parts == parts - 1);
    }
    assert_true(sum.total > 0);
    if (parts > 1) {
        assert_int_equal(trm_class_part(class, teach, pair, grads, &sum, &whole, &err), TRM_OK);
        assert_false(whole);
    }
    trm_class_lesson(class, 0)->steps = trm_class_lesson(class, 1)->steps = 0;
    trm_class_lesson(class, 0)->fresh = trm_class_lesson(class, 1)->fresh = true;
    size_t n = m->layout.floats;
    assert_int_equal(trm_class_step(class, teach, pair + 1, grads + n, &sum, &err), TRM_OK);
    trm_class_free(class);
    trm_net_free(net);
    trm_team_free(team);
}

static void test_a_step_in_parts_is_the_same_step(void **state) {
    (void)state;
    trm_arc_pair pair[4];
    trm_arc_task t;
    make_task(&t, pair, true);
    trm_model *m = small_model(1);
    size_t n = 2 * m->layout.floats * sizeof(float);
    float *a = calloc(1, n), *b = calloc(1, n);
    gradients(a, m, pair, 1);
    gradients(b, m, pair, 3);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
    trm_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_rule_is_learned_from_random_weights),
        cmocka_unit_test(test_a_rule_is_learned_in_outputs_that_are_turned),
        cmocka_unit_test(test_equal_seeds_give_equal_answers),
        cmocka_unit_test(test_the_caller_ends_training),
        cmocka_unit_test(test_outputs_of_unknown_size_get_the_full_canvas),
        cmocka_unit_test(test_what_cannot_run_is_refused),
        cmocka_unit_test(test_a_step_in_parts_is_the_same_step),
        cmocka_unit_test(test_a_trunk_starts_from_the_mean_of_trained_puzzles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

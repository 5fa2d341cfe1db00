/* Assumptions read off a model's beliefs: which cell, which digits, which comes first, and when an
 * attempt at one ends. The logits are written by hand; where a model runs, it knows nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "search.h"

static trm_search search;
static trm_sudoku puzzle;
static trm_sudoku_sym same;
static float logits[TRM_SUDOKU_CELLS * TRM_SUDOKU_VOCAB];

/* Sure of 1 in every cell; stablemax of (s - 1) is proportional to s. */
static void reset(void) {
    memset(&search, 0, sizeof search);
    memset(&puzzle, 0, sizeof puzzle);
    trm_sudoku_sym_identity(&same);
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        for (int v = 0; v < TRM_SUDOKU_VOCAB; v++)
            logits[i * TRM_SUDOKU_VOCAB + v] = v == 2 ? 10000.0f : -1000.0f;
}

static void believe(int cell, int digit, float share) {
    logits[cell * TRM_SUDOKU_VOCAB + digit + 1] = 10000 * share;
}

static void test_a_model_that_is_sure_opens_nothing(void **state) {
    (void)state;
    reset();
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    assert_int_equal(search.nodes, 0);
    assert_int_equal(trm_search_take(&search), -1);
}

static void test_the_cell_with_fewest_digits_in_question_is_taken(void **state) {
    (void)state;
    reset();
    for (int d = 1; d <= 3; d++)
        believe(40, d, 1);
    believe(7, 4, 0.5f); /* two digits: 1 and 4 */
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    assert_int_equal(search.open, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(search.node[i].cell, 7);
    assert_int_equal(search.node[0].digit, 1);
    assert_int_equal(search.node[1].digit, 4);
    assert_true(search.node[0].likely > search.node[1].likely);
}

static void test_clues_are_never_in_question(void **state) {
    (void)state;
    reset();
    believe(7, 4, 1);
    puzzle.cell[7] = 4;
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    assert_int_equal(search.nodes, 0);
}

static void test_the_likeliest_comes_first_and_brings_all_it_rests_on(void **state) {
    (void)state;
    reset();
    believe(7, 4, 0.25f); /* 0.8 and 0.2 */
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    int first = trm_search_take(&search);
    assert_int_equal(search.node[first].digit, 1);
    trm_sudoku known = puzzle;
    trm_search_clues(&search, first, &known);
    assert_int_equal(known.cell[7], 1);
    believe(9, 5, 1); /* below it 0.4 and 0.4: before the other's 0.2 */
    trm_search_branch(&search, first, &puzzle, logits, &same, -INFINITY);
    int second = trm_search_take(&search);
    assert_int_equal(search.node[second].parent, first);
    assert_int_equal(search.node[second].cell, 9);
    known = puzzle;
    trm_search_clues(&search, second, &known);
    assert_int_equal(known.cell[7], 1);
    assert_int_equal(known.cell[9], search.node[second].digit);
    assert_int_equal(search.node[trm_search_take(&search)].parent, first);
    assert_int_equal(search.node[trm_search_take(&search)].digit, 4);
    assert_int_equal(trm_search_take(&search), -1);
    assert_int_equal(search.open, 0);
}

/* 0.8 of it at first, but below it the model doubts: the other's 0.2 comes before. */
static void test_doubt_puts_what_rests_on_it_last(void **state) {
    (void)state;
    reset();
    believe(7, 4, 0.25f);
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    int first = trm_search_take(&search);
    believe(9, 5, 1);
    trm_search_branch(&search, first, &puzzle, logits, &same, 4);
    assert_int_equal(search.node[trm_search_take(&search)].digit, 4);
}

/* A third of it at first, but below it the model is sure of an answer: its halves come before the
 * other thirds. */
static void test_what_is_trusted_is_followed(void **state) {
    (void)state;
    reset();
    believe(7, 4, 1);
    believe(7, 5, 1);
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    int first = trm_search_take(&search);
    believe(9, 5, 1);
    trm_search_branch(&search, first, &puzzle, logits, &same, -20);
    for (int i = 0; i < 2; i++)
        assert_int_equal(search.node[trm_search_take(&search)].parent, first);
    assert_int_equal(search.node[trm_search_take(&search)].parent, -1);
}

/* Eight attempts more for each clue that a puzzle is short of 17. */
static void test_few_clues_get_longer_rounds(void **state) {
    (void)state;
    static trm_task t;
    for (int clues = 15; clues < 19; clues++) {
        trm_sudoku few = {{0}};
        for (int i = 0; i < clues; i++)
            few.cell[i] = 1;
        trm_task_sudoku(&t, &few, &(trm_policy){1, 1000, TRM_HALT_AUTO});
        assert_int_equal(t.search.missing, clues < 17 ? 17 - clues : 0);
    }
    reset();
    search.missing = 2;
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    for (int taken = 0; search.round == 0; taken++) {
        assert_true(taken <= 32 + 2 * 8);
        believe(7, 4, 1);
        trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
        (void)trm_search_take(&search);
        if (search.round)
            assert_int_equal(taken, 32 + 2 * 8);
    }
}

static void test_an_image_s_beliefs_are_read_in_the_puzzle_s_frame(void **state) {
    (void)state;
    reset();
    trm_rng rng;
    trm_sudoku_sym sym, back;
    trm_rng_seed(&rng, 3);
    trm_sudoku_sym_random(&sym, &rng);
    trm_sudoku_sym_inverse(&back, &sym);
    believe(sym.cell[7], 4, 1);
    trm_search_branch(&search, -1, &puzzle, logits, &back, -INFINITY);
    assert_int_equal(search.open, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(search.node[i].cell, 7);
        assert_int_equal(sym.digit[search.node[i].digit], i == 0 ? 1 : 4);
    }
}

static void test_a_full_tree_takes_no_more(void **state) {
    (void)state;
    reset();
    believe(7, 4, 1);
    for (int i = 0; i < TRM_SEARCH_NODES; i++)
        trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    assert_int_equal(search.nodes, TRM_SEARCH_NODES);
    assert_int_equal(search.open, TRM_SEARCH_NODES);
}

/* 6 is believed at 0.003: too little for the first round, enough for the second. */
static void test_where_nothing_is_left_the_model_is_believed_less(void **state) {
    (void)state;
    reset();
    believe(7, 4, 0.25f);
    believe(7, 6, 0.00375f);
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    assert_int_equal(search.open, 2);
    assert_true(trm_search_take(&search) >= 0 && trm_search_take(&search) >= 0);
    assert_int_equal(trm_search_take(&search), -1);
    assert_int_equal(search.round, 1);
    trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    assert_int_equal(search.open, 3);
}

static void test_a_round_ends_when_its_attempts_are_spent(void **state) {
    (void)state;
    reset();
    believe(7, 4, 1);
    for (int i = 0; i < 40; i++)
        trm_search_branch(&search, -1, &puzzle, logits, &same, -INFINITY);
    for (int i = 0; i < 32; i++)
        assert_true(trm_search_take(&search) >= 0);
    assert_int_equal(trm_search_take(&search), -1);
    assert_int_equal(search.round, 1);
    assert_int_equal(search.nodes, 0);
}

/* A second attempt waits for what the first leaves to assume, unless none is running. */
static void test_what_to_assume_is_waited_for(void **state) {
    (void)state;
    trm_policy p;
    static trm_task t;
    trm_policy_defaults(&p, TRM_KIND_SUDOKU);
    trm_task_sudoku(&t, &puzzle, &p);
    assert_true(trm_task_wants_lane(&t));
    t.started = 1;
    assert_false(trm_task_wants_lane(&t));
    t.search.open = 1;
    assert_true(trm_task_wants_lane(&t));
    t.search.open = 0;
    t.finished = 1;
    assert_true(trm_task_wants_lane(&t));
    t.started = t.policy.attempts;
    assert_false(trm_task_wants_lane(&t));
}

/* A model that knows nothing but doubts everything, or nothing, by its bias. */
static trm_engine *start(trm_model **m, float bias, int slots) {
    static const char *const config =
        "{\"task\":\"sudoku\",\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":32,\"num_heads\":4,"
        "\"H_cycles\":1,\"L_cycles\":1,\"L_layers\":1,\"inner_size\":16,\"q_mean\":true,"
        "\"pos_encodings\":\"unit_means\",\"puzzle_emb_ndim\":0,\"unsat_head\":true}";
    trm_config c;
    trm_engine *e;
    trm_error err;
    trm_rng rng;
    trm_rng_seed(&rng, 1);
    assert_int_equal(trm_config_parse(&c, config, &err), 0);
    assert_int_equal(trm_model_new(m, &c, &rng, &err), 0);
    (*m)->w[trm_layout_find(&(*m)->layout, TRM_W_Q_BIAS, -1)->offset + 1] = bias;
    const trm_engine_options o = {"reference", 1, slots, true};
    assert_int_equal(trm_engine_new(&e, *m, &o, &err), 0);
    return e;
}

/* Steps of four attempts. */
static int steps_with_doubt(float bias) {
    static const trm_sudoku blank;
    static trm_task t;
    trm_model *m;
    trm_error err;
    trm_engine *e = start(&m, bias, 1);
    trm_task_sudoku(&t, &blank, &(trm_policy){2, 4, TRM_HALT_AUTO});
    assert_int_equal(trm_tasks_run(e, &t, 1, NULL, NULL, &err), 0);
    assert_int_equal(t.finished, 4);
    trm_engine_free(e);
    trm_model_free(m);
    return t.steps;
}

static void attempt(trm_lane *l, trm_task *t, trm_engine *e, int slot) {
    trm_error err;
    assert_int_equal(trm_lane_start(l, t, e, slot, &err), 0);
    do
        assert_int_equal(trm_engine_step(e, &slot, 1, &err), 0);
    while (!trm_lane_advance(l, e));
}

/* The first assumption goes on, in its image. In another slot, after another puzzle, or beside an
 * assumption that came to nothing, an attempt begins anew in an image of its own. */
static void test_an_attempt_goes_on_where_the_one_before_it_stopped(void **state) {
    (void)state;
    static const trm_sudoku blank;
    static trm_task task, other;
    const trm_policy p = {2, 100, TRM_HALT_AUTO};
    trm_model *m;
    trm_lane root, next, stranger;
    for (int way = 0; way < 4; way++) {
        trm_engine *e = start(&m, way == 3 ? 1000 : -1000, 2);
        trm_task_sudoku(&task, &blank, &p);
        trm_task_sudoku(&other, &blank, &p);
        attempt(&root, &task, e, 0);
        if (way == 2)
            attempt(&stranger, &other, e, 0);
        attempt(&next, &task, e, way == 1);
        if (way == 3) /* the model doubts the first: the second is not its child */
            attempt(&next, &task, e, 0);
        assert_int_equal(task.search.node[next.node].parent, root.node);
        assert_int_equal(memcmp(&next.sym, &root.sym, sizeof root.sym) == 0, way == 0);
        trm_engine_free(e);
        trm_model_free(m);
    }
}

/* The puzzle as it was asked has an answer, whatever the model thinks of it. */
static void test_what_is_assumed_wrongly_is_dropped_at_once(void **state) {
    (void)state;
    assert_int_equal(steps_with_doubt(-1000), 2 * 4);
    assert_int_equal(steps_with_doubt(1000), 2 + 1 * 3);
}

/* What a blank Sudoku's first step shows. */
static void first_logits(float *out, size_t bytes, trm_engine *e, trm_halt halt) {
    static const trm_sudoku blank;
    static trm_task t;
    trm_lane l;
    trm_error err;
    const int slot = 0;
    trm_task_sudoku(&t, &blank, &(trm_policy){2, 1, halt});
    assert_int_equal(trm_lane_start(&l, &t, e, slot, &err), 0);
    assert_int_equal(trm_engine_step(e, &slot, 1, &err), 0);
    memcpy(out, trm_engine_logits(e, slot), bytes);
}

static void test_only_checked_steps_are_short(void **state) {
    (void)state;
    enum { LOGITS = 81 * 11 };
    static float checked[LOGITS], act[LOGITS], fixed[LOGITS], one[LOGITS];
    trm_model *m;
    trm_engine *e = start(&m, 0, 1);
    first_logits(one, sizeof one, e, TRM_HALT_FIXED);
    m->config.H_cycles = 2;
    m->config.auto_H_cycles = 1;
    first_logits(checked, sizeof one, e, TRM_HALT_AUTO);
    first_logits(act, sizeof one, e, TRM_HALT_ACT);
    first_logits(fixed, sizeof one, e, TRM_HALT_FIXED);
    assert_memory_equal(checked, one, sizeof one);
    assert_memory_not_equal(fixed, one, sizeof one);
    assert_memory_equal(act, fixed, sizeof one);
    trm_engine_free(e);
    trm_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_model_that_is_sure_opens_nothing),
        cmocka_unit_test(test_the_cell_with_fewest_digits_in_question_is_taken),
        cmocka_unit_test(test_clues_are_never_in_question),
        cmocka_unit_test(test_the_likeliest_comes_first_and_brings_all_it_rests_on),
        cmocka_unit_test(test_doubt_puts_what_rests_on_it_last),
        cmocka_unit_test(test_what_is_trusted_is_followed),
        cmocka_unit_test(test_few_clues_get_longer_rounds),
        cmocka_unit_test(test_an_image_s_beliefs_are_read_in_the_puzzle_s_frame),
        cmocka_unit_test(test_a_full_tree_takes_no_more),
        cmocka_unit_test(test_where_nothing_is_left_the_model_is_believed_less),
        cmocka_unit_test(test_a_round_ends_when_its_attempts_are_spent),
        cmocka_unit_test(test_what_to_assume_is_waited_for),
        cmocka_unit_test(test_what_is_assumed_wrongly_is_dropped_at_once),
        cmocka_unit_test(test_an_attempt_goes_on_where_the_one_before_it_stopped),
        cmocka_unit_test(test_only_checked_steps_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The trainer: it learns, and a run that was cut and resumed is the run that was not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "source.h"
#include "trainer.h"
#include "trm/maze.h"
#include "trm/sudoku.h"
#include "trm/train.h"

static const char *const small =
    "{\"task\":\"sudoku\",\"seed\":5,\"batch\":6,\"steps\":40,\"extra_clues\":50,\"tape\":2,"
    "\"warmup\":4,\"lr\":0.02,\"model\":{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":48,"
    "\"num_heads\":3,\"H_cycles\":2,\"L_cycles\":2,\"L_layers\":1,\"inner_size\":64,"
    "\"pos_encodings\":\"units\",\"puzzle_emb_ndim\":0,\"halt_max_steps\":3,\"q_mean\":true}}";

/* half of its puzzles have a wrong clue */
static const char *const doubts =
    "{\"task\":\"sudoku\",\"seed\":5,\"batch\":6,\"steps\":40,\"extra_clues\":50,\"tape\":2,"
    "\"share_wrong\":0.5,\"model\":{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":48,"
    "\"num_heads\":3,\"H_cycles\":1,\"L_cycles\":2,\"L_layers\":1,\"inner_size\":64,"
    "\"unsat_head\":true,\"pos_encodings\":\"unit_means\",\"puzzle_emb_ndim\":0,"
    "\"halt_max_steps\":3,\"q_mean\":true}}";

/* four of its six slots get clues on the way */
static const char *const assumes =
    "{\"task\":\"sudoku\",\"seed\":5,\"batch\":6,\"steps\":40,\"extra_clues\":40,\"tape\":2,"
    "\"share_assumed\":0.67,\"share_assumed_wrong\":0.3,\"model\":{\"seq_len\":81,"
    "\"vocab_size\":11,\"hidden_size\":48,\"num_heads\":3,\"H_cycles\":1,\"L_cycles\":2,"
    "\"L_layers\":1,\"inner_size\":64,\"unsat_head\":true,\"pos_encodings\":\"unit_means\","
    "\"puzzle_emb_ndim\":0,\"halt_max_steps\":12,\"q_mean\":true}}";

static const char *const mazes =
    "{\"task\":\"maze\",\"seed\":5,\"batch\":4,\"steps\":40,\"size_min\":4,\"size_max\":7,\"tape\":"
    "2,"
    "\"lr\":0.005,\"model\":{\"seq_len\":900,\"vocab_size\":6,\"hidden_size\":32,\"num_heads\":2,"
    "\"H_cycles\":1,\"L_cycles\":2,\"L_layers\":1,\"inner_size\":64,\"pos_encodings\":\"rope2d\","
    "\"puzzle_emb_ndim\":0,\"halt_max_steps\":3,\"q_mean\":true,\"packed\":true}}";

/* of one size, which need not be packed */
static const char *const squares =
    "{\"task\":\"maze\",\"seed\":5,\"batch\":4,\"steps\":40,\"size_min\":7,\"size_max\":7,"
    "\"tape\":2,\"lr\":0.005,\"model\":{\"seq_len\":49,\"vocab_size\":6,\"hidden_size\":32,"
    "\"num_heads\":2,\"H_cycles\":1,\"L_cycles\":2,\"L_layers\":1,\"inner_size\":64,"
    "\"mlp_t\":true,\"pos_encodings\":\"none\",\"puzzle_emb_ndim\":0,\"halt_max_steps\":3,"
    "\"q_mean\":true}}";

static const char *const tasks =
    "{\"task\":\"arc\",\"seed\":5,\"batch\":4,\"steps\":40,\"size_max\":6,\"tape\":2,\"share_"
    "rules\":1,"
    "\"lr\":0.005,\"model\":{\"seq_len\":900,\"vocab_size\":12,\"hidden_size\":32,\"num_heads\":2,"
    "\"H_cycles\":1,\"L_cycles\":2,\"L_layers\":1,\"inner_size\":64,\"pos_encodings\":\"rope2d\","
    "\"puzzle_emb_ndim\":32,\"puzzle_emb_len\":11,\"num_puzzle_identifiers\":64,"
    "\"halt_max_steps\":3,\"q_mean\":true,\"packed\":true,\"frames\":true}}";

static trm_trainer *start(const char *recipe, const char *out, bool resume) {
    trm_recipe r;
    trm_error err;
    trm_trainer *t = NULL;
    trm_train_options o = {.backend = "openblas", .threads = 2, .out = out, .resume = resume};
    if (trm_recipe_parse(&r, recipe, &err) || trm_trainer_new(&t, &r, &o, &err))
        fail_msg("%s", err.text);
    return t;
}

static void run(trm_trainer *t, int n, double *loss) {
    trm_train_log log;
    trm_error err;
    for (int i = 0; i < n; i++) {
        if (trm_trainer_step(t, &log, &err))
            fail_msg("%s", err.text);
        loss[i] = log.loss.total;
    }
}

static void resume_repeats(const char *recipe) {
    char folder[] = "/tmp/trm-train-XXXXXX", command[128];
    double whole[12], first[7], second[5];
    trm_error err;
    assert_non_null(mkdtemp(folder));
    trm_trainer *t = start(recipe, folder, false);
    run(t, 12, whole);
    trm_trainer_free(t);
    t = start(recipe, folder, false);
    run(t, 7, first);
    assert_int_equal(trm_trainer_save(t, &err), 0);
    double lost[2];
    run(t, 2, lost); /* done after the checkpoint, lost with the kill */
    trm_trainer_free(t);
    t = start(recipe, folder, true);
    assert_int_equal(trm_trainer_resumed(t), 7);
    run(t, 5, second);
    trm_trainer_free(t);
    assert_memory_equal(whole, first, sizeof first);
    assert_memory_equal(whole + 7, second, sizeof second);
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_resumed_run_repeats_the_unbroken_one(void **state) {
    (void)state;
    resume_repeats(small);
    resume_repeats(doubts);
    resume_repeats(assumes);
}

/* A step leaves each lesson as it was or with one clue more: the right one, or a wrong one that
 * takes its answer away. */
static void test_unsolved_puzzles_get_clues_on_the_way(void **state) {
    (void)state;
    char folder[] = "/tmp/trm-train-XXXXXX", command[128];
    int32_t tokens[6][81], labels[6][81];
    int right = 0, wrong = 0, next[6];
    double loss[1];
    assert_non_null(mkdtemp(folder));
    trm_trainer *t = start(assumes, folder, false);
    for (int step = 0; step < 30; step++) {
        for (int i = 0; i < 6; i++) {
            const trm_lesson *l = trm_trainer_lesson(t, i);
            next[i] = l->done ? 0 : l->steps;
            memcpy(tokens[i], l->tokens, sizeof tokens[i]);
            memcpy(labels[i], l->labels, sizeof labels[i]);
        }
        run(t, 1, loss);
        for (int i = 0; i < 6; i++) {
            const trm_lesson *l = trm_trainer_lesson(t, i);
            int more = -1, changed = 0;
            for (int k = 0; k < 81; k++)
                if (l->tokens[k] != tokens[i][k]) {
                    more = k;
                    changed++;
                }
            if (!next[i] || !changed)
                continue;
            assert_true(i < 4 && changed == 1 && tokens[i][more] == 1);
            bool fits = l->tokens[more] == labels[i][more];
            right += fits;
            wrong += !fits;
            for (int k = 0; k < 81; k++)
                assert_int_equal(l->labels[k], fits ? labels[i][k] : -100);
        }
    }
    assert_true(right > 5 && wrong > 2);
    trm_trainer_free(t);
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* Of the puzzles with a wrong clue none has an answer, of the others each has one. */
static void test_a_wrong_clue_leaves_no_answer(void **state) {
    (void)state;
    trm_recipe r;
    trm_error err;
    trm_source *source;
    trm_lesson l = {0};
    int32_t tokens[81], labels[81];
    int wrong = 0;
    assert_int_equal(trm_recipe_parse(&r, doubts, &err), 0);
    assert_int_equal(trm_source_new(&source, &r, NULL, &err), 0);
    l.tokens = tokens;
    l.labels = labels;
    trm_rng_seed(&l.rng, 8);
    for (int i = 0; i < 200; i++) {
        trm_sudoku p, answer;
        assert_int_equal(trm_source_next(source, 30, &l, &err), 0);
        trm_sudoku_decode(&p, tokens);
        int n = trm_sudoku_solutions(&p, 2, &answer, NULL);
        assert_int_equal(n, !trm_lesson_unsat(&l, &r.model));
        assert_true(trm_sudoku_consistent(&p, NULL));
        wrong += n == 0;
        for (int k = 0; k < 81; k++)
            assert_int_equal(labels[k], n ? answer.cell[k] + 1 : -100);
    }
    assert_in_range(wrong, 60, 140);
    trm_source_free(source);
}

/* How many of 200 training mazes of 12x12 have a path of fewer than 16 moves. */
static int short_mazes(const char *share) {
    char json[512];
    trm_recipe r;
    trm_error err;
    trm_source *source = NULL;
    trm_lesson l = {0};
    int32_t tokens[900], labels[900];
    uint8_t row[900], col[900];
    int n = 0;
    (void)snprintf(json, sizeof json,
        "{\"task\":\"maze\",\"size_min\":12,\"size_max\":12,\"length_min\":16,\"share_short\":%s,"
        "\"model\":{\"seq_len\":900,\"vocab_size\":6,\"hidden_size\":32,\"packed\":true,"
        "\"num_heads\":2,\"pos_encodings\":\"shifts\",\"puzzle_emb_ndim\":0}}",
        share);
    if (trm_recipe_parse(&r, json, &err) || trm_source_new(&source, &r, NULL, &err))
        fail_msg("%s", err.text);
    l.tokens = tokens;
    l.labels = labels;
    l.row = row;
    l.col = col;
    trm_rng_seed(&l.rng, 8);
    for (int i = 0; i < 200; i++) {
        trm_maze m = {.rows = 12, .cols = 12};
        assert_int_equal(trm_source_next(source, 0, &l, &err), 0);
        for (int k = 0; k < l.cells; k++)
            m.cell[k] = (uint8_t)tokens[k];
        n += trm_maze_distance(&m) < 16;
    }
    trm_source_free(source);
    return n;
}

static void test_some_mazes_are_shorter_than_the_least_length(void **state) {
    (void)state;
    int none = short_mazes("0"), half = short_mazes("0.5"), all = short_mazes("1");
    print_message("%d, %d, %d of 200\n", none, half, all);
    assert_true(none < 20); /* where none so long was found */
    assert_true(half > none + 20 && all > half + 10);
}

static void test_resumed_maze_run_repeats_the_unbroken_one(void **state) {
    (void)state;
    resume_repeats(mazes);
    resume_repeats(squares);
}

static void test_resumed_arc_run_repeats_the_unbroken_one(void **state) {
    (void)state;
    resume_repeats(tasks);
}

static void test_loss_falls(void **state) {
    (void)state;
    char folder[] = "/tmp/trm-train-XXXXXX", command[128];
    double loss[40], early = 0, late = 0;
    assert_non_null(mkdtemp(folder));
    trm_trainer *t = start(small, folder, false);
    run(t, 40, loss);
    trm_trainer_free(t);
    for (int i = 0; i < 10; i++) {
        early += loss[i];
        late += loss[30 + i];
    }
    assert_true(late < 0.8 * early);
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

#define CANDIDATES                                                                                 \
    "\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":32,\"puzzle_emb_ndim\":0,"                   \
    "\"pos_encodings\":\"candidates\""

static void test_recipe_errors_name_the_key(void **state) {
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        {"{", "line 1"},
        {"[]", "not a JSON object"},
        {"{\"task\":\"sudoku\",\"larning_rate\":1}", "unknown key \"larning_rate\""},
        {"{\"task\":\"chess\"}", "sudoku, maze or arc"},
        {"{\"task\":\"arc\",\"model\":{\"seq_len\":900,\"vocab_size\":12,\"hidden_size\":64}}",
            "frames"},
        {"{\"task\":\"maze\",\"size_min\":8,\"size_max\":9,\"model\":{\"seq_len\":64,"
         "\"vocab_size\":6,\"hidden_size\":32}}",
            "900, or size_max squared"},
        {"{\"task\":\"sudoku\"}", "\"model\" is missing"},
        {"{\"task\":\"sudoku\",\"share_wrong\":0.1,\"model\":{\"seq_len\":81,\"vocab_size\":11,"
         "\"hidden_size\":48}}",
            "unsat_head"},
        {"{\"task\":\"sudoku\",\"share_assumed\":0.1,\"model\":{\"seq_len\":81,\"vocab_size\":11,"
         "\"hidden_size\":48}}",
            "unsat_head"},
        {"{\"task\":\"sudoku\",\"label_smoothing\":0.1,\"model\":{" CANDIDATES "}}",
            "label_smoothing"},
        {"{\"task\":\"sudoku\",\"model\":{" CANDIDATES ",\"packed\":true}}", "not packed"},
        {"{\"rules\":{\"crop\":8,\"corp\":8}}", "there is no \"corp\""},
        {"{\"rules\":{\"crop\":0.5}}", "\"crop\" must be an integer from 0 to 1000"},
        {"{\"rules\":[\"crop\"]}", "an object of rules"},
        {"{\"task\":\"sudoku\",\"batch\":0}", "\"batch\""},
        {"{\"task\":\"sudoku\",\"batch\":1.5}", "\"batch\""},
        {"{\"task\":\"sudoku\",\"optimizer\":\"sgd\"}", "muon, adamw, adam_atan2"},
        {"{\"task\":\"sudoku\",\"model\":{\"seq_len\":81}}", "\"vocab_size\" is missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        trm_recipe r;
        trm_error err;
        assert_int_not_equal(trm_recipe_parse(&r, bad[i].json, &err), 0);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].json, err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed_run_repeats_the_unbroken_one),
        cmocka_unit_test(test_a_wrong_clue_leaves_no_answer),
        cmocka_unit_test(test_unsolved_puzzles_get_clues_on_the_way),
        cmocka_unit_test(test_some_mazes_are_shorter_than_the_least_length),
        cmocka_unit_test(test_resumed_maze_run_repeats_the_unbroken_one),
        cmocka_unit_test(test_resumed_arc_run_repeats_the_unbroken_one),
        cmocka_unit_test(test_loss_falls),
        cmocka_unit_test(test_recipe_errors_name_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

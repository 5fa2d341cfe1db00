/* ARC tasks: reading and refusing, symmetries, shapes, the canvas, votes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arc.h"
#include "arc_rules.h"

static trm_arc_grid random_grid(trm_rng *rng, int rows, int cols) {
    trm_arc_grid g = {.rows = (uint8_t)rows, .cols = (uint8_t)cols};
    for (int i = 0; i < rows * cols; i++)
        g.cell[i] = (uint8_t)trm_rng_below(rng, TRM_ARC_COLOURS);
    return g;
}

static trm_arc_grid any_grid(trm_rng *rng) {
    return random_grid(rng, 1 + (int)trm_rng_below(rng, 30), 1 + (int)trm_rng_below(rng, 30));
}

#define TRAIN "{\"train\":[{\"input\":[[1,2]],\"output\":[[2,1]]}],"

static void test_bad_tasks_name_the_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *place, *says;
    } bad[] = {
        {"[", "", "line 1"},
        {"[]", "", "object"},
        {"{\"test\":[{\"input\":[[1]]}]}", "/train", "train"},
        {"{\"train\":[],\"test\":[{\"input\":[[1]]}]}", "/train", "1 to 32"},
        {TRAIN "\"test\":[]}", "/test", "1 to 32"},
        {TRAIN "\"test\":[7]}", "/test/0", "object"},
        {TRAIN "\"test\":[{}]}", "/test/0/input", "missing"},
        {TRAIN "\"test\":[{\"input\":[]}]}", "/test/0/input", "1 to 30 rows"},
        {TRAIN "\"test\":[{\"input\":[[]]}]}", "/test/0/input/0", "1 to 30"},
        {TRAIN "\"test\":[{\"input\":[[1,2],[3]]}]}", "/test/0/input/1", "equally long"},
        {TRAIN "\"test\":[{\"input\":[[1,10]]}]}", "/test/0/input/0/1", "0 to 9"},
        {TRAIN "\"test\":[{\"input\":[[1,-1]]}]}", "/test/0/input/0/1", "0 to 9"},
        {TRAIN "\"test\":[{\"input\":[[1,2.0]]}]}", "/test/0/input/0/1", "integer"},
        {"{\"train\":[{\"input\":[[1]]}],\"test\":[{\"input\":[[1]]}]}", "/train/0/output",
            "missing"},
        {TRAIN "\"test\":[{\"input\":[[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
               "1]]}]}",
            "/test/0/input/0", "more than 30"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        trm_arc_task t;
        char place[TRM_ARC_PLACE];
        trm_error err;
        int r = trm_arc_task_parse(&t, bad[i].text, strlen(bad[i].text), place, &err);
        assert_int_equal(r, TRM_E_FORMAT);
        assert_null(t.pair);
        assert_string_equal(place, bad[i].place);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
}

static void test_tasks_are_read(void **state) {
    (void)state;
    static const char text[] = TRAIN "\"name\":\"x\",\"test\":[{\"input\":[[3],[4]]},"
                                     "{\"input\":[[5]],\"output\":[[6]]}]}";
    trm_arc_task t, copy;
    char place[TRM_ARC_PLACE];
    trm_error err;
    assert_int_equal(trm_arc_task_parse(&t, text, strlen(text), place, &err), TRM_OK);
    assert_int_equal(t.demos, 1);
    assert_int_equal(t.tests, 2);
    assert_int_equal(t.pair[0].output.cell[0], 2);
    assert_int_equal(t.pair[1].input.rows, 2);
    assert_int_equal(t.pair[1].output.rows, 0);
    assert_int_equal(t.pair[2].output.cell[0], 6);
    assert_int_equal(trm_arc_task_check(&t, place, &err), TRM_OK);
    assert_int_equal(trm_arc_task_copy(&copy, &t, &err), TRM_OK);
    copy.pair[1].input.cell[1] = 10;
    assert_int_equal(trm_arc_task_check(&copy, place, &err), TRM_E_ARG);
    assert_string_equal(place, "/test/0/input/1/0");
    copy.pair[0].output.rows = 31;
    assert_int_equal(trm_arc_task_check(&copy, place, &err), TRM_E_ARG);
    assert_string_equal(place, "/train/0/output");
    copy.demos = 0;
    assert_int_equal(trm_arc_task_check(&copy, place, &err), TRM_E_ARG);
    assert_string_equal(place, "/train");
    trm_arc_task_free(&copy);
    trm_arc_task_free(&t);
}

static void test_frames_have_inverses(void **state) {
    (void)state;
    trm_rng rng;
    trm_rng_seed(&rng, 3);
    for (int i = 0; i < 500; i++) {
        trm_arc_frame f, back;
        trm_arc_grid g = any_grid(&rng), image, again;
        trm_arc_frame_random(&f, i % 2, &rng);
        trm_arc_frame_inverse(&back, &f);
        assert_int_equal(f.colour[0], 0);
        trm_arc_frame_apply(&image, &f, &g);
        trm_arc_frame_apply(&again, &back, &image);
        assert_true(trm_arc_grid_equal(&g, &again));
        trm_arc_pair a = {g, any_grid(&rng)}, b;
        trm_arc_frame_apply(&b.input, &f, &a.input);
        trm_arc_frame_apply(&b.output, &f, &a.output);
        assert_true(trm_arc_pair_hash(&a) == trm_arc_pair_hash(&b));
        b.output.cell[0] = b.output.cell[0] ? 0 : 1;
        assert_true(trm_arc_pair_hash(&a) != trm_arc_pair_hash(&b));
    }
}

static void test_outputs_that_are_inputs_turned_are_known(void **state) {
    (void)state;
    trm_rng rng;
    trm_rng_seed(&rng, 11);
    for (int sym = 0; sym < 8; sym++) {
        trm_arc_pair pair[3];
        trm_arc_frame f, colours, back;
        trm_arc_frame_random(&colours, true, &rng);
        colours.sym = 0;
        trm_arc_frame_identity(&f);
        f.sym = (uint8_t)sym;
        trm_arc_frame_inverse(&back, &f);
        for (int i = 0; i < 3; i++) {
            trm_arc_grid other;
            pair[i].input = random_grid(&rng, 4 + i, 6);
            trm_arc_frame_apply(&other, &colours, &pair[i].input);
            trm_arc_frame_apply(&pair[i].output, &back, &other);
        }
        assert_int_equal(trm_arc_turned(pair, 3), sym);
        pair[1].output.cell[7] ^= 1; /* one cell that is none of them */
        assert_int_equal(trm_arc_turned(pair, 3), 0);
        pair[1].output.cell[7] ^= 1;
        pair[2].output = random_grid(&rng, 2, 2);
        assert_int_equal(trm_arc_turned(pair, 3), 0);
    }
}

static trm_arc_relation_kind relate(
    trm_rng *rng, const int sizes[][4], int n, trm_arc_relation *out) {
    trm_arc_pair pair[4];
    for (int i = 0; i < n; i++) {
        pair[i].input = random_grid(rng, sizes[i][0], sizes[i][1]);
        pair[i].output = random_grid(rng, sizes[i][2], sizes[i][3]);
    }
    trm_arc_relate(out, pair, n);
    return out->kind;
}

static void test_shapes_follow_the_demonstrations(void **state) {
    (void)state;
    static const struct {
        int n, size[3][4];
        trm_arc_relation_kind kind;
        int rows, cols; /* of the output of a 6 x 9 input, 0 = not told */
    } all[] = {
        {2, {{3, 4, 3, 4}, {5, 5, 5, 5}}, TRM_ARC_SAME, 6, 9},
        {2, {{3, 3, 6, 3}, {3, 3, 6, 3}}, TRM_ARC_RATIO, 12, 9},
        {2, {{9, 9, 3, 3}, {6, 3, 2, 1}}, TRM_ARC_RATIO, 2, 3},
        {2, {{9, 9, 3, 3}, {9, 9, 3, 3}}, TRM_ARC_FIXED, 3, 3},
        {2, {{3, 5, 5, 3}, {2, 7, 7, 2}}, TRM_ARC_TRANSPOSED, 9, 6},
        {2, {{9, 9, 3, 4}, {8, 9, 1, 1}}, TRM_ARC_WITHIN, 0, 0},
        {2, {{9, 9, 3, 4}, {8, 9, 9, 1}}, TRM_ARC_UNKNOWN, 0, 0},
        {2, {{10, 3, 30, 9}, {5, 2, 15, 6}}, TRM_ARC_RATIO, 18, 27},
        {2, {{2, 2, 10, 8}, {2, 2, 10, 8}}, TRM_ARC_RATIO, 0, 0}, /* too large */
    };
    trm_rng rng;
    trm_rng_seed(&rng, 4);
    trm_arc_grid input = random_grid(&rng, 6, 9);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        trm_arc_relation r;
        trm_arc_canvas c;
        int rows, cols;
        assert_int_equal(relate(&rng, all[i].size, all[i].n, &r), all[i].kind);
        assert_int_equal(trm_arc_expect(&r, &input, &rows, &cols), all[i].rows > 0);
        assert_int_equal(rows, all[i].rows);
        assert_int_equal(cols, all[i].cols);
        trm_arc_canvas_fit(&c, &r, &input, NULL);
        int want = rows > 6 ? rows + 1 : 7;
        bool full = !rows && all[i].kind != TRM_ARC_WITHIN;
        assert_int_equal(c.rows, full ? 30 : want);
    }
}

static void test_what_is_drawn_is_read(void **state) {
    (void)state;
    trm_rng rng;
    trm_rng_seed(&rng, 5);
    static int32_t tokens[TRM_ARC_CELLS], labels[TRM_ARC_CELLS];
    static uint8_t row[TRM_ARC_CELLS], col[TRM_ARC_CELLS];
    for (int i = 0; i < 300; i++) {
        trm_arc_grid in = any_grid(&rng), out = any_grid(&rng), got;
        trm_arc_relation unknown = {.kind = TRM_ARC_UNKNOWN};
        trm_arc_canvas c;
        trm_arc_canvas_fit(&c, &unknown, &in, i % 2 ? &out : NULL);
        trm_arc_canvas_move(&c, &rng);
        int n = trm_arc_draw(&c, &in, &out, tokens, labels, row, col);
        assert_int_equal(n, c.rows * c.cols);
        assert_true(c.rows + c.down <= 30 && c.cols + c.right <= 30);
        assert_int_equal(row[n - 1], c.rows + c.down - 1);
        assert_int_equal(col[n - 1], c.cols + c.right - 1);
        assert_true(trm_arc_read(&got, &c, tokens, 0, 0));
        assert_true(trm_arc_grid_equal(&got, &in));
        assert_true(trm_arc_read(&got, &c, labels, out.rows, out.cols));
        assert_true(trm_arc_grid_equal(&got, &out));
        assert_true(trm_arc_read(&got, &c, labels, 0, 0));
        assert_true(trm_arc_grid_equal(&got, &out));
    }
    trm_arc_canvas small = {2, 3, 0, 0};
    trm_arc_grid got;
    assert_false(trm_arc_read(&got, &small, (const int32_t[]){1, 2, 3, 2, 2, 2}, 0, 0));
    assert_false(trm_arc_read(&got, &small, (const int32_t[]){2, 2, 2, 2, 2, 2}, 3, 3));
    /* 1 x 3 beats 2 x 1. */
    assert_true(trm_arc_read(&got, &small, (const int32_t[]){2, 2, 3, 2, 1, 2}, 0, 0));
    assert_int_equal(got.rows, 1);
    assert_int_equal(got.cols, 3);
}

static trm_arc_grid grid_of(int rows, int cols, const char *digits) {
    trm_arc_grid g = {.rows = (uint8_t)rows, .cols = (uint8_t)cols};
    for (int i = 0; i < rows * cols; i++)
        g.cell[i] = (uint8_t)(digits[i] - '0');
    return g;
}

static void test_rules_do_what_their_names_say(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int rows, cols;
        const char *in;
        int out_rows, out_cols;
        const char *out;
    } all[] = {
        {"mirror", 2, 3, "120456", 2, 3, "021654"},
        {"quarter", 2, 3, "123456", 3, 2, "415263"},
        {"half-turn", 2, 3, "123456", 2, 3, "654321"},
        {"transpose", 2, 3, "123456", 3, 2, "142536"},
        {"one-to-two", 1, 4, "0123", 1, 4, "0223"},
        {"exchange", 1, 4, "0123", 1, 4, "0213"},
        {"all-to-three", 1, 4, "0129", 1, 4, "0333"},
        {"only-one", 1, 4, "0121", 1, 4, "0101"},
        {"black-to-five", 1, 3, "012", 1, 3, "512"},
        {"next-colour", 1, 4, "0129", 1, 4, "0231"},
        {"crop", 3, 4, "000000120030", 2, 2, "1230"},
        {"fall", 3, 2, "102003", 3, 2, "001023"},
        {"twice-as-large", 1, 2, "12", 2, 4, "11221122"},
        {"three-times", 1, 1, "7", 3, 3, "777777777"},
        {"again-beside", 1, 2, "12", 1, 4, "1212"},
        {"mirror-beside", 1, 2, "12", 1, 4, "1221"},
        {"left-half", 2, 2, "1234", 2, 1, "13"},
        {"border", 3, 3, "000020000", 3, 3, "111121111"},
        {"shift", 3, 2, "123456", 3, 2, "001234"},
        {"rays", 3, 2, "120030", 3, 2, "121030"},
        {"fill-holes", 3, 4, "111010101110", 3, 4, "111014101110"},
        {"symmetric", 1, 4, "1200", 1, 4, "1221"},
        {"halo", 3, 3, "000010000", 3, 3, "020212020"},
        {"largest-only", 2, 4, "11030103", 2, 4, "11000100"},
        {"largest-to-two", 2, 4, "11030103", 2, 4, "22030203"},
        {"crop-largest", 2, 4, "11030103", 2, 2, "1101"},
        {"drop-specks", 2, 3, "110002", 2, 3, "110000"},
        {"specks-to-three", 2, 3, "110002", 2, 3, "110003"},
        {"hollow", 3, 3, "111111111", 3, 3, "111101111"},
        {"fill-boxes", 2, 3, "440040", 2, 3, "440440"},
        {"connect", 3, 3, "202000201", 3, 3, "222200201"},
        {"cross", 3, 3, "000012000", 3, 3, "010112010"},
        {"drip", 3, 2, "120030", 3, 2, "121232"},
        {"both-halves", 2, 4, "10120304", 2, 2, "2002"},
        {"one-half", 2, 4, "10120304", 2, 2, "0200"},
        {"commonest", 1, 4, "3310", 1, 4, "3333"},
        {"rarest-only", 1, 4, "3310", 1, 4, "0010"},
        {"negative", 1, 3, "205", 1, 3, "010"},
        {"close-ranks", 3, 3, "102000304", 2, 2, "1234"},
        {"four-times", 1, 2, "12", 2, 4, "12121212"},
        {"kaleidoscope", 1, 2, "12", 2, 4, "12211221"},
        {"fractal", 2, 2, "1002", 4, 4, "1000020000100002"},
    };
    assert_int_equal(trm_arc_rules(), sizeof all / sizeof *all);
    for (int i = 0; i < trm_arc_rules(); i++) {
        trm_arc_grid in = grid_of(all[i].rows, all[i].cols, all[i].in), got;
        trm_arc_grid want = grid_of(all[i].out_rows, all[i].out_cols, all[i].out);
        assert_string_equal(trm_arc_rule_name(i), all[i].name);
        if (!trm_arc_rule_apply(&got, i, &in) || !trm_arc_grid_equal(&got, &want))
            fail_msg("%s", all[i].name);
    }
    /* mirror, then a quarter turn: the second of the rules that may follow */
    trm_arc_grid in = grid_of(2, 3, "123456"), got, want = grid_of(3, 2, "635241");
    assert_true(trm_arc_rule_apply(&got, 2 * trm_arc_rules(), &in));
    assert_true(trm_arc_grid_equal(&got, &want));
}

static void test_rules_make_valid_pairs(void **state) {
    (void)state;
    trm_rng rng;
    trm_rng_seed(&rng, 8);
    for (int i = 0; i < 20 * trm_arc_rules_composed(); i++) {
        trm_arc_pair pair[2];
        trm_arc_grid again;
        char place[TRM_ARC_PLACE];
        trm_error err;
        int rule = i % trm_arc_rules_composed(), most = 2 + i % 29;
        trm_arc_rule_pair(&pair[0], rule, most, &rng);
        pair[1] = pair[0];
        trm_arc_task t = {.demos = 1, .tests = 1, .pair = pair};
        assert_int_equal(trm_arc_task_check(&t, place, &err), TRM_OK);
        if (trm_arc_rule_apply(&again, rule, &pair[0].input))
            assert_true(trm_arc_grid_equal(&again, &pair[0].output));
        else
            assert_true(trm_arc_grid_equal(&pair[0].input, &pair[0].output));
    }
}

static void test_rules_are_drawn_by_their_weights(void **state) {
    (void)state;
    int weight[TRM_ARC_RULES] = {[3] = 1, [10] = 3}, drawn[TRM_ARC_RULES] = {0}, seconds = 0;
    trm_rng rng;
    trm_rng_seed(&rng, 4);
    for (int i = 0; i < 4000; i++) {
        int rule = trm_arc_rule_draw(weight, i % 2, &rng);
        assert_int_equal(rule >= TRM_ARC_RULES, i % 2);
        assert_in_range(rule, 0, trm_arc_rules_composed() - 1);
        drawn[rule % TRM_ARC_RULES]++;
        seconds |= 1 << rule / TRM_ARC_RULES;
    }
    assert_int_equal(drawn[3] + drawn[10], 4000);
    assert_in_range(drawn[3], 850, 1150);
    assert_int_equal(seconds, (1 << trm_arc_rules_composed() / TRM_ARC_RULES) - 1);
}

static void test_votes_are_ranked(void **state) {
    (void)state;
    trm_arc_votes v = {0};
    trm_arc_attempt best[TRM_ARC_ATTEMPTS];
    trm_rng rng;
    trm_error err;
    trm_rng_seed(&rng, 6);
    trm_arc_grid g[4];
    for (int i = 0; i < 4; i++)
        g[i] = random_grid(&rng, 2 + i, 2);
    assert_int_equal(trm_arc_votes_best(&v, best), 0);
    static const struct {
        int grid;
        double confidence;
    } cast[] = {{0, 0.9}, {1, 0.5}, {2, 0.6}, {1, 0.5}, {2, 0.6}, {3, 1}, {1, 0.1}};
    for (size_t i = 0; i < sizeof cast / sizeof *cast; i++) {
        assert_int_equal(trm_arc_vote(&v, &g[cast[i].grid], cast[i].confidence, &err), TRM_OK);
        if (i == 0)
            assert_int_equal(trm_arc_votes_best(&v, best), 1);
        if (i == 4) { /* two each: the more confident leads */
            assert_int_equal(trm_arc_votes_best(&v, best), 2);
            assert_true(trm_arc_grid_equal(&best[0].grid, &g[2]));
            assert_true(trm_arc_grid_equal(&best[1].grid, &g[1]));
        }
    }
    assert_int_equal(trm_arc_votes_best(&v, best), 2);
    assert_true(trm_arc_grid_equal(&best[0].grid, &g[1]));
    assert_int_equal(best[0].votes, 3);
    assert_float_equal(best[0].share, 3.0 / 7, 1e-9);
    assert_float_equal(best[0].confidence, 1.1 / 3, 1e-9);
    assert_true(trm_arc_grid_equal(&best[1].grid, &g[2]));
    trm_arc_votes_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_tasks_name_the_place),
        cmocka_unit_test(test_tasks_are_read),
        cmocka_unit_test(test_frames_have_inverses),
        cmocka_unit_test(test_outputs_that_are_inputs_turned_are_known),
        cmocka_unit_test(test_shapes_follow_the_demonstrations),
        cmocka_unit_test(test_what_is_drawn_is_read),
        cmocka_unit_test(test_rules_do_what_their_names_say),
        cmocka_unit_test(test_rules_make_valid_pairs),
        cmocka_unit_test(test_rules_are_drawn_by_their_weights),
        cmocka_unit_test(test_votes_are_ranked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

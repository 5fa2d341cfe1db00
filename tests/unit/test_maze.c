/* Mazes: text, refusals, checker, labels, symmetries, generator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trm/maze.h"

static trm_maze parse(const char *s, bool path) {
    trm_maze m;
    trm_error err;
    if (trm_maze_parse(&m, s, strlen(s), path, &err))
        fail_msg("%s", err.text);
    return m;
}

static void test_refusals_name_the_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "empty"},
        {"S G\n##", "row 2 has 2 cells"},
        {"S G\n#x#", "row 2 column 2"},
        {"SoG", "row 1 column 2"},
        {"SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS", "row 1 has 31 cells"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        trm_maze m;
        trm_error err;
        assert_int_equal(
            trm_maze_parse(&m, bad[i].text, strlen(bad[i].text), false, &err), TRM_E_FORMAT);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
}

static void test_invalid_mazes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        trm_maze_rule rule;
        int a;
    } bad[] = {
        {"  G", TRM_MAZE_NO_START, -1},
        {"S  ", TRM_MAZE_NO_GOAL, -1},
        {"S G\nS  ", TRM_MAZE_TWO_STARTS, 3},
        {"SGG", TRM_MAZE_TWO_GOALS, 2},
        {"S#G\n## ", TRM_MAZE_NO_PATH, -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        trm_maze m = parse(bad[i].text, false);
        trm_maze_fault f;
        assert_false(trm_maze_valid(&m, &f));
        assert_int_equal(f.rule, bad[i].rule);
        assert_int_equal(f.a, bad[i].a);
    }
}

static void test_checker(void **state) {
    (void)state;
    trm_maze m = parse("S  \n # \n  G", false);
    static const struct {
        const char *text;
        bool ok;
    } answers[] = {
        {"Soo\n #o\n  G", true},
        {"S  \no# \nooG", true},
        {"S  \n # \n  G", false},
        {"Soo\no#o\nooG", false},
        {"So \n #o\n  G", false},
        {"Soo\n o \n  G", false},
        {"Soo\n #o\no G", false},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        trm_maze a = parse(answers[i].text, true);
        trm_maze_fault f;
        uint16_t path[900];
        int length = -1;
        bool ok = trm_maze_check(&m, &a, path, &length, &f);
        if (ok != answers[i].ok)
            fail_msg("answer %zu: rule %d", i, f.rule);
        if (ok) {
            assert_int_equal(length, 4);
            assert_int_equal(path[0], 0);
            assert_int_equal(path[4], 8);
        }
    }
}

static void test_label_is_the_benchmarks(void **state) {
    (void)state;
    char path[512], *line = NULL;
    size_t room = 0;
    int n = 0;
    (void)snprintf(path, sizeof path, "%s/data/puzzles/maze-hard.csv", TRM_TEST_DATA);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (getline(&line, &room, f) > 0) {
        trm_maze m, want, got, back;
        trm_error err;
        int length;
        if (strncmp(line, "source,", 7) == 0)
            continue;
        const char *q = strchr(line, ',') + 1;
        assert_int_equal(trm_maze_parse(&m, q, 900, false, &err), 0);
        assert_int_equal(trm_maze_parse(&want, q + 901, 900, true, &err), 0);
        assert_true(trm_maze_label(&got, &m));
        assert_memory_equal(&got, &want, sizeof got);
        assert_true(trm_maze_check(&m, &want, NULL, &length, NULL));
        assert_int_equal(length, trm_maze_distance(&m));
        for (int sym = 0; sym < 8; sym++) {
            trm_maze_sym_apply(&got, sym, &m);
            assert_int_equal(trm_maze_distance(&got), length);
            trm_maze_sym_apply(&back, trm_maze_sym_inverse(sym), &got);
            assert_memory_equal(&back, &m, sizeof m);
            for (int i = 0; i < 900; i += 37)
                assert_int_equal(got.cell[trm_maze_sym_cell(sym, 30, 30, i)], m.cell[i]);
        }
        n++;
    }
    free(line);
    (void)fclose(f);
    assert_int_equal(n, 20);
}

/* The decoder cuts side branches off what the model marked, and adds nothing. */
static void test_decode_adds_nothing(void **state) {
    (void)state;
    trm_maze m = parse("S   \n ## \n   G", false), out;
    int32_t tokens[12] = {3, 5, 5, 5, 5, 2, 2, 5, 1, 1, 1, 4};
    trm_maze_decode(&out, &m, tokens);
    assert_true(trm_maze_check(&m, &out, NULL, NULL, NULL));
    assert_int_equal(out.cell[4], TRM_MAZE_OPEN);
    int32_t everywhere[12] = {3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 4};
    trm_maze open = parse("S   \n    \n   G", false);
    trm_maze_decode(&out, &open, everywhere);
    assert_false(trm_maze_check(&open, &out, NULL, NULL, NULL));
    tokens[2] = 2; /* the path is broken now */
    trm_maze_decode(&out, &m, tokens);
    assert_false(trm_maze_check(&m, &out, NULL, NULL, NULL));
    assert_int_equal(out.cell[2], TRM_MAZE_OPEN);
}

static void test_generator_keeps_its_word(void **state) {
    (void)state;
    trm_rng rng;
    trm_rng_seed(&rng, 3);
    for (int style = 0; style < 3; style++)
        for (int side = 2; side <= 30; side++) {
            trm_maze m;
            trm_error err;
            trm_maze_gen g = {(trm_maze_style)style, side, 32 - side, 0.3, side / 2};
            if (side < 3)
                g.cols = 30;
            if (trm_maze_generate(&m, &g, &rng, &err))
                fail_msg("%s", err.text);
            assert_true(trm_maze_valid(&m, NULL));
            assert_true(trm_maze_distance(&m) >= side / 2);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_name_the_place),
        cmocka_unit_test(test_invalid_mazes),
        cmocka_unit_test(test_checker),
        cmocka_unit_test(test_label_is_the_benchmarks),
        cmocka_unit_test(test_decode_adds_nothing),
        cmocka_unit_test(test_generator_keeps_its_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

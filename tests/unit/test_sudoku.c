/* Sudoku: text, checker, symmetries, solver, generator, on real puzzles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "trm/sudoku.h"

static const char *const newspaper =
    "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";

static trm_sudoku parse(const char *s) {
    trm_sudoku g;
    trm_error err;
    if (trm_sudoku_parse(&g, s, 81, &err))
        fail_msg("%s", err.text);
    return g;
}

/* Calls fn for every puzzle of a sample; answer is NULL where the file has none. */
static int each(const char *file, void (*fn)(const trm_sudoku *p, const trm_sudoku *answer)) {
    char path[512], line[1024];
    int n = 0;
    (void)snprintf(path, sizeof path, "%s/data/puzzles/%s", TRM_TEST_DATA, file);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *q = strchr(line, ',');
        if (strncmp(line, "source,", 7) == 0)
            continue;
        trm_sudoku p = parse(q ? q + 1 : line), a;
        if (q)
            a = parse(q + 83);
        fn(&p, q ? &a : NULL);
        n++;
    }
    (void)fclose(f);
    return n;
}

static void test_text_and_tokens(void **state) {
    (void)state;
    trm_sudoku g = parse(newspaper), back;
    char text[82];
    int32_t tokens[81];
    trm_error err;
    trm_sudoku_format(&g, text);
    assert_string_equal(text, newspaper);
    trm_sudoku_encode(&g, tokens);
    assert_int_equal(tokens[0], 6); /* 5 is token 6 */
    assert_int_equal(tokens[2], 1); /* blank */
    trm_sudoku_decode(&back, tokens);
    assert_memory_equal(&g, &back, sizeof g);
    assert_int_equal(trm_sudoku_parse(&g, newspaper, 80, &err), TRM_E_FORMAT);
    assert_non_null(strstr(err.text, "80"));
    char bad[82];
    strcpy(bad, newspaper);
    bad[40] = 'x';
    assert_int_equal(trm_sudoku_parse(&g, bad, 81, &err), TRM_E_FORMAT);
    assert_non_null(strstr(err.text, "row 5 column 5"));
}

static void test_checker_names_rule_and_cells(void **state) {
    (void)state;
    trm_sudoku p = parse(newspaper), a;
    trm_sudoku_fault f;
    char text[200];
    assert_int_equal(trm_sudoku_solutions(&p, 2, &a, NULL), 1);
    assert_true(trm_sudoku_check(&p, &a, &f));
    for (int i = 0; i < 81; i++)
        for (int d = 0; d <= 9; d++) {
            trm_sudoku wrong = a;
            wrong.cell[i] = (uint8_t)d;
            assert_int_equal(trm_sudoku_check(&p, &wrong, &f), d == a.cell[i]);
        }
    trm_sudoku q = p;
    q.cell[8] = 5;
    assert_false(trm_sudoku_consistent(&q, &f));
    assert_int_equal(f.rule, TRM_SUDOKU_ROW);
    assert_int_equal(f.a, 0);
    assert_int_equal(f.b, 8);
    trm_sudoku_explain(&f, text, sizeof text);
    assert_string_equal(text, "row 1 has two 5s, in columns 1 and 9");
    assert_int_equal(trm_sudoku_solutions(&q, 2, NULL, NULL), 0);
}

static trm_rng rng;

static void solver_agrees(const trm_sudoku *p, const trm_sudoku *answer) {
    trm_sudoku s;
    assert_int_equal(trm_sudoku_solutions(p, 2, &s, NULL), 1);
    assert_true(trm_sudoku_check(p, &s, NULL));
    if (answer)
        assert_memory_equal(&s, answer, sizeof s);
}

static void symmetries_hold(const trm_sudoku *p, const trm_sudoku *answer) {
    trm_sudoku_sym sym, back;
    trm_sudoku image, again, solution, canon[2];
    (void)answer;
    trm_sudoku_sym_random(&sym, &rng);
    trm_sudoku_sym_apply(&image, &sym, p);
    trm_sudoku_sym_inverse(&back, &sym);
    trm_sudoku_sym_apply(&again, &back, &image);
    assert_memory_equal(&again, p, sizeof again);
    /* solving the image and mapping back solves the puzzle */
    assert_int_equal(trm_sudoku_solutions(&image, 2, &solution, NULL), 1);
    trm_sudoku_sym_apply(&again, &back, &solution);
    assert_true(trm_sudoku_check(p, &again, NULL));
    trm_sudoku_canonical(&canon[0], p);
    trm_sudoku_canonical(&canon[1], &image);
    assert_memory_equal(&canon[0], &canon[1], sizeof *canon);
    image.cell[0] = image.cell[0] ? 0 : solution.cell[0]; /* one clue more or less */
    trm_sudoku_canonical(&canon[1], &image);
    assert_memory_not_equal(&canon[0], &canon[1], sizeof *canon);
}

static const char *const samples[] = {
    "sudoku-extreme.csv", "sudoku-everyday.csv", "sudoku-17-clue.txt", "sudoku-forum-hardest.txt"};

static void test_solver_finds_the_one_solution(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(each(samples[i], solver_agrees), 40);
}

static void test_symmetries_and_canonical_form(void **state) {
    (void)state;
    trm_rng_seed(&rng, 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(each(samples[i], symmetries_hold), 40);
}

static int clues(const trm_sudoku *p) {
    int n = 0;
    for (int i = 0; i < 81; i++)
        n += p->cell[i] != 0;
    return n;
}

static void test_generated_puzzles_are_unique_and_minimal(void **state) {
    (void)state;
    trm_rng_seed(&rng, 2);
    for (int k = 0; k < 60; k++) {
        trm_sudoku p, s, first;
        trm_sudoku_gen o = {.extra_clues = k % 3 ? 0 : 7,
            .effort = k % 5 ? 0 : 10,
            .target_clues = k % 10 ? 0 : 17};
        trm_sudoku_generate(&p, &s, &o, &rng);
        assert_int_equal(trm_sudoku_solutions(&p, 2, &first, NULL), 1);
        assert_memory_equal(&first, &s, sizeof s);
        assert_in_range(clues(&p), 17, 40);
        for (int i = 0; i < 81 && !o.extra_clues; i++) {
            trm_sudoku q = p;
            q.cell[i] = 0;
            if (p.cell[i])
                assert_int_equal(trm_sudoku_solutions(&q, 2, NULL, NULL), 2);
        }
    }
}

static void test_empty_grid_counts_to_the_limit(void **state) {
    (void)state;
    trm_sudoku empty;
    memset(&empty, 0, sizeof empty);
    assert_int_equal(trm_sudoku_solutions(&empty, 50, NULL, NULL), 50);
}

static void test_search_for_admission_is_bounded(void **state) {
    (void)state;
    trm_sudoku p = parse(newspaper), none;
    long nodes = 1000;
    assert_true(trm_sudoku_possible(&p, &nodes));
    assert_in_range(nodes, 900, 999);
    memset(&none, 0, sizeof none);
    for (int i = 0; i < 8; i++)
        none.cell[i] = (uint8_t)(i + 1);
    none.cell[17] = 9; /* the ninth cell of row 1 needs a 9, its column has one */
    assert_false(trm_sudoku_possible(&none, &nodes));
    /* the empty row of this one makes a blind search wander; it must stop when told */
    p = parse(".....5.8....6.1.43..........1.5........1.6...3.......553.....61........4.........");
    nodes = 100;
    assert_true(trm_sudoku_possible(&p, &nodes));
    assert_true(nodes <= 0);
    assert_true(trm_sudoku_possible(&none, &nodes)); /* nothing left to look with */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_and_tokens),
        cmocka_unit_test(test_checker_names_rule_and_cells),
        cmocka_unit_test(test_solver_finds_the_one_solution),
        cmocka_unit_test(test_symmetries_and_canonical_form),
        cmocka_unit_test(test_generated_puzzles_are_unique_and_minimal),
        cmocka_unit_test(test_empty_grid_counts_to_the_limit),
        cmocka_unit_test(test_search_for_admission_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

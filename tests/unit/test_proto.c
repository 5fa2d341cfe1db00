/* Requests and answers: every shape in, the same shape out; problems as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/answer.h"

static const trmp_limits limits = {4, 100, 10, 1000};

static int parse(trmp_request *r, trmp_kind kind, const char *body, trmp_problem *p) {
    return trmp_request_parse(r, kind, body, strlen(body), &limits, p);
}

/* Answers a puzzle with itself and compares the solution with how the puzzle was written. */
static void comes_back(trmp_kind kind, const char *puzzle) {
    char body[4096];
    trmp_request r;
    trmp_problem p;
    (void)snprintf(body, sizeof body, "{\"puzzle\":%s}", puzzle);
    if (parse(&r, kind, body, &p))
        fail_msg("%s: %s", body, p.detail);
    trmp_answer a = {.kind = kind,
        .shape = r.puzzle->shape,
        .status = "unsolved",
        .halt = "budget",
        .model = "m",
        .rows = r.puzzle->rows,
        .cols = r.puzzle->cols,
        .moves = -1};
    memcpy(a.cell, r.puzzle->cell, sizeof a.cell);
    char *text = trmp_answers_dump(&a, 1, false);
    assert_non_null(text);
    json_t *got = json_loads(text, 0, NULL), *want = json_loads(puzzle, JSON_DECODE_ANY, NULL);
    if (!json_equal(json_object_get(got, "solution"), want))
        fail_msg("%s came back in %s", puzzle, text);
    assert_int_equal(json_array_size(json_object_get(got, "grid")), (size_t)a.rows);
    json_decref(got);
    json_decref(want);
    free(text);
    trmp_request_free(&r);
}

static void test_solutions_come_back_in_the_puzzles_shape(void **state) {
    (void)state;
    comes_back(TRMP_SUDOKU,
        "\"53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79\"");
    char flat[512] = "[", rows[512] = "[";
    for (int i = 0; i < 81; i++) {
        char cell[8];
        (void)snprintf(cell, sizeof cell, "%s%d", i ? "," : "", i % 10);
        strcat(flat, cell);
        (void)snprintf(cell, sizeof cell, "%s%d", i % 9 ? "," : i ? "],[" : "[", i % 10);
        strcat(rows, cell);
    }
    comes_back(TRMP_SUDOKU, strcat(flat, "]"));
    comes_back(TRMP_SUDOKU, strcat(rows, "]]"));
    comes_back(TRMP_MAZE, "[\"S #\",\"  G\"]");
    comes_back(TRMP_MAZE, "\"S #\\n  G\"");
    char big[1000] = "\"S";
    memset(big + 2, ' ', 898);
    strcpy(big + 900, "G\"");
    comes_back(TRMP_MAZE, big);
}

static void test_lines_may_end_as_a_form_sends_them(void **state) {
    (void)state;
    trmp_request r;
    trmp_problem p;
    assert_int_equal(parse(&r, TRMP_MAZE, "{\"puzzle\":\"S #\\r\\n  G\\r\\n\"}", &p), 0);
    assert_int_equal(r.puzzle->rows, 2);
    assert_int_equal(r.puzzle->cols, 3);
    assert_memory_equal(r.puzzle->cell, "S #  G", 6);
    trmp_request_free(&r);
    assert_int_equal(parse(&r, TRMP_MAZE, "{\"puzzle\":\"S\\r#\\n  G\"}", &p), -1);
}

static void test_options(void **state) {
    (void)state;
    trmp_request r;
    trmp_problem p;
    assert_int_equal(parse(&r, TRMP_MAZE,
                         "{\"puzzles\":[\"SG\",\"GS\"],\"max_steps\":100,"
                         "\"attempts\":10,\"deadline_ms\":1,\"halt\":\"act\","
                         "\"model\":\"m\"}",
                         &p),
        0);
    assert_true(r.many);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.options.max_steps, 100);
    assert_int_equal(r.options.attempts, 10);
    assert_int_equal(r.options.deadline_ms, 1);
    assert_int_equal(r.options.halt, TRMP_HALT_ACT);
    assert_string_equal(r.options.model, "m");
    trmp_request_free(&r);
}

static void test_refusals_point_at_the_field(void **state) {
    (void)state;
    static const struct {
        trmp_kind kind;
        const char *body;
        int status;
        const char *pointer;
    } bad[] = {
        {TRMP_MAZE, "{\"puzzle\":[\"S #\",\"G\"]}", 422, "/puzzle/1"},
        {TRMP_MAZE, "{\"puzzle\":[\"S#\",5]}", 422, "/puzzle/1"},
        {TRMP_MAZE, "{\"puzzle\":\"S x\"}", 422, "/puzzle"},
        {TRMP_MAZE, "{\"puzzle\":[]}", 422, "/puzzle"},
        {TRMP_MAZE, "{\"puzzle\":\"\"}", 422, "/puzzle"},
        {TRMP_MAZE, "{\"puzzle\":[\"1234567890123456789012345678901\"]}", 422, "/puzzle/0"},
        {TRMP_MAZE, "{\"puzzles\":[\"SG\",\"SG\",\"SG\",\"SG\",\"SG\"]}", 413, "/puzzles"},
        {TRMP_SUDOKU, "{\"puzzle\":{}}", 422, "/puzzle"},
        {TRMP_SUDOKU, "{\"puzzle\":[[1]]}", 422, "/puzzle"},
        {TRMP_SUDOKU, "{\"max_steps\":101,\"puzzle\":\"\"}", 422, "/max_steps"},
        {TRMP_SUDOKU, "null", 422, ""},
        {TRMP_SUDOKU, "\"", 400, ""},
        {TRMP_SUDOKU, "[{\"puzzle\":\"\"}]", 422, ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        trmp_request r;
        trmp_problem p;
        if (parse(&r, bad[i].kind, bad[i].body, &p) == 0)
            fail_msg("taken: %s", bad[i].body);
        if (p.status != bad[i].status || strcmp(p.pointer, bad[i].pointer) != 0)
            fail_msg("%s: %d %s %s", bad[i].body, p.status, p.pointer, p.detail);
    }
}

static void test_problems_are_json(void **state) {
    (void)state;
    trmp_problem p;
    (void)trmp_problem_set(&p, 422, "impossible-puzzle", "/puzzle/0/1", "two \"%d\"s", 5);
    p.rule =
        (trmp_rule){.kind = "row", .index = 1, .digit = 5, .cells = 2, .cell = {{1, 1}, {1, 2}}};
    char *text = trmp_problem_dump(&p, "id");
    json_t *o = json_loads(text, 0, NULL);
    assert_string_equal(
        json_string_value(json_object_get(o, "type")), "/problems/impossible-puzzle");
    assert_string_equal(json_string_value(json_object_get(o, "detail")), "two \"5\"s");
    assert_string_equal(json_string_value(json_object_get(o, "pointer")), "/puzzle/0/1");
    assert_int_equal(json_array_size(json_object_get(json_object_get(o, "rule"), "cells")), 2);
    json_decref(o);
    free(text);
}

static void test_openapi_is_json(void **state) {
    (void)state;
    size_t size;
    const char *text = trmp_openapi(&size);
    json_t *o = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "openapi")), "3.1.0");
    json_decref(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_solutions_come_back_in_the_puzzles_shape),
        cmocka_unit_test(test_lines_may_end_as_a_form_sends_them),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refusals_point_at_the_field),
        cmocka_unit_test(test_problems_are_json),
        cmocka_unit_test(test_openapi_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

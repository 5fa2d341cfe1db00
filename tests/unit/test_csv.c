/* Puzzle files: CSV fields, both forms of a file, and refusals that name file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "puzzles.h"

#define EASY "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
#define EASY_ANSWER                                                                                \
    "534678912672195348198342567859761423426853791713924856961537284287419635345286179"

static void split(const char *text, int want, const char *const *fields) {
    char line[256], *field[4];
    (void)snprintf(line, sizeof line, "%s", text);
    assert_int_equal(cli_csv_split(line, field, 4), want);
    for (int i = 0; i < want; i++)
        assert_string_equal(field[i], fields[i]);
}

static void fields_are_split(void **state) {
    (void)state;
    split("a,b,c,d", 4, (const char *[]){"a", "b", "c", "d"});
    split("", 1, (const char *[]){""});
    split(",,", 3, (const char *[]){"", "", ""});
    split("\"a,b\",\"say \"\"x\"\"\",", 3, (const char *[]){"a,b", "say \"x\"", ""});
    split("  # S , G", 2, (const char *[]){"  # S ", " G"});
    split("a,b,c,d,e", -1, NULL);
    split("\"open", -1, NULL);
    split("\"a\"b,c", -1, NULL);
}

static void read_text(cli_puzzles *p, trm_kind kind, const char *text, int limit) {
    trm_error err = {0, ""};
    int r = cli_puzzles_parse(p, kind, text, strlen(text), "file", limit, &err);
    if (r)
        fail_msg("%s", err.text);
}

static void refuse(trm_kind kind, const char *text, const char *why) {
    cli_puzzles p;
    trm_error err = {0, ""};
    assert_true(cli_puzzles_parse(&p, kind, text, strlen(text), "file", 0, &err) < 0);
    if (strncmp(err.text, why, strlen(why)) != 0)
        fail_msg("got '%s', expected '%s...'", err.text, why);
    assert_null(p.at);
}

static void both_forms_of_a_sudoku_file(void **state) {
    cli_puzzles p;
    char line[CLI_LINE_ROOM];
    (void)state;
    read_text(&p, TRM_KIND_SUDOKU, EASY "\r\n\n" EASY, 0);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.at[1].line, 3);
    assert_false(p.at[0].labelled);
    cli_puzzles_label(&p);
    assert_true(p.at[0].labelled);
    cli_grid_line(&p.at[0].answer, p.kind, line);
    assert_string_equal(line, EASY_ANSWER);
    cli_puzzles_free(&p);

    read_text(&p, TRM_KIND_SUDOKU,
        "source,question,answer,rating\nx," EASY "," EASY_ANSWER ",0\ny," EASY ",,0\n", 1);
    assert_int_equal(p.n, 1);
    assert_true(p.at[0].labelled);
    assert_int_equal(p.at[0].answer.sudoku.cell[2], 4);
    cli_puzzles_free(&p);
}

static void a_sudoku_with_two_answers_has_no_label(void **state) {
    cli_puzzles p;
    char empty[82];
    (void)state;
    memset(empty, '.', 81);
    empty[81] = 0;
    read_text(&p, TRM_KIND_SUDOKU, empty, 0);
    cli_puzzles_label(&p);
    assert_false(p.at[0].labelled);
    cli_puzzles_free(&p);
}

static void mazes_of_any_shape(void **state) {
    cli_puzzles p;
    char line[CLI_LINE_ROOM];
    (void)state;
    read_text(&p, TRM_KIND_MAZE, "S  ##   G\nS#/ #/ G\n", 0);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.at[0].question.maze.rows, 3);
    assert_int_equal(p.at[1].question.maze.cols, 2);
    cli_grid_line(&p.at[1].question, p.kind, line);
    assert_string_equal(line, "S#/ #/ G");
    cli_puzzles_label(&p);
    cli_grid_line(&p.at[1].answer, p.kind, line);
    assert_string_equal(line, "S#/o#/oG");
    cli_puzzles_free(&p);

    read_text(&p, TRM_KIND_MAZE, "source,question,answer,rating\nx,S#/ #/ G,S#/o#/oG,3\n", 0);
    assert_true(p.at[0].labelled);
    assert_int_equal(p.at[0].answer.maze.cell[2], TRM_MAZE_PATH);
    cli_puzzles_free(&p);
}

static void refusals_name_file_and_line(void **state) {
    (void)state;
    refuse(TRM_KIND_SUDOKU, "", "file: holds no puzzle");
    refuse(TRM_KIND_SUDOKU, "\n\r\n", "file: holds no puzzle");
    refuse(TRM_KIND_SUDOKU, "source,question,answer,rating\n", "file: holds no puzzle");
    refuse(TRM_KIND_SUDOKU, EASY "\nhello\n", "file:2: ");
    refuse(TRM_KIND_SUDOKU, "x" EASY "\n", "file:1: ");
    refuse(TRM_KIND_SUDOKU, "source,question,answer,rating\nx\n", "file:2: not a record");
    refuse(TRM_KIND_SUDOKU, "source,question,answer,rating\nx," EASY "," EASY ",0\n", "file:2: ");
    /* two 5s in the first row */
    refuse(TRM_KIND_SUDOKU,
        "55..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79\n",
        "file:1: row 1");
    refuse(TRM_KIND_MAZE, "S  \n", "file:1: a maze has");
    refuse(TRM_KIND_MAZE, "S#/ #/G\n", "file:1: ");
    refuse(TRM_KIND_MAZE, "S##  ### #  \n##G      \n", "file:1: ");
    refuse(TRM_KIND_MAZE, "S# ###  G\n", "file:1: ");
}

static void a_nul_byte_is_refused(void **state) {
    cli_puzzles p;
    trm_error err;
    static const char text[] = "12\0" EASY;
    (void)state;
    assert_true(cli_puzzles_parse(&p, TRM_KIND_SUDOKU, text, sizeof text - 1, "file", 0, &err) < 0);
    assert_string_equal(err.text, "file:1: holds a NUL byte");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(fields_are_split),
        cmocka_unit_test(both_forms_of_a_sudoku_file),
        cmocka_unit_test(a_sudoku_with_two_answers_has_no_label),
        cmocka_unit_test(mazes_of_any_shape), cmocka_unit_test(refusals_name_file_and_line),
        cmocka_unit_test(a_nul_byte_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

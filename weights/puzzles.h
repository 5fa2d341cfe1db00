/* Puzzle files: CSV `source,question,answer,rating`, or one puzzle per line.
 *
 * A Sudoku is 81 characters. A maze is 900 characters (30x30), or n*n characters for another
 * square, or rows separated by '/'. Everything is checked while it is read, so that a bad
 * line is refused with "FILE:LINE: why" before any work starts. A cli_puzzles owns its
 * array; puzzles are plain values.
 */
#ifndef TRM_PUZZLES_H
#define TRM_PUZZLES_H

#include "cli.h"

typedef union cli_grid {
    trm_sudoku sudoku;
    trm_maze maze;
} cli_grid;

typedef struct cli_puzzle {
    cli_grid question, answer;
    bool labelled; /* answer holds the one right answer */
    int line;
} cli_puzzle;

typedef struct cli_puzzles {
    trm_kind kind;
    cli_puzzle *at;
    int n, room;
} cli_puzzles;

/* Reads at most `limit` puzzles (0 = all) from PATH or stdin ("-"). An empty file is refused.
 * Puzzles that break their own rules or have no solution are TRM_E_IMPOSSIBLE. */
int cli_puzzles_read(cli_puzzles *out, trm_kind kind, const char *path, int limit, trm_error *err);
/* The same from memory; `label` names it in errors. */
int cli_puzzles_parse(cli_puzzles *out, trm_kind kind, const char *text, size_t size,
    const char *label, int limit, trm_error *err);
void cli_puzzles_free(cli_puzzles *p);
/* Labels what the file did not: Sudokus with exactly one solution, mazes always. */
void cli_puzzles_label(cli_puzzles *p);

/* How hard to try, as asked for on the command line; zeros mean the kind's default. */
typedef struct cli_policy {
    int max_steps, attempts;
    const char *halt;
} cli_policy;

#define CLI_POLICY_OPTIONS(p)                                                                      \
    {"max-steps", 'n', CLI_INT, &(p).max_steps, 1, 1000000, "N", "supervision steps per attempt"}, \
        {"attempts", 'a', CLI_INT, &(p).attempts, 1, 1000000, "N",                                 \
            "attempts, on symmetric images of the puzzle"},                                        \
    {                                                                                              \
        "halt", 0, CLI_STRING, &(p).halt, 0, 0, "RULE",                                            \
            "verified (default), act (halt logit too) or fixed (never early)"                      \
    }

int cli_policy_get(trm_policy *out, const cli_policy *asked, trm_kind kind, trm_error *err);
const char *cli_halt_name(trm_halt halt);
/* "verified", "act", "budget"; "deadline" for a task that was stopped. */
const char *cli_outcome_name(trm_outcome outcome);
/* Puzzles in work at once where many wait; a maze's slot is large and its steps are long. */
int cli_default_slots(trm_kind kind);
/* One task a puzzle, malloc'd. TRM_E_ARG if the model does not serve them. */
int cli_tasks_new(trm_task **out, const cli_puzzles *puzzles, const trm_policy *policy,
    const trm_model *m, trm_error *err);
/* The task's answer so far. */
void cli_task_answer(cli_grid *out, const trm_task *t);

/* Splits one CSV record (RFC 4180 quotes, no line breaks inside) in place; returns the number
 * of fields, or -1 for a broken quote or more than `max` fields. */
int cli_csv_split(char *line, char **field, int max);

enum { CLI_LINE_ROOM = 1024 };
/* The one-line form: 81 characters; 900 characters for 30x30, else rows joined by '/'. */
void cli_grid_line(const cli_grid *g, trm_kind kind, char out[CLI_LINE_ROOM]);
bool cli_grid_equal(const cli_grid *a, const cli_grid *b, trm_kind kind);
int cli_grid_cells(const cli_grid *g, trm_kind kind);
/* Draws a grid for people. Cells that differ from `before` (may be NULL) are highlighted, and
 * so are, dimmed, the clues or walls of `question`, if `colour`. */
void cli_grid_draw(const cli_grid *g, const cli_grid *question, const cli_grid *before,
    trm_kind kind, bool colour);

#endif

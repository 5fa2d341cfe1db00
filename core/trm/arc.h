/* ARC tasks: grids, demonstration pairs, the files of the ARC Prize.
 *
 * Plain structs of the caller's; a trm_arc_task owns its array of pairs. No
 * state; any number of threads.
 */
#ifndef TRM_ARC_H
#define TRM_ARC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/error.h"
#include "trm/rng.h"

enum {
    TRM_ARC_SIDE = 30,
    TRM_ARC_CELLS = 900,
    TRM_ARC_COLOURS = 10,
    TRM_ARC_VOCAB = 12, /* 0 pad, 1 end of grid, 2..11 colours 0..9 */
    TRM_ARC_DEMOS = 32, /* most demonstration pairs of a task */
    TRM_ARC_TESTS = 32, /* most test inputs */
    TRM_ARC_ATTEMPTS = 2,
    TRM_ARC_PLACE = 64, /* room for a place such as "/train/0/input/3/7" and its NUL */
};

/* rows x cols colours 0..9 in reading order with stride cols; rows 0: no grid. */
typedef struct trm_arc_grid {
    uint8_t rows, cols;
    uint8_t cell[TRM_ARC_CELLS];
} trm_arc_grid;

typedef struct trm_arc_pair {
    trm_arc_grid input, output; /* output.rows 0: not known, as in posted tests */
} trm_arc_pair;

typedef struct trm_arc_task {
    char name[64];      /* key in a challenges file, "" where it stands alone */
    int demos, tests;   /* pair[0..demos) demonstrate, pair[demos..demos+tests) are asked */
    trm_arc_pair *pair; /* malloc'd */
} trm_arc_task;

/* Reads one task, {"train":[{"input","output"}...],"test":[{"input"}...]}; other keys are
 * left alone. A test may have its output. TRM_E_FORMAT: not JSON, or not of this shape (no
 * pairs, ragged or oversized grids, colours outside 0..9, no test ...); `place` then holds a
 * JSON pointer to what is at fault ("" for the whole text). `out` is empty after an error. */
TRM_API int trm_arc_task_parse(
    trm_arc_task *out, const char *json, size_t size, char place[TRM_ARC_PLACE], trm_error *err);
/* The same checks on a task made by hand. TRM_E_ARG. */
TRM_API int trm_arc_task_check(const trm_arc_task *task, char place[TRM_ARC_PLACE], trm_error *err);
/* A copy with its own pairs; TRM_E_NOMEM. */
TRM_API int trm_arc_task_copy(trm_arc_task *out, const trm_arc_task *task, trm_error *err);
TRM_API void trm_arc_task_free(trm_arc_task *task);
TRM_API bool trm_arc_grid_equal(const trm_arc_grid *a, const trm_arc_grid *b);

/* A file of tasks: ARC Prize challenges {"NAME": task, ...}, or one task alone. */
typedef struct trm_arc_file {
    trm_arc_task *task; /* malloc'd, in the file's order */
    int n;
} trm_arc_file;

/* Errors begin with the path and name the task and place. */
TRM_API int trm_arc_file_read(trm_arc_file *out, const char *path, trm_error *err);
/* Fills in the tests' outputs from {"NAME": [grid, ...], ...}. Tasks that the solutions do
 * not hold stay unanswered. */
TRM_API int trm_arc_file_solve(trm_arc_file *file, const char *path, trm_error *err);
TRM_API void trm_arc_file_free(trm_arc_file *file);

/* One of the two answers to a test input that the ARC Prize counts. */
typedef struct trm_arc_attempt {
    trm_arc_grid grid;
    int votes;
    double share;      /* of this test's votes, 0..1 */
    double confidence; /* mean sigmoid of the halt logit over its votes, 0..1 */
} trm_arc_attempt;

#endif

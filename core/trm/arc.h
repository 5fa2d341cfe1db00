/* ARC: the tasks (grids, files, symmetries, canvas, votes) and the run that learns a task
 * nobody has seen from its demonstrations and then answers its test inputs.
 *
 * Puzzle side: plain structs of the caller's; a trm_arc_task owns its array of pairs. No
 * state; any number of threads.
 *
 * Run side: a trm_arc_run owns a private copy of the model's weights, an optimizer and its
 * buffers; the model is only read, while the run is made. A run belongs to one thread at a
 * time (its caller, who may change between calls); inside, a step is spread over `threads`
 * threads that sleep between steps. Nothing here knows time: the caller says how much of it
 * is spent, and stops when it likes. Everything random comes from the seed: equal model,
 * task, options, seed, backend and sequence of calls give equal answers.
 */
#ifndef TRM_ARC_H
#define TRM_ARC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/model.h"

enum {
    TRM_ARC_SIDE = 30,
    TRM_ARC_CELLS = 900,
    TRM_ARC_COLOURS = 10,
    TRM_ARC_RULES = 42, /* generated rules of one step */
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

/* --- the run ----------------------------------------------------------------------------- */

typedef struct trm_arc_options {
    const char *backend; /* as in engine.h, NULL = "auto"; for int8, which cannot learn, bf16 */
    int threads;         /* >= 1 */
    long steps;          /* training steps at most; 0 = 20000 */
    int predictions;     /* symmetric images of each test input that vote; 0 = 64 */
} trm_arc_options;

typedef enum trm_arc_phase { TRM_ARC_TRAINING, TRM_ARC_PREDICTING, TRM_ARC_DONE } trm_arc_phase;

typedef struct trm_arc_progress {
    trm_arc_phase phase;
    long steps;         /* training steps so far */
    double loss;        /* running mean cross-entropy of a counted cell, nats */
    int demonstrations; /* pairs the task gives */
    int reproduced;     /* of them, answered exactly by the trained copy when last looked */
    int held_out;       /* symmetric images in which one demonstration is kept from training */
    int held_out_right; /* of them, answered exactly when last looked */
    int predictions, predictions_wanted; /* images of test inputs answered, all tests together */
    int votes;                           /* valid grids among the answers */
} trm_arc_progress;

typedef struct trm_arc_run trm_arc_run;

/* The task is copied. TRM_E_ARG: the model is not an ARC model, or the task is not valid. */
TRM_API int trm_arc_run_new(trm_arc_run **out, const trm_model *m, const trm_arc_task *task,
    const trm_arc_options *o, uint64_t seed, trm_error *err);
/* One micro-batch: some milliseconds of training, a look at the demonstrations, or one batch
 * of predictions. On canvases where a single sequence takes longer, a third of its training step.
 * Does nothing when done. After an error the run answers with what it had and is done. */
TRM_API int trm_arc_run_step(trm_arc_run *r, trm_error *err);
/* How much of the caller's time is spent, 0..1, never decreasing: the learning rate falls
 * along with it, training ends at 0.8, and what is left is for predictions. May be called
 * before each step; not calling it leaves the step budget in charge. */
TRM_API void trm_arc_run_spent(trm_arc_run *r, double fraction);
/* Ends training now: the next steps predict. */
TRM_API void trm_arc_run_predict(trm_arc_run *r);
TRM_API void trm_arc_run_progress(const trm_arc_run *r, trm_arc_progress *out);
/* The two best answers for test input `test`, by (votes, mean confidence), at any moment. A
 * grid is never empty: without any vote it is the test input itself, with votes 0. */
TRM_API void trm_arc_run_answer(
    const trm_arc_run *r, int test, trm_arc_attempt out[TRM_ARC_ATTEMPTS]);
/* Bytes the run holds: weights, optimizer, gradients and buffers for its canvas and threads.
 * Fixed when the run is made, but for votes (1 KiB each, at most predictions * tests). */
TRM_API size_t trm_arc_run_bytes(const trm_arc_run *r);
TRM_API void trm_arc_run_free(trm_arc_run *r);

#endif

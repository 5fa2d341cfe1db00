/* A task is a puzzle on its way to an answer; a lane is one attempt at it in one slot.
 *
 * This is the policy that eval, solve and the server share, over any engine:
 *   - attempt 0 is the puzzle as given; attempt k > 0 is a symmetric image of it, drawn from
 *     a generator seeded by the puzzle and k, so equal puzzles always get equal attempts;
 *   - a Sudoku attempt that ends unsolved leaves its logits, if the engine keeps them, as
 *     assumptions for further attempts: of the cell with the fewest digits in question, each
 *     digit as one more clue. The likeliest open assumption comes first: its likelihood is the
 *     model's belief in it times that of what it rests on, which the model's doubt that there
 *     still is an answer has moved. After 32 attempts (and 8 for each clue short of 17), then
 *     twice as many and so on, or when none is left, the search begins again and takes digits
 *     seriously that the model believes in less. Only the model reasons here: no code eliminates
 *     candidates, and the answer is checked against the puzzle as it was asked;
 *   - a Sudoku attempt that assumes one clue more than the attempt before it goes on from its
 *     latents, in its image, where they are still in the slot;
 *   - where only the checker and the budget end an attempt (halt = auto), a step has the model's
 *     auto_H_cycles, if it names them;
 *   - after each step the lane's argmax is decoded, mapped back and checked exactly;
 *   - a lane ends when it is verified, when its attempt's steps are spent, (halt = act)
 *     when the halt logit passes the model's threshold, or where assumptions are made when
 *     its answer stands still or the model takes what is assumed for wrong;
 *   - the first verified answer ends the task. Otherwise the best answer so far is kept:
 *     the one with the fewest broken rules, ties to the higher halt logit.
 * A task may have several lanes at once (spare capacity). Tasks and lanes are the caller's
 * plain memory, touched by one thread at a time. Nothing here knows time: deadlines and
 * cancelling are the caller's, between steps.
 */
#ifndef TRM_TASK_H
#define TRM_TASK_H

#include <stdbool.h>

#include "trm/engine.h"
#include "trm/maze.h"
#include "trm/sudoku.h"

typedef enum trm_kind { TRM_KIND_SUDOKU, TRM_KIND_MAZE, TRM_KIND_ARC, TRM_KINDS } trm_kind;
typedef enum trm_halt {
    TRM_HALT_AUTO,  /* verified, or the step budget ("verified" on the command line) */
    TRM_HALT_ACT,   /* also when the halt logit passes the model's threshold */
    TRM_HALT_FIXED, /* always all max_steps; the answer is the last step's */
} trm_halt;
typedef enum trm_outcome {
    TRM_RUNNING,
    TRM_DONE_VERIFIED,
    TRM_DONE_ACT,    /* the halt logit ended the last attempt, unverified */
    TRM_DONE_BUDGET, /* steps and attempts are spent */
} trm_outcome;

typedef struct trm_policy {
    int max_steps; /* supervision steps per attempt, >= 1 */
    int attempts;  /* >= 1 */
    trm_halt halt;
} trm_policy;

/* The tree of assumptions: each node is one clue more than its parent (-1 = the puzzle). */
enum { TRM_SEARCH_NODES = 1536 };
typedef struct trm_search {
    int nodes, open;
    int round, taken; /* searches begun before this one; attempts of this one */
    int missing; /* clues the puzzle is short of 17: with fewer than that it has several answers */
    struct trm_assumption {
        int16_t parent;
        uint8_t cell;
        uint8_t digit : 7, open : 1; /* open: no attempt has been made at it */
        float likely;                /* log of the likelihood that it is right */
    } node[TRM_SEARCH_NODES];
} trm_search;

typedef struct trm_task {
    trm_kind kind;
    trm_policy policy;
    union {
        trm_sudoku sudoku;
        trm_maze maze;
    } puzzle;
    /* the answer so far, in the puzzle's own frame; meaningful once steps > 0 */
    union {
        trm_sudoku sudoku;
        trm_maze maze;
    } answer;
    float cell_confidence[TRM_MAZE_CELLS]; /* of the answer so far, per cell of the puzzle */
    float confidence;                      /* sigmoid of the halt logit of the answer so far */
    bool verified, optimal;                /* optimal: mazes only */
    int broken;                            /* rules the best answer breaks; 0 only if verified */
    int steps;                             /* supervision steps spent, all lanes together */
    int started, finished;                 /* attempts */
    int verified_attempt;                  /* which attempt verified, -1 */
    trm_outcome outcome;
    trm_search search; /* Sudoku */
    struct {           /* ... where its last attempt that ended has left its latents, and of what */
        int slot, node, round;
        uint64_t loaded; /* trm_engine_loaded() then, 0 = nowhere */
        trm_sudoku_sym sym;
    } left;
} trm_task;

typedef struct trm_lane {
    trm_task *task;
    int slot, attempt, steps;
    int node, round;    /* Sudoku: what it assumes, -1 = nothing, in which search */
    uint8_t last[81];   /* Sudoku: its answer before this step */
    trm_sudoku_sym sym; /* Sudoku: puzzle -> image */
    int maze_sym;
} trm_lane;

TRM_API void trm_policy_defaults(trm_policy *p, trm_kind kind);
TRM_API void trm_task_sudoku(trm_task *t, const trm_sudoku *puzzle, const trm_policy *p);
TRM_API void trm_task_maze(trm_task *t, const trm_maze *maze, const trm_policy *p);
/* Does the model serve this task (kind, and size for mazes)? TRM_E_ARG says why not. */
TRM_API int trm_task_fits(const trm_task *t, const trm_model *m, trm_error *err);
/* True while an attempt is left to start and nothing is verified; false too while what to assume
 * next depends on attempts that are still running. */
TRM_API bool trm_task_wants_lane(const trm_task *t);
/* Starts the next attempt in `slot`. */
TRM_API int trm_lane_start(trm_lane *l, trm_task *t, trm_engine *e, int slot, trm_error *err);
/* Starts the attempt it is at over, on another engine, in the slot of the same number: the engine
 * it was on has failed. */
TRM_API int trm_lane_restart(trm_lane *l, trm_engine *e, trm_error *err);
/* After trm_engine_step() over the lane's slot: decode, check, keep the best. Returns true
 * when the lane is over and its slot is free; then, if task->outcome is TRM_RUNNING, the
 * task wants another lane or waits for its other lanes. */
TRM_API bool trm_lane_advance(trm_lane *l, trm_engine *e);

/* What the lane's last step shows, in the puzzle's own frame: answer, confidences and
 * verdicts of `out`, whose puzzle is the lane's; for streams and traces. */
TRM_API void trm_lane_show(const trm_lane *l, const trm_engine *e, trm_task *out);

/* Runs n tasks to their ends over one engine, keeping all slots busy: what eval and solve
 * do. `progress` (may be NULL) is called after every step with the number of tasks done;
 * returning false stops early. */
TRM_API int trm_tasks_run(trm_engine *e, trm_task *tasks, int n,
    bool (*progress)(void *arg, int done, int n), void *arg, trm_error *err);

#endif

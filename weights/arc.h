/* What `trm solve arc` and `trm eval arc` share: a run with a time limit, and grids as JSON and
 * for people. Main thread only. */
#ifndef TRM_CLI_ARC_H
#define TRM_CLI_ARC_H

#include "cli.h"
#include "trm/arc.h"

typedef struct cli_arc {
    cli_engine engine;
    int steps, predictions; /* 0 = the run's defaults */
    double seconds;         /* for a task, training and predictions together */
    bool processor;         /* seconds of each thread on a processor, not of the clock */
    uint64_t seed;
} cli_arc;

#define CLI_ARC_OPTIONS(a)                                                                         \
    {"max-steps", 'n', CLI_INT, &(a).steps, 1, 1e9, "N", "training micro-batches at most"},        \
        {"attempts", 'a', CLI_INT, &(a).predictions, 1, 10000, "N",                                \
            "symmetric images of a test input that vote (64)"},                                    \
    {                                                                                              \
        "seed", 's', CLI_SEED, &(a).seed, 0, 0, "S", "seed of the run (0)"                         \
    }

/* Trains on the task and answers it. After each step `look` (may be NULL) is shown the run. The
 * run is the caller's to free; after an error there is none. */
int cli_arc_run(trm_arc_run **out, const trm_model *m, const trm_arc_task *task, const cli_arc *o,
    void (*look)(void *arg, const trm_arc_run *r), void *arg, trm_error *err);

json_t *cli_arc_grid_json(const trm_arc_grid *g);
/* Rows of digits, or of coloured cells on a terminal. */
void cli_arc_grid_print(const trm_arc_grid *g, bool colour);

int cli_solve_arc(const cli_command *cmd, int argc, char **argv);
int cli_eval_arc(const cli_command *cmd, int argc, char **argv);

#endif

/* What `trm bench` times: an engine's steps or a trainer's, in slices. A cli_timed owns all it
 * holds; it belongs to one thread. */
#ifndef TRM_TIMING_H
#define TRM_TIMING_H

#include "cli.h"
#include "trm/train.h"

typedef struct cli_timed {
    int batch; /* puzzles a step */
    trm_engine *engine;
    int *slots;
    trm_trainer *trainer; /* instead of the engine */
    char folder[32];      /* the trainer's, empty */
} cli_timed;

/* Supervision steps of o->slots synthetic puzzles together. Close it also after an error. */
int cli_timed_engine(cli_timed *out, const trm_model *m, const cli_engine *o, trm_error *err);
/* Training steps on o->slots generated puzzles, of a fresh model. */
int cli_timed_training(cli_timed *out, const trm_config *c, const cli_engine *o, trm_error *err);
/* Puzzle-steps a second, and a second of this process' processor time. */
typedef struct cli_pace {
    double per_s, per_cpu_s;
} cli_pace;
/* Steps for about so long, at least once. */
int cli_timed_run(cli_timed *t, double seconds, cli_pace *pace, trm_error *err);
void cli_timed_close(cli_timed *t);

#endif

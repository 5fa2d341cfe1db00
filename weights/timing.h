/* Timing the engine and the trainer for `trm bench`. Blocks the caller; nothing is kept. */
#ifndef TRM_TIMING_H
#define TRM_TIMING_H

#include "cli.h"

/* Supervision steps a second, of one puzzle each, with all slots stepped together. */
int cli_time_steps(trm_engine *e, double seconds, double *steps_per_s, trm_error *err);
/* Training steps of one sample a second, from generated puzzles. */
int cli_time_training(const trm_config *c, const cli_engine *o, int batch, double seconds,
    double *samples_per_s, trm_error *err);

#endif

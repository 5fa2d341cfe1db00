/* How far the halt logit can be trusted: its value after every step of every puzzle against
 * whether the answer was right at that moment. */
#ifndef TRM_CALIBRATION_H
#define TRM_CALIBRATION_H

#include "puzzles.h"

enum { CLI_BINS = 10 };

typedef struct cli_calibration {
    long n[CLI_BINS];               /* steps whose sigmoid(halt logit) fell in the bin */
    long right[CLI_BINS];           /* ... and whose answer was right */
    double confidence[CLI_BINS];    /* sum of the sigmoids */
    long puzzles, halted, mistaken; /* halt = act: stopped at all, with a wrong answer */
    double act_steps, right_steps;  /* sums: steps until act halts, until first right */
} cli_calibration;

/* One attempt of max_steps for every puzzle that has a label, without early halting. */
int cli_calibrate(
    cli_calibration *out, const cli_puzzles *puzzles, int max_steps, trm_engine *e, trm_error *err);
json_t *cli_calibration_json(const cli_calibration *c);
void cli_calibration_print(const cli_calibration *c);

#endif

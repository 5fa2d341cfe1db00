/* ARC tasks as clients see them while they are learned, and answered. All functions return
 * malloc'd text, NULL when out of memory, and keep nothing. */
#ifndef TRMP_ARC_H
#define TRMP_ARC_H

#include <stdint.h>

enum { TRMP_ARC_ATTEMPTS = 2 };

typedef struct trmp_arc_attempt {
    int rows, cols;
    const uint8_t *cell; /* colours 0..9 in reading order */
    int votes;
    double share, confidence;
} trmp_arc_attempt;

typedef struct trmp_arc {
    const char *phase; /* "queued", "training", "predicting", "done" */
    long steps;        /* training micro-batches */
    double loss;
    int given, reproduced;               /* demonstrations */
    int held_out, held_out_right;        /* the same, each kept from training */
    int predictions, predictions_wanted; /* images of test inputs */
    int votes;
    int tests;
    const trmp_arc_attempt *attempt; /* (tests * TRMP_ARC_ATTEMPTS), or NULL: none yet */
} trmp_arc;

typedef struct trmp_arc_answer {
    trmp_arc arc;
    const char *status; /* "answered", "deadline": never "solved", for nothing checks it */
    const char *halt;   /* "votes", "deadline" */
    const char *model;
    double queue_ms, compute_ms, total_ms;
} trmp_arc_answer;

char *trmp_arc_progress_dump(const trmp_arc *a);
char *trmp_arc_answer_dump(const trmp_arc_answer *a);

#endif

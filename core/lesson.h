/* One supervision step of training on a batch: what trm_grad and the trainer share.
 *
 * A lesson is a training slot: a puzzle, its labels and its carried latents. A class owns
 * the threads' buffers and gradients. Lessons are dealt to threads in fixed, contiguous
 * shares, and gradients are summed in thread order: results do not depend on timing. */
#ifndef TRM_LESSON_H
#define TRM_LESSON_H

#include "net.h"
#include "team.h"
#include "trm/train.h"

typedef struct trm_lesson {
    int cells, puzzle;
    uint8_t frame[TRM_FRAME_CODE]; /* models with frames */
    int32_t *tokens, *labels;      /* (L) */
    uint8_t *row, *col;            /* (L) or unused */
    int steps;                     /* supervision steps since it was loaded */
    bool done;                     /* halted: wants a new puzzle before the next step */
    bool fresh;                    /* latents and embedding must be made anew */
    bool exam;                     /* answered only: no labels, no gradient; 0 cells: left out */
    trm_rng rng;                   /* its own stream: data and exploration */
    /* made by the step */
    int s;
    float *y, *z, *e, *rope;
    int32_t *near;
    int32_t *answer; /* (L) argmax tokens, of an exam alone */
    double lm, q_loss;
    float q[2];
    int counted, right;
    int open_cell;          /* Sudoku: what a search would assume of it, -1 = nothing ... */
    int32_t likely, unlike; /* ... the right token, and the likeliest wrong one or 0 */
} trm_lesson;

/* n lessons, all fresh; the caller's until trm_lessons_free. */
int trm_lessons_new(trm_lesson **out, const trm_config *c, int n, trm_error *err);
void trm_lessons_free(trm_lesson *l, int n);
/* Makes the tables of a lesson's positions anew, from its cells, rows and columns. */
void trm_lesson_places(trm_lesson *l, const trm_config *c);
/* Has the puzzle no answer: no cell a label, and a model that is taught to see it? */
bool trm_lesson_unsat(const trm_lesson *l, const trm_config *c);
/* n zeros, aligned for row kernels; NULL when out of memory. */
float *trm_floats(size_t n);

typedef struct trm_class_options {
    trm_loss_kind loss;
    double label_smoothing, q_weight;
    int tape;
    bool one_step_gradient;
    bool assumes; /* finds each Sudoku's open cell */
    int batch;
} trm_class_options;

typedef struct trm_class trm_class;

int trm_class_new(
    trm_class **out, trm_net *net, trm_team *team, const trm_class_options *o, trm_error *err);
void trm_class_free(trm_class *k);
size_t trm_class_bytes(const trm_class *k);
trm_lesson *trm_class_lesson(trm_class *k, int i);
/* Runs one supervision step on every lesson. Before it, `prepare` (may be NULL) is called
 * for each lesson on the thread that has it: it may load a new puzzle and set fresh. The
 * gradient of total / batch is left in grads (layout.floats). */
int trm_class_step(trm_class *k, int (*prepare)(void *arg, trm_lesson *l, trm_error *err),
    void *arg, float *grads, trm_loss *sum, trm_error *err);
/* A third of such a step, for those who must not be away for long; *whole: it was the last third,
 * grads and sum are set. Only where no thread has more than one lesson. */
int trm_class_part(trm_class *k, int (*prepare)(void *arg, trm_lesson *l, trm_error *err),
    void *arg, float *grads, trm_loss *sum, bool *whole, trm_error *err);

#endif

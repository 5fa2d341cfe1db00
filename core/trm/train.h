/* Training: losses and gradients of a supervision step, and the trainer built on them.
 *
 * Deep supervision with ACT as in the official code: each of B slots holds a puzzle and its
 * carried latents; a training step runs one supervision step on every slot (T-1 cycles
 * without gradient, one with; full backpropagation through its n z-updates and one y-update,
 * the incoming y and z detached), takes the losses, updates the weights once, and replaces
 * the puzzles that have halted. A trainer belongs to one thread, which its `threads` help.
 * Everything random comes from the recipe's seed: equal recipe, backend and threads give
 * equal runs, also across kill and resume.
 */
#ifndef TRM_TRAIN_H
#define TRM_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "trm/arc.h"
#include "trm/model.h"

/* Losses of one supervision step, summed over the batch: `lm` the cross-entropy averaged
 * over each puzzle's counted cells, `q_halt` binary cross-entropy of the halt logit against
 * "all counted cells right", total = lm + q_weight * q_halt. */
typedef struct trm_loss {
    double lm, q_halt, total;
} trm_loss;

typedef enum trm_loss_kind { TRM_STABLEMAX, TRM_SOFTMAX } trm_loss_kind;

typedef struct trm_grad_request {
    const char *backend; /* as in engine.h */
    int threads;
    int batch;              /* B */
    const int32_t *inputs;  /* (B, L) */
    const int32_t *labels;  /* (B, L), -100 = not counted */
    const int32_t *puzzles; /* (B) puzzle identifiers */
    int steps;              /* K supervision steps from the initial carry */
    trm_loss_kind loss;
    double q_weight; /* 0.5 */
} trm_grad_request;

/* Runs K supervision steps that never halt; losses (K), and in grads (layout.floats) the
 * gradients of total / B of the last step alone. */
TRM_API int trm_grad(
    const trm_model *m, const trm_grad_request *q, trm_loss *losses, float *grads, trm_error *err);

/* A training recipe: a JSON file. Unknown keys are refused, so that a typing error cannot
 * silently train something else. See weights/README.md for what each key means. */
typedef enum trm_optimizer { TRM_MUON, TRM_ADAMW, TRM_ADAM_ATAN2 } trm_optimizer;

typedef struct trm_recipe {
    trm_config model;
    char task[16];
    uint64_t seed;
    int batch;
    long steps;              /* training steps in all */
    trm_optimizer optimizer; /* of the block matrices; AdamW has the rest under Muon */
    double lr, lr_rest;      /* matrices; embeddings and heads */
    double weight_decay, weight_decay_rest;
    double momentum;     /* Muon */
    double beta1, beta2; /* Adam */
    double clip;         /* global gradient norm, 0 = none */
    long warmup;         /* steps of linear warm-up */
    long anneal_from;    /* from here the rate falls linearly to anneal_to * rate at `steps`;
                            < 0 = constant */
    double anneal_to;
    double ema; /* decay of the average that is shipped; 0 = off */
    trm_loss_kind loss;
    double label_smoothing;
    double q_weight;
    double puzzle_emb_lr, puzzle_emb_decay; /* SignSGD */
    bool one_step_gradient; /* only the last z-update and the y-update (HRM's, for comparison) */
    int tape;               /* sequences per weight-gradient product */
    /* Sudoku data */
    int extra_clues;                 /* curriculum: up to so many extra clues at first ... */
    double curriculum_at;            /* ... one fewer whenever exact accuracy passes this ... */
    int extra_clues_least;           /* ... down to so many */
    double share_file, share_sparse; /* of new puzzles: from `file`, from the sparse search */
    double share_wrong;              /* of new Sudokus: with one clue too many, a wrong one */
    double share_assumed; /* of the batch: while unsolved, now and then a clue more, as a search
                             (trm/task.h) assumes it, and on from the latents */
    double share_assumed_wrong; /* of those clues: wrong ones, after which there is no answer */
    int sparse_effort;
    char file[512];       /* CSV of training puzzles, "" = generated ones only */
    char exclude[8][512]; /* files whose puzzles, up to symmetry, are never trained on */
    /* maze data */
    int size_min, size_max;
    int size_start; /* curriculum: the largest size at first, one more whenever exact accuracy
                       passes curriculum_at; 0 = size_max at once */
    double wall_min, wall_max;
    int length_min;     /* shortest path at the largest size; scaled with the area */
    double share_short; /* of generated mazes: where S and G may be nearer than that */
    /* ARC data; sizes as for mazes, of the longest side of a pair */
    char challenges[8][512];  /* task files, NAME_challenges.json with NAME_solutions.json */
    char held_out[512];       /* names of tasks never trained on, one a line; beside the recipe */
    double share_rules;       /* of new puzzles: from generated tasks of one rule */
    double share_composed;    /* of those: of two rules in turn */
    int rules[TRM_ARC_RULES]; /* how often each rule of one step is drawn */
    double share_colours;     /* of new puzzles: shown in exchanged colours */
    double share_moved;       /* of new puzzles: shown anywhere on the canvas */
} trm_recipe;

TRM_API int trm_recipe_parse(trm_recipe *r, const char *json, trm_error *err);
TRM_API int trm_recipe_read(trm_recipe *r, const char *path, trm_error *err);

typedef struct trm_trainer trm_trainer;

typedef struct trm_train_options {
    const char *backend;
    int threads;
    const char *out;  /* folder: model.safetensors (average), state.safetensors, slots.safetensors,
                         log.jsonl */
    const char *init; /* start from this model's weights, or NULL */
    const char *data; /* folder that the recipe's relative file names start from, or NULL */
    bool resume;      /* go on from out/state.safetensors if it is there */
} trm_train_options;

/* What one training step did; shares over the samples that halted in it. */
typedef struct trm_train_log {
    long step;
    long samples;  /* sample-steps so far */
    long puzzles;  /* puzzles finished so far */
    trm_loss loss; /* per sample */
    double lr, grad_norm;
    double cells, exact; /* running averages: cells right, puzzles wholly right when they halt */
    double halted_steps; /* running average: supervision steps when they halt */
    int easier;          /* curriculum: extra clues, or rows below the largest maze */
} trm_train_log;

TRM_API int trm_trainer_new(
    trm_trainer **out, const trm_recipe *r, const trm_train_options *o, trm_error *err);
TRM_API int trm_trainer_step(trm_trainer *t, trm_train_log *log, trm_error *err);
TRM_API bool trm_trainer_done(const trm_trainer *t);
/* Writes model, state and slots atomically, each ending on the same step. */
TRM_API int trm_trainer_save(trm_trainer *t, trm_error *err);
/* The step of the state it resumed from, 0 for a fresh run: log lines past it are stale. */
TRM_API long trm_trainer_resumed(const trm_trainer *t);
TRM_API void trm_trainer_free(trm_trainer *t);

#endif

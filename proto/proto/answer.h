/* Answers: plain structs into JSON text. All functions return malloc'd text, NULL when out of
 * memory, and keep nothing. */
#ifndef TRMP_ANSWER_H
#define TRMP_ANSWER_H

#include "proto/request.h"

typedef struct trmp_answer {
    trmp_kind kind;
    trmp_shape shape;
    const char *status; /* "solved", "unsolved", "deadline" */
    const char *halt;   /* "verified", "act", "budget", "deadline" */
    const char *model;
    bool verified, optimal;
    int steps, attempts;
    double confidence;
    double queue_ms, compute_ms, total_ms;
    int rows, cols;
    uint8_t cell[TRMP_CELLS];  /* as in trmp_puzzle; a maze's path is 'o' */
    int moves;                 /* maze: -1 = no path; else path has moves + 1 cells */
    uint16_t path[TRMP_CELLS]; /* cell indices from S to G */
} trmp_answer;

/* One puzzle: the object itself; many: {"results": [...]}. */
char *trmp_answers_dump(const trmp_answer *a, int n, bool many);

/* One supervision step, for event streams. */
typedef struct trmp_step {
    trmp_kind kind;
    int puzzle, step, attempt; /* puzzle: index in the request; step and attempt from 1 */
    double confidence;
    int rows, cols;
    const uint8_t *cell, *before; /* before: the last step's cells, or NULL */
    const float *cell_confidence;
} trmp_step;

char *trmp_step_dump(const trmp_step *s);

/* What a job of many puzzles tells while it runs. */
char *trmp_progress_dump(int done, int solved, int puzzles);

typedef struct trmp_model_info {
    const char *name, *id, *kind, *backend;
    long parameters;
    int max_steps, attempts; /* defaults */
    size_t bytes, slot_bytes;
    int slots;
} trmp_model_info;

char *trmp_models_dump(const trmp_model_info *m, int n);
/* {"status": ..., "reason": ...}; reason NULL is left out. */
char *trmp_health_dump(const char *status, const char *reason);

/* The OpenAPI 3.1 document: static bytes. */
const char *trmp_openapi(size_t *size);

#endif

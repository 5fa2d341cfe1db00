/* What the generator sends and when, all drawn before the first byte leaves.
 *
 * A plan owns its texts; load_plan_free() gives everything back. One thread.
 */
#ifndef LOAD_PLAN_H
#define LOAD_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One part of the mix: puzzles of a kind from a file. */
typedef struct load_mix {
    char *name;    /* as given: KIND:FILE[:WEIGHT] */
    char kind[16]; /* sudoku, maze or arc */
    double weight;
    int first, n; /* its requests in load_plan.request */
} load_mix;

typedef struct load_request {
    char *bytes; /* head and body, ready to be written */
    size_t size;
    int mix;
} load_request;

typedef struct load_send {
    double at; /* seconds after the start */
    int request;
} load_send;

typedef struct load_plan {
    load_mix *mix;
    load_request *request;
    load_send *send;
    int mixes, requests, sends;
} load_plan;

typedef struct load_body {
    const char *host;                     /* for the Host header */
    const char *header;                   /* one further header line, or NULL */
    int deadline_ms, max_steps, attempts; /* 0: not sent */
} load_body;

/* Adds KIND:FILE[:WEIGHT]. A Sudoku or maze file holds one puzzle a line, or CSV whose second
 * column is the puzzle; an ARC file is one task. False: `why` (size >= 256) says what is wrong. */
bool load_plan_add(load_plan *p, const char *spec, const load_body *body, char *why);
/* Draws send times of a Poisson process: `rate` per second for `seconds`. With rate 0 only the
 * requests are drawn, `seconds` = 0, for senders that do not keep a schedule. */
bool load_plan_draw(load_plan *p, double rate, double seconds, uint64_t seed, char *why);
void load_plan_free(load_plan *p);

#endif

/* What came back: one sample a request, and the report over them.
 * load_stats owns its samples; one thread.
 */
#ifndef LOAD_STATS_H
#define LOAD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "plan.h"

typedef enum load_outcome {
    LOAD_ANSWERED, /* a response came, of whatever status */
    LOAD_CONNECT,  /* the connection was refused, or not made in time */
    LOAD_RESET,    /* the connection ended before the response did */
    LOAD_TIMEOUT,
    LOAD_NOT_HTTP,
    LOAD_OUTCOMES
} load_outcome;

typedef struct load_sample {
    double latency; /* seconds, from the intended time of sending to the last byte */
    double lag;     /* seconds the sending itself was late */
    int status, mix;
    load_outcome outcome;
} load_sample;

typedef struct load_stats {
    load_sample *sample;
    int n, room;
    int answers[4];  /* puzzles: solved, unsolved, deadline, anything else */
    int unverified;  /* puzzles called solved that were not verified */
    int waited;      /* requests that found every connection busy */
    double rate;     /* as asked; 0: closed loop */
    double seconds;  /* from the start to the last answer */
    double deadline; /* seconds; 0: none was sent */
    int late;        /* 200s that took longer than the deadline */
    double latest;   /* by how many seconds at most */
} load_stats;

bool load_stats_add(load_stats *s, const load_sample *sample);
/* Counts the puzzles in the body of a 200. */
void load_stats_body(load_stats *s, const char *body);
/* As a table, or as one JSON object. */
void load_stats_text(const load_stats *s, const load_plan *p, FILE *out);
bool load_stats_json(const load_stats *s, const load_plan *p, FILE *out);
void load_stats_free(load_stats *s);

#endif

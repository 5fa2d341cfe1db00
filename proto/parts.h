/* What the two faces share: pieces of bodies into structs, and of answers. Refusals fill *p with
 * a pointer that begins with `at` or `base` and return -1. */
#ifndef TRMP_PARTS_H
#define TRMP_PARTS_H

#include <jansson.h>

#include "proto/answer.h"

/* The body as JSON; NULL with *p where it is none, or holds what jansson would take but we
 * will not. */
json_t *trmp_load(const char *body, size_t size, trmp_problem *p);
/* Refuses a key of the object at `base`: "there is no WHAT"KEY"". */
int trmp_refuse_key(trmp_problem *p, const char *base, const char *key, const char *what);
int trmp_parse_option(trmp_options *o, const char *base, const char *key, const json_t *v,
    const trmp_limits *limits, trmp_problem *p);
/* Room for n puzzles, n > 0; r->n stays 0. */
int trmp_make_puzzles(
    trmp_request *r, size_t n, const trmp_limits *limits, const char *at, trmp_problem *p);
int trmp_parse_puzzle(
    trmp_kind kind, trmp_puzzle *out, const json_t *v, const char *at, trmp_problem *p);
/* The answer's cells, written as its puzzle was. */
json_t *trmp_solution_json(const trmp_answer *a);
/* v2.c: the pointer of a cell of puzzle i. */
void trmp_v2_pointer(const trmp_request *r, int i, int cell, char *out, size_t size);

#endif

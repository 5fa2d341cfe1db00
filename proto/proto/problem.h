/* Errors as RFC 9457 problem details.
 *
 * A trmp_problem is plain memory of the caller's. `slug` names the kind of problem for good:
 * its type URI is "/problems/SLUG". Pointers are JSON pointers (RFC 6901) into the request.
 */
#ifndef TRMP_PROBLEM_H
#define TRMP_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>

/* A rule of the puzzle that the request breaks, with rows and columns counted from 1. */
typedef struct trmp_rule {
    const char *kind; /* "row", "column", "box", "no-solution", "no-start", ... or NULL */
    int index, digit; /* 0 where the rule has none */
    int cells;        /* 0..2 */
    int cell[2][2];   /* row, column */
} trmp_rule;

typedef struct trmp_problem {
    int status;
    const char *slug, *title;
    char detail[480];
    char pointer[160]; /* "" = the whole body, left out */
    int line, column;  /* of a JSON error, from 1; 0 = none */
    int retry_after;   /* seconds, 0 = none */
    bool v2;           /* also says "error", as the face of v2.h has it */
    trmp_rule rule;
} trmp_problem;

/* Fills p and returns -1, so that parsers write `return trmp_problem_set(...)`. The title
 * comes with the slug. */
int trmp_problem_set(trmp_problem *p, int status, const char *slug, const char *pointer,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* application/problem+json text, malloc'd; NULL when out of memory. */
char *trmp_problem_dump(const trmp_problem *p, const char *request_id);

#endif

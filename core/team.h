/* A team of threads that run one function together and sleep in between.
 *
 * The caller is member 0. Owned by one caller at a time. */
#ifndef TRM_TEAM_H
#define TRM_TEAM_H

#include "trm/error.h"

typedef struct trm_team trm_team;

/* enter (may be NULL) is called once on every member's thread, the caller's included. */
int trm_team_new(trm_team **out, int threads, void (*enter)(void), trm_error *err);
int trm_team_size(const trm_team *t);
/* Calls fn(arg, member) on every member and returns when all have finished. */
void trm_team_run(trm_team *t, void (*fn)(void *arg, int member), void *arg);
void trm_team_free(trm_team *t);

#endif

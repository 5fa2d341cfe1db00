/* Answers remembered for equal requests: a bounded table, least recently used out first.
 *
 * The key is all that decides an answer: the model's content hash, the puzzle, and the options
 * that matter; so models may be swapped under it. Only what is final is kept, never what a
 * deadline cut off. A trmd_cache owns its entries and belongs to the loop thread.
 */
#ifndef TRMD_CACHE_H
#define TRMD_CACHE_H

#include "schedule.h"

typedef struct trmd_cache trmd_cache;

int trmd_cache_new(trmd_cache **out, int entries, trm_error *err);
void trmd_cache_free(trmd_cache *c);
/* Fills w's answer and halt as they once were and returns true, or returns false. */
bool trmd_cache_get(trmd_cache *c, const char *model_id, trmd_work *w);
/* Remembers a work that has ended, if its answer is final. */
void trmd_cache_put(trmd_cache *c, const char *model_id, const trmd_work *w);

#endif

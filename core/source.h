/* Where training puzzles come from. A source is read-only once made: any thread may draw
 * from it, with the lesson's own random numbers. */
#ifndef TRM_SOURCE_H
#define TRM_SOURCE_H

#include "lesson.h"

typedef struct trm_source trm_source;

int trm_source_new(trm_source **out, const trm_recipe *r, const char *folder, trm_error *err);
void trm_source_free(trm_source *s);
/* Puts a new puzzle and its labels into the lesson. easier: the curriculum's. */
int trm_source_next(const trm_source *s, int easier, trm_lesson *l, trm_error *err);

#endif

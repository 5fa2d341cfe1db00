/* ARC tasks to train on, and how a pair becomes a lesson. A source is read-only once made: any
 * thread may draw from it, with the lesson's own random numbers. */
#ifndef TRM_ARC_SOURCE_H
#define TRM_ARC_SOURCE_H

#include "arc.h"
#include "lesson.h"

/* Row 0 of puzzle_emb is a task never seen; a source's tasks have the rows after it. */
typedef struct trm_arc_source trm_arc_source;

int trm_arc_source_new(
    trm_arc_source **out, const trm_recipe *r, const char *folder, trm_error *err);
void trm_arc_source_free(trm_arc_source *s);
/* easier: so many rows and columns below the recipe's size_max. */
int trm_arc_source_next(const trm_arc_source *s, int easier, trm_lesson *l, trm_error *err);

/* Loads a pair with a known output, seen in a frame, into a lesson of puzzle `row`. moved:
 * anywhere on the canvas instead of in its corner. */
void trm_arc_teach(
    trm_lesson *l, const trm_arc_pair *pair, const trm_arc_frame *f, int row, bool moved);
void trm_arc_frame_code(uint8_t code[TRM_FRAME_CODE], const trm_arc_frame *f,
    const trm_arc_canvas *c, const trm_arc_grid *input);

/* A copy of the weights with one puzzle: row 0 as the mean of all rows that were trained, or as
 * it is where there is no other. Its seq_len is `cells`. */
int trm_arc_trunk(trm_model **out, const trm_model *m, int cells, trm_error *err);
/* Reads weights to train further, with c's table of puzzles; all rows are alike where the file is
 * a trunk. */
int trm_arc_init(trm_model **out, const char *path, const trm_config *c, trm_error *err);

#endif

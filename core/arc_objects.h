/* Generated rules about objects, lines, halves and counts: see arc_rules.h, whose list names them.
 * An object is a connected set of cells of one colour other than black, joined by their sides. Each
 * writes `out` and is false where it cannot be applied. No state; any thread. */
#ifndef TRM_ARC_OBJECTS_H
#define TRM_ARC_OBJECTS_H

#include "trm/arc.h"

/* A black grid; false, and an empty one, where it would have no cells or too many. */
bool trm_arc_black(trm_arc_grid *out, int rows, int cols);
static inline uint8_t trm_arc_at(const trm_arc_grid *g, int y, int x) {
    return g->cell[y * g->cols + x];
}

bool trm_arc_largest_only(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_largest_to_two(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_crop_largest(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_drop_specks(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_specks_to_three(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_hollow(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_fill_boxes(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_connect(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_cross(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_drip(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_both_halves(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_one_half(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_commonest(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_rarest_only(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_negative(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_close_ranks(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_four_times(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_kaleidoscope(trm_arc_grid *out, const trm_arc_grid *in);
bool trm_arc_fractal(trm_arc_grid *out, const trm_arc_grid *in);

#endif

/* Generated tasks of one rule each (mirror, recolour, crop, fall ...) or of two in turn, so that a
 * trunk knows what is simple before it meets the real ones. No state; any thread. */
#ifndef TRM_ARC_RULES_H
#define TRM_ARC_RULES_H

#include "trm/arc.h"

/* Rules of one step, which have names; and with those of two: rule k n + r, of n rules, is r and
 * then one of a few others, by k. */
int trm_arc_rules(void);
int trm_arc_rules_composed(void);
const char *trm_arc_rule_name(int rule);
/* A random one, of one step or of two; weight[rule] (TRM_ARC_RULES of them, not all 0) says how
 * often the first step is which. */
int trm_arc_rule_draw(const int *weight, bool composed, trm_rng *rng);
/* A random input of sides up to `most` (>= 2) and the rule's output, no longer than `most`
 * where the rule enlarges. Rules speak of colours 1, 2 ...: frames give the other variants. */
void trm_arc_rule_pair(trm_arc_pair *out, int rule, int most, trm_rng *rng);
/* The rule alone; false where it cannot be applied to this input (too large, nothing to do). */
bool trm_arc_rule_apply(trm_arc_grid *out, int rule, const trm_arc_grid *in);

#endif

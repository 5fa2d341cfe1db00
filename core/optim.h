/* Optimizers over the flat parameter array, spread over a team.
 *
 * Muon (Jordan et al., 2024) for the matrices of the blocks: momentum, then five
 * Newton-Schulz steps that bring all singular values near 1. AdamW (arXiv 1711.05101) or
 * AdamATan2 (arXiv 2407.05872) for the rest or for all. SignSGD for puzzle embeddings, only
 * for rows that were used. H_init and L_init are never trained, as in the official code. */
#ifndef TRM_OPTIM_H
#define TRM_OPTIM_H

#include "team.h"
#include "trm/train.h"

typedef struct trm_optim {
    const trm_recipe *recipe;
    const trm_layout *layout;
    trm_team *team;
    float *m, *v;          /* first and second moments, flat; Muon uses m alone */
    float *ema;            /* running average of the weights, NULL when off */
    struct trm_muon *muon; /* work space, one per member */
    long t;                /* updates so far */
} trm_optim;

int trm_optim_new(
    trm_optim **out, const trm_recipe *r, const trm_layout *layout, trm_team *team, trm_error *err);
void trm_optim_free(trm_optim *o);
/* One update of w from grads (which it clips in place); returns the gradient norm before
 * clipping. rate scales the recipe's learning rates (warm-up, annealing). */
double trm_optim_update(trm_optim *o, float *w, float *grads, double rate);

#endif

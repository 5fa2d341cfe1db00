/* The inside of a trainer, shared by trainer.c and checkpoint.c. */
#ifndef TRM_TRAINER_H
#define TRM_TRAINER_H

#include "learner.h"
#include "optim.h"
#include "source.h"

struct trm_trainer {
    trm_recipe recipe;
    trm_train_options options; /* out is ours */
    trm_model *model;
    trm_net *net;
    trm_team *team;
    trm_class *class;
    trm_learner *learner; /* on a device; then net and class are NULL */
    trm_optim *optim;
    trm_source *source;
    float *grads;
    size_t floats;
    trm_train_log log;
    long since_change;   /* puzzles finished since the curriculum last moved */
    long resumed, saved; /* steps of the state read, and of the one last written */
};

trm_lesson *trm_trainer_lesson(trm_trainer *t, int i);
/* Reads out/state.safetensors and the slots it names; a fresh run if there is none. */
int trm_trainer_load(trm_trainer *t, trm_error *err);

#endif

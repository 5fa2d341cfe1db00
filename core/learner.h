/* Training on a device: what a class, a net and an optimizer are on the CPU.
 *
 * The learner owns the batch's lessons in the host's memory, and a device that holds the model,
 * its moments, its average and the lessons' latents. While the device makes a step, the team draws
 * the puzzles that lessons which halt will go on with, each from a seed of its own, so that the
 * next step never waits for data. Owned by one thread, which the team helps. */
#ifndef TRM_LEARNER_H
#define TRM_LEARNER_H

#include "device.h"
#include "lesson.h"
#include "source.h"
#include "team.h"

typedef struct trm_learner {
    const trm_device_lib *lib;
    trm_device *device;
    trm_team *team;
    const trm_recipe *recipe;
    const trm_config *c;
    const trm_source *source; /* NULL: lessons are the caller's to fill, and stay */
    trm_lesson *lesson;       /* (recipe->batch) */
    trm_lesson *ahead;        /* their next puzzles; only what a source fills is used */
    uint64_t *seed;           /* of the puzzle ahead */
    int *easier;              /* the curriculum's, when that was decided */
    bool *drawn;
    int *failed;
    trm_error *error; /* of drawing, one for each member of the team */
    trm_device_verdict *verdict;
} trm_learner;

/* recipe, m and source stay the caller's and must outlive the learner. TRM_E_UNSUPPORTED where the
 * device cannot take the model, TRM_E_NOMEM where not even one lesson has room on it. */
int trm_learner_new(trm_learner **out, const trm_device_lib *lib, const char *backend,
    const trm_model *m, const trm_recipe *r, trm_team *team, const trm_source *source,
    trm_error *err);
void trm_learner_free(trm_learner *k);
/* Lessons that are done get their next puzzle, the one ahead; another is promised to them, of the
 * curriculum as it is now. */
int trm_learner_step(trm_learner *k, int easier, const trm_device_update *u, trm_loss *sum,
    double *norm, trm_error *err);
/* Promises every lesson a next puzzle, from the lesson's own random numbers. */
void trm_learner_promise(trm_learner *k, int easier);
/* Latents from the device into the lessons, and what the lessons hold into the device. */
int trm_learner_pull(trm_learner *k, trm_error *err);
int trm_learner_push(trm_learner *k, trm_error *err);

#endif

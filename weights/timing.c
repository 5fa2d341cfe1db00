/* Timing the engine and the trainer; see timing.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "timing.h"
#include "trm/train.h"

static int fill_slots(trm_engine *e, trm_error *err) {
    const trm_config *c = &trm_engine_model(e)->config;
    int32_t tokens[4096];
    uint8_t row[4096], col[4096];
    int side = 1, r = TRM_OK;
    trm_rng rng;
    while (side * side < c->seq_len)
        side++;
    trm_rng_seed(&rng, 1);
    for (int slot = 0; slot < trm_engine_slots(e) && !r; slot++) {
        for (int i = 0; i < c->seq_len; i++) {
            tokens[i] = (int32_t)trm_rng_below(&rng, (uint32_t)c->vocab_size);
            row[i] = (uint8_t)(i / side);
            col[i] = (uint8_t)(i % side);
        }
        trm_input in = {c->seq_len, tokens, row, col, 0};
        r = trm_engine_load(e, slot, &in, err);
    }
    return r;
}

int cli_time_steps(trm_engine *e, double seconds, double *steps_per_s, trm_error *err) {
    int n = trm_engine_slots(e), steps = 0;
    int *slots = calloc((size_t)n, sizeof *slots);
    if (!slots)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d slots", n);
    for (int i = 0; i < n; i++)
        slots[i] = i;
    int r = fill_slots(e, err);
    if (!r)
        r = trm_engine_step(e, slots, n, err); /* warms up */
    double began = cli_now(), now = began;
    while (!r && (now - began < seconds || steps < 2)) {
        r = trm_engine_step(e, slots, n, err);
        steps++;
        now = cli_now();
    }
    *steps_per_s = (double)steps * n / (now - began);
    free(slots);
    return r;
}

/* A recipe around the model that learns next to nothing: only its time matters. */
static int make_recipe(trm_recipe *out, const trm_config *c, int batch, trm_error *err) {
    char *model = trm_config_dump(c), *text = NULL;
    const char *task = c->vocab_size == TRM_SUDOKU_VOCAB ? "sudoku" : "maze";
    int r = TRM_E_NOMEM;
    if (model && asprintf(&text,
                     "{\"task\":\"%s\",\"batch\":%d,\"lr\":1e-6,\"lr_rest\":1e-6,"
                     "\"size_min\":30,\"model\":%s}",
                     task, batch, model) > 0)
        r = trm_recipe_parse(out, text, err);
    else
        (void)trm_fail(err, r, "out of memory for a recipe");
    free(text);
    free(model);
    return r;
}

static int time_trainer(trm_trainer *t, int batch, double seconds, double *rate, trm_error *err) {
    trm_train_log log;
    int steps = 0, r = trm_trainer_step(t, &log, err); /* warms up */
    double began = cli_now(), now = began;
    while (!r && (now - began < seconds || steps < 1)) {
        r = trm_trainer_step(t, &log, err);
        steps++;
        now = cli_now();
    }
    *rate = (double)steps * batch / (now - began);
    return r;
}

int cli_time_training(const trm_config *c, const cli_engine *o, int batch, double seconds,
    double *samples_per_s, trm_error *err) {
    char out[] = "/tmp/trm-bench-XXXXXX";
    trm_recipe recipe;
    trm_trainer *t = NULL;
    int r = make_recipe(&recipe, c, batch, err);
    if (r)
        return r;
    if (!mkdtemp(out))
        return trm_fail(err, TRM_E_IO, "%s: %s", out, strerror(errno));
    /* The trainer wants a folder, and writes nothing to it unless it is told to save. */
    trm_train_options options = {.backend = o->backend, .threads = o->threads, .out = out};
    r = trm_trainer_new(&t, &recipe, &options, err);
    if (!r)
        r = time_trainer(t, batch, seconds, samples_per_s, err);
    trm_trainer_free(t);
    (void)rmdir(out);
    return r;
}

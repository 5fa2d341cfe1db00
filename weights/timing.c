/* Timing the engine and the trainer; see timing.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "timing.h"

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
        trm_input in = {c->seq_len, tokens, row, col, 0, NULL};
        r = trm_engine_load(e, slot, &in, err);
    }
    return r;
}

int cli_timed_engine(cli_timed *out, const trm_model *m, const cli_engine *o, trm_error *err) {
    *out = (cli_timed){.batch = o->slots};
    int r = cli_engine_new(&out->engine, m, o, 1, false, err);
    if (r)
        return r;
    out->batch = trm_engine_slots(out->engine);
    out->slots = calloc((size_t)out->batch, sizeof *out->slots);
    for (int i = 0; out->slots && i < out->batch; i++)
        out->slots[i] = i;
    r = out->slots ? fill_slots(out->engine, err)
                   : trm_fail(err, TRM_E_NOMEM, "out of memory for %d slots", out->batch);
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

int cli_timed_training(cli_timed *out, const trm_config *c, const cli_engine *o, trm_error *err) {
    trm_recipe recipe;
    *out = (cli_timed){.batch = o->slots};
    int r = make_recipe(&recipe, c, o->slots, err);
    if (r)
        return r;
    strcpy(out->folder, "/tmp/trm-bench-XXXXXX");
    if (!mkdtemp(out->folder)) {
        r = trm_fail(err, TRM_E_IO, "%s: %s", out->folder, strerror(errno));
        out->folder[0] = 0;
        return r;
    }
    /* The trainer wants a folder, and writes nothing to it unless it is told to save. */
    trm_train_options options = {.backend = o->backend, .threads = o->threads, .out = out->folder};
    return trm_trainer_new(&out->trainer, &recipe, &options, err);
}

static int one_step(cli_timed *t, trm_error *err) {
    trm_train_log log;
    return t->trainer ? trm_trainer_step(t->trainer, &log, err)
                      : trm_engine_step(t->engine, t->slots, t->batch, err);
}

static double processor_time(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int cli_timed_run(cli_timed *t, double seconds, cli_pace *pace, trm_error *err) {
    int steps = 0, r = TRM_OK;
    double began = cli_now(), now = began, worked = processor_time();
    while (!r && (now - began < seconds || steps < 1)) {
        r = one_step(t, err);
        steps++;
        now = cli_now();
    }
    pace->per_s = (double)steps * t->batch / (now - began);
    pace->per_cpu_s = (double)steps * t->batch / (processor_time() - worked);
    return r;
}

void cli_timed_close(cli_timed *t) {
    trm_engine_free(t->engine);
    trm_trainer_free(t->trainer);
    free(t->slots);
    if (t->folder[0])
        (void)rmdir(t->folder);
    *t = (cli_timed){0};
}

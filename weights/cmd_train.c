/* `trm train`: runs a recipe, with a log, checkpoints and a way back after a kill. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "trm/cpus.h"
#include "trm/train.h"

struct train {
    const char *recipe_path, *out, *init, *data;
    bool resume;
    double minutes, save_every;
    int log_every;
    cli_engine engine;
    trm_recipe recipe;
    trm_trainer *trainer;
    FILE *log;
    double began;
    long first_samples;
    cli_progress progress;
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int signal) {
    (void)signal;
    stop_asked = 1;
}

static void watch_signals(void) {
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &a, NULL);
    (void)sigaction(SIGTERM, &a, NULL);
}

/* --- the log --------------------------------------------------------------------------- */

static bool is_current(const char *line, long last) {
    json_t *o = json_loads(line, 0, NULL);
    json_t *step = json_object_get(o, "step");
    bool keep = json_is_integer(step) && json_integer_value(step) <= last;
    json_decref(o);
    return keep;
}

/* Copies the lines up to the step that the run goes on from; later ones (and a torn last one)
 * tell of steps that will be taken again. */
static int copy_log(FILE *to, const char *path, long last, trm_error *err) {
    FILE *from = fopen(path, "r");
    if (!from && errno == ENOENT)
        return TRM_OK;
    if (!from)
        return trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, from) > 0)
        if (is_current(line, last))
            fputs(line, to);
    free(line);
    (void)fclose(from);
    return TRM_OK;
}

static int log_error(const struct train *t, trm_error *err) {
    char path[PATH_MAX];
    int e = errno;
    (void)snprintf(path, sizeof path, "%s/log.jsonl", t->out);
    return trm_fail_errno(err, path, e);
}

static int open_log(struct train *t, trm_error *err) {
    char path[PATH_MAX], fresh[PATH_MAX];
    long last = trm_trainer_resumed(t->trainer);
    (void)snprintf(path, sizeof path, "%s/log.jsonl", t->out);
    (void)snprintf(fresh, sizeof fresh, "%s/log.jsonl.tmp", t->out);
    t->log = fopen(fresh, "w");
    if (!t->log)
        return trm_fail_errno(err, fresh, errno);
    int r = last ? copy_log(t->log, path, last, err) : TRM_OK;
    if (r)
        return r;
    if (fflush(t->log) || rename(fresh, path))
        return log_error(t, err);
    return TRM_OK;
}

static int write_log(struct train *t, const trm_train_log *l, trm_error *err) {
    double seconds = cli_now() - t->began;
    json_t *o = json_pack("{s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:i,s:f,s:f}", "step",
        (json_int_t)l->step, "samples", (json_int_t)l->samples, "puzzles", (json_int_t)l->puzzles,
        "lm", l->loss.lm, "q_halt", l->loss.q_halt, "total", l->loss.total, "lr", l->lr,
        "grad_norm", l->grad_norm, "cells", l->cells, "exact", l->exact, "halted_steps",
        l->halted_steps, "easier", l->easier, "seconds", seconds, "samples_per_s",
        (double)(l->samples - t->first_samples) / (seconds > 0 ? seconds : 1));
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    if (!text)
        return trm_fail(err, TRM_E_BACKEND,
            "step %ld: the losses are not finite any more; take a lower rate", l->step);
    fprintf(t->log, "%s\n", text);
    free(text);
    if (fflush(t->log))
        return log_error(t, err);
    return TRM_OK;
}

/* --- the run --------------------------------------------------------------------------- */

static bool time_is_up(const struct train *t) {
    return stop_asked || (t->minutes > 0 && cli_now() - t->began > t->minutes * 60);
}

static int steps(struct train *t, trm_train_log *l, trm_error *err) {
    double saved = cli_now();
    int r = TRM_OK;
    while (!r && !trm_trainer_done(t->trainer) && !time_is_up(t)) {
        r = trm_trainer_step(t->trainer, l, err);
        if (r)
            return r;
        if (t->first_samples < 0)
            t->first_samples = l->samples - t->recipe.batch;
        if (l->step % t->log_every == 0 || l->step == t->recipe.steps)
            r = write_log(t, l, err);
        if (!r && cli_now() - saved > t->save_every) {
            r = trm_trainer_save(t->trainer, err);
            saved = cli_now();
        }
        char note[128];
        (void)snprintf(
            note, sizeof note, "loss %.4f, cells %.4f, exact %.4f", l->loss.lm, l->cells, l->exact);
        cli_progress_at(&t->progress, l->step, t->recipe.steps, note);
    }
    return r;
}

/* A forgotten --resume must not cost a run. */
static int refuse_overwriting(const struct train *t, trm_error *err) {
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/state.safetensors", t->out);
    if (!t->resume && access(path, F_OK) == 0)
        return trm_fail(err, TRM_E_ARG,
            "%s holds a run already: go on with --resume, or name another folder", t->out);
    return TRM_OK;
}

static int open_trainer(struct train *t, trm_error *err) {
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", t->recipe_path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    trm_train_options o = {.backend = t->engine.backend,
        .threads = t->engine.threads ? t->engine.threads : trm_cpus(),
        .out = t->out,
        .init = t->init,
        .data = t->data ? t->data
                : slash ? folder
                        : NULL,
        .resume = t->resume};
    int r = trm_recipe_read(&t->recipe, t->recipe_path, err);
    if (!r)
        r = refuse_overwriting(t, err);
    if (!r)
        r = trm_trainer_new(&t->trainer, &t->recipe, &o, err);
    return r ? r : open_log(t, err);
}

static int train(struct train *t, trm_train_log *l, trm_error *err) {
    int r = open_trainer(t, err);
    if (r)
        return r;
    watch_signals();
    l->step = trm_trainer_resumed(t->trainer);
    t->began = cli_now();
    t->first_samples = -1;
    cli_progress_begin(&t->progress, "train");
    r = steps(t, l, err);
    cli_progress_end(&t->progress);
    return r ? r : trm_trainer_save(t->trainer, err);
}

static int run(const cli_command *cmd, int argc, char **argv) {
    struct train t = {.log_every = 10, .save_every = 120};
    bool json = false;
    const cli_option options[] = {
        {"out", 'o', CLI_STRING, &t.out, 0, 0, "DIR", "model, state and log.jsonl go here"},
        {"resume", 0, CLI_FLAG, &t.resume, 0, 0, NULL, "go on from DIR's state, if there is one"},
        {"init", 0, CLI_STRING, &t.init, 0, 0, "MODEL", "start from this model's weights"},
        {"data", 0, CLI_STRING, &t.data, 0, 0, "DIR",
            "where the recipe's files are (default: beside it)"},
        {"minutes", 0, CLI_REAL, &t.minutes, 0.001, 1e7, "M", "stop, saved, after so long"},
        {"save-every", 0, CLI_REAL, &t.save_every, 0, 1e9, "S", "seconds between saves (120)"},
        {"log-every", 0, CLI_INT, &t.log_every, 1, 1e9, "N", "steps between log lines (10)"},
        CLI_ENGINE_OPTIONS(t.engine),
        {"json", 0, CLI_FLAG, &json, 0, 0, NULL, "print one JSON object at the end"}, CLI_END};
    cli_args args;
    trm_error err;
    trm_train_log l = {0};
    int r = cli_parse(cmd, options, 1, 1, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    if (!t.out)
        return cli_bad(cmd, "missing --out DIR");
    t.recipe_path = args.at[0];
    r = train(&t, &l, &err);
    bool done = t.trainer && trm_trainer_done(t.trainer);
    if (r)
        r = cli_fail(cmd, &err);
    else if (json)
        r = cli_print_json(
            cmd, json_pack("{s:I,s:I,s:b,s:f,s:f,s:f,s:o}", "step", (json_int_t)l.step, "samples",
                     (json_int_t)l.samples, "done", done, "lm", l.loss.lm, "cells", l.cells,
                     "exact", l.exact, "out", cli_json_path(t.out)));
    else
        printf("%s: step %ld of %ld%s\n", t.out, l.step, t.recipe.steps,
            done ? ", done" : "; go on with --resume");
    if (t.log)
        (void)fclose(t.log);
    trm_trainer_free(t.trainer);
    return r;
}

const cli_command cmd_train = {"train", run, "RECIPE.json --out DIR [OPTION...]",
    "train a model by a recipe",
    "Writes DIR/model.safetensors (what `trm eval` takes), the state to go on from, and\n"
    "log.jsonl, all atomically. Stopped by --minutes, SIGINT or SIGTERM it saves first; killed,\n"
    "it goes on from the last save with --resume and takes the very same steps."};

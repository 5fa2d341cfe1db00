/* `trm eval`: what a model is worth on a set of puzzles. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arc.h"
#include "calibration.h"
#include "puzzles.h"
#include "trm/cpus.h"

struct eval {
    trm_kind kind;
    const char *file, *model_name, *marks;
    int limit;
    bool one_by_one, calibrate, json;
    trm_policy policy;
    cli_puzzles puzzles;
    trm_model *model;
    trm_engine *engine;
    trm_task *tasks;
    double *ms; /* each puzzle's time, one by one */
    double wall;
    cli_calibration calibration;
    cli_progress progress;
};

struct score {
    int labelled, exact, verified, optimal, halts[TRM_DONE_BUDGET + 1];
    double steps, attempts;
};

static bool after_step(void *arg, int done, int n) {
    cli_progress_at(arg, done, n, NULL);
    return true;
}

static int run_one_by_one(struct eval *v, trm_error *err) {
    int r = TRM_OK, n = v->puzzles.n;
    v->ms = calloc((size_t)n, sizeof *v->ms);
    if (!v->ms)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d times", n);
    for (int i = 0; i < n && !r; i++) {
        double began = cli_now();
        r = trm_tasks_run(v->engine, &v->tasks[i], 1, NULL, NULL, err);
        v->ms[i] = (cli_now() - began) * 1e3;
        cli_progress_at(&v->progress, i + 1, n, NULL);
    }
    return r;
}

static int run_all(struct eval *v, const cli_engine *eo, trm_error *err) {
    /* Alone, a puzzle gains from other attempts beside it only as far as there are threads. */
    int threads = eo->threads ? eo->threads : trm_cpus();
    int slots = v->one_by_one ? threads : cli_default_slots(v->kind);
    int r = cli_tasks_new(&v->tasks, &v->puzzles, &v->policy, v->model, err);
    if (!r)
        r = cli_engine_new(&v->engine, v->model, eo, slots, v->kind == TRM_KIND_SUDOKU, err);
    if (r)
        return r;
    cli_progress_begin(&v->progress, "eval");
    double began = cli_now();
    r = v->one_by_one
            ? run_one_by_one(v, err)
            : trm_tasks_run(v->engine, v->tasks, v->puzzles.n, after_step, &v->progress, err);
    v->wall = cli_now() - began;
    cli_progress_end(&v->progress);
    if (!r && v->calibrate)
        r = cli_calibrate(&v->calibration, &v->puzzles, v->policy.max_steps, v->engine, err);
    return r;
}

static void add_up(struct score *s, const struct eval *v) {
    memset(s, 0, sizeof *s);
    for (int i = 0; i < v->puzzles.n; i++) {
        const cli_puzzle *p = &v->puzzles.at[i];
        const trm_task *t = &v->tasks[i];
        cli_grid answer;
        cli_task_answer(&answer, t);
        s->labelled += p->labelled;
        s->exact += p->labelled && cli_grid_equal(&answer, &p->answer, v->kind);
        s->verified += t->verified;
        s->optimal += t->optimal;
        s->halts[t->outcome]++;
        s->steps += t->steps;
        s->attempts += t->started;
    }
}

/* One line a puzzle, so that two runs can be compared puzzle by puzzle. */
static int write_marks(const struct eval *v, trm_error *err) {
    FILE *f = fopen(v->marks, "w");
    if (!f)
        return trm_fail(err, TRM_E_IO, "%s: %s", v->marks, strerror(errno));
    fputs("line,exact,verified,optimal,steps,attempts\n", f);
    for (int i = 0; i < v->puzzles.n; i++) {
        const cli_puzzle *p = &v->puzzles.at[i];
        const trm_task *t = &v->tasks[i];
        cli_grid answer;
        cli_task_answer(&answer, t);
        fprintf(f, "%d,%d,%d,%d,%d,%d\n", p->line,
            p->labelled && cli_grid_equal(&answer, &p->answer, v->kind), t->verified, t->optimal,
            t->steps, t->started);
    }
    return fclose(f) ? trm_fail_errno(err, v->marks, errno) : TRM_OK;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank. */
static double percentile(const double *sorted, int n, double q) {
    int i = (int)(q * n + 0.999999) - 1;
    return sorted[i < 0 ? 0 : i >= n ? n - 1 : i];
}

static json_t *latency_json(struct eval *v) {
    int n = v->puzzles.n;
    qsort(v->ms, (size_t)n, sizeof *v->ms, by_value);
    return json_pack("{s:f,s:f,s:f,s:f}", "p50", percentile(v->ms, n, 0.5), "p90",
        percentile(v->ms, n, 0.9), "p99", percentile(v->ms, n, 0.99), "max", v->ms[n - 1]);
}

static json_t *eval_json(struct eval *v, const struct score *s) {
    int n = v->puzzles.n;
    json_t *o = json_pack("{s:s,s:o,s:s,s:s,s:s,s:i}", "kind", cli_kind_name(v->kind), "file",
        cli_json_path(v->file), "model", v->model->name, "id", v->model->id, "backend",
        trm_engine_backend(v->engine), "slots", trm_engine_slots(v->engine));
    json_t *more =
        json_pack("{s:{s:i,s:i,s:s},s:i,s:i,s:o,s:f,s:f,s:f,s:f,s:f,s:f,s:{s:i,s:i,s:i}}", "policy",
            "max_steps", v->policy.max_steps, "attempts", v->policy.attempts, "halt",
            cli_halt_name(v->policy.halt), "n", n, "labelled", s->labelled, "exact",
            s->labelled ? json_real((double)s->exact / s->labelled) : json_null(), "verified",
            (double)s->verified / n, "mean_steps", s->steps / n, "mean_attempts", s->attempts / n,
            "wall_s", v->wall, "puzzles_per_s", n / v->wall, "steps_per_s", s->steps / v->wall,
            "halts", "verified", s->halts[TRM_DONE_VERIFIED], "act", s->halts[TRM_DONE_ACT],
            "budget", s->halts[TRM_DONE_BUDGET]);
    (void)json_object_update(o, more);
    json_decref(more);
    if (v->kind == TRM_KIND_MAZE)
        (void)json_object_set_new(o, "optimal", json_real((double)s->optimal / n));
    if (v->one_by_one)
        (void)json_object_set_new(o, "latency_ms", latency_json(v));
    if (v->calibrate)
        (void)json_object_set_new(o, "calibration", cli_calibration_json(&v->calibration));
    return o;
}

static void eval_text(struct eval *v, const struct score *s) {
    int n = v->puzzles.n;
    printf("%s: %d puzzles, model %s, backend %s, %s, %d steps x %d attempts\n", v->file, n,
        v->model->name, trm_engine_backend(v->engine), cli_halt_name(v->policy.halt),
        v->policy.max_steps, v->policy.attempts);
    if (s->labelled)
        printf("exact     %.4f (%d of %d with one known answer)\n", (double)s->exact / s->labelled,
            s->exact, s->labelled);
    printf("verified  %.4f (%d)\n", (double)s->verified / n, s->verified);
    if (v->kind == TRM_KIND_MAZE)
        printf("optimal   %.4f (%d)\n", (double)s->optimal / n, s->optimal);
    printf("steps     %.2f a puzzle, attempts %.2f\n", s->steps / n, s->attempts / n);
    printf("halts     %d verified, %d act, %d budget\n", s->halts[TRM_DONE_VERIFIED],
        s->halts[TRM_DONE_ACT], s->halts[TRM_DONE_BUDGET]);
    printf("speed     %.2f puzzles/s, %.1f steps/s, %.2f s in all\n", n / v->wall,
        s->steps / v->wall, v->wall);
    if (v->one_by_one) {
        qsort(v->ms, (size_t)n, sizeof *v->ms, by_value);
        printf("latency   %.1f ms median, %.1f ms 90th, %.1f ms 99th percentile, %.1f ms worst\n",
            percentile(v->ms, n, 0.5), percentile(v->ms, n, 0.9), percentile(v->ms, n, 0.99),
            v->ms[n - 1]);
    }
    if (v->calibrate)
        cli_calibration_print(&v->calibration);
}

static int evaluate(struct eval *v, const cli_policy *po, const cli_engine *eo, trm_error *err) {
    int r = cli_policy_get(&v->policy, po, v->kind, err);
    if (!r)
        r = cli_puzzles_read(&v->puzzles, v->kind, v->file, v->limit, err);
    if (!r)
        r = cli_open_model(&v->model, v->model_name, v->kind, NULL, err);
    if (r)
        return r;
    cli_puzzles_label(&v->puzzles);
    return run_all(v, eo, err);
}

static int run(const cli_command *cmd, int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "arc") == 0)
        return cli_eval_arc(cmd, argc, argv);
    struct eval v = {0};
    cli_policy po = {0};
    cli_engine eo = {0};
    const cli_option options[] = {{"model", 'm', CLI_STRING, &v.model_name, 0, 0, "MODEL",
                                      "model file, or a shipped one's name"},
        {"limit", 'l', CLI_INT, &v.limit, 1, 1e9, "N", "only the first N puzzles"},
        CLI_POLICY_OPTIONS(po),
        {"one-by-one", 0, CLI_FLAG, &v.one_by_one, 0, 0, NULL,
            "each puzzle alone: latency percentiles"},
        {"calibration", 0, CLI_FLAG, &v.calibrate, 0, 0, NULL,
            "reliability table of the halt logit"},
        {"marks", 0, CLI_STRING, &v.marks, 0, 0, "FILE", "write each puzzle's result as CSV"},
        CLI_ENGINE_OPTIONS(eo), CLI_SLOTS_OPTION(eo),
        {"json", 0, CLI_FLAG, &v.json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    struct score s;
    trm_error err;
    int r = cli_parse(cmd, options, 2, 2, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    v.file = args.at[1];
    r = cli_puzzle_kind(&v.kind, args.at[0], &err);
    if (!r)
        r = evaluate(&v, &po, &eo, &err);
    if (!r && v.marks)
        r = write_marks(&v, &err);
    if (r) {
        r = cli_fail(cmd, &err);
    } else {
        add_up(&s, &v);
        if (v.json)
            r = cli_print_json(cmd, eval_json(&v, &s));
        else
            eval_text(&v, &s);
    }
    free(v.ms);
    free(v.tasks);
    trm_engine_free(v.engine);
    trm_model_free(v.model);
    cli_puzzles_free(&v.puzzles);
    return r;
}

const cli_command cmd_eval = {"eval", run, "sudoku|maze|arc FILE [OPTION...]",
    "measure a model on a file of puzzles",
    "FILE is CSV (source,question,answer,rating) or one puzzle a line. `exact` is the share equal\n"
    "to the given answer; where the file has none, to the only solution of a Sudoku or the\n"
    "benchmark's shortest path of a maze. `verified` is the exact checker's verdict, `optimal`\n"
    "a verified path of least length. The paper's protocol is --halt fixed --attempts 1\n"
    "--max-steps 16. `trm eval arc --help` tells about ARC tasks."};

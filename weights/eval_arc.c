/* `trm eval arc`: how many tasks of a file are solved, and the file that the ARC Prize wants.
 *
 * A submission file is also the state of an evaluation: it is rewritten after every task, and
 * tasks that it holds already are not run again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc.h"

struct eval {
    const char *file, *solutions, *submission, *list;
    cli_arc arc;
    int limit;
    bool json;
    trm_arc_file tasks;
    char *names; /* the list's text */
    trm_model *model;
    json_t *answers; /* {task: [{"attempt_1","attempt_2"} per test]} */
    json_t *results; /* one object a task run here */
    double wall, steps, reproduced;
    int ran;
    cli_progress progress;
};

struct score {
    int tasks, scored, tests, solved;
    double pass1, pass2; /* sums over tasks of the share of their tests */
};

/* --- what is asked ----------------------------------------------------------------------- */

static bool named(const struct eval *v, const char *name) {
    size_t n = strlen(name);
    for (const char *s = v->names; (s = strstr(s, name)); s += n)
        if ((s == v->names || s[-1] == '\n') && (s[n] == 0 || s[n] == '\n' || s[n] == '\r'))
            return true;
    return false;
}

/* Keeps the tasks that the list and the limit leave. */
static int choose(struct eval *v, trm_error *err) {
    size_t size;
    int n = 0, r = v->list ? cli_read_all(&v->names, &size, v->list, err) : TRM_OK;
    if (r)
        return r;
    for (int i = 0; i < v->tasks.n; i++) {
        trm_arc_task *t = &v->tasks.task[i];
        if ((!v->list || named(v, t->name)) && (!v->limit || n < v->limit))
            v->tasks.task[n++] = *t;
        else
            trm_arc_task_free(t);
    }
    v->tasks.n = n;
    return n ? TRM_OK : trm_fail(err, TRM_E_ARG, "%s names no task of %s", v->list, v->file);
}

static int read_answers(struct eval *v, trm_error *err) {
    json_error_t je;
    if (!v->submission || access(v->submission, F_OK)) {
        v->answers = json_object();
        return v->answers ? TRM_OK : trm_fail(err, TRM_E_NOMEM, "out of memory for answers");
    }
    v->answers = json_load_file(v->submission, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(v->answers))
        return trm_fail(err, TRM_E_FORMAT,
            "%s is not a submission to go on from: name another file", v->submission);
    return TRM_OK;
}

static int write_answers(const struct eval *v, trm_error *err) {
    char path[4096];
    if (!v->submission)
        return TRM_OK;
    (void)snprintf(path, sizeof path, "%s.tmp", v->submission);
    if (json_dump_file(v->answers, path, JSON_COMPACT) || rename(path, v->submission)) {
        int e = errno;
        (void)unlink(path);
        return trm_fail_errno(err, v->submission, e);
    }
    return TRM_OK;
}

/* --- scoring ----------------------------------------------------------------------------- */

static bool is_right(const json_t *answer, const char *attempt, const trm_arc_grid *want) {
    json_t *w = cli_arc_grid_json(want);
    bool same = json_equal(json_object_get(answer, attempt), w);
    json_decref(w);
    return same;
}

static void score_task(struct score *s, const trm_arc_task *t, const json_t *answers) {
    int first = 0, either = 0, known = 0;
    for (int i = 0; i < t->tests; i++) {
        const trm_arc_grid *want = &t->pair[t->demos + i].output;
        const json_t *a = json_array_get(answers, (size_t)i);
        if (!want->rows)
            continue;
        bool one = is_right(a, "attempt_1", want);
        known++;
        first += one;
        either += one || is_right(a, "attempt_2", want);
    }
    s->tasks++;
    s->tests += t->tests;
    if (!known)
        return;
    s->scored++;
    s->solved += either == known;
    s->pass1 += (double)first / known;
    s->pass2 += (double)either / known;
}

static json_t *share(double sum, int n) {
    return n ? json_real(sum / n) : json_null();
}

/* --- running ----------------------------------------------------------------------------- */

static int keep(struct eval *v, const trm_arc_task *t, const trm_arc_run *run, double seconds) {
    trm_arc_progress p;
    trm_arc_attempt a[TRM_ARC_ATTEMPTS];
    json_t *list = json_array();
    double sure = 0; /* the first attempts' shares of the votes */
    trm_arc_run_progress(run, &p);
    for (int i = 0; i < t->tests; i++) {
        trm_arc_run_answer(run, i, a);
        sure += a[0].share;
        (void)json_array_append_new(
            list, json_pack("{s:o,s:o}", "attempt_1", cli_arc_grid_json(&a[0].grid), "attempt_2",
                      cli_arc_grid_json(&a[1].grid)));
    }
    v->ran++;
    v->steps += (double)p.steps;
    v->reproduced += (double)p.reproduced / p.demonstrations;
    struct score s = {0};
    score_task(&s, t, list);
    (void)json_array_append_new(v->results,
        json_pack("{s:s,s:I,s:f,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:o,s:f}", "task", t->name, "steps",
            (json_int_t)p.steps, "loss", p.loss, "demonstrations", p.demonstrations, "reproduced",
            p.reproduced, "held_out", p.held_out, "held_out_right", p.held_out_right, "votes",
            p.votes, "share", share(sure, t->tests), "pass1", share(s.pass1, s.scored), "pass2",
            share(s.pass2, s.scored), "seconds", seconds));
    return json_object_set_new(v->answers, t->name, list);
}

static int run_all(struct eval *v, trm_error *err) {
    double began = cli_now();
    int r = TRM_OK;
    cli_progress_begin(&v->progress, "eval");
    for (int i = 0; i < v->tasks.n && !r; i++) {
        const trm_arc_task *t = &v->tasks.task[i];
        trm_arc_run *run;
        cli_progress_at(&v->progress, i, v->tasks.n, t->name);
        if (json_object_get(v->answers, t->name))
            continue;
        double task_began = cli_now();
        r = cli_arc_run(&run, v->model, t, &v->arc, NULL, NULL, err);
        if (r)
            break;
        if (keep(v, t, run, cli_now() - task_began))
            r = trm_fail(err, TRM_E_NOMEM, "out of memory for answers");
        trm_arc_run_free(run);
        if (!r)
            r = write_answers(v, err);
    }
    cli_progress_end(&v->progress);
    v->wall = cli_now() - began;
    return r;
}

/* --- reporting --------------------------------------------------------------------------- */

static void add_up(struct score *s, const struct eval *v) {
    memset(s, 0, sizeof *s);
    for (int i = 0; i < v->tasks.n; i++)
        score_task(s, &v->tasks.task[i], json_object_get(v->answers, v->tasks.task[i].name));
}

static int report_json(const cli_command *cmd, const struct eval *v, const struct score *s) {
    return cli_print_json(cmd,
        json_pack("{s:s,s:o,s:s,s:s,s:i,s:i,s:i,s:i,s:o,s:o,s:f,s:i,s:o,s:o,s:f,s:O}", "kind",
            "arc", "file", cli_json_path(v->file), "model", v->model->name, "id", v->model->id, "n",
            s->tasks, "tests", s->tests, "scored", s->scored, "solved", s->solved, "pass1",
            share(s->pass1, s->scored), "pass2", share(s->pass2, s->scored), "task_seconds",
            v->arc.seconds, "ran", v->ran, "mean_steps", share(v->steps, v->ran), "mean_reproduced",
            share(v->reproduced, v->ran), "wall_s", v->wall, "tasks", v->results));
}

static void report(const struct eval *v, const struct score *s) {
    printf("%s: %d tasks, model %s, %.3g s a task\n", v->file, s->tasks, v->model->name,
        v->arc.seconds);
    if (s->scored)
        printf("pass@1    %.4f\npass@2    %.4f (%d of %d tasks whole)\n", s->pass1 / s->scored,
            s->pass2 / s->scored, s->solved, s->scored);
    else
        puts("no solutions given: nothing to score");
    if (v->ran)
        printf("training  %.0f micro-batches a task, %.3f of the demonstrations reproduced\n",
            v->steps / v->ran, v->reproduced / v->ran);
    printf("ran       %d tasks in %.1f s\n", v->ran, v->wall);
}

static int evaluate(struct eval *v, const char *model, trm_error *err) {
    int r = trm_arc_file_read(&v->tasks, v->file, err);
    if (!r && v->solutions)
        r = trm_arc_file_solve(&v->tasks, v->solutions, err);
    if (!r)
        r = choose(v, err);
    if (!r)
        r = read_answers(v, err);
    if (!r)
        r = cli_open_model(&v->model, model, TRM_KIND_ARC, NULL, err);
    if (!r && !(v->results = json_array()))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for results");
    return r ? r : run_all(v, err);
}

int cli_eval_arc(const cli_command *cmd, int argc, char **argv) {
    static const cli_command self = {"eval arc", NULL, "CHALLENGES.json [OPTION...]",
        "learn and answer every task of a file",
        "CHALLENGES.json is {\"NAME\": task, ...} as on Kaggle, or one task. pass@1 and pass@2 are "
        "the\nmean over tasks of the share of test outputs that the first attempt, or one of both, "
        "has\nright. The submission is written after every task; tasks that it holds already are "
        "taken\nfrom it, so that a broken evaluation goes on where it was."};
    struct eval v = {.arc = {.seconds = 60}};
    const char *model = NULL;
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &model, 0, 0, "MODEL", "model file, or a shipped one's name"},
        {"solutions", 0, CLI_STRING, &v.solutions, 0, 0, "FILE", "{\"NAME\": [output, ...], ...}"},
        {"submission", 0, CLI_STRING, &v.submission, 0, 0, "OUT",
            "write the answers here, and go on from them"},
        {"task-seconds", 0, CLI_REAL, &v.arc.seconds, 0.01, 1e6, "S", "time for each task (60)"},
        {"processor-time", 0, CLI_FLAG, &v.arc.processor, 0, 0, NULL,
            "count a thread's time on a processor: figures of a busy machine"},
        {"tasks", 0, CLI_STRING, &v.list, 0, 0, "LIST", "file of task names, one a line"},
        {"limit", 'l', CLI_INT, &v.limit, 1, 1e9, "N", "only the first N tasks"},
        CLI_ARC_OPTIONS(v.arc), CLI_ENGINE_OPTIONS(v.arc.engine),
        {"json", 0, CLI_FLAG, &v.json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    struct score s;
    trm_error err;
    int r = cli_parse(&self, options, 2, 2, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    v.file = args.at[1];
    r = evaluate(&v, model, &err);
    if (r) {
        r = cli_fail(cmd, &err);
    } else {
        add_up(&s, &v);
        if (v.json)
            r = report_json(cmd, &v, &s);
        else
            report(&v, &s);
    }
    json_decref(v.answers);
    json_decref(v.results);
    free(v.names);
    trm_model_free(v.model);
    trm_arc_file_free(&v.tasks);
    return r;
}

/* `trm solve arc`: one ARC task, learned and answered. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "arc.h"

struct solve {
    const cli_command *cmd;
    cli_arc arc;
    bool trace, json;
    trm_arc_task task;
    long shown;
    json_t *steps;
    cli_progress progress;
};

static const char *phase_name(trm_arc_phase phase) {
    static const char *const names[] = {"training", "predicting", "done"};
    return names[phase];
}

static json_t *progress_json(const trm_arc_progress *p) {
    return json_pack("{s:s,s:I,s:f,s:i,s:i,s:i,s:i,s:i,s:i}", "phase", phase_name(p->phase),
        "steps", (json_int_t)p->steps, "loss", p->loss, "demonstrations", p->demonstrations,
        "reproduced", p->reproduced, "held_out", p->held_out, "held_out_right", p->held_out_right,
        "predictions", p->predictions, "votes", p->votes);
}

/* Every 40 steps of training, and every 16 predictions. */
static void trace(struct solve *s, const trm_arc_progress *p) {
    long now = p->steps / 40 + p->predictions / 16 + p->phase;
    if (now == s->shown)
        return;
    s->shown = now;
    if (s->json)
        (void)json_array_append_new(s->steps, progress_json(p));
    else
        printf("%s: %ld steps, loss %.4f, %d of %d demonstrations, %d of %d held out, "
               "%d predictions\n",
            phase_name(p->phase), p->steps, p->loss, p->reproduced, p->demonstrations,
            p->held_out_right, p->held_out, p->predictions);
    (void)fflush(stdout);
}

static void look(void *arg, const trm_arc_run *r) {
    struct solve *s = arg;
    trm_arc_progress p;
    char note[96];
    trm_arc_run_progress(r, &p);
    if (s->trace)
        trace(s, &p);
    (void)snprintf(note, sizeof note, "%s, %d of %d demonstrations", phase_name(p.phase),
        p.reproduced, p.demonstrations);
    double spent = cli_now() - s->progress.began;
    cli_progress_at(&s->progress, (long)(spent * 10), (long)(s->arc.seconds * 10), note);
}

static json_t *attempts_json(const trm_arc_run *r, int test) {
    trm_arc_attempt a[TRM_ARC_ATTEMPTS];
    json_t *list = json_array();
    trm_arc_run_answer(r, test, a);
    for (int i = 0; i < TRM_ARC_ATTEMPTS; i++)
        (void)json_array_append_new(
            list, json_pack("{s:o,s:i,s:f,s:f}", "grid", cli_arc_grid_json(&a[i].grid), "votes",
                      a[i].votes, "share", a[i].share, "confidence", a[i].confidence));
    return json_pack("{s:o}", "attempts", list);
}

static int report_json(struct solve *s, const trm_arc_run *r, const trm_model *m, double ms) {
    trm_arc_progress p;
    trm_arc_run_progress(r, &p);
    json_t *o = progress_json(&p), *tests = json_array();
    for (int i = 0; i < s->task.tests; i++)
        (void)json_array_append_new(tests, attempts_json(r, i));
    (void)json_object_set_new(o, "kind", json_string("arc"));
    (void)json_object_set_new(o, "model", json_string(m->name));
    (void)json_object_set_new(o, "bytes", json_integer((json_int_t)trm_arc_run_bytes(r)));
    (void)json_object_set_new(o, "ms", json_real(ms));
    (void)json_object_set_new(o, "tests", tests);
    if (s->trace)
        (void)json_object_set(o, "trace", s->steps);
    return cli_print_json(s->cmd, o);
}

static void report(const struct solve *s, const trm_arc_run *r, double ms) {
    trm_arc_progress p;
    trm_arc_attempt a[TRM_ARC_ATTEMPTS];
    trm_arc_run_progress(r, &p);
    for (int t = 0; t < s->task.tests; t++) {
        trm_arc_run_answer(r, t, a);
        for (int i = 0; i < TRM_ARC_ATTEMPTS && (i == 0 || a[i].votes); i++) {
            printf("test %d, attempt %d: %d votes (%.0f%%), confidence %.3f\n", t + 1, i + 1,
                a[i].votes, 100 * a[i].share, a[i].confidence);
            cli_arc_grid_print(&a[i].grid, isatty(STDOUT_FILENO) != 0);
        }
    }
    (void)fflush(stdout);
    fprintf(stderr,
        "%d of %d demonstrations reproduced, %d of %d held out; %ld steps, %d predictions, "
        "%.1f s\n",
        p.reproduced, p.demonstrations, p.held_out_right, p.held_out, p.steps, p.predictions,
        ms / 1e3);
}

static int read_task(trm_arc_task *t, const char *path, trm_error *err) {
    char *text, place[TRM_ARC_PLACE];
    size_t size;
    trm_error why;
    int r = cli_read_all(&text, &size, path, err);
    if (r)
        return r;
    r = trm_arc_task_parse(t, text, size, place, &why);
    free(text);
    return r ? trm_fail(err, r, "%s%s%s: %s", path, place[0] ? " " : "", place, why.text) : TRM_OK;
}

static int solve(struct solve *s, const char *path, const char *model, trm_error *err) {
    trm_model *m = NULL;
    trm_arc_run *run = NULL;
    int r = read_task(&s->task, path, err);
    if (!r)
        r = cli_open_model(&m, model, TRM_KIND_ARC, NULL, err);
    if (!r) {
        double began = cli_now();
        cli_progress_begin(&s->progress, "solve");
        r = cli_arc_run(&run, m, &s->task, &s->arc, look, s, err);
        cli_progress_end(&s->progress);
        double ms = (cli_now() - began) * 1e3;
        if (!r && s->json)
            r = report_json(s, run, m, ms);
        else if (!r)
            report(s, run, ms);
    }
    trm_arc_run_free(run);
    trm_model_free(m);
    return r;
}

int cli_solve_arc(const cli_command *cmd, int argc, char **argv) {
    static const cli_command self = {"solve arc", NULL, "[FILE|-] [OPTION...]",
        "learn an ARC task from its demonstrations and answer its test inputs",
        "FILE is one task, {\"train\":[{\"input\",\"output\"}...],\"test\":[{\"input\"}...]}. A "
        "copy "
        "of\nthe model is trained on symmetric images of the demonstrations until they are "
        "reproduced,\n80% of the time or the steps are spent; then images of each test input "
        "vote. Two attempts\nfor each test input go to standard output."};
    struct solve s = {.cmd = cmd};
    int deadline = 60000;
    const char *model = NULL;
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &model, 0, 0, "MODEL", "model file, or a shipped one's name"},
        CLI_ARC_OPTIONS(s.arc),
        {"deadline-ms", 0, CLI_INT, &deadline, 1, 86400000, "N", "time limit (60000)"},
        {"trace", 0, CLI_FLAG, &s.trace, 0, 0, NULL, "show how training goes"},
        CLI_ENGINE_OPTIONS(s.arc.engine),
        {"json", 0, CLI_FLAG, &s.json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    trm_error err;
    int r = cli_parse(&self, options, 1, 2, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    s.arc.seconds = deadline / 1e3;
    s.steps = s.trace && s.json ? json_array() : NULL;
    r = solve(&s, args.n > 1 ? args.at[1] : "-", model, &err);
    json_decref(s.steps);
    trm_arc_task_free(&s.task);
    return r < 0 ? cli_fail(cmd, &err) : r;
}

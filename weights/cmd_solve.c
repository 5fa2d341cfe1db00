/* `trm solve`: puzzles in, answers out, each checked exactly. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arc.h"
#include "puzzles.h"
#include "trm/cpus.h"

struct solve {
    const cli_command *cmd;
    trm_kind kind;
    trm_policy policy;
    int deadline_ms;
    bool trace, json, terminal;
    cli_puzzles puzzles;
    trm_model *model;
    trm_engine *engine;
    trm_task *tasks;
    json_t *results;
    int solved;
    /* the puzzle in work, where they run one by one */
    int at, traced_steps, attempt;
    double began;
    cli_grid shown;
    json_t *steps;
    cli_progress progress;
};

/* --- the steps ------------------------------------------------------------------------- */

static int changed_cells(const cli_grid *a, const cli_grid *b, trm_kind kind) {
    int n = 0;
    for (int i = 0; i < cli_grid_cells(a, kind); i++)
        n += kind == TRM_KIND_SUDOKU ? a->sudoku.cell[i] != b->sudoku.cell[i]
                                     : a->maze.cell[i] != b->maze.cell[i];
    return n;
}

static void show_step(struct solve *s, const trm_task *t) {
    char line[CLI_LINE_ROOM];
    cli_grid now;
    cli_task_answer(&now, t);
    int changed = changed_cells(&now, &s->shown, s->kind);
    cli_grid_line(&now, s->kind, line);
    if (s->json) {
        (void)json_array_append_new(
            s->steps, json_pack("{s:i,s:i,s:s,s:i,s:f,s:i}", "step", t->steps, "attempt",
                          s->attempt, "grid", line, "changed", changed, "confidence",
                          (double)t->confidence, "broken", t->broken));
    } else {
        printf("step %d, attempt %d: %d cells changed, %d rules broken, confidence %.3f%s%s\n",
            t->steps, s->attempt, changed, t->broken, (double)t->confidence,
            s->terminal ? "" : ": ", s->terminal ? "" : line);
        if (s->terminal)
            cli_grid_draw(&now, &s->puzzles.at[s->at].question, &s->shown, s->kind, true);
    }
    s->shown = now;
}

static bool after_step(void *arg, int done, int n) {
    struct solve *s = arg;
    const trm_task *t = &s->tasks[s->at];
    (void)done;
    (void)n;
    if (s->trace && t->steps > s->traced_steps) {
        s->traced_steps = t->steps;
        show_step(s, t);
    }
    s->attempt = t->started; /* the next step's */
    return !s->deadline_ms || (cli_now() - s->began) * 1e3 < s->deadline_ms;
}

static bool after_batch_step(void *arg, int done, int n) {
    struct solve *s = arg;
    cli_progress_at(&s->progress, done, n, NULL);
    return true;
}

/* --- the answers ----------------------------------------------------------------------- */

static const char *status_of(const trm_task *t) {
    return t->verified ? "solved" : t->outcome == TRM_RUNNING ? "deadline" : "unsolved";
}

static void report_json(struct solve *s, const trm_task *t, const char *line, double ms) {
    json_t *o = json_pack("{s:s,s:s,s:s,s:b,s:s,s:i,s:i,s:f}", "kind", cli_kind_name(s->kind),
        "status", status_of(t), "solution", line, "verified", t->verified, "halt",
        cli_outcome_name(t->outcome), "steps", t->steps, "attempts", t->started, "confidence",
        (double)t->confidence);
    if (s->kind == TRM_KIND_MAZE && t->verified) {
        int length = 0;
        (void)trm_maze_check(&t->puzzle.maze, &t->answer.maze, NULL, &length, NULL);
        (void)json_object_set_new(o, "length", json_integer(length));
    }
    if (s->kind == TRM_KIND_MAZE)
        (void)json_object_set_new(o, "optimal", json_boolean(t->optimal));
    if (ms >= 0)
        (void)json_object_set_new(o, "ms", json_real(ms));
    if (s->steps)
        (void)json_object_set_new(o, "trace", s->steps);
    s->steps = NULL;
    (void)json_array_append_new(s->results, o);
}

static void report(struct solve *s, int i, double ms) {
    char line[CLI_LINE_ROOM];
    const trm_task *t = &s->tasks[i];
    cli_grid answer = s->puzzles.at[i].question;
    if (t->steps > 0)
        cli_task_answer(&answer, t);
    cli_grid_line(&answer, s->kind, line);
    s->solved += t->verified;
    if (s->json) {
        report_json(s, t, line, ms);
        return;
    }
    if (s->terminal)
        cli_grid_draw(&answer, &s->puzzles.at[i].question, NULL, s->kind, true);
    else
        puts(line);
    (void)fflush(stdout);
    fprintf(stderr, "line %d: %s, %d steps, %d attempts", s->puzzles.at[i].line, status_of(t),
        t->steps, t->started);
    if (t->verified)
        fputs(s->kind == TRM_KIND_MAZE && !t->optimal ? ", not the shortest path" : "", stderr);
    else
        fprintf(stderr, ", the answer breaks %d rules", t->broken);
    if (ms >= 0)
        fprintf(stderr, ", %.0f ms", ms);
    fputc('\n', stderr);
}

static int solve_one_by_one(struct solve *s, trm_error *err) {
    for (s->at = 0; s->at < s->puzzles.n; s->at++) {
        s->began = cli_now();
        s->traced_steps = 0;
        s->attempt = 1;
        s->shown = s->puzzles.at[s->at].question;
        s->steps = s->trace && s->json ? json_array() : NULL;
        int r = trm_tasks_run(s->engine, &s->tasks[s->at], 1, after_step, s, err);
        if (r)
            return r;
        report(s, s->at, (cli_now() - s->began) * 1e3);
    }
    return TRM_OK;
}

static int solve_together(struct solve *s, trm_error *err) {
    cli_progress_begin(&s->progress, "solve");
    int r = trm_tasks_run(s->engine, s->tasks, s->puzzles.n, after_batch_step, s, err);
    cli_progress_end(&s->progress);
    for (int i = 0; i < s->puzzles.n && !r; i++)
        report(s, i, -1);
    return r;
}

static int solve(struct solve *s, const cli_engine *eo, trm_error *err) {
    bool alone = s->trace || s->deadline_ms || s->puzzles.n == 1;
    /* Alone, a puzzle gains from other attempts beside it only as far as there are threads. */
    int threads = eo->threads ? eo->threads : trm_cpus();
    int slots = s->trace ? 1 : alone ? threads : cli_default_slots(s->kind);
    int r = cli_tasks_new(&s->tasks, &s->puzzles, &s->policy, s->model, err);
    if (!r)
        r = cli_engine_new(&s->engine, s->model, eo, slots, s->kind == TRM_KIND_SUDOKU, err);
    if (r)
        return r;
    double began = cli_now();
    r = alone ? solve_one_by_one(s, err) : solve_together(s, err);
    if (!r && s->json) {
        json_t *o = json_pack("{s:i,s:i,s:s,s:s,s:f,s:O}", "n", s->puzzles.n, "solved", s->solved,
            "model", s->model->name, "backend", trm_engine_backend(s->engine), "wall_s",
            cli_now() - began, "results", s->results);
        if (!o)
            return trm_fail(err, TRM_E_NOMEM, "out of memory");
        (void)cli_print_json(s->cmd, o);
    }
    return r;
}

static int run(const cli_command *cmd, int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "arc") == 0)
        return cli_solve_arc(cmd, argc, argv);
    struct solve s = {.cmd = cmd};
    const char *model = NULL;
    cli_policy po = {0};
    cli_engine eo = {0};
    const cli_option options[] = {
        {"model", 'm', CLI_STRING, &model, 0, 0, "MODEL", "model file, or a shipped one's name"},
        CLI_POLICY_OPTIONS(po),
        {"deadline-ms", 0, CLI_INT, &s.deadline_ms, 1, 86400000, "N", "time limit for each puzzle"},
        {"trace", 0, CLI_FLAG, &s.trace, 0, 0, NULL, "show the answer after every step"},
        CLI_ENGINE_OPTIONS(eo), CLI_SLOTS_OPTION(eo),
        {"json", 0, CLI_FLAG, &s.json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    trm_error err;
    int r = cli_parse(cmd, options, 1, 2, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    s.terminal = isatty(STDOUT_FILENO) != 0;
    s.results = s.json ? json_array() : NULL;
    r = cli_puzzle_kind(&s.kind, args.at[0], &err);
    if (!r)
        r = cli_policy_get(&s.policy, &po, s.kind, &err);
    if (!r)
        r = cli_puzzles_read(&s.puzzles, s.kind, args.n > 1 ? args.at[1] : "-", 0, &err);
    if (!r)
        r = cli_open_model(&s.model, model, s.kind, NULL, &err);
    if (!r)
        r = solve(&s, &eo, &err);
    r = r ? cli_fail(cmd, &err) : CLI_OK;
    json_decref(s.results);
    json_decref(s.steps);
    trm_engine_free(s.engine);
    trm_model_free(s.model);
    free(s.tasks);
    cli_puzzles_free(&s.puzzles);
    return r;
}

const cli_command cmd_solve = {"solve", run, "sudoku|maze|arc [FILE|-] [OPTION...]",
    "solve the puzzles of a file or of standard input",
    "One puzzle a line: 81 characters (1-9, and . 0 or _ for blank); a maze as 900 characters\n"
    "(# wall, space or . open, S, G), n*n for a smaller square, or rows joined by '/'. The CSV\n"
    "files of `trm gen` will do too. Answers go to standard output in the same form and order\n"
    "(drawn on a terminal), what became of each to standard error. An unsolved puzzle shows the\n"
    "best answer so far. `trm solve arc --help` tells about ARC tasks."};

/* The reliability table of the halt logit; see calibration.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "calibration.h"

struct seat {
    const cli_puzzle *puzzle;
    trm_task task;
    trm_lane lane;
    bool halted, was_right;
};

struct room {
    trm_engine *e;
    struct seat *seat;
    int *slots;
    trm_policy policy;
    trm_kind kind;
    cli_calibration *c;
};

static void note(struct room *r, struct seat *s, int step) {
    cli_calibration *c = r->c;
    cli_grid answer;
    double logit = (double)trm_engine_halt_logit(r->e, s->lane.slot), p = 1 / (1 + exp(-logit));
    int bin = p < 1 ? (int)(p * CLI_BINS) : CLI_BINS - 1;
    cli_task_answer(&answer, &s->task);
    bool right = cli_grid_equal(&answer, &s->puzzle->answer, r->kind);
    c->n[bin]++;
    c->right[bin] += right;
    c->confidence[bin] += p;
    if (!s->halted && logit > trm_engine_model(r->e)->config.halt_logit) {
        s->halted = true;
        c->halted++;
        c->mistaken += !right;
        c->act_steps += step;
    }
    if (right && !s->was_right) {
        s->was_right = true;
        c->right_steps += step;
    }
}

static int start(struct room *r, int slot, const cli_puzzle *p, trm_error *err) {
    struct seat *s = &r->seat[slot];
    *s = (struct seat){.puzzle = p};
    r->slots[slot] = slot;
    if (r->kind == TRM_KIND_SUDOKU)
        trm_task_sudoku(&s->task, &p->question.sudoku, &r->policy);
    else
        trm_task_maze(&s->task, &p->question.maze, &r->policy);
    return trm_lane_start(&s->lane, &s->task, r->e, slot, err);
}

static int run_group(struct room *r, int n, trm_error *err) {
    for (int step = 1; step <= r->policy.max_steps; step++) {
        int failed = trm_engine_step(r->e, r->slots, n, err);
        if (failed)
            return failed;
        for (int i = 0; i < n; i++) {
            (void)trm_lane_advance(&r->seat[i].lane, r->e);
            note(r, &r->seat[i], step);
        }
    }
    for (int i = 0; i < n; i++) {
        r->c->puzzles++;
        r->c->act_steps += r->seat[i].halted ? 0 : r->policy.max_steps;
        r->c->right_steps += r->seat[i].was_right ? 0 : r->policy.max_steps;
    }
    return TRM_OK;
}

static int run_all(struct room *r, const cli_puzzles *puzzles, trm_error *err) {
    cli_progress p;
    int failed = TRM_OK;
    cli_progress_begin(&p, "calibrate");
    for (int i = 0; i < puzzles->n && !failed;) {
        int n = 0;
        for (; i < puzzles->n && n < trm_engine_slots(r->e) && !failed; i++)
            if (puzzles->at[i].labelled)
                failed = start(r, n++, &puzzles->at[i], err);
        if (!failed)
            failed = run_group(r, n, err);
        cli_progress_at(&p, i, puzzles->n, NULL);
    }
    cli_progress_end(&p);
    return failed;
}

int cli_calibrate(cli_calibration *out, const cli_puzzles *puzzles, int max_steps, trm_engine *e,
    trm_error *err) {
    size_t n = (size_t)trm_engine_slots(e);
    *out = (cli_calibration){0};
    struct room r = {.e = e,
        .seat = calloc(n, sizeof *r.seat),
        .slots = calloc(n, sizeof *r.slots),
        .policy = {.max_steps = max_steps, .attempts = 1, .halt = TRM_HALT_FIXED},
        .kind = puzzles->kind,
        .c = out};
    int failed = r.seat && r.slots ? run_all(&r, puzzles, err)
                                   : trm_fail(err, TRM_E_NOMEM, "out of memory to calibrate");
    free(r.seat);
    free(r.slots);
    return failed;
}

static double over(double a, long n) {
    return n ? a / (double)n : 0;
}

/* Mean distance between what the logit says and what is so, over all steps. */
static double expected_error(const cli_calibration *c) {
    double sum = 0;
    long n = 0;
    for (int i = 0; i < CLI_BINS; i++) {
        sum += fabs(c->confidence[i] - (double)c->right[i]);
        n += c->n[i];
    }
    return over(sum, n);
}

json_t *cli_calibration_json(const cli_calibration *c) {
    json_t *bins = json_array();
    for (int i = 0; i < CLI_BINS; i++)
        (void)json_array_append_new(bins,
            json_pack("{s:f,s:f,s:I,s:f,s:f}", "from", (double)i / CLI_BINS, "to",
                (double)(i + 1) / CLI_BINS, "steps", (json_int_t)c->n[i], "confidence",
                over(c->confidence[i], c->n[i]), "right", over((double)c->right[i], c->n[i])));
    return json_pack("{s:o,s:f,s:{s:f,s:f,s:f,s:f}}", "bins", bins, "expected_error",
        expected_error(c), "act", "halted", over((double)c->halted, c->puzzles), "wrong",
        over((double)c->mistaken, c->halted), "mean_steps", over(c->act_steps, c->puzzles),
        "mean_steps_until_right", over(c->right_steps, c->puzzles));
}

void cli_calibration_print(const cli_calibration *c) {
    puts("halt logit: sigmoid   steps   mean   right");
    for (int i = 0; i < CLI_BINS; i++)
        printf("       %.1f .. %.1f   %8ld  %.3f  %.3f\n", (double)i / CLI_BINS,
            (double)(i + 1) / CLI_BINS, c->n[i], over(c->confidence[i], c->n[i]),
            over((double)c->right[i], c->n[i]));
    printf("expected error %.4f; act halts %.4f of the puzzles, %.4f of those on a wrong answer, "
           "after %.2f steps in the mean (first right: %.2f)\n",
        expected_error(c), over((double)c->halted, c->puzzles),
        over((double)c->mistaken, c->halted), over(c->act_steps, c->puzzles),
        over(c->right_steps, c->puzzles));
}

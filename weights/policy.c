/* From puzzles to tasks: how hard to try, and the tasks themselves. Nothing is kept. */
#include <stdlib.h>
#include <string.h>

#include "puzzles.h"

static const char *const halt_names[] = {"verified", "act", "fixed", NULL};

const char *cli_halt_name(trm_halt halt) {
    return halt_names[halt];
}

const char *cli_outcome_name(trm_outcome outcome) {
    static const char *const names[] = {"deadline", "verified", "act", "budget"};
    return names[outcome];
}

int cli_policy_get(trm_policy *out, const cli_policy *asked, trm_kind kind, trm_error *err) {
    trm_policy_defaults(out, kind);
    if (asked->max_steps)
        out->max_steps = asked->max_steps;
    if (asked->attempts)
        out->attempts = asked->attempts;
    if (!asked->halt)
        return TRM_OK;
    int i = cli_choice(asked->halt, halt_names);
    if (i < 0)
        return trm_fail(
            err, TRM_E_ARG, "--halt must be verified, act or fixed, not '%s'", asked->halt);
    out->halt = (trm_halt)i;
    return TRM_OK;
}

int cli_default_slots(trm_kind kind) {
    return kind == TRM_KIND_SUDOKU ? 32 : 8;
}

int cli_tasks_new(trm_task **out, const cli_puzzles *puzzles, const trm_policy *policy,
    const trm_model *m, trm_error *err) {
    trm_task *t = calloc((size_t)puzzles->n, sizeof *t);
    if (!t)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d tasks", puzzles->n);
    for (int i = 0; i < puzzles->n; i++) {
        const cli_puzzle *p = &puzzles->at[i];
        trm_error why;
        if (puzzles->kind == TRM_KIND_SUDOKU)
            trm_task_sudoku(&t[i], &p->question.sudoku, policy);
        else
            trm_task_maze(&t[i], &p->question.maze, policy);
        int r = trm_task_fits(&t[i], m, &why);
        if (r) {
            free(t);
            return trm_fail(err, r, "model %s, puzzle on line %d: %s", m->name, p->line, why.text);
        }
    }
    *out = t;
    return TRM_OK;
}

void cli_task_answer(cli_grid *out, const trm_task *t) {
    if (t->kind == TRM_KIND_SUDOKU)
        out->sudoku = t->answer.sudoku;
    else
        out->maze = t->answer.maze;
}

/* See arc.h. */
#include <stdio.h>
#include <time.h>

#include "arc.h"
#include "trm/cpus.h"

/* Seconds since any moment: of the clock, or of processor time that each of the threads has had. */
static double seconds(const cli_arc *o, int threads) {
    struct timespec t;
    if (!o->processor)
        return cli_now();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return ((double)t.tv_sec + 1e-9 * (double)t.tv_nsec) / threads;
}

int cli_arc_run(trm_arc_run **out, const trm_model *m, const trm_arc_task *task, const cli_arc *o,
    void (*look)(void *arg, const trm_arc_run *r), void *arg, trm_error *err) {
    trm_arc_options ro = {.backend = o->engine.backend,
        .threads = o->engine.threads ? o->engine.threads : trm_cpus(),
        .steps = o->steps,
        .predictions = o->predictions};
    trm_arc_progress p;
    trm_arc_run *r;
    double began = seconds(o, ro.threads), spent = 0;
    int e = trm_arc_run_new(&r, m, task, &ro, o->seed, err);
    if (e)
        return e;
    do {
        e = trm_arc_run_step(r, err);
        if (look)
            look(arg, r);
        trm_arc_run_progress(r, &p);
        spent = o->seconds > 0 ? (seconds(o, ro.threads) - began) / o->seconds : 0;
        trm_arc_run_spent(r, spent);
    } while (!e && p.phase != TRM_ARC_DONE && spent < 1);
    if (e)
        trm_arc_run_free(r);
    else
        *out = r;
    return e;
}

json_t *cli_arc_grid_json(const trm_arc_grid *g) {
    json_t *rows = json_array();
    for (int y = 0; y < g->rows; y++) {
        json_t *row = json_array();
        for (int x = 0; x < g->cols; x++)
            (void)json_array_append_new(row, json_integer(g->cell[y * g->cols + x]));
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

void cli_arc_grid_print(const trm_arc_grid *g, bool colour) {
    /* The colours of the ARC Prize's own pages, in the terminal's palette of 256. */
    static const int palette[TRM_ARC_COLOURS] = {16, 32, 196, 40, 226, 244, 201, 208, 117, 88};
    for (int y = 0; y < g->rows; y++) {
        for (int x = 0; x < g->cols; x++) {
            int c = g->cell[y * g->cols + x];
            if (colour)
                printf("\033[48;5;%dm  ", palette[c]);
            else
                printf("%d", c);
        }
        puts(colour ? "\033[0m" : "");
    }
}

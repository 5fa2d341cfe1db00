/* ARC progress and answers into JSON text. No state. */
#include <jansson.h>
#include <stddef.h>

#include "proto/arc.h"

static double rounded(double x) {
    return (double)(long)(x * 10000 + 0.5) / 10000;
}

static json_t *grid_json(const trmp_arc_attempt *a) {
    json_t *rows = json_array();
    for (int r = 0; r < a->rows; r++) {
        json_t *row = json_array();
        for (int c = 0; c < a->cols; c++)
            (void)json_array_append_new(row, json_integer(a->cell[(ptrdiff_t)r * a->cols + c]));
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

/* One object a test input, with its attempts, the better one first. */
static json_t *tests_json(const trmp_arc *a) {
    json_t *tests = json_array();
    for (int t = 0; a->attempt && t < a->tests; t++) {
        json_t *list = json_array();
        for (int i = 0; i < TRMP_ARC_ATTEMPTS; i++) {
            const trmp_arc_attempt *v = &a->attempt[t * TRMP_ARC_ATTEMPTS + i];
            (void)json_array_append_new(
                list, json_pack("{s:o,s:i,s:f,s:f}", "grid", grid_json(v), "votes", v->votes,
                          "share", rounded(v->share), "confidence", rounded(v->confidence)));
        }
        (void)json_array_append_new(tests, json_pack("{s:o}", "attempts", list));
    }
    return tests;
}

/* The form in which ARC Prize takes answers. */
static json_t *submission_json(const trmp_arc *a) {
    json_t *tests = json_array();
    for (int t = 0; a->attempt && t < a->tests; t++) {
        const trmp_arc_attempt *v = &a->attempt[t * TRMP_ARC_ATTEMPTS];
        (void)json_array_append_new(tests,
            json_pack("{s:o,s:o}", "attempt_1", grid_json(&v[0]), "attempt_2", grid_json(&v[1])));
    }
    return tests;
}

static json_t *progress_json(const trmp_arc *a) {
    return json_pack("{s:s,s:I,s:f,s:{s:i,s:i},s:{s:i,s:i},s:{s:i,s:i},s:i,s:o}", "phase", a->phase,
        "steps", (json_int_t)a->steps, "loss", rounded(a->loss), "demonstrations", "given",
        a->given, "reproduced", a->reproduced, "held_out", "tried", a->held_out, "right",
        a->held_out_right, "predictions", "done", a->predictions, "wanted", a->predictions_wanted,
        "votes", a->votes, "tests", tests_json(a));
}

static char *dump(json_t *o) {
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    return text;
}

char *trmp_arc_progress_dump(const trmp_arc *a) {
    return dump(progress_json(a));
}

char *trmp_arc_answer_dump(const trmp_arc_answer *a) {
    json_t *o = json_pack("{s:s,s:s,s:o,s:b,s:s,s:s,s:{s:f,s:f,s:f}}", "kind", "arc", "status",
        a->status, "solution", submission_json(&a->arc), "verified", 0, "halt", a->halt, "model",
        a->model, "timing_ms", "queue", rounded(a->queue_ms), "compute", rounded(a->compute_ms),
        "total", rounded(a->total_ms));
    json_t *told = progress_json(&a->arc);
    if (o && told)
        (void)json_object_update(o, told);
    json_decref(told);
    return dump(o);
}

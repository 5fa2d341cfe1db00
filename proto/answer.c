/* Answers into JSON text. No state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"
#include "proto/answer.h"

static json_t *integers(const uint8_t *cell, int n) {
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        (void)json_array_append_new(a, json_integer(cell[i]));
    return a;
}

static json_t *rows_json(trmp_kind kind, const uint8_t *cell, int rows, int cols) {
    json_t *a = json_array();
    for (int r = 0; r < rows; r++) {
        const uint8_t *at = cell + (ptrdiff_t)r * cols;
        (void)json_array_append_new(a, kind == TRMP_SUDOKU
                                           ? integers(at, cols)
                                           : json_stringn((const char *)at, (size_t)cols));
    }
    return a;
}

/* The cells in one string: digits ('.' = blank), or the maze with or without newlines. */
static json_t *text_json(const trmp_answer *a) {
    char text[TRMP_CELLS + 32];
    size_t n = 0;
    for (int r = 0; r < a->rows; r++) {
        if (r && a->shape == TRMP_LINES)
            text[n++] = '\n';
        for (int c = 0; c < a->cols; c++) {
            uint8_t v = a->cell[r * a->cols + c];
            text[n++] = a->kind == TRMP_MAZE ? (char)v : v ? (char)('0' + v) : '.';
        }
    }
    return json_stringn(text, n);
}

json_t *trmp_solution_json(const trmp_answer *a) {
    if (a->shape == TRMP_FLAT)
        return integers(a->cell, a->rows * a->cols);
    return a->shape == TRMP_ROWS ? rows_json(a->kind, a->cell, a->rows, a->cols) : text_json(a);
}

static double rounded(double x) {
    return (double)(long)(x * 1000 + 0.5) / 1000;
}

static void add_path(json_t *o, const trmp_answer *a) {
    json_t *path = json_array();
    for (int i = 0; a->moves >= 0 && i <= a->moves; i++)
        (void)json_array_append_new(
            path, json_pack("[i,i]", a->path[i] / a->cols, a->path[i] % a->cols));
    (void)json_object_set_new(o, "path", path);
    (void)json_object_set_new(o, "length", a->moves >= 0 ? json_integer(a->moves) : json_null());
    (void)json_object_set_new(o, "optimal", json_boolean(a->optimal));
}

static json_t *answer_json(const trmp_answer *a) {
    json_t *o = json_pack("{s:s,s:s,s:o,s:o,s:b,s:s,s:i,s:i,s:f,s:s,s:{s:f,s:f,s:f}}", "kind",
        trmp_kind_name(a->kind), "status", a->status, "solution", trmp_solution_json(a), "grid",
        rows_json(a->kind, a->cell, a->rows, a->cols), "verified", a->verified, "halt", a->halt,
        "steps", a->steps, "attempts", a->attempts, "confidence", rounded(a->confidence), "model",
        a->model, "timing_ms", "queue", rounded(a->queue_ms), "compute", rounded(a->compute_ms),
        "total", rounded(a->total_ms));
    if (o && a->kind == TRMP_MAZE)
        add_path(o, a);
    return o;
}

static char *dump(json_t *o) {
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    return text;
}

char *trmp_answers_dump(const trmp_answer *a, int n, bool many) {
    if (!many)
        return dump(answer_json(a));
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        (void)json_array_append_new(list, answer_json(&a[i]));
    return dump(json_pack("{s:o}", "results", list));
}

char *trmp_step_dump(const trmp_step *s) {
    json_t *changed = json_array(), *confidence = json_array();
    for (int i = 0; i < s->rows * s->cols; i++) {
        if (!s->before || s->before[i] != s->cell[i])
            (void)json_array_append_new(changed, json_pack("[i,i]", i / s->cols, i % s->cols));
        (void)json_array_append_new(
            confidence, json_real((double)(int)(s->cell_confidence[i] * 100 + 0.5F) / 100));
    }
    return dump(json_pack("{s:i,s:i,s:i,s:o,s:o,s:f,s:o}", "puzzle", s->puzzle, "step", s->step,
        "attempt", s->attempt, "grid", rows_json(s->kind, s->cell, s->rows, s->cols), "changed",
        changed, "confidence", rounded(s->confidence), "cell_confidence", confidence));
}

char *trmp_progress_dump(int done, int solved, int puzzles) {
    return dump(json_pack("{s:s,s:i,s:i,s:i}", "phase", "solving", "done", done, "solved", solved,
        "puzzles", puzzles));
}

char *trmp_models_dump(const trmp_model_info *m, int n) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s,s:s,s:s,s:I,s:{s:i,s:i},s:I,s:I,s:i}", "name", m[i].name,
                      "id", m[i].id, "kind", m[i].kind, "backend", m[i].backend, "parameters",
                      (json_int_t)m[i].parameters, "defaults", "max_steps", m[i].max_steps,
                      "attempts", m[i].attempts, "bytes", (json_int_t)m[i].bytes, "slot_bytes",
                      (json_int_t)m[i].slot_bytes, "slots", m[i].slots));
    return dump(json_pack("{s:o}", "models", list));
}

char *trmp_health_dump(const char *status, const char *reason) {
    return dump(reason ? json_pack("{s:s,s:s}", "status", status, "reason", reason)
                       : json_pack("{s:s}", "status", status));
}

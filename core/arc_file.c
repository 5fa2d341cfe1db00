/* ARC tasks as JSON, alone or in the files of the ARC Prize. What is read belongs to the
 * caller. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "trm/arc.h"

struct spot {
    char *place; /* (TRM_ARC_PLACE) */
    trm_error *err;
};

static int at_fault(struct spot *s, const char *place, const char *why) {
    (void)snprintf(s->place, TRM_ARC_PLACE, "%s", place);
    return trm_fail(s->err, TRM_E_FORMAT, "%s", why);
}

static int read_row(trm_arc_grid *g, const json_t *row, int y, const char *place, struct spot *s) {
    char at[TRM_ARC_PLACE];
    (void)snprintf(at, sizeof at, "%s/%d", place, y);
    size_t n = json_array_size(row);
    if (!json_is_array(row) || n < 1)
        return at_fault(s, at, "a row is a list of 1 to 30 colours");
    if (n > TRM_ARC_SIDE)
        return at_fault(s, at, "a row has more than 30 cells");
    if (y > 0 && n != g->cols)
        return at_fault(s, at, "the rows of a grid are equally long");
    g->cols = (uint8_t)n;
    for (size_t x = 0; x < n; x++) {
        const json_t *v = json_array_get(row, x);
        json_int_t c = json_integer_value(v);
        if (!json_is_integer(v) || c < 0 || c >= TRM_ARC_COLOURS) {
            (void)snprintf(at, sizeof at, "%s/%d/%zu", place, y, x);
            return at_fault(s, at, "a colour is an integer from 0 to 9");
        }
        g->cell[(size_t)y * n + x] = (uint8_t)c;
    }
    return TRM_OK;
}

static int read_grid(trm_arc_grid *g, const json_t *v, const char *place, struct spot *s) {
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n < 1)
        return at_fault(s, place, "a grid is a list of 1 to 30 rows");
    if (n > TRM_ARC_SIDE)
        return at_fault(s, place, "a grid has more than 30 rows");
    int r = TRM_OK;
    for (size_t y = 0; y < n && !r; y++)
        r = read_row(g, json_array_get(v, y), (int)y, place, s);
    g->rows = (uint8_t)n;
    return r;
}

static int read_pair(
    trm_arc_pair *p, const json_t *v, bool needs_output, const char *place, struct spot *s) {
    char at[TRM_ARC_PLACE - 8];
    memset(p, 0, sizeof *p);
    if (!json_is_object(v))
        return at_fault(s, place, "a pair is an object with \"input\" and \"output\"");
    const json_t *out = json_object_get(v, "output");
    (void)snprintf(at, sizeof at, "%s/input", place);
    if (!json_object_get(v, "input"))
        return at_fault(s, at, "\"input\" is missing");
    int r = read_grid(&p->input, json_object_get(v, "input"), at, s);
    (void)snprintf(at, sizeof at, "%s/output", place);
    if (!r && !out && needs_output)
        return at_fault(s, at, "\"output\" is missing");
    if (!r && out && !(json_is_null(out) && !needs_output))
        r = read_grid(&p->output, out, at, s);
    return r;
}

static int list_size(int *n, const json_t *task, const char *key, int most, struct spot *s) {
    char at[16], why[80];
    const json_t *v = json_object_get(task, key);
    (void)snprintf(at, sizeof at, "/%s", key);
    (void)snprintf(why, sizeof why, "\"%s\" must be a list of 1 to %d pairs", key, most);
    if (!json_is_array(v) || json_array_size(v) < 1 || json_array_size(v) > (size_t)most)
        return at_fault(s, at, why);
    *n = (int)json_array_size(v);
    return TRM_OK;
}

static int read_task(trm_arc_task *t, const json_t *v, struct spot *s) {
    memset(t, 0, sizeof *t);
    if (!json_is_object(v))
        return at_fault(s, "", "a task is an object with \"train\" and \"test\"");
    int r = list_size(&t->demos, v, "train", TRM_ARC_DEMOS, s);
    if (!r)
        r = list_size(&t->tests, v, "test", TRM_ARC_TESTS, s);
    if (r)
        return r;
    t->pair = malloc((size_t)(t->demos + t->tests) * sizeof *t->pair);
    if (!t->pair)
        return trm_fail(s->err, TRM_E_NOMEM, "out of memory for an ARC task");
    for (int i = 0; i < t->demos + t->tests && !r; i++) {
        char at[32];
        bool demo = i < t->demos;
        int k = demo ? i : i - t->demos;
        (void)snprintf(at, sizeof at, "/%s/%d", demo ? "train" : "test", k);
        const json_t *list = json_object_get(v, demo ? "train" : "test");
        r = read_pair(&t->pair[i], json_array_get(list, (size_t)k), demo, at, s);
    }
    if (r)
        trm_arc_task_free(t);
    return r;
}

int trm_arc_task_parse(
    trm_arc_task *out, const char *json, size_t size, char place[TRM_ARC_PLACE], trm_error *err) {
    json_error_t je;
    struct spot s = {place, err};
    memset(out, 0, sizeof *out);
    place[0] = 0;
    json_t *v = json_loadb(json, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!v)
        return trm_fail(err, TRM_E_FORMAT, "line %d column %d: %s", je.line, je.column, je.text);
    int r = read_task(out, v, &s);
    json_decref(v);
    return r;
}

/* --- files ------------------------------------------------------------------------------- */

static int take_task(trm_arc_file *f, const char *name, const json_t *v, trm_error *err) {
    char place[TRM_ARC_PLACE] = "";
    trm_error inner;
    struct spot s = {place, &inner};
    trm_arc_task *t = &f->task[f->n];
    int r = read_task(t, v, &s);
    if (r)
        return trm_fail(err, r, "%s%s%s: %s", name[0] ? "task " : "", name, place, inner.text);
    if (strlen(name) >= sizeof t->name)
        return trm_fail(err, TRM_E_FORMAT, "task %.40s...: the name is too long", name);
    strcpy(t->name, name);
    f->n++;
    return TRM_OK;
}

static int read_tasks(void *arg, json_t *o, trm_error *err) {
    trm_arc_file *f = arg;
    bool alone = json_object_get(o, "train") != NULL;
    size_t n = alone ? 1 : json_object_size(o);
    const char *key;
    json_t *v;
    if (!n)
        return trm_fail(err, TRM_E_FORMAT, "holds no task");
    f->task = calloc(n, sizeof *f->task);
    if (!f->task)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %zu tasks", n);
    if (alone)
        return take_task(f, "", o, err);
    json_object_foreach(o, key, v) {
        int r = take_task(f, key, v, err);
        if (r)
            return r;
    }
    return TRM_OK;
}

int trm_arc_file_read(trm_arc_file *out, const char *path, trm_error *err) {
    memset(out, 0, sizeof *out);
    int r = trm_json_read(NULL, path, "tasks", read_tasks, out, err);
    if (r)
        trm_arc_file_free(out);
    return r;
}

static int solve_task(trm_arc_task *t, const json_t *list, trm_error *err) {
    char place[TRM_ARC_PLACE] = "", at[16];
    trm_error inner;
    struct spot s = {place, &inner};
    if (json_array_size(list) != (size_t)t->tests)
        return trm_fail(err, TRM_E_FORMAT, "task %s has %d tests, the solutions are %zu", t->name,
            t->tests, json_array_size(list));
    for (int i = 0; i < t->tests; i++) {
        (void)snprintf(at, sizeof at, "/%d", i);
        trm_arc_grid *g = &t->pair[t->demos + i].output;
        if (read_grid(g, json_array_get(list, (size_t)i), at, &s))
            return trm_fail(err, TRM_E_FORMAT, "task %s%s: %s", t->name, place, inner.text);
    }
    return TRM_OK;
}

static int read_solutions(void *arg, json_t *o, trm_error *err) {
    trm_arc_file *f = arg;
    int r = TRM_OK;
    for (int i = 0; i < f->n && !r; i++) {
        const json_t *list = json_object_get(o, f->task[i].name);
        if (list)
            r = solve_task(&f->task[i], list, err);
    }
    return r;
}

int trm_arc_file_solve(trm_arc_file *f, const char *path, trm_error *err) {
    return trm_json_read(NULL, path, "solutions", read_solutions, f, err);
}

void trm_arc_file_free(trm_arc_file *f) {
    for (int i = 0; i < f->n; i++)
        trm_arc_task_free(&f->task[i]);
    free(f->task);
    memset(f, 0, sizeof *f);
}

/* See v2.h. No state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"
#include "proto/v2.h"

enum { IDS = 256, N_OUTPUTS = 7, SOLUTION = 0 };

static const struct {
    const char *name, *datatype;
} outputs[N_OUTPUTS] = {{"solution", "BYTES"}, {"status", "BYTES"}, {"verified", "BOOL"},
    {"halt", "BYTES"}, {"steps", "INT32"}, {"attempts", "INT32"}, {"confidence", "FP32"}};

static int invalid(trmp_problem *p, const char *pointer, const char *what) {
    return trmp_problem_set(p, 422, "invalid-request", pointer, "%s", what);
}

static bool is_integer_type(const char *s) {
    static const char *const types[] = {
        "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(s, types[i]) == 0)
            return true;
    return false;
}

/* Elements of a tensor, which may be nested as its shape says; at most `most`. */
static bool leaves(const json_t *v, const json_t **leaf, size_t most, size_t *n) {
    if (!json_is_array(v)) {
        if (*n == most)
            return false;
        leaf[(*n)++] = v;
        return true;
    }
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!leaves(json_array_get(v, i), leaf, most, n))
            return false;
    return true;
}

/* The number of elements, or -1. */
static long parse_shape(trmp_v2 *v, const json_t *shape, long most, trmp_problem *p) {
    long n = 1;
    size_t dims = json_array_size(shape);
    if (!dims || dims > sizeof v->dim / sizeof *v->dim)
        return invalid(p, "/inputs/0/shape", "must be an array of 1 to 4 dimensions");
    for (size_t i = 0; i < dims; i++) {
        const json_t *d = json_array_get(shape, i);
        json_int_t side = json_is_integer(d) ? json_integer_value(d) : 0;
        if (side < 1 || side > most / n)
            return trmp_problem_set(p, side < 1 ? 422 : 413,
                side < 1 ? "invalid-request" : "too-large", "/inputs/0/shape",
                side < 1 ? "dimensions are integers from 1 on" : "a tensor of too many elements");
        v->dim[i] = (int)side;
        n *= (long)side;
    }
    v->dims = (int)dims;
    return n;
}

/* Cells of one puzzle in the tensor, 1 for a string. 0 with *p if the shape does not fit. */
static long cells_each(const trmp_request *r, const char *datatype, trmp_problem *p) {
    const trmp_v2 *v = &r->v2;
    if (strcmp(datatype, "BYTES") == 0)
        return 1;
    if (!is_integer_type(datatype) || r->kind != TRMP_SUDOKU) {
        (void)invalid(p, "/inputs/0/datatype",
            r->kind == TRMP_SUDOKU ? "must be BYTES or a type of integers"
                                   : "must be BYTES: mazes are strings");
        return 0;
    }
    bool fits = v->dim[v->dims - 1] == 81 ||
                (v->dims > 1 && v->dim[v->dims - 1] == 9 && v->dim[v->dims - 2] == 9);
    if (!fits)
        (void)invalid(p, "/inputs/0/shape", "integers of Sudokus have the shape [n,81] or [n,9,9]");
    return fits ? 81 : 0;
}

void trmp_v2_pointer(const trmp_request *r, int i, int cell, char *out, size_t size) {
    bool text = strcmp(r->v2.datatype, "BYTES") == 0;
    if (r->v2.flat)
        (void)snprintf(out, size, "/inputs/0/data/%d", text ? i : i * 81 + cell);
    else
        (void)snprintf(out, size, "/inputs/0/data");
}

static int cells(trmp_request *r, const json_t *const *leaf, trmp_problem *p) {
    trmp_puzzle *out = &r->puzzle[r->n];
    out->shape = TRMP_FLAT;
    out->rows = out->cols = 9;
    for (int i = 0; i < 81; i++) {
        json_int_t c = json_is_integer(leaf[i]) ? json_integer_value(leaf[i]) : -1;
        if (c < 0 || c > 9) {
            char at[64];
            trmp_v2_pointer(r, r->n, i, at, sizeof at);
            return trmp_problem_set(p, 422, "invalid-request", at,
                "puzzle %d, row %d column %d: a cell is an integer from 0 (blank) to 9", r->n + 1,
                i / 9 + 1, i % 9 + 1);
        }
        out->cell[i] = (uint8_t)c;
    }
    return 0;
}

static int fill(
    trmp_request *r, const json_t *data, const json_t **leaf, long n, long each, trmp_problem *p) {
    size_t got = 0;
    if (!leaves(data, leaf, (size_t)n, &got) || got != (size_t)n)
        return trmp_problem_set(p, 422, "invalid-request", "/inputs/0/data",
            "the shape says %ld elements, there are %s", n, got < (size_t)n ? "fewer" : "more");
    r->v2.flat = json_array_size(data) == got && !json_is_array(json_array_get(data, 0));
    for (r->n = 0; r->n < n / each; r->n++) {
        char at[64];
        trmp_v2_pointer(r, r->n, 0, at, sizeof at);
        const json_t *const *first = leaf + r->n * each;
        if (each == 81 ? cells(r, first, p)
                       : trmp_parse_puzzle(r->kind, &r->puzzle[r->n], *first, at, p))
            return -1;
    }
    return 0;
}

static int parse_input(
    trmp_request *r, const json_t *inputs, const trmp_limits *limits, trmp_problem *p) {
    const char *name = NULL, *datatype = NULL;
    const json_t *shape = NULL, *data = NULL;
    if (json_array_size(inputs) != 1 || json_unpack((json_t *)(uintptr_t)inputs, "[{s:s,s:s,s:o}]",
                                            "name", &name, "datatype", &datatype, "shape", &shape))
        return invalid(
            p, "/inputs", "must hold one tensor, with \"name\", \"datatype\" and \"shape\"");
    if (strcmp(name, "puzzle") != 0)
        return invalid(p, "/inputs/0/name", "the only input is \"puzzle\"");
    data = json_object_get(json_array_get(inputs, 0), "data");
    if (!json_is_array(data))
        return invalid(p, "/inputs/0/data", "must be an array: binary tensors are not taken");
    long n = parse_shape(&r->v2, shape, (long)limits->puzzles * 81, p);
    long each = n < 0 ? 0 : cells_each(r, datatype, p);
    if (!each || trmp_make_puzzles(r, (size_t)(n / each), limits, "/inputs/0/shape", p))
        return -1;
    (void)snprintf(r->v2.datatype, sizeof r->v2.datatype, "%s", datatype);
    const json_t **leaf = calloc((size_t)n, sizeof *leaf);
    if (!leaf)
        return trmp_problem_set(p, 503, "unavailable", NULL, "out of memory");
    int bad = fill(r, data, leaf, n, each, p);
    free(leaf);
    return bad;
}

static int parse_outputs(trmp_v2 *v, const json_t *list, trmp_problem *p) {
    char at[64];
    if (list && !json_is_array(list))
        return invalid(p, "/outputs", "must be an array");
    v->outputs = json_array_size(list) ? 0 : (1U << N_OUTPUTS) - 1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "name"));
        int k = 0;
        while (k < N_OUTPUTS && (!name || strcmp(name, outputs[k].name) != 0))
            k++;
        (void)snprintf(at, sizeof at, "/outputs/%zu/name", i);
        if (k == N_OUTPUTS)
            return invalid(p, at, "must be the name of an output");
        v->outputs |= 1U << k;
    }
    return 0;
}

/* `binary_data_output` only says what its sender could read. */
static int parse_parameters(
    trmp_options *o, json_t *list, const trmp_limits *limits, trmp_problem *p) {
    const char *key;
    json_t *v;
    if (list && !json_is_object(list))
        return invalid(p, "/parameters", "must be an object");
    json_object_foreach(list, key, v) {
        if (strcmp(key, "binary_data_output") == 0)
            continue;
        if (strcmp(key, "model") == 0)
            return invalid(p, "/parameters/model", "the model stands in the address");
        if (trmp_parse_option(o, "/parameters", key, v, limits, p))
            return -1;
    }
    return 0;
}

static int parse_object(trmp_request *r, json_t *o, const trmp_limits *limits, trmp_problem *p) {
    static const char *const keys[] = {"id", "parameters", "inputs", "outputs"};
    const char *key;
    json_t *v;
    if (!json_is_object(o))
        return invalid(p, NULL, "the body must be a JSON object");
    json_object_foreach(o, key, v) {
        int i = 0;
        while (i < 4 && strcmp(key, keys[i]) != 0)
            i++;
        if (i == 4)
            return trmp_refuse_key(p, "", key, "");
    }
    const json_t *id = json_object_get(o, "id");
    if (id && (!json_is_string(id) || json_string_length(id) >= IDS))
        return invalid(p, "/id", "must be a string of less than 256 bytes");
    r->v2.id = id ? strdup(json_string_value(id)) : NULL;
    if (id && !r->v2.id)
        return trmp_problem_set(p, 503, "unavailable", NULL, "out of memory");
    if (parse_parameters(&r->options, json_object_get(o, "parameters"), limits, p) ||
        parse_outputs(&r->v2, json_object_get(o, "outputs"), p))
        return -1;
    return parse_input(r, json_object_get(o, "inputs"), limits, p);
}

int trmp_v2_parse(trmp_request *out, trmp_kind kind, const char *model, const char *body,
    size_t size, const trmp_limits *limits, trmp_problem *problem) {
    memset(out, 0, sizeof *out);
    out->kind = kind;
    out->v2.used = true;
    (void)snprintf(out->options.model, sizeof out->options.model, "%s", model);
    json_t *o = trmp_load(body, size, problem);
    if (!o)
        return -1;
    int r = parse_object(out, o, limits, problem);
    json_decref(o);
    if (r)
        trmp_request_free(out);
    return r;
}

static void add_solution(json_t *data, const trmp_answer *a) {
    if (a->shape != TRMP_FLAT) {
        json_t *o = trmp_solution_json(a);
        (void)json_array_append_new(data, o);
        return;
    }
    for (int i = 0; i < 81; i++)
        (void)json_array_append_new(data, json_integer(a->cell[i]));
}

static json_t *element(const trmp_answer *a, int output) {
    switch (output) {
    case 1:
        return json_string(a->status);
    case 2:
        return json_boolean(a->verified);
    case 3:
        return json_string(a->halt);
    case 4:
        return json_integer(a->steps);
    case 5:
        return json_integer(a->attempts);
    default:
        return json_real((double)(long)(a->confidence * 1000 + 0.5) / 1000);
    }
}

static json_t *tensor(const trmp_request *r, const trmp_answer *a, int output) {
    json_t *data = json_array(), *shape = json_array();
    for (int i = 0; i < r->n; i++) {
        if (output == SOLUTION)
            add_solution(data, &a[i]);
        else
            (void)json_array_append_new(data, element(&a[i], output));
    }
    for (int i = 0; output == SOLUTION && i < r->v2.dims; i++)
        (void)json_array_append_new(shape, json_integer(r->v2.dim[i]));
    if (output != SOLUTION)
        (void)json_array_append_new(shape, json_integer(r->n));
    return json_pack("{s:s,s:s,s:o,s:o}", "name", outputs[output].name, "datatype",
        output == SOLUTION ? r->v2.datatype : outputs[output].datatype, "shape", shape, "data",
        data);
}

static char *dump(json_t *o) {
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    return text;
}

char *trmp_v2_answer_dump(const trmp_request *r, const trmp_answer *a) {
    json_t *list = json_array();
    for (int i = 0; i < N_OUTPUTS; i++)
        if (r->v2.outputs & 1U << i)
            (void)json_array_append_new(list, tensor(r, a, i));
    json_t *o = json_pack("{s:s,s:o}", "model_name", r->options.model, "outputs", list);
    if (o && r->v2.id)
        (void)json_object_set_new(o, "id", json_string(r->v2.id));
    return dump(o);
}

char *trmp_v2_server_dump(const char *version) {
    return dump(json_pack("{s:s,s:s,s:[]}", "name", "trmd", "version", version, "extensions"));
}

char *trmp_v2_model_dump(const char *name) {
    json_t *list = json_array();
    for (int i = 0; i < N_OUTPUTS; i++)
        (void)json_array_append_new(list, json_pack("{s:s,s:s,s:[i]}", "name", outputs[i].name,
                                              "datatype", outputs[i].datatype, "shape", -1));
    return dump(json_pack("{s:s,s:s,s:[{s:s,s:s,s:[i]}],s:o}", "name", name, "platform", "trmd",
        "inputs", "name", "puzzle", "datatype", "BYTES", "shape", -1, "outputs", list));
}

char *trmp_v2_state_dump(const char *name, const char *what, bool is) {
    return dump(
        name ? json_pack("{s:s,s:b}", "name", name, what, is) : json_pack("{s:b}", what, is));
}

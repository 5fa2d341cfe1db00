/* Request bodies into structs; every refusal points at the field. No state. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

enum { SIDE = 30 };

const char *trmp_kind_name(trmp_kind k) {
    static const char *const names[TRMP_KINDS] = {"sudoku", "maze", "arc"};
    return names[k];
}

/* What jansson would take, but we will not: deep nesting (it recurses) and NUL bytes. */
static int scan(const char *body, size_t size, trmp_problem *p) {
    int depth = 0, line = 1;
    size_t begin = 0;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = body[i];
        int bad = c == 0 ? 1 : 0;
        if (c == '\n') {
            line++;
            begin = i + 1;
        }
        if (quoted) {
            if (c == '\\')
                i++;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            bad = ++depth > TRMP_DEPTH ? 2 : bad;
        } else if (c == '}' || c == ']') {
            depth--;
        }
        if (bad) {
            (void)trmp_problem_set(p, 400, "not-json", NULL,
                bad == 1 ? "a NUL byte in the body" : "nested more than %d deep", TRMP_DEPTH);
            p->line = line;
            p->column = (int)(i - begin) + 1;
            return -1;
        }
    }
    return 0;
}

static int invalid(trmp_problem *p, const char *pointer, const char *what) {
    return trmp_problem_set(p, 422, "invalid-request", pointer, "%s", what);
}

static int sudoku_text(trmp_puzzle *out, const char *s, size_t n, const char *at, trmp_problem *p) {
    if (n != 81)
        return trmp_problem_set(
            p, 422, "invalid-request", at, "a Sudoku has 81 characters, this string has %zu", n);
    for (int i = 0; i < 81; i++) {
        if (s[i] >= '0' && s[i] <= '9')
            out->cell[i] = (uint8_t)(s[i] - '0');
        else if (s[i] == '.' || s[i] == '_')
            out->cell[i] = 0;
        else
            return trmp_problem_set(p, 422, "invalid-request", at,
                "character %d (row %d column %d) is neither 1 to 9 nor a blank ('.', '0', '_')",
                i + 1, i / 9 + 1, i % 9 + 1);
    }
    out->shape = TRMP_TEXT;
    return 0;
}

static int sudoku_cell(trmp_puzzle *out, int i, const json_t *v, const char *at, trmp_problem *p) {
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 9)
        return invalid(p, at, "a cell is an integer from 0 (blank) to 9");
    out->cell[i] = (uint8_t)json_integer_value(v);
    return 0;
}

static int sudoku_array(trmp_puzzle *out, const json_t *v, const char *at, trmp_problem *p) {
    char where[224];
    size_t n = json_array_size(v);
    bool flat = n == 81 && json_is_integer(json_array_get(v, 0));
    out->shape = flat ? TRMP_FLAT : TRMP_ROWS;
    if (!flat && n != 9 && n != 81)
        return trmp_problem_set(
            p, 422, "invalid-request", at, "a Sudoku is 81 cells or 9 rows of 9, not %zu items", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(v, i);
        (void)snprintf(where, sizeof where, "%s/%zu", at, i);
        if (n == 81) {
            if (sudoku_cell(out, (int)i, row, where, p))
                return -1;
            continue;
        }
        if (!json_is_array(row) || json_array_size(row) != 9)
            return invalid(p, where, "a row of a Sudoku is 9 integers");
        for (size_t k = 0; k < 9; k++) {
            (void)snprintf(where, sizeof where, "%s/%zu/%zu", at, i, k);
            if (sudoku_cell(out, (int)(i * 9 + k), json_array_get(row, k), where, p))
                return -1;
        }
    }
    return 0;
}

static int parse_sudoku(trmp_puzzle *out, const json_t *v, const char *at, trmp_problem *p) {
    out->rows = out->cols = 9;
    if (json_is_string(v))
        return sudoku_text(out, json_string_value(v), json_string_length(v), at, p);
    if (json_is_array(v))
        return sudoku_array(out, v, at, p);
    return invalid(p, at, "a Sudoku is a string of 81 characters, 81 integers or 9x9 integers");
}

/* One row of a maze; the first fixes the width. */
static int maze_row(trmp_puzzle *out, const char *s, size_t n, const char *at, trmp_problem *p) {
    if (out->rows == SIDE)
        return trmp_problem_set(p, 422, "invalid-request", at, "a maze has at most %d rows", SIDE);
    if (n < 1 || n > SIDE)
        return trmp_problem_set(p, 422, "invalid-request", at,
            "row %d has %zu cells; 1 to %d are possible", out->rows + 1, n, SIDE);
    if (out->rows == 0)
        out->cols = (int)n;
    if ((int)n != out->cols)
        return trmp_problem_set(p, 422, "invalid-request", at,
            "row %d has %zu cells, the rows before it have %d", out->rows + 1, n, out->cols);
    for (size_t i = 0; i < n; i++) {
        char c = s[i] == '.' ? ' ' : s[i];
        if (!c || !strchr("# SG", c))
            return trmp_problem_set(p, 422, "invalid-request", at,
                "row %d column %zu is none of '#', ' ', '.', 'S', 'G'", out->rows + 1, i + 1);
        out->cell[out->rows * out->cols + (int)i] = (uint8_t)c;
    }
    out->rows++;
    return 0;
}

static int maze_text(trmp_puzzle *out, const char *s, size_t n, const char *at, trmp_problem *p) {
    bool flat = n == TRMP_CELLS && !memchr(s, '\n', n);
    out->shape = flat ? TRMP_TEXT : TRMP_LINES;
    if (!n)
        return invalid(p, at, "the maze is empty");
    while (n > 0) {
        const char *end = flat ? NULL : memchr(s, '\n', n);
        size_t len = flat ? SIDE : end ? (size_t)(end - s) : n;
        size_t cells = len - (len && s[len - 1] == '\r'); /* a form's lines, or Windows' */
        if (maze_row(out, s, cells, at, p))
            return -1;
        len += end != NULL;
        s += len;
        n -= len;
    }
    return 0;
}

static int parse_maze(trmp_puzzle *out, const json_t *v, const char *at, trmp_problem *p) {
    char where[224];
    if (json_is_string(v))
        return maze_text(out, json_string_value(v), json_string_length(v), at, p);
    if (!json_is_array(v))
        return invalid(p, at, "a maze is an array of strings, or one string");
    out->shape = TRMP_ROWS;
    if (!json_array_size(v))
        return invalid(p, at, "the maze is empty");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *row = json_array_get(v, i);
        (void)snprintf(where, sizeof where, "%s/%zu", at, i);
        if (!json_is_string(row))
            return invalid(p, where, "a row of a maze is a string");
        if (maze_row(out, json_string_value(row), json_string_length(row), where, p))
            return -1;
    }
    return 0;
}

static int whole(int *out, const json_t *v, int most, const char *at, trmp_problem *p) {
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > most)
        return trmp_problem_set(
            p, 422, "invalid-request", at, "must be an integer from 1 to %d", most);
    *out = (int)json_integer_value(v);
    return 0;
}

/* base/key, escaped; of a key too long for that, base. */
static void point_at(char *out, size_t size, const char *base, const char *key) {
    size_t n = (size_t)snprintf(out, size, "%s/", base);
    for (; *key && n + 2 < size; key++) {
        if (*key == '~' || *key == '/')
            out[n++] = '~';
        out[n++] = *key == '~' ? '0' : *key == '/' ? '1' : *key;
    }
    out[n] = 0;
    if (*key)
        (void)snprintf(out, size, "%s", base);
}

int trmp_refuse_key(trmp_problem *p, const char *base, const char *key, const char *what) {
    char at[sizeof p->pointer];
    size_t n = strnlen(key, 60);
    while (n > 0 && ((unsigned char)key[n] & 0xC0) == 0x80) /* not within a character of UTF-8 */
        n--;
    point_at(at, sizeof at, base, key);
    return trmp_problem_set(
        p, 422, "invalid-request", at, "there is no %s\"%.*s\"", what, (int)n, key);
}

int trmp_parse_option(trmp_options *o, const char *base, const char *key, const json_t *v,
    const trmp_limits *limits, trmp_problem *p) {
    char at[160];
    (void)snprintf(at, sizeof at, "%s/%.100s", base, key);
    if (strcmp(key, "max_steps") == 0)
        return whole(&o->max_steps, v, limits->max_steps, at, p);
    if (strcmp(key, "attempts") == 0)
        return whole(&o->attempts, v, limits->attempts, at, p);
    if (strcmp(key, "deadline_ms") == 0)
        return whole(&o->deadline_ms, v, limits->deadline_ms, at, p);
    const char *s = json_string_value(v);
    if (strcmp(key, "halt") == 0) {
        static const char *const halts[] = {"auto", "act", "fixed"};
        for (int i = 0; s && i < 3; i++)
            if (strcmp(s, halts[i]) == 0) {
                o->halt = (trmp_halt)i;
                return 0;
            }
        return invalid(p, at, "must be \"auto\", \"act\" or \"fixed\"");
    }
    if (strcmp(key, "model") == 0) {
        if (!s || !s[0] || strlen(s) >= sizeof o->model)
            return invalid(p, at, "must be a model's name");
        strcpy(o->model, s);
        return 0;
    }
    return trmp_refuse_key(p, base, key, "option ");
}

int trmp_parse_puzzle(
    trmp_kind kind, trmp_puzzle *out, const json_t *v, const char *at, trmp_problem *p) {
    return kind == TRMP_SUDOKU ? parse_sudoku(out, v, at, p) : parse_maze(out, v, at, p);
}

int trmp_make_puzzles(
    trmp_request *r, size_t n, const trmp_limits *limits, const char *at, trmp_problem *p) {
    if (n > (size_t)limits->puzzles)
        return trmp_problem_set(p, 413, "too-large", at,
            "%zu puzzles in one request; at most %d are taken", n, limits->puzzles);
    r->puzzle = calloc(n, sizeof *r->puzzle);
    if (!r->puzzle)
        return trmp_problem_set(p, 503, "unavailable", NULL, "out of memory");
    return 0;
}

static int parse_puzzles(
    trmp_request *r, const json_t *o, const trmp_limits *limits, trmp_problem *p) {
    const json_t *one = json_object_get(o, "puzzle"), *many = json_object_get(o, "puzzles");
    if ((one != NULL) == (many != NULL))
        return invalid(
            p, NULL, one ? "give \"puzzle\" or \"puzzles\", not both" : "\"puzzle\" is missing");
    r->many = many != NULL;
    if (many && (!json_is_array(many) || !json_array_size(many)))
        return invalid(p, "/puzzles", "must be an array of at least one puzzle");
    size_t n = many ? json_array_size(many) : 1;
    if (trmp_make_puzzles(r, n, limits, "/puzzles", p))
        return -1;
    for (r->n = 0; r->n < (int)n; r->n++) {
        char at[160];
        trmp_puzzle_pointer(r, r->n, at, sizeof at);
        const json_t *v = many ? json_array_get(many, (size_t)r->n) : one;
        if (trmp_parse_puzzle(r->kind, &r->puzzle[r->n], v, at, p))
            return -1;
    }
    return 0;
}

/* A task file stands as it is, so keys that are no options are left alone here. */
static int parse_arc(trmp_request *r, const json_t *o, const trmp_limits *limits, trmp_problem *p) {
    static const char *const keys[] = {"deadline_ms", "model"};
    r->n = 1;
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(o, keys[i]);
        if (v && trmp_parse_option(&r->options, "", keys[i], v, limits, p))
            return -1;
    }
    return 0;
}

static int parse_object(trmp_request *r, json_t *o, const trmp_limits *limits, trmp_problem *p) {
    const char *key;
    json_t *v;
    if (!json_is_object(o))
        return invalid(p, NULL, "the body must be a JSON object");
    if (r->kind == TRMP_ARC)
        return parse_arc(r, o, limits, p);
    json_object_foreach(o, key, v) {
        if (strcmp(key, "puzzle") == 0 || strcmp(key, "puzzles") == 0)
            continue;
        if (trmp_parse_option(&r->options, "", key, v, limits, p))
            return -1;
    }
    return parse_puzzles(r, o, limits, p);
}

json_t *trmp_load(const char *body, size_t size, trmp_problem *p) {
    json_error_t je;
    if (scan(body, size, p))
        return NULL;
    json_t *o = json_loadb(body, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!o) {
        (void)trmp_problem_set(p, 400, "not-json", NULL, "%s", je.text);
        p->line = je.line > 0 ? je.line : 1;
        p->column = je.column > 0 ? je.column : 1;
    }
    return o;
}

int trmp_request_parse(trmp_request *out, trmp_kind kind, const char *body, size_t size,
    const trmp_limits *limits, trmp_problem *problem) {
    memset(out, 0, sizeof *out);
    out->kind = kind;
    json_t *o = trmp_load(body, size, problem);
    if (!o)
        return -1;
    int r = parse_object(out, o, limits, problem);
    json_decref(o);
    if (r)
        trmp_request_free(out);
    return r;
}

void trmp_request_free(trmp_request *r) {
    free(r->puzzle);
    free(r->v2.id);
    r->puzzle = NULL;
    r->v2.id = NULL;
    r->n = 0;
}

void trmp_puzzle_pointer(const trmp_request *r, int i, char *out, size_t size) {
    if (r->v2.used)
        trmp_v2_pointer(r, i, 0, out, size);
    else if (r->many)
        (void)snprintf(out, size, "/puzzles/%d", i);
    else
        (void)snprintf(out, size, "/puzzle");
}

void trmp_cell_pointer(const trmp_request *r, int i, int row, int col, char *out, size_t size) {
    char at[64];
    const trmp_puzzle *p = &r->puzzle[i];
    trmp_puzzle_pointer(r, i, at, sizeof at);
    if (r->v2.used)
        trmp_v2_pointer(r, i, row * p->cols + col, out, size);
    else if (p->shape == TRMP_FLAT)
        (void)snprintf(out, size, "%s/%d", at, row * p->cols + col);
    else if (p->shape == TRMP_ROWS && r->kind == TRMP_SUDOKU)
        (void)snprintf(out, size, "%s/%d/%d", at, row, col);
    else if (p->shape == TRMP_ROWS)
        (void)snprintf(out, size, "%s/%d", at, row);
    else
        (void)snprintf(out, size, "%s", at);
}

/* Reading puzzle files and writing grids. Nothing is kept; see puzzles.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "puzzles.h"

int cli_csv_split(char *line, char **field, int max) {
    int n = 0;
    char *in = line;
    for (;;) {
        if (n == max)
            return -1;
        char *out = field[n++] = in;
        if (*in == '"') {
            for (in++; *in && (*in != '"' || in[1] == '"'); in++) {
                in += *in == '"';
                *out++ = *in;
            }
            if (*in++ != '"' || (*in && *in != ','))
                return -1;
        } else {
            in += strcspn(in, ",");
            out = in;
        }
        bool last = *in == 0;
        *out = 0;
        if (last)
            return n;
        in++;
    }
}

/* --- one grid -------------------------------------------------------------------------- */

static int parse_rows(trm_maze *m, const char *text, size_t len, bool allow_path, trm_error *err) {
    m->rows = m->cols = 0;
    for (const char *end = text + len; text <= end;) {
        const char *stop = memchr(text, '/', (size_t)(end - text));
        size_t n = (size_t)((stop ? stop : end) - text);
        int r = trm_maze_add_row(m, text, n, allow_path, err);
        if (r)
            return r;
        text += n + 1;
    }
    return TRM_OK;
}

static int parse_maze(trm_maze *m, const char *text, size_t len, bool allow_path, trm_error *err) {
    if (memchr(text, '/', len))
        return parse_rows(m, text, len, allow_path, err);
    size_t side = 2;
    while (side * side < len && side < TRM_MAZE_SIDE)
        side++;
    if (side * side != len)
        return trm_fail(err, TRM_E_FORMAT,
            "a maze has 900 characters, those of a smaller square, or rows separated by '/'; "
            "this has %zu",
            len);
    m->rows = m->cols = 0;
    for (size_t i = 0; i < side; i++) {
        int r = trm_maze_add_row(m, text + i * side, side, allow_path, err);
        if (r)
            return r;
    }
    return TRM_OK;
}

static int read_sudoku(cli_puzzle *p, const char *q, const char *a, trm_error *err) {
    char why[200];
    trm_sudoku_fault fault;
    const trm_sudoku *s = &p->question.sudoku;
    int r = trm_sudoku_parse(&p->question.sudoku, q, strlen(q), err);
    if (r)
        return r;
    bool fine = trm_sudoku_consistent(s, &fault);
    if (fine && !*a && trm_sudoku_solutions(s, 1, NULL, NULL) == 0) {
        fault = (trm_sudoku_fault){TRM_SUDOKU_NO_SOLUTION, -1, -1, -1, 0};
        fine = false;
    }
    if (fine && *a) {
        r = trm_sudoku_parse(&p->answer.sudoku, a, strlen(a), err);
        if (r)
            return r;
        fine = p->labelled = trm_sudoku_check(s, &p->answer.sudoku, &fault);
    }
    if (fine)
        return TRM_OK;
    trm_sudoku_explain(&fault, why, sizeof why);
    return trm_fail(err, TRM_E_IMPOSSIBLE, "%s", why);
}

static int read_maze(cli_puzzle *p, const char *q, const char *a, trm_error *err) {
    char why[200];
    trm_maze_fault fault;
    int r = parse_maze(&p->question.maze, q, strlen(q), false, err);
    if (r)
        return r;
    bool fine = trm_maze_valid(&p->question.maze, &fault);
    if (fine && *a) {
        r = parse_maze(&p->answer.maze, a, strlen(a), true, err);
        if (r)
            return r;
        fine = p->labelled = trm_maze_check(&p->question.maze, &p->answer.maze, NULL, NULL, &fault);
    }
    if (fine)
        return TRM_OK;
    trm_maze_explain(&p->question.maze, &fault, why, sizeof why);
    return trm_fail(err, TRM_E_IMPOSSIBLE, "%s", why);
}

/* --- one file -------------------------------------------------------------------------- */

static int add_puzzle(cli_puzzles *set, int line, const char *q, const char *a, trm_error *err) {
    if (set->n == set->room) {
        int room = set->room ? 2 * set->room : 64;
        cli_puzzle *more = realloc(set->at, (size_t)room * sizeof *more);
        if (!more)
            return trm_fail(err, TRM_E_NOMEM, "out of memory for %d puzzles", room);
        set->at = more;
        set->room = room;
    }
    cli_puzzle *p = &set->at[set->n];
    memset(p, 0, sizeof *p);
    p->line = line;
    int r = set->kind == TRM_KIND_SUDOKU ? read_sudoku(p, q, a, err) : read_maze(p, q, a, err);
    set->n += r == TRM_OK;
    return r;
}

static int add_record(cli_puzzles *set, int line, char *text, trm_error *err) {
    char *field[4];
    int n = cli_csv_split(text, field, 4);
    if (n < 2)
        return trm_fail(
            err, TRM_E_FORMAT, "not a record of the form source,question,answer,rating");
    return add_puzzle(set, line, field[1], n > 2 ? field[2] : "", err);
}

static int parse_lines(
    cli_puzzles *set, char *text, size_t size, const char *label, int limit, trm_error *err) {
    static const char header[] = "source,question", mark[] = "\xef\xbb\xbf";
    char *end = text + size;
    if (strncmp(text, mark, sizeof mark - 1) == 0) /* as spreadsheets on Windows begin a file */
        text += sizeof mark - 1;
    bool csv = strncmp(text, header, sizeof header - 1) == 0;
    for (int line = 1; text < end && (!limit || set->n < limit); line++) {
        char *stop = memchr(text, '\n', (size_t)(end - text)), *next = stop ? stop + 1 : end;
        if (!stop)
            stop = end;
        if (stop > text && stop[-1] == '\r')
            stop--;
        *stop = 0;
        trm_error inner;
        int r = TRM_OK;
        if (strlen(text) != (size_t)(stop - text))
            r = trm_fail(&inner, TRM_E_FORMAT, "holds a NUL byte");
        else if (*text && csv && line > 1)
            r = add_record(set, line, text, &inner);
        else if (*text && !csv)
            r = add_puzzle(set, line, text, "", &inner);
        if (r)
            return trm_fail(err, r, "%s:%d: %s", label, line, inner.text);
        text = next;
    }
    if (set->n == 0)
        return trm_fail(err, TRM_E_FORMAT, "%s: holds no puzzle", label);
    return TRM_OK;
}

int cli_puzzles_parse(cli_puzzles *out, trm_kind kind, const char *text, size_t size,
    const char *label, int limit, trm_error *err) {
    *out = (cli_puzzles){.kind = kind};
    char *copy = malloc(size + 1);
    if (!copy)
        return trm_fail(err, TRM_E_NOMEM, "%s: out of memory", label);
    memcpy(copy, text, size);
    copy[size] = 0;
    int r = parse_lines(out, copy, size, label, limit, err);
    free(copy);
    if (r)
        cli_puzzles_free(out);
    return r;
}

int cli_puzzles_read(cli_puzzles *out, trm_kind kind, const char *path, int limit, trm_error *err) {
    char *text;
    size_t size;
    int r = cli_read_all(&text, &size, path, err);
    if (r)
        return r;
    r = cli_puzzles_parse(
        out, kind, text, size, strcmp(path, "-") == 0 ? "standard input" : path, limit, err);
    free(text);
    return r;
}

void cli_puzzles_free(cli_puzzles *p) {
    free(p->at);
    *p = (cli_puzzles){.kind = p->kind};
}

void cli_puzzles_label(cli_puzzles *set) {
    for (int i = 0; i < set->n; i++) {
        cli_puzzle *p = &set->at[i];
        if (p->labelled)
            continue;
        if (set->kind == TRM_KIND_SUDOKU)
            p->labelled =
                trm_sudoku_solutions(&p->question.sudoku, 2, &p->answer.sudoku, NULL) == 1;
        else
            p->labelled = trm_maze_label(&p->answer.maze, &p->question.maze);
    }
}

/* --- writing --------------------------------------------------------------------------- */

int cli_grid_cells(const cli_grid *g, trm_kind kind) {
    return kind == TRM_KIND_SUDOKU ? TRM_SUDOKU_CELLS : g->maze.rows * g->maze.cols;
}

bool cli_grid_equal(const cli_grid *a, const cli_grid *b, trm_kind kind) {
    if (kind == TRM_KIND_SUDOKU)
        return memcmp(a->sudoku.cell, b->sudoku.cell, TRM_SUDOKU_CELLS) == 0;
    return a->maze.rows == b->maze.rows && a->maze.cols == b->maze.cols &&
           memcmp(a->maze.cell, b->maze.cell, (size_t)cli_grid_cells(a, kind)) == 0;
}

void cli_grid_line(const cli_grid *g, trm_kind kind, char out[CLI_LINE_ROOM]) {
    if (kind == TRM_KIND_SUDOKU) {
        trm_sudoku_format(&g->sudoku, out);
        return;
    }
    bool full = g->maze.rows == TRM_MAZE_SIDE && g->maze.cols == TRM_MAZE_SIDE;
    trm_maze_format(&g->maze, out);
    char *to = out;
    for (const char *c = out; *c; c++)
        if (*c != '\n' || !full)
            *to++ = *c == '\n' ? '/' : *c;
    *to = 0;
}

static void draw_cell(char c, bool given, bool changed, bool colour) {
    const char *on = !colour ? "" : changed ? "\033[1;32m" : given ? "\033[2m" : "";
    printf("%s%c%s", on, c, *on ? "\033[0m" : "");
}

static void draw_sudoku(
    const trm_sudoku *s, const trm_sudoku *question, const trm_sudoku *before, bool colour) {
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++) {
        int col = i % 9;
        if (i % 27 == 0 && i)
            puts("------+-------+------");
        draw_cell(s->cell[i] ? (char)('0' + s->cell[i]) : '.', question->cell[i] != 0,
            before && before->cell[i] != s->cell[i], colour);
        fputs(col == 8 ? "\n" : col % 3 == 2 ? " | " : " ", stdout);
    }
}

static void draw_maze(
    const trm_maze *m, const trm_maze *question, const trm_maze *before, bool colour) {
    static const char glyph[] = "?# SGo";
    for (int i = 0; i < m->rows * m->cols; i++) {
        draw_cell(glyph[m->cell[i]], question->cell[i] == TRM_MAZE_WALL,
            before ? before->cell[i] != m->cell[i] : m->cell[i] == TRM_MAZE_PATH, colour);
        if (i % m->cols == m->cols - 1)
            putchar('\n');
    }
}

void cli_grid_draw(const cli_grid *g, const cli_grid *question, const cli_grid *before,
    trm_kind kind, bool colour) {
    if (kind == TRM_KIND_SUDOKU)
        draw_sudoku(&g->sudoku, &question->sudoku, before ? &before->sudoku : NULL, colour);
    else
        draw_maze(&g->maze, &question->maze, before ? &before->maze : NULL, colour);
}

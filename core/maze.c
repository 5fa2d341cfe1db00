/* Mazes: text, refusal, the exact checker, symmetries and breadth-first labels. No state. */
#include <stdio.h>
#include <string.h>

#include "trm/maze.h"

int trm_maze_add_row(trm_maze *m, const char *text, size_t len, bool allow_path, trm_error *err) {
    if (m->rows == 0)
        m->cols = (int)(len > TRM_MAZE_SIDE ? TRM_MAZE_SIDE + 1 : len);
    if (m->rows == TRM_MAZE_SIDE)
        return trm_fail(err, TRM_E_FORMAT, "more than %d rows", TRM_MAZE_SIDE);
    if (len < 1 || len > TRM_MAZE_SIDE)
        return trm_fail(err, TRM_E_FORMAT, "row %d has %zu cells; 1 to %d are possible",
            m->rows + 1, len, TRM_MAZE_SIDE);
    if ((int)len != m->cols)
        return trm_fail(err, TRM_E_FORMAT, "row %d has %zu cells, the rows before it have %d",
            m->rows + 1, len, m->cols);
    uint8_t *row = m->cell + (ptrdiff_t)m->rows * m->cols;
    for (size_t i = 0; i < len; i++) {
        static const char known[] = "# SGo";
        const char *at = text[i] == '.' ? known + 1 : strchr(known, text[i]);
        if (!text[i] || !at || (*at == 'o' && !allow_path))
            return trm_fail(err, TRM_E_FORMAT,
                "row %d column %zu: not a wall '#', open ' ' or '.', 'S' or 'G'", m->rows + 1,
                i + 1);
        row[i] = (uint8_t)(at - known + TRM_MAZE_WALL);
    }
    m->rows++;
    return TRM_OK;
}

int trm_maze_parse(trm_maze *out, const char *text, size_t len, bool allow_path, trm_error *err) {
    memset(out, 0, sizeof *out);
    bool flat = len == TRM_MAZE_CELLS && !memchr(text, '\n', len);
    while (len > 0) {
        const char *end = flat ? NULL : memchr(text, '\n', len);
        size_t n = flat ? TRM_MAZE_SIDE : end ? (size_t)(end - text) : len;
        int r = trm_maze_add_row(out, text, n, allow_path, err);
        if (r)
            return r;
        n += end != NULL;
        text += n;
        len -= n;
    }
    if (out->rows < 1)
        return trm_fail(err, TRM_E_FORMAT, "the maze is empty");
    return TRM_OK;
}

void trm_maze_format(const trm_maze *m, char *out) {
    for (int r = 0; r < m->rows; r++) {
        for (int c = 0; c < m->cols; c++)
            *out++ = "?# SGo"[m->cell[r * m->cols + c]];
        *out++ = '\n';
    }
    out[m->rows ? -1 : 0] = 0;
}

static int find(const trm_maze *m, int what) {
    for (int i = 0; i < m->rows * m->cols; i++)
        if (m->cell[i] == what)
            return i;
    return -1;
}

/* Neighbours in the benchmark's order: down, left, right, up; -1 outside. */
static int neighbour(const trm_maze *m, int i, int k) {
    int r = i / m->cols, c = i % m->cols;
    switch (k) {
    case 0:
        return r + 1 < m->rows ? i + m->cols : -1;
    case 1:
        return c > 0 ? i - 1 : -1;
    case 2:
        return c + 1 < m->cols ? i + 1 : -1;
    default:
        return r > 0 ? i - m->cols : -1;
    }
}

/* Breadth-first search from S over cells other than walls (or, where `marked`, over marked
 * cells alone); the first parent found is kept. False if G is not reached. */
static bool search(const trm_maze *m, bool marked, int16_t parent[900], int *distance) {
    int16_t queue[900], depth[900];
    int head = 0, tail = 0, s = find(m, TRM_MAZE_START), g = find(m, TRM_MAZE_GOAL);
    if (s < 0 || g < 0)
        return false;
    for (int i = 0; i < m->rows * m->cols; i++)
        parent[i] = -1;
    parent[s] = (int16_t)s;
    depth[s] = 0;
    queue[tail++] = (int16_t)s;
    while (head < tail) {
        int at = queue[head++];
        for (int k = 0; k < 4; k++) {
            int to = neighbour(m, at, k);
            if (to < 0 || parent[to] >= 0 || m->cell[to] == TRM_MAZE_WALL ||
                (marked && m->cell[to] == TRM_MAZE_OPEN))
                continue;
            parent[to] = (int16_t)at;
            depth[to] = (int16_t)(depth[at] + 1);
            queue[tail++] = (int16_t)to;
        }
    }
    if (parent[g] < 0)
        return false;
    if (distance)
        *distance = depth[g];
    return true;
}

static bool found(trm_maze_fault *fault, trm_maze_rule rule, int a) {
    if (fault)
        *fault = (trm_maze_fault){rule, a};
    return false;
}

bool trm_maze_valid(const trm_maze *m, trm_maze_fault *fault) {
    int16_t parent[900];
    int starts = 0, goals = 0;
    for (int i = 0; i < m->rows * m->cols; i++) {
        starts += m->cell[i] == TRM_MAZE_START;
        goals += m->cell[i] == TRM_MAZE_GOAL;
        if (starts == 2 && m->cell[i] == TRM_MAZE_START)
            return found(fault, TRM_MAZE_TWO_STARTS, i);
        if (goals == 2 && m->cell[i] == TRM_MAZE_GOAL)
            return found(fault, TRM_MAZE_TWO_GOALS, i);
    }
    if (!starts)
        return found(fault, TRM_MAZE_NO_START, -1);
    if (!goals)
        return found(fault, TRM_MAZE_NO_GOAL, -1);
    if (!search(m, false, parent, NULL))
        return found(fault, TRM_MAZE_NO_PATH, -1);
    return found(fault, TRM_MAZE_FINE, -1), true;
}

void trm_maze_explain(const trm_maze *m, const trm_maze_fault *f, char *out, size_t size) {
    static const char *const text[] = {"the maze is fine", "there is no start 'S'",
        "there is no goal 'G'", "there is a second start 'S'", "there is a second goal 'G'",
        "no path leads from S to G", "the answer changes the maze", "the marks branch",
        "the marks break off before G"};
    if (f->a >= 0)
        (void)snprintf(out, size, "%s at row %d column %d", text[f->rule], f->a / m->cols + 1,
            f->a % m->cols + 1);
    else
        (void)snprintf(out, size, "%s", text[f->rule]);
}

int trm_maze_distance(const trm_maze *m) {
    int16_t parent[900];
    int distance;
    return search(m, false, parent, &distance) ? distance : -1;
}

bool trm_maze_label(trm_maze *out, const trm_maze *m) {
    int16_t parent[900];
    if (!search(m, false, parent, NULL))
        return false;
    *out = *m;
    for (int i = parent[find(m, TRM_MAZE_GOAL)]; m->cell[i] != TRM_MAZE_START; i = parent[i])
        out->cell[i] = TRM_MAZE_PATH;
    return true;
}

/* The next cell of the path after `at`, or -1; more than one candidate is a branch. */
static int follow(const trm_maze *a, int at, int from, bool *branch) {
    int next = -1;
    for (int k = 0; k < 4; k++) {
        int to = neighbour(a, at, k);
        if (to < 0 || to == from)
            continue;
        if (a->cell[to] != TRM_MAZE_PATH && a->cell[to] != TRM_MAZE_GOAL)
            continue;
        *branch |= next >= 0;
        next = to;
    }
    return next;
}

bool trm_maze_check(const trm_maze *maze, const trm_maze *answer, uint16_t *path, int *length,
    trm_maze_fault *fault) {
    int n = maze->rows * maze->cols, marked = 0;
    if (answer->rows != maze->rows || answer->cols != maze->cols)
        return found(fault, TRM_MAZE_CHANGED, 0);
    for (int i = 0; i < n; i++) {
        bool mark = answer->cell[i] == TRM_MAZE_PATH && maze->cell[i] == TRM_MAZE_OPEN;
        if (!mark && answer->cell[i] != maze->cell[i])
            return found(fault, TRM_MAZE_CHANGED, i);
        marked += mark;
    }
    int at = find(maze, TRM_MAZE_START), from = -1, moves = 0;
    if (at < 0 || find(maze, TRM_MAZE_GOAL) < 0)
        return found(fault, at < 0 ? TRM_MAZE_NO_START : TRM_MAZE_NO_GOAL, -1);
    if (path)
        path[0] = (uint16_t)at;
    while (maze->cell[at] != TRM_MAZE_GOAL) {
        bool branch = false;
        int to = follow(answer, at, from, &branch);
        if (to < 0)
            return found(fault, TRM_MAZE_BROKEN, at);
        /* A path through S or longer than the marks has come back on itself. */
        if (branch || moves > marked)
            return found(fault, TRM_MAZE_BRANCH, at);
        from = at;
        at = to;
        moves++;
        if (path)
            path[moves] = (uint16_t)at;
    }
    if (moves != marked + 1)
        return found(fault, TRM_MAZE_BRANCH, at);
    if (length)
        *length = moves;
    return found(fault, TRM_MAZE_FINE, -1), true;
}

void trm_maze_decode(trm_maze *out, const trm_maze *maze, const int32_t *tokens) {
    int16_t parent[900];
    int marked = 0, kept = 0;
    trm_maze marks = *maze, path = *maze;
    for (int i = 0; i < maze->rows * maze->cols; i++)
        if (maze->cell[i] == TRM_MAZE_OPEN && tokens[i] == TRM_MAZE_PATH) {
            marks.cell[i] = TRM_MAZE_PATH;
            marked++;
        }
    *out = marks;
    if (!search(&marks, true, parent, NULL))
        return;
    for (int i = parent[find(maze, TRM_MAZE_GOAL)]; maze->cell[i] != TRM_MAZE_START; i = parent[i])
        path.cell[i] = TRM_MAZE_PATH, kept++;
    /* Who marks everywhere has found nothing: the search would be the one to solve the maze. */
    if (3 * kept >= 2 * marked)
        *out = path;
}

int trm_maze_sym_cell(int sym, int rows, int cols, int i) {
    int r = i / cols, c = i % cols;
    if (sym & 4) {
        int t = r;
        r = c;
        c = t;
        t = rows;
        rows = cols;
        cols = t;
    }
    for (int k = 0; k < (sym & 3); k++) {
        int nr = c, nc = rows - 1 - r, t = rows;
        r = nr;
        c = nc;
        rows = cols;
        cols = t;
    }
    return r * cols + c;
}

void trm_maze_sym_apply(trm_maze *out, int sym, const trm_maze *in) {
    bool swap = ((sym >> 2) + (sym & 3)) & 1;
    out->rows = swap ? in->cols : in->rows;
    out->cols = swap ? in->rows : in->cols;
    for (int i = 0; i < in->rows * in->cols; i++)
        out->cell[trm_maze_sym_cell(sym, in->rows, in->cols, i)] = in->cell[i];
}

/* A transpose followed by quarter turns is a reflection: its own inverse. */
int trm_maze_sym_inverse(int sym) {
    return sym & 4 ? sym : (4 - sym) % 4;
}

/* Random mazes: scattered walls, perfect mazes, rooms. No state. */
#include <string.h>

#include "trm/maze.h"

enum { TRIES = 400 };

static void scatter(trm_maze *m, double walls, trm_rng *rng) {
    for (int i = 0; i < m->rows * m->cols; i++)
        m->cell[i] = trm_rng_unit(rng) < walls ? TRM_MAZE_WALL : TRM_MAZE_OPEN;
}

/* Depth-first carving: cells at even places, walls between them taken down along a tree. */
static void carve(trm_maze *m, trm_rng *rng) {
    static const int dr[4] = {2, 0, 0, -2}, dc[4] = {0, -2, 2, 0};
    int16_t stack[900];
    int top = 0;
    memset(m->cell, TRM_MAZE_WALL, (size_t)(m->rows * m->cols));
    m->cell[0] = TRM_MAZE_OPEN;
    stack[top++] = 0;
    while (top > 0) {
        int at = stack[top - 1], r = at / m->cols, c = at % m->cols, open[4], n = 0;
        for (int k = 0; k < 4; k++) {
            int nr = r + dr[k], nc = c + dc[k];
            if (nr >= 0 && nr < m->rows && nc >= 0 && nc < m->cols &&
                m->cell[nr * m->cols + nc] == TRM_MAZE_WALL)
                open[n++] = k;
        }
        if (!n) {
            top--;
            continue;
        }
        int k = open[trm_rng_below(rng, (uint32_t)n)];
        m->cell[(r + dr[k] / 2) * m->cols + c + dc[k] / 2] = TRM_MAZE_OPEN;
        m->cell[(r + dr[k]) * m->cols + c + dc[k]] = TRM_MAZE_OPEN;
        stack[top++] = (int16_t)((r + dr[k]) * m->cols + c + dc[k]);
    }
}

/* Rectangles are cut in two by walls with one or two doors, until they are small. */
static void split(trm_maze *m, int r0, int c0, int rows, int cols, trm_rng *rng) {
    if (rows < 3 && cols < 3)
        return;
    bool across = rows > cols || (rows == cols && trm_rng_below(rng, 2));
    int len = across ? rows : cols, side = across ? cols : rows;
    int at = 1 + (int)trm_rng_below(rng, (uint32_t)(len - 2));
    for (int i = 0; i < side; i++)
        m->cell[across ? (r0 + at) * m->cols + c0 + i : (r0 + i) * m->cols + c0 + at] =
            TRM_MAZE_WALL;
    for (int k = 0; k < 2; k++) {
        int i = (int)trm_rng_below(rng, (uint32_t)side);
        m->cell[across ? (r0 + at) * m->cols + c0 + i : (r0 + i) * m->cols + c0 + at] =
            TRM_MAZE_OPEN;
    }
    if (across) {
        split(m, r0, c0, at, cols, rng);
        split(m, r0 + at + 1, c0, rows - at - 1, cols, rng);
    } else {
        split(m, r0, c0, rows, at, rng);
        split(m, r0, c0 + at + 1, rows, cols - at - 1, rng);
    }
}

/* Moves from cell `from` to every other cell, -1 where walls are between. */
static void distances(const trm_maze *m, int from, int16_t out[900]) {
    int16_t queue[900];
    int head = 0, tail = 0, n = m->rows * m->cols;
    for (int i = 0; i < n; i++)
        out[i] = -1;
    out[from] = 0;
    queue[tail++] = (int16_t)from;
    while (head < tail) {
        int at = queue[head++], c = at % m->cols;
        int to[4] = {at + m->cols < n ? at + m->cols : -1, c ? at - 1 : -1,
            c + 1 < m->cols ? at + 1 : -1, at - m->cols};
        for (int k = 0; k < 4; k++)
            if (to[k] >= 0 && out[to[k]] < 0 && m->cell[to[k]] != TRM_MAZE_WALL) {
                out[to[k]] = (int16_t)(out[at] + 1);
                queue[tail++] = (int16_t)to[k];
            }
    }
}

/* S at random, G at random among the cells far enough away. */
static bool place(trm_maze *m, int min_length, trm_rng *rng) {
    int16_t open[900], far[900], distance[900];
    int n = 0, k = 0;
    for (int i = 0; i < m->rows * m->cols; i++)
        if (m->cell[i] == TRM_MAZE_OPEN)
            open[n++] = (int16_t)i;
    if (n < 2)
        return false;
    int s = open[trm_rng_below(rng, (uint32_t)n)];
    distances(m, s, distance);
    for (int i = 0; i < n; i++)
        if (distance[open[i]] >= min_length && open[i] != s)
            far[k++] = open[i];
    if (!k)
        return false;
    m->cell[s] = TRM_MAZE_START;
    m->cell[far[trm_rng_below(rng, (uint32_t)k)]] = TRM_MAZE_GOAL;
    return true;
}

int trm_maze_generate(trm_maze *out, const trm_maze_gen *o, trm_rng *rng, trm_error *err) {
    if (o->rows < 2 || o->rows > TRM_MAZE_SIDE || o->cols < 2 || o->cols > TRM_MAZE_SIDE)
        return trm_fail(err, TRM_E_ARG, "mazes are 2x2 to %dx%d", TRM_MAZE_SIDE, TRM_MAZE_SIDE);
    out->rows = o->rows;
    out->cols = o->cols;
    for (int k = 0; k < TRIES; k++) {
        if (o->style == TRM_MAZE_PERFECT) {
            carve(out, rng);
        } else if (o->style == TRM_MAZE_ROOMS) {
            memset(out->cell, TRM_MAZE_OPEN, (size_t)(o->rows * o->cols));
            split(out, 0, 0, o->rows, o->cols, rng);
        } else {
            scatter(out, o->walls, rng);
        }
        if (place(out, o->min_length > 1 ? o->min_length : 1, rng))
            return TRM_OK;
    }
    return trm_fail(err, TRM_E_ARG,
        "found no %dx%d maze with a path of at least %d moves in %d tries", o->rows, o->cols,
        o->min_length, TRIES);
}

/* See arc_objects.h. */
#include <string.h>

#include "arc_objects.h"

bool trm_arc_black(trm_arc_grid *out, int rows, int cols) {
    memset(out, 0, sizeof *out);
    if (rows < 1 || cols < 1 || rows > TRM_ARC_SIDE || cols > TRM_ARC_SIDE)
        return false;
    out->rows = (uint8_t)rows;
    out->cols = (uint8_t)cols;
    return true;
}

/* --- objects ----------------------------------------------------------------------------- */

struct object {
    int cells, y0, x0, y1, x1; /* its box, both ends within */
};

struct objects {
    int16_t of[TRM_ARC_CELLS]; /* each cell's object, -1 = black */
    struct object at[TRM_ARC_CELLS];
    int n;
};

/* All cells of the object that `first` belongs to, from a stack. */
static void gather(struct objects *o, const trm_arc_grid *g, int first) {
    static const int dy[4] = {1, -1, 0, 0}, dx[4] = {0, 0, 1, -1};
    int16_t stack[TRM_ARC_CELLS];
    int top = 0;
    struct object *b = &o->at[o->n];
    *b = (struct object){0, g->rows, g->cols, -1, -1};
    stack[top++] = (int16_t)first;
    o->of[first] = (int16_t)o->n;
    while (top) {
        int i = stack[--top], y = i / g->cols, x = i % g->cols;
        b->cells++;
        b->y0 = y < b->y0 ? y : b->y0;
        b->y1 = y > b->y1 ? y : b->y1;
        b->x0 = x < b->x0 ? x : b->x0;
        b->x1 = x > b->x1 ? x : b->x1;
        for (int k = 0; k < 4; k++) {
            int v = y + dy[k], u = x + dx[k], j = v * g->cols + u;
            if (v < 0 || u < 0 || v >= g->rows || u >= g->cols || o->of[j] >= 0 ||
                g->cell[j] != g->cell[i])
                continue;
            o->of[j] = (int16_t)o->n;
            stack[top++] = (int16_t)j;
        }
    }
    o->n++;
}

static void find_objects(struct objects *o, const trm_arc_grid *g) {
    o->n = 0;
    memset(o->of, -1, sizeof o->of);
    for (int i = 0; i < g->rows * g->cols; i++)
        if (g->cell[i] && o->of[i] < 0)
            gather(o, g, i);
}

/* The one object that has more cells than any other; -1 where there is none. */
static int largest(const struct objects *o) {
    int best = -1;
    bool tie = false;
    for (int i = 0; i < o->n; i++) {
        if (best >= 0 && o->at[i].cells == o->at[best].cells)
            tie = true;
        if (best < 0 || o->at[i].cells > o->at[best].cells) {
            best = i;
            tie = false;
        }
    }
    return tie ? -1 : best;
}

bool trm_arc_largest_only(trm_arc_grid *out, const trm_arc_grid *in) {
    struct objects o;
    find_objects(&o, in);
    int best = largest(&o);
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        if (o.of[i] != best)
            out->cell[i] = 0;
    return best >= 0 && o.n > 1;
}

bool trm_arc_largest_to_two(trm_arc_grid *out, const trm_arc_grid *in) {
    struct objects o;
    find_objects(&o, in);
    int best = largest(&o);
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        if (o.of[i] == best && best >= 0)
            out->cell[i] = 2;
    return best >= 0 && o.n > 1;
}

bool trm_arc_crop_largest(trm_arc_grid *out, const trm_arc_grid *in) {
    struct objects o;
    find_objects(&o, in);
    int best = largest(&o);
    if (best < 0 || o.n < 2)
        return false;
    const struct object *b = &o.at[best];
    if (!trm_arc_black(out, b->y1 - b->y0 + 1, b->x1 - b->x0 + 1))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++)
        out->cell[i] = trm_arc_at(in, b->y0 + i / out->cols, b->x0 + i % out->cols);
    return true;
}

static bool specks(trm_arc_grid *out, const trm_arc_grid *in, uint8_t to) {
    struct objects o;
    bool found = false;
    find_objects(&o, in);
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        if (o.of[i] >= 0 && o.at[o.of[i]].cells == 1) {
            out->cell[i] = to;
            found = true;
        }
    return found;
}

bool trm_arc_drop_specks(trm_arc_grid *out, const trm_arc_grid *in) {
    return specks(out, in, 0);
}

bool trm_arc_specks_to_three(trm_arc_grid *out, const trm_arc_grid *in) {
    return specks(out, in, 3);
}

/* Cells with their own colour on all four sides become black. */
bool trm_arc_hollow(trm_arc_grid *out, const trm_arc_grid *in) {
    bool found = false;
    *out = *in;
    for (int y = 1; y < in->rows - 1; y++)
        for (int x = 1; x < in->cols - 1; x++) {
            uint8_t c = trm_arc_at(in, y, x);
            if (!c || trm_arc_at(in, y - 1, x) != c || trm_arc_at(in, y + 1, x) != c ||
                trm_arc_at(in, y, x - 1) != c || trm_arc_at(in, y, x + 1) != c)
                continue;
            out->cell[y * in->cols + x] = 0;
            found = true;
        }
    return found;
}

/* Black cells in an object's box take its colour, the first object's where boxes overlap. */
bool trm_arc_fill_boxes(trm_arc_grid *out, const trm_arc_grid *in) {
    struct objects o;
    bool found = false;
    find_objects(&o, in);
    *out = *in;
    for (int k = 0, cell = 0; k < o.n; k++) {
        while (o.of[cell] != k)
            cell++;
        for (int y = o.at[k].y0; y <= o.at[k].y1; y++)
            for (int x = o.at[k].x0; x <= o.at[k].x1; x++)
                if (!trm_arc_at(out, y, x)) {
                    out->cell[y * in->cols + x] = in->cell[cell];
                    found = true;
                }
    }
    return found;
}

/* --- lines ------------------------------------------------------------------------------- */

/* Black cells between two of one colour in a row become that colour; then, between the cells that
 * were there, in a column. */
bool trm_arc_connect(trm_arc_grid *out, const trm_arc_grid *in) {
    bool found = false;
    *out = *in;
    for (int down = 0; down < 2; down++) {
        int lines = down ? in->cols : in->rows, length = down ? in->rows : in->cols;
        int step = down ? in->cols : 1;
        for (int k = 0; k < lines; k++) {
            int start = down ? k : k * in->cols, last = -1;
            for (int i = 0; i < length; i++) {
                uint8_t c = in->cell[start + i * step];
                if (!c)
                    continue;
                bool same = last >= 0 && in->cell[start + last * step] == c;
                for (int j = last + 1; same && j < i; j++) {
                    out->cell[start + j * step] = c;
                    found = true;
                }
                last = i;
            }
        }
    }
    return found;
}

/* Black cells in the row or column of a 1 become 1. */
bool trm_arc_cross(trm_arc_grid *out, const trm_arc_grid *in) {
    bool row[TRM_ARC_SIDE] = {false}, col[TRM_ARC_SIDE] = {false}, found = false;
    for (int i = 0; i < in->rows * in->cols; i++)
        if (in->cell[i] == 1)
            found = row[i / in->cols] = col[i % in->cols] = true;
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        if (!in->cell[i] && (row[i / in->cols] || col[i % in->cols]))
            out->cell[i] = 1;
    return found;
}

/* Every colour runs down over the black cells below it. */
bool trm_arc_drip(trm_arc_grid *out, const trm_arc_grid *in) {
    *out = *in;
    for (int i = in->cols; i < in->rows * in->cols; i++)
        if (!out->cell[i])
            out->cell[i] = out->cell[i - in->cols];
    return true;
}

/* --- halves, counts, order --------------------------------------------------------------- */

/* Cells that hold a colour in both halves, or in one of them alone, become 2, all others black. */
static bool halves(trm_arc_grid *out, const trm_arc_grid *in, bool both) {
    if (in->cols % 2 || !trm_arc_black(out, in->rows, in->cols / 2))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++) {
        int y = i / out->cols, x = i % out->cols;
        bool left = trm_arc_at(in, y, x) != 0, right = trm_arc_at(in, y, x + out->cols) != 0;
        out->cell[i] = (both ? left && right : left != right) ? 2 : 0;
    }
    return true;
}

bool trm_arc_both_halves(trm_arc_grid *out, const trm_arc_grid *in) {
    return halves(out, in, true);
}

bool trm_arc_one_half(trm_arc_grid *out, const trm_arc_grid *in) {
    return halves(out, in, false);
}

/* The colour with the most cells, or the fewest but some; 0 where that is not one colour. */
static uint8_t counted(const trm_arc_grid *g, bool most) {
    int n[TRM_ARC_COLOURS] = {0}, best = 0;
    bool tie = true;
    for (int i = 0; i < g->rows * g->cols; i++)
        n[g->cell[i]]++;
    for (int c = 1; c < TRM_ARC_COLOURS; c++) {
        if (!n[c])
            continue;
        if (best && n[c] == n[best])
            tie = true;
        if (!best || (most ? n[c] > n[best] : n[c] < n[best])) {
            best = c;
            tie = false;
        }
    }
    return (uint8_t)(tie ? 0 : best);
}

/* Everything becomes the commonest colour. */
bool trm_arc_commonest(trm_arc_grid *out, const trm_arc_grid *in) {
    uint8_t c = counted(in, true);
    *out = *in;
    memset(out->cell, c, (size_t)in->rows * in->cols);
    return c != 0;
}

bool trm_arc_rarest_only(trm_arc_grid *out, const trm_arc_grid *in) {
    uint8_t c = counted(in, false);
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        if (in->cell[i] != c)
            out->cell[i] = 0;
    return c != 0;
}

bool trm_arc_negative(trm_arc_grid *out, const trm_arc_grid *in) {
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        out->cell[i] = !in->cell[i];
    return true;
}

/* Rows and columns that are black from end to end go. */
bool trm_arc_close_ranks(trm_arc_grid *out, const trm_arc_grid *in) {
    bool row[TRM_ARC_SIDE] = {false}, col[TRM_ARC_SIDE] = {false};
    int rows = 0, cols = 0, n = 0, width = in->cols, cells = in->rows * width;
    if (!width)
        return false;
    for (int i = 0; i < cells; i++)
        if (in->cell[i])
            row[i / width] = col[i % width] = true;
    for (int y = 0; y < in->rows; y++)
        rows += row[y];
    for (int x = 0; x < width; x++)
        cols += col[x];
    if (!trm_arc_black(out, rows, cols))
        return false;
    for (int i = 0; i < cells; i++)
        if (row[i / width] && col[i % width])
            out->cell[n++] = in->cell[i];
    return true;
}

/* --- larger ones ------------------------------------------------------------------------- */

bool trm_arc_four_times(trm_arc_grid *out, const trm_arc_grid *in) {
    if (!in->rows || !in->cols || !trm_arc_black(out, 2 * in->rows, 2 * in->cols))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++)
        out->cell[i] = trm_arc_at(in, i / out->cols % in->rows, i % out->cols % in->cols);
    return true;
}

bool trm_arc_kaleidoscope(trm_arc_grid *out, const trm_arc_grid *in) {
    if (!in->rows || !in->cols || !trm_arc_black(out, 2 * in->rows, 2 * in->cols))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++) {
        int y = i / out->cols, x = i % out->cols;
        out->cell[i] = trm_arc_at(
            in, y < in->rows ? y : out->rows - 1 - y, x < in->cols ? x : out->cols - 1 - x);
    }
    return true;
}

/* The input in place of each of its cells that is not black. */
bool trm_arc_fractal(trm_arc_grid *out, const trm_arc_grid *in) {
    if (!in->rows || !in->cols || !trm_arc_black(out, in->rows * in->rows, in->cols * in->cols))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++) {
        int y = i / out->cols, x = i % out->cols;
        if (trm_arc_at(in, y / in->rows, x / in->cols))
            out->cell[i] = trm_arc_at(in, y % in->rows, x % in->cols);
    }
    return true;
}

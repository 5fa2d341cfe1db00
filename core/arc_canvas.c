/* Where an ARC grid lies on the canvas, and how large an answer will be. No state. */
#include <string.h>

#include "arc.h"

/* --- shapes of outputs ------------------------------------------------------------------- */

static bool fits(const trm_arc_relation *r, const trm_arc_pair *p) {
    int rows, cols;
    if (r->kind == TRM_ARC_WITHIN)
        return p->output.rows <= p->input.rows && p->output.cols <= p->input.cols;
    return trm_arc_expect(r, &p->input, &rows, &cols) && rows == p->output.rows &&
           cols == p->output.cols;
}

void trm_arc_relate(trm_arc_relation *out, const trm_arc_pair *pairs, int n) {
    const trm_arc_grid *in = &pairs[0].input, *first = &pairs[0].output;
    const trm_arc_relation ratio = {
        TRM_ARC_RATIO, {first->rows, in->rows}, {first->cols, in->cols}};
    const trm_arc_relation fixed = {TRM_ARC_FIXED, {first->rows, 0}, {first->cols, 0}};
    /* Where inputs of one size leave both open: a whole multiple is meant as one. */
    bool multiple = first->rows % in->rows == 0 && first->cols % in->cols == 0;
    const trm_arc_relation all[] = {
        {.kind = TRM_ARC_SAME},
        multiple ? ratio : fixed,
        multiple ? fixed : ratio,
        {.kind = TRM_ARC_TRANSPOSED},
        {.kind = TRM_ARC_WITHIN},
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        int i = 0;
        while (i < n && fits(&all[k], &pairs[i]))
            i++;
        if (i == n) {
            *out = all[k];
            return;
        }
    }
    *out = (trm_arc_relation){.kind = TRM_ARC_UNKNOWN};
}

/* side * by[0] / by[1] where that is a whole number of cells that the canvas has. */
static bool scaled(int side, const int by[2], int *out) {
    *out = side * by[0] / by[1];
    return side * by[0] % by[1] == 0 && *out >= 1 && *out <= TRM_ARC_SIDE;
}

bool trm_arc_expect(const trm_arc_relation *r, const trm_arc_grid *input, int *rows, int *cols) {
    *rows = *cols = 0;
    switch (r->kind) {
    case TRM_ARC_SAME:
        *rows = input->rows;
        *cols = input->cols;
        return true;
    case TRM_ARC_FIXED:
        *rows = r->rows[0];
        *cols = r->cols[0];
        return true;
    case TRM_ARC_TRANSPOSED:
        *rows = input->cols;
        *cols = input->rows;
        return true;
    case TRM_ARC_RATIO:
        if (scaled(input->rows, r->rows, rows) && scaled(input->cols, r->cols, cols))
            return true;
        *rows = *cols = 0;
        return false;
    default:
        return false;
    }
}

/* --- the canvas -------------------------------------------------------------------------- */

static int room(int a, int b) {
    int most = (a > b ? a : b) + 1;
    return most < TRM_ARC_SIDE ? most : TRM_ARC_SIDE;
}

void trm_arc_canvas_fit(trm_arc_canvas *c, const trm_arc_relation *r, const trm_arc_grid *input,
    const trm_arc_grid *output) {
    int rows = output ? output->rows : 0, cols = output ? output->cols : 0;
    *c = (trm_arc_canvas){TRM_ARC_SIDE, TRM_ARC_SIDE, 0, 0};
    bool known = rows > 0 || trm_arc_expect(r, input, &rows, &cols);
    if (!known && r->kind == TRM_ARC_WITHIN) {
        rows = input->rows;
        cols = input->cols;
        known = true;
    }
    if (known) {
        c->rows = room(input->rows, rows);
        c->cols = room(input->cols, cols);
    }
}

static int shift(int size, trm_rng *rng) {
    int most = TRM_ARC_SIDE - size < TRM_ARC_SHIFT ? TRM_ARC_SIDE - size : TRM_ARC_SHIFT;
    return (int)trm_rng_below(rng, (uint32_t)most + 1);
}

void trm_arc_canvas_move(trm_arc_canvas *c, trm_rng *rng) {
    c->down = shift(c->rows, rng);
    c->right = shift(c->cols, rng);
}

/* 0 pad, 1 end of grid, 2.. colours. */
static int token_at(const trm_arc_grid *g, int row, int col) {
    if (row < g->rows && col < g->cols)
        return 2 + g->cell[row * g->cols + col];
    bool below = row == g->rows && col < g->cols, beside = col == g->cols && row < g->rows;
    return below || beside;
}

int trm_arc_draw(const trm_arc_canvas *c, const trm_arc_grid *input, const trm_arc_grid *output,
    int32_t *tokens, int32_t *labels, uint8_t *row, uint8_t *col) {
    for (int i = 0; i < c->rows * c->cols; i++) {
        int y = i / c->cols, x = i % c->cols;
        tokens[i] = token_at(input, y, x);
        row[i] = (uint8_t)(y + c->down);
        col[i] = (uint8_t)(x + c->right);
        if (!labels)
            continue;
        int t = token_at(output, y, x);
        labels[i] = t ? t : -100;
    }
    return c->rows * c->cols;
}

bool trm_arc_read(
    trm_arc_grid *out, const trm_arc_canvas *c, const int32_t *tokens, int rows, int cols) {
    if (!rows) {
        int width = c->cols, best = 0;
        for (int y = 0; y < c->rows; y++) {
            int x = 0;
            while (x < width && tokens[y * c->cols + x] >= 2)
                x++;
            width = x;
            if ((y + 1) * width > best) {
                best = (y + 1) * width;
                rows = y + 1;
                cols = width;
            }
        }
    }
    if (!rows || rows > c->rows || cols > c->cols)
        return false;
    memset(out, 0, sizeof *out);
    out->rows = (uint8_t)rows;
    out->cols = (uint8_t)cols;
    for (int i = 0; i < rows * cols; i++) {
        int t = tokens[i / cols * c->cols + i % cols];
        out->cell[i] = (uint8_t)(t >= 2 ? t - 2 : 0);
    }
    return true;
}

/* See arc_rules.h. */
#include <string.h>

#include "arc.h"
#include "arc_objects.h"
#include "arc_rules.h"

static bool symmetry(trm_arc_grid *out, const trm_arc_grid *in, int sym) {
    trm_arc_frame f;
    trm_arc_frame_identity(&f);
    f.sym = (uint8_t)sym;
    trm_arc_frame_apply(out, &f, in);
    return true;
}

static bool mirror(trm_arc_grid *out, const trm_arc_grid *in) {
    return symmetry(out, in, 5); /* transpose, then a quarter turn */
}
static bool quarter(trm_arc_grid *out, const trm_arc_grid *in) {
    return symmetry(out, in, 1);
}
static bool half_turn(trm_arc_grid *out, const trm_arc_grid *in) {
    return symmetry(out, in, 2);
}
static bool transpose(trm_arc_grid *out, const trm_arc_grid *in) {
    return symmetry(out, in, 4);
}

/* Every cell by its colour alone. */
static bool recolour(trm_arc_grid *out, const trm_arc_grid *in, const uint8_t to[TRM_ARC_COLOURS]) {
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        out->cell[i] = to[in->cell[i]];
    return true;
}

static bool one_to_two(trm_arc_grid *out, const trm_arc_grid *in) {
    return recolour(out, in, (const uint8_t[]){0, 2, 2, 3, 4, 5, 6, 7, 8, 9});
}
static bool exchange(trm_arc_grid *out, const trm_arc_grid *in) {
    return recolour(out, in, (const uint8_t[]){0, 2, 1, 3, 4, 5, 6, 7, 8, 9});
}
static bool all_to_three(trm_arc_grid *out, const trm_arc_grid *in) {
    return recolour(out, in, (const uint8_t[]){0, 3, 3, 3, 3, 3, 3, 3, 3, 3});
}
static bool only_one(trm_arc_grid *out, const trm_arc_grid *in) {
    return recolour(out, in, (const uint8_t[]){0, 1, 0, 0, 0, 0, 0, 0, 0, 0});
}
static bool black_to_five(trm_arc_grid *out, const trm_arc_grid *in) {
    return recolour(out, in, (const uint8_t[]){5, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}
static bool next_colour(trm_arc_grid *out, const trm_arc_grid *in) {
    return recolour(out, in, (const uint8_t[]){0, 2, 3, 4, 5, 6, 7, 8, 9, 1});
}

/* To the box around what is not black. */
static bool crop(trm_arc_grid *out, const trm_arc_grid *in) {
    int y0 = in->rows, y1 = -1, x0 = in->cols, x1 = -1;
    for (int y = 0; y < in->rows; y++)
        for (int x = 0; x < in->cols; x++) {
            if (!trm_arc_at(in, y, x))
                continue;
            y0 = y < y0 ? y : y0;
            y1 = y > y1 ? y : y1;
            x0 = x < x0 ? x : x0;
            x1 = x > x1 ? x : x1;
        }
    if (y1 < 0 || !trm_arc_black(out, y1 - y0 + 1, x1 - x0 + 1))
        return false;
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++)
            out->cell[(y - y0) * out->cols + x - x0] = trm_arc_at(in, y, x);
    return true;
}

static bool fall(trm_arc_grid *out, const trm_arc_grid *in) {
    (void)trm_arc_black(out, in->rows, in->cols);
    for (int x = 0; x < in->cols; x++)
        for (int y = in->rows - 1, to = y; y >= 0; y--)
            if (trm_arc_at(in, y, x))
                out->cell[to-- * in->cols + x] = trm_arc_at(in, y, x);
    return true;
}

static bool scale(trm_arc_grid *out, const trm_arc_grid *in, int k) {
    if (!trm_arc_black(out, in->rows * k, in->cols * k))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++)
        out->cell[i] = trm_arc_at(in, i / out->cols / k, i % out->cols / k);
    return true;
}
static bool twice_as_large(trm_arc_grid *out, const trm_arc_grid *in) {
    return scale(out, in, 2);
}
static bool three_times(trm_arc_grid *out, const trm_arc_grid *in) {
    return scale(out, in, 3);
}

static bool again_beside(trm_arc_grid *out, const trm_arc_grid *in) {
    if (!trm_arc_black(out, in->rows, 2 * in->cols))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++)
        out->cell[i] = trm_arc_at(in, i / out->cols, i % out->cols % in->cols);
    return true;
}

static bool mirror_beside(trm_arc_grid *out, const trm_arc_grid *in) {
    if (!trm_arc_black(out, in->rows, 2 * in->cols))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++) {
        int x = i % out->cols;
        out->cell[i] = trm_arc_at(in, i / out->cols, x < in->cols ? x : out->cols - 1 - x);
    }
    return true;
}

static bool left_half(trm_arc_grid *out, const trm_arc_grid *in) {
    if (in->cols % 2 || !trm_arc_black(out, in->rows, in->cols / 2))
        return false;
    for (int i = 0; i < out->rows * out->cols; i++)
        out->cell[i] = trm_arc_at(in, i / out->cols, i % out->cols);
    return true;
}

static bool border(trm_arc_grid *out, const trm_arc_grid *in) {
    *out = *in;
    for (int y = 0; y < in->rows; y++)
        for (int x = 0; x < in->cols; x++)
            if (y == 0 || x == 0 || y == in->rows - 1 || x == in->cols - 1)
                out->cell[y * in->cols + x] = 1;
    return true;
}

static bool shift(trm_arc_grid *out, const trm_arc_grid *in) {
    (void)trm_arc_black(out, in->rows, in->cols);
    for (int y = 1; y < in->rows; y++)
        for (int x = 0; x < in->cols; x++)
            out->cell[y * in->cols + x] = trm_arc_at(in, y - 1, x);
    return true;
}

/* Black cells below a 1 become 1, down to the edge. */
static bool rays(trm_arc_grid *out, const trm_arc_grid *in) {
    *out = *in;
    for (int y = 1; y < in->rows; y++)
        for (int x = 0; x < in->cols; x++)
            if (!trm_arc_at(in, y, x) && trm_arc_at(out, y - 1, x) == 1)
                out->cell[y * in->cols + x] = 1;
    return true;
}

/* Black cells that no way over black cells joins to the edge become 4. */
static bool fill_holes(trm_arc_grid *out, const trm_arc_grid *in) {
    bool open[TRM_ARC_CELLS] = {false}, more = true, found = false;
    while (more) {
        more = false;
        for (int y = 0; y < in->rows; y++)
            for (int x = 0; x < in->cols; x++) {
                int i = y * in->cols + x;
                bool edge = y == 0 || x == 0 || y == in->rows - 1 || x == in->cols - 1;
                if (in->cell[i] || open[i])
                    continue;
                open[i] =
                    edge || open[i - 1] || open[i + 1] || open[i - in->cols] || open[i + in->cols];
                more |= open[i];
            }
    }
    *out = *in;
    for (int i = 0; i < in->rows * in->cols; i++)
        if (!in->cell[i] && !open[i]) {
            out->cell[i] = 4;
            found = true;
        }
    return found;
}

static bool symmetric(trm_arc_grid *out, const trm_arc_grid *in) {
    *out = *in;
    for (int y = 0; y < in->rows; y++)
        for (int x = 0; x < in->cols; x++)
            if (!trm_arc_at(in, y, x))
                out->cell[y * in->cols + x] = trm_arc_at(in, y, in->cols - 1 - x);
    return true;
}

/* Cells next to a 1 in its row or column become 2 where they are black. */
static bool halo(trm_arc_grid *out, const trm_arc_grid *in) {
    *out = *in;
    for (int y = 0; y < in->rows; y++)
        for (int x = 0; x < in->cols; x++) {
            bool near = (y > 0 && trm_arc_at(in, y - 1, x) == 1) ||
                        (x > 0 && trm_arc_at(in, y, x - 1) == 1) ||
                        (y < in->rows - 1 && trm_arc_at(in, y + 1, x) == 1) ||
                        (x < in->cols - 1 && trm_arc_at(in, y, x + 1) == 1);
            if (near && !trm_arc_at(in, y, x))
                out->cell[y * in->cols + x] = 2;
        }
    return true;
}

static const struct {
    const char *name;
    bool (*apply)(trm_arc_grid *out, const trm_arc_grid *in);
    int enlarges;
} rules[] = {
    {"mirror", mirror, 1},
    {"quarter", quarter, 1},
    {"half-turn", half_turn, 1},
    {"transpose", transpose, 1},
    {"one-to-two", one_to_two, 1},
    {"exchange", exchange, 1},
    {"all-to-three", all_to_three, 1},
    {"only-one", only_one, 1},
    {"black-to-five", black_to_five, 1},
    {"next-colour", next_colour, 1},
    {"crop", crop, 1},
    {"fall", fall, 1},
    {"twice-as-large", twice_as_large, 2},
    {"three-times", three_times, 3},
    {"again-beside", again_beside, 2},
    {"mirror-beside", mirror_beside, 2},
    {"left-half", left_half, 1},
    {"border", border, 1},
    {"shift", shift, 1},
    {"rays", rays, 1},
    {"fill-holes", fill_holes, 1},
    {"symmetric", symmetric, 1},
    {"halo", halo, 1},
    {"largest-only", trm_arc_largest_only, 1},
    {"largest-to-two", trm_arc_largest_to_two, 1},
    {"crop-largest", trm_arc_crop_largest, 1},
    {"drop-specks", trm_arc_drop_specks, 1},
    {"specks-to-three", trm_arc_specks_to_three, 1},
    {"hollow", trm_arc_hollow, 1},
    {"fill-boxes", trm_arc_fill_boxes, 1},
    {"connect", trm_arc_connect, 1},
    {"cross", trm_arc_cross, 1},
    {"drip", trm_arc_drip, 1},
    {"both-halves", trm_arc_both_halves, 1},
    {"one-half", trm_arc_one_half, 1},
    {"commonest", trm_arc_commonest, 1},
    {"rarest-only", trm_arc_rarest_only, 1},
    {"negative", trm_arc_negative, 1},
    {"close-ranks", trm_arc_close_ranks, 1},
    {"four-times", trm_arc_four_times, 2},
    {"kaleidoscope", trm_arc_kaleidoscope, 2},
    {"fractal", trm_arc_fractal, 3},
};
enum { N_RULES = sizeof rules / sizeof *rules, SECONDS = 8 };
_Static_assert((int)N_RULES == (int)TRM_ARC_RULES, "as many rules as recipes have weights for");

/* What may come after any other rule: mirror, quarter, transpose, exchange, all-to-three, crop,
 * border, halo. */
static const int second[SECONDS] = {0, 1, 3, 5, 6, 10, 17, 22};

int trm_arc_rules(void) {
    return N_RULES;
}

int trm_arc_rules_composed(void) {
    return N_RULES * (1 + SECONDS);
}

const char *trm_arc_rule_name(int rule) {
    return rules[rule].name;
}

bool trm_arc_rule_apply(trm_arc_grid *out, int rule, const trm_arc_grid *in) {
    trm_arc_grid between;
    if (rule < N_RULES)
        return rules[rule].apply(out, in);
    return rules[rule % N_RULES].apply(&between, in) &&
           rules[second[rule / N_RULES - 1]].apply(out, &between);
}

int trm_arc_rule_draw(const int *weight, bool composed, trm_rng *rng) {
    int total = 0, rule = 0;
    for (int i = 0; i < N_RULES; i++)
        total += weight[i];
    int drawn = (int)trm_rng_below(rng, (uint32_t)(total * (composed ? SECONDS : 1)));
    for (int left = drawn % total; left >= weight[rule]; rule++)
        left -= weight[rule];
    return composed ? N_RULES * (1 + drawn / total) + rule : rule;
}

/* A few rectangles, lines and cells on black. */
static void random_objects(trm_arc_grid *g, trm_rng *rng) {
    uint32_t palette = 1 + trm_rng_below(rng, 5), n = 2 + trm_rng_below(rng, 5);
    for (uint32_t k = 0; k < n; k++) {
        uint8_t colour = (uint8_t)(1 + trm_rng_below(rng, palette));
        int y0 = (int)trm_rng_below(rng, g->rows), x0 = (int)trm_rng_below(rng, g->cols);
        int h = 1 + (int)trm_rng_below(rng, 4), w = 1 + (int)trm_rng_below(rng, 4);
        for (int y = y0; y < y0 + h && y < g->rows; y++)
            for (int x = x0; x < x0 + w && x < g->cols; x++)
                g->cell[y * g->cols + x] = colour;
    }
}

/* Objects, or noise of some density and palette, now and then with a few hollow squares, or within
 * a box on black. */
static void random_input(trm_arc_grid *g, int most, trm_rng *rng) {
    uint32_t span = (uint32_t)(most - 1);
    (void)trm_arc_black(g, 2 + (int)trm_rng_below(rng, span), 2 + (int)trm_rng_below(rng, span));
    if (trm_rng_unit(rng) < 0.4) {
        random_objects(g, rng);
        return;
    }
    uint32_t palette = 1 + trm_rng_below(rng, 5);
    double style = trm_rng_unit(rng), density = style < 0.4 ? 0.3 : 0.2 + 0.8 * trm_rng_unit(rng);
    int y0 = 0, x0 = 0, y1 = g->rows, x1 = g->cols;
    if (style > 0.7) {
        y0 = (int)trm_rng_below(rng, g->rows);
        x0 = (int)trm_rng_below(rng, g->cols);
        y1 = y0 + 1 + (int)trm_rng_below(rng, (uint32_t)(g->rows - y0));
        x1 = x0 + 1 + (int)trm_rng_below(rng, (uint32_t)(g->cols - x0));
    }
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
            if (trm_rng_unit(rng) < density)
                g->cell[y * g->cols + x] = (uint8_t)(1 + trm_rng_below(rng, palette));
    for (int k = 0; k < 2 && style < 0.3; k++) {
        uint8_t colour = (uint8_t)(1 + trm_rng_below(rng, palette));
        y0 = (int)trm_rng_below(rng, g->rows);
        x0 = (int)trm_rng_below(rng, g->cols);
        for (int y = y0; y < y0 + 3 && y < g->rows; y++)
            for (int x = x0; x < x0 + 3 && x < g->cols; x++)
                if (y != y0 + 1 || x != x0 + 1)
                    g->cell[y * g->cols + x] = colour;
    }
}

void trm_arc_rule_pair(trm_arc_pair *out, int rule, int most, trm_rng *rng) {
    int side = most / rules[rule % N_RULES].enlarges, longest = most < 6 ? 6 : most;
    for (int tries = 0; tries < 100; tries++) {
        random_input(&out->input, side < 2 ? 2 : side, rng);
        if (trm_arc_rule_apply(&out->output, rule, &out->input) && out->output.rows <= longest &&
            out->output.cols <= longest)
            return;
    }
    (void)recolour(&out->output, &out->input, (const uint8_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

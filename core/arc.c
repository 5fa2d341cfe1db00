/* ARC tasks: what a valid one is, symmetries, and votes. No state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arc.h"
#include "trm/maze.h"

bool trm_arc_grid_equal(const trm_arc_grid *a, const trm_arc_grid *b) {
    return a->rows == b->rows && a->cols == b->cols &&
           memcmp(a->cell, b->cell, (size_t)a->rows * a->cols) == 0;
}

/* --- checks ------------------------------------------------------------------------------ */

static int check_grid(const trm_arc_grid *g, char place[TRM_ARC_PLACE], const char *at, int i,
    const char *part, trm_error *err) {
    (void)snprintf(place, TRM_ARC_PLACE, "/%s/%d/%s", at, i, part);
    if (g->rows < 1 || g->rows > TRM_ARC_SIDE || g->cols < 1 || g->cols > TRM_ARC_SIDE)
        return trm_fail(err, TRM_E_ARG, "a grid of %d x %d: sides are 1 to 30", g->rows, g->cols);
    for (int k = 0; k < g->rows * g->cols; k++)
        if (g->cell[k] >= TRM_ARC_COLOURS) {
            (void)snprintf(
                place, TRM_ARC_PLACE, "/%s/%d/%s/%d/%d", at, i, part, k / g->cols, k % g->cols);
            return trm_fail(err, TRM_E_ARG, "colour %d is not in 0..9", g->cell[k]);
        }
    return TRM_OK;
}

int trm_arc_task_check(const trm_arc_task *t, char place[TRM_ARC_PLACE], trm_error *err) {
    if (t->demos < 1 || t->demos > TRM_ARC_DEMOS || !t->pair) {
        strcpy(place, "/train");
        return trm_fail(
            err, TRM_E_ARG, "%d demonstration pairs: 1 to %d are needed", t->demos, TRM_ARC_DEMOS);
    }
    if (t->tests < 1 || t->tests > TRM_ARC_TESTS) {
        strcpy(place, "/test");
        return trm_fail(
            err, TRM_E_ARG, "%d test inputs: 1 to %d are needed", t->tests, TRM_ARC_TESTS);
    }
    for (int i = 0; i < t->demos + t->tests; i++) {
        bool demo = i < t->demos;
        const char *at = demo ? "train" : "test";
        int k = demo ? i : i - t->demos;
        int r = check_grid(&t->pair[i].input, place, at, k, "input", err);
        if (!r && (demo || t->pair[i].output.rows))
            r = check_grid(&t->pair[i].output, place, at, k, "output", err);
        if (r)
            return r;
    }
    place[0] = 0;
    return TRM_OK;
}

int trm_arc_task_copy(trm_arc_task *out, const trm_arc_task *t, trm_error *err) {
    size_t bytes = (size_t)(t->demos + t->tests) * sizeof *t->pair;
    *out = *t;
    out->pair = malloc(bytes);
    if (!out->pair)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for an ARC task");
    memcpy(out->pair, t->pair, bytes);
    return TRM_OK;
}

void trm_arc_task_free(trm_arc_task *t) {
    free(t->pair);
    memset(t, 0, sizeof *t);
}

/* --- frames ------------------------------------------------------------------------------ */

void trm_arc_frame_identity(trm_arc_frame *f) {
    f->sym = 0;
    for (int i = 0; i < TRM_ARC_COLOURS; i++)
        f->colour[i] = (uint8_t)i;
}

void trm_arc_frame_random(trm_arc_frame *f, bool colours, trm_rng *rng) {
    trm_arc_frame_identity(f);
    f->sym = (uint8_t)trm_rng_below(rng, 8);
    if (colours)
        trm_rng_shuffle(rng, f->colour + 1, TRM_ARC_COLOURS - 1);
}

void trm_arc_frame_inverse(trm_arc_frame *out, const trm_arc_frame *f) {
    trm_arc_frame g = *f;
    out->sym = (uint8_t)trm_maze_sym_inverse(g.sym);
    for (int i = 0; i < TRM_ARC_COLOURS; i++)
        out->colour[g.colour[i]] = (uint8_t)i;
}

static bool turns(int sym) {
    return ((sym >> 2) + (sym & 3)) & 1;
}

void trm_arc_frame_apply(trm_arc_grid *out, const trm_arc_frame *f, const trm_arc_grid *in) {
    out->rows = turns(f->sym) ? in->cols : in->rows;
    out->cols = turns(f->sym) ? in->rows : in->cols;
    for (int i = 0; i < in->rows * in->cols; i++)
        out->cell[trm_maze_sym_cell(f->sym, in->rows, in->cols, i)] = f->colour[in->cell[i]];
}

static uint64_t mix(uint64_t h, const trm_arc_grid *g, int name[TRM_ARC_COLOURS], int *names) {
    h = (h ^ g->rows) * 0x100000001b3u;
    h = (h ^ g->cols) * 0x100000001b3u;
    for (int i = 0; i < g->rows * g->cols; i++) {
        int *n = &name[g->cell[i]];
        if (*n < 0)
            *n = (*names)++;
        h = (h ^ (uint64_t)*n) * 0x100000001b3u;
    }
    return h;
}

/* The least hash over the symmetries, colours named in the order in which they appear. */
uint64_t trm_arc_pair_hash(const trm_arc_pair *pair) {
    uint64_t least = UINT64_MAX;
    for (int sym = 0; sym < 8; sym++) {
        trm_arc_frame f;
        trm_arc_grid in = {0}, out = {0};
        trm_arc_frame_identity(&f);
        f.sym = (uint8_t)sym;
        trm_arc_frame_apply(&in, &f, &pair->input);
        trm_arc_frame_apply(&out, &f, &pair->output);
        int name[TRM_ARC_COLOURS] = {0, -1, -1, -1, -1, -1, -1, -1, -1, -1}, names = 1;
        uint64_t h = mix(0xcbf29ce484222325u, &in, name, &names);
        h = mix(h, &out, name, &names);
        least = h < least ? h : least;
    }
    return least;
}

void trm_arc_relation_turn(trm_arc_relation *r, int sym) {
    for (int i = 0; i < 2 && turns(sym); i++) {
        int t = r->rows[i];
        r->rows[i] = r->cols[i];
        r->cols[i] = t;
    }
}

/* Does the output's colour, turned by f, follow from the input's there, alike in all pairs? */
static bool follows(const trm_arc_frame *f, const trm_arc_pair *pairs, int n) {
    int to[TRM_ARC_COLOURS];
    for (int c = 0; c < TRM_ARC_COLOURS; c++)
        to[c] = -1;
    for (int i = 0; i < n; i++) {
        const trm_arc_grid *in = &pairs[i].input;
        trm_arc_grid out;
        trm_arc_frame_apply(&out, f, &pairs[i].output);
        if (out.rows != in->rows || out.cols != in->cols)
            return false;
        for (int k = 0; k < in->rows * in->cols; k++) {
            int *c = &to[in->cell[k]];
            if (*c >= 0 && *c != out.cell[k])
                return false;
            *c = out.cell[k];
        }
    }
    return true;
}

int trm_arc_turned(const trm_arc_pair *pairs, int n) {
    trm_arc_frame f;
    trm_arc_frame_identity(&f);
    while (f.sym < 8 && !follows(&f, pairs, n))
        f.sym++;
    return f.sym < 8 ? f.sym : 0;
}

/* --- votes ------------------------------------------------------------------------------- */

int trm_arc_vote(trm_arc_votes *v, const trm_arc_grid *g, double confidence, trm_error *err) {
    int i = 0;
    while (i < v->n && !trm_arc_grid_equal(&v->at[i].grid, g))
        i++;
    if (i == v->room) {
        int room = v->room ? 2 * v->room : 8;
        trm_arc_candidate *more = realloc(v->at, (size_t)room * sizeof *more);
        if (!more)
            return trm_fail(err, TRM_E_NOMEM, "out of memory for votes");
        v->at = more;
        v->room = room;
    }
    if (i == v->n) {
        v->at[v->n++] = (trm_arc_candidate){.grid = *g};
    }
    v->at[i].votes++;
    v->at[i].confidence += confidence;
    v->votes++;
    return TRM_OK;
}

static bool better(const trm_arc_candidate *a, const trm_arc_candidate *b) {
    if (a->votes != b->votes)
        return a->votes > b->votes;
    return a->confidence > b->confidence; /* equal votes: sums order as means do */
}

int trm_arc_votes_best(const trm_arc_votes *v, trm_arc_attempt out[TRM_ARC_ATTEMPTS]) {
    const trm_arc_candidate *best[TRM_ARC_ATTEMPTS] = {NULL, NULL};
    for (int i = 0; i < v->n; i++) {
        const trm_arc_candidate *c = &v->at[i];
        if (!best[0] || better(c, best[0])) {
            best[1] = best[0];
            best[0] = c;
        } else if (!best[1] || better(c, best[1])) {
            best[1] = c;
        }
    }
    int n = 0;
    for (; n < TRM_ARC_ATTEMPTS && best[n]; n++)
        out[n] = (trm_arc_attempt){best[n]->grid, best[n]->votes, (double)best[n]->votes / v->votes,
            best[n]->confidence / best[n]->votes};
    return n;
}

void trm_arc_votes_free(trm_arc_votes *v) {
    free(v->at);
    memset(v, 0, sizeof *v);
}

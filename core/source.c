/* Training data: generated Sudokus and mazes, and those of a file, under random symmetries; ARC
 * tasks come from arc_source.c.
 * What equals a measuring puzzle up to symmetry is dropped. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arc_source.h"
#include "source.h"
#include "trm/maze.h"
#include "trm/sudoku.h"

struct pair {
    trm_sudoku puzzle, solution;
};

struct trm_source {
    const trm_recipe *recipe;
    bool maze;
    trm_arc_source *arc; /* ARC tasks have a source of their own */
    struct pair *pair;   /* Sudokus of the file */
    trm_maze *mazes;     /* mazes of the file */
    int count, room;
    uint64_t *excluded; /* sorted hashes of canonical forms */
    int n_excluded, room_excluded;
};

static uint64_t hash(const void *data, size_t n) {
    const uint8_t *b = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

static uint64_t sudoku_hash(const trm_sudoku *s) {
    trm_sudoku c;
    trm_sudoku_canonical(&c, s);
    return hash(c.cell, sizeof c.cell);
}

/* The least hash of the eight images: equal mazes up to symmetry have equal hashes. */
static uint64_t maze_hash(const trm_maze *m) {
    uint64_t least = UINT64_MAX;
    for (int sym = 0; sym < 8; sym++) {
        trm_maze t;
        trm_maze_sym_apply(&t, sym, m);
        uint64_t h = hash(t.cell, (size_t)(t.rows * t.cols)) ^ (uint64_t)t.cols;
        least = h < least ? h : least;
    }
    return least;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_excluded(const trm_source *s, uint64_t h) {
    return s->n_excluded &&
           bsearch(&h, s->excluded, (size_t)s->n_excluded, sizeof h, by_value) != NULL;
}

static bool grow(void **at, int *room, int n, size_t size) {
    if (n < *room)
        return true;
    int more = *room ? *room * 2 : 1024;
    void *p = realloc(*at, (size_t)more * size);
    if (!p)
        return false;
    *at = p;
    *room = more;
    return true;
}

/* One line of a puzzle file: `question` alone, or `source,question,answer,rating`. */
static char *question_of(char *line, char **answer) {
    char *q = strchr(line, ',');
    *answer = NULL;
    if (!q)
        return line;
    char *a = strchr(++q, ',');
    if (a) {
        *a++ = 0;
        *answer = a;
        char *end = strchr(a, ',');
        if (end)
            *end = 0;
    }
    return q;
}

struct reading {
    trm_source *s;
    bool exclude;
};

static int take_line(struct reading *k, char *line, trm_error *err) {
    trm_source *s = k->s;
    char *answer, *q = question_of(line, &answer);
    struct pair p;
    trm_maze m;
    int r = s->maze ? trm_maze_parse(&m, q, strlen(q), false, err)
                    : trm_sudoku_parse(&p.puzzle, q, strlen(q), err);
    if (r)
        return r;
    uint64_t h = s->maze ? maze_hash(&m) : sudoku_hash(&p.puzzle);
    const trm_config *c = &s->recipe->model;
    int cells = s->maze ? m.rows * m.cols : c->seq_len;
    if (!k->exclude && (c->packed ? cells > c->seq_len : cells != c->seq_len))
        return trm_fail(
            err, TRM_E_FORMAT, "a maze of %d cells does not fit a model of %d", cells, c->seq_len);
    if (k->exclude) {
        if (!grow((void **)&s->excluded, &s->room_excluded, s->n_excluded, sizeof h))
            return trm_fail(err, TRM_E_NOMEM, "out of memory");
        s->excluded[s->n_excluded++] = h;
        return TRM_OK;
    }
    if (is_excluded(s, h))
        return TRM_OK;
    if (s->maze) {
        if (!grow((void **)&s->mazes, &s->room, s->count, sizeof m))
            return trm_fail(err, TRM_E_NOMEM, "out of memory");
        s->mazes[s->count++] = m;
        return TRM_OK;
    }
    if (trm_sudoku_solutions(&p.puzzle, 2, &p.solution, NULL) != 1)
        return trm_fail(err, TRM_E_FORMAT, "not a puzzle with exactly one solution");
    if (!grow((void **)&s->pair, &s->room, s->count, sizeof p))
        return trm_fail(err, TRM_E_NOMEM, "out of memory");
    s->pair[s->count++] = p;
    return TRM_OK;
}

static int read_file(struct reading *k, const char *folder, const char *name, trm_error *err) {
    char path[1200], *line = NULL;
    size_t room = 0;
    long number = 0;
    int r = TRM_OK;
    (void)snprintf(path, sizeof path, "%s%s%s", name[0] == '/' || !folder ? "" : folder,
        name[0] == '/' || !folder ? "" : "/", name);
    FILE *f = fopen(path, "r");
    if (!f)
        return trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(errno));
    while (!r && getline(&line, &room, f) >= 0) {
        trm_error inner;
        number++;
        line[strcspn(line, "\r\n")] = 0;
        if (!line[0] || (number == 1 && strncmp(line, "source,", 7) == 0))
            continue;
        if (take_line(k, line, &inner))
            r = trm_fail(err, inner.code, "%s:%ld: %s", path, number, inner.text);
    }
    free(line);
    (void)fclose(f);
    return r;
}

int trm_source_new(trm_source **out, const trm_recipe *r, const char *folder, trm_error *err) {
    trm_source *s = calloc(1, sizeof *s);
    if (!s)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for training data");
    s->recipe = r;
    if (strcmp(r->task, "arc") == 0) {
        int failed = trm_arc_source_new(&s->arc, r, folder, err);
        if (failed)
            trm_source_free(s);
        else
            *out = s;
        return failed;
    }
    s->maze = strcmp(r->task, "maze") == 0;
    struct reading k = {s, true};
    int e = TRM_OK;
    for (size_t i = 0; i < sizeof r->exclude / sizeof *r->exclude && !e; i++)
        if (r->exclude[i][0])
            e = read_file(&k, folder, r->exclude[i], err);
    if (s->n_excluded)
        qsort(s->excluded, (size_t)s->n_excluded, sizeof *s->excluded, by_value);
    k.exclude = false;
    if (!e && r->file[0])
        e = read_file(&k, folder, r->file, err);
    if (!e && r->share_file > 0 && !s->count)
        e = trm_fail(err, TRM_E_ARG, "recipe: share_file is above 0 but \"file\" gives no puzzles");
    if (e) {
        trm_source_free(s);
        return e;
    }
    *out = s;
    return TRM_OK;
}

void trm_source_free(trm_source *s) {
    if (!s)
        return;
    free(s->pair);
    free(s->mazes);
    free(s->excluded);
    trm_arc_source_free(s->arc);
    free(s);
}

/* Gives back `n` clues at random blanks. */
static void add_clues(trm_sudoku *p, const trm_sudoku *solution, int n, trm_rng *rng) {
    uint8_t order[81];
    for (int i = 0; i < 81; i++)
        order[i] = (uint8_t)i;
    trm_rng_shuffle(rng, order, 81);
    for (int i = 0; i < 81 && n > 0; i++)
        if (!p->cell[order[i]]) {
            p->cell[order[i]] = solution->cell[order[i]];
            n--;
        }
}

static void draw_sudoku(const trm_source *s, int extra, struct pair *out, trm_rng *rng) {
    const trm_recipe *r = s->recipe;
    double u = trm_rng_unit(rng);
    if (u < r->share_file) {
        *out = s->pair[trm_rng_below(rng, (uint32_t)s->count)];
    } else {
        bool sparse = u < r->share_file + r->share_sparse;
        trm_sudoku_gen g = {
            .effort = sparse ? r->sparse_effort : 0, .target_clues = sparse ? 17 : 0};
        do
            trm_sudoku_generate(&out->puzzle, &out->solution, &g, rng);
        while (s->n_excluded && is_excluded(s, sudoku_hash(&out->puzzle)));
    }
    if (extra > 0)
        add_clues(&out->puzzle, &out->solution, (int)trm_rng_below(rng, (uint32_t)extra + 1), rng);
}

static bool clashes(const trm_sudoku *p, int cell, int digit) {
    trm_sudoku with = *p;
    with.cell[cell] = (uint8_t)digit;
    return !trm_sudoku_consistent(&with, NULL);
}

/* One clue too many: a digit that clashes with none but is not the solution's. As in the search
 * of trm/task.h the cell has few digits left: the fewest of three drawn. */
static void add_wrong_clue(struct pair *p, trm_rng *rng) {
    int cell = -1, digit = 0, fewest = 10;
    for (int tries = 0; tries < 3; tries++) {
        int i = (int)trm_rng_below(rng, TRM_SUDOKU_CELLS), left = 0, wrong = 0;
        if (p->puzzle.cell[i])
            continue;
        for (int d = 1; d <= 9; d++) {
            if (clashes(&p->puzzle, i, d) || d == p->solution.cell[i])
                continue;
            left++;
            wrong = trm_rng_below(rng, (uint32_t)left) ? wrong : d;
        }
        if (left && left < fewest) {
            fewest = left;
            cell = i;
            digit = wrong;
        }
    }
    if (cell < 0)
        return;
    p->puzzle.cell[cell] = (uint8_t)digit;
    memset(&p->solution, 0, sizeof p->solution);
}

static int next_sudoku(const trm_source *s, int extra, trm_lesson *l) {
    struct pair p;
    trm_sudoku_sym sym;
    trm_sudoku image;
    draw_sudoku(s, extra, &p, &l->rng);
    if (s->recipe->share_wrong > 0 && trm_rng_unit(&l->rng) < s->recipe->share_wrong)
        add_wrong_clue(&p, &l->rng);
    trm_sudoku_sym_random(&sym, &l->rng);
    trm_sudoku_sym_apply(&image, &sym, &p.puzzle);
    trm_sudoku_encode(&image, l->tokens);
    trm_sudoku_sym_apply(&image, &sym, &p.solution);
    trm_sudoku_encode(&image, l->labels);
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        l->labels[i] = image.cell[i] ? l->labels[i] : -100;
    l->cells = 81;
    l->puzzle = 0;
    return TRM_OK;
}

static int draw_maze(const trm_source *s, int easier, trm_maze *m, trm_rng *rng, trm_error *err) {
    const trm_recipe *r = s->recipe;
    /* The file's are the largest: they wait for the curriculum's end. */
    if (trm_rng_unit(rng) < r->share_file && !easier) {
        const trm_maze *from = &s->mazes[trm_rng_below(rng, (uint32_t)s->count)];
        trm_maze_sym_apply(m, (int)trm_rng_below(rng, 8), from);
        return TRM_OK;
    }
    trm_maze_gen g = {.style = TRM_MAZE_RANDOM};
    uint32_t span = (uint32_t)(r->size_max - easier - r->size_min + 1);
    g.rows = r->size_min + (int)trm_rng_below(rng, span);
    g.cols = r->model.packed ? r->size_min + (int)trm_rng_below(rng, span) : g.rows;
    double kind = trm_rng_unit(rng);
    g.style = kind < 0.8 ? TRM_MAZE_RANDOM : kind < 0.9 ? TRM_MAZE_PERFECT : TRM_MAZE_ROOMS;
    g.walls = r->wall_min + (r->wall_max - r->wall_min) * trm_rng_unit(rng);
    int area = r->length_min * g.rows * g.cols / (r->size_max * r->size_max);
    g.min_length = area > 1 ? area : 1;
    if (r->share_short > 0 && trm_rng_unit(rng) < r->share_short)
        g.min_length = 1 + (int)trm_rng_below(rng, (uint32_t)g.min_length);
    do {
        /* A size and density that has no path so long gets an easier demand. */
        while (trm_maze_generate(m, &g, rng, err))
            if (g.min_length <= 1)
                return err ? err->code : TRM_E_ARG;
            else
                g.min_length /= 2;
    } while (s->n_excluded && is_excluded(s, maze_hash(m)));
    return TRM_OK;
}

static int next_maze(const trm_source *s, int easier, trm_lesson *l, trm_error *err) {
    trm_maze m, label;
    int r = draw_maze(s, easier, &m, &l->rng, err);
    if (r)
        return r;
    if (!trm_maze_label(&label, &m))
        return trm_fail(err, TRM_E_ARG, "a training maze has no path");
    l->cells = m.rows * m.cols;
    l->puzzle = 0;
    for (int i = 0; i < l->cells; i++) {
        l->tokens[i] = m.cell[i];
        l->labels[i] = label.cell[i];
        l->row[i] = (uint8_t)(i / m.cols);
        l->col[i] = (uint8_t)(i % m.cols);
    }
    return TRM_OK;
}

int trm_source_next(const trm_source *s, int easier, trm_lesson *l, trm_error *err) {
    if (s->arc)
        return trm_arc_source_next(s->arc, easier, l, err);
    return s->maze ? next_maze(s, easier, l, err) : next_sudoku(s, easier, l);
}

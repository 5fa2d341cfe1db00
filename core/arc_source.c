/* See arc_source.h. Tasks that share a pair, up to symmetry and colours, with a task that is
 * measured on are dropped. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arc_rules.h"
#include "arc_source.h"

struct trm_arc_source {
    const trm_recipe *recipe;
    trm_arc_file file; /* the tasks that are left; every pair that has its output */
    uint64_t *excluded;
    size_t n_excluded;
    int rules; /* rows of the table that they take */
};

/* --- what is never trained on ------------------------------------------------------------ */

static int exclude(trm_arc_source *s, const trm_arc_task *t, trm_error *err) {
    size_t n = s->n_excluded + (size_t)(t->demos + t->tests);
    uint64_t *more = realloc(s->excluded, n * sizeof *more);
    if (!more)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for excluded tasks");
    s->excluded = more;
    for (int i = 0; i < t->demos + t->tests; i++)
        if (t->pair[i].output.rows)
            s->excluded[s->n_excluded++] = trm_arc_pair_hash(&t->pair[i]);
    return TRM_OK;
}

static bool is_excluded(const trm_arc_source *s, const trm_arc_task *t) {
    for (int i = 0; i < t->demos + t->tests; i++) {
        uint64_t h = t->pair[i].output.rows ? trm_arc_pair_hash(&t->pair[i]) : 0;
        for (size_t k = 0; h && k < s->n_excluded; k++)
            if (s->excluded[k] == h)
                return true;
    }
    return false;
}

static int exclude_file(trm_arc_source *s, const char *path, trm_error *err) {
    trm_arc_file f;
    int r = trm_arc_file_read(&f, path, err);
    for (int i = 0; !r && i < f.n; i++)
        r = exclude(s, &f.task[i], err);
    if (f.task)
        trm_arc_file_free(&f);
    return r;
}

/* Excludes the tasks of the source that the list names; each must be there. */
static int exclude_list(trm_arc_source *s, const char *path, trm_error *err) {
    char line[128];
    FILE *f = fopen(path, "r");
    int r = f ? TRM_OK : trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(errno));
    while (!r && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        if (!line[0] || line[0] == '#')
            continue;
        int i = 0;
        while (i < s->file.n && strcmp(s->file.task[i].name, line) != 0)
            i++;
        r = i < s->file.n ? exclude(s, &s->file.task[i], err)
                          : trm_fail(err, TRM_E_ARG, "%s: there is no task %s", path, line);
    }
    if (f)
        (void)fclose(f);
    return r;
}

/* --- reading ----------------------------------------------------------------------------- */

static void path_of(char *out, size_t size, const char *folder, const char *name) {
    bool alone = name[0] == '/' || !folder;
    (void)snprintf(out, size, "%s%s%s", alone ? "" : folder, alone ? "" : "/", name);
}

static int append(trm_arc_source *s, trm_arc_file *f, trm_error *err) {
    size_t n = (size_t)(s->file.n + f->n);
    trm_arc_task *more = realloc(s->file.task, n * sizeof *more);
    if (!more)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %zu tasks", n);
    memcpy(more + s->file.n, f->task, (size_t)f->n * sizeof *more);
    s->file.task = more;
    s->file.n = (int)n;
    f->n = 0; /* the tasks have moved */
    return TRM_OK;
}

/* NAME_challenges.json and, beside it, NAME_solutions.json. */
static int read_tasks(trm_arc_source *s, const char *path, trm_error *err) {
    char solutions[1200];
    trm_arc_file f;
    const char *end = strstr(path, "_challenges.json");
    if (!end)
        return trm_fail(err, TRM_E_ARG, "%s: the name must end in _challenges.json", path);
    (void)snprintf(solutions, sizeof solutions, "%.*s_solutions.json", (int)(end - path), path);
    int r = trm_arc_file_read(&f, path, err);
    if (!r)
        r = trm_arc_file_solve(&f, solutions, err);
    if (!r)
        r = append(s, &f, err);
    if (f.task)
        trm_arc_file_free(&f);
    return r;
}

static void drop_excluded(trm_arc_source *s) {
    int n = 0;
    for (int i = 0; i < s->file.n; i++)
        if (is_excluded(s, &s->file.task[i]))
            trm_arc_task_free(&s->file.task[i]);
        else
            s->file.task[n++] = s->file.task[i];
    s->file.n = n;
}

static int fill(trm_arc_source *s, const char *folder, trm_error *err) {
    const trm_recipe *r = s->recipe;
    char path[1200];
    int e = TRM_OK;
    for (int i = 0; i < 8 && !e && r->challenges[i][0]; i++) {
        path_of(path, sizeof path, folder, r->challenges[i]);
        e = read_tasks(s, path, err);
    }
    for (int i = 0; i < 8 && !e && r->exclude[i][0]; i++) {
        path_of(path, sizeof path, folder, r->exclude[i]);
        e = exclude_file(s, path, err);
    }
    if (!e && r->held_out[0])
        e = exclude_list(s, r->held_out, err);
    if (e)
        return e;
    drop_excluded(s);
    if (!s->file.n && r->share_rules < 1)
        return trm_fail(err, TRM_E_ARG, "recipe: \"challenges\" gives no tasks to train on");
    s->rules = r->share_composed > 0 ? trm_arc_rules_composed() : trm_arc_rules();
    int rows = 1 + s->rules + s->file.n;
    if (r->model.num_puzzle_identifiers < rows)
        return trm_fail(err, TRM_E_ARG,
            "recipe: %d tasks and %d rules need num_puzzle_identifiers of at least %d", s->file.n,
            s->rules, rows);
    return TRM_OK;
}

int trm_arc_source_new(
    trm_arc_source **out, const trm_recipe *r, const char *folder, trm_error *err) {
    trm_arc_source *s = calloc(1, sizeof *s);
    if (!s)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for training data");
    s->recipe = r;
    int e = fill(s, folder, err);
    if (e) {
        trm_arc_source_free(s);
        return e;
    }
    *out = s;
    return TRM_OK;
}

void trm_arc_source_free(trm_arc_source *s) {
    if (!s)
        return;
    if (s->file.task)
        trm_arc_file_free(&s->file);
    free(s->excluded);
    free(s);
}

/* --- lessons ----------------------------------------------------------------------------- */

void trm_arc_frame_code(uint8_t code[TRM_FRAME_CODE], const trm_arc_frame *f,
    const trm_arc_canvas *c, const trm_arc_grid *input) {
    memcpy(code, f->colour, TRM_FRAME);
    code[0] = f->sym; /* black stays black and needs no entry */
    code[10] = (uint8_t)c->down;
    code[11] = (uint8_t)c->right;
    code[12] = input->rows;
    code[13] = input->cols;
}

void trm_arc_teach(
    trm_lesson *l, const trm_arc_pair *pair, const trm_arc_frame *f, int row, bool moved) {
    trm_arc_grid in, out;
    trm_arc_canvas c;
    const trm_arc_relation unknown = {.kind = TRM_ARC_UNKNOWN};
    trm_arc_frame_apply(&in, f, &pair->input);
    trm_arc_frame_apply(&out, f, &pair->output);
    trm_arc_canvas_fit(&c, &unknown, &in, &out);
    if (moved)
        trm_arc_canvas_move(&c, &l->rng);
    l->cells = trm_arc_draw(&c, &in, &out, l->tokens, l->labels, l->row, l->col);
    l->puzzle = row;
    trm_arc_frame_code(l->frame, f, &c, &in);
}

static int longest(const trm_arc_pair *p) {
    int a = p->input.rows > p->input.cols ? p->input.rows : p->input.cols;
    int b = p->output.rows > p->output.cols ? p->output.rows : p->output.cols;
    return a > b ? a : b;
}

/* A random pair of a random task, neither side longer than `most`. */
static const trm_arc_pair *draw(const trm_arc_source *s, int most, int *task, trm_rng *rng) {
    for (int tries = 0; tries < 10000; tries++) {
        *task = (int)trm_rng_below(rng, (uint32_t)s->file.n);
        const trm_arc_task *t = &s->file.task[*task];
        const trm_arc_pair *p = &t->pair[trm_rng_below(rng, (uint32_t)(t->demos + t->tests))];
        if (p->output.rows && longest(p) <= most)
            return p;
    }
    return NULL;
}

int trm_arc_source_next(const trm_arc_source *s, int easier, trm_lesson *l, trm_error *err) {
    const trm_recipe *r = s->recipe;
    const trm_arc_pair *p;
    trm_arc_pair made;
    trm_arc_frame f;
    int row, most = r->size_max - easier;
    if (trm_rng_unit(&l->rng) < r->share_rules) {
        int rule = trm_arc_rule_draw(r->rules, trm_rng_unit(&l->rng) < r->share_composed, &l->rng);
        trm_arc_rule_pair(&made, rule, most, &l->rng);
        p = &made;
        row = 1 + rule;
    } else {
        p = draw(s, most, &row, &l->rng);
        row += 1 + s->rules;
    }
    if (!p)
        return trm_fail(err, TRM_E_ARG, "no ARC pair has sides of at most %d", most);
    trm_arc_frame_random(&f, trm_rng_unit(&l->rng) < r->share_colours, &l->rng);
    trm_arc_teach(l, p, &f, row, trm_rng_unit(&l->rng) < r->share_moved);
    return TRM_OK;
}

/* --- the trunk --------------------------------------------------------------------------- */

static void mean_row(float *out, const float *table, int rows, int n) {
    int used = 0;
    memset(out, 0, (size_t)n * sizeof *out);
    for (int i = 0; i < rows; i++) {
        const float *row = table + (ptrdiff_t)i * n;
        bool trained = false;
        for (int k = 0; k < n && !trained; k++)
            trained = row[k] != 0;
        for (int k = 0; k < n && trained; k++)
            out[k] += row[k];
        used += trained;
    }
    for (int k = 0; k < n && used; k++)
        out[k] /= (float)used;
}

/* The weights with a table of so many rows, each the mean of m's. */
static int with_table(trm_model **out, const trm_model *m, const trm_config *c, trm_error *err) {
    trm_rng rng;
    trm_model *t;
    trm_rng_seed(&rng, 0);
    int r = trm_model_new(&t, c, &rng, err);
    if (r)
        return r;
    for (int i = 0; i < t->layout.count; i++) {
        const trm_param *p = &t->layout.param[i];
        const float *from = trm_model_weight(m, p->role, p->layer);
        float *to = t->w + p->offset;
        size_t row = (size_t)p->cols * sizeof *to;
        if (p->role != TRM_W_PUZZLE) {
            memcpy(to, from, (size_t)p->rows * row);
            continue;
        }
        mean_row(to, from, m->config.num_puzzle_identifiers, p->cols);
        for (int k = 1; k < p->rows; k++)
            memcpy(to + (ptrdiff_t)k * p->cols, to, row);
    }
    *out = t;
    return TRM_OK;
}

int trm_arc_trunk(trm_model **out, const trm_model *m, int cells, trm_error *err) {
    trm_config c = m->config;
    c.seq_len = cells;
    c.num_puzzle_identifiers = 1;
    return with_table(out, m, &c, err);
}

int trm_arc_init(trm_model **out, const char *path, const trm_config *c, trm_error *err) {
    trm_config one = *c;
    trm_model *trunk;
    trm_error other;
    int r = trm_model_open(out, path, c, err);
    one.num_puzzle_identifiers = 1;
    if (r != TRM_E_FORMAT || trm_model_open(&trunk, path, &one, &other))
        return r;
    r = with_table(out, trunk, c, err);
    trm_model_free(trunk);
    return r;
}

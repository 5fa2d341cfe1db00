/* Tasks and lanes: see trm/task.h. Plain memory of the caller's, one thread at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search.h"

enum { BROKEN_UNKNOWN = 1 << 20 };

void trm_policy_defaults(trm_policy *p, trm_kind kind) {
    *p = (trm_policy){.max_steps = 16, .attempts = 32, .halt = TRM_HALT_AUTO};
    if (kind == TRM_KIND_SUDOKU)
        *p = (trm_policy){.max_steps = 4, .attempts = 512, .halt = TRM_HALT_AUTO};
}

static void begin(trm_task *t, trm_kind kind, const trm_policy *p) {
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->policy = *p;
    t->broken = BROKEN_UNKNOWN;
    t->verified_attempt = -1;
}

void trm_task_sudoku(trm_task *t, const trm_sudoku *puzzle, const trm_policy *p) {
    begin(t, TRM_KIND_SUDOKU, p);
    t->puzzle.sudoku = t->answer.sudoku = *puzzle;
    int clues = 0;
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        clues += puzzle->cell[i] != 0;
    t->search.missing = clues < 17 ? 17 - clues : 0;
}

void trm_task_maze(trm_task *t, const trm_maze *maze, const trm_policy *p) {
    begin(t, TRM_KIND_MAZE, p);
    t->puzzle.maze = t->answer.maze = *maze;
}

static const char *const kind_name[] = {"sudoku", "maze", "arc"};

int trm_task_fits(const trm_task *t, const trm_model *m, trm_error *err) {
    const trm_config *c = &m->config;
    int cells = t->kind == TRM_KIND_SUDOKU ? TRM_SUDOKU_CELLS : TRM_MAZE_CELLS;
    int vocab = t->kind == TRM_KIND_SUDOKU ? TRM_SUDOKU_VOCAB : TRM_MAZE_VOCAB;
    if ((c->task[0] && strcmp(c->task, kind_name[t->kind]) != 0) || c->vocab_size != vocab)
        return trm_fail(err, TRM_E_ARG, "model %s is not a %s model", m->name, kind_name[t->kind]);
    if (t->kind == TRM_KIND_SUDOKU && c->seq_len != cells)
        return trm_fail(err, TRM_E_ARG, "model %s has %d cells, a Sudoku 81", m->name, c->seq_len);
    int n = t->puzzle.maze.rows * t->puzzle.maze.cols;
    int side = (int)lround(sqrt(c->seq_len));
    if (t->kind == TRM_KIND_MAZE && c->packed && n > c->seq_len)
        return trm_fail(err, TRM_E_ARG, "a maze of %d cells is larger than model %s takes (%d)", n,
            m->name, c->seq_len);
    if (t->kind == TRM_KIND_MAZE && !c->packed &&
        (t->puzzle.maze.rows != side || t->puzzle.maze.cols != side))
        return trm_fail(err, TRM_E_ARG, "model %s takes mazes of %dx%d only", m->name, side, side);
    return TRM_OK;
}

static bool searches(const trm_task *t) {
    return t->kind == TRM_KIND_SUDOKU && t->policy.halt != TRM_HALT_FIXED && t->policy.attempts > 1;
}

bool trm_task_wants_lane(const trm_task *t) {
    return t->outcome == TRM_RUNNING && t->started < t->policy.attempts &&
           (!searches(t) || t->search.open || t->started == t->finished);
}

/* Equal puzzles draw equal symmetries for equal attempts, wherever and whenever they run. */
static trm_rng attempt_rng(const void *cells, size_t n, int attempt) {
    const uint8_t *b = cells;
    uint64_t h = 0xcbf29ce484222325u;
    trm_rng rng;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    trm_rng_seed(&rng, h + 0x9E3779B97F4A7C15u * (uint64_t)attempt);
    return rng;
}

/* Does the slot still hold what the attempt that this one builds on has come to? */
static bool goes_on(const trm_lane *l, const trm_task *t, const trm_engine *e) {
    return l->node >= 0 && t->left.loaded && t->left.slot == l->slot && t->left.round == l->round &&
           t->left.node == t->search.node[l->node].parent &&
           trm_engine_loaded(e, l->slot) == t->left.loaded;
}

static int load_sudoku(trm_lane *l, trm_task *t, trm_engine *e, trm_error *err) {
    int32_t tokens[TRM_SUDOKU_CELLS];
    trm_sudoku image, puzzle = t->puzzle.sudoku;
    l->node = trm_search_take(&t->search);
    l->round = t->search.round;
    bool on = goes_on(l, t, e);
    if (on) {
        l->sym = t->left.sym;
    } else if (l->attempt == 0) {
        trm_sudoku_sym_identity(&l->sym);
    } else {
        trm_rng rng = attempt_rng(t->puzzle.sudoku.cell, sizeof t->puzzle.sudoku.cell, l->attempt);
        trm_sudoku_sym_random(&l->sym, &rng);
    }
    trm_search_clues(&t->search, l->node, &puzzle);
    trm_sudoku_sym_apply(&image, &l->sym, &puzzle);
    trm_sudoku_encode(&image, tokens);
    const trm_input in = {.cells = TRM_SUDOKU_CELLS, .tokens = tokens};
    return on ? trm_engine_change(e, l->slot, &in, err) : trm_engine_load(e, l->slot, &in, err);
}

/* Eight images, then the same ones again from perturbed latents. */
static int load_maze(trm_lane *l, trm_task *t, trm_engine *e, trm_error *err) {
    int32_t tokens[TRM_MAZE_CELLS];
    uint8_t row[TRM_MAZE_CELLS], col[TRM_MAZE_CELLS];
    trm_maze image;
    l->maze_sym = l->attempt % 8;
    trm_maze_sym_apply(&image, l->maze_sym, &t->puzzle.maze);
    int n = image.rows * image.cols;
    for (int i = 0; i < n; i++) {
        tokens[i] = image.cell[i];
        row[i] = (uint8_t)(i / image.cols);
        col[i] = (uint8_t)(i % image.cols);
    }
    trm_input in = {.cells = n, .tokens = tokens, .row = row, .col = col};
    int r = trm_engine_load(e, l->slot, &in, err);
    if (!r && l->attempt >= 8) {
        trm_rng rng = attempt_rng(t->puzzle.maze.cell, (size_t)n, l->attempt);
        trm_engine_perturb(e, l->slot, 0.5f, &rng);
    }
    return r;
}

static int load(trm_lane *l, trm_engine *e, trm_error *err) {
    int cycles = trm_engine_model(e)->config.auto_H_cycles;
    int r = l->task->kind == TRM_KIND_SUDOKU ? load_sudoku(l, l->task, e, err)
            : l->task->kind == TRM_KIND_MAZE
                ? load_maze(l, l->task, e, err)
                : trm_fail(err, TRM_E_ARG, "no lanes for this kind of task");
    if (!r && cycles && l->task->policy.halt == TRM_HALT_AUTO)
        trm_engine_cycles(e, l->slot, cycles);
    return r;
}

int trm_lane_restart(trm_lane *l, trm_engine *e, trm_error *err) {
    l->steps = 0;
    return load(l, e, err);
}

int trm_lane_start(trm_lane *l, trm_task *t, trm_engine *e, int slot, trm_error *err) {
    memset(l, 0, sizeof *l);
    l->task = t;
    l->slot = slot;
    l->attempt = t->started;
    int r = load(l, e, err);
    if (!r)
        t->started++;
    return r;
}

/* Digits missing from or doubled in units, changed clues and blanks. */
static int sudoku_broken(const trm_sudoku *puzzle, const trm_sudoku *a) {
    int broken = 0;
    for (int u = 0; u < 9; u++) {
        unsigned seen[3] = {0, 0, 0};
        for (int i = 0; i < 9; i++) {
            seen[0] |= 1u << a->cell[u * 9 + i];
            seen[1] |= 1u << a->cell[i * 9 + u];
            seen[2] |= 1u << a->cell[(u / 3 * 3 + i / 3) * 9 + u % 3 * 3 + i % 3];
        }
        for (int k = 0; k < 3; k++)
            broken += 9 - __builtin_popcount(seen[k] & 0x3FE);
    }
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        broken += puzzle->cell[i] && puzzle->cell[i] != a->cell[i];
    return broken;
}

/* An answer in the puzzle's own frame, with what the checker says of it. */
struct candidate {
    trm_sudoku sudoku;
    trm_maze maze;
    float confidence[TRM_MAZE_CELLS];
    bool verified, optimal;
    int broken;
};

static void read_sudoku(const trm_lane *l, const trm_engine *e, struct candidate *c) {
    trm_sudoku image;
    trm_sudoku_sym back;
    const float *conf = trm_engine_confidence(e, l->slot);
    trm_sudoku_decode(&image, trm_engine_answer(e, l->slot));
    trm_sudoku_sym_inverse(&back, &l->sym);
    trm_sudoku_sym_apply(&c->sudoku, &back, &image);
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        c->confidence[back.cell[i]] = conf[i];
    c->verified = trm_sudoku_check(&l->task->puzzle.sudoku, &c->sudoku, NULL);
    c->optimal = c->verified;
    c->broken = c->verified ? 0 : sudoku_broken(&l->task->puzzle.sudoku, &c->sudoku);
}

/* Where each cell of the image comes from: the image of a maze whose cells are its indices. */
static void read_maze(const trm_lane *l, const trm_engine *e, struct candidate *c) {
    const trm_maze *maze = &l->task->puzzle.maze;
    trm_maze image, decoded;
    const float *conf = trm_engine_confidence(e, l->slot);
    trm_maze_sym_apply(&image, l->maze_sym, maze);
    trm_maze_decode(&decoded, &image, trm_engine_answer(e, l->slot));
    trm_maze_sym_apply(&c->maze, trm_maze_sym_inverse(l->maze_sym), &decoded);
    for (int i = 0; i < image.rows * image.cols; i++)
        c->confidence[trm_maze_sym_cell(
            trm_maze_sym_inverse(l->maze_sym), image.rows, image.cols, i)] = conf[i];
    int length = 0;
    trm_maze_fault fault;
    c->verified = trm_maze_check(maze, &c->maze, NULL, &length, &fault);
    c->optimal = c->verified && length == trm_maze_distance(maze);
    /* A longer path is a rule less broken than none. */
    c->broken = c->optimal ? 0 : c->verified ? 1 : 2;
}

static bool better(const trm_task *t, const struct candidate *c, float confidence) {
    if (t->policy.halt == TRM_HALT_FIXED && t->policy.attempts == 1)
        return true;
    return c->broken < t->broken || (c->broken == t->broken && confidence > t->confidence);
}

static void keep(trm_task *t, const trm_lane *l, const struct candidate *c, float confidence) {
    int cells = TRM_SUDOKU_CELLS;
    if (t->kind == TRM_KIND_SUDOKU) {
        t->answer.sudoku = c->sudoku;
    } else {
        t->answer.maze = c->maze;
        cells = c->maze.rows * c->maze.cols;
    }
    memcpy(t->cell_confidence, c->confidence, (size_t)cells * sizeof(float));
    t->confidence = confidence;
    t->verified = c->verified;
    t->optimal = c->optimal;
    t->broken = c->broken;
    t->verified_attempt = c->verified ? l->attempt : -1;
}

static void read_lane(const trm_lane *l, const trm_engine *e, struct candidate *c) {
    if (l->task->kind == TRM_KIND_SUDOKU)
        read_sudoku(l, e, c);
    else
        read_maze(l, e, c);
}

static float halt_confidence(const trm_lane *l, const trm_engine *e) {
    return 1 / (1 + expf(-trm_engine_halt_logit(e, l->slot)));
}

void trm_lane_show(const trm_lane *l, const trm_engine *e, trm_task *out) {
    struct candidate c;
    *out = *l->task;
    read_lane(l, e, &c);
    keep(out, l, &c, halt_confidence(l, e));
}

/* Where others wait for what this attempt leaves, one that has settled is over. */
static bool settled(trm_lane *l, const trm_engine *e) {
    trm_sudoku now;
    if (!searches(l->task) || !trm_engine_logits(e, l->slot))
        return false;
    trm_sudoku_decode(&now, trm_engine_answer(e, l->slot));
    bool same = memcmp(now.cell, l->last, sizeof l->last) == 0;
    memcpy(l->last, now.cell, sizeof l->last);
    return same && l->steps >= 3;
}

/* The model's doubt that there is an answer, as a logit; -INFINITY where it has no such head. */
static float doubt(const trm_lane *l, const trm_engine *e) {
    bool doubts = trm_engine_model(e)->config.unsat_head;
    return doubts ? trm_engine_q_logits(e, l->slot)[1] : -INFINITY;
}

/* One that assumes what the model takes for wrong is over too. */
static bool hopeless(const trm_lane *l, const trm_engine *e) {
    return searches(l->task) && l->node >= 0 && doubt(l, e) > 0;
}

static void branch(const trm_lane *l, const trm_engine *e) {
    trm_task *t = l->task;
    const float *logits = trm_engine_logits(e, l->slot);
    trm_sudoku_sym back;
    if (!searches(t) || !logits || l->round != t->search.round)
        return;
    trm_sudoku_sym_inverse(&back, &l->sym);
    trm_search_branch(&t->search, l->node, &t->puzzle.sudoku, logits, &back, doubt(l, e));
    t->left.slot = l->slot;
    t->left.node = l->node;
    t->left.round = l->round;
    t->left.loaded = trm_engine_loaded(e, l->slot);
    t->left.sym = l->sym;
}

bool trm_lane_advance(trm_lane *l, trm_engine *e) {
    trm_task *t = l->task;
    struct candidate c;
    l->steps++;
    t->steps++;
    if (t->outcome != TRM_RUNNING)
        return true;
    bool last = settled(l, e) || hopeless(l, e) || l->steps >= t->policy.max_steps;
    bool fixed = t->policy.halt == TRM_HALT_FIXED;
    float logit = trm_engine_halt_logit(e, l->slot), confidence = halt_confidence(l, e);
    read_lane(l, e, &c);
    /* A fixed run answers with its last step; what came before is only shown. */
    if (fixed ? last || !t->finished : true)
        if (better(t, &c, confidence))
            keep(t, l, &c, confidence);
    if (fixed && !last)
        return false;
    bool act =
        t->policy.halt == TRM_HALT_ACT && logit > (float)trm_engine_model(e)->config.halt_logit;
    /* A valid maze path that is not the shortest is kept, but better ones are tried. */
    bool done = c.verified && (c.optimal || t->kind != TRM_KIND_MAZE);
    if (!done && !act && !last)
        return false;
    t->finished++;
    if (done)
        t->outcome = TRM_DONE_VERIFIED;
    else if (t->finished >= t->policy.attempts)
        t->outcome = t->verified ? TRM_DONE_VERIFIED : act ? TRM_DONE_ACT : TRM_DONE_BUDGET;
    else
        branch(l, e);
    return true;
}

struct run {
    trm_engine *e;
    trm_task *tasks;
    int n, next, done, busy;
    trm_lane *lane;
    int *slot;
};

/* The task that gets a free slot: fresh ones first, then another attempt for the oldest. */
static trm_task *pick(struct run *k) {
    if (k->next < k->n)
        return &k->tasks[k->next++];
    for (int i = 0; i < k->n; i++)
        if (trm_task_wants_lane(&k->tasks[i]))
            return &k->tasks[i];
    return NULL;
}

static int fill(struct run *k, int slots, trm_error *err) {
    for (int s = 0; s < slots; s++) {
        if (k->lane[s].task)
            continue;
        trm_task *t = pick(k);
        if (!t)
            return TRM_OK;
        int r = trm_lane_start(&k->lane[s], t, k->e, s, err);
        if (r)
            return r;
    }
    return TRM_OK;
}

static int one_step(struct run *k, int slots, trm_error *err) {
    k->busy = 0;
    for (int s = 0; s < slots; s++)
        if (k->lane[s].task)
            k->slot[k->busy++] = s;
    int r = trm_engine_step(k->e, k->slot, k->busy, err);
    for (int i = 0; i < k->busy && !r; i++) {
        trm_lane *l = &k->lane[k->slot[i]];
        bool running = l->task->outcome == TRM_RUNNING;
        if (!trm_lane_advance(l, k->e))
            continue;
        k->done += running && l->task->outcome != TRM_RUNNING;
        bool again = trm_task_wants_lane(l->task);
        trm_task *t = l->task;
        l->task = NULL;
        if (again) /* its own slot first, so that the oldest does not wait for the youngest */
            r = trm_lane_start(l, t, k->e, k->slot[i], err);
    }
    return r;
}

int trm_tasks_run(trm_engine *e, trm_task *tasks, int n,
    bool (*progress)(void *arg, int done, int n), void *arg, trm_error *err) {
    int slots = trm_engine_slots(e), r = TRM_OK;
    struct run k = {.e = e, .tasks = tasks, .n = n};
    k.lane = calloc((size_t)slots, sizeof *k.lane);
    k.slot = calloc((size_t)slots, sizeof *k.slot);
    if (!k.lane || !k.slot)
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for %d lanes", slots);
    while (!r && k.done < n) {
        r = fill(&k, slots, err);
        if (!r)
            r = one_step(&k, slots, err);
        if (!r && progress && !progress(arg, k.done, n))
            break;
    }
    free(k.lane);
    free(k.slot);
    return r;
}

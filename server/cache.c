/* See cache.h. */
#include <stdlib.h>
#include <string.h>

#include "cache.h"

enum { KEY_ROOM = 65 + 4 * 8 + 2 + 900, PLACES_MOST = 1 << 20 };

typedef struct entry {
    struct entry *twin;          /* same place in the table */
    struct entry *newer, *older; /* by use */
    uint64_t hash;
    size_t key_size;
    const char *halt;
    float confidence;
    int steps, attempts, verified_attempt, broken;
    bool verified, optimal;
    trm_outcome outcome;
    uint8_t bytes[]; /* the key, then the answer's cells */
} entry;

struct trmd_cache {
    entry **place;
    size_t places;
    int n, most;
    entry *newest, *oldest;
};

int trmd_cache_new(trmd_cache **out, int entries, trm_error *err) {
    trmd_cache *c = calloc(1, sizeof *c);
    size_t places = 64;
    while (places < (size_t)entries && places < PLACES_MOST)
        places *= 2;
    if (c)
        c->place = calloc(places, sizeof(entry *));
    if (!c || !c->place) {
        free(c);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the answer cache");
    }
    c->places = places;
    c->most = entries;
    *out = c;
    return TRM_OK;
}

void trmd_cache_free(trmd_cache *c) {
    while (c && c->newest) {
        entry *e = c->newest;
        c->newest = e->older;
        free(e);
    }
    if (c)
        free(c->place);
    free(c);
}

static size_t put(uint8_t *key, size_t n, const void *bytes, size_t size) {
    memcpy(key + n, bytes, size);
    return n + size;
}

/* The cells of a grid, and how many. */
static uint8_t *cells_of(const trm_task *t, bool answer, size_t *n) {
    const trm_maze *m = answer ? &t->answer.maze : &t->puzzle.maze;
    const trm_sudoku *s = answer ? &t->answer.sudoku : &t->puzzle.sudoku;
    bool sudoku = t->kind == TRM_KIND_SUDOKU;
    *n = sudoku ? sizeof s->cell : (size_t)(t->puzzle.maze.rows * t->puzzle.maze.cols);
    return (uint8_t *)(uintptr_t)(sudoku ? s->cell : m->cell);
}

static size_t key_of(uint8_t key[KEY_ROOM], const char *model_id, const trm_task *t) {
    const int32_t what[] = {
        (int32_t)t->kind, t->policy.max_steps, t->policy.attempts, (int32_t)t->policy.halt};
    size_t cells, n = put(key, 0, what, sizeof what);
    const uint8_t *cell = cells_of(t, false, &cells);
    n = put(key, n, model_id, strlen(model_id));
    if (t->kind == TRM_KIND_MAZE) {
        const uint8_t sides[] = {(uint8_t)t->puzzle.maze.rows, (uint8_t)t->puzzle.maze.cols};
        n = put(key, n, sides, sizeof sides);
    }
    return put(key, n, cell, cells);
}

static uint64_t hash_of(const uint8_t *key, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ key[i]) * 0x100000001b3u;
    return h;
}

static entry *find(const trmd_cache *c, const uint8_t *key, size_t n, uint64_t hash) {
    entry *e = c->place[hash % c->places];
    while (e && (e->hash != hash || e->key_size != n || memcmp(e->bytes, key, n) != 0))
        e = e->twin;
    return e;
}

static void unlink_use(trmd_cache *c, entry *e) {
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void make_newest(trmd_cache *c, entry *e) {
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static void drop_oldest(trmd_cache *c) {
    entry *e = c->oldest, **at = &c->place[e->hash % c->places];
    while (*at != e)
        at = &(*at)->twin;
    *at = e->twin;
    unlink_use(c, e);
    free(e);
    c->n--;
}

static bool shareable(const trm_task *t) {
    return t->kind == TRM_KIND_SUDOKU || t->kind == TRM_KIND_MAZE;
}

bool trmd_cache_get(trmd_cache *c, const char *model_id, trmd_work *w) {
    trm_task *t = &w->task;
    uint8_t key[KEY_ROOM];
    if (!shareable(t))
        return false;
    size_t cells, n = key_of(key, model_id, t);
    entry *e = find(c, key, n, hash_of(key, n));
    if (!e)
        return false;
    unlink_use(c, e);
    make_newest(c, e);
    t->answer.maze.rows = t->puzzle.maze.rows; /* overwritten where it is a Sudoku */
    t->answer.maze.cols = t->puzzle.maze.cols;
    uint8_t *cell = cells_of(t, true, &cells);
    memcpy(cell, e->bytes + n, cells);
    t->confidence = e->confidence;
    t->verified = e->verified;
    t->optimal = e->optimal;
    t->broken = e->broken;
    t->steps = e->steps;
    t->started = t->finished = e->attempts;
    t->verified_attempt = e->verified_attempt;
    t->outcome = e->outcome;
    w->halt = e->halt;
    return true;
}

void trmd_cache_put(trmd_cache *c, const char *model_id, const trmd_work *w) {
    const trm_task *t = &w->task;
    uint8_t key[KEY_ROOM];
    if (!shareable(t) || t->outcome == TRM_RUNNING)
        return;
    size_t cells, n = key_of(key, model_id, t);
    uint64_t hash = hash_of(key, n);
    const uint8_t *cell = cells_of(t, true, &cells);
    entry *e = find(c, key, n, hash) ? NULL : malloc(sizeof *e + n + cells);
    if (!e)
        return;
    *e = (entry){.twin = c->place[hash % c->places],
        .hash = hash,
        .key_size = n,
        .halt = w->halt,
        .confidence = t->confidence,
        .steps = t->steps,
        .attempts = t->started,
        .verified_attempt = t->verified_attempt,
        .broken = t->broken,
        .verified = t->verified,
        .optimal = t->optimal,
        .outcome = t->outcome};
    memcpy(e->bytes, key, n);
    memcpy(e->bytes + n, cell, cells);
    c->place[hash % c->places] = e;
    make_newest(c, e);
    if (++c->n > c->most)
        drop_oldest(c);
}

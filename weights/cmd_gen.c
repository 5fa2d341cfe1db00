/* `trm gen`: puzzles from the generators, as CSV. Equal seed and options give equal files. */
#include <stdio.h>
#include <string.h>

#include "puzzles.h"

/* Extra clues make a puzzle easier; the search by clue exchange makes it harder, and can also
 * steer it towards few clues. */
static const struct sudoku_level {
    const char *name;
    trm_sudoku_gen gen;
} sudoku_levels[] = {
    {"easy", {.extra_clues = 16}},
    {"medium", {.extra_clues = 8}},
    {"minimal", {0}},
    {"hard", {.effort = 100}},
    {"extreme", {.effort = 1000}},
    {"sparse", {.effort = 300, .target_clues = 17}},
};

static const struct maze_level {
    const char *name;
    int size, min_length;
} maze_levels[] = {{"easy", 10, 10}, {"medium", 20, 40}, {"hard", 30, 110}};

enum {
    N_SUDOKU = sizeof sudoku_levels / sizeof *sudoku_levels,
    N_MAZE = sizeof maze_levels / sizeof *maze_levels
};

struct gen {
    trm_kind kind;
    int count;
    uint64_t seed;
    const char *difficulty, *size, *style;
    int extra, effort, target; /* Sudoku; negative = by difficulty */
    double walls;              /* maze */
    int min_length;            /* maze; negative = by difficulty */
    int size_min, size_max;
    trm_sudoku_gen sudoku;
    trm_maze_gen maze;
};

static int sudoku_options(struct gen *g, trm_error *err) {
    int i = 0;
    const char *name = g->difficulty ? g->difficulty : "minimal";
    while (i < N_SUDOKU && strcmp(name, sudoku_levels[i].name) != 0)
        i++;
    if (i == N_SUDOKU)
        return trm_fail(err, TRM_E_ARG,
            "--difficulty of a Sudoku is easy, medium, minimal, hard, extreme or sparse, not '%s'",
            name);
    g->sudoku = sudoku_levels[i].gen;
    if (g->extra >= 0)
        g->sudoku.extra_clues = g->extra;
    if (g->effort >= 0)
        g->sudoku.effort = g->effort;
    if (g->target > 0)
        g->sudoku.target_clues = g->target;
    /* Without exchanges a target would do nothing. */
    if (g->target > 0 && g->effort < 0 && !g->sudoku.effort)
        g->sudoku.effort = sudoku_levels[N_SUDOKU - 1].gen.effort;
    return TRM_OK;
}

static int maze_size(struct gen *g, int by_difficulty, trm_error *err) {
    char rest;
    g->size_min = g->size_max = by_difficulty;
    if (!g->size)
        return TRM_OK;
    int n = sscanf(g->size, "%d-%d%c", &g->size_min, &g->size_max, &rest);
    if (n == 1 && strspn(g->size, "0123456789") == strlen(g->size))
        g->size_max = g->size_min;
    else if (n != 2)
        g->size_min = -1;
    if (g->size_min < 2 || g->size_max > TRM_MAZE_SIDE || g->size_min > g->size_max)
        return trm_fail(err, TRM_E_ARG,
            "--size must be a side from 2 to 30, or a range such as 5-20, not '%s'", g->size);
    return TRM_OK;
}

static int maze_options(struct gen *g, trm_error *err) {
    static const char *const styles[] = {"random", "perfect", "rooms", NULL};
    int i = 0, style = cli_choice(g->style, styles);
    const char *name = g->difficulty ? g->difficulty : "hard";
    while (i < N_MAZE && strcmp(name, maze_levels[i].name) != 0)
        i++;
    if (i == N_MAZE)
        return trm_fail(
            err, TRM_E_ARG, "--difficulty of a maze is easy, medium or hard, not '%s'", name);
    if (style < 0)
        return trm_fail(
            err, TRM_E_ARG, "--style must be random, perfect or rooms, not '%s'", g->style);
    /* A length asked for by difficulty makes sense for that difficulty's own size only. */
    if (g->min_length < 0 && !g->size)
        g->min_length = maze_levels[i].min_length;
    g->maze = (trm_maze_gen){.style = (trm_maze_style)style, .walls = g->walls};
    return maze_size(g, maze_levels[i].size, err);
}

/* Long paths are rare: of random 30x30 mazes with 37% walls one in some 200 has a path of
 * 110 moves. */
static int make_maze(struct gen *g, trm_maze *out, trm_rng *rng, trm_error *err) {
    enum { TRIES = 200 };
    uint32_t range = (uint32_t)(g->size_max - g->size_min + 1);
    int side = g->size_min + (int)trm_rng_below(rng, range), r = TRM_OK;
    trm_maze_gen o = g->maze;
    o.rows = o.cols = side;
    o.min_length = g->min_length >= 0 ? g->min_length : side;
    for (int i = 0; i < TRIES; i++) {
        r = trm_maze_generate(out, &o, rng, err);
        if (!r)
            return TRM_OK;
    }
    return r;
}

static int make_one(struct gen *g, bool first, trm_rng *rng, trm_error *err) {
    char question[CLI_LINE_ROOM], answer[CLI_LINE_ROOM];
    cli_grid q, a;
    long rating = 0;
    if (g->kind == TRM_KIND_SUDOKU) {
        trm_sudoku_generate(&q.sudoku, &a.sudoku, &g->sudoku, rng);
        (void)trm_sudoku_solutions(&q.sudoku, 2, NULL, &rating);
    } else {
        int r = make_maze(g, &q.maze, rng, err);
        if (r)
            return r;
        (void)trm_maze_label(&a.maze, &q.maze);
        rating = trm_maze_distance(&q.maze);
    }
    cli_grid_line(&q, g->kind, question);
    cli_grid_line(&a, g->kind, answer);
    if (first)
        puts("source,question,answer,rating");
    printf("generated,%s,%s,%ld\n", question, answer, rating);
    return TRM_OK;
}

static int run(const cli_command *cmd, int argc, char **argv) {
    struct gen g = {.count = 1, .style = "random", .walls = 0.37, .min_length = -1};
    g.extra = g.effort = g.target = -1;
    const cli_option options[] = {
        {"count", 'n', CLI_INT, &g.count, 1, 100000000, "N", "how many (default 1)"},
        {"seed", 's', CLI_SEED, &g.seed, 0, 0, "S", "seed of the random numbers (default 0)"},
        {"difficulty", 'd', CLI_STRING, &g.difficulty, 0, 0, "NAME", "see above"},
        {"extra-clues", 0, CLI_INT, &g.extra, 0, 64, "N", "Sudoku: clues added to a minimal one"},
        {"effort", 0, CLI_INT, &g.effort, 0, 1000000, "N",
            "Sudoku: clue exchanges tried to make it harder"},
        {"clues", 0, CLI_INT, &g.target, 17, 81, "N", "Sudoku: exchange clues towards so few"},
        {"size", 0, CLI_STRING, &g.size, 0, 0, "N|A-B", "maze: side, or a range of sides"},
        {"style", 0, CLI_STRING, &g.style, 0, 0, "NAME", "maze: random, perfect or rooms"},
        {"walls", 0, CLI_REAL, &g.walls, 0, 0.9, "X", "maze, random: share of walls (0.37)"},
        {"min-length", 0, CLI_INT, &g.min_length, 0, 900, "N",
            "maze: least length of the shortest path (the side)"},
        CLI_END};
    cli_args args;
    cli_progress p;
    trm_error err;
    trm_rng rng;
    int r = cli_parse(cmd, options, 1, 1, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    r = cli_puzzle_kind(&g.kind, args.at[0], &err);
    if (!r)
        r = g.kind == TRM_KIND_SUDOKU ? sudoku_options(&g, &err) : maze_options(&g, &err);
    if (r)
        return cli_fail(cmd, &err);
    trm_rng_seed(&rng, g.seed);
    cli_progress_begin(&p, "generate");
    for (int i = 0; i < g.count && !r && !ferror(stdout); i++) {
        r = make_one(&g, i == 0, &rng, &err);
        cli_progress_at(&p, i + 1, g.count, NULL);
    }
    cli_progress_end(&p);
    return r ? cli_fail(cmd, &err) : CLI_OK;
}

const cli_command cmd_gen = {"gen", run, "sudoku|maze --count N --seed S [OPTION...]",
    "generate puzzles with their answers, as CSV",
    "Columns: source,question,answer,rating. Every Sudoku has exactly one solution; its rating is\n"
    "the number of guesses an exact solver needs (0 = singles alone). A maze's rating is the\n"
    "length of its shortest path; a maze that is not 30x30 is written as rows joined by '/'.\n"
    "Difficulties of a Sudoku: easy, medium, minimal (default), hard, extreme, sparse (few\n"
    "clues); of a maze: easy (10x10), medium (20x20), hard (30x30, at least 110 moves; default)."};

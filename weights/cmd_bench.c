/* `trm bench`: how fast the engine steps, per backend and model size, and how near that comes to
 * what its matrix products alone would allow. Weights and inputs are synthetic: speed does not
 * depend on the values. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "trm/bench.h"
#include "trm/cpus.h"

struct bench {
    const char *size, *model, *csv;
    int batch;
    double seconds;
    cli_engine engine;
    bool json;
    FILE *csv_file;
    json_t *rows;
};

struct row {
    const char *model, *backend;
    int batch, threads;
    double steps_per_s, gflops, share; /* share: of the products' rate in the same run */
    trm_product_rate products;
    size_t bytes, slot_bytes;
};

/* Official sizes, and a small one. */
static const struct size {
    const char *name, *config;
    int batch; /* 0 = one for each thread */
} sizes[] = {
    {"sudoku-512",
        "{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":512,\"H_cycles\":3,\"L_cycles\":6,"
        "\"mlp_t\":true,\"pos_encodings\":\"none\",\"puzzle_emb_ndim\":512,\"puzzle_emb_len\":16,"
        "\"num_puzzle_identifiers\":1}",
        16},
    {"maze-512",
        "{\"seq_len\":900,\"vocab_size\":6,\"hidden_size\":512,\"H_cycles\":3,\"L_cycles\":4,"
        "\"pos_encodings\":\"rope\",\"puzzle_emb_ndim\":512,\"puzzle_emb_len\":16,"
        "\"num_puzzle_identifiers\":1}",
        0},
    {"sudoku-128",
        "{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":128,\"H_cycles\":3,\"L_cycles\":6,"
        "\"mlp_t\":true,\"pos_encodings\":\"none\"}",
        32},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static int fill_slots(trm_engine *e, trm_error *err) {
    const trm_config *c = &trm_engine_model(e)->config;
    int32_t tokens[4096];
    uint8_t row[4096], col[4096];
    int side = 1, r = TRM_OK;
    trm_rng rng;
    while (side * side < c->seq_len)
        side++;
    trm_rng_seed(&rng, 1);
    for (int slot = 0; slot < trm_engine_slots(e) && !r; slot++) {
        for (int i = 0; i < c->seq_len; i++) {
            tokens[i] = (int32_t)trm_rng_below(&rng, (uint32_t)c->vocab_size);
            row[i] = (uint8_t)(i / side);
            col[i] = (uint8_t)(i % side);
        }
        trm_input in = {c->seq_len, tokens, row, col, 0};
        r = trm_engine_load(e, slot, &in, err);
    }
    return r;
}

static int time_steps(trm_engine *e, double seconds, double *steps_per_s, trm_error *err) {
    int n = trm_engine_slots(e), steps = 0;
    int *slots = calloc((size_t)n, sizeof *slots);
    if (!slots)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d slots", n);
    for (int i = 0; i < n; i++)
        slots[i] = i;
    int r = fill_slots(e, err);
    if (!r)
        r = trm_engine_step(e, slots, n, err); /* warms up */
    double began = cli_now(), now = began;
    while (!r && (now - began < seconds || steps < 2)) {
        r = trm_engine_step(e, slots, n, err);
        steps++;
        now = cli_now();
    }
    *steps_per_s = (double)steps * n / (now - began);
    free(slots);
    return r;
}

static void report_csv(FILE *to, const struct row *w) {
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    fprintf(to, "%s,%s,%s,%d,%d,%.4g,%.4g,%.4g,%.3f,%zu,%zu\n", date, w->model, w->backend,
        w->threads, w->batch, w->steps_per_s, w->gflops, w->products.flops_per_s / 1e9, w->share,
        w->bytes, w->slot_bytes);
}

static json_t *row_json(const struct row *w) {
    return json_pack("{s:s,s:s,s:i,s:i,s:f,s:f,s:f,s:f,s:f,s:I,s:I}", "model", w->model, "backend",
        w->backend, "threads", w->threads, "batch", w->batch, "puzzle_steps_per_s", w->steps_per_s,
        "gflops", w->gflops, "gemm_steps_per_s", w->products.steps_per_s, "gemm_gflops",
        w->products.flops_per_s / 1e9, "gemm_share", w->share, "bytes", (json_int_t)w->bytes,
        "slot_bytes", (json_int_t)w->slot_bytes);
}

static void report(struct bench *b, const struct row *w) {
    if (b->csv_file)
        report_csv(b->csv_file, w);
    if (b->json)
        (void)json_array_append_new(b->rows, row_json(w));
    else
        printf("%-11s %-11s %2d threads, batch %2d: %8.2f steps/s, %6.1f GFLOP/s of %6.1f (%.2f), "
               "%6.1f MiB\n",
            w->model, w->backend, w->threads, w->batch, w->steps_per_s, w->gflops,
            w->products.flops_per_s / 1e9, w->share, (double)w->bytes / 0x1p20);
    (void)fflush(stdout);
}

static int bench_one(
    struct bench *b, const trm_model *m, const char *backend, int batch, trm_error *err) {
    struct row w = {.model = m->name, .threads = b->engine.threads};
    cli_engine eo = {backend, b->engine.threads, b->batch ? b->batch : batch};
    trm_engine *e;
    int r = cli_engine_new(&e, m, &eo, 1, false, err);
    if (r)
        return r;
    r = trm_bench_products(&w.products, m, backend, b->engine.threads, b->seconds, err);
    if (!r)
        r = time_steps(e, b->seconds, &w.steps_per_s, err);
    w.backend = trm_engine_backend(e);
    w.batch = trm_engine_slots(e);
    w.share = w.steps_per_s / w.products.steps_per_s;
    w.gflops = w.share * w.products.flops_per_s / 1e9;
    w.bytes = trm_engine_bytes(e);
    w.slot_bytes = trm_engine_slot_bytes(e);
    trm_engine_free(e);
    if (!r)
        report(b, &w);
    return r;
}

/* All backends but the reference, which would take minutes; it runs when it is named. */
static int bench_model(struct bench *b, const trm_model *m, int batch, trm_error *err) {
    if (b->engine.backend)
        return bench_one(b, m, b->engine.backend, batch, err);
    int r = TRM_OK;
    for (const char *const *name = trm_backends(); *name && !r; name++)
        if (strcmp(*name, "reference") != 0)
            r = bench_one(b, m, *name, batch, err);
    return r;
}

static int bench_size(struct bench *b, const struct size *s, trm_error *err) {
    trm_config c;
    trm_model *m;
    trm_rng rng;
    trm_rng_seed(&rng, 1);
    int r = trm_config_parse(&c, s->config, err);
    if (!r)
        r = trm_model_new(&m, &c, &rng, err);
    if (r)
        return r;
    (void)snprintf(m->name, sizeof m->name, "%s", s->name);
    r = bench_model(b, m, s->batch ? s->batch : b->engine.threads, err);
    trm_model_free(m);
    return r;
}

static int bench_all(struct bench *b, trm_error *err) {
    int r = TRM_OK, ran = 0;
    if (b->model) {
        trm_model *m;
        r = cli_open_model(&m, b->model, TRM_KIND_SUDOKU, NULL, err);
        if (r)
            return r;
        r = bench_model(b, m, m->config.seq_len > 400 ? b->engine.threads : 32, err);
        trm_model_free(m);
        return r;
    }
    for (int i = 0; i < N_SIZES && !r; i++)
        if (!b->size || strcmp(b->size, sizes[i].name) == 0) {
            r = bench_size(b, &sizes[i], err);
            ran++;
        }
    if (!ran)
        return trm_fail(
            err, TRM_E_ARG, "--size must be sudoku-512, maze-512 or sudoku-128, not '%s'", b->size);
    return r;
}

static int open_csv(struct bench *b, trm_error *err) {
    b->csv_file = fopen(b->csv, "a");
    if (!b->csv_file)
        return trm_fail(err, TRM_E_IO, "%s: %s", b->csv, strerror(errno));
    if (ftell(b->csv_file) == 0)
        fputs("date,model,backend,threads,batch,puzzle_steps_per_s,gflops,gemm_gflops,"
              "gemm_share,bytes,slot_bytes\n",
            b->csv_file);
    return TRM_OK;
}

static int run(const cli_command *cmd, int argc, char **argv) {
    struct bench b = {.seconds = 3};
    const cli_option options[] = {
        {"size", 0, CLI_STRING, &b.size, 0, 0, "NAME", "only sudoku-512, maze-512 or sudoku-128"},
        {"model", 'm', CLI_STRING, &b.model, 0, 0, "MODEL", "this model instead"},
        {"batch", 'n', CLI_INT, &b.batch, 1, 65536, "N", "puzzles stepped together"},
        {"seconds", 0, CLI_REAL, &b.seconds, 0.01, 3600, "S", "time for each row (3)"},
        {"csv", 0, CLI_STRING, &b.csv, 0, 0, "FILE", "append the rows to a history"},
        CLI_ENGINE_OPTIONS(b.engine),
        {"json", 0, CLI_FLAG, &b.json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    trm_error err;
    int r = cli_parse(cmd, options, 0, 0, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    if (!b.engine.threads)
        b.engine.threads = trm_cpus();
    b.rows = b.json ? json_array() : NULL;
    r = b.csv ? open_csv(&b, &err) : TRM_OK;
    if (!r)
        r = bench_all(&b, &err);
    if (r)
        r = cli_fail(cmd, &err);
    else if (b.json)
        r = cli_print_json(cmd, json_pack("{s:O}", "rows", b.rows));
    json_decref(b.rows);
    if (b.csv_file && fclose(b.csv_file) && !r)
        r = cli_bad(cmd, "%s: %s", b.csv, strerror(errno));
    return r;
}

const cli_command cmd_bench = {"bench", run, "[OPTION...]",
    "measure the engine per backend and model size",
    "Times supervision steps, and the matrix products of such a step by themselves, in the same\n"
    "run and on the same shapes: the share in brackets is how near the engine comes to what the\n"
    "machine can do. The plain C reference runs only when --backend names it."};

/* `trm bench`: how fast the engine steps, per backend and model size, and how near that comes to
 * what its matrix products alone would allow. Weights and inputs are synthetic: speed does not
 * depend on the values. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "timing.h"
#include "trm/bench.h"
#include "trm/cpus.h"

struct bench {
    const char *size, *model, *csv;
    int batch;
    double seconds;
    cli_engine engine;
    bool train, json;
    FILE *csv_file;
    json_t *rows;
};

struct row {
    const char *model, *backend, *work;
    int batch, threads;
    double per_s;  /* puzzle-steps: a supervision step of one puzzle, or a training step of one */
    double gflops; /* of its matrix products */
    double share;  /* of the products' own rate at the same time */
    double cpu_share; /* the same by processor time: what others take of the machine is not in it */
    double slowest, fastest; /* that rate's extremes in this row, FLOP/s */
    size_t bytes, slot_bytes;
};

/* Official sizes, and a small one. */
static const struct size {
    const char *name, *config;
    int batch;   /* 0 = one for each thread */
    bool trains; /* is timed in training too where nothing is asked for */
} sizes[] = {
    {"sudoku-512",
        "{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":512,\"H_cycles\":3,\"L_cycles\":6,"
        "\"mlp_t\":true,\"pos_encodings\":\"none\",\"puzzle_emb_ndim\":512,\"puzzle_emb_len\":16,"
        "\"num_puzzle_identifiers\":1}",
        16, true},
    {"maze-512",
        "{\"seq_len\":900,\"vocab_size\":6,\"hidden_size\":512,\"H_cycles\":3,\"L_cycles\":4,"
        "\"pos_encodings\":\"rope\",\"puzzle_emb_ndim\":512,\"puzzle_emb_len\":16,"
        "\"num_puzzle_identifiers\":1}",
        0, false},
    {"sudoku-128",
        "{\"seq_len\":81,\"vocab_size\":11,\"hidden_size\":128,\"H_cycles\":3,\"L_cycles\":6,"
        "\"mlp_t\":true,\"pos_encodings\":\"none\"}",
        32, true},
};
/* A training step of 128 puzzles is a long slice by itself. */
enum { N_SIZES = sizeof sizes / sizeof *sizes, ROUNDS = 5, TRAIN_ROUNDS = 3 };

static void report_csv(FILE *to, const struct row *w) {
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    fprintf(to, "%s,%s,%s,%s,%d,%d,%.4g,%.4g,%.3f,%.4g,%.4g,%zu,%zu,%.3f\n", date, w->model,
        w->work, w->backend, w->threads, w->batch, w->per_s, w->gflops, w->share, w->slowest / 1e9,
        w->fastest / 1e9, w->bytes, w->slot_bytes, w->cpu_share);
}

static json_t *row_json(const struct row *w) {
    json_t *o = json_pack("{s:s,s:s,s:s,s:i,s:i,s:f,s:f,s:f,s:f,s:f,s:f}", "model", w->model,
        "work", w->work, "backend", w->backend, "threads", w->threads, "batch", w->batch,
        "puzzle_steps_per_s", w->per_s, "gflops", w->gflops, "gemm_share", w->share,
        "gemm_share_cpu", w->cpu_share, "gemm_gflops_min", w->slowest / 1e9, "gemm_gflops_max",
        w->fastest / 1e9);
    if (w->bytes) {
        (void)json_object_set_new(o, "bytes", json_integer((json_int_t)w->bytes));
        (void)json_object_set_new(o, "slot_bytes", json_integer((json_int_t)w->slot_bytes));
    }
    return o;
}

static void report(struct bench *b, const struct row *w) {
    if (b->csv_file)
        report_csv(b->csv_file, w);
    if (b->json) {
        (void)json_array_append_new(b->rows, row_json(w));
        return;
    }
    printf("%-11s %-5s %-11s %2d threads, batch %3d: %8.2f /s, %6.1f GFLOP/s, %.2f of the products",
        w->model, w->work, w->backend, w->threads, w->batch, w->per_s, w->gflops, w->share);
    if (w->cpu_share > 0)
        printf(", %.2f by processor time", w->cpu_share);
    if (w->fastest > 1.25 * w->slowest)
        printf(" (which varied from %.0f to %.0f)", w->slowest / 1e9, w->fastest / 1e9);
    if (w->bytes)
        printf(", %.1f MiB", (double)w->bytes / 0x1p20);
    putchar('\n');
    (void)fflush(stdout);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

/* The machine's own speed may change by the second where others share it. So products and steps
 * are timed in turns, each slice of steps against the products just before and after it. */
static int measure(
    struct bench *b, struct row *w, cli_timed *t, const trm_model *m, double work, trm_error *err) {
    double steps[ROUNDS], share[ROUNDS], cpu_share[ROUNDS], slice = b->seconds / ROUNDS;
    trm_product_rate products[ROUNDS + 1];
    cli_pace first, pace;
    int rounds = b->train ? TRAIN_ROUNDS : ROUNDS;
    int r = cli_timed_run(t, 0, &first, err); /* warms up */
    if (!r)
        r = trm_bench_products(&products[0], m, w->backend, w->threads, w->batch, slice, err);
    if (r)
        return r;
    w->slowest = w->fastest = products[0].flops_per_s;
    for (int i = 0; i < rounds && !r; i++) {
        r = cli_timed_run(t, slice, &pace, err);
        if (!r)
            r = trm_bench_products(
                &products[i + 1], m, w->backend, w->threads, w->batch, slice, err);
        if (r)
            return r;
        const trm_product_rate *before = &products[i], *after = before + 1;
        steps[i] = pace.per_s;
        share[i] = pace.per_s * work / ((before->steps_per_s + after->steps_per_s) / 2);
        cpu_share[i] =
            pace.per_cpu_s * work / ((before->steps_per_cpu_s + after->steps_per_cpu_s) / 2);
        w->slowest = fmin(w->slowest, products[i + 1].flops_per_s);
        w->fastest = fmax(w->fastest, products[i + 1].flops_per_s);
    }
    if (r)
        return r;
    w->per_s = median(steps, rounds);
    w->share = median(share, rounds);
    w->cpu_share = products[0].steps_per_cpu_s > 0 ? median(cpu_share, rounds) : 0;
    w->gflops = w->per_s * work * products[0].flops_per_s / products[0].steps_per_s / 1e9;
    return TRM_OK;
}

static int bench_one(
    struct bench *b, const trm_model *m, const char *backend, int batch, trm_error *err) {
    cli_engine eo = {backend, b->engine.threads, batch};
    struct row w = {.model = m->name,
        .backend = backend,
        .work = b->train ? "train" : "step",
        .batch = batch,
        .threads = eo.threads};
    /* Training adds a backward pass, of twice the products, through one of T cycles. */
    double cycles = m->config.H_cycles, work = b->train ? (cycles + 2) / cycles : 1;
    cli_timed t;
    int r =
        b->train ? cli_timed_training(&t, &m->config, &eo, err) : cli_timed_engine(&t, m, &eo, err);
    if (!r && t.engine) {
        w.bytes = trm_engine_bytes(t.engine);
        w.slot_bytes = trm_engine_slot_bytes(t.engine);
    }
    if (!r)
        r = measure(b, &w, &t, m, work, err);
    cli_timed_close(&t);
    if (!r)
        report(b, &w);
    return r;
}

/* Without --backend, all of them but the reference, which would take minutes, and for training
 * those whose products have gradients. */
static bool is_wanted(const struct bench *b, const char *backend) {
    if (b->engine.backend)
        return strcmp(backend, b->engine.backend) == 0;
    return strcmp(backend, "reference") != 0 && !(b->train && strstr(backend, "int8"));
}

static int bench_model(struct bench *b, const trm_model *m, int batch, trm_error *err) {
    int r = TRM_OK, ran = 0;
    batch = b->batch ? b->batch : b->train ? 128 : batch;
    for (const char *const *name = trm_backends(); *name && !r; name++)
        if (is_wanted(b, *name)) {
            r = bench_one(b, m, *name, batch, err);
            ran++;
        }
    /* A name that is not in the list: the refusal tells which are. */
    return ran || r ? r : bench_one(b, m, b->engine.backend, batch, err);
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

/* Training steps of the Sudoku sizes, on one backend: a step of 128 puzzles takes its time. */
static int bench_training(struct bench *b, trm_error *err) {
    int r = TRM_OK;
    b->train = true;
    if (!b->engine.backend)
        b->engine.backend = trm_backends()[0];
    for (int i = 0; i < N_SIZES && !r && !strstr(b->engine.backend, "int8"); i++)
        if (sizes[i].trains)
            r = bench_size(b, &sizes[i], err);
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
    if (!r && !b->size && !b->train)
        r = bench_training(b, err);
    if (!ran)
        return trm_fail(
            err, TRM_E_ARG, "--size must be sudoku-512, maze-512 or sudoku-128, not '%s'", b->size);
    return r;
}

static int open_csv(struct bench *b, trm_error *err) {
    b->csv_file = fopen(b->csv, "a");
    if (!b->csv_file)
        return trm_fail(err, TRM_E_IO, "%s: %s", b->csv, strerror(errno));
    if (fseek(b->csv_file, 0, SEEK_END) == 0 && ftell(b->csv_file) == 0)
        fputs("date,model,work,backend,threads,batch,puzzle_steps_per_s,gflops,gemm_share,"
              "gemm_gflops_min,gemm_gflops_max,bytes,slot_bytes,gemm_share_cpu\n",
            b->csv_file);
    return TRM_OK;
}

static int run(const cli_command *cmd, int argc, char **argv) {
    struct bench b = {.seconds = 3};
    const cli_option options[] = {
        {"size", 0, CLI_STRING, &b.size, 0, 0, "NAME", "only sudoku-512, maze-512 or sudoku-128"},
        {"model", 'm', CLI_STRING, &b.model, 0, 0, "MODEL", "this model instead"},
        {"batch", 'n', CLI_INT, &b.batch, 1, 65536, "N", "puzzles stepped together"},
        {"train", 0, CLI_FLAG, &b.train, 0, 0, NULL, "training steps (batch 128) alone"},
        {"seconds", 0, CLI_REAL, &b.seconds, 0.01, 3600, "S", "time for each row's steps (3)"},
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
    if (b.engine.backend && strcmp(b.engine.backend, "auto") == 0)
        b.engine.backend = trm_backends()[0];
    b.rows = b.json ? json_array() : NULL;
    r = b.csv ? open_csv(&b, &err) : TRM_OK;
    if (!r)
        r = bench_all(&b, &err);
    if (r)
        r = cli_fail(cmd, &err);
    else if (b.json)
        r = cli_print_json(cmd, json_pack("{s:O}", "rows", b.rows));
    json_decref(b.rows);
    if (b.csv_file && fclose(b.csv_file) && !r) {
        (void)trm_fail_errno(&err, b.csv, errno);
        r = cli_fail(cmd, &err);
    }
    return r;
}

const cli_command cmd_bench = {"bench", run, "[OPTION...]",
    "measure the engine per backend and model size",
    "Times supervision steps and, in turns with them, the matrix products of such a step by\n"
    "themselves, on the same shapes: the share is how near the engine comes to what the machine\n"
    "can do. Where the products' own rate varied, others use the machine: distrust the row, but\n"
    "for the share by processor time, which leaves out what they take, and waiting. A\n"
    "training step counts its backward pass as twice the products of its last cycle; without\n"
    "--size and --model such rows follow for the Sudoku sizes, on the first backend. The plain C\n"
    "reference runs only when --backend names it."};

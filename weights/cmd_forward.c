/* `trm forward`: raw logits after each supervision step, to compare with other programs. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "tensors.h"

struct forward {
    const trm_model *m;
    trm_engine *e;
    cli_batch in;
    int steps;
    float *logits, *q; /* (K, B, L, V), (K, B, 2) */
    int *slots;
};

static int load_all(const struct forward *f, trm_error *err) {
    for (int b = 0; b < f->in.rows; b++) {
        trm_error inner;
        trm_input in = {.cells = f->in.cells,
            .tokens = f->in.inputs + (size_t)b * (size_t)f->in.cells,
            .puzzle_identifier = f->in.identifiers ? f->in.identifiers[b] : 0};
        int r = trm_engine_load(f->e, b, &in, &inner);
        if (r)
            return trm_fail(err, r, "inputs, row %d: %s", b, inner.text);
        f->slots[b] = b;
    }
    return TRM_OK;
}

static int run_steps(const struct forward *f, trm_error *err) {
    size_t size = (size_t)f->in.cells * (size_t)f->m->config.vocab_size;
    float *logits = f->logits, *q = f->q;
    cli_progress p;
    int r = load_all(f, err);
    cli_progress_begin(&p, "forward");
    for (int k = 0; k < f->steps && !r; k++) {
        r = trm_engine_step(f->e, f->slots, f->in.rows, err);
        for (int b = 0; b < f->in.rows && !r; b++, logits += size, q += 2) {
            memcpy(logits, trm_engine_logits(f->e, b), size * sizeof(float));
            memcpy(q, trm_engine_q_logits(f->e, b), 2 * sizeof(float));
        }
        cli_progress_at(&p, k + 1, f->steps, NULL);
    }
    cli_progress_end(&p);
    return r;
}

static int write_out(const struct forward *f, const char *path, trm_error *err) {
    int64_t k = f->steps, b = f->in.rows, l = f->in.cells, v = f->m->config.vocab_size;
    const trm_st_view out[] = {
        {"logits", TRM_F32, 4, {k, b, l, v}, f->logits, sizeof(float) * (size_t)(k * b * l * v)},
        {"q_logits", TRM_F32, 3, {k, b, 2}, f->q, sizeof(float) * (size_t)(k * b * 2)}};
    return trm_st_write(path, out, 2, NULL, 0, err);
}

static int forward(struct forward *f, const cli_engine *eo, const char *to, trm_error *err) {
    int r = cli_engine_new(&f->e, f->m, eo, f->in.rows, true, err);
    if (r)
        return r;
    size_t rows = (size_t)f->steps * (size_t)f->in.rows;
    size_t row = (size_t)f->in.cells * (size_t)f->m->config.vocab_size;
    f->logits = calloc(rows, row * sizeof(float));
    f->q = calloc(rows, 2 * sizeof(float));
    f->slots = calloc((size_t)f->in.rows, sizeof *f->slots);
    if (!f->logits || !f->q || !f->slots)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %zu logits", rows * row);
    r = run_steps(f, err);
    return r ? r : write_out(f, to, err);
}

static int run(const cli_command *cmd, int argc, char **argv) {
    const char *model = NULL, *config = NULL, *from = NULL, *to = NULL;
    struct forward f = {.steps = 1};
    cli_engine eo = {0};
    const cli_option options[] = {
        CLI_TENSOR_OPTIONS(model, config, from, f.steps, to), CLI_ENGINE_OPTIONS(eo), CLI_END};
    cli_args args;
    trm_error err;
    trm_model *m = NULL;
    int r = cli_parse(cmd, options, 0, 0, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    r = cli_tensor_args(cmd, model, from, to);
    if (r != CLI_GO_ON)
        return r;
    r = cli_open_model(&m, model, TRM_KIND_SUDOKU, config, &err);
    f.m = m;
    if (!r)
        r = cli_batch_open(&f.in, from, &m->config, false, &err);
    if (!r)
        r = forward(&f, &eo, to, &err);
    r = r ? cli_fail(cmd, &err) : CLI_OK;
    free(f.slots);
    free(f.q);
    free(f.logits);
    trm_engine_free(f.e);
    cli_batch_close(&f.in);
    trm_model_free(m);
    return r;
}

const cli_command cmd_forward = {"forward", run,
    "--model MODEL --inputs IN.safetensors --steps K -o OUT.safetensors [OPTION...]",
    "write the logits after each of K supervision steps",
    "IN holds `inputs` I32 (B,L) and `puzzle_identifiers` I32 (B); OUT gets `logits` F32\n"
    "(K,B,L,V) and `q_logits` F32 (K,B,2: halt, continue), from the initial latents and\n"
    "without halting."};

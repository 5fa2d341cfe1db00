/* `trm grad`: losses and gradients of a batch, to compare with other programs. */
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "tensors.h"
#include "trm/cpus.h"
#include "trm/train.h"

/* One F32 tensor grad.NAME for each trained one, and `losses` F64 (K,3: lm, q_halt, total). */
static int write_out(const trm_model *m, const float *grads, const trm_loss *losses, int steps,
    const char *path, trm_error *err) {
    const trm_layout *l = &m->layout;
    int n = 0, r;
    trm_st_view *v = calloc((size_t)l->count + 1, sizeof *v);
    char(*name)[80] = calloc((size_t)l->count, sizeof *name);
    if (!v || !name) {
        free(v);
        free(name);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d tensors", l->count);
    }
    v[n++] =
        (trm_st_view){"losses", TRM_F64, 2, {steps, 3}, losses, (size_t)steps * 3 * sizeof(double)};
    for (int i = 0; i < l->count; i++) {
        const trm_param *p = &l->param[i];
        if (p->role == TRM_W_H_INIT || p->role == TRM_W_L_INIT)
            continue;
        (void)snprintf(name[i], sizeof name[i], "grad.%s", p->name);
        v[n] = (trm_st_view){.name = name[i],
            .dtype = TRM_F32,
            .ndim = cli_is_vector(p) ? 1 : 2,
            .shape = {p->rows, p->cols},
            .data = grads + p->offset,
            .bytes = (size_t)p->rows * (size_t)p->cols * sizeof(float)};
        if (cli_is_vector(p))
            v[n].shape[0] = p->cols;
        n++;
    }
    r = trm_st_write(path, v, n, NULL, 0, err);
    free(name);
    free(v);
    return r;
}

static int print(const cli_command *cmd, const trm_loss *losses, int steps, int batch, bool json) {
    json_t *list = json ? json_array() : NULL;
    for (int k = 0; k < steps; k++)
        if (json)
            (void)json_array_append_new(
                list, json_pack("{s:f,s:f,s:f}", "lm", losses[k].lm, "q_halt", losses[k].q_halt,
                          "total", losses[k].total));
        else
            printf("step %d: lm %.9g, q_halt %.9g, total %.9g\n", k + 1, losses[k].lm,
                losses[k].q_halt, losses[k].total);
    return json ? cli_print_json(
                      cmd, json_pack("{s:o,s:i}", "losses_per_step", list, "batch", batch))
                : CLI_OK;
}

static int grad(const cli_command *cmd, const trm_model *m, trm_grad_request *q,
    const cli_batch *in, const char *to, bool json) {
    trm_error err;
    int32_t *zeros = calloc((size_t)in->rows, sizeof *zeros);
    trm_loss *losses = calloc((size_t)q->steps, sizeof *losses);
    float *grads = calloc(m->layout.floats, sizeof *grads);
    q->batch = in->rows;
    q->inputs = in->inputs;
    q->labels = in->labels;
    q->puzzles = in->identifiers ? in->identifiers : zeros;
    int r = zeros && losses && grads ? trm_grad(m, q, losses, grads, &err)
                                     : trm_fail(&err, TRM_E_NOMEM, "out of memory for gradients");
    if (!r)
        r = write_out(m, grads, losses, q->steps, to, &err);
    r = r ? cli_fail(cmd, &err) : print(cmd, losses, q->steps, in->rows, json);
    free(grads);
    free(losses);
    free(zeros);
    return r;
}

static int run(const cli_command *cmd, int argc, char **argv) {
    const char *model = NULL, *config = NULL, *from = NULL, *to = NULL, *loss = "stablemax";
    static const char *const kinds[] = {"stablemax", "softmax", NULL};
    trm_grad_request q = {.steps = 1, .q_weight = 0.5};
    cli_engine eo = {0};
    bool json = false;
    const cli_option options[] = {CLI_TENSOR_OPTIONS(model, config, from, q.steps, to),
        {"loss", 0, CLI_STRING, &loss, 0, 0, "KIND", "stablemax (default) or softmax"},
        {"q-weight", 0, CLI_REAL, &q.q_weight, 0, 1e6, "X", "weight of the halt loss (0.5)"},
        CLI_ENGINE_OPTIONS(eo), {"json", 0, CLI_FLAG, &json, 0, 0, NULL, "print one JSON object"},
        CLI_END};
    cli_args args;
    trm_error err;
    trm_model *m = NULL;
    cli_batch in = {0};
    int r = cli_parse(cmd, options, 0, 0, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    r = cli_tensor_args(cmd, model, from, to);
    if (r != CLI_GO_ON)
        return r;
    int kind = cli_choice(loss, kinds);
    if (kind < 0)
        return cli_bad(cmd, "--loss must be stablemax or softmax, not '%s'", loss);
    q.loss = (trm_loss_kind)kind;
    q.backend = eo.backend;
    q.threads = eo.threads ? eo.threads : trm_cpus();
    r = cli_open_model(&m, model, TRM_KIND_SUDOKU, config, &err);
    if (!r)
        r = cli_batch_open(&in, from, &m->config, true, &err);
    r = r ? cli_fail(cmd, &err) : grad(cmd, m, &q, &in, to, json);
    cli_batch_close(&in);
    trm_model_free(m);
    return r;
}

const cli_command cmd_grad = {"grad", run,
    "--model MODEL --inputs IN.safetensors --steps K -o OUT.safetensors [OPTION...]",
    "write the losses and gradients of a batch",
    "IN holds `inputs` I32 (B,L), `labels` I32 (B,L; -100 = not counted) and, for models with\n"
    "puzzle embeddings, `puzzle_identifiers` I32 (B). K supervision steps run from the initial\n"
    "latents and never halt; OUT gets `losses` F64 (K,3: lm, q_halt, total; summed over the\n"
    "batch) and, as `grad.*`, the gradients of total/B of the last step alone."};

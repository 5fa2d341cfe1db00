/* `trm average`: the mean of several models' weights. The ends of trainings that began from the
 * same weights answer better as one (Wortsman et al., "Model soups", arXiv 2203.05482). */
#include <string.h>

#include "cli.h"
#include "trm/model.h"

static const char *const dtype_names[] = {"f32", "bf16", NULL};
static const trm_dtype dtypes[] = {TRM_F32, TRM_BF16};

static int same_shape(
    const trm_model *a, const trm_model *b, const char *first, const char *other, trm_error *err) {
    bool same = a->layout.count == b->layout.count;
    const char *at = "they have not as many tensors";
    for (int i = 0; same && i < a->layout.count; i++) {
        const trm_param *p = &a->layout.param[i], *q = &b->layout.param[i];
        at = p->name;
        same = strcmp(p->name, q->name) == 0 && p->rows == q->rows && p->cols == q->cols;
    }
    return same ? TRM_OK
                : trm_fail(err, TRM_E_ARG, "%s is of another shape than %s: %s", other, first, at);
}

/* Adds the weights of the file at `path` to m's. */
static int add(trm_model *m, const char *first, const char *path, trm_error *err) {
    trm_model *more;
    int r = trm_model_open(&more, path, NULL, err);
    if (r)
        return r;
    r = same_shape(m, more, first, path, err);
    for (size_t i = 0; !r && i < m->layout.floats; i++)
        m->w[i] += more->w[i];
    trm_model_free(more);
    return r;
}

static int average(
    const cli_command *cmd, const cli_args *args, const char *to, trm_dtype dtype, bool json) {
    trm_model *m = NULL;
    trm_error err;
    int r = trm_model_open(&m, args->at[0], NULL, &err);
    for (int i = 1; !r && i < args->n; i++)
        r = add(m, args->at[0], args->at[i], &err);
    for (size_t i = 0; !r && i < m->layout.floats; i++)
        m->w[i] /= (float)args->n;
    if (!r)
        r = trm_model_save(m, to, dtype, &err);
    if (r)
        r = cli_fail(cmd, &err);
    else if (json)
        r = cli_print_json(cmd, json_pack("{s:o,s:i,s:s}", "file", cli_json_path(to), "models",
                                    args->n, "dtype", trm_st_dtype_name(dtype)));
    else
        printf("%s: the mean of %d models, %s\n", to, args->n, trm_st_dtype_name(dtype));
    trm_model_free(m);
    return r;
}

static int run(const cli_command *cmd, int argc, char **argv) {
    const char *to = NULL, *dtype = "f32";
    bool json = false;
    const cli_option options[] = {
        {"output", 'o', CLI_STRING, &to, 0, 0, "FILE", "model file to write (.safetensors)"},
        {"dtype", 'd', CLI_STRING, &dtype, 0, 0, "TYPE", "f32 (default) or bf16"},
        {"json", 0, CLI_FLAG, &json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    int r = cli_parse(cmd, options, 2, CLI_ARGS, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    int type = cli_choice(dtype, dtype_names);
    if (!to)
        return cli_bad(cmd, "missing -o MODEL.safetensors");
    if (type < 0)
        return cli_bad(cmd, "--dtype must be f32 or bf16, not '%s'", dtype);
    return average(cmd, &args, to, dtypes[type], json);
}

const cli_command cmd_average = {"average", run,
    "MODEL MODEL [MODEL...] -o MEAN.safetensors [OPTION...]", "average the weights of models",
    "Up to eight models of one shape; the first says how the mean is run. One that is named\n"
    "twice counts twice. Ends of trainings from the same weights answer better as their mean;\n"
    "models that were not trained from the same ones do not."};

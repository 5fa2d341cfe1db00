/* `trm import`: other people's checkpoints become model files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "trm/import.h"

static const char *const dtype_names[] = {"f32", "bf16", "int8", NULL};
static const trm_dtype dtypes[] = {TRM_F32, TRM_BF16, TRM_I8};
static const char *const tasks[] = {"sudoku", "maze", "arc", NULL};

static int is_zip(bool *out, const char *path, trm_error *err) {
    char head[4] = "";
    FILE *f = fopen(path, "rb");
    if (!f)
        return trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(errno));
    size_t n = fread(head, 1, sizeof head, f);
    bool failed = ferror(f) != 0;
    if (failed)
        (void)trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(errno));
    (void)fclose(f);
    *out = n == 4 && memcmp(head, "PK\3\4", 4) == 0;
    return failed ? TRM_E_IO : TRM_OK;
}

static int from_pt(trm_model **out, const char *path, const trm_config *c, trm_error *err) {
    trm_pt_file *f;
    int r = trm_pt_open(&f, path, err);
    if (r)
        return r;
    r = TRM_E_NOMEM;
    int n = trm_pt_count(f);
    const trm_st_view **views = calloc((size_t)n + 1, sizeof(void *));
    if (views) {
        trm_error inner;
        for (int i = 0; i < n; i++)
            views[i] = trm_pt_at(f, i);
        r = trm_model_from_views(out, c, views, n, &inner);
        if (r)
            (void)trm_fail(err, r, "%s: %s", path, inner.text);
    } else {
        (void)trm_fail(err, r, "%s: out of memory", path);
    }
    free(views);
    trm_pt_close(f);
    return r;
}

static int load(trm_model **out, const char *path, const char *config, trm_error *err) {
    trm_config c;
    bool zip = false;
    int r = is_zip(&zip, path, err);
    if (!r && config)
        r = trm_config_read(&c, config, err);
    if (r)
        return r;
    if (!zip)
        return trm_model_open(out, path, config ? &c : NULL, err);
    if (config)
        return from_pt(out, path, &c, err);
    (void)trm_fail(err, TRM_E_ARG, "a PyTorch checkpoint needs --config CONFIG.json");
    return TRM_E_ARG;
}

/* The official configurations do not say what they were trained on; their sizes do. */
static const char *guess_task(const trm_config *c) {
    if (c->vocab_size == TRM_SUDOKU_VOCAB && c->seq_len == TRM_SUDOKU_CELLS)
        return "sudoku";
    if (c->vocab_size == TRM_MAZE_VOCAB)
        return "maze";
    return c->vocab_size == 12 && c->seq_len == 900 ? "arc" : "";
}

static int convert(const cli_command *cmd, const char *path, const char *config, const char *to,
    trm_dtype dtype, const char *task, bool json) {
    trm_model *m = NULL;
    trm_error err;
    int r = load(&m, path, config, &err);
    if (!r) {
        if (task || !m->config.task[0])
            (void)snprintf(
                m->config.task, sizeof m->config.task, "%s", task ? task : guess_task(&m->config));
        r = trm_model_save(m, to, dtype, &err);
    }
    if (r)
        r = cli_fail(cmd, &err);
    else if (json)
        r = cli_print_json(cmd,
            json_pack("{s:o,s:s,s:i,s:s,s:s}", "file", cli_json_path(to), "id", m->id, "tensors",
                m->layout.count, "dtype", trm_st_dtype_name(dtype), "task", m->config.task));
    else
        printf("%s: %d tensors, %s, task %s\n", to, m->layout.count, trm_st_dtype_name(dtype),
            m->config.task[0] ? m->config.task : "unknown");
    trm_model_free(m);
    return r;
}

static int run(const cli_command *cmd, int argc, char **argv) {
    const char *config = NULL, *to = NULL, *dtype = "f32", *task = NULL;
    bool json = false;
    const cli_option options[] = {
        {"config", 'c', CLI_STRING, &config, 0, 0, "FILE", "configuration, official key names"},
        {"output", 'o', CLI_STRING, &to, 0, 0, "FILE", "model file to write (.safetensors)"},
        {"dtype", 'd', CLI_STRING, &dtype, 0, 0, "TYPE", "f32 (default), bf16 or int8"},
        {"task", 0, CLI_STRING, &task, 0, 0, "NAME", "sudoku, maze or arc (default: by sizes)"},
        {"json", 0, CLI_FLAG, &json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    int r = cli_parse(cmd, options, 1, 1, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    int type = cli_choice(dtype, dtype_names);
    if (!to)
        return cli_bad(cmd, "missing -o MODEL.safetensors");
    if (type < 0)
        return cli_bad(cmd, "--dtype must be f32, bf16 or int8, not '%s'", dtype);
    if (task && cli_choice(task, tasks) < 0)
        return cli_bad(cmd, "--task must be sudoku, maze or arc, not '%s'", task);
    return convert(cmd, args.at[0], config, to, dtypes[type], task, json);
}

const cli_command cmd_import = {"import", run,
    "CHECKPOINT --config CONFIG.json -o MODEL.safetensors [OPTION...]",
    "turn a PyTorch or safetensors checkpoint into a model file",
    "CHECKPOINT is what torch.save() wrote (a zip; no pickle is executed) or a .safetensors\n"
    "file; which of them shows in its content. Tensors that are missing, unknown or of another\n"
    "shape than the configuration needs are refused by name."};

/* `trm info`: what is in a model file and what it costs to run. */
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"

static size_t count_weights(const trm_model *m) {
    size_t n = 0;
    for (int i = 0; i < m->layout.count; i++)
        n += (size_t)m->layout.param[i].rows * (size_t)m->layout.param[i].cols;
    return n;
}

static json_t *tensors_json(const trm_model *m) {
    json_t *list = json_array();
    for (int i = 0; i < m->layout.count; i++) {
        const trm_param *p = &m->layout.param[i];
        json_t *shape =
            cli_is_vector(p) ? json_pack("[i]", p->cols) : json_pack("[ii]", p->rows, p->cols);
        (void)json_array_append_new(list, json_pack("{s:s,s:o}", "name", p->name, "shape", shape));
    }
    return list;
}

static json_t *info_json(const trm_model *m, const trm_engine *e, const char *config) {
    size_t slot = trm_engine_slot_bytes(e), total = trm_engine_bytes(e);
    int slots = trm_engine_slots(e);
    return json_pack("{s:s,s:s,s:I,s:o,s:o,s:{s:s,s:I,s:I,s:i,s:I}}", "name", m->name, "id", m->id,
        "parameters", (json_int_t)count_weights(m), "config", json_loads(config, 0, NULL),
        "tensors", tensors_json(m), "memory", "backend", trm_engine_backend(e), "fixed_bytes",
        (json_int_t)(total - slot * (size_t)slots), "slot_bytes", (json_int_t)slot, "slots", slots,
        "total_bytes", (json_int_t)total);
}

static void info_text(const trm_model *m, const trm_engine *e, const char *config) {
    size_t slot = trm_engine_slot_bytes(e), total = trm_engine_bytes(e);
    size_t slots = (size_t)trm_engine_slots(e);
    printf("name        %s\nid          %s\nparameters  %zu\nconfig      %s\n", m->name, m->id,
        count_weights(m), config);
    printf("memory      %.1f MiB = %.1f MiB + %zu slots x %.1f KiB (backend %s)\n",
        (double)total / 0x1p20, (double)(total - slot * slots) / 0x1p20, slots,
        (double)slot / 0x1p10, trm_engine_backend(e));
    puts("tensors");
    for (int i = 0; i < m->layout.count; i++) {
        const trm_param *p = &m->layout.param[i];
        printf("  %-56s ", p->name);
        if (cli_is_vector(p))
            printf("%d\n", p->cols);
        else
            printf("%d x %d\n", p->rows, p->cols);
    }
}

static int run(const cli_command *cmd, int argc, char **argv) {
    const char *config = NULL;
    bool json = false;
    cli_engine eo = {0};
    const cli_option options[] = {
        {"config", 'c', CLI_STRING, &config, 0, 0, "FILE", "configuration, instead of MODEL's own"},
        CLI_ENGINE_OPTIONS(eo), CLI_SLOTS_OPTION(eo),
        {"json", 0, CLI_FLAG, &json, 0, 0, NULL, "print one JSON object"}, CLI_END};
    cli_args args;
    trm_error err;
    int r = cli_parse(cmd, options, 1, 1, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    trm_model *m = NULL;
    trm_engine *e = NULL;
    char *text = NULL;
    if (cli_open_model(&m, args.at[0], TRM_KIND_SUDOKU, config, &err) ||
        cli_engine_new(&e, m, &eo, 1, false, &err)) {
        r = cli_fail(cmd, &err);
    } else if (!(text = trm_config_dump(&m->config))) {
        r = cli_print_json(cmd, NULL);
    } else if (json) {
        r = cli_print_json(cmd, info_json(m, e, text));
    } else {
        info_text(m, e, text);
        r = CLI_OK;
    }
    free(text);
    trm_engine_free(e);
    trm_model_free(m);
    return r;
}

const cli_command cmd_info = {"info", run, "MODEL [OPTION...]",
    "show a model's configuration, tensors and memory",
    "MODEL is a file or the name of a shipped model. Running it takes a fixed amount of memory\n"
    "(weights as the backend holds them and each thread's work space) and so much a slot."};

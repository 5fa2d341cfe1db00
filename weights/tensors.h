/* The batch files of `trm forward` and `trm grad`: inputs, puzzle identifiers, labels.
 * A cli_batch owns its file; its pointers lie in it. */
#ifndef TRM_TENSORS_H
#define TRM_TENSORS_H

#include "cli.h"
#include "trm/safetensors.h"

typedef struct cli_batch {
    trm_st_file *file;
    int rows, cells;            /* B, L */
    const int32_t *inputs;      /* (B, L) */
    const int32_t *identifiers; /* (B); NULL where the model has no puzzle embeddings */
    const int32_t *labels;      /* (B, L), -100 = ignored; NULL unless asked for */
} cli_batch;

/* Opens PATH and checks names, types and shapes against the configuration; the values
 * themselves are checked by those who use them. */
int cli_batch_open(
    cli_batch *out, const char *path, const trm_config *c, bool labels, trm_error *err);
void cli_batch_close(cli_batch *b);

/* CLI_GO_ON, or bad input if one of the three that both commands need is missing. */
int cli_tensor_args(const cli_command *cmd, const char *model, const char *from, const char *to);

#define CLI_TENSOR_OPTIONS(model, config, from, steps, to)                                         \
    {"model", 'm', CLI_STRING, &(model), 0, 0, "MODEL", "model file, or a shipped one's name"},    \
        {"config", 'c', CLI_STRING, &(config), 0, 0, "FILE",                                       \
            "configuration, instead of MODEL's own"},                                              \
        {"inputs", 'i', CLI_STRING, &(from), 0, 0, "FILE", "safetensors file to read"},            \
        {"steps", 'k', CLI_INT, &(steps), 1, 100000, "K", "supervision steps (default 1)"}, {      \
        "output", 'o', CLI_STRING, &(to), 0, 0, "FILE", "safetensors file to write"                \
    }

#endif

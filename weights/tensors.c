/* Reading the batch files of `trm forward` and `trm grad`; see tensors.h. */
#include <string.h>

#include "tensors.h"

/* An I32 tensor of shape (rows), or (rows, cells) where cells > 0. */
static int find_i32(const int32_t **out, const trm_st_file *f, const char *path, const char *name,
    int64_t rows, int64_t cells, trm_error *err) {
    const trm_st_view *v = trm_st_find(f, name);
    if (!v)
        return trm_fail(err, TRM_E_FORMAT, "%s: tensor %s is missing", path, name);
    bool fits = v->dtype == TRM_I32 && v->ndim == (cells ? 2 : 1) && v->shape[0] == rows &&
                (!cells || v->shape[1] == cells);
    if (!fits)
        return trm_fail(err, TRM_E_FORMAT, "%s: tensor %s must be I32 of shape %lld%s%.0lld", path,
            name, (long long)rows, cells ? "x" : "", (long long)cells);
    *out = v->data;
    return TRM_OK;
}

int cli_batch_open(
    cli_batch *out, const char *path, const trm_config *c, bool labels, trm_error *err) {
    enum { MAX_ROWS = 1 << 16 };
    memset(out, 0, sizeof *out);
    int r = trm_st_open(&out->file, path, err);
    if (r)
        return r;
    const trm_st_view *v = trm_st_find(out->file, "inputs");
    int64_t rows = v && v->ndim == 2 ? v->shape[0] : 1;
    if (rows < 1 || rows > MAX_ROWS)
        r = trm_fail(err, TRM_E_FORMAT, "%s: inputs has %lld rows, allowed are 1 to %d", path,
            (long long)rows, MAX_ROWS);
    out->rows = (int)rows;
    out->cells = c->seq_len;
    if (!r)
        r = find_i32(&out->inputs, out->file, path, "inputs", rows, c->seq_len, err);
    if (!r && c->puzzle_emb_ndim)
        r = find_i32(&out->identifiers, out->file, path, "puzzle_identifiers", rows, 0, err);
    if (!r && labels)
        r = find_i32(&out->labels, out->file, path, "labels", rows, c->seq_len, err);
    if (r)
        cli_batch_close(out);
    return r;
}

void cli_batch_close(cli_batch *b) {
    trm_st_close(b->file);
    memset(b, 0, sizeof *b);
}

int cli_tensor_args(const cli_command *cmd, const char *model, const char *from, const char *to) {
    if (model && from && to)
        return CLI_GO_ON;
    return cli_bad(cmd, "missing %s",
        !model  ? "--model MODEL"
        : !from ? "--inputs IN.safetensors"
                : "-o OUT.safetensors");
}

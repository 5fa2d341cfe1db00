/* What the commands open: texts, models (shipped ones among them), engines. Main thread only,
 * no state; what is handed out belongs to the caller. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "trm/cpus.h"

static int read_stream(char **out, size_t *size, FILE *f, const char *path, trm_error *err) {
    char *data = NULL;
    size_t used = 0, room = 0;
    do {
        room = room ? 2 * room : (size_t)1 << 16;
        char *more = realloc(data, room + 1);
        if (!more) {
            free(data);
            return trm_fail(err, TRM_E_NOMEM, "%s: out of memory", path);
        }
        data = more;
        used += fread(data + used, 1, room - used, f);
    } while (used == room);
    if (ferror(f)) {
        free(data);
        return trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(errno));
    }
    data[used] = 0;
    *out = data;
    *size = used;
    return TRM_OK;
}

int cli_read_all(char **out, size_t *size, const char *path, trm_error *err) {
    bool std = strcmp(path, "-") == 0;
    FILE *f = std ? stdin : fopen(path, "rb");
    if (!f)
        return trm_fail(err, TRM_E_IO, "%s: %s", path, strerror(errno));
    int r = read_stream(out, size, f, std ? "standard input" : path, err);
    if (!std)
        (void)fclose(f);
    return r;
}

/* Installed models lie beside the binary's folder; those of the build tree in the sources. */
static bool shipped_path(char *out, size_t size, const char *name) {
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) {
        *slash = 0;
        int k = snprintf(out, size, "%s/../share/trmd/models/%s.safetensors", exe, name);
        if (k > 0 && (size_t)k < size && access(out, R_OK) == 0)
            return true;
    }
    int k = snprintf(out, size, "%s/%s.safetensors", TRM_SOURCE_MODELS, name);
    return k > 0 && (size_t)k < size && access(out, R_OK) == 0;
}

int cli_open_model(
    trm_model **out, const char *model, trm_kind kind, const char *config, trm_error *err) {
    char path[PATH_MAX];
    trm_config given;
    if (config) {
        int r = trm_config_read(&given, config, err);
        if (r)
            return r;
    }
    if (!model && !shipped_path(path, sizeof path, cli_kind_name(kind)))
        return trm_fail(err, TRM_E_IO,
            "no %s model is shipped with this build; name one with "
            "--model",
            cli_kind_name(kind));
    if (model &&
        (strchr(model, '/') || access(model, F_OK) == 0 || !shipped_path(path, sizeof path, model)))
        (void)snprintf(path, sizeof path, "%s", model);
    return trm_model_open(out, path, config ? &given : NULL, err);
}

int cli_engine_new(trm_engine **out, const trm_model *m, const cli_engine *o, int slots,
    bool keep_logits, trm_error *err) {
    trm_engine_options eo = {.backend = o->backend,
        .threads = o->threads ? o->threads : trm_cpus(),
        .slots = o->slots ? o->slots : slots,
        .keep_logits = keep_logits};
    return trm_engine_new(out, m, &eo, err);
}

bool cli_is_vector(const trm_param *p) {
    return p->role == TRM_W_H_INIT || p->role == TRM_W_L_INIT || p->role == TRM_W_Q_BIAS;
}

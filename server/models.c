/* The models being served: found, loaded, tested, and replaced while requests run.
 *
 * A set of models with its engines is a pool. A reload makes a whole new one beside it, on a
 * thread of libuv's, and only a pool that has loaded and made a step takes over; calls that
 * are under way end in the old one, which is freed when the last has left. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "mailbox.h"
#include "trm/cpus.h"

struct load {
    uv_work_t work;
    trmd_app *a;
    trmd_pool *pool; /* NULL where the same models are served already */
    trm_error err;
    int r;
};

/* Installed models lie beside the binary's folder; those of the build tree in the sources. */
static bool shipped(char *out, size_t size, const char *name) {
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = 0;
    int k = snprintf(out, size, "%s/../share/trmd/models/%s.safetensors", exe, name);
    if (k > 0 && (size_t)k < size && access(out, R_OK) == 0)
        return true;
    k = snprintf(out, size, "%s/%s.safetensors", TRM_SOURCE_MODELS, name);
    return k > 0 && (size_t)k < size && access(out, R_OK) == 0;
}

/* A request asks for a model by its name: of two with the same, one would never be asked. */
static int refuse_equal_names(trm_model *const *model, int n, trm_error *err) {
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++)
            if (strcmp(model[i]->name, model[k]->name) == 0)
                return trm_fail(err, TRM_E_ARG,
                    "two models have the name \"%s\": name each file otherwise", model[i]->name);
    return TRM_OK;
}

static int load_models(const trmd_app *a, trm_model **model, int *n, trm_error *err) {
    static const char *const kinds[] = {"sudoku", "maze", "arc"};
    char path[PATH_MAX];
    int r = TRM_OK;
    *n = 0;
    if (a->o.model.n > TRMD_MODELS)
        return trm_fail(err, TRM_E_ARG, "at most %d models can be loaded", TRMD_MODELS);
    for (int i = 0; i < a->o.model.n && !r; i++) {
        r = trm_model_open(&model[*n], a->o.model.at[i], NULL, err);
        *n += !r;
    }
    for (int i = 0; a->o.model.n == 0 && i < 3 && !r; i++)
        if (shipped(path, sizeof path, kinds[i])) {
            r = trm_model_open(&model[*n], path, NULL, err);
            *n += !r;
        }
    if (!r && !*n)
        r = trm_fail(err, TRM_E_ARG, "no model is shipped with this build; name one with --model");
    return r ? r : refuse_equal_names(model, *n, err);
}

static bool streams(const trmd_work *w) {
    return w->call->streaming;
}

static void on_stepped(void *arg, trmd_work *w, const trm_lane *lane, trm_engine *e) {
    (void)arg;
    trmd_call_stepped(w, lane, e);
}

static void on_turned(void *arg, trmd_work *w, uint64_t now) {
    (void)arg;
    trmd_call_turned(w, now);
}

static void on_ended(void *arg, trmd_work *w) {
    trmd_app *a = arg;
    trmd_mailbox_ended(a->mailbox, w);
}

static void on_changed(void *arg) {
    trmd_app *a = arg;
    (void)uv_async_send(&a->async);
}

static int make_pool(trmd_pool **out, trmd_app *a, trm_model **model, int n, trm_error *err) {
    const trmd_pool_options o = {.backend = a->o.backend,
        .gpu_fallback = a->o.gpu_fallback,
        .threads = a->o.threads ? a->o.threads : trm_cpus(),
        .workers = a->o.workers,
        .slots = a->o.slots,
        .queue_puzzles = a->o.queue_puzzles,
        .queue_bytes = (size_t)a->o.queue_bytes,
        .arc_runs = a->o.arc_runs,
        .arc_queue = a->o.arc_queue,
        .turned = on_turned,
        .ended = on_ended,
        .changed = on_changed,
        .stepped = on_stepped,
        .streams = streams,
        .arg = a,
        .metrics = a->metrics};
    return trmd_pool_new(out, model, n, &o, err);
}

static bool served(const trmd_pool *p, trm_model *const *model, int n) {
    bool same = p && trmd_pool_models(p) == n && trmd_pool_health(p) == TRMD_WELL;
    for (int i = 0; i < n && same; i++) {
        const trm_model *m = trmd_pool_model(p, i);
        same = strcmp(m->name, model[i]->name) == 0 && strcmp(m->id, model[i]->id) == 0;
    }
    return same;
}

/* After a failure a reload tries the GPU again. *out stays NULL where a's pool serves exactly these
 * models already. */
static int load(trmd_pool **out, trmd_app *a, trm_error *err) {
    trm_model *model[TRMD_MODELS];
    int n, r = load_models(a, model, &n, err);
    *out = NULL;
    if (!r && !served(a->pool, model, n))
        return make_pool(out, a, model, n, err); /* it takes the models */
    for (int i = 0; i < n; i++)
        trm_model_free(model[i]);
    return r;
}

int trmd_models_check(const trmd_app *a, trm_error *err) {
    trm_model *model[TRMD_MODELS];
    int n, r = load_models(a, model, &n, err);
    for (int i = 0; i < n; i++)
        trm_model_free(model[i]);
    return r;
}

int trmd_models_start(trmd_app *a, trm_error *err) {
    return load(&a->pool, a, err);
}

/* Not on the loop thread, which changes neither options nor pool while this runs. */
static void on_load(uv_work_t *work) {
    struct load *l = work->data;
    l->r = load(&l->pool, l->a, &l->err);
}

static void on_loaded(uv_work_t *work, int status) {
    struct load *l = work->data;
    trmd_app *a = l->a;
    (void)status;
    a->loading = false;
    a->load_error.text[0] = 0;
    if (l->r)
        a->load_error = l->err;
    if (l->pool) {
        trmd_pool_succeed(l->pool, a->pool);
        a->pool = l->pool;
        trmd_announce_models(a);
    }
    free(l);
    trmd_reloaded(a);
    trmd_loop_kick(a);
}

void trmd_models_reload(trmd_app *a) {
    struct load *l = calloc(1, sizeof *l);
    a->loading = true;
    if (l) {
        l->a = a;
        l->work.data = l;
        if (uv_queue_work(&a->loop, &l->work, on_load, on_loaded) == 0)
            return;
    }
    free(l);
    a->loading = false;
    (void)trm_fail(&a->load_error, TRM_E_NOMEM, "out of memory for a reload");
    trmd_reloaded(a);
}

void trmd_models_tidy(trmd_app *a) {
    trmd_pool *spent;
    if (a->pool && trmd_pool_changed(a->pool))
        trmd_announce_models(a);
    while (a->pool && (spent = trmd_pool_spent(a->pool)))
        trmd_pool_free(spent);
}

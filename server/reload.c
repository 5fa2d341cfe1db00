/* Reloading without a gap: see app.h. Loop thread only. */
#include <string.h>

#include "http.h"
#include "notify.h"
#include "tls.h"

extern char **environ;

void trmd_announce_models(trmd_app *a) {
    trmd_metric_clear(a->metrics, TRMD_M_MODEL_INFO);
    for (int i = 0; i < trmd_pool_models(a->pool); i++) {
        trmp_model_info m;
        trmd_pool_info(a->pool, i, &m);
        trmd_gauge_set(
            a->metrics, TRMD_M_MODEL_INFO, 1, TRMD_LABELS(m.name, m.kind, m.backend, m.id));
        trmd_log(TRMD_INFO, "model ready",
            TRMD_FIELDS(TRMD_STR("model", m.name), TRMD_STR("kind", m.kind),
                TRMD_STR("backend", m.backend), TRMD_INT("slots", m.slots), TRMD_STR("id", m.id),
                TRMD_INT("bytes", (int64_t)m.bytes)));
    }
}

static void count(trmd_app *a, const char *what, int r) {
    trmd_count(a->metrics, TRMD_M_RELOADS, 1, TRMD_LABELS(what, r ? "error" : "ok"));
}

/* Options, log and limits. A part that is bad keeps its old state; the others go on. */
static int reload_config(trmd_app *a, trm_error *err) {
    trmd_options fresh;
    char left[512];
    int r = trmd_options_parse(&fresh, a->argc, a->argv, environ, err);
    if (!r && trmd_options_check_limits(&fresh, err)) {
        trmd_options_free(&fresh);
        r = TRM_E_ARG;
    }
    count(a, "config", r);
    if (r)
        return r;
    trmd_options_reload(&a->o, &fresh, left, sizeof left);
    int level = trmd_level_named(a->o.log_level);
    trmd_log_set(level < 0 ? TRMD_INFO : (trmd_level)level, strcmp(a->o.log_format, "json") == 0);
    trmd_ratelimit_set(a->limit, a->o.rate_limit, a->o.rate_burst);
    if (left[0])
        trmd_log(TRMD_WARN, "only a restart applies what has changed",
            TRMD_FIELDS(TRMD_STR("options", left)));
    return TRM_OK;
}

static int reload_keys(trmd_app *a, trm_error *err) {
    if (!a->auth)
        return TRM_OK;
    int r = trmd_auth_reload(a->auth, err);
    count(a, "keys", r);
    return r;
}

static int reload_tls(trmd_app *a, trm_error *err) {
    if (!trmd_tls_on())
        return TRM_OK;
    int r = trmd_tls_load(a->o.tls_cert, a->o.tls_key, err);
    count(a, "tls", r);
    return r;
}

/* Each part by itself; the first error is kept. */
static void reload_parts(trmd_app *a) {
    int (*const part[])(trmd_app *, trm_error *) = {reload_config, reload_keys, reload_tls};
    a->config_error.text[0] = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        trm_error err;
        if (part[i](a, &err) && !a->config_error.text[0])
            a->config_error = err;
    }
}

void trmd_reload(trmd_app *a) {
    if (a->loading) {
        a->again = true;
        return;
    }
    a->again = false;
    trmd_notify_reloading();
    reload_parts(a);
    trmd_models_reload(a);
}

void trmd_reloaded(trmd_app *a) {
    const char *why = a->config_error.text[0] ? a->config_error.text
                      : a->load_error.text[0] ? a->load_error.text
                                              : NULL;
    count(a, "model", a->load_error.text[0] != 0);
    a->reloads++;
    if (why)
        trmd_log(TRMD_ERROR, "reload failed; what is bad keeps its old state",
            TRMD_FIELDS(TRMD_STR("error", why)));
    else
        trmd_log(TRMD_INFO, "reloaded", NULL);
    for (trmd_conn *k = a->waiting; k; k = k->next_waiting)
        if (k->waits_for <= a->reloads)
            trmd_conn_resume(k);
    trmd_notify_ready();
    if (a->again && !a->draining)
        trmd_reload(a);
}

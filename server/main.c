/* trmd: starts, says where it listens, serves, drains. The only file that prints and exits. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "healthcheck.h"
#include "jobs.h"
#include "mailbox.h"
#include "notify.h"
#include "tls.h"
#include "trm/gpu.h"
#include "trm/streams.h"

extern char **environ;

enum { FILES_BESIDE = 256 }; /* the admin door's connections, models, logs, jobs */

static int bad(const trm_error *err) {
    fprintf(stderr, "trmd: %s\n", err->text);
    return 2;
}

static int start(trmd_app *a, trm_error *err) {
    int r = trmd_metrics_new(&a->metrics, err);
    if (!r && a->o.tls_cert[0])
        r = trmd_tls_load(a->o.tls_cert, a->o.tls_key, err);
    if (!r)
        r = trmd_loop_open(a, err);
    if (!r)
        r = trmd_mailbox_new(&a->mailbox, &a->async, err);
    if (!r && a->o.api_keys_file[0])
        r = trmd_auth_open(&a->auth, a->o.api_keys_file, err);
    if (!r) /* a reload may set a limit where there was none */
        r = trmd_ratelimit_new(&a->limit, a->o.rate_limit, a->o.rate_burst, 65536, err);
    if (!r && a->o.cache_entries > 0)
        r = trmd_cache_new(&a->cache, a->o.cache_entries, err);
    if (!r)
        r = trmd_models_start(a, err);
    if (!r)
        r = trmd_jobs_open(a, err);
    return r;
}

/* One line on stdout for each door, the public one first: scripts wait for it. */
static void announce(trmd_app *a) {
    const struct {
        const char *what, *host;
    } doors[TRMD_DOORS] = {{"listening", a->o.host}, {"admin", a->o.admin_host}};
    trmd_announce_models(a);
    trmd_log(TRMD_INFO, "gpu", TRMD_FIELDS(TRMD_STR("gpu", trm_gpu_status())));
    trmd_gauge_set(a->metrics, TRMD_M_BUILD_INFO, 1, TRMD_LABELS(TRM_VERSION));
    for (int i = 0; i < TRMD_DOORS; i++) {
        bool v6 = strchr(doors[i].host, ':') != NULL;
        if (a->door[i].http)
            printf("%s on http%s://%s%s%s:%d\n", doors[i].what, trmd_tls_on() ? "s" : "",
                v6 ? "[" : "", doors[i].host, v6 ? "]" : "", a->door[i].port);
    }
    (void)fflush(stdout);
}

static void stop(trmd_app *a) {
    trmd_loop_close(a);
    trmd_jobs_free(a);
    trmd_pool_free(a->pool);
    trmd_mailbox_free(a->mailbox);
    trmd_auth_free(a->auth);
    trmd_ratelimit_free(a->limit);
    trmd_cache_free(a->cache);
    trmd_metrics_free(a->metrics);
    trmd_tls_unload();
}

/* Every connection is an open file, and few systems allow a process thousands before it asks. */
static void allow_files(const trmd_options *o) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files))
        return;
    rlim_t want = (rlim_t)o->connections + FILES_BESIDE;
    if (files.rlim_cur < want) {
        files.rlim_cur = want < files.rlim_max ? want : files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur < want)
        trmd_log(TRMD_WARN, "fewer files may be open than connections",
            TRMD_FIELDS(TRMD_INT("files", (int64_t)files.rlim_cur),
                TRMD_INT("connections", o->connections)));
}

static int serve(trmd_app *a) {
    trm_error err;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error, not an end */
    json_object_seed(0);            /* before any thread */
    int level = trmd_level_named(a->o.log_level);
    if (trmd_log_open(2, level < 0 ? TRMD_INFO : (trmd_level)level,
            strcmp(a->o.log_format, "json") == 0, &err))
        return bad(&err);
    allow_files(&a->o);
    int r = trmd_options_check(&a->o, &err);
    if (!r)
        r = start(a, &err);
    if (!r) {
        announce(a);
        trmd_notify_watch(a);
        trmd_notify_ready();
        trmd_loop_run(a);
        trmd_log(TRMD_INFO, "stopped", NULL);
    }
    stop(a);
    trmd_log_close();
    return r ? bad(&err) : a->exit_code;
}

/* What was asked for and could not be written is not done; a daemon serves without its stdout. */
static int written(int r) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return r;
    fprintf(stderr, "trmd: cannot write to standard output: %s\n", strerror(errno));
    return 1;
}

int main(int argc, char **argv) {
    static trmd_app app;
    trm_error err;
    int r = 0;
    trm_streams_hold();
    app.argc = argc;
    app.argv = argv;
    if (trmd_options_parse(&app.o, argc, argv, environ, &err))
        return bad(&err);
    switch (app.o.action) {
    case TRMD_SHOW_HELP:
        trmd_options_help(stdout);
        break;
    case TRMD_SHOW_HELP_MARKDOWN:
        trmd_options_help_markdown(stdout);
        break;
    case TRMD_SHOW_VERSION:
        puts("trmd " TRM_VERSION);
        break;
    case TRMD_CHECK_CONFIG:
        r = trmd_options_check(&app.o, &err) || trmd_models_check(&app, &err) ||
                    trmd_options_print(&app.o, stdout, &err)
                ? bad(&err)
                : 0;
        break;
    case TRMD_HEALTHCHECK:
        r = trmd_healthcheck(&app.o);
        break;
    case TRMD_SERVE:
        r = serve(&app);
        break;
    }
    bool told = app.o.action != TRMD_SERVE;
    trmd_options_free(&app.o);
    return told ? written(r) : r;
}

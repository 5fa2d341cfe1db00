/* The admin door: an address of its own for who runs the daemon. It asks for no key, so it
 * listens on the loopback unless told otherwise; what a browser sends from a web page is
 * refused. Loop thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

enum { POST_RELOAD, GET_CONFIG, GET_MODELS, GET_LIVE, GET_READY, GET_METRICS };

static const struct {
    const char *path;
    int route;
    bool post;
} routes[] = {
    {"/admin/reload", POST_RELOAD, true},
    {"/admin/config", GET_CONFIG, false},
    {"/v1/models", GET_MODELS, false},
    {"/livez", GET_LIVE, false},
    {"/readyz", GET_READY, false},
    {"/metrics", GET_METRICS, false},
};
enum { N_ROUTES = sizeof routes / sizeof *routes };

static int find(const char *path) {
    for (int i = 0; i < N_ROUTES; i++)
        if (strcmp(path, routes[i].path) == 0)
            return i;
    return -1;
}

const char *trmd_admin_allows(const char *path) {
    int i = find(path);
    return i >= 0 && routes[i].post ? "POST" : "GET, HEAD";
}

static void refuse(trmd_conn *k, int status, const char *slug, const char *detail) {
    (void)trmp_problem_set(&k->problem, status, slug, NULL, "%s", detail);
    k->early = true;
}

void trmd_admin_headers(trmd_conn *k) {
    int i = find(k->path);
    bool get = strcmp(k->method, "GET") == 0 || strcmp(k->method, "HEAD") == 0;
    if (MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "Origin"))
        refuse(k, 403, "forbidden", "web pages may not call the admin endpoints");
    else if (i < 0)
        refuse(k, 404, "not-found", "there is nothing at this address");
    else if (routes[i].post ? strcmp(k->method, "POST") != 0 : !get)
        refuse(k, 405, "method-not-allowed",
            routes[i].post ? "this address takes POST" : "this address takes GET");
}

static enum MHD_Result start_reload(trmd_conn *k) {
    trmd_app *a = k->app;
    k->waits_for = a->reloads + (a->loading ? 2 : 1);
    k->next_waiting = a->waiting;
    a->waiting = k;
    trmd_conn_suspend(k);
    trmd_reload(a);
    return MHD_YES;
}

void trmd_admin_forget(trmd_conn *k) {
    for (trmd_conn **at = &k->app->waiting; *at; at = &(*at)->next_waiting)
        if (*at == k) {
            *at = k->next_waiting;
            return;
        }
}

/* What is good is in force now; 422 names what was not. */
static enum MHD_Result end_reload(trmd_conn *k) {
    const trmd_app *a = k->app;
    const char *why = a->config_error.text[0] ? a->config_error.text : a->load_error.text;
    trmp_problem p;
    trmd_admin_forget(k);
    if (k->gone)
        return MHD_NO;
    if (!why[0])
        return trmd_answer_models(k);
    (void)trmp_problem_set(&p, 422, "reload-failed", NULL, "%s", why);
    return trmd_answer_problem(k, &p);
}

static enum MHD_Result answer_config(trmd_conn *k) {
    char *text = NULL;
    size_t size;
    trm_error err;
    FILE *f = open_memstream(&text, &size);
    int r = f ? trmd_options_print(&k->app->o, f, &err) : -1;
    if (f && fclose(f) == 0 && r == TRM_OK)
        return trmd_answer_json(k, 200, text, "ok");
    free(text);
    return trmd_answer_json(k, 503, NULL, NULL);
}

enum MHD_Result trmd_admin_answer(trmd_conn *k) {
    switch (routes[find(k->path)].route) {
    case POST_RELOAD:
        return k->waits_for ? end_reload(k) : start_reload(k);
    case GET_CONFIG:
        return answer_config(k);
    case GET_MODELS:
        return trmd_answer_models(k);
    case GET_LIVE:
        return trmd_answer_live(k);
    case GET_READY:
        return trmd_answer_ready(k);
    default:
        return trmd_answer_metrics(k);
    }
}

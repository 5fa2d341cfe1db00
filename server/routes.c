/* Which address does what, and what is refused by its headers alone. Loop thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "web.h"

enum route {
    POST_SUDOKU,
    POST_MAZE,
    POST_ARC,
    GET_LIVE,
    GET_READY,
    GET_METRICS,
    GET_MODELS,
    GET_OPENAPI,
    JOB,
    V2_SERVER,
    V2_LIVE,
    V2_READY,
    V2_MODEL,
    V2_MODEL_READY,
    V2_INFER
};

static const struct {
    const char *path; /* '*' stands for one name */
    enum route route;
    bool post, open; /* open: no API key asked for */
} routes[] = {
    {"/v1/sudoku", POST_SUDOKU, true, false},
    {"/v1/maze", POST_MAZE, true, false},
    {"/v1/arc", POST_ARC, true, false},
    {"/v1/jobs/*", JOB, false, false},
    {"/livez", GET_LIVE, false, true},
    {"/readyz", GET_READY, false, true},
    {"/metrics", GET_METRICS, false, true},
    {"/v1/models", GET_MODELS, false, false},
    {"/openapi.json", GET_OPENAPI, false, true},
    {"/v2", V2_SERVER, false, true},
    {"/v2/health/live", V2_LIVE, false, true},
    {"/v2/health/ready", V2_READY, false, true},
    {"/v2/models/*", V2_MODEL, false, false},
    {"/v2/models/*/ready", V2_MODEL_READY, false, true},
    {"/v2/models/*/infer", V2_INFER, true, false},
};
enum { N_ROUTES = sizeof routes / sizeof *routes };

static bool matches(const char *pattern, const char *path) {
    size_t n = strcspn(pattern, "*");
    if (strncmp(pattern, path, n) != 0)
        return false;
    if (!pattern[n])
        return !path[n];
    size_t name = strcspn(path + n, "/");
    return name > 0 && strcmp(pattern + n + 1, path + n + name) == 0;
}

static int find_route(const char *path) {
    for (int i = 0; i < N_ROUTES; i++)
        if (matches(routes[i].path, path))
            return i;
    return -1;
}

const char *trmd_route_allows(const char *path) {
    int i = find_route(path);
    return i < 0                    ? "GET, HEAD, OPTIONS"
           : routes[i].post         ? "POST, OPTIONS"
           : routes[i].route == JOB ? "GET, HEAD, DELETE, OPTIONS"
                                    : "GET, HEAD, OPTIONS";
}

static void refuse(trmd_conn *k, bool *now, int status, const char *slug, const char *detail) {
    (void)trmp_problem_set(&k->problem, status, slug, NULL, "%s", detail);
    k->early = true;
    *now = false; /* the body, if any, is read and thrown away first */
}

static bool is_json(const char *type) {
    if (!type)
        return true;
    size_t n = strcspn(type, ";");
    while (n && type[n - 1] == ' ')
        n--;
    return (n == 16 && strncasecmp(type, "application/json", 16) == 0) ||
           (n > 5 && strncasecmp(type, "application/", 12) == 0 &&
               strncasecmp(type + n - 5, "+json", 5) == 0);
}

static bool authorised(trmd_conn *k) {
    const trmd_app *a = k->app;
    return !a->auth ||
           trmd_auth_check(a->auth,
               MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "Authorization"),
               MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "X-API-Key"), k->key);
}

/* Seconds to wait, 0 = go on. */
static double limited(trmd_conn *k) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(k->http, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return k->app->limit
               ? trmd_ratelimit_take(k->app->limit, info ? info->client_addr : NULL, trmd_now())
               : 0;
}

/* A small body is read and thrown away, so that the connection lives on: under overload a new
 * connection for each refusal costs far more than the refusal. Of a large one, or one that the
 * client asks leave for, nothing more is wanted. */
static bool cut_off(trmd_conn *k, const char *length, long long most) {
    return !length || strtoll(length, NULL, 10) > most ||
           MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "Expect");
}

static void check_post(trmd_conn *k, bool *now) {
    trmd_app *a = k->app;
    const char *length = MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "Content-Length");
    const char *coding = MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "Content-Encoding");
    if (coding && strcasecmp(coding, "identity") != 0) {
        refuse(k, now, 415, "unsupported-media-type",
            "send the body as it is, without a Content-Encoding");
        return;
    }
    if (!is_json(MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "Content-Type"))) {
        refuse(k, now, 415, "unsupported-media-type",
            "send the header \"Content-Type: application/json\"");
        return;
    }
    if (length && strtoll(length, NULL, 10) > a->o.max_body_bytes) {
        (void)trmp_problem_set(&k->problem, 413, "too-large", NULL,
            "the body of %s bytes is larger than %lld", length, (long long)a->o.max_body_bytes);
        k->early = true;
        *now = cut_off(k, length, TRMD_DISCARD_MAX);
        return;
    }
    double wait = limited(k);
    if (wait > 0) {
        refuse(k, now, 429, "rate-limited", "this address sends more requests than it may");
        k->problem.retry_after = wait < 1 ? 1 : (int)(wait + 0.999);
        return;
    }
    if (k->kind != TRMP_ARC && !trmd_job_wanted(k) && !trmd_pool_room(a->pool, 1, 0)) {
        refuse(k, now, 429, "queue-full", "the queue is full");
        k->problem.retry_after = trmd_pool_retry_after(a->pool);
        *now = cut_off(k, length, 64 * 1024);
    }
}

static void route_known(trmd_conn *k, int i, bool *now) {
    bool post = strcmp(k->method, "POST") == 0;
    bool get = strcmp(k->method, "GET") == 0 || strcmp(k->method, "HEAD") == 0 ||
               (routes[i].route == JOB && strcmp(k->method, "DELETE") == 0);
    if (strcmp(k->method, "OPTIONS") == 0)
        return;
    if (routes[i].post ? !post : !get) {
        refuse(k, now, 405, "method-not-allowed",
            routes[i].post           ? "this address takes POST"
            : routes[i].route == JOB ? "this address takes GET and DELETE"
                                     : "this address takes GET");
        return;
    }
    if (!routes[i].open && !authorised(k)) {
        refuse(k, now, 401, "unauthorized", "send \"Authorization: Bearer KEY\"");
        return;
    }
    if (routes[i].post && k->app->quiesced) {
        refuse(k, now, 503, "draining", "the server is shutting down");
        k->problem.retry_after = 5;
        return;
    }
    if (routes[i].post && trmd_pool_health(k->app->pool) == TRMD_FAILED) {
        refuse(k, now, 503, "unavailable", "the engine failed");
        k->problem.retry_after = 5;
        return;
    }
    if (routes[i].route == V2_INFER && trmd_v2_begin(k)) {
        k->early = true;
        *now = false;
        return;
    }
    if (routes[i].post) {
        if (routes[i].route != V2_INFER)
            k->kind = routes[i].route == POST_MAZE  ? TRMP_MAZE
                      : routes[i].route == POST_ARC ? TRMP_ARC
                                                    : TRMP_SUDOKU;
        check_post(k, now);
    }
}

void trmd_route_headers(trmd_conn *k, bool *now) {
    int i = find_route(k->path);
    *now = false;
    if (i >= 0) {
        route_known(k, i, now);
    } else if (!trmd_web_find(k->path)) {
        refuse(k, now, 404, "not-found", "there is nothing at this address");
    } else if (strcmp(k->method, "GET") != 0 && strcmp(k->method, "HEAD") != 0 &&
               strcmp(k->method, "OPTIONS") != 0) {
        refuse(k, now, 405, "method-not-allowed", "this address takes GET");
    }
}

bool trmd_alive(const trmd_app *a) {
    return trmd_pool_alive(a->pool, a->o.hung_after_ms * 1e-3);
}

bool trmd_works(const trmd_app *a) {
    return trmd_alive(a) && trmd_pool_health(a->pool) != TRMD_FAILED;
}

enum MHD_Result trmd_answer_ready(trmd_conn *k) {
    trmd_app *a = k->app;
    const char *why = a->draining ? "draining" : !trmd_works(a) ? "engine" : NULL;
    return trmd_answer_json(
        k, why ? 503 : 200, trmp_health_dump(why ? "not ready" : "ready", why), why ? why : "ok");
}

enum MHD_Result trmd_answer_live(trmd_conn *k) {
    bool ok = trmd_alive(k->app);
    char why[80];
    (void)snprintf(
        why, sizeof why, "an engine thread has not moved for %d ms", k->app->o.hung_after_ms);
    return trmd_answer_json(k, ok ? 200 : 503,
        trmp_health_dump(ok ? "alive" : "hung", ok ? NULL : why), ok ? "ok" : "engine");
}

enum MHD_Result trmd_answer_models(trmd_conn *k) {
    trmp_model_info info[TRMD_MODELS];
    int n = trmd_pool_models(k->app->pool);
    for (int i = 0; i < n; i++)
        trmd_pool_info(k->app->pool, i, &info[i]);
    return trmd_answer_json(k, 200, trmp_models_dump(info, n), "ok");
}

enum MHD_Result trmd_answer_metrics(trmd_conn *k) {
    trmd_app *a = k->app;
    size_t size, bytes;
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(a->door[TRMD_PUBLIC].http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    trmd_gauge_set(a->metrics, TRMD_M_QUEUE_PUZZLES, trmd_pool_waiting(a->pool, &bytes), NULL);
    trmd_gauge_set(a->metrics, TRMD_M_QUEUE_BYTES, (double)bytes, NULL);
    trmd_gauge_set(a->metrics, TRMD_M_CONNECTIONS, info ? info->num_connections : 0, NULL);
    trmd_gauge_set(a->metrics, TRMD_M_READY, !a->draining && trmd_works(a), NULL);
    char *text = trmd_metrics_render(a->metrics, &size);
    struct MHD_Response *r = text ? trmd_response(k, text, size, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!r) {
        free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(r, "Content-Type", TRMD_METRICS_TYPE);
    return trmd_send(k, 200, r, "ok");
}

/* CORS preflight, and what OPTIONS is for. */
static enum MHD_Result answer_options(trmd_conn *k) {
    struct MHD_Response *r =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    const char *methods = trmd_route_allows(k->path);
    (void)MHD_add_response_header(r, "Allow", methods);
    (void)MHD_add_response_header(r, "Access-Control-Allow-Methods", methods);
    (void)MHD_add_response_header(r, "Access-Control-Allow-Headers",
        "Content-Type, Authorization, X-API-Key, X-Request-Id, traceparent, tracestate, Prefer");
    (void)MHD_add_response_header(r, "Access-Control-Max-Age", "600");
    return trmd_send(k, 204, r, "ok");
}

enum MHD_Result trmd_route_get(trmd_conn *k) {
    int i = find_route(k->path);
    size_t size;
    const char *text;
    if (strcmp(k->method, "OPTIONS") == 0)
        return answer_options(k);
    if (i < 0)
        return trmd_web_answer(k, trmd_web_find(k->path));
    switch (routes[i].route) {
    case GET_LIVE:
        return trmd_answer_live(k);
    case GET_READY:
        return trmd_answer_ready(k);
    case GET_METRICS:
        return trmd_answer_metrics(k);
    case GET_MODELS:
        return trmd_answer_models(k);
    case JOB:
        return trmd_job_look(k);
    case V2_SERVER:
        return trmd_v2_server(k);
    case V2_LIVE:
    case V2_READY:
        return trmd_v2_health(k, routes[i].route == V2_READY);
    case V2_MODEL:
    case V2_MODEL_READY:
        return trmd_v2_model(k, routes[i].route == V2_MODEL_READY);
    default:
        text = trmp_openapi(&size);
        return trmd_answer_static(k, "application/json", text, size);
    }
}

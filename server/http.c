/* See http.h. The handler is called once with the headers, then with pieces of the body, then
 * with size 0; and once more after each resume. State lives in trmd_conn. */
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "mailbox.h"
#include "peers.h"

static const char *header(const trmd_conn *k, const char *name) {
    return MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, name);
}

/* A stream's times are in its last event. */
static void timing_header(const trmd_conn *k, struct MHD_Response *r) {
    char text[128];
    if ((k->streaming && k->call) || k->follow)
        return;
    double queue = 0, compute = 0, total = (double)(trmd_now() - k->began) * 1e-6;
    if (k->call)
        (void)trmd_call_seconds(k->call, &queue, &compute);
    (void)snprintf(text, sizeof text, "queue;dur=%.3f, compute;dur=%.3f, total;dur=%.3f",
        queue * 1e3, compute * 1e3, total);
    (void)MHD_add_response_header(r, "Server-Timing", text);
}

static void common_headers(trmd_conn *k, struct MHD_Response *r) {
    (void)MHD_add_response_header(r, "X-Request-Id", k->id);
    (void)MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    timing_header(k, r);
    const char *origin = header(k, "Origin");
    const trmd_list *allowed = &k->app->o.cors_origins;
    for (int i = 0; origin && i < allowed->n; i++)
        if (strcmp(origin, allowed->at[i]) == 0) {
            (void)MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
            (void)MHD_add_response_header(r, "Access-Control-Expose-Headers",
                "X-Request-Id, Server-Timing, Retry-After, Location, Preference-Applied");
        }
    if (allowed->n)
        (void)MHD_add_response_header(r, "Vary", "Origin");
    if (k->app->draining || k->close)
        (void)MHD_add_response_header(r, "Connection", "close");
}

struct MHD_Response *trmd_response(
    trmd_conn *k, const void *bytes, size_t size, enum MHD_ResponseMemoryMode mode) {
    k->sent = strcmp(k->method, "HEAD") == 0 ? 0 : size;
    return MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes, mode);
}

enum MHD_Result trmd_send(trmd_conn *k, int status, struct MHD_Response *r, const char *reason) {
    if (!r)
        return MHD_NO;
    common_headers(k, r);
    k->status = status;
    k->reason = reason;
    k->answered = (double)(trmd_now() - k->began) * 1e-9;
    enum MHD_Result ok = MHD_queue_response(k->http, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

enum MHD_Result trmd_answer_json(trmd_conn *k, int status, char *text, const char *reason) {
    if (!text) {
        trmp_problem p;
        (void)trmp_problem_set(&p, 503, "unavailable", NULL, "out of memory");
        return trmd_answer_problem(k, &p);
    }
    struct MHD_Response *r = trmd_response(k, text, strlen(text), MHD_RESPMEM_MUST_FREE);
    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, "Content-Type", "application/json");
    (void)MHD_add_response_header(r, "Cache-Control", "no-store");
    return trmd_send(k, status, r, reason);
}

enum MHD_Result trmd_answer_problem(trmd_conn *k, const trmp_problem *p) {
    static const char none[] = "{\"status\":503,\"title\":\"out of memory\"}";
    trmp_problem shown = *p;
    shown.v2 = strncmp(k->path, "/v2", 3) == 0;
    char *text = trmp_problem_dump(&shown, k->id), number[16];
    struct MHD_Response *r = text ? trmd_response(k, text, strlen(text), MHD_RESPMEM_MUST_FREE)
                                  : trmd_response(k, none, sizeof none - 1, MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, "Content-Type", "application/problem+json");
    (void)MHD_add_response_header(r, "Cache-Control", "no-store");
    if (p->retry_after) {
        (void)snprintf(number, sizeof number, "%d", p->retry_after);
        (void)MHD_add_response_header(r, "Retry-After", number);
    }
    if (p->status == 405)
        (void)MHD_add_response_header(
            r, "Allow", k->door->admin ? trmd_admin_allows(k->path) : trmd_route_allows(k->path));
    if (p->status == 401)
        (void)MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    return trmd_send(k, p->status, r, p->slug);
}

enum MHD_Result trmd_answer_static(trmd_conn *k, const char *type, const void *bytes, size_t size) {
    struct MHD_Response *r = trmd_response(k, bytes, size, MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, "Content-Type", type);
    return trmd_send(k, 200, r, "ok");
}

/* The request's own id if it is fit to be logged, else one of ours. */
static void take_headers(trmd_conn *k) {
    const char *id = header(k, "X-Request-Id"), *trace = header(k, "traceparent"),
               *agent = header(k, "User-Agent");
    if (id && trmd_request_id_ok(id))
        (void)snprintf(k->id, sizeof k->id, "%s", id);
    else
        trmd_request_id_make(k->id);
    if (trace && trmd_traceparent_ok(trace))
        (void)snprintf(k->traceparent, sizeof k->traceparent, "%s", trace);
    (void)snprintf(k->agent, sizeof k->agent, "%s", agent ? agent : "");
}

/* The path of a request that names the whole address, as one to a proxy does. */
static const char *path_of(const char *url) {
    const char *rest = strncasecmp(url, "http://", 7) == 0    ? url + 7
                       : strncasecmp(url, "https://", 8) == 0 ? url + 8
                                                              : NULL;
    if (!rest)
        return url;
    rest += strcspn(rest, "/");
    return *rest ? rest : "/";
}

static trmd_conn *conn_new(
    trmd_door *d, struct MHD_Connection *http, const char *url, const char *method) {
    trmd_conn *k = calloc(1, sizeof *k);
    trmd_app *a = d->app;
    if (!k)
        return NULL;
    k->app = a;
    k->door = d;
    k->http = http;
    k->method = method;
    k->began = trmd_now();
    (void)snprintf(k->path, sizeof k->path, "%s", path_of(url));
    take_headers(k);
    trmd_gauge_add(a->metrics, TRMD_M_REQUESTS_IN_FLIGHT, 1, NULL);
    return k;
}

void trmd_body_free(trmd_conn *k) {
    k->app->arriving_bytes -= k->room;
    k->room = 0;
    free(k->body);
    k->body = NULL;
}

/* The bytes of bodies on their way are bounded with those of the requests that wait. */
static bool grow_body(trmd_conn *k, size_t size) {
    size_t room = k->room ? k->room * 2 : 4096;
    while (room < size)
        room *= 2;
    char *more = realloc(k->body, room);
    if (!more)
        return false;
    k->app->arriving_bytes += room - k->room;
    k->body = more;
    k->room = room;
    return true;
}

/* Body bytes are kept up to the limit; what is refused is read on and thrown away, so that
 * the client gets its answer instead of a reset. */
static enum MHD_Result take_body(trmd_conn *k, const char *data, size_t *size) {
    size_t n = *size;
    *size = 0;
    if (!k->early && k->size + n > (size_t)k->app->o.max_body_bytes) {
        k->early = true;
        (void)trmp_problem_set(&k->problem, 413, "too-large", NULL,
            "the body is larger than %lld bytes", (long long)k->app->o.max_body_bytes);
    }
    if (!k->early && k->size + n > k->room &&
        !trmd_pool_room(k->app->pool, 0, k->app->arriving_bytes - k->room + k->size + n)) {
        k->early = true;
        (void)trmp_problem_set(
            &k->problem, 429, "queue-full", NULL, "the queue has no room for a body just now");
        k->problem.retry_after = trmd_pool_retry_after(k->app->pool);
    }
    if (k->early) {
        trmd_body_free(k);
        k->discarded += n;
        return k->discarded > TRMD_DISCARD_MAX ? MHD_NO : MHD_YES;
    }
    if (k->size + n > k->room && !grow_body(k, k->size + n))
        return MHD_NO;
    memcpy(k->body + k->size, data, n);
    k->size += n;
    return MHD_YES;
}

static enum MHD_Result end_call(trmd_conn *k);

static enum MHD_Result begin_call(trmd_conn *k) {
    trmp_problem p;
    trmd_app *a = k->app;
    k->streaming = !k->v2[0] && trmd_stream_wanted(k);
    trmd_call *c = trmd_call_start(
        a, k->kind, k->v2[0] ? k->v2 : NULL, k->body ? k->body : "", k->size, k->streaming, &p);
    if (!c)
        return trmd_answer_problem(k, &p);
    c->conn = k;
    k->call = c;
    trmd_body_free(k);
    if (k->streaming)
        return trmd_answer_stream(k);
    if (k->call->left == 0) /* all remembered */
        return end_call(k);
    trmd_conn_suspend(k);
    return MHD_YES;
}

/* Resumed: all works have ended, or the client has left. */
static enum MHD_Result end_call(trmd_conn *k) {
    if (k->gone)
        return MHD_NO;
    if (trmd_call_failed(k->call)) {
        trmp_problem p;
        (void)trmp_problem_set(&p, 503, "unavailable", NULL, "the engine failed");
        p.retry_after = 5;
        return trmd_answer_problem(k, &p);
    }
    return trmd_answer_json(k, 200, trmd_call_answer(k->call), "ok");
}

enum MHD_Result trmd_http_handle(void *cls, struct MHD_Connection *c, const char *url,
    const char *method, const char *version, const char *data, size_t *size, void **state) {
    trmd_conn *k = *state;
    if (!k) {
        bool now = false;
        k = conn_new(cls, c, url, method);
        if (!k)
            return MHD_NO;
        *state = k;
        trmd_peer_asks(k->app, c);
        trmd_arriving(k->app, k);
        if (trmd_framing_bad(k, version))
            now = true;
        else if (k->door->admin)
            trmd_admin_headers(k);
        else
            trmd_route_headers(k, &now);
        if (now && k->early)
            return trmd_answer_problem(k, &k->problem);
        return MHD_YES;
    }
    if (*size)
        return take_body(k, data, size);
    trmd_arrived(k->app, k);
    if (k->early)
        return trmd_answer_problem(k, &k->problem);
    if (k->door->admin)
        return trmd_admin_answer(k);
    if (k->ask)
        return trmd_job_answered(k);
    if (strcmp(k->method, "POST") != 0)
        return trmd_route_get(k);
    if (k->call)
        return end_call(k);
    return !k->v2[0] && trmd_job_wanted(k) ? trmd_job_post(k) : begin_call(k);
}

/* The client's address, IPv4 as such also where it came in by IPv6. */
static const char *client_of(const trmd_conn *k, char out[NI_MAXHOST]) {
    static const char mapped[] = "::ffff:";
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(k->http, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *from = info ? info->client_addr : NULL;
    socklen_t size = from && from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                         : sizeof(struct sockaddr_in);
    if (!from || getnameinfo(from, size, out, NI_MAXHOST, NULL, 0, NI_NUMERICHOST))
        return NULL;
    return strncmp(out, mapped, sizeof mapped - 1) == 0 ? out + sizeof mapped - 1 : out;
}

static void log_request(const trmd_conn *k, enum MHD_RequestTerminationCode code) {
    double queue = -1, compute = -1, total = (double)(trmd_now() - k->began) * 1e-9;
    char status[16];
    bool left = code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (k->call)
        (void)trmd_call_seconds(k->call, &queue, &compute);
    const char *kind = k->v2[0]                                  ? trmp_kind_name(k->kind)
                       : strncmp(k->path, "/v1/sudoku", 10) == 0 ? "sudoku"
                       : strncmp(k->path, "/v1/maze", 8) == 0    ? "maze"
                       : strncmp(k->path, "/v1/arc", 7) == 0     ? "arc"
                       : strncmp(k->path, "/v1/jobs/", 9) == 0   ? "jobs"
                                                                 : "other";
    (void)snprintf(status, sizeof status, "%d", left ? 499 : k->status);
    const char *reason = left ? "client-left" : k->reason ? k->reason : "none";
    trmd_count(k->app->metrics, TRMD_M_REQUESTS, 1, TRMD_LABELS(kind, status, reason));
    if (!left && (k->status == 429 || k->status == 503))
        trmd_observe(k->app->metrics, TRMD_M_REJECT_SECONDS, k->answered, TRMD_LABELS(reason));
    trmd_observe(k->app->metrics, TRMD_M_REQUEST_SECONDS, k->answered, TRMD_LABELS(kind));
    if (!k->app->o.access_log)
        return;
    char client[NI_MAXHOST];
    trmd_access a = {.request_id = k->id,
        .traceparent = k->traceparent[0] ? k->traceparent : NULL,
        .client = client_of(k, client),
        .user_agent = k->agent[0] ? k->agent : NULL,
        .key = k->key[0] ? k->key : NULL,
        .method = k->method,
        .path = k->path,
        .kind = kind,
        .reason = reason,
        .status = left ? 499 : k->status,
        .puzzles = k->call ? k->call->n : 0,
        .bytes_in = k->size,
        .bytes_out = k->sent,
        .queue = queue,
        .compute = compute,
        .total = total};
    trmd_log_access(&a);
}

void trmd_http_completed(
    void *cls, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code) {
    trmd_app *a = cls;
    trmd_conn *k = *state;
    if (!k)
        return;
    *state = NULL;
    trmd_peer_rests(a, c);
    trmd_arrived(a, k);
    trmd_admin_forget(k);
    trmd_stream_end(k);
    log_request(k, k->gone ? MHD_REQUEST_TERMINATED_CLIENT_ABORT : code);
    trmd_gauge_add(a->metrics, TRMD_M_REQUESTS_IN_FLIGHT, -1, NULL);
    if (k->call)
        trmd_call_leave(k->call);
    trmd_job_left(k);
    free(k->event);
    trmd_body_free(k);
    free(k);
}

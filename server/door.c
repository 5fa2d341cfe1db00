/* A door: an address that trmd listens on. The loop drives libmicrohttpd through its epoll
 * descriptor and a timer re-armed after every run; forgetting the timer hangs the daemon now
 * and then. Loop thread only. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "peers.h"
#include "tls.h"

static void on_timer(uv_timer_t *t) {
    trmd_door_run(t->data);
}

static void on_poll(uv_poll_t *p, int status, int events) {
    (void)status;
    (void)events;
    trmd_door_run(p->data);
}

void trmd_door_run(trmd_door *d) {
    MHD_UNSIGNED_LONG_LONG ms;
    if (!d->http)
        return;
    (void)MHD_run(d->http);
    if (MHD_get_timeout(d->http, &ms) == MHD_YES)
        (void)uv_timer_start(&d->timer, on_timer, ms, 0);
    else
        (void)uv_timer_stop(&d->timer);
}

static int find_address(struct addrinfo **out, const char *host, int number, trm_error *err) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char port[16];
    (void)snprintf(port, sizeof port, "%d", number);
    int r = getaddrinfo(host, port, &hints, out);
    return r ? trm_fail(err, TRM_E_ARG, "host %.100s: %s", host, gai_strerror(r)) : TRM_OK;
}

/* What libmicrohttpd has to say, such as of requests that are none: before the door is open it is
 * why it will not be. */
static void on_message(void *arg, const char *format, va_list args) {
    trmd_door *d = arg;
    (void)vsnprintf(d->said, sizeof d->said, format, args);
    d->said[strcspn(d->said, "\n")] = 0;
    if (d->http)
        trmd_log(TRMD_INFO, "http", TRMD_FIELDS(TRMD_STR("detail", d->said)));
}

/* An address with a NUL in it stays as it came: decoded, it would end there, and /metrics%00 be
 * what a proxy in front keeps from strangers. */
static size_t unescape(void *arg, struct MHD_Connection *http, char *text) {
    (void)arg;
    (void)http;
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

/* The kernel cuts the backlog down to net.core.somaxconn. An address that another process listens
 * at is an error: to share it would be to lose every other client to that one. */
static struct MHD_Daemon *listen_at(trmd_door *d, const struct addrinfo *where) {
    const trmd_options *o = &d->app->o;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    unsigned most = d->admin ? 64 : (unsigned)o->connections;
    unsigned each = d->admin ? 0 : (unsigned)o->connections_per_ip;
    /* with a certificate loaded both doors speak TLS */
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)trmd_tls_retrieve},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, TRMD_TLS_PRIORITIES}, {MHD_OPTION_END, 0, NULL}};
    if (where->ai_family == AF_INET6)
        flags |= MHD_USE_DUAL_STACK; /* :: is all addresses */
    if (trmd_tls_on())
        flags |= MHD_USE_TLS;
    return MHD_start_daemon(flags, 0, NULL, NULL, trmd_http_handle, d, MHD_OPTION_EXTERNAL_LOGGER,
        on_message, d, MHD_OPTION_SOCK_ADDR, where->ai_addr, MHD_OPTION_NOTIFY_COMPLETED,
        trmd_http_completed, d->app, MHD_OPTION_NOTIFY_CONNECTION, trmd_peer_notify, d->app,
        MHD_OPTION_CONNECTION_LIMIT, most, MHD_OPTION_PER_IP_CONNECTION_LIMIT, each,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((o->idle_timeout_ms + 999) / 1000),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)64 * 1024, MHD_OPTION_LISTEN_BACKLOG_SIZE,
        4096u, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_ARRAY,
        trmd_tls_on() ? tls : tls + 2, MHD_OPTION_END);
}

/* libmicrohttpd's sentence ends in the system's reason. */
static int no_door(const trmd_door *d, const char *host, int port, trm_error *err) {
    const char *why = strrchr(d->said, ':');
    return trm_fail(err, TRM_E_IO, "cannot listen on %.100s port %d: %.100s", host, port,
        why && why[1] ? why + 2
        : *d->said    ? d->said
                      : "no reason given");
}

int trmd_door_open(trmd_app *a, int which, trm_error *err) {
    trmd_door *d = &a->door[which];
    d->app = a;
    d->admin = which == TRMD_ADMIN;
    const char *host = d->admin ? a->o.admin_host : a->o.host;
    int port = d->admin ? a->o.admin_port : a->o.port;
    struct addrinfo *found;
    int r = find_address(&found, host, port, err);
    if (r)
        return r;
    (void)uv_timer_init(&a->loop, &d->timer);
    d->timer.data = d->poll.data = d;
    d->http = listen_at(d, found);
    freeaddrinfo(found);
    if (!d->http)
        return no_door(d, host, port, err);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(d->http, MHD_DAEMON_INFO_BIND_PORT);
    d->port = info && info->port ? info->port : port;
    info = MHD_get_daemon_info(d->http, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(&a->loop, &d->poll, info->epoll_fd))
        return trm_fail(err, TRM_E_IO, "libmicrohttpd gives no epoll descriptor");
    (void)uv_poll_start(&d->poll, UV_READABLE, on_poll);
    return TRM_OK;
}

void trmd_door_close(trmd_door *d) {
    if (!d->http)
        return;
    (void)uv_poll_stop(&d->poll);
    MHD_stop_daemon(d->http);
    d->http = NULL;
}

/* One libuv loop drives libmicrohttpd through its epoll descriptor, a timer re-armed after
 * every run, and the workers' mailbox. See notes at each step: forgetting the timer hangs the
 * daemon now and then, and a suspended connection is blind, so its socket is watched here. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"
#include "mailbox.h"
#include "notify.h"

static void rearm(trmd_app *a);

static void run_http(trmd_app *a) {
    (void)MHD_run(a->http);
    rearm(a);
}

static void on_http_timer(uv_timer_t *t) {
    run_http(t->data);
}

static void on_http_poll(uv_poll_t *p, int status, int events) {
    (void)status;
    (void)events;
    run_http(p->data);
}

static void rearm(trmd_app *a) {
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(a->http, &ms) == MHD_YES)
        (void)uv_timer_start(&a->http_timer, on_http_timer, ms, 0);
    else
        (void)uv_timer_stop(&a->http_timer);
}

void trmd_loop_kick(trmd_app *a) {
    run_http(a);
}

static void on_watch_closed(uv_handle_t *h) {
    free(h);
}

/* The client has closed its side, or the connection is reset: nobody waits any more. */
static void on_disconnect(uv_poll_t *p, int status, int events) {
    trmd_conn *k = p->data;
    (void)status;
    (void)events;
    (void)uv_poll_stop(p);
    trmd_app *a = k->app;
    k->gone = true;
    if (k->call) {
        for (int i = 0; i < k->call->n; i++)
            atomic_store(&k->call->work[i].cancelled, true);
        trmd_pool_wake(a->pool);
    }
    trmd_conn_resume(k);
    trmd_loop_kick(a);
}

static void watch(trmd_conn *k) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(k->http, MHD_CONNECTION_INFO_CONNECTION_FD);
    uv_poll_t *p = info ? malloc(sizeof *p) : NULL;
    if (!p)
        return; /* a client that leaves is then noticed when its answer is written */
    if (uv_poll_init(&k->app->loop, p, info->connect_fd)) {
        free(p);
        return;
    }
    p->data = k;
    k->watch = p;
    (void)uv_poll_start(p, UV_DISCONNECT, on_disconnect);
}

void trmd_conn_suspend(trmd_conn *k) {
    if (k->suspended)
        return;
    k->suspended = true;
    MHD_suspend_connection(k->http);
    watch(k);
}

void trmd_conn_resume(trmd_conn *k) {
    if (!k->suspended)
        return;
    k->suspended = false;
    if (k->watch) {
        (void)uv_poll_stop(k->watch);
        uv_close((uv_handle_t *)k->watch, on_watch_closed);
        k->watch = NULL;
    }
    MHD_resume_connection(k->http);
}

/* The inactivity timeout never fires on a client that drips; this one counts from the first
 * byte to the last. Nothing can be answered within a body, so the socket is shut. */
static void on_patience(uv_timer_t *t) {
    trmd_app *a = t->data;
    uint64_t now = trmd_now(), most = (uint64_t)a->o.request_timeout_ms * 1000000u;
    for (trmd_conn *k = a->arriving; k; k = k->next_arriving) {
        const union MHD_ConnectionInfo *info =
            now - k->began < most
                ? NULL
                : MHD_get_connection_info(k->http, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (info)
            (void)shutdown(info->connect_fd, SHUT_RDWR);
    }
    if (!a->arriving)
        (void)uv_timer_stop(t);
}

void trmd_arriving(trmd_app *a, trmd_conn *k) {
    if (!a->arriving)
        (void)uv_timer_start(&a->patience_timer, on_patience, 100, 100);
    k->arriving = true;
    k->next_arriving = a->arriving;
    a->arriving = k;
}

void trmd_arrived(trmd_app *a, trmd_conn *k) {
    if (!k->arriving)
        return;
    k->arriving = false;
    for (trmd_conn **at = &a->arriving; *at; at = &(*at)->next_arriving)
        if (*at == k) {
            *at = k->next_arriving;
            return;
        }
}

static void on_mail(uv_async_t *h) {
    trmd_app *a = h->data;
    trmd_work *ended;
    trmd_call *ready;
    trmd_mailbox_take(a->mailbox, &ended, &ready);
    for (trmd_call *c = ready; c; c = c->next_ready)
        if (c->conn)
            trmd_conn_resume(c->conn);
    while (ended) {
        trmd_work *w = ended;
        trmd_call *c = w->call;
        ended = w->next;
        trmd_conn *k = c->conn;
        bool last = c->left == 1;
        if (last && k && c->streaming)
            trmd_call_finish_stream(c);
        trmd_call_ended(c, w);
        if (last && k)
            trmd_conn_resume(k);
    }
    trmd_loop_kick(a);
}

static unsigned connections(const trmd_app *a) {
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(a->http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

/* The drain: at once not ready; after the drain delay the listener closes, with all that it
 * had in its backlog accepted; then in-flight work ends, or is cancelled at the time limit. */
static void on_drain(uv_timer_t *t) {
    trmd_app *a = t->data;
    static uint64_t began;
    if (!a->quiesced) {
        for (int i = 0; i < 64; i++) /* accepts what waits in the backlog */
            (void)MHD_run(a->http);
        /* later clients are refused, not left waiting for a reset */
        (void)close(MHD_quiesce_daemon(a->http));
        a->quiesced = true;
        began = trmd_now();
    }
    run_http(a);
    bool late = trmd_now() - began > (uint64_t)a->o.drain_timeout_ms * 1000000u;
    if ((a->calls == 0 && connections(a) == 0) || late ||
        (a->calls == 0 && trmd_now() - began > 500000000u)) {
        if (late && a->calls)
            a->exit_code = 1;
        uv_stop(&a->loop);
    }
}

void trmd_drain_start(trmd_app *a) {
    if (a->draining) { /* a second signal: now */
        a->exit_code = 1;
        uv_stop(&a->loop);
        return;
    }
    a->draining = true;
    trmd_log(TRMD_INFO, "draining", NULL);
    trmd_notify_stopping();
    (void)uv_timer_start(&a->drain_timer, on_drain, (uint64_t)a->o.drain_delay_ms, 20);
}

static void on_stop_signal(uv_signal_t *s, int number) {
    (void)number;
    trmd_drain_start(s->data);
}

static void on_reload_signal(uv_signal_t *s, int number) {
    (void)number;
    trmd_reload(s->data);
}

static int make_http(trmd_app *a, trm_error *err) {
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                        .ai_socktype = SOCK_STREAM,
                        .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found = NULL;
    char port[16];
    (void)snprintf(port, sizeof port, "%d", a->o.port);
    int r = getaddrinfo(a->o.host, port, &hints, &found);
    if (r)
        return trm_fail(err, TRM_E_ARG, "host %.100s: %s", a->o.host, gai_strerror(r));
    if (found->ai_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    a->http = MHD_start_daemon(flags, 0, NULL, NULL, trmd_http_handle, a, MHD_OPTION_SOCK_ADDR,
        found->ai_addr, MHD_OPTION_NOTIFY_COMPLETED, trmd_http_completed, a,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)a->o.connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)a->o.connections_per_ip, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)((a->o.idle_timeout_ms + 999) / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)64 * 1024, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_LISTEN_BACKLOG_SIZE,
        4096u, MHD_OPTION_END); /* the kernel cuts it down to net.core.somaxconn */
    freeaddrinfo(found);
    if (!a->http)
        return trm_fail(err, TRM_E_IO, "cannot listen on %.100s port %d: in use or not allowed",
            a->o.host, a->o.port);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->http, MHD_DAEMON_INFO_BIND_PORT);
    a->port = info && info->port ? info->port : a->o.port;
    return TRM_OK;
}

int trmd_loop_open(trmd_app *a, trm_error *err) {
    if (uv_loop_init(&a->loop))
        return trm_fail(err, TRM_E_IO, "cannot make an event loop");
    a->looping = true;
    (void)uv_async_init(&a->loop, &a->async, on_mail);
    (void)uv_timer_init(&a->loop, &a->http_timer);
    (void)uv_timer_init(&a->loop, &a->drain_timer);
    (void)uv_signal_init(&a->loop, &a->term);
    (void)uv_timer_init(&a->loop, &a->patience_timer);
    (void)uv_signal_init(&a->loop, &a->intr);
    (void)uv_signal_init(&a->loop, &a->hup);
    a->async.data = a->http_timer.data = a->drain_timer.data = a->patience_timer.data = a;
    a->term.data = a->intr.data = a->hup.data = a;
    int r = make_http(a, err);
    if (r)
        return r;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->http, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(&a->loop, &a->http_poll, info->epoll_fd))
        return trm_fail(err, TRM_E_IO, "libmicrohttpd gives no epoll descriptor");
    a->http_poll.data = a;
    (void)uv_poll_start(&a->http_poll, UV_READABLE, on_http_poll);
    (void)uv_signal_start(&a->term, on_stop_signal, SIGTERM);
    (void)uv_signal_start(&a->intr, on_stop_signal, SIGINT);
    (void)uv_signal_start(&a->hup, on_reload_signal, SIGHUP);
    return TRM_OK;
}

void trmd_loop_run(trmd_app *a) {
    rearm(a);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
}

/* Every suspended connection must be resumed before the daemon is stopped, or
 * libmicrohttpd aborts the process. Only a drain that ran out of time leaves some. */
static void resume_all(uv_handle_t *h, void *arg) {
    trmd_app *a = arg;
    if (h->type != UV_POLL || h == (uv_handle_t *)&a->http_poll || uv_is_closing(h))
        return;
    trmd_conn *k = h->data;
    k->gone = true;
    trmd_conn_resume(k);
}

static void close_handle(uv_handle_t *h, void *arg) {
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

void trmd_loop_close(trmd_app *a) {
    if (!a->looping)
        return;
    if (a->http) {
        uv_walk(&a->loop, resume_all, a);
        (void)MHD_run(a->http);
        for (int i = 0; i < 500 && a->calls; i++) { /* cancelled works come back in a step */
            (void)uv_run(&a->loop, UV_RUN_NOWAIT);
            (void)usleep(10000);
        }
        (void)uv_poll_stop(&a->http_poll);
        MHD_stop_daemon(a->http);
    }
    uv_walk(&a->loop, close_handle, NULL);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&a->loop);
}

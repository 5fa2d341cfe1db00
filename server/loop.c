/* One libuv loop: doors, the workers' mailbox, signals, the drain. A suspended connection is
 * blind, so its socket is watched here. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "jobs.h"
#include "mailbox.h"
#include "notify.h"

void trmd_loop_kick(trmd_app *a) {
    for (int i = 0; i < TRMD_DOORS; i++)
        trmd_door_run(&a->door[i]);
    trmd_models_tidy(a);
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
        trmd_pool_wake(k->call->pool);
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
        MHD_get_daemon_info(a->door[TRMD_PUBLIC].http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

/* The drain: at once not ready; after the drain delay the listener closes, with all that it
 * had in its backlog accepted; then in-flight work ends, or is cancelled at the time limit. */
static void on_drain(uv_timer_t *t) {
    trmd_app *a = t->data;
    static uint64_t began;
    if (!a->quiesced) {
        for (int i = 0; i < 64; i++) /* accepts what waits in the backlog */
            (void)MHD_run(a->door[TRMD_PUBLIC].http);
        /* later clients are refused, not left waiting for a reset */
        (void)close(MHD_quiesce_daemon(a->door[TRMD_PUBLIC].http));
        a->quiesced = true;
        began = trmd_now();
    }
    trmd_loop_kick(a);
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
    trmd_jobs_drain(a);
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

int trmd_loop_open(trmd_app *a, trm_error *err) {
    if (uv_loop_init(&a->loop))
        return trm_fail(err, TRM_E_IO, "cannot make an event loop");
    a->looping = true;
    (void)uv_async_init(&a->loop, &a->async, on_mail);
    (void)uv_timer_init(&a->loop, &a->drain_timer);
    (void)uv_signal_init(&a->loop, &a->term);
    (void)uv_timer_init(&a->loop, &a->patience_timer);
    (void)uv_timer_init(&a->loop, &a->peers_timer);
    (void)uv_signal_init(&a->loop, &a->intr);
    (void)uv_signal_init(&a->loop, &a->hup);
    a->async.data = a->drain_timer.data = a->patience_timer.data = a->peers_timer.data = a;
    a->term.data = a->intr.data = a->hup.data = a;
    int r = trmd_door_open(a, TRMD_PUBLIC, err);
    if (!r && a->o.admin_port >= 0)
        r = trmd_door_open(a, TRMD_ADMIN, err);
    if (r)
        return r;
    (void)uv_signal_start(&a->term, on_stop_signal, SIGTERM);
    (void)uv_signal_start(&a->intr, on_stop_signal, SIGINT);
    (void)uv_signal_start(&a->hup, on_reload_signal, SIGHUP);
    return TRM_OK;
}

void trmd_loop_run(trmd_app *a) {
    trmd_loop_kick(a);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
}

/* Every suspended connection must be resumed before the daemon is stopped, or
 * libmicrohttpd aborts the process. Only a drain that ran out of time leaves some. */
static void resume_all(uv_handle_t *h, void *arg) {
    trmd_app *a = arg;
    if (h->type != UV_POLL || uv_is_closing(h))
        return;
    for (int i = 0; i < TRMD_DOORS; i++)
        if (h == (uv_handle_t *)&a->door[i].poll)
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
    if (a->pool) {
        uv_walk(&a->loop, resume_all, a);
        trmd_loop_kick(a);
        for (int i = 0; i < 500 && a->calls; i++) { /* cancelled works come back in a step */
            (void)uv_run(&a->loop, UV_RUN_NOWAIT);
            (void)usleep(10000);
        }
    }
    for (int i = 0; i < TRMD_DOORS; i++)
        trmd_door_close(&a->door[i]);
    trmd_jobs_stop(a);
    uv_walk(&a->loop, close_handle, NULL);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&a->loop);
}

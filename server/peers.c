/* See peers.h. Those that rest stand in a list, the longest first. */
#include <stdlib.h>
#include <sys/socket.h>

#include "peers.h"

enum { LOOK_MS = 1000 };

typedef struct trmd_peer {
    struct trmd_peer *next, *prev;
    uint64_t since; /* ns; 0 = a request is under way */
    int fd;
} trmd_peer;

/* Shut, not closed: the descriptor is libmicrohttpd's. */
static void on_look(uv_timer_t *t) {
    trmd_app *a = t->data;
    uint64_t now = trmd_now();
    uint64_t most = ((uint64_t)a->o.idle_timeout_ms + (uint64_t)a->o.request_timeout_ms) * 1000000u;
    for (trmd_peer *p = a->resting; p && now - p->since > most; p = p->next)
        (void)shutdown(p->fd, SHUT_RDWR);
    if (!a->resting)
        (void)uv_timer_stop(t);
}

static void leave(trmd_app *a, trmd_peer *p) {
    if (!p->since)
        return;
    *(p->prev ? &p->prev->next : &a->resting) = p->next;
    *(p->next ? &p->next->prev : &a->last_resting) = p->prev;
    p->since = 0;
}

static void rest(trmd_app *a, trmd_peer *p) {
    if (!a->resting)
        (void)uv_timer_start(&a->peers_timer, on_look, LOOK_MS, LOOK_MS);
    p->since = trmd_now();
    p->next = NULL;
    p->prev = a->last_resting;
    *(p->prev ? &p->prev->next : &a->resting) = p;
    a->last_resting = p;
}

void trmd_peer_notify(
    void *app, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what) {
    trmd_app *a = app;
    trmd_peer *p = *context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        p = info ? calloc(1, sizeof *p) : NULL;
        *context = p;
        if (!p)
            return;
        p->fd = info->connect_fd;
        rest(a, p);
    } else if (p) {
        leave(a, p);
        free(p);
        *context = NULL;
    }
}

static trmd_peer *peer_of(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

void trmd_peer_asks(trmd_app *a, struct MHD_Connection *c) {
    trmd_peer *p = peer_of(c);
    if (p)
        leave(a, p);
}

void trmd_peer_rests(trmd_app *a, struct MHD_Connection *c) {
    trmd_peer *p = peer_of(c);
    if (p && !p->since)
        rest(a, p);
}

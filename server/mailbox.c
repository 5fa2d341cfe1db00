/* See mailbox.h. One lock, two lists; uv_async_send coalesces. */
#include <stdlib.h>

#include "mailbox.h"

struct trmd_mailbox {
    pthread_mutex_t lock;
    uv_async_t *wake;
    trmd_work *ended, **ended_last;
    trmd_call *ready;
};

int trmd_mailbox_new(trmd_mailbox **out, uv_async_t *wake, trm_error *err) {
    trmd_mailbox *m = calloc(1, sizeof *m);
    if (!m)
        return trm_fail(err, TRM_E_NOMEM, "out of memory");
    (void)pthread_mutex_init(&m->lock, NULL);
    m->wake = wake;
    m->ended_last = &m->ended;
    *out = m;
    return TRM_OK;
}

void trmd_mailbox_free(trmd_mailbox *m) {
    if (!m)
        return;
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void trmd_mailbox_ended(trmd_mailbox *m, trmd_work *w) {
    (void)pthread_mutex_lock(&m->lock);
    w->next = NULL;
    *m->ended_last = w;
    m->ended_last = &w->next;
    (void)pthread_mutex_unlock(&m->lock);
    (void)uv_async_send(m->wake);
}

void trmd_mailbox_events(trmd_mailbox *m, trmd_call *c) {
    (void)pthread_mutex_lock(&m->lock);
    if (!c->ready) {
        c->ready = true;
        c->next_ready = m->ready;
        m->ready = c;
    }
    (void)pthread_mutex_unlock(&m->lock);
    (void)uv_async_send(m->wake);
}

/* A call is told of its events before its end, and leaves the ready list here, so it can be
 * freed once its works have ended. */
void trmd_mailbox_take(trmd_mailbox *m, trmd_work **ended, trmd_call **ready) {
    (void)pthread_mutex_lock(&m->lock);
    *ended = m->ended;
    *ready = m->ready;
    m->ended = NULL;
    m->ended_last = &m->ended;
    m->ready = NULL;
    for (trmd_call *c = *ready; c; c = c->next_ready)
        c->ready = false;
    (void)pthread_mutex_unlock(&m->lock);
}

/* The daemon's parts, tied together. Everything here belongs to the loop thread; workers
 * reach it only through the mailbox (see mailbox.h). */
#ifndef TRMD_APP_H
#define TRMD_APP_H

#include <microhttpd.h>
#include <uv.h>

#include "auth.h"
#include "log.h"
#include "metrics.h"
#include "options.h"
#include "pool.h"
#include "ratelimit.h"

struct trmd_conn;

typedef struct trmd_app {
    trmd_options o;
    uv_loop_t loop;
    struct MHD_Daemon *http;
    uv_poll_t http_poll;
    uv_timer_t http_timer, drain_timer, patience_timer, watchdog_timer;
    uv_async_t async; /* the mailbox has something */
    uv_signal_t term, intr, hup;
    int port;
    bool looping; /* the loop has been initialised */
    bool draining, quiesced;
    int exit_code;
    struct trmd_conn *arriving; /* requests whose body has not come whole */
    int calls;                  /* requests suspended or streaming */
    trmd_pool *pool;
    trmd_metrics *metrics;
    trmd_auth *auth; /* NULL = no keys asked for */
    trmd_ratelimit *limit;
    struct trmd_mailbox *mailbox;
    int argc;
    char **argv;
} trmd_app;

/* loop.c: the event loop around libmicrohttpd. */
int trmd_loop_open(trmd_app *a, trm_error *err);
/* Runs until the drain is over. */
void trmd_loop_run(trmd_app *a);
void trmd_loop_close(trmd_app *a);
/* To be called after anything that gives libmicrohttpd work: a resumed connection. */
void trmd_loop_kick(trmd_app *a);
void trmd_drain_start(trmd_app *a);
/* A request has begun to arrive: it is cut off if it takes longer than request_timeout_ms. */
void trmd_arriving(trmd_app *a, struct trmd_conn *k);
void trmd_arrived(trmd_app *a, struct trmd_conn *k);

/* main.c: SIGHUP: options, log level, keys and limits anew. */
void trmd_reload(trmd_app *a);

#endif

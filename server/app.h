/* The daemon's parts, tied together. Everything here belongs to the loop thread; workers
 * reach it only through the mailbox (see mailbox.h). */
#ifndef TRMD_APP_H
#define TRMD_APP_H

#include <microhttpd.h>
#include <uv.h>

#include "auth.h"
#include "cache.h"
#include "log.h"
#include "metrics.h"
#include "options.h"
#include "pool.h"
#include "ratelimit.h"

struct trmd_conn;
struct trmd_app;

/* A listening address: libmicrohttpd's daemon and what drives it; see door.c. */
typedef struct trmd_door {
    struct trmd_app *app;
    struct MHD_Daemon *http; /* NULL = not open */
    uv_poll_t poll;
    uv_timer_t timer;
    int port;
    bool admin;
    char said[256]; /* the last message of libmicrohttpd */
} trmd_door;

enum { TRMD_PUBLIC, TRMD_ADMIN, TRMD_DOORS };

typedef struct trmd_app {
    trmd_options o;
    uv_loop_t loop;
    trmd_door door[TRMD_DOORS];
    uv_timer_t drain_timer, patience_timer, peers_timer, watchdog_timer;
    uv_async_t async; /* the mailbox has something */
    uv_signal_t term, intr, hup;
    bool looping; /* the loop has been initialised */
    bool draining, quiesced;
    int exit_code;
    struct trmd_conn *arriving;               /* requests whose body has not come whole */
    size_t arriving_bytes;                    /* that bodies hold which are in no queue */
    struct trmd_peer *resting, *last_resting; /* connections between requests; peers.h */
    int calls;                                /* requests suspended or streaming */
    trmd_pool *pool;                          /* the models being served */
    bool loading, again;                /* a reload is under way; another is wanted after it */
    trm_error config_error, load_error; /* of the last reload; text "" = went well */
    uint64_t reloads;                   /* finished */
    struct trmd_conn *waiting;          /* for the end of a reload */
    trmd_metrics *metrics;
    trmd_auth *auth;       /* NULL = no keys asked for */
    trmd_ratelimit *limit; /* grants all where no limit is set */
    trmd_cache *cache;     /* NULL = none */
    struct trmd_mailbox *mailbox;
    struct trmd_jobs *jobs;
    int argc;
    char **argv;
} trmd_app;

/* loop.c: the event loop around libmicrohttpd. */
int trmd_loop_open(trmd_app *a, trm_error *err);
/* Runs until the drain is over. */
void trmd_loop_run(trmd_app *a);
void trmd_loop_close(trmd_app *a);
/* To be called after anything that gives libmicrohttpd work, such as a resumed connection. */
void trmd_loop_kick(trmd_app *a);
void trmd_drain_start(trmd_app *a);
/* A request has begun to arrive: it is cut off if it takes longer than request_timeout_ms. */
void trmd_arriving(trmd_app *a, struct trmd_conn *k);
void trmd_arrived(trmd_app *a, struct trmd_conn *k);

/* door.c: opens an address; drives all of them. */
int trmd_door_open(trmd_app *a, int which, trm_error *err);
void trmd_door_run(trmd_door *d);
void trmd_door_close(trmd_door *d);

/* models.c: loads the models in the calling thread; at the start. */
int trmd_models_start(trmd_app *a, trm_error *err);
/* Can they be read? For --check-config. */
int trmd_models_check(const trmd_app *a, trm_error *err);
/* Loads and tests them anew on a thread of its own; then the loop thread swaps them in, if
 * they are good and not the same, and calls trmd_reloaded(). */
void trmd_models_reload(trmd_app *a);
/* Frees older generations that are through, and tells what has changed in the present one. */
void trmd_models_tidy(trmd_app *a);

/* reload.c: options, log level, keys, limits and models anew, without a gap. A reload that is
 * asked for during one follows it. */
void trmd_reload(trmd_app *a);
void trmd_reloaded(trmd_app *a);
/* Tells metrics and log which models are served. */
void trmd_announce_models(trmd_app *a);

#endif

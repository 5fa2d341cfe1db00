/* systemd's notify protocol; see notify.h. The timer belongs to the app and is closed with the
 * loop's other handles. Loop thread only. */
#include "notify.h"

#ifdef TRM_HAVE_SYSTEMD

#include <string.h>
#include <systemd/sd-daemon.h>

static void tell(const char *state) {
    int r = sd_notify(0, state);
    if (r < 0)
        trmd_log(TRMD_WARN, "systemd cannot be told",
            TRMD_FIELDS(TRMD_STR("state", state), TRMD_STR("error", strerror(-r))));
}

void trmd_notify_ready(void) {
    tell("READY=1");
}

void trmd_notify_reloading(void) {
    tell("RELOADING=1");
}

void trmd_notify_stopping(void) {
    tell("STOPPING=1");
}

static void on_watch(uv_timer_t *t) {
    trmd_app *a = t->data;
    if (trmd_pool_alive(a->pool, a->o.hung_after_ms * 1e-3))
        tell("WATCHDOG=1");
}

void trmd_notify_watch(trmd_app *a) {
    uint64_t us = 0;
    int r = sd_watchdog_enabled(0, &us);
    if (r < 0)
        trmd_log(TRMD_WARN, "WATCHDOG_USEC is not understood; no watchdog",
            TRMD_FIELDS(TRMD_STR("error", strerror(-r))));
    if (r <= 0)
        return;
    uint64_t half = us / 2000 ? us / 2000 : 1;
    (void)uv_timer_init(&a->loop, &a->watchdog_timer);
    a->watchdog_timer.data = a;
    (void)uv_timer_start(&a->watchdog_timer, on_watch, 0, half);
}

#else

void trmd_notify_ready(void) {
}

void trmd_notify_reloading(void) {
}

void trmd_notify_stopping(void) {
}

void trmd_notify_watch(trmd_app *a) {
    (void)a;
}

#endif

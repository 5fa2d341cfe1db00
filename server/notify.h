/* Tells systemd how the daemon fares: ready, reloading, stopping, alive. Loop thread only.
 * Without libsystemd, or outside systemd, all of it does nothing. */
#ifndef TRMD_NOTIFY_H
#define TRMD_NOTIFY_H

#include "app.h"

void trmd_notify_ready(void);
void trmd_notify_reloading(void);
void trmd_notify_stopping(void);
/* If systemd watches, tells it at half its interval that the daemon lives: from the loop, so
 * that a stuck loop is silent, and only while the engines make progress. */
void trmd_notify_watch(trmd_app *a);

#endif

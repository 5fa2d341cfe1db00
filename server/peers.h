/* Connections between requests: one that brings no whole head of a request in all the time it
 * may idle and a request may take is closed, however busily it drips. libmicrohttpd tells of a
 * request only once its head is there, and its inactivity timer never fires on a drip.
 * Loop thread only. */
#ifndef TRMD_PEERS_H
#define TRMD_PEERS_H

#include "app.h"

/* For MHD_OPTION_NOTIFY_CONNECTION, with the app; keeps a trmd_peer as socket context. */
void trmd_peer_notify(
    void *app, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what);
/* A request's head has come; the request has ended. */
void trmd_peer_asks(trmd_app *a, struct MHD_Connection *c);
void trmd_peer_rests(trmd_app *a, struct MHD_Connection *c);

#endif

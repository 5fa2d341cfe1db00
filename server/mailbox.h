/* What workers tell the loop thread: ended works, and calls with new events. Pushing is the
 * only thing a worker does here; the loop thread drains everything at each wake. */
#ifndef TRMD_MAILBOX_H
#define TRMD_MAILBOX_H

#include "call.h"

typedef struct trmd_mailbox trmd_mailbox;

int trmd_mailbox_new(trmd_mailbox **out, uv_async_t *wake, trm_error *err);
void trmd_mailbox_free(trmd_mailbox *m);
/* Any thread. */
void trmd_mailbox_ended(trmd_mailbox *m, trmd_work *w);
void trmd_mailbox_events(trmd_mailbox *m, trmd_call *c);
/* Loop thread: takes all at once; lists are linked by `next` and `next_ready`. */
void trmd_mailbox_take(trmd_mailbox *m, trmd_work **ended, trmd_call **ready);

#endif

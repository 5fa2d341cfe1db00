/* Sends a plan's requests over a pool of keep-alive connections and fills the statistics.
 * One libuv loop on the caller's thread.
 */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <netinet/in.h>

#include "stats.h"

typedef struct load_client_options {
    struct sockaddr_storage to;
    int connections;
    double warmup;  /* requests meant before it are sent but not counted, in seconds */
    double timeout; /* a request is given up so long after its intended time */
    double closed;  /* 0: by the plan's schedule. Otherwise each connection sends its next
                       request when the last is answered, for so many seconds */
} load_client_options;

/* False: no loop or no memory; `why` (size >= 256) says so. */
bool load_client_run(const load_plan *p, const load_client_options *o, load_stats *s, char *why);

#endif

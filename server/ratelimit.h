/* A token bucket per client address: an IPv4 address, or an IPv6 /64.
 *
 * The table has a fixed number of places. A client who has been quiet long enough for a full
 * bucket is forgotten without loss; when a newcomer finds only busy places among its few, the
 * one with the fullest bucket gives way. The clock is the caller's. One thread, the loop's.
 */
#ifndef TRMD_RATELIMIT_H
#define TRMD_RATELIMIT_H

#include <stdint.h>
#include <sys/socket.h>

#include "trm/error.h"

typedef struct trmd_ratelimit trmd_ratelimit;

/* per_second tokens flow into a bucket that holds `burst` >= 1; per_second 0 grants all.
 * `clients` >= 1 places, rounded up to a power of two. */
int trmd_ratelimit_new(
    trmd_ratelimit **out, double per_second, double burst, int clients, trm_error *err);
void trmd_ratelimit_free(trmd_ratelimit *r);
/* New limits for all, from now on (reload). */
void trmd_ratelimit_set(trmd_ratelimit *r, double per_second, double burst);

/* Takes one token of the client at `from` (NULL or another family: one bucket for all such).
 * now_ns is any monotonic clock, e.g. uv_hrtime(). Returns 0 when granted; otherwise takes
 * nothing and returns the seconds until a token is there (> 0, for Retry-After, rounded up). */
double trmd_ratelimit_take(trmd_ratelimit *r, const struct sockaddr *from, uint64_t now_ns);

#endif

/* Token buckets in a small set-associative table. The caller's thread; owns its table. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ratelimit.h"

/* A client may sit in any place of one set. */
enum { WAYS = 8 };

typedef struct bucket {
    uint64_t client; /* the network part of the address */
    uint64_t at;     /* when `tokens` was right, in the caller's ns */
    double tokens;
    int family; /* 0: free */
} bucket;

struct trmd_ratelimit {
    double per_second, burst;
    uint64_t seed; /* so that nobody can aim addresses at one set */
    uint64_t sets; /* a power of two */
    bucket *table; /* sets * WAYS */
};

int trmd_ratelimit_new(
    trmd_ratelimit **out, double per_second, double burst, int clients, trm_error *err) {
    trmd_ratelimit *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the rate limit");
    for (r->sets = 1; r->sets * WAYS < (uint64_t)clients;)
        r->sets *= 2;
    r->table = calloc(r->sets * WAYS, sizeof *r->table);
    if (!r->table || getrandom(&r->seed, sizeof r->seed, 0) != (ssize_t)sizeof r->seed) {
        trmd_ratelimit_free(r);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the rate limit");
    }
    trmd_ratelimit_set(r, per_second, burst);
    *out = r;
    return TRM_OK;
}

void trmd_ratelimit_free(trmd_ratelimit *r) {
    if (!r)
        return;
    free(r->table);
    free(r);
}

void trmd_ratelimit_set(trmd_ratelimit *r, double per_second, double burst) {
    r->per_second = per_second > 0 ? per_second : 0;
    r->burst = burst > 1 ? burst : 1;
}

/* Who counts as one client. IPv4 inside IPv6 is the same client as IPv4. */
static int client_of(const struct sockaddr *from, uint64_t *client) {
    *client = 0;
    if (from && from->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        *client = in->sin_addr.s_addr;
        return AF_INET;
    }
    if (from && from->sa_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)from)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(in6)) {
            uint32_t v4;
            memcpy(&v4, in6->s6_addr + 12, sizeof v4);
            *client = v4;
            return AF_INET;
        }
        memcpy(client, in6->s6_addr, sizeof *client);
        return AF_INET6;
    }
    return AF_UNIX;
}

/* The finalizer of splitmix64 over the seeded address. */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void refill(const trmd_ratelimit *r, bucket *b, uint64_t now) {
    if (now > b->at) {
        b->tokens += (double)(now - b->at) * 1e-9 * r->per_second;
        b->at = now;
    }
    if (b->tokens > r->burst)
        b->tokens = r->burst;
}

/* The client's bucket, filled up to now; a newcomer takes the place of the fullest. */
static bucket *find(trmd_ratelimit *r, int family, uint64_t client, uint64_t now) {
    uint64_t set = mix(mix(client ^ r->seed) + (uint64_t)family) & (r->sets - 1);
    bucket *first = &r->table[set * WAYS], *give = first;
    for (bucket *b = first; b < first + WAYS; b++) {
        if (b->family == family && b->client == client) {
            refill(r, b, now);
            return b;
        }
        if (b->family)
            refill(r, b, now);
        if (give->family && (!b->family || b->tokens > give->tokens))
            give = b;
    }
    *give = (bucket){client, now, r->burst, family};
    return give;
}

double trmd_ratelimit_take(trmd_ratelimit *r, const struct sockaddr *from, uint64_t now_ns) {
    uint64_t client;
    if (r->per_second <= 0)
        return 0;
    int family = client_of(from, &client);
    bucket *b = find(r, family, client, now_ns);
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return 0;
    }
    return (1 - b->tokens) / r->per_second;
}

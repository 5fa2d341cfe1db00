/* redis://[:PASSWORD@]HOST[:PORT][/DB] in its parts. No state. */
#ifndef TRMD_REDIS_URL_H
#define TRMD_REDIS_URL_H

typedef struct trmd_redis_url {
    char host[256], password[256], db[8]; /* "" = none */
    int port;
} trmd_redis_url;

/* NULL, or what is wrong with it. */
const char *trmd_redis_url_read(trmd_redis_url *out, const char *text);

#endif

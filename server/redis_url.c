/* See redis_url.h. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "redis_url.h"

/* A part that ends where the next one begins; NULL where it does not fit. */
static const char *take(char *out, size_t room, const char *from, size_t n) {
    if (n >= room)
        return NULL;
    memcpy(out, from, n);
    out[n] = 0;
    return from + n;
}

const char *trmd_redis_url_read(trmd_redis_url *out, const char *text) {
    static const char scheme[] = "redis://";
    char port[8] = "6379";
    memset(out, 0, sizeof *out);
    if (strncmp(text, scheme, sizeof scheme - 1) != 0)
        return "must begin with redis://";
    const char *s = text + sizeof scheme - 1, *at = strrchr(s, '@');
    if (at) {
        if (*s != ':' || !take(out->password, sizeof out->password, s + 1, (size_t)(at - s - 1)))
            return "what stands before @ must be :PASSWORD";
        s = at + 1;
    }
    bool v6 = *s == '[';
    s += v6;
    s = take(out->host, sizeof out->host, s, strcspn(s, v6 ? "]" : ":/"));
    if (!s || !out->host[0] || (v6 && *s++ != ']'))
        return "must name a host: redis://HOST[:PORT][/DB]";
    if (*s == ':')
        s = take(port, sizeof port, s + 1, strcspn(s + 1, "/"));
    if (s && *s == '/')
        s = take(out->db, sizeof out->db, s + 1, strlen(s + 1));
    if (!s || *s || !port[0] || port[strspn(port, "0123456789")] || strtol(port, NULL, 10) > 65535)
        return "the port must be a number up to 65535, the database one after it";
    if (out->db[strspn(out->db, "0123456789")])
        return "the database must be a number";
    out->port = (int)strtol(port, NULL, 10);
    return NULL;
}

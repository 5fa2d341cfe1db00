/* Do a request's headers say without doubt where it ends and whom it asks? Where a proxy may read
 * them otherwise than this daemon, one request can hide in another. Loop thread only. */
#include <string.h>

#include "http.h"

typedef struct seen {
    int lengths, encodings, hosts;
    bool odd; /* an encoding other than chunked, or a name with a space in it */
} seen;

static enum MHD_Result look(
    void *cls, enum MHD_ValueKind kind, const char *key, const char *value) {
    seen *s = cls;
    (void)kind;
    s->lengths += strcasecmp(key, "Content-Length") == 0;
    s->hosts += strcasecmp(key, "Host") == 0;
    s->odd |= key[strcspn(key, " \t")] != 0; /* "Transfer-Encoding :" is one to some */
    if (strcasecmp(key, "Transfer-Encoding") == 0) {
        s->encodings++;
        s->odd |= !value || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

bool trmd_framing_bad(trmd_conn *k, const char *version) {
    seen s = {0, 0, 0, false};
    (void)MHD_get_connection_values(k->http, MHD_HEADER_KIND, look, &s);
    bool lengths = s.lengths + s.encodings > 1 || s.odd;
    bool hosts = s.hosts > 1 || (s.hosts == 0 && strcmp(version, "HTTP/1.1") == 0);
    if (!lengths && !hosts)
        return false;
    (void)trmp_problem_set(&k->problem, 400, "bad-request", NULL, "%s",
        lengths ? "more than one length, a length beside a transfer encoding, or an odd header"
                : "a request has one Host header");
    k->early = k->close = true;
    return true;
}

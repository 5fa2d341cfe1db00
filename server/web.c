/* See web.h. A strict content security policy: nothing from elsewhere, nothing inline. */
#include <string.h>

#include "web.h"

const trmd_web_file *trmd_web_find(const char *path) {
    if (strcmp(path, "/") == 0)
        path = "/index.html";
    for (const trmd_web_file *f = trmd_web_files; f->path; f++)
        if (strcmp(path, f->path) == 0)
            return f;
    return NULL;
}

/* Is `etag` in an If-None-Match list, or the list "*"? Weak tags count: RFC 9110, 13.1.2. */
static bool matches(const char *list, const char *etag) {
    if (!list)
        return false;
    size_t n = strlen(etag);
    for (const char *at = list; *at;) {
        at += strspn(at, ", \t");
        if (*at == '*')
            return true;
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        if (strncmp(at, etag, n) == 0)
            return true;
        at += strcspn(at, ",");
    }
    return false;
}

static const char *const headers[][2] = {
    {"Cache-Control", "no-cache"}, /* kept, but asked for again: parts of one page stay together */
    {"Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
    {"Referrer-Policy", "no-referrer"},
};

enum MHD_Result trmd_web_answer(trmd_conn *k, const trmd_web_file *f) {
    const char *have = MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "If-None-Match");
    bool same = matches(have, f->etag);
    /* Whole for 304 too: its bytes are not sent, and a Content-Length there is that of a 200. */
    struct MHD_Response *r = trmd_response(k, f->bytes, f->size, MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    if (same)
        k->sent = 0;
    (void)MHD_add_response_header(r, "Content-Type", f->type);
    (void)MHD_add_response_header(r, "ETag", f->etag);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        (void)MHD_add_response_header(r, headers[i][0], headers[i][1]);
    return trmd_send(k, same ? 304 : 200, r, "ok");
}

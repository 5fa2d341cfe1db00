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

enum MHD_Result trmd_web_answer(trmd_conn *k, const trmd_web_file *f) {
    const char *have = MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "If-None-Match");
    bool same = have && strcmp(have, f->etag) == 0;
    struct MHD_Response *r = MHD_create_response_from_buffer(
        same ? 0 : f->size, (void *)(uintptr_t)f->bytes, MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, "Content-Type", f->type);
    (void)MHD_add_response_header(r, "ETag", f->etag);
    (void)MHD_add_response_header(r, "Cache-Control", "no-cache");
    (void)MHD_add_response_header(r, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    (void)MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    return trmd_send(k, same ? 304 : 200, r, "ok");
}

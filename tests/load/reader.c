/* A reader of HTTP/1.1 responses with Content-Length, which is all a generator needs. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "reader.h"

enum { HEAD_MAX = 64 << 10, BODY_MAX = 64 << 20, STEP = 16 << 10 };

char *load_reader_room(load_reader *r, size_t *size) {
    if (r->room - r->used < STEP) {
        size_t room = r->room ? 2 * r->room : 2 * (size_t)STEP;
        char *grown = room > HEAD_MAX + (size_t)BODY_MAX ? NULL : realloc(r->bytes, room);
        if (!grown)
            return NULL;
        r->bytes = grown;
        r->room = room;
    }
    *size = r->room - r->used - 1;
    return r->bytes + r->used;
}

static bool read_head(load_reader *r, const char *end) {
    long length = -1;
    if (sscanf(r->bytes, "HTTP/1.1 %3d ", &r->status) != 1 || r->status < 100)
        return false;
    for (const char *line = strstr(r->bytes, "\r\n"); line && line < end;
         line = strstr(line + 2, "\r\n")) {
        const char *name = line + 2;
        if (strncasecmp(name, "content-length:", 15) == 0) {
            char *after;
            errno = 0;
            length = strtol(name + 15, &after, 10);
            if (errno || length < 0 || *after != '\r')
                return false;
        }
        if (strncasecmp(name, "connection:", 11) == 0)
            r->close = strncasecmp(name + 11 + strspn(name + 11, " "), "close", 5) == 0;
    }
    if (length < 0 && r->status != 204)
        return false;
    r->body = length > 0 ? (size_t)length : 0;
    return r->body <= BODY_MAX;
}

load_reading load_reader_got(load_reader *r, size_t n) {
    r->used += n;
    r->bytes[r->used] = 0;
    if (!r->head) {
        const char *end = strstr(r->bytes, "\r\n\r\n");
        if (!end)
            return r->used < HEAD_MAX && !memchr(r->bytes, 0, r->used) ? LOAD_MORE : LOAD_GARBLED;
        if (!read_head(r, end))
            return LOAD_GARBLED;
        r->head = (size_t)(end - r->bytes) + 4;
    }
    if (r->used > r->head + r->body)
        return LOAD_GARBLED;
    return r->used == r->head + r->body ? LOAD_DONE : LOAD_MORE;
}

const char *load_reader_body(const load_reader *r) {
    return r->bytes + r->head;
}

void load_reader_reset(load_reader *r) {
    r->used = r->head = r->body = 0;
    r->status = 0;
    r->close = false;
}

void load_reader_free(load_reader *r) {
    free(r->bytes);
    *r = (load_reader){0};
}

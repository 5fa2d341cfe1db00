/* Reads one HTTP/1.1 response as its bytes arrive: status, length, body. No sockets.
 * A reader owns its buffer; one thread.
 */
#ifndef LOAD_READER_H
#define LOAD_READER_H

#include <stdbool.h>
#include <stddef.h>

typedef enum load_reading {
    LOAD_MORE,    /* more bytes are needed */
    LOAD_DONE,    /* a whole response is there */
    LOAD_GARBLED, /* not HTTP, no Content-Length, too long, or out of memory */
} load_reading;

typedef struct load_reader {
    char *bytes; /* head and body, closed by a NUL */
    size_t used, room;
    size_t head; /* bytes of the head, 0 while it is not whole */
    size_t body; /* Content-Length */
    int status;
    bool close; /* the server closes the connection after it */
} load_reader;

/* Where the next bytes may be put: *size of them. NULL: no memory, or too long a response. */
char *load_reader_room(load_reader *r, size_t *size);
/* n bytes were put there. */
load_reading load_reader_got(load_reader *r, size_t n);
const char *load_reader_body(const load_reader *r);
/* Ready for the next response on the same connection. */
void load_reader_reset(load_reader *r);
void load_reader_free(load_reader *r);

#endif

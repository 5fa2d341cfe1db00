/* API keys: a file of names and hashes, checked in constant time, replaced while running.
 *
 * One key a line, `NAME:SHA256`: NAME is 1..64 of [A-Za-z0-9._-], SHA256 the 64 hexadecimal
 * digits of the key's hash; blank lines and lines that begin with # are skipped. Keys are long
 * random strings (so a plain hash is enough) and never stand in the file themselves:
 *
 *   key=$(openssl rand -hex 32); echo "alice:$(printf %s "$key" | sha256sum | cut -c1-64)"
 *
 * Two lines may carry the same name, which is how a key is rotated without a gap.
 * A trmd_auth belongs to one thread, the event loop's.
 */
#ifndef TRMD_AUTH_H
#define TRMD_AUTH_H

#include <stdbool.h>

#include "trm/error.h"

typedef struct trmd_auth trmd_auth;

enum { TRMD_KEY_NAME_MAX = 64, TRMD_KEY_NAME_ROOM = TRMD_KEY_NAME_MAX + 1 };

/* Reads the file (the path is copied). A file without a single key is an error: a daemon that
 * was told to ask for keys never runs open, and one that refuses all is of no use. */
int trmd_auth_open(trmd_auth **out, const char *file, trm_error *err);
void trmd_auth_free(trmd_auth *a);
/* Reads the file again; on an error the old keys stay. */
int trmd_auth_reload(trmd_auth *a, trm_error *err);
/* Has the file another modification time, size or inode than when it was last looked at (also
 * by a reload that failed)? For a timer: if so, call trmd_auth_reload(). */
bool trmd_auth_stale(const trmd_auth *a);
int trmd_auth_count(const trmd_auth *a);

/* `authorization` and `api_key` are the values of the request's Authorization and X-API-Key
 * headers, NULL where absent. The first counts if its scheme is Bearer, else the second. True
 * if the key is known; `name` then holds whose it is. Takes the same time whichever key of the
 * file matches, or none. */
bool trmd_auth_check(const trmd_auth *a, const char *authorization, const char *api_key,
    char name[TRMD_KEY_NAME_ROOM]);

#endif

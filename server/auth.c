/* API keys: the file's names and hashes, and the check of a request's headers against them.
 * A trmd_auth owns all it holds; the event loop's thread only. */
#include <ctype.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "auth.h"

enum { HASH = 32, KEYS_MAX = 4096 };

typedef struct auth_key {
    char name[TRMD_KEY_NAME_ROOM];
    unsigned char hash[HASH];
} auth_key;

typedef struct file_stamp {
    struct timespec time;
    off_t size;
    ino_t inode;
} file_stamp;

struct trmd_auth {
    char *file;
    auth_key *keys;
    int n;
    file_stamp stamp;
};

static file_stamp stamp_of(const char *file) {
    struct stat st;
    if (stat(file, &st))
        return (file_stamp){{0, 0}, -1, 0};
    return (file_stamp){st.st_mtim, st.st_size, st.st_ino};
}

static int nibble(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* NULL, or what is wrong with the line. */
static const char *read_line(auth_key *key, const char *line) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "._-";
    size_t name = strspn(line, letters);
    const char *hex = line + name + 1;
    if (!name || name > TRMD_KEY_NAME_MAX || line[name] != ':')
        return "a line is NAME:SHA256, and NAME is 1 to 64 of A-Z a-z 0-9 . _ -";
    memcpy(key->name, line, name);
    key->name[name] = 0;
    if (strlen(hex) != 2 * (size_t)HASH)
        return "SHA256 must be 64 hexadecimal digits: the hash of the key, not the key";
    for (int i = 0; i < HASH; i++) {
        int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return "SHA256 must be 64 hexadecimal digits: the hash of the key, not the key";
        key->hash[i] = (unsigned char)(high << 4 | low);
    }
    return NULL;
}

static int add_key(auth_key **keys, int *n, const auth_key *key) {
    auth_key *grown = realloc(*keys, sizeof *grown * (size_t)(*n + 1));
    if (!grown)
        return TRM_E_NOMEM;
    grown[(*n)++] = *key;
    *keys = grown;
    return TRM_OK;
}

static int read_lines(FILE *f, const char *file, auth_key **keys, int *n, trm_error *err) {
    char line[512];
    for (int number = 1; fgets(line, sizeof line, f); number++) {
        auth_key key = {0};
        if (!strchr(line, '\n') && !feof(f))
            return trm_fail(err, TRM_E_FORMAT, "%.300s:%d: the line is too long", file, number);
        line[strcspn(line, "\r\n")] = 0;
        if (!line[strspn(line, " \t")] || line[0] == '#')
            continue;
        const char *why = read_line(&key, line);
        if (why)
            return trm_fail(err, TRM_E_FORMAT, "%.300s:%d: %s", file, number, why);
        if (*n == KEYS_MAX)
            return trm_fail(err, TRM_E_FORMAT, "%.300s: more than %d keys", file, KEYS_MAX);
        if (add_key(keys, n, &key))
            return trm_fail(err, TRM_E_NOMEM, "out of memory for the API keys");
    }
    if (ferror(f))
        return trm_fail(err, TRM_E_IO, "%.300s: %s", file, strerror(errno));
    if (*n == 0)
        return trm_fail(err, TRM_E_FORMAT, "%.300s: holds no key", file);
    return TRM_OK;
}

int trmd_auth_reload(trmd_auth *a, trm_error *err) {
    auth_key *keys = NULL;
    int n = 0;
    /* before reading: a change during it is seen at the next look */
    a->stamp = stamp_of(a->file);
    FILE *f = fopen(a->file, "re");
    if (!f)
        return trm_fail(err, TRM_E_IO, "%.300s: %s", a->file, strerror(errno));
    int r = read_lines(f, a->file, &keys, &n, err);
    (void)fclose(f);
    if (r) {
        free(keys);
        return r;
    }
    free(a->keys);
    a->keys = keys;
    a->n = n;
    return TRM_OK;
}

int trmd_auth_open(trmd_auth **out, const char *file, trm_error *err) {
    trmd_auth *a = calloc(1, sizeof *a);
    *out = NULL;
    if (!a || !(a->file = strdup(file))) {
        free(a);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the API keys");
    }
    int r = trmd_auth_reload(a, err);
    if (r)
        trmd_auth_free(a);
    else
        *out = a;
    return r;
}

void trmd_auth_free(trmd_auth *a) {
    if (!a)
        return;
    free(a->keys);
    free(a->file);
    free(a);
}

bool trmd_auth_stale(const trmd_auth *a) {
    file_stamp now = stamp_of(a->file);
    return now.size != a->stamp.size || now.inode != a->stamp.inode ||
           now.time.tv_sec != a->stamp.time.tv_sec || now.time.tv_nsec != a->stamp.time.tv_nsec;
}

int trmd_auth_count(const trmd_auth *a) {
    return a->n;
}

/* The key that the request carries, or NULL. */
static const char *key_of(const char *authorization, const char *api_key) {
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        return authorization + 7 + strspn(authorization + 7, " ");
    return api_key;
}

bool trmd_auth_check(const trmd_auth *a, const char *authorization, const char *api_key,
    char name[TRMD_KEY_NAME_ROOM]) {
    unsigned char hash[HASH];
    const char *key = key_of(authorization, api_key);
    memset(name, 0, TRMD_KEY_NAME_ROOM);
    if (!key || !*key || gnutls_hash_fast(GNUTLS_DIG_SHA256, key, strlen(key), hash))
        return false;
    /* every key is looked at, and the name is taken without a branch on which one fits */
    unsigned found = 0;
    for (int i = 0; i < a->n; i++) {
        unsigned fits = gnutls_memcmp(hash, a->keys[i].hash, HASH) == 0;
        for (int k = 0; k < TRMD_KEY_NAME_ROOM; k++)
            name[k] = (char)(name[k] | (a->keys[i].name[k] & -(int)(fits & ~found)));
        found |= fits;
    }
    return found;
}

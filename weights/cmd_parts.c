/* `trm split` and `trm join`: a folder, such as a training run, as files that are small enough to
 * be carried anywhere, and back, byte for byte. parts.json names what the parts make up. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

enum { PIECE = 1 << 20, HASH_TEXT = 17 };

/* FNV-1a: against parts that were mixed up or cut off, not against forgery. */
struct hash {
    uint64_t h;
};

static void hash_add(struct hash *k, const unsigned char *at, size_t n) {
    for (size_t i = 0; i < n; i++)
        k->h = (k->h ^ at[i]) * 0x100000001b3u;
}

static void hash_text(const struct hash *k, char text[HASH_TEXT]) {
    (void)snprintf(text, HASH_TEXT, "%016" PRIx64, k->h);
}

static int io_error(trm_error *err, const char *path) {
    return trm_fail_errno(err, path, errno ? errno : EIO);
}

static FILE *open_file(const char *path, const char *how, int *r, trm_error *err) {
    errno = 0;
    FILE *f = fopen(path, how);
    if (!f)
        *r = io_error(err, path);
    return f;
}

static int close_file(FILE *f, const char *path, int r, trm_error *err) {
    errno = 0;
    if (f && fclose(f) && !r)
        return io_error(err, path);
    return r;
}

/* Up to `most` bytes, or all there are. */
static int copy(FILE *to, const char *to_path, FILE *from, const char *from_path, int64_t most,
    int64_t *copied, struct hash *hash, trm_error *err) {
    unsigned char *buffer = malloc(PIECE);
    int r = buffer ? TRM_OK : trm_fail(err, TRM_E_NOMEM, "out of memory for a copy");
    *copied = 0;
    while (!r && *copied < most) {
        int64_t left = most - *copied;
        errno = 0;
        size_t n = fread(buffer, 1, left < PIECE ? (size_t)left : PIECE, from);
        if (n == 0)
            break;
        hash_add(hash, buffer, n);
        if (fwrite(buffer, 1, n, to) != n)
            r = io_error(err, to_path);
        *copied += (int64_t)n;
    }
    if (!r && ferror(from))
        r = io_error(err, from_path);
    free(buffer);
    return r;
}

static void part_path(char path[PATH_MAX], const char *folder, const char *name, int part) {
    (void)snprintf(path, PATH_MAX, "%s/%s.part%03d", folder, name, part);
}

static int make_folder(const char *path, trm_error *err) {
    return mkdir(path, 0777) && errno != EEXIST ? io_error(err, path) : TRM_OK;
}

/* --- split ------------------------------------------------------------------------------- */

static int split_file(json_t *list, const char *from, const char *to, const char *name,
    int64_t size, trm_error *err) {
    char path[PATH_MAX], part[PATH_MAX], text[HASH_TEXT];
    struct hash hash = {0xcbf29ce484222325u};
    int64_t all = 0, copied = size;
    int parts = 0, r = TRM_OK;
    json_t *known = json_string(name);
    json_decref(known);
    if (!known)
        return trm_fail(err, TRM_E_ARG, "%s/%s: the name is not UTF-8", from, name);
    (void)snprintf(path, sizeof path, "%s/%s", from, name);
    FILE *in = open_file(path, "rb", &r, err);
    while (!r && copied == size) { /* a part that is not full is the last */
        part_path(part, to, name, parts);
        FILE *out = open_file(part, "wb", &r, err);
        if (!r)
            r = copy(out, part, in, path, size, &copied, &hash, err);
        r = close_file(out, part, r, err);
        all += copied;
        if (copied || !parts)
            parts++;
        else
            (void)unlink(part);
    }
    r = close_file(in, path, r, err);
    hash_text(&hash, text);
    if (!r && json_array_append_new(list, json_pack("{s:s,s:I,s:i,s:s}", "name", name, "bytes",
                                              (json_int_t)all, "parts", parts, "hash", text)))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for parts.json");
    return r;
}

static int split(const char *from, const char *to, int64_t size, json_t *list, trm_error *err) {
    char path[PATH_MAX];
    struct dirent **entry = NULL;
    struct stat st;
    int r = make_folder(to, err), n = r ? 0 : scandir(from, &entry, NULL, alphasort);
    if (n < 0)
        return io_error(err, from);
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", from, entry[i]->d_name);
        if (!r && stat(path, &st) == 0 && S_ISREG(st.st_mode))
            r = split_file(list, from, to, entry[i]->d_name, size, err);
        free(entry[i]);
    }
    free(entry);
    (void)snprintf(path, sizeof path, "%s/parts.json", to);
    if (!r && json_array_size(list) == 0)
        r = trm_fail(err, TRM_E_ARG, "%s holds no files", from);
    if (!r && json_dump_file(list, path, JSON_INDENT(1)))
        r = io_error(err, path);
    return r;
}

static int run_split(const cli_command *cmd, int argc, char **argv) {
    const char *to = NULL;
    double mb = 16;
    const cli_option options[] = {{"out", 'o', CLI_STRING, &to, 0, 0, "DIR", "where the parts go"},
        {"mb", 0, CLI_REAL, &mb, 0.001, 1e6, "N", "most of a part, in millions of bytes (16)"},
        CLI_END};
    cli_args args;
    trm_error err;
    int r = cli_parse(cmd, options, 1, 1, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    if (!to)
        return cli_bad(cmd, "where to? (-o DIR)");
    json_t *list = json_array();
    r = list ? split(args.at[0], to, (int64_t)(mb * 1e6), list, &err)
             : trm_fail(&err, TRM_E_NOMEM, "out of memory");
    json_decref(list);
    return r ? cli_fail(cmd, &err) : CLI_OK;
}

/* --- join -------------------------------------------------------------------------------- */

static int join_parts(FILE *out, const char *to, const char *from, const char *name, int parts,
    int64_t bytes, const char *want, trm_error *err) {
    char part[PATH_MAX], text[HASH_TEXT];
    struct hash hash = {0xcbf29ce484222325u};
    int64_t all = 0, copied;
    int r = TRM_OK;
    for (int i = 0; i < parts && !r; i++) {
        part_path(part, from, name, i);
        FILE *in = open_file(part, "rb", &r, err);
        if (!r)
            r = copy(out, to, in, part, INT64_MAX, &copied, &hash, err);
        if (in)
            (void)fclose(in);
        all += r ? 0 : copied;
    }
    hash_text(&hash, text);
    if (!r && (all != bytes || strcmp(text, want) != 0))
        r = trm_fail(err, TRM_E_FORMAT, "%s: its parts are not those of parts.json", name);
    return r;
}

/* Under another name until it is whole. */
static int join_file(const json_t *entry, const char *from, const char *to, trm_error *err) {
    const char *name, *hash;
    char path[PATH_MAX], fresh[PATH_MAX];
    json_int_t bytes;
    int parts, r = TRM_OK;
    if (json_unpack((json_t *)(uintptr_t)entry, "{s:s,s:I,s:i,s:s}", "name", &name, "bytes", &bytes,
            "parts", &parts, "hash", &hash) ||
        strchr(name, '/') || name[0] == '.')
        return trm_fail(
            err, TRM_E_FORMAT, "%s/parts.json: an entry is not one of trm split's", from);
    (void)snprintf(path, sizeof path, "%s/%s", to, name);
    int used = snprintf(fresh, sizeof fresh, "%s/%s.tmp", to, name);
    if (used < 0 || (size_t)used >= sizeof fresh)
        return trm_fail(err, TRM_E_ARG, "%s: the path is too long", name);
    FILE *out = open_file(fresh, "wb", &r, err);
    if (!r)
        r = join_parts(out, fresh, from, name, parts, bytes, hash, err);
    r = close_file(out, fresh, r, err);
    errno = 0;
    if (!r && rename(fresh, path))
        r = io_error(err, path);
    if (r)
        (void)unlink(fresh);
    return r;
}

static int run_join(const cli_command *cmd, int argc, char **argv) {
    const char *to = NULL;
    char path[PATH_MAX];
    const cli_option options[] = {
        {"out", 'o', CLI_STRING, &to, 0, 0, "DIR", "where the files go"}, CLI_END};
    cli_args args;
    trm_error err;
    json_error_t bad;
    size_t i;
    json_t *entry;
    int r = cli_parse(cmd, options, 1, 1, &args, argc, argv);
    if (r != CLI_GO_ON)
        return r;
    if (!to)
        return cli_bad(cmd, "where to? (-o DIR)");
    (void)snprintf(path, sizeof path, "%s/parts.json", args.at[0]);
    json_t *list = json_load_file(path, 0, &bad);
    if (!json_is_array(list)) {
        json_decref(list);
        return cli_bad(cmd, "%s: %s", path, list ? "not a list" : bad.text);
    }
    r = make_folder(to, &err);
    json_array_foreach(list, i, entry) {
        if (!r)
            r = join_file(entry, args.at[0], to, &err);
    }
    json_decref(list);
    return r ? cli_fail(cmd, &err) : CLI_OK;
}

const cli_command cmd_split = {"split", run_split, "DIR -o PARTS [--mb N]",
    "cut a run's files into small ones",
    "Every file of DIR, a training run for one, goes into PARTS as files of at most N million\n"
    "bytes, with parts.json that names them. `trm join` makes DIR again, byte for byte, and a\n"
    "run goes on from there as if it had never been cut."};
const cli_command cmd_join = {"join", run_join, "PARTS -o DIR",
    "make the files of `trm split` again",
    "Files whose parts are missing, cut off or mixed up are named and not written."};

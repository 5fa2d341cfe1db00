/* Checks of the options that look outside the text: files, the machine, limits that must fit
 * each other. No state; the caller's thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth.h"
#include "options_table.h"
#include "tls.h"
#include "trm/engine.h"

#define AT(field) offsetof(trmd_options, field)

/* The place that set the option at this offset. */
static void where_is(const trmd_options *o, size_t at, char out[OPTION_WHERE_ROOM]) {
    for (int i = 0; i < option_count; i++)
        if (option_rows[i].at == at)
            option_where(o, &option_rows[i], (option_source)o->from[i], out);
}

static int wrong(const trmd_options *o, size_t at, trm_error *err, const char *why) {
    char where[OPTION_WHERE_ROOM];
    where_is(o, at, where);
    return trm_fail(err, TRM_E_ARG, "%.240s: %.240s", where, why);
}

static int needs_file(const trmd_options *o, size_t at, const char *path, trm_error *err) {
    char why[300];
    struct stat st;
    errno = 0;
    if (access(path, R_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode))
        return TRM_OK;
    (void)snprintf(
        why, sizeof why, "%.200s: %s", path, errno ? strerror(errno) : "not a regular file");
    return wrong(o, at, err, why);
}

static int check_state_dir(const trmd_options *o, trm_error *err) {
    struct stat st;
    char why[300];
    const char *dir = o->state_dir;
    errno = 0;
    bool found = stat(dir, &st) == 0, folder = found && S_ISDIR(st.st_mode);
    if (folder && access(dir, R_OK | W_OK | X_OK) == 0)
        return TRM_OK;
    (void)snprintf(why, sizeof why, "%.200s: %s", dir,
        !found   ? strerror(errno)
        : folder ? "this user may not write there"
                 : "is not a directory");
    return wrong(o, AT(state_dir), err, why);
}

static int check_files(const trmd_options *o, trm_error *err) {
    int r = TRM_OK;
    for (int i = 0; i < o->model.n && !r; i++)
        r = needs_file(o, AT(model), o->model.at[i], err);
    if (!r && *o->tls_cert)
        r = needs_file(o, AT(tls_cert), o->tls_cert, err);
    if (!r && *o->tls_key)
        r = needs_file(o, AT(tls_key), o->tls_key, err);
    if (!r && *o->state_dir)
        r = check_state_dir(o, err);
    return r;
}

/* Both doors cannot have one. */
static int check_address(const trmd_options *o, trm_error *err) {
    return o->port > 0 && o->port == o->admin_port && strcmp(o->host, o->admin_host) == 0
               ? wrong(o, AT(admin_port), err, "is the public address")
               : TRM_OK;
}

static int check_tls(const trmd_options *o, trm_error *err) {
    trm_error why;
    if (!*o->tls_cert && !*o->tls_key)
        return TRM_OK;
    if (!*o->tls_key)
        return wrong(o, AT(tls_cert), err, "needs tls_key as well");
    if (!*o->tls_cert)
        return wrong(o, AT(tls_key), err, "needs tls_cert as well");
    int r = trmd_tls_check(o->tls_cert, o->tls_key, &why);
    return r ? wrong(o, AT(tls_cert), err, why.text) : TRM_OK;
}

static int check_backend(const trmd_options *o, trm_error *err) {
    char why[300] = "is not a backend that this build and machine can run: auto, cpu";
    if (strcmp(o->backend, "auto") == 0 || strcmp(o->backend, "cpu") == 0)
        return TRM_OK;
    for (const char *const *b = trm_backends(); *b; b++) {
        if (strcmp(o->backend, *b) == 0)
            return TRM_OK;
        (void)snprintf(why + strlen(why), sizeof why - strlen(why), ", %s", *b);
    }
    return wrong(o, AT(backend), err, why);
}

int trmd_options_check_limits(const trmd_options *o, trm_error *err) {
    if (o->deadline_ms > o->max_deadline_ms)
        return wrong(o, AT(deadline_ms), err, "is longer than max_deadline_ms");
    if (o->arc_deadline_ms > o->max_deadline_ms)
        return wrong(o, AT(arc_deadline_ms), err, "is longer than max_deadline_ms");
    if (o->max_steps > o->max_steps_limit)
        return wrong(o, AT(max_steps), err, "is more than max_steps_limit");
    if (o->attempts > o->max_attempts)
        return wrong(o, AT(attempts), err, "is more than max_attempts");
    if (o->max_puzzles_per_request > o->queue_puzzles)
        return wrong(o, AT(max_puzzles_per_request), err,
            "is more than queue_puzzles: such a request would never be let in");
    if (o->max_body_bytes > o->queue_bytes)
        return wrong(o, AT(max_body_bytes), err,
            "is more than queue_bytes: such a request would never be let in");
    if (o->max_body_bytes > o->job_bytes)
        return wrong(
            o, AT(job_bytes), err, "is less than max_body_bytes: such a job would never be let in");
    if (*o->jobs && *o->state_dir)
        return wrong(o, AT(jobs), err, "and state_dir: jobs are kept in one place or the other");
    if (o->threads > 0 && o->workers > o->threads)
        return wrong(o, AT(workers), err, "is more than threads");
    return TRM_OK;
}

static int check_keys(const trmd_options *o, trm_error *err) {
    trmd_auth *keys;
    trm_error why;
    if (!*o->api_keys_file)
        return TRM_OK;
    int r = trmd_auth_open(&keys, o->api_keys_file, &why);
    if (r)
        return wrong(o, AT(api_keys_file), err, why.text);
    trmd_auth_free(keys);
    return TRM_OK;
}

int trmd_options_check(const trmd_options *o, trm_error *err) {
    int r = trmd_options_check_limits(o, err);
    if (!r)
        r = check_address(o, err);
    if (!r)
        r = check_backend(o, err);
    if (!r)
        r = check_files(o, err);
    if (!r)
        r = check_tls(o, err);
    return r ? r : check_keys(o, err);
}

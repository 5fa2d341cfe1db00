/* Jobs in SQLite: a file in the state directory, or memory. See store.h.
 *
 * WAL with full synchronisation: a job that was answered with 202 survives a killed daemon and
 * a lost machine alike. A lock on a file of its own keeps a second daemon out of the directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "store.h"

enum { SCHEMA = 1 };

static const char schema[] =
    "CREATE TABLE jobs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    " owner TEXT NOT NULL, state INTEGER NOT NULL, claim INTEGER NOT NULL DEFAULT 0,"
    " created INTEGER NOT NULL, started INTEGER NOT NULL DEFAULT 0,"
    " ended INTEGER NOT NULL DEFAULT 0, expires INTEGER NOT NULL, body TEXT, progress TEXT,"
    " result TEXT, bytes INTEGER NOT NULL);"
    "CREATE INDEX jobs_state ON jobs (state, bytes);"
    "CREATE INDEX jobs_expires ON jobs (expires);"
    "PRAGMA user_version = 1;";

#define COLUMNS "id, kind, owner, state, claim, created, started, ended, expires, progress, result"

/* States in SQL: 0 queued, 1 running, 2 done, 3 failed, 4 cancelled. */
static const char *const text[] = {
    "INSERT INTO jobs (id, kind, owner, state, created, expires, body, bytes)"
    " VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, length(?6))",
    "SELECT " COLUMNS " FROM jobs WHERE id = ?1",
    "UPDATE jobs SET state = 1, claim = claim + 1, started = ?1 WHERE seq ="
    " (SELECT min(seq) FROM jobs WHERE state = 0) RETURNING " COLUMNS ", body",
    "UPDATE jobs SET progress = ifnull(?3, progress)"
    " WHERE id = ?1 AND claim = ?2 AND state = 1",
    "UPDATE jobs SET state = ?3, result = ?4, ended = ?5, expires = ?6, body = NULL,"
    " bytes = length(?4) WHERE id = ?1 AND claim = ?2 AND state = 1",
    "UPDATE jobs SET state = 0, claim = claim - 1, started = 0"
    " WHERE id = ?1 AND claim = ?2 AND state = 1",
    "UPDATE jobs SET state = 4, ended = ?2, expires = ?3, body = NULL, bytes = 0"
    " WHERE id = ?1 AND state < 2",
    "DELETE FROM jobs WHERE expires <= ?1 AND state <> 1",
    "SELECT state, count(*), sum(bytes) FROM jobs GROUP BY state",
};
enum { ADD, GET, CLAIM, PROGRESS, FINISH, RELEASE, CANCEL, EXPIRE, COUNT, STATEMENTS };

struct sqlite_store {
    trmd_store store;
    trmd_store_limits limits;
    sqlite3 *db;
    sqlite3_stmt *q[STATEMENTS];
    int lock; /* -1 = in memory */
    char place[PATH_MAX];
};

static int failed(const struct sqlite_store *s, const char *what, trm_error *err) {
    return trm_fail(err, TRM_E_IO, "%s in %.200s: %s", what, s->place,
        s->db ? sqlite3_errmsg(s->db) : "out of memory");
}

static void bind_text(sqlite3_stmt *q, int at, const char *value) {
    (void)sqlite3_bind_text(q, at, value, -1, SQLITE_STATIC);
}

/* Runs a statement that returns nothing and gives it back. TRM_OK also where no row changed. */
static int run(struct sqlite_store *s, int which, const char *what, trm_error *err) {
    sqlite3_stmt *q = s->q[which];
    int r = sqlite3_step(q) == SQLITE_DONE ? TRM_OK : failed(s, what, err);
    (void)sqlite3_reset(q);
    (void)sqlite3_clear_bindings(q);
    return r;
}

static int count(struct sqlite_store *s, trmd_store_counts *out, trm_error *err) {
    sqlite3_stmt *q = s->q[COUNT];
    int r;
    memset(out, 0, sizeof *out);
    while ((r = sqlite3_step(q)) == SQLITE_ROW) {
        int state = sqlite3_column_int(q, 0);
        if (state >= 0 && state < TRMD_JOB_STATES)
            out->state[state] = sqlite3_column_int64(q, 1);
        out->bytes += sqlite3_column_int64(q, 2);
    }
    r = r == SQLITE_DONE ? TRM_OK : failed(s, "cannot count the jobs", err);
    (void)sqlite3_reset(q);
    return r;
}

static int room(struct sqlite_store *s, const trmd_job *j, trm_error *err) {
    trmd_store_counts n;
    int64_t all = 0;
    int r = count(s, &n, err);
    for (int i = 0; i < TRMD_JOB_STATES; i++)
        all += n.state[i];
    if (r)
        return r;
    if (n.state[TRMD_JOB_QUEUED] >= s->limits.queued)
        trm_error_set(err, TRMD_STORE_FULL, "%d jobs wait already", s->limits.queued);
    else if (all >= s->limits.kept)
        trm_error_set(err, TRMD_STORE_FULL, "%d jobs are kept already", s->limits.kept);
    else if (n.bytes + (int64_t)strlen(j->body) > s->limits.bytes)
        trm_error_set(err, TRMD_STORE_FULL, "the jobs hold %lld bytes already", (long long)n.bytes);
    else
        return TRM_OK;
    return TRMD_STORE_FULL;
}

static int add(trmd_store *base, const trmd_job *j, int64_t now, trm_error *err) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    sqlite3_stmt *q = s->q[ADD];
    int r = room(s, j, err);
    if (r)
        return r;
    bind_text(q, 1, j->id);
    bind_text(q, 2, j->kind);
    bind_text(q, 3, j->owner);
    (void)sqlite3_bind_int64(q, 4, now);
    (void)sqlite3_bind_int64(q, 5, now + s->limits.keep_ms);
    bind_text(q, 6, j->body);
    return run(s, ADD, "cannot keep the job", err);
}

static char *column(sqlite3_stmt *q, int i, bool *lost) {
    const char *value = (const char *)sqlite3_column_text(q, i);
    char *copy = value ? strdup(value) : NULL;
    *lost |= value && !copy;
    return copy;
}

static int read_job(sqlite3_stmt *q, trmd_job *out, bool body, trm_error *err) {
    bool lost = false;
    memset(out, 0, sizeof *out);
    (void)snprintf(out->id, sizeof out->id, "%s", (const char *)sqlite3_column_text(q, 0));
    (void)snprintf(out->kind, sizeof out->kind, "%s", (const char *)sqlite3_column_text(q, 1));
    (void)snprintf(out->owner, sizeof out->owner, "%s", (const char *)sqlite3_column_text(q, 2));
    out->state = (trmd_job_state)sqlite3_column_int(q, 3);
    out->claim = sqlite3_column_int(q, 4);
    out->created = sqlite3_column_int64(q, 5);
    out->started = sqlite3_column_int64(q, 6);
    out->ended = sqlite3_column_int64(q, 7);
    out->expires = sqlite3_column_int64(q, 8);
    out->progress = column(q, 9, &lost);
    out->result = column(q, 10, &lost);
    if (body)
        out->body = column(q, 11, &lost);
    if (!lost)
        return TRM_OK;
    trmd_job_clear(out);
    return trm_fail(err, TRM_E_NOMEM, "out of memory for a job");
}

/* A statement that returns one job or none. */
static int one_job(struct sqlite_store *s, int which, trmd_job *out, bool body, trm_error *err) {
    sqlite3_stmt *q = s->q[which];
    int r = sqlite3_step(q);
    if (r == SQLITE_ROW)
        r = read_job(q, out, body, err);
    else
        r = r == SQLITE_DONE ? TRMD_STORE_NONE : failed(s, "cannot read a job", err);
    if (!r && sqlite3_step(q) != SQLITE_DONE) { /* an UPDATE is written here */
        trmd_job_clear(out);
        r = failed(s, "cannot claim a job", err);
    }
    (void)sqlite3_reset(q);
    (void)sqlite3_clear_bindings(q);
    return r;
}

static int get(trmd_store *base, const char *id, trmd_job *out, trm_error *err) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    bind_text(s->q[GET], 1, id);
    return one_job(s, GET, out, false, err);
}

static int claim(trmd_store *base, trmd_job *out, int64_t now, trm_error *err) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    (void)sqlite3_bind_int64(s->q[CLAIM], 1, now);
    return one_job(s, CLAIM, out, true, err);
}

/* An update that only the claim's holder may make. */
static int fenced(
    struct sqlite_store *s, int which, const trmd_job *j, const char *what, trm_error *err) {
    bind_text(s->q[which], 1, j->id);
    (void)sqlite3_bind_int(s->q[which], 2, j->claim);
    int r = run(s, which, what, err);
    return r ? r : sqlite3_changes(s->db) ? TRM_OK : TRMD_STORE_NONE;
}

static int progress(
    trmd_store *base, const trmd_job *j, const char *value, int64_t now, trm_error *err) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    (void)now;
    bind_text(s->q[PROGRESS], 3, value);
    return fenced(s, PROGRESS, j, "cannot keep a job's progress", err);
}

static int finish(trmd_store *base, const trmd_job *j, int64_t now, trm_error *err) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    sqlite3_stmt *q = s->q[FINISH];
    (void)sqlite3_bind_int(q, 3, (int)j->state);
    bind_text(q, 4, j->result);
    (void)sqlite3_bind_int64(q, 5, now);
    (void)sqlite3_bind_int64(q, 6, now + s->limits.keep_ms);
    return fenced(s, FINISH, j, "cannot keep a job's result", err);
}

static int release(trmd_store *base, const trmd_job *j, int64_t now, trm_error *err) {
    (void)now;
    return fenced((struct sqlite_store *)base, RELEASE, j, "cannot give a job back", err);
}

static int cancel(trmd_store *base, const char *id, int64_t now, trm_error *err) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    sqlite3_stmt *q = s->q[CANCEL];
    bind_text(q, 1, id);
    (void)sqlite3_bind_int64(q, 2, now);
    (void)sqlite3_bind_int64(q, 3, now + s->limits.keep_ms);
    return run(s, CANCEL, "cannot cancel a job", err);
}

static int sweep(trmd_store *base, int64_t now, trmd_store_counts *out, trm_error *err) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    (void)sqlite3_bind_int64(s->q[EXPIRE], 1, now);
    int r = run(s, EXPIRE, "cannot forget expired jobs", err);
    return r ? r : count(s, out, err);
}

static void close_store(trmd_store *base) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    for (int i = 0; i < STATEMENTS; i++)
        (void)sqlite3_finalize(s->q[i]);
    (void)sqlite3_close(s->db);
    if (s->lock >= 0)
        (void)close(s->lock);
    free(s);
}

static const struct trmd_store_ops ops = {.add = add,
    .get = get,
    .claim = claim,
    .progress = progress,
    .finish = finish,
    .release = release,
    .cancel = cancel,
    .sweep = sweep,
    .close = close_store};

static int take_directory(struct sqlite_store *s, const char *dir, trm_error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/jobs.lock", dir) >= (int)sizeof path)
        return trm_fail(err, TRM_E_ARG, "state_dir: the path is too long");
    (void)snprintf(s->place, sizeof s->place, "%s/jobs.sqlite", dir);
    s->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (s->lock < 0)
        return trm_fail(err, TRM_E_IO, "state_dir: %.200s: %s", path, strerror(errno));
    if (flock(s->lock, LOCK_EX | LOCK_NB))
        return trm_fail(err, TRM_E_IO, "state_dir: %.200s is in use by another daemon", dir);
    int fd = open(s->place, O_CREAT | O_RDWR | O_CLOEXEC, 0600); /* SQLite's own would be for all */
    if (fd < 0)
        return trm_fail(err, TRM_E_IO, "state_dir: %.200s: %s", s->place, strerror(errno));
    (void)close(fd);
    return TRM_OK;
}

static int version(struct sqlite_store *s, int *out, trm_error *err) {
    sqlite3_stmt *q;
    int r = sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &q, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_step(q);
    if (r == SQLITE_ROW)
        *out = sqlite3_column_int(q, 0);
    else
        (void)failed(s, "cannot find the version of the tables", err);
    (void)sqlite3_finalize(q);
    return r == SQLITE_ROW ? TRM_OK : TRM_E_IO;
}

static int execute(struct sqlite_store *s, const char *sql, const char *what, trm_error *err) {
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? TRM_OK : failed(s, what, err);
}

/* What was running when the last daemon ended is queued again, unless it has been claimed too
 * often: then it is what ended the daemon. */
static int take_up(struct sqlite_store *s, trm_error *err) {
    char sql[512];
    (void)snprintf(sql, sizeof sql,
        "UPDATE jobs SET state = 3, ended = created, body = NULL, bytes = 0, result ="
        " '{\"type\":\"/problems/internal\",\"title\":\"The server failed\",\"status\":500,"
        "\"detail\":\"the server ended %d times while it worked on this job\"}'"
        " WHERE state = 1 AND claim >= %d; UPDATE jobs SET state = 0 WHERE state = 1;",
        TRMD_CLAIMS, TRMD_CLAIMS);
    return execute(s, sql, "cannot take up the jobs", err);
}

static int prepare(struct sqlite_store *s, trm_error *err) {
    int r = execute(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "cannot open", err);
    if (r)
        return r;
    int found = 0;
    r = version(s, &found, err);
    if (r)
        return r;
    if (found == 0)
        r = execute(s, schema, "cannot make the tables", err);
    else if (found != SCHEMA)
        r = trm_fail(err, TRM_E_FORMAT, "%.200s holds jobs of version %d; this trmd knows %d",
            s->place, found, SCHEMA);
    for (int i = 0; i < STATEMENTS && !r; i++)
        if (sqlite3_prepare_v3(s->db, text[i], -1, SQLITE_PREPARE_PERSISTENT, &s->q[i], NULL) !=
            SQLITE_OK)
            r = failed(s, "cannot prepare", err);
    return r ? r : take_up(s, err);
}

int trmd_store_sqlite(
    trmd_store **out, const char *dir, const trmd_store_limits *limits, trm_error *err) {
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (!s)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the job store");
    s->store.ops = &ops;
    s->store.lasting = dir[0] != 0;
    s->limits = *limits;
    s->lock = -1;
    (void)strcpy(s->place, ":memory:");
    int r = dir[0] ? take_directory(s, dir, err) : TRM_OK;
    if (!r &&
        sqlite3_open_v2(s->place, &s->db,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        r = failed(s, "cannot open", err);
    if (!r)
        r = prepare(s, err);
    if (r) {
        close_store(&s->store);
        return r;
    }
    *out = &s->store;
    return TRM_OK;
}

/* Jobs in Redis, shared by several daemons. See store.h.
 *
 * Under the prefix {trmd}: `queue` is a stream with the consumer group `trmd`, an entry for
 * every job that has not ended; `job:ID` is a hash with the job's fields; `expiry` sorts ids by
 * the time they are forgotten; `counts` holds how many jobs are in each state, and `bytes`.
 * Every change is one script, so it happens whole or not at all. A daemon that works on a job
 * claims its entry again and again; one that falls silent loses it to XAUTOCLAIM, before new
 * jobs are begun. The claim number in the hash is the fence: scripts that write check it. A
 * reply that is lost on its way is a job claimed for nobody, and so taken over later.
 *
 * Redis is of version 6.2 or later, must not evict keys (maxmemory-policy noeviction) and should
 * persist (appendonly yes). The connection belongs to the jobs thread, as the store does.
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "redis_url.h"
#include "store.h"

enum { PATIENCE_S = 3 };

/* What the scripts share. */
#define PRELUDE                                                                                    \
    "local P, Q = '{trmd}:', KEYS[1] "                                                             \
    "local function key(id) return P .. 'job:' .. id end "                                         \
    "local function move(id, to) "                                                                 \
    "  local from = redis.call('HGET', key(id), 'state') "                                         \
    "  if from then redis.call('HINCRBY', P .. 'counts', from, -1) end "                           \
    "  redis.call('HINCRBY', P .. 'counts', to, 1) "                                               \
    "  redis.call('HSET', key(id), 'state', to) end "                                              \
    "local function size(id, n) "                                                                  \
    "  local old = tonumber(redis.call('HGET', key(id), 'bytes') or '0') "                         \
    "  redis.call('HINCRBY', P .. 'counts', 'bytes', n - old) "                                    \
    "  redis.call('HSET', key(id), 'bytes', n) end "                                               \
    "local function unqueue(entry) "                                                               \
    "  redis.call('XACK', Q, 'trmd', entry) redis.call('XDEL', Q, entry) end "                     \
    "local function over(id, state, result, now, keep) "                                           \
    "  unqueue(redis.call('HGET', key(id), 'entry')) move(id, state) "                             \
    "  redis.call('HDEL', key(id), 'body') "                                                       \
    "  redis.call('HSET', key(id), 'ended', now, 'expires', now + keep) "                          \
    "  if result then redis.call('HSET', key(id), 'result', result) end "                          \
    "  size(id, result and #result or 0) "                                                         \
    "  redis.call('ZADD', P .. 'expiry', now + keep, id) end "                                     \
    "local function mine(id, claim) "                                                              \
    "  local h = redis.call('HMGET', key(id), 'state', 'claim') "                                  \
    "  return h[1] == '1' and h[2] == claim end "

/* id kind owner body now keep queued kept bytes */
static const char script_add[] = PRELUDE
    "local n = redis.call('HMGET', P .. 'counts', '0', 'bytes') "
    "if tonumber(n[1] or '0') >= tonumber(ARGV[7]) then return 1 end "
    "if redis.call('ZCARD', P .. 'expiry') >= tonumber(ARGV[8]) then return 2 end "
    "if tonumber(n[2] or '0') + #ARGV[4] > tonumber(ARGV[9]) then return 3 end "
    "local id, now, keep = ARGV[1], tonumber(ARGV[5]), tonumber(ARGV[6]) "
    "move(id, '0') size(id, #ARGV[4]) "
    "local entry = redis.call('XADD', Q, '*', 'id', id) "
    "redis.call('HSET', key(id), 'id', id, 'kind', ARGV[2], 'owner', ARGV[3], 'body', ARGV[4], "
    "  'created', now, 'expires', now + keep, 'claim', 0, 'entry', entry) "
    "redis.call('ZADD', P .. 'expiry', now + keep, id) return 0";

#define FIELDS                                                                                     \
    "'id','kind','owner','state','claim','created','started','ended','expires','progress',"        \
    "'result'"
enum { COLUMNS = 11 };

static const char script_get[] =
    PRELUDE "if redis.call('EXISTS', key(ARGV[1])) == 0 then return false end "
            "return redis.call('HMGET', key(ARGV[1]), " FIELDS ")";

/* who now idle keep most */
static const char script_claim[] = PRELUDE
    "local who, now = ARGV[1], tonumber(ARGV[2]) "
    "local function orphan() "
    "  local at, e = '0-0', nil "
    "  repeat "
    "    local r = redis.call('XAUTOCLAIM', Q, 'trmd', who, ARGV[3], at, 'COUNT', 1) "
    "    at, e = r[1], r[2][1] "
    "  until e or at == '0-0' return e end "
    "local function fresh() "
    "  local r = redis.call('XREADGROUP', 'GROUP', 'trmd', who, 'COUNT', 1, 'STREAMS', Q, '>') "
    "  return r and r[1] and r[1][2][1] end "
    "for turn = 1, 100 do "
    "  local e = orphan() or fresh() "
    "  if not e then return false end "
    "  local id = e[2][2] "
    "  local h = redis.call('HMGET', key(id), 'state', 'claim') "
    "  if not h[1] or h[1] > '1' then unqueue(e[1]) "
    "  elseif h[1] == '1' and tonumber(h[2]) >= tonumber(ARGV[5]) then "
    "    over(id, '3', '{\"type\":\"/problems/internal\",\"title\":\"The server failed\","
    "\"status\":500,\"detail\":\"' .. h[2] .. ' servers ended while they worked on this job\"}', "
    "      now, tonumber(ARGV[4])) "
    "  else "
    "    move(id, '1') redis.call('HINCRBY', key(id), 'claim', 1) "
    "    redis.call('HSET', key(id), 'started', now) "
    "    return redis.call('HMGET', key(id), " FIELDS ",'body') end "
    "end return false";

/* id claim who progress */
static const char script_progress[] = PRELUDE
    "if not mine(ARGV[1], ARGV[2]) then return 0 end "
    "redis.call('XCLAIM', Q, 'trmd', ARGV[3], 0, redis.call('HGET', key(ARGV[1]), 'entry'), "
    "  'JUSTID') "
    "if #ARGV[4] > 0 then redis.call('HSET', key(ARGV[1]), 'progress', ARGV[4]) end return 1";

/* id claim state result now keep */
static const char script_finish[] =
    PRELUDE "if not mine(ARGV[1], ARGV[2]) then return 0 end "
            "over(ARGV[1], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])) return 1";

/* id claim */
static const char script_release[] =
    PRELUDE "local id = ARGV[1] if not mine(id, ARGV[2]) then return 0 end "
            "unqueue(redis.call('HGET', key(id), 'entry')) move(id, '0') "
            "redis.call('HINCRBY', key(id), 'claim', -1) redis.call('HDEL', key(id), 'started') "
            "redis.call('HSET', key(id), 'entry', redis.call('XADD', Q, '*', 'id', id)) return 1";

/* id now keep */
static const char script_cancel[] = PRELUDE
    "local state = redis.call('HGET', key(ARGV[1]), 'state') "
    "if not state then return 0 end "
    "if state < '2' then over(ARGV[1], '4', false, tonumber(ARGV[2]), tonumber(ARGV[3])) end "
    "return 1";

/* now keep */
static const char script_sweep[] =
    PRELUDE "local now = tonumber(ARGV[1]) "
            "for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now, "
            "    'LIMIT', 0, 100)) do "
            "  local state = redis.call('HGET', key(id), 'state') "
            "  if state == '1' then redis.call('ZADD', P .. 'expiry', now + tonumber(ARGV[2]), id) "
            "  else "
            "    if state then "
            "      if state == '0' then unqueue(redis.call('HGET', key(id), 'entry')) end "
            "      size(id, 0) redis.call('HINCRBY', P .. 'counts', state, -1) "
            "      redis.call('DEL', key(id)) end "
            "    redis.call('ZREM', P .. 'expiry', id) end "
            "end return redis.call('HMGET', P .. 'counts', '0', '1', '2', '3', '4', 'bytes')";

/* Makes the group; forgets consumers of daemons that are long gone and hold nothing. */
static const char script_open[] =
    "local Q = KEYS[1] redis.pcall('XGROUP', 'CREATE', Q, 'trmd', '0', 'MKSTREAM') "
    "for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', Q, 'trmd')) do "
    "  if c[4] == 0 and c[6] > 3600000 then "
    "    redis.call('XGROUP', 'DELCONSUMER', Q, 'trmd', c[2]) end end return 1";

struct redis_store {
    trmd_store store;
    trmd_store_limits limits;
    trmd_redis_url url;
    redisContext *c; /* NULL = not connected */
    char who[128];
};

static void hang_up(struct redis_store *s) {
    if (s->c)
        redisFree(s->c);
    s->c = NULL;
}

static int failed(struct redis_store *s, const char *why, trm_error *err) {
    char text[200];
    (void)snprintf(text, sizeof text, "%s", why); /* it lives in what hang_up() frees */
    hang_up(s);
    return trm_fail(err, TRM_E_IO, "redis at %.200s port %d: %s", s->url.host, s->url.port, text);
}

/* A command's reply, checked; NULL with err. After an error the connection is made anew. */
static redisReply *ask(
    struct redis_store *s, int n, const char **word, const size_t *size, trm_error *err) {
    redisReply *r = redisCommandArgv(s->c, n, word, size);
    if (!r) {
        (void)failed(s, s->c->errstr, err);
        return NULL;
    }
    if (r->type != REDIS_REPLY_ERROR)
        return r;
    (void)failed(s, r->str, err);
    freeReplyObject(r);
    return NULL;
}

static int greet(struct redis_store *s, int n, const char **word, trm_error *err) {
    redisReply *r = ask(s, n, word, NULL, err);
    if (!r)
        return TRM_E_IO;
    freeReplyObject(r);
    return TRM_OK;
}

static int reach(struct redis_store *s, trm_error *err) {
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    const trmd_redis_url *u = &s->url;
    const char *auth[] = {"AUTH", u->password};
    const char *select[] = {"SELECT", u->db};
    const char *open[] = {"EVAL", script_open, "1", "{trmd}:queue"};
    if (s->c)
        return TRM_OK;
    s->c = redisConnectWithTimeout(u->host, u->port, patience);
    if (!s->c || s->c->err)
        return failed(s, s->c ? s->c->errstr : "out of memory", err);
    (void)redisSetTimeout(s->c, patience);
    int r = u->password[0] ? greet(s, 2, auth, err) : TRM_OK;
    if (!r && u->db[0])
        r = greet(s, 2, select, err);
    return r ? r : greet(s, 4, open, err);
}

/* Runs a script; its arguments are texts. The reply, or NULL with err. */
static redisReply *script(
    struct redis_store *s, const char *text, const char *const *arg, trm_error *err) {
    const char *word[16] = {"EVAL", text, "1", "{trmd}:queue"};
    int n = 4;
    while (*arg)
        word[n++] = *arg++;
    return reach(s, err) ? NULL : ask(s, n, word, NULL, err);
}
#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

typedef struct number {
    char text[24];
} number;
static const char *decimal(number *out, int64_t n) {
    (void)snprintf(out->text, sizeof out->text, "%lld", (long long)n);
    return out->text;
}

/* For scripts that say 1 when they have done something. */
static int done_or_none(redisReply *r) {
    if (!r)
        return TRM_E_IO;
    int done = r->type == REDIS_REPLY_INTEGER && r->integer ? TRM_OK : TRMD_STORE_NONE;
    freeReplyObject(r);
    return done;
}

static int add(trmd_store *base, const trmd_job *j, int64_t now, trm_error *err) {
    struct redis_store *s = (struct redis_store *)base;
    number n[5];
    redisReply *r = script(s, script_add,
        ARGS(j->id, j->kind, j->owner, j->body, decimal(&n[0], now),
            decimal(&n[1], s->limits.keep_ms), decimal(&n[2], s->limits.queued),
            decimal(&n[3], s->limits.kept), decimal(&n[4], s->limits.bytes)),
        err);
    if (!r)
        return TRM_E_IO;
    long long full = r->integer;
    freeReplyObject(r);
    if (full == 1)
        trm_error_set(err, TRMD_STORE_FULL, "%d jobs wait already", s->limits.queued);
    else if (full == 2)
        trm_error_set(err, TRMD_STORE_FULL, "%d jobs are kept already", s->limits.kept);
    else if (full)
        trm_error_set(err, TRMD_STORE_FULL, "the jobs hold too many bytes already");
    return full ? TRMD_STORE_FULL : TRM_OK;
}

static const char *field(const redisReply *r, size_t i) {
    return i < r->elements && r->element[i]->type == REDIS_REPLY_STRING ? r->element[i]->str : NULL;
}

static int64_t whole(const redisReply *r, size_t i) {
    const char *text = field(r, i);
    return text ? strtoll(text, NULL, 10) : 0;
}

static char *copy(const redisReply *r, size_t i, bool *lost) {
    const char *text = field(r, i);
    char *own = text ? strdup(text) : NULL;
    *lost |= text && !own;
    return own;
}

/* A reply of FIELDS, and perhaps the body, into a job. Gives the reply up. */
static int read_job(redisReply *r, trmd_job *out, trm_error *err) {
    bool lost = false;
    memset(out, 0, sizeof *out);
    if (!r)
        return TRM_E_IO;
    if (r->type != REDIS_REPLY_ARRAY) {
        freeReplyObject(r);
        return TRMD_STORE_NONE;
    }
    char *const text[] = {out->id, out->kind, out->owner};
    const size_t room[] = {sizeof out->id, sizeof out->kind, sizeof out->owner};
    for (size_t i = 0; i < 3; i++)
        (void)snprintf(text[i], room[i], "%s", field(r, i) ? field(r, i) : "");
    int64_t state = whole(r, 3);
    out->state = state >= 0 && state < TRMD_JOB_STATES ? (trmd_job_state)state : TRMD_JOB_FAILED;
    out->claim = (int)whole(r, 4);
    out->created = whole(r, 5);
    out->started = whole(r, 6);
    out->ended = whole(r, 7);
    out->expires = whole(r, 8);
    out->progress = copy(r, 9, &lost);
    out->result = copy(r, 10, &lost);
    out->body = copy(r, COLUMNS, &lost);
    freeReplyObject(r);
    if (!lost)
        return TRM_OK;
    trmd_job_clear(out);
    return trm_fail(err, TRM_E_NOMEM, "out of memory for a job");
}

static int get(trmd_store *base, const char *id, trmd_job *out, trm_error *err) {
    return read_job(script((struct redis_store *)base, script_get, ARGS(id), err), out, err);
}

static int claim(trmd_store *base, trmd_job *out, int64_t now, trm_error *err) {
    struct redis_store *s = (struct redis_store *)base;
    number n[4];
    return read_job(script(s, script_claim,
                        ARGS(s->who, decimal(&n[0], now), decimal(&n[1], s->limits.idle_ms),
                            decimal(&n[2], s->limits.keep_ms), decimal(&n[3], TRMD_CLAIMS)),
                        err),
        out, err);
}

static int progress(
    trmd_store *base, const trmd_job *j, const char *value, int64_t now, trm_error *err) {
    struct redis_store *s = (struct redis_store *)base;
    number n;
    (void)now;
    return done_or_none(script(
        s, script_progress, ARGS(j->id, decimal(&n, j->claim), s->who, value ? value : ""), err));
}

static int finish(trmd_store *base, const trmd_job *j, int64_t now, trm_error *err) {
    struct redis_store *s = (struct redis_store *)base;
    number n[4];
    return done_or_none(script(s, script_finish,
        ARGS(j->id, decimal(&n[0], j->claim), decimal(&n[1], j->state),
            j->result ? j->result : "null", decimal(&n[2], now), decimal(&n[3], s->limits.keep_ms)),
        err));
}

static int release(trmd_store *base, const trmd_job *j, int64_t now, trm_error *err) {
    number n;
    (void)now;
    return done_or_none(script(
        (struct redis_store *)base, script_release, ARGS(j->id, decimal(&n, j->claim)), err));
}

static int cancel(trmd_store *base, const char *id, int64_t now, trm_error *err) {
    struct redis_store *s = (struct redis_store *)base;
    number n[2];
    return done_or_none(script(
        s, script_cancel, ARGS(id, decimal(&n[0], now), decimal(&n[1], s->limits.keep_ms)), err));
}

static int sweep(trmd_store *base, int64_t now, trmd_store_counts *out, trm_error *err) {
    struct redis_store *s = (struct redis_store *)base;
    number n[2];
    redisReply *r =
        script(s, script_sweep, ARGS(decimal(&n[0], now), decimal(&n[1], s->limits.keep_ms)), err);
    if (!r)
        return TRM_E_IO;
    for (size_t i = 0; i < TRMD_JOB_STATES; i++)
        out->state[i] = whole(r, i);
    out->bytes = whole(r, TRMD_JOB_STATES);
    freeReplyObject(r);
    return TRM_OK;
}

static void close_store(trmd_store *base) {
    struct redis_store *s = (struct redis_store *)base;
    hang_up(s);
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

int trmd_store_redis(trmd_store **out, const char *url, const char *who,
    const trmd_store_limits *limits, trm_error *err) {
    struct redis_store *s = calloc(1, sizeof *s);
    if (!s)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the job store");
    s->store.ops = &ops;
    s->store.lasting = true;
    s->limits = *limits;
    (void)snprintf(s->who, sizeof s->who, "%.80s-%ld-%llx", who, (long)getpid(),
        (unsigned long long)(uintptr_t)s);
    const char *wrong = trmd_redis_url_read(&s->url, url);
    int r = wrong ? trm_fail(err, TRM_E_ARG, "jobs: %s", wrong) : reach(s, err);
    if (r)
        close_store(&s->store);
    else
        *out = &s->store;
    return r;
}

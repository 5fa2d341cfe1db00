/* The log: records go into a ring, a thread of the log's own writes the ring to the fd.
 * One per process, all state in `the_log` behind its mutex; any thread. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "log_line.h"

/* The bytes on their way to one fd. Freed by whoever sees the writer end: trmd_log_close(), or
 * the writer itself where it was left behind. */
typedef struct ring {
    pthread_cond_t filled, emptied;
    pthread_t writer;
    size_t head, used; /* the writer takes at head, others append behind */
    bool stopping, left;
    int fd;
    char bytes[TRMD_LOG_RING];
} ring;

static struct {
    pthread_mutex_t lock;
    ring *ring; /* NULL: records are written directly */
    uint64_t dropped, told;
    atomic_int level;
    atomic_bool json;
} the_log = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = TRMD_INFO};

int trmd_level_named(const char *name) {
    for (int i = 0; i < LOG_LEVELS; i++)
        if (strcmp(name, log_level_names[i]) == 0)
            return i;
    return -1;
}

/* All of it, unless the fd is broken. SIGPIPE is the daemon's to ignore, and blocked here. */
static bool write_all(int fd, const char *at, size_t n) {
    while (n) {
        ssize_t r = write(fd, at, n);
        if (r >= 0) {
            at += r;
            n -= (size_t)r;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            (void)poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

static uint64_t records_in(const char *at, size_t n) {
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += at[i] == '\n';
    return lines;
}

static void ring_free(ring *g) {
    (void)pthread_cond_destroy(&g->filled);
    (void)pthread_cond_destroy(&g->emptied);
    free(g);
}

static void *write_ring(void *arg) {
    ring *g = arg;
    (void)pthread_mutex_lock(&the_log.lock);
    for (;;) {
        while (!g->used && !g->stopping)
            (void)pthread_cond_wait(&g->filled, &the_log.lock);
        if (!g->used)
            break;
        size_t n = TRMD_LOG_RING - g->head;
        n = n < g->used ? n : g->used;
        const char *at = g->bytes + g->head;
        /* nobody else touches what is behind head, so the fd may stall without the lock */
        (void)pthread_mutex_unlock(&the_log.lock);
        uint64_t lost = write_all(g->fd, at, n) ? 0 : records_in(at, n);
        (void)pthread_mutex_lock(&the_log.lock);
        the_log.dropped += lost;
        g->head = (g->head + n) % TRMD_LOG_RING;
        g->used -= n;
        (void)pthread_cond_broadcast(&g->emptied);
    }
    bool left = g->left;
    (void)pthread_mutex_unlock(&the_log.lock);
    if (left)
        ring_free(g);
    return NULL;
}

static ring *ring_new(int fd) {
    pthread_condattr_t monotonic;
    ring *g = malloc(sizeof *g);
    if (!g)
        return NULL;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&g->filled, NULL);
    (void)pthread_cond_init(&g->emptied, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    g->head = g->used = 0;
    g->stopping = g->left = false;
    g->fd = fd;
    return g;
}

int trmd_log_open(int fd, trmd_level level, bool json, trm_error *err) {
    sigset_t all, before;
    trmd_log_set(level, json);
    ring *g = ring_new(fd);
    if (!g)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the log");
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    int r = pthread_create(&g->writer, NULL, write_ring, g);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r) {
        ring_free(g);
        return trm_fail(err, TRM_E_IO, "the log's thread does not start: %s", strerror(r));
    }
    (void)pthread_mutex_lock(&the_log.lock);
    the_log.ring = g;
    (void)pthread_mutex_unlock(&the_log.lock);
    return TRM_OK;
}

void trmd_log_set(trmd_level level, bool json) {
    atomic_store(&the_log.level, (int)level);
    atomic_store(&the_log.json, json);
}

bool trmd_log_wants(trmd_level level) {
    return (int)level <= atomic_load_explicit(&the_log.level, memory_order_relaxed);
}

uint64_t trmd_log_dropped(void) {
    (void)pthread_mutex_lock(&the_log.lock);
    uint64_t n = the_log.dropped;
    (void)pthread_mutex_unlock(&the_log.lock);
    return n;
}

static bool flush_locked(ring *g, int ms) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (g->used)
        if (pthread_cond_timedwait(&g->emptied, &the_log.lock, &until))
            break;
    return !g->used;
}

bool trmd_log_flush(int ms) {
    (void)pthread_mutex_lock(&the_log.lock);
    bool done = !the_log.ring || flush_locked(the_log.ring, ms);
    (void)pthread_mutex_unlock(&the_log.lock);
    return done;
}

void trmd_log_close(void) {
    (void)pthread_mutex_lock(&the_log.lock);
    ring *g = the_log.ring;
    the_log.ring = NULL;
    if (!g) {
        (void)pthread_mutex_unlock(&the_log.lock);
        return;
    }
    bool left = !flush_locked(g, 1000);
    pthread_t writer = g->writer;
    g->left = left;
    g->stopping = true;
    (void)pthread_cond_signal(&g->filled);
    (void)pthread_mutex_unlock(&the_log.lock);
    if (left) {
        (void)pthread_detach(writer);
    } else {
        (void)pthread_join(writer, NULL);
        ring_free(g);
    }
}

static bool append_locked(ring *g, const char *line, size_t n) {
    if (TRMD_LOG_RING - g->used < n)
        return false;
    size_t at = (g->head + g->used) % TRMD_LOG_RING;
    size_t first = TRMD_LOG_RING - at < n ? TRMD_LOG_RING - at : n;
    memcpy(g->bytes + at, line, first);
    memcpy(g->bytes, line + first, n - first);
    g->used += n;
    return true;
}

/* Tells of records dropped since it was last told, if there is room for that. */
static bool confess_locked(ring *g) {
    char line[512];
    if (the_log.dropped == the_log.told)
        return true;
    size_t n = log_line(line, sizeof line, atomic_load(&the_log.json), TRMD_WARN,
        "log records were dropped: stderr is not read fast enough",
        TRMD_FIELDS(TRMD_INT("dropped", (int64_t)(the_log.dropped - the_log.told))));
    if (!append_locked(g, line, n))
        return false;
    the_log.told = the_log.dropped;
    return true;
}

void trmd_log(trmd_level level, const char *message, const trmd_field *fields) {
    char line[TRMD_LOG_LINE];
    if (!trmd_log_wants(level))
        return;
    size_t n = log_line(line, sizeof line, atomic_load(&the_log.json), level, message, fields);
    (void)pthread_mutex_lock(&the_log.lock);
    ring *g = the_log.ring;
    if (g) {
        if (!(confess_locked(g) && append_locked(g, line, n)))
            the_log.dropped++;
        (void)pthread_cond_signal(&g->filled);
    }
    (void)pthread_mutex_unlock(&the_log.lock);
    if (!g)
        (void)write_all(STDERR_FILENO, line, n);
}

void trmd_log_access(const trmd_access *a) {
    trmd_field f[20];
    int n = 0;
    const struct {
        const char *name, *value;
    } texts[] = {{"request_id", a->request_id}, {"traceparent", a->traceparent},
        {"client", a->client}, {"key", a->key}, {"method", a->method}, {"path", a->path},
        {"user_agent", a->user_agent}, {"kind", a->kind}, {"reason", a->reason}};
    const struct {
        const char *name;
        double value;
    } times[] = {{"queue_s", a->queue}, {"compute_s", a->compute}, {"total_s", a->total}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        f[n++] = (trmd_field)TRMD_STR(texts[i].name, texts[i].value);
    f[n++] = (trmd_field)TRMD_INT("status", a->status);
    if (a->puzzles)
        f[n++] = (trmd_field)TRMD_INT("puzzles", a->puzzles);
    f[n++] = (trmd_field)TRMD_INT("bytes_in", (int64_t)a->bytes_in);
    f[n++] = (trmd_field)TRMD_INT("bytes_out", (int64_t)a->bytes_out);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (times[i].value >= 0)
            f[n++] = (trmd_field)TRMD_REAL(times[i].name, times[i].value);
    f[n] = (trmd_field){.name = NULL};
    trmd_log(TRMD_INFO, "request", f);
}

/* The open loop: a timer starts every request at its drawn time, whether or not earlier ones
 * are answered. All connections are busy? Then the request waits, and its latency counts from
 * when it was meant to leave, so a server that stalls cannot slow down its own measurement. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "client.h"
#include "reader.h"

typedef struct client client;

typedef struct connection {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    client *c;
    struct connection *next; /* in the list of idle ones */
    load_reader reader;
    double intended, sent;
    int request; /* the one being answered, or -1 */
    bool connected, closing;
} connection;

struct client {
    uv_loop_t loop;
    uv_poll_t due_poll;
    uv_timer_t tick;
    int timer; /* timerfd: libuv's own timers have whole milliseconds */
    uint64_t start;
    const load_plan *p;
    load_client_options o;
    load_stats *s;
    connection **at; /* every open connection */
    connection *idle;
    int open, busy;
    int due, begun; /* sends whose time has come; sends given to a connection */
    double last;    /* of the last answer */
    bool finished, no_memory;
};

static double now(const client *c) {
    return (double)(uv_hrtime() - c->start) * 1e-9;
}

static void pump(client *c);

static void record(client *c, const load_sample *sample, double intended) {
    c->last = now(c);
    if (intended >= c->o.warmup && !load_stats_add(c->s, sample))
        c->no_memory = true;
}

static void closed(uv_handle_t *h) {
    connection *k = h->data;
    client *c = k->c;
    for (int i = 0; i < c->open; i++)
        if (c->at[i] == k) {
            c->at[i] = c->at[--c->open];
            break;
        }
    load_reader_free(&k->reader);
    free(k);
    pump(c);
}

/* Ends a connection; its request, if it carries one, failed as `outcome`. */
static void drop(connection *k, load_outcome outcome) {
    client *c = k->c;
    if (k->closing)
        return;
    if (k->request >= 0) {
        load_sample s = {.latency = now(c) - k->intended,
            .lag = k->sent - k->intended,
            .mix = c->p->request[k->request].mix,
            .outcome = outcome};
        record(c, &s, k->intended);
        c->busy--;
    } else {
        for (connection **p = &c->idle; *p; p = &(*p)->next)
            if (*p == k) {
                *p = k->next;
                break;
            }
    }
    k->closing = true;
    uv_close((uv_handle_t *)&k->tcp, closed);
}

static void answered(connection *k) {
    client *c = k->c;
    load_sample s = {.latency = now(c) - k->intended,
        .lag = k->sent - k->intended,
        .status = k->reader.status,
        .mix = c->p->request[k->request].mix,
        .outcome = LOAD_ANSWERED};
    record(c, &s, k->intended);
    if (k->intended >= c->o.warmup && s.status == 200)
        load_stats_body(c->s, load_reader_body(&k->reader));
    bool last = k->reader.close;
    k->request = -1;
    c->busy--;
    load_reader_reset(&k->reader);
    k->next = c->idle;
    c->idle = k;
    if (last)
        drop(k, LOAD_RESET);
    pump(c);
}

static void give_room(uv_handle_t *h, size_t hint, uv_buf_t *buf) {
    connection *k = h->data;
    size_t size = 0;
    (void)hint;
    buf->base = load_reader_room(&k->reader, &size);
    buf->len = size;
}

static void got(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    connection *k = stream->data;
    (void)buf;
    if (n == 0 || k->closing)
        return;
    if (n < 0) {
        drop(k, n == UV_ENOBUFS ? LOAD_NOT_HTTP : LOAD_RESET);
        return;
    }
    load_reading r = load_reader_got(&k->reader, (size_t)n);
    if (r == LOAD_GARBLED || (r == LOAD_DONE && k->request < 0))
        drop(k, LOAD_NOT_HTTP);
    else if (r == LOAD_DONE)
        answered(k);
}

static void written(uv_write_t *w, int status) {
    connection *k = w->data;
    if (status < 0)
        drop(k, LOAD_RESET);
}

static void write_request(connection *k) {
    const load_request *r = &k->c->p->request[k->request];
    uv_buf_t buf = uv_buf_init(r->bytes, (unsigned)r->size);
    k->sent = now(k->c);
    k->write.data = k;
    if (uv_write(&k->write, (uv_stream_t *)&k->tcp, &buf, 1, written))
        drop(k, LOAD_RESET);
}

static void connected(uv_connect_t *r, int status) {
    connection *k = r->data;
    if (k->closing)
        return;
    if (status < 0 || uv_read_start((uv_stream_t *)&k->tcp, give_room, got)) {
        drop(k, LOAD_CONNECT);
        return;
    }
    k->connected = true;
    write_request(k);
}

static connection *connection_new(client *c) {
    connection *k = calloc(1, sizeof *k);
    if (!k || uv_tcp_init(&c->loop, &k->tcp)) {
        free(k);
        c->no_memory = true;
        return NULL;
    }
    k->c = c;
    k->request = -1;
    k->tcp.data = k;
    k->connect.data = k;
    (void)uv_tcp_nodelay(&k->tcp, 1);
    c->at[c->open++] = k;
    return k;
}

/* Gives a request to an idle or a new connection; false if there is neither. */
static bool begin(client *c, int request, double intended) {
    connection *k = c->idle;
    if (k)
        c->idle = k->next;
    else if (c->open == c->o.connections || !(k = connection_new(c)))
        return false;
    k->request = request;
    k->intended = intended;
    k->sent = now(c);
    c->busy++;
    if (k->connected)
        write_request(k);
    else if (uv_tcp_connect(&k->connect, &k->tcp, (struct sockaddr *)&c->o.to, connected))
        drop(k, LOAD_CONNECT);
    return true;
}

static bool more_to_send(const client *c) {
    return c->o.closed > 0 ? now(c) < c->o.closed : c->begun < c->p->sends;
}

static void finish(client *c) {
    c->finished = true;
    uv_close((uv_handle_t *)&c->due_poll, NULL);
    uv_close((uv_handle_t *)&c->tick, NULL);
    for (int i = 0; i < c->open; i++)
        drop(c->at[i], LOAD_RESET);
}

/* Starts what is due and possible; ends the run when nothing is left. */
static void pump(client *c) {
    if (c->finished)
        return;
    if (c->o.closed > 0)
        while (more_to_send(c) && begin(c, c->p->send[c->begun % c->p->sends].request, now(c)))
            c->begun++;
    else
        while (c->begun < c->due && begin(c, c->p->send[c->begun].request, c->p->send[c->begun].at))
            c->begun++;
    if (c->no_memory || (!more_to_send(c) && !c->busy))
        finish(c);
}

/* Arms the timer for the next send. */
static void arm(client *c) {
    struct itimerspec t = {0};
    uint64_t at = c->start + (uint64_t)(c->p->send[c->due].at * 1e9);
    t.it_value.tv_sec = (time_t)(at / 1000000000);
    t.it_value.tv_nsec = (long)(at % 1000000000);
    (void)timerfd_settime(c->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static void come_due(uv_poll_t *poll, int status, int events) {
    client *c = poll->data;
    uint64_t times;
    (void)status;
    (void)events;
    if (read(c->timer, &times, sizeof times) < 0)
        return;
    int was = c->due;
    while (c->due < c->p->sends && c->p->send[c->due].at <= now(c))
        c->due++;
    pump(c);
    c->s->waited += c->due - (c->begun > was ? c->begun : was);
    if (c->due < c->p->sends && !c->finished)
        arm(c);
}

/* Gives up what is older than the timeout, waiting or in work. */
static void tick(uv_timer_t *timer) {
    client *c = timer->data;
    double oldest = now(c) - c->o.timeout;
    while (c->o.closed <= 0 && c->begun < c->due && c->p->send[c->begun].at < oldest) {
        const load_send *send = &c->p->send[c->begun++];
        load_sample s = {.latency = now(c) - send->at,
            .lag = now(c) - send->at,
            .mix = c->p->request[send->request].mix,
            .outcome = LOAD_TIMEOUT};
        record(c, &s, send->at);
    }
    for (int i = 0; i < c->open; i++)
        if (c->at[i]->request >= 0 && c->at[i]->intended < oldest)
            drop(c->at[i], c->at[i]->connected ? LOAD_TIMEOUT : LOAD_CONNECT);
    pump(c);
}

static bool set_up(client *c) {
    c->at = calloc((size_t)c->o.connections, sizeof *c->at);
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (!c->at || c->timer < 0 || uv_loop_init(&c->loop))
        return false;
    c->due_poll.data = c->tick.data = c;
    if (uv_poll_init(&c->loop, &c->due_poll, c->timer) || uv_timer_init(&c->loop, &c->tick))
        return false;
    return uv_poll_start(&c->due_poll, UV_READABLE, come_due) == 0 &&
           uv_timer_start(&c->tick, tick, 50, 50) == 0;
}

bool load_client_run(const load_plan *p, const load_client_options *o, load_stats *s, char *why) {
    client c = {.p = p, .o = *o, .s = s, .timer = -1};
    if (!set_up(&c)) {
        (void)snprintf(why, 256, "the event loop does not start: %s", strerror(errno));
        free(c.at);
        return false;
    }
    /* uv_hrtime() is CLOCK_MONOTONIC, as the timerfd */
    c.start = uv_hrtime();
    if (o->closed <= 0)
        arm(&c);
    else
        pump(&c);
    (void)uv_run(&c.loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&c.loop);
    (void)close(c.timer);
    free(c.at);
    s->seconds = c.last - o->warmup;
    if (c.no_memory)
        (void)snprintf(why, 256, "out of memory or of file descriptors");
    return !c.no_memory;
}

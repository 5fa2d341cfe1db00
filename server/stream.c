/* Server-sent events: a response whose reader takes the call's events one by one and suspends
 * the connection while there is none; a timer sends a comment then. Loop thread only. */
#include <stdlib.h>
#include <string.h>

#include "http.h"

bool trmd_stream_wanted(trmd_conn *k) {
    static const char type[] = "text/event-stream";
    const char *s = MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, "Accept");
    while (s && *s) {
        s += strspn(s, " \t,");
        size_t whole = strcspn(s, ","), n = strcspn(s, " \t,;");
        if (n == sizeof type - 1 && strncasecmp(s, type, n) == 0) {
            const char *q = s + n + strspn(s + n, " \t;");
            return strncasecmp(q, "q=", 2) != 0 || strtod(q + 2, NULL) > 0; /* q=0 is a refusal */
        }
        s += whole;
    }
    return false;
}

static ssize_t read_events(void *cls, uint64_t pos, char *buffer, size_t room) {
    trmd_conn *k = cls;
    (void)pos;
    if (k->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!k->event) {
        k->event = trmd_call_take_event(k->call);
        k->event_at = 0;
    }
    if (!k->event) {
        if (k->call->finished)
            return MHD_CONTENT_READER_END_OF_STREAM;
        trmd_conn_suspend(k);
        return 0;
    }
    return trmd_event_write(k, buffer, room);
}

ssize_t trmd_event_write(trmd_conn *k, char *buffer, size_t room) {
    size_t n = k->event->size - k->event_at;
    n = n < room ? n : room;
    memcpy(buffer, k->event->text + k->event_at, n);
    k->event_at += n;
    k->sent += n;
    if (k->event_at == k->event->size) {
        free(k->event);
        k->event = NULL;
    }
    return (ssize_t)n;
}

static void on_ping(uv_timer_t *t) {
    static const char comment[] = ": ping\n\n";
    trmd_conn *k = t->data;
    if (!k->suspended || k->event)
        return; /* there is something to write, or a reader too slow for it */
    k->event = malloc(sizeof *k->event + sizeof comment);
    if (!k->event)
        return;
    k->event->size = sizeof comment - 1;
    memcpy(k->event->text, comment, sizeof comment);
    k->event_at = 0;
    trmd_conn_resume(k);
    trmd_loop_kick(k->app);
}

static void start_pings(trmd_conn *k) {
    uint64_t ms = (uint64_t)k->app->o.stream_ping_ms;
    k->ping = malloc(sizeof *k->ping);
    if (!k->ping)
        return;
    (void)uv_timer_init(&k->app->loop, k->ping);
    k->ping->data = k;
    (void)uv_timer_start(k->ping, on_ping, ms, ms);
}

static void on_timer_closed(uv_handle_t *h) {
    free(h);
}

void trmd_stream_end(trmd_conn *k) {
    if (k->ping)
        uv_close((uv_handle_t *)k->ping, on_timer_closed);
    k->ping = NULL;
}

enum MHD_Result trmd_answer_stream(trmd_conn *k) {
    start_pings(k);
    return trmd_answer_events(k, read_events);
}

enum MHD_Result trmd_answer_events(trmd_conn *k, MHD_ContentReaderCallback reader) {
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, reader, k, NULL);
    if (!r)
        return MHD_NO;
    (void)MHD_add_response_header(r, "Content-Type", "text/event-stream");
    (void)MHD_add_response_header(r, "Cache-Control", "no-store");
    (void)MHD_add_response_header(r, "X-Accel-Buffering", "no");
    return trmd_send(k, 200, r, "ok");
}

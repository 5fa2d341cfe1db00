/* What clients see of jobs: 202 for Prefer: respond-async, and GET, DELETE and event streams
 * on /v1/jobs/ID. Loop thread only; see jobs.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs.h"
#include "proto/job.h"

static const char prefix[] = "/v1/jobs/";
enum { PING_NS = 1000000000 };

/* A connection that streams a job: it looks at the store again and again, for the job may run
 * in another daemon, and is told at once of what happens in this one. */
typedef struct trmd_follow {
    trmd_conn *conn; /* NULL = gone; freed when its ask is back */
    char id[TRMD_JOB_ID_ROOM], owner[TRMD_JOB_OWNER_ROOM];
    char *shown; /* the last state and progress that were sent */
    bool asking, over;
    trmd_event *pending;
    uint64_t said; /* when something was last sent */
    struct trmd_follow *next;
} trmd_follow;

static const char *header(const trmd_conn *k, const char *name) {
    const char *value = MHD_lookup_connection_value(k->http, MHD_HEADER_KIND, name);
    return value ? value : "";
}

/* RFC 7240: preferences separated by commas, each with parameters after semicolons. */
bool trmd_job_wanted(const trmd_conn *k) {
    static const char want[] = "respond-async";
    const char *s = header(k, "Prefer");
    while (*s) {
        s += strspn(s, " \t,");
        size_t n = strcspn(s, " \t,;=");
        if (n == sizeof want - 1 && strncasecmp(s, want, n) == 0)
            return true;
        s += strcspn(s, ",");
    }
    return false;
}

static bool id_ok(const char *id) {
    return strlen(id) == TRMD_JOB_ID_ROOM - 1 &&
           strspn(id, "0123456789abcdef") == TRMD_JOB_ID_ROOM - 1;
}

static enum MHD_Result no_such_job(trmd_conn *k) {
    trmp_problem p;
    (void)trmp_problem_set(&p, 404, "not-found", NULL, "there is no such job, or it has expired");
    return trmd_answer_problem(k, &p);
}

static enum MHD_Result out_of_memory(trmd_conn *k) {
    return trmd_answer_json(k, 503, NULL, NULL);
}

static void on_answer(trmd_ask *q) {
    trmd_conn *k = q->whose;
    if (!k) {
        trmd_ask_free(q);
        return;
    }
    k->answered_ask = true;
    trmd_conn_resume(k);
}

/* The connection waits for the store's answer. */
static enum MHD_Result ask(trmd_conn *k, trmd_ask *q) {
    if (!q)
        return out_of_memory(k);
    if (k->app->auth)
        (void)snprintf(q->job.owner, sizeof q->job.owner, "%s", k->key);
    k->ask = q;
    k->app->calls++;
    trmd_ask_send(q);
    trmd_conn_suspend(k);
    return MHD_YES;
}

enum MHD_Result trmd_job_post(trmd_conn *k) {
    trmd_app *a = k->app;
    trmp_problem p;
    if (a->draining) {
        (void)trmp_problem_set(&p, 503, "draining", NULL, "the server is shutting down");
        p.retry_after = 5;
        return trmd_answer_problem(k, &p);
    }
    if (trmd_call_check(a, k->kind, k->body ? k->body : "", k->size, &p))
        return trmd_answer_problem(k, &p);
    trmd_ask *q = trmd_ask_new(a, TRMD_ASK_ADD, on_answer, k);
    if (!q)
        return out_of_memory(k);
    char id[TRMD_ID_ROOM];
    trmd_request_id_make(id);
    memcpy(q->job.id, id, sizeof q->job.id - 1);
    (void)snprintf(q->job.kind, sizeof q->job.kind, "%s", trmp_kind_name(k->kind));
    q->job.body = strndup(k->body, k->size);
    if (!q->job.body) {
        trmd_ask_free(q);
        return out_of_memory(k);
    }
    trmd_body_free(k);
    return ask(k, q);
}

enum MHD_Result trmd_job_look(trmd_conn *k) {
    const char *id = k->path + sizeof prefix - 1;
    bool cancel = strcmp(k->method, "DELETE") == 0;
    if (!id_ok(id))
        return no_such_job(k);
    trmd_ask *q = trmd_ask_new(k->app, cancel ? TRMD_ASK_CANCEL : TRMD_ASK_GET, on_answer, k);
    if (q)
        memcpy(q->job.id, id, sizeof q->job.id);
    return ask(k, q);
}

static char *dump(const trmd_job *j, bool whole) {
    const trmp_job out = {.id = j->id,
        .kind = j->kind,
        .state = trmd_job_states[j->state],
        .created = j->created,
        .started = j->started,
        .ended = j->ended,
        .expires = j->expires,
        .claims = j->claim,
        .progress = j->progress,
        .failed = j->state == TRMD_JOB_FAILED,
        .result = whole ? j->result : NULL};
    return trmp_job_dump(&out);
}

static enum MHD_Result accepted(trmd_conn *k, const trmd_job *j) {
    char place[sizeof prefix + TRMD_JOB_ID_ROOM];
    char *text = dump(j, false);
    struct MHD_Response *r =
        text ? trmd_response(k, text, strlen(text), MHD_RESPMEM_MUST_FREE) : NULL;
    if (!r) {
        free(text);
        return MHD_NO;
    }
    (void)snprintf(place, sizeof place, "%s%s", prefix, j->id);
    (void)MHD_add_response_header(r, "Content-Type", "application/json");
    (void)MHD_add_response_header(r, "Cache-Control", "no-store");
    (void)MHD_add_response_header(r, "Location", place);
    (void)MHD_add_response_header(r, "Preference-Applied", "respond-async");
    return trmd_send(k, 202, r, "accepted");
}

/* --- streams --- */

static void push(trmd_follow *f, const char *name, const char *json) {
    size_t room = strlen(name) + strlen(json) + 32;
    trmd_event *e = malloc(sizeof *e + room);
    if (!e)
        return;
    e->next = NULL;
    e->size = (size_t)snprintf(e->text, room, "event: %s\ndata: %s\n\n", name, json);
    free(f->pending); /* only the latest counts */
    f->pending = e;
}

/* Sends what is new about the job; after its end, or when it is gone, the stream ends. */
static void show(trmd_follow *f, const trmd_job *j) {
    bool over = trmd_job_over(j);
    char *text = dump(j, over);
    if (text && (over || !f->shown || strcmp(text, f->shown) != 0)) {
        push(f, over ? "done" : "progress", text);
        free(f->shown);
        f->shown = text;
        f->over = over;
        return;
    }
    free(text);
}

static void follow_free(trmd_follow *f) {
    free(f->pending);
    free(f->shown);
    free(f);
}

static void looked(trmd_ask *q) {
    trmd_follow *f = q->whose;
    f->asking = false;
    if (!f->conn) {
        follow_free(f);
    } else {
        if (q->result == TRM_OK)
            show(f, &q->job);
        else if (q->result == TRMD_STORE_NONE)
            f->over = true;
        if (f->pending || f->over || trmd_now() - f->said > 15ull * PING_NS)
            trmd_conn_resume(f->conn);
    }
    trmd_ask_free(q);
}

void trmd_follows_look(trmd_app *a, const char *id) {
    for (trmd_follow *f = a->jobs->follows; f; f = f->next) {
        if (f->asking || f->over || (id && strcmp(f->id, id) != 0))
            continue;
        trmd_ask *q = trmd_ask_new(a, TRMD_ASK_GET, looked, f);
        if (!q)
            continue;
        memcpy(q->job.id, f->id, sizeof q->job.id);
        memcpy(q->job.owner, f->owner, sizeof q->job.owner);
        f->asking = true;
        trmd_ask_send(q);
    }
}

void trmd_follows_end(trmd_app *a) {
    for (trmd_follow *f = a->jobs->follows; f; f = f->next) {
        f->over = true;
        trmd_conn_resume(f->conn);
    }
}

static ssize_t read_follow(void *cls, uint64_t pos, char *buffer, size_t room) {
    static const char ping[] = ": ping\n\n";
    trmd_conn *k = cls;
    trmd_follow *f = k->follow;
    (void)pos;
    if (k->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!k->event) {
        k->event = f->pending;
        k->event_at = 0;
        f->pending = NULL;
    }
    if (!k->event && f->over)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!k->event && trmd_now() - f->said > 15ull * PING_NS && room >= sizeof ping) {
        f->said = trmd_now();
        memcpy(buffer, ping, sizeof ping - 1);
        return sizeof ping - 1;
    }
    if (!k->event) {
        trmd_conn_suspend(k);
        return 0;
    }
    f->said = trmd_now();
    return trmd_event_write(k, buffer, room);
}

static enum MHD_Result follow(trmd_conn *k, const trmd_job *j) {
    trmd_follow *f = calloc(1, sizeof *f);
    if (!f)
        return out_of_memory(k);
    f->conn = k;
    f->said = trmd_now();
    memcpy(f->id, j->id, sizeof f->id);
    if (k->app->auth)
        (void)snprintf(f->owner, sizeof f->owner, "%s", k->key);
    f->next = k->app->jobs->follows;
    k->app->jobs->follows = f;
    k->follow = f;
    show(f, j);
    f->over |= k->app->draining;
    return trmd_answer_events(k, read_follow);
}

enum MHD_Result trmd_job_answered(trmd_conn *k) {
    trmd_ask *q = k->ask;
    trmp_problem p;
    enum MHD_Result ok = MHD_NO;
    if (k->gone || !k->answered_ask)
        return MHD_NO;
    k->ask = NULL;
    k->app->calls--;
    if (q->result < 0) {
        trmd_jobs_complain(k->app, &q->err);
        (void)trmp_problem_set(
            &p, 503, "unavailable", NULL, "the job store failed: %.300s", q->err.text);
        p.retry_after = 5;
        ok = trmd_answer_problem(k, &p);
    } else if (q->result == TRMD_STORE_FULL) {
        (void)trmp_problem_set(&p, 429, "queue-full", NULL, "no more jobs: %s", q->err.text);
        p.retry_after = 10;
        ok = trmd_answer_problem(k, &p);
    } else if (q->result == TRMD_STORE_NONE) {
        ok = no_such_job(k);
    } else if (q->kind == TRMD_ASK_ADD) {
        trmd_runs_claim(k->app);
        ok = accepted(k, &q->job);
    } else {
        if (q->kind == TRMD_ASK_CANCEL) {
            trmd_runs_cancelled(k->app, q->job.id);
            trmd_follows_look(k->app, q->job.id);
        }
        ok = q->kind == TRMD_ASK_GET && trmd_stream_wanted(k)
                 ? follow(k, &q->job)
                 : trmd_answer_json(k, 200, dump(&q->job, true), "ok");
    }
    trmd_ask_free(q);
    return ok;
}

void trmd_job_left(trmd_conn *k) {
    trmd_follow *f = k->follow;
    if (k->ask) {
        k->app->calls--;
        k->ask->whose = NULL;
        if (k->answered_ask)
            trmd_ask_free(k->ask);
    }
    if (!f)
        return;
    for (trmd_follow **at = &k->app->jobs->follows; *at; at = &(*at)->next)
        if (*at == f) {
            *at = f->next;
            break;
        }
    f->conn = NULL;
    if (!f->asking)
        follow_free(f);
}

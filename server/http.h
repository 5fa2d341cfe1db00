/* HTTP on libmicrohttpd: what a connection goes through. Loop thread only. */
#ifndef TRMD_HTTP_H
#define TRMD_HTTP_H

#include "call.h"

typedef struct trmd_conn {
    trmd_app *app;
    const trmd_door *door;
    struct MHD_Connection *http;
    char id[TRMD_ID_ROOM];
    const char *method;
    char path[128];
    char traceparent[64];
    char key[TRMD_KEY_NAME_ROOM];
    char agent[96];
    uint64_t began, sent; /* sent: bytes of the answer's body */
    char *body;
    size_t size, room, discarded;
    bool early, suspended, gone; /* early: `problem` is the answer, the body is discarded */
    bool arriving;               /* in app->arriving */
    bool close;                  /* nobody knows where the next request would begin */
    struct trmd_conn *next_arriving;
    trmp_problem problem;
    trmp_kind kind;
    char v2[64]; /* the model that a request in the other face asks; "" = none */
    bool streaming;
    trmd_call *call;
    trmd_event *event; /* being written to a stream */
    uv_timer_t *ping;  /* of a stream */
    size_t event_at;
    uv_poll_t *watch;
    uint64_t waits_for; /* the reload whose end it awaits; 0 = none */
    struct trmd_conn *next_waiting;
    struct trmd_ask *ask; /* what the job store was asked; answered_ask: and has answered */
    bool answered_ask;
    struct trmd_follow *follow; /* the job it streams */
    int status;
    double answered; /* seconds from headers read to answer queued */
    const char *reason;
} trmd_conn;

/* The access handler and the end-of-request notification of the daemon. */
enum MHD_Result trmd_http_handle(void *cls, struct MHD_Connection *c, const char *url,
    const char *method, const char *version, const char *data, size_t *size, void **state);
void trmd_http_completed(
    void *cls, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code);

/* The body has been read, or will not be. */
void trmd_body_free(trmd_conn *k);

/* Suspends the connection and watches its socket meanwhile; resumes it. */
void trmd_conn_suspend(trmd_conn *k);
void trmd_conn_resume(trmd_conn *k);

/* Answers; text is malloc'd JSON and taken over. NULL text answers 503. */
enum MHD_Result trmd_answer_json(trmd_conn *k, int status, char *text, const char *reason);
enum MHD_Result trmd_answer_static(trmd_conn *k, const char *type, const void *bytes, size_t size);
enum MHD_Result trmd_answer_problem(trmd_conn *k, const trmp_problem *p);
/* stream.c: whether the client accepts server-sent events. */
bool trmd_stream_wanted(trmd_conn *k);
/* Answers with server-sent events from k->call. */
enum MHD_Result trmd_answer_stream(trmd_conn *k);
/* The same from another reader of events, whose cls is k. */
enum MHD_Result trmd_answer_events(trmd_conn *k, MHD_ContentReaderCallback reader);
/* Copies on from k->event and frees it after its last byte. */
ssize_t trmd_event_write(trmd_conn *k, char *buffer, size_t room);
void trmd_stream_end(trmd_conn *k);
/* A response from bytes, counted for the log. */
struct MHD_Response *trmd_response(
    trmd_conn *k, const void *bytes, size_t size, enum MHD_ResponseMemoryMode mode);
/* Adds the headers that every answer carries, queues r and gives it up. NULL is MHD_NO. */
enum MHD_Result trmd_send(trmd_conn *k, int status, struct MHD_Response *r, const char *reason);

/* Bytes of a refused body that are read and thrown away, so that its client sees the answer. */
enum { TRMD_DISCARD_MAX = 32 << 20 };

/* framing.c: sets k->problem, early and close where the headers leave in doubt where the request
 * ends or whom it asks. */
bool trmd_framing_bad(trmd_conn *k, const char *version);

/* routes.c: decides by method, path and headers. Sets k->problem and early where the request
 * is refused; *now is true when it can be answered without a body. */
void trmd_route_headers(trmd_conn *k, bool *now);
/* What an address takes, for the Allow header. */
const char *trmd_route_allows(const char *path);
/* Answers a request without puzzles. */
enum MHD_Result trmd_route_get(trmd_conn *k);
enum MHD_Result trmd_answer_live(trmd_conn *k);
enum MHD_Result trmd_answer_ready(trmd_conn *k);
enum MHD_Result trmd_answer_models(trmd_conn *k);
enum MHD_Result trmd_answer_metrics(trmd_conn *k);

bool trmd_alive(const trmd_app *a); /* every engine thread moves */
bool trmd_works(const trmd_app *a); /* and no engine has failed */

/* v2.c: the face of proto/v2.h. Finds the model whose /v2/models/NAME/infer is asked; -1 with
 * k->problem if there is none. */
int trmd_v2_begin(trmd_conn *k);
enum MHD_Result trmd_v2_server(trmd_conn *k);
enum MHD_Result trmd_v2_health(trmd_conn *k, bool ready);
/* The model in the address: what it is, or only whether it is ready. */
enum MHD_Result trmd_v2_model(trmd_conn *k, bool ready);

/* admin.c: the same for the admin door. */
void trmd_admin_headers(trmd_conn *k);
enum MHD_Result trmd_admin_answer(trmd_conn *k);
const char *trmd_admin_allows(const char *path);
/* The connection ends: it waits for nothing any more. */
void trmd_admin_forget(trmd_conn *k);

/* job_http.c: does the request ask for a job? */
bool trmd_job_wanted(const trmd_conn *k);
/* POST with a body that came whole; GET or DELETE of /v1/jobs/ID. Both suspend. */
enum MHD_Result trmd_job_post(trmd_conn *k);
enum MHD_Result trmd_job_look(trmd_conn *k);
/* Resumed: the store has answered, or the client has left. */
enum MHD_Result trmd_job_answered(trmd_conn *k);
/* The connection ends. */
void trmd_job_left(trmd_conn *k);

#endif

/* The jobs that this daemon works on: claimed from the store, run as calls without a
 * connection, their ends recorded there. Loop thread only; see jobs.h. */
#include <stdlib.h>
#include <string.h>

#include "jobs.h"

enum { TELL_NS = 500000000 };

static void recorded(trmd_ask *q);

static trmp_kind kind_of(const trmd_job *j) {
    int k = 0;
    while (k < TRMP_KINDS && strcmp(trmp_kind_name((trmp_kind)k), j->kind) != 0)
        k++;
    return (trmp_kind)k;
}

static void run_free(trmd_run *r) {
    if (r->asked)
        r->asked->whose = NULL;
    trmd_job_clear(&r->job);
    free(r);
}

static void ended(trmd_run *r, const char *how) {
    trmd_app *a = r->app;
    trmd_run **at = &a->jobs->runs;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    a->jobs->running--;
    trmd_count(a->metrics, TRMD_M_JOBS_ENDED, 1, TRMD_LABELS(r->job.kind, how));
    run_free(r);
    trmd_runs_claim(a);
}

/* Tells the store how the run ended; the run stays until the store has it. */
static void record(trmd_run *r) {
    if (r->recording)
        return;
    trmd_ask *q = trmd_ask_new(r->app, r->giving ? TRMD_ASK_RELEASE : TRMD_ASK_FINISH, recorded, r);
    if (!q)
        return; /* again at the next tick */
    memcpy(q->job.id, r->job.id, sizeof q->job.id);
    q->job.claim = r->job.claim;
    q->job.state = r->job.state;
    q->job.result = r->job.result ? strdup(r->job.result) : NULL;
    r->recording = true;
    trmd_ask_send(q);
}

static void recorded(trmd_ask *q) {
    trmd_run *r = q->whose;
    r->recording = false;
    if (q->result < 0) {
        trmd_jobs_complain(r->app, &q->err);
    } else {
        trmd_follows_look(r->app, r->job.id);
        ended(r, q->result == TRMD_STORE_NONE ? "lost"
                 : r->giving                  ? "given back"
                                              : trmd_job_states[r->job.state]);
    }
    trmd_ask_free(q);
}

static void end_with(trmd_run *r, trmd_job_state state, char *result) {
    r->job.state = state;
    r->job.result = result;
    r->over = true;
    record(r);
}

static void end_with_problem(trmd_run *r, const trmp_problem *p) {
    end_with(r, TRMD_JOB_FAILED, trmp_problem_dump(p, NULL));
}

/* All of the call's works have ended. */
static void through(trmd_run *r) {
    trmd_call *c = r->call;
    trmp_problem p;
    r->call = NULL;
    c->run = NULL;
    if (r->lost) {
        ended(r, "cancelled");
    } else if (r->giving) {
        r->over = true;
        record(r);
    } else if (trmd_call_failed(c)) {
        (void)trmp_problem_set(&p, 503, "unavailable", NULL, "the engine failed");
        end_with_problem(r, &p);
    } else {
        end_with(r, TRMD_JOB_DONE, trmd_call_answer(c));
    }
    trmd_call_leave(c);
}

void trmd_run_stepped(trmd_run *r) {
    if (r->call->left == 0)
        through(r);
    else
        trmd_call_feed(r->call);
}

static void give_up(trmd_run *r) {
    if (!r->call && !r->over) {
        r->over = true;
        if (r->giving)
            record(r);
        else
            ended(r, "cancelled");
    } else if (r->call && trmd_call_cancel(r->call)) {
        through(r);
    }
}

static void begin(trmd_run *r) {
    trmp_problem p;
    trmp_kind kind = kind_of(&r->job);
    if (kind == TRMP_KINDS)
        (void)trmp_problem_set(
            &p, 500, "internal", NULL, "this version knows no kind \"%s\"", r->job.kind);
    else if (!trmd_call_start_job(&r->call, r->app, kind, r->job.body, r, &p))
        return;
    r->call = NULL;
    if (p.status != 429) /* else again at the next tick */
        end_with_problem(r, &p);
}

static void claimed(trmd_ask *q) {
    trmd_app *a = q->app;
    trmd_jobs *j = a->jobs;
    trmd_run *r = q->result == TRM_OK ? calloc(1, sizeof *r) : NULL;
    j->claiming = false;
    if (q->result < 0)
        trmd_jobs_complain(a, &q->err);
    if (r) {
        r->app = a;
        r->job = q->job;
        memset(&q->job, 0, sizeof q->job);
        r->told = trmd_now();
        r->next = j->runs;
        j->runs = r;
        j->running++;
        trmd_count(a->metrics, TRMD_M_JOB_CLAIMS, 1,
            TRMD_LABELS(r->job.kind, r->job.claim > 1 ? "again" : "first"));
        r->giving = j->draining && j->store->lasting;
        if (r->giving)
            give_up(r);
        else
            begin(r);
        trmd_runs_claim(a);
    }
    trmd_ask_free(q);
}

void trmd_runs_claim(trmd_app *a) {
    trmd_jobs *j = a->jobs;
    if (j->claiming || j->draining || j->running >= a->o.job_runs)
        return;
    trmd_ask *q = trmd_ask_new(a, TRMD_ASK_CLAIM, claimed, NULL);
    if (!q)
        return;
    j->claiming = true;
    trmd_ask_send(q);
}

static void told(trmd_ask *q) {
    trmd_run *r = q->whose;
    if (r) {
        r->asked = NULL;
        if (q->result < 0)
            trmd_jobs_complain(r->app, &q->err);
        else if (q->result == TRMD_STORE_NONE && !r->over) {
            r->lost = true;
            give_up(r);
        } else {
            trmd_follows_look(r->app, r->job.id);
        }
    }
    trmd_ask_free(q);
}

/* What is new, and every third of the time after which the run would be thought dead. */
static void tell(trmd_run *r) {
    uint64_t now = trmd_now(), since = now - r->told;
    if (r->asked || since < TELL_NS)
        return;
    char *text = r->call ? trmd_call_progress(r->call) : NULL;
    bool fresh = text && (!r->job.progress || strcmp(text, r->job.progress) != 0);
    bool due = since > (uint64_t)r->app->o.job_idle_ms * 1000000u / 3;
    trmd_ask *q = fresh || due ? trmd_ask_new(r->app, TRMD_ASK_PROGRESS, told, r) : NULL;
    if (q) {
        memcpy(q->job.id, r->job.id, sizeof q->job.id);
        q->job.claim = r->job.claim;
        q->job.progress = text ? strdup(text) : NULL;
        free(r->job.progress);
        r->job.progress = text;
        r->told = now;
        r->asked = q;
        trmd_ask_send(q);
    } else {
        free(text);
    }
}

void trmd_runs_tick(trmd_app *a) {
    for (trmd_run *r = a->jobs->runs, *next; r; r = next) {
        next = r->next;
        if (r->over) {
            record(r);
            continue;
        }
        if (r->call)
            trmd_call_feed(r->call);
        else
            begin(r);
        if (!r->over)
            tell(r);
    }
    trmd_runs_claim(a);
}

void trmd_runs_drain(trmd_app *a, bool give_back) {
    for (trmd_run *r = a->jobs->runs, *next; r; r = next) {
        next = r->next;
        if (!r->over && !r->lost && give_back) {
            r->giving = true;
            give_up(r);
        }
    }
}

void trmd_runs_cancelled(trmd_app *a, const char *id) {
    for (trmd_run *r = a->jobs->runs; r; r = r->next)
        if (strcmp(r->job.id, id) == 0 && !r->over && !r->lost) {
            r->lost = true;
            give_up(r);
            return;
        }
}

void trmd_runs_free(trmd_app *a) {
    while (a->jobs->runs) {
        trmd_run *r = a->jobs->runs;
        a->jobs->runs = r->next;
        run_free(r);
    }
}

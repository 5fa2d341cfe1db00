/* See jobs.h: the thread that talks to the store, and the two queues between it and the loop. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jobs.h"

enum { TICK_MS = 250, TICKS_PER_SWEEP = 4 };

static int64_t clock_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

trmd_ask *trmd_ask_new(trmd_app *a, trmd_ask_kind kind, void (*then)(trmd_ask *q), void *whose) {
    trmd_ask *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->app = a;
    q->kind = kind;
    q->then = then;
    q->whose = whose;
    return q;
}

void trmd_ask_free(trmd_ask *q) {
    if (q)
        trmd_job_clear(&q->job);
    free(q);
}

void trmd_ask_send(trmd_ask *q) {
    trmd_jobs *j = q->app->jobs;
    (void)pthread_mutex_lock(&j->lock);
    q->next = NULL;
    *j->in_last = q;
    j->in_last = &q->next;
    (void)pthread_cond_signal(&j->wake);
    (void)pthread_mutex_unlock(&j->lock);
}

/* --- the thread --- */

static int look(trmd_store *s, trmd_ask *q) {
    trmd_job found;
    int r = s->ops->get(s, q->job.id, &found, &q->err);
    if (r)
        return r;
    if (q->job.owner[0] && strcmp(q->job.owner, found.owner) != 0) {
        trmd_job_clear(&found);
        return TRMD_STORE_NONE;
    }
    trmd_job_clear(&q->job);
    q->job = found;
    return TRM_OK;
}

static int cancel(trmd_store *s, trmd_ask *q, int64_t now) {
    int r = look(s, q);
    if (r || trmd_job_over(&q->job))
        return r;
    r = s->ops->cancel(s, q->job.id, now, &q->err);
    return r ? r : look(s, q);
}

static int execute(trmd_jobs *j, trmd_ask *q) {
    trmd_store *s = j->store;
    const struct trmd_store_ops *ops = s->ops;
    int64_t now = clock_ms();
    switch (q->kind) {
    case TRMD_ASK_ADD:
        q->job.created = now;
        return ops->add(s, &q->job, now, &q->err);
    case TRMD_ASK_GET:
        return look(s, q);
    case TRMD_ASK_CANCEL:
        return cancel(s, q, now);
    case TRMD_ASK_CLAIM:
        return ops->claim(s, &q->job, now, &q->err);
    case TRMD_ASK_PROGRESS:
        return ops->progress(s, &q->job, q->job.progress, now, &q->err);
    case TRMD_ASK_FINISH:
        return ops->finish(s, &q->job, now, &q->err);
    case TRMD_ASK_RELEASE:
        return ops->release(s, &q->job, now, &q->err);
    case TRMD_ASK_SWEEP:
        return ops->sweep(s, now, &q->counts, &q->err);
    }
    return trm_fail(&q->err, TRM_E_ARG, "no such question");
}

static trmd_ask *next_ask(trmd_jobs *j) {
    (void)pthread_mutex_lock(&j->lock);
    while (!j->in && !j->stop)
        (void)pthread_cond_wait(&j->wake, &j->lock);
    trmd_ask *q = j->in;
    if (q) {
        j->in = q->next;
        if (!j->in)
            j->in_last = &j->in;
    }
    (void)pthread_mutex_unlock(&j->lock);
    return q;
}

/* Ends when it is told to and has nothing left to do. */
static void *keep(void *arg) {
    trmd_jobs *j = arg;
    trmd_ask *q;
    while ((q = next_ask(j))) {
        q->result = execute(j, q);
        q->next = NULL;
        (void)pthread_mutex_lock(&j->lock);
        *j->out_last = q;
        j->out_last = &q->next;
        bool stop = j->stop;
        (void)pthread_mutex_unlock(&j->lock);
        if (!stop)
            (void)uv_async_send(&j->async);
    }
    return NULL;
}

/* --- the loop --- */

static void take_answers(trmd_jobs *j) {
    (void)pthread_mutex_lock(&j->lock);
    trmd_ask *q = j->out;
    j->out = NULL;
    j->out_last = &j->out;
    (void)pthread_mutex_unlock(&j->lock);
    while (q) {
        trmd_ask *next = q->next;
        q->then(q);
        q = next;
    }
}

static void on_answers(uv_async_t *h) {
    trmd_jobs *j = h->data;
    take_answers(j);
    trmd_loop_kick(j->app);
}

void trmd_jobs_complain(trmd_app *a, const trm_error *err) {
    uint64_t now = trmd_now();
    trmd_count(a->metrics, TRMD_M_JOB_STORE_ERRORS, 1, NULL);
    if (a->jobs->complained && now - a->jobs->complained < 5000000000u)
        return;
    a->jobs->complained = now;
    trmd_log(TRMD_ERROR, "the job store failed", TRMD_FIELDS(TRMD_STR("error", err->text)));
}

static void on_swept(trmd_ask *q) {
    trmd_app *a = q->app;
    a->jobs->sweeping = false;
    if (q->result < 0)
        trmd_jobs_complain(a, &q->err);
    for (int i = 0; i < TRMD_JOB_STATES && !q->result; i++)
        trmd_gauge_set(
            a->metrics, TRMD_M_JOBS, (double)q->counts.state[i], TRMD_LABELS(trmd_job_states[i]));
    if (!q->result)
        trmd_gauge_set(a->metrics, TRMD_M_JOB_BYTES, (double)q->counts.bytes, NULL);
    trmd_ask_free(q);
}

static void on_tick(uv_timer_t *t) {
    trmd_jobs *j = t->data;
    trmd_ask *q = NULL;
    if (j->ticks++ % TICKS_PER_SWEEP == 0 && !j->sweeping)
        q = trmd_ask_new(j->app, TRMD_ASK_SWEEP, on_swept, NULL);
    if (q) {
        j->sweeping = true;
        trmd_ask_send(q);
    }
    trmd_runs_tick(j->app);
    trmd_follows_look(j->app, NULL);
}

static int open_store(trmd_jobs *j, trm_error *err) {
    const trmd_options *o = &j->app->o;
    const trmd_store_limits limits = {.queued = o->job_queue,
        .kept = o->jobs_kept,
        .bytes = o->job_bytes,
        .keep_ms = (int64_t)o->job_keep_s * 1000,
        .idle_ms = o->job_idle_ms};
    return *o->jobs ? trmd_store_redis(&j->store, o->jobs, o->server_id, &limits, err)
                    : trmd_store_sqlite(&j->store, o->state_dir, &limits, err);
}

int trmd_jobs_open(trmd_app *a, trm_error *err) {
    trmd_jobs *j = calloc(1, sizeof *j);
    if (!j)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for jobs");
    a->jobs = j;
    j->app = a;
    j->in_last = &j->in;
    j->out_last = &j->out;
    (void)pthread_mutex_init(&j->lock, NULL);
    (void)pthread_cond_init(&j->wake, NULL);
    int r = open_store(j, err);
    if (r)
        return r;
    (void)uv_async_init(&a->loop, &j->async, on_answers);
    (void)uv_timer_init(&a->loop, &j->tick);
    j->async.data = j->tick.data = j;
    sigset_t all, old; /* signals are the loop thread's */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    j->started = pthread_create(&j->thread, NULL, keep, j) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!j->started)
        return trm_fail(err, TRM_E_IO, "cannot start the jobs thread");
    (void)uv_timer_start(&j->tick, on_tick, 0, TICK_MS);
    trmd_runs_claim(a);
    return TRM_OK;
}

void trmd_jobs_drain(trmd_app *a) {
    trmd_jobs *j = a->jobs;
    j->draining = true;
    trmd_runs_drain(a, j->store->lasting);
    trmd_follows_end(a);
}

void trmd_jobs_stop(trmd_app *a) {
    trmd_jobs *j = a->jobs;
    if (!j || !j->started)
        return;
    (void)pthread_mutex_lock(&j->lock);
    j->stop = true;
    (void)pthread_cond_signal(&j->wake);
    (void)pthread_mutex_unlock(&j->lock);
    (void)pthread_join(j->thread, NULL);
    j->started = false;
    take_answers(j);
}

void trmd_jobs_free(trmd_app *a) {
    trmd_jobs *j = a->jobs;
    if (!j)
        return;
    trmd_runs_free(a);
    while (j->in) { /* asked after the end */
        trmd_ask *q = j->in;
        j->in = q->next;
        trmd_ask_free(q);
    }
    if (j->store)
        j->store->ops->close(j->store);
    (void)pthread_mutex_destroy(&j->lock);
    (void)pthread_cond_destroy(&j->wake);
    free(j);
    a->jobs = NULL;
}

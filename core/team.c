/* Threads that sleep on a condition variable between runs: an idle engine costs nothing.
 * One lock guards the run counter and the count of members still at work. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "team.h"

struct member {
    trm_team *team;
    int index;
    pthread_t thread;
};

struct trm_team {
    int size, started;
    void (*enter)(void);
    pthread_mutex_t lock;
    pthread_cond_t go, done;
    unsigned long run;
    int working;
    bool stop;
    void (*fn)(void *, int);
    void *arg;
    struct member *member;
};

static void *work(void *arg) {
    struct member *m = arg;
    trm_team *t = m->team;
    unsigned long seen = 0;
    if (t->enter)
        t->enter();
    (void)pthread_mutex_lock(&t->lock);
    for (;;) {
        while (t->run == seen && !t->stop)
            (void)pthread_cond_wait(&t->go, &t->lock);
        if (t->stop)
            break;
        seen = t->run;
        (void)pthread_mutex_unlock(&t->lock);
        t->fn(t->arg, m->index);
        (void)pthread_mutex_lock(&t->lock);
        if (--t->working == 0)
            (void)pthread_cond_signal(&t->done);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Signals are the host program's business: members block them all. */
static int start(struct member *m) {
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&m->thread, NULL, work, m);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

int trm_team_new(trm_team **out, int threads, void (*enter)(void), trm_error *err) {
    trm_team *t = calloc(1, sizeof *t);
    if (t)
        t->member = calloc((size_t)threads, sizeof *t->member);
    if (!t || !t->member) {
        free(t);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for threads");
    }
    t->size = threads;
    t->enter = enter;
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->go, NULL);
    (void)pthread_cond_init(&t->done, NULL);
    if (enter)
        enter();
    for (t->started = 1; t->started < threads; t->started++) {
        struct member *m = &t->member[t->started];
        m->team = t;
        m->index = t->started;
        if (start(m)) {
            trm_team_free(t);
            return trm_fail(err, TRM_E_IO, "cannot start a thread");
        }
    }
    *out = t;
    return TRM_OK;
}

int trm_team_size(const trm_team *t) {
    return t->size;
}

void trm_team_run(trm_team *t, void (*fn)(void *arg, int member), void *arg) {
    if (t->size > 1) {
        (void)pthread_mutex_lock(&t->lock);
        t->fn = fn;
        t->arg = arg;
        t->working = t->size - 1;
        t->run++;
        (void)pthread_cond_broadcast(&t->go);
        (void)pthread_mutex_unlock(&t->lock);
    }
    fn(arg, 0);
    if (t->size > 1) {
        (void)pthread_mutex_lock(&t->lock);
        while (t->working)
            (void)pthread_cond_wait(&t->done, &t->lock);
        (void)pthread_mutex_unlock(&t->lock);
    }
}

void trm_team_free(trm_team *t) {
    if (!t)
        return;
    (void)pthread_mutex_lock(&t->lock);
    t->stop = true;
    (void)pthread_cond_broadcast(&t->go);
    (void)pthread_mutex_unlock(&t->lock);
    for (int i = 1; i < t->started; i++)
        (void)pthread_join(t->member[i].thread, NULL);
    (void)pthread_cond_destroy(&t->go);
    (void)pthread_cond_destroy(&t->done);
    (void)pthread_mutex_destroy(&t->lock);
    free(t->member);
    free(t);
}

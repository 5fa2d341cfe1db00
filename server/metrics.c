/* Counting: a hash table of series per family, read without locks, grown under one.
 * A trmd_metrics owns its series; they live as long as it does. Any thread. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics_table.h"

static uint64_t hash_of(const char *const *labels, int n) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, the closing NUL included */
    for (int i = 0; i < n; i++)
        for (const char *c = labels[i];; c++) {
            h = (h ^ (unsigned char)*c) * 0x100000001b3u;
            if (!*c)
                break;
        }
    return h;
}

static bool is_for(const metric_series *s, const char *const *labels, int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(s->label[i], labels[i]) != 0)
            return false;
    return true;
}

static metric_series *look(
    metric_family *f, const char *const *labels, int n, uint64_t hash, uint64_t *place) {
    for (*place = hash % METRIC_PLACES;; *place = (*place + 1) % METRIC_PLACES) {
        metric_series *s = atomic_load_explicit(&f->place[*place], memory_order_acquire);
        if (!s || is_for(s, labels, n))
            return s;
    }
}

static metric_series *series_new(const metric_row *row, const char *const *labels) {
    size_t cells = row->type == METRIC_HISTOGRAM ? (size_t)row->bounds + 1 : 0;
    metric_series *s = calloc(1, sizeof *s + cells * sizeof s->bucket[0]);
    for (int i = 0; s && i < row->labels; i++) {
        s->label[i] = strdup(labels[i]);
        if (!s->label[i]) {
            metric_series_free(s);
            return NULL;
        }
    }
    return s;
}

void metric_series_free(metric_series *s) {
    for (int i = 0; s && i < METRIC_LABELS; i++)
        free(s->label[i]);
    free(s);
}

/* The series of these label values, made if need be. NULL: wrong labels, or no memory. */
static metric_series *series_of(trmd_metrics *m, trmd_metric what, const char *const *labels) {
    static const char *const other[METRIC_LABELS] = {"other", "other", "other", "other"};
    const metric_row *row = &metric_rows[what];
    metric_family *f = &m->family[what];
    uint64_t place;
    int n = 0;
    while (labels && n < METRIC_LABELS && labels[n])
        n++;
    if (n != row->labels)
        return NULL;
    uint64_t hash = hash_of(labels, n);
    metric_series *s = look(f, labels, n, hash, &place);
    if (s)
        return s;
    (void)pthread_mutex_lock(&m->grow);
    s = look(f, labels, n, hash, &place);
    if (!s && atomic_load(&f->n) >= METRIC_SERIES - 1) {
        labels = other;
        s = look(f, labels, n, hash_of(labels, n), &place);
    }
    if (!s && (s = series_new(row, labels))) {
        int at = atomic_load(&f->n);
        f->series[at] = s;
        atomic_store_explicit(&f->place[place], s, memory_order_release);
        atomic_store_explicit(&f->n, at + 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&m->grow);
    return s;
}

static uint64_t bits(double x) {
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

double metric_value(const _Atomic uint64_t *cell) {
    uint64_t b = atomic_load_explicit(cell, memory_order_relaxed);
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static void add(_Atomic uint64_t *cell, double by) {
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    double x;
    do {
        memcpy(&x, &old, sizeof x);
    } while (!atomic_compare_exchange_weak_explicit(
        cell, &old, bits(x + by), memory_order_relaxed, memory_order_relaxed));
}

int trmd_metrics_new(trmd_metrics **out, trm_error *err) {
    trmd_metrics *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m || pthread_mutex_init(&m->grow, NULL)) {
        free(m);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the metrics");
    }
    /* what has no labels is shown from the start, as 0 */
    for (int i = 0; i < TRMD_METRICS; i++) {
        metric_series *s = metric_rows[i].labels ? NULL : series_of(m, (trmd_metric)i, NULL);
        if (s)
            atomic_store(&s->shown, true);
        if (!s && !metric_rows[i].labels) {
            trmd_metrics_free(m);
            return trm_fail(err, TRM_E_NOMEM, "out of memory for the metrics");
        }
    }
    *out = m;
    return TRM_OK;
}

void trmd_metrics_free(trmd_metrics *m) {
    if (!m)
        return;
    for (int i = 0; i < TRMD_METRICS; i++)
        for (int k = 0; k < atomic_load(&m->family[i].n); k++)
            metric_series_free(m->family[i].series[k]);
    (void)pthread_mutex_destroy(&m->grow);
    free(m);
}

static void show(metric_series *s) {
    if (!atomic_load_explicit(&s->shown, memory_order_relaxed))
        atomic_store(&s->shown, true);
}

static void change(trmd_metrics *m, trmd_metric what, double by, const char *const *labels) {
    metric_series *s = series_of(m, what, labels);
    if (!s)
        return;
    add(&s->value, by);
    show(s);
}

void trmd_count(trmd_metrics *m, trmd_metric what, double by, const char *const *labels) {
    if (by >= 0)
        change(m, what, by, labels);
}

void trmd_gauge_add(trmd_metrics *m, trmd_metric what, double by, const char *const *labels) {
    change(m, what, by, labels);
}

void trmd_gauge_set(trmd_metrics *m, trmd_metric what, double value, const char *const *labels) {
    metric_series *s = series_of(m, what, labels);
    if (!s)
        return;
    atomic_store_explicit(&s->value, bits(value), memory_order_relaxed);
    show(s);
}

void trmd_observe(trmd_metrics *m, trmd_metric what, double value, const char *const *labels) {
    const metric_row *row = &metric_rows[what];
    metric_series *s = series_of(m, what, labels);
    int i = 0;
    if (!s || row->type != METRIC_HISTOGRAM)
        return;
    while (i < row->bounds && value > row->bound[i])
        i++;
    (void)atomic_fetch_add_explicit(&s->bucket[i], 1, memory_order_relaxed);
    add(&s->value, value);
    show(s);
}

void trmd_metric_clear(trmd_metrics *m, trmd_metric what) {
    metric_family *f = &m->family[what];
    int n = atomic_load_explicit(&f->n, memory_order_acquire);
    for (int i = 0; i < n; i++) {
        atomic_store(&f->series[i]->shown, false);
        atomic_store(&f->series[i]->value, 0);
    }
}

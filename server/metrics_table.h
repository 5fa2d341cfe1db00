/* The families, and how their series are held. Private to metrics*.c; the rules of threads
 * are those of metrics.h.
 */
#ifndef TRMD_METRICS_TABLE_H
#define TRMD_METRICS_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "metrics.h"

enum {
    METRIC_LABELS = 4,
    METRIC_SERIES = 256, /* per family, the one of "other" included */
    METRIC_PLACES = 512, /* of the hash table: at most half full, so a search ends */
};

typedef enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } metric_type;

typedef struct metric_row {
    const char *name;
    const char *help;
    const double *bound; /* upper bounds of the buckets, +Inf not among them */
    const char *label[METRIC_LABELS];
    metric_type type;
    int labels, bounds;
} metric_row;

extern const metric_row metric_rows[TRMD_METRICS];

typedef struct metric_series {
    char *label[METRIC_LABELS];
    atomic_bool shown;
    _Atomic uint64_t value;    /* the bits of a double; a histogram's sum */
    _Atomic uint64_t bucket[]; /* bounds + 1 counts, not cumulated */
} metric_series;

typedef struct metric_family {
    _Atomic(metric_series *) place[METRIC_PLACES];
    metric_series *series[METRIC_SERIES]; /* in the order they came */
    atomic_int n;
} metric_family;

struct trmd_metrics {
    pthread_mutex_t grow;
    metric_family family[TRMD_METRICS];
};

double metric_value(const _Atomic uint64_t *cell);
void metric_series_free(metric_series *s);

#endif

/* What the daemon counts, and its Prometheus text form.
 *
 * The families are one table in metrics.c; the enum below names them. Any thread may count:
 * an update is a scan over the label's few known values and one atomic operation, without a
 * lock except when a label value is seen for the first time. A label takes a bounded number
 * of values; later ones are counted as "other", so no client can grow the memory.
 */
#ifndef TRMD_METRICS_H
#define TRMD_METRICS_H

#include <stddef.h>

#include "trm/error.h"

typedef enum trmd_metric {      /* labels, in the order of TRMD_LABELS */
    TRMD_M_REQUESTS,            /* counter {kind, status, reason}: HTTP requests answered */
    TRMD_M_REQUEST_SECONDS,     /* histogram {kind}: headers read to answer queued */
    TRMD_M_REJECT_SECONDS,      /* histogram {reason}: the same, of refused requests */
    TRMD_M_REQUESTS_IN_FLIGHT,  /* gauge */
    TRMD_M_CONNECTIONS,         /* gauge */
    TRMD_M_PUZZLES,             /* counter {kind, status}: solved, unsolved, deadline... */
    TRMD_M_VERIFIED,            /* counter {kind} */
    TRMD_M_QUEUE_PUZZLES,       /* gauge */
    TRMD_M_QUEUE_BYTES,         /* gauge */
    TRMD_M_QUEUE_SECONDS,       /* histogram {kind} */
    TRMD_M_COMPUTE_SECONDS,     /* histogram {kind} */
    TRMD_M_BATCH_SIZE,          /* histogram {model}: slots in a step */
    TRMD_M_STEP_SECONDS,        /* histogram {model}: one engine step */
    TRMD_M_ENGINE_BUSY,         /* counter {model}: seconds inside engine steps */
    TRMD_M_ENGINE_FAILURES,     /* counter {model, then}: cpu, none: what took over */
    TRMD_M_STEPS_PER_ANSWER,    /* histogram {kind} */
    TRMD_M_ATTEMPTS_PER_ANSWER, /* histogram {kind} */
    TRMD_M_HALTS,               /* counter {kind, cause}: verified, act, budget, deadline,
                                   cancelled */
    TRMD_M_COALESCED,           /* counter {kind}: answered by another request's work */
    TRMD_M_CACHE,               /* counter {result}: hit, miss */
    TRMD_M_ARC_TASKS,           /* gauge {state}: running, waiting */
    TRMD_M_ARC_BYTES,           /* gauge: private models of running tasks */
    TRMD_M_ARC_TURN_SECONDS,    /* histogram {phase}: one micro-batch */
    TRMD_M_JOBS,                /* gauge {state} */
    TRMD_M_JOB_BYTES,           /* gauge: of their requests and results */
    TRMD_M_JOB_CLAIMS,          /* counter {kind, turn}: first, again */
    TRMD_M_JOBS_ENDED,          /* counter {kind, how}: done, failed, cancelled, given back, lost */
    TRMD_M_JOB_STORE_ERRORS,    /* counter */
    TRMD_M_RELOADS,             /* counter {what, result}: model, keys, tls, config; ok, error */
    TRMD_M_READY,               /* gauge: 1 while /readyz says yes */
    TRMD_M_LOG_DROPPED,         /* counter, read from the log when rendered */
    TRMD_M_MODEL_INFO,          /* gauge {model, kind, backend, sha256}, always 1 */
    TRMD_M_BUILD_INFO,          /* gauge {version}, always 1 */
    TRMD_METRICS
} trmd_metric;

typedef struct trmd_metrics trmd_metrics;

/* Label values in the family's order, e.g. TRMD_LABELS("sudoku", "200", "ok"); NULL where the
 * family has none. A wrong number of them is a bug of the caller's and counts nothing. */
#define TRMD_LABELS(...) ((const char *const[]){__VA_ARGS__, NULL})

int trmd_metrics_new(trmd_metrics **out, trm_error *err);
void trmd_metrics_free(trmd_metrics *m);

/* Counters: by >= 0. */
void trmd_count(trmd_metrics *m, trmd_metric what, double by, const char *const *labels);
void trmd_gauge_set(trmd_metrics *m, trmd_metric what, double value, const char *const *labels);
void trmd_gauge_add(trmd_metrics *m, trmd_metric what, double by, const char *const *labels);
void trmd_observe(trmd_metrics *m, trmd_metric what, double value, const char *const *labels);
/* Removes a family's series (a reload replaces TRMD_M_MODEL_INFO). */
void trmd_metric_clear(trmd_metrics *m, trmd_metric what);

#define TRMD_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
/* The exposition, with process_* read from /proc: malloc'ed, the caller frees; NULL when
 * memory is out. *size is its length without the closing NUL. */
char *trmd_metrics_render(trmd_metrics *m, size_t *size);

#endif

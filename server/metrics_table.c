/* The families: names, helps, labels, buckets. Constant data; any thread. */
#include "metrics_table.h"

static const double seconds[] = {
    .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300};
static const double short_seconds[] = {
    .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1};
static const double powers[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

#define BOUNDS(b) .type = METRIC_HISTOGRAM, .bound = (b), .bounds = sizeof(b) / sizeof((b)[0])
#define KIND .label = {"kind"}, .labels = 1
#define MODEL .label = {"model"}, .labels = 1

const metric_row metric_rows[TRMD_METRICS] = {
    [TRMD_M_REQUESTS] = {"trmd_requests_total", METRIC_COUNTER, "HTTP requests answered.",
        .label = {"kind", "status", "reason"}, .labels = 3},
    [TRMD_M_REQUEST_SECONDS] = {"trmd_request_seconds", BOUNDS(seconds), KIND,
        .help = "From headers read to answer queued."},
    [TRMD_M_REJECT_SECONDS] = {"trmd_reject_seconds", BOUNDS(short_seconds),
        .help = "From headers read to answer queued, of refused requests.", .label = {"reason"},
        .labels = 1},
    [TRMD_M_REQUESTS_IN_FLIGHT] = {"trmd_requests_in_flight", METRIC_GAUGE,
        "Requests begun and not yet answered."},
    [TRMD_M_CONNECTIONS] = {"trmd_connections", METRIC_GAUGE, "Open client connections."},
    [TRMD_M_PUZZLES] = {"trmd_puzzles_total", METRIC_COUNTER, "Puzzles answered, by outcome.",
        .label = {"kind", "status"}, .labels = 2},
    [TRMD_M_VERIFIED] = {"trmd_verified_total", METRIC_COUNTER,
        "Puzzles whose answer the exact checker accepted.", KIND},
    [TRMD_M_QUEUE_PUZZLES] = {"trmd_queue_puzzles", METRIC_GAUGE, "Puzzles waiting for a slot."},
    [TRMD_M_QUEUE_BYTES] = {"trmd_queue_bytes", METRIC_GAUGE, "Bytes held by waiting requests."},
    [TRMD_M_QUEUE_SECONDS] = {"trmd_queue_seconds", BOUNDS(seconds), KIND,
        .help = "Time a puzzle waited for a slot."},
    [TRMD_M_COMPUTE_SECONDS] = {"trmd_compute_seconds", BOUNDS(seconds), KIND,
        .help = "Time from a puzzle's first slot to its answer."},
    [TRMD_M_BATCH_SIZE] = {"trmd_batch_size", BOUNDS(powers), MODEL,
        .help = "Slots in an engine step."},
    [TRMD_M_STEP_SECONDS] = {"trmd_step_seconds", BOUNDS(seconds), MODEL,
        .help = "Time of an engine step."},
    [TRMD_M_ENGINE_BUSY] = {"trmd_engine_busy_seconds_total", METRIC_COUNTER,
        "Time inside engine steps.", MODEL},
    [TRMD_M_STEPS_PER_ANSWER] = {"trmd_steps_per_answer", BOUNDS(powers), KIND,
        .help = "Supervision steps spent on a puzzle, all attempts together."},
    [TRMD_M_ATTEMPTS_PER_ANSWER] = {"trmd_attempts_per_answer", BOUNDS(powers), KIND,
        .help = "Attempts begun for a puzzle."},
    [TRMD_M_HALTS] = {"trmd_halts_total", METRIC_COUNTER, "Why work on a puzzle ended.",
        .label = {"kind", "cause"}, .labels = 2},
    [TRMD_M_COALESCED] = {"trmd_coalesced_total", METRIC_COUNTER,
        "Puzzles answered by equal work in flight.", KIND},
    [TRMD_M_CACHE] = {"trmd_cache_total", METRIC_COUNTER, "Looks into the answer cache.",
        .label = {"result"}, .labels = 1},
    [TRMD_M_JOBS] = {"trmd_jobs", METRIC_GAUGE, "Asynchronous jobs.", .label = {"state"},
        .labels = 1},
    [TRMD_M_RELOADS] = {"trmd_reloads_total", METRIC_COUNTER, "Reloads while running.",
        .label = {"what", "result"}, .labels = 2},
    [TRMD_M_READY] = {"trmd_ready", METRIC_GAUGE, "Does /readyz say yes?"},
    [TRMD_M_LOG_DROPPED] = {"trmd_log_dropped_total", METRIC_COUNTER,
        "Log records dropped because stderr was not read."},
    [TRMD_M_MODEL_INFO] = {"trmd_model_info", METRIC_GAUGE, "The models being served.",
        .label = {"model", "kind", "backend", "sha256"}, .labels = 4},
    [TRMD_M_BUILD_INFO] = {"trmd_build_info", METRIC_GAUGE, "The running version.",
        .label = {"version"}, .labels = 1},
};

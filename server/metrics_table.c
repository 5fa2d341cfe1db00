/* The families: names, helps, labels, buckets. Constant data; any thread. */
#include "metrics_table.h"

static const double seconds[] = {
    .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300};
static const double short_seconds[] = {
    .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1};
static const double powers[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

#define COUNTER .type = METRIC_COUNTER
#define GAUGE .type = METRIC_GAUGE
#define HISTOGRAM(b)                                                                               \
    .type = METRIC_HISTOGRAM, .bound = (b), .bounds = (int)(sizeof(b) / sizeof((b)[0]))
#define BY(...)                                                                                    \
    .label = {__VA_ARGS__},                                                                        \
    .labels = (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *))

const metric_row metric_rows[TRMD_METRICS] = {
    [TRMD_M_REQUESTS] = {"trmd_requests_total", "HTTP requests answered.", COUNTER,
        BY("kind", "status", "reason")},
    [TRMD_M_REQUEST_SECONDS] = {"trmd_request_seconds", "From headers read to answer queued.",
        HISTOGRAM(seconds), BY("kind")},
    [TRMD_M_REJECT_SECONDS] = {"trmd_reject_seconds",
        "From headers read to answer queued, of refused requests.", HISTOGRAM(short_seconds),
        BY("reason")},
    [TRMD_M_REQUESTS_IN_FLIGHT] = {"trmd_requests_in_flight",
        "Requests begun and not yet answered.", GAUGE},
    [TRMD_M_CONNECTIONS] = {"trmd_connections", "Open client connections.", GAUGE},
    [TRMD_M_PUZZLES] = {"trmd_puzzles_total", "Puzzles answered, by outcome.", COUNTER,
        BY("kind", "status")},
    [TRMD_M_VERIFIED] = {"trmd_verified_total", "Puzzles whose answer the exact checker accepted.",
        COUNTER, BY("kind")},
    [TRMD_M_QUEUE_PUZZLES] = {"trmd_queue_puzzles", "Puzzles waiting for a slot.", GAUGE},
    [TRMD_M_QUEUE_BYTES] = {"trmd_queue_bytes", "Bytes held by waiting requests.", GAUGE},
    [TRMD_M_QUEUE_SECONDS] = {"trmd_queue_seconds", "Time a puzzle waited for a slot.",
        HISTOGRAM(seconds), BY("kind")},
    [TRMD_M_COMPUTE_SECONDS] = {"trmd_compute_seconds",
        "Time from a puzzle's first slot to its answer.", HISTOGRAM(seconds), BY("kind")},
    [TRMD_M_BATCH_SIZE] = {"trmd_batch_size", "Slots in an engine step.", HISTOGRAM(powers),
        BY("model")},
    [TRMD_M_STEP_SECONDS] = {"trmd_step_seconds", "Time of an engine step.", HISTOGRAM(seconds),
        BY("model")},
    [TRMD_M_ENGINE_BUSY] = {"trmd_engine_busy_seconds_total", "Time inside engine steps.", COUNTER,
        BY("model")},
    [TRMD_M_ENGINE_FAILURES] = {"trmd_engine_failures_total",
        "Engines that failed, by what took over from them: cpu, or none.", COUNTER,
        BY("model", "then")},
    [TRMD_M_STEPS_PER_ANSWER] = {"trmd_steps_per_answer",
        "Supervision steps spent on a puzzle, all attempts together.", HISTOGRAM(powers),
        BY("kind")},
    [TRMD_M_ATTEMPTS_PER_ANSWER] = {"trmd_attempts_per_answer", "Attempts begun for a puzzle.",
        HISTOGRAM(powers), BY("kind")},
    [TRMD_M_HALTS] = {"trmd_halts_total", "Why work on a puzzle ended.", COUNTER,
        BY("kind", "cause")},
    [TRMD_M_COALESCED] = {"trmd_coalesced_total", "Puzzles answered by equal work in flight.",
        COUNTER, BY("kind")},
    [TRMD_M_CACHE] = {"trmd_cache_total", "Looks into the answer cache.", COUNTER, BY("result")},
    [TRMD_M_ARC_TASKS] = {"trmd_arc_tasks", "ARC tasks being learned, and waiting for it.", GAUGE,
        BY("state")},
    [TRMD_M_ARC_BYTES] = {"trmd_arc_bytes", "Bytes that the ARC tasks being learned hold.", GAUGE},
    [TRMD_M_ARC_TURN_SECONDS] = {"trmd_arc_turn_seconds",
        "Time of one micro-batch of an ARC task, for which puzzles wait.", HISTOGRAM(seconds),
        BY("phase")},
    [TRMD_M_JOBS] = {"trmd_jobs", "Jobs in the store.", GAUGE, BY("state")},
    [TRMD_M_JOB_BYTES] = {"trmd_job_bytes", "Bytes of the jobs' requests and results.", GAUGE},
    [TRMD_M_JOB_CLAIMS] = {"trmd_job_claims_total",
        "Jobs that this daemon began to work on, for the first time or again.", COUNTER,
        BY("kind", "turn")},
    [TRMD_M_JOBS_ENDED] = {"trmd_jobs_ended_total",
        "Jobs that this daemon worked on, by how that ended; lost: another daemon has taken it "
        "over, no result was recorded.",
        COUNTER, BY("kind", "how")},
    [TRMD_M_JOB_STORE_ERRORS] = {"trmd_job_store_errors_total", "Failures of the job store.",
        COUNTER},
    [TRMD_M_RELOADS] = {"trmd_reloads_total", "Reloads while running.", COUNTER,
        BY("what", "result")},
    [TRMD_M_READY] = {"trmd_ready", "Does /readyz say yes?", GAUGE},
    [TRMD_M_LOG_DROPPED] = {"trmd_log_dropped_total",
        "Log records dropped because stderr was not read.", COUNTER},
    [TRMD_M_MODEL_INFO] = {"trmd_model_info", "The models being served.", GAUGE,
        BY("model", "kind", "backend", "sha256")},
    [TRMD_M_BUILD_INFO] = {"trmd_build_info", "The running version.", GAUGE, BY("version")},
};

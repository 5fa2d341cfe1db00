/* Every option of trmd, from one table: flag over environment over config file over default.
 *
 * An option `queue_puzzles` is the flag `--queue-puzzles N` (or `--queue-puzzles=N`), the
 * variable TRMD_QUEUE_PUZZLES and the key "queue_puzzles" of the JSON object in --config FILE
 * (TRMD_CONFIG). Lists: the flag may be repeated, the variable is comma-separated, the key is
 * an array of strings; the highest source that names the list replaces it whole.
 *
 * trmd_options is plain memory whose strings it owns: made by trmd_options_parse(), given back
 * by trmd_options_free(). No threads: read it from one thread, or never change it.
 */
#ifndef TRMD_OPTIONS_H
#define TRMD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "trm/error.h"

typedef struct trmd_list {
    char **at;
    int n;
} trmd_list;

typedef enum trmd_action {
    TRMD_SERVE,
    TRMD_SHOW_HELP,          /* --help */
    TRMD_SHOW_HELP_MARKDOWN, /* --help-markdown */
    TRMD_SHOW_VERSION,       /* --version */
    TRMD_CHECK_CONFIG,       /* --check-config */
    TRMD_HEALTHCHECK,        /* --healthcheck: ask the daemon at host:port whether it is ready */
} trmd_action;

/* Strings are never NULL: "" is "not set". Times are milliseconds. */
typedef struct trmd_options {
    trmd_action action;
    char *config; /* the config file, or "" */

    /* listening */
    char *host;
    int port; /* 0 = a free one */
    char *admin_host;
    int admin_port; /* -1 = no admin listener, 0 = a free one */
    char *tls_cert, *tls_key;
    int connections, connections_per_ip; /* per_ip: 0 = no limit of its own */

    /* models and compute */
    trmd_list model; /* empty = the shipped ones */
    char *backend;
    bool gpu_fallback; /* a GPU that fails is replaced by the CPU */
    int threads;       /* 0 = trm_cpus() */
    int workers;       /* engines per model, each with threads / workers threads */
    int slots;         /* per engine */

    /* admission */
    int queue_puzzles;
    int64_t queue_bytes, max_body_bytes;
    int max_puzzles_per_request;
    double rate_limit; /* requests per second and client; 0 = no limit */
    int rate_burst;
    char *api_keys_file; /* "" = no keys asked for */
    trmd_list cors_origins;

    /* what a request gets when it asks for nothing, and the most it may ask for */
    int max_steps, max_steps_limit; /* max_steps 0 = the kind's own default */
    int attempts, max_attempts;     /* attempts 0 = the kind's own default */
    int deadline_ms, max_deadline_ms;
    int arc_deadline_ms, arc_runs, arc_queue;

    /* time */
    int idle_timeout_ms;    /* a connection without traffic */
    int request_timeout_ms; /* first byte of a request to its last */
    int drain_delay_ms, drain_timeout_ms;
    int stream_ping_ms;
    int64_t stream_buffer_bytes;
    int hung_after_ms; /* an engine thread that has work and does not move */

    /* state */
    bool coalesce;     /* equal work in flight is computed once */
    int cache_entries; /* 0 = no cache */
    char *state_dir;   /* "" = jobs live in memory */
    int job_queue, jobs_kept, job_runs;
    int64_t job_bytes;
    int job_keep_s, job_idle_ms;
    char *jobs; /* redis://[:PASSWORD@]HOST[:PORT][/DB], or "" */

    /* logs */
    char *log_level;  /* error, warn, info, debug */
    char *log_format; /* json, text */
    bool access_log;
    char *server_id; /* never "": the host name when not set */

    unsigned char *from; /* where each value came from; private to options*.c */
} trmd_options;

/* Reads argv[1..], env (NULL-ended, as environ; may be NULL) and the config file. Anything
 * unknown, malformed or out of range is an error whose one line names its source (the flag,
 * the variable, or file:key). On an error *o is empty and needs no free. With --help and
 * --version nothing else is looked at and no other field is set. */
int trmd_options_parse(trmd_options *o, int argc, char **argv, char **env, trm_error *err);
void trmd_options_free(trmd_options *o);

/* The checks that look outside: are the named files there and well-formed, is the backend one
 * this build has, do the limits fit each other. For start and --check-config. */
int trmd_options_check(const trmd_options *o, trm_error *err);
/* Of these the last: all that a reload can get wrong. */
int trmd_options_check_limits(const trmd_options *o, trm_error *err);

/* SIGHUP: `fresh` was parsed from the same argv and environment, and a changed file. Moves the
 * reloadable values (marked so in --help) into o and frees fresh. `left` receives, as one
 * comma-separated line, the names of the changed options that only a restart can apply ("" if
 * none); it is cut to `size`. */
void trmd_options_reload(trmd_options *o, trmd_options *fresh, char *left, size_t size);

void trmd_options_help(FILE *out);
void trmd_options_help_markdown(FILE *out); /* the reference table in README.md */
/* The effective values as a JSON object that --config accepts (but for a password in `jobs`,
 * which is printed as ***). */
int trmd_options_print(const trmd_options *o, FILE *out, trm_error *err);

#endif

/* What the subcommands of `trm` share: options, messages, progress, models, JSON output.
 *
 * A command is a function from its arguments to an exit code: 0 done, 2 the user's input is
 * at fault, 1 the machine is (memory, a compute library, a full disk). Everything here runs
 * on the main thread; strings point into argv or static memory unless a comment says more.
 */
#ifndef TRM_CLI_H
#define TRM_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/engine.h"
#include "trm/task.h"

enum { CLI_OK = 0, CLI_BROKEN = 1, CLI_BAD_INPUT = 2, CLI_GO_ON = -1 };

typedef struct cli_command {
    const char *name;
    int (*run)(const struct cli_command *cmd, int argc, char **argv);
    const char *usage;   /* what follows "trm NAME" */
    const char *summary; /* one line */
    const char *details; /* further lines of --help, or NULL */
} cli_command;

typedef enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_STRING, /* const char * */
    CLI_INT,    /* int in min..max */
    CLI_SEED,   /* uint64_t */
    CLI_REAL,   /* double in min..max */
} cli_kind;

typedef struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* short form or 0 */
    cli_kind kind;
    void *to;          /* keeps its value where the option is not given */
    double min, max;   /* CLI_INT, CLI_REAL */
    const char *value; /* name of the value in --help; NULL for a flag */
    const char *help;
} cli_option;

enum { CLI_ARGS = 8 };

typedef struct cli_args {
    char *at[CLI_ARGS]; /* what is not an option, in order */
    int n;
} cli_args;

/* Reads argv by `options` (ended by a NULL name; --help is added). Returns CLI_GO_ON, or the
 * exit code to leave with: help was printed, or an error was. */
int cli_parse(const cli_command *cmd, const cli_option *options, int min_args, int max_args,
    cli_args *args, int argc, char **argv);

/* Prints "trm NAME: message" on stderr and returns the exit code: CLI_BAD_INPUT for
 * cli_bad(), by err->code for cli_fail(). */
int cli_bad(const cli_command *cmd, const char *fmt, ...) TRM_PRINTF(2, 3);
int cli_fail(const cli_command *cmd, const trm_error *err);

/* Index of `word` in a NULL-ended list, or -1. */
int cli_choice(const char *word, const char *const *list);
/* "sudoku" or "maze" -> kind; TRM_E_ARG otherwise. */
int cli_puzzle_kind(trm_kind *out, const char *word, trm_error *err);
const char *cli_kind_name(trm_kind kind);

/* A file's name as a JSON string, whatever bytes it has. NULL when memory ran out. */
json_t *cli_json_path(const char *path);
/* Prints one JSON object and a newline on stdout; takes over the reference. NULL means that
 * memory ran out while it was built. Returns an exit code. */
int cli_print_json(const cli_command *cmd, json_t *object);

/* The model that --model names: a file, or the name of a shipped one ("sudoku"). NULL means
 * the shipped model of that kind. `config` (a path or NULL) is for files without one. */
int cli_open_model(
    trm_model **out, const char *model, trm_kind kind, const char *config, trm_error *err);
/* How an engine is asked for on the command line; zeros mean "choose". */
typedef struct cli_engine {
    const char *backend;
    int threads, slots;
} cli_engine;

/* Entries of an option table for it. */
#define CLI_ENGINE_OPTIONS(e)                                                                      \
    {"backend", 'b', CLI_STRING, &(e).backend, 0, 0, "NAME",                                       \
        "auto, cpu, cuda-bf16, cuda-f32, onednn-bf16, onednn-f32, onednn-int8, openblas or "       \
        "reference"},                                                                              \
    {                                                                                              \
        "threads", 't', CLI_INT, &(e).threads, 1, 1024, "N", "threads (default: all usable)"       \
    }
#define CLI_SLOTS_OPTION(e)                                                                        \
    { "slots", 0, CLI_INT, &(e).slots, 1, 65536, "N", "puzzles in work at once" }

/* An engine of `slots` slots unless the user chose. */
int cli_engine_new(trm_engine **out, const trm_model *m, const cli_engine *o, int slots,
    bool keep_logits, trm_error *err);
/* Vectors are (1, n) in the layout and 1-D in files. */
bool cli_is_vector(const trm_param *p);
/* Reads a whole file or stdin ("-") into malloc'd memory with a NUL after it. */
int cli_read_all(char **out, size_t *size, const char *path, trm_error *err);
/* Seconds of a clock that never jumps. */
double cli_now(void);

/* Progress of long work on stderr: a bar on a terminal, else a line now and then. */
typedef struct cli_progress {
    const char *what;
    bool terminal, drawn;
    double began, last, counted;
    long from; /* what was done at the first call, at `counted`; -1 before it */
} cli_progress;

void cli_progress_begin(cli_progress *p, const char *what);
/* Cheap when called often. `note` (may be NULL) follows the bar. */
void cli_progress_at(cli_progress *p, long done, long total, const char *note);
/* Clears the bar. */
void cli_progress_end(cli_progress *p);

#define CLI_END                                                                                    \
    { NULL, 0, CLI_FLAG, NULL, 0, 0, NULL, NULL }

extern const cli_command cmd_average, cmd_bench, cmd_eval, cmd_forward, cmd_gen, cmd_grad,
    cmd_import, cmd_info, cmd_join, cmd_solve, cmd_split, cmd_train;

#endif

/* Options, messages, JSON output and progress for the subcommands. Main thread only; the
 * only state is what the caller passes in. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

enum { MAX_OPTIONS = 40, FIRST_LONG = 256 };

int cli_bad(const cli_command *cmd, const char *fmt, ...) {
    va_list ap;
    fprintf(stderr, "trm %s: ", cmd->name);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return CLI_BAD_INPUT;
}

int cli_fail(const cli_command *cmd, const trm_error *err) {
    (void)cli_bad(cmd, "%s", err->text);
    bool broken = err->code == TRM_E_NOMEM || err->code == TRM_E_BACKEND || err->code == TRM_E_DISK;
    return broken ? CLI_BROKEN : CLI_BAD_INPUT;
}

int cli_choice(const char *word, const char *const *list) {
    for (int i = 0; list[i]; i++)
        if (strcmp(word, list[i]) == 0)
            return i;
    return -1;
}

static const char *const kind_names[] = {"sudoku", "maze", "arc", NULL};

const char *cli_kind_name(trm_kind kind) {
    return kind_names[kind];
}

int cli_puzzle_kind(trm_kind *out, const char *word, trm_error *err) {
    int i = cli_choice(word, kind_names);
    if (i == TRM_KIND_ARC)
        return trm_fail(err, TRM_E_ARG, "arc tasks: only `trm solve arc` and `trm eval arc`");
    if (i < 0)
        return trm_fail(err, TRM_E_ARG, "'%s' is not a kind of puzzle: sudoku or maze", word);
    *out = (trm_kind)i;
    return TRM_OK;
}

double cli_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- options --------------------------------------------------------------------------- */

static void print_help(const cli_command *cmd, const cli_option *o) {
    printf("Usage: trm %s %s\n\n%s\n", cmd->name, cmd->usage, cmd->summary);
    if (cmd->details)
        printf("\n%s\n", cmd->details);
    puts("\nOptions:");
    for (; o->name; o++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%s%c%s--%s%s%s", o->letter ? "-" : " ",
            o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name, o->value ? " " : "",
            o->value ? o->value : "");
        printf("  %-28s %s\n", left, o->help);
    }
    printf("  %-28s %s\n", "-h, --help", "this text");
}

static int store_number(const cli_command *cmd, const cli_option *o, const char *text) {
    char *end;
    errno = 0;
    double x = o->kind == CLI_INT ? (double)strtol(text, &end, 10) : strtod(text, &end);
    if (end == text || *end || errno || !(x >= o->min && x <= o->max))
        return cli_bad(cmd, "--%s must be %s from %.15g to %.15g, not '%s'", o->name,
            o->kind == CLI_INT ? "a whole number" : "a number", o->min, o->max, text);
    if (o->kind == CLI_INT)
        *(int *)o->to = (int)x;
    else
        *(double *)o->to = x;
    return CLI_GO_ON;
}

static int store(const cli_command *cmd, const cli_option *o, char *text) {
    char *end;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->to = true;
        return CLI_GO_ON;
    case CLI_STRING:
        *(const char **)o->to = text;
        return CLI_GO_ON;
    case CLI_SEED:
        errno = 0;
        *(uint64_t *)o->to = strtoull(text, &end, 10);
        if (end == text || *end || errno || strchr(text, '-'))
            return cli_bad(cmd, "--%s must be a whole number from 0, not '%s'", o->name, text);
        return CLI_GO_ON;
    default:
        return store_number(cmd, o, text);
    }
}

/* getopt's tables: long options carry FIRST_LONG + index, short ones their letter. */
static int make_tables(const cli_option *options, struct option *longs, char *shorts) {
    int n = 0;
    *shorts++ = ':';
    for (; options[n].name; n++) {
        int takes = options[n].kind == CLI_FLAG ? no_argument : required_argument;
        longs[n] = (struct option){options[n].name, takes, NULL, FIRST_LONG + n};
        if (options[n].letter) {
            *shorts++ = options[n].letter;
            if (takes)
                *shorts++ = ':';
        }
    }
    longs[n] = (struct option){"help", no_argument, NULL, 'h'};
    *shorts++ = 'h';
    return n;
}

static const cli_option *option_of(const cli_option *options, int n, int c) {
    if (c >= FIRST_LONG)
        return &options[c - FIRST_LONG];
    for (int i = 0; i < n; i++)
        if (options[i].letter == c)
            return &options[i];
    return NULL;
}

/* optopt is the letter where it was one (`at` may lie before it, in a group such as -zq), the
 * option's code where a flag was given a value, else 0. */
static int refuse_option(const cli_command *cmd, const char *at) {
    if (optopt >= FIRST_LONG || optopt == 'h')
        return cli_bad(cmd, "%.*s takes no value", (int)strcspn(at, "="), at);
    if (optopt)
        return cli_bad(cmd, "unknown option -%c (see trm %s --help)", optopt, cmd->name);
    return cli_bad(cmd, "unknown option %s (see trm %s --help)", at, cmd->name);
}

int cli_parse(const cli_command *cmd, const cli_option *options, int min_args, int max_args,
    cli_args *args, int argc, char **argv) {
    struct option longs[MAX_OPTIONS + 2] = {0};
    char shorts[2 * MAX_OPTIONS + 4] = {0};
    int c, n = make_tables(options, longs, shorts);
    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == 'h') {
            print_help(cmd, options);
            return CLI_OK;
        }
        if (c == ':')
            return cli_bad(cmd, "%s needs a value", argv[optind - 1]);
        const cli_option *o = c == '?' ? NULL : option_of(options, n, c);
        if (!o)
            return refuse_option(cmd, argv[optind - 1]);
        int r = store(cmd, o, optarg);
        if (r != CLI_GO_ON)
            return r;
    }
    args->n = argc - optind;
    if (args->n < min_args || args->n > max_args)
        return cli_bad(cmd, "%s argument%s%s; usage: trm %s %s",
            args->n < min_args ? "missing" : "unexpected", args->n < min_args ? "" : " ",
            args->n < min_args ? "" : argv[optind + max_args], cmd->name, cmd->usage);
    for (int i = 0; i < args->n; i++)
        args->at[i] = argv[optind + i];
    return CLI_GO_ON;
}

/* --- output ---------------------------------------------------------------------------- */

json_t *cli_json_path(const char *path) {
    char *text = strdup(path);
    if (text)
        trm_make_utf8(text);
    json_t *o = json_string(text);
    free(text);
    return o;
}

int cli_print_json(const cli_command *cmd, json_t *object) {
    if (!object) {
        (void)cli_bad(cmd, "out of memory");
        return CLI_BROKEN;
    }
    int r = json_dumpf(object, stdout, JSON_REAL_PRECISION(9));
    json_decref(object);
    /* A full disk shows when main() flushes. */
    if (r == 0)
        putchar('\n');
    return CLI_OK;
}

void cli_progress_begin(cli_progress *p, const char *what) {
    *p = (cli_progress){.what = what, .terminal = isatty(STDERR_FILENO) != 0, .from = -1};
    p->began = p->last = cli_now();
}

void cli_progress_at(cli_progress *p, long done, long total, const char *note) {
    enum { WIDTH = 30 };
    double now = cli_now();
    if (p->from < 0) { /* a resumed run did not do the first steps in this time */
        p->from = done;
        p->counted = now;
    }
    if (now - p->last < (p->terminal ? 0.1 : 5.0))
        return;
    p->last = now;
    char eta[32] = "";
    if (done > p->from)
        (void)snprintf(eta, sizeof eta, "%.0f s left",
            (now - p->counted) * (double)(total - done) / (double)(done - p->from));
    if (!note)
        note = "";
    if (!p->terminal) {
        fprintf(stderr, "%s: %ld of %ld%s%s%s%s\n", p->what, done, total, *eta ? ", " : "", eta,
            *note ? ", " : "", note);
        return;
    }
    char bar[WIDTH + 1];
    int full = total > 0 ? (int)(WIDTH * done / total) : 0;
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < full ? '#' : '-';
    bar[WIDTH] = 0;
    fprintf(stderr, "\r%s [%s] %ld/%ld  %s  %s\033[K", p->what, bar, done, total, eta, note);
    p->drawn = true;
}

void cli_progress_end(cli_progress *p) {
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

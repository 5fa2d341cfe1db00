/* Options as text: --help, the Markdown reference, the effective configuration; and what a
 * reload changes. No state; the caller's thread. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "options_table.h"

enum { HELP_WIDTH = 79, HELP_INDENT = 6 };

static const struct {
    const char *flag, *help;
} plain_flags[] = {
    {"--config FILE", "JSON object with any of the keys below; also TRMD_CONFIG."},
    {"--check-config", "Check everything, print the effective configuration and exit: 0 if it "
                       "is good, 2 if not."},
    {"--healthcheck", "Ask the daemon at host and port whether it is ready; exit 0 if so, else 1."},
    {"--help", "This text."},
    {"--help-markdown", "This text as a Markdown table."},
    {"--version", "The version."},
};
enum { PLAIN_FLAGS = sizeof plain_flags / sizeof plain_flags[0] };

static void wrapped(FILE *out, const char *text) {
    int column = 0;
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column && column + 1 + word > HELP_WIDTH) {
            (void)fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%*s%.*s", column ? 1 : HELP_INDENT, "", word, text);
        text += word;
        text += strspn(text, " ");
    }
    (void)fputc('\n', out);
}

/* What may be given and what holds if nothing is: "0 to 65535, default 8080". */
static void bounds(const option_row *row, char *out, size_t size) {
    size_t n = 0;
    out[0] = 0;
    if (row->kind == OPTION_INT || row->kind == OPTION_BYTES || row->kind == OPTION_REAL)
        n += (size_t)snprintf(out, size, "%.15g to %.15g, ", row->min, row->max);
    for (const char *const *c = row->choices; c && *c && n < size; c++)
        n += (size_t)snprintf(out + n, size - n, "%s, ", *c);
    if (n < size)
        (void)snprintf(
            out + n, size - n, *row->standard ? "default %s" : "not set by default", row->standard);
}

void trmd_options_help(FILE *out) {
    (void)fputs("Usage: trmd [OPTION...]\n\n"
                "Serves puzzles over HTTP with Tiny Recursive Models.\n\n"
                "Every option below is the flag --NAME VALUE (or --NAME=VALUE), the environment\n"
                "variable TRMD_NAME and the config file's key \"name\", - as _; a flag goes over\n"
                "the environment, that over the file. Variables separate a list with commas.\n"
                "SIGHUP reads the file again and applies what is marked [reload].\n\n",
        out);
    for (int i = 0; i < PLAIN_FLAGS; i++) {
        (void)fprintf(out, "  %s\n", plain_flags[i].flag);
        wrapped(out, plain_flags[i].help);
    }
    for (int i = 0; i < option_count; i++) {
        const option_row *row = &option_rows[i];
        char flag[OPTION_NAME_ROOM], range[200], text[600];
        option_flag(row, flag);
        bounds(row, range, sizeof range);
        (void)snprintf(
            text, sizeof text, "%s (%s)%s", row->help, range, row->reload ? " [reload]" : "");
        if (row->group)
            (void)fprintf(out, "\n%s:\n", row->group);
        (void)fprintf(out, "  %s %s\n", flag, row->value);
        wrapped(out, text);
    }
}

void trmd_options_help_markdown(FILE *out) {
    for (int i = 0; i < option_count; i++) {
        const option_row *row = &option_rows[i];
        char flag[OPTION_NAME_ROOM], range[200];
        option_flag(row, flag);
        bounds(row, range, sizeof range);
        if (row->group)
            (void)fprintf(out,
                "%s**%s**\n\n| flag | what it does | values | SIGHUP |\n| --- | --- | --- | --- "
                "|\n",
                i ? "\n" : "", row->group);
        (void)fprintf(out, "| `%s %s` | %s | %s | %s |\n", flag, row->value, row->help, range,
            row->reload ? "yes" : "");
    }
}

/* What stands before the host, user and password, is hidden. */
static json_t *without_password(const char *url) {
    const char *at = strrchr(url, '@');
    return at ? json_sprintf("redis://***%s", at) : json_string(url);
}

static json_t *value_of(const trmd_options *o, const option_row *row) {
    const void *at = option_at(o, row);
    const trmd_list *list = at;
    json_t *array;
    switch (row->kind) {
    case OPTION_INT:
        return json_integer(*(const int *)at);
    case OPTION_BYTES:
        return json_integer(*(const int64_t *)at);
    case OPTION_REAL:
        return json_real(*(const double *)at);
    case OPTION_BOOL:
        return json_boolean(*(const bool *)at);
    case OPTION_LIST:
        array = json_array();
        for (int i = 0; i < list->n; i++)
            if (json_array_append_new(array, json_string(list->at[i]))) {
                json_decref(array);
                return NULL;
            }
        return array;
    default:
        return row->at == offsetof(trmd_options, jobs) ? without_password(*(char *const *)at)
                                                       : json_string(*(char *const *)at);
    }
}

int trmd_options_print(const trmd_options *o, FILE *out, trm_error *err) {
    json_t *root = json_object();
    int r = root ? TRM_OK : TRM_E_NOMEM;
    for (int i = 0; i < option_count && !r; i++)
        if (json_object_set_new(root, option_rows[i].name, value_of(o, &option_rows[i])))
            r = TRM_E_ARG;
    if (r)
        (void)trm_fail(err, r,
            "the options cannot be printed: no memory, or a value that is not "
            "UTF-8");
    else if (json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) ||
             fputc('\n', out) == EOF)
        r = trm_fail(err, TRM_E_IO, "the options cannot be written");
    json_decref(root);
    return r;
}

static size_t size_of(option_kind kind) {
    static const size_t sizes[] = {[OPTION_STRING] = sizeof(char *),
        [OPTION_CHOICE] = sizeof(char *),
        [OPTION_INT] = sizeof(int),
        [OPTION_BYTES] = sizeof(int64_t),
        [OPTION_REAL] = sizeof(double),
        [OPTION_BOOL] = sizeof(bool),
        [OPTION_LIST] = sizeof(trmd_list)};
    return sizes[kind];
}

static bool equal(const trmd_options *a, const trmd_options *b, const option_row *row) {
    const void *x = option_at(a, row), *y = option_at(b, row);
    const trmd_list *p = x, *q = y;
    if (row->kind == OPTION_STRING || row->kind == OPTION_CHOICE)
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    if (row->kind != OPTION_LIST)
        return memcmp(x, y, size_of(row->kind)) == 0;
    for (int i = 0; p->n == q->n && i < p->n; i++)
        if (strcmp(p->at[i], q->at[i]) != 0)
            return false;
    return p->n == q->n;
}

static void swap(void *a, void *b, size_t size) {
    char kept[sizeof(trmd_list)];
    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

void trmd_options_reload(trmd_options *o, trmd_options *fresh, char *left, size_t size) {
    size_t n = 0;
    left[0] = 0;
    for (int i = 0; i < option_count; i++) {
        const option_row *row = &option_rows[i];
        if (equal(o, fresh, row))
            continue;
        if (row->reload) {
            swap(option_at(o, row), option_at(fresh, row), size_of(row->kind));
            o->from[i] = fresh->from[i];
        } else if (n < size) {
            n += (size_t)snprintf(left + n, size - n, "%s%s", n ? ", " : "", row->name);
        }
    }
    trmd_options_free(fresh);
}

/* Reading options: defaults, config file, environment and flags, each over the one before.
 * Works on the caller's trmd_options; no state of its own, no threads. */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options_table.h"

void *option_at(const trmd_options *o, const option_row *row) {
    return (char *)o + row->at;
}

void option_flag(const option_row *row, char out[OPTION_NAME_ROOM]) {
    (void)snprintf(out, OPTION_NAME_ROOM, "--%s", row->name);
    for (char *c = out; *c; c++)
        *c = *c == '_' ? '-' : *c;
}

void option_variable(const option_row *row, char out[OPTION_NAME_ROOM]) {
    (void)snprintf(out, OPTION_NAME_ROOM, "TRMD_%s", row->name);
    for (char *c = out; *c; c++)
        *c = (char)toupper((unsigned char)*c);
}

void option_where(const trmd_options *o, const option_row *row, option_source source,
    char out[OPTION_WHERE_ROOM]) {
    char name[OPTION_NAME_ROOM];
    if (source == FROM_FILE) {
        (void)snprintf(out, OPTION_WHERE_ROOM, "%.400s: %s", o->config, row->name);
    } else if (source == FROM_ENV) {
        option_variable(row, name);
        (void)snprintf(out, OPTION_WHERE_ROOM, "%s", name);
    } else if (source == FROM_FLAG) {
        option_flag(row, name);
        (void)snprintf(out, OPTION_WHERE_ROOM, "%s", name);
    } else {
        (void)snprintf(out, OPTION_WHERE_ROOM, "default of %s", row->name);
    }
}

static void list_clear(trmd_list *l) {
    for (int i = 0; i < l->n; i++)
        free(l->at[i]);
    free(l->at);
    *l = (trmd_list){NULL, 0};
}

static int list_add(trmd_list *l, const char *text, size_t length) {
    char **grown = realloc(l->at, sizeof *grown * (size_t)(l->n + 1));
    if (!grown)
        return TRM_E_NOMEM;
    l->at = grown;
    l->at[l->n] = strndup(text, length);
    if (!l->at[l->n])
        return TRM_E_NOMEM;
    l->n++;
    return TRM_OK;
}

void option_clear(trmd_options *o, const option_row *row) {
    void *at = option_at(o, row);
    if (row->kind == OPTION_LIST) {
        list_clear(at);
    } else if (row->kind == OPTION_STRING || row->kind == OPTION_CHOICE) {
        free(*(char **)at);
        *(char **)at = NULL;
    }
}

void trmd_options_free(trmd_options *o) {
    for (int i = 0; i < option_count; i++)
        option_clear(o, &option_rows[i]);
    free(o->config);
    free(o->from);
    memset(o, 0, sizeof *o);
}

static int bad(const trmd_options *o, const option_row *row, option_source source, const char *text,
    trm_error *err, const char *why) {
    char where[OPTION_WHERE_ROOM];
    option_where(o, row, source, where);
    return trm_fail(err, TRM_E_ARG, "%.240s: '%.60s' %.180s", where, text, why);
}

static int bad_range(const trmd_options *o, const option_row *row, option_source source,
    const char *text, trm_error *err) {
    char why[120];
    (void)snprintf(why, sizeof why, "is not %s from %.15g to %.15g",
        row->kind == OPTION_REAL ? "a number" : "a whole number", row->min, row->max);
    return bad(o, row, source, text, err, why);
}

static int set_whole(trmd_options *o, const option_row *row, option_source source, const char *text,
    trm_error *err) {
    char *end;
    const char *digits = text + (*text == '-');
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (!isdigit((unsigned char)*digits) || *end || errno || (double)x < row->min ||
        (double)x > row->max)
        return bad_range(o, row, source, text, err);
    if (row->kind == OPTION_INT)
        *(int *)option_at(o, row) = (int)x;
    else
        *(int64_t *)option_at(o, row) = x;
    return TRM_OK;
}

static int set_real(trmd_options *o, const option_row *row, option_source source, const char *text,
    trm_error *err) {
    char *end;
    double x = strtod(text, &end);
    if (!*text || text[strspn(text, "0123456789.eE+-")] || *end || !(x >= row->min) ||
        !(x <= row->max))
        return bad_range(o, row, source, text, err);
    *(double *)option_at(o, row) = x;
    return TRM_OK;
}

/* Any usual spelling; -1 if it is none. */
static int truth(const char *text) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++)
        if (strcmp(text, words[i]) == 0)
            return i % 2;
    return -1;
}

static int set_bool(trmd_options *o, const option_row *row, option_source source, const char *text,
    trm_error *err) {
    int x = truth(text);
    if (x < 0)
        return bad(o, row, source, text, err, "is neither true nor false");
    *(bool *)option_at(o, row) = x;
    return TRM_OK;
}

static int set_string(trmd_options *o, const option_row *row, option_source source,
    const char *text, trm_error *err) {
    if (row->kind == OPTION_CHOICE) {
        char why[120] = "is not one of";
        const char *const *c = row->choices;
        for (; *c && strcmp(*c, text) != 0; c++)
            (void)snprintf(why + strlen(why), sizeof why - strlen(why), " %s", *c);
        if (!*c)
            return bad(o, row, source, text, err, why);
    }
    char *copy = strdup(text);
    if (!copy)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the options");
    option_clear(o, row);
    *(char **)option_at(o, row) = copy;
    return TRM_OK;
}

int option_set(trmd_options *o, const option_row *row, option_source source, const char *text,
    trm_error *err) {
    const char *why = row->wrong && *text ? row->wrong(text) : NULL;
    unsigned char *from = &o->from[row - option_rows];
    if (why)
        return bad(o, row, source, text, err, why);
    if (row->kind == OPTION_LIST && *from != source)
        option_clear(o, row);
    *from = (unsigned char)source;
    switch (row->kind) {
    case OPTION_INT:
    case OPTION_BYTES:
        return set_whole(o, row, source, text, err);
    case OPTION_REAL:
        return set_real(o, row, source, text, err);
    case OPTION_BOOL:
        return set_bool(o, row, source, text, err);
    case OPTION_STRING:
    case OPTION_CHOICE:
        return set_string(o, row, source, text, err);
    case OPTION_LIST:
        if (*text && list_add(option_at(o, row), text, strlen(text)))
            return trm_fail(err, TRM_E_NOMEM, "out of memory for the options");
        return TRM_OK;
    }
    return TRM_E_ARG;
}

/* One value of the config file as the text a flag would carry. */
static int set_json(trmd_options *o, const option_row *row, const json_t *value, trm_error *err) {
    char text[64];
    const char *want = row->kind == OPTION_BOOL   ? "true or false"
                       : row->kind == OPTION_REAL ? "a number"
                                                  : "a whole number";
    bool textual =
        row->kind == OPTION_STRING || row->kind == OPTION_CHOICE || row->kind == OPTION_LIST;
    if (textual && json_is_string(value))
        return option_set(o, row, FROM_FILE, json_string_value(value), err);
    if (row->kind == OPTION_BOOL && json_is_boolean(value))
        return option_set(o, row, FROM_FILE, json_is_true(value) ? "true" : "false", err);
    if (row->kind == OPTION_REAL && json_is_number(value)) {
        (void)snprintf(text, sizeof text, "%.17g", json_number_value(value));
        return option_set(o, row, FROM_FILE, text, err);
    }
    if ((row->kind == OPTION_INT || row->kind == OPTION_BYTES) && json_is_integer(value)) {
        (void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return option_set(o, row, FROM_FILE, text, err);
    }
    return trm_fail(err, TRM_E_ARG, "%.300s: %s: must be %s", o->config, row->name,
        row->kind == OPTION_LIST ? "an array of strings"
        : textual                ? "a string"
                                 : want);
}

static int set_json_list(
    trmd_options *o, const option_row *row, const json_t *array, trm_error *err) {
    size_t i;
    json_t *each;
    int r = option_set(o, row, FROM_FILE, "", err);
    json_array_foreach(array, i, each) {
        if (!r)
            r = set_json(o, row, each, err);
    }
    return r;
}

static const option_row *row_named(const char *name) {
    for (int i = 0; i < option_count; i++)
        if (strcmp(option_rows[i].name, name) == 0)
            return &option_rows[i];
    return NULL;
}

static int read_file(trmd_options *o, trm_error *err) {
    json_error_t where;
    const char *key;
    json_t *value;
    int r = TRM_OK;
    json_t *root = json_load_file(o->config, JSON_REJECT_DUPLICATES, &where);
    if (!root && where.line < 0)
        return trm_fail(err, TRM_E_IO, "--config: %.200s", where.text);
    if (!root)
        return trm_fail(err, TRM_E_FORMAT, "%.200s:%d:%d: %.160s", o->config, where.line,
            where.column, where.text);
    if (!json_is_object(root))
        r = trm_fail(err, TRM_E_FORMAT, "%.300s: must hold a JSON object", o->config);
    json_object_foreach(root, key, value) {
        const option_row *row = row_named(key);
        if (r)
            break;
        if (!row)
            r = trm_fail(err, TRM_E_ARG, "%.300s: %.80s: there is no such option", o->config, key);
        else if (row->kind == OPTION_LIST && json_is_array(value))
            r = set_json_list(o, row, value, err);
        else
            r = set_json(o, row, value, err);
    }
    json_decref(root);
    return r;
}

/* Kubernetes and old container links set variables named after a service. Where the service is
 * called trmd they look like ours: TRMD_PORT=tcp://10.0.0.1:8080, TRMD_SERVICE_HOST, ... */
static bool is_service_link(const char *name, const char *value) {
    const char *port = strstr(name, "_PORT_");
    if (strstr(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT"))
        return true;
    if (port && isdigit((unsigned char)port[6]))
        return true;
    return strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0;
}

static int set_env_list(trmd_options *o, const option_row *row, const char *value, trm_error *err) {
    int r = option_set(o, row, FROM_ENV, "", err);
    while (!r && *value) {
        size_t length = strcspn(value, ",");
        char *each = strndup(value, length);
        if (!each)
            return trm_fail(err, TRM_E_NOMEM, "out of memory for the options");
        r = option_set(o, row, FROM_ENV, each, err);
        free(each);
        value += length + (value[length] == ',');
    }
    return r;
}

static int read_env(trmd_options *o, char **env, trm_error *err) {
    for (; env && *env; env++) {
        char name[OPTION_NAME_ROOM];
        const char *equals = strchr(*env, '=');
        int i = 0, r = TRM_OK;
        if (strncmp(*env, "TRMD_", 5) != 0 || !equals || is_service_link(*env, equals + 1))
            continue;
        size_t length = (size_t)(equals - *env);
        if (length == 11 && strncmp(*env, "TRMD_CONFIG", length) == 0)
            continue;
        for (; i < option_count; i++) {
            option_variable(&option_rows[i], name);
            if (strlen(name) == length && strncmp(*env, name, length) == 0)
                break;
        }
        if (i == option_count)
            return trm_fail(err, TRM_E_ARG, "%.*s: there is no such option", (int)length, *env);
        if (option_rows[i].kind == OPTION_LIST)
            r = set_env_list(o, &option_rows[i], equals + 1, err);
        else
            r = option_set(o, &option_rows[i], FROM_ENV, equals + 1, err);
        if (r)
            return r;
    }
    return TRM_OK;
}

/* Flags that take no value and say what to do. */
static int action_of(const char *flag) {
    static const struct {
        const char *flag;
        trmd_action action;
    } actions[] = {{"--help", TRMD_SHOW_HELP}, {"-h", TRMD_SHOW_HELP},
        {"--help-markdown", TRMD_SHOW_HELP_MARKDOWN}, {"--version", TRMD_SHOW_VERSION},
        {"--check-config", TRMD_CHECK_CONFIG}, {"--healthcheck", TRMD_HEALTHCHECK}};
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(flag, actions[i].flag) == 0)
            return (int)actions[i].action;
    return -1;
}

/* A flag and its value; returns how many arguments they take. Row NULL is --config. */
static int split_flag(
    int argc, char **argv, int i, const option_row **row, const char **value, trm_error *err) {
    char name[OPTION_NAME_ROOM];
    size_t length = strcspn(argv[i], "=");
    const char *equals = argv[i] + length;
    int k = 0;
    for (; k < option_count; k++) {
        option_flag(&option_rows[k], name);
        if (strlen(name) == length && strncmp(argv[i], name, length) == 0)
            break;
    }
    *row = k < option_count ? &option_rows[k] : NULL;
    *value = "true";
    if (!*row && !(length == 8 && strncmp(argv[i], "--config", length) == 0))
        return trm_fail(err, TRM_E_ARG,
            argv[i][0] == '-' ? "%.*s: there is no such option; --help lists them"
                              : "'%.*s': trmd takes options only; --help lists them",
            length < 200 ? (int)length : 200, argv[i]);
    if (*equals) {
        *value = equals + 1;
        return 1;
    }
    if (*row && (*row)->kind == OPTION_BOOL && (i + 1 == argc || argv[i + 1][0] == '-'))
        return 1;
    if (i + 1 == argc)
        return trm_fail(err, TRM_E_ARG, "%.200s: needs a value", argv[i]);
    *value = argv[i + 1];
    return 2;
}

/* One walk over argv: with `only_config` it takes the path of the config file and the action,
 * without it the values. */
static int read_flags(trmd_options *o, int argc, char **argv, const char **config, trm_error *err) {
    for (int i = 1; i < argc;) {
        const option_row *row;
        const char *value;
        int action = action_of(argv[i]), r = TRM_OK;
        if (action >= 0) {
            o->action = (trmd_action)action;
            i++;
            continue;
        }
        int used = split_flag(argc, argv, i, &row, &value, err);
        if (used <= 0)
            return used;
        if (!row && config)
            *config = value;
        else if (row && !config)
            r = option_set(o, row, FROM_FLAG, value, err);
        if (r)
            return r;
        i += used;
    }
    return TRM_OK;
}

/* A limit that was set may lie below the default of what it limits: the default gives way. */
static void fit_defaults(trmd_options *o) {
    for (int i = 0; i < option_count; i++) {
        const option_row *row = &option_rows[i];
        if (o->from[i] != FROM_DEFAULT)
            continue;
        if (row->at == offsetof(trmd_options, deadline_ms) && o->deadline_ms > o->max_deadline_ms)
            o->deadline_ms = o->max_deadline_ms;
        if (row->at == offsetof(trmd_options, max_puzzles_per_request) &&
            o->max_puzzles_per_request > o->queue_puzzles)
            o->max_puzzles_per_request = o->queue_puzzles;
        if (row->at == offsetof(trmd_options, max_body_bytes) && o->max_body_bytes > o->queue_bytes)
            o->max_body_bytes = o->queue_bytes;
    }
}

static int name_server(trmd_options *o) {
    char host[256] = "";
    if (*o->server_id)
        return TRM_OK;
    if (gethostname(host, sizeof host - 1) || !host[0])
        (void)snprintf(host, sizeof host, "trmd");
    free(o->server_id);
    o->server_id = strdup(host);
    return o->server_id ? TRM_OK : TRM_E_NOMEM;
}

static int read_all(trmd_options *o, int argc, char **argv, char **env, trm_error *err) {
    const char *config = "";
    int r = TRM_OK;
    for (char **e = env; e && *e; e++)
        if (strncmp(*e, "TRMD_CONFIG=", 12) == 0)
            config = *e + 12;
    for (int i = 0; i < option_count && !r; i++)
        r = option_set(o, &option_rows[i], FROM_DEFAULT, option_rows[i].standard, err);
    if (!r)
        r = read_flags(o, argc, argv, &config, err);
    if (r)
        return r;
    o->config = strdup(config);
    if (!o->config)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the options");
    r = *config ? read_file(o, err) : TRM_OK;
    if (!r)
        r = read_env(o, env, err);
    if (!r)
        r = read_flags(o, argc, argv, NULL, err);
    if (!r)
        fit_defaults(o);
    if (!r && name_server(o))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for the options");
    return r;
}

int trmd_options_parse(trmd_options *o, int argc, char **argv, char **env, trm_error *err) {
    memset(o, 0, sizeof *o);
    for (int i = 1; i < argc; i++) {
        int action = action_of(argv[i]);
        if (action == TRMD_SHOW_HELP || action == TRMD_SHOW_HELP_MARKDOWN ||
            action == TRMD_SHOW_VERSION) {
            o->action = (trmd_action)action;
            return TRM_OK;
        }
    }
    o->from = calloc((size_t)option_count, 1);
    if (!o->from)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the options");
    int r = read_all(o, argc, argv, env, err);
    if (r)
        trmd_options_free(o);
    return r;
}

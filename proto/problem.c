/* Problem details. No state. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/problem.h"

static const struct {
    const char *slug, *title;
} titles[] = {
    {"bad-request", "The request cannot be understood"},
    {"not-json", "The body is not JSON"},
    {"unauthorized", "A valid API key is needed"},
    {"forbidden", "This is not allowed"},
    {"not-found", "There is nothing at this address"},
    {"method-not-allowed", "This address does not take this method"},
    {"too-large", "The request is too large"},
    {"unsupported-media-type", "The body must be application/json"},
    {"invalid-request", "The request does not have the form it should"},
    {"impossible-puzzle", "The puzzle breaks its own rules"},
    {"no-model", "No model serves this request"},
    {"queue-full", "The queue is full"},
    {"rate-limited", "Too many requests"},
    {"request-timeout", "The request took too long to arrive"},
    {"draining", "The server is shutting down"},
    {"unavailable", "The server cannot answer now"},
    {"reload-failed", "Not everything could be reloaded; what is bad keeps its old state"},
    {"internal", "The server failed"},
};

static const char *title_of(const char *slug) {
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (strcmp(slug, titles[i].slug) == 0)
            return titles[i].title;
    return slug;
}

int trmp_problem_set(
    trmp_problem *p, int status, const char *slug, const char *pointer, const char *fmt, ...) {
    va_list ap;
    memset(p, 0, sizeof *p);
    p->status = status;
    p->slug = slug;
    p->title = title_of(slug);
    (void)snprintf(p->pointer, sizeof p->pointer, "%s", pointer ? pointer : "");
    va_start(ap, fmt);
    (void)vsnprintf(p->detail, sizeof p->detail, fmt, ap);
    va_end(ap);
    return -1;
}

static json_t *rule_json(const trmp_rule *r) {
    json_t *o = json_pack("{s:s}", "kind", r->kind);
    if (o && r->index)
        (void)json_object_set_new(o, "index", json_integer(r->index));
    if (o && r->digit)
        (void)json_object_set_new(o, "digit", json_integer(r->digit));
    json_t *cells = json_array();
    for (int i = 0; i < r->cells; i++)
        (void)json_array_append_new(cells, json_pack("[i,i]", r->cell[i][0], r->cell[i][1]));
    if (o)
        (void)json_object_set_new(o, "cells", cells);
    return o;
}

char *trmp_problem_dump(const trmp_problem *p, const char *request_id) {
    char type[80];
    (void)snprintf(type, sizeof type, "/problems/%s", p->slug);
    json_t *o = json_pack("{s:s,s:s,s:i,s:s}", "type", type, "title", p->title, "status", p->status,
        "detail", p->detail);
    if (!o)
        return NULL;
    if (p->pointer[0])
        (void)json_object_set_new(o, "pointer", json_string(p->pointer));
    if (p->line) {
        (void)json_object_set_new(o, "line", json_integer(p->line));
        (void)json_object_set_new(o, "column", json_integer(p->column));
    }
    if (p->rule.kind)
        (void)json_object_set_new(o, "rule", rule_json(&p->rule));
    if (p->retry_after)
        (void)json_object_set_new(o, "retry_after", json_integer(p->retry_after));
    if (p->v2)
        (void)json_object_set_new(o, "error", json_string(p->detail));
    if (request_id && request_id[0])
        (void)json_object_set_new(o, "request_id", json_string(request_id));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

/* Percentiles and reports. Percentiles are exact: nearest rank over all samples. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

static const char *const outcome_names[LOAD_OUTCOMES] = {
    "answered", "connect", "reset", "timeout", "not_http"};
static const char *const answer_names[4] = {"solved", "unsolved", "deadline", "other"};
static const struct {
    const char *name;
    double share;
} marks[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p99.9", .999}, {"max", 1}};
enum { MARKS = sizeof marks / sizeof marks[0], ANY = -1 };

bool load_stats_add(load_stats *s, const load_sample *sample) {
    if (s->n == s->room) {
        int room = s->room ? 2 * s->room : 4096;
        load_sample *grown = realloc(s->sample, sizeof *grown * (size_t)room);
        if (!grown)
            return false;
        s->sample = grown;
        s->room = room;
    }
    s->sample[s->n++] = *sample;
    double over = sample->latency - s->deadline;
    if (sample->status == 200 && s->deadline > 0 && over > 0) {
        s->late++;
        s->latest = over > s->latest ? over : s->latest;
    }
    return true;
}

static void count_answer(load_stats *s, const json_t *answer) {
    const char *status = json_string_value(json_object_get(answer, "status"));
    int i = 0;
    while (i < 3 && (!status || strcmp(status, answer_names[i]) != 0))
        i++;
    s->answers[i]++;
    s->unverified += i == 0 && !json_is_true(json_object_get(answer, "verified"));
}

void load_stats_body(load_stats *s, const char *body) {
    json_t *root = json_loads(body, 0, NULL);
    const json_t *many = json_object_get(root, "results");
    for (size_t i = 0; i < json_array_size(many); i++)
        count_answer(s, json_array_get(many, i));
    if (!many)
        count_answer(s, root);
    json_decref(root);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which samples: 200s, or refusals (429, 503), of one part of the mix or of any. */
typedef struct choice {
    int mix;
    bool refused, lag;
} choice;

static bool chosen(const load_sample *x, const choice *c) {
    bool refused = x->status == 429 || x->status == 503;
    return (c->mix == ANY || x->mix == c->mix) &&
           (c->lag || (c->refused ? refused : x->status == 200));
}

/* Fills value[MARKS] in milliseconds; returns the number of samples. */
static int percentiles(const load_stats *s, const choice *c, double value[MARKS]) {
    double *sorted = malloc(sizeof *sorted * (size_t)(s->n ? s->n : 1));
    int n = 0;
    for (int i = 0; sorted && i < s->n; i++)
        if (chosen(&s->sample[i], c))
            sorted[n++] = c->lag ? s->sample[i].lag : s->sample[i].latency;
    if (n)
        qsort(sorted, (size_t)n, sizeof *sorted, by_size);
    for (int i = 0; i < MARKS; i++) {
        int rank = (int)ceil(marks[i].share * n);
        value[i] = n ? 1e3 * sorted[rank > 1 ? rank - 1 : 0] : NAN;
    }
    free(sorted);
    return n;
}

static int count(const load_stats *s, load_outcome outcome) {
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->sample[i].outcome == outcome;
    return n;
}

static int count_status(const load_stats *s, int status) {
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->sample[i].status == status;
    return n;
}

static double per_second(const load_stats *s, int n) {
    return s->seconds > 0 ? n / s->seconds : 0;
}

static void text_row(const load_stats *s, const char *name, choice c, FILE *out) {
    double ms[MARKS];
    int n = percentiles(s, &c, ms);
    (void)fprintf(out, "%-24.24s %9d", name, n);
    for (int i = 0; n && i < MARKS; i++)
        (void)fprintf(out, " %9.2f", ms[i]);
    (void)fputc('\n', out);
}

void load_stats_text(const load_stats *s, const load_plan *p, FILE *out) {
    (void)fprintf(out, "%d requests in %.1f s", s->n, s->seconds);
    if (s->rate > 0)
        (void)fprintf(out, ", %.1f/s asked", s->rate);
    (void)fprintf(out, "; 200s: %.1f/s, puzzles solved: %.1f/s\n",
        per_second(s, count_status(s, 200)), per_second(s, s->answers[0]));
    (void)fprintf(out, "%-24s %9s %9s %9s %9s %9s %9s\n", "latency in ms", "n", "p50", "p90", "p99",
        "p99.9", "max");
    text_row(s, "200", (choice){.mix = ANY}, out);
    for (int i = 0; p->mixes > 1 && i < p->mixes; i++)
        text_row(s, p->mix[i].name, (choice){.mix = i}, out);
    text_row(s, "429 and 503", (choice){.mix = ANY, .refused = true}, out);
    text_row(s, "sent late by", (choice){.mix = ANY, .lag = true}, out);
    (void)fputs("statuses:", out);
    for (int status = 100; status < 600; status++)
        if (count_status(s, status))
            (void)fprintf(out, " %d x %d", status, count_status(s, status));
    (void)fputs("\npuzzles:", out);
    for (int i = 0; i < 4; i++)
        (void)fprintf(out, " %d %s%s", s->answers[i], answer_names[i], i < 3 ? "," : "\n");
    (void)fputs("failures:", out);
    for (int i = LOAD_CONNECT; i < LOAD_OUTCOMES; i++)
        (void)fprintf(out, " %d %s,", count(s, (load_outcome)i), outcome_names[i]);
    (void)fprintf(out,
        " %d later than their deadline (%.1f ms at most), %d solved but unverified\n", s->late,
        1e3 * s->latest, s->unverified);
    if (s->rate > 0 && s->waited)
        (void)fprintf(out,
            "%d requests found every connection busy: raise --connections to load the server "
            "more\n",
            s->waited);
}

static json_t *json_row(const load_stats *s, choice c) {
    double ms[MARKS];
    json_t *row = json_pack("{s:i}", "n", percentiles(s, &c, ms));
    for (int i = 0; i < MARKS; i++)
        (void)json_object_set_new(
            row, marks[i].name, isnan(ms[i]) ? json_null() : json_real(ms[i]));
    return row;
}

bool load_stats_json(const load_stats *s, const load_plan *p, FILE *out) {
    json_t *root = json_pack("{s:f, s:f, s:i, s:f, s:f, s:i, s:i, s:f, s:i}", "rate", s->rate,
        "seconds", s->seconds, "requests", s->n, "ok_per_s", per_second(s, count_status(s, 200)),
        "solved_per_s", per_second(s, s->answers[0]), "waited_for_connection", s->waited, "late",
        s->late, "late_by_ms", 1e3 * s->latest, "unverified", s->unverified);
    json_t *statuses = json_object(), *puzzles = json_object(), *failures = json_object();
    json_t *mix = json_array();
    for (int status = 100; status < 600; status++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d", status);
        if (count_status(s, status))
            (void)json_object_set_new(statuses, name, json_integer(count_status(s, status)));
    }
    for (int i = 0; i < 4; i++)
        (void)json_object_set_new(puzzles, answer_names[i], json_integer(s->answers[i]));
    for (int i = LOAD_CONNECT; i < LOAD_OUTCOMES; i++)
        (void)json_object_set_new(
            failures, outcome_names[i], json_integer(count(s, (load_outcome)i)));
    for (int i = 0; i < p->mixes; i++)
        (void)json_array_append_new(mix, json_pack("{s:s, s:o}", "name", p->mix[i].name,
                                             "latency_ms", json_row(s, (choice){.mix = i})));
    (void)json_object_set_new(root, "statuses", statuses);
    (void)json_object_set_new(root, "puzzles", puzzles);
    (void)json_object_set_new(root, "failures", failures);
    (void)json_object_set_new(root, "latency_ms", json_row(s, (choice){.mix = ANY}));
    (void)json_object_set_new(
        root, "refusal_ms", json_row(s, (choice){.mix = ANY, .refused = true}));
    (void)json_object_set_new(root, "lag_ms", json_row(s, (choice){.mix = ANY, .lag = true}));
    (void)json_object_set_new(root, "mix", mix);
    bool ok = json_dumpf(root, out, JSON_REAL_PRECISION(6)) == 0 && fputc('\n', out) != EOF;
    json_decref(root);
    return ok;
}

void load_stats_free(load_stats *s) {
    free(s->sample);
    *s = (load_stats){0};
}

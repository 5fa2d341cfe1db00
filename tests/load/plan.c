/* Reading puzzles, building requests, drawing the schedule. One thread. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

enum { WHY = 256, REQUESTS_MAX = 100000, SENDS_MAX = 50000000, UNSCHEDULED = 1 << 16 };

static bool fail(char *why, const char *what, const char *reason) {
    (void)snprintf(why, WHY, "%.120s: %.120s", what, reason);
    return false;
}

/* Takes over `root`. */
static bool add_request(load_plan *p, json_t *root, const load_body *body, int mix) {
    load_request *grown = realloc(p->request, sizeof *grown * (size_t)(p->requests + 1));
    if (grown)
        p->request = grown;
    if (body->deadline_ms)
        (void)json_object_set_new(root, "deadline_ms", json_integer(body->deadline_ms));
    if (body->max_steps)
        (void)json_object_set_new(root, "max_steps", json_integer(body->max_steps));
    if (body->attempts)
        (void)json_object_set_new(root, "attempts", json_integer(body->attempts));
    char *text = json_dumps(root, JSON_COMPACT), *bytes = NULL;
    json_decref(root);
    int n = text ? asprintf(&bytes,
                       "POST /v1/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                       "%s%sContent-Length: %zu\r\n\r\n%s",
                       p->mix[mix].kind, body->host, body->header ? body->header : "",
                       body->header ? "\r\n" : "", strlen(text), text)
                 : -1;
    free(text);
    if (!grown || n < 0) {
        if (n >= 0)
            free(bytes);
        return false;
    }
    p->request[p->requests++] = (load_request){bytes, (size_t)n, mix};
    return true;
}

/* The puzzle of a line: the line, or the second column. A maze's rows may end in '/'. */
static bool add_line(load_plan *p, char *line, const load_body *body, int mix) {
    char *comma = strchr(line, ',');
    char *puzzle = comma ? comma + 1 : line;
    puzzle[strcspn(puzzle, ",")] = 0;
    for (char *c = puzzle; *c; c++)
        *c = *c == '/' ? '\n' : *c;
    return add_request(p, json_pack("{s:s}", "puzzle", puzzle), body, mix);
}

static bool read_lines(load_plan *p, FILE *f, const load_body *body, int mix) {
    char line[8192];
    while (fgets(line, sizeof line, f) && p->requests < REQUESTS_MAX) {
        line[strcspn(line, "\r\n")] = 0;
        if (*line && strncmp(line, "source,question", 15) != 0 && !add_line(p, line, body, mix))
            return false;
    }
    return !ferror(f);
}

static bool read_task(load_plan *p, FILE *f, const load_body *body, int mix) {
    json_t *root = json_loadf(f, 0, NULL);
    return json_is_object(root) && add_request(p, root, body, mix);
}

bool load_plan_add(load_plan *p, const char *spec, const load_body *body, char *why) {
    load_mix *grown = realloc(p->mix, sizeof *grown * (size_t)(p->mixes + 1));
    char path[512];
    load_mix m = {.weight = 1, .first = p->requests};
    int kind = 0, file = 0;
    if (grown)
        p->mix = grown;
    if (!grown || !(m.name = strdup(spec)))
        return fail(why, spec, "out of memory");
    p->mix[p->mixes] = m;
    grown += p->mixes++;
    if (sscanf(spec, "%15[^:]:%n%511[^:]%n:%lf", grown->kind, &kind, path, &file, &grown->weight) <
            2 ||
        !(grown->weight > 0) ||
        (strcmp(grown->kind, "sudoku") != 0 && strcmp(grown->kind, "maze") != 0 &&
            strcmp(grown->kind, "arc") != 0))
        return fail(why, spec, "must be sudoku:FILE, maze:FILE or arc:FILE, :WEIGHT if wanted");
    FILE *f = fopen(path, "re");
    if (!f)
        return fail(why, path, strerror(errno));
    bool arc = strcmp(grown->kind, "arc") == 0;
    bool ok = arc ? read_task(p, f, body, p->mixes - 1) : read_lines(p, f, body, p->mixes - 1);
    (void)fclose(f);
    grown->n = p->requests - grown->first;
    return ok && grown->n ? true : fail(why, path, "holds no puzzle that can be sent");
}

/* A request of the mix, by the parts' weights. */
static int pick(const load_plan *p, double total, unsigned short seed[3]) {
    double x = erand48(seed) * total;
    int i = 0;
    while (i + 1 < p->mixes && (x -= p->mix[i].weight) >= 0)
        i++;
    return p->mix[i].first + (int)(erand48(seed) * p->mix[i].n);
}

bool load_plan_draw(load_plan *p, double rate, double seconds, uint64_t seed, char *why) {
    unsigned short state[3] = {
        (unsigned short)seed, (unsigned short)(seed >> 16), (unsigned short)(seed >> 32)};
    double at = 0, total = 0;
    /* a Poisson count strays from its mean by a few square roots of it */
    double mean = rate * seconds, room = rate > 0 ? mean + 10 * sqrt(mean) + 10 : UNSCHEDULED;
    if (room > SENDS_MAX)
        return fail(why, "the schedule", "more than 50 million requests");
    p->send = calloc((size_t)room, sizeof *p->send);
    if (!p->send)
        return fail(why, "the schedule", "out of memory");
    for (int i = 0; i < p->mixes; i++)
        total += p->mix[i].weight;
    while (p->sends < (int)room) {
        if (rate > 0)
            at -= log1p(-erand48(state)) / rate;
        if (rate > 0 && at >= seconds)
            break;
        p->send[p->sends++] = (load_send){at, pick(p, total, state)};
    }
    return true;
}

void load_plan_free(load_plan *p) {
    for (int i = 0; i < p->mixes; i++)
        free(p->mix[i].name);
    for (int i = 0; i < p->requests; i++)
        free(p->request[i].bytes);
    free(p->mix);
    free(p->request);
    free(p->send);
    *p = (load_plan){0};
}

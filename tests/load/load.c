/* load: an open-loop load generator for trmd.
 *
 * Send times are drawn beforehand from a Poisson process of the given rate and kept whatever
 * the server does; latency counts from the intended time. */
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client.h"

static const char usage[] =
    "Usage: load --port PORT --mix KIND:FILE[:WEIGHT] [--mix ...] --rate R [OPTION...]\n"
    "\n"
    "Sends puzzles to a running trmd at times drawn from a Poisson process and reports\n"
    "latency from the intended time of sending.\n"
    "\n"
    "  --host ADDRESS      IPv4 or IPv6 address (127.0.0.1)\n"
    "  --port PORT\n"
    "  --mix SPEC          sudoku:FILE, maze:FILE or arc:FILE, and a weight if wanted (:1).\n"
    "                      One puzzle a line, or CSV with the puzzle in its second column\n"
    "  --rate R            requests per second\n"
    "  --closed            instead of --rate: every connection sends its next request when\n"
    "                      the last is answered. For finding capacity, not latency\n"
    "  --duration S        seconds of sending (10)\n"
    "  --warmup S          seconds of it that are not counted (0)\n"
    "  --connections N     most connections open at a time (1024; with --closed 64)\n"
    "  --timeout S         seconds after which a request is given up (60)\n"
    "  --deadline-ms MS    sent with each request, as are --max-steps N and --attempts N\n"
    "  --header 'A: B'     sent with each request\n"
    "  --seed N            of the schedule (1)\n"
    "  --json              report as one JSON object\n";

typedef struct arguments {
    const char *host, *header, *mix[16];
    int port, mixes, connections;
    int deadline_ms, max_steps, attempts;
    double rate, duration, warmup, timeout;
    unsigned long long seed;
    bool closed, json;
} arguments;

static int complain(const char *what, const char *why) {
    (void)fprintf(stderr, "load: %s%s%s\n", what, *why ? ": " : "", why);
    return 2;
}

enum { O_CLOSED = 1000, O_JSON, O_HELP };

static const struct option options[] = {{"host", 1, NULL, 'h'}, {"port", 1, NULL, 'p'},
    {"mix", 1, NULL, 'm'}, {"rate", 1, NULL, 'r'}, {"duration", 1, NULL, 'd'},
    {"warmup", 1, NULL, 'w'}, {"connections", 1, NULL, 'c'}, {"timeout", 1, NULL, 't'},
    {"deadline-ms", 1, NULL, 'D'}, {"max-steps", 1, NULL, 's'}, {"attempts", 1, NULL, 'a'},
    {"header", 1, NULL, 'H'}, {"seed", 1, NULL, 'S'}, {"closed", 0, NULL, O_CLOSED},
    {"json", 0, NULL, O_JSON}, {"help", 0, NULL, O_HELP}, {NULL, 0, NULL, 0}};

static bool take(arguments *a, int option, const char *text) {
    char *end = NULL;
    double x = text ? strtod(text, &end) : 0;
    bool number = text && *text && !*end && x >= 0 && x < 1e15;
    struct {
        int option;
        int *whole;
        double *real;
    } numbers[] = {{'p', &a->port, NULL}, {'c', &a->connections, NULL},
        {'D', &a->deadline_ms, NULL}, {'s', &a->max_steps, NULL}, {'a', &a->attempts, NULL},
        {'r', NULL, &a->rate}, {'d', NULL, &a->duration}, {'w', NULL, &a->warmup},
        {'t', NULL, &a->timeout}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].option != option)
            continue;
        if (numbers[i].real)
            *numbers[i].real = x;
        else
            *numbers[i].whole = (int)(x < 1e9 ? x : 1e9);
        return number && (numbers[i].real || x == (double)*numbers[i].whole);
    }
    if (option == 'S')
        a->seed = (unsigned long long)x;
    else if (option == 'm' && a->mixes < 16)
        a->mix[a->mixes++] = text;
    else if (option == 'h')
        a->host = text;
    else if (option == 'H')
        a->header = text;
    else if (option == O_CLOSED)
        a->closed = true;
    else if (option == O_JSON)
        a->json = true;
    else
        return false;
    return option != 'S' || number;
}

static int read_arguments(arguments *a, int argc, char **argv) {
    int option, at = 0;
    while ((option = getopt_long(argc, argv, "", options, &at)) != -1) {
        if (option == '?')
            return 2;
        if (option == O_HELP)
            return fputs(usage, stdout) < 0 ? 1 : 0;
        if (!take(a, option, optarg))
            return complain(options[at].name, "has no such value");
    }
    if (optind < argc)
        return complain(argv[optind], "is not an option");
    if (!a->port || a->port > 65535 || !a->mixes || (a->rate > 0) == a->closed)
        return complain("--port, --mix and one of --rate and --closed are needed", "see --help");
    if (!a->connections)
        a->connections = a->closed ? 64 : 1024;
    if (a->warmup >= a->duration)
        return complain("--warmup must be shorter than --duration", "");
    return -1;
}

static bool address_of(struct sockaddr_storage *to, const char *host, int port) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return true;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1;
}

static int run(const arguments *a, load_plan *p, load_stats *s) {
    char why[256] = "";
    load_body body = {a->host, a->header, a->deadline_ms, a->max_steps, a->attempts};
    load_client_options o = {.connections = a->connections,
        .warmup = a->warmup,
        .timeout = a->timeout,
        .closed = a->closed ? a->duration : 0};
    if (!address_of(&o.to, a->host, a->port))
        return complain(a->host, "is not an IP address");
    for (int i = 0; i < a->mixes; i++)
        if (!load_plan_add(p, a->mix[i], &body, why))
            return complain(why, "");
    if (!load_plan_draw(p, a->rate, a->duration, a->seed, why))
        return complain(why, "");
    s->rate = a->rate;
    s->deadline = a->deadline_ms / 1e3;
    if (!load_client_run(p, &o, s, why)) {
        (void)complain(why, "");
        return 1;
    }
    if (a->json)
        return load_stats_json(s, p, stdout) ? 0 : 1;
    load_stats_text(s, p, stdout);
    return 0;
}

int main(int argc, char **argv) {
    arguments a = {.host = "127.0.0.1", .duration = 10, .timeout = 60, .seed = 1};
    load_plan p = {0};
    load_stats s = {0};
    struct rlimit files;
    int r = read_arguments(&a, argc, argv);
    if (r >= 0)
        return r;
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    r = run(&a, &p, &s);
    load_stats_free(&s);
    load_plan_free(&p);
    return r;
}

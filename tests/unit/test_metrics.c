/* Metrics: counting from many threads, bounded labels, and a text form that a strict reader,
 * and promtool where it is installed, accepts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "metrics.h"

static trmd_metrics *metrics(void) {
    trmd_metrics *m;
    trm_error err;
    assert_int_equal(trmd_metrics_new(&m, &err), 0);
    return m;
}

static char *render(trmd_metrics *m) {
    size_t n;
    char *text = trmd_metrics_render(m, &n);
    assert_non_null(text);
    assert_int_equal(strlen(text), n);
    return text;
}

/* The value behind `series` at the start of a line; NAN where there is none. */
static double value_of(trmd_metrics *m, const char *series) {
    char *text = render(m), *save;
    double x = NAN;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (strncmp(line, series, strlen(series)) == 0 && line[strlen(series)] == ' ')
            x = strtod(line + strlen(series) + 1, NULL);
    free(text);
    return x;
}

static void expect(trmd_metrics *m, const char *series, double value) {
    double x = value_of(m, series);
    if (x != value)
        fail_msg("%s is %g, expected %g", series, x, value);
}

static void counters_gauges_and_histograms_count(void **state) {
    trmd_metrics *m = metrics();
    (void)state;
    trmd_count(m, TRMD_M_REQUESTS, 1, TRMD_LABELS("sudoku", "200", "ok"));
    trmd_count(m, TRMD_M_REQUESTS, 2, TRMD_LABELS("sudoku", "200", "ok"));
    trmd_count(m, TRMD_M_REQUESTS, 1, TRMD_LABELS("maze", "429", "queue_full"));
    expect(m, "trmd_requests_total{kind=\"sudoku\",status=\"200\",reason=\"ok\"}", 3);
    expect(m, "trmd_requests_total{kind=\"maze\",status=\"429\",reason=\"queue_full\"}", 1);
    trmd_gauge_set(m, TRMD_M_QUEUE_PUZZLES, 7, NULL);
    trmd_gauge_add(m, TRMD_M_QUEUE_PUZZLES, -2, NULL);
    expect(m, "trmd_queue_puzzles", 5);
    trmd_observe(m, TRMD_M_BATCH_SIZE, 1, TRMD_LABELS("s"));
    trmd_observe(m, TRMD_M_BATCH_SIZE, 3, TRMD_LABELS("s"));
    trmd_observe(m, TRMD_M_BATCH_SIZE, 5000, TRMD_LABELS("s"));
    expect(m, "trmd_batch_size_bucket{model=\"s\",le=\"1\"}", 1);
    expect(m, "trmd_batch_size_bucket{model=\"s\",le=\"2\"}", 1);
    expect(m, "trmd_batch_size_bucket{model=\"s\",le=\"4\"}", 2);
    expect(m, "trmd_batch_size_bucket{model=\"s\",le=\"1024\"}", 2);
    expect(m, "trmd_batch_size_bucket{model=\"s\",le=\"+Inf\"}", 3);
    expect(m, "trmd_batch_size_sum{model=\"s\"}", 5004);
    expect(m, "trmd_batch_size_count{model=\"s\"}", 3);
    trmd_metrics_free(m);
}

static void what_has_no_labels_starts_at_zero(void **state) {
    trmd_metrics *m = metrics();
    (void)state;
    expect(m, "trmd_queue_puzzles", 0);
    expect(m, "trmd_ready", 0);
    assert_true(isnan(value_of(m, "trmd_verified_total{kind=\"sudoku\"}")));
    trmd_metrics_free(m);
}

static void wrong_labels_count_nothing(void **state) {
    trmd_metrics *m = metrics();
    (void)state;
    char *before = render(m);
    trmd_count(m, TRMD_M_REQUESTS, 1, TRMD_LABELS("sudoku", "200"));
    trmd_count(m, TRMD_M_REQUESTS, 1, TRMD_LABELS("sudoku", "200", "ok", "more"));
    trmd_count(m, TRMD_M_REQUESTS, 1, NULL);
    trmd_count(m, TRMD_M_VERIFIED, -1, TRMD_LABELS("sudoku"));
    trmd_gauge_set(m, TRMD_M_READY, 1, TRMD_LABELS("x"));
    assert_null(strstr(before, "trmd_requests_total"));
    free(before);
    char *after = render(m);
    assert_null(strstr(after, "trmd_requests_total"));
    assert_null(strstr(after, "trmd_verified_total"));
    free(after);
    expect(m, "trmd_ready", 0);
    trmd_metrics_free(m);
}

static void label_values_are_bounded(void **state) {
    trmd_metrics *m = metrics();
    char reason[32];
    int lines = 0;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(reason, sizeof reason, "r%d", i);
        trmd_count(m, TRMD_M_REQUESTS, 1, TRMD_LABELS("sudoku", "400", reason));
    }
    trmd_count(m, TRMD_M_REQUESTS, 1, TRMD_LABELS("sudoku", "400", "r0"));
    char *text = render(m);
    for (char *at = text; (at = strstr(at, "\ntrmd_requests_total{")); at++)
        lines++;
    free(text);
    assert_int_equal(lines, 256);
    expect(m, "trmd_requests_total{kind=\"sudoku\",status=\"400\",reason=\"r0\"}", 2);
    expect(m, "trmd_requests_total{kind=\"other\",status=\"other\",reason=\"other\"}", 9745);
    trmd_metrics_free(m);
}

static void label_values_are_escaped(void **state) {
    trmd_metrics *m = metrics();
    (void)state;
    trmd_gauge_set(m, TRMD_M_BUILD_INFO, 1, TRMD_LABELS("a\"b\\c\nd\xff"));
    expect(m, "trmd_build_info{version=\"a\\\"b\\\\c?d?\"}", 1);
    trmd_metrics_free(m);
}

static void cleared_series_are_gone_until_set_again(void **state) {
    trmd_metrics *m = metrics();
    const char *old = "trmd_model_info{model=\"a\",kind=\"maze\",backend=\"b\",sha256=\"1\"}";
    (void)state;
    trmd_gauge_set(m, TRMD_M_MODEL_INFO, 1, TRMD_LABELS("a", "maze", "b", "1"));
    expect(m, old, 1);
    trmd_metric_clear(m, TRMD_M_MODEL_INFO);
    assert_true(isnan(value_of(m, old)));
    trmd_gauge_set(m, TRMD_M_MODEL_INFO, 1, TRMD_LABELS("a", "maze", "b", "2"));
    assert_true(isnan(value_of(m, old)));
    trmd_gauge_set(m, TRMD_M_MODEL_INFO, 1, TRMD_LABELS("a", "maze", "b", "1"));
    expect(m, old, 1);
    trmd_metrics_free(m);
}

enum { THREADS = 4, EACH = 20000 };

static void *count_much(void *arg) {
    for (int i = 0; i < EACH; i++) {
        char reason[16];
        (void)snprintf(reason, sizeof reason, "r%d", i % 50);
        trmd_count(arg, TRMD_M_REQUESTS, 1, TRMD_LABELS("maze", "200", reason));
        trmd_count(arg, TRMD_M_ENGINE_BUSY, 0.5, TRMD_LABELS("m"));
        trmd_observe(arg, TRMD_M_QUEUE_SECONDS, 0.25, TRMD_LABELS("maze"));
        trmd_gauge_add(arg, TRMD_M_CONNECTIONS, i % 2 ? 1 : -1, NULL);
    }
    return NULL;
}

static void no_count_is_lost_between_threads(void **state) {
    trmd_metrics *m = metrics();
    pthread_t t[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count_much, m), 0);
    for (int i = 0; i < 20; i++)
        free(render(m));
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(t[i], NULL);
    for (int i = 0; i < 50; i++) {
        char series[100];
        (void)snprintf(series, sizeof series,
            "trmd_requests_total{kind=\"maze\",status=\"200\",reason=\"r%d\"}", i);
        expect(m, series, EACH * THREADS * 0.02);
    }
    expect(m, "trmd_engine_busy_seconds_total{model=\"m\"}", THREADS * EACH * 0.5);
    expect(m, "trmd_queue_seconds_count{kind=\"maze\"}", THREADS * EACH);
    expect(m, "trmd_queue_seconds_sum{kind=\"maze\"}", THREADS * EACH * 0.25);
    expect(m, "trmd_connections", 0);
    trmd_metrics_free(m);
}

static void the_process_tells_of_itself(void **state) {
    trmd_metrics *m = metrics();
    (void)state;
    double rss = value_of(m, "process_resident_memory_bytes");
    if (value_of(m, "process_virtual_memory_bytes") == 0)
        skip(); /* under qemu-user, which tells a process nothing of itself */
    assert_true(rss > 100e3 && rss < value_of(m, "process_virtual_memory_bytes"));
    double fds = value_of(m, "process_open_fds");
    int fd = dup(0);
    expect(m, "process_open_fds", fds + 1);
    (void)close(fd);
    expect(m, "process_open_fds", fds);
    assert_true(value_of(m, "process_max_fds") >= fds);
    assert_true(value_of(m, "process_cpu_seconds_total") >= 0);
    assert_true(value_of(m, "process_start_time_seconds") > 1.6e9);
    trmd_metrics_free(m);
}

/* Something in every family, a label with all that needs escaping. */
static char *full(void) {
    static const char *const labels[] = {"a\"\\\n", "b", "c", "d"};
    trmd_metrics *m = metrics();
    for (int what = 0; what < TRMD_METRICS; what++)
        for (int n = 0; n <= 4; n++) {
            const char *some[5] = {NULL};
            memcpy(some, labels, sizeof labels[0] * (size_t)n);
            trmd_count(m, (trmd_metric)what, 1.5, some);
            trmd_observe(m, (trmd_metric)what, 0.3, some);
        }
    char *text = render(m);
    trmd_metrics_free(m);
    return text;
}

static const char *name_end(const char *s) {
    assert_true(isalpha((unsigned char)*s));
    while (isalnum((unsigned char)*s) || *s == '_')
        s++;
    return s;
}

/* After a metric's name: {label="value",...} or nothing; returns what follows. */
static const char *labels_end(const char *s) {
    if (*s != '{')
        return s;
    do {
        s = name_end(s + 1);
        assert_memory_equal(s, "=\"", 2);
        for (s += 2; *s != '"'; s++) {
            assert_true(*s && *s != '\n');
            s += *s == '\\';
        }
        s++;
    } while (*s == ',');
    assert_int_equal(*s, '}');
    return s + 1;
}

static void every_line_follows_the_format(void **state) {
    char *text = full(), *save, *line;
    char name[100] = "", type[20] = "";
    int families = 0;
    (void)state;
    assert_int_equal(text[strlen(text) - 1], '\n');
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *end;
        if (strncmp(line, "# HELP ", 7) == 0) {
            (void)snprintf(
                name, sizeof name, "%.*s", (int)(name_end(line + 7) - line - 7), line + 7);
            assert_int_equal(line[7 + strlen(name)], ' ');
            families++;
            continue;
        }
        if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_memory_equal(line + 7, name, strlen(name));
            (void)snprintf(type, sizeof type, "%s", line + 7 + strlen(name) + 1);
            bool total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
            assert_int_equal(total, strcmp(type, "counter") == 0);
            continue;
        }
        const char *suffix = line + strlen(name);
        assert_memory_equal(line, name, strlen(name));
        if (strcmp(type, "histogram") == 0)
            assert_true(strncmp(suffix, "_bucket", 7) == 0 || strncmp(suffix, "_sum", 4) == 0 ||
                        strncmp(suffix, "_count", 6) == 0);
        else
            assert_true(*suffix == '{' || *suffix == ' ');
        const char *value = labels_end(name_end(line));
        assert_int_equal(*value, ' ');
        (void)strtod(value + 1, &end);
        assert_true(end > value + 1 && *end == 0);
    }
    assert_int_equal(families, TRMD_METRICS + 6);
    free(text);
}

static void promtool_has_nothing_to_say(void **state) {
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        skip();
    char *text = full();
    FILE *p = popen("promtool check metrics 2>&1", "we");
    assert_non_null(p);
    assert_true(fputs(text, p) >= 0);
    int status = pclose(p);
    free(text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(counters_gauges_and_histograms_count),
        cmocka_unit_test(what_has_no_labels_starts_at_zero),
        cmocka_unit_test(wrong_labels_count_nothing), cmocka_unit_test(label_values_are_bounded),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(cleared_series_are_gone_until_set_again),
        cmocka_unit_test(no_count_is_lost_between_threads),
        cmocka_unit_test(the_process_tells_of_itself),
        cmocka_unit_test(every_line_follows_the_format),
        cmocka_unit_test(promtool_has_nothing_to_say)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

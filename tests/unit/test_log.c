/* The log: its two forms, escaping against injection, a reader that stalls, many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"

static int pipes[2];

static void open_log(trmd_level level, bool json) {
    trm_error err;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(trmd_log_open(pipes[1], level, json, &err), 0);
}

/* Closes the log and returns all that came through; for the caller to free. */
static char *close_log(void) {
    size_t n = 0, room = 1 << 20;
    char *text = malloc(room + 1);
    assert_non_null(text);
    trmd_log_close();
    (void)close(pipes[1]);
    for (ssize_t r; (r = read(pipes[0], text + n, room - n)) > 0;)
        n += (size_t)r;
    (void)close(pipes[0]);
    text[n] = 0;
    return text;
}

static json_t *one_record(void) {
    json_error_t err;
    char *text = close_log();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    json_t *record = json_loads(text, JSON_REJECT_DUPLICATES, &err);
    if (!record)
        fail_msg("%s in %s", err.text, text);
    free(text);
    return record;
}

static const char *str(const json_t *record, const char *name) {
    return json_string_value(json_object_get(record, name));
}

static void a_record_is_one_json_object(void **state) {
    (void)state;
    open_log(TRMD_INFO, true);
    trmd_log(TRMD_WARN, "model loaded",
        TRMD_FIELDS(TRMD_STR("model", "a b"), TRMD_INT("n", -5), TRMD_REAL("s", 0.25),
            TRMD_BOOL("ok", true), TRMD_STR("none", NULL), TRMD_REAL("bad", NAN)));
    json_t *record = one_record();
    assert_string_equal(str(record, "level"), "warn");
    assert_string_equal(str(record, "msg"), "model loaded");
    assert_string_equal(str(record, "model"), "a b");
    assert_int_equal(json_integer_value(json_object_get(record, "n")), -5);
    assert_true(json_real_value(json_object_get(record, "s")) == 0.25);
    assert_true(json_is_true(json_object_get(record, "ok")));
    assert_true(json_is_null(json_object_get(record, "bad")));
    assert_null(json_object_get(record, "none"));
    const char *time = str(record, "time");
    assert_int_equal(strlen(time), strlen("2026-01-02T03:04:05.678Z"));
    assert_int_equal(time[10], 'T');
    json_decref(record);
}

static void text_form_quotes_what_is_not_a_word(void **state) {
    (void)state;
    open_log(TRMD_INFO, false);
    trmd_log(TRMD_ERROR, "no luck",
        TRMD_FIELDS(TRMD_STR("a", "plain/word"), TRMD_STR("b", "two words\nlevel=info"),
            TRMD_STR("c", ""), TRMD_INT("d", 1), TRMD_STR("e", "x=\"y\"")));
    char *text = close_log();
    assert_non_null(strstr(text, "Z error no luck a=plain/word b=\"two words\\u000alevel=info\" "
                                 "c=\"\" d=1 e=\"x=\\\"y\\\"\"\n"));
    free(text);
}

/* What an attacker sends comes back as itself or as an escape, never as a line or a field. */
static void nothing_a_client_sends_can_forge_a_record(void **state) {
    static const char *const nasty[] = {"\n{\"level\":\"error\"}", "\",\"level\":\"error", "\\",
        "\r\n\t\b\x1b[31m\x7f", "\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xe2\x80", "\xc2\x9b", "\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa6"};
    static const char *const back[] = {"\n{\"level\":\"error\"}", "\",\"level\":\"error", "\\",
        "\r\n\t\b\x1b[31m\x7f", "\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd",
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
        "\xef\xbf\xbd\xef\xbf\xbd", "\xc2\x9b", "\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa6"};
    json_error_t err;
    (void)state;
    open_log(TRMD_INFO, true);
    for (size_t i = 0; i < sizeof nasty / sizeof nasty[0]; i++)
        trmd_log(TRMD_INFO, "x", TRMD_FIELDS(TRMD_STR("v", nasty[i])));
    char *text = close_log(), *line = text;
    for (size_t i = 0; i < sizeof nasty / sizeof nasty[0]; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = 0;
        for (char *c = line; *c; c++)
            assert_true((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
        json_t *record = json_loads(line, JSON_REJECT_DUPLICATES, &err);
        assert_non_null(record);
        assert_string_equal(str(record, "level"), "info");
        assert_string_equal(str(record, "v"), back[i]);
        json_decref(record);
        line = end + 1;
    }
    assert_string_equal(line, "");
    free(text);
}

static void ordinary_unicode_stays(void **state) {
    (void)state;
    open_log(TRMD_INFO, true);
    trmd_log(TRMD_INFO, "x", TRMD_FIELDS(TRMD_STR("v", "\xc3\xa9\xe2\x82\xac\xf0\x9f\xa7\xa9")));
    json_t *record = one_record();
    assert_string_equal(str(record, "v"), "\xc3\xa9\xe2\x82\xac\xf0\x9f\xa7\xa9");
    json_decref(record);
}

static void long_values_are_cut_and_the_record_stays_whole(void **state) {
    char *value = malloc(100001);
    trmd_field f[21];
    (void)state;
    assert_non_null(value);
    memset(value, 1, 100000); /* each byte takes six when escaped */
    value[100000] = 0;
    for (int i = 0; i < 20; i++)
        f[i] = (trmd_field)TRMD_STR("abcdefghijklmnopqrst" + i, value);
    f[20] = (trmd_field){.name = NULL};
    open_log(TRMD_INFO, true);
    trmd_log(TRMD_INFO, "x", f);
    json_t *record = one_record();
    assert_int_equal(strlen(str(record, "abcdefghijklmnopqrst")), TRMD_LOG_VALUE + 3);
    assert_null(json_object_get(record, "t"));
    assert_true(json_is_true(json_object_get(record, "cut")));
    json_decref(record);
    free(value);
}

static void levels_below_the_wanted_are_silent(void **state) {
    (void)state;
    open_log(TRMD_WARN, true);
    assert_false(trmd_log_wants(TRMD_INFO));
    trmd_log(TRMD_INFO, "quiet", NULL);
    trmd_log_set(TRMD_DEBUG, true);
    trmd_log(TRMD_DEBUG, "loud", NULL);
    json_t *record = one_record();
    assert_string_equal(str(record, "msg"), "loud");
    json_decref(record);
    assert_int_equal(trmd_level_named("warn"), TRMD_WARN);
    assert_int_equal(trmd_level_named("loud"), -1);
}

static void an_access_record_leaves_out_what_is_unknown(void **state) {
    (void)state;
    open_log(TRMD_INFO, true);
    trmd_log_access(&(trmd_access){.request_id = "r1",
        .client = "10.0.0.1",
        .method = "POST",
        .path = "/v1/sudoku",
        .kind = "sudoku",
        .reason = "ok",
        .status = 200,
        .puzzles = 2,
        .bytes_in = 10,
        .bytes_out = 20,
        .queue = -1,
        .compute = 0.5,
        .total = 0.75});
    json_t *record = one_record();
    assert_string_equal(str(record, "msg"), "request");
    assert_string_equal(str(record, "path"), "/v1/sudoku");
    assert_int_equal(json_integer_value(json_object_get(record, "status")), 200);
    assert_true(json_real_value(json_object_get(record, "total_s")) == 0.75);
    assert_null(json_object_get(record, "queue_s"));
    assert_null(json_object_get(record, "traceparent"));
    json_decref(record);
}

static int drain(int fd, char *text, int room) {
    int n = 0;
    for (ssize_t r; n < room && (r = read(fd, text + n, (size_t)(room - n))) > 0;)
        n += (int)r;
    text[n] = 0;
    return n;
}

/* Nobody reads: the callers go on, records are dropped, and later the log says how many. */
static void a_reader_that_stalls_costs_records_not_callers(void **state) {
    enum { RECORDS = 20000, ROOM = 8 << 20 };
    char *text = malloc(ROOM + 1), *line;
    uint64_t before = trmd_log_dropped();
    long told = 0, seen = 0;
    (void)state;
    assert_non_null(text);
    open_log(TRMD_INFO, true);
    for (int i = 0; i < RECORDS; i++)
        trmd_log(TRMD_INFO, "filler filler filler filler filler", TRMD_FIELDS(TRMD_INT("i", i)));
    uint64_t dropped = trmd_log_dropped() - before;
    assert_true(dropped > 0 && dropped < RECORDS);
    assert_false(trmd_log_flush(50));

    /* the reader wakes up */
    assert_int_equal(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
    int n = 0;
    while (!trmd_log_flush(20))
        n += drain(pipes[0], text + n, ROOM - n);
    trmd_log(TRMD_INFO, "last", NULL);
    while (!trmd_log_flush(20)) /* the pipe may be as full as it can be */
        n += drain(pipes[0], text + n, ROOM - n);
    (void)drain(pipes[0], text + n, ROOM - n);
    free(close_log());

    for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *record = json_loads(line, 0, NULL);
        assert_non_null(record);
        if (json_object_get(record, "i"))
            seen++;
        told += (long)json_integer_value(json_object_get(record, "dropped"));
        json_decref(record);
    }
    assert_int_equal(told, dropped);
    assert_int_equal(seen + told, RECORDS);
    free(text);
}

static void closing_does_not_wait_for_a_stalled_reader(void **state) {
    char text[4097];
    (void)state;
    open_log(TRMD_INFO, true);
    for (int i = 0; i < 3000; i++)
        trmd_log(TRMD_INFO, "filler filler filler filler filler filler filler", NULL);
    trmd_log_close();
    /* let the writer that was left behind end, so that no leak is reported */
    assert_int_equal(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
    for (int quiet = 0; quiet < 20;) {
        quiet = drain(pipes[0], text, 4096) ? 0 : quiet + 1;
        (void)usleep(5000);
    }
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void a_reader_that_left_costs_records_too(void **state) {
    uint64_t before = trmd_log_dropped();
    (void)state;
    (void)signal(SIGPIPE, SIG_DFL); /* the log's thread must not need it ignored */
    open_log(TRMD_INFO, true);
    (void)close(pipes[0]);
    trmd_log(TRMD_INFO, "x", NULL);
    assert_true(trmd_log_flush(5000));
    assert_int_equal(trmd_log_dropped() - before, 1);
    trmd_log_close();
    (void)close(pipes[1]);
}

enum { THREADS = 4, EACH = 500 };

static void *chatter(void *arg) {
    for (int i = 0; i < EACH; i++)
        trmd_log(TRMD_INFO, "x", TRMD_FIELDS(TRMD_INT("thread", *(int *)arg), TRMD_INT("i", i)));
    return NULL;
}

static void *read_all(void *arg) {
    (void)drain(pipes[0], arg, 1 << 20);
    return NULL;
}

static void threads_do_not_mix_their_records(void **state) {
    pthread_t t[THREADS], reader;
    int id[THREADS], next[THREADS] = {0}, lines = 0;
    char *text = malloc((1 << 20) + 1);
    (void)state;
    assert_non_null(text);
    open_log(TRMD_INFO, true);
    assert_int_equal(pthread_create(&reader, NULL, read_all, text), 0);
    for (int i = 0; i < THREADS; i++) {
        id[i] = i;
        assert_int_equal(pthread_create(&t[i], NULL, chatter, &id[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(t[i], NULL);
    trmd_log_close();
    (void)close(pipes[1]);
    (void)pthread_join(reader, NULL);
    (void)close(pipes[0]);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *record = json_loads(line, 0, NULL);
        assert_non_null(record);
        int who = (int)json_integer_value(json_object_get(record, "thread"));
        if (json_object_get(record, "i")) { /* else it tells of what an earlier test lost */
            assert_int_equal(json_integer_value(json_object_get(record, "i")), next[who]++);
            lines++;
        }
        json_decref(record);
    }
    assert_int_equal(lines, THREADS * EACH);
    free(text);
}

static void request_ids_are_checked_and_made(void **state) {
    char a[TRMD_ID_ROOM], b[TRMD_ID_ROOM], longest[TRMD_ID_MAX + 2];
    (void)state;
    trmd_request_id_make(a);
    trmd_request_id_make(b);
    assert_int_equal(strlen(a), 32);
    assert_true(trmd_request_id_ok(a));
    assert_string_not_equal(a, b);
    assert_true(trmd_request_id_ok("0b9f-A_z.1:2/3+4="));
    memset(longest, 'a', sizeof longest);
    longest[TRMD_ID_MAX + 1] = 0;
    assert_false(trmd_request_id_ok(longest));
    longest[TRMD_ID_MAX] = 0;
    assert_true(trmd_request_id_ok(longest));
    assert_false(trmd_request_id_ok(""));
    assert_false(trmd_request_id_ok("a b"));
    assert_false(trmd_request_id_ok("a\n"));
    assert_false(trmd_request_id_ok("\"a\""));
    assert_false(trmd_request_id_ok("\xc3\xa9"));
}

static void traceparents_are_checked(void **state) {
    static const char *const bad[] = {"", "00",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736000f067aa0ba902b7-01"};
    (void)state;
    assert_true(trmd_traceparent_ok("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(trmd_traceparent_ok(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_record_is_one_json_object),
        cmocka_unit_test(text_form_quotes_what_is_not_a_word),
        cmocka_unit_test(nothing_a_client_sends_can_forge_a_record),
        cmocka_unit_test(ordinary_unicode_stays),
        cmocka_unit_test(long_values_are_cut_and_the_record_stays_whole),
        cmocka_unit_test(levels_below_the_wanted_are_silent),
        cmocka_unit_test(an_access_record_leaves_out_what_is_unknown),
        cmocka_unit_test(a_reader_that_stalls_costs_records_not_callers),
        cmocka_unit_test(closing_does_not_wait_for_a_stalled_reader),
        cmocka_unit_test(a_reader_that_left_costs_records_too),
        cmocka_unit_test(threads_do_not_mix_their_records),
        cmocka_unit_test(request_ids_are_checked_and_made),
        cmocka_unit_test(traceparents_are_checked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

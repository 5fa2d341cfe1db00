/* Options: sources and their order, refusals that name their source, text forms, reload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "options.h"

#define ARGV(...) ((char *[]){"trmd", __VA_ARGS__, NULL})

static int count(char **argv) {
    int n = 0;
    while (argv[n])
        n++;
    return n;
}

static void parse(trmd_options *o, char **argv, char **env) {
    trm_error err = {0, ""};
    if (trmd_options_parse(o, count(argv), argv, env, &err))
        fail_msg("%s", err.text);
}

static void refuse(char **argv, char **env, const char *why) {
    trmd_options o;
    trm_error err = {0, ""};
    if (!trmd_options_parse(&o, count(argv), argv, env, &err))
        fail_msg("accepted; expected '%s'", why);
    if (!strstr(err.text, why))
        fail_msg("got '%s', expected '%s'", err.text, why);
    assert_null(strchr(err.text, '\n'));
    assert_null(o.host);
}

/* A file with this text; the caller unlinks it. */
static char *file_of(const char *text) {
    static char path[64];
    (void)snprintf(path, sizeof path, "/tmp/test_options_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    return path;
}

static void with_file(trmd_options *o, const char *text) {
    char *path = file_of(text);
    parse(o, ARGV("--config", path), NULL);
    (void)unlink(path);
}

static void refuse_file(const char *text, const char *why) {
    char *path = file_of(text);
    refuse(ARGV("--config", path), NULL, why);
    refuse(ARGV("--config", path), NULL, path);
    (void)unlink(path);
}

static void defaults_hold_when_nothing_is_said(void **state) {
    trmd_options o;
    char host[256] = "";
    (void)state;
    parse(&o, (char *[]){"trmd", NULL}, NULL);
    assert_int_equal(o.action, TRMD_SERVE);
    assert_string_equal(o.host, "127.0.0.1");
    assert_int_equal(o.port, 8080);
    assert_int_equal(o.admin_port, -1);
    assert_int_equal(o.model.n, 0);
    assert_true(o.access_log);
    assert_string_equal(o.jobs, "");
    assert_int_equal(gethostname(host, sizeof host), 0);
    assert_string_equal(o.server_id, host);
    trmd_options_free(&o);
}

static void a_flag_goes_over_environment_over_file(void **state) {
    trmd_options o;
    char *path = file_of("{\"port\": 1, \"slots\": 1, \"workers\": 1, \"rate_limit\": 0.5}");
    char *env[] = {"HOME=/", "TRMD_PORT=2", "TRMD_SLOTS=2", NULL};
    (void)state;
    parse(&o, ARGV("--port=3", "--config", path), env);
    assert_int_equal(o.port, 3);
    assert_int_equal(o.slots, 2);
    assert_int_equal(o.workers, 1);
    assert_true(o.rate_limit == 0.5);
    trmd_options_free(&o);

    /* the variable TRMD_CONFIG names the file too, --config goes over it */
    char with[128];
    (void)snprintf(with, sizeof with, "TRMD_CONFIG=%s", path);
    parse(&o, (char *[]){"trmd", NULL}, (char *[]){with, NULL});
    assert_int_equal(o.port, 1);
    trmd_options_free(&o);
    parse(&o, ARGV("--config", path), (char *[]){"TRMD_CONFIG=/nowhere", NULL});
    assert_int_equal(o.port, 1);
    trmd_options_free(&o);
    (void)unlink(path);
}

static void a_flag_takes_its_value_in_both_forms(void **state) {
    trmd_options o;
    (void)state;
    parse(&o, ARGV("--queue-puzzles", "5", "--queue-bytes=2048", "--max-body-bytes", "1024"), NULL);
    assert_int_equal(o.queue_puzzles, 5);
    assert_int_equal(o.queue_bytes, 2048);
    trmd_options_free(&o);
    parse(&o, ARGV("--port", "1", "--port", "2"), NULL);
    assert_int_equal(o.port, 2);
    trmd_options_free(&o);
    parse(&o, ARGV("--admin-port", "-1", "--tls-cert="), NULL);
    assert_int_equal(o.admin_port, -1);
    assert_string_equal(o.tls_cert, "");
    trmd_options_free(&o);
}

static void truth_is_said_in_many_ways(void **state) {
    trmd_options o;
    (void)state;
    parse(&o, ARGV("--access-log=no"), NULL);
    assert_false(o.access_log);
    trmd_options_free(&o);
    parse(&o, ARGV("--access-log", "off", "--port", "1"), NULL);
    assert_false(o.access_log);
    trmd_options_free(&o);
    parse(&o, ARGV("--access-log", "--port", "1"), (char *[]){"TRMD_ACCESS_LOG=0", NULL});
    assert_true(o.access_log);
    assert_int_equal(o.port, 1);
    trmd_options_free(&o);
    refuse(ARGV("--access-log=maybe"), NULL, "--access-log: 'maybe' is neither true nor false");
    refuse(ARGV("--access-log", "maybe"), NULL, "--access-log: 'maybe' is neither true nor false");
}

static void the_highest_source_replaces_a_list_whole(void **state) {
    trmd_options o;
    char *path = file_of("{\"model\": [\"f1\", \"f2\"], \"cors_origins\": \"https://a.org\"}");
    (void)state;
    parse(&o, ARGV("--config", path), NULL);
    assert_int_equal(o.model.n, 2);
    assert_string_equal(o.model.at[1], "f2");
    assert_int_equal(o.cors_origins.n, 1);
    trmd_options_free(&o);
    parse(&o, ARGV("--config", path, "--model", "a", "--model=b,c"),
        (char *[]){"TRMD_MODEL=x,y,z", NULL});
    assert_int_equal(o.model.n, 2);
    assert_string_equal(o.model.at[0], "a");
    assert_string_equal(o.model.at[1], "b,c");
    trmd_options_free(&o);
    parse(&o, ARGV("--config", path), (char *[]){"TRMD_MODEL=x,y", "TRMD_CORS_ORIGINS=", NULL});
    assert_int_equal(o.model.n, 2);
    assert_string_equal(o.model.at[1], "y");
    assert_int_equal(o.cors_origins.n, 0);
    trmd_options_free(&o);
    (void)unlink(path);
}

static void what_is_unknown_is_refused_by_name(void **state) {
    (void)state;
    refuse(ARGV("--prot", "1"), NULL, "--prot: there is no such option");
    refuse(ARGV("--prot=1"), NULL, "--prot: there is no such option");
    refuse(ARGV("--queue_puzzles", "1"), NULL, "--queue_puzzles: there is no such option");
    refuse(ARGV("-p"), NULL, "-p: there is no such option");
    refuse(ARGV("serve"), NULL, "'serve': trmd takes options only");
    refuse(ARGV("--port"), NULL, "--port: needs a value");
    refuse((char *[]){"trmd", NULL}, (char *[]){"TRMD_PROT=1", NULL},
        "TRMD_PROT: there is no such option");
    refuse((char *[]){"trmd", NULL}, (char *[]){"TRMD_port=1", NULL},
        "TRMD_port: there is no such option");
    refuse_file("{\"prot\": 1}", ": prot: there is no such option");
    refuse_file("{\"config\": \"x\"}", ": config: there is no such option");
    refuse(ARGV("--config", "/nowhere/x.json"), NULL, "--config: ");
}

static void a_bad_value_names_its_source(void **state) {
    static const char *const bad[] = {
        "", "x", "1x", " 1", "+1", "1.0", "0x10", "70000", "-1", "99999999999999999999"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char flag[64], variable[64], why[128];
        (void)snprintf(flag, sizeof flag, "--port=%s", bad[i]);
        (void)snprintf(variable, sizeof variable, "TRMD_PORT=%s", bad[i]);
        (void)snprintf(
            why, sizeof why, "TRMD_PORT: '%s' is not a whole number from 0 to 65535", bad[i]);
        refuse((char *[]){"trmd", NULL}, (char *[]){variable, NULL}, why);
        (void)snprintf(why, sizeof why, "--port: '%s' is not", bad[i]);
        refuse(ARGV(flag), NULL, why);
    }
    refuse(ARGV("--rate-limit=nan"), NULL, "--rate-limit: 'nan' is not a number from 0 to 1000000");
    refuse(ARGV("--rate-limit=1e9"), NULL, "--rate-limit: '1e9' is not a number");
    refuse(ARGV("--log-level", "loud"), NULL, "--log-level: 'loud' is not one of error warn info");
    refuse(ARGV("--cors-origins", "*"), NULL, "--cors-origins: '*' must begin with http");
    refuse(ARGV("--cors-origins=https://a.org/"), NULL, "without a path");
    refuse(ARGV("--jobs=amqp://x"), NULL, "--jobs: 'amqp://x' must begin with redis://");
    refuse_file("{\"port\": 70000}", ": port: '70000' is not a whole number");
    refuse_file("{\"port\": 1.0}", ": port: must be a whole number");
    refuse_file("{\"port\": \"1\"}", ": port: must be a whole number");
    refuse_file("{\"access_log\": 1}", ": access_log: must be true or false");
    refuse_file("{\"rate_limit\": \"1\"}", ": rate_limit: must be a number");
    refuse_file("{\"host\": null}", ": host: must be a string");
    refuse_file("{\"model\": [1]}", ": model: must be an array of strings");
    refuse_file("{\"model\": {}}", ": model: must be an array of strings");
}

static void a_broken_file_is_refused_by_line(void **state) {
    (void)state;
    refuse_file("{\n  \"port\": 1,\n}", ":3:");
    refuse_file("[]", ": must hold a JSON object");
    refuse_file("", ":1:");
    refuse_file("{\"port\": 1, \"port\": 2}", "duplicate object key");
}

static void variables_of_a_service_named_trmd_are_not_options(void **state) {
    trmd_options o;
    char *env[] = {"TRMD_PORT=tcp://10.0.0.1:8080", "TRMD_SERVICE_HOST=10.0.0.1",
        "TRMD_SERVICE_PORT=8080", "TRMD_SERVICE_PORT_HTTP=8080",
        "TRMD_PORT_8080_TCP=tcp://10.0.0.1:8080", "TRMD_PORT_8080_TCP_PROTO=tcp",
        "TRMD_GPU_SERVICE_HOST=10.0.0.2", NULL};
    (void)state;
    parse(&o, (char *[]){"trmd", NULL}, env);
    assert_int_equal(o.port, 8080);
    trmd_options_free(&o);
}

static void help_and_version_look_at_nothing_else(void **state) {
    trmd_options o;
    (void)state;
    parse(&o, ARGV("--nonsense", "--help"), (char *[]){"TRMD_NONSENSE=1", NULL});
    assert_int_equal(o.action, TRMD_SHOW_HELP);
    trmd_options_free(&o);
    parse(&o, ARGV("--version"), NULL);
    assert_int_equal(o.action, TRMD_SHOW_VERSION);
    trmd_options_free(&o);
    parse(&o, ARGV("--check-config", "--port", "1"), NULL);
    assert_int_equal(o.action, TRMD_CHECK_CONFIG);
    assert_int_equal(o.port, 1);
    trmd_options_free(&o);
    parse(&o, ARGV("--port", "1", "--healthcheck"), NULL);
    assert_int_equal(o.action, TRMD_HEALTHCHECK);
    trmd_options_free(&o);
    refuse(ARGV("--check-config", "--prot", "1"), NULL, "--prot");
}

static char *text_of(void (*show)(FILE *)) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    show(f);
    (void)fclose(f);
    return text;
}

static void every_option_is_in_both_helps_and_in_the_file(void **state) {
    trmd_options o;
    trm_error err;
    char *help = text_of(trmd_options_help), *markdown = text_of(trmd_options_help_markdown);
    char *json = NULL;
    size_t size;
    int n = 0;
    (void)state;
    parse(&o, (char *[]){"trmd", NULL}, NULL);
    FILE *f = open_memstream(&json, &size);
    assert_int_equal(trmd_options_print(&o, f, &err), 0);
    (void)fclose(f);
    trmd_options_free(&o);
    for (char *line = strtok(json, "\n"); line; line = strtok(NULL, "\n")) {
        char flag[80] = "--", shown[100];
        if (sscanf(line, "  \"%70[a-z_]\":", flag + 2) != 1)
            continue;
        for (char *c = flag; *c; c++)
            *c = *c == '_' ? '-' : *c;
        (void)snprintf(shown, sizeof shown, "\n  %s ", flag);
        if (!strstr(help, shown))
            fail_msg("--help lacks %s", flag);
        (void)snprintf(shown, sizeof shown, "\n| `%s ", flag);
        if (!strstr(markdown, shown))
            fail_msg("--help-markdown lacks %s", flag);
        n++;
    }
    assert_true(n > 30);
    for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
        assert_true(strlen(line) < 81);
    free(help);
    free(markdown);
    free(json);
}

static char *print(const trmd_options *o) {
    char *text = NULL;
    size_t size;
    trm_error err;
    FILE *f = open_memstream(&text, &size);
    assert_int_equal(trmd_options_print(o, f, &err), 0);
    (void)fclose(f);
    return text;
}

static void the_effective_configuration_is_a_config_file(void **state) {
    trmd_options o, again;
    (void)state;
    parse(&o,
        ARGV("--port=1", "--model=a", "--model=b \"quoted\"", "--rate-limit=0.1",
            "--access-log=off", "--queue-bytes=9000000000", "--jobs=redis://h:1/2"),
        NULL);
    char *text = print(&o);
    with_file(&again, text);
    char *second = print(&again);
    assert_string_equal(text, second);
    assert_non_null(strstr(text, "\"rate_limit\": 0.1,"));
    assert_string_equal(again.model.at[1], "b \"quoted\"");
    free(text);
    free(second);
    trmd_options_free(&again);
    trmd_options_free(&o);
}

static void a_password_is_not_printed(void **state) {
    trmd_options o;
    (void)state;
    parse(&o, ARGV("--jobs=redis://:s3cr@t@host:1/2"), NULL);
    assert_string_equal(o.jobs, "redis://:s3cr@t@host:1/2");
    char *text = print(&o);
    assert_null(strstr(text, "s3cr"));
    assert_non_null(strstr(text, "redis://***@host:1/2"));
    free(text);
    trmd_options_free(&o);
}

static void check(char **argv, const char *why) {
    trmd_options o;
    trm_error err = {0, ""};
    parse(&o, argv, NULL);
    int r = trmd_options_check(&o, &err);
    if (why ? !r || !strstr(err.text, why) : r)
        fail_msg("got '%s', expected '%s'", err.text, why ? why : "");
    trmd_options_free(&o);
}

static void checks_look_outside(void **state) {
    char *path;
    (void)state;
    check((char *[]){"trmd", NULL}, NULL);
    check(ARGV("--backend=abacus"), "--backend: is not a backend that this build");
    check(ARGV("--backend=reference"), NULL);
    check(ARGV("--model=/nowhere/m"), "--model: /nowhere/m: No such file");
    check(ARGV("--model=/tmp"), "--model: /tmp: not a regular file");
    check(ARGV("--state-dir=/nowhere"), "--state-dir: /nowhere: No such file");
    check(ARGV("--state-dir=/dev/null"), "--state-dir: /dev/null: is not a directory");
    check(ARGV("--port=81", "--admin-port=81"), "--admin-port: is the public address");
    check(ARGV("--port=81", "--admin-port=81", "--host=::1"), NULL);
    check(ARGV("--state-dir=/tmp"), NULL);
    check(ARGV("--tls-key=/nowhere/k"), "--tls-key: /nowhere/k: No such file");
    check(ARGV("--tls-key=/etc/passwd"), "--tls-key: needs tls_cert as well");
    check(ARGV("--tls-cert=/etc/passwd"), "--tls-cert: needs tls_key as well");
    check(ARGV("--tls-cert=/etc/passwd", "--tls-key=/etc/passwd"), "--tls-cert: ");
    check(ARGV("--api-keys-file=/nowhere/k"), "--api-keys-file: /nowhere/k: No such file");
    path = file_of("alice:secret\n");
    check(ARGV("--api-keys-file", path), ":1: SHA256 must be");
    (void)unlink(path);
}

static void limits_must_fit_each_other(void **state) {
    trmd_options o;
    (void)state;
    check(ARGV("--deadline-ms=10", "--max-deadline-ms=9"), "--deadline-ms: is longer than");
    check(ARGV("--max-steps=10", "--max-steps-limit=9"), "--max-steps: is more than");
    check(ARGV("--attempts=10", "--max-attempts=9"), "--attempts: is more than");
    check(ARGV("--max-puzzles-per-request=10", "--queue-puzzles=9"), "never be let in");
    check(ARGV("--max-body-bytes=2000", "--queue-bytes=1999"), "never be let in");
    check(ARGV("--workers=3", "--threads=2"), "--workers: is more than threads");
    /* a default gives way to a limit that was set */
    parse(&o, ARGV("--max-deadline-ms=9", "--queue-puzzles=8", "--queue-bytes=1999"), NULL);
    assert_int_equal(o.deadline_ms, 9);
    assert_int_equal(o.max_puzzles_per_request, 8);
    assert_int_equal(o.max_body_bytes, 1999);
    trmd_options_free(&o);
}

static void a_reload_applies_what_it_may_and_names_the_rest(void **state) {
    trmd_options o, fresh;
    char left[64];
    (void)state;
    with_file(&o, "{\"log_level\": \"info\", \"port\": 1, \"cors_origins\": [\"http://a\"]}");
    with_file(&fresh, "{\"log_level\": \"debug\", \"port\": 2, \"cors_origins\": [\"http://b\", "
                      "\"http://c\"], \"rate_limit\": 2.5, \"slots\": 3}");
    trmd_options_reload(&o, &fresh, left, sizeof left);
    assert_string_equal(left, "port, slots");
    assert_string_equal(o.log_level, "debug");
    assert_int_equal(o.port, 1);
    assert_int_equal(o.cors_origins.n, 2);
    assert_string_equal(o.cors_origins.at[1], "http://c");
    assert_true(o.rate_limit == 2.5);
    with_file(&fresh, "{\"log_level\": \"debug\", \"port\": 9, \"cors_origins\": [\"http://b\", "
                      "\"http://c\"], \"rate_limit\": 2.5}");
    trmd_options_reload(&o, &fresh, left, 4);
    assert_string_equal(left, "por");
    trmd_options_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_when_nothing_is_said),
        cmocka_unit_test(a_flag_goes_over_environment_over_file),
        cmocka_unit_test(a_flag_takes_its_value_in_both_forms),
        cmocka_unit_test(truth_is_said_in_many_ways),
        cmocka_unit_test(the_highest_source_replaces_a_list_whole),
        cmocka_unit_test(what_is_unknown_is_refused_by_name),
        cmocka_unit_test(a_bad_value_names_its_source),
        cmocka_unit_test(a_broken_file_is_refused_by_line),
        cmocka_unit_test(variables_of_a_service_named_trmd_are_not_options),
        cmocka_unit_test(help_and_version_look_at_nothing_else),
        cmocka_unit_test(every_option_is_in_both_helps_and_in_the_file),
        cmocka_unit_test(the_effective_configuration_is_a_config_file),
        cmocka_unit_test(a_password_is_not_printed),
        cmocka_unit_test(checks_look_outside),
        cmocka_unit_test(limits_must_fit_each_other),
        cmocka_unit_test(a_reload_applies_what_it_may_and_names_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

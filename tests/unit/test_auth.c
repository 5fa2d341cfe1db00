/* API keys: the file's form, which header counts, rotation without a gap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth.h"

/* sha256 of "abc" (FIPS 180-2, appendix B.1) and of "" (a well-known value) */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_UPPER "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
/* sha256 of the 56 bytes "abcdbcde...nopq" (appendix B.2) */
#define LONG_KEY "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
#define LONG "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"

static char path[] = "/tmp/test_auth_XXXXXX";

static void write_keys(const char *text) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static trmd_auth *open_keys(const char *text) {
    trmd_auth *a;
    trm_error err = {0, ""};
    write_keys(text);
    if (trmd_auth_open(&a, path, &err))
        fail_msg("%s", err.text);
    return a;
}

static void refuse(const char *text, const char *why) {
    trmd_auth *a;
    trm_error err = {0, ""};
    write_keys(text);
    assert_true(trmd_auth_open(&a, path, &err) < 0);
    assert_null(a);
    if (!strstr(err.text, why))
        fail_msg("got '%s', expected '%s'", err.text, why);
}

static void grant(const trmd_auth *a, const char *authorization, const char *key, const char *who) {
    char name[TRMD_KEY_NAME_ROOM];
    assert_true(trmd_auth_check(a, authorization, key, name));
    assert_string_equal(name, who);
}

static void deny(const trmd_auth *a, const char *authorization, const char *key) {
    char name[TRMD_KEY_NAME_ROOM] = "x";
    assert_false(trmd_auth_check(a, authorization, key, name));
    assert_string_equal(name, "");
}

static void keys_are_known_by_their_hash(void **state) {
    (void)state;
    trmd_auth *a = open_keys("# who may\n\nalice:" ABC "\r\nbob.2_x-y:" LONG);
    assert_int_equal(trmd_auth_count(a), 2);
    grant(a, "Bearer abc", NULL, "alice");
    grant(a, "bearer  abc", NULL, "alice");
    grant(a, NULL, "abc", "alice");
    grant(a, NULL, LONG_KEY, "bob.2_x-y");
    deny(a, NULL, NULL);
    deny(a, NULL, "");
    deny(a, "Bearer ", NULL);
    deny(a, NULL, "ab");
    deny(a, NULL, "abcd");
    deny(a, NULL, ABC);
    deny(a, "Bearer", NULL);
    trmd_auth_free(a);
}

static void bearer_counts_before_the_other_header(void **state) {
    (void)state;
    trmd_auth *a = open_keys("alice:" ABC_UPPER "\nbob:" LONG "\n");
    grant(a, "Bearer abc", LONG_KEY, "alice");
    deny(a, "Bearer wrong", "abc");
    grant(a, "Basic YWJjOg==", "abc", "alice");
    deny(a, "Basic YWJjOg==", NULL);
    trmd_auth_free(a);
}

static void an_empty_key_is_no_key(void **state) {
    (void)state;
    trmd_auth *a = open_keys("nobody:" EMPTY "\n");
    deny(a, "Bearer ", NULL);
    deny(a, NULL, "");
    trmd_auth_free(a);
}

static void equal_hashes_name_the_first(void **state) {
    (void)state;
    trmd_auth *a = open_keys("first:" ABC "\nsecond-with-a-longer-name:" ABC "\n");
    grant(a, NULL, "abc", "first");
    trmd_auth_free(a);
}

static void bad_files_are_refused_by_line(void **state) {
    trmd_auth *a;
    trm_error err;
    char line[1024];
    (void)state;
    refuse("", ": holds no key");
    refuse("# none\n\n", ": holds no key");
    refuse("alice:" ABC "\nbob\n", ":2: a line is NAME:SHA256");
    refuse(":" ABC "\n", ":1: a line is");
    refuse("al ice:" ABC "\n", ":1: a line is");
    refuse("alice:abc\n", ":1: SHA256 must be 64");
    refuse("alice:" ABC "0\n", ":1: SHA256 must be 64");
    refuse("alice:g" LONG "\n", ":1: SHA256 must be 64");
    refuse("alice: " ABC "\n", ":1: SHA256 must be 64");
    memset(line, 'a', sizeof line);
    memcpy(line + 65, ":" ABC "\n", sizeof ":" ABC "\n");
    refuse(line, ":1: a line is");
    memset(line, 'a', sizeof line);
    line[sizeof line - 1] = 0;
    refuse(line, ":1: the line is too long");
    assert_true(trmd_auth_open(&a, "/nowhere/keys", &err) < 0);
    assert_string_equal(err.text, "/nowhere/keys: No such file or directory");
}

static void keys_rotate_and_a_bad_file_keeps_the_old(void **state) {
    trm_error err;
    (void)state;
    trmd_auth *a = open_keys("alice:" ABC "\n");
    assert_false(trmd_auth_stale(a));
    write_keys("alice:" ABC "\nalice:" LONG "\n");
    assert_true(trmd_auth_stale(a));
    assert_int_equal(trmd_auth_reload(a, &err), 0);
    assert_false(trmd_auth_stale(a));
    grant(a, NULL, "abc", "alice");
    grant(a, NULL, LONG_KEY, "alice");

    write_keys("alice:" LONG "\n");
    assert_int_equal(trmd_auth_reload(a, &err), 0);
    deny(a, NULL, "abc");
    grant(a, NULL, LONG_KEY, "alice");

    write_keys("broken\n");
    assert_true(trmd_auth_reload(a, &err) < 0);
    assert_false(trmd_auth_stale(a)); /* complained about once, not every second */
    grant(a, NULL, LONG_KEY, "alice");

    (void)unlink(path);
    assert_true(trmd_auth_stale(a));
    assert_true(trmd_auth_reload(a, &err) < 0);
    assert_false(trmd_auth_stale(a));
    grant(a, NULL, LONG_KEY, "alice");
    trmd_auth_free(a);
}

static int make_file(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 || close(fd);
}

static int drop_file(void **state) {
    (void)state;
    (void)unlink(path);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_are_known_by_their_hash),
        cmocka_unit_test(bearer_counts_before_the_other_header),
        cmocka_unit_test(an_empty_key_is_no_key), cmocka_unit_test(equal_hashes_name_the_first),
        cmocka_unit_test(bad_files_are_refused_by_line),
        cmocka_unit_test(keys_rotate_and_a_bad_file_keeps_the_old)};
    return cmocka_run_group_tests(tests, make_file, drop_file);
}

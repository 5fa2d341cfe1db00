/* redis:// addresses: their parts, and what is wrong with others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "redis_url.h"

static void reads(
    const char *text, const char *host, int port, const char *password, const char *db) {
    trmd_redis_url u;
    assert_null(trmd_redis_url_read(&u, text));
    assert_string_equal(u.host, host);
    assert_int_equal(u.port, port);
    assert_string_equal(u.password, password);
    assert_string_equal(u.db, db);
}

static void test_parts(void **state) {
    (void)state;
    reads("redis://queue", "queue", 6379, "", "");
    reads("redis://queue:7000", "queue", 7000, "", "");
    reads("redis://queue/3", "queue", 6379, "", "3");
    reads("redis://:s3cret@queue:7000/3", "queue", 7000, "s3cret", "3");
    reads("redis://:a:b@c/d@10.0.0.1/0", "10.0.0.1", 6379, "a:b@c/d", "0");
    reads("redis://[::1]:7000/3", "::1", 7000, "", "3");
    reads("redis://[fe80::1]", "fe80::1", 6379, "", "");
}

static void test_faults(void **state) {
    static const char *const bad[] = {"", "redis:/queue", "rediss://queue", "redis://",
        "redis://:7000", "redis:///3", "redis://queue:", "redis://queue:x", "redis://queue:65536",
        "redis://queue:123456789", "redis://queue/x", "redis://queue/3x", "redis://name:x@queue",
        "redis://[::1", "redis://[::1]x"};
    trmd_redis_url u;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!trmd_redis_url_read(&u, bad[i]))
            fail_msg("%s is taken", bad[i]);
    char longest[600] = "redis://";
    memset(longest + 8, 'h', 300);
    assert_non_null(trmd_redis_url_read(&u, longest));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

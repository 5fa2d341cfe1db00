/* Token buckets on a fake clock: burst, refill, who counts as one client, bounded memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <string.h>

#include "ratelimit.h"

#define SECOND UINT64_C(1000000000)

static struct sockaddr_storage address(const char *text) {
    struct sockaddr_storage s = {0};
    if (strchr(text, ':')) {
        s.ss_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&s)->sin6_addr), 1);
    } else {
        s.ss_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &((struct sockaddr_in *)&s)->sin_addr), 1);
    }
    return s;
}

static double take(trmd_ratelimit *r, const char *text, uint64_t now) {
    struct sockaddr_storage s = address(text);
    return trmd_ratelimit_take(r, (struct sockaddr *)&s, now);
}

static trmd_ratelimit *limit(double per_second, double burst, int clients) {
    trmd_ratelimit *r;
    trm_error err;
    assert_int_equal(trmd_ratelimit_new(&r, per_second, burst, clients, &err), 0);
    return r;
}

static void a_burst_passes_then_the_rate(void **state) {
    trmd_ratelimit *r = limit(2, 3, 64);
    uint64_t now = 5 * SECOND;
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(take(r, "10.0.0.1", now) == 0);
    assert_float_equal(take(r, "10.0.0.1", now), 0.5, 1e-9);
    assert_float_equal(take(r, "10.0.0.1", now + SECOND / 4), 0.25, 1e-9);
    assert_true(take(r, "10.0.0.1", now + SECOND / 2) == 0);
    assert_true(take(r, "10.0.0.1", now + SECOND / 2) > 0);
    /* a long pause fills the bucket, not more */
    now += 1000 * SECOND;
    for (int i = 0; i < 3; i++)
        assert_true(take(r, "10.0.0.1", now) == 0);
    assert_true(take(r, "10.0.0.1", now) > 0);
    trmd_ratelimit_free(r);
}

static void over_time_the_rate_holds(void **state) {
    trmd_ratelimit *r = limit(10, 5, 64);
    int granted = 0;
    (void)state;
    for (int ms = 0; ms < 10000; ms++)
        granted += take(r, "10.0.0.1", (uint64_t)ms * 1000000) == 0;
    assert_in_range(granted, 104, 105); /* 5 at once, then 10 a second for 10 seconds */
    trmd_ratelimit_free(r);
}

static void clients_do_not_touch_each_other(void **state) {
    trmd_ratelimit *r = limit(1, 1, 64);
    (void)state;
    assert_true(take(r, "10.0.0.1", 0) == 0);
    assert_true(take(r, "10.0.0.1", 0) > 0);
    assert_true(take(r, "10.0.0.2", 0) == 0);
    trmd_ratelimit_free(r);
}

static void ipv6_counts_by_its_64_and_mapped_ipv4_as_ipv4(void **state) {
    trmd_ratelimit *r = limit(1, 1, 64);
    (void)state;
    assert_true(take(r, "2001:db8:0:1::1", 0) == 0);
    assert_true(take(r, "2001:db8:0:1:ffff::2", 0) > 0);
    assert_true(take(r, "2001:db8:0:2::1", 0) == 0);
    assert_true(take(r, "10.0.0.1", 0) == 0);
    assert_true(take(r, "::ffff:10.0.0.1", 0) > 0);
    assert_true(take(r, "::ffff:10.0.0.2", 0) == 0);
    /* without an address all share one bucket */
    assert_true(trmd_ratelimit_take(r, NULL, 0) == 0);
    assert_true(trmd_ratelimit_take(r, NULL, 0) > 0);
    trmd_ratelimit_free(r);
}

static void a_clock_that_steps_back_grants_nothing(void **state) {
    trmd_ratelimit *r = limit(1, 1, 64);
    (void)state;
    assert_true(take(r, "10.0.0.1", 9 * SECOND) == 0);
    assert_true(take(r, "10.0.0.1", 1 * SECOND) > 0);
    assert_true(take(r, "10.0.0.1", 9 * SECOND) > 0);
    assert_true(take(r, "10.0.0.1", 10 * SECOND) == 0);
    trmd_ratelimit_free(r);
}

static void a_flood_of_addresses_leaves_the_busiest_held_back(void **state) {
    trmd_ratelimit *r = limit(0.001, 10, 1024);
    struct sockaddr_in in = {.sin_family = AF_INET};
    (void)state;
    for (int i = 0; i < 10; i++)
        assert_true(take(r, "192.0.2.1", 0) == 0);
    for (uint32_t i = 0; i < 1000000; i++) {
        in.sin_addr.s_addr = htonl(0x0a000000u + i);
        assert_true(trmd_ratelimit_take(r, (struct sockaddr *)&in, i) == 0);
    }
    assert_true(take(r, "192.0.2.1", 2000000) > 0);
    trmd_ratelimit_free(r);
}

static void limits_change_while_running(void **state) {
    trmd_ratelimit *r = limit(0, 1, 1);
    (void)state;
    for (int i = 0; i < 100; i++)
        assert_true(take(r, "10.0.0.1", 0) == 0);
    trmd_ratelimit_set(r, 1, 2);
    assert_true(take(r, "10.0.0.1", 0) == 0);
    assert_true(take(r, "10.0.0.1", 0) == 0);
    assert_float_equal(take(r, "10.0.0.1", 0), 1, 1e-9);
    trmd_ratelimit_set(r, 100, 1);
    assert_float_equal(take(r, "10.0.0.1", 0), 0.01, 1e-9);
    trmd_ratelimit_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_burst_passes_then_the_rate),
        cmocka_unit_test(over_time_the_rate_holds),
        cmocka_unit_test(clients_do_not_touch_each_other),
        cmocka_unit_test(ipv6_counts_by_its_64_and_mapped_ipv4_as_ipv4),
        cmocka_unit_test(a_clock_that_steps_back_grants_nothing),
        cmocka_unit_test(a_flood_of_addresses_leaves_the_busiest_held_back),
        cmocka_unit_test(limits_change_while_running)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The number of threads worth starting, under made-up quotas of both cgroup versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "trm/cpus.h"

static char root[] = "/tmp/test_cpus_XXXXXX";

static void put(const char *name, const char *text) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        (void)mkdir(path, 0700);
    }
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    (void)fclose(f);
}

static int affinity(void) {
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
}

static int less(int a, int b) {
    return a < b ? a : b;
}

static void without_a_quota_the_affinity_mask_counts(void **state) {
    (void)state;
    assert_int_equal(trm_cpus_under(root), affinity());
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(trm_cpus_under(root), affinity());
}

static void a_quota_of_version_2_counts_at_any_level(void **state) {
    (void)state;
    put("proc/self/cgroup", "1:cpu:/other\n0::/a/b\n");
    put("sys/fs/cgroup/a/b/cpu.max", "100000 100000\n");
    assert_int_equal(trm_cpus_under(root), 1);
    put("sys/fs/cgroup/a/b/cpu.max", "100001 100000\n");
    assert_int_equal(trm_cpus_under(root), less(2, affinity()));
    put("sys/fs/cgroup/a/cpu.max", "20000 100000\n");
    assert_int_equal(trm_cpus_under(root), 1);
    put("sys/fs/cgroup/a/cpu.max", "99900000 100000\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(trm_cpus_under(root), affinity());
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/cpu.max", "50000 100000\n");
    assert_int_equal(trm_cpus_under(root), 1);
    put("sys/fs/cgroup/cpu.max", "max 100000\n");
}

static void a_quota_of_version_1_counts(void **state) {
    (void)state;
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
    assert_int_equal(trm_cpus_under(root), 1);
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n");
    assert_int_equal(trm_cpus_under(root), less(2, affinity()));
}

static void the_real_machine_gives_at_least_one(void **state) {
    (void)state;
    assert_in_range(trm_cpus(), 1, affinity());
}

static int make_root(void **state) {
    (void)state;
    return mkdtemp(root) == NULL;
}

static int drop_root(void **state) {
    char command[64];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_a_quota_the_affinity_mask_counts),
        cmocka_unit_test(a_quota_of_version_2_counts_at_any_level),
        cmocka_unit_test(a_quota_of_version_1_counts),
        cmocka_unit_test(the_real_machine_gives_at_least_one)};
    return cmocka_run_group_tests(tests, make_root, drop_root);
}

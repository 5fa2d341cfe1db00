/* The number of usable processors. A program that starts a thread per core of the host inside
 * a container with a small quota runs many times slower than one that counts the quota.
 * No state; any thread. */
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "trm/cpus.h"

static int at_most(int n, long quota, long period) {
    if (quota <= 0 || period <= 0)
        return n;
    long cpus = (quota + period - 1) / period;
    return cpus < n ? (int)cpus : n;
}

/* Version 2: "max 100000" (no quota) or "200000 100000". */
static int cut_v2(int n, const char *group) {
    char path[PATH_MAX];
    long quota, period;
    if (snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group) >= (int)sizeof path)
        return n;
    FILE *f = fopen(path, "re");
    if (!f)
        return n;
    if (fscanf(f, "%ld %ld", &quota, &period) == 2)
        n = at_most(n, quota, period);
    (void)fclose(f);
    return n;
}

/* A quota may stand at any level above the process: /a/b, then /a. */
static int cut_v2_above(int n) {
    char line[PATH_MAX];
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return n;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        char *group = line + 3;
        group[strcspn(group, "\n")] = 0;
        do {
            n = cut_v2(n, group);
            *strrchr(group, '/') = 0;
        } while (*group);
    }
    (void)fclose(f);
    return n;
}

static long read_long(const char *path) {
    long x = -1;
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%ld", &x) != 1)
        x = -1;
    (void)fclose(f);
    return x;
}

int trm_cpus(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    n = cut_v2_above(n);
    n = at_most(n, read_long("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        read_long("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
    return n > 0 ? n : 1;
}

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
static int cut_v2(int n, const char *root, const char *group) {
    char path[PATH_MAX];
    long quota, period;
    if (snprintf(path, sizeof path, "%s/sys/fs/cgroup%s/cpu.max", root, group) >= (int)sizeof path)
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
static int cut_v2_above(int n, const char *root) {
    char line[PATH_MAX];
    if (snprintf(line, sizeof line, "%s/proc/self/cgroup", root) >= (int)sizeof line)
        return n;
    FILE *f = fopen(line, "re");
    if (!f)
        return n;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        char *group = line + 3;
        group[strcspn(group, "\n")] = 0;
        do {
            n = cut_v2(n, root, group);
            *strrchr(group, '/') = 0;
        } while (*group);
    }
    (void)fclose(f);
    return n;
}

/* Version 1: a file of one number, -1 where there is none. */
static long read_v1(const char *root, const char *name) {
    char path[PATH_MAX];
    long x = -1;
    if (snprintf(path, sizeof path, "%s/sys/fs/cgroup/cpu/%s", root, name) >= (int)sizeof path)
        return -1;
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%ld", &x) != 1)
        x = -1;
    (void)fclose(f);
    return x;
}

int trm_cpus_under(const char *root) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    n = cut_v2_above(n, root);
    n = at_most(n, read_v1(root, "cpu.cfs_quota_us"), read_v1(root, "cpu.cfs_period_us"));
    return n > 0 ? n : 1;
}

int trm_cpus(void) {
    return trm_cpus_under("");
}

/* The Prometheus text form of the metrics, and the process_* figures from /proc.
 * Reads atomics only; any thread. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log.h"
#include "metrics_table.h"

static void put_number(FILE *f, double x) {
    if (isnan(x) || isinf(x))
        (void)fprintf(f, "%s\n", isnan(x) ? "NaN" : x > 0 ? "+Inf" : "-Inf");
    else
        (void)fprintf(f, "%.15g\n", x);
}

/* A value in quotes. What is not printable ASCII becomes '?': the format wants UTF-8. */
static void put_label(FILE *f, const char *name, const char *value) {
    (void)fprintf(f, "%s=\"", name);
    for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
        if (*c == '"' || *c == '\\')
            (void)fputc('\\', f);
        (void)fputc(*c < 0x20 || *c >= 0x7f ? '?' : *c, f);
    }
    (void)fputc('"', f);
}

static void put_labels(FILE *f, const metric_row *row, const metric_series *s, const char *le) {
    if (!row->labels && !le)
        return;
    (void)fputc('{', f);
    for (int i = 0; i < row->labels; i++) {
        put_label(f, row->label[i], s->label[i]);
        if (le || i + 1 < row->labels)
            (void)fputc(',', f);
    }
    if (le)
        put_label(f, "le", le);
    (void)fputc('}', f);
}

static void put_histogram(FILE *f, const metric_row *row, const metric_series *s) {
    uint64_t total = 0;
    for (int i = 0; i <= row->bounds; i++) {
        char le[32] = "+Inf";
        if (i < row->bounds)
            (void)snprintf(le, sizeof le, "%.15g", row->bound[i]);
        total += atomic_load_explicit(&s->bucket[i], memory_order_relaxed);
        (void)fprintf(f, "%s_bucket", row->name);
        put_labels(f, row, s, le);
        (void)fprintf(f, " %llu\n", (unsigned long long)total);
    }
    (void)fprintf(f, "%s_sum", row->name);
    put_labels(f, row, s, NULL);
    (void)fputc(' ', f);
    put_number(f, metric_value(&s->value));
    (void)fprintf(f, "%s_count", row->name);
    put_labels(f, row, s, NULL);
    (void)fprintf(f, " %llu\n", (unsigned long long)total);
}

static void put_head(FILE *f, const char *name, const char *type, const char *help) {
    (void)fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_family(FILE *f, const metric_row *row, metric_family *family) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    int n = atomic_load_explicit(&family->n, memory_order_acquire);
    bool headed = false;
    for (int i = 0; i < n; i++) {
        const metric_series *s = family->series[i];
        if (!atomic_load(&s->shown))
            continue;
        if (!headed)
            put_head(f, row->name, types[row->type], row->help);
        headed = true;
        if (row->type == METRIC_HISTOGRAM) {
            put_histogram(f, row, s);
            continue;
        }
        (void)fputs(row->name, f);
        put_labels(f, row, s, NULL);
        (void)fputc(' ', f);
        put_number(f, metric_value(&s->value));
    }
}

static void put_one(FILE *f, const char *name, const char *type, const char *help, double x) {
    put_head(f, name, type, help);
    (void)fprintf(f, "%s ", name);
    put_number(f, x);
}

static int open_fds(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return -1;
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n - 3; /* ".", ".." and the one that listed */
}

/* Seconds since 1970 when the machine started. */
static double boot_time(void) {
    char line[256];
    double t = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "btime %lf", &t) == 1)
            break;
    (void)fclose(f);
    return t;
}

static void put_process(FILE *f) {
    char stat[1024];
    unsigned long long user = 0, system = 0, start = 0, bytes = 0, pages = 0;
    struct rlimit files = {0, 0};
    double tick = (double)sysconf(_SC_CLK_TCK);
    FILE *p = fopen("/proc/self/stat", "re");
    size_t n = p ? fread(stat, 1, sizeof stat - 1, p) : 0;
    if (p)
        (void)fclose(p);
    stat[n] = 0;
    /* the name, in parentheses, may hold anything: count from the last one */
    const char *after = strrchr(stat, ')');
    if (after && sscanf(after + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d "
                     "%*d %llu %llu %llu",
                     &user, &system, &start, &bytes, &pages) == 5) {
        put_one(f, "process_cpu_seconds_total", "counter", "User and system CPU time.",
            (double)(user + system) / tick);
        put_one(f, "process_start_time_seconds", "gauge", "Start of the process, in Unix time.",
            boot_time() + (double)start / tick);
        put_one(f, "process_virtual_memory_bytes", "gauge", "Virtual memory.", (double)bytes);
        put_one(f, "process_resident_memory_bytes", "gauge", "Resident memory.",
            (double)pages * (double)sysconf(_SC_PAGESIZE));
    }
    if (open_fds() >= 0)
        put_one(f, "process_open_fds", "gauge", "Open file descriptors.", open_fds());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        put_one(f, "process_max_fds", "gauge", "Most file descriptors it may open.",
            files.rlim_cur == RLIM_INFINITY ? INFINITY : (double)files.rlim_cur);
}

char *trmd_metrics_render(trmd_metrics *m, size_t *size) {
    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    if (!f)
        return NULL;
    trmd_gauge_set(m, TRMD_M_LOG_DROPPED, (double)trmd_log_dropped(), NULL);
    for (int i = 0; i < TRMD_METRICS; i++)
        put_family(f, &metric_rows[i], &m->family[i]);
    put_process(f);
    if (fclose(f)) {
        free(text);
        return NULL;
    }
    return text;
}

/* Jobs into JSON text. Progress and results are JSON already and go in as they are: a result
 * may be megabytes. No state. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/job.h"

static void add_time(FILE *out, const char *name, int64_t ms) {
    char text[32];
    struct tm t;
    time_t s = (time_t)(ms / 1000);
    if (!ms || !gmtime_r(&s, &t) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t))
        return;
    fprintf(out, ",\"%s\":\"%s.%03dZ\"", name, text, (int)(ms % 1000));
}

char *trmp_job_dump(const trmp_job *j) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fprintf(out, "{\"id\":\"%s\",\"kind\":\"%s\",\"state\":\"%s\"", j->id, j->kind, j->state);
    add_time(out, "created", j->created);
    add_time(out, "started", j->started);
    add_time(out, "ended", j->ended);
    add_time(out, "expires", j->expires);
    if (j->claims)
        fprintf(out, ",\"claims\":%d", j->claims);
    if (j->progress)
        fprintf(out, ",\"progress\":%s", j->progress);
    if (j->result)
        fprintf(out, ",\"%s\":%s", j->failed ? "problem" : "result", j->result);
    fprintf(out, "}");
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}

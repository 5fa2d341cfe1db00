/* What all job stores share. No state. */
#include <stdlib.h>
#include <string.h>

#include "store.h"

const char *const trmd_job_states[TRMD_JOB_STATES] = {
    "queued", "running", "done", "failed", "cancelled"};

void trmd_job_clear(trmd_job *j) {
    free(j->body);
    free(j->progress);
    free(j->result);
    memset(j, 0, sizeof *j);
}

/* Any bytes as the body of a request. */
#include <stdint.h>
#include <stdlib.h>

#include "proto/request.h"
#include "trm/arc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const trmp_limits limits = {64, 1000, 100, 60000};
    trmp_request r;
    trmp_problem p;
    for (int kind = 0; kind < TRMP_KINDS; kind++) {
        if (trmp_request_parse(&r, (trmp_kind)kind, (const char *)data, size, &limits, &p) == 0) {
            char at[160];
            for (int i = 0; r.puzzle && i < r.n; i++)
                trmp_cell_pointer(&r, i, 0, 0, at, sizeof at);
            trmp_request_free(&r);
            continue;
        }
        free(trmp_problem_dump(&p, "id"));
    }
    trm_arc_task task;
    char place[TRM_ARC_PLACE];
    trm_error err;
    if (trm_arc_task_parse(&task, (const char *)data, size, place, &err) == 0)
        trm_arc_task_free(&task);
    return 0;
}

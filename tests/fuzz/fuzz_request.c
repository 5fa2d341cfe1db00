/* Any bytes as the body of a request. */
#include <stdint.h>
#include <stdlib.h>

#include "proto/v2.h"
#include "trm/arc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const trmp_limits limits = {64, 1000, 100, 60000};
    trmp_request r;
    trmp_problem p;
    for (int i = 0; i < TRMP_KINDS + 2; i++) { /* the second face has no ARC */
        const char *body = (const char *)data;
        int kind = i % TRMP_KINDS;
        if ((i < TRMP_KINDS
                    ? trmp_request_parse(&r, (trmp_kind)kind, body, size, &limits, &p)
                    : trmp_v2_parse(&r, (trmp_kind)kind, "m", body, size, &limits, &p)) == 0) {
            char at[160];
            for (int n = 0; r.puzzle && n < r.n; n++)
                trmp_cell_pointer(&r, n, 0, 0, at, sizeof at);
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

/* KServe's and Triton's addresses, /v2/...: a thin second face over the same calls; see
 * proto/v2.h. Loop thread only. */
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "proto/v2.h"

static const char models[] = "/v2/models/";

/* The model that the address names, if this face serves it. */
static bool find(const trmd_conn *k, trmp_model_info *out) {
    const char *name = k->path + sizeof models - 1;
    size_t n = strcspn(name, "/");
    for (int i = 0; i < trmd_pool_models(k->app->pool); i++) {
        trmd_pool_info(k->app->pool, i, out);
        if (strlen(out->name) == n && memcmp(out->name, name, n) == 0)
            return strcmp(out->kind, trmp_kind_name(TRMP_ARC)) != 0;
    }
    return false;
}

static int no_model(trmp_problem *p) {
    return trmp_problem_set(p, 404, "no-model", NULL,
        "no model of this name answers here; /v1/models lists them, and ARC tasks go to /v1/arc");
}

int trmd_v2_begin(trmd_conn *k) {
    trmp_model_info m;
    if (!find(k, &m) || strlen(m.name) >= sizeof k->v2)
        return no_model(&k->problem);
    k->kind = strcmp(m.kind, trmp_kind_name(TRMP_MAZE)) == 0 ? TRMP_MAZE : TRMP_SUDOKU;
    (void)snprintf(k->v2, sizeof k->v2, "%s", m.name);
    return 0;
}

enum MHD_Result trmd_v2_server(trmd_conn *k) {
    return trmd_answer_json(k, 200, trmp_v2_server_dump(TRM_VERSION), "ok");
}

enum MHD_Result trmd_v2_health(trmd_conn *k, bool ready) {
    bool ok = ready ? trmd_works(k->app) && !k->app->draining : trmd_alive(k->app);
    return trmd_answer_json(k, ok ? 200 : 503,
        trmp_v2_state_dump(NULL, ready ? "ready" : "live", ok), ok ? "ok" : "engine");
}

enum MHD_Result trmd_v2_model(trmd_conn *k, bool ready) {
    trmp_model_info m;
    trmp_problem p;
    if (!find(k, &m)) {
        (void)no_model(&p);
        return trmd_answer_problem(k, &p);
    }
    if (!ready)
        return trmd_answer_json(k, 200, trmp_v2_model_dump(m.name), "ok");
    bool ok = trmd_works(k->app) && !k->app->draining;
    return trmd_answer_json(
        k, ok ? 200 : 503, trmp_v2_state_dump(m.name, "ready", ok), ok ? "ok" : "engine");
}

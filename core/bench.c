/* The rate of a step's matrix products by themselves. Buffers and threads live for one call. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend.h"
#include "device.h"
#include "net.h"
#include "team.h"
#include "trm/bench.h"

/* One product, its operands and how often a pass of one layer runs it. */
struct item {
    trm_mm *mm;
    double times, flops;
    const void *a, *b;
    void *c;
};

struct bench {
    const trm_net *net;
    trm_work **work;
    trm_plan **plan;
    int group; /* puzzles that pass the network together */
    double seconds;
    /* Per member: seconds of the products of one layer's pass, by the clock on the wall and by the
     * thread's own, which stands still while others have its processor. */
    double *taken, *worked;
};

enum { MAX_ITEMS = 8 };

static double now(clockid_t clock) {
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int items(const struct bench *b, const trm_work *w, const trm_plan *p, struct item *out) {
    const trm_config *c = b->net->c;
    const trm_net_layer *l = &b->net->layer[0];
    double s = p->s, d = c->hidden_size, in = trm_config_inner(c), in_t = trm_config_inner_t(c);
    int n = 0;
    if (c->mlp_t) {
        out[n++] = (struct item){p->mix_in[0], 1, 4 * s * d * in_t, l->gate_up_t, w->xa, w->gu_t};
        out[n++] = (struct item){p->mix_out[0], 1, 2 * s * d * in_t, l->down_t, w->h_t, w->o};
    }
    int g = trm_group_at(b->group);
    double times = 1.0 / b->group, m = s * b->group; /* serves each of its sequences in part */
    if (!c->mlp_t) {
        double wide = trm_config_mix_in(c), mixed = trm_config_mix_out(c);
        out[n++] = (struct item){p->mix_in[g], times, 2 * m * d * wide, w->xa, &l->qkv, w->qkv};
        out[n++] = (struct item){p->mix_out[g], times, 2 * m * d * mixed, w->att, &l->o, w->o};
    }
    double parts = b->net->parts;
    out[n++] = (struct item){
        p->gate_up[g], parts * times, 4 * m * d * in / parts, w->xa1, &l->gate_up[0], w->gu};
    out[n++] = (struct item){p->down[g], times, 2 * m * d * in, w->h, &l->down, w->o};
    for (int tail = 0; tail < 2; tail++) {
        if (!p->qk[tail])
            continue;
        double heads = c->num_heads, rows = tail ? p->s % TRM_QUERY_BLOCK : TRM_QUERY_BLOCK;
        double blocks = heads * (tail ? 1 : p->s / TRM_QUERY_BLOCK);
        double flops = 2 * rows * s * d / heads;
        out[n++] = (struct item){p->qk[tail], blocks, flops, w->qkv, w->qkv, w->scores};
        out[n++] = (struct item){p->pv[tail], blocks, flops, w->p, w->qkv, w->att};
    }
    return n;
}

static void run(const struct bench *b, const struct item *i) {
    b->net->mm->run(i->mm, i->a, i->b, i->c);
}

static void member(void *arg, int index) {
    struct bench *b = arg;
    struct item item[MAX_ITEMS];
    trm_work *w = b->work[index];
    int n = items(b, w, b->plan[index], item);
    b->taken[index] = b->worked[index] = 0;
    for (int i = 0; i < n; i++) {
        run(b, &item[i]);
        long done = 0;
        double began = now(CLOCK_MONOTONIC), at = began, own = now(CLOCK_THREAD_CPUTIME_ID);
        while (at - began < b->seconds / n) {
            for (int k = 0; k < 8; k++)
                run(b, &item[i]);
            done += 8;
            at = now(CLOCK_MONOTONIC);
        }
        own = now(CLOCK_THREAD_CPUTIME_ID) - own;
        b->taken[index] += item[i].times * (at - began) / (double)done;
        b->worked[index] += item[i].times * own / (double)done;
    }
}

static int measure(
    struct bench *b, trm_team *team, int batch, trm_product_rate *out, trm_error *err) {
    const trm_config *c = b->net->c;
    int threads = trm_team_size(team), s = trm_plan_length(c, trm_config_positions(c)), r = TRM_OK;
    for (int i = 0; i < threads && !r; i++) {
        r = trm_work_new(&b->work[i], b->net, s, err);
        if (!r)
            r = trm_work_plan(&b->plan[i], b->work[i], s, 0, err);
    }
    if (r)
        return r;
    b->group = trm_group_size(c, s, batch, threads);
    if (batch < b->group * threads)
        b->group = 1;
    trm_team_run(team, member, b);
    struct item item[MAX_ITEMS];
    int n = items(b, b->work[0], b->plan[0], item);
    double passes = (double)c->H_cycles * (c->L_cycles + 1) * c->L_layers, flops = 0;
    for (int i = 0; i < n; i++)
        flops += passes * item[i].times * item[i].flops;
    out->steps_per_s = out->steps_per_cpu_s = 0;
    for (int i = 0; i < threads; i++) {
        out->steps_per_s += 1 / (passes * b->taken[i]);
        out->steps_per_cpu_s += 1 / (passes * b->worked[i] * threads);
    }
    out->flops_per_s = out->steps_per_s * flops;
    return TRM_OK;
}

/* Of a step of one puzzle. */
static double step_flops(const trm_config *c) {
    double s = trm_plan_length(c, trm_config_positions(c)), d = c->hidden_size;
    double mix = c->mlp_t ? 6 * s * d * trm_config_inner_t(c)
                          : 2 * s * d * (trm_config_mix_in(c) + trm_config_mix_out(c));
    if (trm_config_dense(c))
        mix += 4 * s * s * d;
    return (double)c->H_cycles * (c->L_cycles + 1) * c->L_layers *
           (mix + 6 * s * d * trm_config_inner(c));
}

static int device_products(trm_product_rate *out, const trm_device_lib *lib, const trm_model *m,
    const char *backend, int batch, double seconds, trm_error *err) {
    trm_device *d;
    trm_device_options o = trm_device_options_of(m, backend, batch);
    int r = lib->open(&d, &o, err);
    if (r)
        return r;
    r = lib->products(d, lib->slots(d), seconds, &out->steps_per_s, err);
    out->flops_per_s = out->steps_per_s * step_flops(&m->config);
    out->steps_per_cpu_s = 0;
    lib->close(d);
    return r;
}

int trm_bench_products(trm_product_rate *out, const trm_model *m, const char *backend, int threads,
    int batch, double seconds, trm_error *err) {
    const trm_device_lib *device = trm_device_find(backend);
    if (device)
        return device_products(out, device, m, backend, batch, seconds, err);
    const trm_mm_lib *lib;
    trm_team *team = NULL;
    trm_net *net = NULL;
    if (threads < 1)
        return trm_fail(err, TRM_E_ARG, "a benchmark needs at least one thread");
    int r = trm_backend_find(&lib, backend, err);
    if (!r)
        r = trm_team_new(&team, threads, lib->enter_thread, err);
    if (!r)
        r = trm_net_new(&net, &m->config, &m->layout, m->w, lib, false, err);
    size_t n = (size_t)threads;
    struct bench b = {.net = net,
        .work = calloc(n, sizeof *b.work),
        .plan = calloc(n, sizeof *b.plan),
        .seconds = seconds,
        .taken = calloc(n, sizeof *b.taken),
        .worked = calloc(n, sizeof *b.worked)};
    if (!r && (!b.work || !b.plan || !b.taken || !b.worked))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for a benchmark");
    if (!r)
        r = measure(&b, team, batch, out, err);
    for (size_t i = 0; b.work && i < n; i++)
        trm_work_free(b.work[i]);
    free(b.work);
    free(b.plan);
    free(b.taken);
    free(b.worked);
    trm_net_free(net);
    trm_team_free(team);
    return r;
}

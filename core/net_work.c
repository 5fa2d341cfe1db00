/* Buffers of a thread, tapes, and plans (the prepared products of one sequence length).
 * Each is owned by the thread that uses it. */
#include <stdlib.h>
#include <string.h>

#include "net.h"

/* Carves aligned pieces from one block: first a dry run to learn its size, then for real. */
struct carver {
    char *base;
    size_t used;
};

static void *carve(struct carver *c, size_t elements, size_t size) {
    void *at = c->base ? c->base + c->used : NULL;
    c->used += (elements * size + 63) / 64 * 64;
    return at;
}

/* Long sequences read the weights seldom enough by themselves. */
enum { GROUP_POSITIONS = 128 };

/* Twos, and fours where a layer's weights do not stay in a processor's own cache between two
 * products. */
static int largest_group(const trm_config *c, int s) {
    enum { WIDE = 1 << 17 };
    return s > GROUP_POSITIONS ? 1 : c->hidden_size * trm_config_inner(c) < WIDE ? 2 : TRM_GROUP;
}

int trm_group_size(const trm_config *c, int s, int n, int team) {
    int size = largest_group(c, s);
    return size > 2 && n < size * team ? 2 : size;
}

/* Of all sequences that pass together, short ones in a group. */
static int most_rows(const trm_work *w) {
    int s = w->max_s < GROUP_POSITIONS ? w->max_s : GROUP_POSITIONS;
    int rows = s * largest_group(w->net->c, s);
    return rows > w->max_s ? rows : w->max_s;
}

static void carve_work(trm_work *w, struct carver *k) {
    const trm_config *c = w->net->c;
    size_t s = (size_t)most_rows(w), d = (size_t)c->hidden_size, act = w->net->rows->act_size;
    size_t in = (size_t)trm_config_inner(c), ld = (s + 15) / 16 * 16, big = s > d ? s : d;
    bool full = trm_config_dense(c), train = w->net->train;
    w->o = carve(k, s * d, 4);
    w->inv = carve(k, big, 4);
    w->tmp = carve(k, 2 * big, 4);
    w->xa = carve(k, s * d, act);
    w->xa1 = carve(k, s * d, act);
    w->gu = carve(k, 2 * s * in / (size_t)w->net->parts, act);
    w->h = carve(k, s * in, act);
    if (train && w->net->rows->outer) {
        int most = trm_config_inner(c), mixed = c->mlp_t ? 0 : trm_config_mix_out(c);
        most = most > c->hidden_size ? most : c->hidden_size;
        w->panels = carve(k, w->net->rows->outer_space(most > mixed ? most : mixed), 1);
    }
    if (c->mlp_t) {
        size_t in_t = (size_t)trm_config_inner_t(c);
        w->gu_t = carve(k, 2 * in_t * d, act);
        w->h_t = carve(k, in_t * d, act);
        return;
    }
    if (w->net->layer[0].candidates)
        w->space = carve(k, w->net->rows->candidates_space(c->hidden_size, trm_config_inner(c)), 1);
    w->qkv = carve(k, s * (size_t)trm_config_mix_in(c), act);
    w->att = carve(k, s * (size_t)trm_config_mix_out(c), act);
    if (c->pos_encodings == TRM_POS_SHIFTS)
        w->mix = carve(k, s * (size_t)trm_config_mix_out(c), act);
    if (trm_config_beside(c)) {
        w->mix = carve(k, s * (size_t)trm_config_beside(c), act);
        w->mixed = carve(k, s * (size_t)trm_config_beside(c), act);
        w->mix_gu = carve(k, s * 2 * (size_t)trm_config_beside(c), act);
    }
    if (full) {
        w->scores = carve(k, TRM_QUERY_BLOCK * ld, 4);
        w->p = carve(k, TRM_QUERY_BLOCK * ld, act);
    }
    if (full && train) {
        w->dscores = carve(k, TRM_QUERY_BLOCK * ld, 4);
        w->ds = carve(k, TRM_QUERY_BLOCK * ld, act);
        w->dkv = carve(k, 2 * s * d / (size_t)c->num_heads, 4);
    }
    if (train && c->pos_encodings == TRM_POS_NEIGHBOURS)
        w->dkv = carve(k, 2 * s * d, 4);
}

int trm_work_new(trm_work **out, const trm_net *net, int max_s, trm_error *err) {
    trm_work *w = calloc(1, sizeof *w);
    if (!w)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for working buffers");
    w->net = net;
    w->max_s = max_s;
    struct carver k = {NULL, 0};
    carve_work(w, &k);
    w->block = aligned_alloc(64, k.used);
    if (!w->block) {
        free(w);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %zu bytes of buffers", k.used);
    }
    memset(w->block, 0, k.used);
    w->bytes = k.used;
    k = (struct carver){w->block, 0};
    carve_work(w, &k);
    *out = w;
    return TRM_OK;
}

static void carve_tape(trm_tape *t, const trm_net *net, struct carver *k) {
    const trm_config *c = net->c;
    size_t n = (size_t)t->seqs * (size_t)t->passes, s = (size_t)t->s, d = (size_t)c->hidden_size;
    size_t in = (size_t)trm_config_inner(c), in_t = (size_t)trm_config_inner_t(c);
    size_t act = net->rows->act_size;
    for (int i = 0; i <= c->L_layers; i++) {
        trm_tape_layer *l = &t->layer[i];
        l->xa0 = carve(k, n * s * d, act);
        if (i == c->L_layers)
            return;
        l->xa1 = carve(k, n * s * d, act);
        l->gu = carve(k, n * 2 * s * in, act);
        l->h = carve(k, n * s * in, act);
        l->go = carve(k, n * s * d, act);
        l->gd = carve(k, n * s * d, act);
        l->inv1 = carve(k, n * (c->mlp_t ? d : s), 4);
        l->inv2 = carve(k, n * s, 4);
        if (c->mlp_t) {
            l->gu_t = carve(k, n * 2 * in_t * d, act);
            l->h_t = carve(k, n * in_t * d, act);
        } else {
            l->qkv = carve(k, n * s * (size_t)trm_config_mix_in(c), act);
            l->att = carve(k, n * s * (size_t)trm_config_mix_out(c), act);
            l->dqkv = carve(k, n * s * (size_t)trm_config_mix_in(c), act);
            l->lse = carve(k, n * s * (size_t)c->num_heads, 4);
        }
    }
}

int trm_tape_new(trm_tape **out, const trm_net *net, int seqs, int passes, int s, trm_error *err) {
    trm_tape *t = calloc(1, sizeof *t);
    if (t)
        t->layer = calloc((size_t)net->c->L_layers + 1, sizeof *t->layer);
    if (!t || !t->layer) {
        free(t);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a tape");
    }
    t->seqs = seqs;
    t->passes = passes;
    t->s = s;
    struct carver k = {NULL, 0};
    carve_tape(t, net, &k);
    t->block = aligned_alloc(64, k.used);
    if (!t->block) {
        trm_tape_free(t);
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %zu bytes of tape", k.used);
    }
    t->bytes = k.used;
    k = (struct carver){t->block, 0};
    carve_tape(t, net, &k);
    *out = t;
    return TRM_OK;
}

void trm_tape_free(trm_tape *t) {
    if (!t)
        return;
    free(t->block);
    free(t->layer);
    free(t);
}

/* Collects the first error of a row of makes. */
struct maker {
    const trm_net *net;
    trm_error *err;
    int r;
};

static void make(struct maker *k, trm_mm **out, trm_mm_desc d) {
    if (!k->r)
        k->r = k->net->mm->make(out, &d, k->err);
}

/* Products whose left side has a row a position; at: the group's place. */
static void plan_rows(struct maker *k, trm_plan *p, int at, int rows) {
    const trm_config *c = k->net->c;
    trm_net_layer *l = &k->net->layer[0];
    int d = c->hidden_size, in = trm_config_inner(c), part = in / k->net->parts;
    int wide = trm_config_mix_in(c), mixed = trm_config_mix_out(c);
    if (!c->mlp_t) {
        make(k, &p->mix_in[at],
            (trm_mm_desc){.m = rows,
                .n = wide,
                .k = d,
                .lda = d,
                .ldc = wide,
                .c_act = true,
                .pack = &l->qkv});
        make(k, &p->mix_out[at],
            (trm_mm_desc){.m = rows, .n = d, .k = mixed, .lda = mixed, .ldc = d, .pack = &l->o});
    }
    make(k, &p->gate_up[at],
        (trm_mm_desc){.m = rows,
            .n = 2 * part,
            .k = d,
            .lda = d,
            .ldc = 2 * part,
            .c_act = true,
            .pack = &l->gate_up[0]});
    make(k, &p->down[at],
        (trm_mm_desc){.m = rows, .n = d, .k = in, .lda = in, .ldc = d, .pack = &l->down});
}

static void plan_forward(struct maker *k, trm_plan *p) {
    const trm_config *c = k->net->c;
    int s = p->s, d = c->hidden_size, in_t = trm_config_inner_t(c);
    if (c->mlp_t) {
        make(k, &p->mix_in[0],
            (trm_mm_desc){
                .m = 2 * in_t, .n = d, .k = s, .lda = s, .ldb = d, .ldc = d, .c_act = true});
        make(k, &p->mix_out[0],
            (trm_mm_desc){.m = s, .n = d, .k = in_t, .lda = in_t, .ldb = d, .ldc = d});
    }
    p->group = p->seqs ? 1 : largest_group(c, s);
    for (int n = 1; n <= p->group; n *= 2)
        plan_rows(k, p, trm_group_at(n), n * s);
}

/* Query blocks: index 0 full, 1 the rest; a size that does not occur is not made. */
static void plan_attention(struct maker *k, trm_plan *p) {
    const trm_config *c = k->net->c;
    int s = p->s, d = c->hidden_size, hd = d / c->num_heads, ld = (s + 15) / 16 * 16;
    int wide = trm_config_mix_in(c), mixed = trm_config_mix_out(c);
    int size[2] = {s >= TRM_QUERY_BLOCK ? TRM_QUERY_BLOCK : 0, s % TRM_QUERY_BLOCK};
    for (int i = 0; i < 2; i++) {
        int m = size[i];
        if (!m)
            continue;
        make(k, &p->qk[i],
            (trm_mm_desc){
                .m = m, .n = s, .k = hd, .lda = wide, .ldb = wide, .tb = true, .ldc = ld});
        make(k, &p->pv[i],
            (trm_mm_desc){
                .m = m, .n = hd, .k = s, .lda = ld, .ldb = wide, .ldc = mixed, .c_act = true});
        if (!p->seqs)
            continue;
        make(k, &p->dv[i],
            (trm_mm_desc){.m = s,
                .n = hd,
                .k = m,
                .lda = ld,
                .ta = true,
                .ldb = mixed,
                .ldc = hd,
                .add = true});
        make(k, &p->dp[i],
            (trm_mm_desc){
                .m = m, .n = s, .k = hd, .lda = mixed, .ldb = wide, .tb = true, .ldc = ld});
        make(k, &p->dq[i],
            (trm_mm_desc){
                .m = m, .n = hd, .k = s, .lda = ld, .ldb = wide, .ldc = wide, .c_act = true});
        make(k, &p->dk[i],
            (trm_mm_desc){.m = s,
                .n = hd,
                .k = m,
                .lda = ld,
                .ta = true,
                .ldb = wide,
                .ldc = hd,
                .add = true});
    }
}

/* Adds to the gradient (m, n) of a weight; rows->outer does it where it can. */
static void make_outer(struct maker *k, trm_mm **out, int m, int n, int rows) {
    if (k->net->rows->outer && m % 16 == 0 && n % 32 == 0)
        return;
    make(k, out,
        (trm_mm_desc){
            .m = m, .n = n, .k = rows, .lda = m, .ta = true, .ldb = n, .ldc = n, .add = true});
}

static void plan_backward(struct maker *k, trm_plan *p, int passes) {
    const trm_config *c = k->net->c;
    trm_net_layer *l = &k->net->layer[0];
    int s = p->s, d = c->hidden_size, in = trm_config_inner(c), in_t = trm_config_inner_t(c);
    int rows = p->seqs * passes * s, wide = trm_config_mix_in(c), mixed = trm_config_mix_out(c);
    make(k, &p->d_down,
        (trm_mm_desc){
            .m = s, .n = in, .k = d, .lda = d, .ldc = in, .c_act = true, .pack = &l->down_b});
    make(k, &p->d_gate_up,
        (trm_mm_desc){.m = s,
            .n = d,
            .k = 2 * in,
            .lda = 2 * in,
            .ldc = d,
            .add = true,
            .pack = &l->gate_up_b});
    make_outer(k, &p->w_down, d, in, rows);
    make_outer(k, &p->w_gate_up, 2 * in, d, rows);
    if (c->mlp_t) {
        make(k, &p->d_mix_out,
            (trm_mm_desc){.m = in_t,
                .n = d,
                .k = s,
                .lda = in_t,
                .ta = true,
                .ldb = d,
                .ldc = d,
                .c_act = true});
        make(k, &p->d_mix_in,
            (trm_mm_desc){.m = s,
                .n = d,
                .k = 2 * in_t,
                .lda = s,
                .ta = true,
                .ldb = d,
                .ldc = d,
                .add = true});
        make(k, &p->w_mix_out,
            (trm_mm_desc){.m = s,
                .n = in_t,
                .k = d,
                .lda = d,
                .ldb = d,
                .tb = true,
                .ldc = in_t,
                .add = true});
        make(k, &p->w_mix_in,
            (trm_mm_desc){.m = 2 * in_t,
                .n = s,
                .k = d,
                .lda = d,
                .ldb = d,
                .tb = true,
                .ldc = s,
                .add = true});
        return;
    }
    make(k, &p->d_mix_out,
        (trm_mm_desc){
            .m = s, .n = mixed, .k = d, .lda = d, .ldc = mixed, .c_act = true, .pack = &l->o_b});
    make(k, &p->d_mix_in,
        (trm_mm_desc){
            .m = s, .n = d, .k = wide, .lda = wide, .ldc = d, .add = true, .pack = &l->qkv_b});
    make_outer(k, &p->w_mix_out, d, mixed, rows);
    make_outer(k, &p->w_mix_in, wide, d, rows);
}

static void plan_free(const trm_mm_lib *lib, trm_plan *p) {
    trm_mm *all[] = {p->qk[0], p->qk[1], p->pv[0], p->pv[1], p->d_mix_in, p->d_mix_out,
        p->d_gate_up, p->d_down, p->w_mix_in, p->w_mix_out, p->w_gate_up, p->w_down, p->dv[0],
        p->dv[1], p->dp[0], p->dp[1], p->dq[0], p->dq[1], p->dk[0], p->dk[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            lib->free(all[i]);
    for (int i = 0; i < TRM_GROUPS; i++) {
        trm_mm *rows[] = {p->mix_in[i], p->mix_out[i], p->gate_up[i], p->down[i]};
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            if (rows[k])
                lib->free(rows[k]);
    }
    free(p);
}

int trm_plan_length(const trm_config *c, int s) {
    int step = !c->packed ? 1 : s <= 256 ? 16 : 32;
    return (s + step - 1) / step * step;
}

int trm_work_plan(trm_plan **out, trm_work *w, int s, int seqs, trm_error *err) {
    for (trm_plan *p = w->plans; p; p = p->next)
        if (p->s == s && p->seqs == seqs) {
            *out = p;
            return TRM_OK;
        }
    trm_plan *p = calloc(1, sizeof *p);
    if (!p)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a plan");
    p->s = s;
    p->seqs = seqs;
    struct maker k = {w->net, err, TRM_OK};
    plan_forward(&k, p);
    if (trm_config_dense(w->net->c))
        plan_attention(&k, p);
    if (seqs)
        plan_backward(&k, p, w->net->c->L_cycles + 1);
    if (k.r) {
        plan_free(w->net->mm, p);
        return k.r;
    }
    p->next = w->plans;
    w->plans = p;
    *out = p;
    return TRM_OK;
}

void trm_work_free(trm_work *w) {
    if (!w)
        return;
    while (w->plans) {
        trm_plan *p = w->plans;
        w->plans = p->next;
        plan_free(w->net->mm, p);
    }
    free(w->block);
    free(w);
}

/* One pass of the network, forward and backward, and attention in blocks of queries. Works
 * on the calling thread's trm_work alone. */
#include <math.h>
#include <string.h>

#include "net.h"

/* Where a pass puts what it computes: the tape, or the work buffers. */
struct place {
    void *xa0, *qkv, *att, *xa1, *gu, *h, *gu_t, *h_t, *xa2;
    float *inv1, *inv2, *lse;
};

static void *nth(void *base, size_t elements, int at, size_t size) {
    return base ? (char *)base + elements * (size_t)at * size : NULL;
}

static struct place place_of(const trm_work *w, const trm_plan *plan, trm_tape *t, int l, int at) {
    if (!t)
        return (struct place){w->xa, w->qkv, w->att, w->xa1, w->gu, w->h, w->gu_t, w->h_t, w->xa,
            w->inv, w->inv, NULL};
    const trm_config *c = w->net->c;
    const trm_tape_layer *tl = &t->layer[l];
    size_t s = (size_t)plan->s, d = (size_t)c->hidden_size, a = w->net->rows->act_size;
    size_t in = (size_t)trm_config_inner(c), in_t = (size_t)trm_config_inner_t(c);
    size_t n1 = c->mlp_t ? d : s;
    size_t wide = (size_t)trm_config_mix_in(c), mixed = (size_t)trm_config_mix_out(c);
    return (struct place){
        nth(tl->xa0, s * d, at, a),
        nth(tl->qkv, s * wide, at, a),
        nth(tl->att, s * mixed, at, a),
        nth(tl->xa1, s * d, at, a),
        nth(tl->gu, 2 * s * in, at, a),
        nth(tl->h, s * in, at, a),
        nth(tl->gu_t, 2 * in_t * d, at, a),
        nth(tl->h_t, in_t * d, at, a),
        nth(t->layer[l + 1].xa0, s * d, at, a),
        nth(tl->inv1, n1, at, sizeof(float)),
        nth(tl->inv2, s, at, sizeof(float)),
        nth(tl->lse, s * (size_t)c->num_heads, at, sizeof(float)),
    };
}

static void rotate(const trm_work *w, void *qkv, int s, const float *rope, float sign) {
    const trm_config *c = w->net->c;
    int hd = c->hidden_size / c->num_heads;
    int block = trm_config_rope2d(c) ? hd / 2 : hd;
    w->net->rows->rope(qkv, s, trm_config_mix_in(c), 2 * c->num_heads, hd, block, rope, sign);
}

/* The sequences of one pass: one with a tape, or several without. */
struct party {
    float *const *x;
    const trm_seq *seq;
    int n;
};

/* x = rmsnorm(x + o) for each of them. */
static void add_norm(trm_work *w, int s, const struct party *all, void *xa, float *inv) {
    int d = w->net->c->hidden_size;
    size_t sd = (size_t)s * (size_t)d;
    for (int i = 0; i < all->n; i++)
        w->net->rows->norm(all->x[i], nth(xa, sd, i, w->net->rows->act_size), inv,
            w->o + (ptrdiff_t)i * (ptrdiff_t)sd, s, d, (float)w->net->c->rms_norm_eps);
}

static void mix_attention(trm_work *w, const trm_plan *plan, const trm_net_layer *l,
    const struct party *all, const struct place *p) {
    const trm_net *net = w->net;
    size_t s = (size_t)plan->s, act = net->rows->act_size;
    net->mm->run(plan->mix_in[trm_group_at(all->n)], p->xa0, &l->qkv, p->qkv);
    for (int i = 0; i < all->n; i++) {
        void *qkv = nth(p->qkv, s * (size_t)trm_config_mix_in(net->c), i, act);
        void *att = nth(p->att, s * (size_t)trm_config_mix_out(net->c), i, act);
        if (all->seq[i].rope)
            rotate(w, qkv, plan->s, all->seq[i].rope, 1);
        trm_attention(w, plan, &all->seq[i], att, qkv, p->lse);
    }
    net->mm->run(plan->mix_out[trm_group_at(all->n)], p->att, &l->o, w->o);
    add_norm(w, plan->s, all, p->xa1, p->inv1);
}

/* Token mixing reads its weights as the left matrix, so that nothing is transposed. */
static void mix_mlp(trm_work *w, const trm_plan *plan, const trm_net_layer *l,
    const struct party *all, const struct place *p) {
    const trm_net *net = w->net;
    int d = net->c->hidden_size;
    size_t sd = (size_t)plan->s * (size_t)d, act = net->rows->act_size;
    for (int i = 0; i < all->n; i++) {
        net->mm->run(plan->mix_in[0], l->gate_up_t, nth(p->xa0, sd, i, act), p->gu_t);
        int n = trm_config_inner_t(net->c) * d;
        net->rows->swiglu(p->h_t, n, p->gu_t, 1, n);
        net->mm->run(plan->mix_out[0], l->down_t, p->h_t, w->o);
        net->rows->norm_t(all->x[i], nth(p->xa1, sd, i, act), p->inv1, w->o, plan->s, d,
            (float)net->c->rms_norm_eps);
    }
}

/* In parts of the inner channels, so that what a product leaves is still in the processor's own
 * cache for the SwiGLU. */
static void gate(
    const trm_work *w, const trm_plan *plan, const trm_net_layer *l, int n, const struct place *p) {
    const trm_net *net = w->net;
    int inner = trm_config_inner(net->c), part = inner / net->parts;
    for (int i = 0; i < net->parts; i++) {
        net->mm->run(plan->gate_up[trm_group_at(n)], p->xa1, &l->gate_up[i], p->gu);
        net->rows->swiglu(
            nth(p->h, (size_t)part, i, net->rows->act_size), inner, p->gu, n * plan->s, part);
    }
}

/* The same places for the kernel that takes a layer of candidates whole. */
static trm_candidate_tape whole_layer(const trm_work *w, const trm_plan *plan, trm_tape *tape,
    int layer, int at, const struct place *p) {
    if (!tape)
        return (trm_candidate_tape){.xa0 = w->xa, .xa1 = w->xa, .xa2 = w->xa};
    const trm_tape_layer *tl = &tape->layer[layer];
    size_t act = w->net->rows->act_size, s = (size_t)plan->s;
    size_t sd = s * (size_t)w->net->c->hidden_size, wide = (size_t)trm_config_mix_in(w->net->c);
    return (trm_candidate_tape){.xa0 = p->xa0,
        .xa1 = p->xa1,
        .xa2 = p->xa2,
        .att = p->att,
        .inv1 = p->inv1,
        .inv2 = p->inv2,
        .go = nth(tl->go, sd, at, act),
        .gd = nth(tl->gd, sd, at, act),
        .dqkv = nth(tl->dqkv, s * wide, at, act),
        .dgu = p->gu,
        .h = p->h};
}

static void pass(
    trm_work *w, const trm_plan *plan, const struct party *all, trm_tape *tape, int at) {
    const trm_net *net = w->net;
    for (int i = 0; i < net->c->L_layers; i++) {
        const trm_net_layer *l = &net->layer[i];
        struct place p = place_of(w, plan, tape, i, at);
        if (l->candidates) {
            const trm_candidate_tape t = whole_layer(w, plan, tape, i, at, &p);
            net->rows->candidates(all->x[0], &t, l->candidates, w->space, net->c->hidden_size,
                trm_config_inner(net->c), (float)net->c->rms_norm_eps);
            continue;
        }
        if (net->c->mlp_t)
            mix_mlp(w, plan, l, all, &p);
        else
            mix_attention(w, plan, l, all, &p);
        gate(w, plan, l, all->n, &p);
        net->mm->run(plan->down[trm_group_at(all->n)], p.h, &l->down, w->o);
        add_norm(w, plan->s, all, p.xa2, p.inv2);
    }
}

void trm_net_pass(
    trm_work *w, const trm_plan *plan, float *x, const trm_seq *seq, trm_tape *tape, int at) {
    void *first = tape ? place_of(w, plan, tape, 0, at).xa0 : NULL;
    if (first)
        memcpy(first, w->xa,
            (size_t)plan->s * (size_t)w->net->c->hidden_size * w->net->rows->act_size);
    pass(w, plan, &(struct party){&x, seq, 1}, tape, at);
}

void trm_net_pass_group(
    trm_work *w, const trm_plan *plan, float *const x[], const trm_seq seq[], int n) {
    pass(w, plan, &(struct party){x, seq, n}, NULL, 0);
}

static void mix_attention_back(trm_work *w, const trm_plan *plan, const trm_net_layer *l, float *g,
    const trm_seq *seq, const struct place *p, void *dqkv, void *go) {
    const trm_net *net = w->net;
    net->rows->norm_back(g, go, p->xa1, p->inv1, plan->s, net->c->hidden_size);
    net->mm->run(plan->d_mix_out, go, &l->o_b, w->att);
    trm_attention_back(w, plan, seq, dqkv, w->att, p->qkv, p->att, p->lse);
    if (seq->rope)
        rotate(w, dqkv, plan->s, seq->rope, -1);
    net->mm->run(plan->d_mix_in, dqkv, &l->qkv_b, g);
}

static void mix_mlp_back(trm_work *w, const trm_plan *plan, int layer, float *g,
    const struct place *p, void *go, float *dw) {
    const trm_net *net = w->net;
    const trm_net_layer *l = &net->layer[layer];
    int d = net->c->hidden_size;
    net->rows->norm_t_back(g, go, p->xa1, p->inv1, plan->s, d, w->tmp);
    net->mm->run(plan->d_mix_out, l->down_t, go, w->h_t);
    net->mm->run(plan->w_mix_out, go, p->h_t,
        dw + trm_layout_find(net->layout, TRM_W_DOWN_T, layer)->offset);
    net->rows->swiglu_back(p->gu_t, w->h_t, 1, trm_config_inner_t(net->c) * d);
    net->mm->run(plan->w_mix_in, p->gu_t, p->xa0,
        dw + trm_layout_find(net->layout, TRM_W_GATE_UP_T, layer)->offset);
    net->mm->run(plan->d_mix_in, l->gate_up_t, p->gu_t, g);
}

void trm_net_pass_back(trm_work *w, const trm_plan *plan, float *g, const trm_seq *seq,
    trm_tape *tape, int at, float *dw) {
    const trm_net *net = w->net;
    int d = net->c->hidden_size, inner = trm_config_inner(net->c);
    size_t act = net->rows->act_size, sd = (size_t)plan->s * (size_t)d;
    size_t wide = (size_t)trm_config_mix_in(net->c);
    for (int i = net->c->L_layers - 1; i >= 0; i--) {
        const trm_net_layer *l = &net->layer[i];
        trm_tape_layer *tl = &tape->layer[i];
        struct place p = place_of(w, plan, tape, i, at);
        if (l->candidates) {
            const trm_candidate_tape t = whole_layer(w, plan, tape, i, at, &p);
            net->rows->candidates_back(g, &t, l->candidates, w->space, d, inner);
            continue;
        }
        void *gd = nth(tl->gd, sd, at, act), *go = nth(tl->go, sd, at, act);
        net->rows->norm_back(g, gd, p.xa2, p.inv2, plan->s, d);
        net->mm->run(plan->d_down, gd, &l->down_b, w->h);
        net->rows->swiglu_back(p.gu, w->h, plan->s, inner);
        net->mm->run(plan->d_gate_up, p.gu, &l->gate_up_b, g);
        if (net->c->mlp_t)
            mix_mlp_back(w, plan, i, g, &p, go, dw);
        else
            mix_attention_back(
                w, plan, l, g, seq, &p, nth(tl->dqkv, (size_t)plan->s * wide, at, act), go);
    }
}

/* dW (m, n) += a^T b over all rows of the tape. */
static void add_outer(const trm_work *w, trm_mm *mm, float *dw, const void *a, const void *b, int m,
    int n, int rows) {
    if (mm)
        w->net->mm->run(mm, a, b, dw);
    else
        w->net->rows->outer(dw, a, b, m, n, rows, w->panels);
}

void trm_net_weight_grads(trm_work *w, const trm_plan *plan, trm_tape *tape, float *dw) {
    const trm_net *net = w->net;
    const trm_layout *lay = net->layout;
    int d = net->c->hidden_size, in = trm_config_inner(net->c);
    int rows = plan->seqs * (net->c->L_cycles + 1) * plan->s;
    for (int i = 0; i < net->c->L_layers; i++) {
        trm_tape_layer *t = &tape->layer[i];
        add_outer(w, plan->w_down, dw + trm_layout_find(lay, TRM_W_DOWN, i)->offset, t->gd, t->h, d,
            in, rows);
        add_outer(w, plan->w_gate_up, dw + trm_layout_find(lay, TRM_W_GATE_UP, i)->offset, t->gu,
            t->xa1, 2 * in, d, rows);
        if (net->c->mlp_t)
            continue; /* added pass by pass */
        add_outer(w, plan->w_mix_out, dw + trm_layout_find(lay, TRM_W_O, i)->offset, t->go, t->att,
            d, trm_config_mix_out(net->c), rows);
        add_outer(w, plan->w_mix_in, dw + trm_layout_find(lay, TRM_W_QKV, i)->offset, t->dqkv,
            t->xa0, trm_config_mix_in(net->c), d, rows);
    }
}

/* Stride of the score buffers: whole cache lines. */
static int score_stride(int s) {
    return (s + 15) / 16 * 16;
}

static const void *channel(const void *base, size_t element, size_t act) {
    return (const char *)base + element * act;
}

/* Unit means, shifts, candidates: a SwiGLU whose channels come from other positions. */
static void average(const trm_work *w, void *h, int n) {
    if (trm_config_candidates(w->net->c))
        w->net->rows->candidate_means(h, n);
    else
        w->net->rows->unit_means(h, n);
}

static void mix_gated(trm_work *w, const trm_seq *seq, void *out, const void *gu, int s) {
    const trm_rows *rows = w->net->rows;
    int n = trm_config_mix_out(w->net->c);
    bool shifts = seq->near != NULL;
    rows->swiglu(shifts ? w->mix : out, n, gu, s, n);
    if (shifts)
        rows->shift(out, w->mix, seq->near, s, n, false);
    else
        average(w, out, n);
}

static void mix_gated_back(
    trm_work *w, const trm_seq *seq, void *dgu, void *dout, const void *gu, int s) {
    const trm_rows *rows = w->net->rows;
    int n = trm_config_mix_out(w->net->c);
    bool shifts = seq->near != NULL;
    if (shifts)
        rows->shift(w->mix, dout, seq->near, s, n, true);
    else
        average(w, dout, n);
    if (gu) /* always so on a tape of this kind, which the analyser cannot know */
        memcpy(dgu, gu, (size_t)s * 2 * (size_t)n * rows->act_size);
    rows->swiglu_back(dgu, shifts ? w->mix : dout, s, n);
}

/* n of each row's channels, from one stride to another. */
static void copy_channels(const trm_work *w, void *to, size_t to_at, size_t to_ld, const void *from,
    size_t from_at, size_t from_ld, size_t n, int s) {
    size_t act = w->net->rows->act_size;
    for (size_t r = 0; r < (size_t)s; r++)
        memcpy((char *)to + (r * to_ld + to_at) * act, channel(from, r * from_ld + from_at, act),
            n * act);
}

/* Cells take theirs from their neighbours; the positions before the cells keep their own. */
static void shift_cells(
    const trm_work *w, const trm_seq *seq, void *to, const void *from, int s, bool back) {
    int prefix = w->net->c->puzzle_emb_len, n = trm_config_beside(w->net->c);
    size_t act = w->net->rows->act_size, skip = (size_t)prefix * (size_t)n;
    memcpy(to, from, skip * act);
    w->net->rows->shift(
        (char *)to + skip * act, channel(from, skip, act), seq->near, s - prefix, n, back);
}

/* The channels of a row that are no attention: of qkv the last 2 n, of its output the last n. */
static void shifts_beside(trm_work *w, const trm_seq *seq, void *out, const void *qkv, int s) {
    const trm_config *c = w->net->c;
    size_t n = (size_t)trm_config_beside(c), d = (size_t)c->hidden_size;
    copy_channels(w, w->mix_gu, 0, 2 * n, qkv, 3 * d, 3 * d + 2 * n, 2 * n, s);
    w->net->rows->swiglu(w->mix, (int)n, w->mix_gu, s, (int)n);
    shift_cells(w, seq, w->mixed, w->mix, s, false);
    copy_channels(w, out, d, d + n, w->mixed, 0, n, n, s);
}

static void shifts_beside_back(
    trm_work *w, const trm_seq *seq, void *dqkv, const void *dout, const void *qkv, int s) {
    const trm_config *c = w->net->c;
    size_t n = (size_t)trm_config_beside(c), d = (size_t)c->hidden_size;
    copy_channels(w, w->mixed, 0, n, dout, d, d + n, n, s);
    shift_cells(w, seq, w->mix, w->mixed, s, true);
    copy_channels(w, w->mix_gu, 0, 2 * n, qkv, 3 * d, 3 * d + 2 * n, 2 * n, s);
    w->net->rows->swiglu_back(w->mix_gu, w->mix, s, (int)n);
    copy_channels(w, dqkv, 3 * d, 3 * d + 2 * n, w->mix_gu, 0, 2 * n, 2 * n, s);
}

void trm_attention(
    trm_work *w, const trm_plan *plan, const trm_seq *seq, void *out, const void *qkv, float *lse) {
    const trm_net *net = w->net;
    int heads = net->c->num_heads, s = plan->s, ld = score_stride(s);
    size_t d = (size_t)net->c->hidden_size, hd = d / (size_t)heads, act = net->rows->act_size;
    size_t wide = (size_t)trm_config_mix_in(net->c), row_out = (size_t)trm_config_mix_out(net->c);
    float scale = 1.0f / sqrtf((float)hd);
    if (trm_config_gated(net->c)) {
        mix_gated(w, seq, out, qkv, s);
        return;
    }
    if (net->c->pos_encodings == TRM_POS_UNITS) {
        net->rows->units(out, qkv, heads, (int)hd, scale);
        return;
    }
    if (net->c->pos_encodings == TRM_POS_NEIGHBOURS) {
        net->rows->near(out, qkv, seq->near, s, heads, (int)hd, scale);
        return;
    }
    for (int h = 0; h < heads; h++)
        for (int q0 = 0; q0 < s; q0 += TRM_QUERY_BLOCK) {
            int rows = s - q0 < TRM_QUERY_BLOCK ? s - q0 : TRM_QUERY_BLOCK;
            int tail = rows < TRM_QUERY_BLOCK;
            size_t at = (size_t)h * hd, row = (size_t)q0;
            net->mm->run(plan->qk[tail], channel(qkv, row * wide + at, act),
                channel(qkv, d + at, act), w->scores);
            void *mixed = (char *)out + (row * row_out + at) * act;
            net->rows->softmax(w->p, ld, w->scores, ld, rows, seq->keys, scale, w->tmp,
                lse ? lse + (ptrdiff_t)h * s + q0 : NULL);
            net->mm->run(plan->pv[tail], w->p, channel(qkv, 2 * d + at, act), mixed);
            net->rows->scale_rows(mixed, w->tmp, rows, (int)row_out, (int)hd);
        }
    if (trm_config_beside(net->c))
        shifts_beside(w, seq, out, qkv, s);
}

/* Copies a head's f32 gradient (s, hd) into its channels of dqkv. */
static void store_head(
    const trm_rows *rows, void *dqkv, const float *g, int s, size_t hd, size_t at, size_t ld) {
    for (int r = 0; r < s; r++)
        rows->to_act((char *)dqkv + ((size_t)r * ld + at) * rows->act_size, g + (size_t)r * hd, hd);
}

static void head_back(trm_work *w, const trm_plan *plan, int keys, void *dqkv, const void *dout,
    const void *qkv, const void *att, const float *lse, int h) {
    const trm_net *net = w->net;
    int s = plan->s, ld = score_stride(s);
    size_t d = (size_t)net->c->hidden_size, hd = d / (size_t)net->c->num_heads;
    size_t act = net->rows->act_size, at = (size_t)h * hd;
    size_t wide = (size_t)trm_config_mix_in(net->c), mixed = (size_t)trm_config_mix_out(net->c);
    float scale = 1.0f / sqrtf((float)hd), *dk = w->dkv, *dv = w->dkv + (size_t)s * hd;
    const void *k = channel(qkv, d + at, act), *v = channel(qkv, 2 * d + at, act);
    memset(w->dkv, 0, 2 * (size_t)s * hd * sizeof(float));
    for (int q0 = 0; q0 < s; q0 += TRM_QUERY_BLOCK) {
        int rows = s - q0 < TRM_QUERY_BLOCK ? s - q0 : TRM_QUERY_BLOCK;
        int tail = rows < TRM_QUERY_BLOCK;
        size_t row = (size_t)q0;
        const void *q = channel(qkv, row * wide + at, act);
        const void *go = channel(dout, row * mixed + at, act);
        net->mm->run(plan->qk[tail], q, k, w->scores);
        net->rows->softmax_again(
            w->p, ld, w->scores, ld, rows, keys, scale, lse + (ptrdiff_t)h * s + q0);
        net->mm->run(plan->dv[tail], w->p, go, dv);
        net->mm->run(plan->dp[tail], go, v, w->dscores);
        net->rows->row_dot(
            w->tmp, channel(att, row * mixed + at, act), go, rows, (int)mixed, (int)hd);
        net->rows->softmax_back(w->ds, ld, w->p, w->dscores, ld, rows, keys, scale, w->tmp);
        net->mm->run(plan->dq[tail], w->ds, k, (char *)dqkv + (row * wide + at) * act);
        net->mm->run(plan->dk[tail], w->ds, q, dk);
    }
    store_head(net->rows, dqkv, dk, s, hd, d + at, wide);
    store_head(net->rows, dqkv, dv, s, hd, 2 * d + at, wide);
}

void trm_attention_back(trm_work *w, const trm_plan *plan, const trm_seq *seq, void *dqkv,
    void *dout, const void *qkv, const void *att, const float *lse) {
    const trm_net *net = w->net;
    int heads = net->c->num_heads, hd = net->c->hidden_size / heads;
    float scale = 1.0f / sqrtf((float)hd);
    if (trm_config_gated(net->c)) {
        mix_gated_back(w, seq, dqkv, dout, qkv, plan->s);
        return;
    }
    if (net->c->pos_encodings == TRM_POS_UNITS) {
        net->rows->units_back(dqkv, dout, qkv, heads, hd, scale);
        return;
    }
    if (net->c->pos_encodings == TRM_POS_NEIGHBOURS) {
        net->rows->near_back(dqkv, w->dkv, dout, qkv, seq->near, plan->s, heads, hd, scale);
        return;
    }
    for (int h = 0; h < heads; h++)
        head_back(w, plan, seq->keys, dqkv, dout, qkv, att, lse, h);
    if (trm_config_beside(net->c))
        shifts_beside_back(w, seq, dqkv, dout, qkv, plan->s);
}

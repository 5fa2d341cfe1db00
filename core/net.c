/* The network's weights as a backend holds them, its embedding and its halt head. A net is
 * read-only between refreshes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

const float *trm_net_weight(const trm_net *net, trm_role role, int layer) {
    const trm_param *p = trm_layout_find(net->layout, role, layer);
    return p ? net->w + p->offset : NULL;
}

struct pack_job {
    trm_packed *forward, *backward;
    trm_role role;
};

/* gate_up's forward form is in parts: see pack_gate_up(). */
static int jobs_of(trm_net_layer *l, bool mlp_t, struct pack_job job[4]) {
    struct pack_job all[4] = {{NULL, &l->gate_up_b, TRM_W_GATE_UP},
        {&l->down, &l->down_b, TRM_W_DOWN}, {&l->qkv, &l->qkv_b, TRM_W_QKV},
        {&l->o, &l->o_b, TRM_W_O}};
    memcpy(job, all, sizeof all);
    return mlp_t ? 2 : 4;
}

static int make_candidates(trm_net *net, trm_net_layer *l, trm_error *err) {
    const trm_config *c = net->c;
    if (!trm_config_candidates(c) || !net->mm->rounds || !net->rows->candidates)
        return TRM_OK;
    size_t n = net->rows->candidates_bytes(c->hidden_size, trm_config_inner(c), net->train);
    if (!n)
        return TRM_OK;
    l->candidates = aligned_alloc(64, (n + 63) / 64 * 64);
    net->bytes += n;
    return l->candidates ? TRM_OK
                         : trm_fail(err, TRM_E_NOMEM, "out of memory for a layer's weights");
}

static void pack_candidates(const trm_net *net, const trm_net_layer *l, int i) {
    static const trm_role role[TRM_CANDIDATE_WEIGHTS] = {
        TRM_W_QKV, TRM_W_O, TRM_W_GATE_UP, TRM_W_DOWN};
    const float *w[TRM_CANDIDATE_WEIGHTS];
    for (int k = 0; k < TRM_CANDIDATE_WEIGHTS; k++)
        w[k] = trm_net_weight(net, role[k], i);
    net->rows->candidates_pack(
        l->candidates, w, net->c->hidden_size, trm_config_inner(net->c), net->train);
}

static int make_gate_up(trm_net *net, trm_net_layer *l, trm_error *err) {
    int r = TRM_OK, rows = 2 * trm_config_inner(net->c) / net->parts;
    l->gate_up = calloc((size_t)net->parts, sizeof *l->gate_up);
    if (!l->gate_up)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a layer's weights");
    for (int k = 0; k < net->parts && !r; k++) {
        r = net->mm->pack_make(&l->gate_up[k], net->c->hidden_size, rows, err);
        net->bytes += l->gate_up[k].bytes;
    }
    return r;
}

/* Each part has its rows of the gate, then those of up. */
static int pack_gate_up(const trm_net *net, trm_net_layer *l, int layer, trm_error *err) {
    const float *w = trm_net_weight(net, TRM_W_GATE_UP, layer);
    int d = net->c->hidden_size, inner = trm_config_inner(net->c), r = TRM_OK;
    if (net->parts == 1)
        return net->mm->pack(l->gate_up, w, d, true, err);
    size_t n = (size_t)inner / (size_t)net->parts * (size_t)d;
    float *part = malloc(2 * n * sizeof *part);
    if (!part)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for packed weights");
    for (int k = 0; k < net->parts && !r; k++, w += n) {
        memcpy(part, w, n * sizeof *part);
        memcpy(part + n, w + (ptrdiff_t)inner * d, n * sizeof *part);
        r = net->mm->pack(&l->gate_up[k], part, d, true, err);
    }
    free(part);
    return r;
}

static int make_layer(trm_net *net, int i, trm_error *err) {
    struct pack_job job[4];
    trm_net_layer *l = &net->layer[i];
    int n = jobs_of(l, net->c->mlp_t, job), r = make_gate_up(net, l, err);
    for (int k = 0; k < n && !r; k++) {
        const trm_param *p = trm_layout_find(net->layout, job[k].role, i);
        if (job[k].forward) {
            r = net->mm->pack_make(job[k].forward, p->cols, p->rows, err);
            net->bytes += job[k].forward->bytes;
        }
        if (!r && net->train)
            r = net->mm->pack_make(job[k].backward, p->rows, p->cols, err);
    }
    if (!r)
        r = make_candidates(net, l, err);
    if (r || !net->c->mlp_t)
        return r;
    const trm_param *g = trm_layout_find(net->layout, TRM_W_GATE_UP_T, i);
    const trm_param *d = trm_layout_find(net->layout, TRM_W_DOWN_T, i);
    size_t ng = (size_t)g->rows * (size_t)g->cols, nd = (size_t)d->rows * (size_t)d->cols;
    l->gate_up_t = malloc(ng * net->rows->act_size);
    l->down_t = malloc(nd * net->rows->act_size);
    net->bytes += (ng + nd) * net->rows->act_size;
    if (!l->gate_up_t || !l->down_t)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a layer's weights");
    return TRM_OK;
}

int trm_net_refresh(trm_net *net, int first, int last, trm_error *err) {
    for (int i = first; i < last; i++) {
        struct pack_job job[4];
        trm_net_layer *l = &net->layer[i];
        int n = jobs_of(l, net->c->mlp_t, job), r = pack_gate_up(net, l, i, err);
        for (int k = 0; k < n && !r; k++) {
            const trm_param *p = trm_layout_find(net->layout, job[k].role, i);
            const float *w = net->w + p->offset;
            if (job[k].forward)
                r = net->mm->pack(job[k].forward, w, p->cols, true, err);
            if (!r && net->train)
                r = net->mm->pack(job[k].backward, w, p->cols, false, err);
        }
        if (r)
            return r;
        if (l->candidates)
            pack_candidates(net, l, i);
        if (net->c->mlp_t) {
            const trm_param *g = trm_layout_find(net->layout, TRM_W_GATE_UP_T, i);
            const trm_param *d = trm_layout_find(net->layout, TRM_W_DOWN_T, i);
            net->rows->to_act(l->gate_up_t, net->w + g->offset, (size_t)g->rows * (size_t)g->cols);
            net->rows->to_act(l->down_t, net->w + d->offset, (size_t)d->rows * (size_t)d->cols);
        }
    }
    return TRM_OK;
}

/* Products of 512 columns are as fast as wider ones. */
static int parts_of(const trm_config *c, const trm_mm_lib *mm, bool train) {
    enum { PART = 256 };
    int inner = trm_config_inner(c);
    return train || !mm->copies || inner % PART ? 1 : inner / PART;
}

int trm_net_new(trm_net **out, const trm_config *c, const trm_layout *layout, const float *w,
    const trm_mm_lib *mm, bool train, trm_error *err) {
    trm_net *net = calloc(1, sizeof *net);
    if (!net)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a network");
    net->c = c;
    net->layout = layout;
    net->w = w;
    net->mm = mm;
    net->rows = trm_rows_get(mm->bf16);
    net->train = train;
    net->parts = parts_of(c, mm, train);
    mm->enter_thread();
    net->layer = calloc((size_t)c->L_layers, sizeof *net->layer);
    int r = net->layer ? TRM_OK : trm_fail(err, TRM_E_NOMEM, "out of memory for a network");
    for (int i = 0; i < c->L_layers && !r; i++)
        r = make_layer(net, i, err);
    if (!r)
        r = trm_net_refresh(net, 0, c->L_layers, err);
    if (r) {
        trm_net_free(net);
        return r;
    }
    *out = net;
    return TRM_OK;
}

void trm_net_free(trm_net *net) {
    if (!net)
        return;
    for (int i = 0; net->layer && i < net->c->L_layers; i++) {
        struct pack_job job[4];
        int n = jobs_of(&net->layer[i], net->c->mlp_t, job);
        for (int k = 0; k < n; k++) {
            if (job[k].forward)
                net->mm->pack_free(job[k].forward);
            net->mm->pack_free(job[k].backward);
        }
        for (int k = 0; net->layer[i].gate_up && k < net->parts; k++)
            net->mm->pack_free(&net->layer[i].gate_up[k]);
        free(net->layer[i].gate_up);
        free(net->layer[i].gate_up_t);
        free(net->layer[i].down_t);
        free(net->layer[i].candidates);
    }
    free(net->layer);
    free(net);
}

bool trm_config_rotates(const trm_config *c) {
    return !c->mlp_t && (c->pos_encodings == TRM_POS_ROPE || trm_config_rope2d(c));
}

/* RotaryEmbedding of the official code: angle = position / theta^(2i/dim), here over the
 * whole head (rope) or over each half of it by row and by column (rope2d). */
void trm_rope_table(
    float *out, const trm_config *c, int cells, const uint8_t *row, const uint8_t *col) {
    int hd = c->hidden_size / c->num_heads, prefix = c->puzzle_emb_len;
    int width = (int)lround(sqrt(c->seq_len));
    bool two = trm_config_rope2d(c);
    int dim = two ? hd / 2 : hd;
    for (int s = 0; s < prefix + cells; s++) {
        float *cs = out + (ptrdiff_t)s * hd;
        int cell = s - prefix;
        for (int i = 0; i < hd / 2; i++) {
            double pos = s;
            if (two && cell < 0)
                pos = 0;
            else if (two && i < dim / 2)
                pos = row ? row[cell] : cell / width;
            else if (two)
                pos = col ? col[cell] : cell % width;
            double angle = pos / pow(c->rope_theta, 2.0 * (i % (dim / 2)) / dim);
            cs[i] = (float)cos(angle);
            cs[hd / 2 + i] = (float)sin(angle);
        }
    }
}

bool trm_config_places(const trm_config *c) {
    return trm_config_rope2d(c) || trm_config_near(c);
}

bool trm_config_near(const trm_config *c) {
    return c->pos_encodings == TRM_POS_NEIGHBOURS || c->pos_encodings == TRM_POS_SHIFTS ||
           trm_config_beside(c);
}

bool trm_config_dense(const trm_config *c) {
    return !c->mlp_t && c->pos_encodings != TRM_POS_UNITS && !trm_config_gated(c) &&
           c->pos_encodings != TRM_POS_NEIGHBOURS;
}

void trm_near_table(
    int32_t *out, const trm_config *c, int s, int cells, const uint8_t *row, const uint8_t *col) {
    static const int dr[4] = {1, 0, 0, -1}, dc[4] = {0, -1, 1, 0};
    int width = (int)lround(sqrt(c->seq_len));
    int16_t at[258][258]; /* cell + 1 at each place, with a border of zeros */
    memset(at, 0, sizeof at);
    for (int i = 0; i < cells; i++)
        at[(row ? row[i] : i / width) + 1][(col ? col[i] : i % width) + 1] = (int16_t)(i + 1);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < s; i++) {
            int r = (row ? row[i < cells ? i : 0] : i / width) + 1 + dr[k];
            int x = (col ? col[i < cells ? i : 0] : i % width) + 1 + dc[k];
            out[(ptrdiff_t)k * s + i] = i < cells ? at[r][x] - 1 : -1;
        }
}

void trm_places(float *rope, int32_t *near, const trm_config *c, int s, int cells,
    const uint8_t *row, const uint8_t *col) {
    int hd = c->hidden_size / c->num_heads, real = c->puzzle_emb_len + cells;
    if (rope) {
        trm_rope_table(rope, c, cells, row, col);
        memset(rope + (ptrdiff_t)real * hd, 0, (size_t)(s - real) * (size_t)hd * sizeof(float));
    }
    if (near)
        trm_near_table(near, c, s - c->puzzle_emb_len, cells, row, col);
}

/* _input_embeddings of the official code. */
/* The frame's positions, the last of the prefix: the symmetry; then for each of the colours 1..9
 * its own embedding plus that of the token it became. */
static void embed_frame(float *e, const trm_net *net, const uint8_t *frame) {
    int d = net->c->hidden_size;
    const float *own = trm_net_weight(net, TRM_W_FRAME, -1);
    const float *emb = trm_net_weight(net, TRM_W_EMBED, -1);
    memcpy(e, own + (ptrdiff_t)frame[0] * d, (size_t)d * sizeof(float));
    for (int k = 1; k < TRM_FRAME; k++)
        for (int i = 0; i < d; i++)
            e[k * d + i] = own[(7 + k) * d + i] + emb[(2 + frame[k]) * d + i];
}

static void embed_frame_back(
    float *dw, const trm_net *net, const float *de, const uint8_t *frame, float scale) {
    int d = net->c->hidden_size;
    float *own = dw + trm_layout_find(net->layout, TRM_W_FRAME, -1)->offset;
    float *emb = dw + trm_layout_find(net->layout, TRM_W_EMBED, -1)->offset;
    for (int i = 0; i < d; i++)
        own[frame[0] * d + i] += scale * de[i];
    for (int k = 1; k < TRM_FRAME; k++)
        for (int i = 0; i < d; i++) {
            own[(7 + k) * d + i] += scale * de[k * d + i];
            emb[(2 + frame[k]) * d + i] += scale * de[k * d + i];
        }
}

/* What each cell of an input is told beside its token: rows of frame_emb for its place from
 * above, below, left and right (NULL where it lies beyond the input) and for the symmetry, and
 * the puzzle's first D numbers; so that what is looked for may depend on all of them at once. */
enum { TOLD = 6 };

static void told_of(float *out[TOLD], float *w, const trm_net *net, const trm_shown *in, int cell) {
    const trm_param *p = trm_layout_find(net->layout, TRM_W_FRAME, -1);
    const trm_param *t = trm_layout_find(net->layout, TRM_W_PUZZLE, -1);
    int y = in->row[cell] - in->frame[10], x = in->col[cell] - in->frame[11];
    int up = in->frame[12] - 1 - y, back = in->frame[13] - 1 - x;
    const int row[TOLD - 1] = {TRM_FRAME_PLACES + y, TRM_FRAME_PLACES + TRM_FRAME_SIDE + up,
        TRM_FRAME_PLACES + 2 * TRM_FRAME_SIDE + x, TRM_FRAME_PLACES + 3 * TRM_FRAME_SIDE + back,
        in->frame[0]};
    for (int k = 0; k < TOLD - 1; k++)
        out[k] = w + p->offset + (ptrdiff_t)row[k] * p->cols;
    out[1] = up < 0 ? NULL : out[1];
    out[3] = back < 0 ? NULL : out[3];
    out[TOLD - 1] = w + t->offset + (ptrdiff_t)in->puzzle * t->cols;
}

static void tell_cells(float *e, const trm_net *net, const trm_shown *in) {
    int d = net->c->hidden_size;
    float *from[TOLD];
    for (int i = 0; i < in->cells; i++) {
        told_of(from, (float *)(uintptr_t)net->w, net, in, i);
        for (int k = 0; k < TOLD; k++)
            for (int j = 0; from[k] && j < d; j++)
                e[(ptrdiff_t)i * d + j] += from[k][j];
    }
}

static void tell_cells_back(
    float *dw, const trm_net *net, const float *de, const trm_shown *in, float scale) {
    int d = net->c->hidden_size;
    float *to[TOLD];
    for (int i = 0; i < in->cells; i++) {
        told_of(to, dw, net, in, i);
        for (int k = 0; k < TOLD; k++)
            for (int j = 0; to[k] && j < d; j++)
                to[k][j] += scale * de[(ptrdiff_t)i * d + j];
    }
}

/* The row of embed_tokens that a position after the prefix shows. */
static int shown_at(const trm_config *c, const trm_shown *in, int at) {
    if (!trm_config_candidates(c))
        return in->tokens[at];
    int given = in->tokens[at / 9] - 1; /* tokens 2..10 are digits */
    return given < 1 ? 0 : given == at % 9 + 1 ? 1 : 2;
}

void trm_embed(float *e, const trm_net *net, const trm_shown *in) {
    const trm_config *c = net->c;
    int d = c->hidden_size, prefix = c->puzzle_emb_len, n = c->puzzle_emb_ndim;
    const float *emb = trm_net_weight(net, TRM_W_EMBED, -1);
    const float *pos = trm_net_weight(net, TRM_W_POS, -1);
    const float *table = trm_net_weight(net, TRM_W_PUZZLE, -1);
    float scale = sqrtf((float)d) * (pos ? sqrtf(0.5f) : 1.0f);
    memset(e, 0, (size_t)prefix * (size_t)d * sizeof(float));
    if (prefix && table)
        memcpy(e, table + (ptrdiff_t)in->puzzle * n, (size_t)n * sizeof(float));
    int positions = trm_config_span(c, in->cells);
    for (int i = prefix; emb && i < positions; i++)
        memcpy(e + (ptrdiff_t)i * d, emb + (ptrdiff_t)shown_at(c, in, i - prefix) * d,
            (size_t)d * sizeof(float));
    if (c->frames) {
        embed_frame(e + (ptrdiff_t)(prefix - TRM_FRAME) * d, net, in->frame);
        tell_cells(e + (ptrdiff_t)prefix * d, net, in);
    }
    for (int i = 0; i < positions * d; i++)
        e[i] = scale * (e[i] + (pos ? pos[i] : 0));
}

void trm_embed_back(float *dw, const trm_net *net, const float *de, const trm_shown *in) {
    const trm_config *c = net->c;
    int d = c->hidden_size, prefix = c->puzzle_emb_len, n = c->puzzle_emb_ndim;
    const trm_param *emb = trm_layout_find(net->layout, TRM_W_EMBED, -1);
    const trm_param *pos = trm_layout_find(net->layout, TRM_W_POS, -1);
    const trm_param *table = trm_layout_find(net->layout, TRM_W_PUZZLE, -1);
    float scale = sqrtf((float)d) * (pos ? sqrtf(0.5f) : 1.0f);
    int positions = trm_config_span(c, in->cells);
    for (int i = prefix; i < positions; i++) {
        float *to = dw + emb->offset + (ptrdiff_t)shown_at(c, in, i - prefix) * d;
        const float *from = de + (ptrdiff_t)i * d;
        for (int k = 0; k < d; k++)
            to[k] += scale * from[k];
    }
    if (c->frames) {
        embed_frame_back(dw, net, de + (ptrdiff_t)(prefix - TRM_FRAME) * d, in->frame, scale);
        tell_cells_back(dw, net, de + (ptrdiff_t)prefix * d, in, scale);
    }
    for (int i = 0; pos && i < positions * d; i++)
        dw[pos->offset + (size_t)i] += scale * de[i];
    for (int k = 0; prefix && table && k < n; k++)
        dw[table->offset + (size_t)in->puzzle * (size_t)n + (size_t)k] += scale * de[k];
}

/* Stablemax and softmax both make next to nothing of it. */
static const float no_digit = -1e6f;

void trm_lm_head(float *logits, const trm_net *net, const float *y, int cells) {
    const trm_config *c = net->c;
    int d = c->hidden_size, v = c->vocab_size;
    const float *w = trm_net_weight(net, TRM_W_LM_HEAD, -1);
    y += (ptrdiff_t)c->puzzle_emb_len * d;
    if (!trm_config_candidates(c)) {
        net->rows->head(logits, y, w, cells, d, v);
        return;
    }
    for (int i = 0; i < cells; i++, logits += v) {
        logits[0] = logits[1] = no_digit;
        net->rows->head(logits + 2, y + (ptrdiff_t)i * 9 * d, w, 9, d, 1);
    }
}

void trm_lm_head_back(
    float *g, float *dw, const trm_net *net, const float *dlogits, const float *y, int cells) {
    const trm_config *c = net->c;
    int d = c->hidden_size, v = c->vocab_size;
    const float *w = trm_net_weight(net, TRM_W_LM_HEAD, -1);
    ptrdiff_t prefix = (ptrdiff_t)c->puzzle_emb_len * d;
    dw += trm_layout_find(net->layout, TRM_W_LM_HEAD, -1)->offset;
    if (!trm_config_candidates(c)) {
        net->rows->head_back(g + prefix, dw, dlogits, y + prefix, w, cells, d, v);
        return;
    }
    for (int i = 0; i < cells; i++) {
        ptrdiff_t at = (ptrdiff_t)i * 9 * d;
        net->rows->head_back(g + at, dw, dlogits + (ptrdiff_t)i * v + 2, y + at, w, 9, d, 1);
    }
}

void trm_q_head(float q[2], const trm_net *net, const float *y, int s) {
    int d = net->c->hidden_size, rows = net->c->q_mean ? s : 1;
    const float *w = trm_net_weight(net, TRM_W_Q_HEAD, -1);
    const float *b = trm_net_weight(net, TRM_W_Q_BIAS, -1);
    float sum[2] = {0, 0};
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < d; i++) {
            sum[0] += y[(ptrdiff_t)r * d + i] * w[i];
            sum[1] += y[(ptrdiff_t)r * d + i] * w[d + i];
        }
    q[0] = sum[0] / (float)rows + b[0];
    q[1] = sum[1] / (float)rows + b[1];
}

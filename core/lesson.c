/* See lesson.h. Each member of the team touches its own lessons, buffers and gradients. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lesson.h"
#include "search.h"

struct pupil { /* one thread's share */
    trm_work *work;
    trm_tape *tape;
    float *dw, *g, *de, *logits, *dlogits;
    int first, last;
    trm_error error;
    int failed;
};

struct trm_class {
    trm_net *net;
    trm_team *team;
    trm_class_options o;
    trm_lesson *lesson;
    struct pupil *pupil;
    void *block;
    int max_s, passes;
    int part, parts; /* of the step under way */
    int (*prepare)(void *, trm_lesson *, trm_error *);
    void *arg;
    float *grads;
};

static int pupil_make(trm_class *k, struct pupil *p, trm_error *err) {
    const trm_config *c = k->net->c;
    size_t sd = (size_t)k->max_s * (size_t)c->hidden_size;
    size_t lv = (size_t)c->seq_len * (size_t)c->vocab_size;
    int r = trm_work_new(&p->work, k->net, k->max_s, err);
    if (!r)
        r = trm_tape_new(&p->tape, k->net, k->o.tape, k->passes, k->max_s, err);
    p->dw = trm_floats(k->net->layout->floats);
    p->g = trm_floats(sd);
    p->de = trm_floats(sd);
    p->logits = trm_floats(lv);
    p->dlogits = trm_floats(lv);
    if (!r && (!p->dw || !p->g || !p->de || !p->logits || !p->dlogits))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for training buffers");
    return r;
}

int trm_class_new(
    trm_class **out, trm_net *net, trm_team *team, const trm_class_options *o, trm_error *err) {
    trm_class *k = calloc(1, sizeof *k);
    if (!k)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for training");
    k->net = net;
    k->team = team;
    k->o = *o;
    k->passes = net->c->L_cycles + 1;
    k->max_s = trm_plan_length(net->c, trm_config_positions(net->c));
    int threads = trm_team_size(team), r = TRM_OK;
    k->pupil = calloc((size_t)threads, sizeof *k->pupil);
    if (!k->pupil)
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for training");
    if (!r)
        r = trm_lessons_new(&k->lesson, net->c, o->batch, err);
    for (int i = 0; i < threads && !r; i++) {
        k->pupil[i].first = o->batch * i / threads;
        k->pupil[i].last = o->batch * (i + 1) / threads;
        r = pupil_make(k, &k->pupil[i], err);
    }
    if (r) {
        trm_class_free(k);
        return r;
    }
    *out = k;
    return TRM_OK;
}

void trm_class_free(trm_class *k) {
    if (!k)
        return;
    for (int i = 0; k->pupil && i < trm_team_size(k->team); i++) {
        struct pupil *p = &k->pupil[i];
        trm_work_free(p->work);
        trm_tape_free(p->tape);
        float *all[] = {p->dw, p->g, p->de, p->logits, p->dlogits};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            free(all[j]);
    }
    trm_lessons_free(k->lesson, k->o.batch);
    free(k->pupil);
    free(k);
}

size_t trm_class_bytes(const trm_class *k) {
    const trm_config *c = k->net->c;
    size_t s = (size_t)k->max_s, d = (size_t)c->hidden_size, l = (size_t)c->seq_len;
    size_t lesson = 3 * s * d * sizeof(float) + l * (3 * sizeof(int32_t) + 2);
    if (trm_config_rotates(c))
        lesson += s * d / (size_t)c->num_heads * sizeof(float);
    size_t n = lesson * (size_t)k->o.batch;
    size_t buffers = k->net->layout->floats + 2 * s * d + 2 * l * (size_t)c->vocab_size;
    for (int i = 0; i < trm_team_size(k->team); i++)
        n += k->pupil[i].work->bytes + k->pupil[i].tape->bytes + buffers * sizeof(float);
    return n;
}

trm_lesson *trm_class_lesson(trm_class *k, int i) {
    return &k->lesson[i];
}

static trm_shown shows(const trm_lesson *l) {
    return (trm_shown){l->tokens, l->cells, l->puzzle, l->row, l->col, l->frame};
}

/* Input embedding always (the weights have moved), latents and positions when fresh. */
static void begin(const trm_class *k, trm_lesson *l) {
    const trm_config *c = k->net->c;
    int d = c->hidden_size, real = trm_config_span(c, l->cells);
    l->s = trm_plan_length(c, real);
    size_t row = (size_t)d * sizeof(float), pad = (size_t)(l->s - real) * row;
    const trm_shown shown = shows(l);
    trm_embed(l->e, k->net, &shown);
    memset(l->e + (ptrdiff_t)real * d, 0, pad);
    if (!l->fresh)
        return;
    const float *h = trm_net_weight(k->net, TRM_W_H_INIT, -1);
    const float *z = trm_net_weight(k->net, TRM_W_L_INIT, -1);
    for (int i = 0; i < real; i++) {
        memcpy(l->y + (ptrdiff_t)i * d, h, row);
        memcpy(l->z + (ptrdiff_t)i * d, z, row);
    }
    memset(l->y + (ptrdiff_t)real * d, 0, pad);
    memset(l->z + (ptrdiff_t)real * d, 0, pad);
    trm_lesson_places(l, c);
    l->steps = 0;
    l->fresh = false;
}

static trm_seq seq_of(const trm_class *k, const trm_lesson *l) {
    return (trm_seq){trm_config_span(k->net->c, l->cells), l->rope, l->near};
}

/* j: its place on the tape, -1 without one. */
static void forward(trm_class *k, struct pupil *p, trm_lesson *l, const trm_plan *plan, int j) {
    const trm_config *c = k->net->c;
    const trm_rows *rows = k->net->rows;
    size_t n = (size_t)l->s * (size_t)c->hidden_size;
    const trm_seq seq = seq_of(k, l);
    for (int t = 0; t < c->H_cycles; t++) {
        trm_tape *tape = t == c->H_cycles - 1 && j >= 0 ? p->tape : NULL;
        for (int i = 0; i < c->L_cycles; i++) {
            rows->add(l->z, p->work->xa, l->z, l->y, l->e, n);
            trm_net_pass(p->work, plan, l->z, &seq, tape, j * k->passes + i);
        }
        rows->add(l->y, p->work->xa, l->y, l->z, NULL, n);
        trm_net_pass(p->work, plan, l->y, &seq, tape, j * k->passes + c->L_cycles);
    }
}

/* Cross-entropy of one cell and its gradient d (v). Stablemax (arXiv 2501.04697):
 * s(x) = x + 1 for x >= 0, 1 / (1 - x) below; p = s / sum s. */
static double cell_loss(
    trm_loss_kind kind, double smoothing, const float *x, int v, int label, double k, float *d) {
    double s[4096], ds[4096], sum = 0, top = x[0], loss = 0;
    for (int i = 1; i < v; i++)
        top = x[i] > top ? x[i] : top;
    for (int i = 0; i < v; i++) {
        if (kind == TRM_SOFTMAX)
            s[i] = ds[i] = exp(x[i] - top);
        else {
            s[i] = x[i] >= 0 ? x[i] + 1.0 : 1.0 / (1.0 - x[i]);
            ds[i] = x[i] >= 0 ? 1.0 : s[i] * s[i];
        }
        sum += s[i];
    }
    for (int i = 0; i < v; i++) {
        double want = smoothing / v + (i == label ? 1 - smoothing : 0);
        if (want > 0)
            loss -= want * log(s[i] / sum);
        d[i] = (float)(k * (ds[i] / sum - want * ds[i] / s[i]));
    }
    return loss;
}

/* Binary cross-entropy of a logit; its gradient. */
static double yes_no(double logit, bool yes, float *d, double k) {
    *d = (float)(k * (1 / (1 + exp(-logit)) - yes));
    return (logit > 0 ? logit : 0) - (yes ? logit : 0) + log1p(exp(-fabs(logit)));
}

/* What a search would assume of an unsolved Sudoku, where this has an answer. */
static void find_open(trm_lesson *l, const float *logits) {
    bool known[TRM_SUDOKU_CELLS];
    float belief[10];
    l->open_cell = -1;
    if (!l->counted || l->right == l->counted)
        return;
    for (int i = 0; i < TRM_SUDOKU_CELLS; i++)
        known[i] = l->tokens[i] > 1;
    l->open_cell = trm_search_cell(belief, known, logits, TRM_SEARCH_LEAST);
    if (l->open_cell < 0)
        return;
    int right = l->labels[l->open_cell] - 1, wrong = 0;
    belief[0] = TRM_SEARCH_LEAST;
    for (int d = 1; d <= 9; d++)
        if (d != right && belief[d] > belief[wrong])
            wrong = d;
    l->likely = right + 1;
    l->unlike = wrong ? wrong + 1 : 0;
}

/* Losses of a lesson and the gradients of its logits and of its two halt logits, scaled by
 * 1 / batch. A puzzle without an answer teaches the halt logits alone. */
static void losses(trm_class *k, struct pupil *p, trm_lesson *l, float dq[2]) {
    const trm_config *c = k->net->c;
    int v = c->vocab_size;
    trm_lm_head(p->logits, k->net, l->y, l->cells);
    l->counted = l->right = 0;
    for (int i = 0; i < l->cells; i++)
        l->counted += l->labels[i] >= 0;
    int divisor = l->counted ? l->counted : 1;
    l->lm = 0;
    for (int i = 0; i < l->cells; i++) {
        const float *x = p->logits + (ptrdiff_t)i * v;
        float *dx = p->dlogits + (ptrdiff_t)i * v;
        int best = 0;
        if (l->labels[i] < 0) {
            memset(dx, 0, (size_t)v * sizeof(float));
            continue;
        }
        for (int j = 1; j < v; j++)
            best = x[j] > x[best] ? j : best;
        l->right += best == l->labels[i];
        l->lm += cell_loss(
            k->o.loss, k->o.label_smoothing, x, v, l->labels[i], 1.0 / divisor / k->o.batch, dx);
    }
    l->lm /= divisor;
    if (k->o.assumes)
        find_open(l, p->logits);
    trm_q_head(l->q, k->net, l->y, trm_config_span(c, l->cells));
    double scale = k->o.q_weight / k->o.batch;
    bool unsat = trm_lesson_unsat(l, c);
    l->q_loss = yes_no(l->q[0], l->right == l->counted && !unsat, &dq[0], scale);
    dq[1] = 0;
    if (c->unsat_head)
        l->q_loss += yes_no(l->q[1], unsat, &dq[1], scale);
}

/* dL/dy of the heads, and the heads' own gradients. */
static void heads_back(trm_class *k, struct pupil *p, const trm_lesson *l, const float dq[2]) {
    const trm_config *c = k->net->c;
    const trm_layout *lay = k->net->layout;
    int d = c->hidden_size, real = trm_config_span(c, l->cells);
    int rows = c->q_mean ? real : 1;
    memset(p->g, 0, (size_t)l->s * (size_t)d * sizeof(float));
    trm_lm_head_back(p->g, p->dw, k->net, p->dlogits, l->y, l->cells);
    const float *w = trm_net_weight(k->net, TRM_W_Q_HEAD, -1);
    float *dw = p->dw + trm_layout_find(lay, TRM_W_Q_HEAD, -1)->offset;
    for (int h = 0; h < (c->unsat_head ? 2 : 1); h++, w += d, dw += d) {
        float share = dq[h] / (float)rows;
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < d; i++) {
                p->g[(ptrdiff_t)r * d + i] += share * w[i];
                dw[i] += share * l->y[(ptrdiff_t)r * d + i];
            }
        p->dw[trm_layout_find(lay, TRM_W_Q_BIAS, -1)->offset + (size_t)h] += dq[h];
    }
}

static void learn_heads(trm_class *k, struct pupil *p, trm_lesson *l) {
    float dq[2];
    losses(k, p, l, dq);
    heads_back(k, p, l, dq);
}

static void back_answer(
    const trm_class *k, struct pupil *p, const trm_lesson *l, const trm_plan *plan, int j) {
    const trm_config *c = k->net->c;
    const trm_seq seq = seq_of(k, l);
    trm_net_pass_back(p->work, plan, p->g, &seq, p->tape, j * k->passes + c->L_cycles, p->dw);
    memset(p->de, 0, (size_t)l->s * (size_t)c->hidden_size * sizeof(float));
}

/* z-updates before `end`, down to `first`. */
static void back_latent(const trm_class *k, struct pupil *p, const trm_lesson *l,
    const trm_plan *plan, int j, int end, int first) {
    const trm_config *c = k->net->c;
    size_t n = (size_t)l->s * (size_t)c->hidden_size;
    const trm_seq seq = seq_of(k, l);
    for (int i = end - 1; i >= first; i--) {
        if (k->o.one_step_gradient && i < c->L_cycles - 1)
            memset(p->g, 0, n * sizeof(float)); /* the tape must be whole, with zeros */
        trm_net_pass_back(p->work, plan, p->g, &seq, p->tape, j * k->passes + i, p->dw);
        for (size_t e = 0; e < n; e++)
            p->de[e] += p->g[e];
    }
}

static void back_input(const trm_class *k, struct pupil *p, const trm_lesson *l) {
    const trm_shown shown = shows(l);
    trm_embed_back(p->dw, k->net, p->de, &shown);
}

static int run_exam(trm_class *k, struct pupil *p, trm_lesson *l) {
    const trm_config *c = k->net->c;
    trm_plan *plan;
    int r = trm_work_plan(&plan, p->work, l->s, 0, &p->error), v = c->vocab_size;
    if (r)
        return r;
    forward(k, p, l, plan, -1);
    trm_lm_head(p->logits, k->net, l->y, l->cells);
    k->net->rows->argmax(l->answer, p->dlogits, p->logits, l->cells, v);
    trm_q_head(l->q, k->net, l->y, trm_config_span(c, l->cells));
    l->lm = l->q_loss = 0;
    l->steps++;
    return TRM_OK;
}

/* Up to `tape` lessons of one length, then their weight gradients in one product each. */
static int run_chunk(trm_class *k, struct pupil *p, int first, int n) {
    trm_plan *plan;
    int r = trm_work_plan(&plan, p->work, k->lesson[first].s, n, &p->error);
    if (r)
        return r;
    for (int j = 0; j < n; j++) {
        trm_lesson *l = &k->lesson[first + j];
        forward(k, p, l, plan, j);
        learn_heads(k, p, l);
        back_answer(k, p, l, plan, j);
        back_latent(k, p, l, plan, j, k->net->c->L_cycles, 0);
        back_input(k, p, l);
        l->steps++;
    }
    trm_net_weight_grads(p->work, plan, p->tape, p->dw);
    return TRM_OK;
}

/* A third of what run_chunk() does with one lesson. What is between the parts is on the tape and
 * in the pupil. */
static int run_part(trm_class *k, struct pupil *p, int first) {
    trm_lesson *l = &k->lesson[first];
    int half = k->net->c->L_cycles / 2;
    trm_plan *plan;
    int r = trm_work_plan(&plan, p->work, l->s, 1, &p->error);
    if (r)
        return r;
    if (k->part == 0) {
        forward(k, p, l, plan, 0);
        learn_heads(k, p, l);
    } else if (k->part == 1) {
        back_answer(k, p, l, plan, 0);
        back_latent(k, p, l, plan, 0, k->net->c->L_cycles, half);
    } else {
        back_latent(k, p, l, plan, 0, half, 0);
        back_input(k, p, l);
        l->steps++;
        trm_net_weight_grads(p->work, plan, p->tape, p->dw);
    }
    return TRM_OK;
}

static void run_share(void *arg, int member) {
    trm_class *k = arg;
    struct pupil *p = &k->pupil[member];
    p->failed = TRM_OK;
    if (k->part == 0)
        memset(p->dw, 0, k->net->layout->floats * sizeof(float));
    for (int i = p->first; i < p->last && !p->failed && k->part == 0; i++) {
        if (k->prepare)
            p->failed = k->prepare(k->arg, &k->lesson[i], &p->error);
        if (!p->failed && k->lesson[i].cells)
            begin(k, &k->lesson[i]);
    }
    for (int i = p->first; i < p->last && !p->failed;) {
        trm_lesson *l = &k->lesson[i];
        int n = 1;
        if (!l->exam && k->parts > 1) {
            p->failed = run_part(k, p, i);
        } else if (!l->exam) {
            while (i + n < p->last && n < k->o.tape && l[n].s == l->s && !l[n].exam)
                n++;
            p->failed = run_chunk(k, p, i, n);
        } else if (l->cells) {
            p->failed = run_exam(k, p, l);
        }
        i += n;
    }
}

/* Each member sums its slice of the gradient over all members, in their order. */
static void reduce(void *arg, int member) {
    trm_class *k = arg;
    size_t n = k->net->layout->floats, t = (size_t)trm_team_size(k->team);
    size_t first = n * (size_t)member / t, last = n * ((size_t)member + 1) / t;
    memcpy(k->grads + first, k->pupil[0].dw + first, (last - first) * sizeof(float));
    for (size_t i = 1; i < t; i++) {
        const float *dw = k->pupil[i].dw;
        for (size_t j = first; j < last; j++)
            k->grads[j] += dw[j];
    }
}

static int step_part(trm_class *k, trm_loss *sum, bool *whole, trm_error *err) {
    *whole = false;
    trm_team_run(k->team, run_share, k);
    for (int i = 0; i < trm_team_size(k->team); i++)
        if (k->pupil[i].failed) {
            k->part = 0;
            return trm_fail(err, k->pupil[i].failed, "%s", k->pupil[i].error.text);
        }
    k->part = (k->part + 1) % k->parts;
    *whole = k->part == 0;
    if (!*whole)
        return TRM_OK;
    trm_team_run(k->team, reduce, k);
    *sum = (trm_loss){0, 0, 0};
    for (int i = 0; i < k->o.batch; i++) {
        sum->lm += k->lesson[i].lm;
        sum->q_halt += k->lesson[i].q_loss;
    }
    sum->total = sum->lm + k->o.q_weight * sum->q_halt;
    return TRM_OK;
}

int trm_class_step(trm_class *k, int (*prepare)(void *arg, trm_lesson *l, trm_error *err),
    void *arg, float *grads, trm_loss *sum, trm_error *err) {
    bool whole;
    k->prepare = prepare;
    k->arg = arg;
    k->grads = grads;
    k->parts = 1;
    k->part = 0; /* a step that was begun in parts is given up */
    return step_part(k, sum, &whole, err);
}

int trm_class_part(trm_class *k, int (*prepare)(void *arg, trm_lesson *l, trm_error *err),
    void *arg, float *grads, trm_loss *sum, bool *whole, trm_error *err) {
    k->prepare = prepare;
    k->arg = arg;
    k->grads = grads;
    k->parts = 3;
    return step_part(k, sum, whole, err);
}

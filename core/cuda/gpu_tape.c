/* What a training device holds beside a model and its slots: the tape of the last cycle, gradients,
 * moments, working buffers. */
#include <stdlib.h>

#include "gpu.h"

/* One place of the tape. What a pass has made of gate and up is made again in the way back. */
static void make_place(trm_gpu_asker *k, trm_gpu_place *p) {
    trm_device *g = k->g;
    size_t n = (size_t)g->places, d = (size_t)g->d, rows = n * (size_t)g->max_s;
    size_t act = (size_t)g->act;
    *p = g->work;
    p->xa0 = trm_gpu_ask(k, rows * d, act);
    p->xa1 = trm_gpu_ask(k, rows * d, act);
    p->gu = trm_gpu_ask(k, 2 * rows * (size_t)g->in, act);
    p->inv2 = trm_gpu_ask(k, rows, sizeof(float));
    p->inv1 = trm_gpu_ask(k, g->c.mlp_t ? n * d : rows, sizeof(float));
    if (g->c.mlp_t) {
        p->gu_t = trm_gpu_ask(k, 2 * (size_t)g->in_t * n * d, act);
        return;
    }
    p->qkv = trm_gpu_ask(k, rows * (size_t)g->wide, act);
    p->att = trm_gpu_ask(k, rows * (size_t)g->mixed, act);
    if (g->dense)
        p->lse = trm_gpu_ask(k, rows * (size_t)g->c.num_heads, sizeof(float));
}

static void make_tape(trm_gpu_asker *k) {
    trm_device *g = k->g;
    int layers = g->c.L_layers, passes = g->c.L_cycles + 1;
    size_t rows = (size_t)g->places * (size_t)g->max_s, d = (size_t)g->d;
    trm_gpu_place *tape = calloc((size_t)layers * (size_t)passes, sizeof *tape);
    g->learn->tape = tape;
    if (!k->r && !tape)
        k->r = trm_fail(k->err, TRM_E_NOMEM, "out of memory for a tape");
    for (int i = 0; i < passes * layers && !k->r; i++)
        make_place(k, &tape[i]);
    for (int i = 0; i < passes * layers && !k->r;
         i++) /* what a layer leaves the next begins with */
        tape[i].xa2 =
            i % layers < layers - 1 ? tape[i + 1].xa0 : trm_gpu_ask(k, rows * d, (size_t)g->act);
}

/* The largest of the matrices that Muon brings into shape, and of its square. */
static void make_muon(trm_gpu_asker *k) {
    const trm_device *g = k->g;
    size_t most = 0, square = 0;
    for (int i = 0; i < g->layout->count; i++) {
        const trm_param *p = &g->layout->param[i];
        size_t lo = (size_t)(p->rows < p->cols ? p->rows : p->cols);
        size_t all = (size_t)p->rows * (size_t)p->cols;
        if (p->layer < 0)
            continue;
        most = all > most ? all : most;
        square = lo * lo > square ? lo * lo : square;
    }
    g->learn->x = trm_gpu_ask(k, most, sizeof(float));
    g->learn->y = trm_gpu_ask(k, most, sizeof(float));
    g->learn->a = trm_gpu_ask(k, square, sizeof(float));
    g->learn->b = trm_gpu_ask(k, square, sizeof(float));
}

static void make_back(trm_gpu_asker *k) {
    trm_device *g = k->g;
    trm_gpu_learning *l = g->learn;
    size_t n = (size_t)g->places, s = (size_t)g->max_s, d = (size_t)g->d, rows = n * s;
    size_t act = (size_t)g->act, heads = (size_t)g->c.num_heads;
    l->g = trm_gpu_ask(k, rows * d, sizeof(float));
    l->de = trm_gpu_ask(k, rows * d, sizeof(float));
    l->ga = trm_gpu_ask(k, rows * d, act);
    l->ld = trm_gpu_up8(g->shown > g->told + 2 ? g->shown : g->told + 2);
    l->dl = trm_gpu_ask(k, rows * (size_t)l->ld, sizeof(float));
    if (!g->c.mlp_t && !g->gated && !g->dense)
        l->dqkv = trm_gpu_ask(k, rows * (size_t)g->wide, act);
    if (!g->dense)
        return;
    l->dp =
        trm_gpu_ask(k, (size_t)g->group * heads * s * (size_t)trm_gpu_up8(g->max_s), sizeof(float));
    l->delta = trm_gpu_ask(k, rows * heads, sizeof(float));
}

static void make_lessons(trm_gpu_asker *k) {
    const trm_device *g = k->g;
    trm_gpu_learning *t = g->learn;
    size_t n = (size_t)g->slots, l = (size_t)g->c.seq_len, cells = (size_t)g->places * l;
    t->labels = trm_gpu_ask(k, n * l, sizeof *t->labels);
    t->host_labels = trm_gpu_ask_pinned(k, n * l, sizeof *t->host_labels);
    t->loss = trm_gpu_ask(k, cells, sizeof *t->loss);
    t->right = trm_gpu_ask(k, cells, sizeof *t->right);
    t->dq = trm_gpu_ask(k, 2 * (size_t)g->places, sizeof *t->dq);
    t->verdict = trm_gpu_ask(k, n, sizeof *t->verdict);
    t->host_verdict = trm_gpu_ask_pinned(k, n, sizeof *t->host_verdict);
}

/* Products add to the gradients of the layers' matrices, which lie behind two numbers of a bias:
 * all begin so far into their block that those matrices begin with a line of memory. */
static float *make_grads(trm_gpu_asker *k) {
    enum { LINE = 64 };
    const trm_layout *l = k->g->layout;
    float *at = trm_gpu_ask(k, l->floats + LINE, sizeof *at);
    for (int i = 0; at && i < l->count; i++)
        if (l->param[i].layer >= 0)
            return at + (LINE - l->param[i].offset % LINE) % LINE;
    return at;
}

static void make_optim(trm_gpu_asker *k) {
    const trm_device *g = k->g;
    trm_gpu_learning *t = g->learn;
    size_t n = g->layout->floats, parts = n / TRM_CHUNK + (size_t)g->layout->count + 1;
    t->grads = make_grads(k);
    t->m = trm_gpu_ask(k, n, sizeof(float));
    t->v = trm_gpu_ask(k, n, sizeof(float));
    t->ema = t->recipe.ema > 0 ? trm_gpu_ask(k, n, sizeof(float)) : NULL;
    t->partial = trm_gpu_ask(k, parts, sizeof *t->partial);
    t->norm = trm_gpu_ask(k, 2, sizeof *t->norm);
    t->host_norm = trm_gpu_ask_pinned(k, 2, sizeof *t->host_norm);
    if (t->recipe.optimizer == TRM_MUON)
        make_muon(k);
}

void trm_gpu_make_learning(trm_gpu_asker *k, const trm_recipe *r) {
    if (k->r)
        return;
    k->g->learn = calloc(1, sizeof *k->g->learn);
    if (!k->g->learn) {
        k->r = trm_fail(k->err, TRM_E_NOMEM, "out of memory for training");
        return;
    }
    k->g->learn->recipe = *r;
    make_optim(k);
    make_lessons(k);
    make_back(k);
    make_tape(k);
}

void trm_gpu_learning_free(trm_gpu_learning *l) {
    if (l)
        free(l->tape);
    free(l);
}

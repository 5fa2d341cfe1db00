/* The optimizers on the device: the GPU's counterpart of core/optim.c. Nothing comes back to the
 * host in between. */
#include <math.h>

#include "gpu.h"

static long chunks(long n) {
    return (n + TRM_CHUNK - 1) / TRM_CHUNK;
}

static long count(const trm_param *p) {
    return (long)p->rows * p->cols;
}

static bool is_trained(const trm_param *p) {
    return p->role != TRM_W_H_INIT && p->role != TRM_W_L_INIT;
}

/* x = keep * x + share * y */
static void blend(trm_device *g, float *x, const float *y, long n, float keep, float share) {
    trm_k_blend a = {x, y, n, keep, share};
    trm_dev_blend(g->dev, &a, chunks(n));
}

/* The norm of all gradients but those of puzzle embeddings, which have none of their own length. */
static void clip(trm_device *g) {
    trm_gpu_learning *t = g->learn;
    trm_k_clip c = {t->partial, t->norm, 0, t->recipe.clip};
    for (int i = 0; i < g->layout->count; i++) {
        const trm_param *p = &g->layout->param[i];
        if (!is_trained(p) || p->role == TRM_W_PUZZLE)
            continue;
        trm_k_squares a = {t->grads + p->offset, t->partial + c.n, count(p)};
        trm_dev_squares(g->dev, &a, chunks(count(p)));
        c.n += chunks(count(p));
    }
    trm_dev_clip(g->dev, &c, 1);
}

/* Quintic Newton-Schulz, as in core/optim.c; a tall X has its Gram matrix on the other side, so
 * that nothing is transposed. */
static void orthogonalise(trm_device *g, int rows, int cols) {
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    trm_gpu_learning *t = g->learn;
    bool tall = rows > cols;
    int lo = tall ? cols : rows, hi = tall ? rows : cols;
    long n = (long)rows * cols, sq = (long)lo * lo;
    trm_k_squares s = {t->x, t->partial, n};
    trm_k_normalise norm = {t->x, t->partial, n, chunks(n)};
    trm_dev_squares(g->dev, &s, chunks(n));
    trm_dev_normalise(g->dev, &norm, chunks(n));
    for (int i = 0; i < 5; i++) {
        trm_gpu_product(g, lo, lo, hi, t->x, cols, t->x, cols, t->a,
            TRM_MM_F32 | (tall ? TRM_MM_TA : TRM_MM_TB));
        trm_gpu_product(g, lo, lo, lo, t->a, lo, t->a, lo, t->b, TRM_MM_F32);
        blend(g, t->b, t->a, sq, c, b);
        if (tall)
            trm_gpu_product(g, rows, cols, lo, t->x, cols, t->b, lo, t->y, TRM_MM_F32);
        else
            trm_gpu_product(g, rows, cols, lo, t->b, lo, t->x, cols, t->y, TRM_MM_F32);
        blend(g, t->x, t->y, n, a, 1.0f);
    }
}

static void muon(trm_device *g, const trm_param *p, const trm_device_update *u) {
    trm_gpu_learning *t = g->learn;
    const trm_recipe *r = &t->recipe;
    double lr = u->rate * r->lr;
    bool tall = p->rows > p->cols;
    trm_k_momentum a = {
        t->grads + p->offset, t->m + p->offset, t->x, t->norm, count(p), (float)r->momentum};
    trm_dev_momentum(g->dev, &a, chunks(a.n));
    orthogonalise(g, p->rows, p->cols);
    blend(g, g->w + p->offset, t->x, count(p), (float)(1 - lr * r->weight_decay),
        (float)(-lr * sqrt(tall ? (double)p->rows / p->cols : 1.0)));
}

static void adam(trm_device *g, const trm_param *p, const trm_device_update *u) {
    trm_gpu_learning *t = g->learn;
    const trm_recipe *r = &t->recipe;
    bool rest = r->optimizer == TRM_MUON || p->layer < 0;
    double lr = u->rate * (rest ? r->lr_rest : r->lr);
    trm_k_adam a = {.w = g->w + p->offset,
        .m = t->m + p->offset,
        .v = t->v + p->offset,
        .g = t->grads + p->offset,
        .norm = t->norm,
        .n = count(p),
        .lr = lr,
        .decay = 1 - lr * (rest ? r->weight_decay_rest : r->weight_decay),
        .beta1 = r->beta1,
        .beta2 = r->beta2,
        .c1 = 1 - pow(r->beta1, (double)u->t),
        .c2 = 1 - pow(r->beta2, (double)u->t),
        .atan2 = r->optimizer == TRM_ADAM_ATAN2};
    trm_dev_adam(g->dev, &a, chunks(a.n));
}

static void sign(trm_device *g, const trm_param *p, const trm_device_update *u) {
    const trm_recipe *r = &g->learn->recipe;
    double lr = u->rate * r->puzzle_emb_lr;
    trm_k_sign a = {g->w + p->offset, g->learn->grads + p->offset, p->cols,
        (float)(1 - lr * r->puzzle_emb_decay), (float)lr};
    trm_dev_sign(g->dev, &a, p->rows);
}

void trm_gpu_update(trm_device *g, const trm_device_update *u) {
    trm_gpu_learning *t = g->learn;
    clip(g);
    for (int i = 0; i < g->layout->count; i++) {
        const trm_param *p = &g->layout->param[i];
        if (t->recipe.optimizer == TRM_MUON && p->layer >= 0)
            muon(g, p, u);
        else if (p->role == TRM_W_PUZZLE)
            sign(g, p, u);
        else if (is_trained(p))
            adam(g, p, u);
    }
    if (t->ema) { /* a young average follows closely; see core/optim.c */
        double young = (1.0 + (double)u->t) / (10.0 + (double)u->t);
        double keep = u->t == 1 ? 0 : t->recipe.ema < young ? t->recipe.ema : young;
        blend(g, t->ema, g->w, (long)g->layout->floats, (float)keep, (float)(1 - (float)keep));
    }
    trm_gpu_refresh(g);
}

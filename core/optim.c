/* See optim.h. Every parameter is updated by one member; members share nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "optim.h"

/* Products of one matrix shape (rows <= cols after transposing). */
struct muon_shape {
    int rows, cols;
    trm_mm *gram, *square, *apply;
};

struct trm_muon {
    float *x, *y, *a, *b;
    struct muon_shape shape[16];
    int shapes;
};

struct update {
    trm_optim *o;
    float *w, *g;
    double rate, norm[64];
    double scale;
};

static const trm_mm_lib *muon_lib(void) {
#ifdef TRM_HAVE_DNNL
    return &trm_mm_dnnl_f32;
#else
    return &trm_mm_openblas;
#endif
}

static bool is_muon(const trm_optim *o, const trm_param *p) {
    return o->recipe->optimizer == TRM_MUON && p->layer >= 0;
}

static bool is_trained(const trm_param *p) {
    return p->role != TRM_W_H_INIT && p->role != TRM_W_L_INIT;
}

static int muon_shape(struct trm_muon *k, int rows, int cols, trm_error *err) {
    const trm_mm_lib *lib = muon_lib();
    for (int i = 0; i < k->shapes; i++)
        if (k->shape[i].rows == rows && k->shape[i].cols == cols)
            return TRM_OK;
    if (k->shapes == 16)
        return trm_fail(err, TRM_E_ARG, "more than 16 shapes of matrices");
    struct muon_shape *s = &k->shape[k->shapes];
    *s = (struct muon_shape){.rows = rows, .cols = cols};
    int r = lib->make(&s->gram,
        &(trm_mm_desc){
            .m = rows, .n = rows, .k = cols, .lda = cols, .ldb = cols, .tb = true, .ldc = rows},
        err);
    if (!r)
        r = lib->make(&s->square,
            &(trm_mm_desc){.m = rows, .n = rows, .k = rows, .lda = rows, .ldb = rows, .ldc = rows},
            err);
    if (!r)
        r = lib->make(&s->apply,
            &(trm_mm_desc){.m = rows, .n = cols, .k = rows, .lda = rows, .ldb = cols, .ldc = cols},
            err);
    k->shapes++;
    return r;
}

static int muon_make(trm_optim *o, struct trm_muon *k, trm_error *err) {
    size_t most = 1, square = 1;
    int r = TRM_OK;
    for (int i = 0; i < o->layout->count && !r; i++) {
        const trm_param *p = &o->layout->param[i];
        if (!is_muon(o, p))
            continue;
        int lo = p->rows < p->cols ? p->rows : p->cols, hi = p->rows < p->cols ? p->cols : p->rows;
        most = (size_t)lo * (size_t)hi > most ? (size_t)lo * (size_t)hi : most;
        square = (size_t)lo * (size_t)lo > square ? (size_t)lo * (size_t)lo : square;
        r = muon_shape(k, lo, hi, err);
    }
    k->x = calloc(most, sizeof(float));
    k->y = calloc(most, sizeof(float));
    k->a = calloc(square, sizeof(float));
    k->b = calloc(square, sizeof(float));
    if (!r && (!k->x || !k->y || !k->a || !k->b))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for an optimizer");
    return r;
}

int trm_optim_new(trm_optim **out, const trm_recipe *rec, const trm_layout *layout, trm_team *team,
    trm_error *err) {
    trm_optim *o = calloc(1, sizeof *o);
    if (!o)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for an optimizer");
    o->recipe = rec;
    o->layout = layout;
    o->team = team;
    muon_lib()->enter_thread();
    o->m = calloc(layout->floats, sizeof(float));
    o->v = calloc(layout->floats, sizeof(float));
    o->ema = rec->ema > 0 ? calloc(layout->floats, sizeof(float)) : NULL;
    o->muon = calloc((size_t)trm_team_size(team), sizeof *o->muon);
    int r = TRM_OK;
    if (!o->m || !o->v || !o->muon || (rec->ema > 0 && !o->ema))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for an optimizer");
    for (int i = 0; i < trm_team_size(team) && !r; i++)
        r = muon_make(o, &o->muon[i], err);
    if (r) {
        trm_optim_free(o);
        return r;
    }
    *out = o;
    return TRM_OK;
}

void trm_optim_free(trm_optim *o) {
    if (!o)
        return;
    for (int i = 0; o->muon && i < trm_team_size(o->team); i++) {
        struct trm_muon *k = &o->muon[i];
        for (int j = 0; j < k->shapes; j++) {
            trm_mm *all[] = {k->shape[j].gram, k->shape[j].square, k->shape[j].apply};
            for (int n = 0; n < 3; n++)
                if (all[n])
                    muon_lib()->free(all[n]);
        }
        free(k->x);
        free(k->y);
        free(k->a);
        free(k->b);
    }
    free(o->muon);
    free(o->m);
    free(o->v);
    free(o->ema);
    free(o);
}

static void transpose(float *out, const float *in, int rows, int cols) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            out[(ptrdiff_t)j * rows + i] = in[(ptrdiff_t)i * cols + j];
}

/* Quintic Newton-Schulz: X <- a X + (b A + c A^2) X with A = X X^T, five times; brings the
 * singular values of X / |X| to about 1. The result is left in k->x. */
static void orthogonalise(struct trm_muon *k, const struct muon_shape *s) {
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    const trm_mm_lib *lib = muon_lib();
    size_t n = (size_t)s->rows * (size_t)s->cols, sq = (size_t)s->rows * (size_t)s->rows;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)k->x[i] * k->x[i];
    float inv = (float)(1 / (sqrt(sum) + 1e-7));
    for (size_t i = 0; i < n; i++)
        k->x[i] *= inv;
    for (int it = 0; it < 5; it++) {
        lib->run(s->gram, k->x, k->x, k->a);
        lib->run(s->square, k->a, k->a, k->b);
        for (size_t i = 0; i < sq; i++)
            k->b[i] = b * k->a[i] + c * k->b[i];
        lib->run(s->apply, k->b, k->x, k->y);
        for (size_t i = 0; i < n; i++)
            k->x[i] = a * k->x[i] + k->y[i];
    }
}

static void muon_update(struct update *u, struct trm_muon *k, const trm_param *p) {
    const trm_recipe *r = u->o->recipe;
    size_t n = (size_t)p->rows * (size_t)p->cols;
    float *w = u->w + p->offset, *m = u->o->m + p->offset, mu = (float)r->momentum;
    const float *g = u->g + p->offset;
    bool tall = p->rows > p->cols;
    float *dir = tall ? k->y : k->x;
    for (size_t i = 0; i < n; i++) {
        float gi = (float)u->scale * g[i];
        m[i] = mu * m[i] + gi;
        dir[i] = gi + mu * m[i]; /* Nesterov */
    }
    int lo = tall ? p->cols : p->rows, hi = tall ? p->rows : p->cols;
    if (tall)
        transpose(k->x, k->y, p->rows, p->cols);
    for (int i = 0; i < k->shapes; i++)
        if (k->shape[i].rows == lo && k->shape[i].cols == hi)
            orthogonalise(k, &k->shape[i]);
    if (tall)
        transpose(k->y, k->x, p->cols, p->rows);
    double lr = u->rate * r->lr;
    float step = (float)(lr * sqrt(tall ? (double)p->rows / p->cols : 1.0));
    float keep = (float)(1 - lr * r->weight_decay);
    for (size_t i = 0; i < n; i++)
        w[i] = keep * w[i] - step * dir[i];
}

static void adam_update(struct update *u, const trm_param *p) {
    const trm_recipe *r = u->o->recipe;
    bool rest = r->optimizer == TRM_MUON || p->layer < 0;
    double lr = u->rate * (rest ? r->lr_rest : r->lr);
    double decay = 1 - lr * (rest ? r->weight_decay_rest : r->weight_decay);
    double c1 = 1 - pow(r->beta1, (double)u->o->t), c2 = 1 - pow(r->beta2, (double)u->o->t);
    size_t n = (size_t)p->rows * (size_t)p->cols;
    float *w = u->w + p->offset, *m = u->o->m + p->offset, *v = u->o->v + p->offset;
    const float *g = u->g + p->offset;
    for (size_t i = 0; i < n; i++) {
        double gi = u->scale * g[i];
        m[i] = (float)(r->beta1 * m[i] + (1 - r->beta1) * gi);
        v[i] = (float)(r->beta2 * v[i] + (1 - r->beta2) * gi * gi);
        double mh = m[i] / c1, vh = sqrt(v[i] / c2);
        double step = r->optimizer == TRM_ADAM_ATAN2 ? atan2(mh, vh) : mh / (vh + 1e-8);
        w[i] = (float)(decay * w[i] - lr * step);
    }
}

/* CastedSparseEmbeddingSignSGD of the official code, on the rows that have a gradient. */
static void sign_update(struct update *u, const trm_param *p) {
    const trm_recipe *r = u->o->recipe;
    double lr = u->rate * r->puzzle_emb_lr;
    float keep = (float)(1 - lr * r->puzzle_emb_decay), step = (float)lr;
    for (int i = 0; i < p->rows; i++) {
        float *w = u->w + p->offset + (ptrdiff_t)i * p->cols;
        const float *g = u->g + p->offset + (ptrdiff_t)i * p->cols;
        bool used = false;
        for (int j = 0; j < p->cols && !used; j++)
            used = g[j] != 0;
        for (int j = 0; j < p->cols && used; j++)
            w[j] = keep * w[j] - (g[j] > 0 ? step : g[j] < 0 ? -step : 0);
    }
}

/* Parameters go to members round robin within the layout, which spreads the big ones. */
static bool mine(const trm_optim *o, int i, int member) {
    return i % trm_team_size(o->team) == member;
}

static void norm_member(void *arg, int member) {
    struct update *u = arg;
    double sum = 0;
    for (int i = 0; i < u->o->layout->count; i++) {
        const trm_param *p = &u->o->layout->param[i];
        if (!mine(u->o, i, member) || !is_trained(p) || p->role == TRM_W_PUZZLE)
            continue;
        const float *g = u->g + p->offset;
        for (size_t j = 0; j < (size_t)p->rows * (size_t)p->cols; j++)
            sum += (double)g[j] * g[j];
    }
    u->norm[member] = sum;
}

static void update_member(void *arg, int member) {
    struct update *u = arg;
    trm_optim *o = u->o;
    for (int i = 0; i < o->layout->count; i++) {
        const trm_param *p = &o->layout->param[i];
        size_t n = (size_t)p->rows * (size_t)p->cols;
        if (!mine(o, i, member))
            continue;
        if (is_muon(o, p))
            muon_update(u, &o->muon[member], p);
        else if (p->role == TRM_W_PUZZLE)
            sign_update(u, p);
        else if (is_trained(p))
            adam_update(u, p);
        /* A young average follows closely, or it would remember the random start for long. */
        double young = (1.0 + (double)o->t) / (10.0 + (double)o->t);
        float k = (float)(o->recipe->ema < young ? o->recipe->ema : young);
        float *e = o->ema ? o->ema + p->offset : NULL;
        const float *w = u->w + p->offset;
        for (size_t j = 0; e && j < n; j++)
            e[j] = o->t == 1 ? w[j] : k * e[j] + (1 - k) * w[j];
    }
}

double trm_optim_update(trm_optim *o, float *w, float *grads, double rate) {
    struct update u = {.o = o, .w = w, .g = grads, .rate = rate, .scale = 1};
    double sum = 0;
    trm_team_run(o->team, norm_member, &u);
    for (int i = 0; i < trm_team_size(o->team); i++)
        sum += u.norm[i];
    double norm = sqrt(sum), clip = o->recipe->clip;
    if (clip > 0 && norm > clip)
        u.scale = clip / norm;
    o->t++;
    trm_team_run(o->team, update_member, &u);
    return norm;
}

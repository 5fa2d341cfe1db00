/* Models in memory: the layout table, fresh weights, loading and saving.
 * A trm_model owns everything it points to and does not change after it is made. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trm/model.h"

struct adder {
    trm_layout *l;
    int room;
};

static void add(struct adder *a, trm_role role, int layer, int rows, int cols, const char *fmt) {
    trm_layout *l = a->l;
    trm_param *p = &l->param[l->count++];
    memset(p, 0, sizeof *p);
    /* fmt is one of the literals below; only those with a layer have a %d. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(p->name, sizeof p->name, fmt, layer);
#pragma GCC diagnostic pop
    p->role = role;
    p->layer = layer;
    p->rows = rows;
    p->cols = cols;
    p->offset = l->floats;
    /* Every matrix starts on a cache line. */
    l->floats += ((size_t)rows * (size_t)cols + 15) / 16 * 16;
}

static void add_layer(struct adder *a, const trm_config *c, int i) {
    int d = c->hidden_size, s = trm_config_positions(c);
    int inner = trm_config_inner(c), inner_t = trm_config_inner_t(c);
    if (c->mlp_t) {
        add(a, TRM_W_GATE_UP_T, i, 2 * inner_t, s,
            "inner.L_level.layers.%d.mlp_t.gate_up_proj.weight");
        add(a, TRM_W_DOWN_T, i, s, inner_t, "inner.L_level.layers.%d.mlp_t.down_proj.weight");
    } else if (trm_config_gated(c)) {
        bool shifts = c->pos_encodings == TRM_POS_SHIFTS, pairs = trm_config_candidates(c);
        add(a, TRM_W_QKV, i, trm_config_mix_in(c), d,
            shifts  ? "inner.L_level.layers.%d.shifts.gate_up_proj.weight"
            : pairs ? "inner.L_level.layers.%d.candidates.gate_up_proj.weight"
                    : "inner.L_level.layers.%d.unit_means.gate_up_proj.weight");
        add(a, TRM_W_O, i, d, trm_config_mix_out(c),
            shifts  ? "inner.L_level.layers.%d.shifts.down_proj.weight"
            : pairs ? "inner.L_level.layers.%d.candidates.down_proj.weight"
                    : "inner.L_level.layers.%d.unit_means.down_proj.weight");
    } else {
        bool beside = trm_config_beside(c) > 0;
        add(a, TRM_W_QKV, i, trm_config_mix_in(c), d,
            beside ? "inner.L_level.layers.%d.attn_shifts.in_proj.weight"
                   : "inner.L_level.layers.%d.self_attn.qkv_proj.weight");
        add(a, TRM_W_O, i, d, trm_config_mix_out(c),
            beside ? "inner.L_level.layers.%d.attn_shifts.out_proj.weight"
                   : "inner.L_level.layers.%d.self_attn.o_proj.weight");
    }
    add(a, TRM_W_GATE_UP, i, 2 * inner, d, "inner.L_level.layers.%d.mlp.gate_up_proj.weight");
    add(a, TRM_W_DOWN, i, d, inner, "inner.L_level.layers.%d.mlp.down_proj.weight");
}

int trm_layout_make(trm_layout *out, const trm_config *c, trm_error *err) {
    int d = c->hidden_size;
    memset(out, 0, sizeof *out);
    out->param = calloc((size_t)(9 + 4 * c->L_layers), sizeof *out->param);
    if (!out->param)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for the layout");
    struct adder a = {out, 9 + 4 * c->L_layers};
    add(&a, TRM_W_H_INIT, -1, 1, d, "inner.H_init");
    add(&a, TRM_W_L_INIT, -1, 1, d, "inner.L_init");
    bool pairs = trm_config_candidates(c);
    add(&a, TRM_W_EMBED, -1, pairs ? 3 : c->vocab_size, d, "inner.embed_tokens.embedding_weight");
    if (c->pos_encodings == TRM_POS_LEARNED)
        add(&a, TRM_W_POS, -1, trm_config_positions(c), d, "inner.embed_pos.embedding_weight");
    if (c->frames)
        add(&a, TRM_W_FRAME, -1, TRM_FRAME_ROWS, d, "inner.frame_emb.weights");
    add(&a, TRM_W_LM_HEAD, -1, pairs ? 1 : c->vocab_size, d, "inner.lm_head.weight");
    add(&a, TRM_W_Q_HEAD, -1, 2, d, "inner.q_head.weight");
    add(&a, TRM_W_Q_BIAS, -1, 1, 2, "inner.q_head.bias");
    if (c->puzzle_emb_ndim)
        add(&a, TRM_W_PUZZLE, -1, c->num_puzzle_identifiers, c->puzzle_emb_ndim,
            "inner.puzzle_emb.weights");
    for (int i = 0; i < c->L_layers; i++)
        add_layer(&a, c, i);
    return TRM_OK;
}

void trm_layout_free(trm_layout *l) {
    free(l->param);
    memset(l, 0, sizeof *l);
}

const trm_param *trm_layout_find(const trm_layout *l, trm_role role, int layer) {
    for (int i = 0; i < l->count; i++)
        if (l->param[i].role == role && l->param[i].layer == layer)
            return &l->param[i];
    return NULL;
}

const float *trm_model_weight(const trm_model *m, trm_role role, int layer) {
    const trm_param *p = trm_layout_find(&m->layout, role, layer);
    return p ? m->w + p->offset : NULL;
}

static int model_alloc(trm_model **out, const trm_config *c, trm_error *err) {
    trm_model *m = calloc(1, sizeof *m);
    if (!m)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for a model");
    m->config = *c;
    int r = trm_layout_make(&m->layout, c, err);
    size_t bytes = m->layout.floats * sizeof(float);
    if (!r && !(m->w = aligned_alloc(64, bytes)))
        r = trm_fail(err, TRM_E_NOMEM, "out of memory for %zu bytes of weights", bytes);
    if (r) {
        trm_model_free(m);
        return r;
    }
    memset(m->w, 0, bytes);
    *out = m;
    return TRM_OK;
}

void trm_model_free(trm_model *m) {
    if (!m)
        return;
    trm_layout_free(&m->layout);
    free(m->w);
    free(m);
}

/* FNV-1a over 64-bit words with four seeds: names a set of weights, proves nothing. */
static void make_id(trm_model *m) {
    for (int k = 0; k < 4; k++) {
        uint64_t h = 0xcbf29ce484222325u + (uint64_t)k * 0x9E3779B97F4A7C15u;
        for (size_t i = 0; i < m->layout.floats; i++) {
            uint32_t bits;
            memcpy(&bits, m->w + i, sizeof bits);
            h = (h ^ bits) * 0x100000001b3u;
            h ^= h >> 29;
        }
        (void)snprintf(m->id + (ptrdiff_t)16 * k, 17, "%016llx", (unsigned long long)h);
    }
}

/* Normal cut at two standard deviations, with standard deviation `std` after the cut
 * (common.py of the official code, trunc_normal_init_). */
static void trunc_normal(float *w, size_t n, double std, trm_rng *rng) {
    const double after_cut = 0.87962566103423978;
    for (size_t i = 0; i < n; i++) {
        double x;
        do
            x = trm_rng_normal(rng);
        while (fabs(x) > 2);
        w[i] = (float)(x * std / after_cut);
    }
}

int trm_model_new(trm_model **out, const trm_config *c, trm_rng *rng, trm_error *err) {
    trm_model *m;
    int r = model_alloc(&m, c, err);
    if (r)
        return r;
    for (int i = 0; i < m->layout.count; i++) {
        const trm_param *p = &m->layout.param[i];
        float *w = m->w + p->offset;
        size_t n = (size_t)p->rows * (size_t)p->cols;
        switch (p->role) {
        case TRM_W_H_INIT:
        case TRM_W_L_INIT:
            trunc_normal(w, n, 1, rng);
            break;
        case TRM_W_Q_BIAS:
            w[0] = w[1] = -5;
            break;
        case TRM_W_Q_HEAD:
        case TRM_W_PUZZLE:
            break; /* zero */
        case TRM_W_EMBED:
        case TRM_W_POS:
        case TRM_W_FRAME:
            trunc_normal(w, n, 1 / sqrt(c->hidden_size), rng);
            break;
        default:
            trunc_normal(w, n, 1 / sqrt(p->cols), rng);
        }
    }
    make_id(m);
    *out = m;
    return TRM_OK;
}

/* "_orig_mod.model.inner.x" and "model.inner.x" are "inner.x". */
static const char *strip(const char *name) {
    static const char *const prefix[] = {"_orig_mod.", "model."};
    for (int i = 0; i < 2; i++)
        if (strncmp(name, prefix[i], strlen(prefix[i])) == 0)
            name += strlen(prefix[i]);
    return name;
}

static const trm_st_view *find_view(
    const trm_st_view *const *views, int n, const char *name, const char *suffix) {
    for (int i = 0; i < n; i++) {
        const char *s = strip(views[i]->name);
        size_t k = strlen(name);
        if (strncmp(s, name, k) == 0 && strcmp(s + k, suffix) == 0)
            return views[i];
    }
    return NULL;
}

static bool same_shape(const trm_param *p, const trm_st_view *v) {
    bool vector = p->role == TRM_W_H_INIT || p->role == TRM_W_L_INIT || p->role == TRM_W_Q_BIAS;
    if (vector)
        return v->ndim == 1 && v->shape[0] == p->cols;
    return v->ndim == 2 && v->shape[0] == p->rows && v->shape[1] == p->cols;
}

static void shape_text(const trm_st_view *v, char *out, size_t size) {
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < v->ndim && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? "x" : "", (long long)v->shape[i]);
}

static int fill_param(
    trm_model *m, const trm_param *p, const trm_st_view *const *views, int n, trm_error *err) {
    const trm_st_view *v = find_view(views, n, p->name, "");
    if (!v)
        return trm_fail(err, TRM_E_FORMAT, "tensor %s is missing", p->name);
    if (!same_shape(p, v)) {
        char got[96];
        shape_text(v, got, sizeof got);
        return trm_fail(err, TRM_E_FORMAT, "tensor %s has shape %s, the configuration needs %dx%d",
            p->name, got, p->rows, p->cols);
    }
    float *w = m->w + p->offset;
    int r = trm_st_to_f32(v, w, err);
    if (r)
        return r;
    if (v->dtype == TRM_I8) {
        const trm_st_view *s = find_view(views, n, p->name, ".scale");
        if (!s || s->dtype != TRM_F32 || s->ndim != 1 || s->shape[0] != p->rows)
            return trm_fail(err, TRM_E_FORMAT, "tensor %s needs %d scales in %s.scale", p->name,
                p->rows, p->name);
        for (int i = 0; i < p->rows; i++) {
            float scale;
            memcpy(&scale, (const char *)s->data + (size_t)i * sizeof scale, sizeof scale);
            for (int j = 0; j < p->cols; j++)
                w[(size_t)i * (size_t)p->cols + (size_t)j] *= scale;
        }
    }
    for (size_t i = 0; i < (size_t)p->rows * (size_t)p->cols; i++)
        if (!isfinite(w[i]))
            return trm_fail(
                err, TRM_E_FORMAT, "tensor %s holds a number that is not finite", p->name);
    return TRM_OK;
}

static int refuse_unknown(
    const trm_model *m, const trm_st_view *const *views, int n, trm_error *err) {
    for (int i = 0; i < n; i++) {
        const char *s = strip(views[i]->name);
        bool known = false;
        for (int k = 0; k < m->layout.count && !known; k++) {
            size_t len = strlen(m->layout.param[k].name);
            known = strncmp(s, m->layout.param[k].name, len) == 0 &&
                    (s[len] == 0 || strcmp(s + len, ".scale") == 0);
        }
        if (!known)
            return trm_fail(err, TRM_E_FORMAT, "tensor %.120s is not part of this configuration",
                views[i]->name);
    }
    return TRM_OK;
}

int trm_model_from_views(
    trm_model **out, const trm_config *c, const trm_st_view *const *views, int n, trm_error *err) {
    trm_model *m;
    int r = model_alloc(&m, c, err);
    if (r)
        return r;
    r = refuse_unknown(m, views, n, err);
    for (int i = 0; !r && i < m->layout.count; i++)
        r = fill_param(m, &m->layout.param[i], views, n, err);
    if (r) {
        trm_model_free(m);
        return r;
    }
    make_id(m);
    *out = m;
    return TRM_OK;
}

static void name_after(trm_model *m, const char *path) {
    const char *base = strrchr(path, '/');
    (void)snprintf(m->name, sizeof m->name, "%s", base ? base + 1 : path);
    char *end = strstr(m->name, ".safetensors");
    if (end)
        *end = 0;
    trm_make_utf8(m->name);
}

static int open_file(
    trm_model **out, const trm_st_file *f, const trm_config *config, trm_error *err) {
    trm_config c;
    const char *text = trm_st_metadata(f, "config");
    if (config) {
        c = *config;
    } else if (text) {
        int r = trm_config_parse(&c, text, err);
        if (r)
            return r;
    } else {
        return trm_fail(err, TRM_E_FORMAT, "holds no configuration; give one with --config");
    }
    int n = trm_st_count(f);
    const trm_st_view **views = calloc((size_t)n + 1, sizeof *views);
    if (!views)
        return trm_fail(err, TRM_E_NOMEM, "out of memory for %d tensors", n);
    for (int i = 0; i < n; i++)
        views[i] = trm_st_at(f, i);
    int r = trm_model_from_views(out, &c, views, n, err);
    free(views);
    return r;
}

int trm_model_open(trm_model **out, const char *path, const trm_config *config, trm_error *err) {
    trm_st_file *f;
    trm_error inner;
    int r = trm_st_open(&f, path, err);
    if (r)
        return r;
    r = open_file(out, f, config, &inner);
    if (r)
        (void)trm_fail(err, r, "%s: %s", path, inner.text);
    else
        name_after(*out, path);
    trm_st_close(f);
    return r;
}

static uint16_t bf16_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

/* Symmetric per-row int8: scale = max|row| / 127. */
static void to_i8(const float *w, int rows, int cols, int8_t *q, float *scale) {
    for (int i = 0; i < rows; i++) {
        const float *row = w + (size_t)i * (size_t)cols;
        float top = 0;
        for (int j = 0; j < cols; j++)
            top = fmaxf(top, fabsf(row[j]));
        scale[i] = top > 0 ? top / 127 : 1;
        for (int j = 0; j < cols; j++)
            q[(size_t)i * (size_t)cols + (size_t)j] = (int8_t)lrintf(row[j] / scale[i]);
    }
}

struct save {
    trm_st_view *view;
    char (*name)[80];
    char *data;
    size_t used;
    int n;
};

static void save_param(struct save *s, const trm_model *m, const trm_param *p, trm_dtype dtype) {
    size_t n = (size_t)p->rows * (size_t)p->cols;
    const float *w = m->w + p->offset;
    bool vector = p->rows == 1;
    trm_st_view *v = &s->view[s->n];
    /* Small vectors and tables stay exact; only the matrices of the blocks are quantised. */
    trm_dtype t = dtype == TRM_I8 && p->layer < 0 ? TRM_F32 : dtype;
    (void)snprintf(s->name[s->n], sizeof *s->name, "%s", p->name);
    *v = (trm_st_view){s->name[s->n], t, vector ? 1 : 2, {p->rows, p->cols}, s->data + s->used,
        n * trm_st_dtype_size(t)};
    if (p->role == TRM_W_H_INIT || p->role == TRM_W_L_INIT || p->role == TRM_W_Q_BIAS)
        v->shape[0] = p->cols;
    else
        v->ndim = 2;
    void *at = s->data + s->used;
    s->used += (v->bytes + 63) / 64 * 64;
    s->n++;
    if (t == TRM_F32) {
        memcpy(at, w, v->bytes);
    } else if (t == TRM_BF16) {
        uint16_t *q = at;
        for (size_t i = 0; i < n; i++)
            q[i] = bf16_of(w[i]);
    } else {
        float *scale = (float *)(void *)(s->data + s->used);
        to_i8(w, p->rows, p->cols, at, scale);
        (void)snprintf(s->name[s->n], sizeof *s->name, "%s.scale", p->name);
        s->view[s->n] = (trm_st_view){
            s->name[s->n], TRM_F32, 1, {p->rows}, scale, (size_t)p->rows * sizeof(float)};
        s->used += (s->view[s->n].bytes + 63) / 64 * 64;
        s->n++;
    }
}

int trm_model_save(const trm_model *m, const char *path, trm_dtype dtype, trm_error *err) {
    if (dtype != TRM_F32 && dtype != TRM_BF16 && dtype != TRM_I8)
        return trm_fail(err, TRM_E_ARG, "models are saved as F32, BF16 or I8");
    size_t most = (size_t)(2 * m->layout.count);
    struct save s = {calloc(most, sizeof *s.view), calloc(most, sizeof *s.name),
        aligned_alloc(64, m->layout.floats * 5 + 64 * 2 * most + 64 - (m->layout.floats * 5) % 64),
        0, 0};
    char *config = trm_config_dump(&m->config);
    int r = TRM_OK;
    if (!s.view || !s.name || !s.data || !config)
        r = trm_fail(err, TRM_E_NOMEM, "out of memory to save %s", path);
    for (int i = 0; !r && i < m->layout.count; i++)
        save_param(&s, m, &m->layout.param[i], dtype);
    if (!r) {
        const char *meta[2][2] = {{"config", config}, {"format", "trm"}};
        r = trm_st_write(path, s.view, s.n, meta, 2, err);
    }
    free(config);
    free(s.view);
    free(s.name);
    free(s.data);
    return r;
}

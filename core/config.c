/* Configurations: JSON text <-> trm_config. Plain values; nothing is kept. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "trm/config.h"

static const char *const pos_names[] = {"none", "learned", "rope", "rope2d", "units", "neighbours",
    "unit_means", "shifts", "candidates", "rope2d_shifts"};
enum { N_POS = sizeof pos_names / sizeof *pos_names };

const char *trm_pos_name(trm_pos p) {
    return pos_names[p];
}

void trm_config_defaults(trm_config *c) {
    memset(c, 0, sizeof *c);
    c->expansion = 4;
    c->num_heads = 8;
    c->H_cycles = 3;
    c->L_cycles = 6;
    c->L_layers = 2;
    c->pos_encodings = TRM_POS_ROPE;
    c->rope_theta = 10000;
    c->rms_norm_eps = 1e-5;
    c->puzzle_emb_len = 16;
    c->halt_max_steps = 16;
    c->halt_exploration_prob = 0.1;
}

static const trm_field fields[] = {
#define F(k, kind, lo, hi, req)                                                                    \
    { #k, kind, offsetof(trm_config, k), lo, hi, req }
    F(seq_len, TRM_INT, 1, 4096, true),
    F(vocab_size, TRM_INT, 2, 4096, true),
    F(hidden_size, TRM_INT, 2, 8192, true),
    F(num_heads, TRM_INT, 1, 256, false),
    F(expansion, TRM_REAL, 0.01, 64, false),
    F(H_cycles, TRM_INT, 1, 1000, false),
    F(L_cycles, TRM_INT, 1, 1000, false),
    F(L_layers, TRM_INT, 1, 64, false),
    F(mlp_t, TRM_BOOL, 0, 1, false),
    F(rope_theta, TRM_REAL, 1, 1e9, false),
    F(rms_norm_eps, TRM_REAL, 0, 1, false),
    F(puzzle_emb_ndim, TRM_INT, 0, 1 << 20, false),
    F(puzzle_emb_len, TRM_INT, 0, 1024, false),
    F(num_puzzle_identifiers, TRM_INT, 0, 1 << 24, false),
    F(halt_max_steps, TRM_INT, 1, 1 << 20, false),
    F(halt_exploration_prob, TRM_REAL, 0, 1, false),
    F(inner_size, TRM_INT, 0, 1 << 16, false),
    F(q_mean, TRM_BOOL, 0, 1, false),
    F(unsat_head, TRM_BOOL, 0, 1, false),
    F(packed, TRM_BOOL, 0, 1, false),
    F(frames, TRM_BOOL, 0, 1, false),
    F(auto_H_cycles, TRM_INT, 0, 1000, false),
    F(halt_logit, TRM_REAL, -1e6, 1e6, false),
#undef F
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

static int read_names(trm_config *c, const json_t *o, trm_error *err) {
    const json_t *v = json_object_get(o, "pos_encodings");
    if (v) {
        const char *s = json_string_value(v);
        int i = 0;
        while (s && i < N_POS && strcmp(s, pos_names[i]) != 0)
            i++;
        if (!s || i == N_POS)
            return trm_fail(err, TRM_E_FORMAT,
                "config: \"pos_encodings\" must be none, learned, rope, rope2d, units, "
                "neighbours, unit_means, shifts, candidates or rope2d_shifts");
        c->pos_encodings = (trm_pos)i;
    }
    v = json_object_get(o, "task");
    if (v) {
        const char *s = json_string_value(v);
        if (!s || strlen(s) >= sizeof c->task)
            return trm_fail(err, TRM_E_FORMAT, "config: \"task\" must be a short string");
        strcpy(c->task, s);
    }
    v = json_object_get(o, "H_layers");
    if (v && !json_is_integer(v))
        return trm_fail(err, TRM_E_FORMAT, "config: \"H_layers\" must be an integer");
    return TRM_OK;
}

/* What no single key shows. */
static int check(const trm_config *c, trm_error *err) {
    bool rope = c->pos_encodings == TRM_POS_ROPE || trm_config_rope2d(c);
    if (!c->mlp_t && c->hidden_size % c->num_heads != 0)
        return trm_fail(err, TRM_E_FORMAT,
            "config: hidden_size %d is not a multiple of num_heads %d", c->hidden_size,
            c->num_heads);
    int head = c->hidden_size / c->num_heads;
    if (!c->mlp_t && rope && head % (c->pos_encodings == TRM_POS_ROPE ? 2 : 4) != 0)
        return trm_fail(
            err, TRM_E_FORMAT, "config: heads of %d channels cannot hold rotary positions", head);
    if (c->puzzle_emb_ndim == 0 && c->puzzle_emb_len != 0)
        return trm_fail(err, TRM_E_FORMAT, "config: puzzle_emb_len is %d but puzzle_emb_ndim is 0",
            c->puzzle_emb_len);
    if (c->frames && (!c->packed || !trm_config_rope2d(c) || c->vocab_size != 12 ||
                         c->puzzle_emb_ndim % c->hidden_size != 0 ||
                         c->puzzle_emb_len != c->puzzle_emb_ndim / c->hidden_size + TRM_FRAME))
        return trm_fail(err, TRM_E_FORMAT,
            "config: frames need packed cells, rope2d or rope2d_shifts, the 12 tokens of ARC, and "
            "%d positions of "
            "puzzle_emb_len after the puzzle's own",
            TRM_FRAME);
    if (c->puzzle_emb_ndim > c->puzzle_emb_len * c->hidden_size)
        return trm_fail(err, TRM_E_FORMAT,
            "config: puzzle_emb_ndim %d does not fit puzzle_emb_len %d", c->puzzle_emb_ndim,
            c->puzzle_emb_len);
    if (c->puzzle_emb_ndim > 0 && c->num_puzzle_identifiers < 1)
        return trm_fail(err, TRM_E_FORMAT, "config: \"num_puzzle_identifiers\" must be at least 1");
    bool units = c->pos_encodings == TRM_POS_UNITS || c->pos_encodings == TRM_POS_UNIT_MEANS ||
                 trm_config_candidates(c);
    if (units && (c->seq_len != 81 || c->mlp_t || c->puzzle_emb_len || c->packed))
        return trm_fail(err, TRM_E_FORMAT,
            "config: pos_encodings \"%s\" needs the 81 cells of a Sudoku alone, not packed, and no "
            "mlp_t",
            trm_pos_name(c->pos_encodings));
    if (trm_config_candidates(c) && c->vocab_size != 11)
        return trm_fail(err, TRM_E_FORMAT,
            "config: pos_encodings \"candidates\" needs the 11 tokens of a Sudoku");
    if (c->pos_encodings == TRM_POS_NEIGHBOURS &&
        (c->num_heads % 4 != 0 || c->mlp_t || c->puzzle_emb_len || c->seq_len > 1024))
        return trm_fail(err, TRM_E_FORMAT,
            "config: pos_encodings \"neighbours\" needs attention over at most 1024 cells alone, "
            "with a multiple of 4 heads");
    if (c->pos_encodings == TRM_POS_SHIFTS &&
        (c->hidden_size % 4 != 0 || c->mlp_t || c->puzzle_emb_len || c->seq_len > 1024))
        return trm_fail(err, TRM_E_FORMAT,
            "config: pos_encodings \"shifts\" needs at most 1024 cells alone, a hidden_size that "
            "is a multiple of 4 and no mlp_t");
    if (c->pos_encodings == TRM_POS_ROPE2D_SHIFTS &&
        (c->hidden_size % 2 != 0 || c->mlp_t || c->seq_len > 1024))
        return trm_fail(err, TRM_E_FORMAT,
            "config: pos_encodings \"rope2d_shifts\" needs at most 1024 cells, an even hidden_size "
            "and no mlp_t");
    if (c->packed &&
        (c->mlp_t || c->pos_encodings == TRM_POS_LEARNED || c->pos_encodings == TRM_POS_ROPE))
        return trm_fail(
            err, TRM_E_FORMAT, "config: packed cells need attention without 1-D positions");
    return TRM_OK;
}

static int from_json(void *arg, json_t *o, trm_error *err) {
    trm_config *c = arg;
    for (int i = 0; i < N_FIELDS; i++) {
        const json_t *v = json_object_get(o, fields[i].key);
        if (!v && fields[i].required)
            return trm_fail(err, TRM_E_FORMAT, "config: \"%s\" is missing", fields[i].key);
        int r = v ? trm_field_read(c, &fields[i], v, "config", err) : TRM_OK;
        if (r)
            return r;
    }
    int r = read_names(c, o, err);
    if (r)
        return r;
    /* The official code takes length 0 to mean "as many positions as the embedding needs". */
    if (c->puzzle_emb_ndim == 0 && !json_object_get(o, "puzzle_emb_len"))
        c->puzzle_emb_len = 0;
    if (c->puzzle_emb_len == 0 && c->puzzle_emb_ndim > 0)
        c->puzzle_emb_len = (c->puzzle_emb_ndim + c->hidden_size - 1) / c->hidden_size;
    return check(c, err);
}

int trm_config_parse(trm_config *c, const char *json, trm_error *err) {
    trm_config_defaults(c);
    return trm_json_read(json, NULL, "config", from_json, c, err);
}

int trm_config_read(trm_config *c, const char *path, trm_error *err) {
    trm_config_defaults(c);
    return trm_json_read(NULL, path, "config", from_json, c, err);
}

char *trm_config_dump(const trm_config *c) {
    json_t *o = json_object();
    for (int i = 0; o && i < N_FIELDS; i++) {
        const char *at = (const char *)c + fields[i].offset;
        json_t *v = fields[i].kind == TRM_BOOL  ? json_boolean(*(const bool *)at)
                    : fields[i].kind == TRM_INT ? json_integer(*(const int *)at)
                                                : json_real(*(const double *)at);
        if (json_object_set_new(o, fields[i].key, v)) {
            json_decref(o);
            return NULL;
        }
    }
    if (!o ||
        json_object_set_new(o, "pos_encodings", json_string(trm_pos_name(c->pos_encodings))) ||
        (c->task[0] && json_object_set_new(o, "task", json_string(c->task)))) {
        json_decref(o);
        return NULL;
    }
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(o);
    return text;
}

bool trm_config_candidates(const trm_config *c) {
    return c->pos_encodings == TRM_POS_CANDIDATES;
}

bool trm_config_rope2d(const trm_config *c) {
    return c->pos_encodings == TRM_POS_ROPE2D || c->pos_encodings == TRM_POS_ROPE2D_SHIFTS;
}

int trm_config_positions(const trm_config *c) {
    return trm_config_span(c, c->seq_len);
}

int trm_config_span(const trm_config *c, int cells) {
    return c->puzzle_emb_len + cells * (trm_config_candidates(c) ? 9 : 1);
}

/* layers.py of the official code: _find_multiple(round(expansion * D * 2 / 3), 256). */
static int official_inner(double expansion, int d) {
    int n = (int)nearbyint(expansion * d * 2 / 3);
    return (n + 255) / 256 * 256;
}

int trm_config_inner(const trm_config *c) {
    return c->inner_size ? c->inner_size : official_inner(c->expansion, c->hidden_size);
}

int trm_config_inner_t(const trm_config *c) {
    return official_inner(c->expansion, trm_config_positions(c));
}

bool trm_config_gated(const trm_config *c) {
    return c->pos_encodings == TRM_POS_UNIT_MEANS || c->pos_encodings == TRM_POS_SHIFTS ||
           trm_config_candidates(c);
}

int trm_config_mix_in(const trm_config *c) {
    return trm_config_gated(c) ? 2 * trm_config_mix_out(c)
                               : 3 * c->hidden_size + 2 * trm_config_beside(c);
}

int trm_config_mix_out(const trm_config *c) {
    int d = c->hidden_size;
    return trm_config_candidates(c) ? 4 * d
           : trm_config_gated(c)    ? 3 * d
                                    : d + trm_config_beside(c);
}

int trm_config_beside(const trm_config *c) {
    return c->pos_encodings == TRM_POS_ROPE2D_SHIFTS ? 2 * c->hidden_size : 0;
}

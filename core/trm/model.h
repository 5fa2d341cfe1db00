/* A model in memory: configuration and every weight in one flat f32 array.
 *
 * The layout is a table of named matrices (official names below `inner.`) with offsets into
 * that array. The trainer keeps gradients, momenta and averages in arrays of the same
 * layout. A trm_model owns its arrays; once loaded it is read-only and may be shared by any
 * number of threads and engines.
 */
#ifndef TRM_MODEL_H
#define TRM_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "trm/config.h"
#include "trm/rng.h"
#include "trm/safetensors.h"

typedef enum trm_role {
    TRM_W_H_INIT,    /* (1, D) not trained */
    TRM_W_L_INIT,    /* (1, D) not trained */
    TRM_W_EMBED,     /* (V, D) embed_tokens.embedding_weight; candidates: (3, D), of an open cell,
                        of the given digit, of another than the given one */
    TRM_W_POS,       /* (S, D) embed_pos.embedding_weight, learned positions only */
    TRM_W_PUZZLE,    /* (identifiers, puzzle_emb_ndim) puzzle_emb.weights */
    TRM_W_FRAME,     /* (137, D) frame_emb.weights (own), see TRM_FRAME_ROWS */
    TRM_W_LM_HEAD,   /* (V, D); candidates: (1, D) */
    TRM_W_Q_HEAD,    /* (2, D): halt, continue */
    TRM_W_Q_BIAS,    /* (1, 2) */
    TRM_W_GATE_UP_T, /* (2 It, S) layers.l.mlp_t.gate_up_proj */
    TRM_W_DOWN_T,    /* (S, It)   layers.l.mlp_t.down_proj */
    TRM_W_QKV, /* (3 D, D)  layers.l.self_attn.qkv_proj; or (6 D, D) unit_means|shifts.gate_up_proj
                */
    TRM_W_O,   /* (D, D)    layers.l.self_attn.o_proj; or (D, 3 D) unit_means.down_proj */
    TRM_W_GATE_UP, /* (2 I, D)  layers.l.mlp.gate_up_proj */
    TRM_W_DOWN,    /* (D, I)    layers.l.mlp.down_proj */
    TRM_W_ROLES
} trm_role;

typedef struct trm_param {
    char name[72]; /* "inner.L_level.layers.0.mlp.down_proj.weight" */
    trm_role role;
    int layer;      /* 0.. or -1 */
    int rows, cols; /* row-major; vectors are (1, n) here, 1-D in files */
    size_t offset;  /* in floats */
} trm_param;

typedef struct trm_layout {
    trm_param *param;
    int count;
    size_t floats; /* length of the flat array */
} trm_layout;

typedef struct trm_model {
    trm_config config;
    trm_layout layout;
    float *w;      /* (layout.floats) */
    char name[64]; /* file name without folder and ending, as UTF-8 */
    char id[65];   /* hex FNV-1a based content hash: changes when any weight changes */
} trm_model;

TRM_API int trm_layout_make(trm_layout *out, const trm_config *c, trm_error *err);
TRM_API void trm_layout_free(trm_layout *l);
/* NULL where the configuration has no such matrix. */
TRM_API const trm_param *trm_layout_find(const trm_layout *l, trm_role role, int layer);

/* Fresh weights as the official code draws them (truncated normals, halt head 0 / -5). */
TRM_API int trm_model_new(trm_model **out, const trm_config *c, trm_rng *rng, trm_error *err);
/* Reads PATH; `config`, or where it is NULL the file's metadata, says how the weights are run.
 * Every tensor must be there with the shape it asks for; unknown ones are refused by name. I8
 * tensors need NAME.scale (rows). Keys may carry "_orig_mod.model.". */
TRM_API int trm_model_open(
    trm_model **out, const char *path, const trm_config *config, trm_error *err);
/* Fills a model from tensors of any origin (an imported checkpoint). */
TRM_API int trm_model_from_views(
    trm_model **out, const trm_config *c, const trm_st_view *const *views, int n, trm_error *err);
TRM_API int trm_model_save(
    const trm_model *m, const char *path, trm_dtype dtype /* F32, BF16 or I8 */, trm_error *err);
/* Puts '?' where a string, such as a file's name, is not well-formed UTF-8: JSON takes no other. */
TRM_API void trm_make_utf8(char *text);
TRM_API void trm_model_free(trm_model *m);
TRM_API const float *trm_model_weight(const trm_model *m, trm_role role, int layer);

#endif

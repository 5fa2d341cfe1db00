/* A model's configuration: the official key names, plus this project's own.
 *
 * Plain values, no ownership. Unknown keys are ignored (the official files hold many), keys
 * with a wrong type or a value out of range are refused by name.
 */
#ifndef TRM_CONFIG_H
#define TRM_CONFIG_H

#include <stdbool.h>

#include "trm/error.h"

typedef enum trm_pos {
    TRM_POS_NONE,       /* "none" */
    TRM_POS_LEARNED,    /* "learned": embed_pos added to the input */
    TRM_POS_ROPE,       /* "rope": 1-D rotary over all positions, the official one */
    TRM_POS_ROPE2D,     /* "rope2d" (own): half of each head by row, half by column */
    TRM_POS_UNITS,      /* "units" (own): Sudoku attention, head h sees only the cells that share
                           its row (h%3=0), column (1) or box (2) */
    TRM_POS_NEIGHBOURS, /* "neighbours" (own): attention in which head h sees its own cell and
                        the one below (h%4=0), left (1), right (2) or above (3) */
    TRM_POS_UNIT_MEANS, /* "unit_means" (own): no attention but a SwiGLU whose gated channels are
                          averaged over the cell's row (first third), column and box */
    TRM_POS_SHIFTS, /* "shifts" (own): the same SwiGLU, but its channels come from the cell below
                       (first quarter), left, right and above; 0 where there is none */
    TRM_POS_CANDIDATES, /* "candidates" (own): a position for each digit of each cell of a Sudoku,
                           position 9 cell + digit - 1; the same SwiGLU, its channels averaged over
                           the nine digits of the cell (first quarter), or the digit's nine cells
                           of the row, column or box. No weight knows a digit from another */
    TRM_POS_ROPE2D_SHIFTS, /* "rope2d_shifts" (own): rope2d attention and, beside it in the same
                              layer, shifts of 2 D channels */
} trm_pos;

/* A frame tells how an ARC pair is shown: [0] a symmetry (0..7), [1..9] the colour (0..9) that
 * each of the colours 1..9 became, [10..11] row and column where the input's corner lies on the
 * canvas, [12..13] the input's rows and columns. The first TRM_FRAME have a position each; from
 * the others each cell gets its place in the input, counted from all four sides. */
enum { TRM_FRAME = 10, TRM_FRAME_CODE = 14, TRM_FRAME_SIDE = 30 };
/* Rows of frame_emb: 8 symmetries, 9 colours, and places from above, below, left, right. */
enum { TRM_FRAME_PLACES = 17, TRM_FRAME_ROWS = TRM_FRAME_PLACES + 4 * TRM_FRAME_SIDE };

typedef struct trm_config {
    /* official */
    int seq_len;      /* L: cells of the grid, without puzzle-embedding positions */
    int vocab_size;   /* V */
    int hidden_size;  /* D */
    int num_heads;    /* attention heads; D % heads == 0 */
    double expansion; /* SwiGLU inner = ceil256(round(expansion * D * 2/3)) */
    int H_cycles;     /* T: latent cycles in a supervision step */
    int L_cycles;     /* n: z-updates in a cycle */
    int L_layers;     /* blocks in the one network */
    bool mlp_t;       /* token mixing by an MLP over positions, else attention */
    trm_pos pos_encodings;
    double rope_theta;          /* 10000 */
    double rms_norm_eps;        /* 1e-5 */
    int puzzle_emb_ndim;        /* width of a puzzle embedding, 0 = none */
    int puzzle_emb_len;         /* positions it takes, before the cells */
    int num_puzzle_identifiers; /* rows of its table */
    int halt_max_steps;         /* N_sup */
    double halt_exploration_prob;
    /* this project's own */
    char task[16];     /* "sudoku", "maze", "arc"; "" where unknown */
    int inner_size;    /* SwiGLU inner of the channel MLP, 0 = the official rule */
    bool unsat_head;   /* the second halt logit is of "no answer exists"; else it is unused */
    bool q_mean;       /* halt head reads the mean over positions, not position 0 */
    bool packed;       /* trained on packed cells: any number of cells up to L */
    bool frames;       /* the last 10 positions of puzzle_emb_len, and an embedding of each cell's
                          place, tell how an ARC pair is shown */
    int auto_H_cycles; /* T of a step where every step's answer is checked (halt `auto`), 0 =
                          H_cycles: with fewer an easy puzzle is done sooner */
    double halt_logit; /* `act` halts above this halt logit (official: 0) */
} trm_config;

/* Official defaults; sizes 0. */
TRM_API void trm_config_defaults(trm_config *c);
/* Parses JSON text over the defaults and checks it. */
TRM_API int trm_config_parse(trm_config *c, const char *json, trm_error *err);
TRM_API int trm_config_read(trm_config *c, const char *path, trm_error *err);
/* JSON text of all keys, malloc'd; NULL when out of memory. */
TRM_API char *trm_config_dump(const trm_config *c);
/* S: all positions, those of puzzle_emb_len + seq_len. */
TRM_API int trm_config_positions(const trm_config *c);
/* Positions of so many cells: puzzle_emb_len + cells, or + 9 cells for candidates. */
TRM_API int trm_config_span(const trm_config *c, int cells);
/* SwiGLU inner widths: of the channel MLP, and of the MLP over positions. */
TRM_API int trm_config_inner(const trm_config *c);
TRM_API int trm_config_inner_t(const trm_config *c);
TRM_API bool trm_config_candidates(const trm_config *c);
TRM_API bool trm_config_rope2d(const trm_config *c); /* with or without shifts beside it */
/* Channels of what mixes positions: what its first product makes of D (3 D queries, keys and
 * values, or 2 Iu of a gated SwiGLU, Iu = 3 D, for candidates 4 D, or both), and what its second
 * reads. */
TRM_API bool trm_config_gated(const trm_config *c); /* unit means, shifts or candidates */
TRM_API int trm_config_mix_in(const trm_config *c);
TRM_API int trm_config_mix_out(const trm_config *c);
TRM_API int trm_config_beside(const trm_config *c); /* those of the second that are shifts beside
                                                       attention: Iu = 2 D, or 0 */
TRM_API const char *trm_pos_name(trm_pos p);

#endif

/* Engine and slots: a loaded model on a backend, with S places for puzzles in work.
 *
 * A slot carries one puzzle's input and its latents y (z_H) and z (z_L). trm_engine_step()
 * runs one supervision step (T cycles of n z-updates and one y-update; Algorithm 3 of
 * arXiv 2510.04871) on any subset of the slots as one batch and leaves for each an argmax
 * answer and a halt logit. Nothing is allocated in a step.
 *
 * An engine belongs to one thread at a time (its caller); inside, a step is spread over
 * `threads` threads that sleep between steps. Several engines may share a model.
 */
#ifndef TRM_ENGINE_H
#define TRM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/model.h"

typedef struct trm_engine trm_engine;

typedef struct trm_engine_options {
    const char
        *backend; /* "auto", "cpu" (the best without a GPU), "reference", "openblas", "onednn-f32",
                     "onednn-bf16", "onednn-int8", "cuda-bf16", "cuda-f32"; NULL = "auto" */
    int threads;  /* >= 1 */
    int slots;    /* >= 1; a GPU short of memory gives fewer: trm_engine_slots() */
    bool keep_logits; /* trm_engine_logits() is wanted */
} trm_engine_options;

/* One puzzle. row/col give each cell's place for rope2d and packed inputs; NULL means the
 * full canvas in reading order, cells = seq_len. */
typedef struct trm_input {
    int cells;
    const int32_t *tokens;    /* (cells) in 0..vocab-1 */
    const uint8_t *row, *col; /* (cells) or NULL */
    int puzzle_identifier;
    const uint8_t *frame; /* (TRM_FRAME_CODE) or NULL for the identity; models with frames only */
} trm_input;

TRM_API int trm_engine_new(
    trm_engine **out, const trm_model *m, const trm_engine_options *o, trm_error *err);
TRM_API void trm_engine_free(trm_engine *e);
TRM_API const char *trm_engine_backend(const trm_engine *e);
/* Does a GPU run its steps? */
TRM_API bool trm_engine_on_gpu(const trm_engine *e);
TRM_API const trm_model *trm_engine_model(const trm_engine *e);
TRM_API int trm_engine_slots(const trm_engine *e);
/* Bytes of one slot, and of the whole engine (weights as the backend holds them + slots +
 * working buffers). */
TRM_API size_t trm_engine_slot_bytes(const trm_engine *e);
TRM_API size_t trm_engine_bytes(const trm_engine *e);

/* Puts a puzzle into a slot with fresh latents (H_init, L_init). */
TRM_API int trm_engine_load(trm_engine *e, int slot, const trm_input *in, trm_error *err);
/* As trm_engine_load, but the slot's latents stay: the puzzle in it, with other tokens. */
TRM_API int trm_engine_change(trm_engine *e, int slot, const trm_input *in, trm_error *err);
/* How many cycles T >= 1 each further step of the slot takes, until its next load: then it is the
 * model's H_cycles again. */
TRM_API void trm_engine_cycles(trm_engine *e, int slot, int cycles);
/* Which load or change the slot has seen last: a number that no other one of any engine has had,
 * 0 before the first. */
TRM_API uint64_t trm_engine_loaded(const trm_engine *e, int slot);
/* Adds sigma * N(0,1) to the slot's latents: another starting point for a new attempt. */
TRM_API void trm_engine_perturb(trm_engine *e, int slot, float sigma, trm_rng *rng);
/* One supervision step on n different slots. After an error no answer counts. */
TRM_API int trm_engine_step(trm_engine *e, const int *slots, int n, trm_error *err);

/* After a step, valid until the slot's next load or step: */
TRM_API const int32_t *trm_engine_answer(const trm_engine *e, int slot);   /* (cells) tokens */
TRM_API const float *trm_engine_confidence(const trm_engine *e, int slot); /* (cells) probability
                                                                of the argmax token, softmax */
TRM_API float trm_engine_halt_logit(const trm_engine *e, int slot);
TRM_API const float *trm_engine_q_logits(const trm_engine *e, int slot); /* (2) */
TRM_API const float *trm_engine_logits(const trm_engine *e, int slot);   /* (cells, V) or NULL */

/* Names of the backends that this build and processor can run, best first; NULL-ended. */
TRM_API const char *const *trm_backends(void);

#endif

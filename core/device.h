/* What libtrm asks of a device that runs whole supervision steps: a GPU behind a plug-in.
 *
 * The plug-in is a library of its own, opened when it is first asked for, so that a program
 * runs where its driver is not. It knows nothing of files, puzzles or threads: a trm_device is
 * a model on the device with a number of slots, each holding a puzzle and its latents. Latents
 * stay there; tokens go in, and answers and halt logits come out.
 *
 * A trm_device belongs to one thread at a time. After a failed call only its state_get, where
 * it still answers, and free are of use.
 */
#ifndef TRM_DEVICE_H
#define TRM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trm/train.h"

enum { TRM_DEVICE_ABI = 4 };

typedef struct trm_device trm_device;

typedef struct trm_device_options {
    const char *backend; /* one of the library's names */
    const trm_config *config;
    const trm_layout *layout;
    const float *w;                      /* (layout.floats): copied */
    int slots;                           /* most wanted; fewer where the device's memory is short */
    int positions;                       /* most positions of a slot, prefix and padding included */
    int inner, inner_t, mix_in, mix_out; /* trm_config_inner() and so on */
    bool keep_logits;
    bool dense, near, gated; /* trm_config_dense() and so on */
    /* To train: losses, optimizer and rates; NULL for steps alone. Each slot is a lesson then, and
     * there are as many as were asked for, or none. */
    const trm_recipe *recipe;
} trm_device_options;

/* A puzzle for a slot. `real` positions, with padding `s`; `places` tables as trm_places() makes
 * them, NULL where the model needs none. */
typedef struct trm_device_input {
    int cells, real, s, puzzle;
    const int32_t *tokens; /* (cells) */
    const float *rope;     /* (s, hd) */
    const int32_t *near;   /* (4, s) */
    const int32_t *labels; /* (cells), negative = not counted; of a lesson */
} trm_device_input;

/* Where a step leaves what it found, for the i-th of its slots. */
typedef struct trm_device_output {
    int32_t *answer;   /* (cells) */
    float *confidence; /* (cells) */
    float *logits;     /* (cells, V), or NULL */
    float q[2];
} trm_device_output;

/* What a training step does beside taking gradients: update number `t` (from 1) of the weights, at
 * `rate` times the recipe's rates; or nothing. */
typedef struct trm_device_update {
    bool update;
    long t;
    double rate;
} trm_device_update;

/* What a training step found, for each slot; as trm_lesson's. */
typedef struct trm_device_verdict {
    double lm, q_loss;
    float q[2];
    int right, counted;
} trm_device_verdict;

/* Flat arrays of the layout that a training device holds. */
typedef enum trm_device_array {
    TRM_DEVICE_W,
    TRM_DEVICE_M,
    TRM_DEVICE_V,
    TRM_DEVICE_EMA,
    TRM_DEVICE_GRADS
} trm_device_array;

typedef struct trm_device_lib {
    int abi;                  /* TRM_DEVICE_ABI */
    const char *const *names; /* backends, best first, NULL-ended */
    /* Is there a device that works? Names it in `what`; else the error says what is missing. */
    int (*probe)(char *what, size_t size, trm_error *err);
    int (*open)(trm_device **out, const trm_device_options *o, trm_error *err);
    void (*close)(trm_device *d);
    int (*slots)(const trm_device *d);         /* that there was room for */
    size_t (*bytes)(const trm_device *d);      /* of the device's memory, in all */
    size_t (*slot_bytes)(const trm_device *d); /* of it, for one slot */
    /* Puts a puzzle into a slot, with fresh latents. It crosses the bus with the next step. */
    void (*load)(trm_device *d, int slot, const trm_device_input *in);
    /* Copies a slot's latents, (s, D) each. */
    int (*latents_get)(trm_device *d, int slot, float *y, float *z, trm_error *err);
    int (*latents_put)(trm_device *d, int slot, const float *y, const float *z, trm_error *err);
    /* One supervision step of so many cycles on n different slots; out (n). */
    int (*step)(
        trm_device *d, const int *slots, int n, int cycles, trm_device_output *out, trm_error *err);
    /* Begins a training step on all slots and returns while it runs; learned() waits for it, fills
     * verdict (slots) and the norm of the gradient before it was clipped. */
    int (*learn)(trm_device *d, const trm_device_update *u, trm_error *err);
    int (*learned)(trm_device *d, trm_device_verdict *verdict, double *norm, trm_error *err);
    /* Copies an array out or in, between steps. */
    int (*get)(trm_device *d, trm_device_array which, float *to, trm_error *err);
    int (*put)(trm_device *d, trm_device_array which, const float *from, trm_error *err);
    /* Supervision steps per second and puzzle if a step of n puzzles were its matrix products
     * alone, measured over `seconds`. */
    int (*products)(
        trm_device *d, int n, double seconds, double *puzzle_steps_per_s, trm_error *err);
} trm_device_lib;

/* The one symbol of a plug-in. */
typedef const trm_device_lib *trm_device_entry(void);
#define TRM_DEVICE_SYMBOL "trm_device_library"

/* The library that has this backend ("auto" and NULL: its best), or NULL: then a CPU backend
 * is meant, or none. */
const trm_device_lib *trm_device_find(const char *backend);
/* Are there device kernels for this kind of model? Not yet for frames. */
bool trm_device_takes(const trm_config *c);
/* What opening a model takes; the caller adds what else it wants. */
trm_device_options trm_device_options_of(const trm_model *m, const char *backend, int slots);
/* The name of that backend, or NULL. */
const char *trm_device_name(const char *backend);
/* Names of the backends of a library that works here, NULL-ended; none: an empty list. */
const char *const *trm_device_names(void);

#endif

/* The plug-in's one symbol: what libtrm asks of a device, answered by a GPU. Stateless. */
#include "gpu.h"

static int open(trm_device **out, const trm_device_options *o, trm_error *err) {
    return trm_gpu_open(out, o, err);
}

static int slots(const trm_device *g) {
    return g->slots;
}

static size_t bytes(const trm_device *g) {
    return trm_dev_bytes(g->dev);
}

static size_t slot_bytes(const trm_device *g) {
    return (trm_dev_bytes(g->dev) - g->fixed_bytes) / (size_t)g->slots;
}

TRM_API const trm_device_lib *trm_device_library(void);

const trm_device_lib *trm_device_library(void) {
    static const char *const names[] = {"cuda-bf16", "cuda-f32", NULL};
    static const trm_device_lib lib = {.abi = TRM_DEVICE_ABI,
        .names = names,
        .probe = trm_dev_probe,
        .open = open,
        .close = trm_gpu_close,
        .slots = slots,
        .bytes = bytes,
        .slot_bytes = slot_bytes,
        .load = trm_gpu_load,
        .latents_get = trm_gpu_latents_get,
        .latents_put = trm_gpu_latents_put,
        .step = trm_gpu_step,
        .learn = trm_gpu_learn,
        .learned = trm_gpu_learned,
        .get = trm_gpu_get,
        .put = trm_gpu_put,
        .products = trm_gpu_products};
    return &lib;
}

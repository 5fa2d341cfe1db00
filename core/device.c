/* Finds and opens the GPU plug-in, once per process; the library is never closed. */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "device.h"
#include "net.h"
#include "trm/gpu.h"

static const trm_device_lib *library;
static char status[600];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Loading cuBLAS takes long; without a driver it would be for nothing. */
static bool has_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver)
        (void)dlclose(driver);
    return driver != NULL;
}

/* Beside the program (a build folder), or in the lib folder beside its own (an installation). */
static bool beside_program(char *path, size_t size) {
    static const char *const places[] = {"%s/libtrm_cuda.so", "%s/../lib/libtrm_cuda.so"};
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return false;
    program[n] = 0;
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int used = snprintf(path, size, i ? places[1] : places[0], program);
        if (used > 0 && (size_t)used < size && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

static void refuse(const char *why) {
    (void)snprintf(status, sizeof status, "no GPU, using the CPU: %s", why);
}

static void open_library(const char *path) {
    char what[200];
    trm_error err;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        refuse(dlerror());
        return;
    }
    /* ISO C has no cast from an object to a function; POSIX promises that this works. */
    trm_device_entry *entry;
    void *symbol = dlsym(handle, TRM_DEVICE_SYMBOL);
    memcpy(&entry, &symbol, sizeof entry);
    const trm_device_lib *lib = symbol ? entry() : NULL;
    if (!lib || lib->abi != TRM_DEVICE_ABI)
        refuse("the plug-in is of another version");
    else if (lib->probe(what, sizeof what, &err))
        refuse(err.text);
    else {
        library = lib;
        (void)snprintf(status, sizeof status, "%s", what);
    }
}

static void look(void) {
    char path[PATH_MAX + 32];
    const char *asked = getenv("TRM_CUDA_LIBRARY");
    if (asked && strcmp(asked, "none") == 0)
        refuse("TRM_CUDA_LIBRARY says none");
    else if (asked && *asked)
        open_library(asked);
    else if (!beside_program(path, sizeof path))
        refuse("built without CUDA");
    else if (!has_driver())
        refuse("no NVIDIA driver on this machine");
    else
        open_library(path);
}

const char *trm_gpu_status(void) {
    (void)pthread_once(&once, look);
    return status;
}

const char *const *trm_device_names(void) {
    static const char *const none[] = {NULL};
    (void)pthread_once(&once, look);
    return library ? library->names : none;
}

/* "auto" is the first of the library's; NULL where it has none of that name. */
const char *trm_device_name(const char *backend) {
    const char *const *name = trm_device_names();
    if (trm_backend_is_auto(backend))
        return *name;
    while (*name && strcmp(*name, backend) != 0)
        name++;
    return *name;
}

const trm_device_lib *trm_device_find(const char *backend) {
    return trm_device_name(backend) ? library : NULL;
}

bool trm_device_takes(const trm_config *c) {
    return !c->frames && !trm_config_beside(c);
}

trm_device_options trm_device_options_of(const trm_model *m, const char *backend, int slots) {
    const trm_config *c = &m->config;
    return (trm_device_options){.backend = trm_device_name(backend),
        .config = c,
        .layout = &m->layout,
        .w = m->w,
        .slots = slots,
        .positions = trm_plan_length(c, trm_config_positions(c)),
        .inner = trm_config_inner(c),
        .inner_t = c->mlp_t ? trm_config_inner_t(c) : 0,
        .mix_in = trm_config_mix_in(c),
        .mix_out = trm_config_mix_out(c),
        .dense = trm_config_dense(c),
        .near = trm_config_near(c),
        .gated = trm_config_gated(c)};
}

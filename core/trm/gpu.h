/* Is there a GPU, and if not, why not? */
#ifndef TRM_GPU_H
#define TRM_GPU_H

#include "trm/error.h"

/* One line: the GPU that "auto" uses, or what is missing to use one ("no GPU, using the CPU: no
 * NVIDIA driver ..."). Looks once per process, at the first call of this or of trm_backends(); any
 * thread. The plug-in is libtrm_cuda.so beside the program, in ../lib beside it, or where the
 * environment variable TRM_CUDA_LIBRARY says; TRM_CUDA_LIBRARY=none looks for none. */
TRM_API const char *trm_gpu_status(void);

#endif

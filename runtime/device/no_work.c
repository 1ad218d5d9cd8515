/* The work of a plan without CUDA kernels: none. A plan that has some defines it itself, and the
 * linker then leaves this file in the archive. */
#include "../../ir/gpu_work.h"

#include <stddef.h>

const GpuWork ninc_gpu_work[] = {{.kernel = NULL}};

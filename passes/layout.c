/* layout: the physical form of every value and storage.
 *
 * Requires stage scheduled; brings it to laid_out. At level 0 activations stay in logical
 * order. */
#include "cpu/cpu.h"
#include "cuda/cuda.h"

void pass_layout(Module *m, int level)
{
    layout_cpu(m, level);
    layout_cuda(m);
}

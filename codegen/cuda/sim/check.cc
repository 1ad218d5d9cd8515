/* Checks of memory accesses. */
#include "core.h"
void check_launch_begin() {}
void check_block_begin() {}
void check_block_barrier() {}
void check_warp_barrier(Warp *) {}
void check_access(const void *, u32, bool, u32, const void *) {}
void check_copy_issued(const Copy *, const void *) {}
void check_copy_done(const Copy *, const void *) {}

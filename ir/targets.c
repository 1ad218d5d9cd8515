/* See targets.h. */
#include "ir.h"

typedef struct TargetInfo {
    Target device;
    TargetKind kind;
    int lanes;
} TargetInfo;

static const TargetInfo targets[TARGET_COUNT] = {
#define X(id, text, device, kind, lanes) {TARGET_##device, KIND_##kind, lanes},
    IR_TARGETS(X)
#undef X
};

Target target_device(Target target)
{
    return targets[target].device;
}

TargetKind target_kind(Target target)
{
    return targets[target].kind;
}

int target_lanes(Target target)
{
    return targets[target].lanes;
}

bool target_is_cpu(Target target)
{
    return target_kind(target) == KIND_VECTORS || target_kind(target) == KIND_TILES;
}

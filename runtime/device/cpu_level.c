/* Which of the trainer's instruction sets this CPU runs. */
#include "cpu_device.h"
#include "cpu_levels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__x86_64__)
/* Linux gives a process the tile registers when it asks for them, for all of its threads. */
static bool ask_for_amx(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XTILEDATA */
    unsigned a, b, c, d, bf16_and_tiles = 1u << 22 | 1u << 24;
    return CPU_HAS_AVX512_BF16 && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (d & bf16_and_tiles) == bf16_and_tiles &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

bool cpu_has_amx(void)
{
    enum { UNKNOWN, NO, YES };
    static atomic_int known;
    if (atomic_load(&known) == UNKNOWN)
        atomic_store(&known, ask_for_amx() ? YES : NO);
    return atomic_load(&known) == YES;
}
#else
bool cpu_has_amx(void)
{
    return false;
}
#endif

static bool level_supported(const char *name)
{
#define X(level, architecture, target, bf16, flags, condition) \
    if (strcmp(name, #level) == 0 && CPU_IF_##architecture(condition)) \
        return true;
    CPU_LEVELS(X)
#undef X
    return false;
}

/* What NINC_CPU_LEVEL asks for; NULL: nothing. */
static const char *wanted_level(void)
{
    const char *wanted = getenv("NINC_CPU_LEVEL");
    return wanted && *wanted ? wanted : NULL;
}

int cpu_levels(const NincCpuLevel *out[CPU_MOST_LEVELS])
{
    int count = 0;
    for (const NincCpuLevel *const *l = ninc_cpu_levels; *l; l++)
        if (level_supported((*l)->name))
            out[count++] = *l;
    return count;
}

const NincCpuLevel *cpu_level(void)
{
    const NincCpuLevel *level[CPU_MOST_LEVELS];
    const char *wanted = wanted_level();
    int count = cpu_levels(level);
    for (int i = 0; i < count; i++)
        if (!wanted || strcmp(level[i]->name, wanted) == 0)
            return level[i];
    return NULL;
}

void cpu_explain_level(void)
{
    const char *wanted = wanted_level();
    char names[128] = "", text[32];
    if (!wanted) {
        fault("this CPU runs none of the trainer's variants; compile the model on this machine");
        return;
    }
    for (const NincCpuLevel *const *l = ninc_cpu_levels; *l; l++) {
        size_t at = strlen(names);
        if (strcmp((*l)->name, wanted) == 0) {
            fault("NINC_CPU_LEVEL=%s: this CPU does not have it; unset NINC_CPU_LEVEL", wanted);
            return;
        }
        snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "", (*l)->name);
    }
    fault("NINC_CPU_LEVEL=%s is not in this trainer; it has %s",
          printable(wanted, text, sizeof text), names);
}

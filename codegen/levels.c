/* See levels.h. */
#include "levels.h"

#include <string.h>

const CpuLevel cpu_level[CPU_LEVEL_COUNT] = {
#define X(name, architecture, target, bf16, flags, condition)                                      \
    {#name, flags, architecture, TARGET_##target, bf16},
    CPU_LEVELS(X)
#undef X
};

static bool is_here(int i)
{
    return cpu_level[i].architecture == ARCHITECTURE;
}

const char *cpu_levels_parse(Pool *pool, const char *list, CpuLevelSet *set)
{
    *set = 0;
    for (const char *word = list;; word++) {
        size_t length = strcspn(word, ",");
        CpuLevelSet named = 0;
        for (int i = 0; i < CPU_LEVEL_COUNT; i++)
            if (is_here(i) && strlen(cpu_level[i].name) == length &&
                strncmp(word, cpu_level[i].name, length) == 0)
                named |= 1u << i;
        if (!named)
            return pool_format(pool, "%.*s", (int)length, word);
        *set |= named;
        word += length;
        if (!*word)
            return NULL;
    }
}

CpuLevelSet cpu_levels_known(bool bf16)
{
    CpuLevelSet set = 0;
    for (int i = 0; i < CPU_LEVEL_COUNT; i++)
        if (is_here(i) && (cpu_level[i].bf16 || !bf16))
            set |= 1u << i;
    return set;
}

const char *cpu_levels_text(Pool *pool, CpuLevelSet set, const char *last)
{
    const char *list = "";
    for (int i = 0; i < CPU_LEVEL_COUNT; i++) {
        CpuLevelSet left = set >> i >> 1;
        if (!(set >> i & 1))
            continue;
        list = pool_format(pool, "%s%s", list, cpu_level[i].name);
        if (left)
            list = left & (left - 1) ? pool_format(pool, "%s, ", list)
                                     : pool_format(pool, "%s %s ", list, last);
    }
    return list;
}

CpuLevelSet cpu_levels_of(const Module *m, Architecture architecture, CpuLevelSet wanted)
{
    CpuLevelSet set = 0;
    for (int i = 0; i < CPU_LEVEL_COUNT; i++) {
        const CpuLevel *level = &cpu_level[i];
        const Graph *eval = module_find_graph(m, "eval", level->target);
        if (level->architecture == architecture && eval && (!level->bf16 || graph_has_bf16(eval)))
            set |= 1u << i;
    }
    return set & wanted;
}

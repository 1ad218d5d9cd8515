/* Whether what the options ask for can still be had: IR text may have passed where they decide. */
#include "frontend.h"

#include <string.h>

typedef struct Asked {
    const Module *m;
    const Options *o;
    Diagnostics *d;
    Loc loc; /* where the text begins */
} Asked;

static bool has_graph(const Module *m, Target target)
{
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target == target)
            return true;
    return false;
}

/* Whether there are, or will be, programs for a CPU or a GPU. */
static bool will_have(const Asked *a, Target target)
{
    if (has_graph(a->m, TARGET_ANY))
        return a->o->pipeline.wanted[target];
    return has_graph(a->m, target);
}

static bool refuse(const Asked *a, const char *text, const char *option, const char *pass)
{
    diagnostics_add(a->d, a->loc, 1, "%s: %s comes too late; give it with the model file, or with "
                    "text from before the pass %s", text, option, pass);
    return false;
}

static bool check_target(const Asked *a)
{
    const bool *wanted = a->o->pipeline.wanted;
    bool cpu = will_have(a, TARGET_CPU), cuda = will_have(a, TARGET_CUDA);

    if (!a->o->target_given || (!(wanted[TARGET_CPU] && !cpu) && !(wanted[TARGET_CUDA] && !cuda)))
        return true;
    return refuse(a, cpu ? "the programs of this text are for a CPU alone"
                         : "the programs of this text are for a GPU alone",
                  wanted[TARGET_CPU] && wanted[TARGET_CUDA] ? "--target=all"
                  : wanted[TARGET_CPU]                      ? "--target=cpu"
                                                            : "--target=cuda", "target");
}

/* What the text's contractions compute in. */
static Precision precision_of(const Module *m)
{
    for (int i = 0; i < m->graph_count; i++) {
        const Graph *g = m->graph[i];

        if (graph_has_bf16(g))
            return PRECISION_BF16;
        for (int k = 0; k < g->node_count; k++)
            if (g->node[k]->math == MATH_TF32)
                return PRECISION_TF32;
    }
    return PRECISION_FP32;
}

/* tf32 is fp32 where there is no program for a GPU. */
static bool check_precision(const Asked *a)
{
    static const char *const names[] = {
#define X(id, text) text,
        PASS_PRECISIONS(X)
#undef X
    };
    static const char *const options[] = {
#define X(id, text) "--precision=" text,
        PASS_PRECISIONS(X)
#undef X
    };
    Precision is = precision_of(a->m), wanted = a->o->pipeline.precision;
    char text[64];

    if (!a->o->precision_given || is == wanted ||
        (module_stage(a->m) <= STAGE_TRAINING && is == PRECISION_FP32) ||
        (wanted == PRECISION_TF32 && is == PRECISION_FP32 && !will_have(a, TARGET_CUDA)))
        return true;
    snprintf(text, sizeof text, "this text computes in %s", names[is]);
    return refuse(a, text, options[wanted], "precision");
}

/* What is to be printed or compiled must be there; options that contradict each other are found
 * sooner. */
static bool check_emit(const Asked *a)
{
    const char *option = NULL;
    Target target = TARGET_CUDA;

    if (a->o->emit == EMIT_C)
        option = "--emit=c", target = TARGET_CPU;
    else if (a->o->emit == EMIT_CUDA)
        option = "--emit=cuda";
    else if (a->o->cubins)
        option = "--cubin";
    if (!option || will_have(a, target))
        return true;
    diagnostics_add(a->d, a->loc, 1, "%s needs programs for a %s, and there are none in this text; "
                    "give it with the model file", option, target == TARGET_CPU ? "CPU" : "GPU");
    return false;
}

bool asked_in_time(const Module *m, const Options *o, Diagnostics *d, Loc loc)
{
    const Asked a = {m, o, d, loc};
    bool level = !o->level_given || module_stage(m) < STAGE_LAID_OUT ||
                 refuse(&a, "this text is laid out already", "-O0, -O1 or -O2", "schedule");

    return check_target(&a) && check_precision(&a) && level && check_emit(&a) &&
           pipeline_check_stage(m, &o->pipeline, d, loc);
}

void asked_target(Module *m, const Options *o)
{
    int kept = 0;

    if (has_graph(m, TARGET_ANY))
        return;
    for (int i = 0; i < m->graph_count; i++)
        if (o->pipeline.wanted[target_device(m->graph[i]->target)])
            m->graph[kept++] = m->graph[i];
    m->graph_count = kept;
    for (int t = 0; t < TARGET_COUNT; t++) {
        if (has_graph(m, (Target)t))
            continue;
        m->state_bytes[t] = 0;
        for (int i = 0; i < m->storage_count; i++)
            m->storage[i]->home[t] = (Home){.offset = -1};
    }
}

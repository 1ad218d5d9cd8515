/* Every instruction set that the CPU has and the trainer was compiled for, beside each other: what
 * the evaluator computes for a kernel is compared with all of them, and each has one line in the
 * end. Those that run other programs (AMX) are another group, with an evaluation of its own. */
#include "../../ir/ir.h"
#include "verification.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- which ---- */

static void name_levels(const NincCpuLevel *const *level, int count, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < count && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", level[i]->name);
}

static const NincCpuLevel *find_level(const NincCpuLevel *const *level, int count, const char *name,
                                      size_t length)
{
    for (int i = 0; i < count; i++)
        if (strlen(level[i]->name) == length && memcmp(level[i]->name, name, length) == 0)
            return level[i];
    return NULL;
}

int verify_find_levels(const char *levels, const NincCpuLevel *out[CPU_MOST_LEVELS])
{
    const NincCpuLevel *known[CPU_MOST_LEVELS];
    char names[256], text[80];
    int count = 0, knowns = cpu_levels(known);
    if (strcmp(levels, "all") == 0) {
        memcpy(out, known, sizeof known);
        return knowns > 0 ? knowns
                          : fault("--levels: this CPU runs none of the trainer's variants");
    }
    for (const char *at = levels; *at; at += strspn(at, ",")) {
        size_t length = strcspn(at, ",");
        const NincCpuLevel *l = find_level(known, knowns, at, length);
        name_levels(known, knowns, names, sizeof names);
        if (!l)
            return fault("--levels %s: all, or names of instruction sets with commas between are "
                         "needed; this CPU and this trainer have %s",
                         printable(levels, text, sizeof text), names);
        if (!find_level(out, count, at, length))
            out[count++] = l;
        at += length;
    }
    return count > 0 ? count : fault("--levels '': a value is needed: all, or instruction sets");
}

/* ---- the comparison ---- */

typedef struct Levels {
    const Verify *verify;
    const NincCpuLevel *const *level;
    Tally *tally; /* of each */
    int count;
} Levels;

/* What was lost with the process before. */
static void settle(const Levels *l)
{
    for (int i = 0; i < l->count; i++)
        if (l->tally[i].running) {
            l->tally[i].running = false;
            l->tally[i].checked++;
            l->tally[i].failed++;
        }
}

static void close_subjects(Verify *v)
{
    for (int i = 0; i < v->subjects; i++)
        v->table->close(v->subject[i].device);
    v->subjects = 0;
}

static int open_subjects(Verify *v, const Levels *l, NincTargetKind programs)
{
    DeviceOptions options = *v->options;
    options.with_train = true;
    for (int i = 0; i < l->count; i++) {
        if (l->level[i]->target != programs)
            continue;
        options.level = l->level[i];
        Device *d = v->table->open(v->model, &options);
        if (!d)
            return -1;
        v->subject[v->subjects++] =
            (Subject){.level = l->level[i], .device = d, .tally = &l->tally[i]};
    }
    return 0;
}

/* The instruction sets that run these programs; *first: the number of the first item. */
static int check_group(Verify *v, const Levels *l, NincTargetKind programs, int *first)
{
    v->target = &v->model->target[programs];
    if (open_subjects(v, l, programs) < 0 || v->subjects == 0)
        return v->subjects == 0 ? 0 : -1;
    v->bounds = verify_bounds(v->target->precision);
    Pool *pool = pool_new();
    ItemList list = verify_list(v->target, programs, plan_module(pool));
    list.first = *first;
    *first += list.count;
    int status = verify_items(v, &list);
    free(list.item);
    pool_free(pool);
    return status;
}

static void print_head(const Verify *v, const Levels *l)
{
    char names[256];
    Bounds bounds = verify_bounds(v->model->target[l->level[0]->target].precision);
    name_levels(l->level, l->count, names, sizeof names);
    printf("model %s on cpu: %s\n%s, seed %llu, bound %.0e\n", v->model->name, names,
           bounds.precision, (unsigned long long)v->seed, bounds.kernel);
}

static void print_level(const NincCpuLevel *level, const Tally *t)
{
    printf("%-5s %-11s %4d of %d checks, the worst %8.2e in %s\n",
           t->failed == 0 && t->checked > 0 ? "ok" : "WRONG", level->name, t->checked - t->failed,
           t->checked, t->worst, t->of);
}

/* The work of apart_run. */
static int check_levels(void *context, ApartState *state)
{
    const Levels *l = context;
    Verify v = *l->verify;
    int first = 0, status = 0;
    v.state = state;
    if (state->item < 0)
        print_head(&v, l);
    settle(l);
    for (int p = 0; p < NINC_TARGETS && status == 0; p++) {
        status = check_group(&v, l, (NincTargetKind)p, &first);
        close_subjects(&v);
    }
    if (status < 0)
        return APART_LOST;
    for (int i = 0; i < l->count && state->item >= 0; i++)
        print_level(l->level[i], &l->tally[i]);
    return verify_summary(&v) < 0 || state->failed > 0;
}

int verify_levels(const Verify *v, const NincCpuLevel *const *level, int levels)
{
    Verify on_cpu = *v;
    on_cpu.table = &ninc_cpu_device;
    if (!v->model->target[level[0]->target].precision) {
        fault("model %s was compiled without CPU code; compile it with --target=all",
              v->model->name);
        return 1;
    }
    size_t bytes = (size_t)levels * sizeof(Tally);
    Levels l = {.verify = &on_cpu, .level = level, .count = levels};
    l.tally = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (l.tally == MAP_FAILED) {
        fault("cannot share memory with a process: %s", strerror(errno));
        return 1;
    }
    int status = verify_run(v, check_levels, &l);
    munmap(l.tally, bytes);
    return status;
}

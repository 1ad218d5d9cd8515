/* The memory report: what the programs need, how near that is to the bound, and for what. */
#include "../ir/numbers.h"
#include "../runtime/base/base.h"
#include "frontend.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_VALUES = 8 };

int memory_threads(void)
{
    return thread_limit("").threads;
}

int64_t memory_total(const Module *m, Target target, int threads)
{
    int64_t shared = 0, chunk = 0, thread = 0;

    for (int i = 0; i < m->graph_count; i++) {
        const Graph *g = m->graph[i];

        if (g->target != target)
            continue;
        shared = larger(shared, g->shared_bytes);
        chunk = larger(chunk, g->chunk_bytes);
        thread = larger(thread, g->thread_bytes);
    }
    return m->state_bytes[target] + shared + chunk + thread * threads;
}

/* The last kernel that reads the value: its own where none does. */
static const Kernel *last_reader(const Graph *g, const Node *n)
{
    const Kernel *last = n->kernel;

    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->in_count; j++)
            if (g->kernel[i]->in[j] == n)
                last = g->kernel[i];
    return last;
}

static int64_t all_copies(const Node *n)
{
    return n->place.bytes * value_copies(n);
}

/* Two lines: bytes, region, "%12 : f32[...]" as the IR text has it, and its lifetime. */
static void print_value(const Graph *g, const Node *n, Text *out)
{
    Text line = {0};
    char bytes[32];
    const Kernel *last = last_reader(g, n);
    const char *end;

    node_print(g, n, &line);
    end = strstr(line.data, " = ");
    text_append(out, "  %15s  %-7s  %.*s\n      %s to %s\n", format_count(all_copies(n), bytes),
                region_names[n->place.region], end ? (int)(end - line.data) : 44, line.data,
                n->kernel ? n->kernel->name : "the host", last ? last->name : "the end");
    text_free(&line);
}

/* The `limit` values with the most bytes, largest first; the earlier one first among equals. */
static int find_largest(const Graph *g, const Node **out, int limit)
{
    int count = 0;

    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        int at;

        if (n->place.region == REGION_NONE || n->place.region == REGION_STATE)
            continue;
        for (at = count; at > 0 && all_copies(out[at - 1]) < all_copies(n); at--)
            if (at < limit)
                out[at] = out[at - 1];
        if (at < limit)
            out[at] = n;
        count += count < limit;
    }
    return count;
}

static void print_bytes(Text *out, const char *what, int64_t bytes, int64_t bound)
{
    char text[32];

    text_append(out, "  %-20s %15s", what, format_count(bytes, text));
    if (bound > 0)
        text_append(out, "   bound %15s, +%.1f %%", format_count(bound, text),
                    100.0 * (double)(bytes - bound) / (double)bound);
    text_append(out, "\n");
}

static void print_program(const Graph *g, int threads, Text *out)
{
    const Node *largest[LARGEST_VALUES];
    int count = find_largest(g, largest, LARGEST_VALUES);

    if (target_is_cpu(g->target))
        text_append(out, "%s: batch %d, chunks of %d\n", g->name, g->batch, g->chunk);
    else
        text_append(out, "%s on a GPU: batch %d\n", g->name, g->batch);
    print_bytes(out, "shared", g->shared_bytes, g->shared_bound);
    print_bytes(out, "chunk", g->chunk_bytes, g->chunk_bound);
    if (target_is_cpu(g->target))
        print_bytes(out, "each thread", g->thread_bytes, g->thread_bound);
    print_bytes(out, "together", g->shared_bytes + g->chunk_bytes + threads * g->thread_bytes,
                g->shared_bound + g->chunk_bound + threads * g->thread_bound);
    text_append(out, "  the largest values, with the kernels between which they live:\n");
    for (int i = 0; i < count; i++)
        print_value(g, largest[i], out);
}

static void print_target(const Module *m, Target target, int threads, Text *out)
{
    const Graph *train = module_find_graph(m, "train", target);
    char text[32];

    if (!train)
        return;
    text_append(out, "memory of %s in bytes, %s, ", m->name, graph_precision(train));
    if (target_is_cpu(target))
        text_append(out, "%d thread%s%s\n", threads, threads == 1 ? "" : "s",
                    target_kind(target) == KIND_TILES ? " of a processor with AMX" : "");
    else
        text_append(out, "on a GPU\n");
    print_bytes(out, "state", m->state_bytes[target], 0);
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target == target)
            print_program(m->graph[i], threads, out);
    text_append(out, "total %s: state, and the larger of the programs\n",
                format_count(memory_total(m, target, threads), text));
}

void memory_print(const Module *m, Text *out)
{
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        print_target(m, target, target_is_cpu(target) ? memory_threads() : 1, out);
}

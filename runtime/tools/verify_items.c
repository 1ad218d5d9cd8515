/* What verify checks, one item after the other. What a kernel is given depends on the seed and its
 * place in the list alone, not on what else is checked: it can be checked again by itself. */
#include "verification.h"
#include "../../ir/ir.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 96 };

static void add_items(ItemList *list, const Graph *g, const NincProgram *p)
{
    for (int i = 0; i < g->kernel_count; i++)
        list->item[list->count++] = (Item){.graph = g, .program = p, .kernel = g->kernel[i]};
}

ItemList verify_list(const NincTarget *target, NincTargetKind programs, const Module *m)
{
    const Graph *train_graph = plan_graph(m, programs, "train");
    const Graph *eval_graph = plan_graph(m, programs, "eval");
    size_t most = (size_t)train_graph->kernel_count + (size_t)eval_graph->kernel_count + 2;
    ItemList list = {.item = xmalloc(most * sizeof *list.item)};
    add_items(&list, train_graph, &target->train);
    add_items(&list, eval_graph, &target->eval);
    list.item[list.count++] = (Item){.graph = train_graph, .program = &target->train};
    list.item[list.count++] = (Item){.graph = eval_graph, .program = &target->eval};
    return list;
}

/* What --kernel calls it, in `out` of NAME_BYTES. */
static const char *item_name(const Item *item, char *out)
{
    snprintf(out, NAME_BYTES, "%s%s", item->kernel ? item->kernel->name : item->graph->name,
             item->kernel ? "" : "_step");
    return out;
}

bool verify_wants(const Verify *v, const Item *item)
{
    char name[NAME_BYTES];
    return v->only ? strcmp(item_name(item, name), v->only) == 0 : item->kernel || v->full;
}

void verify_describe(const Item *item, char *out, size_t size)
{
    char name[NAME_BYTES];
    snprintf(out, size, "%-6s %-34s %s", item->graph->name, item_name(item, name),
             item->kernel ? class_names[item->kernel->class] : "whole step");
}

static int check_item(Verify *v, const Item *item)
{
    Dataset data;
    if (item->kernel)
        return verify_kernel(v, item);
    if (dataset_read(v->model, "random", v->seed, SPLIT_TEST, &data) < 0)
        return -1;
    int status = verify_step(v, item->graph, item->program, &data);
    dataset_free(&data);
    return status;
}

int verify_items(Verify *v, const ItemList *list)
{
    int done = v->state->item + 1 - list->first;
    for (int i = done > 0 ? done : 0; i < list->count; i++) {
        if (!verify_wants(v, &list->item[i]))
            continue;
        v->state->item = list->first + i;
        verify_describe(&list->item[i], v->state->doing, sizeof v->state->doing);
        v->described = strlen(v->state->doing);
        v->random = random_stream(v->seed, STREAM_VERIFY + 1 + (uint64_t)i);
        if (check_item(v, &list->item[i]) < 0)
            return -1;
    }
    return 0;
}

static int no_kernel(const Verify *v)
{
    char text[80];
    return fault("--kernel %s: the program has no kernel of that name; 'trainer verify --list' "
                 "names them",
                 printable(v->only, text, sizeof text));
}

int verify_summary(const Verify *v)
{
    if (v->only && v->state->item < 0)
        return no_kernel(v);
    printf("%d of %d checks are within bounds\n", v->state->checked - v->state->failed,
           v->state->checked);
    return 0;
}

int verify_run(const Verify *v, int (*work)(void *context, ApartState *state), void *context)
{
    ApartState alone = {.item = -1};
    if (!v->only)
        return apart_run(work, context);
    int status = work(context, &alone);
    if (status == APART_LOST && alone.item >= 0)
        printf("FAULT %s\n", alone.doing);
    return status != 0;
}

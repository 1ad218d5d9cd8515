/* What the training graph of IR text makes of images: augment_tool GRAPH.ir SEED EPOCH < in > out
 *
 * Both are the bytes of one batch; the images are numbers 0, 1, ... of the data set. By the naive
 * evaluator, whose bits all devices have. */
#include "../../ir/ir.h"

#include <stdlib.h>
#include <string.h>

static void read_all(FILE *in, Text *text)
{
    char block[4096];
    size_t count;
    while ((count = fread(block, 1, sizeof block, in)) > 0)
        text_write(text, block, count);
}

static Module *read_module(Pool *pool, const char *path)
{
    Text text = {0};
    Diagnostics d;
    FILE *f = fopen(path, "rb");
    if (!f)
        fatal("cannot read %s", path);
    read_all(f, &text);
    fclose(f);
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, path, text.data ? text.data : "", text.length);
    if (!m)
        fatal("%s: %s", path, d.list[0].message);
    text_free(&text);
    return m;
}

static void set_inputs(Eval *e, const Text *images, int seed, int epoch)
{
    const Graph *g = e->graph;
    double *image = eval_value(e, graph_find_input(g, "image"));
    double *index = eval_value(e, graph_find_input(g, "index"));
    for (size_t i = 0; i < images->length; i++)
        image[i] = (unsigned char)images->data[i];
    for (int i = 0; i < g->batch; i++)
        index[i] = i;
    *eval_value(e, graph_find_input(g, "seed")) = seed;
    *eval_value(e, graph_find_input(g, "epoch")) = epoch;
}

/* The last op that augments gives what is written. */
static void write_augmented(Eval *e)
{
    const Node *last = NULL;
    for (int i = 0; i < e->graph->node_count; i++)
        if (op_is(e->graph->node[i]->op, F_AUGMENT)) {
            last = e->graph->node[i];
            eval_node(e, last);
        }
    for (int64_t i = 0; last && i < eval_elements(e, last); i++)
        putchar((int)eval_value(e, last)[i]);
}

int main(int argc, char **argv)
{
    Text images = {0};
    if (argc != 4)
        fatal("usage: augment_tool GRAPH.ir SEED EPOCH < in > out");
    Pool *pool = pool_new();
    const Graph *g = module_first_graph(read_module(pool, argv[1]), "train");
    read_all(stdin, &images);
    Tensor type = input_type(g, INPUT_IMAGE);
    if (!graph_find_input(g, "index") || (int64_t)images.length != tensor_elements(&type))
        fatal("%s augments nothing, or %zu bytes are not one batch", argv[1], images.length);
    Eval *e = eval_new(g, 0);
    set_inputs(e, &images, atoi(argv[2]), atoi(argv[3]));
    write_augmented(e);
    eval_free(e);
    text_free(&images);
    pool_free(pool);
    return fflush(stdout) == 0 ? 0 : 1;
}

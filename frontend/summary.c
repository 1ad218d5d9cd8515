/* The table of layers: from the IR alone, so that it says what was compiled, whatever the model
 * file said. */
#include "frontend.h"

#include <string.h>

/* One layer: the forward nodes that came from one place of the model file. */
typedef struct Row {
    Loc loc;
    const char *layer, *op;
    const Node *last;
    const Kernel *kernel;
    int convolutions;
    int64_t parameters;
    double flop; /* an image, forward */
} Row;

typedef struct Table {
    Row *row;
    int count, capacity;
    int64_t parameters;
    double flop;
} Table;

/* The result of a convolution: direct, in tiles or folded. */
static bool is_conv(const Node *n)
{
    return (n->op == OP_CONV2D || n->op == OP_WINOGRAD_OUTPUT || n->op == OP_CONV2D_FOLDED) &&
           conv_filter(n);
}

/* What the convolution takes directly, so that layers compare. */
static double conv_flop(const Node *n, double outputs)
{
    const Shape *filter = &conv_filter(n)->tensor.shape;
    double taps = (double)filter->dim[1] * filter->dim[2] * filter->dim[3];
    bool bias = n->arity == (n->op == OP_WINOGRAD_OUTPUT ? 2 : 3);

    return outputs * (2 * taps - !bias);
}

/* Multiplications and additions of one image; a comparison counts as an addition. */
static double node_flop(const Node *n)
{
    const Shape *s = &n->tensor.shape;
    double outputs = s->rank > 0 ? (double)shape_elements(s) / s->dim[0] : 0;

    if (is_conv(n))
        return conv_flop(n, outputs);
    if (n->op == OP_MAXPOOL || n->op == OP_AVGPOOL)
        return outputs * n->attr.window.kernel_h * n->attr.window.kernel_w;
    if (n->op == OP_GAP)
        return (double)shape_elements(&n->in[0]->tensor.shape) / s->dim[0];
    if (n->op == OP_RESIZE)
        return outputs * 8; /* three interpolations, the normalisation */
    if (n->op == OP_NORMALIZE)
        return outputs * 2;
    return n->op == OP_RELU || n->op == OP_ADD ? outputs : 0;
}

/* Marks what the outputs need: in the training graph that is the forward pass and the loss. */
static void mark_forward(const Graph *g, bool *forward)
{
    for (int i = 0; i < g->output_count; i++)
        forward[g->output[i].node->id] = true;
    for (int i = g->node_count - 1; i >= 0; i--)
        for (int j = 0; forward[i] && j < g->node[i]->arity; j++)
            if (g->node[i]->in[j]->id >= 0)
                forward[g->node[i]->in[j]->id] = true;
}

static bool is_loss(Op op)
{
    return op == OP_CROSS_ENTROPY || op == OP_CORRECT || op == OP_MEAN_VALID ||
           op == OP_COUNT_VALID;
}

static bool same_place(const Loc *a, const Loc *b)
{
    return a->file && b->file && strcmp(a->file, b->file) == 0 && a->line == b->line &&
           a->column == b->column;
}

/* "conv.0" of conv.0.2.weight, or "conv.0.2" when parts is 1. */
static const char *layer_name(Pool *pool, const char *parameter, int parts)
{
    size_t length = strlen(parameter);

    while (parts-- > 0)
        while (length > 0 && parameter[--length] != '.')
            ;
    return pool_format(pool, "%.*s", (int)length, parameter);
}

/* s: NULL for none. */
static void add_parameter(Row *row, const Storage *s, bool *counted, const Module *m)
{
    for (int j = 0; s && j < m->storage_count; j++) {
        if (m->storage[j] != s || counted[j])
            continue;
        counted[j] = true;
        row->parameters += shape_elements(&s->tensor.shape);
    }
}

static void add_parameters(Row *row, const Node *n, bool *counted, const Module *m)
{
    if (is_conv(n))
        add_parameter(row, operand_storage(conv_filter(n)), counted, m);
    for (int i = 0; i < n->arity; i++)
        add_parameter(row, operand_storage(n->in[i]), counted, m);
}

static void add_to_row(Row *row, const Node *n, Pool *pool)
{
    const Storage *filter = is_conv(n) ? operand_storage(conv_filter(n)) : NULL;

    if (filter) {
        row->convolutions++;
        row->layer = layer_name(pool, filter->name, row->convolutions > 1 ? 2 : 1);
        row->op = row->convolutions > 1 ? "mlpconv" : op_name(OP_CONV2D);
    }
    row->last = n;
    if (n->kernel && !(row->kernel && is_loss(n->op)))
        row->kernel = n->kernel;
    row->flop += node_flop(n);
}

static Row *row_for(Table *t, const Node *n, Pool *pool)
{
    Row *last = t->count > 0 ? &t->row[t->count - 1] : NULL;
    bool loss = is_loss(n->op);
    Row new = {.loc = n->loc, .layer = "", .op = loss ? "loss" : op_name(n->op)};

    if (last && (loss ? strcmp(last->op, "loss") == 0 : same_place(&last->loc, &n->loc)))
        return last;
    if (n->op == OP_NORMALIZE || n->op == OP_RESIZE)
        new.layer = "input";
    POOL_PUSH(pool, t->row, t->count, t->capacity, new);
    return &t->row[t->count - 1];
}

/* n, or the resize that it stands for. */
static const Node *layer_node(const Graph *g, const Node *n)
{
    Node *layer;

    if (!fold_of_image(g, n))
        return n;
    layer = pool_alloc(g->module->pool, sizeof *layer);
    *layer = unfolded_image(g, n);
    return layer;
}

static Table make_table(const Graph *g)
{
    Pool *pool = g->module->pool;
    bool *forward = pool_alloc(pool, (size_t)g->node_count + 1);
    bool *counted = pool_alloc(pool, (size_t)g->module->storage_count + 1);
    Table t = {0};

    mark_forward(g, forward);
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = layer_node(g, g->node[i]);
        Row *row;

        if (!forward[i] || n->op == OP_INPUT || op_is_of_filters(n->op) ||
            (n->op == OP_CAST && operand_storage(n)))
            continue;
        row = row_for(&t, n, pool);
        add_to_row(row, n, pool);
        add_parameters(row, n, counted, g->module);
    }
    for (int i = 0; i < t.count; i++) {
        t.parameters += t.row[i].parameters;
        t.flop += t.row[i].flop;
    }
    return t;
}

/* Extents of one image, 55x55x96, in the IR's order: height, width, channels. */
static const char *image_shape(const Shape *s, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (int i = 1; i < s->rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%d", i > 1 ? "x" : "", s->dim[i]);
    return out;
}

static int longest_layer(const Table *t)
{
    int longest = (int)strlen("layer");

    for (int i = 0; i < t->count; i++)
        if ((int)strlen(t->row[i].layer) > longest)
            longest = (int)strlen(t->row[i].layer);
    return longest;
}

static void print_rows(const Table *t, Text *out)
{
    int width = longest_layer(t);
    char shape[64], count[32];

    text_append(out, "%-*s  %-9s  %-12s  %12s  %9s  %s\n", width, "layer", "op", "output",
                "parameters", "MFLOP", "kernel");
    for (int i = 0; i < t->count; i++) {
        const Row *row = &t->row[i];

        text_append(out, "%-*s  %-9s  %-12s  %12s  %9.2f  ", width, row->layer, row->op,
                    image_shape(&row->last->tensor.shape, shape, sizeof shape),
                    format_count(row->parameters, count), row->flop / 1e6);
        if (row->kernel)
            text_append(out, "%s (%s)", row->kernel->name, class_names[row->kernel->class]);
        text_append(out, "\n");
    }
    text_append(out, "%-*s  %-9s  %-12s  %12s  %9.2f\n", width, "total", "", "",
                format_count(t->parameters, count), t->flop / 1e6);
}

/* Bytes of the values that the kernel writes. */
static int64_t kernel_bytes(const Kernel *k)
{
    int64_t bytes = 0;

    for (int i = 0; i < k->out_count; i++)
        bytes += k->out[i]->place.bytes;
    return bytes;
}

static void print_tiles(const Kernel *k, Text *out)
{
    int tiles = 0;

    for (int i = 0; i < k->node_count; i++)
        if (k->node[i]->tile.pixels > 0)
            text_append(out, "%s%dx%d", tiles++ ? "," : "", k->node[i]->tile.pixels,
                        k->node[i]->tile.vectors);
    if (tiles == 0)
        text_append(out, "-");
}

static void print_cpu_kernels(const Graph *g, Text *out)
{
    char count[32];

    text_append(out, "\nkernels of %s on %s, in order\n%-28s  %-16s  %-6s  %5s  %15s  %s\n",
                g->name, g->target == TARGET_AMX ? "a CPU with AMX" : "the CPU", "name", "class",
                "phase", "strip", "bytes written", "tiles");
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];

        text_append(out, "%-28s  %-16s  %-6s  %5d  %15s  ", k->name, class_names[k->class],
                    phase_names[k->phase], k->strip, format_count(kernel_bytes(k), count));
        print_tiles(k, out);
        text_append(out, "\n");
    }
}

/* The preferred schedule: the tile of the GEMM with its stages, and the blocks. */
static void print_schedule(const Schedule *s, Text *out)
{
    char tile[64] = "-";

    if (s->tile_m > 0)
        snprintf(tile, sizeof tile, "%dx%dx%d stages=%d", s->tile_m, s->tile_n, s->tile_k,
                 s->stages);
    text_append(out, "%-22s  %4d  %7d  %6d  %dx%dx%d", tile, s->threads, s->shared_bytes,
                s->architecture, s->grid_x, s->grid_y, s->split);
}

static void print_cuda_kernels(const Graph *g, Text *out)
{
    char count[32];

    text_append(out, "\nkernels of %s on a GPU, in order\n%-28s  %-16s  %-6s  %15s  %-22s  %4s  %7s"
                     "  %6s  %s\n", g->name, "name", "class", "phase", "bytes written", "tile",
                "thr.", "shared", "sm", "blocks");
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];

        text_append(out, "%-28s  %-16s  %-6s  %15s  ", k->name, class_names[k->class],
                    phase_names[k->phase], format_count(kernel_bytes(k), count));
        print_schedule(&k->schedule[0], out);
        text_append(out, "\n");
        if (k->note)
            text_append(out, "  %s\n", k->note);
    }
}

static void print_memory(const Module *m, Text *out)
{
    int threads = memory_threads();

    if (module_find_graph(m, "train", TARGET_CPU))
        text_append(out, "training needs %.1f MB with %d thread%s: %.1f MB of parameters and "
                         "moments, the rest for values\n",
                    (double)memory_total(m, TARGET_CPU, threads) / 1e6, threads,
                    threads == 1 ? "" : "s", (double)m->state_bytes[TARGET_CPU] / 1e6);
    if (module_find_graph(m, "train", TARGET_AMX))
        text_append(out, "on a processor with AMX %.1f MB\n",
                    (double)memory_total(m, TARGET_AMX, threads) / 1e6);
    if (module_find_graph(m, "train", TARGET_CUDA))
        text_append(out, "on a GPU %.1f MB, %.1f MB of them parameters and moments; the data set's "
                         "images come on top\n",
                    (double)memory_total(m, TARGET_CUDA, 1) / 1e6,
                    (double)m->state_bytes[TARGET_CUDA] / 1e6);
}

void summary_print(const Module *m, bool kernels, Text *out)
{
    const Graph *train = module_find_graph(m, "train", TARGET_CPU);
    Table t;

    if (!train)
        train = module_find_graph(m, "train", TARGET_CUDA);
    if (!train)
        internal_error("the module has no training graph of a target");
    t = make_table(train);
    text_append(out, "%s on %s, %d classes, batch %d\n", m->name, m->dataset, m->classes,
                train->batch);
    print_rows(&t, out);
    text_append(out, "MFLOP of one image, forward; training takes about three times as many. "
                     "Outputs are height x width x channels.\n");
    print_memory(m, out);
    for (int i = 0; kernels && i < m->graph_count; i++) {
        if (target_is_cpu(m->graph[i]->target))
            print_cpu_kernels(m->graph[i], out);
        else if (m->graph[i]->target == TARGET_CUDA)
            print_cuda_kernels(m->graph[i], out);
    }
}

/* The table of layers: from the IR alone, so that it says what was compiled, whatever the model
 * file said. */
#include "../ir/numbers.h"
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
    return op_is(n->op, F_CONVOLUTION) && conv_filter(n);
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
    if (op_is(n->op, F_POOL))
        return outputs * n->attr.window.kernel_h * n->attr.window.kernel_w;
    if (n->op == OP_GAP)
        return (double)shape_elements(&n->in[0]->tensor.shape) / s->dim[0];
    if (n->op == OP_RESIZE)
        return outputs * 8; /* three interpolations, the normalisation */
    if (n->op == OP_NORMALIZE)
        return outputs * 2;
    return op_is_pointwise(n->op) ? outputs : 0;
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

/* s: NULL for none. Running statistics are none either. */
static void add_parameter(Row *row, const Storage *s, bool *counted)
{
    if (!s || counted[s->index] || !role_is_parameter(s->role))
        return;
    counted[s->index] = true;
    row->parameters += shape_elements(&s->tensor.shape);
}

static void add_parameters(Row *row, const Node *n, bool *counted)
{
    if (is_conv(n))
        add_parameter(row, operand_storage(conv_filter(n)), counted);
    for (int i = 0; i < n->arity; i++)
        add_parameter(row, operand_storage(n->in[i]), counted);
}

/* Statistics come before what they are for: the row is named after that. */
static void name_norm(Row *row, const Graph *g, const Node *n)
{
    const Storage *mean = n->op == OP_BATCH_NORM ? norm_storage(g, n) : NULL;

    if (n->op == OP_BATCH_NORM)
        row->op = op_name(n->op);
    if (mean)
        row->layer = layer_name(g->module->pool, mean->name, 1);
}

static void add_to_row(Row *row, const Graph *g, const Node *n)
{
    Pool *pool = g->module->pool;

    const Storage *filter = is_conv(n) ? operand_storage(conv_filter(n)) : NULL;

    if (filter) {
        row->convolutions++;
        row->layer = layer_name(pool, filter->name, row->convolutions > 1 ? 2 : 1);
        row->op = row->convolutions > 1 ? "mlpconv" : op_name(OP_CONV2D);
    }
    name_norm(row, g, n);
    row->last = n;
    if (n->kernel && !(row->kernel && op_is(n->op, F_RESULT)))
        row->kernel = n->kernel;
    row->flop += node_flop(n);
}

static Row *row_for(Table *t, const Node *n, Pool *pool)
{
    Row *last = t->count > 0 ? &t->row[t->count - 1] : NULL;
    bool loss = op_is(n->op, F_RESULT);
    Row new = {.loc = n->loc, .layer = "", .op = loss ? "loss" : op_name(n->op)};

    if (last && (loss ? strcmp(last->op, "loss") == 0 : same_place(&last->loc, &n->loc)))
        return last;
    if (n->op == OP_NORMALIZE || n->op == OP_RESIZE || op_is(n->op, F_AUGMENT))
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
        add_to_row(row, g, n);
        add_parameters(row, n, counted);
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

/* ---- columns: all tables fit 80 ---- */

enum { COLUMNS = 80, LONGEST_LAYER = 24, LONGEST_KERNEL = 32, LEAST_KERNEL = 10, NAME = 128 };

/* The name or, where it is too long, its beginning and its end. Returns `out`, of NAME bytes. */
static const char *fit(const char *name, int width, char *out)
{
    int length = (int)strlen(name), head = (width - 2) / 2;

    if (length <= width)
        snprintf(out, NAME, "%s", name);
    else
        snprintf(out, NAME, "%.*s..%s", head, name, name + length - (width - 2 - head));
    return out;
}

static int wider(int width, const char *text, int limit)
{
    int length = (int)strlen(text);

    return (int)larger(width, smaller(length, limit));
}

/* How wide the columns are. */
typedef struct Widths {
    int layer, op, shape, kernel;
} Widths;

static Widths measure(const Table *t)
{
    Widths w = {(int)strlen("layer"), (int)strlen("loss"), (int)strlen("output"), 0};
    char shape[64];

    for (int i = 0; i < t->count; i++) {
        const Row *row = &t->row[i];

        w.layer = wider(w.layer, row->layer, LONGEST_LAYER);
        w.op = wider(w.op, row->op, NAME);
        w.shape = wider(w.shape, image_shape(&row->last->tensor.shape, shape, sizeof shape), NAME);
    }
    w.kernel = (int)larger(COLUMNS - (w.layer + 2 + w.op + 2 + w.shape + 2 + 10 + 2 + 8 + 2),
                           LEAST_KERNEL);
    return w;
}

static void print_rows(const Table *t, Text *out)
{
    Widths w = measure(t);
    char shape[64], count[32], name[NAME];

    text_append(out, "%-*s  %-*s  %-*s  %10s  %8s  %s\n", w.layer, "layer", w.op, "op", w.shape,
                "output", "parameters", "MFLOP", "kernel");
    for (int i = 0; i < t->count; i++) {
        const Row *row = &t->row[i];

        text_append(out, "%-*s  %-*s  %-*s  %10s  %8.2f", w.layer, fit(row->layer, w.layer, name),
                    w.op, row->op, w.shape,
                    image_shape(&row->last->tensor.shape, shape, sizeof shape),
                    format_count(row->parameters, count), row->flop / 1e6);
        if (row->kernel)
            text_append(out, "  %s", fit(row->kernel->name, w.kernel, name));
        text_append(out, "\n");
    }
    text_append(out, "%-*s  %-*s  %-*s  %10s  %8.2f\n", w.layer, "total", w.op, "", w.shape, "",
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

/* Pixels by vectors of the tiles that the kernel's products are made of; once where all are equal.
 */
static const char *tile_list(const Kernel *k, char *out, size_t size)
{
    const Node *last = NULL;
    bool equal = true;
    size_t used = 0;

    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];

        if (n->tile.pixels == 0)
            continue;
        equal &= !last || (n->tile.pixels == last->tile.pixels &&
                           n->tile.vectors == last->tile.vectors);
        if (used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%dx%d", last ? "," : "",
                                     n->tile.pixels, n->tile.vectors);
        last = n;
    }
    if (last && equal)
        snprintf(out, size, "%dx%d", last->tile.pixels, last->tile.vectors);
    return last ? out : "-";
}

/* Of a class what the kernel's name does not say: conv of conv_forward. */
static int class_length(const Kernel *k)
{
    return (int)strcspn(class_names[k->class], "_");
}

static int longest_kernel(const Graph *g)
{
    int width = (int)strlen("name");

    for (int i = 0; i < g->kernel_count; i++)
        width = wider(width, g->kernel[i]->name, LONGEST_KERNEL);
    return width;
}

/* The columns that kernels of both kinds of target have. */
static void print_kernel(const Kernel *k, int width, Text *out)
{
    char name[NAME];

    text_append(out, "%-*s  %-9.*s  %-6s  %9.2f", width, fit(k->name, width, name),
                class_length(k), class_names[k->class], phase_names[k->phase],
                (double)kernel_bytes(k) / 1e6);
}

static void print_cpu_kernels(const Graph *g, Text *out)
{
    int width = longest_kernel(g);
    char tiles[256];

    text_append(out, "\nkernels of %s on %s, %s, in order\n%-*s  %-9s  %-6s  %9s  %5s  %s\n",
                g->name, target_kind(g->target) == KIND_TILES ? "a CPU with AMX" : "the CPU",
                graph_precision(g), width, "name", "class", "phase", "MB out", "strip", "tiles");
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        const char *list = tile_list(k, tiles, sizeof tiles);

        print_kernel(k, width, out);
        text_append(out, "  %5d", k->strip);
        if (width + 41 + (int)strlen(list) <= COLUMNS)
            text_append(out, "  %s\n", list);
        else
            text_append(out, "\n  tiles %s\n", list);
    }
}

/* The preferred schedule: the tile of the GEMM with its stages. */
static void print_tile(const Schedule *s, Text *out)
{
    if (s->tile_m > 0)
        text_append(out, "  %dx%dx%d stages=%d", s->tile_m, s->tile_n, s->tile_k, s->stages);
    else
        text_append(out, "  -");
}

/* Its blocks, in a line of their own. */
static void print_blocks(const Schedule *s, Text *out)
{
    text_append(out, "\n  %dx%dx%d blocks of %d threads, %d bytes shared, from sm_%d\n", s->grid_x,
                s->grid_y, s->split, s->threads, s->shared_bytes, s->architecture);
}

static void print_cuda_kernels(const Graph *g, Text *out)
{
    int width = longest_kernel(g);

    text_append(out, "\nkernels of %s on a GPU, %s, in order\n%-*s  %-9s  %-6s  %9s  %s\n", g->name,
                graph_precision(g), width, "name", "class", "phase", "MB out", "tile");
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];

        print_kernel(k, width, out);
        print_tile(&k->schedule[0], out);
        print_blocks(&k->schedule[0], out);
        if (k->note)
            text_append(out, "  %s\n", k->note);
    }
}

/* Megabytes of a target's training, in all and of parameters and moments. */
static void print_memory_of(const Module *m, Target target, Text *out)
{
    int threads = target_is_cpu(target) ? memory_threads() : 1;
    double total = (double)memory_total(m, target, threads) / 1e6;
    double state = (double)m->state_bytes[target] / 1e6;

    switch (target_kind(target)) {
    case KIND_VECTORS:
        text_append(out, "training needs %.1f MB with %d thread%s: %.1f MB of parameters and "
                         "moments,\n  the rest for values\n",
                    total, threads, threads == 1 ? "" : "s", state);
        return;
    case KIND_TILES:
        text_append(out, "on a processor with AMX %.1f MB\n", total);
        return;
    case KIND_THREADS:
        text_append(out, "on a GPU %.1f MB, %.1f MB of them parameters and moments;\n"
                         "  the data set's images come on top\n", total, state);
        return;
    case KIND_NONE:
        break;
    }
}

static void print_memory(const Module *m, Text *out)
{
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        if (module_find_graph(m, "train", target))
            print_memory_of(m, target, out);
}

/* nin on fashion-mnist, 10 classes, batch 16, fp32. A CPU has no tf32. */
static void print_head(const Module *m, const Graph *train, Text *out)
{
    const Graph *cuda = module_find_graph(m, "train", TARGET_CUDA);
    const char *precision = graph_precision(train);

    text_append(out, "%s on %s, %d classes, batch %d, %s", m->name, m->dataset, m->classes,
                train->batch, precision);
    if (cuda && strcmp(graph_precision(cuda), precision) != 0)
        text_append(out, ", on a GPU %s", graph_precision(cuda));
    text_append(out, "\n");
}

void summary_print(const Module *m, bool kernels, Text *out)
{
    const Graph *train = module_first_graph(m, "train");
    Table t;

    if (!train)
        internal_error("the module has no training graph of a target");
    t = make_table(train);
    print_head(m, train, out);
    print_rows(&t, out);
    text_append(out, "MFLOP of one image, forward; training takes about three times as many.\n"
                     "Outputs are height x width x channels.\n");
    training_describe(m, out);
    print_memory(m, out);
    for (int i = 0; kernels && i < m->graph_count; i++) {
        if (target_is_cpu(m->graph[i]->target))
            print_cpu_kernels(m->graph[i], out);
        else
            print_cuda_kernels(m->graph[i], out);
    }
}

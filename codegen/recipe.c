/* recipe.c: what checkpoints compare, so that no run goes on with another model: the data, the
 * optimizer, the parameters, and every layer of the eval graph. It is the same text for all targets
 * and levels, whatever the passes made of the layers. */
#include "recipe.h"
#include "emit.h"

#include <string.h>

/* The layer that a node is, with its window, whatever the passes made of it: a convolution in tiles
 * is one with stride 1, a folded one that of the resized image, an average over the whole map is
 * gap. Maps alone do not tell windows apart: a stride that steps over the edge and a padding that
 * the last window needs may give the same size. */
static Node layer_of(const Graph *eval, const Node *n)
{
    Node layer = unfolded_image(eval, n);
    const Winograd *w = &n->attr.winograd;
    if (pool_covers_map(n))
        layer.op = OP_GAP;
    if (n->op == OP_CONV2D_FOLDED) {
        layer.op = OP_CONV2D;
        layer.attr.window = n->attr.fold.window;
    }
    if (n->op == OP_WINOGRAD_OUTPUT) {
        layer.op = OP_CONV2D;
        layer.attr.window =
            (Window){.kernel_h = w->kernel,
                     .kernel_w = w->kernel,
                     .stride_h = 1,
                     .stride_w = 1,
                     .padding_h = w->padding_h,
                     .padding_w = w->padding_w};
    }
    return layer;
}

/* ---- layers, each behind those that it reads ---- */

enum { UNSEEN = 0, NO_LAYER = -1, IMAGE = 1 };

typedef struct Recipe {
    const Graph *eval;
    int *layer; /* by node id: the line of the layer whose value it is, from IMAGE + 1 */
    int layers; /* the last line's */
    Text *out;
} Recipe;

static int layer_number(const Recipe *r, const Node *n)
{
    return n->op == OP_STATE ? NO_LAYER : r->layer[n->id];
}

/* Which layers it reads, where that is not the one of the line before alone. */
static void print_operands(const Recipe *r, const int *operand, int count)
{
    if (count == 1 && operand[0] == r->layers)
        return;
    for (int i = 0; i < count; i++)
        text_append(r->out, "%s%d", i ? "," : " of ", operand[i] - IMAGE);
}

static void print_layer(Recipe *r, const Node *n, const int *operand, int count)
{
    const Node layer = layer_of(r->eval, n);
    const Shape *shape = &layer.tensor.shape;
    text_append(r->out, "    \"layer %s ", op_name(layer.op));
    for (int i = 1; i < shape->rank; i++)
        text_append(r->out, "%s%d", i > 1 ? "x" : "", shape->dim[i]);
    attr_print(&layer, r->out);
    print_operands(r, operand, count);
    text_append(r->out, "\\n\"\n");
}

/* All operands of n are done. */
static void add_node(Recipe *r, const Node *n)
{
    int operand[MAX_OPERANDS], count = 0;
    for (int i = 0; i < n->arity; i++)
        if (layer_number(r, n->in[i]) != NO_LAYER)
            operand[count++] = layer_number(r, n->in[i]);
    if (!op_is(n->op, F_SILENT | F_RESULT) && !node_is_identity(n)) {
        print_layer(r, n, operand, count);
        r->layer[n->id] = ++r->layers;
    } else if (n->op == OP_INPUT)
        r->layer[n->id] = IMAGE;
    else
        r->layer[n->id] = count ? operand[0] : NO_LAYER;
}

static const Node *unseen_operand(const Recipe *r, const Node *n)
{
    for (int i = 0; i < n->arity; i++)
        if (layer_number(r, n->in[i]) == UNSEEN)
            return n->in[i];
    return NULL;
}

/* The layers of n, depth first: an order that comes from what reads what, not from the order in
 * which the passes leave the nodes. */
static void add_layers(Recipe *r, const Node *n, const Node **stack)
{
    int depth = 0;
    stack[depth++] = n;
    while (depth > 0) {
        const Node *top = stack[depth - 1], *next = unseen_operand(r, top);
        if (next)
            stack[depth++] = next;
        else {
            depth--;
            if (r->layer[top->id] == UNSEEN)
                add_node(r, top);
        }
    }
}

/* ---- results ---- */

/* How an output is made of the last layer, where that is not what the recipe is silent about:
 * cross-entropy's mean, and the count of correct images. */
static void print_result(const Output *o, Text *out)
{
    static const char *const silent[] = {"loss mean_valid cross_entropy",
                                         "correct count_valid correct"};
    Text line = {0};
    text_append(&line, "%s", o->name);
    const Node *n = o->node;
    for (; op_is(n->op, F_RESULT); n = n->in[0]) {
        text_append(&line, " %s", op_name(n->op));
        attr_print(n, &line);
    }
    if (n != o->node && strcmp(line.data, silent[0]) != 0 && strcmp(line.data, silent[1]) != 0)
        text_append(out, "    \"output %s\\n\"\n", line.data);
    text_free(&line);
}

/* ---- all of it ---- */

static void print_parameter(const Storage *s, Text *out)
{
    text_append(out, "    \"parameter %s ", s->name);
    for (int k = 0; k < s->tensor.shape.rank; k++)
        text_append(out, "%s%d", k ? "x" : "", s->tensor.shape.dim[k]);
    training_print(&s->training, out);
    text_append(out, "\\n\"\n");
}

void emit_recipe_layers(const Graph *eval, Text *out)
{
    Pool *pool = pool_new();
    size_t nodes = (size_t)eval->node_count + 1;
    Recipe r = {eval, pool_alloc(pool, nodes * sizeof *r.layer), IMAGE, out};
    const Node **stack = pool_alloc(pool, nodes * sizeof *stack);
    for (int i = 0; i < eval->output_count; i++)
        add_layers(&r, eval->output[i].node, stack);
    for (int i = 0; i < eval->output_count; i++)
        print_result(&eval->output[i], out);
    pool_free(pool);
}

/* What is said of the images, as part of a string of C. */
static void print_data(const Module *m, Text *out)
{
    Text line = {0};
    data_settings_print(&m->data, &line);
    if (m->train.sampler != SAMPLER_SHUFFLE)
        text_append(&line, " sampler=%s", sampler_names[m->train.sampler]);
    if (line.length > 0) {
        text_append(out, ",");
        emit_escaped(line.data, out);
    }
    text_free(&line);
}

/* What training does to its images, which eval does not. */
static void print_augmentations(const Module *m, Text *out)
{
    const Graph *train = module_first_graph(m, "train");
    for (int i = 0; train && i < train->node_count; i++) {
        const Node *n = train->node[i];
        if (!op_is(n->op, F_AUGMENT))
            continue;
        text_append(out, "    \"augment %s", op_name(n->op));
        attr_print(n, out);
        text_append(out, "\\n\"\n");
    }
}

void emit_recipe(const Module *m, const Graph *eval, Text *out)
{
    char digits[32];
    text_append(out, "    \"data %s %dx%dx%d, %d classes", m->dataset, m->image_h, m->image_w,
                m->image_c, m->classes);
    print_data(m, out);
    text_append(out, "\\n\"\n    \"batch %d\\n\"\n    \"", eval->batch);
    optimizer_print(&m->optimizer, false, out);
    if (m->train.clip_grad_norm > 0)
        text_append(out, ", clip_grad_norm %s", format_double(m->train.clip_grad_norm, digits));
    if (m->train.ema > 0)
        text_append(out, ", ema %s", format_double(m->train.ema, digits));
    if (m->class_weights.how != WEIGH_ALIKE) {
        text_append(out, ", " CLASS_WEIGHTS_NAME " ");
        class_weights_print(m, out);
    }
    text_append(out, "\\n\"\n");
    for (int i = 0; i < m->storage_count; i++)
        if (!m->storage[i]->of && m->storage[i]->role != ROLE_CLASSES)
            print_parameter(m->storage[i], out);
    print_augmentations(m, out);
    emit_recipe_layers(eval, out);
}

/* The verifier: what each stage promises. It reads and never repairs. */
#include "ir.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 128, PLACE_ALIGNMENT = 64 };

typedef struct Verifier {
    const Module *m;
    const Graph *g; /* the graph being checked; NULL: the module */
    Diagnostics *d;
    Pool *pool; /* scratch */
} Verifier;

/* ---- faults ---- */

static bool fault(const Verifier *v, Loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fault(const Verifier *v, Loc loc, const char *format, ...)
{
    Text text = {0};
    va_list ap;
    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    if (v->g)
        diagnostics_add(v->d, loc, 1, "graph %s: %s", v->g->name, text.data);
    else
        diagnostics_add(v->d, loc, 1, "module %s: %s", v->m->name, text.data);
    text_free(&text);
    return false;
}

/* How the text calls a node: %5 (conv2d). */
static const char *label(const Verifier *v, const Node *n)
{
    int number = 0;
    if (n->op == OP_INPUT)
        return pool_format(v->pool, "%%%s (input)", n->name ? n->name : "?");
    if (n->storage)
        return pool_format(v->pool, "@%s (%s)", n->storage->name, op_name(n->op));
    for (int i = 0; i < v->g->node_count && v->g->node[i] != n; i++)
        number += v->g->node[i]->op != OP_INPUT && v->g->node[i]->op != OP_UPDATE;
    return pool_format(v->pool, "%%%d (%s)", number, op_name(n->op));
}

static bool node_fault(const Verifier *v, const Node *n, const char *rule)
{
    return fault(v, n->loc, "%s: %s", label(v, n), rule);
}

static bool kernel_fault(const Verifier *v, const Kernel *k, const char *rule)
{
    Loc loc = k->node_count > 0 ? k->node[0]->loc : (Loc){0};
    return fault(v, loc, "kernel %s: %s", k->name, rule);
}

/* ---- names ---- */

/* [A-Za-z0-9_]+, with single dots between where they are allowed. */
static bool is_name(const char *name, bool dots)
{
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > MAX_NAME || name[0] == '.' || name[length - 1] == '.')
        return false;
    for (size_t i = 0; i < length; i++) {
        bool dot = dots && name[i] == '.' && name[i + 1] != '.';
        if (!dot && name[i] != '_' && !isalnum((unsigned char)name[i]))
            return false;
    }
    return true;
}

static bool is_identifier(const char *name)
{
    return is_name(name, false) && !isdigit((unsigned char)name[0]);
}

/* ---- types ---- */

/* Limits that keep every physical size far inside int64_t. */
enum { MAX_BLOCK = 256, MAX_HALO = 512, BLOCK_SLACK = 64 };

static bool is_sane_filter(const Tensor *t)
{
    const Layout *l = &t->layout;
    const int32_t *d = t->shape.dim;
    return t->shape.rank == 4 && l->block > 0 && l->block <= (int64_t)d[1] + BLOCK_SLACK &&
           l->out_block > 0 && l->out_block <= (int64_t)d[0] + BLOCK_SLACK;
}

static bool is_sane_layout(const Tensor *t)
{
    const Layout *l = &t->layout;
    bool blocked = l->block > 0 && l->block <= MAX_BLOCK && l->out_block == 0;
    bool no_halo = l->halo_h == 0 && l->halo_w == 0 && l->strip == 0;
    if (l->halo_h < 0 || l->halo_w < 0 || l->halo_h > MAX_HALO || l->halo_w > MAX_HALO)
        return false;
    if (l->strip < 0 || (l->strip > 0 && (t->shape.rank != 4 || l->strip > t->shape.dim[1])))
        return false;
    switch (l->kind) {
    case LAYOUT_PLAIN: return l->block == 0 && l->out_block == 0 && no_halo;
    case LAYOUT_NHWC:
        return t->shape.rank == 4 && l->block == 0 && l->out_block == 0 && l->strip == 0;
    case LAYOUT_NCHWC: return blocked && (t->shape.rank == 4 || t->shape.rank == 2);
    case LAYOUT_FILTER: return is_sane_filter(t) && no_halo;
    case LAYOUT_VECTOR: return blocked && t->shape.rank == 1 && no_halo;
    case LAYOUT_COUNT: break;
    }
    return false;
}

static bool is_sane_shape(const Shape *s)
{
    int64_t elements = 1;
    for (int i = 0; i < s->rank; i++) {
        elements *= s->dim[i];
        if (s->dim[i] < 1 || elements > INT32_MAX)
            return false;
    }
    return true;
}

static bool same_tensor(const Tensor *a, const Tensor *b)
{
    const Layout *l = &a->layout, *r = &b->layout;
    return a->dtype == b->dtype && shape_equal(&a->shape, &b->shape) && l->kind == r->kind &&
           l->block == r->block && l->out_block == r->out_block && l->halo_h == r->halo_h &&
           l->halo_w == r->halo_w && l->strip == r->strip;
}

static int64_t tensor_bytes(const Tensor *t)
{
    return tensor_elements(t) * dtype_bytes(t->dtype);
}

/* ---- the module ---- */

static bool check_settings(const Verifier *v)
{
    const Module *m = v->m;
    const Optimizer *o = &m->optimizer;
    const Loc nowhere = {0};
    bool good = true;
    if (!is_name(m->name, true))
        good = fault(v, nowhere, "the model's name is not a name");
    if (m->image_h < 1 || m->image_w < 1 || m->image_c < 1 || m->classes < 1)
        good = fault(v, nowhere, "the data set's image and classes must be at least 1");
    if (m->train.batch_size < 1 || m->train.epochs < 0)
        good = fault(v, nowhere, "batch_size must be at least 1, epochs at least 0");
    if (!(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1 && o->eps >= 0))
        good = fault(v, nowhere, "the optimizer's betas must be in [0, 1), its eps at least 0");
    return good;
}

static bool check_moment(const Verifier *v, const Storage *s)
{
    const Storage *of = s->of ? module_find_storage(v->m, s->of) : NULL;
    if (!of || of->role == ROLE_MOMENT)
        return fault(v, s->loc, "@%s: a moment names its parameter by {of=@...}", s->name);
    return shape_equal(&of->tensor.shape, &s->tensor.shape) ||
           fault(v, s->loc, "@%s has another shape than its parameter @%s", s->name, s->of);
}

static bool check_storage(const Verifier *v, const Storage *s)
{
    const Tensor *t = &s->tensor;
    if (!is_name(s->name, true))
        return fault(v, s->loc, "'%s' is not a name of storage", s->name);
    if (t->dtype != DT_F32 || !is_sane_shape(&t->shape))
        return fault(v, s->loc, "@%s must be f32 of less than 2^31 elements", s->name);
    if (!is_sane_layout(t) || t->layout.halo_h || t->layout.halo_w || t->layout.strip)
        return fault(v, s->loc, "@%s: its layout does not fit its shape", s->name);
    if (s->fan_in < 0 || s->fan_out < 0)
        return fault(v, s->loc, "@%s: fan_in and fan_out must not be negative", s->name);
    switch (s->role) {
    case ROLE_WEIGHT:
        return t->shape.rank == 4 || fault(v, s->loc, "@%s: a weight is [O,I,KH,KW]", s->name);
    case ROLE_BIAS: return t->shape.rank == 1 || fault(v, s->loc, "@%s: a bias is [O]", s->name);
    case ROLE_MOMENT: return check_moment(v, s);
    case ROLE_COUNT: break;
    }
    return fault(v, s->loc, "@%s: its role is unknown", s->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(Storage *const *)a)->name, (*(Storage *const *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
    int64_t x = (*(Storage *const *)a)->offset, y = (*(Storage *const *)b)->offset;
    return (x > y) - (x < y);
}

static Storage **sorted_storage(const Verifier *v, int (*order)(const void *, const void *))
{
    size_t count = (size_t)v->m->storage_count;
    Storage **list = pool_alloc(v->pool, count * sizeof(Storage *));
    for (size_t i = 0; i < count; i++)
        list[i] = v->m->storage[i];
    qsort(list, count, sizeof(Storage *), order);
    return list;
}

static bool check_storages(const Verifier *v)
{
    bool good = true;
    Storage **list = sorted_storage(v, by_name);
    for (int i = 0; i < v->m->storage_count; i++)
        good &= check_storage(v, v->m->storage[i]);
    for (int i = 1; i < v->m->storage_count; i++)
        if (strcmp(list[i - 1]->name, list[i]->name) == 0)
            good = fault(v, list[i]->loc, "@%s is declared twice", list[i]->name);
    return good;
}

/* Once places are given: every storage has one, aligned, inside the region, of its own. */
static bool check_storage_places(const Verifier *v)
{
    Storage **list = sorted_storage(v, by_offset);
    for (int i = 0; i < v->m->storage_count; i++) {
        const Storage *s = list[i];
        int64_t end = s->offset + tensor_bytes(&s->tensor);
        int64_t limit = i + 1 < v->m->storage_count ? list[i + 1]->offset : v->m->state_bytes;
        if (s->offset < 0 || s->offset % PLACE_ALIGNMENT != 0)
            return fault(v, s->loc, "@%s must lie at a multiple of %d bytes", s->name,
                         PLACE_ALIGNMENT);
        if (end > limit)
            return fault(v, s->loc, "@%s overlaps what follows it or leaves the state region",
                         s->name);
    }
    return true;
}

/* ---- nodes ---- */

/* A leaf of this graph, or a node that stands before position `at`. */
static bool is_defined(const Graph *g, const Node *n, int at)
{
    if (!n)
        return false;
    if (n->op != OP_STATE)
        return n->id >= 0 && n->id < at && g->node[n->id] == n;
    for (int i = 0; i < g->state_count; i++)
        if (g->state[i] == n)
            return true;
    return false;
}

/* What everything else relies on: ids, order of definitions, arity. */
static bool check_structure(const Verifier *v)
{
    const Graph *g = v->g;
    for (int i = 0; i < g->state_count; i++)
        if (!g->state[i]->storage ||
            !same_tensor(&g->state[i]->tensor, &g->state[i]->storage->tensor))
            return node_fault(v, g->state[i], "its type is not that of its storage");
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n->op >= OP_COUNT || n->op == OP_STATE || n->id != i)
            return fault(v, n->loc, "node %d is out of place", i);
        if (n->arity < op_min_operands(n->op) || n->arity > op_max_operands(n->op))
            return node_fault(v, n, "it has the wrong number of operands");
        for (int k = 0; k < n->arity; k++)
            if (!is_defined(g, n->in[k], i))
                return node_fault(v, n, "an operand is not defined before it");
        if ((n->op == OP_UPDATE) != (n->storage != NULL))
            return node_fault(v, n, "only updates have storage, and all of them do");
    }
    for (int i = 0; i < g->output_count; i++)
        if (!is_defined(g, g->output[i].node, g->node_count))
            return fault(v, (Loc){0}, "output %s is not a value of the graph", g->output[i].name);
    return true;
}

static bool check_input(const Verifier *v, const Node *n)
{
    const Shape *s = &n->tensor.shape;
    if (!is_identifier(n->name))
        return node_fault(v, n, "its name is not an identifier");
    if (n->id > 0 && v->g->node[n->id - 1]->op != OP_INPUT)
        return node_fault(v, n, "inputs come before all other nodes");
    for (int i = 0; i < n->id; i++)
        if (strcmp(v->g->node[i]->name, n->name) == 0)
            return node_fault(v, n, "there is another input of that name");
    return s->rank == 0 || s->dim[0] == v->g->batch ||
           node_fault(v, n, "its first extent is not the batch");
}

/* Ops whose result has one row an image. */
static bool works_on_images(Op op)
{
    return !op_is_pointwise(op) && op != OP_INPUT && op != OP_STATE && op != OP_UPDATE &&
           op != OP_CONV2D_WGRAD && op != OP_BIAS_GRAD && op != OP_FILTER_TRANSPOSE &&
           op != OP_MEAN_VALID && op != OP_COUNT_VALID;
}

static bool check_type(const Verifier *v, const Node *n)
{
    Tensor type = n->tensor;
    if (type.dtype >= DT_COUNT || type.shape.rank < 0 || type.shape.rank > TENSOR_MAX_RANK ||
        !is_sane_shape(&type.shape))
        return node_fault(v, n, "its type is not a type");
    if (!infer_type(v->d, n->op, n->arity, n->in, &n->attr, n->loc, &type))
        return false;
    if (type.dtype != n->tensor.dtype || !shape_equal(&type.shape, &n->tensor.shape))
        return node_fault(v, n, "its type is not what its operands give");
    if (!is_sane_layout(&n->tensor))
        return node_fault(v, n, "its layout does not fit its shape");
    if (n->op == OP_UPDATE && !same_tensor(&n->tensor, &n->storage->tensor))
        return node_fault(v, n, "its type is not that of its storage");
    if (works_on_images(n->op) && n->tensor.shape.dim[0] != v->g->batch)
        return node_fault(v, n, "its first extent is not the batch");
    return n->tile.pixels >= 0 && n->tile.vectors >= 0 ? true
                                                       : node_fault(v, n, "its tile is negative");
}

/* One update a storage, and no read behind it. */
static bool check_updates(const Verifier *v)
{
    const Graph *g = v->g;
    const Storage **written = pool_alloc(v->pool, ((size_t)g->node_count + 1) * sizeof *written);
    int count = 0;
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        for (int w = 0; w < count; w++) {
            if (n->storage == written[w])
                return node_fault(v, n, "its storage is updated twice");
            for (int k = 0; k < n->arity; k++)
                if (n->in[k]->storage == written[w] && n->in[k]->op == OP_STATE)
                    return node_fault(v, n, "it reads storage that was updated before it");
        }
        if (n->op == OP_UPDATE)
            written[count++] = n->storage;
    }
    return true;
}

static bool check_outputs(const Verifier *v)
{
    const Graph *g = v->g;
    for (int i = 0; i < g->output_count; i++) {
        if (!is_identifier(g->output[i].name))
            return fault(v, (Loc){0}, "output %d has no proper name", i);
        if (g->output[i].node->op == OP_UPDATE)
            return fault(v, (Loc){0}, "output %s is an update", g->output[i].name);
        for (int j = 0; j < i; j++)
            if (strcmp(g->output[i].name, g->output[j].name) == 0)
                return fault(v, (Loc){0}, "output %s is returned twice", g->output[i].name);
    }
    return true;
}

static bool check_nodes(const Verifier *v)
{
    bool good = true;
    for (int i = 0; i < v->g->node_count; i++) {
        const Node *n = v->g->node[i];
        if (n->op == OP_INPUT)
            good &= check_input(v, n);
        good &= check_type(v, n);
    }
    return good && check_updates(v) && check_outputs(v);
}

/* ---- kernels ---- */

/* The kernels, one after another, are the graph's nodes behind its inputs. */
static bool check_cover(const Verifier *v)
{
    const Graph *g = v->g;
    int at = 0;
    while (at < g->node_count && g->node[at]->op == OP_INPUT)
        if (g->node[at++]->kernel)
            return node_fault(v, g->node[at - 1], "an input is in no kernel");
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        if (k->node_count == 0)
            return kernel_fault(v, k, "it is empty");
        for (int j = 0; j < k->node_count; j++, at++)
            if (k->node[j]->kernel != k || at >= g->node_count || g->node[at] != k->node[j])
                return kernel_fault(v, k, "the graph's nodes do not follow its kernels' order");
    }
    return at == g->node_count || node_fault(v, g->node[at], "it is in no kernel");
}

static bool contains(Node *const *list, int count, const Node *n)
{
    for (int i = 0; i < count; i++)
        if (list[i] == n)
            return true;
    return false;
}

static bool check_inputs_of(const Verifier *v, const Kernel *k)
{
    int next = 0;
    for (int i = 0; i < k->node_count; i++)
        for (int j = 0; j < k->node[i]->arity; j++) {
            const Node *in = k->node[i]->in[j];
            if (in->kernel == k || contains(k->in, next, in))
                continue;
            if (next == k->in_count || k->in[next] != in)
                return kernel_fault(v, k, "its inputs are not what its nodes read");
            next++;
        }
    return next == k->in_count || kernel_fault(v, k, "it has inputs that no node reads");
}

static bool check_outputs_of(const Verifier *v, const Kernel *k, const bool *escapes)
{
    int next = 0;
    for (int i = 0; i < k->node_count; i++) {
        Node *n = k->node[i];
        if (n->op != OP_UPDATE && !escapes[n->id])
            continue;
        if (next == k->out_count || k->out[next] != n)
            return kernel_fault(v, k, "its outputs are not what others read of it");
        next++;
    }
    return next == k->out_count || kernel_fault(v, k, "it has outputs that nobody reads");
}

/* Sums over images are whole only after all chunks. */
static bool check_phase_of(const Verifier *v, const Node *n)
{
    Phase phase = n->kernel->phase;
    bool sums = n->op == OP_CONV2D_WGRAD || n->op == OP_BIAS_GRAD;
    if ((n->op == OP_UPDATE || n->op == OP_MEAN_VALID || n->op == OP_COUNT_VALID) &&
        phase != PHASE_AFTER)
        return node_fault(v, n, "it belongs in the phase after the images");
    if (sums && phase == PHASE_BEFORE)
        return node_fault(v, n, "it cannot run before the images");
    for (int k = 0; k < n->arity; k++) {
        Op op = n->in[k]->op;
        if ((op == OP_CONV2D_WGRAD || op == OP_BIAS_GRAD) && phase != PHASE_AFTER)
            return node_fault(v, n, "it reads a sum over images before all images are done");
    }
    return true;
}

/* What a kernel of the node's class can execute. */
static bool check_class_of(const Verifier *v, const Node *n)
{
    const Kernel *k = n->kernel;
    bool updates = n->op == OP_UPDATE || (op_is_pointwise(n->op) && n->op != OP_RELU &&
                                          n->op != OP_RELU_GRAD && n->tensor.shape.rank > 0);
    if (kernel_is_rows(k) && (!op_is_rows(n) || k->phase != PHASE_CHUNK))
        return node_fault(v, n, "a kernel of row ops cannot hold it");
    if (k->class == KERNEL_UPDATE && (!updates || k->phase != PHASE_AFTER))
        return node_fault(v, n, "an update kernel cannot hold it");
    if (k->class == KERNEL_FILTER && (n->op != OP_FILTER_TRANSPOSE || n->in[0]->op != OP_STATE))
        return node_fault(v, n, "a filter kernel cannot hold it");
    return (k->phase == PHASE_CHUNK) == (works_on_images(n->op) || n->op == OP_CONV2D_WGRAD ||
                                         n->op == OP_BIAS_GRAD || is_per_image(v->g, n)) ||
           node_fault(v, n, "images are worked on in the chunk phase, all else outside of it");
}

/* Kernels of all graphs of a target share one text. */
static bool is_name_taken(const Verifier *v, const Kernel *k)
{
    for (int i = 0; i < v->m->graph_count; i++) {
        const Graph *g = v->m->graph[i];
        for (int j = 0; g->target == v->g->target && j < g->kernel_count; j++)
            if (g->kernel[j] != k && strcmp(g->kernel[j]->name, k->name) == 0)
                return true;
    }
    return false;
}

static bool check_kernel(const Verifier *v, int index, const bool *escapes)
{
    const Kernel *k = v->g->kernel[index];
    if (!is_identifier(k->name))
        return kernel_fault(v, k, "its name is not an identifier");
    if (is_name_taken(v, k))
        return kernel_fault(v, k, "there is another kernel of that name");
    if (k->class >= KERNEL_CLASS_COUNT || k->phase >= PHASE_COUNT || k->strip < 0)
        return kernel_fault(v, k, "its class, phase or strip is unknown");
    if (index > 0 && v->g->kernel[index - 1]->phase > k->phase)
        return kernel_fault(v, k, "it stands behind a kernel of a later phase");
    for (int i = 0; i < k->node_count; i++)
        if (!check_phase_of(v, k->node[i]) || !check_class_of(v, k->node[i]))
            return false;
    return check_inputs_of(v, k) && check_outputs_of(v, k, escapes);
}

static bool check_kernels(const Verifier *v)
{
    if (!check_cover(v))
        return false;
    bool *escapes = graph_escapes(v->g, v->pool), good = true;
    for (int i = 0; i < v->g->kernel_count; i++)
        good &= check_kernel(v, i, escapes);
    return good;
}

static bool is_contraction(const Node *n)
{
    return n->op == OP_CONV2D || n->op == OP_CONV2D_TRANSPOSE || n->op == OP_CONV2D_WGRAD;
}

/* The convolution whose filter the weight gradient n is packed like. */
static bool is_conv_of(const Node *conv, const Node *n)
{
    return conv->op == OP_CONV2D && conv->in[0] == n->in[0] &&
           shape_equal(&conv->in[1]->tensor.shape, &n->tensor.shape) &&
           memcmp(&conv->attr.window, &n->attr.window, sizeof(Window)) == 0;
}

/* Contractions of row kernels run in register tiles. */
static bool check_tile(const Verifier *v, const Node *n)
{
    enum { MAX_TILE = 64 };
    const Tile *t = &n->tile;
    if (!is_contraction(n) || !kernel_is_rows(n->kernel))
        return true;
    if (t->pixels < 1 || t->vectors < 1 || t->pixels > MAX_TILE || t->vectors > MAX_TILE)
        return node_fault(v, n, "its tile is missing or too large");
    for (int i = 0; n->op == OP_CONV2D_WGRAD && i < n->id; i++) {
        const Node *c = v->g->node[i];
        if (is_conv_of(c, n) && kernel_is_rows(c->kernel) && c->tile.vectors != t->vectors)
            return node_fault(v, n, "its tile has not the vectors of its convolution's");
    }
    return true;
}

static bool check_schedule(const Verifier *v)
{
    const Graph *g = v->g;
    if (g->chunk < 1 || g->chunk > g->batch)
        return fault(v, (Loc){0}, "a chunk must hold 1 to %d images, not %d", g->batch, g->chunk);
    if (g->partials < 1 || g->partials > MAX_PARTIALS)
        return fault(v, (Loc){0}, "there must be 1 to %d partials, not %d", MAX_PARTIALS,
                     g->partials);
    for (int i = 0; i < g->node_count; i++)
        if (!check_tile(v, g->node[i]))
            return false;
    return true;
}

/* ---- layouts ---- */

enum { LANES = 16 };

static bool is_blocked(const Node *n)
{
    return n->tensor.layout.kind == LAYOUT_NCHWC && n->tensor.layout.block == LANES;
}

/* A filter, or its gradient, packed for a contraction of x in tiles. */
static bool is_packed(const Node *filter, const Node *x, const Tile *tile)
{
    const Layout *l = &filter->tensor.layout;
    int lanes = is_blocked(x) ? LANES : x->tensor.shape.dim[3];
    return (is_blocked(x) || x->tensor.layout.kind == LAYOUT_NHWC) && l->kind == LAYOUT_FILTER &&
           l->block == lanes && l->out_block == LANES * tile->vectors;
}

static bool has_halo(const Node *n, int h, int w)
{
    return n->tensor.layout.halo_h >= h && n->tensor.layout.halo_w >= w;
}

/* Rows or columns of dy past an edge that conv2d_transpose reads. */
static int reach(int kernel, int stride, int padding, int from, int to)
{
    int before = (kernel - 1 - padding) / stride, after = (to - 1 + padding) / stride - from + 1;
    return before > after ? before : after;
}

static bool check_contraction(const Verifier *v, const Node *n)
{
    const Window *w = &n->attr.window;
    const Node *x = n->in[0];
    const int32_t *from = x->tensor.shape.dim, *to = n->tensor.shape.dim;
    bool transpose = n->op == OP_CONV2D_TRANSPOSE, wgrad = n->op == OP_CONV2D_WGRAD;
    int h =
        transpose ? reach(w->kernel_h, w->stride_h, w->padding_h, from[1], to[1]) : w->padding_h;
    int columns =
        transpose ? reach(w->kernel_w, w->stride_w, w->padding_w, from[2], to[2]) : w->padding_w;
    if (!is_packed(wgrad ? n : n->in[1], x, &n->tile) || (transpose && !is_blocked(x)))
        return node_fault(v, n, "its filter is not packed for its input and tile");
    if (!is_blocked(wgrad ? n->in[1] : n))
        return node_fault(v, n, "its map does not lie in blocks of 16 channels");
    if (n->arity > 2 && n->in[2]->tensor.layout.kind != LAYOUT_VECTOR)
        return node_fault(v, n, "its bias is not a vector of whole blocks");
    return has_halo(x, h, columns) || node_fault(v, n, "its input lacks the halo that it reads");
}

static bool check_row_layout(const Verifier *v, const Node *n)
{
    if (is_contraction(n))
        return check_contraction(v, n);
    bool sums = n->op == OP_BIAS_GRAD;
    bool good = sums ? n->tensor.layout.kind == LAYOUT_VECTOR : is_blocked(n);
    for (int k = 0; k < n->arity; k++)
        good &= is_blocked(n->in[k]);
    return good || node_fault(v, n, "its maps do not lie in blocks of 16 channels");
}

/* Parameters and what is computed from them element by element lie alike. */
static bool check_flat_layout(const Verifier *v, const Node *n)
{
    LayoutKind kind = n->tensor.layout.kind;
    if (kind == LAYOUT_NHWC || kind == LAYOUT_NCHWC)
        return node_fault(v, n, "a parameter cannot lie like a map");
    for (int k = 0; k < n->arity && (op_is_pointwise(n->op) || n->op == OP_UPDATE); k++) {
        Tensor like = n->in[k]->tensor;
        like.dtype = n->tensor.dtype;
        if (like.shape.rank > 0 && !same_tensor(&like, &n->tensor))
            return node_fault(v, n, "its operands lie in different layouts");
    }
    return true;
}

static bool check_layout(const Verifier *v, const Node *n)
{
    LayoutKind kind = n->tensor.layout.kind;
    int strip = n->kernel && value_is_strip(n) ? n->kernel->strip : 0;
    if (n->op == OP_INPUT)
        return kind == LAYOUT_PLAIN || node_fault(v, n, "an input is plain");
    if (n->tensor.layout.strip != 0 && n->tensor.layout.strip != strip)
        return node_fault(v, n, "it cannot be held by strips of that height");
    if (kernel_is_rows(n->kernel))
        return check_row_layout(v, n);
    if (!is_per_image(v->g, n))
        return check_flat_layout(v, n);
    return (kind != LAYOUT_FILTER && kind != LAYOUT_VECTOR) ||
           node_fault(v, n, "a map cannot lie like a parameter");
}

static bool check_layouts(const Verifier *v)
{
    for (int i = 0; i < v->g->node_count; i++)
        if (!check_layout(v, v->g->node[i]))
            return false;
    for (int i = 0; i < v->g->kernel_count; i++)
        for (int j = 0; j < v->g->kernel[i]->node_count; j++) {
            const Node *n = v->g->kernel[i]->node[j];
            if (v->g->kernel[i]->class == KERNEL_FILTER &&
                (n->tensor.layout.kind != LAYOUT_FILTER ||
                 n->in[0]->tensor.layout.kind != LAYOUT_FILTER))
                return node_fault(v, n, "a filter kernel works on packed filters");
        }
    return true;
}

/* ---- places ---- */

/* When a value lives: moments are kernels, and the chunk phase is one moment for shared memory,
 * because chunks run in any order. */
typedef struct Life {
    const Node *node;
    int begin, end;
    int64_t from, to; /* bytes in the region; `to` is behind the last */
} Life;

static bool is_in_registers(const Node *n)
{
    return value_is_folded(n) || n->kernel->class == KERNEL_UPDATE;
}

static bool check_region_of(const Verifier *v, const Node *n, bool escapes)
{
    const Place *p = &n->place;
    bool chunk = n->kernel && n->kernel->phase == PHASE_CHUNK;
    bool sums = n->op == OP_CONV2D_WGRAD || n->op == OP_BIAS_GRAD;
    switch (p->region) {
    case REGION_NONE:
        return n->op == OP_UPDATE || (n->op != OP_INPUT && !escapes && is_in_registers(n)) ||
               node_fault(v, n, "it is kept in memory, but has no place");
    case REGION_STATE:
        return n->op == OP_UPDATE || node_fault(v, n, "only storage lies in the state region");
    case REGION_SHARED:
        return !(sums && chunk) || node_fault(v, n, "a sum over chunks lies in partial");
    case REGION_WORKER:
        return (chunk && !sums) || node_fault(v, n, "only values of one chunk lie in worker");
    case REGION_PARTIAL:
        return (chunk && sums) || node_fault(v, n, "only sums over chunks lie in partial");
    case REGION_COUNT: break;
    }
    return node_fault(v, n, "its region is unknown");
}

static bool check_place(const Verifier *v, const Node *n, bool escapes)
{
    const Place *p = &n->place;
    bool worker = p->region == REGION_WORKER;
    int64_t copies = p->region == REGION_PARTIAL ? v->g->partials : 1;
    int64_t limit = worker ? v->g->worker_bytes : v->g->shared_bytes;
    if (!check_region_of(v, n, escapes))
        return false;
    if (n->tensor.layout.strip > 0 && (escapes || !worker))
        return node_fault(v, n, "a strip stays inside its kernel, in worker memory");
    if (p->region == REGION_NONE || p->region == REGION_STATE)
        return true;
    if (p->offset < 0 || p->offset % PLACE_ALIGNMENT != 0)
        return node_fault(v, n, "its offset is not aligned");
    if (p->bytes != value_bytes(v->g, n))
        return node_fault(v, n, "its place has another size than its value");
    return p->bytes <= (limit - p->offset) / copies ||
           node_fault(v, n, "its place leaves the region");
}

/* The moment of each kernel, by index. */
static int *find_moments(const Verifier *v, bool shared)
{
    int *moment = pool_alloc(v->pool, ((size_t)v->g->kernel_count + 1) * sizeof *moment);
    int chunk = -1;
    for (int i = 0; i < v->g->kernel_count; i++) {
        bool together = shared && v->g->kernel[i]->phase == PHASE_CHUNK;
        if (together && chunk < 0)
            chunk = i;
        moment[i] = together ? chunk : i;
    }
    return moment;
}

static Life life_of(const Graph *g, const Node *n)
{
    int64_t copies = n->place.region == REGION_PARTIAL ? g->partials : 1;
    return (Life){.node = n,
                  .begin = 0,
                  .end = n->op == OP_INPUT ? g->kernel_count : 0,
                  .from = n->place.offset,
                  .to = n->place.offset + n->place.bytes * copies};
}

/* The lives of one region's values; index by node id is -1 for others. */
static int find_lives(const Verifier *v, bool shared, Life *life)
{
    const Graph *g = v->g;
    const int *moment = find_moments(v, shared);
    int *index = pool_alloc(v->pool, ((size_t)g->node_count + 1) * sizeof *index);
    int count = 0;
    for (int i = 0; i < g->node_count; i++) {
        Region r = g->node[i]->place.region;
        bool here = shared ? r == REGION_SHARED || r == REGION_PARTIAL : r == REGION_WORKER;
        index[i] = here ? count : -1;
        if (here)
            life[count++] = life_of(g, g->node[i]);
    }
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->node_count; j++) {
            const Node *n = g->kernel[i]->node[j];
            if (index[n->id] >= 0) {
                life[index[n->id]].begin = moment[i];
                life[index[n->id]].end = moment[i];
            }
            for (int k = 0; k < n->arity; k++)
                if (n->in[k]->id >= 0 && index[n->in[k]->id] >= 0 &&
                    life[index[n->in[k]->id]].end < moment[i])
                    life[index[n->in[k]->id]].end = moment[i];
        }
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node->id >= 0 && index[g->output[i].node->id] >= 0)
            life[index[g->output[i].node->id]].end = g->kernel_count;
    return count;
}

static bool check_overlaps(const Verifier *v, bool shared)
{
    Life *life = pool_alloc(v->pool, ((size_t)v->g->node_count + 1) * sizeof *life);
    int count = find_lives(v, shared, life);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            const Life *a = &life[i], *b = &life[j];
            if (a->begin <= b->end && b->begin <= a->end && a->from < b->to && b->from < a->to)
                return fault(v, a->node->loc, "%s overlaps %s in memory while both are alive",
                             label(v, a->node), label(v, b->node));
        }
    return true;
}

/* A worker's value is gone when its chunk is: readers are chunk kernels. */
static bool check_worker_reads(const Verifier *v)
{
    for (int i = 0; i < v->g->node_count; i++) {
        const Node *n = v->g->node[i];
        for (int k = 0; k < n->arity; k++)
            if (n->in[k]->place.region == REGION_WORKER && n->kernel->phase != PHASE_CHUNK)
                return node_fault(v, n, "it reads a worker's value after the images");
    }
    for (int i = 0; i < v->g->output_count; i++)
        if (v->g->output[i].node->place.region == REGION_WORKER)
            return node_fault(v, v->g->output[i].node, "it is returned, but lies in worker");
    return true;
}

static bool check_places(const Verifier *v)
{
    bool *escapes = graph_escapes(v->g, v->pool), good = true;
    for (int i = 0; i < v->g->node_count; i++)
        good &= check_place(v, v->g->node[i], escapes[i]);
    if (v->g->shared_bound > v->g->shared_bytes || v->g->worker_bound > v->g->worker_bytes)
        good = fault(v, (Loc){0}, "a region is smaller than its lower bound");
    return good && check_worker_reads(v) && check_overlaps(v, true) && check_overlaps(v, false);
}

/* ---- graphs ---- */

static bool check_graph(const Verifier *v)
{
    const Graph *g = v->g;
    if (!is_identifier(g->name) || g->stage >= STAGE_COUNT || g->target >= TARGET_COUNT)
        return fault(v, (Loc){0}, "its name, stage or target is unknown");
    if (g->batch < 1)
        return fault(v, (Loc){0}, "its batch must be at least 1");
    if (!check_structure(v) || !check_nodes(v))
        return false;
    if (g->stage < STAGE_KERNELS)
        return g->kernel_count == 0 || fault(v, (Loc){0}, "there are no kernels before fuse");
    return check_kernels(v) && (g->stage < STAGE_SCHEDULED || check_schedule(v)) &&
           (g->stage < STAGE_LAID_OUT || check_layouts(v)) &&
           (g->stage < STAGE_PLANNED || check_places(v));
}

bool module_verify(const Module *m, Diagnostics *d)
{
    Verifier v = {.m = m, .d = d, .pool = pool_new()};
    bool planned = false;
    bool good = check_settings(&v) && check_storages(&v);
    for (int i = 0; good && i < m->graph_count; i++) {
        v.g = m->graph[i];
        planned |= v.g->stage == STAGE_PLANNED;
        good &= check_graph(&v);
    }
    v.g = NULL;
    if (good && planned)
        good = check_storage_places(&v);
    pool_free(v.pool);
    return good;
}

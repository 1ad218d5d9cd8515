/* The verifier from stage kernels on: kernels, schedule, layouts, places. */
#include "numbers.h"
#include "verify.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* ---- kernels ---- */

/* The kernels, one after another, are the graph's nodes behind its inputs. */
static bool check_cover(const Verifier *v)
{
    const Graph *g = v->g;
    int at = 0;
    while (at < g->node_count && g->node[at]->op == OP_INPUT)
        if (g->node[at++]->kernel)
            return verify_node_fault(v, g->node[at - 1], "an input is in no kernel");
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        if (k->node_count == 0)
            return verify_kernel_fault(v, k, "it is empty");
        for (int j = 0; j < k->node_count; j++, at++)
            if (k->node[j]->kernel != k || at >= g->node_count || g->node[at] != k->node[j])
                return verify_kernel_fault(v, k,
                                           "the graph's nodes do not follow its kernels' order");
    }
    return at == g->node_count || verify_node_fault(v, g->node[at], "it is in no kernel");
}

/* What the checks of one graph's kernels look up. */
typedef struct KernelCheck {
    const bool *escapes; /* by node id */
    int *read;           /* by slot: the serial number of the last kernel that reads it */
} KernelCheck;

static bool check_inputs_of(const Verifier *v, const Kernel *k, int *read, int serial)
{
    int next = 0;
    for (int i = 0; i < k->node_count; i++)
        for (int j = 0; j < k->node[i]->arity; j++) {
            const Node *in = k->node[i]->in[j];
            int slot = node_slot(v->g, in);
            if (in->kernel == k || read[slot] == serial)
                continue;
            if (next == k->in_count || k->in[next] != in)
                return verify_kernel_fault(v, k, "its inputs are not what its nodes read");
            read[slot] = serial;
            next++;
        }
    return next == k->in_count || verify_kernel_fault(v, k, "it has inputs that no node reads");
}

static bool check_outputs_of(const Verifier *v, const Kernel *k, const bool *escapes)
{
    int next = 0;
    for (int i = 0; i < k->node_count; i++) {
        Node *n = k->node[i];
        if (n->op != OP_UPDATE && !escapes[n->id])
            continue;
        if (!n->returned || next == k->out_count || k->out[next] != n)
            return verify_kernel_fault(v, k, "its outputs are not what others read of it");
        next++;
    }
    return next == k->out_count || verify_kernel_fault(v, k, "it has outputs that nobody reads");
}

/* Sums over images are whole only after all chunks. */
static bool check_phase_of(const Verifier *v, const Node *n)
{
    Phase phase = n->kernel->phase;
    if ((n->op == OP_UPDATE || op_is(n->op, F_SUMS_ROWS)) && phase != PHASE_AFTER)
        return verify_node_fault(v, n, "it belongs in the phase after the images");
    if (op_sums_images(n->op) && phase == PHASE_BEFORE)
        return verify_node_fault(v, n, "it cannot run before the images");
    for (int k = 0; k < n->arity; k++)
        if (op_sums_images(n->in[k]->op) && phase != PHASE_AFTER)
            return verify_node_fault(v, n, "it reads a sum over images before all images are done");
    return true;
}

/* Classes by target. */
static bool has_class(Target target, KernelClass class)
{
    switch (class) {
    case KERNEL_ROWS:
    case KERNEL_WINOGRAD: return target_kind(target) != KIND_THREADS;
    case KERNEL_POINTWISE: return target_kind(target) == KIND_THREADS;
    case KERNEL_POOL_BACKWARD:
    case KERNEL_CONV_DGRAD:
    case KERNEL_CONV_WGRAD:
    case KERNEL_GENERIC:
    case KERNEL_IMAGE:
    case KERNEL_CONV_FORWARD:
    case KERNEL_MLPCONV_FORWARD:
    case KERNEL_POOL_FORWARD:
    case KERNEL_HEAD:
    case KERNEL_MLPCONV_BACKWARD:
    case KERNEL_FILTER:
    case KERNEL_METRICS:
    case KERNEL_UPDATE: return true;
    case KERNEL_CLASS_COUNT: break;
    }
    return false;
}

/* What a kernel of the node's class can execute. */
static bool check_class_of(const Verifier *v, const Node *n)
{
    const Kernel *k = n->kernel;
    bool updates = n->op == OP_UPDATE || (op_is_pointwise(n->op) && !op_is(n->op, F_ACTIVATION) &&
                                          n->tensor.shape.rank > 0);
    if (kernel_is_rows(k) && (!op_is_rows(n) || k->phase != PHASE_CHUNK))
        return verify_node_fault(v, n, "a kernel of row ops cannot hold it");
    if (k->class == KERNEL_WINOGRAD &&
        (op_attr(n->op) != ATTR_WINOGRAD || n->op == OP_WINOGRAD_OUTPUT))
        return verify_node_fault(v, n, "a Winograd kernel cannot hold it");
    if (k->class == KERNEL_UPDATE && (!updates || k->phase != PHASE_AFTER))
        return verify_node_fault(v, n, "an update kernel cannot hold it");
    bool from_filter =
        n->op == OP_CAST || n->op == OP_FOLD_FILTER ||
        (n->op == OP_FILTER_TRANSPOSE && target_kind(k->target) != KIND_THREADS);
    if (k->class == KERNEL_FILTER && (!from_filter || n->in[0]->op != OP_STATE) &&
        n->op != OP_FOLD_FILTER_GRAD)
        return verify_node_fault(v, n, "a filter kernel cannot hold it");
    return (k->phase == PHASE_CHUNK) == (verify_works_on_images(n->op) ||
                                         op_sums_images(n->op) || is_per_image(v->g, n)) ||
           verify_node_fault(v, n,
                             "images are worked on in the chunk phase, all else outside of it");
}

void verify_find_names_given_twice(const Module *m, Pool *pool, NameTable *by_target)
{
    for (int target = 0; target < TARGET_COUNT; target++) {
        Pool *scratch = pool_new();
        NameTable once = {0};
        for (int i = 0; i < m->graph_count; i++)
            for (int j = 0; j < m->graph[i]->kernel_count; j++) {
                Kernel *k = m->graph[i]->kernel[j];
                if ((int)m->graph[i]->target != target)
                    break;
                if (names_find(&once, k->name))
                    names_add(&by_target[target], pool, k->name, k);
                else
                    names_add(&once, scratch, k->name, k);
            }
        pool_free(scratch);
    }
}

static bool check_kernel(const Verifier *v, int index, const KernelCheck *c)
{
    const Kernel *k = v->g->kernel[index];
    if (!verify_is_identifier(k->name))
        return verify_kernel_fault(v, k, "its name is not an identifier");
    if (names_find(&v->given_twice[v->g->target], k->name))
        return verify_kernel_fault(v, k, "there is another kernel of that name");
    if (k->class >= KERNEL_CLASS_COUNT || k->phase >= PHASE_COUNT || k->strip < 0)
        return verify_kernel_fault(v, k, "its class, phase or strip is unknown");
    if (k->target != v->g->target || !has_class(k->target, k->class))
        return verify_kernel_fault(v, k, "its class does not exist on the graph's target");
    if (index > 0 && v->g->kernel[index - 1]->phase > k->phase)
        return verify_kernel_fault(v, k, "it stands behind a kernel of a later phase");
    for (int i = 0; i < k->node_count; i++)
        if (!check_phase_of(v, k->node[i]) || !check_class_of(v, k->node[i]))
            return false;
    return check_inputs_of(v, k, c->read, index + 1) && check_outputs_of(v, k, c->escapes);
}

bool verify_kernels(const Verifier *v)
{
    if (!check_cover(v))
        return false;
    const size_t slots = (size_t)graph_slots(v->g) + 1;
    KernelCheck c = {graph_escapes(v->g, v->pool), pool_alloc(v->pool, slots * sizeof(int))};
    bool good = true;
    for (int i = 0; i < v->g->kernel_count; i++)
        good &= check_kernel(v, i, &c);
    return good;
}

/* One that runs in kernels of row ops. */
static bool is_contraction(const Node *n)
{
    return op_is(n->op, F_CONTRACTION) && op_is(n->op, F_ROWS);
}

enum { WINOGRAD_LANES = 16 };

/* Contractions of row and Winograd kernels run in register tiles. */
static bool check_tile(const Verifier *v, const Node *n)
{
    enum { MAX_TILE = 64 };
    const Tile *t = &n->tile;
    bool product = op_is(n->op, F_FREQUENCIES);
    if (!product && (!is_contraction(n) || !kernel_is_rows(n->kernel)))
        return true;
    if (t->pixels < 1 || t->vectors < 1 || t->pixels > MAX_TILE || t->vectors > MAX_TILE)
        return verify_node_fault(v, n, "its tile is missing or too large");
    const Node *filter = n->op == OP_WINOGRAD_MULTIPLY ? n->in[1] : n;
    if (product && ceil_div(filter->tensor.shape.dim[0], WINOGRAD_LANES) % t->vectors != 0)
        return verify_node_fault(v, n, "its tile does not divide its blocks of outputs");
    Uses of_input = op_is(n->op, F_WGRAD) ? graph_uses(v->g, n->in[0]) : (Uses){0};
    for (int i = 0; i < of_input.count && of_input.use[i].user->id < n->id; i++) {
        const Node *c = of_input.use[i].user;
        if (is_wgrad_of(n, c) && kernel_is_rows(c->kernel) && c->tile.vectors != t->vectors)
            return verify_node_fault(v, n, "its tile has not the vectors of its convolution's");
    }
    return true;
}

/* Zeros are left out of products in tiles: of a 1x1 convolution, or of its weight gradient where
 * that is summed strip by strip. */
/* What a kernel of row ops keeps of a map at a time, and adds to its part of a sum. */
static bool check_strip(const Verifier *v, const Node *n)
{
    if (!n->kernel || !kernel_is_rows(n->kernel))
        return true;
    int strip = n->kernel->strip;
    if (strip == 0 && value_is_in_parts(n))
        return verify_node_fault(v, n, "a sum in parts is made strip by strip, its kernel has "
                                       "none");
    bool higher = n->tensor.shape.rank == 4 && strip > n->tensor.shape.dim[1];
    return !higher || !value_is_strip(n) ||
           verify_node_fault(v, n, "its kernel's strip has more rows than it");
}

static bool check_sparse(const Verifier *v, const Node *n)
{
    bool wgrad = n->op == OP_CONV2D_WGRAD;
    if (n->sparse == SPARSE_NONE)
        return true;
    if (n->sparse == SPARSE_DY && !wgrad)
        return verify_node_fault(v, n, "it has no operand dy to be sparse");
    bool pointwise = (wgrad || n->op == OP_CONV2D) && window_is_pointwise(&n->attr.window);
    if (pointwise && target_kind(v->g->target) == KIND_VECTORS && kernel_is_rows(n->kernel) &&
        (!wgrad || value_is_in_parts(n)))
        return true;
    return verify_node_fault(v, n, "only 1x1 convolutions in row kernels of a CPU, and their "
                                   "gradients in parts, are sparse");
}

static bool is_tiled(KernelClass class)
{
    return class == KERNEL_CONV_FORWARD || class == KERNEL_CONV_DGRAD ||
           class == KERNEL_CONV_WGRAD || class == KERNEL_MLPCONV_FORWARD ||
           class == KERNEL_MLPCONV_BACKWARD;
}

static bool is_sound_schedule(const Schedule *s, bool tiled)
{
    enum { WARP = 32, MAX_BLOCK_THREADS = 1024, MAX_SPLIT = 65535, MAX_SHARED = 227 * 1024 };
    bool has_tile = s->tile_m > 0 && s->tile_n > 0 && s->tile_k > 0;
    return (has_tile || !tiled) && s->threads > 0 && s->threads % WARP == 0 &&
           s->threads <= MAX_BLOCK_THREADS && s->split >= 1 && s->split <= MAX_SPLIT &&
           s->grid_x >= 1 && s->grid_y >= 1 && s->shared_bytes >= 0 &&
           s->shared_bytes <= MAX_SHARED && s->architecture >= 0;
}

/* CUDA: the batch is one chunk, and every kernel has a way to run. */
static bool verify_cuda_schedule(const Verifier *v)
{
    const Graph *g = v->g;
    if (g->chunk != g->batch)
        return verify_fault(v, (Loc){0}, "on a GPU the chunk is the batch, %d images, not %d",
                            g->batch, g->chunk);
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        if (k->schedule_count < 1)
            return verify_kernel_fault(v, k, "it has no schedule");
        for (int j = 0; j < k->schedule_count; j++)
            if (!is_sound_schedule(&k->schedule[j], is_tiled(k->class)))
                return verify_kernel_fault(v, k, "a schedule's numbers are missing or too large");
    }
    return true;
}

bool verify_schedule(const Verifier *v)
{
    const Graph *g = v->g;
    if (target_kind(g->target) == KIND_THREADS)
        return verify_cuda_schedule(v);
    if (g->chunk < 1 || g->chunk > g->batch)
        return verify_fault(v, (Loc){0}, "a chunk must hold 1 to %d images, not %d", g->batch,
                            g->chunk);
    for (int i = 0; i < g->node_count; i++)
        if (!check_tile(v, g->node[i]) || !check_strip(v, g->node[i]) ||
            !check_sparse(v, g->node[i]))
            return false;
    return true;
}

/* ---- layouts ---- */

static bool is_blocked(const Verifier *v, const Node *n)
{
    return n->tensor.layout.kind == LAYOUT_NCHWC && n->tensor.layout.block == graph_lanes(v->g);
}

/* Channels of one pixel of a map of NHWC, zero lanes included. */
static int pixel_lanes(const Node *x)
{
    int channels = x->tensor.shape.dim[3], multiple = x->tensor.layout.block;
    return multiple > 0 ? (channels + multiple - 1) / multiple * multiple : channels;
}

/* A filter, or its gradient, packed for a contraction of x in tiles; a bf16 one in pairs. */
static bool is_packed(const Verifier *v, const Node *filter, const Node *x, const Tile *tile)
{
    const Layout *l = &filter->tensor.layout;
    int lanes = is_blocked(v, x) ? graph_lanes(v->g) : pixel_lanes(x);
    return (is_blocked(v, x) || x->tensor.layout.kind == LAYOUT_NHWC) &&
           l->kind == LAYOUT_FILTER && l->block == lanes &&
           l->out_block == graph_lanes(v->g) * tile->vectors &&
           l->pairs == (filter->tensor.dtype == DT_BF16);
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

/* The image is thin, so that a filter row is a run of it. */
static bool check_folded(const Verifier *v, const Node *n)
{
    bool wgrad = n->op == OP_CONV2D_FOLDED_WGRAD;
    const Node *x = n->in[0];
    if (x->tensor.layout.kind != LAYOUT_NHWC ||
        !is_packed(v, wgrad ? n : n->in[1], x, &n->tile))
        return verify_node_fault(v, n, "its filter is not packed for its image and tile");
    if (!is_blocked(v, wgrad ? n->in[1] : n))
        return verify_node_fault(v, n, "its map does not lie in blocks of channels");
    return n->arity < 3 || n->in[2]->tensor.layout.kind == LAYOUT_VECTOR ||
           verify_node_fault(v, n, "its bias is not a vector of whole blocks");
}

/* Folding keeps groups of outputs; a block is all input channels. */
static bool check_fold_filter(const Verifier *v, const Node *n)
{
    const Layout *from = &n->in[0]->tensor.layout, *to = &n->tensor.layout;
    int inputs = (n->op == OP_FOLD_FILTER ? n->in[0] : n)->tensor.shape.dim[1];
    return (from->out_block == to->out_block && from->block == inputs && to->block == inputs) ||
           verify_node_fault(v, n, "its filters are not packed alike, by the channels of a pixel");
}

static bool check_contraction(const Verifier *v, const Node *n)
{
    if (op_attr(n->op) == ATTR_FOLD)
        return check_folded(v, n);
    const Window *w = &n->attr.window;
    const Node *x = n->in[0];
    const int32_t *from = x->tensor.shape.dim, *to = n->tensor.shape.dim;
    bool transpose = n->op == OP_CONV2D_TRANSPOSE, wgrad = n->op == OP_CONV2D_WGRAD;
    int h =
        transpose ? reach(w->kernel_h, w->stride_h, w->padding_h, from[1], to[1]) : w->padding_h;
    int columns =
        transpose ? reach(w->kernel_w, w->stride_w, w->padding_w, from[2], to[2])
                  : w->padding_w + overread_columns(v->g, x, w->kernel_w);
    if (!is_packed(v, wgrad ? n : n->in[1], x, &n->tile) || (transpose && !is_blocked(v, x)))
        return verify_node_fault(v, n, "its filter is not packed for its input and tile");
    if (!is_blocked(v, wgrad ? n->in[1] : n))
        return verify_node_fault(v, n, "its map does not lie in blocks of channels");
    if (n->arity > 2 && n->in[2]->tensor.layout.kind != LAYOUT_VECTOR)
        return verify_node_fault(v, n, "its bias is not a vector of whole blocks");
    return has_halo(x, h, columns) ||
           verify_node_fault(v, n, "its input lacks the halo that it reads");
}

/* Frequencies lie by row, filters by tap, maps in blocks with a halo as wide as whole tiles. */
static bool check_winograd(const Verifier *v, const Node *n)
{
    const Winograd *w = &n->attr.winograd;
    const Node *x = n->in[0];
    bool product = op_is(n->op, F_FREQUENCIES);
    const Layout *filter = &(n->op == OP_WINOGRAD_MULTIPLY ? n->in[1] : n)->tensor.layout;
    int halo_h = 0, halo_w = 0;
    if (product && (filter->kind != LAYOUT_TAPS || filter->block != WINOGRAD_LANES ||
                    filter->out_block != WINOGRAD_LANES * n->tile.vectors))
        return verify_node_fault(v, n, "its filter is not packed for its tile");
    if (op_is_of_filters(n->op))
        return (n->tensor.layout.block == WINOGRAD_LANES &&
                x->tensor.layout.block == WINOGRAD_LANES &&
                n->tensor.layout.out_block % WINOGRAD_LANES == 0 &&
                x->tensor.layout.out_block % WINOGRAD_LANES == 0) ||
               verify_node_fault(v, n, "its filters are not packed in blocks of 16 channels");
    if (n->op == OP_WINOGRAD_OUTPUT)
        return (is_blocked(v, n) && x->tensor.layout.kind == LAYOUT_HCNWC &&
                (n->arity < 2 || n->in[1]->tensor.layout.kind == LAYOUT_VECTOR)) ||
               verify_node_fault(v, n, "its maps do not lie in blocks of 16 channels");
    if (x->tensor.layout.kind != (product ? LAYOUT_HCNWC : LAYOUT_NCHWC) ||
        (n->op != OP_WINOGRAD_WGRAD && n->tensor.layout.kind != LAYOUT_HCNWC))
        return verify_node_fault(v, n, "its frequencies do not lie by row");
    if (!product)
        winograd_halo(n, &halo_h, &halo_w);
    return w->tile <= 0 || has_halo(x, halo_h, halo_w) ||
           verify_node_fault(v, n, "its input lacks the halo that it reads");
}

static bool check_row_layout(const Verifier *v, const Node *n)
{
    if (is_contraction(n))
        return check_contraction(v, n);
    bool sums = n->op == OP_BIAS_GRAD;
    bool good = sums ? n->tensor.layout.kind == LAYOUT_VECTOR : is_blocked(v, n);
    for (int k = 0; k < n->arity; k++)
        good &= is_blocked(v, n->in[k]) || n->in[k]->tensor.shape.rank == 0;
    return good || verify_node_fault(v, n, "its maps do not lie in blocks of channels");
}

/* Parameters and what is computed from them element by element lie alike. */
static bool check_flat_layout(const Verifier *v, const Node *n)
{
    LayoutKind kind = n->tensor.layout.kind;
    if (kind == LAYOUT_NHWC || kind == LAYOUT_NCHWC)
        return verify_node_fault(v, n, "a parameter cannot lie like a map");
    for (int k = 0; k < n->arity && (op_is_pointwise(n->op) || n->op == OP_UPDATE); k++) {
        Tensor like = n->in[k]->tensor;
        like.dtype = n->tensor.dtype;
        if (like.shape.rank > 0 && !verify_same_tensor(&like, &n->tensor))
            return verify_node_fault(v, n, "its operands lie in different layouts");
    }
    return true;
}

static bool check_layout(const Verifier *v, const Node *n)
{
    LayoutKind kind = n->tensor.layout.kind;
    int strip = n->kernel && value_is_strip(n) ? n->kernel->strip : 0;
    if (n->op == OP_INPUT)
        return kind == LAYOUT_PLAIN || verify_node_fault(v, n, "an input is plain");
    if (n->tensor.layout.strip != 0 && n->tensor.layout.strip != strip)
        return verify_node_fault(v, n, "it cannot be held by strips of that height");
    if (n->kernel->class == KERNEL_WINOGRAD ||
        (n->op == OP_WINOGRAD_OUTPUT && kernel_is_rows(n->kernel)))
        return check_winograd(v, n);
    if (kernel_is_rows(n->kernel))
        return check_row_layout(v, n);
    if (!is_per_image(v->g, n))
        return check_flat_layout(v, n);
    return (kind != LAYOUT_FILTER && kind != LAYOUT_TAPS && kind != LAYOUT_VECTOR) ||
           verify_node_fault(v, n, "a map cannot lie like a parameter");
}

bool verify_layouts(const Verifier *v)
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
                return verify_node_fault(v, n, "a filter kernel works on packed filters");
            if (v->g->kernel[i]->class == KERNEL_FILTER && op_attr(n->op) == ATTR_FOLD &&
                !check_fold_filter(v, n))
                return false;
        }
    return true;
}

/* ---- places ---- */

/* When a value lives: moments are kernels, and the chunk phase is one moment for shared memory,
 * because it is run once a chunk. What is kept for the next steps lives to the end. */
typedef struct Life {
    const Node *node;
    int begin, end;
    int64_t from, to; /* bytes in the region; `to` is behind the last */
} Life;

static bool is_in_registers(const Node *n)
{
    return value_is_folded(n) || n->kernel->class == KERNEL_UPDATE ||
           target_kind(n->kernel->target) == KIND_THREADS;
}

static bool check_region_of(const Verifier *v, const Node *n, bool escapes)
{
    const Place *p = &n->place;
    bool chunk = n->kernel && n->kernel->phase == PHASE_CHUNK, sums = op_sums_images(n->op);
    bool parts = sums && value_is_in_parts(n);
    switch (p->region) {
    case REGION_NONE:
        return n->op == OP_UPDATE || (n->op != OP_INPUT && !escapes && is_in_registers(n)) ||
               verify_node_fault(v, n, "it is kept in memory, but has no place");
    case REGION_STATE:
        return n->op == OP_UPDATE ||
               verify_node_fault(v, n, "only storage lies in the state region");
    case REGION_SHARED:
        return !parts || verify_node_fault(v, n, "a sum in parts lies in partial");
    case REGION_CHUNK:
        return (chunk && !sums) || verify_node_fault(v, n, "only values of one chunk lie in chunk");
    case REGION_THREAD:
        return n->tensor.layout.strip > 0 || verify_node_fault(v, n, "only strips lie in thread");
    case REGION_PARTIAL:
        return parts || verify_node_fault(v, n, "only sums in parts lie in partial");
    case REGION_COUNT: break;
    }
    return verify_node_fault(v, n, "its region is unknown");
}

static int64_t region_bytes(const Graph *g, Region region)
{
    if (region == REGION_CHUNK)
        return g->chunk_bytes;
    return region == REGION_THREAD ? g->thread_bytes : g->shared_bytes;
}

static bool check_place(const Verifier *v, const Node *n, bool escapes)
{
    const Place *p = &n->place;
    int64_t copies = value_copies(n), limit = region_bytes(v->g, p->region);
    if (!check_region_of(v, n, escapes))
        return false;
    if (n->tensor.layout.strip > 0 && (escapes || p->region != REGION_THREAD))
        return verify_node_fault(v, n, "a strip stays inside its kernel, in thread memory");
    if (p->region == REGION_NONE || p->region == REGION_STATE)
        return true;
    if (p->offset < 0 || p->offset % PLACE_ALIGNMENT != 0)
        return verify_node_fault(v, n, "its offset is not aligned");
    if (p->bytes != value_bytes(v->g, n))
        return verify_node_fault(v, n, "its place has another size than its value");
    return p->bytes <= (limit - p->offset) / copies ||
           verify_node_fault(v, n, "its place leaves the region");
}

/* The moment of each kernel, by index. */
static int *find_moments(const Verifier *v, Region region)
{
    int *moment = pool_alloc(v->pool, ((size_t)v->g->kernel_count + 1) * sizeof *moment);
    int chunk = -1;
    for (int i = 0; i < v->g->kernel_count; i++) {
        bool together = region == REGION_SHARED && v->g->kernel[i]->phase == PHASE_CHUNK;
        if (together && chunk < 0)
            chunk = i;
        moment[i] = together ? chunk : i;
    }
    return moment;
}

static Life life_of(const Graph *g, const Node *n)
{
    int64_t copies = value_copies(n);
    return (Life){.node = n,
                  .begin = 0,
                  .end = n->op == OP_INPUT || value_is_kept(g, n) ? g->kernel_count : 0,
                  .from = n->place.offset,
                  .to = n->place.offset + n->place.bytes * copies};
}

/* The lives of one region's values (partials lie in shared); index by node id is -1 for others. */
static int find_lives(const Verifier *v, Region region, Life *life)
{
    const Graph *g = v->g;
    const int *moment = find_moments(v, region);
    int *index = pool_alloc(v->pool, ((size_t)g->node_count + 1) * sizeof *index);
    int count = 0;
    for (int i = 0; i < g->node_count; i++) {
        Region r = g->node[i]->place.region;
        bool here = r == region || (region == REGION_SHARED && r == REGION_PARTIAL);
        index[i] = here ? count : -1;
        if (here)
            life[count++] = life_of(g, g->node[i]);
    }
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->node_count; j++) {
            const Node *n = g->kernel[i]->node[j];
            if (index[n->id] >= 0) {
                life[index[n->id]].begin = moment[i];
                if (life[index[n->id]].end < moment[i])
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

/* The order of bytes in memory; lives that share some are equal. */
static int by_place(const void *a, const void *b)
{
    const Life *x = a, *y = b;
    return x->to <= y->from ? -1 : x->from >= y->to;
}

static int by_first_moment(const void *a, const void *b)
{
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : x < y ? -1 : x > y;
}

static int by_last_moment(const void *a, const void *b)
{
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return x->end != y->end ? (x->end < y->end ? -1 : 1) : x < y ? -1 : x > y;
}

static Life **sorted_lives(Pool *pool, Life *life, int count,
                           int (*order)(const void *, const void *))
{
    Life **list = pool_alloc(pool, ((size_t)count + 1) * sizeof *list);
    for (int i = 0; i < count; i++)
        list[i] = &life[i];
    qsort(list, (size_t)count, sizeof *list, order);
    return list;
}

static void keep_life(void *life)
{
    (void)life;
}

/* Goes through the moments with the tree of those alive, in which no two share a byte. */
static bool some_overlap(const Verifier *v, Life *life, int count)
{
    Life **born = sorted_lives(v->pool, life, count, by_first_moment);
    Life **dying = sorted_lives(v->pool, life, count, by_last_moment);
    void *alive = NULL;
    bool found = false;
    for (int i = 0, dead = 0; i < count && !found; i++) {
        for (; dying[dead]->end < born[i]->begin; dead++)
            tdelete(dying[dead], &alive, by_place);
        Life *const *at = tsearch(born[i], &alive, by_place);
        if (!at)
            fatal("error: out of memory");
        found = *at != born[i];
    }
    tdestroy(alive, keep_life);
    return found;
}

static bool check_overlaps(const Verifier *v, Region region)
{
    Life *life = pool_alloc(v->pool, ((size_t)v->g->node_count + 1) * sizeof *life);
    int count = find_lives(v, region, life);
    if (!some_overlap(v, life, count))
        return true;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            const Life *a = &life[i], *b = &life[j];
            if (a->begin <= b->end && b->begin <= a->end && a->from < b->to && b->from < a->to)
                return verify_fault(v, a->node->loc,
                                    "%s overlaps %s in memory while both are alive",
                                    verify_label(v, a->node), verify_label(v, b->node));
        }
    return true;
}

/* A chunk's value is gone when the chunk is: its readers are chunk kernels. On the CPU only the
 * update kernel adds up the copies of a sum in parts. `reader`: NULL where the graph returns it. */
static const char *read_fault(const Node *n, const Kernel *reader)
{
    bool parts = n->place.region == REGION_PARTIAL && target_is_cpu(n->kernel->target);
    if (n->place.region == REGION_CHUNK && !reader)
        return "it is returned, but lies in chunk";
    if (n->place.region == REGION_CHUNK && reader->phase != PHASE_CHUNK)
        return "it reads a chunk's value after the images";
    if (parts && !reader)
        return "it is returned, but lies in parts";
    if (parts && reader->class != KERNEL_UPDATE)
        return "only an update kernel adds up a sum in parts";
    return NULL;
}

static bool check_reads(const Verifier *v)
{
    const char *fault;
    for (int i = 0; i < v->g->node_count; i++) {
        const Node *n = v->g->node[i];
        for (int k = 0; k < n->arity; k++)
            if ((fault = read_fault(n->in[k], n->kernel)))
                return verify_node_fault(v, n, fault);
    }
    for (int i = 0; i < v->g->output_count; i++)
        if ((fault = read_fault(v->g->output[i].node, NULL)))
            return verify_node_fault(v, v->g->output[i].node, fault);
    return true;
}

bool verify_places(const Verifier *v)
{
    bool *escapes = graph_escapes(v->g, v->pool), good = true;
    for (int i = 0; i < v->g->node_count; i++)
        good &= check_place(v, v->g->node[i], escapes[i]);
    if (v->g->shared_bound > v->g->shared_bytes || v->g->chunk_bound > v->g->chunk_bytes ||
        v->g->thread_bound > v->g->thread_bytes)
        good = verify_fault(v, (Loc){0}, "a region is smaller than its lower bound");
    return good && check_reads(v) &&
           check_overlaps(v, REGION_SHARED) && check_overlaps(v, REGION_CHUNK) &&
           check_overlaps(v, REGION_THREAD);
}

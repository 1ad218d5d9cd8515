/* Winograd: convolutions with fewer multiplications, on the CPU.
 *
 * Requires stage training, and dgrad before it: data gradients are convolutions by then. With
 * stride 1, a square kernel of 3 or 5 and enough channels
 *     conv2d x, filter[, bias]  -> winograd_output(winograd_multiply(winograd_input x,
 *                                                                    winograd_filter filter), bias)
 *     conv2d_wgrad x, dy        -> winograd_filter_grad(winograd_wgrad(winograd_input x,
 *                                                                      winograd_output_grad dy))
 * where that is clearly faster; each is decided for itself. The forward convolution and its weight
 * gradient share the transformed x. Transformed filters depend on parameters alone and are computed
 * at the start of the step, before any image; without updates once for all steps.
 * Frequencies are f32 also between bf16 maps, and come from f32 filters: they are sums with both
 * signs, which bf16 would round too coarsely. AMX is faster without. */
#include "../../ir/numbers.h"
#include "cpu.h"
#include "machine.h"

/* A convolution, or its weight gradient: y[height,width,outputs] of an image from `inputs`
 * channels. */
typedef struct Shapes {
    Winograd winograd; /* of the tile that is tried or was chosen */
    int inputs, outputs; /* whole vectors, which is what is computed */
    int batch, chunk; /* images, and those that share one reading of the transformed filters */
    const Machine *machine;
    bool wgrad;
    bool kept; /* the transformed filters stay for the next steps */
} Shapes;

/* Seconds an image of the direct convolution's multiplications, or its gradient's. */
static double multiply_seconds(const Shapes *s)
{
    const Winograd *w = &s->winograd;
    double pixels = (double)w->height * w->width, taps = (double)w->kernel * w->kernel;
    return 2 * pixels * taps * s->inputs * s->outputs /
           (s->wgrad ? s->machine->direct_wgrad : s->machine->direct);
}

/* Seconds an image of what the direct convolution moves where a filter stays in no level-2 cache:
 * each row of a map reads it, and each image is added to its gradient. */
static double filter_seconds(const Shapes *s)
{
    const Winograd *w = &s->winograd;
    double filter = (double)w->kernel * w->kernel * s->inputs * s->outputs;
    if (filter * sizeof(float) < LARGE_FILTER_BYTES)
        return 0;
    return (s->wgrad ? 2 * sizeof(float) : w->height * s->machine->element) * filter /
           s->machine->cached_bytes;
}

/* A map so small that its filter takes longer to read than to multiply by. */
static bool reads_filters(const Shapes *s)
{
    return filter_seconds(s) > multiply_seconds(s);
}

/* Seconds an image of the direct convolution. */
static double direct_seconds(const Shapes *s)
{
    return reads_filters(s) ? filter_seconds(s) : multiply_seconds(s);
}

/* Images of a chunk: all of a batch that is looked across; else about so many, of which the pass
 * schedule knows better, but comes later. */
enum { CHUNK = 8 };

static int chunk_of(const Graph *g)
{
    return graph_looks_across(g) ? g->batch : (int)smaller(g->batch, CHUNK);
}

/* Tiles of a chunk of so many images that pay for making integers of the filter. */
static bool enough_tiles(const Winograd *w, int chunk)
{
    return winograd_tiles(w) * chunk >= LEAST_FIXED_TILES;
}

bool fixed_pays(const Graph *g, const Winograd *w)
{
    return enough_tiles(w, chunk_of(g));
}

/* The same by tiles: products; the frequencies of both maps written (which reads them too) and
 * read; the transformed filters written once a step and read once a chunk, their gradients added to
 * once a chunk. Filters that are kept are only read. */
static double winograd_seconds(const Shapes *s)
{
    const Winograd *w = &s->winograd;
    double frequencies = (double)winograd_size(w) * winograd_size(w), tiles = winograd_tiles(w);
    double filters = frequencies * s->inputs * s->outputs;
    double chunk = s->chunk;
    bool fixed = enough_tiles(w, s->chunk);
    double products = fixed ? s->machine->fixed : s->machine->products;
    double filter_moves = s->kept ? 1 / chunk : 2 / chunk + 3.0 / s->batch;
    double moved =
        3 * frequencies * tiles * (s->inputs + s->outputs) + filters * filter_moves;
    return 2 * tiles * filters / products + moved * sizeof(float) / s->machine->bytes;
}

/* Every value must stay below 2^31 elements; frequencies are up to 9 times as many as pixels. */
static bool fits(const Shapes *s)
{
    double frequencies = (double)winograd_size(&s->winograd) * winograd_size(&s->winograd);
    int channels = s->inputs > s->outputs ? s->inputs : s->outputs, copies = s->kept ? 1 : 3;
    return frequencies * winograd_tiles(&s->winograd) * channels * s->batch <= INT32_MAX &&
           frequencies * s->inputs * s->outputs * sizeof(float) * copies <=
               (reads_filters(s) ? MOST_FILTER_BYTES : s->machine->filter_bytes);
}

/* The tile that takes the least time, in s->winograd.tile; false where the direct convolution is as
 * good. */
static bool choose_tile(Shapes *s)
{
    double best = WINOGRAD_WORTH * direct_seconds(s);
    int chosen = 0;
    for (int tile = 2; tile <= WINOGRAD_MAX_TILE; tile++) {
        s->winograd.tile = tile;
        if (!winograd_is_valid(tile, s->winograd.kernel) || !fits(s) ||
            winograd_seconds(s) >= best)
            continue;
        best = LARGER_TILE_WORTH * winograd_seconds(s);
        chosen = tile;
    }
    s->winograd.tile = chosen;
    return chosen > 0;
}

/* Whether n, a conv2d or conv2d_wgrad with the result y, has a shape that tiles are for. */
static bool can_be_in_tiles(const Node *n, const int32_t *y)
{
    const Window *k = &n->attr.window;
    return window_is_plain(k) && k->stride_h == 1 && k->stride_w == 1 &&
           k->kernel_h == k->kernel_w && (k->kernel_h == 3 || k->kernel_h == 5) &&
           n->in[0]->tensor.shape.dim[3] >= LEAST_WINOGRAD_CHANNELS &&
           y[3] >= LEAST_WINOGRAD_CHANNELS;
}

/* Whether n, a conv2d or conv2d_wgrad, is to be rewritten, and then how. */
static bool choose(const Graph *g, const Node *n, Winograd *out)
{
    bool wgrad = n->op == OP_CONV2D_WGRAD;
    const Window *k = &n->attr.window;
    const int32_t *y = (wgrad ? n->in[1] : n)->tensor.shape.dim;
    if (!can_be_in_tiles(n, y))
        return false;
    Shapes s = {{0, k->kernel_h, k->padding_h, k->padding_w, y[1], y[2]},
                (int)round_up(n->in[0]->tensor.shape.dim[3], 16), (int)round_up(y[3], 16),
                g->batch, chunk_of(g),
                n->in[0]->tensor.dtype == DT_BF16 ? &machine_of_bf16 : &machine_of_f32, wgrad,
                graph_keeps_before(g)};
    if (!choose_tile(&s))
        return false;
    *out = s.winograd;
    return true;
}

/* The filter is known before the images: a parameter, transposed or rounded. */
static bool is_of_parameters(const Node *filter)
{
    bool changed = filter->op == OP_FILTER_TRANSPOSE || filter->op == OP_CAST;
    return filter->op == OP_STATE || (changed && filter->in[0]->op == OP_STATE);
}

/* The same before it was rounded. */
static Node *exact_filter(Graph *g, Finder *made, Node *filter, Loc loc)
{
    if (filter->op == OP_CAST)
        return filter->in[0];
    if (filter->tensor.dtype == DT_F32)
        return filter;
    return transposed_filter(g, made, filter->in[0], DT_F32, loc);
}

static bool is_chosen(const Graph *g, const Node *n, Winograd *out)
{
    if (n->op == OP_CONV2D && is_of_parameters(n->in[1]))
        return choose(g, n, out);
    return n->op == OP_CONV2D_WGRAD && choose(g, n, out);
}

/* The transform of x, made once for all its users. */
static Node *transformed(Graph *g, Finder *made, Op op, Node *x, const Winograd *w, Loc loc)
{
    const Attr attr = {.winograd = *w};
    Node *n = finder_find(made, op, x, DT_F32, &attr);
    if (n)
        return n;
    n = graph_add(g, op, 1, &x, &attr, loc);
    finder_add(made, n);
    return n;
}

/* A filter's transform depends on nothing else. */
static Node *transformed_filter(Graph *g, Finder *made, Node *filter, const Winograd *w, Loc loc)
{
    return transformed(g, made, OP_WINOGRAD_FILTER, exact_filter(g, made, filter, loc),
                       &(Winograd){.tile = w->tile, .kernel = w->kernel}, loc);
}

static void rewrite_conv(Graph *g, Finder *made, Node *n, const Winograd *w)
{
    const Attr attr = {.winograd = *w};
    Node *in[] = {transformed(g, made, OP_WINOGRAD_INPUT, n->in[0], w, n->loc),
                  transformed_filter(g, made, n->in[1], w, n->loc)};
    n->op = OP_WINOGRAD_OUTPUT;
    n->in[0] = graph_add(g, OP_WINOGRAD_MULTIPLY, 2, in, &attr, n->loc);
    n->in[1] = n->in[2]; /* the bias, if it has one */
    n->arity--;
    n->attr = attr;
}

static void rewrite_wgrad(Graph *g, Finder *made, Node *n, const Winograd *w)
{
    const Attr attr = {.winograd = *w};
    Node *in[] = {transformed(g, made, OP_WINOGRAD_INPUT, n->in[0], w, n->loc),
                  transformed(g, made, OP_WINOGRAD_OUTPUT_GRAD, n->in[1], w, n->loc)};
    n->op = OP_WINOGRAD_FILTER_GRAD;
    n->in[0] = graph_add(g, OP_WINOGRAD_WGRAD, 2, in, &attr, n->loc);
    n->arity = 1;
    n->attr = (Attr){.winograd = {.tile = w->tile, .kernel = w->kernel}};
}

void pass_winograd(Graph *g)
{
    static const Op shared[] = {OP_FILTER_TRANSPOSE, OP_WINOGRAD_INPUT, OP_WINOGRAD_OUTPUT_GRAD,
                                OP_WINOGRAD_FILTER};
    Winograd w;
    Pool *pool = pool_new();
    Finder made = finder_new(pool, g, shared, sizeof shared / sizeof *shared);
    int count = g->node_count;
    for (int i = 0; i < count; i++)
        if (g->node[i]->op == OP_CONV2D && is_chosen(g, g->node[i], &w))
            transformed_filter(g, &made, g->node[i]->in[1], &w, g->node[i]->loc);
    graph_move_to_start(g, count);
    count = g->node_count;
    for (int i = 0; i < count; i++) {
        if (!is_chosen(g, g->node[i], &w))
            continue;
        if (g->node[i]->op == OP_CONV2D)
            rewrite_conv(g, &made, g->node[i], &w);
        else
            rewrite_wgrad(g, &made, g->node[i], &w);
    }
    pool_free(pool);
    graph_sort(g);
    if (graph_has_bf16(g))
        graph_remove_dead(g); /* rounded filters */
}

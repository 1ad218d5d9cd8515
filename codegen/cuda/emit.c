/* MODEL.cu: the parts of the device library that the model needs, the numbers of the tiled kernels,
 * and the kernels of all CUDA graphs. */
#include "../codegen.h"
#include "../embed.h"
#include "cuda.h"

#include <string.h>

/* ---- one kernel ---- */

static void emit_body(CudaEmitter *e)
{
    switch (e->kernel->class) {
    case KERNEL_GENERIC: cuda_emit_generic(e); return;
    case KERNEL_IMAGE:
        if (kernel_is_augmented(e->kernel))
            cuda_emit_augmented(e);
        else
            cuda_emit_image(e, e->kernel->node[0]);
        return;
    case KERNEL_POINTWISE: cuda_emit_pointwise(e); return;
    case KERNEL_CONV_FORWARD: cuda_emit_conv_forward(e); return;
    case KERNEL_CONV_DGRAD: cuda_emit_conv_dgrad(e); return;
    case KERNEL_CONV_WGRAD: cuda_emit_conv_wgrad(e); return;
    case KERNEL_MLPCONV_FORWARD: cuda_emit_mlpconv_forward(e); return;
    case KERNEL_MLPCONV_BACKWARD: cuda_emit_mlpconv_backward(e); return;
    case KERNEL_POOL_FORWARD: cuda_emit_pool_forward(e); return;
    case KERNEL_POOL_BACKWARD: cuda_emit_pool_backward(e); return;
    case KERNEL_NORM: cuda_emit_norm(e); return;
    case KERNEL_LRN: cuda_emit_lrn(e); return;
    case KERNEL_STATISTICS: cuda_emit_statistics(e); return;
    case KERNEL_HEAD: cuda_emit_head(e); return;
    case KERNEL_FILTER: cuda_emit_filters(e); return;
    case KERNEL_METRICS: cuda_emit_metrics(e); return;
    case KERNEL_UPDATE: cuda_emit_update(e); return;
    case KERNEL_ROWS: /* of the CPU */
    case KERNEL_DENSE:
    case KERNEL_DENSE_WGRAD:
    case KERNEL_WINOGRAD:
    case KERNEL_CLASS_COUNT: break;
    }
    internal_error("%s is of a class that CUDA does not have", e->kernel->name);
}

static bool is_tiled(const Kernel *k)
{
    return k->schedule_count > 0 && k->schedule[0].tile_m > 0;
}

/* Whether a width of the contraction is no multiple of a stage: the bounds of its last slices take
 * registers. Few channels take few registers anyway. */
static bool is_ragged(const Node *contraction)
{
    enum { SLICE = 32 };
    const Node *filter = contraction->op == OP_CONV2D_WGRAD ? contraction : contraction->in[1];
    for (int i = 0; i < 2; i++) {
        int channels = filter->tensor.shape.dim[i];
        if (channels > SLICE && channels % SLICE != 0)
            return true;
    }
    return false;
}

/* Kernels that the compiler would rather let spill than give more registers than leave room for
 * several blocks on a processor: it is told that one block is enough. */
static bool wants_registers(const Kernel *k)
{
    if (k->class == KERNEL_UPDATE || k->class == KERNEL_NORM || k->class == KERNEL_LRN ||
        k->class == KERNEL_STATISTICS)
        return true;
    for (int i = 0; is_tiled(k) && i < k->node_count; i++) {
        const Node *n = k->node[i];
        bool contraction =
            n->op == OP_CONV2D || n->op == OP_CONV2D_DGRAD || n->op == OP_CONV2D_WGRAD;
        bool simple = contraction && n->in[0]->tensor.dtype == DT_F32 && n->math == MATH_FP32;
        if (contraction && (simple || is_ragged(n)))
            return true;
    }
    return false;
}

static void emit_signature(const CudaEmitter *e, Text *out)
{
    const Kernel *k = e->kernel;
    KernelArgs args = kernel_args(e->pool, k);
    const char **parameter = pool_alloc(e->pool, (size_t)(args.count + 1) * sizeof *parameter);
    for (int i = 0; i < args.count; i++) {
        const Node *n = args.node[i];
        parameter[i] = pool_format(e->pool, "%s%s *__restrict__ %s",
                                   args.written[i] ? "" : "const ", cuda_type(n->tensor.dtype),
                                   cuda_value(e, n));
    }
    const char *threads = is_tiled(k) ? pool_format(e->pool, "%s_THREADS", cuda_macro(e->pool, k))
                                      : pool_format(e->pool, "%d", CUDA_BLOCK);
    const char *blocks = wants_registers(k) ? ", 1" : "";
    text_append(out, "extern \"C\" __global__ void __launch_bounds__(%s%s)\n%s(", threads, blocks,
                k->name);
    int start = (int)strlen(k->name) + 1, indent = start < 40 ? start : 4;
    cuda_list(out, parameter, args.count, start, indent);
    text_append(out, ")\n");
}

static void begin_kernel(int number, Text *out)
{
    text_append(out, "\n#if !defined NINC_KERNEL || NINC_KERNEL == %d\n", number);
}

static void emit_kernel(CudaEmitter *e, int number, Text *to)
{
    Text body = {0}, types = {0};
    e->out = &body;
    e->types = &types;
    emit_body(e);
    begin_kernel(number, to);
    text_append(to, "/*\n");
    kernel_print(e->graph, e->kernel, " * ", to);
    text_append(to, " */");
    if (types.length)
        text_write(to, types.data, types.length);
    text_append(to, "\n");
    emit_signature(e, to);
    text_append(to, "{\n");
    text_write(to, body.data, body.length);
    text_append(to, "}\n#endif\n");
    text_free(&body);
    text_free(&types);
}

/* ---- kernels of every model ---- */

/* Logits of a row as they lie in memory; 0 where the graph does not return them. */
static int logits_in_row(const Module *m)
{
    const Node *logits = graph_find_output(module_find_graph(m, "eval", TARGET_CUDA), "logits");
    return logits ? cuda_channels(logits) : 0;
}

static void emit_step_kernels(const Module *m, int number, Text *out)
{
    begin_kernel(number, out);
    text_append(out,
                "/* The batch out of the data set: row n is image index[n], zeros from *valid. */\n"
                "extern \"C\" __global__ void __launch_bounds__(%d)\n"
                "gather_batch(const u8 *__restrict__ images, const i32 *__restrict__ labels,\n"
                "             const i32 *__restrict__ index, const i32 *__restrict__ valid,\n"
                "             u8 *__restrict__ image, i32 *__restrict__ label)\n"
                "{\n"
                "    gather_image<%d * %d * %d>(images, labels, index, valid, image, label);\n"
                "}\n#endif\n",
                CUDA_BLOCK, m->image_h, m->image_w, m->image_c);
    bool weighted = m->class_weights.how != WEIGH_ALIKE;
    begin_kernel(number + 1, out);
    text_append(out,
                "/* The step's loss and guesses, added to the sums that the host reads. */\n"
                "extern \"C\" __global__ void __launch_bounds__(%d)\n"
                "add_metrics(const float *__restrict__ loss, const i32 *__restrict__ correct,\n"
                "            const float *__restrict__ logits, const i32 *__restrict__ valid,\n"
                "            Metrics *__restrict__ sums%s)\n"
                "{\n"
                "    add_step<%d>(loss, correct, logits, valid, sums%s);\n"
                "}\n#endif\n",
                CUDA_BLOCK, weighted ? ", const float *__restrict__ weight" : "",
                logits_in_row(m), weighted ? ", weight" : "");
}

/* ---- the file ---- */

/* The device library in the order of what needs what, and the kernels that need each part. */
typedef struct Part {
    const Embedded *text;
    unsigned classes;             /* bits of KernelClass; 0: every model */
    bool (*needs)(const Node *n); /* NULL: all of those classes; or which nodes of theirs need it */
} Part;

/* A convolution, or a gradient of one, in groups or with dilation. */
static bool is_grouped(const Node *n)
{
    return op_attr(n->op) == ATTR_WINDOW && !window_is_plain(&n->attr.window);
}

static bool augments(const Node *n)
{
    return op_is(n->op, F_AUGMENT);
}

#define BIT(class) (1u << KERNEL_##class)
#define BLOCKS (BIT(MLPCONV_FORWARD) | BIT(MLPCONV_BACKWARD))
#define CONVS (BLOCKS | BIT(CONV_FORWARD) | BIT(CONV_DGRAD) | BIT(CONV_WGRAD))
#define POOLS (BIT(POOL_FORWARD) | BIT(POOL_BACKWARD))
#define NORMS (BIT(NORM) | BIT(STATISTICS))

static const Part library[] = {
    {&embedded_tiles_h, 0, NULL},
    {&embedded_prelude_cuh, 0, NULL},
    {&embedded_scalar_cuh, 0, NULL},
    {&embedded_map_cuh, BIT(GENERIC) | BIT(IMAGE) | BIT(POINTWISE), NULL},
    {&embedded_image_cuh, BIT(GENERIC) | BIT(IMAGE), NULL},
    {&embedded_augment_cuh, BIT(GENERIC) | BIT(IMAGE), augments},
    {&embedded_element_cuh, CONVS | POOLS | NORMS | BIT(LRN) | BIT(HEAD) | BIT(UPDATE), NULL},
    {&embedded_tile_cuh, CONVS, NULL},
    {&embedded_conv_cuh, CONVS, NULL},
    {&embedded_mlpconv_cuh, BLOCKS, NULL},
    {&embedded_pool_cuh, POOLS | NORMS | BIT(LRN), NULL},
    {&embedded_norm_cuh, NORMS, NULL},
    {&embedded_lrn_cuh, BIT(LRN), NULL},
    {&embedded_head_cuh, BIT(HEAD), NULL},
    {&embedded_update_cuh, BIT(UPDATE) | BIT(FILTER), NULL},
    {&embedded_generic_cuh, BIT(GENERIC), NULL},
    {&embedded_grouped_cuh, BIT(GENERIC), is_grouped},
    {&embedded_step_cuh, 0, NULL},
};

static bool is_needed(const Part *part, const Kernel *k)
{
    if (!part->classes)
        return true;
    bool some = !part->needs;
    for (int i = 0; i < k->node_count && !some; i++)
        some = part->needs(k->node[i]);
    return some && (part->classes >> k->class & 1);
}

static void emit_library(const Module *m, Text *out)
{
    const Graph *g;
    const Kernel *k;
    for (size_t p = 0; p < sizeof library / sizeof *library; p++) {
        bool needed = false;
        for (int i = 0; !needed && (k = target_kernel(m, TARGET_CUDA, i, &g)); i++)
            needed = is_needed(&library[p], k);
        if (!needed)
            continue;
        text_append(out, "\n");
        emit_header(library[p].text, out);
    }
}

static void emit_number(const char *kernel, const char *number, int value, Text *out)
{
    text_append(out, "#ifndef %s_%s\n#define %s_%s %d\n#endif\n", kernel, number, kernel, number,
                value);
}

/* Before all kernels: the optimizer needs the splits of the others. */
static void emit_numbers(Pool *pool, const Module *m, Text *out)
{
    const Graph *g;
    const Kernel *k;
    text_append(out, "\n/* ---- tiles and splits: what a large GPU gets; the runtime defines them "
                     "for the one it meets ---- */\n\n");
    for (int i = 0; (k = target_kernel(m, TARGET_CUDA, i, &g)); i++) {
        const Schedule *s = &k->schedule[0];
        const char *name = cuda_macro(pool, k);
        if (!is_tiled(k))
            continue;
        emit_number(name, "TILE_M", s->tile_m, out);
        emit_number(name, "TILE_N", s->tile_n, out);
        emit_number(name, "TILE_K", s->tile_k, out);
        emit_number(name, "STAGES", s->stages, out);
        emit_number(name, "SPLIT", s->split, out);
        emit_number(name, "THREADS", s->threads, out);
        emit_number(name, "SHARED", s->shared_bytes, out);
    }
}

static int emit_kernels(Pool *pool, const Module *m, const Chains *chains, Text *out)
{
    CudaEmitter e = {.pool = pool, .module = m, .chains = chains,
                     .names = {.storage = c_storage_names(pool, m, TARGET_CUDA)}};
    const Graph *g = NULL;
    int i = 0;
    for (; (e.kernel = target_kernel(m, TARGET_CUDA, i, &g)); i++) {
        e.graph = g;
        emit_kernel(&e, i, out);
    }
    return i;
}

void emit_cuda(const Module *m, Text *out)
{
    if (!module_find_graph(m, "eval", TARGET_CUDA))
        internal_error("the module has no CUDA graphs");
    Pool *pool = pool_new();
    text_append(out,
                "/* The CUDA kernels of model %s, made by ninc.\n"
                " *\n"
                " * NVRTC compiles this text with nothing but --gpu-architecture;\n"
                " * -DNINC_KERNEL=n compiles kernel n alone. */\n",
                m->name);
    emit_library(m, out);
    emit_numbers(pool, m, out);
    cuda_emit_ops(m, out);
    Chains chains = cuda_find_chains(pool, m);
    cuda_emit_chains(&chains, out);
    emit_step_kernels(m, emit_kernels(pool, m, &chains, out), out);
    pool_free(pool);
}

/* The intermediate representation: modules, storage, graphs, nodes, kernels.
 *
 * A module is what one model file means: a header, storage (`@name`) and graphs. A graph is SSA:
 * a node has one result, static shapes, and the source position that it came from. After `fuse`
 * the nodes are grouped into kernels; after `memory` every value has a place. Everything lives in
 * the module's pool and is freed with it. */
#ifndef NINC_IR_H
#define NINC_IR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "ops.h"
#include "targets.h"
#include "tensor.h"

/* ---- memory and text ---- */

/* A pool frees all at once. Running out of memory prints one line and exits 1. */
typedef struct Pool Pool;

/* A growing string; data is always NUL-terminated (NULL when nothing was ever appended). */
typedef struct Text {
    char *data;
    size_t length, capacity;
} Text;

/* Names -> what they mean; empty when zeroed. */
typedef struct NameSlot {
    const char *key; /* NULL: empty */
    void *value;
    unsigned hash; /* of the key */
} NameSlot;

typedef struct NameTable {
    NameSlot *slot;
    int count, capacity; /* capacity is a power of two */
} NameTable;

/* ---- positions and diagnostics ---- */

typedef struct Loc {
    const char *file; /* NULL: nowhere */
    int line, column; /* from 1 */
} Loc;

typedef struct Diagnostic {
    Loc loc;
    int width; /* columns to underline, at least 1 */
    char *message;
} Diagnostic;

enum { MAX_DIAGNOSTICS = 20 };

/* The user's faults, collected in order of discovery; the frontend prints them. */
typedef struct Diagnostics {
    Pool *pool;
    Diagnostic list[MAX_DIAGNOSTICS];
    int count; /* stored */
    int total; /* found; more than count when there were too many */
} Diagnostics;

/* ---- ops and attributes ---- */

typedef enum Op {
#define X(id, ...) OP_##id,
    IR_OPS(X)
#undef X
        OP_COUNT
} Op;

typedef enum AttrClass {
    ATTR_NONE,
    ATTR_WINDOW,
    ATTR_IMAGE,
    ATTR_FACTOR,
    ATTR_ADAM,
    ATTR_WINOGRAD,
    ATTR_FOLD
} AttrClass;

/* Kernel, stride and padding in rows (h) and columns (w). Printed
 * {kernel=3x3 stride=2x2 padding=1x1 ceil}; stride 1x1, padding 0x0 and floor are left out. */
typedef struct Window {
    int kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
    bool ceil_mode;
} Window;

enum { MAX_IMAGE_CHANNELS = 16 };

/* Printed {mode=bilinear mean=[0.5] std=[0.5]}; `mode` only on resize, mean and std where they
 * are not all 0 and all 1. One number a channel, in the pool: every node has an Attr. */
typedef struct ImageAttr {
    int channels;
    double *mean, *std;
} ImageAttr;

typedef struct AdamAttr {
    double beta1, beta2, eps; /* {beta1=0.9 beta2=0.999 eps=1e-08} */
} AdamAttr;

enum { WINOGRAD_MAX_TILE = 6, WINOGRAD_MAX_KERNEL = 5, WINOGRAD_MAX_SIZE = 8 };

/* F(tile x tile, kernel x kernel): a convolution with stride 1 and a square kernel, tile by tile of
 * its output y[N,height,width,O]. Tiles come row by row; the input of tile (th,tw) is the square of
 * tile + kernel - 1 <= WINOGRAD_MAX_SIZE that starts at row tile*th - padding_h, column
 * tile*tw - padding_w; what lies outside of x is zero, outputs past height, width are dropped and
 * their gradients zero. Printed {tile=4 kernel=5x5 padding=2x2 size=27x27}; padding 0x0 is left
 * out, and the size on filters, whose transform does not depend on it. */
typedef struct Winograd {
    int tile, kernel, padding_h, padding_w, height, width;
} Winograd;

/* The convolution, and the image that it was of: height x width, resized from source_h x source_w
 * (bilinear). Printed {kernel=11x11 stride=4x4 padding=2x2 size=224x224 source=28x28}. */
typedef struct Fold {
    Window window;
    int height, width, source_h, source_w;
} Fold;

typedef union Attr {
    Window window;
    Winograd winograd;
    Fold fold;
    ImageAttr image;
    double factor; /* {factor=0.9} */
    AdamAttr adam;
} Attr;

/* ---- storage: what outlives a step ---- */

#define IR_ROLES(X) X(WEIGHT, "weight") X(BIAS, "bias") X(MOMENT, "moment")

typedef enum Role {
#define X(id, text) ROLE_##id,
    IR_ROLES(X)
#undef X
        ROLE_COUNT
} Role;

typedef enum Target {
#define X(id, ...) TARGET_##id,
    IR_TARGETS(X)
#undef X
        TARGET_COUNT
} Target;

/* How a target keeps storage: each has its own state region. Printed ` cpu {layout} at OFFSET`. */
typedef struct Home {
    Layout layout;
    int64_t offset; /* bytes from the start of the target's state region; -1 before `memory` */
} Home;

typedef struct Storage {
    const char *name; /* state_dict key; a moment is named PARAMETER.m, .v or .momentum */
    Tensor tensor;    /* logical: weight OIHW, bias [O], moment as its parameter */
    Role role;
    int fan_in, fan_out; /* of the convolution, for initialisation; 0 for moments */
    const char *of;      /* moments: the parameter's name; else NULL */
    int index;           /* in module->storage */
    Loc loc;
    Home home[TARGET_COUNT];
} Storage;

/* ---- nodes ---- */

/* Where a value lies at run time. Offsets are bytes from the start of the region.
 *   shared  one; a value with one row an image holds the whole batch
 *   chunk   one; holds the images of one chunk
 *   thread  one for each thread; holds the strips of one kernel
 *   partial in shared; sums over images in parts: value_copies copies, `bytes` apart */
#define IR_REGIONS(X) X(NONE, "none") X(STATE, "state") X(SHARED, "shared") X(CHUNK, "chunk") \
    X(THREAD, "thread") X(PARTIAL, "partial")

typedef enum Region {
#define X(id, text) REGION_##id,
    IR_REGIONS(X)
#undef X
        REGION_COUNT
} Region;

typedef struct Place {
    Region region;
    int64_t offset, bytes; /* bytes: of one copy */
} Place;

/* CPU: register tile of a contraction: output pixels (columns) x output vectors of 16 channels for
 * a convolution; filter run x output vectors for a weight gradient. 0: not scheduled. */
typedef struct Tile {
    int pixels, vectors;
} Tile;

/* CPU: the operand of a 1x1 convolution or its weight gradient whose zeros are left out, where the
 * instruction set can; printed ` sparse=x`. */
#define IR_SPARSES(X) X(NONE, "none") X(X, "x") X(DY, "dy")

typedef enum Sparse {
#define X(id, text) SPARSE_##id,
    IR_SPARSES(X)
#undef X
        SPARSE_COUNT
} Sparse;

/* How the products of a contraction are computed. bf16 shows in the operands' dtypes. i16: those of
 * Winograd's frequencies between bf16 maps, in 16-bit fixed point where the instruction set can,
 * else in fp32. */
#define IR_MATHS(X) X(FP32, "fp32") X(TF32, "tf32") X(I16, "i16")

typedef enum Math {
#define X(id, text) MATH_##id,
    IR_MATHS(X)
#undef X
        MATH_COUNT
} Math;

enum { MAX_OPERANDS = 5 };

typedef struct Node Node;
typedef struct Kernel Kernel;
typedef struct Graph Graph;

struct Node {
    Op op;
    Tensor tensor; /* of the result; of the storage for `state` and `update` */
    int arity;
    Node *in[MAX_OPERANDS];
    Attr attr; /* the member that op_attr(op) names */
    Loc loc;
    const char *name;  /* input: its name without %; else NULL */
    Storage *storage;  /* state, update; else NULL */
    int id;            /* index in graph->node; -1 for `state` */
    int number;        /* the N of %N, kept through all passes; not of inputs, states, updates */
    Kernel *kernel;    /* NULL before `fuse` and for leaves */
    bool returned;     /* stands among its kernel's `out` */
    Math math;      /* contractions: printed ` math=tf32`, ` math=i16`; fp32 is left out */
    Tile tile;      /* CPU */
    Sparse sparse;  /* CPU */
    Place place;
};

/* ---- kernels ---- */

#define IR_KERNEL_CLASSES(X)                                                                     \
    X(GENERIC, "generic")                   /* plain loops over one op, any layout */            \
    X(IMAGE, "image")                       /* u8 image -> padded map */                         \
    X(ROWS, "rows")                         /* CPU: row ops of no named pattern */               \
    X(POINTWISE, "pointwise")               /* CUDA: one thread an element of the result */      \
    X(CONV_FORWARD, "conv_forward")         /* conv + epilogue */                                \
    X(MLPCONV_FORWARD, "mlpconv_forward")   /* conv and 1x1 convs strip by strip (+ gap) */      \
    X(POOL_FORWARD, "pool_forward")                                                              \
    X(HEAD, "head")                         /* softmax, loss, accuracy, logits gradient */       \
    X(POOL_BACKWARD, "pool_backward")       /* pool gather + mask */                             \
    X(CONV_DGRAD, "conv_dgrad")             /* dgrad + mask */                                   \
    X(CONV_WGRAD, "conv_wgrad")             /* wgrad + bias grad; CUDA: split over pixels */     \
    X(MLPCONV_BACKWARD, "mlpconv_backward") /* (pool gather,) masks, dgrads; CUDA: wgrads too */ \
    X(FILTER, "filter")                     /* transposed or cast filters of all layers */       \
    X(WINOGRAD, "winograd")                 /* CPU: transforms and products by frequency */      \
    X(METRICS, "metrics")                   /* loss and correct count of the step */             \
    X(UPDATE, "update")                     /* ordered reduction and optimizer, all parameters */

typedef enum KernelClass {
#define X(id, text) KERNEL_##id,
    IR_KERNEL_CLASSES(X)
#undef X
        KERNEL_CLASS_COUNT
} KernelClass;

/* A step is three lists: before the images, for each chunk of images, after them. */
#define IR_PHASES(X) X(BEFORE, "before") X(CHUNK, "chunk") X(AFTER, "after")

typedef enum Phase {
#define X(id, text) PHASE_##id,
    IR_PHASES(X)
#undef X
        PHASE_COUNT
} Phase;

/* CUDA: one way to run a kernel. A kernel lists its ways, the preferred one first; the runtime
 * takes the first that fits the device (its shared memory and compute capability) and may lower
 * `split`. The numbers reach NVRTC as macros KERNEL_TILE_M, _TILE_N, _TILE_K, _STAGES, _SPLIT,
 * _THREADS, and _SHARED. Printed as
 *     schedule=[128x128x32 stages=4 split=7 threads=256 shared=73728 grid=92x2 sm=80, ...] */
typedef struct Schedule {
    int tile_m, tile_n, tile_k; /* of the GEMM; 0: the kernel has no tiles */
    int stages;                 /* of the copy pipeline; 0: none */
    int split;                  /* parts of the reduction, each with its own copy of the result */
    int threads;                /* a block */
    int shared_bytes;           /* dynamic shared memory a block */
    int grid_x, grid_y;         /* blocks; the grid's z is `split` */
    int architecture;           /* least compute capability: 75, 80 */
} Schedule;

enum { MAX_SCHEDULES = 6 };

struct Kernel {
    const char *name; /* a C identifier, unique among the target's graphs: conv_0_0_forward */
    KernelClass class;
    Phase phase;
    Target target; /* of its graph */
    int strip; /* CPU: rows of output a strip; 0: the whole map at once */
    Schedule *schedule; /* CUDA: at most MAX_SCHEDULES, in the pool; else NULL */
    int schedule_count;
    const char *note; /* why it was or was not fused, for the summary; not in the text; or NULL */
    Node **node;
    int node_count, node_capacity;
    Node **in; /* leaves and values of other kernels that it reads, in order of first use */
    int in_count, in_capacity;
    Node **out; /* its values that others read or the graph returns, and its updates */
    int out_count, out_capacity;
};

/* ---- graphs and modules ---- */

#define IR_STAGES(X)                                                                             \
    X(FORWARD, "forward")   /* built by the frontend: forward ops and the loss */                \
    X(TRAINING, "training") /* after autodiff (the eval graph: after simplify) */                \
    X(KERNELS, "kernels")   /* after fuse: every node in a kernel */                             \
    X(SCHEDULED, "scheduled") /* tiles, strips, chunk */                                         \
    X(LAID_OUT, "laid_out") /* physical layouts */                                               \
    X(PLANNED, "planned")   /* places */

typedef enum Stage {
#define X(id, text) STAGE_##id,
    IR_STAGES(X)
#undef X
        STAGE_COUNT
} Stage;

typedef struct Output {
    const char *name; /* loss, correct */
    Node *node;
} Output;

enum { MAX_OUTPUTS = 4, PARTIALS = 8 };

/* Who reads each value; see graph_uses. */
typedef struct UseIndex UseIndex;

struct Graph {
    struct Module *module;
    const char *name; /* train, eval */
    Target target;
    Stage stage;
    int batch;        /* images a step */
    int chunk;        /* images a chunk; 0 before `schedule` */
    Node **node;      /* definitions before uses; leaves `input` first; no `state` nodes */
    int node_count, node_capacity;
    int update_count; /* of them updates */
    int next_number;  /* that no node of it has had yet */
    Node **state;     /* one `state` node for each storage read, in order of first read */
    int state_count, state_capacity;
    Node **state_of;  /* by index of the storage: its `state` node or NULL */
    int state_of_capacity;
    UseIndex *uses;   /* made and forgotten by ir/uses.c */
    Kernel **kernel;  /* in execution order, phase by phase */
    int kernel_count, kernel_capacity;
    Output output[MAX_OUTPUTS];
    int output_count;
    int64_t shared_bytes, chunk_bytes, thread_bytes; /* 0 before `memory` */
    int64_t shared_bound, chunk_bound, thread_bound; /* largest sum of live values in this order */
};

#define IR_OPTIMIZERS(X) X(SGD, "sgd") X(ADAM, "adam")

typedef enum OptimizerKind {
#define X(id, text) OPTIMIZER_##id,
    IR_OPTIMIZERS(X)
#undef X
        OPTIMIZER_COUNT
} OptimizerKind;

typedef struct Optimizer {
    OptimizerKind kind;
    double lr, momentum, weight_decay, beta1, beta2, eps;
} Optimizer;

#define IR_INITS(X)                                                                            \
    X(PYTORCH, "pytorch") X(XAVIER_UNIFORM, "xavier_uniform") X(KAIMING_NORMAL, "kaiming_normal") \
    X(NORMAL, "normal")

typedef enum InitKind {
#define X(id, text) INIT_##id,
    IR_INITS(X)
#undef X
        INIT_COUNT
} InitKind;

typedef struct TrainSettings {
    int batch_size, epochs, log_every, checkpoint_every;
    InitKind init;
    double init_std; /* normal */
} TrainSettings;

/* Bytes that the programs of a model need at another batch. */
typedef struct BatchMemory {
    int batch;
    int64_t state, shared, chunk;    /* training and evaluation */
    int64_t eval_shared, eval_chunk; /* evaluation alone */
} BatchMemory;

typedef struct Module {
    Pool *pool;
    const char *name;     /* the model's; a C identifier after dots become _ */
    const char *dataset;  /* fashion-mnist, mnist, idx */
    int image_h, image_w, image_c; /* of the data set's u8 images */
    int classes;
    Optimizer optimizer;
    TrainSettings train;
    Storage **storage;
    int storage_count, storage_capacity;
    NameTable storage_named;  /* name -> Storage */
    Graph **graph;
    int graph_count, graph_capacity;
    int64_t state_bytes[TARGET_COUNT]; /* of the state regions; 0 before `memory` */
    BatchMemory *smaller; /* the same model at smaller batches on CUDA, the largest first; not part
                             of the text */
    int smaller_count;
} Module;

/* ---- ir/pool.c ---- */

Pool *pool_new(void);
void pool_free(Pool *pool);
void *pool_alloc(Pool *pool, size_t bytes); /* zeroed, 16-byte aligned */
char *pool_format(Pool *pool, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *pool_strdup(Pool *pool, const char *text);
void *pool_copy(Pool *pool, const void *data, size_t bytes);
/* Appends one pointer to a pool array that grows: PUSH(pool, g->node, g->node_count,
 * g->node_capacity, n). */
void *pool_grow(Pool *pool, void *array, int count, int *capacity, size_t item);
#define POOL_PUSH(pool, array, count, capacity, item)                                         \
    ((array) = pool_grow((pool), (array), (count), &(capacity), sizeof *(array)),             \
     (array)[(count)++] = (item))

void text_append(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_append_v(Text *text, const char *format, va_list ap);
void text_write(Text *text, const char *data, size_t length);
/* Puts the other text before the character `at`. */
void text_insert(Text *text, size_t at, const Text *inserted);
/* A space, unless the text is empty, and `word` as a shell reads it as one word. */
void text_append_shell_word(Text *text, const char *word);
void text_free(Text *text);
/* The shortest decimal that reads back as the same double: 0.001, 1e-08, 3. `out` of 32 bytes. */
const char *format_double(double value, char *out);
/* Digits grouped by commas; out of 32 bytes. */
const char *format_count(int64_t value, char *out);

/* Seconds of a clock that never goes back; differences mean something. */
double clock_seconds(void);

/* malloc, realloc that end in fatal when memory runs out. */
void *xmalloc(size_t bytes);
void *xrealloc(void *p, size_t bytes);

/* ---- ir/words.c: messages for people ---- */

/* The nearest of `count` words, whose pointers stand `stride` bytes apart, by edit distance; NULL
 * if none is near. */
const char *nearest_word(const char *word, const void *words, int count, size_t stride);
/* Prints the message and ends its line. On a terminal, and where COLUMNS says how wide lines may
 * be, lines break between words, so that none is cut; elsewhere a message stays one line. What
 * stands in a line of its own behind the first, indented, is to be copied and never broken. */
void print_message(FILE *out, const char *message);
/* The same of a format, to standard error. */
void print_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same in lines of so many columns; 0: one line. */
void print_lines(FILE *out, const char *message, int columns);

/* ---- ir/names.c ---- */

/* NULL where the name is not in the table. */
void *names_find(const NameTable *t, const char *key);
/* `key` must not be in it yet, and must stay. */
void names_add(NameTable *t, Pool *pool, const char *key, void *value);

/* ---- ir/diagnostics.c ---- */

void diagnostics_init(Diagnostics *d, Pool *pool);
void diagnostics_add(Diagnostics *d, Loc loc, int width, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- ir/fatal.c ---- */

/* Prints one line and exits 1: for what nothing can be done about. */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What fatal does instead, for programs that must not end: it leaves the reason in `text` and jumps
 * to `back`. What the thread had in hand then, its memory too, is lost. */
typedef struct Rescue {
    jmp_buf back;
    char text[512];
} Rescue;

/* For this thread, from now on; NULL: none. Returns the one before. */
Rescue *rescue_set(Rescue *rescue);

/* A fault of ours: fatal with "internal error: FUNCTION: message". */
#define internal_error(...) internal_error_at(__func__, __VA_ARGS__)
_Noreturn void internal_error_at(const char *function, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- ir/ops.c ---- */

const char *op_name(Op op);
int op_min_operands(Op op);
int op_max_operands(Op op);
AttrClass op_attr(Op op);
const char *op_scalar(Op op); /* "" if not pointwise */
const char *op_what(Op op);   /* what it computes, for people: operands -> result */
bool op_is_pointwise(Op op);
/* Whether it has any of the flags (F_ROWS | ...) of ops.h. */
bool op_is(Op op, unsigned flags);
/* The result is a sum over images: a weight or bias gradient. */
bool op_sums_images(Op op);
/* Filters in, filters out: no images. */
bool op_is_of_filters(Op op);
Shape shape_of(int rank, int d0, int d1, int d2, int d3);

/* By enumerator: its word in the IR text. */
extern const char *const role_names[ROLE_COUNT], *const region_names[REGION_COUNT];
extern const char *const class_names[KERNEL_CLASS_COUNT], *const phase_names[PHASE_COUNT];
extern const char *const stage_names[STAGE_COUNT], *const target_names[TARGET_COUNT];
extern const char *const optimizer_names[OPTIMIZER_COUNT], *const init_names[INIT_COUNT];
extern const char *const math_names[MATH_COUNT];
extern const char *const sparse_names[SPARSE_COUNT];

/* ---- ir/targets.c ---- */

Target target_device(Target target);
TargetKind target_kind(Target target);
int target_lanes(Target target);
/* Of programs that the CPU device runs. */
bool target_is_cpu(Target target);

/* ---- ir/build.c ---- */

Module *module_new(Pool *pool, const char *name);
Storage *module_add_storage(Module *m, const char *name, Shape shape, Role role, Loc loc);
Storage *module_find_storage(const Module *m, const char *name); /* NULL if there is none */
/* Drops the storage that no node may read any more; the rest keeps its order. */
void module_keep_storage(Module *m, bool (*keep)(const Storage *s));
/* The storage as it lies on a target: its tensor with the layout of that home. */
Tensor storage_tensor(const Storage *s, Target target);
/* Lays out the graph's state and update nodes as the homes on its target say. */
void graph_lay_out_storage(Graph *g);
Graph *module_add_graph(Module *m, const char *name, int batch);
Graph *module_find_graph(const Module *m, const char *name, Target target);
/* The graph of that name of the first target that has one; NULL where none has. */
const Graph *module_first_graph(const Module *m, const char *name);
/* A deep copy of nodes, kernels and outputs into the same module's storage; appended. */
Graph *graph_clone(Graph *g, const char *name, Target target);
/* Makes a graph for any target that target's. */
void graph_retarget(Graph *g, Target target);

/* Appends a node. The result's dtype and shape are inferred from op, operands and attributes
 * (infer_type) unless `type` is given. */
Node *graph_add(Graph *g, Op op, int arity, Node *const *in, const Attr *attr, Loc loc);
Node *graph_add_typed(Graph *g, Op op, int arity, Node *const *in, const Attr *attr,
                      const Tensor *type, Loc loc);
Node *graph_input(Graph *g, const char *name, DType dtype, Shape shape, Loc loc);
Node *graph_find_input(const Graph *g, const char *name);
/* The `state` node that reads `s`, made on first use. */
Node *graph_state(Graph *g, Storage *s);
Node *graph_update(Graph *g, Storage *s, Node *value, Loc loc);
void graph_output(Graph *g, const char *name, Node *node);
Node *graph_find_output(const Graph *g, const char *name);

/* Replaces every use of `old` (operands, outputs) by `new`. */
void graph_replace(Graph *g, Node *old, Node *new);
/* Drops nodes that no output or update needs (inputs stay), and state nodes nobody reads; the
 * state nodes left come in order of first read. */
void graph_remove_dead(Graph *g);
/* Sorts nodes so that definitions come before uses, keeping the order otherwise; renumbers. */
void graph_sort(Graph *g);
/* Moves the nodes from index `from` on to right behind the inputs. */
void graph_move_to_start(Graph *g, int from);
void graph_renumber(Graph *g);
/* New values get the numbers behind those that the graph has now, so that what was removed before
 * leaves no trace; values without a number (-1) get theirs. Past a million all get new ones. */
void graph_number(Graph *g);
/* Number of operands (counted with repetition), outputs and updates that use each node, by id;
 * the caller owns the pool array of node_count entries. */
int *graph_use_counts(const Graph *g, Pool *pool);

/* ---- ir/uses.c ---- */

/* One use of a value: operand number `operand` of `user`. */
typedef struct Use {
    Node *user;
    int operand;
} Use;

typedef struct Uses {
    const Use *use;
    int count;
} Uses;

/* The uses of a node by the graph's nodes, in their order; ids must be those of their places. All
 * uses are found at the first question and stay until the graph is edited: the functions of
 * build.c that edit forget them, and who writes Node.in itself calls graph_forget_uses. */
Uses graph_uses(const Graph *g, const Node *n);
void graph_forget_uses(const Graph *g);
/* False where somebody did not. */
bool graph_uses_are_current(const Graph *g);
UseIndex *uses_new(Pool *pool);
/* A number from 0 for each node, its id, and from node_count on for the `state` nodes. */
int node_slot(const Graph *g, const Node *n);
int graph_slots(const Graph *g);

/* ---- ir/build.c: questions ---- */

/* The value that an operand is, itself or through a cast. */
const Node *behind_cast(const Node *operand);
/* The storage that an operand is, itself or through a cast; NULL where it is computed. */
const Storage *operand_storage(const Node *operand);
/* The filter of a convolution, of its products in tiles or their result: before Winograd's
 * transform or folding; NULL for other nodes. */
Node *conv_filter(const Node *n);
/* The gradient that an update of a parameter is made of, up through the optimizer's ops. */
const Node *update_gradient(const Node *update);
/* The parameter whose gradient n is: what it is used with has state of it. NULL for none. */
Storage *gradient_storage(const Graph *g, const Node *n);

/* True where the first dimension of n counts images (decided from the ops, not from the extent). */
bool is_per_image(const Graph *g, const Node *n);

/* Fills in and out of all kernels from their nodes, whose `kernel` must be set; also orders the
 * state nodes. */
void graph_derive_io(Graph *g);
/* By node id: whether another kernel reads the node or the graph returns it. */
bool *graph_escapes(const Graph *g, Pool *pool);
/* Whether what the kernels before the images compute stays for the next steps: on the CPU, where no
 * node updates the storage that it depends on. */
bool graph_keeps_before(const Graph *g);
/* Such a value: it lives from its kernel to the end of the program. */
bool value_is_kept(const Graph *g, const Node *n);
/* The tensor as it lies in memory: a per-image value in the chunk region holds one chunk, so its
 * first dimension is g->chunk. State and updates: the storage's tensor. */
Tensor placed_tensor(const Graph *g, const Node *n);
/* Bytes of one copy of a value in its place, halo and padding lanes included. */
int64_t value_bytes(const Graph *g, const Node *n);
/* Copies of a value in its place: of a sum in parts on CUDA the largest split of its kernel, on the
 * CPU PARTIALS; 1 for all else. Its readers add the copies up in order. */
int value_copies(const Node *n);

/* ---- ir/kernel.c: how a kernel of row ops is executed ---- */

/* Pointwise ops that one op may have behind it, and maps, and scalars, that they may read beside its
 * result. */
enum { MAX_CHAIN = 8, MAX_BESIDE = 4, MAX_STATEMENT_OPERANDS = (MAX_CHAIN + 1) * MAX_OPERANDS };

/* One call of the device library: an op with the pointwise ops that finish it, its epilogue.
 * Statements of one segment run strip by strip (kernel->strip rows); a segment ends where an op
 * needs rows that the strip does not hold. */
typedef struct Statement {
    Node *op;
    Node *chain[MAX_CHAIN]; /* each of the one before, whose value never reaches memory */
    int chained;
    int segment;
} Statement;

/* Kernels of row ops; the others execute node by node over whole values. */
bool kernel_is_rows(const Kernel *k);
/* Parts of a CPU kernel that can run at the same time; in a chunk kernel some of them may have
 * nothing to do for a chunk of fewer images. coarse: parts read much of the same memory, so that
 * fewer and larger ones are better. */
typedef struct Slices {
    int count;
    bool coarse;
} Slices;
Slices kernel_slices(const Graph *g, const Kernel *k);
/* A sum over images that each slice of its kernel (CUDA: each part of the split) makes a copy of:
 * on the CPU one beside maps, whose slices are images and strips. */
bool value_is_in_parts(const Node *n);
bool op_is_rows(const Node *n);
/* Pointwise over the map, or a 1x1 convolution without padding and stride. */
bool window_is_pointwise(const Window *w);
/* An average over the whole map: what gap computes. */
bool pool_covers_map(const Node *n);
/* The value of a forward node is that of its operand. */
bool node_is_identity(const Node *n);
Node *statement_result(const Statement *s);
/* The operand of its pointwise op `at` that stays in registers: of chain[at - 1] what stands before
 * it, of a pointwise `op` itself, 0, its first map. */
const Node *statement_flow(const Statement *s, int at);
/* The other operands of its pointwise ops, each once: the maps, or the scalars. */
int statement_beside(const Statement *s, bool scalars, const Node **list);
/* Whether zeros in, where maps have no channels, give zeros out. */
bool statement_keeps_zero(const Statement *s);
/* Whether `next` is pointwise over maps and can be done where n, one of its operands, is made. */
bool node_chains(const Node *n, const Node *next);
/* Rows over which the statement runs: of its result, or of the operand that it reduces. */
int statement_height(const Statement *s);
/* Fills out (room for k->node_count) and returns the number of statements. */
int kernel_statements(const Kernel *k, Statement *out);
/* The statement list as a pool array. */
Statement *kernel_statement_list(Pool *pool, const Kernel *k, int *count);
bool kernel_returns(const Kernel *k, const Node *n);
/* Whether wgrad can be the weight gradient of conv: same input, window and filter shape. */
bool is_wgrad_of(const Node *wgrad, const Node *conv);
/* The value is finished by a pointwise op in its kernel and never reaches memory. */
bool value_is_folded(const Node *n);
/* The value is used in its own segment only, so a strip of it suffices. */
bool value_is_strip(const Node *n);
/* A network input of fewer than 16 channels that only convolutions in kernels of row ops read: it
 * stays NHWC, so that a filter row is one contiguous run of columns x channels. */
bool value_is_thin_image(const Graph *g, const Node *n);
/* Channels a block of the maps of a CPU graph: the 16 floats of a vector, or the 32 bf16 that make
 * up a row of an AMX tile. */
int graph_lanes(const Graph *g);
bool graph_has_bf16(const Graph *g);
/* fp32, tf32, bf16: what the contractions of a target's graph compute in. */
const char *graph_precision(const Graph *g);
/* Channels of x that the filter of its convolution is packed by: those of a block or, where x is a
 * thin image, of a pixel; for AMX in pairs. */
int packed_channels(const Graph *g, const Node *x);
/* Columns of x that a convolution reads past its window: a row of an odd number of bf16 entries is
 * read in pairs. 0 or 1. */
int overread_columns(const Graph *g, const Node *x, int kernel_w);

/* ---- ir/work.c: what a kernel computes and moves ---- */

/* Multiplications and additions of a contraction, over the logical shapes; 0 for other ops. */
double contraction_flop(const Node *n);
/* The same of all nodes of a kernel, over the whole batch. */
double kernel_flop(const Kernel *k);
/* Bytes of its inputs and outputs in a step, each once a chunk where it is not of an image, padding
 * and all copies included. */
int64_t kernel_traffic(const Graph *g, const Kernel *k);

/* ---- ir/op/: gradients ---- */

/* What autodiff lends to the op whose gradients are made: the ops that it appends to the graph are
 * the gradients. */
typedef struct Gradient {
    Graph *graph;
    /* Whether the loss depends on parameters through this operand. */
    bool (*needs)(const struct Gradient *g, const Node *operand);
    /* Adds one use's gradient to what the operand has from its other uses. */
    void (*give)(struct Gradient *g, const Node *operand, Node *grad, Loc loc);
    /* A value for the backward pass that is computed right behind the forward node n. */
    void (*keep)(struct Gradient *g, const Node *n, Node *value);
} Gradient;

/* Gives the operands of n their gradients, dy being that of its value; the loss itself has none. */
void gradient_of_node(Gradient *g, Node *n, Node *dy);

/* ---- ir/winograd.c: the transforms of Winograd convolution ---- */

/* Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308): with tiles
 * d of `size` rows and columns, size = tile + kernel - 1,
 *     y = A^T [(G g G^T) * (B^T d B)] A
 * where * multiplies element by element. Made by Cook-Toom from the points 0, 1, -1, 2, -2, 1/2,
 * -1/2 (as many as are needed) and infinity; the largest element of each row of B^T is 1 or -1. */
typedef struct WinogradMatrices {
    int size;
    double at[WINOGRAD_MAX_TILE][WINOGRAD_MAX_SIZE]; /* A^T: tile x size */
    double g[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_KERNEL]; /* G: size x kernel */
    double bt[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_SIZE]; /* B^T: size x size */
} WinogradMatrices;

/* Tiles of 2..6, kernels of 2..5, together at most WINOGRAD_MAX_SIZE + 1. */
bool winograd_is_valid(int tile, int kernel);
/* Of a valid pair. */
void winograd_matrices(int tile, int kernel, WinogradMatrices *out);

/* The matrix L of a node's transform x -> L x L^T: B^T, G, A^T, A or G^T by its op. */
typedef struct WinogradTransform {
    int rows, columns;
    double at[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_SIZE];
} WinogradTransform;

WinogradTransform winograd_transform(const Node *n);

/* Rows and columns of a transformed tile: tile + kernel - 1. */
int winograd_size(const Winograd *w);
/* Rows and columns of tiles over the output map, and their product. */
int winograd_tile_rows(const Winograd *w);
int winograd_tile_columns(const Winograd *w);
int winograd_tiles(const Winograd *w);
/* The zero border of its map that whole tiles of a winograd_input or winograd_output_grad read. */
void winograd_halo(const Node *n, int *halo_h, int *halo_w);

/* ---- ir/fold.c: a convolution of a resized image as one of the source image ---- */

enum { FOLD_MAX_CLASSES = 8, FOLD_MAX_EXTENT = 16, FOLD_MAX_KERNEL = 64, FOLD_MAX_SIZE = 1 << 15 };

/* One axis. Bilinear resize is linear: what the taps of output `o` meet is a matrix times the
 * source positions from base[o] on. Outputs with the same matrix are a class, and have the same
 * folded filter. Classes may reach less far than `extent`: the rest of their filters is zero, and
 * of their filters' gradients too. */
typedef struct FoldAxis {
    int outputs, kernel, classes, extent;
    int *class_of, *base; /* by output */
    int *reach;           /* by class: source positions that it reads, all inside the source */
    double *matrix;       /* [classes][kernel][extent] */
} FoldAxis;

typedef struct FoldAxes {
    FoldAxis rows, columns;
} FoldAxes;

/* The axes of a folded convolution, in the pool; false where one has more classes or a larger
 * extent than the limits above. */
bool fold_axes(Pool *pool, const Fold *f, FoldAxes *axes);

/* The axes of a node with a Fold, which is one of those that fold_axes can do. */
FoldAxes folded_axes(Pool *pool, const Node *n);

/* matrix[tap][at] of a class. */
double fold_at(const FoldAxis *a, int class, int tap, int at);
/* The convolution that reads the image n folded: n stands for the resized one. NULL: none. */
const Node *fold_of_image(const Graph *g, const Node *n);
/* n, or where n is the source of a folded convolution, the resize that it stands for. */
Node unfolded_image(const Graph *g, const Node *n);

/* ---- ir/shape.c ---- */

/* Output extent of one axis of a convolution or pool with PyTorch's rules (torch.nn.Conv2d,
 * MaxPool2d: with ceil_mode the last window must start inside the input or its left padding).
 * <= 0 when the window does not fit. */
int window_extent(int input, int kernel, int stride, int padding, bool ceil_mode);

/* Infers dtype and shape of op's result (layout plain). On a fault adds a diagnostic at loc that
 * names the shapes and says what to do, and returns false. Ops whose result shape does not follow
 * from the operands (conv2d_dgrad, conv2d_wgrad, pool gradients, gap_grad, flatten_grad, input,
 * resize) leave *out as given and check that it fits. */
bool infer_type(Diagnostics *d, Op op, int arity, Node *const *in, const Attr *attr, Loc loc,
                Tensor *out);

/* ---- ir/verify.c ---- */

/* Checks everything that the module's stage promises; each fault names graph, node and rule.
 * Returns true when sound. Faults in a module that a pass made are ours; the caller decides. */
bool module_verify(const Module *m, Diagnostics *d);

/* ---- ir/program.c ---- */

/* Whether a sound module can be compiled: train and eval graphs of one stage, with the inputs and
 * outputs that the passes and the trainer rely on. Faults stand at loc. IR text from a user goes
 * through this before the passes. */
bool module_check_program(const Module *m, Diagnostics *d, Loc loc);

/* ---- ir/print.c ---- */

/* The IR text of the whole module; round trips through module_parse to equal text. */
void module_print(const Module *m, Text *out);
void graph_print(const Graph *g, Text *out);
/* One node as it stands in the text, without indentation and newline, without `loc`. */
void node_print(const Graph *g, const Node *n, Text *out);
/* A kernel with its nodes, as in the text; `prefix` starts each line (a comment leader). */
void kernel_print(const Graph *g, const Kernel *k, const char *prefix, Text *out);
/* ` {kernel=3x3 stride=2x2}`: the attributes of a node; nothing where it has none. */
void attr_print(const Node *n, Text *out);
/* `optimizer adam lr=0.001 ...`, without an end of line. */
void optimizer_print(const Optimizer *o, bool with_lr, Text *out);
void module_print_dot(const Module *m, Text *out);

/* ---- ir/parse.c, with parse.h; its lexer is lex.c, with lex.h ---- */

/* Parses IR text (length bytes at text; `file` for positions). NULL after diagnostics. The result
 * is verified. */
Module *module_parse(Pool *pool, Diagnostics *d, const char *file, const char *text,
                     size_t length);

/* ---- ir/eval.c, ir/op/: the naive evaluator, in double; the oracle ---- */

/* Values of one graph: value[node->id] and state[i] for module->storage[i], logical row-major,
 * as doubles whatever the dtype (labels, codes and counts are exact). */
typedef struct Eval {
    const Graph *graph;
    int batch;      /* images evaluated: the first extent of per-image values here */
    double **value; /* NULL until set or computed */
    double **state;
    struct Eval *of; /* NULL; else these are squares of spreads of that evaluation's values */
    double unit, jump; /* of spreads */
} Eval;

/* `batch` <= graph->batch images (0: all). State is zero. */
Eval *eval_new(const Graph *g, int batch);
void eval_free(Eval *e);
int64_t eval_elements(const Eval *e, const Node *n);
/* The array of a node's value or of a storage, allocated (zeroed) on first use. */
double *eval_value(Eval *e, const Node *n);
double *eval_state(Eval *e, const Storage *s);
/* Computes one node from its operands' values (which must be set); updates write the state. */
void eval_node(Eval *e, const Node *n);
/* Computes all nodes but inputs in order. */
void eval_run(Eval *e);

/* ---- ir/eval_spread.c: how far rounding may move what kernels compute ---- */

/* Spreads of the values of an evaluation whose nodes are computed: of each element the root of the
 * sum of the squares of its terms, at least its magnitude, carried through the graph to first
 * order. An error of `unit` in each term, of independent signs, moves the element by about `unit`
 * times its spread. Where rounding may decide a comparison, what it moves counts 1 / jump. The
 * evaluation holds squares; 1 or the count for integers that may be other ones. */
Eval *spread_new(Eval *values, double unit, double jump);
/* A value that is given, not computed. */
void spread_set(Eval *spread, const Node *n);
/* The root of the sum of the squares of what the optimizer's node `step` adds to its first operand,
 * but for its error: how far the storage may move where its terms cancel. */
double spread_movement(Eval *spread, const Node *step);
/* Computes one node from the spreads of its operands, which must be set; of inputs and state too.
 * Updated state stands for what it was before. */
void spread_node(Eval *spread, const Node *n);

#endif

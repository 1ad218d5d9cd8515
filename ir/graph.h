/* Storage, nodes, graphs and modules: how they are built, asked and checked. */
#ifndef NINC_IR_GRAPH_H
#define NINC_IR_GRAPH_H

#include "base.h"
#include "inputs.h"
#include "kernel.h"
#include "settings.h"

/* ---- storage: what outlives a step ---- */

/* matrix: the filter of a convolution over the whole of its input, in files [O, I*KH*KW]. scale and
 * shift: weight and bias of a batch norm; mean, variance: its running statistics, which a step
 * updates too; batches: how many batches are in these, [1], in files an I64 without extents.
 * average: the exponential mean of a parameter over the steps, which an evaluation reads. classes:
 * what each class weighs in the loss, [classes], which the trainer writes once. */
#define IR_ROLES(X)                                                                                \
    X(WEIGHT, "weight") X(MATRIX, "matrix") X(BIAS, "bias") X(MOMENT, "moment")                    \
    X(SCALE, "scale") X(SHIFT, "shift") X(MEAN, "mean") X(VARIANCE, "variance")                    \
    X(BATCHES, "batches") X(AVERAGE, "average") X(CLASSES, "classes")

typedef enum Role {
#define X(id, text) ROLE_##id,
    IR_ROLES(X)
#undef X
        ROLE_COUNT
} Role;

/* How a target keeps storage: each has its own state region. Printed ` cpu {layout} at OFFSET`. */
typedef struct Home {
    Layout layout;
    int64_t offset; /* bytes from the start of the target's state region; -1 before `memory` */
} Home;

/* How a parameter is trained, where that is not as all others are; of other storage the defaults.
 * Printed {lr_mult=2 weight_decay_mult=0 frozen init=normal std=0.05}, what is there of it. */
typedef struct Training {
    double lr_mult, weight_decay_mult; /* 1 */
    bool frozen;                       /* it has no gradient */
    bool has_init;                     /* one of its own: */
    InitKind init;
    double init_std;
} Training;

typedef struct Storage {
    const char *name; /* state_dict key; a moment is named PARAMETER.m, .v or .momentum, an
                         average PARAMETER.ema */
    Tensor tensor;    /* logical: weight OIHW, bias [O], moment and average as their parameter */
    Role role;
    int fan_in, fan_out; /* of the convolution, for initialisation; 0 for moments */
    const char *of; /* moments, averages: the parameter's name; batches: the mean's; else NULL */
    Training training;
    int index;           /* in module->storage */
    Loc loc;
    Home home[TARGET_COUNT];
} Storage;

/* ---- nodes ---- */

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
    int image_h, image_w, image_c; /* of the data set's u8 images, behind their transforms */
    int classes;
    DataSettings data;
    Optimizer optimizer;
    TrainSettings train;
    ClassWeights class_weights;
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

/* By enumerator: its word in the IR text. */
extern const char *const role_names[ROLE_COUNT], *const region_names[REGION_COUNT];
extern const char *const class_names[KERNEL_CLASS_COUNT], *const phase_names[PHASE_COUNT];
extern const char *const stage_names[STAGE_COUNT], *const target_names[TARGET_COUNT];
extern const char *const optimizer_names[OPTIMIZER_COUNT], *const init_names[INIT_COUNT];
extern const char *const transform_names[TRANSFORM_COUNT], *const sampler_names[SAMPLER_COUNT];
extern const char *const math_names[MATH_COUNT];
extern const char *const sparse_names[SPARSE_COUNT];

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

/* ---- ir/clone.c ---- */

/* A deep copy of nodes, kernels and outputs into the same module's storage; appended. */
Graph *graph_clone(Graph *g, const char *name, Target target);
/* Makes a graph for any target that target's. */
void graph_retarget(Graph *g, Target target);

/* ---- ir/build.c: nodes ---- */

/* Appends a node. The result's dtype and shape are inferred from op, operands and attributes
 * (infer_type) unless `type` is given. */
Node *graph_add(Graph *g, Op op, int arity, Node *const *in, const Attr *attr, Loc loc);
Node *graph_add_typed(Graph *g, Op op, int arity, Node *const *in, const Attr *attr,
                      const Tensor *type, Loc loc);
/* Appends a node that is whole but for its id. */
void graph_append(Graph *g, Node *n);
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

/* ---- ir/values.c ---- */

/* What an optimizer trains. */
bool role_is_parameter(Role role);
/* What is kept of a parameter, in its form, and named after it. */
bool role_is_beside_parameter(Role role);
/* The parameter that it is kept of; itself where it is not. */
const Storage *storage_parameter(const Module *m, const Storage *s);
/* The average of a parameter; NULL where there is none. */
Storage *storage_average(const Module *m, const Storage *parameter);
/* One value a channel. */
bool role_is_vector(Role role);

/* The value that an operand is, itself or through a cast. */
const Node *behind_cast(const Node *operand);
/* The storage that an operand is, itself or through a cast; NULL where it is computed. */
const Storage *operand_storage(const Node *operand);
/* The filter of a convolution, of its products in tiles or their result: before Winograd's
 * transform or folding; NULL for other nodes. */
Node *conv_filter(const Node *n);
/* The running mean that n, an op of a batch norm, or its statistics belong to; NULL: none. */
const Storage *norm_storage(const Graph *g, const Node *n);
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

/* ---- ir/inputs.c, with inputs.h ---- */

typedef enum GraphInput {
#define X(id, ...) INPUT_##id,
    GRAPH_INPUTS(X)
#undef X
        INPUT_COUNT
} GraphInput;


/* By name; INPUT_COUNT: none. */
GraphInput input_named(const char *name);
/* Name, dtype and shape of an input of the graph. */
const char *input_name(GraphInput input);
Tensor input_type(const Graph *g, GraphInput input);
bool input_is_needed(GraphInput input);
/* The graph's node of it; made where there is none yet. */
Node *graph_take_input(Graph *g, GraphInput input, Loc loc);

/* ---- ir/phase.c ---- */

/* The earliest part of a step in which a node can run: what is of single images with their chunk,
 * what sums over images are read for after all of them. `known`: by id, the phases of the nodes
 * before it; NULL: those of their kernels. */
Phase node_phase(const Graph *g, const Node *n, const Phase *known);
/* An operand is known only after all images. */
bool node_reads_sums(const Node *n, const Phase *known);
/* Why the phase of the node's kernel is not one that it can run in; NULL: it is. */
const char *node_phase_fault(const Graph *g, const Node *n);
/* All images of a batch are one chunk. */
bool graph_is_one_chunk(const Graph *g);
/* Valid images that a step needs: one value has no variance, so that two where a statistic is of
 * maps of one pixel. */
int graph_least_images(const Graph *g);
/* They must be: some op of the chunk reads a statistic of them all. */
bool graph_looks_across(const Graph *g);

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

#endif

/* The IR: types, graph edits, what is asked of a graph, and memory. */
#include "planned_ir.h"
#include "windows.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static const Loc nowhere;

/* Read by AddressSanitizer, where the tests are built with it: an allocation that it refuses comes
 * back as NULL, as malloc's does, and does not end the program. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* What would end the program comes back to who asked for it. */
START_TEST(what_would_end_the_program_comes_back)
{
    Rescue rescue;
    ck_assert_ptr_null(rescue_set(&rescue));
    if (setjmp(rescue.back) == 0)
        internal_error("%d apples", 3);
    ck_assert_str_eq(rescue.text,
                     "internal error: what_would_end_the_program_comes_back_fn: 3 apples");
    if (setjmp(rescue.back) == 0)
        xmalloc(SIZE_MAX / 2);
    ck_assert_ptr_nonnull(strstr(rescue.text, "out of memory"));
    ck_assert_ptr_eq(rescue_set(NULL), &rescue);
}
END_TEST

/* Else the program ends, with its own name before the reason: trainers have this code too. */
START_TEST(what_ends_the_program_is_told_by_its_name)
{
    char line[256] = "", wanted[64];
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        xmalloc(SIZE_MAX / 2);
        _exit(0);
    }
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    snprintf(wanted, sizeof wanted, "%s: error: out of memory", program_invocation_short_name);
    while (fgets(line, sizeof line, said)) /* AddressSanitizer may have spoken before */
        ;
    fclose(said);
    waitpid(child, &status, 0);
    ck_assert_msg(strncmp(line, wanted, strlen(wanted)) == 0, "%s", line);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}
END_TEST

/* A module read from text: at stage planned, with kernels of all phases. */
typedef struct Planned {
    Text text;
    Pool *pool;
    Module *module;
} Planned;

static Planned planned_new(void)
{
    Planned p = {.text = planned_text(), .pool = pool_new()};
    Diagnostics d;
    diagnostics_init(&d, p.pool);
    p.module = module_parse(p.pool, &d, "x.ir", p.text.data, p.text.length);
    ck_assert_ptr_nonnull(p.module);
    return p;
}

static void planned_free(Planned *p)
{
    text_free(&p->text);
    pool_free(p->pool);
}

/* ---- shapes ---- */

typedef struct Extent {
    int input, kernel, stride, padding, floored, ceiled;
} Extent;

/* torch.nn.MaxPool2d's extents in both modes. */
static const Extent extents[] = {
    {224, 11, 4, 2, 55, 56}, {55, 3, 2, 0, 27, 27}, {32, 3, 2, 0, 15, 16}, {28, 3, 2, 0, 13, 14},
    {6, 6, 1, 0, 1, 1},      {5, 2, 2, 1, 3, 3},    {2, 3, 2, 0, 0, 1},    {7, 2, 3, 1, 3, 3},
    {3, 1, 2, 0, 2, 2},      {4, 1, 2, 0, 2, 2},    {4, 2, 3, 1, 2, 2},    {10, 3, 4, 1, 3, 3},
    {1, 3, 1, 0, 0, 0},      {5, 3, 3, 0, 1, 2},    {1, 1, 5, 0, 1, 1},    {8, 3, 3, 1, 3, 3},
};

START_TEST(window_extents_are_pytorchs)
{
    const Extent *e = &extents[_i];
    int floored = window_extent(e->input, e->kernel, e->stride, e->padding, false);
    int ceiled = window_extent(e->input, e->kernel, e->stride, e->padding, true);
    ck_assert_int_eq(floored > 0 ? floored : 0, e->floored);
    ck_assert_int_eq(ceiled > 0 ? ceiled : 0, e->ceiled);
}
END_TEST

/* An op on operands of the given types, and the fault that it must cause; NULL for none. */
typedef struct Typing {
    Op op;
    Window window;
    int operands;
    Tensor in[3], given;
    const char *fault, *words; /* words: of the result, where there is no fault */
} Typing;

#define F32_4(n, h, w, c) {.dtype = DT_F32, .shape = {4, {n, h, w, c}}}
#define F32_2(n, c) {.dtype = DT_F32, .shape = {2, {n, c}}}
#define F32_1(n) {.dtype = DT_F32, .shape = {1, {n}}}
#define I32_1(n) {.dtype = DT_I32, .shape = {1, {n}}}
#define I32_0 {.dtype = DT_I32}
#define U8_4(n, h, w, c) {.dtype = DT_U8, .shape = {4, {n, h, w, c}}}

static const Typing typings[] = {
    {OP_CONV2D, W(11, 11, 4, 4, 2, 2, false), 3,
     {F32_4(2, 224, 224, 1), F32_4(96, 1, 11, 11), F32_1(96)}, I32_0, NULL, "2,55,55,96"},
    {OP_CONV2D, W(11, 11, 1, 1, 0, 0, false), 2, {F32_4(2, 9, 9, 1), F32_4(4, 1, 11, 11)}, I32_0,
     "conv2d's kernel 11x11 does not fit its input 9x9; use a smaller kernel_size or more padding",
     NULL},
    {OP_CONV2D, W(11, 11, 1, 1, 1, 0, false), 2, {F32_4(2, 7, 9, 1), F32_4(4, 1, 11, 11)}, I32_0,
     "conv2d's kernel 11x11 does not fit its padded input 9x9", NULL},
    {OP_CONV2D, W(1, 1, 1, 1, 0, 0, false), 2, {F32_4(2, 9, 9, 3), F32_4(4, 1, 1, 1)}, I32_0,
     "filter is for 1 input channels, but its input has 3", NULL},
    {OP_CONV2D, W(1, 1, 1, 1, 0, 0, false), 3, {F32_4(2, 9, 9, 1), F32_4(4, 1, 1, 1), F32_1(5)},
     I32_0, "extent 0 of bias is 5, but its other operands need 4", NULL},
    {OP_CONV2D, W(1, 1, 0, 1, 0, 0, false), 2, {F32_4(2, 9, 9, 1), F32_4(4, 1, 1, 1)}, I32_0,
     "stride 0x1 must be at least 1x1", NULL},
    {OP_CONV2D, W(1, 1, 1, 1, 0, 0, false), 2, {U8_4(2, 9, 9, 1), F32_4(4, 1, 1, 1)}, I32_0,
     "conv2d takes as input f32 of rank 4, not u8[2,9,9,1]", NULL},
    {OP_CONV2D, W(1, 1, 1, 1, 0, 0, false), 2, {F32_4(999, 99, 99, 1), F32_4(999, 1, 1, 1)}, I32_0,
     "2^31 elements", NULL},
    {OP_CONV2D, {3, 3, 1, 1, 1, 1, false, 2, 3, 4, false}, 2,
     {F32_4(2, 9, 9, 8), F32_4(12, 2, 3, 3)}, I32_0,
     NULL, "2,7,5,12"},
    {OP_CONV2D, {3, 3, 1, 1, 1, 1, false, 5, 0, 0, false}, 2,
     {F32_4(2, 8, 9, 1), F32_4(4, 1, 3, 3)}, I32_0,
     "conv2d's kernel 3x3 with dilation 5x1 covers 11x3, which does not fit its padded input 10x11",
     NULL},
    {OP_CONV2D, {1, 1, 1, 1, 0, 0, false, 0, 0, 3, false}, 2,
     {F32_4(2, 9, 9, 6), F32_4(4, 2, 1, 1)}, I32_0,
     "3 groups do not divide its 6 input and 4 output channels", NULL},
    {OP_CONV2D, {1, 1, 1, 1, 0, 0, false, 0, 0, 2, false}, 2,
     {F32_4(2, 9, 9, 6), F32_4(4, 6, 1, 1)}, I32_0,
     "filter is for 6 input channels in each of 2 groups, but its input has 6", NULL},
    {OP_MAXPOOL, W(3, 3, 2, 2, 0, 0, true), 1, {F32_4(2, 32, 28, 5)}, I32_0, NULL, "2,16,14,5"},
    {OP_MAXPOOL, {3, 3, 2, 2, 0, 0, true, 2, 2, 0, false}, 1, {F32_4(2, 32, 28, 5)}, I32_0,
     "maxpool has neither dilation nor groups", NULL},
    {OP_MAXPOOL, W(3, 3, 2, 2, 2, 2, true), 1, {F32_4(2, 32, 28, 5)}, I32_0,
     "padding 2x2 is more than half its kernel 3x3", NULL},
    {OP_MAXPOOL, W(17, 17, 1, 1, 0, 0, true), 1, {F32_4(2, 32, 28, 5)}, I32_0, "more than 256 taps",
     NULL},
    {OP_MAXPOOL_CODE, W(16, 16, 1, 1, 0, 0, false), 1, {F32_4(2, 16, 17, 5)}, I32_0, NULL,
     "2,1,2,5"},
    {OP_AVGPOOL, W(17, 17, 1, 1, 0, 0, false), 1, {F32_4(2, 17, 18, 5)}, I32_0, NULL, "2,1,2,5"},
    {OP_GAP, {0}, 1, {F32_4(2, 17, 18, 5)}, I32_0, NULL, "2,1,1,5"},
    {OP_FLATTEN, {0}, 1, {F32_4(2, 3, 4, 5)}, I32_0, NULL, "2,60"},
    {OP_FLATTEN_GRAD, {0}, 1, {F32_2(2, 60)}, F32_4(2, 3, 4, 5), NULL, "2,3,4,5"},
    {OP_FLATTEN_GRAD, {0}, 1, {F32_2(2, 61)}, F32_4(2, 3, 4, 5), "need 60", NULL},
    {OP_CONV2D_DGRAD, W(3, 3, 2, 2, 1, 1, false), 2, {F32_4(2, 4, 4, 8), F32_4(8, 5, 3, 3)},
     F32_4(2, 8, 7, 5), NULL, "2,8,7,5"},
    {OP_CONV2D_DGRAD, W(3, 3, 2, 2, 1, 1, false), 2, {F32_4(2, 4, 4, 8), F32_4(8, 5, 3, 3)},
     F32_4(2, 9, 7, 5), "extent 1 of the gradient is 4, but its other operands need 5", NULL},
    {OP_CONV2D_WGRAD, W(3, 3, 2, 2, 1, 1, false), 2, {F32_4(2, 8, 7, 5), F32_4(2, 4, 4, 8)},
     F32_4(8, 5, 3, 3), NULL, "8,5,3,3"},
    {OP_CONV2D_DGRAD, {3, 3, 1, 1, 2, 2, false, 2, 2, 2, false}, 2,
     {F32_4(2, 8, 7, 4), F32_4(4, 3, 3, 3)}, F32_4(2, 8, 7, 6), NULL, "2,8,7,6"},
    {OP_CONV2D_DGRAD, {3, 3, 1, 1, 2, 2, false, 2, 2, 2, false}, 2,
     {F32_4(2, 8, 7, 4), F32_4(4, 3, 3, 3)}, F32_4(2, 8, 7, 3),
     "2 groups do not divide its 3", NULL},
    {OP_CONV2D_WGRAD, {3, 3, 1, 1, 1, 1, false, 0, 0, 5, false}, 2,
     {F32_4(2, 8, 7, 5), F32_4(2, 8, 7, 10)}, F32_4(10, 1, 3, 3), NULL, "10,1,3,3"},
    {OP_CONV2D_TRANSPOSE, {3, 3, 1, 1, 1, 1, false, 0, 0, 2, false}, 2,
     {F32_4(2, 8, 7, 4), F32_4(3, 4, 3, 3)}, F32_4(2, 8, 7, 6), NULL, "2,8,7,6"},
    {OP_CONV2D_WGRAD, W(3, 3, 2, 2, 1, 1, false), 2, {F32_4(2, 8, 7, 5), F32_4(2, 4, 4, 8)},
     F32_4(8, 6, 3, 3), "extent 1 of the result is given as 6", NULL},
    {OP_MAXPOOL_GRAD, W(3, 3, 2, 2, 0, 0, false), 2, {F32_4(2, 3, 3, 8), U8_4(2, 3, 3, 8)},
     F32_4(2, 8, 7, 8), NULL, "2,8,7,8"},
    {OP_MAXPOOL_GRAD, W(3, 3, 2, 2, 0, 0, false), 2, {F32_4(2, 3, 3, 8), U8_4(2, 3, 2, 8)},
     F32_4(2, 8, 7, 8), "extent 2 of the code is 2", NULL},
    {OP_CROSS_ENTROPY, {0}, 2, {F32_2(4, 10), I32_1(4)}, I32_0, NULL, "4"},
    {OP_CROSS_ENTROPY, {0}, 2, {F32_2(4, 10), I32_1(5)}, I32_0, "need 4", NULL},
    {OP_CROSS_ENTROPY_GRAD, {0}, 3, {F32_2(4, 10), I32_1(4), I32_0}, I32_0, NULL, "4,10"},
    {OP_MEAN_VALID, {0}, 2, {F32_1(4), I32_0}, I32_0, NULL, ""},
    {OP_COUNT_VALID, {0}, 2, {F32_1(4), I32_0}, I32_0, "takes as rows i32 of rank 1", NULL},
    {OP_BIAS_GRAD, {0}, 1, {F32_4(2, 3, 4, 5)}, I32_0, NULL, "5"},
    {OP_FILTER_TRANSPOSE, {0}, 1, {F32_4(2, 3, 4, 5)}, I32_0, NULL, "3,2,4,5"},
    {OP_ADD, {0}, 2, {F32_2(2, 3), F32_2(3, 2)}, I32_0, "operand 2 is f32[3,2]", NULL},
    {OP_SGD_STEP, {0}, 3, {F32_2(2, 3), F32_2(2, 3), {.dtype = DT_F32}}, I32_0, NULL, "2,3"},
    {OP_RELU, {0}, 2, {F32_2(2, 3), F32_2(2, 3)}, I32_0, "relu takes 1 operand, not 2", NULL},
};

START_TEST(types_follow_from_operands)
{
    const Typing *t = &typings[_i];
    Pool *pool = pool_new();
    Diagnostics d;
    Node node[3] = {{.op = OP_INPUT}, {.op = OP_INPUT}, {.op = OP_INPUT}};
    Node *in[3] = {&node[0], &node[1], &node[2]};
    Attr attr = {.window = t->window};
    Tensor out = t->given;
    Text words = {0};
    diagnostics_init(&d, pool);
    for (int i = 0; i < 3; i++)
        node[i].tensor = t->in[i];
    bool good = infer_type(&d, t->op, t->operands, in, &attr, nowhere, &out);
    ck_assert_msg(good == (t->fault == NULL), "%s", d.count ? d.list[0].message : "no fault");
    ck_assert_int_eq(d.count, t->fault != NULL);
    if (t->fault)
        ck_assert_msg(strstr(d.list[0].message, t->fault) != NULL, "%s", d.list[0].message);
    text_append(&words, "%s", "");
    for (int i = 0; i < out.shape.rank; i++)
        text_append(&words, "%s%d", i ? "," : "", out.shape.dim[i]);
    if (t->words)
        ck_assert_str_eq(words.data, t->words);
    text_free(&words);
    pool_free(pool);
}
END_TEST

/* ---- graphs ---- */

typedef struct Fixture {
    Pool *pool;
    Module *module;
    Graph *graph;
    Storage *w;
} Fixture;

static Fixture fixture_new(void)
{
    Fixture f = {.pool = pool_new()};
    f.module = module_new(f.pool, "m");
    f.module->image_h = f.module->image_w = f.module->image_c = f.module->classes = 1;
    f.module->train.batch_size = 1;
    f.w = module_add_storage(f.module, "w", shape_of(1, 3, 0, 0, 0), ROLE_BIAS, nowhere);
    f.graph = module_add_graph(f.module, "train", 1);
    return f;
}

static Node *relu(Fixture *f, Node *x)
{
    return graph_add(f->graph, OP_RELU, 1, &x, NULL, nowhere);
}

static void expect_sound(const Fixture *f)
{
    Diagnostics d;
    diagnostics_init(&d, f->pool);
    ck_assert_msg(module_verify(f->module, &d), "%s", d.list[0].message);
}

START_TEST(inputs_stay_first)
{
    Fixture f = fixture_new();
    Node *a = relu(&f, graph_state(f.graph, f.w));
    Node *lr = graph_input(f.graph, "lr", DT_F32, shape_of(0, 0, 0, 0, 0), nowhere);
    ck_assert_ptr_eq(f.graph->node[0], lr);
    ck_assert_int_eq(lr->id, 0);
    ck_assert_int_eq(a->id, 1);
    ck_assert_ptr_eq(graph_find_input(f.graph, "lr"), lr);
    ck_assert_ptr_null(graph_find_input(f.graph, "step"));
    ck_assert_ptr_eq(graph_state(f.graph, f.w), a->in[0]);
    expect_sound(&f);
    pool_free(f.pool);
}
END_TEST

START_TEST(dead_nodes_and_states_go)
{
    Fixture f = fixture_new();
    Storage *unused = module_add_storage(f.module, "u", shape_of(1, 3, 0, 0, 0), ROLE_BIAS,
                                         nowhere);
    Node *dead = relu(&f, relu(&f, graph_state(f.graph, unused)));
    Node *kept = relu(&f, graph_state(f.graph, f.w));
    graph_output(f.graph, "loss", dead);
    graph_replace(f.graph, dead, kept);
    graph_update(f.graph, f.w, kept, nowhere);
    graph_remove_dead(f.graph);
    ck_assert_int_eq(f.graph->node_count, 2);
    ck_assert_int_eq(f.graph->state_count, 1);
    ck_assert_ptr_eq(graph_find_output(f.graph, "loss"), kept);
    int *uses = graph_use_counts(f.graph, f.pool);
    ck_assert_int_eq(uses[kept->id], 2);
    expect_sound(&f);
    pool_free(f.pool);
}
END_TEST

START_TEST(sorting_puts_definitions_before_uses)
{
    Fixture f = fixture_new();
    Node *a = relu(&f, graph_state(f.graph, f.w)), *b = relu(&f, a);
    Node *update = graph_update(f.graph, f.w, a, nowhere);
    Node *late = relu(&f, graph_state(f.graph, f.w));
    Node *order[] = {b, update, a, late};
    memcpy(f.graph->node, order, sizeof order);
    graph_output(f.graph, "loss", b);
    graph_sort(f.graph);
    Node *sorted[] = {a, b, late, update};
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_eq(f.graph->node[i], sorted[i]);
        ck_assert_int_eq(f.graph->node[i]->id, i);
    }
    expect_sound(&f);
    pool_free(f.pool);
}
END_TEST

START_TEST(sorting_a_cycle_is_our_fault)
{
    Fixture f = fixture_new();
    Node *a = relu(&f, graph_state(f.graph, f.w)), *b = relu(&f, a);
    a->in[0] = b;
    graph_sort(f.graph);
    pool_free(f.pool);
}
END_TEST

START_TEST(adding_a_wrong_node_is_our_fault)
{
    Fixture f = fixture_new();
    Node *w = graph_state(f.graph, f.w);
    graph_add(f.graph, OP_GAP, 1, &w, NULL, nowhere);
    pool_free(f.pool);
}
END_TEST

START_TEST(a_clone_shares_storage_only)
{
    Planned p = planned_new();
    Text one = {0}, two = {0};
    Graph *g = module_find_graph(p.module, "train", TARGET_CPU);
    Graph *c = graph_clone(g, "train", TARGET_CPU);
    graph_print(g, &one);
    graph_print(c, &two);
    ck_assert_str_eq(one.data, two.data);
    for (int i = 0; i < g->node_count; i++) {
        ck_assert_ptr_ne(g->node[i], c->node[i]);
        ck_assert_ptr_eq(g->node[i]->storage, c->node[i]->storage);
    }
    for (int i = 0; i < g->kernel_count; i++)
        ck_assert_ptr_ne(g->kernel[i], c->kernel[i]);
    text_free(&one);
    text_free(&two);
    planned_free(&p);
}
END_TEST

START_TEST(derived_inputs_and_outputs_are_those_of_the_text)
{
    Planned p = planned_new();
    Text again = {0};
    Diagnostics d;
    diagnostics_init(&d, p.pool);
    Graph *g = p.module->graph[0];
    for (int i = 0; i < g->kernel_count; i++)
        g->kernel[i]->in_count = g->kernel[i]->out_count = 0;
    ck_assert(!module_verify(p.module, &d));
    graph_derive_io(g);
    module_print(p.module, &again);
    ck_assert_str_eq(p.text.data, again.data);
    text_free(&again);
    planned_free(&p);
}
END_TEST

START_TEST(chunk_values_hold_one_chunk)
{
    Planned p = planned_new();
    Graph *g = p.module->graph[0];
    Node *image = g->kernel[0]->node[0], *wgrad = g->kernel[7]->node[0];
    Node *bias_grad = g->kernel[6]->node[2];
    ck_assert_int_eq(image->op, OP_NORMALIZE);
    ck_assert(is_per_image(g, image));
    ck_assert_int_eq(placed_tensor(g, image).shape.dim[0], g->chunk);
    ck_assert_int_eq(value_bytes(g, image), 32 * 32 * 4);
    ck_assert_int_eq(wgrad->op, OP_CONV2D_WGRAD);
    ck_assert(!is_per_image(g, wgrad));
    ck_assert_int_eq(value_bytes(g, wgrad), 25 * 16 * 4);
    ck_assert_int_eq(value_copies(wgrad), 1);
    ck_assert_int_eq(bias_grad->op, OP_BIAS_GRAD);
    ck_assert(value_is_in_parts(bias_grad) && !value_is_in_parts(wgrad));
    ck_assert_int_eq(value_bytes(g, bias_grad), 16 * 4);
    ck_assert_int_eq(value_copies(bias_grad), PARTIALS);
    planned_free(&p);
}
END_TEST

START_TEST(a_kernel_prints_without_positions)
{
    Planned p = planned_new();
    Text out = {0}, node = {0};
    Graph *g = p.module->graph[0];
    kernel_print(g, g->kernel[3], "// ", &out);
    ck_assert_str_eq(out.data, "// kernel gap rows chunk (%3) -> (%5) {\n"
                               "//   %5 : f32[2,1,1,3] {nchw16c} = gap %3 at chunk+7808:64\n"
                               "// }\n");
    node_print(p.module->graph[0], p.module->graph[0]->kernel[3]->node[0], &node);
    ck_assert_str_eq(node.data, "%5 : f32[2,1,1,3] {nchw16c} = gap %3 at chunk+7808:64");
    text_free(&out);
    text_free(&node);
    planned_free(&p);
}
END_TEST

START_TEST(dot_names_every_node)
{
    Planned p = planned_new();
    Text dot = {0};
    module_print_dot(p.module, &dot);
    ck_assert_int_eq(strncmp(dot.data, "digraph \"tiny\" {", 16), 0);
    for (int i = 0; i < p.module->graph[0]->node_count; i++) {
        char *label = pool_format(p.pool, "n0_%d [", i);
        ck_assert_ptr_nonnull(strstr(dot.data, label));
    }
    text_free(&dot);
    planned_free(&p);
}
END_TEST

/* ---- memory and numbers ---- */

START_TEST(pools_grow_and_align)
{
    Pool *pool = pool_new();
    int *list = NULL, count = 0, capacity = 0;
    for (int i = 0; i < 10000; i++)
        POOL_PUSH(pool, list, count, capacity, i);
    for (int i = 0; i < 10000; i++)
        ck_assert_int_eq(list[i], i);
    for (size_t bytes = 0; bytes < 300000; bytes = bytes * 3 + 1) {
        char *p = pool_alloc(pool, bytes);
        ck_assert_int_eq((uintptr_t)p % 16, 0);
        size_t zeros = 0;
        while (zeros < bytes && p[zeros] == 0)
            zeros++;
        ck_assert_uint_eq(zeros, bytes);
    }
    ck_assert_str_eq(pool_format(pool, "%d %s", 3, "x"), "3 x");
    pool_free(pool);
}
END_TEST

START_TEST(doubles_are_printed_shortest)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.001, "0.001"}, {1e-8, "1e-08"}, {3, "3"}, {0, "0"}, {-0.5, "-0.5"},
                 {1.0 / 3, "0.3333333333333333"}, {0.1 + 0.2, "0.30000000000000004"}};
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_str_eq(format_double(cases[i].value, out), cases[i].text);
}
END_TEST

START_TEST(twenty_diagnostics_are_kept)
{
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    for (int i = 0; i < 25; i++)
        diagnostics_add(&d, nowhere, 0, "fault %d", i);
    ck_assert_int_eq(d.count, MAX_DIAGNOSTICS);
    ck_assert_int_eq(d.total, 25);
    ck_assert_str_eq(d.list[19].message, "fault 19");
    ck_assert_int_eq(d.list[0].width, 1);
    pool_free(pool);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof *(list)))

static TCase *graph_case(void)
{
    TCase *tests = tcase_create("graphs");
    tcase_add_test(tests, inputs_stay_first);
    tcase_add_test(tests, dead_nodes_and_states_go);
    tcase_add_test(tests, sorting_puts_definitions_before_uses);
    tcase_add_exit_test(tests, sorting_a_cycle_is_our_fault, 1);
    tcase_add_exit_test(tests, adding_a_wrong_node_is_our_fault, 1);
    tcase_add_test(tests, a_clone_shares_storage_only);
    tcase_add_test(tests, derived_inputs_and_outputs_are_those_of_the_text);
    tcase_add_test(tests, chunk_values_hold_one_chunk);
    tcase_add_test(tests, a_kernel_prints_without_positions);
    tcase_add_test(tests, dot_names_every_node);
    return tests;
}

static TCase *rest_case(void)
{
    TCase *tests = tcase_create("types and memory");
    tcase_add_loop_test(tests, window_extents_are_pytorchs, 0, COUNT_OF(extents));
    tcase_add_loop_test(tests, types_follow_from_operands, 0, COUNT_OF(typings));
    tcase_add_test(tests, pools_grow_and_align);
    tcase_add_test(tests, doubles_are_printed_shortest);
    tcase_add_test(tests, twenty_diagnostics_are_kept);
    tcase_add_test(tests, what_would_end_the_program_comes_back);
    tcase_add_test(tests, what_ends_the_program_is_told_by_its_name);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("ir");
    suite_add_tcase(suite, graph_case());
    suite_add_tcase(suite, rest_case());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

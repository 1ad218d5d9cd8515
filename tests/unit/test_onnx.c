/* The ONNX export, from the model file on: what a graph was compiled for leaves no trace, the file
 * parses back by ONNX's schema, and what cannot be mapped is an error. */
#include "../../frontend/frontend.h"
#include "../../passes/passes.h"
#include "../../runtime/formats/formats.h"

#include "onnx.pb-c.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const Loc nowhere;

/* Values that tell parameters and elements apart, by index of the storage. */
static const float *const *parameters(const Module *m)
{
    const float **value = pool_alloc(m->pool, (size_t)m->storage_count * sizeof *value);
    for (int i = 0; i < m->storage_count; i++) {
        int64_t count = shape_elements(&m->storage[i]->tensor.shape);
        float *one = pool_alloc(m->pool, (size_t)count * sizeof *one);
        for (int64_t k = 0; k < count; k++)
            one[k] = (float)i + (float)(k % 1000) / 1024;
        value[i] = one;
    }
    return value;
}

/* The module of a model file at stage planned. */
static Module *compiled(Pool *pool, const char *path, const PipelineOptions *options)
{
    Diagnostics d;
    diagnostics_init(&d, pool);
    Source *source = source_read(pool, &d, path, 1 << 20);
    Tree *tree = source->text ? yaml_parse(pool, &d, source) : NULL;
    Module *m = tree ? model_build(pool, &d, tree) : NULL;
    if (!m || !pipeline_run(m, options, &d))
        ck_abort_msg("%s: %s", path, d.count ? d.list[0].message : "?");
    return m;
}

static Text packed(const Module *m, Target target, bool preprocessing)
{
    ExportGraph what = {.graph = module_find_graph(m, "eval", target),
                        .value = parameters(m),
                        .preprocessing = preprocessing};
    Text out = {0};
    Onnx *onnx = export_graph(m->pool, &what);
    ck_assert_ptr_nonnull(onnx);
    onnx_pack(onnx, &out);
    return out;
}

static Text exported(const char *path, const PipelineOptions *options, bool preprocessing)
{
    Pool *pool = pool_new();
    Module *m = compiled(pool, path, options);
    Text out = packed(m, options->wanted[TARGET_CPU] ? TARGET_CPU : TARGET_CUDA, preprocessing);
    pool_free(pool);
    return out;
}

/* ---- what the graph was compiled for ---- */

static const char *const models[] = {"models/nin.yaml",
                                     "models/nin_spelled.yaml",
                                     "models/nin_fashion.yaml",
                                     "tests/models/plain/nin_cifar10.yaml",
                                     "tests/models/pytorch/blocks_sgd.yaml",
                                     "tests/models/pytorch/flatten_sgd.yaml",
                                     "tests/models/pytorch/pools_sgd.yaml",
                                     "tests/models/pytorch/strides_sgd.yaml"};

enum { MODELS = sizeof models / sizeof *models };

static const PipelineOptions ways[] = {
    {.level = 2, .wanted[TARGET_CPU] = true},
    {.level = 1, .wanted[TARGET_CPU] = true},
    {.level = 2, .wanted[TARGET_CPU] = true, .disable = "winograd"},
    {.level = 2, .wanted[TARGET_CPU] = true, .disable = "fold"},
    {.level = 2, .wanted[TARGET_CPU] = true, .disable = "fuse"},
    {.level = 2, .wanted[TARGET_CPU] = true, .precision = PRECISION_BF16},
    {.level = 0, .wanted[TARGET_CPU] = true, .precision = PRECISION_BF16},
    {.level = 0, .wanted[TARGET_CUDA] = true},
    {.level = 2, .wanted[TARGET_CUDA] = true},
    {.level = 2, .wanted[TARGET_CUDA] = true, .precision = PRECISION_TF32},
    {.level = 2, .wanted[TARGET_CUDA] = true, .precision = PRECISION_BF16},
};

START_TEST(test_one_model_for_all_targets)
{
    const PipelineOptions plain = {.level = 0, .wanted[TARGET_CPU] = true};
    for (int with = 0; with < 2; with++) {
        Text want = exported(models[_i], &plain, with != 0);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            Text got = exported(models[_i], &ways[i], with != 0);
            if (got.length != want.length || memcmp(got.data, want.data, want.length) != 0)
                ck_abort_msg("%s, way %zu: another model than that of -O0", models[_i], i);
            text_free(&got);
        }
        text_free(&want);
    }
}
END_TEST

/* The shorthand mlpconv and the same layers one by one, positions aside. */
START_TEST(test_spelled_out)
{
    const PipelineOptions options = {.level = 2, .wanted[TARGET_CPU] = true};
    Text a = exported("models/nin.yaml", &options, false);
    Text b = exported("models/nin_spelled.yaml", &options, false);
    Onnx__ModelProto *x = onnx__model_proto__unpack(NULL, a.length, (const uint8_t *)a.data);
    Onnx__ModelProto *y = onnx__model_proto__unpack(NULL, b.length, (const uint8_t *)b.data);
    ck_assert_uint_eq(x->graph->n_node, y->graph->n_node);
    for (size_t i = 0; i < x->graph->n_node; i++)
        ck_assert_str_eq(x->graph->node[i]->name, y->graph->node[i]->name);
    onnx__model_proto__free_unpacked(x, NULL);
    onnx__model_proto__free_unpacked(y, NULL);
    text_free(&a);
    text_free(&b);
}
END_TEST

/* ---- what the file says ---- */

static Onnx__ModelProto *parsed_back(const char *path, bool preprocessing)
{
    const PipelineOptions options = {.level = 2, .wanted[TARGET_CPU] = true};
    Text out = exported(path, &options, preprocessing);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, out.length, (const uint8_t *)out.data);
    ck_assert_ptr_nonnull(m);
    text_free(&out);
    return m;
}

/* The ops of the nodes, one word each. */
static char *ops_of(const Onnx__ModelProto *m)
{
    Text list = {0};
    for (size_t i = 0; i < m->graph->n_node; i++)
        text_append(&list, "%s%s", i ? " " : "", m->graph->node[i]->op_type);
    return list.data;
}

/* Node i's attribute as text: one number or several. */
static char *attribute(const Onnx__ModelProto *m, size_t i, const char *name)
{
    Text list = {0};
    text_append(&list, "%s", "");
    for (size_t k = 0; k < m->graph->node[i]->n_attribute; k++) {
        const Onnx__AttributeProto *a = m->graph->node[i]->attribute[k];
        if (strcmp(a->name, name) != 0)
            continue;
        if (a->has_i)
            text_append(&list, "%lld", (long long)a->i);
        for (size_t j = 0; j < a->n_ints; j++)
            text_append(&list, "%s%lld", j ? " " : "", (long long)a->ints[j]);
    }
    return list.data;
}

static void expect_text(char *got, const char *want)
{
    ck_assert_str_eq(got, want);
    free(got);
}

static void expect_dims(const Onnx__ValueInfoProto *v, const char *name, const char *want)
{
    Text list = {0};
    const Onnx__TensorShapeProto *s = v->type->tensor_type->shape;
    for (size_t i = 0; i < s->n_dim; i++)
        if (s->dim[i]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            text_append(&list, "%s", s->dim[i]->dim_param);
        else
            text_append(&list, " %lld", (long long)s->dim[i]->dim_value);
    ck_assert_str_eq(v->name, name);
    expect_text(list.data, want);
}

START_TEST(test_header)
{
    Onnx__ModelProto *m = parsed_back("tests/models/plain/nin_cifar10.yaml", false);
    ck_assert_int_eq(m->ir_version, 8);
    ck_assert_str_eq(m->producer_name, "ninc");
    ck_assert_uint_eq(m->n_opset_import, 1);
    ck_assert_int_eq(m->opset_import[0]->version, 17);
    ck_assert_uint_eq(m->graph->n_input, 1);
    ck_assert_uint_eq(m->graph->n_output, 1);
    expect_dims(m->graph->input[0], "input", "N 3 32 32");
    expect_dims(m->graph->output[0], "logits", "N 10");
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (strcmp(m->metadata_props[i]->key, "mean") == 0)
            ck_assert_str_eq(m->metadata_props[i]->value, "[0.4914, 0.4822, 0.4465]");
    ck_assert_uint_eq(m->n_metadata_props, 6);
    onnx__model_proto__free_unpacked(m, NULL);
}
END_TEST

/* 32 -> 16 -> 8 with ceil: windows of 3 hang over by one. The 5x5 and 3x3 convolutions from block 2
 * on are Winograd's in the program. */
START_TEST(test_nodes)
{
    Onnx__ModelProto *m = parsed_back("tests/models/plain/nin_cifar10.yaml", false);
    expect_text(ops_of(m),
                "Conv Relu Conv Relu Conv Relu MaxPool Conv Relu Conv Relu Conv Relu MaxPool "
                "Conv Relu Conv Relu Conv Relu GlobalAveragePool Flatten");
    ck_assert_str_eq(m->graph->node[0]->name, "/conv.0.0/0");
    ck_assert_str_eq(m->graph->node[0]->input[0], "input");
    ck_assert_str_eq(m->graph->node[0]->input[1], "conv.0.0.weight");
    ck_assert_str_eq(m->graph->node[0]->input[2], "conv.0.0.bias");
    expect_text(attribute(m, 6, "kernel_shape"), "3 3");
    expect_text(attribute(m, 6, "strides"), "2 2");
    expect_text(attribute(m, 6, "ceil_mode"), "1");
    expect_text(attribute(m, 7, "kernel_shape"), "5 5");
    expect_text(attribute(m, 7, "pads"), "2 2 2 2");
    ck_assert_str_eq(m->graph->node[7]->input[1], "conv.2.0.weight");
    onnx__model_proto__free_unpacked(m, NULL);
}
END_TEST

/* Without bias, and a pool without ceil. */
START_TEST(test_nodes_without_bias)
{
    Onnx__ModelProto *m = parsed_back("tests/models/pytorch/flatten_sgd.yaml", false);
    expect_text(ops_of(m), "Conv Relu MaxPool Conv Flatten");
    ck_assert_uint_eq(m->graph->node[0]->n_input, 2);
    expect_text(attribute(m, 0, "strides"), "2 1");
    expect_text(attribute(m, 0, "pads"), "1 0 1 0");
    expect_text(attribute(m, 2, "ceil_mode"), "");
    onnx__model_proto__free_unpacked(m, NULL);
}
END_TEST

/* ONNX's defaults are one. */
START_TEST(test_groups_and_dilation)
{
    Onnx__ModelProto *m = parsed_back("tests/models/pytorch/grouped_sgd.yaml", false);
    expect_text(attribute(m, 0, "group"), "");
    expect_text(attribute(m, 0, "dilations"), "2 2");
    expect_text(attribute(m, 2, "group"), "32");
    expect_text(attribute(m, 2, "dilations"), "");
    expect_text(attribute(m, 8, "group"), "4");
    expect_text(attribute(m, 8, "dilations"), "3 2");
    onnx__model_proto__free_unpacked(m, NULL);
}
END_TEST

START_TEST(test_parameters)
{
    Pool *pool = pool_new();
    const PipelineOptions options = {.level = 2, .wanted[TARGET_CPU] = true};
    Module *m = compiled(pool, "tests/models/plain/nin_cifar10.yaml", &options);
    Text out = packed(m, TARGET_CPU, false);
    Onnx__ModelProto *x = onnx__model_proto__unpack(NULL, out.length, (const uint8_t *)out.data);
    size_t at = 0;
    for (int i = 0; i < m->storage_count; i++) {
        const Storage *s = m->storage[i];
        if (s->role == ROLE_MOMENT)
            continue;
        const Onnx__TensorProto *t = x->graph->initializer[at++];
        ck_assert_str_eq(t->name, s->name);
        ck_assert_uint_eq(t->n_dims, (size_t)s->tensor.shape.rank);
        ck_assert_uint_eq(t->raw_data.len, 4 * (size_t)shape_elements(&s->tensor.shape));
        ck_assert_mem_eq(t->raw_data.data, parameters(m)[i], t->raw_data.len);
    }
    ck_assert_uint_eq(x->graph->n_initializer, at);
    onnx__model_proto__free_unpacked(x, NULL);
    text_free(&out);
    pool_free(pool);
}
END_TEST

START_TEST(test_preprocessing)
{
    Onnx__ModelProto *m = parsed_back("models/nin.yaml", true);
    char *ops = ops_of(m);
    expect_dims(m->graph->input[0], "image", "N 28 28 1");
    ck_assert_int_eq(m->graph->input[0]->type->tensor_type->elem_type,
                     ONNX__TENSOR_PROTO__DATA_TYPE__UINT8);
    ck_assert_msg(strncmp(ops, "Cast Transpose Shape Concat Resize Div Sub Div Conv ", 52) == 0,
                  "%s", ops);
    free(ops);
    onnx__model_proto__free_unpacked(m, NULL);
}
END_TEST

/* ---- what cannot be mapped ---- */

/* An eval graph of a 1x8x8 image, a 3x3 convolution by `filter` of two classes, gap and flatten. */
typedef struct Small {
    Pool *pool;
    Module *module;
    Graph *graph;
    Node *image, *map, *weight;
} Small;

static Small small(void)
{
    Small s = {.pool = pool_new()};
    static double mean[] = {0}, std[] = {1};
    const Attr attr = {.image = {1, mean, std}};
    s.module = module_new(s.pool, "small");
    s.module->dataset = "idx";
    s.graph = module_add_graph(s.module, "eval", 2);
    s.image = graph_input(s.graph, "image", DT_U8, shape_of(4, 2, 8, 8, 1), nowhere);
    s.map = graph_add(s.graph, OP_NORMALIZE, 1, &s.image, &attr, nowhere);
    s.weight =
        graph_state(s.graph, module_add_storage(s.module, "a.weight", shape_of(4, 1, 1, 3, 3),
                                                ROLE_WEIGHT, nowhere));
    return s;
}

static Node *add(Small *s, Op op, Node *a, Node *b)
{
    const Attr attr = {.window = {.kernel_h = 3,
                                  .kernel_w = 3,
                                  .stride_h = 1,
                                  .stride_w = 1,
                                  .padding_h = 1,
                                  .padding_w = 1}};
    Node *in[] = {a, b};
    return graph_add(s->graph, op, b ? 2 : 1, in, &attr, nowhere);
}

static void expect_refusal(Small *s, Node *map, const char *why)
{
    char message[200];
    ExportGraph what = {.graph = s->graph, .value = parameters(s->module)};
    graph_output(s->graph, "logits", add(s, OP_FLATTEN, map, NULL));
    graph_renumber(s->graph);
    fault_hold(message, sizeof message);
    ck_assert_ptr_null(export_graph(s->pool, &what));
    fault_hold(NULL, 0);
    ck_assert_msg(strstr(message, why) != NULL, "%s", message);
    pool_free(s->pool);
}

START_TEST(test_computed_filter)
{
    Small s = small();
    Node *filter = add(&s, OP_FILTER_TRANSPOSE, s.weight, NULL);
    expect_refusal(&s, add(&s, OP_CONV2D, s.map, filter), "filter_transpose");
}
END_TEST

START_TEST(test_other_op)
{
    Small s = small();
    expect_refusal(&s, add(&s, OP_RELU_GRAD, s.map, s.map), "relu_grad");
}
END_TEST

START_TEST(test_two_images)
{
    Small s = small();
    static double mean[] = {0.5}, std[] = {1};
    const Attr attr = {.image = {1, mean, std}};
    Node *other = graph_add(s.graph, OP_NORMALIZE, 1, &s.image, &attr, nowhere);
    expect_refusal(&s, add(&s, OP_ADD, s.map, other), "twice");
}
END_TEST

/* Sums are Add, and a branch is no chain. */
START_TEST(test_sum)
{
    Small s = small();
    Node *conv = add(&s, OP_CONV2D, s.map, s.weight);
    graph_output(s.graph, "logits", add(&s, OP_FLATTEN, add(&s, OP_ADD, conv, s.map), NULL));
    graph_renumber(s.graph);
    Text out = packed(s.module, TARGET_ANY, false);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, out.length, (const uint8_t *)out.data);
    expect_text(ops_of(m), "Conv Add Flatten");
    ck_assert_str_eq(m->graph->node[1]->input[0], "/a/0");
    ck_assert_str_eq(m->graph->node[1]->input[1], "input");
    onnx__model_proto__free_unpacked(m, NULL);
    text_free(&out);
    pool_free(s.pool);
}
END_TEST

START_TEST(test_concat)
{
    Small s = small();
    Node *conv = add(&s, OP_CONV2D, s.map, s.weight);
    Node *both = graph_add(s.graph, OP_CONCAT, 2, (Node *[]){conv, s.map}, NULL, nowhere);
    graph_output(s.graph, "logits", add(&s, OP_FLATTEN, both, NULL));
    graph_renumber(s.graph);
    Text out = packed(s.module, TARGET_ANY, false);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, out.length, (const uint8_t *)out.data);
    expect_text(ops_of(m), "Conv Concat Flatten");
    expect_text(attribute(m, 1, "axis"), "1");
    onnx__model_proto__free_unpacked(m, NULL);
    text_free(&out);
    pool_free(s.pool);
}
END_TEST

/* Activations that ONNX has, with their setting, and those that are more than one op there. */
START_TEST(test_activations)
{
    static const Op ops[] = {OP_SIGMOID, OP_RELU6,     OP_LEAKY_RELU, OP_ELU, OP_TANH,
                             OP_GELU,    OP_HARDSWISH, OP_SOFTPLUS,   OP_SILU};
    Small s = small();
    Node *x = add(&s, OP_CONV2D, s.map, s.weight);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        x = graph_add(s.graph, ops[i], 1, &x, &(Attr){.factor = 0.25}, nowhere);
    graph_output(s.graph, "logits", add(&s, OP_FLATTEN, x, NULL));
    graph_renumber(s.graph);
    Text out = packed(s.module, TARGET_ANY, false);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, out.length, (const uint8_t *)out.data);
    expect_text(ops_of(m), "Conv Sigmoid Clip LeakyRelu Elu Tanh Mul Erf Add Mul Mul HardSwish "
                           "Softplus Sigmoid Mul Flatten");
    ck_assert_float_eq(m->graph->node[3]->attribute[0]->f, 0.25f);
    ck_assert_str_eq(m->graph->node[4]->attribute[0]->name, "alpha");
    ck_assert_uint_eq(m->graph->node[2]->n_input, 3);
    ck_assert_str_eq(m->graph->node[10]->input[0], m->graph->node[5]->output[0]);
    ck_assert_str_eq(m->graph->node[14]->input[0], m->graph->node[12]->output[0]);
    ck_assert_str_eq(m->graph->node[14]->input[1], m->graph->node[13]->output[0]);
    onnx__model_proto__free_unpacked(m, NULL);
    text_free(&out);
    pool_free(s.pool);
}
END_TEST

/* ---- writing ---- */

static void expect_unwritten(const char *path)
{
    char message[400];
    Pool *pool = pool_new();
    Onnx *o = onnx_new(pool, "empty");
    fault_hold(message, sizeof message);
    ck_assert_int_eq(onnx_write(o, path), -1);
    fault_hold(NULL, 0);
    ck_assert_msg(strstr(message, path) != NULL, "%s", message);
    pool_free(pool);
}

START_TEST(test_unwritten)
{
    expect_unwritten("/dev/full");
    expect_unwritten("/nowhere/model.onnx");
    expect_unwritten("tests");
}
END_TEST

/* The file has the bytes that are packed in memory. */
START_TEST(test_write)
{
    char path[] = "/tmp/ninc-test-XXXXXX", bytes[256];
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    Pool *pool = pool_new();
    Onnx *o = onnx_new(pool, "empty");
    Text want = {0};
    onnx_metadata(o, "key", "value");
    onnx_pack(o, &want);
    ck_assert_int_eq(onnx_write(o, path), 0);
    FILE *f = fopen(path, "rb");
    size_t length = fread(bytes, 1, sizeof bytes, f);
    ck_assert_uint_eq(length, want.length);
    ck_assert_mem_eq(bytes, want.data, length);
    fclose(f);
    unlink(path);
    text_free(&want);
    pool_free(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("onnx");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_one_model_for_all_targets, 0, MODELS);
    tcase_add_test(tests, test_spelled_out);
    tcase_add_test(tests, test_header);
    tcase_add_test(tests, test_nodes);
    tcase_add_test(tests, test_nodes_without_bias);
    tcase_add_test(tests, test_groups_and_dilation);
    tcase_add_test(tests, test_parameters);
    tcase_add_test(tests, test_preprocessing);
    tcase_add_test(tests, test_computed_filter);
    tcase_add_test(tests, test_other_op);
    tcase_add_test(tests, test_two_images);
    tcase_add_test(tests, test_sum);
    tcase_add_test(tests, test_concat);
    tcase_add_test(tests, test_activations);
    tcase_add_test(tests, test_unwritten);
    tcase_add_test(tests, test_write);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

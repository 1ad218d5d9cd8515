/* An ONNX model, message by message. protobuf-c packs from structures that are not const, but only
 * reads them: hence the casts. */
#include "formats.h"
#include "onnx.pb-c.h"

#include <string.h>

enum { IR_VERSION = 8, OPSET = 17 };

struct Onnx {
    Pool *pool;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset, *opsets[1];
    int nodes, initializers, inputs, outputs, metadata; /* room for so many */
};

static char *text(const char *constant)
{
    return (char *)constant;
}

Onnx *onnx_new(Pool *pool, const char *graph_name)
{
    Onnx *o = pool_alloc(pool, sizeof *o);
    o->pool = pool;
    onnx__model_proto__init(&o->model);
    onnx__graph_proto__init(&o->graph);
    onnx__operator_set_id_proto__init(&o->opset);
    o->graph.name = text(graph_name);
    o->opset.domain = text("");
    o->opset.has_version = true;
    o->opset.version = OPSET;
    o->opsets[0] = &o->opset;
    o->model.has_ir_version = true;
    o->model.ir_version = IR_VERSION;
    o->model.producer_name = text("ninc");
    o->model.graph = &o->graph;
    o->model.opset_import = o->opsets;
    o->model.n_opset_import = 1;
    return o;
}

void onnx_metadata(Onnx *o, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *entry = pool_alloc(o->pool, sizeof *entry);
    onnx__string_string_entry_proto__init(entry);
    entry->key = text(key);
    entry->value = text(value);
    POOL_PUSH(o->pool, o->model.metadata_props, o->model.n_metadata_props, o->metadata, entry);
}

/* ---- tensors ---- */

static int32_t data_type(DType dtype)
{
    switch (dtype) {
    case DT_F32: return ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    case DT_U8: return ONNX__TENSOR_PROTO__DATA_TYPE__UINT8;
    case DT_BF16:
    case DT_I32:
    case DT_COUNT: break;
    }
    internal_error("dtype %d", (int)dtype);
}

static Onnx__TensorShapeProto__Dimension *dimension(Onnx *o, bool is_free, int extent)
{
    Onnx__TensorShapeProto__Dimension *d = pool_alloc(o->pool, sizeof *d);
    onnx__tensor_shape_proto__dimension__init(d);
    if (is_free) {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param = text("N");
    } else {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = extent;
    }
    return d;
}

static Onnx__TensorShapeProto *shape_proto(Onnx *o, Shape shape)
{
    Onnx__TensorShapeProto *s = pool_alloc(o->pool, sizeof *s);
    onnx__tensor_shape_proto__init(s);
    s->n_dim = (size_t)shape.rank;
    s->dim = pool_alloc(o->pool, s->n_dim * sizeof *s->dim);
    for (int i = 0; i < shape.rank; i++)
        s->dim[i] = dimension(o, i == 0, shape.dim[i]);
    return s;
}

static Onnx__ValueInfoProto *value_info(Onnx *o, const char *name, DType dtype, Shape shape)
{
    Onnx__ValueInfoProto *v = pool_alloc(o->pool, sizeof *v);
    Onnx__TypeProto *type = pool_alloc(o->pool, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = pool_alloc(o->pool, sizeof *tensor);
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = true;
    tensor->elem_type = data_type(dtype);
    tensor->shape = shape_proto(o, shape);
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    v->name = text(name);
    v->type = type;
    return v;
}

void onnx_input(Onnx *o, const char *name, DType dtype, Shape shape)
{
    POOL_PUSH(o->pool, o->graph.input, o->graph.n_input, o->inputs,
              value_info(o, name, dtype, shape));
}

void onnx_output(Onnx *o, const char *name, DType dtype, Shape shape)
{
    POOL_PUSH(o->pool, o->graph.output, o->graph.n_output, o->outputs,
              value_info(o, name, dtype, shape));
}

static Onnx__TensorProto *constant(Onnx *o, const char *name, int32_t type, int rank)
{
    Onnx__TensorProto *t = pool_alloc(o->pool, sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = text(name);
    t->has_data_type = true;
    t->data_type = type;
    t->n_dims = (size_t)rank;
    t->dims = pool_alloc(o->pool, t->n_dims * sizeof *t->dims);
    POOL_PUSH(o->pool, o->graph.initializer, o->graph.n_initializer, o->initializers, t);
    return t;
}

void onnx_floats(Onnx *o, const char *name, Shape shape, const float *value)
{
    Onnx__TensorProto *t = constant(o, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, shape.rank);
    for (int i = 0; i < shape.rank; i++)
        t->dims[i] = shape.dim[i];
    t->has_raw_data = true;
    t->raw_data.data = (uint8_t *)value;
    t->raw_data.len = (size_t)shape_elements(&shape) * sizeof *value;
}

void onnx_integers(Onnx *o, const char *name, int count, const int64_t *value)
{
    Onnx__TensorProto *t = constant(o, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1);
    t->dims[0] = count;
    t->n_int64_data = (size_t)count;
    t->int64_data = (int64_t *)value;
}

/* ---- nodes ---- */

OnnxNode *onnx_node(Onnx *o, const char *type, const char *output, const char *const *input,
                    int inputs)
{
    OnnxNode *n = pool_alloc(o->pool, sizeof *n);
    onnx__node_proto__init(n);
    n->name = text(output);
    n->op_type = text(type);
    n->n_input = (size_t)inputs;
    n->input = pool_alloc(o->pool, n->n_input * sizeof *n->input);
    for (int i = 0; i < inputs; i++)
        n->input[i] = text(input[i]);
    n->n_output = 1;
    n->output = pool_alloc(o->pool, sizeof *n->output);
    n->output[0] = text(output);
    POOL_PUSH(o->pool, o->graph.node, o->graph.n_node, o->nodes, n);
    return n;
}

/* Nodes have few attributes: each one is added by a copy of the list. */
static Onnx__AttributeProto *add_attribute(Onnx *o, OnnxNode *n, const char *name)
{
    Onnx__AttributeProto *a = pool_alloc(o->pool, sizeof *a);
    Onnx__AttributeProto **list = pool_alloc(o->pool, (n->n_attribute + 1) * sizeof *list);
    if (n->n_attribute > 0)
        memcpy(list, n->attribute, n->n_attribute * sizeof *list);
    onnx__attribute_proto__init(a);
    a->name = text(name);
    a->has_type = true;
    list[n->n_attribute++] = a;
    n->attribute = list;
    return a;
}

void onnx_set_integer(Onnx *o, OnnxNode *n, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = add_attribute(o, n, name);
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    a->has_i = true;
    a->i = value;
}

void onnx_set_float(Onnx *o, OnnxNode *n, const char *name, double value)
{
    Onnx__AttributeProto *a = add_attribute(o, n, name);
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    a->has_f = true;
    a->f = (float)value;
}

void onnx_set_integers(Onnx *o, OnnxNode *n, const char *name, int count, const int64_t *value)
{
    Onnx__AttributeProto *a = add_attribute(o, n, name);
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
    a->n_ints = (size_t)count;
    a->ints = pool_alloc(o->pool, a->n_ints * sizeof *a->ints);
    memcpy(a->ints, value, a->n_ints * sizeof *a->ints);
}

void onnx_set_dtype(Onnx *o, OnnxNode *n, const char *name, DType value)
{
    onnx_set_integer(o, n, name, data_type(value));
}

void onnx_set_text(Onnx *o, OnnxNode *n, const char *name, const char *value)
{
    Onnx__AttributeProto *a = add_attribute(o, n, name);
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
    a->has_s = true;
    a->s.data = (uint8_t *)value;
    a->s.len = strlen(value);
}

/* ---- the file ---- */

/* Where protobuf-c's bytes go, piece by piece; `base` first, as it hands that back. */
typedef struct TextSink {
    ProtobufCBuffer base;
    Text *text;
} TextSink;

typedef struct FileSink {
    ProtobufCBuffer base;
    FILE *file;
} FileSink;

static void append_to_text(ProtobufCBuffer *sink, size_t length, const uint8_t *data)
{
    text_write(((TextSink *)sink)->text, (const char *)data, length);
}

/* An error stays in the stream, where outfile_commit finds it. */
static void append_to_file(ProtobufCBuffer *sink, size_t length, const uint8_t *data)
{
    fwrite(data, 1, length, ((FileSink *)sink)->file);
}

void onnx_pack(const Onnx *o, Text *out)
{
    TextSink sink = {{append_to_text}, out};
    onnx__model_proto__pack_to_buffer(&o->model, &sink.base);
}

int onnx_write(const Onnx *o, const char *path)
{
    OutFile out;
    if (onnx__model_proto__get_packed_size(&o->model) > INT32_MAX)
        return fault("cannot write %s: an ONNX file holds at most 2 GB, and the parameters are "
                     "more; use the .safetensors file",
                     path);
    if (outfile_open(&out, path) < 0)
        return -1;
    FileSink sink = {{append_to_file}, out.file};
    onnx__model_proto__pack_to_buffer(&o->model, &sink.base);
    return outfile_commit(&out);
}

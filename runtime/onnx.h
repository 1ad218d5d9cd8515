/* An ONNX model in memory and its file: a thin layer over what protoc-c makes of ONNX's own schema.
 * IR version 8, opset 17, producer ninc (https://onnx.ai/onnx/repo-docs/IR.html). All structures
 * stand in a pool; names and the data of tensors are not copied and must live as long. */
#ifndef NINC_ONNX_H
#define NINC_ONNX_H

#include "../ir/ir.h"

/* ---- onnx.c ---- */

typedef struct Onnx Onnx;
typedef struct Onnx__NodeProto OnnxNode;

Onnx *onnx_new(Pool *pool, const char *graph_name);
void onnx_metadata(Onnx *o, const char *key, const char *value);
/* An input or output, f32 or u8. Its first dimension is free and called N, whatever it is here. */
void onnx_input(Onnx *o, const char *name, DType dtype, Shape shape);
void onnx_output(Onnx *o, const char *name, DType dtype, Shape shape);
/* Constants: f32, row-major, and an int64 vector. */
void onnx_floats(Onnx *o, const char *name, Shape shape, const float *value);
void onnx_integers(Onnx *o, const char *name, int count, const int64_t *value);
/* Appends a node of one result; the node has the name of that value. An input of "" is left out. */
OnnxNode *onnx_node(Onnx *o, const char *type, const char *output, const char *const *input,
                    int inputs);
void onnx_set_integer(Onnx *o, OnnxNode *n, const char *name, int64_t value);
void onnx_set_integers(Onnx *o, OnnxNode *n, const char *name, int count, const int64_t *value);
void onnx_set_dtype(Onnx *o, OnnxNode *n, const char *name, DType value);
void onnx_set_text(Onnx *o, OnnxNode *n, const char *name, const char *value);
/* The file's bytes, appended to `out`; the same model gives the same bytes. */
void onnx_pack(const Onnx *o, Text *out);
/* Writes the file, whole or not at all; -1 after a message. */
int onnx_write(const Onnx *o, const char *path);

/* ---- onnx_graph.c ---- */

typedef struct ExportGraph {
    const Graph *graph;        /* an eval graph of any target, level and precision, at any stage */
    const float *const *value; /* value[i]: module->storage[i], OIHW or [O]; unused for moments */
    bool preprocessing;        /* the model takes u8 images instead of normalised maps */
} ExportGraph;

/* The forward pass up to the output `logits` as PyTorch's ops on NCHW maps, all in fp32: casts go,
 * convolutions in tiles are convolutions again, so that the model does not depend on what the
 * graph was compiled for. NULL after a message. */
Onnx *export_graph(Pool *pool, const ExportGraph *what);

#endif

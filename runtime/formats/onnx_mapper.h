/* Within runtime/formats/: how the ops of the eval graph become nodes of an ONNX model. */
#ifndef NINC_ONNX_MAPPER_H
#define NINC_ONNX_MAPPER_H

#include "formats.h"

typedef struct Mapper {
    Pool *pool;
    Onnx *onnx;
    const ExportGraph *what;
    const Node *logits;
    const Node *image; /* what makes the network's input, resized if the IR folds that into the
                          convolution behind it; NULL so far */
    const bool *needed;         /* by node id: logits depend on it */
    const char **value;         /* by node id: the ONNX value; NULL: not mapped, or has none */
    int nodes;
} Mapper;

/* ---- onnx_graph.c ---- */

/* A name that no other value has; `what` is part of it. */
const char *mapper_name(Mapper *m, const char *what);
/* The ONNX value of an operand that is no parameter. */
const char *mapper_operand(const Mapper *m, const Node *n);
/* One node for n, of the operands' values; NULL after a message. */
OnnxNode *mapper_node(Mapper *m, const Node *n, const char *type, const char *const *input,
                      int inputs);
/* A scalar as an initializer, under a name of its own. */
const char *mapper_number(Mapper *m, const Node *n, double value);
/* A node of two operands under that name, which it gives back. */
const char *mapper_binary(Mapper *m, const char *type, const char *name, const char *a,
                          const char *b);

/* ---- onnx_lrn.c ---- */

/* 0, or -1 after a message. */
int onnx_map_lrn(Mapper *m, const Node *n);

/* ---- onnx_whiten.c ---- */

/* The same. */
int onnx_map_image_stats(Mapper *m, const Node *n);
int onnx_map_contrast(Mapper *m, const Node *n);
int onnx_map_unflatten(Mapper *m, const Node *n);

#endif

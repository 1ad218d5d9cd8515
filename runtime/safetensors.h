/* A safetensors file that is open: its header is believed only after it was checked. Functions that
 * return int give 0, or -1 after one message. */
#ifndef NINC_SAFETENSORS_H
#define NINC_SAFETENSORS_H

#include "runtime.h"

#include <jansson.h>

typedef struct TensorFile {
    const char *path;
    FILE *file;
    json_t *header; /* name: {dtype, shape, data_offsets}, and __metadata__ */
    int64_t data_start, data_bytes;
} TensorFile;

/* Checks every claim of the header. Files of PyTorch, HDF5 and zip archives are told by name. */
int tensor_file_open(TensorFile *f, const char *path);
void tensor_file_close(TensorFile *f);
/* Whether a tensor of this dtype can be loaded: F32, F64, F16, BF16. */
bool tensor_dtype_readable(const char *dtype);
/* Reads the tensor `name` of the file, which has as many elements as `t`, into t->value. A value
 * that is not finite (in F32) is an error. */
int tensor_file_load(const TensorFile *f, const char *name, const NamedTensor *t);

#endif

/* The map of the file formats: images, IDX, safetensors, TensorBoard's events, ONNX. Functions that
 * return int give 0, or -1 after one line (fault) that names the file and says what to do. */
#ifndef NINC_FORMATS_H
#define NINC_FORMATS_H

#include "../../ir/ir.h"
#include "../base/base.h"

struct json_t;   /* of jansson.h */
struct gzFile_s; /* of zlib.h */

enum { IMAGE_MAX_PIXELS = 1 << 28 };

/* Rows from the top, pixels from the left, channels together. */
typedef struct Image {
    uint8_t *pixel; /* [h, w, c] */
    int h, w, c;    /* c: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha */
} Image;

enum { IMAGE_MAX_CHANNELS = 4 };

enum { LETTER_WIDTH = 6, LETTER_HEIGHT = 9, GRID_LINES = 2 }; /* a letter's: pixels */

/* One image of a picture of many, and what stands beneath it. */
typedef struct GridCell {
    Image image;                  /* gray or RGB, alpha passed over */
    const char *line[GRID_LINES]; /* UTF-8; NULL: nothing */
} GridCell;

/* A format of images: whether a file that begins so is of it, and what reads one. */
typedef struct ImageFormat {
    const char *name;
    bool (*probe)(const uint8_t *bytes, size_t size);
    int (*decode)(const uint8_t *bytes, size_t size, const char *name, Image *out);
} ImageFormat;

typedef struct NamedTensor {
    const char *name;
    Shape shape;
    float *value; /* shape_elements(&shape), row by row */
    bool whole;   /* I64 in files */
} NamedTensor;

typedef struct TensorList {
    const char *what, *model; /* for messages: the parameters, nin */
    NamedTensor *item;
    int count;
} TensorList;

enum { IDX_MAX_RANK = 4, IDX_PATH = 4096 };

typedef struct IdxType {
    const char *name;
    int code, bytes;
    double lowest, highest; /* of whole numbers; for floats 0 */
    bool is_float;
} IdxType;

typedef struct IdxFile {
    struct gzFile_s *gz; /* of zlib.h */
    char path[IDX_PATH];
    uint64_t size; /* of the file, in bytes */
    const IdxType *type;
    uint32_t dim[IDX_MAX_RANK]; /* the first is the number of items */
    int rank;
} IdxFile;

/* What is looked for in a directory: PART-WHAT-idxRANK-ubyte, as train-images-idx3-ubyte. */
typedef struct IdxName {
    const char *part, *what; /* train or t10k; images or labels */
    int rank;
} IdxName;

typedef struct TensorFile {
    const char *path;
    FILE *file;
    struct json_t *header; /* name: {dtype, shape, data_offsets}, and __metadata__ */
    int64_t data_start, data_bytes;
} TensorFile;

/* Buckets that grow by a tenth from 1e-12 to 1e20, on both sides of zero, as TensorFlow has them.
 */
typedef struct Histogram {
    double min, max, num, sum, sum_squares; /* of the finite values */
    int buckets;
    double *limit; /* [buckets] upper end, ascending; a value equal to it is in the next bucket */
    double *count; /* [buckets] */
} Histogram;

typedef struct Tensorboard Tensorboard;

typedef struct Scalar {
    const char *tag; /* "train/loss" */
    double value;
} Scalar;

typedef struct Onnx Onnx;
typedef struct Onnx__NodeProto OnnxNode;

typedef struct ExportGraph {
    const Graph *graph;        /* an eval graph of any target, level and precision, at any stage */
    const float *const *value; /* value[i]: module->storage[i], OIHW or [O]; unused for moments */
    bool preprocessing;        /* the model takes u8 images instead of normalised maps */
} ExportGraph;

/* ---- image.c ---- */

/* Whether the last of c channels is alpha: 0 where a pixel is transparent, 255 where it is not. */
static inline bool image_has_alpha(int c)
{
    return c == 2 || c == 4;
}

/* Reads a file, or standard input where `path` is "-". The format is told by the content. */
int image_read(const char *path, Image *out);
/* The same of a file's bytes; messages call it `name`. 16 bits a channel become 8; palettes become
 * RGB; what has transparent pixels has alpha; CMYK becomes RGB, without colour profiles. A JPEG is
 * turned as its Exif data say. A file that decoders warn of, but whose pixels are whole, is read
 * after one notice. */
int image_decode(const uint8_t *bytes, size_t size, const char *name, Image *out);

/* ---- image_pixels.c ---- */

/* Allocates [h, w, c] for the image that messages call `name`; h, w from 1, c from 1 to 4. */
int image_new(const char *name, int64_t h, int64_t w, int c, Image *out);
void image_free(Image *image);
/* Bilinear interpolation to h x w; where it shrinks, each pixel is the mean of all that it covers,
 * weighted by a triangle (as Pillow's BILINEAR does and torchvision's with antialias=True). */
int image_scale(const Image *image, int h, int w, Image *out);
/* Turns or mirrors it as Exif's Orientation, 1 to 8, says: 1 leaves it, 2 mirrors left and right, 3
 * turns by 180 degrees, 4 mirrors top and bottom, 5 transposes, 6 turns by 90 degrees clockwise, 7
 * transposes about the other diagonal, 8 turns by 90 degrees counterclockwise. */
int image_turn(Image *image, int orientation);
/* Makes c channels of it: gray is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); without alpha it is
 * laid on black; an image without alpha is nowhere transparent. */
int image_convert(Image *image, int c);
/* 255 - x, but for alpha. */
void image_invert(Image *image);

/* ---- image_text.c, image_grid.c ---- */

/* Writes a line, UTF-8, whose first letter has its top left dot at x, y of an RGB image; what goes
 * beyond its edges is cut off, letters beyond ASCII are boxes. */
void image_text(Image *image, int x, int y, const char *text, const uint8_t rgb[3]);
/* A picture of `count` images, at most eight side by side: small ones enlarged by a whole number,
 * pixel by pixel, lines cut where their cell ends. */
int image_grid(const GridCell *cell, int count, Image *out);

/* ---- image_png.c, image_jpeg.c, image_pnm.c: one format each ---- */

bool image_is_png(const uint8_t *bytes, size_t size);
bool image_is_jpeg(const uint8_t *bytes, size_t size);
bool image_is_pnm(const uint8_t *bytes, size_t size);
int image_decode_png(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_jpeg(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_pnm(const uint8_t *bytes, size_t size, const char *name, Image *out);
/* The bytes of a PNG file, which the caller frees. */
int image_encode_png(const Image *image, uint8_t **bytes, size_t *size);
/* Writes a PNG file that appears whole or not at all. */
int image_write_png(const char *path, const Image *image);

/* ---- idx.c ---- */

/* IDX files, the format of MNIST (LeCun, Cortes, Burges), plain or gzipped: a magic number of two
 * bytes 0, the type of the elements and the number of dimensions; the dimensions; the elements; all
 * big-endian. */

/* Finds a file in the directory, under the names that downloads have too (train-images.idx3-ubyte,
 * idx1-int, with .gz), and reads its header. Where there is none, the message says which files are
 * there under other names. */
int idx_open(IdxFile *f, const char *directory, const IdxName *name);
void idx_close(IdxFile *f);
/* Whether the directory has images or labels of any split under such a name. */
bool idx_any(const char *directory);
/* Elements of an item. */
int64_t idx_item(const IdxFile *f);
/* All elements as bytes, which the caller frees: whole numbers from 0 to 255 of any type; floats
 * from 0 to 1, after a notice, times 255, where that gives whole numbers. */
int idx_bytes(IdxFile *f, uint8_t **out);
/* One element an item, any whole number of 32 bits; of a type that tells `classes` apart. */
int idx_labels(IdxFile *f, int classes, int32_t **out);

/* ---- safetensors.c ---- */

/* A safetensors file that is open: its header is believed only after it was checked. */

/* Checks every claim of the header. Files of PyTorch, HDF5 and zip archives are told by name. */
int tensor_file_open(TensorFile *f, const char *path);
void tensor_file_close(TensorFile *f);
/* Whether a tensor of this dtype can be loaded: F32, F64, F16, BF16. */
bool tensor_dtype_readable(const char *dtype, bool whole);
/* Reads the tensor `name` of the file, which has as many elements as `t`, into t->value. A value
 * that is not finite (in F32) is an error. */
int tensor_file_load(const TensorFile *f, const char *name, const NamedTensor *t);

/* Writes all, F32, or I64 what is whole. */
int tensors_write(const char *path, const TensorList *list);

/* ---- tensors_fit.c ---- */

/* Reads a file that has exactly these tensors, as F32, F64, F16 or BF16; checks every claim of the
 * header, and changes no value before all are found sound; a value that is not finite (in F32) is
 * an error too. */
int tensors_read(const char *path, const TensorList *list);
/* The same of a file that another program may have written: a common prefix of the names, a linear
 * layer [K, C h w] for a convolution [K, C, h, w] or the reverse, and tensors beside are taken
 * after a notice. */
int tensors_read_foreign(const char *path, const TensorList *list);
/* Reads those that fit so and prints what was done with each; an error when none fits. */
int tensors_read_partial(const char *path, const TensorList *list);

/* ---- histogram.c ---- */

void histogram_init(Histogram *h);
void histogram_clear(Histogram *h);
/* Values that are not finite are left out. */
void histogram_add(Histogram *h, const double *value, int64_t count);
void histogram_free(Histogram *h);

/* ---- confusion.c ---- */

/* A confusion matrix [true][predicted] as an RGB picture: each row's share of its class, from dark
 * (0) to bright (1), true classes from the top, predicted ones from the left. */
int confusion_image(const int64_t *count, int classes, Image *out);

/* ---- tensorboard.c: TensorBoard's event files: scalars, histograms and images by step ---- */

/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), and as TFRecord files hold it. */
uint32_t crc32c(const void *bytes, size_t size);
uint32_t masked_crc32c(const void *bytes, size_t size);

/* Starts an event file in the directory, which is made where it is missing. TensorBoard drops what
 * older files there say of steps after `step`: a run goes on behind it. NULL after a message. */
Tensorboard *tensorboard_open(const char *directory, int64_t step);
int tensorboard_scalars(Tensorboard *t, int64_t step, const Scalar *scalar, int count);
int tensorboard_histogram(Tensorboard *t, int64_t step, const char *tag, const Histogram *h);
int tensorboard_image(Tensorboard *t, int64_t step, const char *tag, const Image *image);
/* What was written so far can be read by others. */
int tensorboard_flush(Tensorboard *t);
/* t may be NULL. */
int tensorboard_close(Tensorboard *t);

/* ---- onnx.c ---- */

/* An ONNX model in memory and its file: a thin layer over what protoc-c makes of ONNX's own schema.
 * IR version 8, opset 17, producer ninc (https://onnx.ai/onnx/repo-docs/IR.html). All structures
 * stand in a pool; names and the data of tensors are not copied and must live as long. */

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
void onnx_set_float(Onnx *o, OnnxNode *n, const char *name, double value);
void onnx_set_dtype(Onnx *o, OnnxNode *n, const char *name, DType value);
void onnx_set_text(Onnx *o, OnnxNode *n, const char *name, const char *value);
/* The file's bytes, appended to `out`; the same model gives the same bytes. */
void onnx_pack(const Onnx *o, Text *out);
/* Writes the file, whole or not at all; -1 after a message. */
int onnx_write(const Onnx *o, const char *path);

/* ---- onnx_graph.c ---- */

/* The forward pass up to the output `logits` as PyTorch's ops on NCHW maps, all in fp32: casts go,
 * convolutions in tiles are convolutions again, so that the model does not depend on what the
 * graph was compiled for. NULL after a message. */
Onnx *export_graph(Pool *pool, const ExportGraph *what);

#endif

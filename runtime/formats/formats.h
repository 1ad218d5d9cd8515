/* The map of the file formats: images, arrays of numbers (IDX, npz, MAT-files, records, CSV),
 * safetensors, TensorBoard's events, ONNX. Functions that return int give 0, or -1 after one line
 * (fault) that names the file and says what to do. */
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
    char *const *class_name; /* [classes] written into the metadata */
    int classes;             /* 0: no names are */
} TensorList;

/* A file that may be gzipped. */
typedef struct GzipFile {
    struct gzFile_s *gz; /* of zlib.h */
    char *path;
    uint64_t size, at; /* bytes of the file itself; bytes read, behind the compression */
} GzipFile;

typedef enum NumberKind {
    NUMBER_U8,
    NUMBER_I8,
    NUMBER_U16,
    NUMBER_I16,
    NUMBER_U32,
    NUMBER_I32,
    NUMBER_U64,
    NUMBER_I64,
    NUMBER_F32,
    NUMBER_F64,
    NUMBER_TYPES
} NumberKind;

typedef struct NumberType {
    const char *name;
    int bytes;
    double lowest, highest; /* of whole numbers; for floats 0 */
    bool is_float;
} NumberType;

enum { NUMBERS_MAX_RANK = 8 };

/* An array as a file holds it. */
typedef struct Numbers {
    char *path; /* of the file, and what it is in it, for messages */
    NumberKind type;
    bool big_endian, by_columns; /* by_columns: the first axis is the one that moves fastest */
    int rank;
    int64_t dim[NUMBERS_MAX_RANK]; /* the first is the number of items */
    uint8_t *raw;
    size_t bytes; /* of raw */
} Numbers;

/* Where pixels lie: from each image, row, column and channel to the next, in bytes. */
typedef struct PixelOrder {
    int64_t count, image, row, column, channel;
    int h, w, c;
} PixelOrder;

enum { IDX_MAX_RANK = 4 };

typedef struct IdxFile {
    GzipFile in;
    const char *path;
    NumberKind type;
    uint32_t dim[IDX_MAX_RANK]; /* the first is the number of items */
    int rank;
} IdxFile;

enum { NPY_BEGIN = 12, NPY_MOST_HEADER = 1 << 16 };

/* A zip archive of arrays that is open. */
typedef struct Npz {
    void *zip; /* of minizip */
    char *path;
    uint64_t size; /* of the file, in bytes */
} Npz;

/* Records of a fixed size, one an image: `before` bytes, of which byte `label` is the class, then
 * its planes, red, green and blue. */
typedef struct RecordKind {
    int before, label;
    int first, classes; /* labels are first, ..., first + classes - 1 */
    int h, w, c;
    bool by_columns; /* of the planes */
} RecordKind;

typedef struct Records {
    uint8_t *image; /* [count, h, w, c] */
    int32_t *label; /* [count], from 0 */
    int64_t count, room;
} Records;

/* What is looked for in a table. */
typedef struct CsvKind {
    const char *label; /* its column's name; NULL: label, class or y, else the first column */
    int label_column;  /* its number, from 1; 0: not given */
    int64_t pixels;    /* of an image; 0: as many as there are */
} CsvKind;

/* The rows of a table. */
typedef struct CsvTable {
    uint8_t *image; /* [count, pixels] */
    int32_t *label; /* [count] */
    int64_t count, pixels;
    long long line; /* of the first row in the file, from 1 */
} CsvTable;

/* What is looked for in a directory: PART-WHAT-idxRANK-ubyte, as train-images-idx3-ubyte, or
 * SET-PART-WHAT-idxRANK-ubyte. */
typedef struct IdxName {
    const char *part, *what; /* train or t10k; images or labels */
    int rank;
    const char *set; /* emnist-letters; NULL: it is not known */
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
 * RGB; what has transparent pixels has alpha; CMYK becomes RGB, without colour profiles; of an
 * animation the first frame is taken. A JPEG or WebP is turned as its Exif data say. A file that
 * decoders warn of, but whose pixels are whole, is read after one notice. */
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

/* ---- image_exif.c ---- */

/* How the picture is to be turned, as image_turn takes it, by Exif data (a TIFF file in memory): 1
 * where they do not say. */
int exif_orientation(const uint8_t *bytes, size_t size);

/* ---- image_png.c, image_jpeg.c, image_pnm.c, image_webp.c, image_gif.c, image_bmp.c: one format
 * each ---- */

bool image_is_png(const uint8_t *bytes, size_t size);
bool image_is_jpeg(const uint8_t *bytes, size_t size);
bool image_is_pnm(const uint8_t *bytes, size_t size);
bool image_is_webp(const uint8_t *bytes, size_t size);
bool image_is_gif(const uint8_t *bytes, size_t size);
bool image_is_bmp(const uint8_t *bytes, size_t size);
int image_decode_png(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_jpeg(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_pnm(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_webp(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_gif(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_bmp(const uint8_t *bytes, size_t size, const char *name, Image *out);
/* The bytes of a PNG file, which the caller frees. */
int image_encode_png(const Image *image, uint8_t **bytes, size_t *size);
/* Writes a PNG file that appears whole or not at all. */
int image_write_png(const char *path, const Image *image);

/* ---- gzip.c ---- */

/* The caller closes it in any case. */
int gzip_open(GzipFile *f, const char *path);
void gzip_close(GzipFile *f);
/* Up to `count` bytes; fewer, or none, at the end. */
int gzip_some(GzipFile *f, void *out, size_t count, size_t *got);
/* Exactly `count` bytes of `what`, for the message. */
int gzip_read(GzipFile *f, void *out, size_t count, const char *what);
/* The file must end here, behind `what`; its check sum is looked at too. */
int gzip_end(GzipFile *f, const char *what);
/* Whether a file of this size can hold so many bytes. */
bool gzip_can_hold(const GzipFile *f, uint64_t bytes);

/* ---- numbers.c ---- */

extern const NumberType number_types[NUMBER_TYPES];

/* Elements of an item: INT64_MAX where they are more. */
int64_t numbers_item(const Numbers *n);
/* Whether this machine has so much memory at all: what a file asks for is not believed. */
bool memory_holds(uint64_t bytes);
/* Room for all elements in n->raw, where this machine has as much. */
int numbers_room(Numbers *n);
void numbers_free(Numbers *n);
/* Makes the elements pixels, in the order in which they are: whole numbers from 0 to 255 of any
 * type; floats from 0 to 1, after a notice, times 255, where that gives whole numbers. */
int numbers_to_bytes(Numbers *n);
/* The first element of each item, any whole number of 32 bits; the caller frees *out in any case.
 */
int numbers_labels(const Numbers *n, int32_t **out);
/* Images in an array [N, H, W], [N, H, W, C] or, where its shape says so, [N, C, H, W]. */
int numbers_images(const Numbers *n, PixelOrder *out);
/* The order of those where the axes `axis` are images, rows, columns, channels; -1: it has none. */
int numbers_order(const Numbers *n, const int axis[4], PixelOrder *out);
/* A pixel of a value that is one divided by `scale`; -1 without a message: it is none. */
int pixel_of(double value, double scale, uint8_t *out);
/* Puts the pixels in *raw, malloc'ed, into the order [count, h, w, c]. */
int pixels_in_order(const PixelOrder *o, uint8_t **raw);

/* ---- idx.c ---- */

/* IDX files, the format of MNIST (LeCun, Cortes, Burges), plain or gzipped: a magic number of two
 * bytes 0, the type of the elements and the number of dimensions; the dimensions; the elements; all
 * big-endian. */

/* Finds a file in the directory, under the names that downloads have too (train-images.idx3-ubyte,
 * idx1-int, emnist-letters-test-..., with .gz), and reads its header. Where there is none, the
 * message says which files are there under other names. */
int idx_open(IdxFile *f, const char *directory, const IdxName *name);
void idx_close(IdxFile *f);
/* Whether the directory has images or labels of any split under such a name. */
bool idx_any(const char *directory);
/* All elements as pixels (numbers_to_bytes), which the caller frees. */
int idx_bytes(IdxFile *f, uint8_t **out);
/* One element an item (of QMNIST's eight the first), any whole number of 32 bits; of a type that
 * tells `classes` apart. */
int idx_labels(IdxFile *f, int classes, int32_t **out);

/* ---- npy.c: the header of NumPy's arrays ---- */

/* What the first NPY_BEGIN bytes say: *header is where the elements begin. Messages call it `path`.
 */
int npy_begin(const uint8_t raw[NPY_BEGIN], const char *path, size_t *header);
/* Type, order and shape of the array out->path, from all `header` bytes. */
int npy_header(const char *raw, size_t header, Numbers *out);

/* ---- npz.c: zip archives of them, as numpy.savez and savez_compressed write ---- */

/* The caller closes it in any case. */
int npz_open(Npz *z, const char *path);
void npz_close(Npz *z);
bool npz_has(const Npz *z, const char *array);
/* The names of the first members, for a message. */
void npz_list(const Npz *z, Text *out);
/* An array of one item or more, as it is there. Objects are never unpickled. The caller frees *out
 * in any case. */
int npz_read(Npz *z, const char *array, Numbers *out);

/* ---- mat.c ---- */

/* The arrays of these names in a MAT-file of level 5. Their dimensions are in the order of rows:
 * MATLAB's X(32, 32, 3, N) is [N, 3, 32, 32] (count, channel, column, row). The caller frees each
 * of `out` in any case. */
int mat_read(const char *path, const char *const *name, int names, Numbers *out);

/* ---- records.c: CIFAR's and STL-10's binary files ---- */

/* Appends the records of a file to those in `out`. The caller frees them in any case. */
int records_read(const char *path, const RecordKind *kind, Records *out);
void records_free(Records *r);

/* ---- csv.c: tables of an image a row (RFC 4180) ---- */

/* Reads a table: a row of names or none; of each other row one column is the label and all others
 * are pixels, whole numbers from 0 to 255, or, after a notice, from 0 to 1, taken times 255. The
 * caller frees *out in any case. */
int csv_read(const char *path, const CsvKind *kind, CsvTable *out);
void csv_free(CsvTable *t);

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

/* Writes all, F32, or I64 what is whole; the names of the classes, UTF-8, as `classes` of
 * __metadata__: the text of a JSON list. */
int tensors_write(const char *path, const TensorList *list);
/* The names that are written so; none where there is no `classes`, or where that is no list of
 * texts, after a notice. A name may have any bytes of UTF-8 but 0, and any length. */
int tensor_file_classes(const char *path, TextLines *out);

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

/* TensorBoard's event files: scalars, histograms and images by step. Functions that return int give
 * 0, or -1 after one line (fault) that names the file and says what to do. */
#ifndef NINC_TENSORBOARD_H
#define NINC_TENSORBOARD_H

#include "image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- histogram.c ---- */

/* Buckets that grow by a tenth from 1e-12 to 1e20, on both sides of zero, as TensorFlow has them.
 */
typedef struct Histogram {
    double min, max, num, sum, sum_squares; /* of the finite values */
    int buckets;
    double *limit; /* [buckets] upper end, ascending; a value equal to it is in the next bucket */
    double *count; /* [buckets] */
} Histogram;

void histogram_init(Histogram *h);
void histogram_clear(Histogram *h);
/* Values that are not finite are left out. */
void histogram_add(Histogram *h, const double *value, int64_t count);
void histogram_free(Histogram *h);

/* ---- tensorboard.c ---- */

typedef struct Tensorboard Tensorboard;

typedef struct Scalar {
    const char *tag; /* "train/loss" */
    double value;
} Scalar;

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

/* ---- confusion.c ---- */

/* A confusion matrix [true][predicted] as an RGB picture: each row's share of its class, from dark
 * (0) to bright (1), true classes from the top, predicted ones from the left. */
int confusion_image(const int64_t *count, int classes, Image *out);

#endif

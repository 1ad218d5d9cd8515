/* Images: u8 pixels to normalised maps, resized on the way or not. */
#include "family.h"

#include "../numbers.h"

#include <math.h>

/* ---- types ---- */

static bool infer_image(const Infer *f)
{
    const ImageAttr *image = &f->attr->image;
    if (!type_expect(f, 0, "image", DT_U8, 4))
        return false;
    const int32_t *d = type_dims(f, 0);
    if (d[3] > MAX_IMAGE_CHANNELS)
        return type_fault(f, " takes images of at most %d channels, not %d", MAX_IMAGE_CHANNELS,
                          d[3]);
    if (image->channels != d[3])
        return type_fault(f, " has mean and std for %d channels, but the image has %d",
                          image->channels, d[3]);
    for (int c = 0; c < image->channels; c++) {
        if (!fits_positive(image->std[c]))
            return type_fault(f, "'s std must be greater than 0 as a float");
        if (!fits_float(image->mean[c]))
            return type_fault(f, "'s mean must be a number that a float can be");
    }
    DType dtype = f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32;
    if (f->op == OP_NORMALIZE)
        return type_give_map(f, dtype, d, d[1], d[2], d[3]);
    return type_given(f, dtype, 4) && type_given_extent(f, 0, d[0]) &&
           type_given_extent(f, 3, d[3]);
}

/* ---- values ---- */

/* One axis of F.interpolate(mode='bilinear', align_corners=False): output position `at` lies
 * between the input positions *low and *high, *part of the way. */
static void bilinear_axis(int at, int input, int output, int *low, int *high, double *part)
{
    double source = (at + 0.5) * ((double)input / output) - 0.5;
    if (source < 0)
        source = 0;
    *low = (int)source;
    if (*low > input - 1)
        *low = input - 1;
    *high = *low < input - 1 ? *low + 1 : *low;
    *part = source - *low;
}

/* u8 image -> (u8/255 - mean) / std, interpolated to the result's map (normalize: the same map) */
static void eval_image(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    const ImageAttr *image = &node->attr.image;
    PARALLEL_FOR
    for (int n = 0; n < y.n; n++) {
        for (int h = 0; h < y.h; h++) {
            int top, bottom;
            double down;
            bilinear_axis(h, x.h, y.h, &top, &bottom, &down);
            for (int w = 0; w < y.w; w++) {
                int left, right;
                double across;
                bilinear_axis(w, x.w, y.w, &left, &right, &across);
                for (int c = 0; c < y.c; c++) {
                    double above = map_at(&x, n, top, left)[c] * (1 - across) +
                                   map_at(&x, n, top, right)[c] * across;
                    double below = map_at(&x, n, bottom, left)[c] * (1 - across) +
                                   map_at(&x, n, bottom, right)[c] * across;
                    double pixel = (above * (1 - down) + below * down) / 255;
                    map_at(&y, n, h, w)[c] = (pixel - image->mean[c]) / image->std[c];
                }
            }
        }
    }
}

/* ---- spreads ---- */

static void spread_image(Eval *e, const Node *node)
{
    const ImageAttr *image = &node->attr.image;
    double *square = eval_value(e, node);
    const double *value = eval_value(e->of, node);
    for (int64_t i = eval_elements(e, node) - 1; i >= 0; i--) {
        int c = (int)(i % image->channels);
        double mean = image->mean[c] / image->std[c];
        square[i] = square_of(fabs(value[i] + mean) + fabs(mean));
    }
}

OP_RULE(image, NORMALIZE) = {infer_image, eval_image, spread_image, no_gradient, no_work};
OP_RULE(image, RESIZE) = {infer_image, eval_image, spread_image, no_gradient, no_work};

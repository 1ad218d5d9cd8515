/* Augmentation: what torchvision.transforms does to u8 images, in training only. What is done
 * follows from seed, epoch, op and the image's number in the data set alone, by Philox4x32-10: the
 * same on all devices, in any batch, chunk and process. So that no bit depends on who computes,
 * everything is in whole numbers: places and weights in fixed point, angles and sides by series.
 * Block 0 of an op's words is of what is drawn once; sides that may not fit are drawn up to ten
 * times, each time from a block of its own. */
#include "family.h"

#include "../numbers.h"

#include <math.h>

enum { AUGMENT_TAG = 0x6175676d, ATTEMPTS = 10 }; /* no other stream of random numbers has it */

/* Of random_erasing's height / width, as torchvision has it. */
#define ERASING_LEAST_RATIO 0.3
#define ERASING_MOST_RATIO 3.3

/* ---- settings ---- */

typedef struct AugmentType {
    int settings;
    AugmentSetting setting[AUGMENT_SETTINGS];
} AugmentType;

/* name, example, range, whole, required, low, high, given */
static const AugmentType types[OP_COUNT] = {
    [OP_RANDOM_CROP] = {1, {{"padding", "padding: 4", false, true, true, 0, MAX_AUGMENTED, {0}}}},
    [OP_RANDOM_RESIZED_CROP] =
        {2, {{"scale", "scale: [0.08, 1]", true, false, false, 1e-6, 1, {0.08, 1}},
             {"ratio", "ratio: [0.75, 1.3333]", true, false, false, 1. / 64, 64, {0.75, 1.3333}}}},
    [OP_RANDOM_HORIZONTAL_FLIP] = {1, {{"p", "p: 0.5", false, false, false, 0, 1, {0.5}}}},
    [OP_RANDOM_ROTATION] =
        {1, {{"degrees", "degrees: 15", false, false, true, 0, 180, {0}}}},
    [OP_RANDOM_ERASING] =
        {2, {{"p", "p: 0.5", false, false, false, 0, 1, {0.5}},
             {"scale", "scale: [0.02, 0.33]", true, false, false, 1e-6, 1, {0.02, 0.33}}}},
    [OP_COLOR_JITTER] =
        {3, {{"brightness", "brightness: 0.4", false, false, false, 0, 100, {0}},
             {"contrast", "contrast: 0.4", false, false, false, 0, 100, {0}},
             {"saturation", "saturation: 0.4", false, false, false, 0, 100, {0}}}},
};

const AugmentSetting *augment_settings(Op op, int *count)
{
    *count = types[op].settings;
    return types[op].setting;
}

static const char *number_fault(Op op, const AugmentAttr *a)
{
    int at = 0;
    for (int i = 0; i < types[op].settings; i++) {
        const AugmentSetting *s = &types[op].setting[i];
        for (int k = 0; k <= s->range; k++, at++) {
            double x = a->number[at];
            if (!(x >= s->low && x <= s->high) || (s->whole && x != floor(x)))
                return " has a setting that is out of its range";
        }
        if (s->range && a->number[at - 2] > a->number[at - 1])
            return " has a range whose first number is more than the second";
    }
    return NULL;
}

const char *augment_fault(Op op, const AugmentAttr *a, const int32_t *dims)
{
    const char *fault = number_fault(op, a);
    bool jitter = op == OP_COLOR_JITTER, gray = jitter && (a->number[1] > 0 || a->number[2] > 0);
    if (fault)
        return fault;
    if (dims[1] > MAX_AUGMENTED || dims[2] > MAX_AUGMENTED)
        return " takes images of at most 16384x16384";
    if (op == OP_RANDOM_CROP && (a->number[0] >= dims[1] || a->number[0] >= dims[2]))
        return "'s padding must be less than the height and width of the image";
    if (jitter && a->number[2] > 0 && dims[3] == 1)
        return ": an image of one channel has no saturation; leave saturation out";
    if (gray && dims[3] != 1 && dims[3] != 3)
        return "'s contrast and saturation take images of 1 or 3 channels";
    return NULL;
}

/* ---- constants ---- */

static int64_t fixed(double x, int bits)
{
    return llround(ldexp(x, bits));
}

static void fixed_range(double from, double to, int bits, int64_t *out)
{
    out[0] = fixed(from, bits);
    out[1] = fixed(to, bits) - out[0];
}

/* Of the logarithm of a ratio, half of which each side has. */
static void fixed_ratios(double from, double to, int64_t *out)
{
    fixed_range(log2(from) / 2, log2(to) / 2, 26, out);
}

/* The factors of a setting s: from max(0, 1 - s) to 1 + s. */
static void fixed_factors(double s, int64_t *out)
{
    fixed_range(s < 1 ? 1 - s : 0, 1 + s, 16, out);
    out[1]++;
}

/* torchvision's central crop: as much of the image as has a ratio that is wanted. */
static void central_crop(const double *ratio, const int32_t *dims, int64_t *out)
{
    double is = (double)dims[2] / dims[1];
    out[0] = is < ratio[0] ? llround(dims[2] / ratio[0]) : dims[1];
    out[1] = is > ratio[1] ? llround(dims[1] * ratio[1]) : dims[2];
    for (int i = 0; i < 2; i++)
        out[i] = smaller(larger(out[i], 1), dims[1 + i]);
}

AugmentConstants augment_constants(Op op, const AugmentAttr *a, const int32_t *dims)
{
    AugmentConstants c = {{0}};
    const double *x = a->number;
    int64_t *to = c.number;
    if (op == OP_RANDOM_CROP) {
        to[0] = (int64_t)x[0];
    } else if (op == OP_RANDOM_HORIZONTAL_FLIP) {
        to[0] = fixed(x[0], 24);
    } else if (op == OP_RANDOM_ROTATION) {
        to[0] = fixed(x[0] / 360, 32);
    } else if (op == OP_RANDOM_ERASING) {
        to[0] = fixed(x[0], 24);
        fixed_range(x[1], x[2], 30, to + 1);
        fixed_ratios(ERASING_LEAST_RATIO, ERASING_MOST_RATIO, to + 3);
    } else if (op == OP_RANDOM_RESIZED_CROP) {
        fixed_range(x[0], x[1], 30, to);
        fixed_ratios(x[2], x[3], to + 2);
        central_crop(x + 2, dims, to + 4);
    } else if (op == OP_COLOR_JITTER) {
        for (int i = 0; i < 3; i++)
            fixed_factors(x[i], to + 2 * i);
    } else {
        internal_error("%s does not augment", op_name(op));
    }
    return c;
}

bool augment_needs_mean(Op op, const AugmentAttr *a)
{
    return op == OP_COLOR_JITTER && a->number[1] > 0;
}

/* ---- types ---- */

static bool infer_augment(const Infer *f)
{
    if (!type_expect(f, 0, "image", DT_U8, 4) || !type_expect(f, 1, "seed", DT_I32, 0) ||
        !type_expect(f, 2, "epoch", DT_I32, 0) || !type_expect(f, 3, "index", DT_I32, 1) ||
        !type_expect_extent(f, 3, "index", 0, type_dims(f, 0)[0]))
        return false;
    const char *fault = augment_fault(f->op, &f->attr->augment, type_dims(f, 0));
    if (fault)
        return type_fault(f, "%s", fault);
    return type_give(f, DT_U8, f->in[0]->tensor.shape);
}

/* ---- values: one image ---- */

/* An image before and behind an op, whole numbers from 0 to 255, and what the op draws from. */
typedef struct Picture {
    const double *from;
    double *to;
    int h, w, c;
    const int64_t *k; /* constants */
    uint32_t seed, draw, epoch, index;
} Picture;

static void draw_block(const Picture *p, uint32_t block, uint32_t word[4])
{
    word[0] = p->index;
    word[1] = p->epoch;
    word[2] = block;
    word[3] = AUGMENT_TAG;
    eval_philox(word, p->seed, p->draw);
}

/* From 0 to n - 1. */
static int64_t among(uint32_t word, int64_t n)
{
    return (int64_t)((uint64_t)word * (uint64_t)n >> 32);
}

static bool happens(uint32_t word, int64_t p)
{
    return (int64_t)(word >> 8) < p;
}

static int64_t pixel(const Picture *p, int64_t y, int64_t x, int c)
{
    bool inside = y >= 0 && y < p->h && x >= 0 && x < p->w;
    return inside ? (int64_t)p->from[(y * p->w + x) * p->c + c] : 0;
}

static void set_pixel(const Picture *p, int y, int x, int c, int64_t value)
{
    p->to[((int64_t)y * p->w + x) * p->c + c] = (double)value;
}

static void picture_crop(const Picture *p)
{
    uint32_t word[4];
    draw_block(p, 0, word);
    int64_t down = among(word[0], 2 * p->k[0] + 1) - p->k[0];
    int64_t across = among(word[1], 2 * p->k[0] + 1) - p->k[0];
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++)
            for (int c = 0; c < p->c; c++)
                set_pixel(p, y, x, c, pixel(p, y + down, x + across, c));
}

static void picture_flip(const Picture *p)
{
    uint32_t word[4];
    draw_block(p, 0, word);
    bool flipped = happens(word[0], p->k[0]);
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++)
            for (int c = 0; c < p->c; c++)
                set_pixel(p, y, x, c, pixel(p, y, flipped ? p->w - 1 - x : x, c));
}

/* ---- angles ---- */

/* Q30: 1 - square / (k (k + 1)) (1 - square / ((k + 2) (k + 3)) (...)), as far as counts: of k = 2
 * the sine by the angle, of k = 1 the cosine. */
static int64_t turn_series(int64_t square, int k)
{
    int64_t one = INT64_C(1) << 30, sum = one;
    for (int n = k + 8; n >= k; n -= 2)
        sum = one - (square * sum >> 30) / (n * (n + 1));
    return sum;
}

/* Sine and cosine, Q24, of an angle in turns Q32. */
static void sine_cosine(int64_t turns, int64_t *sine, int64_t *cosine)
{
    int64_t quarter = INT64_C(1) << 30;
    int64_t quarters = (turns + quarter / 2) >> 30, rest = turns - quarters * (INT64_C(1) << 30);
    int64_t size = rest < 0 ? -rest : rest;
    int64_t angle = size * INT64_C(1686629713) >> 30, square = angle * angle >> 30; /* Q30 */
    int64_t s = ((angle * turn_series(square, 2) >> 30) + 32) >> 6;
    int64_t c = (turn_series(square, 1) + 32) >> 6;
    s = rest < 0 ? -s : s;
    *sine = quarters & 1 ? c : s;
    *cosine = quarters & 1 ? -s : c;
    if (quarters & 2)
        *sine = -*sine, *cosine = -*cosine;
}

/* Nearest: torchvision's default. Counterclockwise around the centre. */
static void picture_rotate(const Picture *p)
{
    uint32_t word[4];
    int64_t sine, cosine;
    draw_block(p, 0, word);
    sine_cosine(among(word[0], 2 * p->k[0] + 1) - p->k[0], &sine, &cosine);
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++) {
            int64_t right = 2 * x - (p->w - 1), below = 2 * y - (p->h - 1);
            int64_t across = cosine * right - sine * below, down = sine * right + cosine * below;
            int64_t to_x = (across + ((int64_t)p->w << 24)) >> 25;
            int64_t to_y = (down + ((int64_t)p->h << 24)) >> 25;
            for (int c = 0; c < p->c; c++)
                set_pixel(p, y, x, c, pixel(p, to_y, to_x, c));
        }
}

/* ---- boxes ---- */

static uint64_t whole_root(uint64_t x)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((root + bit) * (root + bit) <= x)
            root += bit;
    return root;
}

/* 2^x, both Q26, |x| <= 3. */
static int64_t power_of_two(int64_t x)
{
    int64_t one = INT64_C(1) << 30, sum = one;
    int64_t whole = x >> 26, part = x - whole * (INT64_C(1) << 26);
    int64_t y = (part << 4) * INT64_C(744261118) >> 30;
    for (int n = 9; n > 0; n--)
        sum = one + (y * sum >> 30) / n;
    return sum >> (4 - whole);
}

typedef struct Box {
    int64_t first, second; /* sides; first / second is the ratio that was drawn */
} Box;

/* k: area and ratio. */
static Box draw_box(const Picture *p, const int64_t *k, const uint32_t word[4])
{
    int64_t part = k[0] + among(word[0], k[1]), half = k[2] + among(word[1], k[3]);
    int64_t root = (int64_t)whole_root((uint64_t)p->h * (uint64_t)p->w * (uint64_t)part);
    int64_t rounding = INT64_C(1) << 40;
    return (Box){(root * power_of_two(half) + rounding) >> 41,
                 (root * power_of_two(-half) + rounding) >> 41};
}

static void copy_picture(const Picture *p)
{
    memcpy(p->to, p->from, (size_t)p->h * (size_t)p->w * (size_t)p->c * sizeof *p->to);
}

static void erase(const Picture *p, int64_t top, int64_t left, int64_t h, int64_t w)
{
    for (int64_t y = top; y < top + h; y++)
        for (int64_t x = left; x < left + w; x++)
            for (int c = 0; c < p->c; c++)
                set_pixel(p, (int)y, (int)x, c, 0);
}

static void picture_erase(const Picture *p)
{
    uint32_t word[4];
    copy_picture(p);
    draw_block(p, 0, word);
    if (!happens(word[0], p->k[0]))
        return;
    for (uint32_t attempt = 1; attempt <= ATTEMPTS; attempt++) {
        draw_block(p, attempt, word);
        Box box = draw_box(p, p->k + 1, word);
        if (box.first >= p->h || box.second >= p->w)
            continue;
        erase(p, among(word[2], p->h - box.first + 1), among(word[3], p->w - box.second + 1),
              box.first, box.second);
        return;
    }
}

/* Where position `at` of `out` is between those of a part of `size`: from its start, and 4096ths
 * of the way to the next. F.interpolate(mode='bilinear', align_corners=False). */
static void part_axis(int at, int64_t size, int out, int64_t *low, int64_t *high, int64_t *way)
{
    int64_t place = (2 * (int64_t)at + 1) * size - out;
    place = place < 0 ? 0 : place;
    *low = place / (2 * out);
    *high = *low < size - 1 ? *low + 1 : *low;
    *way = (place % (2 * out) * 4096 + out) / (2 * out);
}

static void enlarge(const Picture *p, int64_t top, int64_t left, int64_t h, int64_t w)
{
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++) {
            int64_t y0, y1, down, x0, x1, across;
            part_axis(y, h, p->h, &y0, &y1, &down);
            part_axis(x, w, p->w, &x0, &x1, &across);
            for (int c = 0; c < p->c; c++) {
                int64_t above = pixel(p, top + y0, left + x0, c) * (4096 - across) +
                                pixel(p, top + y0, left + x1, c) * across;
                int64_t below = pixel(p, top + y1, left + x0, c) * (4096 - across) +
                                pixel(p, top + y1, left + x1, c) * across;
                set_pixel(p, y, x, c,
                          (above * (4096 - down) + below * down + (1 << 23)) >> 24);
            }
        }
}

static void picture_resized_crop(const Picture *p)
{
    uint32_t word[4];
    for (uint32_t attempt = 1; attempt <= ATTEMPTS; attempt++) {
        draw_block(p, attempt, word);
        Box box = draw_box(p, p->k, word);
        int64_t w = box.first, h = box.second;
        if (w < 1 || w > p->w || h < 1 || h > p->h)
            continue;
        enlarge(p, among(word[2], p->h - h + 1), among(word[3], p->w - w + 1), h, w);
        return;
    }
    enlarge(p, (p->h - p->k[4]) / 2, (p->w - p->k[5]) / 2, p->k[4], p->k[5]);
}

/* ---- colours ---- */

static int64_t clamped(int64_t x)
{
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

/* 0.2989 R + 0.587 G + 0.114 B, rounded down; of one channel, itself. */
static int64_t gray_of(const Picture *p, const int64_t *v)
{
    return p->c == 3 ? (19589 * v[0] + 38470 * v[1] + 7471 * v[2]) >> 16 : v[0];
}

/* The pixel in the colours of the factor of brightness. */
static void bright_pixel(const Picture *p, int y, int x, int64_t factor, int64_t *v)
{
    for (int c = 0; c < p->c; c++)
        v[c] = clamped(pixel(p, y, x, c) * factor >> 16);
}

/* The mean of the gray picture, Q8. */
static int64_t mean_gray(const Picture *p, int64_t brightness)
{
    int64_t sum = 0, pixels = (int64_t)p->h * p->w, v[MAX_IMAGE_CHANNELS];
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++) {
            bright_pixel(p, y, x, brightness, v);
            sum += gray_of(p, v);
        }
    return (sum * 256 + pixels / 2) / pixels;
}

/* ColorJitter, in the fixed order brightness, contrast, saturation. */
static void picture_jitter(const Picture *p)
{
    uint32_t word[4];
    int64_t factor[3], v[MAX_IMAGE_CHANNELS], one = 1 << 16;
    draw_block(p, 0, word);
    for (int i = 0; i < 3; i++)
        factor[i] = p->k[2 * i] + among(word[i], p->k[2 * i + 1]);
    int64_t base = (one - factor[1]) * mean_gray(p, factor[0]) >> 8;
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++) {
            bright_pixel(p, y, x, factor[0], v);
            for (int c = 0; c < p->c; c++)
                v[c] = clamped((factor[1] * v[c] + base) >> 16);
            int64_t gray = gray_of(p, v);
            for (int c = 0; c < p->c; c++)
                set_pixel(p, y, x, c,
                          clamped((factor[2] * v[c] + (one - factor[2]) * gray) >> 16));
        }
}

/* ---- values: the batch ---- */

static void eval_pictures(Eval *e, const Node *n, void (*change)(const Picture *p))
{
    Map x = eval_map(e, n->in[0]), y = eval_map(e, n);
    AugmentConstants k = augment_constants(n->op, &n->attr.augment, n->tensor.shape.dim);
    const double *index = eval_value(e, n->in[3]);
    Picture p = {.h = y.h, .w = y.w, .c = y.c, .k = k.number,
                 .seed = (uint32_t)(int32_t)*eval_value(e, n->in[1]),
                 .draw = (uint32_t)n->attr.augment.draw,
                 .epoch = (uint32_t)(int32_t)*eval_value(e, n->in[2])};
    for (int i = 0; i < y.n; i++) {
        p.from = map_at(&x, i, 0, 0);
        p.to = map_at(&y, i, 0, 0);
        p.index = (uint32_t)(int32_t)index[i];
        change(&p);
    }
}

static void eval_random_crop(Eval *e, const Node *n)
{
    eval_pictures(e, n, picture_crop);
}

static void eval_random_resized_crop(Eval *e, const Node *n)
{
    eval_pictures(e, n, picture_resized_crop);
}

static void eval_random_horizontal_flip(Eval *e, const Node *n)
{
    eval_pictures(e, n, picture_flip);
}

static void eval_random_rotation(Eval *e, const Node *n)
{
    eval_pictures(e, n, picture_rotate);
}

static void eval_random_erasing(Eval *e, const Node *n)
{
    eval_pictures(e, n, picture_erase);
}

static void eval_color_jitter(Eval *e, const Node *n)
{
    eval_pictures(e, n, picture_jitter);
}

/* Nothing is rounded that could be rounded otherwise. */
static void spread_augment(Eval *e, const Node *n)
{
    double *square = eval_value(e, n);
    for (int64_t i = eval_elements(e, n) - 1; i >= 0; i--)
        square[i] = 0;
}

#define AUGMENT(id, eval)                                                                          \
    OP_RULE(augment, id) = {infer_augment, eval, spread_augment, no_gradient, no_work}

AUGMENT(RANDOM_CROP, eval_random_crop);
AUGMENT(RANDOM_RESIZED_CROP, eval_random_resized_crop);
AUGMENT(RANDOM_HORIZONTAL_FLIP, eval_random_horizontal_flip);
AUGMENT(RANDOM_ROTATION, eval_random_rotation);
AUGMENT(RANDOM_ERASING, eval_random_erasing);
AUGMENT(COLOR_JITTER, eval_color_jitter);

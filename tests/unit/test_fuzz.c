/* Files that are cut off or corrupt: every truncation and random corruptions of each kind of file
 * that a trainer reads. Each must load or be refused with a message; the address sanitizer, where
 * it is on, sees what reads out of bounds. FUZZ=N: corruptions a kind (default 400; truncations are
 * thinned out below 10,000), FUZZ_SEED: another course of them. */
#include "../../ir/ir.h"
#include "../../runtime/train/train.h"
#include "sets.h"
#include "tiny_plan.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* after stdio.h */
#include <gif_lib.h>
#include <jpeglib.h>
#include <webp/encode.h>
#include <zlib.h>

enum { WHOLE = 10000, DEFAULT_ROUNDS = 400, DEFAULT_STRIDE = 5, MOST_BYTES = 1 << 16 };

static char directory[] = "/tmp/ninc-test-XXXXXX";

typedef struct Bytes {
    uint8_t data[MOST_BYTES];
    size_t count;
} Bytes;

/* A kind of file: its name in the directory; what writes sound ones; what reads it (0 or -1). */
typedef struct Subject {
    const char *file;
    void (*make)(void);
    int (*load)(void);
} Subject;

static const char *at(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void read_whole(const char *name, Bytes *out)
{
    FILE *f = fopen(at(name), "rb");
    ck_assert_msg(f != NULL, "%s was not made", name);
    out->count = fread(out->data, 1, MOST_BYTES, f);
    ck_assert_uint_gt(out->count, 0);
    ck_assert_uint_lt(out->count, MOST_BYTES);
    fclose(f);
}

static void write_bytes(const char *name, const uint8_t *data, size_t count)
{
    FILE *f = fopen(at(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, count, f), count);
    ck_assert_int_eq(fclose(f), 0);
}

/* ---- corruption ---- */

static int rounds(void)
{
    return getenv("FUZZ") ? atoi(getenv("FUZZ")) : DEFAULT_ROUNDS;
}

static uint64_t seed(void)
{
    return getenv("FUZZ_SEED") ? strtoull(getenv("FUZZ_SEED"), NULL, 10) : 1;
}

static size_t below(Random *r, size_t n)
{
    return random_below(r, (uint32_t)n);
}

/* Flips a bit, sets a byte (often to an extreme), removes, repeats or moves a few bytes. */
static void corrupt_once(Bytes *b, Random *r)
{
    static const uint8_t extremes[] = {0, 1, 0x7f, 0x80, 0xff, '"', '9', '-', '{', ']'};
    size_t from = below(r, b->count), to = below(r, b->count), n = 1 + below(r, 8);
    if (n > b->count - (from > to ? from : to))
        n = b->count - (from > to ? from : to);
    switch (below(r, 5)) {
    case 0: b->data[from] ^= (uint8_t)(1u << below(r, 8)); break;
    case 1: b->data[from] = extremes[below(r, sizeof extremes)]; break;
    case 2: b->data[from] = (uint8_t)below(r, 256); break;
    case 3: memmove(b->data + to, b->data + from, n); break;
    default:
        if (b->count > n) {
            memmove(b->data + from, b->data + from + n, b->count - from - n);
            b->count -= n;
        }
    }
}

/* Half of the changes go to the first 128 bytes, where headers are. */
static Bytes corrupted(const Bytes *sound, Random *r)
{
    Bytes b = *sound, head = *sound;
    for (size_t edits = 1 + below(r, 4); edits > 0; edits--) {
        head.count = b.count < 128 ? b.count : 128;
        if (below(r, 2) || b.count <= 128) {
            corrupt_once(&b, r);
            continue;
        }
        memcpy(head.data, b.data, head.count);
        size_t kept = head.count;
        corrupt_once(&head, r);
        memcpy(b.data, head.data, head.count);
        memmove(b.data + head.count, b.data + kept, b.count - kept);
        b.count -= kept - head.count;
    }
    return b;
}

/* Loads what lies there now: in order, or refused with a message. */
static bool loads(const Subject *s)
{
    char text[512];
    Messages before = fault_silence(text, sizeof text);
    int status = s->load();
    fault_release(before);
    ck_assert_msg(status == 0 || status == -1, "%s: status %d", s->file, status);
    ck_assert_msg((status == -1) == (text[0] != '\0'), "%s: status %d, message '%s'", s->file,
                  status, text);
    return status == 0;
}

/* ---- safetensors ---- */

static void make_weights(void)
{
    Weights *w = weights_new(&ninc_model);
    weights_init(w, 7);
    ck_assert_int_eq(safetensors_write(at("model.safetensors"), w), 0);
    weights_free(w);
}

static int load_weights(void)
{
    Weights *w = weights_new(&ninc_model);
    int status = safetensors_read(at("model.safetensors"), w);
    weights_free(w);
    return status;
}

/* As another program writes them: a prefix, a linear layer, a tensor beside. */
static void make_foreign(void)
{
    float value[TINY_CLASSES * TINY_PIXELS] = {1, 2, 3};
    NamedTensor item[] = {
        {"module.fc.weight", {2, {TINY_CLASSES, TINY_PIXELS}}, value, false},
        {"module.fc.bias", {1, {TINY_CLASSES}}, value, false},
        {"module.bn.num_batches_tracked", {0, {0}}, value, true},
    };
    TensorList list = {.what = "the parameters", .model = "other", .item = item, .count = 3};
    ck_assert_int_eq(tensors_write(at("foreign.safetensors"), &list), 0);
}

static int load_foreign(void)
{
    Weights *w = weights_new(&ninc_model);
    int status = safetensors_read_foreign(at("foreign.safetensors"), w);
    weights_free(w);
    return status;
}

/* ---- checkpoints ---- */

#define STEP "run/step-00000003"

static void make_checkpoint(void)
{
    char run[256], command[300];
    DeviceOptions none = {.threads = 1, .with_train = true};
    Weights *w = weights_new(&ninc_model), *copy = weights_new_with_moments(&ninc_model);
    Device *d = ninc_cpu_device.open(&ninc_model, &none);
    RunState state = {.step = 3, .epochs = 1, .training_images = 7, .best_accuracy = -1};
    strcpy(run, at("run"));
    snprintf(command, sizeof command, "rm -rf %s", run);
    ck_assert_int_eq(system(command), 0);
    weights_init(w, 7);
    ck_assert_int_eq(weights_to_device(w, &ninc_cpu_device, d), 0);
    Checkpoints *c = checkpoints_open(&(CheckpointOptions){.directory = run}, copy);
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(checkpoints_write(c, &state, &ninc_cpu_device, d), 0);
    ck_assert_int_eq(checkpoints_wait(c), 0);
    checkpoints_close(c);
    ninc_cpu_device.close(d);
    weights_free(copy);
    weights_free(w);
}

static int load_checkpoint(void)
{
    RunState state;
    Weights *w = weights_new_with_moments(&ninc_model);
    int status = checkpoint_load(at(STEP), &state, w);
    weights_free(w);
    return status;
}

/* ---- IDX ---- */

enum { IMAGES = 12 };

static void put_sizes(gzFile f, uint8_t rank, const uint32_t *dim, uint8_t type)
{
    uint8_t magic[4] = {0, 0, type, rank};
    gzwrite(f, magic, 4);
    for (int i = 0; i < rank; i++) {
        uint8_t raw[4] = {(uint8_t)(dim[i] >> 24), (uint8_t)(dim[i] >> 16), (uint8_t)(dim[i] >> 8),
                          (uint8_t)dim[i]};
        gzwrite(f, raw, 4);
    }
}

/* mode: wb, compressed, or wbT, plain */
static void make_idx(const char *images, const char *labels, const char *mode)
{
    const uint32_t dim[3] = {IMAGES, TINY_SIDE, TINY_SIDE};
    gzFile f = gzopen(at(images), mode);
    put_sizes(f, 3, dim, 0x08);
    for (int i = 0; i < IMAGES * TINY_PIXELS; i++)
        gzputc(f, i * 37 % 251);
    ck_assert_int_eq(gzclose(f), Z_OK);
    f = gzopen(at(labels), mode);
    put_sizes(f, 1, dim, 0x08);
    for (int i = 0; i < IMAGES; i++)
        gzputc(f, i % TINY_CLASSES);
    ck_assert_int_eq(gzclose(f), Z_OK);
}

static void make_plain(void)
{
    make_idx("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "wbT");
}

static void make_gzipped(void)
{
    make_idx("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "wb");
}

static int load_split(Split split)
{
    Dataset d;
    int status = dataset_read(&ninc_model, directory, 1, split, &d);
    dataset_free(&d);
    return status;
}

static int load_train(void)
{
    return load_split(SPLIT_TRAIN);
}

static int load_test(void)
{
    return load_split(SPLIT_TEST);
}

/* Pixels as floats, labels as 32-bit integers. */
static void make_wide(void)
{
    const uint32_t dim[3] = {IMAGES, TINY_SIDE, TINY_SIDE};
    char run[300];
    snprintf(run, sizeof run, "mkdir -p %s", at("wide"));
    ck_assert_int_eq(system(run), 0);
    gzFile f = gzopen(at("wide/train-images-idx3-ubyte"), "wbT");
    put_sizes(f, 3, dim, 0x0D);
    for (int i = 0; i < IMAGES * TINY_PIXELS; i++)
        gzwrite(f, "\x42\x7c\0", 4); /* 63 */
    ck_assert_int_eq(gzclose(f), Z_OK);
    f = gzopen(at("wide/train-labels-idx1-ubyte"), "wbT");
    put_sizes(f, 1, dim, 0x0C);
    for (int i = 0; i < IMAGES; i++)
        gzwrite(f, "\0\0\0\1", 4);
    ck_assert_int_eq(gzclose(f), Z_OK);
}

static int load_wide(void)
{
    Dataset d;
    int status = dataset_read(&ninc_model, at("wide"), 1, SPLIT_TRAIN, &d);
    dataset_free(&d);
    return status;
}

/* ---- data sets in other formats ---- */

static const char *place(const char *name)
{
    static char path[300];
    char command[400];
    snprintf(path, sizeof path, "%s", at(name));
    *strrchr(path, '/') = '\0';
    snprintf(command, sizeof command, "mkdir -p %s", path);
    ck_assert_int_eq(system(command), 0);
    return at(name);
}

static int load_set(const char *name, int side, int channels, int classes)
{
    NincModel model = ninc_model;
    Dataset d;
    model.image_h = model.image_w = side;
    model.image_c = channels;
    model.classes = classes;
    int status = dataset_read(&model, at(name), 1, SPLIT_TRAIN, &d);
    dataset_free(&d);
    return status;
}

static void make_stored(void)
{
    set_write_keras(place("stored/set.npz"), 0);
}

static void make_deflated(void)
{
    set_write_keras(place("deflated/set.npz"), 9);
}

static int load_stored(void)
{
    return load_set("stored/set.npz", TINY_SIDE, 1, TINY_CLASSES);
}

static int load_deflated(void)
{
    return load_set("deflated/set.npz", TINY_SIDE, 1, TINY_CLASSES);
}

static void make_mat(void)
{
    SetFile f = set_svhn(false);
    set_write(place("mat/train_32x32.mat"), &f, "wbT");
}

static void make_packed_mat(void)
{
    SetFile f = set_svhn(true);
    set_write(place("packed_mat/train_32x32.mat"), &f, "wbT");
}

static int load_mat(void)
{
    return load_set("mat", TINY_SIDE, 1, TINY_CLASSES);
}

static int load_packed_mat(void)
{
    return load_set("packed_mat", TINY_SIDE, 1, TINY_CLASSES);
}

static void make_cifar(void)
{
    SetFile f = set_cifar(3, 1, 2);
    set_write(place("cifar/train.bin"), &f, "wbT");
}

static int load_cifar(void)
{
    return load_set("cifar", 32, 3, 100);
}

static void make_stl10(void)
{
    SetFile x = {.count = 0}, y = {.bytes = {7}, .count = 1};
    set_put_planes(&x, 3, 96, true);
    set_write(place("stl10/train_X.bin.gz"), &x, "wb");
    set_write(place("stl10/train_y.bin"), &y, "wbT");
}

static int load_stl10(void)
{
    return load_set("stl10", 96, 3, 10);
}

static void make_csv(void)
{
    SetFile f = set_csv("\r\n");
    set_write(place("csv/train.csv"), &f, "wbT");
}

static void make_packed_csv(void)
{
    SetFile f = set_csv("\n");
    set_write(place("packed_csv/train.csv.gz"), &f, "wb");
}

static int load_csv(void)
{
    return load_set("csv/train.csv", TINY_SIDE, 1, TINY_CLASSES);
}

static int load_packed_csv(void)
{
    return load_set("packed_csv", TINY_SIDE, 1, TINY_CLASSES);
}

/* ---- texts ---- */

static void make_names(void)
{
    /* Without the last letter, or half of it, the third name is none. */
    static const char text[] = "\xef\xbb\xbf one \r\n\ttwo\r\n\xc3\xa9";
    write_bytes("names.txt", (const uint8_t *)text, sizeof text - 1);
}

static int load_names(void)
{
    ClassNames names;
    int status = class_names_read(&ninc_model, &(NameSource){.file = at("names.txt")}, &names);
    class_names_free(&names);
    return status;
}

/* ---- images ---- */

static Image make_image(void)
{
    Image image;
    ck_assert_int_eq(image_new("noise", 20, 24, 3, &image), 0);
    for (int i = 0; i < 20 * 24 * 3; i++)
        image.pixel[i] = (uint8_t)(i * 31 % 253);
    return image;
}

static void make_png(void)
{
    Image image = make_image();
    ck_assert_int_eq(image_write_png(at("image.png"), &image), 0);
    image_free(&image);
}

static void make_ppm(void)
{
    Image image = make_image();
    FILE *f = fopen(at("image.ppm"), "wb");
    fprintf(f, "P6\n# noise\n%d %d\n255\n", image.w, image.h);
    fwrite(image.pixel, 3, (size_t)image.w * (size_t)image.h, f);
    ck_assert_int_eq(fclose(f), 0);
    image_free(&image);
}

/* The image's bytes as pixels of `channels`, with the Exif data of a camera that was held upright.
 */
static void write_jpeg(const char *name, int channels)
{
    static const uint8_t exif[] = "Exif\0\0MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0\6\0\0\0\0\0";
    Image image = make_image();
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(at(name), "wb");
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, f);
    jpeg.image_width = (JDIMENSION)(image.w * 3 / channels);
    jpeg.image_height = (JDIMENSION)image.h;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
    for (JSAMPROW row = image.pixel; jpeg.next_scanline < jpeg.image_height; row += 3 * image.w)
        jpeg_write_scanlines(&jpeg, &row, 1);
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    ck_assert_int_eq(fclose(f), 0);
    image_free(&image);
}

static void make_jpeg(void)
{
    write_jpeg("image.jpg", 3);
}

static void make_cmyk(void)
{
    write_jpeg("cmyk.jpg", 4);
}

static void write_webp(const char *name, bool lossless)
{
    Image image = make_image();
    uint8_t *bytes;
    size_t size = lossless
                      ? WebPEncodeLosslessRGB(image.pixel, image.w, image.h, 3 * image.w, &bytes)
                      : WebPEncodeRGB(image.pixel, image.w, image.h, 3 * image.w, 50, &bytes);
    write_bytes(name, bytes, size);
    WebPFree(bytes);
    image_free(&image);
}

static void make_webp(void)
{
    write_webp("lossy.webp", false);
}

static void make_lossless(void)
{
    write_webp("lossless.webp", true);
}

/* Interlaced, with a transparent colour. */
static void make_gif(void)
{
    static GifColorType colour[256];
    int error;
    Image image = make_image();
    ColorMapObject *map = GifMakeMapObject(256, colour);
    GifFileType *gif = EGifOpenFileName(at("image.gif"), false, &error);
    ck_assert_ptr_nonnull(gif);
    EGifSetGifVersion(gif, true);
    ck_assert_int_eq(EGifPutScreenDesc(gif, image.w, image.h, 8, 0, map), GIF_OK);
    EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, 4, "\1\0\0\7");
    EGifPutImageDesc(gif, 0, 0, image.w, image.h, true, NULL);
    for (int y = 0; y < image.h; y++)
        ck_assert_int_eq(EGifPutLine(gif, image.pixel + y * image.w, image.w), GIF_OK);
    ck_assert_int_eq(EGifCloseFile(gif, &error), GIF_OK);
    GifFreeMapObject(map);
    image_free(&image);
}

/* 24 bits a pixel, rows from the bottom. */
static void make_bmp(void)
{
    Image image = make_image();
    uint8_t head[54] = {'B', 'M', 0, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40};
    FILE *f = fopen(at("image.bmp"), "wb");
    head[18] = (uint8_t)image.w;
    head[22] = (uint8_t)image.h;
    head[26] = 1;
    head[28] = 24;
    fwrite(head, 1, sizeof head, f);
    fwrite(image.pixel, 3, (size_t)image.w * (size_t)image.h, f);
    ck_assert_int_eq(fclose(f), 0);
    image_free(&image);
}

static int load_image(const char *name)
{
    Image image = {0};
    int status = image_read(at(name), &image);
    image_free(&image);
    return status;
}

static int load_png(void)
{
    return load_image("image.png");
}

static int load_jpeg(void)
{
    return load_image("image.jpg");
}

static int load_cmyk(void)
{
    return load_image("cmyk.jpg");
}

static int load_ppm(void)
{
    return load_image("image.ppm");
}

static int load_webp(void)
{
    return load_image("lossy.webp");
}

static int load_lossless(void)
{
    return load_image("lossless.webp");
}

static int load_gif(void)
{
    return load_image("image.gif");
}

static int load_bmp(void)
{
    return load_image("image.bmp");
}

/* ---- */

static const Subject subjects[] = {
    {"model.safetensors", make_weights, load_weights},
    {"foreign.safetensors", make_foreign, load_foreign},
    {STEP "/model.safetensors", make_checkpoint, load_checkpoint},
    {STEP "/optimizer.safetensors", make_checkpoint, load_checkpoint},
    {STEP "/state.json", make_checkpoint, load_checkpoint},
    {"train-images-idx3-ubyte", make_plain, load_train},
    {"train-labels-idx1-ubyte", make_plain, load_train},
    {"t10k-images-idx3-ubyte.gz", make_gzipped, load_test},
    {"t10k-labels-idx1-ubyte.gz", make_gzipped, load_test},
    {"wide/train-images-idx3-ubyte", make_wide, load_wide},
    {"wide/train-labels-idx1-ubyte", make_wide, load_wide},
    {"stored/set.npz", make_stored, load_stored},
    {"deflated/set.npz", make_deflated, load_deflated},
    {"mat/train_32x32.mat", make_mat, load_mat},
    {"packed_mat/train_32x32.mat", make_packed_mat, load_packed_mat},
    {"cifar/train.bin", make_cifar, load_cifar},
    {"stl10/train_X.bin.gz", make_stl10, load_stl10},
    {"stl10/train_y.bin", make_stl10, load_stl10},
    {"csv/train.csv", make_csv, load_csv},
    {"packed_csv/train.csv.gz", make_packed_csv, load_packed_csv},
    {"names.txt", make_names, load_names},
    {"image.png", make_png, load_png},
    {"image.jpg", make_jpeg, load_jpeg},
    {"cmyk.jpg", make_cmyk, load_cmyk},
    {"image.ppm", make_ppm, load_ppm},
    {"lossy.webp", make_webp, load_webp},
    {"lossless.webp", make_lossless, load_lossless},
    {"image.gif", make_gif, load_gif},
    {"image.bmp", make_bmp, load_bmp},
};

/* The end of a plain table is nowhere told: what is cut off may be whole. */
static bool is_open(const Subject *s)
{
    return s->load == load_csv;
}

enum { SUBJECTS = sizeof subjects / sizeof *subjects };

START_TEST(truncated_files)
{
    const Subject *s = &subjects[_i];
    static Bytes sound;
    s->make();
    ck_assert_msg(loads(s), "%s: the sound file is refused", s->file);
    read_whole(s->file, &sound);
    for (size_t n = 0; n < sound.count; n += rounds() < WHOLE ? DEFAULT_STRIDE : 1) {
        if (n + 1 == sound.count && sound.data[n] == '\n')
            continue; /* JSON without its last newline is whole */
        write_bytes(s->file, sound.data, n);
        ck_assert_msg(!loads(s) || is_open(s), "%s: %zu of %zu bytes are taken for whole", s->file,
                      n, sound.count);
    }
}
END_TEST

START_TEST(corrupt_files)
{
    const Subject *s = &subjects[_i];
    static Bytes sound, bad;
    Random r = random_stream(seed(), (uint64_t)_i);
    int refused = 0;
    s->make();
    read_whole(s->file, &sound);
    for (int i = 0; i < rounds(); i++) {
        bad = corrupted(&sound, &r);
        write_bytes(s->file, bad.data, bad.count);
        refused += !loads(s);
    }
    ck_assert_msg(refused > 0, "%s: seed %llu: nothing was refused", s->file,
                  (unsigned long long)seed());
}
END_TEST

/* A state.json whose sum is right whatever else it holds: what is taken is a state that a run can
 * have. */
static bool seal_state(const char *name)
{
    static const size_t flags = JSON_SORT_KEYS | JSON_REAL_PRECISION(17);
    json_t *root = json_load_file(at(name), JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return false;
    }
    json_object_del(root, "sum");
    char *text = json_dumps(root, flags | JSON_COMPACT);
    json_object_set_new(root, "sum",
                        json_integer((json_int_t)crc32(0, (Bytef *)text, (uInt)strlen(text))));
    ck_assert_int_eq(json_dump_file(root, at(name), flags), 0);
    free(text);
    json_decref(root);
    return true;
}

START_TEST(forged_states)
{
    static const char name[] = STEP "/state.json";
    static Bytes sound, bad;
    Random r = random_stream(seed(), SUBJECTS);
    int sealed = 0, refused = 0;
    make_checkpoint();
    read_whole(name, &sound);
    for (int i = 0; i < rounds(); i++) {
        char text[512];
        RunState s;
        uint32_t crc[CHECKPOINT_TENSOR_FILES];
        bad = corrupted(&sound, &r);
        write_bytes(name, bad.data, bad.count);
        if (!seal_state(name))
            continue;
        sealed++;
        fault_hold(text, sizeof text);
        int status = state_read(at(name), &ninc_model, &s, crc);
        fault_hold(NULL, 0);
        refused += status < 0;
        ck_assert_msg(status == 0 || strstr(text, "state.json"), "'%s'", text);
        ck_assert_msg(status < 0 || (s.step >= 0 && s.step <= INT32_MAX && s.epoch >= 0 &&
                                     s.images <= s.training_images && s.training_images > 0 &&
                                     s.lr >= 0 && (double)(float)s.lr < INFINITY &&
                                     s.best_accuracy >= -1 && s.best_accuracy <= 1 &&
                                     s.logged.images >= s.logged.correct && s.best_step <= s.step),
                      "a forged state is taken");
    }
    ck_assert_msg(sealed > 0 && refused > 0 && refused < sealed, "%d of %d forged ones are refused",
                  refused, sealed);
}
END_TEST

static void remove_scratch(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", directory);
}

int main(void)
{
    if (!mkdtemp(directory))
        return EXIT_FAILURE;
    Suite *suite = suite_create("fuzz");
    TCase *tests = tcase_create("files");
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, truncated_files, 0, SUBJECTS);
    tcase_add_loop_test(tests, corrupt_files, 0, SUBJECTS);
    tcase_add_test(tests, forged_states);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    remove_scratch();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

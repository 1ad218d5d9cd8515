/* The runtime by itself, on a plan written by hand: random numbers, data files, safetensors, logs,
 * the CPU device and the training loop. */
#include "tiny_step.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

static char directory[] = "/tmp/ninc-test-XXXXXX";
static char path_text[4200];

/* A path in the test's own directory, valid until the next call. */
static const char *at(const char *name)
{
    snprintf(path_text, sizeof path_text, "%s/%s", directory, name);
    return path_text;
}

static void write_file(const char *name, const void *bytes, size_t count)
{
    FILE *f = fopen(at(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, count, f), count);
    ck_assert_int_eq(fclose(f), 0);
}

/* The bytes of a file, NUL-terminated; the caller frees them. */
static char *read_file(const char *name, size_t *count)
{
    FILE *f = fopen(at(name), "rb");
    ck_assert_ptr_nonnull(f);
    char *bytes = xmalloc(1 << 20);
    *count = fread(bytes, 1, (1 << 20) - 1, f);
    bytes[*count] = '\0';
    fclose(f);
    return bytes;
}

/* ---- random ---- */

/* Known answers of Random123's kat_vectors, philox4x32 with 10 rounds. */
START_TEST(test_philox_vectors)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        philox4x32_10(known[i].counter, known[i].key, out);
        ck_assert_mem_eq(out, known[i].out, sizeof out);
    }
}
END_TEST

START_TEST(test_streams_differ)
{
    Random a = random_stream(7, 1), b = random_stream(7, 2), c = random_stream(8, 1);
    Random again = random_stream(7, 1);
    uint32_t first = random_u32(&a);
    ck_assert_uint_eq(first, random_u32(&again));
    ck_assert_uint_ne(first, random_u32(&b));
    ck_assert_uint_ne(first, random_u32(&c));
}
END_TEST

START_TEST(test_below_and_symmetric)
{
    Random r = random_stream(1, 1);
    int seen[3] = {0};
    double sum = 0;
    for (int i = 0; i < 3000; i++)
        seen[random_below(&r, 3)]++;
    for (int i = 0; i < 3; i++)
        ck_assert_int_gt(seen[i], 850);
    for (int i = 0; i < 4000; i++) {
        float x = random_symmetric(&r);
        ck_assert(x >= -1 && x < 1);
        sum += x;
    }
    ck_assert(fabs(sum / 4000) < 0.05);
}
END_TEST

START_TEST(test_permutation)
{
    enum { N = 1000 };
    int32_t a[N], b[N];
    int seen[N] = {0}, fixed = 0;
    Random first = random_stream(3, STREAM_EPOCH), second = random_stream(3, STREAM_EPOCH + 1);
    random_permutation(&first, a, N);
    random_permutation(&second, b, N);
    for (int i = 0; i < N; i++) {
        seen[a[i]]++;
        fixed += a[i] == i;
    }
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(seen[i], 1);
    ck_assert_int_lt(fixed, 10);
    ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

/* ---- init ---- */

static void check_spread(const float *value, int64_t count, double bound, double std)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < count; i++) {
        ck_assert(!(fabs(value[i]) > bound));
        sum += value[i];
        square += (double)value[i] * value[i];
    }
    ck_assert(fabs(sum / (double)count) < 0.1 * std);
    ck_assert(fabs(sqrt(square / (double)count) / std - 1) < 0.05);
}

START_TEST(test_init_ranges)
{
    static const NincStorage storage[] = {
        {"w", NULL, {DT_F32, {4, {64, 4, 3, 3}}, {0}}, NINC_ROLE_WEIGHT, 36, 576, 0},
        {"b", NULL, {DT_F32, {1, {64}}, {0}}, NINC_ROLE_BIAS, 36, 576, 9216},
        {"w.m", "w", {DT_F32, {4, {64, 4, 3, 3}}, {0}}, NINC_ROLE_MOMENT, 0, 0, 9472},
    };
    NincModel model = {
        .storages = 3, .init_std = 0.05, .target = {[NINC_CPU] = {.storage = storage}}};
    Weights *w = weights_new(&model);
    ck_assert_ptr_null(w->value[2]);
    model.init = NINC_INIT_PYTORCH;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, 1.0 / 6, 1.0 / 6 / sqrt(3));
    for (int i = 0; i < 64; i++)
        ck_assert(fabs(w->value[1][i]) <= 1.0 / 6);
    ck_assert(w->value[1][0] != 0);
    model.init = NINC_INIT_XAVIER_UNIFORM;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, sqrt(6.0 / 612), sqrt(2.0 / 612));
    ck_assert(w->value[1][5] == 0);
    model.init = NINC_INIT_KAIMING_NORMAL;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, 7 * sqrt(2.0 / 36), sqrt(2.0 / 36));
    model.init = NINC_INIT_NORMAL;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, 0.35, 0.05);
    weights_free(w);
}
END_TEST

/* ---- data ---- */

/* An IDX file in memory. */
typedef struct Idx {
    uint8_t bytes[4096];
    size_t count;
} Idx;

static void put_u32(Idx *f, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        f->bytes[f->count++] = (uint8_t)(value >> shift);
}

static Idx make_images(uint32_t count, uint32_t side)
{
    Idx f = {.count = 0};
    put_u32(&f, 0x0803);
    put_u32(&f, count);
    put_u32(&f, side);
    put_u32(&f, side);
    for (uint32_t i = 0; i < count * side * side; i++)
        f.bytes[f.count++] = (uint8_t)(i * 7);
    return f;
}

static Idx make_labels(uint32_t count)
{
    Idx f = {.count = 0};
    put_u32(&f, 0x0801);
    put_u32(&f, count);
    for (uint32_t i = 0; i < count; i++)
        f.bytes[f.count++] = (uint8_t)(i % TINY_CLASSES);
    return f;
}

static void write_split(const char *part, const Idx *images, const Idx *labels)
{
    char name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    write_file(name, images->bytes, images->count);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
    write_file(name, labels->bytes, labels->count);
}

static void write_train(const Idx *images, const Idx *labels)
{
    write_split("train", images, labels);
}

static void expect_data_fault(const char *wanted)
{
    Dataset d;
    catch_errors();
    int status = dataset_read(&ninc_model, directory, 1, SPLIT_TRAIN, &d);
    expect_error(wanted);
    ck_assert_int_eq(status, -1);
    ck_assert_ptr_null(d.image);
}

START_TEST(test_idx_reads)
{
    Idx images = make_images(10, TINY_SIDE), labels = make_labels(10);
    Dataset d;
    write_train(&images, &labels);
    ck_assert_int_eq(dataset_read(&ninc_model, directory, 1, SPLIT_TRAIN, &d), 0);
    ck_assert_int_eq(d.count, 10);
    ck_assert_int_eq(d.image[17], 17 * 7);
    ck_assert_int_eq(d.label[5], 2);
    dataset_free(&d);
}
END_TEST

START_TEST(test_idx_gzip)
{
    Idx images = make_images(10, TINY_SIDE), labels = make_labels(10);
    Dataset d;
    write_train(&images, &labels);
    unlink(at("train-images-idx3-ubyte"));
    gzFile gz = gzopen(at("train-images-idx3-ubyte.gz"), "wb");
    ck_assert_int_eq(gzwrite(gz, images.bytes, (unsigned)images.count), (int)images.count);
    gzclose(gz);
    ck_assert_int_eq(dataset_read(&ninc_model, directory, 1, SPLIT_TRAIN, &d), 0);
    ck_assert_int_eq(d.image[17], 17 * 7);
    dataset_free(&d);

    size_t count;
    char *bytes = read_file("train-images-idx3-ubyte.gz", &count);
    write_file("train-images-idx3-ubyte.gz", bytes, count - 12);
    expect_data_fault("train-images-idx3-ubyte.gz is");
    bytes[count - 6] ^= 1; /* in the check sum */
    write_file("train-images-idx3-ubyte.gz", bytes, count);
    expect_data_fault("corrupt");
    free(bytes);
    unlink(at("train-images-idx3-ubyte.gz"));
}
END_TEST

START_TEST(test_idx_faults)
{
    Idx images = make_images(10, TINY_SIDE), labels = make_labels(10), bad;
    bad = images;
    bad.count -= 3;
    write_train(&bad, &labels);
    expect_data_fault("truncated");
    bad = images;
    bad.count = 6;
    write_train(&bad, &labels);
    expect_data_fault("truncated");
    bad = images;
    bad.count++;
    write_train(&bad, &labels);
    expect_data_fault("bytes after its 10 items");
    bad = images;
    bad.bytes[2] = 10;
    write_train(&bad, &labels);
    expect_data_fault("bad magic number 00000a03");
    bad = make_images(10, 5);
    write_train(&bad, &labels);
    expect_data_fault("5x5x1");
    bad = images;
    bad.bytes[4] = bad.bytes[5] = 0xff;
    write_train(&bad, &labels);
    expect_data_fault("items");
    bad = images;
    bad.bytes[4] = 0x7f;
    write_train(&bad, &labels);
    expect_data_fault("train-images-idx3-ubyte");
    bad = make_images(0, TINY_SIDE);
    write_train(&bad, &labels);
    expect_data_fault("says 0 items");
    bad = make_labels(9);
    write_train(&images, &bad);
    expect_data_fault("9 labels for 10 images");
    bad = labels;
    bad.bytes[bad.count - 1] = TINY_CLASSES;
    write_train(&images, &bad);
    expect_data_fault("label 3 of item 9 is out of range");
    unlink(at("train-labels-idx1-ubyte"));
    expect_data_fault("train-labels-idx1-ubyte.gz: No such file");
    mkdir(at("train-labels-idx1-ubyte"), 0700);
    expect_data_fault("is not a file");
    rmdir(at("train-labels-idx1-ubyte"));
}
END_TEST

/* An IDX file of `count` values in elements of a type, written by hand. */
static Idx make_elements(int type, int rank, const uint32_t *dim, const double *value)
{
    Idx f = {.count = 0};
    int count = 1;
    put_u32(&f, (uint32_t)(type << 8 | rank));
    for (int i = 0; i < rank; i++) {
        put_u32(&f, dim[i]);
        count *= (int)dim[i];
    }
    for (int i = 0; i < count; i++) {
        int64_t whole = (int64_t)value[i];
        uint64_t bits = (uint64_t)whole;
        float single = (float)value[i];
        int bytes = type < 0x0B ? 1 : type == 0x0B ? 2 : type == 0x0E ? 8 : 4;
        if (type == 0x0D)
            bits = *(uint32_t *)memcpy(&(uint32_t){0}, &single, 4);
        if (type == 0x0E)
            memcpy(&bits, &value[i], 8);
        for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
            f.bytes[f.count++] = (uint8_t)(bits >> shift);
    }
    return f;
}

enum { FEW = 2 };

/* Two images whose pixels are 0 to 31 times `step`. */
static Idx make_pixels(int type, double step)
{
    double value[FEW * TINY_PIXELS];
    for (int i = 0; i < FEW * TINY_PIXELS; i++)
        value[i] = i * step;
    return make_elements(type, 3, (uint32_t[]){FEW, TINY_SIDE, TINY_SIDE}, value);
}

static Idx make_pair(int type, double first, double second)
{
    return make_elements(type, 1, (uint32_t[]){FEW}, (double[]){first, second});
}

static void expect_pixels(const Idx *images, int step)
{
    Idx labels = make_labels(FEW);
    Dataset d;
    write_train(images, &labels);
    ck_assert_int_eq(dataset_read(&ninc_model, directory, 1, SPLIT_TRAIN, &d), 0);
    for (int i = 0; i < FEW * TINY_PIXELS; i++)
        ck_assert_int_eq(d.image[i], i * step);
    dataset_free(&d);
}

START_TEST(test_idx_pixel_types)
{
    static const int codes[] = {0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E};
    Idx labels = make_labels(FEW), images;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        images = make_pixels(codes[i], 4);
        expect_pixels(&images, 4);
    }
    for (int code = 0x0D; code <= 0x0E; code++) {
        images = make_pixels(code, 8 / 255.0);
        catch_errors();
        expect_pixels(&images, 8);
        expect_error("train-images-idx3-ubyte: its pixels are from 0 to 1 and taken times 255");
        images = make_pixels(code, 0.03);
        write_train(&images, &labels);
        expect_data_fault("the value 0.03 in item 0 cannot be a pixel");
        images = make_pixels(code, 8.5);
        write_train(&images, &labels);
        expect_data_fault("the value 8.5 in item 0 cannot be a pixel");
        images = make_pixels(code, NAN);
        write_train(&images, &labels);
        expect_data_fault("nan in item 0 cannot be a pixel");
    }
    images = make_pixels(0x0B, 9);
    write_train(&images, &labels);
    expect_data_fault("the value 261 in item 1 cannot be a pixel");
    images = make_pixels(0x09, -1);
    write_train(&images, &labels);
    expect_data_fault("the value -1 in item 0 cannot be a pixel");
}
END_TEST

/* What a model of so many classes reads of two labels. */
static int read_classes(int classes, const Idx *labels, Dataset *out)
{
    NincModel model = ninc_model;
    Idx images = make_images(FEW, TINY_SIDE);
    model.classes = classes;
    write_train(&images, labels);
    return dataset_read(&model, directory, 1, SPLIT_TRAIN, out);
}

static void expect_classes_fault(int classes, Idx labels, const char *wanted)
{
    Dataset d;
    catch_errors();
    int status = read_classes(classes, &labels, &d);
    expect_error(wanted);
    ck_assert_int_eq(status, -1);
}

START_TEST(test_idx_label_types)
{
    static const struct {
        int code, classes, label;
    } good[] = {{0x08, 256, 255},     {0x09, 128, 127},   {0x0B, 1000, 999},
                {0x0C, 65536, 65535}, {0x0D, 1000, 999}, {0x0E, 1000, 999}};
    Dataset d;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        Idx labels = make_pair(good[i].code, 0, good[i].label);
        ck_assert_int_eq(read_classes(good[i].classes, &labels, &d), 0);
        ck_assert_int_eq(d.label[0], 0);
        ck_assert_int_eq(d.label[1], good[i].label);
        dataset_free(&d);
    }
    Idx column = make_elements(0x0C, 2, (uint32_t[]){FEW, 1}, (double[]){0, 2});
    ck_assert_int_eq(read_classes(3, &column, &d), 0);
    dataset_free(&d);
    expect_classes_fault(257, make_pair(0x08, 0, 1),
                         "labels of unsigned bytes tell 256 classes apart, the model has 257");
    expect_classes_fault(129, make_pair(0x09, 0, 1), "signed bytes tell 128 classes apart");
    expect_classes_fault(1000, make_pair(0x0C, 0, 1000),
                         "label 1000 of item 1 is out of range, the model has classes 0 to 999");
    expect_classes_fault(1000, make_pair(0x0C, -1, 0), "label -1 of item 0 is out of range");
    expect_classes_fault(1000, make_pair(0x0D, 0, 1.5), "label 1.5 of item 1 is out of range");
    expect_classes_fault(
        3, make_elements(0x0C, 2, (uint32_t[]){FEW, 2}, (double[]){0, 0, 0, 0}),
        "holds 2 values an item");
}
END_TEST

/* The split is found under this name, and not under that, once both split's files are gone. */
static void rename_images(const char *from, const char *to)
{
    char old[4200];
    strcpy(old, at(from));
    ck_assert_int_eq(rename(old, at(to)), 0);
}

START_TEST(test_idx_names)
{
    static const char *const names[] = {"train-images.idx3-ubyte", "train-images.idx3-ubyte.gz",
                                        "train_images_idx3-ubyte",
                                        "train-images-idx3.ubyte", "train-images-idx3",
                                        "train-images.idx4-float"};
    Idx images = make_images(10, TINY_SIDE), labels = make_labels(10);
    Dataset d;
    const char *usual = "train-images-idx3-ubyte";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_train(&images, &labels);
        rename_images(usual, names[i]);
        ck_assert_msg(dataset_read(&ninc_model, directory, 1, SPLIT_TRAIN, &d) == 0, "%s",
                      names[i]);
        dataset_free(&d);
        rename_images(names[i], usual);
    }
    /* A directory of the name, as Kaggle's archives have it, with the file beside it. */
    rename_images(usual, names[0]);
    ck_assert_int_eq(mkdir(at(usual), 0700), 0);
    ck_assert_int_eq(dataset_read(&ninc_model, directory, 1, SPLIT_TRAIN, &d), 0);
    dataset_free(&d);
    unlink(at(names[0]));
    expect_data_fault("it is not a file; give the directory that holds the files themselves");
    rmdir(at(usual));
    write_train(&images, &labels);
    rename_images(usual, "emnist-train-images-idx3-ubyte");
    expect_data_fault("there is emnist-train-images-idx3-ubyte; rename the file");
    unlink(at("emnist-train-images-idx3-ubyte"));
}
END_TEST

START_TEST(test_data_search)
{
    Dataset d;
    catch_errors();
    int status = dataset_read(&ninc_model, "/nonexistent", 1, SPLIT_TRAIN, &d);
    expect_error("--data /nonexistent is not a directory");
    ck_assert_int_eq(status, -1);
    NincModel fashion = ninc_model;
    fashion.dataset = "fashion-mnist";
    catch_errors();
    dataset_read(&fashion, "/nonexistent", 1, SPLIT_TRAIN, &d);
    expect_error("apt install dataset-fashion-mnist");
    NincModel color = ninc_model;
    color.image_c = 3;
    catch_errors();
    dataset_read(&color, "/nonexistent", 1, SPLIT_TRAIN, &d);
    expect_error("put train-images-idx4-ubyte");
    setenv("NINC_DATA", directory, 1);
    catch_errors();
    dataset_read(&ninc_model, NULL, 1, SPLIT_TRAIN, &d);
    expect_error("/idx and /usr/share/datasets/idx");
    mkdir(at("idx"), 0700);
    catch_errors();
    dataset_read(&ninc_model, NULL, 1, SPLIT_TRAIN, &d);
    expect_error("/idx/train-images-idx3-ubyte");
    rmdir(at("idx"));
    unsetenv("NINC_DATA");
}
END_TEST

START_TEST(test_random_data)
{
    Dataset a, b;
    ck_assert_int_eq(dataset_read(&ninc_model, "random", 5, SPLIT_TRAIN, &a), 0);
    ck_assert_int_eq(dataset_read(&ninc_model, "random", 5, SPLIT_TRAIN, &b), 0);
    ck_assert_int_eq(a.count, RANDOM_TRAIN_IMAGES);
    ck_assert_mem_eq(a.image, b.image, (size_t)a.count * TINY_PIXELS);
    for (int i = 0; i < a.count; i++)
        ck_assert(a.label[i] >= 0 && a.label[i] < TINY_CLASSES);
    dataset_free(&a);
    dataset_free(&b);
}
END_TEST

/* ---- safetensors ---- */

START_TEST(test_safetensors_round_trip)
{
    Weights *w = random_weights(3), *back = weights_new(&ninc_model);
    size_t count;
    w->value[0][1] = -0.0f;
    ck_assert_int_eq(safetensors_write(at("w.safetensors"), w), 0);
    ck_assert_int_eq(safetensors_read(at("w.safetensors"), back), 0);
    ck_assert_mem_eq(w->value[0], back->value[0], TINY_CLASSES * TINY_PIXELS * 4);
    ck_assert_mem_eq(w->value[1], back->value[1], TINY_CLASSES * 4);
    char *bytes = read_file("w.safetensors", &count);
    ck_assert_int_eq((uint8_t)bytes[0] % 8, 0);
    ck_assert_ptr_nonnull(
        strstr(bytes + 8, "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[3,1,4,4]"));
    free(bytes);
    weights_free(w);
    weights_free(back);
}
END_TEST

/* A file of this header (any length field) and this much data. */
static void expect_tensor_fault(const char *header, uint64_t length, size_t data,
                                const char *wanted)
{
    Weights *w = weights_new(&ninc_model);
    char bytes[8192] = {0};
    size_t text = strlen(header);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(length >> (8 * i));
    memcpy(bytes + 8, header, text);
    write_file("bad.safetensors", bytes, 8 + text + data);
    catch_errors();
    int status = safetensors_read(at("bad.safetensors"), w);
    expect_error(wanted);
    ck_assert_int_eq(status, -1);
    weights_free(w);
}

static void expect_header_fault(const char *header, size_t data, const char *wanted)
{
    expect_tensor_fault(header, strlen(header), data, wanted);
}

#define WEIGHT(shape, from, to) \
    "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
#define BIAS(dtype, from, to) \
    "\"fc.bias\":{\"dtype\":\"" dtype "\",\"shape\":[3],\"data_offsets\":[" from "," to "]}"

START_TEST(test_safetensors_lies)
{
    expect_tensor_fault("{}", UINT64_MAX, 0, "claims 18446744073709551615 bytes");
    expect_tensor_fault("{}", 3, 0, "claims 3 bytes");
    expect_header_fault("{", 0, "not valid JSON");
    expect_header_fault("[]", 0, "not a JSON object");
    expect_header_fault("{\"fc.weight\":7}", 0, "lacks a dtype");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "192", "204") "}", 200,
                        "claims bytes 192 to 204 of 200");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "192", "204") "}", 208,
                        "4 bytes after its last tensor");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "188", "200") "}", 200,
                        "overlaps");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "196", "208") "}", 208,
                        "gap");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "100") "," BIAS("F32", "100", "112") "}", 112,
                        "not what its shape");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "-8", "184") "}", 184, "claims bytes -8");
    expect_header_fault("{" WEIGHT("[4611686018427387904,4]", "0", "0") "}", 0,
                        "not what its shape");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "99999999999999999999") "}", 0,
                        "not valid JSON");
}
END_TEST

START_TEST(test_safetensors_misfits)
{
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "}", 192,
                        "tensor fc.bias is missing");
    expect_header_fault("{" WEIGHT("[3,16]", "0", "192") "," BIAS("F32", "192", "204") "}", 204,
                        "has shape 3x16, the model needs 3x1x4x4");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("I16", "192", "198") "}", 198,
                        "dtype I16");
    expect_header_fault(
        "{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS(
            "F32", "192",
            "204") ",\"x\\u001b[2J\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[204,205]}}",
        205, "tensor x?[2J is not in the model");
    Weights *w = weights_new(&ninc_model);
    catch_errors();
    ck_assert_int_eq(safetensors_read(at("nothing"), w), -1);
    expect_error("No such file");
    catch_errors();
    ck_assert_int_eq(safetensors_read(directory, w), -1);
    expect_error(directory);
    weights_free(w);
}
END_TEST

START_TEST(test_safetensors_not_finite)
{
    static int (*const read[])(const char *, Weights *) = {safetensors_read,
                                                           safetensors_read_partial};
    Weights *w = random_weights(3), *back = weights_new(&ninc_model);
    w->value[1][0] = NAN;
    w->value[1][2] = -INFINITY;
    ck_assert_int_eq(safetensors_write(at("w.safetensors"), w), 0);
    for (int i = 0; i < 2; i++) {
        catch_errors();
        ck_assert_int_eq(read[i](at("w.safetensors"), back), -1);
        const char *said = caught();
        ck_assert_ptr_nonnull(strstr(said, "tensor fc.bias of "));
        ck_assert_ptr_nonnull(strstr(said, "w.safetensors has 2 values that are not finite"));
    }
    weights_free(w);
    weights_free(back);
}
END_TEST

/* ---- files of other programs ---- */

/* A file of this header, padded with blanks to `length` bytes, and of `count` numbers 1, 2, ... */
static void write_tensors(const char *header, size_t length, int count)
{
    char *bytes = memset(xmalloc(8 + length + (size_t)count * 4), ' ', 8 + length);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, strlen(header));
    for (int i = 0; i < count; i++)
        memcpy(bytes + 8 + length + 4 * i, &(float){(float)(i + 1)}, 4);
    write_file("foreign.safetensors", bytes, 8 + length + (size_t)count * 4);
    free(bytes);
}

typedef int ReadWeights(const char *path, Weights *w);

/* Reads a file of `count` numbers with this header; what was said, but for standard output. */
static const char *read_foreign(ReadWeights *read, const char *header, int count, int wanted)
{
    Weights *w = weights_new(&ninc_model);
    write_tensors(header, strlen(header), count);
    catch_errors();
    int status = read(at("foreign.safetensors"), w);
    const char *said = caught();
    ck_assert_msg(status == wanted, "%s", said);
    for (int i = 0; i < TINY_CLASSES * TINY_PIXELS && wanted == 0; i++)
        ck_assert(w->value[0][i] == (float)(i + 1));
    for (int i = 0; i < TINY_CLASSES && wanted == 0; i++)
        ck_assert(w->value[1][i] == (float)(TINY_CLASSES * TINY_PIXELS + i + 1));
    weights_free(w);
    return said;
}

static void expect_said(const char *said, const char *wanted)
{
    ck_assert_msg(strstr(said, wanted), "expected '%s' in: %s", wanted, said);
}

#define NAMED(name, shape, from, to) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
/* Weight and bias, 48 and 3 numbers from the start. */
#define FC(prefix, shape) \
    NAMED(prefix "fc.weight", shape, "0", "192") "," NAMED(prefix "fc.bias", "[3]", "192", "204")
#define FC_AGAIN(prefix) \
    NAMED(prefix "fc.weight", "[3,16]", "204", "396") "," \
    NAMED(prefix "fc.bias", "[3]", "396", "408")

START_TEST(test_foreign_shapes)
{
    ReadWeights *read = safetensors_read_foreign;
    ck_assert_str_eq(read_foreign(read, "{" FC("", "[3,1,4,4]") "}", 51, 0), "");
    expect_said(read_foreign(read, "{" FC("", "[3,16]") "}", 51, 0),
                "foreign.safetensors: 1 tensor is taken for the same layer in another form: "
                "fc.weight 3x16 as 3x1x4x4\n");
    expect_said(read_foreign(read, "{" FC("", "[16,3]") "}", 51, -1),
                "tensor fc.weight has shape 16x3, the model needs 3x1x4x4");
    expect_said(read_foreign(read, "{" FC("", "[3,4,4]") "}", 51, -1),
                "tensor fc.weight has shape 3x4x4, the model needs 3x1x4x4");
    expect_said(read_foreign(safetensors_read, "{" FC("", "[3,16]") "}", 51, -1),
                "tensor fc.weight has shape 3x16, the model needs 3x1x4x4");
}
END_TEST

/* The weights of a convolution for a linear layer. */
START_TEST(test_foreign_convolution)
{
    float value[48] = {0};
    NamedTensor matrix = {"fc.weight", {2, {3, 16}}, value, false};
    NamedTensor row = {"fc.weight", {1, {48}}, value, false};
    TensorList list = {.what = "the parameters", .model = "tiny", .item = &matrix, .count = 1};
    const char *header = "{" NAMED("fc.weight", "[3,1,4,4]", "0", "192") "}";
    write_tensors(header, strlen(header), 48);
    catch_errors();
    int status = tensors_read_foreign(at("foreign.safetensors"), &list);
    expect_error("fc.weight 3x1x4x4 as 3x16");
    ck_assert_int_eq(status, 0);
    ck_assert(value[0] == 1 && value[47] == 48);
    list.item = &row;
    catch_errors();
    status = tensors_read_foreign(at("foreign.safetensors"), &list);
    expect_error("has shape 3x1x4x4, the model needs 48");
    ck_assert_int_eq(status, -1);
}
END_TEST

START_TEST(test_foreign_prefixes)
{
    ReadWeights *read = safetensors_read_foreign;
    const char *said = read_foreign(read, "{" FC("module._orig_mod.", "[3,16]") "}", 51, 0);
    expect_said(said, "the prefix 'module._orig_mod.' is taken off its names");
    expect_said(said, "1 tensor is taken");
    said = read_foreign(read, "{" FC("model.", "[3,16]") "," FC_AGAIN("ema.") "}", 102, -1);
    expect_said(said, "has the parameters more than once, as ");
    expect_said(said, "ema.fc.");
    said = read_foreign(read, "{" FC("", "[3,16]") "," FC_AGAIN("ema.") "}", 102, 0);
    expect_said(said, "2 tensors are not in the model and left out: ema.fc.");
    ck_assert_ptr_null(strstr(said, "prefix"));
    said = read_foreign(read, "{" FC("module", "[3,16]") "}", 51, -1);
    expect_said(said, "tensor fc.weight is missing");
    expect_said(said, "tensor modulefc.weight is not in the model");
    expect_said(read_foreign(safetensors_read_partial, "{" FC("module.", "[3,16]") "}", 51, 0),
                "the prefix 'module.' is taken off");
    expect_said(read_foreign(safetensors_read, "{" FC("module.", "[3,1,4,4]") "}", 51, -1),
                "tensor fc.weight is missing");
}
END_TEST

START_TEST(test_foreign_extras)
{
    ReadWeights *read = safetensors_read_foreign;
    const char *said = read_foreign(read,
                                    "{\"bn.num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[],"
                                    "\"data_offsets\":[204,212]}," FC("", "[3,1,4,4]") "}",
                                    53, 0);
    expect_said(said, "1 tensor is not in the model and left out: bn.num_batches_tracked\n");
    said = read_foreign(
        read, "{" FC("m.", "[3,16]") "," NAMED("head.fc.weight", "[1]", "204", "208") "}", 52, 0);
    expect_said(said, "the prefix 'm.' is taken off");
    expect_said(said, "left out: head.fc.weight\n");
}
END_TEST

/* The first bytes of what PyTorch, NumPy and Keras write; a length that looks like them is none. */
START_TEST(test_foreign_kinds)
{
    enum { NAME_AT = 30 }; /* in a zip archive */
    static const struct {
        const char *begin, *name, *said;
    } kinds[] = {
        {"PK\3\4", "archive/data.pkl", "python3 -c"},
        {"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8", "", "is a file of PyTorch"},
        {"PK\3\4", "w.npy", "is a zip archive"},
        {"\x89HDF\r\n\x1a\n", "", "is an HDF5 file"},
    };
    Weights *w = weights_new(&ninc_model);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char bytes[80] = {0};
        memcpy(bytes, kinds[i].begin, strlen(kinds[i].begin));
        strcpy(bytes + NAME_AT, kinds[i].name);
        write_file("a b.pt", bytes, sizeof bytes);
        catch_errors();
        ck_assert_int_eq(safetensors_read_foreign(at("a b.pt"), w), -1);
        const char *said = caught();
        expect_said(said, kinds[i].said);
        ck_assert(!strstr(said, "python3") || /* with the names for a shell */
                  (strstr(said, "/a b.pt' '/") && strstr(said, "/a b.safetensors'\n")));
    }
    ck_assert_int_eq(mkdir(at("step"), 0700), 0);
    write_file("step/model.safetensors", "", 0);
    catch_errors();
    ck_assert_int_eq(safetensors_read_foreign(at("step"), w), -1);
    expect_error("step is a directory; give the file ");
    write_tensors("{" FC("", "[3,1,4,4]") "}", 0x010280, 51);
    ck_assert_int_eq(safetensors_read_foreign(at("foreign.safetensors"), w), 0);
    weights_free(w);
}
END_TEST

/* The tensors of the tiny model as doubles and as 16-bit floats. */
START_TEST(test_safetensors_dtypes)
{
    static const uint16_t half[] = {0x3c00, 0xc100, 0x0001}, brain[] = {0x3f80, 0xc020, 0x0001};
    static const float as_half[] = {1, -2.5f, 0x1p-24f}, as_brain[] = {1, -2.5f, 0x1p-133f};
    char bytes[1024] = {0};
    Weights *w = weights_new(&ninc_model);
    for (int brains = 0; brains < 2; brains++) {
        int length = snprintf(
            bytes + 8, sizeof bytes - 8,
            "{\"fc.weight\":{\"dtype\":\"F64\",\"shape\":[3,1,4,4],\"data_offsets\":[0,384]},"
            "\"fc.bias\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[384,390]}}",
            brains ? "BF16" : "F16");
        bytes[0] = (char)length;
        double *weight = xmalloc(384);
        for (int i = 0; i < 48; i++)
            weight[i] = i + 0.1;
        memcpy(bytes + 8 + length, weight, 384);
        memcpy(bytes + 8 + length + 384, brains ? brain : half, 6);
        free(weight);
        write_file("dtypes.safetensors", bytes, (size_t)length + 8 + 390);
        ck_assert_int_eq(safetensors_read(at("dtypes.safetensors"), w), 0);
        ck_assert(w->value[0][47] == 47.1f);
        ck_assert_mem_eq(w->value[1], brains ? as_brain : as_half, sizeof as_half);
    }
    weights_free(w);
}
END_TEST

START_TEST(test_write_faults)
{
    Weights *w = random_weights(3);
    catch_errors();
    ck_assert_int_eq(safetensors_write(directory, w), -1);
    expect_error("it is a directory");
    catch_errors();
    ck_assert_int_eq(safetensors_write(at("none/w.safetensors"), w), -1);
    expect_error("No such file or directory");
    if (access("/dev/full", W_OK) == 0) {
        catch_errors();
        ck_assert_int_eq(safetensors_write("/dev/full", w), -1);
        expect_error("No space left");
    }
    write_file("target", "x", 1);
    ck_assert_int_eq(symlink("target", at("link")), 0);
    ck_assert_int_eq(safetensors_write(at("link"), w), 0);
    struct stat s;
    ck_assert_int_eq(lstat(at("link"), &s), 0);
    ck_assert(S_ISLNK(s.st_mode));
    ck_assert_int_eq(safetensors_read(at("target"), w), 0);
    weights_free(w);
}
END_TEST

/* ---- log ---- */

START_TEST(test_json_lines)
{
    Log log;
    size_t count;
    char number[32];
    LogEntry e = {.step = 100,
                  .epoch = 0,
                  .loss = NAN,
                  .accuracy = 0.25,
                  .lr = 0.001,
                  .images_per_second = INFINITY};
    ck_assert_str_eq(json_number(0.1, number), "0.1");
    ck_assert_str_eq(json_number(-INFINITY, number), "null");
    ck_assert_int_eq(log_open(&log, &(LogOptions){.json = at("log.jsonl")}, NULL), 0);
    ck_assert_int_eq(log_train(&log, &e), 0);
    char *text = read_file("log.jsonl", &count); /* before closing: flushed a line */
    ck_assert_str_eq(text, "{\"event\":\"train\",\"step\":100,\"epoch\":0,\"loss\":null,"
                           "\"accuracy\":0.25,\"lr\":0.001,\"images_per_second\":null}\n");
    free(text);
    e.loss = 2;
    ck_assert_int_eq(log_eval(&log, &e, NULL), 0);
    ck_assert_int_eq(log_close(&log), 0);
    text = read_file("log.jsonl", &count);
    ck_assert_ptr_nonnull(strstr(text, "\n{\"event\":\"eval\",\"step\":100,\"epoch\":0,\"loss\":2,"
                                       "\"accuracy\":0.25}\n"));
    free(text);
}
END_TEST

/* ---- device and loop ---- */

START_TEST(test_state_border)
{
    DeviceOptions options = {.threads = 1, .with_train = true};
    Device *d = ninc_cpu_device.open(&ninc_model, &options);
    Weights *w = random_weights(9), *back = weights_new(&ninc_model);
    float physical[TINY_LANES];
    ck_assert_int_eq(weights_to_device(w, &ninc_cpu_device, d), 0);
    ck_assert_int_eq(weights_from_device(back, &ninc_cpu_device, d), 0);
    ck_assert_mem_eq(w->value[0], back->value[0], TINY_CLASSES * TINY_PIXELS * 4);
    ninc_cpu_device.read_state(d, 0, physical, sizeof physical);
    ck_assert(physical[1] == w->value[0][TINY_PIXELS]); /* output channel 1, pixel 0 */
    ck_assert(physical[TINY_CLASSES] == 0);
    weights_free(w);
    weights_free(back);
    ninc_cpu_device.close(d);
}
END_TEST

/* What step_loss gives, by definition. */
static double reference_loss(int valid, Weights *w)
{
    const int32_t *index = some_images;
    Dataset data = random_data(5, SPLIT_TEST);
    double loss = 0, gradient[TINY_CLASSES][TINY_PIXELS] = {{0}};
    for (int n = 0; n < valid; n++) {
        const uint8_t *image = data.image + index[n] * TINY_PIXELS;
        double logit[TINY_CLASSES], sum = 0;
        for (int k = 0; k < TINY_CLASSES; k++) {
            logit[k] = w->value[1][k];
            for (int p = 0; p < TINY_PIXELS; p++)
                logit[k] += w->value[0][k * TINY_PIXELS + p] * image[p] / 255.0;
            sum += exp(logit[k]);
        }
        loss += (log(sum) - logit[data.label[index[n]]]) / valid;
        for (int k = 0; k < TINY_CLASSES; k++)
            for (int p = 0; p < TINY_PIXELS; p++)
                gradient[k][p] +=
                    (exp(logit[k]) / sum - (k == data.label[index[n]])) / valid * image[p] / 255.0;
    }
    for (int k = 0; k < TINY_CLASSES; k++)
        for (int p = 0; p < TINY_PIXELS; p++)
            w->value[0][k * TINY_PIXELS + p] -= (float)(0.5 * gradient[k][p]);
    dataset_free(&data);
    return loss;
}

START_TEST(test_step)
{
    for (int valid = 1; valid <= TINY_BATCH; valid++) {
        Weights *want = random_weights(9), *got = weights_new(&ninc_model);
        double loss = step_loss(&ninc_cpu_device, 1, valid, got);
        double wanted = reference_loss(valid, want);
        ck_assert(fabs(loss - wanted) <= 1e-6 * wanted);
        expect_weights(got, want);
        weights_free(want);
        weights_free(got);
    }
}
END_TEST

/* Chunks of one image and of two, more threads than images, and than slices. */
START_TEST(test_threads_do_not_matter)
{
    static const int threads[] = {2, 3, 8, 40};
    Weights *one = weights_new(&ninc_model), *many = weights_new(&ninc_model);
    for (int valid = 1; valid <= TINY_BATCH; valid++) {
        double loss = step_loss(&ninc_cpu_device, 1, valid, one);
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            double again = step_loss(&ninc_cpu_device, threads[i], valid, many);
            ck_assert_mem_eq(&loss, &again, sizeof loss);
            ck_assert_mem_eq(one->value[0], many->value[0], TINY_CLASSES * TINY_PIXELS * 4);
            ck_assert_mem_eq(one->value[1], many->value[1], TINY_CLASSES * 4);
        }
    }
    weights_free(one);
    weights_free(many);
}
END_TEST

START_TEST(test_exchange)
{
    expect_exchange(&ninc_cpu_device, tiny_gradient_args[2], 1);
}
END_TEST

/* Slices that read the same memory are one a thread, while there are as many. */
START_TEST(test_coarse_slices)
{
    Weights *w = weights_new(&ninc_model);
    for (int threads = 1; threads <= 40; threads += 13) {
        step_loss(&ninc_cpu_device, threads, TINY_BATCH, w);
        ck_assert_int_eq(tiny_slices, threads < TINY_PIXELS + 1 ? threads : TINY_PIXELS + 1);
    }
    weights_free(w);
}
END_TEST

/* The tiny model with a launch before the images, whose results eval keeps. */
static Device *open_keeping(NincModel *model)
{
    static const NincLaunch before[] = {{.name = "prepare", .kernel = 4, .slices = 1}};
    DeviceOptions options = {.threads = 1, .with_train = true};
    *model = ninc_model;
    NincTarget *target = &model->target[NINC_CPU];
    target->train.before = target->eval.before = before;
    target->train.befores = target->eval.befores = 1;
    target->eval.keeps_before = true;
    Device *d = ninc_cpu_device.open(model, &options);
    ck_assert_ptr_nonnull(d);
    send_weights(&ninc_cpu_device, d);
    return d;
}

/* How often two steps of eval compute what they keep. */
static int preparations(Device *d, const NincProgram *eval, const StepInput *input)
{
    tiny_prepared = 0;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(device_step(&ninc_cpu_device, d, eval, input), 0);
    return tiny_prepared;
}

/* What eval keeps is computed again when the state was written, its memory was, or another program
 * ran; train computes it in every step. */
START_TEST(test_kept_between_steps)
{
    NincModel model;
    Device *d = open_keeping(&model);
    const NincProgram *eval = &model.target[NINC_CPU].eval, *train = &model.target[NINC_CPU].train;
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, TINY_BATCH);
    double seconds = 0;
    ck_assert_int_eq(preparations(d, eval, &input), 1);
    ck_assert_int_eq(preparations(d, eval, &input), 0);
    ck_assert_int_eq(preparations(d, train, &input), 2);
    ck_assert_int_eq(preparations(d, eval, &input), 1);
    send_weights(&ninc_cpu_device, d);
    ck_assert_int_eq(preparations(d, eval, &input), 1);
    ck_assert_int_eq(ninc_cpu_device.poison(d, eval), 0);
    ck_assert_int_eq(preparations(d, eval, &input), 1);
    ck_assert_int_eq(ninc_cpu_device.write(d, &eval->output[0].at, 0, &seconds, 4), 0);
    ck_assert_int_eq(preparations(d, eval, &input), 1);
    ck_assert_int_eq(ninc_cpu_device.time(d, eval, eval->chunked, 1, &seconds), 0);
    ck_assert_int_eq(preparations(d, eval, &input), 1);
    dataset_free(&data);
    ninc_cpu_device.close(d);
}
END_TEST

/* Of the arena only the strips, of which the tiny model has none, are a thread's own. */
START_TEST(test_memory_of_threads)
{
    NincModel model = ninc_model;
    int64_t bytes[2][2];
    for (int strips = 0; strips < 2; strips++)
        for (int more = 0; more < 2; more++) {
            DeviceOptions options = {.threads = more ? 8 : 1, .with_train = true};
            model.target[NINC_CPU].train.thread_bytes = strips * 4096;
            Device *d = ninc_cpu_device.open(&model, &options);
            ck_assert_ptr_nonnull(d);
            bytes[strips][more] = ninc_cpu_device.arena_bytes(d);
            ninc_cpu_device.close(d);
        }
    ck_assert_int_eq(bytes[0][1], bytes[0][0]);
    ck_assert_int_ge(bytes[0][0], TINY_STATE + TINY_SHARED + TINY_CHUNK * TINY_LOGITS);
    ck_assert_int_eq(bytes[1][0], bytes[0][0] + 4096);
    ck_assert_int_eq(bytes[1][1], bytes[0][0] + 8 * 4096);
}
END_TEST

START_TEST(test_forced_level)
{
    DeviceOptions options = {.threads = 1};
    setenv("NINC_CPU_LEVEL", "avx9", 1);
    catch_errors();
    ck_assert_ptr_null(ninc_cpu_device.open(&ninc_model, &options));
    expect_error("it has baseline");
    unsetenv("NINC_CPU_LEVEL");
}
END_TEST

static TrainOptions quiet_options(void)
{
    return (TrainOptions){.data = directory,
                          .epochs = -1,
                          .max_steps = -1,
                          .lr = -1,
                          .checkpoint_every = -1,
                          .log_every = -1,
                          .seed = 1,
                          .device = {.threads = 1},
                          .no_progress = true};
}

/* Runs with stdout thrown away. */
static int train_quietly(const TrainOptions *options)
{
    fflush(stdout);
    int kept = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    close(null);
    int status = train(&ninc_model, &ninc_cpu_device, options);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    return status;
}

/* 10 images in batches of 7: steps of 7 and 3 images, each counted exactly. */
START_TEST(test_loop)
{
    Idx images = make_images(10, TINY_SIDE), labels = make_labels(10);
    char log_path[4200], save[4200];
    size_t count;
    TrainOptions o = quiet_options();
    write_train(&images, &labels);
    write_split("t10k", &images, &labels);
    o.log = strcpy(log_path, at("loop.jsonl"));
    o.save = strcpy(save, at("loop.safetensors"));
    o.log_every = 1;
    ck_assert_int_eq(train_quietly(&o), 0);
    char *text = read_file("loop.jsonl", &count);
    int lines = 0;
    for (char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    ck_assert_int_eq(lines, 2 * (2 + 1));
    ck_assert_ptr_nonnull(strstr(text, "{\"event\":\"eval\",\"step\":4,\"epoch\":2,"));
    free(text);
    ck_assert_int_eq(access(save, R_OK), 0);
}
END_TEST

START_TEST(test_max_steps_and_checkpoint)
{
    char init[4200], save[4200], checkpoints[4200];
    size_t a, b;
    TrainOptions o = quiet_options();
    o.data = "random";
    o.no_eval = true;
    o.max_steps = 0;
    o.save = strcpy(save, at("zero.safetensors"));
    ck_assert_int_eq(train_quietly(&o), 0);
    o.init = strcpy(init, save);
    o.seed = 99;
    o.save = strcpy(save, at("same.safetensors"));
    ck_assert_int_eq(train_quietly(&o), 0);
    char *x = read_file("zero.safetensors", &a), *y = read_file("same.safetensors", &b);
    ck_assert_uint_eq(a, b);
    ck_assert_mem_eq(x, y, a);
    free(x);
    free(y);
    o.max_steps = 41;
    o.checkpoint_dir = strcpy(checkpoints, at("checkpoints"));
    ck_assert_int_eq(train_quietly(&o), 0);
    x = read_file("checkpoints/latest/model.safetensors", &a);
    y = read_file("same.safetensors", &b);
    ck_assert_mem_eq(x, y, a);
    free(x);
    free(y);
    o.no_shuffle = true;
    catch_errors();
    ck_assert_int_eq(train_quietly(&o), 1);
    expect_error("holds the checkpoints of another run");
    o.checkpoint_dir = NULL;
    ck_assert_int_eq(train_quietly(&o), 0);
}
END_TEST

static Suite *runtime_suite(void)
{
    const TTest *const tests[] = {test_philox_vectors,
                                  test_streams_differ,
                                  test_below_and_symmetric,
                                  test_permutation,
                                  test_init_ranges,
                                  test_idx_reads,
                                  test_idx_gzip,
                                  test_idx_faults,
                                  test_idx_pixel_types,
                                  test_idx_label_types,
                                  test_idx_names,
                                  test_data_search,
                                  test_random_data,
                                  test_safetensors_round_trip,
                                  test_safetensors_lies,
                                  test_safetensors_misfits,
                                  test_safetensors_not_finite,
                                  test_safetensors_dtypes,
                                  test_foreign_shapes,
                                  test_foreign_convolution,
                                  test_foreign_prefixes,
                                  test_foreign_extras,
                                  test_foreign_kinds,
                                  test_write_faults,
                                  test_json_lines,
                                  test_state_border,
                                  test_step,
                                  test_threads_do_not_matter, test_exchange,
                                  test_coarse_slices,
                                  test_kept_between_steps, test_memory_of_threads,
                                  test_forced_level,
                                  test_loop,
                                  test_max_steps_and_checkpoint};
    Suite *s = suite_create("runtime");
    TCase *c = tcase_create("runtime");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}

static void remove_scratch(void)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0)
        fprintf(stderr, "%s is left over\n", directory);
}

int main(void)
{
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    SRunner *runner = srunner_create(runtime_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    remove_scratch();
    return failed ? 1 : 0;
}

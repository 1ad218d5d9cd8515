/* Data sets of a plan written by hand: IDX files of every element type and name, random images. */
#include "tiny_step.h"
#include "idx.h"

#include <sys/stat.h>
#include <zlib.h>

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

/* A command of the shell's in the scratch directory. */
static int system_in(const char *command)
{
    char text[512];
    snprintf(text, sizeof text, "cd '%s' && %s", directory, command);
    return system(text);
}

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
    expect_classes_fault(1000, make_pair(0x0D, 0, 1.5), "label 1.5 of item 1 is no whole number");
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
    rename_images(usual, "training-images-idx3-ubyte");
    expect_data_fault("there is training-images-idx3-ubyte; rename the file");
    unlink(at("training-images-idx3-ubyte"));
}
END_TEST

/* The set's name stands before, as EMNIST's files have it, which lie together in one archive. */
START_TEST(test_idx_sets)
{
    Idx images = make_images(10, TINY_SIDE), labels = make_labels(10), others = labels;
    NincModel model = ninc_model;
    Dataset d;
    ck_assert_int_eq(system_in("rm -f *-ubyte*"), 0);
    write_file("emnist-letters-train-images-idx3-ubyte", images.bytes, images.count);
    write_file("emnist-letters-train-labels-idx1-ubyte", labels.bytes, labels.count);
    ck_assert_int_eq(dataset_read(&model, directory, 1, SPLIT_TRAIN, &d), 0);
    dataset_free(&d);
    others.bytes[others.count - 1] = 1;
    write_file("emnist-digits-train-images-idx3-ubyte", images.bytes, images.count);
    write_file("emnist-digits-train-labels-idx1-ubyte", others.bytes, others.count);
    expect_data_fault("holds the train-images of several sets; take the one that is meant");
    for (int i = 0; i < 2; i++) {
        model.dataset = i == 0 ? "emnist-letters" : "emnist-digits";
        ck_assert_int_eq(dataset_read(&model, directory, 1, SPLIT_TRAIN, &d), 0);
        ck_assert_int_eq(d.label[9], i);
        dataset_free(&d);
    }
    write_file("emnist-digits-test-images-idx3-ubyte", images.bytes, images.count);
    write_file("emnist-digits-test-labels-idx1-ubyte", labels.bytes, labels.count);
    ck_assert_int_eq(dataset_read(&model, directory, 1, SPLIT_TEST, &d), 0);
    ck_assert_int_eq(d.label[8], 2);
    dataset_free(&d);
    ck_assert_int_eq(system_in("rm -f emnist-*"), 0);
}
END_TEST

/* QMNIST's labels have seven numbers more: who wrote the digit, and where it is in NIST's files. */
START_TEST(test_idx_qmnist)
{
    double rows[FEW * 8] = {2, 9, 9, 9, 9, 9, 9, 9, 1};
    Idx images = make_images(FEW, TINY_SIDE);
    Idx labels = make_elements(0x0C, 2, (uint32_t[]){FEW, 8}, rows);
    Dataset d;
    write_file("qmnist-train-images-idx3-ubyte", images.bytes, images.count);
    write_file("qmnist-train-labels-idx2-int", labels.bytes, labels.count);
    ck_assert_int_eq(dataset_read(&ninc_model, directory, 1, SPLIT_TRAIN, &d), 0);
    ck_assert_int_eq(d.label[0], 2);
    ck_assert_int_eq(d.label[1], 1);
    dataset_free(&d);
    ck_assert_int_eq(system_in("rm -f qmnist-*"), 0);
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

int main(void)
{
    const TTest *const tests[] = {test_idx_reads, test_idx_gzip, test_idx_faults,
                                  test_idx_pixel_types, test_idx_label_types, test_idx_names,
                                  test_idx_sets, test_idx_qmnist,
                                  test_data_search, test_random_data};
    return run_in_scratch("data", tests, sizeof tests / sizeof *tests, NULL);
}

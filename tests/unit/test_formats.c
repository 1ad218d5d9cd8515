/* Data sets in the formats of the usual downloads: what is read, under which names, and what is
 * refused, with the place. */
#include "../../runtime/data/data.h"

#include "messages.h"
#include "scratch.h"
#include "sets.h"

#include <sys/stat.h>

static NincModel model;
static DataSettings settings;

/* Before each test: an empty directory and tiny_plan.h's model. */
static void start(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'/*", directory);
    ck_assert_int_eq(system(command), 0);
    model = ninc_model;
    settings = (DataSettings){0};
}

static void of_shape(int side, int channels, int classes)
{
    model.image_h = model.image_w = side;
    model.image_c = channels;
    model.classes = classes;
}

static void refuses(const char *path, Split split, const char *wanted)
{
    Dataset d;
    catch_errors();
    int status = dataset_read(&model, path, 1, split, &d);
    expect_error(wanted);
    ck_assert_int_eq(status, -1);
}

static void expect_fault(const char *wanted)
{
    refuses(directory, SPLIT_TRAIN, wanted);
}

/* The images of sets.h, of the tiny model's size. */
static void expect_tiny(const char *path, Split split)
{
    Dataset d;
    ck_assert_int_eq(dataset_read(&model, path, 1, split, &d), 0);
    ck_assert_int_eq(d.count, SET_IMAGES);
    for (int i = 0; i < SET_IMAGES * TINY_PIXELS; i++)
        ck_assert_msg(d.image[i] == set_pixel(i / TINY_PIXELS, i % TINY_PIXELS), "pixel %d is %d",
                      i, d.image[i]);
    for (int i = 0; i < SET_IMAGES; i++)
        ck_assert_int_eq(d.label[i], set_label(i));
    dataset_free(&d);
}

static void put(const char *name, const SetFile *f)
{
    set_write(at(name), f, strstr(name, ".gz") ? "wb" : "wbT");
}

static void put_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* ---- npz ---- */

#define U1 "{'descr': '|u1', 'fortran_order': False, 'shape': "

static uint8_t pixels[SET_IMAGES * TINY_PIXELS], labels[SET_IMAGES];

static void fill_arrays(void)
{
    for (int i = 0; i < SET_IMAGES * TINY_PIXELS; i++)
        pixels[i] = set_pixel(i / TINY_PIXELS, i % TINY_PIXELS);
    for (int i = 0; i < SET_IMAGES; i++)
        labels[i] = (uint8_t)set_label(i);
}

static void write_npz(const char *x_header, const void *x, size_t x_bytes, const char *y_header,
                      const void *y, size_t y_bytes)
{
    SetArray arrays[] = {{"x_train", x_header, x, x_bytes}, {"y_train", y_header, y, y_bytes}};
    set_write_npz(at("set.npz"), arrays, 2, 6);
}

static void expect_pair(const char *x_header, const void *x, size_t x_bytes, const char *y_header,
                        const void *y, size_t y_bytes)
{
    write_npz(x_header, x, x_bytes, y_header, y, y_bytes);
    expect_tiny(directory, SPLIT_TRAIN);
}

START_TEST(test_npz_reads)
{
    char path[300];
    set_write_keras(at("mnist.npz"), 0);
    expect_tiny(directory, SPLIT_TRAIN);
    strcpy(path, at("mnist.npz"));
    expect_tiny(path, SPLIT_TRAIN);
    refuses(path, SPLIT_TEST,
            "has no array x_test or test_images, as archives of Keras and "
            "MedMNIST have; it has x_train.npy, y_train.npy");
    refuses(directory, SPLIT_TEST, "has no .npz file with the array x_test or test_images");
    set_write_keras(at("set.npz"), 9);
    refuses(directory, SPLIT_TRAIN, "has several archives with the array x_train or train_images");
    model.dataset = "mnist"; /* that one is meant then */
    expect_tiny(directory, SPLIT_TRAIN);
}
END_TEST

/* Labels of one column, and images to validate with. */
START_TEST(test_npz_medmnist)
{
    fill_arrays();
    const SetArray arrays[] = {
        {"val_images", U1 "(6, 4, 4), }", pixels, sizeof pixels},
        {"val_labels", U1 "(6, 1), }", labels, sizeof labels},
        {"test_images", U1 "(6, 4, 4, 1), }", pixels, sizeof pixels},
        {"test_labels", U1 "(6, 1), }", labels, sizeof labels},
    };
    set_write_npz(at("pathmnist.npz"), arrays, 4, 6);
    expect_tiny(directory, SPLIT_TEST);
    expect_tiny(directory, SPLIT_VALIDATION);
    ck_assert(data_npz_has(directory, SPLIT_VALIDATION));
    ck_assert(!data_npz_has(directory, SPLIT_TRAIN));
}
END_TEST

/* Element types, byte orders, orders of axes. */
START_TEST(test_npz_types)
{
    static double unit[SET_IMAGES * TINY_PIXELS];
    static uint8_t columns[SET_IMAGES * TINY_PIXELS], wide[2 * SET_IMAGES * TINY_PIXELS];
    uint8_t big[8 * SET_IMAGES] = {0};
    float single[SET_IMAGES];
    fill_arrays();
    for (int i = 0; i < SET_IMAGES * TINY_PIXELS; i++) {
        unit[i] = pixels[i] / 255.0;
        wide[2 * i + 1] = pixels[i]; /* big-endian */
        int at = i % TINY_PIXELS, y = at / TINY_SIDE, x = at % TINY_SIDE;
        columns[i / TINY_PIXELS + SET_IMAGES * (y + TINY_SIDE * x)] = pixels[i];
    }
    for (int i = 0; i < SET_IMAGES; i++) {
        big[8 * i + 7] = labels[i];
        single[i] = labels[i];
    }
    catch_errors();
    expect_pair("{'descr': '<f8', 'fortran_order': False, 'shape': (6, 1, 4, 4)}", unit,
                sizeof unit, "{\"shape\":(6L,),\"descr\":'>i8','fortran_order':False}", big,
                sizeof big);
    expect_error("set.npz: x_train: its pixels are from 0 to 1 and taken times 255");
    expect_pair("{'descr': '>u2', 'fortran_order': False, 'shape': (6, 4, 4), }", wide, sizeof wide,
                "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", single, sizeof single);
    expect_pair("{'descr': '|u1', 'fortran_order': True, 'shape': (6, 4, 4), }", columns,
                sizeof columns, U1 "(6,), }", labels, sizeof labels);
}
END_TEST

static const struct {
    const char *header, *wanted;
} bad_headers[] = {
    {"{'descr': '|O', 'fortran_order': False, 'shape': (6, 4, 4), }",
     "set.npz: x_train holds pickled Python objects, which are programs and never run here"},
    {"{'descr': [('a', '<u1')], 'fortran_order': False, 'shape': (6,), }", "has fields"},
    {"{'descr': '<c8', 'fortran_order': False, 'shape': (6, 4, 4), }",
     "elements of the type '<c8'"},
    {"{'descr': '|u2', 'fortran_order': False, 'shape': (6, 4, 4), }", "the type '|u2'"},
    {"{'descr': '<u1', 'fortran_order': 0, 'shape': (6, 4, 4), }", "True or False is missing"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6, 4, 4)", ", or } is missing"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6, -4, 4), }",
     "a whole number is missing"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6), }", "(N) is no shape, (N,) is"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6 4), }", ", or ) is missing"},
    {"{'descr': '<u1', 'fortran_order': False, }", "a key is missing"},
    {"{'descr': '<u1', 'descr': '<u1', 'shape': (6,)}", "a key stands there twice"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6, 4, 4), 'more': 1}",
     "a key that the format has not"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6, 4, 4)} + exit()",
     "something stands behind the }"},
    {"{'descr': 'u\\x31', 'fortran_order': False, 'shape': (6,)}", "a text that is none"},
    {"{'descr': '<u1, 'fortran_order': False}", "elements of the type '<u1, '"},
    {"__import__('os')", "{ is missing"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
     "a number is too large"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}",
     "more than 8 dimensions"},
    /* A shape that the member does not hold is refused before room is made for it. */
    {"{'descr': '<f8', 'fortran_order': False, 'shape': (2000000000, 1000, 1000), }",
     "its header says 2000000000 items of 1000000 64-bit floats, and the archive"},
    {"{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }",
     "from 1 to 2147483647 items are possible"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (0, 4, 4), }", "from 1 to"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (), }", "from 1 to"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6, 16), }",
     "has the shape [6, 16]; images are [count, height, width]"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (2, 48), }", "has the shape [2, 48]"},
    {"{'descr': '<u1', 'fortran_order': False, 'shape': (6, 2, 8), }", "images of 2x8x1"},
    {"{'descr': '<i1', 'fortran_order': False, 'shape': (6, 4, 4), }", "cannot be a pixel"},
};

START_TEST(test_npz_headers)
{
    fill_arrays();
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        char path[300];
        write_npz(bad_headers[i].header, pixels, sizeof pixels, U1 "(6,), }", labels,
                  sizeof labels);
        strcpy(path, at("set.npz"));
        refuses(path, SPLIT_TRAIN, bad_headers[i].wanted);
        refuses(path, SPLIT_TRAIN, "set.npz");
    }
}
END_TEST

static void expect_label_fault(const char *y_header, size_t y_bytes, const char *wanted)
{
    write_npz(U1 "(6, 4, 4), }", pixels, sizeof pixels, y_header, labels, y_bytes);
    expect_fault(wanted);
}

START_TEST(test_npz_labels)
{
    fill_arrays();
    expect_label_fault(U1 "(5,), }", 5, "set.npz: y_train has 5 labels for 6 images");
    expect_label_fault(U1 "(3, 2), }", 6, "has 2 values an image");
    labels[4] = TINY_CLASSES;
    expect_label_fault(U1 "(6,), }", 6, "set.npz: y_train: label 3 of item 4 is out of range");
    for (int i = 0; i < SET_IMAGES; i++)
        labels[i] = (uint8_t)(1 + set_label(i));
    expect_label_fault(U1 "(6,), }", 6, "the labels are from 1 to 3");
}
END_TEST

START_TEST(test_npz_damaged)
{
    size_t count;
    set_write_keras(at("set.npz"), 6);
    char *bytes = read_file("set.npz", &count), path[300];
    strcpy(path, at("set.npz"));
    write_file("set.npz", bytes, count - 10);
    refuses(path, SPLIT_TRAIN, "is no whole zip archive");
    write_file("set.npz", bytes, count - 1);
    refuses(path, SPLIT_TRAIN, "is no whole zip archive");
    write_file("set.npz", "", 0);
    refuses(path, SPLIT_TRAIN, "is no whole zip archive");
    bytes[140] ^= 0x55; /* in the deflated bytes of the first */
    write_file("set.npz", bytes, count);
    refuses(path, SPLIT_TRAIN, "set.npz: x_train is damaged");
    free(bytes);
    /* The directory at the end says 4 GB of a few bytes. */
    set_write_keras(at("set.npz"), 6);
    bytes = read_file("set.npz", &count);
    for (size_t i = 0; i + 4 < count; i++)
        if (memcmp(bytes + i, "PK\1\2", 4) == 0)
            memcpy(bytes + i + 24, "\0\0\0\xf0", 4);
    write_file("set.npz", bytes, count);
    refuses(path, SPLIT_TRAIN, "more than");
    free(bytes);
}
END_TEST

/* ---- SVHN ---- */

static void put_svhn(const char *name, bool deflated)
{
    SetFile f = set_svhn(deflated);
    put(name, &f);
}

START_TEST(test_svhn_reads)
{
    put_svhn("train_32x32.mat", false);
    put_svhn("test_32x32.mat", true);
    expect_tiny(directory, SPLIT_TRAIN);
    expect_tiny(directory, SPLIT_TEST);
}
END_TEST

static void expect_mat_fault(const SetMatrix *m, int count, const char *wanted)
{
    for (int deflated = 0; deflated < 2; deflated++) {
        SetFile f = set_mat(m, count, deflated);
        put("train_32x32.mat", &f);
        expect_fault(wanted);
    }
}

START_TEST(test_svhn_faults)
{
    static uint8_t x[SET_IMAGES * TINY_PIXELS], y[SET_IMAGES] = {1, 2, 10, 1, 2, 4};
    SetMatrix m[] = {
        {"X", 9, 2, 4, {TINY_SIDE, TINY_SIDE, 1, SET_IMAGES}, x, sizeof x},
        {"y", 9, 2, 2, {1, SET_IMAGES}, y, sizeof y},
        {"z", 4, 4, 2, {1, 1}, "a", 2}, /* a text, passed over */
    };
    expect_mat_fault(m, 3, "label 4 of item 5 is out of range");
    expect_mat_fault(m, 1, "train_32x32.mat has no array y");
    m[2].name = "X";
    expect_mat_fault(m, 3, "has two arrays X");
    m[1].count = m[1].dim[1] = 5;
    expect_mat_fault(m, 2, "train_32x32.mat: y has 5 labels for 6 images in X");
    m[0].dim[0] = 0x7fffffff;
    expect_mat_fault(m, 2, "the element at byte 128 has not as many numbers as its dimensions say");
    m[0].class = 4;
    expect_mat_fault(m, 2, "X is no array of real numbers");
    m[0] = (SetMatrix){"X", 9, 2, 3, {TINY_SIDE, TINY_SIDE, SET_IMAGES}, x, sizeof x};
    expect_mat_fault(m, 2, "has 3 dimensions");
    put_text("train_32x32.mat", "<html> not found, of a hundred and twenty-eight bytes or more, "
                                "and so on, and so on, and so on, and so on, and so on, and so on, "
                                "and so on");
    expect_fault("does not begin as a MAT-file of level 5 does");
    SetFile f = set_svhn(false);
    memcpy(f.bytes, "MATLAB 7.3 MAT-file", 19);
    put("train_32x32.mat", &f);
    expect_fault("is a MAT-file of version 7.3 (HDF5)");
    f.count = 100;
    put("train_32x32.mat", &f);
    expect_fault("train_32x32.mat is truncated: the bytes of its header need 128 bytes");
    f.count = 0;
    put("train_32x32.mat", &f);
    expect_fault("is truncated");
}
END_TEST

/* ---- CIFAR ---- */

static void expect_planes(Split split, int count, int first, int names)
{
    int side = model.image_h;
    Dataset d;
    ck_assert_int_eq(dataset_read(&model, directory, 1, split, &d), 0);
    ck_assert_int_eq(d.count, count);
    for (int i = 0; i < count; i++)
        for (int p = 0; p < side * side; p++) {
            const uint8_t *pixel = d.image + ((size_t)i * (size_t)(side * side) + (size_t)p) * 3;
            ck_assert_int_eq(pixel[0], first + i);
            ck_assert_int_eq(pixel[1], 100 + first + i);
            ck_assert_int_eq(pixel[2], (uint8_t)(7 * p));
        }
    ck_assert_int_eq(d.classes, names);
    dataset_free(&d);
}

/* The names of the classes without the images, of the first and the last. */
static void expect_names(const char *first, const char *last)
{
    ClassNames names;
    ck_assert_int_eq(class_names_read(&model, &(NameSource){.data = directory}, &names), 0);
    ck_assert_int_eq(names.count, model.classes);
    ck_assert_str_eq(names.name[0], first);
    ck_assert_str_eq(names.name[names.count - 1], last);
    class_names_free(&names);
}

static void write_batches(const char *place)
{
    char name[64];
    if (place[0])
        ck_assert_int_eq(mkdir(at(place), 0700), 0);
    for (int i = 0; i < 5; i++) {
        SetFile f = set_cifar(2 * i, 2, 1);
        snprintf(name, sizeof name, "%s/data_batch_%d.bin", place, i + 1);
        put(name, &f);
    }
    SetFile f = set_cifar(3, 4, 1);
    snprintf(name, sizeof name, "%s/test_batch.bin", place);
    put(name, &f);
}

START_TEST(test_cifar10)
{
    of_shape(32, 3, 10);
    write_batches("cifar-10-batches-bin");
    expect_planes(SPLIT_TRAIN, 10, 0, 0);
    write_batches("");
    put_text("batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
    expect_planes(SPLIT_TRAIN, 10, 0, 10);
    expect_planes(SPLIT_TEST, 4, 3, 10);
    expect_names("a", "j");
    put_text("batches.meta.txt", "a\nb\n");
    expect_fault("has 2 classes (a, b), the model has 10");
    SetFile f = set_cifar(4, 2, 1);
    f.count -= 3;
    put("data_batch_3.bin", &f);
    expect_fault("data_batch_3.bin is truncated: record 1, at byte 3073, has 3070 bytes of 3073");
    f = set_cifar(4, 2, 1);
    f.bytes[3073] = 10;
    put("data_batch_3.bin", &f);
    expect_fault("data_batch_3.bin: label 10 of record 1 is out of range");
    put_text("data_batch_3.bin", "");
    expect_fault("data_batch_3.bin is empty");
    unlink(at("data_batch_3.bin"));
    expect_fault("has no file data_batch_3.bin");
    of_shape(28, 1, 10);
    SetFile whole = set_cifar(4, 2, 1);
    put("data_batch_3.bin", &whole);
    expect_fault("holds images of 32x32x3");
}
END_TEST

START_TEST(test_cifar100)
{
    SetFile f = set_cifar(0, 3, 2);
    Dataset d;
    of_shape(32, 3, 100);
    ck_assert_int_eq(mkdir(at("cifar-100-binary"), 0700), 0);
    put("cifar-100-binary/train.bin", &f);
    expect_planes(SPLIT_TRAIN, 3, 0, 0);
    ck_assert_int_eq(dataset_read(&model, directory, 1, SPLIT_TRAIN, &d), 0);
    ck_assert_int_eq(d.label[2], 2);
    dataset_free(&d);
    put_text("cifar-100-binary/coarse_label_names.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n"
                                                        "13\n14\n15\n16\n17\n18\n19\nlast\n");
    model.classes = 20; /* the coarse ones */
    expect_names("1", "last");
    ck_assert_int_eq(dataset_read(&model, directory, 1, SPLIT_TRAIN, &d), 0);
    ck_assert_int_eq(d.label[2], 19);
    dataset_free(&d);
    refuses(directory, SPLIT_TEST, "has no file test.bin");
}
END_TEST

/* The version for Python is pickled. */
START_TEST(test_cifar_python)
{
    of_shape(32, 3, 10);
    ck_assert_int_eq(mkdir(at("cifar-10-batches-py"), 0700), 0);
    put_text("cifar-10-batches-py/data_batch_1", "\x80\2}q\1(U\4dataq\2");
    expect_fault("holds the version of CIFAR-10 for Python, whose pickled objects are programs and "
                 "never run here; take the binary version, cifar-10-binary.tar.gz");
    start();
    of_shape(32, 3, 100);
    put_text("train", "\x80\2}q\1(U\4dataq\2");
    expect_fault("of CIFAR-100 for Python");
}
END_TEST

/* ---- STL-10 ---- */

START_TEST(test_stl10)
{
    SetFile x = {.count = 0};
    Dataset d;
    of_shape(96, 3, 10);
    for (int i = 0; i < 2; i++)
        set_put_planes(&x, i, 96, true);
    put("train_X.bin", &x);
    put_text("train_y.bin", "\1\12");
    put_text("class_names.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    expect_planes(SPLIT_TRAIN, 2, 0, 10);
    ck_assert_int_eq(dataset_read(&model, directory, 1, SPLIT_TRAIN, &d), 0);
    ck_assert_int_eq(d.label[0], 0);
    ck_assert_int_eq(d.label[1], 9);
    dataset_free(&d);
    expect_names("a", "j");
    put_text("train_y.bin", "\1\13");
    expect_fault("train_y.bin: label 11 of record 1 is out of range, the set has classes 1 to 10");
    put_text("train_y.bin", "\1\2\3");
    expect_fault("train_y.bin has 3 labels for 2 images in train_X.bin");
    unlink(at("train_y.bin"));
    expect_fault("has no file train_y.bin");
    refuses(directory, SPLIT_TEST, "has no file test_X.bin");
}
END_TEST

/* ---- CSV ---- */

static void put_csv(const char *name, const char *end)
{
    SetFile f = set_csv(end);
    put(name, &f);
}

START_TEST(test_csv_reads)
{
    char path[300];
    put_csv("train.csv", "\n");
    put_csv("test.csv.gz", "\r\n");
    expect_tiny(directory, SPLIT_TRAIN);
    expect_tiny(directory, SPLIT_TEST);
    ck_assert(!data_csv_has(directory, SPLIT_VALIDATION));
    strcpy(path, at("train.csv"));
    expect_tiny(path, SPLIT_TRAIN);
    refuses(path, SPLIT_TEST, "is not the table of the test images");
    put_csv("test.csv", "\n"); /* beside it */
    expect_tiny(path, SPLIT_TEST);
    start();
    put_csv("fashion-mnist_train.csv", "\n");
    expect_tiny(directory, SPLIT_TRAIN);
    put_csv("emnist-letters-train.csv", "\n");
    expect_fault("has several tables whose names end in train.csv");
    model.dataset = "fashion-mnist";
    expect_tiny(directory, SPLIT_TRAIN);
}
END_TEST

/* The table of one image of 2x2 pixels. */
static void expect_four(const char *text, int label, const uint8_t want[4])
{
    Dataset d;
    model.image_h = model.image_w = 2;
    model.data = &settings;
    put_text("train.csv", text);
    ck_assert_int_eq(dataset_read(&model, directory, 1, SPLIT_TRAIN, &d), 0);
    ck_assert_int_eq(d.count, 1);
    ck_assert_mem_eq(d.image, want, 4);
    ck_assert_int_eq(d.label[0], label);
    dataset_free(&d);
}

START_TEST(test_csv_forms)
{
    static const uint8_t want[4] = {1, 20, 255, 0}, unit[4] = {0, 255, 51, 255};
    expect_four("2,1,20,255,0\n", 2, want);
    expect_four("2,1,20,255,0", 2, want);
    expect_four("\xef\xbb\xbflabel,a,b,c,d\r\n2,1,20,255,0\r\n\r\n\n", 2, want);
    expect_four("\"a\",\"b, c\",\"Class\",\"d\",\"e\"\n 1 ,\"20\",\"2\",255 ,\"0\"\n", 2, want);
    expect_four("2.0,1.0,2e1,+255,0.0\n", 2, want);
    expect_four("digit,a,b,c,d\n2,1,20,255,0\n", 2, want);
    settings.label = "b";
    expect_four("label,a,b,c,d\n1,20,2,255,0\n", 2, want);
    settings = (DataSettings){.label_column = 5};
    expect_four("1,20,255,0,2\n", 2, want);
    settings = (DataSettings){0};
    catch_errors();
    expect_four("2,0,1,0.2,1\n", 2, unit);
    expect_error("train.csv: its pixels are from 0 to 1 and taken times 255");
    expect_four("2,0,1,1,0\n", 2, (const uint8_t[4]){0, 1, 1, 0});
    catch_errors();
    expect_four("2,0.0,1.0,1,0\n", 2, (const uint8_t[4]){0, 255, 255, 0});
    expect_error("taken times 255");
}
END_TEST

static const struct {
    const char *text, *wanted;
} bad_tables[] = {
    {"2,1,20,255,0\n1,1,20,255\n", "train.csv:2: the row has 4 columns, the rows before have 5"},
    {"2,1,20,255,0\n1,1,20,255,0,7\n", "train.csv:2: the row has 6 columns"},
    {"label,a,b,c,d\n1,1,20,256,0\n", "train.csv:2: column 4: '256' is no pixel"},
    {"label,a,b,c,d\n1,1,20,-1,0\n", "column 4: '-1' is no pixel"},
    {"label,a,b,c,d\n1,1,20,2.5,0\n", "column 4: '2.5' is no pixel"},
    {"label,a,b,c,d\n1,0.2,1,0.3,0\n", "column 4: '0.3' is no pixel: others are from 0 to 1"},
    {"label,a,b,c,d\n1,1,20,,0\n", "train.csv:2: column 4: '' is no number"},
    {"1,1,,20,0\n", "train.csv:1: column 3: '' is no number"},
    {"1,1,20,nan,0\n", "column 4: 'nan' is no number"},
    {"1,1,20,0x10,0\n", "column 4: '0x10' is no number"},
    {"1,1,20,3,0\n1,1,20,\"3,0\n", "train.csv:2: column 4: '\"3,0' is no number"},
    {"1,1,20,3,0\ncat,1,20,3,0\n", "train.csv:2: column 1: 'cat' is no label"},
    {"1,1,20,3,0\n1.5,1,20,3,0\n", "train.csv:2: column 1: '1.5' is no label"},
    {"label,a,b,c,d\n2,1,20,255,0\n7,1,20,255,0\n", "train.csv:3: label 7 is out of range"},
    {"1,1,20,3,0\n2,1,20,3,0\n3,1,20,3,0\n", "train.csv: the labels are from 1 to 3"},
    {"label;a;b;c;d\n1;1;20;3;0\n", "train.csv:1: its columns are separated by ';'"},
    {"1\t1\t20\t3\t0\n", "train.csv:1: its columns are separated by tabs"},
    {"pixel0,pixel1,pixel2,pixel3\n1,2,3,4\n",
     "train.csv has 4 columns, the pixels of an image, and none of labels, as Kaggle's test files"},
    {"1,2,3,4,5,6\n", "train.csv has 6 columns; a label and the 4 pixels of an image are needed"},
    {"1,1,20,3,0\n\n1,1,20,3,0\n", "train.csv:2: the row is empty"},
    {"label,a,b,c,d\n", "train.csv has no rows of images"},
    {"\xff\xfel\0a,", "is text in UTF-16"},
};

START_TEST(test_csv_faults)
{
    char path[300];
    model.image_h = model.image_w = 2;
    strcpy(path, at("train.csv"));
    for (size_t i = 0; i < sizeof bad_tables / sizeof *bad_tables; i++) {
        put_text("train.csv", bad_tables[i].text);
        refuses(path, SPLIT_TRAIN, bad_tables[i].wanted);
    }
}
END_TEST

START_TEST(test_csv_files)
{
    char path[300];
    strcpy(path, at("train.csv"));
    put_text("train.csv", "");
    refuses(path, SPLIT_TRAIN, "train.csv is empty");
    put_csv("train.csv", "\n");
    settings.label = "digit";
    model.data = &settings;
    refuses(path, SPLIT_TRAIN, "train.csv:1: no column has the name digit");
    settings = (DataSettings){.label_column = 18};
    refuses(path, SPLIT_TRAIN, "it has 17 columns; the model's label, 17, counted from 0, is none");
    settings = (DataSettings){0};
    put_csv("train.csv.gz", "\n");
    size_t count;
    char *bytes = read_file("train.csv.gz", &count);
    unlink(path);
    write_file("train.csv.gz", bytes, count - 9);
    expect_fault("train.csv.gz is corrupt");
    free(bytes);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_npz_reads,  test_npz_medmnist, test_npz_types,    test_npz_headers,
        test_npz_labels, test_npz_damaged,  test_svhn_reads,   test_svhn_faults,
        test_cifar10,    test_cifar100,     test_cifar_python, test_stl10,
        test_csv_reads,  test_csv_forms,    test_csv_faults,   test_csv_files,
    };
    return run_in_scratch("formats", tests, sizeof tests / sizeof *tests, start);
}

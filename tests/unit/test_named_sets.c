/* Known data sets, found where downloads leave them, and what their files have otherwise. */
#include "../../runtime/data/data.h"
#include "../../runtime/data/sets.h"

#include "idx.h"
#include "messages.h"

#include <sys/stat.h>

/* A model of the data set. */
static NincModel model_of(const char *name)
{
    const DataSet *set = find_data_set(name);
    NincModel model = ninc_model;
    ck_assert_ptr_nonnull(set);
    model.dataset = name;
    model.image_c = set->shape[0];
    model.image_h = set->shape[1];
    model.image_w = set->shape[2];
    model.classes = set->classes;
    return model;
}

static void make_directory(const char *name)
{
    mkdir(at(name), 0700);
}

/* Two files of so many images of 28x28, pixel (row, column) of image i being i + row, and labels
 * from `first` on. */
static void write_pair(const char *stem, int count, int classes, int first)
{
    uint8_t images[16 + 64 * 784] = {0, 0, 8, 3, 0, 0, 0, (uint8_t)count, 0, 0, 0, 28, 0, 0, 0, 28};
    uint8_t labels[8 + 64] = {0, 0, 8, 1, 0, 0, 0, (uint8_t)count};
    char name[200];
    for (int i = 0; i < count; i++) {
        labels[8 + i] = (uint8_t)(first + i % classes);
        for (int k = 0; k < 784; k++)
            images[16 + i * 784 + k] = (uint8_t)(i + k / 28);
    }
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", stem);
    write_file(name, images, 16 + (size_t)count * 784);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", stem);
    write_file(name, labels, 8 + (size_t)count);
}

static Dataset read_set(const char *name, const char *data)
{
    NincModel model = model_of(name);
    Dataset d;
    ck_assert_int_eq(dataset_read(&model, data, 1, SPLIT_TRAIN, &d), 0);
    return d;
}

/* As torchvision leaves them: images on their side become upright, letters count from 0. */
START_TEST(test_emnist)
{
    make_directory("EMNIST");
    make_directory("EMNIST/raw");
    write_pair("EMNIST/raw/emnist-letters-train", 52, 26, 1);
    write_pair("EMNIST/raw/emnist-digits-train", 20, 10, 0);
    Dataset letters = read_set("emnist-letters", directory), digits;
    digits = read_set("emnist-digits", directory);
    ck_assert_int_eq(letters.count, 52);
    ck_assert_int_eq(digits.count, 20);
    for (int i = 0; i < letters.count; i++)
        ck_assert_int_eq(letters.label[i], i % 26);
    for (int i = 0; i < digits.count; i++)
        ck_assert_int_eq(digits.label[i], i % 10);
    ck_assert_int_eq(letters.image[784 + 5], 1 + 5); /* row 0, column 5 */
    ck_assert_int_eq(letters.image[784 + 28], 1);    /* row 1, column 0 */
    dataset_free(&letters);
    dataset_free(&digits);
}
END_TEST

START_TEST(test_places)
{
    static const char *const places[][2] = {{"fashion-mnist", "FashionMNIST"},
                                            {"mnist", "MNIST"},
                                            {"kmnist", "KMNIST"}};
    for (int i = 0; i < 3; i++) {
        char name[100];
        make_directory("places");
        snprintf(name, sizeof name, "places/%s", places[i][1]);
        make_directory(name);
        strcat(name, "/raw");
        make_directory(name);
        strcat(name, "/train");
        write_pair(name, 10, 10, 0);
        Dataset d = read_set(places[i][0], at("places"));
        ck_assert_int_eq(d.count, 10);
        ck_assert_int_eq(d.image[28], 1); /* not transposed */
        dataset_free(&d);
    }
}
END_TEST

/* $NINC_DATA/emnist holds all of EMNIST's. */
START_TEST(test_family)
{
    make_directory("family");
    make_directory("family/emnist");
    write_pair("family/emnist/emnist-mnist-train", 20, 10, 0);
    setenv("NINC_DATA", at("family"), 1);
    Dataset d = read_set("emnist-mnist", NULL);
    ck_assert_int_eq(d.count, 20);
    dataset_free(&d);
    unsetenv("NINC_DATA");
}
END_TEST

/* Where a set is nowhere, the message says how to get it. */
START_TEST(test_get)
{
    static const char *const wanted[][2] = {{"cifar10", "get cifar-10-binary.tar.gz"},
                                            {"svhn", "train_32x32.mat"},
                                            {"pathmnist", "get pathmnist.npz from"},
                                            {"emnist-letters", "EMNIST in the MNIST format"},
                                            {"mnist", "put train-images-idx3-ubyte"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        NincModel model = model_of(wanted[i][0]);
        Dataset d;
        catch_errors();
        ck_assert_int_eq(dataset_read(&model, NULL, 1, SPLIT_TRAIN, &d), -1);
        expect_error(wanted[i][1]);
    }
}
END_TEST

/* All names of classes of a set differ. */
START_TEST(test_class_names)
{
    for (int i = 0; i < data_set_count; i++) {
        const DataSet *set = &data_sets[i];
        for (int k = 0; set->class_name && k < set->classes; k++)
            for (int other = 0; other < k; other++)
                ck_assert_str_ne(set->class_name[k], set->class_name[other]);
    }
    ck_assert_str_eq(find_data_set("cifar100")->class_name[99], "worm");
    ck_assert_str_eq(find_data_set("emnist-byclass")->class_name[61], "z");
    ck_assert_str_eq(find_data_set("emnist-balanced")->class_name[46], "t");
    ck_assert_str_eq(find_data_set("organsmnist")->class_name[10], "spleen");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_emnist, test_places, test_family, test_get,
                                  test_class_names};
    return run_in_scratch("named_sets", tests, sizeof tests / sizeof *tests, NULL);
}

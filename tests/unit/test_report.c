/* What eval reports, against figures made by hand, and the names of classes. */
#include "../../ir/ir.h"
#include "../../runtime/data/sets.h"
#include "../../runtime/tools/tools.h"
#include "messages.h"
#include "tiny_plan.h"

#include <jansson.h>
#include <stdlib.h>

static char directory[] = "/tmp/ninc-report-XXXXXX";
static char path[64];

static const char *write_text(const char *name, const char *text)
{
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    return path;
}

/* Three classes: nothing is taken for the third, and the second has no images. */
static int64_t counts[] = {6, 2, 0, 0, 0, 0, 1, 3, 0};
static const Evaluation three = {{18, 12, 6, 12, false}, 3, counts};
static char *three_names[] = {"ape", "b\xc3\xa4r", "cat"};
static const ClassNames names = {three_names, 3};

static void expect_score(int class, double precision, double recall, double f1, int64_t images)
{
    ClassScore s = class_score(&three, class);
    ck_assert(isnan(precision) ? isnan(s.precision) : fabs(s.precision - precision) < 1e-12);
    ck_assert(isnan(recall) ? isnan(s.recall) : fabs(s.recall - recall) < 1e-12);
    ck_assert(isnan(f1) ? isnan(s.f1) : fabs(s.f1 - f1) < 1e-12);
    ck_assert_int_eq(s.images, images);
}

START_TEST(test_scores)
{
    expect_score(0, 6.0 / 7, 6.0 / 8, 2 * (6.0 / 7 * 6 / 8) / (6.0 / 7 + 6.0 / 8), 8);
    expect_score(1, 0, NAN, 0, 0);
    expect_score(2, NAN, 0, 0, 4);
}
END_TEST

/* What report_print prints; the caller frees it. */
static char *printed(const Evaluation *e, const ClassNames *n)
{
    FILE *file = tmpfile();
    char *text = xmalloc(1 << 16);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    int status = report_print(e, n, SPLIT_TEST);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    rewind(file);
    text[fread(text, 1, (1 << 16) - 1, file)] = '\0';
    fclose(file);
    ck_assert_int_eq(status, 0);
    return text;
}

START_TEST(test_text)
{
    char *text = printed(&three, &names);
    ck_assert_str_eq(text, "test loss 1.5000  test accuracy 0.5000  (12 images)\n"
                           "\n"
                           "     class  precision     recall         F1  images\n"
                           "  0  ape       0.8571     0.7500     0.8000       8\n"
                           "  1  b\xc3\xa4r       0.0000          -     0.0000       0\n"
                           "  2  cat            -     0.0000     0.0000       4\n"
                           "     macro     0.2857     0.2500     0.2667      12\n"
                           "\n"
                           "rows: the class of the images; columns: what they are taken for\n"
                           "              0    1    2\n"
                           "  0  ape      6    2    .\n"
                           "  1  b\xc3\xa4r      .    .    .\n"
                           "  2  cat      1    3    .\n");
    free(text);
}
END_TEST

START_TEST(test_many_classes)
{
    enum { K = 21 };
    char *name[K];
    Evaluation e = {{0}, K, xmalloc(K * K * sizeof(int64_t))};
    memset(e.confusion, 0, K * K * sizeof(int64_t));
    for (int k = 0; k < K; k++)
        e.confusion[k * K + k] = 90;
    e.confusion[3 * K + 4] = 5;
    e.confusion[20 * K + 0] = 7;
    for (int k = 0; k < K; k++)
        name[k] = k % 2 ? "odd" : "even";
    char *text = printed(&e, &(ClassNames){name, K});
    const char *pairs = strstr(text, "most confused\n");
    ck_assert_ptr_nonnull(pairs);
    ck_assert_str_eq(pairs, "most confused\n"
                            "  7 of 97 images of even (20) are taken for even (0)\n"
                            "  5 of 95 images of odd (3) are taken for even (4)\n");
    ck_assert_ptr_null(strstr(text, "rows:"));
    free(text);
    evaluation_free(&e);
}
END_TEST

START_TEST(test_json)
{
    json_error_t error;
    const char *name;
    int class;
    snprintf(path, sizeof path, "%s/report.json", directory);
    EvalOptions options = {
        .json = path, .weights = "w.safetensors", .data = "set", .split = SPLIT_VALIDATION};
    ck_assert_int_eq(report_json(&three, &names, &options), 0);
    json_t *root = json_load_file(path, 0, &error);
    ck_assert_ptr_nonnull(root);
    ck_assert(json_real_value(json_object_get(root, "loss")) == 1.5);
    ck_assert(json_real_value(json_object_get(root, "accuracy")) == 0.5);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "images")), 12);
    ck_assert_str_eq(json_string_value(json_object_get(root, "split")), "validation");
    double recall = json_real_value(json_object_get(json_object_get(root, "macro"), "recall"));
    ck_assert(fabs(recall - 0.25) < 1e-12);
    json_t *second = json_array_get(json_object_get(root, "classes"), 1);
    ck_assert_int_eq(json_unpack(second, "{s:i, s:s}", "class", &class, "name", &name), 0);
    ck_assert_int_eq(class, 1);
    ck_assert_str_eq(name, "b\xc3\xa4r");
    ck_assert(json_is_null(json_object_get(second, "recall")));
    ck_assert_int_eq(json_integer_value(json_object_get(second, "predicted")), 5);
    ck_assert_int_eq(json_integer_value(json_object_get(second, "support")), 0);
    ck_assert_str_eq(json_string_value(json_object_get(root, "weights")), "w.safetensors");
    ck_assert_str_eq(json_string_value(json_object_get(root, "data")), "set");
    for (size_t i = 0; i < 9; i++) {
        json_t *row = json_array_get(json_object_get(root, "confusion"), i / 3);
        ck_assert_int_eq(json_integer_value(json_array_get(row, i % 3)), counts[i]);
    }
    json_decref(root);
}
END_TEST

/* ---- image by image ---- */

static uint8_t pixels[] = {10, 20, 30};
static int32_t labels[] = {1, 0, 2};
static const Dataset images = {
    .image = pixels, .label = labels, .count = 3, .h = 1, .w = 1, .c = 1};

/* Two batches: of the third image and the first, and of the second, which is right. */
static void take_rows(EvalRows *rows)
{
    static const int32_t first[] = {2, 0}, second[] = {1};
    static const float logits[] = {0, 0, -2, 3, 1, 0}, right[] = {1, 0, 1};
    ck_assert_int_eq(eval_rows_new(rows, 3, 3), 0);
    eval_rows_take(rows, &(StepInput){.data = &images, .index = first, .valid = 2}, logits);
    eval_rows_take(rows, &(StepInput){.data = &images, .index = second, .valid = 1}, right);
}

static void expect_row(const EvalRow *row, int image, int label, int predicted)
{
    ck_assert_int_eq(row->image, image);
    ck_assert_int_eq(row->label, label);
    ck_assert_int_eq(row->predicted, predicted);
}

START_TEST(test_rows)
{
    EvalRows rows;
    take_rows(&rows);
    ck_assert_int_eq(rows.count, 3);
    expect_row(&rows.row[0], 2, 2, 0);
    expect_row(&rows.row[1], 0, 1, 0);
    expect_row(&rows.row[2], 1, 0, 0);
    ck_assert_double_eq_tol(rows.row[0].probability, 1 / (2 + exp(-2)), 1e-12);
    ck_assert_double_eq_tol(rows.row[0].of_label, exp(-2) / (2 + exp(-2)), 1e-12);
    ck_assert_double_eq_tol(rows.row[1].of_label, 1 / (1 + exp(2) + exp(-1)), 1e-12);
    ck_assert(rows.row[2].probability == rows.row[2].of_label);
    eval_rows_free(&rows);
}
END_TEST

/* Image 2 is the worst, with 0.06 for its class, image 0 next with 0.11; 84 times as large. */
START_TEST(test_mistakes)
{
    EvalRows rows;
    Image picture;
    take_rows(&rows);
    snprintf(path, sizeof path, "%s/mistakes.png", directory);
    ck_assert_int_eq(eval_rows_mistakes(&rows, &images, &names, path), 0);
    ck_assert_int_eq(image_read(path, &picture), 0);
    ck_assert_int_eq(picture.w, 8 + 2 * (18 * LETTER_WIDTH + 8));
    ck_assert_int_eq(picture.h, 8 + 84 + 2 + 2 * LETTER_HEIGHT + 8);
    ck_assert_int_eq(picture.pixel[3 * (8 * picture.w + 8)], 30);
    ck_assert_int_eq(picture.pixel[3 * (91 * picture.w + 91)], 30);
    ck_assert_int_eq(picture.pixel[3 * (8 * picture.w + 8 + 18 * LETTER_WIDTH + 8)], 10);
    image_free(&picture);
    eval_rows_free(&rows);
}
END_TEST

/* An I of 5 x 7 dots, what is cut off at the edges, and a letter that ASCII has not. */
START_TEST(test_letters)
{
    static const char *const wanted[] = {".###.######", "..#..#...#.", "..#..#...#.", "..#..#...#.",
                                         "..#..#...#.", "..#..#...#.", ".###.#####."};
    static const uint8_t white[] = {255, 255, 255};
    Image image;
    ck_assert_int_eq(image_new("letters", 7, 10, 3, &image), 0);
    memset(image.pixel, 0, 3 * 7 * 10);
    image_text(&image, 0, 0, "I", white);
    image_text(&image, 5, 0, "\xc3\xa4\xc3\xa4", white);
    image_text(&image, -1, -100, "I", white);
    for (int y = 0; y < 7; y++)
        for (int x = 0; x < 10; x++)
            ck_assert_msg((image.pixel[3 * (10 * y + x)] == 255) == (wanted[y][x] == '#'),
                          "%d, %d", x, y);
    image_free(&image);
}
END_TEST

/* ---- names ---- */

static void expect_names(const NincModel *model, const char *file, const char *data,
                         const char *first, const char *last)
{
    ClassNames n;
    ck_assert_int_eq(class_names_read(model, &(NameSource){file, data, NULL, NULL}, &n), 0);
    ck_assert_int_eq(n.count, model->classes);
    ck_assert_str_eq(n.name[0], first);
    ck_assert_str_eq(n.name[n.count - 1], last);
    class_names_free(&n);
}

static void expect_no_names(const NincModel *model, const char *text, const char *message)
{
    ClassNames n;
    catch_errors();
    NameSource source = {.file = write_text("bad.txt", text)};
    ck_assert_int_eq(class_names_read(model, &source, &n), -1);
    expect_error(message);
}

START_TEST(test_names)
{
    NincModel model = ninc_model;
    model.classes = 10;
    model.dataset = "fashion-mnist";
    expect_names(&model, NULL, "/nowhere", "T-shirt/top", "Ankle boot");
    model.dataset = "cifar10";
    expect_names(&model, NULL, "random", "airplane", "truck");
    model.dataset = "mnist";
    expect_names(&model, NULL, "/nowhere", "0", "9");
    model.dataset = "idx";
    model.classes = 2;
    expect_names(&model, NULL, directory, "0", "1");
    expect_names(&model, write_text("a.txt", "red\nblue green\r\n"), NULL, "red", "blue green");
    expect_names(&model,
                 write_text("a.txt", "\xef\xbb\xbf"
                                     "red \r\n\tblue green\r\n\r\n \n"),
                 NULL, "red", "blue green");
    expect_names(&model, write_text("a.txt", "red\rblue green"), NULL, "red", "blue green");
    write_text("classes.txt", "cat\ndog");
    expect_names(&model, NULL, directory, "cat", "dog");
    expect_names(&model, write_text("a.txt", "x\ny\n"), directory, "x", "y");
    expect_names(&model, NULL, write_text("set.npz", ""), "cat", "dog"); /* it lies beside */
}
END_TEST

/* Those of the data set that was read, where it has as many; a file goes before them. */
START_TEST(test_own_names)
{
    NincModel model = ninc_model;
    ClassNames n;
    char *own[] = {"left", "right"};
    Dataset read = {.class_name = own, .classes = 2};
    NameSource source = {.data = directory, .read = &read};
    model.classes = 2;
    snprintf(path, sizeof path, "%s/classes.txt", directory);
    unlink(path);
    ck_assert_int_eq(class_names_read(&model, &source, &n), 0);
    ck_assert_str_eq(n.name[1], "right");
    class_names_free(&n);
    write_text("classes.txt", "cat\ndog");
    ck_assert_int_eq(class_names_read(&model, &source, &n), 0);
    ck_assert_str_eq(n.name[1], "dog");
    class_names_free(&n);
    unlink(path);
    model.classes = 3;
    ck_assert_int_eq(class_names_read(&model, &source, &n), 0);
    ck_assert_str_eq(n.name[1], "1");
    class_names_free(&n);
}
END_TEST

/* Those of a file of parameters go before what is found without --data, not before that. */
START_TEST(test_kept_names)
{
    NincModel model = ninc_model;
    char *own[] = {"left", "right"}, *of_file[] = {"x", "y"};
    Dataset read = {.class_name = own, .classes = 2};
    const ClassNames kept = {of_file, 2};
    snprintf(path, sizeof path, "%s/classes.txt", directory);
    unlink(path);
    const struct {
        NameSource source;
        const char *wanted;
    } rows[] = {{{.kept = &kept}, "x"},
                {{.kept = &kept, .read = &read}, "left"},
                {{.kept = &kept, .read = &(Dataset){0}}, "x"},
                {{.kept = &kept, .data = directory}, "x"},
                {{.kept = &kept, .data = directory, .read = &read}, "left"},
                {{.kept = &(ClassNames){0}}, "0"},
                {{.kept = &kept, .file = write_text("a.txt", "p\nq\n")}, "p"}};
    model.classes = 2;
    model.dataset = "idx";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ClassNames n;
        ck_assert_int_eq(class_names_read(&model, &rows[i].source, &n), 0);
        ck_assert_int_eq(n.count, 2);
        ck_assert_str_eq(n.name[0], rows[i].wanted);
        class_names_free(&n);
    }
}
END_TEST

/* Names that the program has are not kept. */
START_TEST(test_names_to_keep)
{
    NincModel model = ninc_model;
    char *numbers[] = {"0", "1"}, *own[] = {"left", "ri\nght"};
    Dataset read = {.class_name = own, .classes = 2};
    ClassNames n;
    model.classes = 2;
    model.dataset = "folder";
    class_names_to_keep(&model, "random", &read, &n);
    ck_assert_int_eq(n.count, 2);
    ck_assert_str_eq(n.name[1], "ri?ght");
    class_names_free(&n);
    read.class_name = numbers;
    class_names_to_keep(&model, "random", &read, &n);
    ck_assert_int_eq(n.count, 0);
    class_names_to_keep(&model, "random", &(Dataset){0}, &n);
    ck_assert_int_eq(n.count, 0);
}
END_TEST

/* A set has its number of classes and no name, or that many. */
START_TEST(test_sets)
{
    ck_assert_int_gt(data_set_count, 1);
    for (int i = 0; i < data_set_count; i++) {
        const DataSet *set = &data_sets[i];
        ck_assert_ptr_eq(find_data_set(set->name), set);
        ck_assert_ptr_nonnull(set->format);
        for (int k = 0; set->class_name && k < set->classes; k++)
            ck_assert_msg(set->class_name[k] && *set->class_name[k], "%s: class %d", set->name, k);
        ck_assert_int_eq(set->classes > 0, set->shape[0] > 0);
        ck_assert_int_eq(set->classes > 0, set->shape[1] > 0 && set->shape[2] > 0);
    }
    ck_assert_ptr_null(find_data_set("imagenet"));
}
END_TEST

START_TEST(test_bad_names)
{
    NincModel model = ninc_model;
    char long_name[400];
    ClassNames n;
    model.classes = 2;
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    expect_no_names(&model, "one\n", "has 1 class names, the model has 2 classes");
    expect_no_names(&model, "1\n2\n3\n", "has 3 class names, the model has 2 classes");
    expect_no_names(&model, "one\n \t\ntwo\n", "bad.txt:2: the line is empty");
    expect_no_names(&model, "\xff\xfeo\n", "bad.txt is not text in UTF-8 but in UTF-16");
    expect_no_names(&model, "\xfe\xff", "bad.txt is not text in UTF-8 but in UTF-16");
    expect_no_names(&model, "one\n\xff\n", "bad.txt:2: the class name is not UTF-8");
    expect_no_names(&model, long_name, "bad.txt:1: a class name is longer than 254 bytes");
    catch_errors();
    ck_assert_int_eq(class_names_read(&model, &(NameSource){.file = "/nowhere/n.txt"}, &n), -1);
    expect_error("cannot read /nowhere/n.txt: No such file");
    snprintf(path, sizeof path, "%s/zero.txt", directory);
    FILE *f = fopen(path, "w");
    fwrite("a\0b\0", 1, 4, f); /* UTF-16 without its mark */
    fclose(f);
    catch_errors();
    ck_assert_int_eq(class_names_read(&model, &(NameSource){.file = path}, &n), -1);
    expect_error("zero.txt is not text in UTF-8: it has bytes of 0");
}
END_TEST

/* A program that returns no logits counts no confusion. */
START_TEST(test_without_logits)
{
    DeviceOptions options = {.threads = 1};
    const DeviceTable *cpu = &ninc_cpu_device;
    Device *d = cpu->open(&ninc_model, &options);
    Dataset data;
    Evaluation e;
    ck_assert_ptr_nonnull(d);
    ck_assert_int_eq(dataset_read(&ninc_model, "random", 5, SPLIT_TEST, &data), 0);
    EvaluationTask task = {.data = &data, .confusion = true};
    ck_assert_int_eq(evaluate_set(&ninc_model, cpu, d, &task, &e), 0);
    ck_assert_int_eq(e.metrics.images, data.count);
    ck_assert_ptr_null(e.confusion);
    evaluation_free(&e);
    dataset_free(&data);
    cpu->close(d);
}
END_TEST

int main(void)
{
    if (!mkdtemp(directory))
        return 1;
    Suite *suite = suite_create("report");
    TCase *all = tcase_create("all");
    tcase_add_test(all, test_scores);
    tcase_add_test(all, test_text);
    tcase_add_test(all, test_many_classes);
    tcase_add_test(all, test_json);
    tcase_add_test(all, test_rows);
    tcase_add_test(all, test_mistakes);
    tcase_add_test(all, test_letters);
    tcase_add_test(all, test_names);
    tcase_add_test(all, test_sets);
    tcase_add_test(all, test_own_names);
    tcase_add_test(all, test_kept_names);
    tcase_add_test(all, test_names_to_keep);
    tcase_add_test(all, test_bad_names);
    tcase_add_test(all, test_without_logits);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command) != 0 || failed > 0;
}

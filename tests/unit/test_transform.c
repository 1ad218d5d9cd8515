/* What a model makes of the images of its data set: each transform, a list of them, a whole set. */
#include "../../runtime/data/data.h"

#include "messages.h"
#include "scratch.h"
#include "tiny_plan.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static NincModel model_of(const DataSettings *d)
{
    NincModel model = ninc_model;
    model.data = d;
    return model;
}

/* The image behind the transforms of `d` has this size and these pixels. */
static void expect_image(const DataSettings *d, const Image *in, const Image *want)
{
    NincModel model = model_of(d);
    Image out;
    ck_assert_int_eq(image_transform(&model, in, &out), 0);
    ck_assert_int_eq(out.h, want->h);
    ck_assert_int_eq(out.w, want->w);
    ck_assert_int_eq(out.c, want->c);
    ck_assert_mem_eq(out.pixel, want->pixel, (size_t)(out.h * out.w * out.c));
    image_free(&out);
}

static void expect_one(Transform t, const Image *in, const Image *want)
{
    expect_image(&(DataSettings){.transforms = 1, .transform = {t}}, in, want);
}

#define PIXELS(...) ((uint8_t[]){__VA_ARGS__})

START_TEST(test_transpose)
{
    Image gray = {PIXELS(1, 2, 3, 4, 5, 6), 2, 3, 1};
    Image color = {PIXELS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), 2, 2, 3};
    expect_one((Transform){TRANSFORM_TRANSPOSE, 0, 0}, &gray,
               &(Image){PIXELS(1, 4, 2, 5, 3, 6), 3, 2, 1});
    expect_one((Transform){TRANSFORM_TRANSPOSE, 0, 0}, &color,
               &(Image){PIXELS(1, 2, 3, 7, 8, 9, 4, 5, 6, 10, 11, 12), 2, 2, 3});
}
END_TEST

/* 0.299, 0.587 and 0.114 of the three colours. */
START_TEST(test_grayscale)
{
    Image color = {PIXELS(255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30), 1, 4, 3};
    Image gray = {PIXELS(7, 8), 1, 2, 1};
    expect_one((Transform){TRANSFORM_GRAYSCALE, 0, 0}, &color,
               &(Image){PIXELS(76, 150, 29, 18), 1, 4, 1});
    expect_one((Transform){TRANSFORM_GRAYSCALE, 0, 0}, &gray, &gray);
}
END_TEST

/* Half a pixel goes where Python's round has it: of 4 to 1, 1.5 is 2; of 2 to 1, 0.5 is 0. */
START_TEST(test_center_crop)
{
    Image square = {PIXELS(0, 1, 2, 3, 4, 5, 6, 7, 8), 3, 3, 1};
    Image row = {PIXELS(0, 1, 2, 3), 1, 4, 1}, pair = {PIXELS(0, 1), 1, 2, 1};
    expect_one((Transform){TRANSFORM_CENTER_CROP, 1, 1}, &square, &(Image){PIXELS(4), 1, 1, 1});
    expect_one((Transform){TRANSFORM_CENTER_CROP, 1, 1}, &row, &(Image){PIXELS(2), 1, 1, 1});
    expect_one((Transform){TRANSFORM_CENTER_CROP, 1, 1}, &pair, &(Image){PIXELS(0), 1, 1, 1});
    expect_one((Transform){TRANSFORM_CENTER_CROP, 3, 3}, &square, &square);
}
END_TEST

START_TEST(test_crop_too_large)
{
    DataSettings d = {.transforms = 1, .transform = {{TRANSFORM_CENTER_CROP, 3, 4}}};
    NincModel model = model_of(&d);
    Image square = {PIXELS(0, 1, 2, 3, 4, 5, 6, 7, 8), 3, 3, 1}, out;
    catch_errors();
    ck_assert_int_eq(image_transform(&model, &square, &out), -1);
    expect_error("center_crop of 3x4 (height, width) is larger than the images, which are 3x3");
    ck_assert_ptr_null(out.pixel);
}
END_TEST

/* The shorter side is N; the longer one is cut to a whole number. */
START_TEST(test_resize_size)
{
    static const struct {
        int h, w, side, out_h, out_w;
    } cases[] = {{10, 10, 4, 4, 4}, {10, 15, 4, 4, 6}, {15, 10, 4, 6, 4}, {3, 5, 2, 2, 3},
                 {2, 3, 4, 4, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[200];
        int size[3] = {1, cases[i].h, cases[i].w};
        Transform t = {TRANSFORM_RESIZE, cases[i].side, 0};
        ck_assert_ptr_null(transform_size(&t, size, why, sizeof why));
        ck_assert_int_eq(size[1], cases[i].out_h);
        ck_assert_int_eq(size[2], cases[i].out_w);
    }
}
END_TEST

/* A pixel of half the size is a triangle's mean, of weights 1, 3, 3, 1; at the edge 3, 3, 1. */
START_TEST(test_resize)
{
    Image row = {PIXELS(0, 0, 80, 160), 1, 4, 1}, column = {PIXELS(0, 0, 80, 160), 4, 1, 1};
    expect_one((Transform){TRANSFORM_RESIZE, 1, 2}, &row, &(Image){PIXELS(11, 103), 1, 2, 1});
    expect_one((Transform){TRANSFORM_RESIZE, 2, 1}, &column, &(Image){PIXELS(11, 103), 2, 1, 1});
}
END_TEST

START_TEST(test_list)
{
    DataSettings d = {.transforms = 3,
                      .transform = {{TRANSFORM_TRANSPOSE, 0, 0},
                                    {TRANSFORM_GRAYSCALE, 0, 0},
                                    {TRANSFORM_CENTER_CROP, 1, 2}}};
    Image in = {PIXELS(9, 9, 9, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5), 2, 3, 3};
    expect_image(&d, &in, &(Image){PIXELS(1, 4), 1, 2, 1});
    expect_image(&(DataSettings){0}, &in, &in);
}
END_TEST

static Dataset two_images(void)
{
    static const uint8_t pixel[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    Dataset d = {.count = 2, .h = 2, .w = 3, .c = 1, .image = xmalloc(sizeof pixel)};
    memcpy(d.image, pixel, sizeof pixel);
    return d;
}

START_TEST(test_data_set)
{
    DataSettings turned = {.transforms = 1, .transform = {{TRANSFORM_TRANSPOSE, 0, 0}}};
    DataSettings cropped = {.transforms = 1, .transform = {{TRANSFORM_CENTER_CROP, 3, 3}}};
    NincModel model = model_of(&turned), wrong = model_of(&cropped);
    Dataset d = two_images();
    ck_assert_int_eq(dataset_transform(&model, "there", &d), 0);
    ck_assert_int_eq(d.h, 3);
    ck_assert_int_eq(d.w, 2);
    ck_assert_mem_eq(d.image, PIXELS(1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12), 12);
    catch_errors();
    ck_assert_int_eq(dataset_transform(&wrong, "there", &d), -1);
    expect_error("the images in there: center_crop of 3x3");
    dataset_free(&d);
}
END_TEST

/* Reads behind the end of a file that was cut while it was mapped; the child's status. */
static int read_cut(bool guarded, char *said, size_t size)
{
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        FileMap m[2];
        uint8_t page[8192] = {1};
        dup2(ends[1], STDERR_FILENO);
        signal(SIGBUS, SIG_DFL); /* the sanitizers' */
        write_file("cut", page, sizeof page);
        write_file("whole", page, sizeof page);
        if (filemap_open(&m[0], at("cut")) < 0 || filemap_open(&m[1], at("whole")) < 0)
            _exit(3);
        filemap_guard(&m[!guarded], "the file is %s", "cut");
        if (truncate(at("cut"), 0) == 0)
            _exit(*(volatile uint8_t *)(m[0].bytes + 5000) + 4);
        _exit(3);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], said, size - 1);
    said[got > 0 ? got : 0] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

/* It ends with the message where the file is guarded, and by the signal elsewhere. */
START_TEST(test_cut)
{
    char said[256];
    int status = read_cut(true, said, sizeof said);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    ck_assert_ptr_nonnull(strstr(said, ": error: the file is cut\n"));
    status = read_cut(false, said, sizeof said);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    ck_assert_str_eq(said, "");
}
END_TEST

/* Images in a mapped file stay as they are in it. */
START_TEST(test_mapped)
{
    DataSettings turned = {.transforms = 1, .transform = {{TRANSFORM_TRANSPOSE, 0, 0}}};
    NincModel model = model_of(&turned);
    Dataset d = {.count = 1, .h = 2, .w = 3, .c = 1};
    write_file("images", PIXELS(0, 1, 2, 3, 4, 5, 6), 7);
    ck_assert_int_eq(filemap_open(&d.mapped, at("images")), 0);
    ck_assert_uint_eq(d.mapped.size, 7);
    d.image = d.mapped.bytes + 1;
    ck_assert_int_eq(dataset_transform(&model, "there", &d), 0);
    ck_assert_ptr_null(d.mapped.bytes);
    ck_assert_mem_eq(d.image, PIXELS(1, 4, 2, 5, 3, 6), 6);
    dataset_free(&d);
    catch_errors();
    ck_assert_int_eq(filemap_open(&d.mapped, at("nothing")), -1);
    expect_error("cannot read");
    catch_errors();
    ck_assert_int_eq(filemap_open(&d.mapped, directory), -1);
    expect_error("it is not a file");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_transpose,   test_grayscale, test_center_crop,
                                  test_crop_too_large, test_resize_size, test_resize,
                                  test_list,        test_data_set,  test_mapped,    test_cut};
    return run_in_scratch("transform", tests, sizeof tests / sizeof *tests, NULL);
}

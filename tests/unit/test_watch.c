/* What a run shows: TensorBoard's frames and histograms, CSV, the progress bar, the confusion
 * matrix as a picture. */
#include "../../ir/ir.h"
#include "../../runtime/train/train.h"
#include "tfevents.pb-c.h"

#include <check.h>
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[] = "/tmp/ninc-test-XXXXXX";

static uint64_t little_endian(const unsigned char *p, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

/* The bytes of a file; the caller frees them. */
static unsigned char *read_file(const char *path, size_t *count)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "no file %s", path);
    unsigned char *bytes = xmalloc(1 << 16);
    *count = fread(bytes, 1, (1 << 16) - 1, f);
    bytes[*count] = '\0';
    fclose(f);
    return bytes;
}

/* ---- TensorBoard ---- */

/* RFC 3720, appendix B.4, and the check value of the catalogue of CRCs. */
START_TEST(test_crc32c_vectors)
{
    unsigned char zeros[32] = {0}, ones[32], up[32], down[32];
    for (int i = 0; i < 32; i++) {
        ones[i] = 0xFF;
        up[i] = (unsigned char)i;
        down[i] = (unsigned char)(31 - i);
    }
    ck_assert_uint_eq(crc32c(zeros, 32), 0x8A9136AAu);
    ck_assert_uint_eq(crc32c(ones, 32), 0x62A8AB43u);
    ck_assert_uint_eq(crc32c(up, 32), 0x46DD794Eu);
    ck_assert_uint_eq(crc32c(down, 32), 0x113FDB5Cu);
    ck_assert_uint_eq(crc32c("123456789", 9), 0xE3069283u);
    ck_assert_uint_eq(crc32c("", 0), 0);
}
END_TEST

/* The one file in the directory. */
static const char *event_file(const char *path, char *out, size_t size)
{
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    out[0] = '\0';
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, "events.out.tfevents.", 20) == 0)
            snprintf(out, size, "%s/%s", path, e->d_name);
    closedir(d);
    ck_assert_str_ne(out, "");
    return out;
}

/* Walks over the frames; returns how many there are. */
static int count_frames(const unsigned char *bytes, size_t size)
{
    int frames = 0;
    for (size_t at = 0; at < size; frames++) {
        uint64_t length = little_endian(bytes + at, 8);
        ck_assert_uint_le(at + 16 + length, size);
        ck_assert_uint_eq(little_endian(bytes + at + 8, 4), masked_crc32c(bytes + at, 8));
        ck_assert_uint_eq(little_endian(bytes + at + 12 + length, 4),
                          masked_crc32c(bytes + at + 12, (size_t)length));
        at += 16 + (size_t)length;
    }
    return frames;
}

START_TEST(test_event_file_has_frames)
{
    char path[4200], file[4600];
    size_t size;
    snprintf(path, sizeof path, "%s/a/b", directory);
    Tensorboard *t = tensorboard_open(path, 0);
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(tensorboard_scalars(t, 3, (Scalar[]){{"x", 1}, {"y", NAN}}, 2), 0);
    ck_assert_int_eq(tensorboard_close(t), 0);
    unsigned char *bytes = read_file(event_file(path, file, sizeof file), &size);
    ck_assert_int_eq(count_frames(bytes, size), 4); /* version, start, two scalars */
    ck_assert_ptr_nonnull(memmem(bytes, size, "brain.Event:2", 13));
    free(bytes);
}
END_TEST

/* From which step on readers forget what other files hold; -1: that is nowhere said. */
static int64_t start_step(const unsigned char *bytes, size_t size)
{
    int64_t step = -1;
    for (size_t at = 0; at < size;) {
        size_t length = (size_t)little_endian(bytes + at, 8);
        Tfevents__Event *e = tfevents__event__unpack(NULL, length, bytes + at + 12);
        ck_assert_ptr_nonnull(e);
        if (e->what_case == TFEVENTS__EVENT__WHAT_SESSION_LOG)
            step = e->step;
        tfevents__event__free_unpacked(e, NULL);
        at += 16 + length;
    }
    return step;
}

/* A point in the middle of an interval goes, unless an evaluation stands at its step. */
START_TEST(test_events_of_a_resumed_run)
{
    static const struct {
        LogCut cut;
        int64_t step;
    } cases[] = {{{.step = 10}, 11},
                 {{.step = 10, .train = true}, 10},
                 {{.step = 10, .eval = true}, 11},
                 {{.step = 10, .train = true, .evaluated = true}, 11}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[4200], file[4600];
        size_t size;
        Log log;
        snprintf(path, sizeof path, "%s/cut%zu", directory, i);
        ck_assert_int_eq(log_open(&log, &(LogOptions){.tensorboard = path}, &cases[i].cut), 0);
        ck_assert_int_eq(log_close(&log), 0);
        unsigned char *bytes = read_file(event_file(path, file, sizeof file), &size);
        ck_assert_int_eq(start_step(bytes, size), cases[i].step);
        free(bytes);
    }
}
END_TEST

START_TEST(test_histogram_buckets)
{
    const double value[] = {0,     -1e-15,  1e-15, 2.5,      -2.5, 1e30,
                            -1e30, DBL_MAX, NAN,   INFINITY, 1e-12};
    Histogram h;
    double sum = 0;
    histogram_init(&h);
    for (int i = 1; i < h.buckets; i++)
        ck_assert(h.limit[i - 1] < h.limit[i]);
    histogram_add(&h, value, sizeof value / sizeof *value);
    for (int i = 0; i < h.buckets; i++)
        sum += h.count[i];
    ck_assert(sum == 9 && h.num == 9 && h.min == -1e30 && h.max == DBL_MAX);
    histogram_clear(&h);
    histogram_add(&h, (double[]){2.5}, 1);
    for (int i = 1; i < h.buckets; i++)
        ck_assert_int_eq(h.count[i] == 1, h.limit[i - 1] <= 2.5 && 2.5 < h.limit[i]);
    ck_assert(h.sum == 2.5 && h.sum_squares == 6.25);
    histogram_free(&h);
}
END_TEST

START_TEST(test_confusion_picture)
{
    const int64_t count[] = {10, 0, 5, 5};
    Image image;
    ck_assert_int_eq(confusion_image(count, 2, &image), 0);
    ck_assert_int_eq(image.w, image.h);
    ck_assert_int_eq(image.c, 3);
    int cell = image.w / 2;
    const uint8_t *first = image.pixel, *second = image.pixel + 3 * cell;
    const uint8_t *below = image.pixel + 3 * cell * image.w;
    const uint8_t bright[] = {253, 231, 37}, dark[] = {68, 1, 84}, middle[] = {33, 145, 140};
    ck_assert_mem_eq(first, bright, 3);
    ck_assert_mem_eq(second, dark, 3);
    ck_assert_mem_eq(below, middle, 3);
    image_free(&image);
}
END_TEST

/* ---- CSV ---- */

START_TEST(test_csv_is_cut_and_goes_on)
{
    char path[4200];
    size_t size;
    Log log;
    snprintf(path, sizeof path, "%s/log.csv", directory);
    LogOptions options = {.csv = path};
    LogEntry e = {.step = 10, .loss = 0.5, .accuracy = 0.25, .lr = 0.1, .images_per_second = 8};
    ck_assert_int_eq(log_open(&log, &options, NULL), 0);
    ck_assert_int_eq(log_train(&log, &e), 0);
    e.loss = NAN;
    e.epoch = 1;
    ck_assert_int_eq(log_eval(&log, &e, NULL), 0);
    e.step = 20;
    ck_assert_int_eq(log_train(&log, &e), 0);
    fputs("train,30,1,0.", log.csv.file);
    ck_assert_int_eq(log_close(&log), 0);
    ck_assert_int_eq(log_open(&log, &options, &(LogCut){.step = 10}), 0);
    e.step = 15;
    e.loss = 1.5;
    ck_assert_int_eq(log_train(&log, &e), 0);
    ck_assert_int_eq(log_close(&log), 0);
    char *text = (char *)read_file(path, &size);
    ck_assert_str_eq(text, "event,step,epoch,loss,accuracy,lr,images_per_second\r\n"
                           "train,10,0,0.5,0.25,0.1,8\r\n"
                           "eval,10,1,nan,0.25,,\r\n"
                           "train,15,1,1.5,0.25,0.1,8\r\n");
    free(text);
}
END_TEST

START_TEST(test_csv_of_another_kind)
{
    char path[4200], told[256];
    Log log;
    snprintf(path, sizeof path, "%s/other.csv", directory);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("name,value\n", f);
    fclose(f);
    fault_hold(told, sizeof told);
    ck_assert_int_eq(log_open(&log, &(LogOptions){.csv = path}, &(LogCut){.step = 10}), -1);
    fault_hold(NULL, 0);
    log_close(&log);
    ck_assert_ptr_nonnull(strstr(told, "line 1 of"));
}
END_TEST

/* ---- the bar ---- */

static const Progress long_run = {.epoch_step = 1234567,
                                  .epoch_steps = 99999999,
                                  .epoch = 998,
                                  .epochs = 1000,
                                  .loss = 2.302585,
                                  .accuracy = 0.1,
                                  .images_per_second = 123456.7,
                                  .seconds = 99 * 3600.0};
static const Progress usual_run = {.epoch_step = 412,
                                   .epoch_steps = 938,
                                   .epoch = 1,
                                   .epochs = 6,
                                   .loss = 0.8349,
                                   .accuracy = 0.7025,
                                   .images_per_second = 3410.8,
                                   .seconds = 79};

static int columns_of(const char *text)
{
    int columns = 0;
    for (; *text; text++)
        columns += ((unsigned char)*text & 0xC0) != 0x80; /* not inside a letter of UTF-8 */
    return columns;
}

START_TEST(test_bar_fits)
{
    char line[PROGRESS_LINE];
    for (int columns = 0; columns < 600; columns++) {
        bool unicode = columns % 2;
        int width = progress_line(&long_run, columns / 2, unicode, line);
        ck_assert_int_eq(width, columns_of(line));
        ck_assert_msg(width == 0 || width < columns / 2, "%d in %d: %s", width, columns / 2, line);
        if (columns / 2 > 13)
            ck_assert_ptr_nonnull(strstr(line, "99:00:00 left"));
    }
    static const char *const fields[] = {"epoch 999/1000 ", " 1234567/99999999", "loss 2.30",
                                         "acc 0.10",        "123457 images/s",   "99:00:00 left"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        ck_assert_msg(strstr(line, fields[i]) != NULL, "no %s: %s", fields[i], line);
}
END_TEST

/* What it looks like: bar, step and time left before anything else. */
START_TEST(test_bar_at_widths)
{
    static const struct {
        int columns;
        bool unicode;
        const char *line;
    } at[] = {
        {10, true, "1:19 left"},
        {20, true, "412/938  1:19 left"},
        {25, false, "[..]  412/938  1:19 left"},
        {32, false, "[###......]  412/938  1:19 left"},
        {40, false, "epoch 2/6 [###....]  412/938  1:19 left"},
        {40, true,
         "epoch 2/6 \u2588\u2588\u2588\u258c\u00b7\u00b7\u00b7\u00b7\u00b7  "
         "412/938  1:19 left"},
        {80, false,
         "epoch 2/6 [####.......]  412/938  loss 0.83  acc 0.70  1:19 left  3411 images/s"},
    };
    char line[PROGRESS_LINE];
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        progress_line(&usual_run, at[i].columns, at[i].unicode, line);
        ck_assert_str_eq(line, at[i].line);
    }
    progress_line(&usual_run, 200, false, line);
    ck_assert_ptr_nonnull(strstr(line, "acc 0.70  1:19 left  3411 images/s"));
    Progress test = {.epoch_step = 2560,
                     .epoch_steps = 10000,
                     .epoch = 1,
                     .epochs = 6,
                     .testing = true,
                     .seconds = 12};
    progress_line(&test, 60, false, line);
    ck_assert_str_eq(line, "epoch 2/6 [####.............]   2560/10000  test  0:12 left");
}
END_TEST

START_TEST(test_bar_of_odd_numbers)
{
    char line[PROGRESS_LINE];
    Progress p = usual_run;
    p.seconds = NAN;
    p.loss = 0.00123;
    p.accuracy = 0.9999;
    p.epoch_step = p.epoch_steps;
    progress_line(&p, 80, false, line);
    ck_assert_ptr_nonnull(strstr(line, "[######"));
    ck_assert_ptr_null(strchr(line, '.') < strchr(line, ']') ? line : NULL);
    ck_assert_ptr_nonnull(strstr(line, "938/938  loss 0.0012  acc 0.99  ? left"));
    p.accuracy = 1;
    p.loss = NAN;
    p.epoch_steps = p.epoch_step = 0;
    progress_line(&p, 80, false, line);
    ck_assert_ptr_nonnull(strstr(line, "0/0  loss nan  acc 1.00"));
}
END_TEST

/* The first of the three variables that is set decides. */
START_TEST(test_bar_follows_the_locale)
{
    setenv("LC_ALL", "", 1);
    unsetenv("LC_CTYPE");
    setenv("LANG", "de_DE.UTF-8", 1);
    ck_assert(bar_unicode());
    setenv("LC_CTYPE", "C", 1);
    ck_assert(!bar_unicode());
    setenv("LC_ALL", "C.utf8", 1);
    ck_assert(bar_unicode());
    unsetenv("LC_ALL");
    unsetenv("LC_CTYPE");
    unsetenv("LANG");
    ck_assert(!bar_unicode());
}
END_TEST

int main(void)
{
    if (!mkdtemp(directory))
        return 1;
    Suite *suite = suite_create("watch");
    TCase *tests = tcase_create("watch");
    tcase_add_test(tests, test_crc32c_vectors);
    tcase_add_test(tests, test_event_file_has_frames);
    tcase_add_test(tests, test_events_of_a_resumed_run);
    tcase_add_test(tests, test_histogram_buckets);
    tcase_add_test(tests, test_confusion_picture);
    tcase_add_test(tests, test_csv_is_cut_and_goes_on);
    tcase_add_test(tests, test_csv_of_another_kind);
    tcase_add_test(tests, test_bar_fits);
    tcase_add_test(tests, test_bar_at_widths);
    tcase_add_test(tests, test_bar_of_odd_numbers);
    tcase_add_test(tests, test_bar_follows_the_locale);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return failed || system(command) != 0;
}

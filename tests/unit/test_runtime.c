/* The runtime by itself, on a plan written by hand: logs, the CPU device and the training loop. */
#include "tiny_step.h"
#include "idx.h"

#include <fcntl.h>
#include <sys/stat.h>

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

int main(void)
{
    const TTest *const tests[] = {test_json_lines, test_state_border, test_step,
                                  test_threads_do_not_matter, test_exchange, test_coarse_slices,
                                  test_kept_between_steps, test_memory_of_threads,
                                  test_forced_level, test_loop, test_max_steps_and_checkpoint};
    return run_in_scratch("runtime", tests, sizeof tests / sizeof *tests, NULL);
}

/* Steps of the GPU device over a machine in memory (fake_gpu.h): the calls that they make, what
 * comes of them beside the CPU's, data sets, and every call that fails. */
#include "../../runtime/device/gpu.h"
#include "../../runtime/train/train.h"
#include "fake_gpu.h"
#include "scratch.h"
#include "tiny_step.h"

#include <fcntl.h>

/* ---- steps ---- */

/* Every call of the first step, of the next, and of the first one of the other program. */
START_TEST(test_calls_of_a_step)
{
    Device *d = opened(true);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, TINY_BATCH);
    forget_log();
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), 0);
    ck_assert_str_eq(fake.log, "alloc\nin\nin\n"
                               "slot 0\nsend 0\nslot 1\nsend 1\n"
                               "begin\n"
                               "gather_batch 7x1x1\n"
                               "rows 2x1x3\n"
                               "metrics 5x1x1\n"
                               "update 5x1x1\n"
                               "add_metrics 1x1x1\n"
                               "end\n"
                               "graph\n");
    forget_log();
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), 0);
    ck_assert_str_eq(fake.log, "slot 2\nsend 2\nslot 3\nsend 3\ngraph\n");
    forget_log();
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &input), 0);
    ck_assert_str_eq(fake.log, "slot 4\nsend 4\nslot 5\nsend 5\n"
                               "begin\n"
                               "gather_batch 7x1x1\n"
                               "eval_rows 5x1x1\n"
                               "eval_metrics 5x1x1\n"
                               "add_metrics 1x1x1\n"
                               "end\n"
                               "graph\n");
    table.close(d);
    dataset_free(&data);
}
END_TEST

/* Images that changed go to the place of the old ones, where the captured step finds them. */
START_TEST(test_new_edition)
{
    Device *d = opened(false);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, 2);
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &input), 0);
    data.edition++;
    forget_log();
    ck_assert_int_eq(table.use(d), 0);
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &input), 0);
    ck_assert_str_eq(fake.log, "use\nwait\nin\nslot 2\nsend 2\nslot 3\nsend 3\ngraph\n");
    table.close(d);
    dataset_free(&data);
}
END_TEST

/* Whole and partial batches, and a gradient in fewer parts. */
START_TEST(test_step_like_cpu)
{
    Weights *want = weights_new(&ninc_model), *got = weights_new(&ninc_model);
    for (int processors = 1; processors <= 8; processors += 7)
        for (int valid = 1; valid <= TINY_BATCH; valid++) {
            fake.processors = processors;
            double loss = step_loss(&table, 1, valid, got);
            double wanted = step_loss(&ninc_cpu_device, 1, valid, want);
            ck_assert(fabs(loss - wanted) <= 1e-6 * wanted);
            expect_weights(got, want);
        }
    weights_free(want);
    weights_free(got);
}
END_TEST

/* Two graphs, between which the sums can be read; then whole steps again. */
START_TEST(test_exchange)
{
    expect_exchange(&table, tiny_cuda_update_args[1], TINY_SPLIT);
    Device *d = opened(true);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, TINY_BATCH);
    const NincProgram *train = &target()->train;
    Process p = {.table = &table, .device = d, .gradient = tiny_cuda_update_args[1], .copies = 1};
    Exchange exchange = {take_sums, &p};
    ck_assert_int_eq(device_step(&table, d, train, &input), 0);
    forget_log();
    ck_assert_int_eq(table.run_chunks(d, train, &input), 0);
    ck_assert_int_eq(table.reduce(d, train, &exchange), 0);
    ck_assert_int_eq(table.run_after(d, train), 0);
    ck_assert_str_eq(fake.log, "slot 2\nsend 2\nslot 3\nsend 3\n"
                               "begin\ngather_batch 7x1x1\nrows 2x1x3\nend\ngraph\n"
                               "wait\nout\n"
                               "begin\nmetrics 5x1x1\nupdate 5x1x1\nadd_metrics 1x1x1\nend\n"
                               "graph\n");
    forget_log();
    ck_assert_int_eq(device_step(&table, d, train, &input), 0);
    ck_assert_str_eq(fake.log, "slot 4\nsend 4\nslot 5\nsend 5\ngraph\n");
    table.close(d);
    dataset_free(&data);
}
END_TEST

/* The scalars of a step may lie far apart: then each is sent by itself. */
START_TEST(test_scattered_scalars)
{
    enum { FAR = 100000 };
    NincModel model = ninc_model;
    NincProgram *train = &model.target[NINC_CUDA].train;
    NincArg update[3];
    NincLaunch after[2];
    NincPort port[4];
    memcpy(update, tiny_cuda_update_args, sizeof update);
    memcpy(after, tiny_cuda_train_after, sizeof after);
    memcpy(port, tiny_inputs, sizeof port);
    update[2].offset = port[3].at.offset = FAR;
    after[1].arg = update;
    train->after = after;
    train->input = port;
    train->shared_bytes = FAR + 64;
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, 5);
    DeviceOptions options = {.with_train = true};
    Device *d = table.open(&model, &options);
    Weights *got = weights_new(&ninc_model), *want = weights_new(&ninc_model);
    send_weights(&table, d);
    forget_log();
    ck_assert_int_eq(device_step(&table, d, train, &input), 0);
    ck_assert_ptr_nonnull(strstr(fake.log, "send 2\n"));
    ck_assert_int_eq(weights_from_device(got, &table, d), 0);
    step_loss(&ninc_cpu_device, 1, 5, want);
    expect_weights(got, want);
    weights_free(got);
    weights_free(want);
    dataset_free(&data);
    table.close(d);
}
END_TEST

/* Runs with stdout thrown away. */
static int train_quietly(const DeviceTable *on, const char *save)
{
    TrainOptions o = {.data = "random",
                      .epochs = 2,
                      .max_steps = -1,
                      .lr = -1,
                      .checkpoint_every = -1,
                      .log_every = 1000,
                      .seed = 3,
                      .save = save,
                      .device = {.threads = 1},
                      .no_progress = true};
    fflush(stdout);
    int kept = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    close(null);
    int status = train(&ninc_model, on, &o);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    return status;
}

static Weights *saved(const char *path)
{
    Weights *w = weights_new(&ninc_model);
    ck_assert_int_eq(safetensors_read(path, w), 0);
    unlink(path);
    return w;
}

/* Two epochs of 147 steps and their evaluation: every slot is used several times over while the
 * machine lags behind as far as it may. */
START_TEST(test_training_like_cpu)
{
    const char *path = at("run.safetensors");
    ck_assert_int_eq(train_quietly(&ninc_cpu_device, path), 0);
    Weights *want = saved(path);
    ck_assert_int_eq(train_quietly(&table, path), 0);
    Weights *got = saved(path);
    for (int i = 0; i < TINY_CLASSES * TINY_PIXELS; i++)
        ck_assert(fabs(got->value[0][i] - want->value[0][i]) <= 1e-4);
    ck_assert_int_eq(fake.captures, 2);
    ck_assert_int_gt(fake.deepest, 60);
    weights_free(want);
    weights_free(got);
}
END_TEST

START_TEST(test_metrics)
{
    Device *d = opened(true);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput full = step_on(&data, TINY_BATCH), part = step_on(&data, 3);
    Metrics first, second, none;
    send_weights(&table, d);
    fake.logits_zero = true;
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &full), 0);
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &part), 0);
    ck_assert_int_eq(table.read_metrics(d, &first), 0);
    ck_assert_int_eq(first.images, TINY_BATCH + 3);
    ck_assert(first.all_logits_zero);
    ck_assert_int_eq(table.read_metrics(d, &none), 0);
    ck_assert(none.loss == 0 && none.correct == 0 && none.images == 0 && !none.all_logits_zero);
    fake.logits_zero = false;
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &full), 0);
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &part), 0);
    ck_assert_int_eq(table.read_metrics(d, &second), 0);
    ck_assert(second.loss == first.loss && second.correct == first.correct);
    ck_assert(!second.all_logits_zero);
    table.close(d);
    dataset_free(&data);
}
END_TEST

/* ---- data sets ---- */

START_TEST(test_graph_for_each_program_and_data)
{
    Device *d = opened(true);
    Dataset a = random_data(5, SPLIT_TRAIN), b = random_data(5, SPLIT_TEST);
    StepInput on_a = step_on(&a, 4), on_b = step_on(&b, 4);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(device_step(&table, d, &target()->train, &on_a), 0);
        ck_assert_int_eq(device_step(&table, d, &target()->eval, &on_b), 0);
        ck_assert_int_eq(device_step(&table, d, &target()->eval, &on_a), 0);
        ck_assert_int_eq(fake.captures, 3);
        ck_assert_int_eq(fake.buffers, 3); /* arena, a, b */
    }
    table.close(d);
    dataset_free(&a);
    dataset_free(&b);
}
END_TEST

static double loss_on(Device *d, const Dataset *data)
{
    Metrics m;
    StepInput input = step_on(data, TINY_BATCH);
    ck_assert_int_eq(device_step(&table, d, &target()->eval, &input), 0);
    ck_assert_int_eq(table.read_metrics(d, &m), 0);
    return m.loss;
}

/* More data sets than the device keeps: the oldest goes, and comes back when it is used. */
START_TEST(test_many_data_sets)
{
    enum { SETS = 9, KEPT = 4, BYTES = RANDOM_TEST_IMAGES * (TINY_PIXELS + 4) };
    fake.free_bytes = gpu_arena_bytes(target(), true) + KEPT * BYTES + BYTES / 2;
    Device *d = opened(true);
    Dataset data[SETS];
    double loss[SETS];
    send_weights(&table, d);
    for (int i = 0; i < SETS; i++) {
        data[i] = random_data(100 + (uint64_t)i, SPLIT_TEST);
        loss[i] = loss_on(d, &data[i]);
        ck_assert_int_le(fake.graphs, KEPT);
        ck_assert_int_le(fake.buffers, KEPT + 1);
    }
    for (int i = 0; i < SETS; i++) {
        ck_assert(i == 0 || loss[i] != loss[i - 1]);
        ck_assert(loss_on(d, &data[i]) == loss[i]);
    }
    table.close(d);
    for (int i = 0; i < SETS; i++)
        dataset_free(&data[i]);
}
END_TEST

/* ---- what verify and profile use ---- */

START_TEST(test_read_write_poison)
{
    Device *d = opened(true);
    float in[4] = {1, 2, 3, 4}, out[4];
    unsigned char bytes[TINY_BATCH * TINY_LOGITS];
    const NincArg *gradient = &tiny_cuda_row_args[8], *logits = &tiny_cuda_row_args[7];
    ck_assert_int_eq(table.poison(d, &target()->train), 0);
    ck_assert_int_eq(table.read(d, logits, 0, bytes, sizeof bytes), 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_uint_eq(bytes[i], 0xFF);
    ck_assert_int_eq(table.write(d, gradient, 2, in, sizeof in), 0);
    ck_assert_int_eq(table.read(d, gradient, 2, out, sizeof out), 0);
    ck_assert_mem_eq(in, out, sizeof in);
    ck_assert_int_eq(table.read(d, gradient, 1, bytes, sizeof bytes), 0);
    ck_assert_uint_eq(bytes[0], 0xFF);
    ck_assert_int_eq(table.read_state(d, 0, out, sizeof out), 0);
    ck_assert(out[0] == 0); /* the state starts at zero, and is not poisoned */
    table.close(d);
}
END_TEST

START_TEST(test_launch)
{
    Device *d = opened(true);
    NincRange range = {.images = TINY_BATCH, .slices = 1};
    float loss[TINY_BATCH];
    int32_t zeros[TINY_PIXELS * TINY_BATCH] = {0};
    send_weights(&table, d);
    ck_assert_int_eq(table.poison(d, &target()->train), 0);
    for (int i = 0; i < 3; i++) /* image, label, valid */
        ck_assert_int_eq(table.write(d, &tiny_cuda_row_args[i], 0, zeros, i == 2 ? 4 : 64), 0);
    ck_assert_int_eq(
        table.write(d, &tiny_cuda_row_args[0], 0, zeros, TINY_BATCH * TINY_PIXELS), 0);
    ck_assert_int_eq(table.launch(d, &target()->train, &tiny_cuda_train[0], &range, 0), 0);
    ck_assert_int_eq(table.read(d, &tiny_cuda_row_args[5], 0, loss, sizeof loss), 0);
    for (int n = 1; n < TINY_BATCH; n++)
        ck_assert(loss[n] == loss[0] && loss[0] > 0);
    table.close(d);
}
END_TEST

/* Timing counts no images. */
START_TEST(test_time)
{
    Device *d = opened(true);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, TINY_BATCH);
    Metrics m;
    double seconds = -1;
    send_weights(&table, d);
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), 0);
    ck_assert_int_eq(table.time(d, &target()->train, &tiny_cuda_train[0], 4, &seconds), 0);
    ck_assert(seconds == 0.25);
    forget_log();
    ck_assert_int_eq(table.time(d, &target()->train, NULL, 3, &seconds), 0);
    ck_assert_str_eq(fake.log, "begin time\ngraph\ngraph\ngraph\nend time\nwait\nin\n");
    ck_assert(seconds == 0.25);
    ck_assert_int_eq(table.read_metrics(d, &m), 0);
    ck_assert_int_eq(m.images, 0);
    table.close(d);
    dataset_free(&data);
}
END_TEST

/* ---- failures ---- */

/* Opens, trains, evaluates, reads, brings in more data than fits the table: all kinds of calls. */
static int scenario(Dataset *data, int sets)
{
    DeviceOptions options = {.with_train = true};
    Metrics m;
    char state[16];
    double seconds;
    int status = 0;
    Device *d = table.open(&ninc_model, &options);
    if (!d)
        return -1;
    status = table.write_state(d, 0, "0123456789abcdef", 16);
    for (int i = 0; i < sets && status == 0; i++) {
        StepInput input = step_on(&data[i], 3);
        status = device_step(&table, d, &target()->train, &input);
        if (status == 0)
            status = device_step(&table, d, &target()->eval, &input);
    }
    if (status == 0)
        status = table.time(d, &target()->train, NULL, 2, &seconds);
    if (status == 0)
        status = table.read_metrics(d, &m);
    if (status == 0)
        status = table.read_state(d, 0, state, sizeof state);
    if (status == 0)
        status = table.poison(d, &target()->train);
    table.close(d);
    return status;
}

/* Whichever call fails, there is one message, -1, and a device that closes. */
START_TEST(test_every_failure)
{
    enum { SETS = 6, MOST = 1000 };
    Dataset data[SETS];
    int number = 0, status = -1;
    for (int i = 0; i < SETS; i++)
        data[i] = random_data(200 + (uint64_t)i, SPLIT_TEST);
    while (status < 0 && ++number < MOST) {
        set_up();
        fake.fail_at = number;
        catch_errors();
        status = scenario(data, SETS);
        const char *text = caught(), *planned = "trainer: error: planned failure of ";
        ck_assert(!fake.open);
        if (status < 0) {
            ck_assert_msg(strncmp(text, planned, strlen(planned)) == 0, "%s", text);
            ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
        }
    }
    ck_assert_int_gt(number, 100);
    ck_assert_int_lt(number, MOST);
    ck_assert_int_eq(fake.calls, number - 1);
    for (int i = 0; i < SETS; i++)
        dataset_free(&data[i]);
}
END_TEST

/* A data set that did not arrive takes no memory, and is brought again. */
START_TEST(test_data_after_failure)
{
    Device *d = opened(true);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, 3);
    for (int copy = 2; copy <= 3; copy++) { /* after alloc: the images, the labels */
        fake.fail_at = fake.calls + copy;
        catch_errors();
        ck_assert_int_eq(device_step(&table, d, &target()->train, &input), -1);
        expect_error("planned failure of copy_in");
        ck_assert_int_eq(fake.used, table.arena_bytes(d));
    }
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), 0);
    ck_assert_int_gt(fake.used, table.arena_bytes(d));
    table.close(d);
    dataset_free(&data);
}
END_TEST

/* After a failed launch the next step captures anew. */
START_TEST(test_capture_after_failure)
{
    Device *d = opened(true);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, 3);
    forget_log();
    fake.fail_at = fake.calls + 11; /* the launch of metrics */
    catch_errors();
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), -1);
    expect_error("planned failure of launch");
    ck_assert_ptr_nonnull(strstr(fake.log, "metrics 5x1x1\nend\n"));
    ck_assert_int_eq(fake.graphs, 0);
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), 0);
    ck_assert_int_eq(fake.graphs, 1);
    table.close(d);
    dataset_free(&data);
}
END_TEST

/* Steps of other images each on a device with so much room beside the programs. */
static void train_in(int64_t room, Weights *after)
{
    enum { STEPS = 6 };
    fake.free_bytes = gpu_arena_bytes(target(), true) + room;
    Device *d = opened(true);
    Dataset data = random_data(5, SPLIT_TEST);
    int32_t *order = dataset_order(&data);
    StepInput input = step_on(&data, TINY_BATCH);
    send_weights(&table, d);
    for (int i = 0; i < STEPS; i++) {
        input.index = order + 3 * i;
        input.valid = TINY_BATCH - i % 3;
        ck_assert_int_eq(device_step(&table, d, &target()->train, &input), 0);
    }
    ck_assert_int_eq(weights_from_device(after, &table, d), 0);
    free(order);
    table.close(d);
    dataset_free(&data);
}

/* Images that have no room on the device are sent for each step, two steps at once: the same bits.
 */
START_TEST(test_streamed)
{
    enum { STAGE = 512, BYTES = TINY_CLASSES * TINY_PIXELS * sizeof(float) };
    Weights *want = weights_new(&ninc_model), *got = weights_new(&ninc_model);
    train_in(1 << 16, want);
    ck_assert_ptr_null(strstr(fake.log, "send 64"));
    train_in(STAGE, got);
    ck_assert_ptr_nonnull(strstr(fake.log, "slot 64\nsend 64\n"));
    ck_assert_ptr_nonnull(strstr(fake.log, "slot 65\nsend 65\n"));
    ck_assert_mem_eq(got->value[0], want->value[0], BYTES);
    weights_free(want);
    weights_free(got);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_calls_of_a_step, test_new_edition, test_step_like_cpu,
                                  test_exchange, test_scattered_scalars, test_training_like_cpu,
                                  test_metrics, test_graph_for_each_program_and_data,
                                  test_many_data_sets, test_read_write_poison, test_launch,
                                  test_time, test_every_failure, test_data_after_failure,
                                  test_capture_after_failure, test_streamed};
    return run_in_scratch("gpu_steps", tests, sizeof tests / sizeof *tests, set_up);
}

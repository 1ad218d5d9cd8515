/* The GPU device over a machine in memory (fake_gpu.h). */
#include "../../runtime/device/gpu.h"
#include "../../runtime/train/train.h"
#include "fake_gpu.h"
#include "tiny_step.h"

#include <fcntl.h>

/* A file of this run alone. */
static char scratch[] = "/tmp/ninc-test-XXXXXX";

/* ---- the device over it ---- */

static Device *open_device(const NincModel *model, const DeviceOptions *options)
{
    return gpu_open(&fake_driver, model, options);
}

static DeviceTable table; /* ninc_cuda_device over the fake machine */

static const NincTarget *target(void)
{
    return &ninc_model.target[NINC_CUDA];
}

static void set_up(void)
{
    fake = (struct Fake){
        .free_bytes = 1 << 20, .processors = 8, .shared_bytes = 101376, .architecture = 86};
    table = ninc_cuda_device;
    table.open = open_device;
}

static Device *opened(bool with_train)
{
    DeviceOptions options = {.with_train = with_train};
    Device *d = table.open(&ninc_model, &options);
    ck_assert_ptr_nonnull(d);
    return d;
}

/* ---- schedules ---- */

static GpuLimits limits(int architecture, int processors, int shared_bytes)
{
    return (GpuLimits){.name = "Fake",
                       .architecture = architecture,
                       .processors = processors,
                       .shared_bytes = shared_bytes};
}

START_TEST(test_schedule_for)
{
    const NincLaunch *rows = &tiny_cuda_train[0];
    GpuLimits large = limits(86, 8, 101376), small = limits(86, 8, 89999);
    GpuLimits old = limits(75, 8, 101376), least = limits(75, 8, 40000);
    GpuLimits tiny = limits(90, 8, 39999), ancient = limits(61, 8, 101376);
    ck_assert_ptr_eq(schedule_for(rows, &large), &tiny_tiled[0]);
    ck_assert_ptr_eq(schedule_for(rows, &small), &tiny_tiled[1]);
    ck_assert_ptr_eq(schedule_for(rows, &old), &tiny_tiled[1]);
    ck_assert_ptr_eq(schedule_for(rows, &least), &tiny_tiled[1]);
    ck_assert_ptr_null(schedule_for(rows, &tiny));
    ck_assert_ptr_null(schedule_for(rows, &ancient));
    catch_errors();
    ck_assert_int_eq(schedule_fault(rows, &tiny), -1);
    expect_error("kernel rows needs 40000 bytes of shared memory a block, Fake has 39999; "
                 "compile the model with -O0, whose kernels need less, or use another GPU\n");
    catch_errors();
    ck_assert_int_eq(schedule_fault(rows, &ancient), -1);
    expect_error("compute capability 7.5 or newer is needed, Fake has 6.1; use a newer GPU, or "
                 "the CPU\n");
}
END_TEST

/* Kernels of tf32 and bf16 need 8.0, and no tile is smaller than none. */
START_TEST(test_schedule_fault)
{
    static const NincSchedule tensor = {64, 32, 16, 2, 1, 128, 40000, 2, 1, 80};
    static const NincSchedule simple = {0, 0, 0, 0, 1, 256, 40000, 2, 1, 75};
    NincLaunch launch = {.name = "conv", .schedule = &tensor, .schedules = 1};
    GpuLimits turing = limits(75, 8, 65536), pascal = limits(61, 8, 65536);
    GpuLimits tiny = limits(90, 8, 39999);
    catch_errors();
    ck_assert_int_eq(schedule_fault(&launch, &turing), -1);
    expect_error("kernel conv needs compute capability 8.0, Fake has 7.5; compile the model with "
                 "--precision=fp32, or use a newer GPU\n");
    catch_errors();
    ck_assert_int_eq(schedule_fault(&launch, &pascal), -1);
    expect_error("compute capability 7.5 or newer is needed, Fake has 6.1;");
    launch.schedule = &simple;
    catch_errors();
    ck_assert_int_eq(schedule_fault(&launch, &tiny), -1);
    expect_error("a block, Fake has 39999; use another GPU, or the CPU\n");
}
END_TEST

START_TEST(test_split_for)
{
    NincSchedule s = {.split = 100, .grid_x = 4, .grid_y = 2};
    GpuLimits unknown = limits(86, 0, 0), large = limits(86, 1000, 0), eight = limits(86, 8, 0);
    GpuLimits one = limits(86, 1, 0);
    ck_assert_int_eq(split_for(&s, &unknown), 100);
    ck_assert_int_eq(split_for(&s, &large), 100);
    int few = split_for(&s, &eight);
    ck_assert_int_ge(few, 1);
    ck_assert_int_lt(few, 100);
    ck_assert_int_ge(few * 8, 8); /* every processor has a block */
    ck_assert_int_eq(split_for(&s, &one), 1);
    s.split = 1;
    ck_assert_int_eq(split_for(&s, &large), 1);
}
END_TEST

START_TEST(test_limits_of_architecture)
{
    static const struct {
        int architecture, kilobytes;
    } known[] = {{75, 64},  {80, 163}, {86, 99},  {87, 163}, {89, 99},
                 {90, 227}, {100, 227}, {120, 99}, {121, 99}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        GpuLimits l = limits_of_architecture(known[i].architecture);
        ck_assert_int_eq(l.architecture, known[i].architecture);
        ck_assert_int_eq(l.shared_bytes, known[i].kilobytes * 1024);
        ck_assert_int_eq(l.processors, 0);
    }
    ck_assert_str_eq(limits_of_architecture(86).name, "sm_86");
}
END_TEST

static const char rows_options[] = "-DROWS_SHARED=90000\n"
                                   "-DROWS_SPLIT=3\n"
                                   "-DROWS_STAGES=4\n"
                                   "-DROWS_THREADS=128\n"
                                   "-DROWS_TILE_K=16\n"
                                   "-DROWS_TILE_M=64\n"
                                   "-DROWS_TILE_N=32\n";

/* The options do not depend on which programs are needed; what is loaded does. */
START_TEST(test_load)
{
    table.close(opened(true));
    ck_assert_str_eq(fake.options, rows_options);
    ck_assert_str_eq(fake.kernels, "0 rows\n1 metrics\n2 update\n3 eval_rows\n4 eval_metrics\n"
                                   "5 gather_batch\n6 add_metrics\n");
    table.close(opened(false));
    ck_assert_str_eq(fake.options, rows_options);
    ck_assert_str_eq(fake.kernels, "3 eval_rows\n4 eval_metrics\n5 gather_batch\n6 add_metrics\n");
}
END_TEST

/* What does not fit does not matter where it is not needed. */
START_TEST(test_load_on_small_device)
{
    DeviceOptions options = {.with_train = true};
    fake.shared_bytes = 1024;
    catch_errors();
    ck_assert_ptr_null(table.open(&ninc_model, &options));
    expect_error("kernel rows needs 40000 bytes");
    ck_assert(!fake.open);
    table.close(opened(false));
    ck_assert_str_eq(fake.options, "");
}
END_TEST

START_TEST(test_split_in_use)
{
    fake.processors = 1;
    Device *d = opened(true);
    ck_assert_int_eq(table.copies(d, &tiny_cuda_train[0]), 2);
    ck_assert_int_eq(table.copies(d, &tiny_cuda_train_after[1]), 1);
    ck_assert_ptr_nonnull(strstr(fake.options, "-DROWS_SPLIT=2\n"));
    table.close(d);
}
END_TEST

/* ---- opening ---- */

START_TEST(test_describe)
{
    Device *d = opened(true);
    ck_assert_str_eq(table.describe(d), "fake, Fake, compute capability 8.6, 8 processors");
    int64_t bytes = table.arena_bytes(d);
    ck_assert_int_ge(bytes, TINY_STATE + TINY_CUDA_SHARED + TINY_BATCH * TINY_LOGITS);
    ck_assert_int_eq(bytes, gpu_arena_bytes(target(), true));
    ck_assert_int_eq(bytes, fake.used);
    table.close(d);
}
END_TEST

START_TEST(test_no_cuda_code)
{
    NincModel model = ninc_model;
    DeviceOptions options = {.with_train = true};
    model.target[NINC_CUDA] = (NincTarget){.precision = NULL};
    catch_errors();
    ck_assert_ptr_null(table.open(&model, &options));
    expect_error("compiled without CUDA code; compile it with --target=all");
    ck_assert_int_eq(fake.opened, 0);
}
END_TEST

static void expect_no_room(const NincModel *model, int64_t free_bytes, bool train, const char *what)
{
    DeviceOptions options = {.with_train = train};
    fake.free_bytes = free_bytes;
    catch_errors();
    ck_assert_ptr_null(table.open(model, &options));
    expect_error(what);
    ck_assert(!fake.open);
}

/* Beside state, shared and chunk, multiples of ALIGNMENT: the index of the images, the sums. */
START_TEST(test_too_little_memory)
{
    enum { STATE = 512, REST = 512 };
    static const NincMemory smaller[] = {{3, STATE, 256, 768, 256, 256},
                                         {1, STATE, 256, 512, 256, 256}};
    NincModel model = ninc_model;
    int64_t needed = gpu_arena_bytes(target(), true), three = STATE + 256 + 768 + REST;
    ck_assert_int_gt(needed, three);
    expect_no_room(&model, needed - 1, true,
                   "at batch 7, Fake has 0.0 MB free; compile it for a smaller batch, or use");
    model.target[NINC_CUDA].smaller = smaller;
    model.target[NINC_CUDA].smallers = 2;
    expect_no_room(&model, needed - 1, true, "; compile it with --batch=3");
    expect_no_room(&model, three, true, "; compile it with --batch=3");
    expect_no_room(&model, three - 1, true, "; compile it with --batch=1");
    expect_no_room(&model, three - 257, true, "; no smaller batch fits: use another GPU");
    expect_no_room(&model, three - 512, false, "; compile it with --batch=3");
    model.target[NINC_CUDA].train.batch = model.target[NINC_CUDA].eval.batch = 1;
    model.target[NINC_CUDA].smallers = 0;
    expect_no_room(&model, 1, true, "; no smaller batch fits: use another GPU");
}
END_TEST

START_TEST(test_no_room_for_data)
{
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, 2);
    fake.free_bytes = gpu_arena_bytes(target(), true) + RANDOM_TEST_IMAGES * TINY_PIXELS;
    Device *d = opened(true);
    catch_errors();
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), -1);
    expect_error("left beside model tiny at batch 7; compile it for a smaller batch");
    table.close(d);
    dataset_free(&data);
}
END_TEST

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
    char path[64];
    snprintf(path, sizeof path, "%s.safetensors", scratch);
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

/* ---- names of devices ---- */

START_TEST(test_device_parse)
{
    static const struct {
        const char *text;
        const DeviceTable *table;
        int ordinal;
    } good[] = {{"auto", NULL, 0},
                {"cpu", &ninc_cpu_device, 0},
                {"sim", &ninc_sim_device, 0},
                {"cuda", &ninc_cuda_device, 0},
                {"cuda:0", &ninc_cuda_device, 0},
                {"cuda:12", &ninc_cuda_device, 12}};
    static const char *const bad[] = {"",       "gpu",     "CPU",     "cpux",     "cpu:0",
                                      "cuda:",  "cuda:x",  "cuda:-1", "cuda:1x",  "cuda 1",
                                      "cudax",  "sim:0",   "cuda: 1", "cuda:+1",
                                      "cuda:99999999999999999999"};
    const DeviceTable *got;
    int ordinal;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(device_parse(good[i].text, &got, &ordinal), "%s", good[i].text);
        ck_assert_ptr_eq(got, good[i].table);
        ck_assert_int_eq(ordinal, good[i].ordinal);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!device_parse(bad[i], &got, &ordinal), "%s", bad[i]);
}
END_TEST

START_TEST(test_auto_without_cuda_code)
{
    NincModel model = ninc_model;
    DeviceOptions options = {.threads = 1};
    const DeviceTable *chosen = NULL;
    const char *note = "nothing";
    model.target[NINC_CUDA] = (NincTarget){.precision = NULL};
    catch_errors();
    Device *d = device_open(&model, &chosen, &options, &note);
    ck_assert_str_eq(caught(), "");
    ck_assert_str_eq(note, "");
    ck_assert_ptr_nonnull(d);
    ck_assert_ptr_eq(chosen, &ninc_cpu_device);
    chosen->close(d);
}
END_TEST

/* Three devices, like those of sysfs: one at a time makes it true. */
START_TEST(test_gpu_on_the_bus)
{
    static const struct {
        const char *vendor, *class;
        bool found;
    } device[] = {{"0x8086", "0x030000", false}, /* another maker's display */
                  {"0x10de", "0x040300", false}, /* the sound of an NVIDIA card */
                  {"0x10de", "0x030200", true}}; /* its 3D controller */
    char bus[] = "/tmp/ninc-bus-XXXXXX", command[256];
    ck_assert_ptr_nonnull(mkdtemp(bus));
    ck_assert(!devices_on_bus("/nowhere/at/all"));
    for (int i = 0; i < 3; i++) {
        snprintf(command, sizeof command,
                 "mkdir %s/%d && echo %s >%s/%d/vendor && echo %s >%s/%d/class", bus, i,
                 device[i].vendor, bus, i, device[i].class, bus, i);
        ck_assert_int_eq(system(command), 0);
        ck_assert_int_eq(devices_on_bus(bus), device[i].found);
    }
    snprintf(command, sizeof command, "rm -r %s", bus);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(test_fault_hold)
{
    char text[32];
    catch_errors();
    Messages before = fault_silence(text, sizeof text);
    fault("first of %d", 2);
    fault("second");
    notice("silent");
    Messages inner = fault_hold(NULL, 0);
    notice("silent still");
    detail("and this\n");
    fault_release(inner);
    fault_release(before);
    ck_assert_str_eq(caught(), "");
    ck_assert_str_eq(text, "first of 2");
    catch_errors();
    fault("third");
    ck_assert_str_eq(caught(), "trainer: error: third\n");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("gpu");
    TCase *t = tcase_create("gpu");
    tcase_add_checked_fixture(t, set_up, NULL);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_schedule_for);
    tcase_add_test(t, test_schedule_fault);
    tcase_add_test(t, test_split_for);
    tcase_add_test(t, test_limits_of_architecture);
    tcase_add_test(t, test_load);
    tcase_add_test(t, test_load_on_small_device);
    tcase_add_test(t, test_split_in_use);
    tcase_add_test(t, test_describe);
    tcase_add_test(t, test_no_cuda_code);
    tcase_add_test(t, test_too_little_memory);
    tcase_add_test(t, test_no_room_for_data);
    tcase_add_test(t, test_calls_of_a_step);
    tcase_add_test(t, test_new_edition);
    tcase_add_test(t, test_step_like_cpu);
    tcase_add_test(t, test_exchange);
    tcase_add_test(t, test_scattered_scalars);
    tcase_add_test(t, test_training_like_cpu);
    tcase_add_test(t, test_metrics);
    tcase_add_test(t, test_graph_for_each_program_and_data);
    tcase_add_test(t, test_many_data_sets);
    tcase_add_test(t, test_read_write_poison);
    tcase_add_test(t, test_launch);
    tcase_add_test(t, test_time);
    tcase_add_test(t, test_every_failure);
    tcase_add_test(t, test_data_after_failure);
    tcase_add_test(t, test_capture_after_failure);
    tcase_add_test(t, test_device_parse);
    tcase_add_test(t, test_auto_without_cuda_code);
    tcase_add_test(t, test_gpu_on_the_bus);
    tcase_add_test(t, test_fault_hold);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    int fd = mkstemp(scratch);
    if (fd >= 0)
        close(fd);
    SRunner *runner = srunner_create(suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    unlink(scratch);
    return failed == 0 ? 0 : 1;
}

/* The GPU device over a machine in memory (fake_gpu.h): schedules, opening, what devices there
 * are. */
#include "../../runtime/device/gpu.h"
#include "fake_gpu.h"
#include "scratch.h"
#include "tiny_step.h"

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
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), 0); /* it is streamed */
    table.close(d);
    fake.free_bytes = gpu_arena_bytes(target(), true);
    d = opened(true);
    catch_errors();
    ck_assert_int_eq(device_step(&table, d, &target()->train, &input), -1);
    expect_error("left beside model tiny at batch 7; compile it for a smaller batch");
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

int main(void)
{
    const TTest *const tests[] = {test_schedule_for, test_schedule_fault, test_split_for,
                                  test_limits_of_architecture, test_load, test_load_on_small_device,
                                  test_split_in_use, test_describe, test_no_cuda_code,
                                  test_too_little_memory, test_no_room_for_data, test_device_parse,
                                  test_auto_without_cuda_code, test_gpu_on_the_bus,
                                  test_fault_hold};
    return run_in_scratch("gpu", tests, sizeof tests / sizeof *tests, set_up);
}

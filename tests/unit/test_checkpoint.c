/* Checkpoints by themselves, on the plan written by hand: the round trip, the links, what stays and
 * what goes, and every refusal. */
#include "../../runtime/train/train.h"
#include "tiny_step.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>
#include <zlib.h>

static char directory[] = "/tmp/ninc-test-XXXXXX";
static char path_text[4200];

/* A path in the test's own directory, valid until the next call. */
static const char *at(const char *name)
{
    snprintf(path_text, sizeof path_text, "%s/%s", directory, name);
    return path_text;
}

static void shell(const char *format, const char *name)
{
    char command[4400], text[4300];
    snprintf(text, sizeof text, "cd '%s' && %s", directory, format);
    snprintf(command, sizeof command, text, name, name);
    ck_assert_int_eq(system(command), 0);
}

/* ---- a model with a moment ---- */

static const NincStorage storage[] = {
    {"w", NULL, {DT_F32, {4, {4, 2, 3, 3}}, {0}}, NINC_ROLE_WEIGHT, 18, 36, 0},
    {"w.momentum", "w", {DT_F32, {4, {4, 2, 3, 3}}, {0}}, NINC_ROLE_MOMENT, 0, 0, 288},
};
enum { VALUES = 72, BYTES = VALUES * 4 };
static const NincModel model = {.name = "toy",
                                .recipe = "batch 4\noptimizer sgd\nparameter w 4x2x3x3\n",
                                .storages = 2,
                                .target = {[NINC_CPU] = {.storage = storage}}};
static uint8_t memory[2 * BYTES];

static int read_memory(Device *d, int64_t offset, void *bytes, int64_t count)
{
    (void)d;
    memcpy(bytes, memory + offset, (size_t)count);
    return 0;
}

static const DeviceTable table = {.name = "memory", .target = NINC_CPU, .read_state = read_memory};

static RunState some_state(int64_t step)
{
    return (RunState){.step = step,
                      .epoch = 3,
                      .images = 8,
                      .epochs = 9,
                      .training_images = 100,
                      .seed = UINT64_MAX,
                      .shuffle = true,
                      .data_crc = UINT32_MAX,
                      .lr = 0.1,
                      .logged = {.loss = NAN, .seconds = 1.0 / 3, .correct = 5, .images = 8},
                      .stall = {.loss = 2.0 / 3, .images = 300},
                      .warned_stall = true,
                      .best_accuracy = -1,
                      .precision = "bf16",
                      .instruction_set = "GPU \"7\""};
}

static void fill_memory(int seed)
{
    for (size_t i = 0; i < sizeof memory / 4; i++) {
        float value = (float)(seed + (int)i) / 7;
        memcpy(memory + 4 * i, &value, 4);
    }
}

/* Whose checkpoints are written. */
static const NincModel *trained = &model;

/* What they come from. */
static RunState came_from = {.step = INT64_MAX, .best_accuracy = -1};

/* Writes checkpoints of these steps, the best one at `best`. */
static int write_steps(const char *name, const int *step, int count, int best, int keep)
{
    char path[4200];
    strcpy(path, at(name));
    CheckpointOptions options = {.directory = path, .keep = keep, .resumed = &came_from};
    Weights *copy = weights_new_with_moments(trained);
    Checkpoints *c = checkpoints_open(&options, copy);
    int status = c ? 0 : -1;
    for (int i = 0; i < count && status == 0; i++) {
        RunState state = some_state(step[i]);
        if (best >= 0 && step[i] >= best) {
            state.best_accuracy = 0.5;
            state.best_step = best;
        }
        fill_memory(step[i]);
        status = checkpoints_write(c, &state, &table, NULL);
    }
    if (c && checkpoints_wait(c) < 0)
        status = -1;
    checkpoints_close(c);
    weights_free(copy);
    return status;
}

static void write_one(const char *name, int step)
{
    ck_assert_int_eq(write_steps(name, &step, 1, -1, 0), 0);
}

/* The names in a directory, sorted, each with a space behind it. */
static const char *listing(const char *name)
{
    static char text[1024];
    struct dirent **list;
    int count = scandir(at(name), &list, NULL, alphasort);
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i]->d_name, ".") != 0 && strcmp(list[i]->d_name, "..") != 0)
            strcat(strcat(text, list[i]->d_name), " ");
        free(list[i]);
    }
    free(list);
    return text;
}

static const char *link_target(const char *name)
{
    static char target[256];
    ssize_t length = readlink(at(name), target, sizeof target - 1);
    target[length < 0 ? 0 : length] = '\0';
    return target;
}

static int load(const char *name, RunState *state, Weights *w)
{
    char *step = NULL, *parent = NULL;
    int status = checkpoint_find(at(name), &step, &parent);
    if (status == 0)
        status = checkpoint_load(step, state, w);
    free(step);
    free(parent);
    return status;
}

static void expect_step(const char *name, int64_t step)
{
    RunState state = {0};
    Weights *w = weights_new_with_moments(&model);
    ck_assert_int_eq(load(name, &state, w), 0);
    ck_assert_int_eq(state.step, step);
    fill_memory((int)step);
    ck_assert_mem_eq(w->value[0], memory, BYTES);
    ck_assert_mem_eq(w->value[1], memory + BYTES, BYTES);
    weights_free(w);
}

static void expect_refusal(const char *name, const NincModel *of, const char *wanted)
{
    RunState state;
    Weights *w = weights_new_with_moments(of);
    catch_errors();
    int status = load(name, &state, w);
    expect_error(wanted);
    ck_assert_int_eq(status, -1);
    weights_free(w);
}

/* ---- tests ---- */

START_TEST(test_round_trip)
{
    RunState want = some_state(12), got;
    Weights *w = weights_new_with_moments(&model);
    write_one("round", 12);
    ck_assert_int_eq(load("round", &got, w), 0);
    ck_assert(isnan(got.logged.loss));
    ck_assert(got.logged.seconds == want.logged.seconds && got.stall.loss == want.stall.loss);
    ck_assert(got.lr == want.lr && got.best_accuracy == -1);
    ck_assert_uint_eq(got.seed, want.seed);
    ck_assert_uint_eq(got.data_crc, want.data_crc);
    ck_assert(got.epoch == 3 && got.images == 8 && got.epochs == 9 && got.training_images == 100);
    ck_assert(got.logged.correct == 5 && got.logged.images == 8 && got.stall.images == 300);
    ck_assert_str_eq(got.precision, "bf16");
    ck_assert_str_eq(got.instruction_set, "GPU \"7\"");
    ck_assert(got.shuffle && !got.random_data && got.warned_stall);
    weights_free(w);
    ck_assert_str_eq(listing("round"), "latest step-00000012 ");
    ck_assert_str_eq(listing("round/latest"),
                     "model.safetensors optimizer.safetensors state.json ");
    expect_step("round", 12);
    expect_step("round/latest", 12);
    expect_step("round/step-00000012", 12);
}
END_TEST

START_TEST(test_keep_and_best)
{
    static const int steps[] = {1, 2, 3, 4, 5, 6};
    ck_assert_int_eq(write_steps("keep", steps, 6, 2, 2), 0);
    ck_assert_str_eq(listing("keep"), "best latest step-00000002 step-00000005 step-00000006 ");
    ck_assert_str_eq(link_target("keep/best"), "step-00000002");
    ck_assert_str_eq(link_target("keep/latest"), "step-00000006");
    ck_assert_int_eq(write_steps("all", steps, 6, -1, 0), 0);
    expect_step("all/step-00000003", 3);
}
END_TEST

/* A run that went back keeps what it left, under another name, from its first checkpoint on. */
START_TEST(test_going_back)
{
    static const int steps[] = {1, 2, 3, 4, 5, 6};
    ck_assert_int_eq(write_steps("back", steps, 6, 5, 0), 0);
    came_from = some_state(3);
    ck_assert_int_eq(write_steps("back", NULL, 0, -1, 1), 0);
    ck_assert_str_eq(link_target("back/latest"), "step-00000006");
    catch_errors();
    ck_assert_int_eq(write_steps("back", steps + 3, 1, -1, 2), 0);
    expect_error("went back to step 3; what it had later, step-00000004 to step-00000006, is kept");
    ck_assert_str_eq(listing("back"), "latest step-00000003 step-00000004 step-00000004.abandoned "
                                      "step-00000005.abandoned step-00000006.abandoned ");
    expect_step("back", 4);
    shell("rm -r '%s/step-00000004'; true '%s'", "back");
    catch_errors();
    expect_step("back", 3);
    expect_error("going on from step-00000003");
    came_from.step = INT64_MAX;
}
END_TEST

/* `best` is of the run that goes on, where that one's stands. */
START_TEST(test_best_when_going_back)
{
    static const int steps[] = {1, 2, 3, 4, 5, 6};
    ck_assert_int_eq(write_steps("best", steps, 6, 5, 0), 0);
    came_from = some_state(3);
    came_from.best_accuracy = 0.25;
    came_from.best_step = 2;
    catch_errors();
    ck_assert_int_eq(write_steps("best", steps + 3, 2, -1, 0), 0);
    caught();
    ck_assert_str_eq(link_target("best/best"), "step-00000002");
    catch_errors();
    ck_assert_int_eq(write_steps("best", steps + 3, 1, -1, 0), 0);
    caught();
    ck_assert_str_eq(listing("best"), "best latest step-00000001 step-00000002 step-00000003 "
                                      "step-00000004 step-00000004.abandoned "
                                      "step-00000004.abandoned-2 step-00000005.abandoned "
                                      "step-00000005.abandoned-2 step-00000006.abandoned ");
    came_from = (RunState){.step = INT64_MAX, .best_accuracy = -1};
}
END_TEST

START_TEST(test_leftovers_and_locks)
{
    CheckpointOptions options = {.resumed = &came_from};
    char path[4200];
    write_one("left", 1);
    shell("mkdir '%s/.step-00000002.partial-1' && touch '%s/.step-00000002.partial-1/model'",
          "left");
    shell("ln -s step-00000002 '%s/.latest.partial-1' && touch '%s/.mine'", "left");
    write_one("left", 3);
    ck_assert_str_eq(listing("left"), ".mine latest step-00000001 step-00000003 ");
    options.directory = strcpy(path, at("left"));
    Weights *w = weights_new_with_moments(&model);
    Checkpoints *c = checkpoints_open(&options, w);
    ck_assert_ptr_nonnull(c);
    catch_errors();
    ck_assert_ptr_null(checkpoints_open(&options, w));
    expect_error("is named twice"); /* as it is the same process */
    checkpoints_close(c);
    ck_assert_str_eq(listing("left"), ".mine latest step-00000001 step-00000003 ");
    options.resumed = NULL;
    catch_errors();
    ck_assert_ptr_null(checkpoints_open(&options, w));
    expect_error("holds the checkpoints of another run");
    weights_free(w);
}
END_TEST

/* Where latest does not help, the newest whole step does. */
START_TEST(test_broken_latest)
{
    static const int steps[] = {1, 2, 3};
    ck_assert_int_eq(write_steps("broken", steps, 3, -1, 0), 0);
    shell("truncate -s -1 '%s/step-00000003/optimizer.safetensors'; true '%s'", "broken");
    catch_errors();
    expect_step("broken", 2);
    expect_error("going on from step-00000002");
    expect_refusal("broken/step-00000003", &model, "optimizer.safetensors is not what was written");
    shell("rm -r '%s/step-00000003'; true '%s'", "broken");
    catch_errors();
    expect_step("broken/latest", 2);
    expect_error("state.json: No such file");
    shell("rm '%s/latest'; true '%s'", "broken");
    catch_errors();
    expect_step("broken", 2);
    expect_error("latest of");
    shell("rm -r '%s'/step-*; true '%s'", "broken");
    expect_refusal("broken", &model, "there is no checkpoint in");
    expect_refusal("nowhere", &model, "No such file");
    shell("touch '%s.st'; true '%s'", "file");
    expect_refusal("file.st", &model, "file.st: it is a file; give the directory");
    write_one("renamed", 1);
    shell("cp -r '%s/step-00000001' '%s/mine'", "renamed");
    expect_refusal("renamed/mine", &model, "the name of a step");
}
END_TEST

START_TEST(test_another_model)
{
    NincModel other = model;
    write_one("other", 1);
    other.recipe = "batch 8\noptimizer sgd\nparameter w 4x2x3x3\n";
    expect_refusal("other", &other, "it has 'batch 4', this one 'batch 8'");
    other.recipe = "batch 4\noptimizer adam\nparameter w 4x2x3x3\n";
    expect_refusal("other", &other, "it has 'optimizer sgd', this one 'optimizer adam'");
    other.recipe = "batch 4\noptimizer sgd\nparameter w 8x2x3x3\n";
    expect_refusal("other", &other, "'parameter w 4x2x3x3', this one 'parameter w 8x2x3x3'");
    other.recipe = "batch 4\noptimizer sgd\n";
    expect_refusal("other", &other, "'parameter w 4x2x3x3', this one 'nothing more'");
    other.recipe = "batch 4\noptimizer sgd\nparameter w 4x2x3x3\nlayer relu\n";
    expect_refusal("other", &other, "'nothing more', this one 'layer relu'");
}
END_TEST

/* The windows of convolutions count, where the checkpoint names them. */
START_TEST(test_convolutions_of_the_recipe)
{
    static const char with[] = "batch 4\noptimizer sgd\nparameter w 4x2x3x3\n"
                               "layer conv2d 3x3x4 {kernel=3x3}\nlayer relu 3x3x4\n";
    RunState state;
    NincModel named = model, silent = model, other = model;
    named.recipe = with;
    silent.recipe = "batch 4\noptimizer sgd\nparameter w 4x2x3x3\nlayer relu 3x3x4\n";
    other.recipe = "batch 4\noptimizer sgd\nparameter w 4x2x3x3\n"
                   "layer conv2d 3x3x4 {kernel=3x3 stride=2x2}\nlayer relu 3x3x4\n";
    trained = &named;
    write_one("conv", 1);
    expect_refusal("conv", &other, "{kernel=3x3}', this one 'layer conv2d 3x3x4 {kernel=3x3 str");
    expect_refusal("conv", &silent, "'layer conv2d 3x3x4 {kernel=3x3}', this one 'layer relu 3x");
    trained = &silent;
    write_one("silent", 1);
    trained = &model;
    Weights *w = weights_new_with_moments(&named);
    ck_assert_int_eq(load("silent", &state, w), 0);
    weights_free(w);
    expect_refusal("silent", &model, "'layer relu 3x3x4', this one 'nothing more'");
}
END_TEST

/* state.json carries a sum over itself, so that an edit is seen. */
START_TEST(test_damaged_state)
{
    static const struct {
        const char *edit, *wanted;
    } faults[] = {
        {"s/\"step\": 1/\"step\": 2/", "state.json is not what was written"},
        {"s/\"version\": 1/\"version\": 7/", "has version 7, this trainer reads 1"},
        {"/\"version\"/d", "has no version"},
        {"/\"sum\"/d", "sum is missing or wrong"},
        {"/\"epoch\"/d", "state.json is not what was written"},
        {"s/\"lr\": 0/\"lr\": [/", "is not valid JSON"},
        {"d", "is not valid JSON"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        char command[200];
        write_one("state", 1);
        snprintf(command, sizeof command, "sed -i '%s' '%%s/step-00000001/state.json'; true '%%s'",
                 faults[i].edit);
        shell(command, "state");
        expect_refusal("state/step-00000001", &model, faults[i].wanted);
    }
}
END_TEST

/* state.json with another value of this key, NULL: without it; the sum is right. */
static void set_state(const char *key, json_t *value)
{
    static const size_t flags = JSON_SORT_KEYS | JSON_REAL_PRECISION(17);
    char path[4200];
    strcpy(path, at("keys/step-00000001/state.json"));
    json_t *root = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(root);
    json_object_del(root, key);
    json_object_set_new(root, key, value);
    json_object_del(root, "sum");
    char *text = json_dumps(root, flags | JSON_COMPACT);
    json_object_set_new(root, "sum",
                        json_integer((json_int_t)crc32(0, (Bytef *)text, (uInt)strlen(text))));
    ck_assert_int_eq(json_dump_file(root, path, flags), 0);
    free(text);
    json_decref(root);
}

/* With this key gone, or a new one where it is unknown. */
static void edit_state(const char *key)
{
    static const char state[] = "keys/step-00000001/state.json";
    json_t *root = json_load_file(at(state), 0, NULL);
    bool known = json_object_get(root, key);
    json_decref(root);
    set_state(key, known ? NULL : json_real(0.1));
}

START_TEST(test_keys_of_state)
{
    static const char *const keys[] = {"epoch",    "seed",        "lr",        "shuffle",
                                       "data_crc", "logged_loss", "model_crc", "recipe"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char wanted[80];
        write_one("keys", 1);
        edit_state(keys[i]);
        snprintf(wanted, sizeof wanted, "%s is missing or wrong", keys[i]);
        expect_refusal("keys/step-00000001", &model, wanted);
    }
    write_one("keys", 1);
    edit_state("of a later version");
    expect_step("keys", 1);
    edit_state("precision");
    edit_state("instruction_set");
    edit_state("model_lr");
    Weights *w = weights_new_with_moments(&model);
    RunState state;
    ck_assert_int_eq(load("keys", &state, w), 0);
    ck_assert(state.precision[0] == '\0' && state.instruction_set[0] == '\0');
    ck_assert(isnan(state.model_lr));
    weights_free(w);
    edit_state("precision"); /* a number now */
    expect_refusal("keys/step-00000001", &model, "precision is missing or wrong");
}
END_TEST

/* A sum that is right proves nothing: each number must be one that a run can have. */
START_TEST(test_forged_state)
{
    static const struct {
        const char *key, *value;
    } forged[] = {
        {"lr", "-0.1"},
        {"model_lr", "-0.1"},
        {"model_lr", "1e300"},
        {"lr", "null"},
        {"lr", "1e300"},
        {"lr", "\"0.1\""},
        {"lr", "true"},
        {"step", "-1"},
        {"step", "2147483648"},
        {"step", "1.0"},
        {"step", "9223372036854775807"},
        {"epoch", "4294967299"},
        {"epoch", "null"},
        {"epochs", "-1"},
        {"images", "101"},
        {"images", "2147483648"},
        {"training_images", "0"},
        {"training_images", "7"},
        {"data_crc", "4294967296"},
        {"seed", "\"18446744073709551616\""},
        {"seed", "\"-1\""},
        {"seed", "3"},
        {"shuffle", "1"},
        {"best_accuracy", "1.5"},
        {"best_accuracy", "null"},
        {"best_accuracy", "-2"},
        {"best_step", "2"},
        {"logged_images", "309"},
        {"logged_images", "9007199254740993"},
        {"logged_correct", "9"},
        {"logged_seconds", "-1.0"},
        {"logged_seconds", "null"},
        {"stall_loss", "\"\""},
        {"stall_correct", "301"},
        {"model_crc", "-1"},
        {"precision", "[]"},
    };
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        char wanted[80];
        write_one("keys", 1);
        set_state(forged[i].key, json_loads(forged[i].value, JSON_DECODE_ANY, NULL));
        bool other = strcmp(forged[i].key, "training_images") == 0 && forged[i].value[0] == '7';
        snprintf(wanted, sizeof wanted, "state.json: %s is missing or wrong (",
                 other ? "images" : forged[i].key);
        expect_refusal("keys/step-00000001", &model, wanted);
    }
}
END_TEST

/* The root is taken of Adam's v. */
START_TEST(test_negative_square)
{
    NincStorage squares[2];
    memcpy(squares, storage, sizeof storage);
    squares[1].name = "w.v";
    NincModel adam = model;
    adam.target[NINC_CPU].storage = squares;
    Weights *w = weights_new_with_moments(&adam);
    ck_assert_int_eq(moments_write(at("v.safetensors"), w), 0);
    ck_assert_int_eq(moments_read(at("v.safetensors"), w), 0);
    w->value[1][5] = -1e-9f;
    ck_assert_int_eq(moments_write(at("v.safetensors"), w), 0);
    catch_errors();
    int status = moments_read(at("v.safetensors"), w);
    expect_error("tensor w.v of ");
    ck_assert_int_eq(status, -1);
    weights_free(w);
}
END_TEST

/* What stands where a link or a step must go is named, and nothing hidden is left. */
/* A directory as programs copy it that follow links, or know none. */
static void copy_run(const char *how)
{
    static const int steps[] = {1, 2, 3};
    shell("rm -rf '%s' '%s.copy'", "run");
    ck_assert_int_eq(write_steps("run", steps, 3, 2, 0), 0);
    ck_assert_str_eq(link_target("run/latest"), "step-00000003");
    ck_assert_str_eq(link_target("run/best"), "step-00000002");
    shell(how, "run");
}

/* Goes on from the step in the copy, whose links then stand again. */
static void goes_on(int64_t step, const char *best, const char *wanted)
{
    int next = 4;
    catch_errors();
    expect_step("run.copy", step);
    came_from = (RunState){.step = step, .best_accuracy = 0.5, .best_step = 2};
    ck_assert_int_eq(write_steps("run.copy", &next, 1, -1, 0), 0);
    caught();
    came_from = (RunState){.step = INT64_MAX, .best_accuracy = -1};
    ck_assert_str_eq(link_target("run.copy/latest"), "step-00000004");
    ck_assert_str_eq(link_target("run.copy/best"), best);
    ck_assert_str_eq(listing("run.copy"), wanted);
}

START_TEST(test_copied_directories)
{
    static const char all[] =
        "best latest step-00000001 step-00000002 step-00000003 step-00000004 ";
    copy_run("cp -rL '%s' '%s.copy'");
    expect_step("run.copy/best", 2);
    expect_step("run.copy/latest", 3);
    goes_on(3, "step-00000002", all);

    copy_run("cp -r '%s' '%s.copy'");
    shell("cd '%s.copy' && rm latest best && printf step-00000003 >latest && "
          "printf 'step-00000002\\r\\n' >best; true '%s'",
          "run");
    expect_step("run.copy/best", 2);
    goes_on(3, "step-00000002", all);

    copy_run("cp -r '%s' '%s.copy'");
    shell("rm '%s.copy/best' '%s.copy/latest'", "run");
    goes_on(3, "step-00000002", all);

    copy_run("cp -r '%s' '%s.copy'");
    shell("cd '%s.copy' && rm -r step-00000003 && ln -sfn step-00000007 best; true '%s'", "run");
    goes_on(2, "step-00000002", "best latest step-00000001 step-00000002 step-00000004 ");
}
END_TEST

START_TEST(test_copies_without_their_steps)
{
    copy_run("cp -rL '%s' '%s.copy'");
    shell("rm -r '%s.copy/step-00000003' '%s.copy/step-00000002'", "run");
    goes_on(3, "step-00000002",
            "best latest step-00000001 step-00000002 step-00000003 step-00000004 ");

    /* The step is damaged, its copy is not. */
    copy_run("cp -rL '%s' '%s.copy'");
    shell("truncate -s -1 '%s.copy/step-00000003/model.safetensors'; true '%s'", "run");
    goes_on(3, "step-00000002",
            "best latest step-00000001 step-00000002 step-00000003 step-00000003.abandoned "
            "step-00000004 ");

    /* The other way round. */
    copy_run("cp -rL '%s' '%s.copy'");
    shell("truncate -s -1 '%s.copy/latest/model.safetensors'; true '%s'", "run");
    goes_on(3, "step-00000002",
            "best latest latest.abandoned step-00000001 step-00000002 step-00000003 "
            "step-00000004 ");
    copy_run("mkdir '%s.copy' && cp -rL '%s/latest' run.copy/latest");
    expect_step("run.copy", 3);
}
END_TEST

/* What stands where a step must go is named, and nothing hidden is left; a directory in the place
 * of a link is kept. */
START_TEST(test_write_failures)
{
    int step = 2;
    write_one("fail", 1);
    shell("rm '%s/latest' && mkdir '%s/latest'", "fail");
    catch_errors();
    ck_assert_int_eq(write_steps("fail", &step, 1, -1, 0), 0);
    expect_error("/fail: latest is a directory, and no copy of a checkpoint that is there");
    ck_assert_str_eq(listing("fail"), "latest latest.abandoned step-00000001 step-00000002 ");
    shell("rm '%s/latest' && touch '%s/step-00000003'", "fail");
    step = 3;
    catch_errors();
    ck_assert_int_eq(write_steps("fail", &step, 1, -1, 0), -1);
    expect_error("/step-00000003: Not a directory");
    ck_assert_str_eq(listing("fail"),
                     "latest.abandoned step-00000001 step-00000002 step-00000003 ");
}
END_TEST

/* On the thread that waits: a message of the writer's would come in the middle of a line. */
START_TEST(test_failure_is_told_where_it_is_waited_for)
{
    char told[512];
    int step = 1;
    write_one("told", 1);
    shell("rm -r '%s/step-00000001' && touch '%s/step-00000001'", "told");
    Messages before = fault_hold(told, sizeof told);
    ck_assert_int_eq(write_steps("told", &step, 1, -1, 0), -1);
    fault_release(before);
    ck_assert_ptr_nonnull(strstr(told, "/step-00000001: Not a directory"));
    ck_assert_ptr_nonnull(strstr(told, "choose another place; go on with --resume /tmp/"));
}
END_TEST

static Suite *checkpoint_suite(void)
{
    const TTest *const tests[] = {test_round_trip,
                                  test_keep_and_best,
                                  test_going_back,
                                  test_best_when_going_back,
                                  test_leftovers_and_locks,
                                  test_broken_latest,
                                  test_another_model,
                                  test_damaged_state,
                                  test_convolutions_of_the_recipe,
                                  test_keys_of_state,
                                  test_forged_state,
                                  test_negative_square,
                                  test_copied_directories,
                                  test_copies_without_their_steps,
                                  test_write_failures,
                                  test_failure_is_told_where_it_is_waited_for};
    Suite *s = suite_create("checkpoint");
    TCase *c = tcase_create("checkpoint");
    tcase_set_timeout(c, 60);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    char command[4200];
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    SRunner *runner = srunner_create(checkpoint_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0)
        fprintf(stderr, "%s is left over\n", directory);
    return failed ? 1 : 0;
}

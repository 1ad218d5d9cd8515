/* Checkpoints of a model with a moment, in the scratch directory: written, looked at, read back.
 * Include it in one file of a program only. */
#ifndef NINC_TOY_CHECKPOINTS_H
#define NINC_TOY_CHECKPOINTS_H

#include "../../runtime/train/train.h"
#include "scratch.h"
#include "tiny_step.h"

#include <dirent.h>

static inline void shell(const char *format, const char *name)
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

static inline int read_memory(Device *d, int64_t offset, void *bytes, int64_t count)
{
    (void)d;
    memcpy(bytes, memory + offset, (size_t)count);
    return 0;
}

static const DeviceTable table = {.name = "memory", .target = NINC_CPU, .read_state = read_memory};

static inline RunState some_state(int64_t step)
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

static inline void fill_memory(int seed)
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
static inline int write_steps(const char *name, const int *step, int count, int best, int keep)
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

static inline void write_one(const char *name, int step)
{
    ck_assert_int_eq(write_steps(name, &step, 1, -1, 0), 0);
}

/* The names in a directory, sorted, each with a space behind it. */
static inline const char *listing(const char *name)
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

static inline const char *link_target(const char *name)
{
    static char target[256];
    ssize_t length = readlink(at(name), target, sizeof target - 1);
    target[length < 0 ? 0 : length] = '\0';
    return target;
}

static inline int load(const char *name, RunState *state, Weights *w)
{
    char *step = NULL, *parent = NULL;
    int status = checkpoint_find(at(name), &step, &parent);
    if (status == 0)
        status = checkpoint_load(step, state, w);
    free(step);
    free(parent);
    return status;
}

static inline void expect_step(const char *name, int64_t step)
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

static inline void expect_refusal(const char *name, const NincModel *of, const char *wanted)
{
    RunState state;
    Weights *w = weights_new_with_moments(of);
    catch_errors();
    int status = load(name, &state, w);
    expect_error(wanted);
    ck_assert_int_eq(status, -1);
    weights_free(w);
}

#endif

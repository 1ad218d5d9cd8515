/* What checkpoints are refused for: another model, damage, a state that nobody can have written. */
#include "toy_checkpoints.h"

#include <jansson.h>
#include <zlib.h>

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

int main(void)
{
    const TTest *const tests[] = {test_another_model, test_convolutions_of_the_recipe,
                                  test_damaged_state, test_keys_of_state, test_forged_state,
                                  test_negative_square};
    return run_in_scratch("state", tests, sizeof tests / sizeof *tests, NULL);
}

/* Parameters in safetensors files: ours, damaged ones, those of other programs. */
#include "tiny_step.h"
#include "scratch.h"

#include <sys/stat.h>

/* ---- safetensors ---- */

START_TEST(test_safetensors_round_trip)
{
    Weights *w = random_weights(3), *back = weights_new(&ninc_model);
    size_t count;
    w->value[0][1] = -0.0f;
    ck_assert_int_eq(safetensors_write(at("w.safetensors"), w), 0);
    ck_assert_int_eq(safetensors_read(at("w.safetensors"), back), 0);
    ck_assert_mem_eq(w->value[0], back->value[0], TINY_CLASSES * TINY_PIXELS * 4);
    ck_assert_mem_eq(w->value[1], back->value[1], TINY_CLASSES * 4);
    char *bytes = read_file("w.safetensors", &count);
    ck_assert_int_eq((uint8_t)bytes[0] % 8, 0);
    ck_assert_ptr_nonnull(
        strstr(bytes + 8, "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[3,1,4,4]"));
    free(bytes);
    weights_free(w);
    weights_free(back);
}
END_TEST

/* The names of classes that a file has in its metadata; NULL: none. */
static char *kept_names(const char *file)
{
    ClassNames names;
    Text t = {0};
    ck_assert_int_eq(class_names_kept(&ninc_model, at(file), &names), 0);
    for (int i = 0; i < names.count; i++)
        text_append(&t, "%s\n", names.name[i]);
    class_names_free(&names);
    return t.data;
}

/* They come back as they were; a file without them has the bytes that it had. */
START_TEST(test_class_names)
{
    Weights *w = random_weights(3);
    char *name[TINY_CLASSES] = {"a \"b\"", "\xc3\xa9t\xc3\xa9", "c\\d"};
    const ClassNames names = {name, TINY_CLASSES};
    size_t count;
    ck_assert_int_eq(safetensors_write(at("w.safetensors"), w), 0);
    ck_assert_ptr_null(kept_names("w.safetensors"));
    char *bytes = read_file("w.safetensors", &count);
    ck_assert_ptr_null(strstr(bytes + 8, "classes"));
    free(bytes);
    w->names = &names;
    ck_assert_int_eq(safetensors_write(at("w.safetensors"), w), 0);
    char *back = kept_names("w.safetensors");
    ck_assert_str_eq(back, "a \"b\"\n\xc3\xa9t\xc3\xa9\nc\\d\n");
    free(back);
    ck_assert_int_eq(safetensors_read(at("w.safetensors"), w), 0);
    weights_free(w);
}
END_TEST

static char *kept_of(const char *classes)
{
    Text t = {0};
    text_append(&t, "00000000{\"__metadata__\":{\"classes\":%s}}", classes);
    uint64_t length = t.length - 8;
    memcpy(t.data, &length, sizeof length);
    write_file("kept.safetensors", t.data, t.length);
    text_free(&t);
    return kept_names("kept.safetensors");
}

static void expect_kept(const char *classes, const char *wanted)
{
    char *got = kept_of(classes);
    if (wanted)
        ck_assert_str_eq(got, wanted);
    else
        ck_assert_msg(!got, "%s: %s", classes, got);
    free(got);
}

/* What no program of ours writes: it is not believed, or made harmless. */
START_TEST(test_hostile_class_names)
{
    fault_errors_only = true;
    expect_kept("\"[\\\"a\\\",\\\"b\\\",\\\"c\\\"]\"", "a\nb\nc\n");
    expect_kept("\"[\\\"a\\\",\\\"b\\\"]\"", NULL);
    expect_kept("\"[\\\"a\\\",\\\"b\\\",1]\"", NULL);
    expect_kept("\"{}\"", NULL);
    expect_kept("\"a,b,c\"", NULL);
    expect_kept("[\"a\",\"b\",\"c\"]", NULL);
    expect_kept("\"[\\\"a\\\\u0000\\\",\\\"b\\\",\\\"c\\\"]\"", NULL);
    expect_kept("\"[\\\"\\\\u001b[2J\\\",\\\"b\\\\n\\\",\\\"\\\"]\"", "?[2J\nb?\n\n");
    Text t = {0};
    text_append(&t, "\"[\\\"a\\\",\\\"b\\\",\\\"x");
    for (int i = 0; i < 1 << 19; i++) /* 1 MB, which is cut between two characters */
        text_append(&t, "\xc3\xa9");
    text_append(&t, "\\\"]\"");
    char *got = kept_of(t.data);
    ck_assert_uint_eq(strlen(got), 2 + 2 + 253 + 1);
    free(got);
    text_free(&t);
    fault_errors_only = false;
}
END_TEST

/* A file of this header (any length field) and this much data. */
static void expect_tensor_fault(const char *header, uint64_t length, size_t data,
                                const char *wanted)
{
    Weights *w = weights_new(&ninc_model);
    char bytes[8192] = {0};
    size_t text = strlen(header);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(length >> (8 * i));
    memcpy(bytes + 8, header, text);
    write_file("bad.safetensors", bytes, 8 + text + data);
    catch_errors();
    int status = safetensors_read(at("bad.safetensors"), w);
    expect_error(wanted);
    ck_assert_int_eq(status, -1);
    weights_free(w);
}

static void expect_header_fault(const char *header, size_t data, const char *wanted)
{
    expect_tensor_fault(header, strlen(header), data, wanted);
}

#define WEIGHT(shape, from, to) \
    "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
#define BIAS(dtype, from, to) \
    "\"fc.bias\":{\"dtype\":\"" dtype "\",\"shape\":[3],\"data_offsets\":[" from "," to "]}"

START_TEST(test_safetensors_lies)
{
    expect_tensor_fault("{}", UINT64_MAX, 0, "claims 18446744073709551615 bytes");
    expect_tensor_fault("{}", 3, 0, "claims 3 bytes");
    expect_header_fault("{", 0, "not valid JSON");
    expect_header_fault("[]", 0, "not a JSON object");
    expect_header_fault("{\"fc.weight\":7}", 0, "lacks a dtype");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "192", "204") "}", 200,
                        "claims bytes 192 to 204 of 200");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "192", "204") "}", 208,
                        "4 bytes after its last tensor");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "188", "200") "}", 200,
                        "overlaps");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("F32", "196", "208") "}", 208,
                        "gap");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "100") "," BIAS("F32", "100", "112") "}", 112,
                        "not what its shape");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "-8", "184") "}", 184, "claims bytes -8");
    expect_header_fault("{" WEIGHT("[4611686018427387904,4]", "0", "0") "}", 0,
                        "not what its shape");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "99999999999999999999") "}", 0,
                        "not valid JSON");
}
END_TEST

START_TEST(test_safetensors_misfits)
{
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "}", 192,
                        "tensor fc.bias is missing");
    expect_header_fault("{" WEIGHT("[3,16]", "0", "192") "," BIAS("F32", "192", "204") "}", 204,
                        "has shape 3x16, the model needs 3x1x4x4");
    expect_header_fault("{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS("I16", "192", "198") "}", 198,
                        "dtype I16");
    expect_header_fault(
        "{" WEIGHT("[3,1,4,4]", "0", "192") "," BIAS(
            "F32", "192",
            "204") ",\"x\\u001b[2J\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[204,205]}}",
        205, "tensor x?[2J is not in the model");
    Weights *w = weights_new(&ninc_model);
    catch_errors();
    ck_assert_int_eq(safetensors_read(at("nothing"), w), -1);
    expect_error("No such file");
    catch_errors();
    ck_assert_int_eq(safetensors_read(directory, w), -1);
    expect_error(directory);
    weights_free(w);
}
END_TEST

START_TEST(test_safetensors_not_finite)
{
    static int (*const read[])(const char *, Weights *) = {safetensors_read,
                                                           safetensors_read_partial};
    Weights *w = random_weights(3), *back = weights_new(&ninc_model);
    w->value[1][0] = NAN;
    w->value[1][2] = -INFINITY;
    ck_assert_int_eq(safetensors_write(at("w.safetensors"), w), 0);
    for (int i = 0; i < 2; i++) {
        catch_errors();
        ck_assert_int_eq(read[i](at("w.safetensors"), back), -1);
        const char *said = caught();
        ck_assert_ptr_nonnull(strstr(said, "tensor fc.bias of "));
        ck_assert_ptr_nonnull(strstr(said, "w.safetensors has 2 values that are not finite"));
    }
    weights_free(w);
    weights_free(back);
}
END_TEST

/* ---- files of other programs ---- */

/* A file of this header, padded with blanks to `length` bytes, and of `count` numbers 1, 2, ... */
static void write_tensors(const char *header, size_t length, int count)
{
    char *bytes = memset(xmalloc(8 + length + (size_t)count * 4), ' ', 8 + length);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, strlen(header));
    for (int i = 0; i < count; i++)
        memcpy(bytes + 8 + length + 4 * i, &(float){(float)(i + 1)}, 4);
    write_file("foreign.safetensors", bytes, 8 + length + (size_t)count * 4);
    free(bytes);
}

typedef int ReadWeights(const char *path, Weights *w);

/* Reads a file of `count` numbers with this header; what was said, but for standard output. */
static const char *read_foreign(ReadWeights *read, const char *header, int count, int wanted)
{
    Weights *w = weights_new(&ninc_model);
    write_tensors(header, strlen(header), count);
    catch_errors();
    int status = read(at("foreign.safetensors"), w);
    const char *said = caught();
    ck_assert_msg(status == wanted, "%s", said);
    for (int i = 0; i < TINY_CLASSES * TINY_PIXELS && wanted == 0; i++)
        ck_assert(w->value[0][i] == (float)(i + 1));
    for (int i = 0; i < TINY_CLASSES && wanted == 0; i++)
        ck_assert(w->value[1][i] == (float)(TINY_CLASSES * TINY_PIXELS + i + 1));
    weights_free(w);
    return said;
}

static void expect_said(const char *said, const char *wanted)
{
    ck_assert_msg(strstr(said, wanted), "expected '%s' in: %s", wanted, said);
}

#define NAMED(name, shape, from, to) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
/* Weight and bias, 48 and 3 numbers from the start. */
#define FC(prefix, shape) \
    NAMED(prefix "fc.weight", shape, "0", "192") "," NAMED(prefix "fc.bias", "[3]", "192", "204")
#define FC_AGAIN(prefix) \
    NAMED(prefix "fc.weight", "[3,16]", "204", "396") "," \
    NAMED(prefix "fc.bias", "[3]", "396", "408")

START_TEST(test_foreign_shapes)
{
    ReadWeights *read = safetensors_read_foreign;
    ck_assert_str_eq(read_foreign(read, "{" FC("", "[3,1,4,4]") "}", 51, 0), "");
    expect_said(read_foreign(read, "{" FC("", "[3,16]") "}", 51, 0),
                "foreign.safetensors: 1 tensor is taken for the same layer in another form: "
                "fc.weight 3x16 as 3x1x4x4\n");
    expect_said(read_foreign(read, "{" FC("", "[16,3]") "}", 51, -1),
                "tensor fc.weight has shape 16x3, the model needs 3x1x4x4");
    expect_said(read_foreign(read, "{" FC("", "[3,4,4]") "}", 51, -1),
                "tensor fc.weight has shape 3x4x4, the model needs 3x1x4x4");
    expect_said(read_foreign(safetensors_read, "{" FC("", "[3,16]") "}", 51, -1),
                "tensor fc.weight has shape 3x16, the model needs 3x1x4x4");
}
END_TEST

/* The weights of a convolution for a linear layer. */
START_TEST(test_foreign_convolution)
{
    float value[48] = {0};
    NamedTensor matrix = {"fc.weight", {2, {3, 16}}, value, false};
    NamedTensor row = {"fc.weight", {1, {48}}, value, false};
    TensorList list = {.what = "the parameters", .model = "tiny", .item = &matrix, .count = 1};
    const char *header = "{" NAMED("fc.weight", "[3,1,4,4]", "0", "192") "}";
    write_tensors(header, strlen(header), 48);
    catch_errors();
    int status = tensors_read_foreign(at("foreign.safetensors"), &list);
    expect_error("fc.weight 3x1x4x4 as 3x16");
    ck_assert_int_eq(status, 0);
    ck_assert(value[0] == 1 && value[47] == 48);
    list.item = &row;
    catch_errors();
    status = tensors_read_foreign(at("foreign.safetensors"), &list);
    expect_error("has shape 3x1x4x4, the model needs 48");
    ck_assert_int_eq(status, -1);
}
END_TEST

START_TEST(test_foreign_prefixes)
{
    ReadWeights *read = safetensors_read_foreign;
    const char *said = read_foreign(read, "{" FC("module._orig_mod.", "[3,16]") "}", 51, 0);
    expect_said(said, "the prefix 'module._orig_mod.' is taken off its names");
    expect_said(said, "1 tensor is taken");
    said = read_foreign(read, "{" FC("model.", "[3,16]") "," FC_AGAIN("ema.") "}", 102, -1);
    expect_said(said, "has the parameters more than once, as ");
    expect_said(said, "ema.fc.");
    said = read_foreign(read, "{" FC("", "[3,16]") "," FC_AGAIN("ema.") "}", 102, 0);
    expect_said(said, "2 tensors are not in the model and left out: ema.fc.");
    ck_assert_ptr_null(strstr(said, "prefix"));
    said = read_foreign(read, "{" FC("module", "[3,16]") "}", 51, -1);
    expect_said(said, "tensor fc.weight is missing");
    expect_said(said, "tensor modulefc.weight is not in the model");
    expect_said(read_foreign(safetensors_read_partial, "{" FC("module.", "[3,16]") "}", 51, 0),
                "the prefix 'module.' is taken off");
    expect_said(read_foreign(safetensors_read, "{" FC("module.", "[3,1,4,4]") "}", 51, -1),
                "tensor fc.weight is missing");
}
END_TEST

START_TEST(test_foreign_extras)
{
    ReadWeights *read = safetensors_read_foreign;
    const char *said = read_foreign(read,
                                    "{\"bn.num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[],"
                                    "\"data_offsets\":[204,212]}," FC("", "[3,1,4,4]") "}",
                                    53, 0);
    expect_said(said, "1 tensor is not in the model and left out: bn.num_batches_tracked\n");
    said = read_foreign(
        read, "{" FC("m.", "[3,16]") "," NAMED("head.fc.weight", "[1]", "204", "208") "}", 52, 0);
    expect_said(said, "the prefix 'm.' is taken off");
    expect_said(said, "left out: head.fc.weight\n");
}
END_TEST

/* The first bytes of what PyTorch, NumPy and Keras write; a length that looks like them is none. */
START_TEST(test_foreign_kinds)
{
    enum { NAME_AT = 30 }; /* in a zip archive */
    static const struct {
        const char *begin, *name, *said;
    } kinds[] = {
        {"PK\3\4", "archive/data.pkl", "python3 -c"},
        {"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8", "", "is a file of PyTorch"},
        {"PK\3\4", "w.npy", "is a zip archive"},
        {"\x89HDF\r\n\x1a\n", "", "is an HDF5 file"},
    };
    Weights *w = weights_new(&ninc_model);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char bytes[80] = {0};
        memcpy(bytes, kinds[i].begin, strlen(kinds[i].begin));
        strcpy(bytes + NAME_AT, kinds[i].name);
        write_file("a b.pt", bytes, sizeof bytes);
        catch_errors();
        ck_assert_int_eq(safetensors_read_foreign(at("a b.pt"), w), -1);
        const char *said = caught();
        expect_said(said, kinds[i].said);
        ck_assert(!strstr(said, "python3") || /* with the names for a shell */
                  (strstr(said, "/a b.pt' '/") && strstr(said, "/a b.safetensors'\n")));
    }
    ck_assert_int_eq(mkdir(at("step"), 0700), 0);
    write_file("step/model.safetensors", "", 0);
    catch_errors();
    ck_assert_int_eq(safetensors_read_foreign(at("step"), w), -1);
    expect_error("step is a directory; give the file ");
    write_tensors("{" FC("", "[3,1,4,4]") "}", 0x010280, 51);
    ck_assert_int_eq(safetensors_read_foreign(at("foreign.safetensors"), w), 0);
    weights_free(w);
}
END_TEST

/* The tensors of the tiny model as doubles and as 16-bit floats. */
START_TEST(test_safetensors_dtypes)
{
    static const uint16_t half[] = {0x3c00, 0xc100, 0x0001}, brain[] = {0x3f80, 0xc020, 0x0001};
    static const float as_half[] = {1, -2.5f, 0x1p-24f}, as_brain[] = {1, -2.5f, 0x1p-133f};
    char bytes[1024] = {0};
    Weights *w = weights_new(&ninc_model);
    for (int brains = 0; brains < 2; brains++) {
        int length = snprintf(
            bytes + 8, sizeof bytes - 8,
            "{\"fc.weight\":{\"dtype\":\"F64\",\"shape\":[3,1,4,4],\"data_offsets\":[0,384]},"
            "\"fc.bias\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[384,390]}}",
            brains ? "BF16" : "F16");
        bytes[0] = (char)length;
        double *weight = xmalloc(384);
        for (int i = 0; i < 48; i++)
            weight[i] = i + 0.1;
        memcpy(bytes + 8 + length, weight, 384);
        memcpy(bytes + 8 + length + 384, brains ? brain : half, 6);
        free(weight);
        write_file("dtypes.safetensors", bytes, (size_t)length + 8 + 390);
        ck_assert_int_eq(safetensors_read(at("dtypes.safetensors"), w), 0);
        ck_assert(w->value[0][47] == 47.1f);
        ck_assert_mem_eq(w->value[1], brains ? as_brain : as_half, sizeof as_half);
    }
    weights_free(w);
}
END_TEST

START_TEST(test_write_faults)
{
    Weights *w = random_weights(3);
    catch_errors();
    ck_assert_int_eq(safetensors_write(directory, w), -1);
    expect_error("it is a directory");
    catch_errors();
    ck_assert_int_eq(safetensors_write(at("none/w.safetensors"), w), -1);
    expect_error("No such file or directory");
    if (access("/dev/full", W_OK) == 0) {
        catch_errors();
        ck_assert_int_eq(safetensors_write("/dev/full", w), -1);
        expect_error("No space left");
    }
    write_file("target", "x", 1);
    ck_assert_int_eq(symlink("target", at("link")), 0);
    ck_assert_int_eq(safetensors_write(at("link"), w), 0);
    struct stat s;
    ck_assert_int_eq(lstat(at("link"), &s), 0);
    ck_assert(S_ISLNK(s.st_mode));
    ck_assert_int_eq(safetensors_read(at("target"), w), 0);
    weights_free(w);
}
END_TEST

/* As scikit-learn's compute_class_weight("balanced"); a class without images weighs nothing. */
START_TEST(test_class_weights)
{
    float list[] = {0.5f, 0, 2};
    int32_t label[] = {0, 0, 2, 0}, index[] = {2, 0, 1};
    const Dataset data = {.label = label, .count = 4};
    NincModel model = ninc_model;
    StepInput input = {.data = &data, .index = index, .valid = 2};
    ck_assert_ptr_null(class_weights(&model, &data));
    ck_assert(label_weight(NULL, &input) == 0);
    model.class_weight = list;
    float *weight = class_weights(&model, &data);
    ck_assert_mem_eq(weight, list, sizeof list);
    ck_assert(label_weight(weight, &input) == 2.5f);
    weight[0] = weight[2] = 0;
    ck_assert(isinf(label_weight(weight, &input)));
    free(weight);
    model.class_weight = NULL;
    model.balanced = true;
    catch_errors();
    weight = class_weights(&model, &data);
    expect_error("class 1 has no training image");
    ck_assert(weight[0] == (float)(4 / 9.0) && weight[1] == 0 && weight[2] == (float)(4 / 3.0));
    free(weight);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_safetensors_round_trip, test_class_names,
                                  test_hostile_class_names, test_safetensors_lies,
                                  test_safetensors_misfits, test_safetensors_not_finite,
                                  test_foreign_shapes, test_foreign_convolution,
                                  test_foreign_prefixes, test_foreign_extras, test_foreign_kinds,
                                  test_safetensors_dtypes, test_write_faults, test_class_weights};
    return run_in_scratch("weights", tests, sizeof tests / sizeof *tests, NULL);
}

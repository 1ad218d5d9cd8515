/* The IR: text both ways, types, graph edits, and each promise that the verifier checks. */
#include "../ir/ir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char planned_file[] = "tests/golden/ir/planned.ir";
static const Loc nowhere;

/* ---- helpers ---- */

static Text read_file(const char *path)
{
    char block[4096];
    size_t count;
    Text text = {0};
    FILE *in = fopen(path, "r");
    ck_assert_msg(in != NULL, "%s is missing; run from the top of the source", path);
    while ((count = fread(block, 1, sizeof block, in)) > 0)
        text_write(&text, block, count);
    fclose(in);
    return text;
}

/* The text with the first `from` replaced by `to`. */
static Text edited(const char *text, const char *from, const char *to)
{
    Text out = {0};
    const char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "'%s' is not in the text", from);
    text_write(&out, text, (size_t)(at - text));
    text_append(&out, "%s%s", to, at + strlen(from));
    return out;
}

static void expect_round_trip(const char *text)
{
    Pool *pool = pool_new();
    Diagnostics d;
    Text again = {0};
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", text, strlen(text));
    ck_assert_msg(m != NULL, "%s", d.count ? d.list[0].message : "?");
    module_print(m, &again);
    ck_assert_str_eq(text, again.data);
    text_free(&again);
    pool_free(pool);
}

/* Parses, expects a fault whose message holds `message`, and returns its place. */
static Loc expect_fault(const char *text, size_t length, const char *message)
{
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", text, length);
    ck_assert_msg(m == NULL, "no fault, but expected: %s", message);
    ck_assert_int_ge(d.count, 1);
    ck_assert_msg(strstr(d.list[0].message, message) != NULL, "'%s' is not '%s'",
                  d.list[0].message, message);
    ck_assert_ptr_nonnull(d.list[0].loc.file);
    Loc loc = d.list[0].loc;
    loc.file = NULL;
    pool_free(pool);
    return loc;
}

/* ---- text ---- */

START_TEST(planned_text_reads_back)
{
    Text text = read_file(planned_file);
    expect_round_trip(text.data);
    text_free(&text);
}
END_TEST

#define HEADER                                                                             \
    "module m {\n"                                                                         \
    "  dataset idx image=8x8x1 classes=3\n"                                                \
    "  optimizer adam lr=0.001 beta1=0.9 beta2=0.999 eps=1e-08 weight_decay=0\n"           \
    "  train batch_size=2 epochs=1 log_every=100 checkpoint_every=1000 init=normal std=0.05\n" \
    "}\n"

#define INPUTS "  %image : u8[2,8,8,1] = input\n"

START_TEST(small_texts_read_back)
{
    expect_round_trip(HEADER);
    expect_round_trip(HEADER "\ngraph m.train batch=2 stage=forward target=any {\n}\n");
    expect_round_trip(HEADER "\ngraph m.eval batch=2 stage=forward target=cpu {\n"
                             "  %image : u8[2,8,8,1]  = input\n"
                             "  %0     : f32[2,9,7,1] = resize %image "
                             "{mode=bilinear}                        loc \"a \\x22b\\x0a\":3:1\n"
                             "  %1     : f32[2,9,7,1] = resize %image {mode=bilinear "
                             "mean=[0.5] std=[0.25]}\n"
                             "  %2     : f32[2,8,8,1] = normalize %image"
                             "                                     loc a-b/c.yaml:3:1\n"
                             "  %3     : f32[2,5,3,1] = avgpool %2 {kernel=3x3 stride=2x3 "
                             "padding=1x0 ceil}\n"
                             "}\n");
}
END_TEST

START_TEST(free_form_is_accepted)
{
    static const char loose[] =
        "# a comment\r\n" HEADER "\n\ngraph m.train   batch=2 stage=forward target=any {\n"
        INPUTS "%x:f32[2,8,8,1]=normalize %image # named, not numbered\n"
        "\treturn loss=%x\n}\n\n";
    static const char tidy[] = HEADER "\ngraph m.train batch=2 stage=forward target=any {\n"
        "  %image : u8[2,8,8,1]  = input\n"
        "  %0     : f32[2,8,8,1] = normalize %image\n"
        "  return loss=%0\n}\n";
    Pool *pool = pool_new();
    Diagnostics d;
    Text text = {0};
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", loose, sizeof loose - 1);
    ck_assert_msg(m != NULL, "%s", d.count ? d.list[0].message : "?");
    module_print(m, &text);
    ck_assert_str_eq(text.data, tidy);
    text_free(&text);
    pool_free(pool);
}
END_TEST

/* A fault of the text: what to change in the planned module, and what the message must say. */
typedef struct Fault {
    const char *from, *to, *message;
} Fault;

static const Fault faults[] = {
    /* syntax */
    {"module tiny", "nodule tiny", "expected 'module '"},
    {"= relu %1 at", "= rely %1 at", "'rely' is not an op; did you mean 'relu'?"},
    {"stage=planned", "stage=planed", "'planed' is not a stage; did you mean 'planned'?"},
    {"rows chunk", "rows chonk", "did you mean 'chunk'?"},
    {"idx image=28x28x1", "idx image=28x28", "expected 'x'"},
    {"lr=0.1", "lr=nan", "expected a finite number"},
    {"lr=0.1", "lr=1e999", "expected a finite number"},
    {"batch_size=2", "batch_size=99999999999", "expected a whole number from 1"},
    {"graph tiny.train", "graph tony.train", "expected tiny.train or tiny.eval"},
    {"graph tiny.eval", "graph tiny.train", "there is a graph train for target cpu already"},
    {"relu %1 at", "relu %1 %2 at", "expected the end of the line"},
    {"relu %1 at", "relu %9 at", "%9 is not defined above this line"},
    {"relu %1 at", "relu @d.bias at", "@d.bias is not declared"},
    {"relu %1 at", "relu at", "relu takes 1 operands or more, not 0"},
    {"%2        : f32", "%1        : f32", "%1 is defined twice"},
    {"@c.bias            :", "@c.weight          :", "@c.weight is declared twice"},
    {"@c.bias   :", "@c.weight :", "@c.weight is declared with another type"},
    {"@c.bias   :", "@c.bios   :", "@c.bios is not declared"},
    {"update %19", "relu %19", "only update writes @c.bias"},
    {"f32[2,7,7,3] {nchw16c}       = relu", "f32[2,7,7,4] {nchw16c}       = relu",
     "relu gives f32[2,7,7,3] here"},
    {"f32[2,7,7,3] {nchw16c}       = relu", "f32[2,7,7,99999999] {nchw16c}       = relu",
     "a tensor of 2^31 elements or more"},
    {"f32[2,7,7,3]", "f32[2,7,7,3,1]", "a shape of more than 4 dimensions"},
    {"f32[2,7,7,3]", "f31[2,7,7,3]", "'f31' is not a dtype; did you mean 'f32'?"},
    {"kernel=5x5 stride=4x4 padding=2x2} tile", "kernel=3x3 stride=4x4 padding=2x2} tile",
     "conv2d's kernel is 3x3, but its filter is 5x5"},
    {"kernel=3x3 stride=2x2} at", "kernel=9x9 stride=2x2} at",
     "maxpool's kernel 9x9 does not fit its input 7x7; use a smaller kernel_size"},
    {"-> (%2)", "-> (%3)", "kernel c_forward does not make %3"},
    {"at worker+4096", "at state+4096", "a value lies in shared, worker or partial"},
    {"tiny.yaml:5:5", "\"tiny.yaml:5:5", "the string has no end"},
    {"input at shared+4928:8", "input at shared+4928:8 7", "expected the end of the line"},
    {"return loss=%20, correct=%21", "return loss=%20, loss=%21", "output loss is returned twice"},
    {"%label    : i32[2]", "%7        : i32[2]", "an input's name starts with a letter"},
    /* the verifier */
    {"@c.weight          : f32[3,1,5,5]", "@c..weight         : f32[3,1,5,5]", "expected a name"},
    {"cpu {vector 16} at 1600", "cpu {vector 999} at 1600",
     "@c.bias is declared with another type"},
    {"fan_out=75} cpu {vector 16} at 1600", "fan_out=-5} cpu {vector 16} at 1600",
     "expected a whole number from 0"},
    {"{of=@c.weight}", "{of=@c.wight}", "a moment names its parameter"},
    {"{of=@c.weight}", "{of=@c.bias}", "has another shape than its parameter"},
    {"at 1600", "at 1536", "overlaps what follows it"},
    {"at 1600", "at 1601", "must lie at a multiple of 64"},
    {"state cpu=3328", "state cpu=3200", "leaves the state region"},
    {"batch=2 stage", "batch=3 stage", "its first extent is not the batch"},
    {"chunk=1 partials", "chunk=3 partials", "a chunk must hold 1 to 2 images, not 3"},
    {"partials=2 shared=5312", "partials=9 shared=5312", "there must be 1 to 8 partials"},
    {" tile=7x1", "", "%1 (conv2d): its tile is missing or too large"},
    {" tile=5x1", " tile=65x1", "%15 (conv2d_wgrad): its tile is missing or too large"},
    {"image image chunk", "image image before", "images are worked on in the chunk phase"},
    {"update update after", "update update chunk", "a sum over images before all images"},
    {"metrics metrics after (%6", "metrics metrics chunk (%6", "the phase after the images"},
    {"gap rows chunk", "gap rows after", "a kernel of row ops cannot hold it"},
    {"c_backward conv_backward chunk", "c_backward conv_backward after",
     "a kernel of row ops cannot hold it"},
    {"kernel gap rows", "kernel head rows", "there is another kernel of that name"},
    {"kernel gap rows", "kernel 1gap rows", "its name is not an identifier"},
    {"(%2) -> (%3, %4)", "(%2, %0) -> (%3, %4)", "it has inputs that no node reads"},
    {"(%2) -> (%3, %4)", "(%1) -> (%3, %4)", "its inputs are not what its nodes read"},
    {"(%2) -> (%3, %4)", "(%2) -> (%3)", "its outputs are not what others read"},
    {"-> (%7, %8, %10)", "-> (%7, %8, %9, %10)", "its outputs are not what others read"},
    {"at worker+4096:3136 ", "at worker+4000:3136 ", "its offset is not aligned"},
    {"at worker+4096:3136 ", "at worker+4096:3072 ", "another size than its value"},
    {"at worker+4096:3136 ", "at worker+9984:3136 ", "its place leaves the region"},
    {"at worker+4096:3136 ", "at shared+4096:3136 ", "another size than its value"},
    {"at worker+4096:3136 ", "", "it is kept in memory, but has no place"},
    {"at worker+7232:576 ", "at worker+4096:576 ", "overlaps %2 (relu) in memory"},
    {"at partial+4800:64", "at shared+4800:64", "a sum over chunks lies in partial"},
    {"at partial+4800:64", "at partial+3136:64", "overlaps"},
    {"at partial+0:1600", "at partial+4480:1600", "its place leaves the region"},
    {"shared_bound=5312", "shared_bound=9312", "smaller than its lower bound"},
    {"{nchw16c}       = relu %1", "{nchw16c halo=1} = relu %1", "another size than its value"},
    {"{nchw16c}       = relu %1", "{vector 16} = relu %1", "its layout does not fit its shape"},
    {"{nhwc halo=2}", "{nhwc halo=1}", "its input lacks the halo that it reads"},
    {"%15       : f32[3,1,5,5] {filter c1 o16}", "%15       : f32[3,1,5,5] {filter c1 o32}",
     "its filter is not packed for its input and tile"},
    {"%3        : f32[2,3,3,3] {nchw16c}", "%3        : f32[2,3,3,3] {nchw8c}",
     "its maps do not lie in blocks of 16 channels"},
    {"%16       : f32[3,1,5,5] {filter c1 o16}", "%16       : f32[3,1,5,5]",
     "its operands lie in different layouts"},
    {"%label    : i32[2]  ", "%label    : i32[2] {vector 16}  ", "an input is plain"},
    {"mean=[0.5] std=[0.25]", "mean=[0.5] std=[0]", "std must be greater than 0"},
    {"{factor=0.9}", "{factor=x}", "expected a finite number"},
};

START_TEST(faults_are_named)
{
    const Fault *f = &faults[_i];
    Text text = read_file(planned_file);
    Text bad = edited(text.data, f->from, f->to);
    Loc loc = expect_fault(bad.data, bad.length, f->message);
    ck_assert_int_ge(loc.line, 1);
    ck_assert_int_ge(loc.column, 1);
    text_free(&text);
    text_free(&bad);
}
END_TEST

START_TEST(faults_have_places)
{
    static const char text[] = HEADER "graph m.train batch=2 stage=forward target=any {\n" INPUTS
                                      "  %0 : f32[2,8,8,1] = normalise %image\n}\n";
    Loc loc = expect_fault(text, sizeof text - 1, "did you mean 'normalize'?");
    ck_assert_int_eq(loc.line, 8);
    ck_assert_int_eq(loc.column, 23);
    loc = expect_fault("", 0, "expected 'module '");
    ck_assert_int_eq(loc.line, 1);
    ck_assert_int_eq(loc.column, 1);
    loc = expect_fault("module a\0b {", 12, "expected '{'");
    ck_assert_int_eq(loc.column, 9);
}
END_TEST

START_TEST(an_update_comes_after_all_reads)
{
    static const char late[] = HEADER "@w : f32[3] = bias\n"
        "graph m.train batch=2 stage=forward target=any {\n"
        "  %0 : f32[3] = relu @w\n  @w : f32[3] = update %0\n  %1 : f32[3] = relu @w\n}\n";
    static const char twice[] = HEADER "@w : f32[3] = bias\n"
        "graph m.train batch=2 stage=forward target=any {\n"
        "  %0 : f32[3] = relu @w\n  @w : f32[3] = update %0\n  @w : f32[3] = update %0\n}\n";
    ck_assert_int_eq(expect_fault(late, sizeof late - 1, "was updated before it").line, 10);
    ck_assert_int_eq(expect_fault(twice, sizeof twice - 1, "updated twice").line, 10);
}
END_TEST

/* Sound modules that are no programs. */
static const Fault no_programs[] = {
    {"= mean_valid %6, %valid at", "= mean_valid %6, %valid at", NULL},
    {"%step     : i32[]                        = input at shared+5120:4",
     "%pace     : i32[]                        = input at shared+5120:4", "no input %pace"},
    {"loss=%20, correct=%21", "correct=%20, loss=%21", "loss must be mean_valid of cross"},
    {"image=28x28x1", "image=28x27x1", "%image"},
    {"correct=%21\n", "correct=%21, logits=%20\n", "logits must be the operand of cross_entropy"},
    {"classes=3", "classes=4", "loss must be mean_valid of cross_entropy of one logit a class"},
    {"graph tiny.eval", "graph tiny.test", "a target has both graphs, train and eval"},
    {"tiny.eval batch=2 stage=planned target=cpu", "tiny.eval batch=2 stage=planned target=cuda",
     "its class does not exist on the graph's target"},
    {"tiny.eval batch=2 stage=planned", "tiny.eval batch=2 stage=laid_out",
     "it has not reached the stage of graph train"},
    {"graph tiny.train batch=2 stage=planned target=cpu",
     "graph tiny.train batch=2 stage=planned target=any",
     "@c.weight.momentum is declared with another type"},
};

START_TEST(programs_are_whole)
{
    const Fault *f = &no_programs[_i];
    Text text = read_file(planned_file), changed = edited(text.data, f->from, f->to);
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", changed.data, changed.length);
    bool good = m && module_check_program(m, &d, (Loc){"x.ir", 1, 1});
    ck_assert_int_eq(good, f->message == NULL);
    if (f->message)
        ck_assert_msg(strstr(d.list[0].message, f->message) != NULL, "%s", d.list[0].message);
    text_free(&text);
    text_free(&changed);
    pool_free(pool);
}
END_TEST

/* ---- garbage ---- */

static void parse_quietly(const char *text, size_t length)
{
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    char *copy = xmalloc(length); /* of its very size, for the address sanitizer */
    memcpy(copy, text, length);
    Module *m = module_parse(pool, &d, "x.ir", copy, length);
    ck_assert((m == NULL) == (d.count > 0));
    if (m) {
        Text printed = {0};
        module_print(m, &printed);
        expect_round_trip(printed.data);
        text_free(&printed);
    }
    free(copy);
    pool_free(pool);
}

START_TEST(truncated_text_is_a_fault_or_whole)
{
    Text text = read_file(planned_file);
    for (size_t length = 0; length < text.length; length += 7)
        parse_quietly(text.data, length);
    text_free(&text);
}
END_TEST

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Overwrites, deletes and copies a few pieces. */
static void mutate(Text *text, uint64_t *state)
{
    static const char pieces[] = "0123456789%@{}[](),:=+-.x \n\"#\\\377\001";
    for (uint64_t edits = 1 + next_random(state) % 3; edits > 0; edits--) {
        size_t at = next_random(state) % text->length, from = next_random(state) % text->length;
        size_t limit = text->length - (at > from ? at : from);
        size_t count = next_random(state) % 12 % limit;
        switch (next_random(state) % 3) {
        case 0:
            text->data[at] = pieces[next_random(state) % (sizeof pieces - 1)];
            break;
        case 1:
            memmove(text->data + at, text->data + at + count, text->length - at - count);
            text->length -= count;
            break;
        default:
            memmove(text->data + at, text->data + from, count);
        }
    }
}

START_TEST(mutated_text_never_crashes)
{
    int rounds = getenv("FUZZ") ? atoi(getenv("FUZZ")) : 1500;
    uint64_t state = 88172645463325252u;
    Text text = read_file(planned_file);
    for (int i = 0; i < rounds; i++) {
        Text bad = {0};
        text_write(&bad, text.data, text.length);
        mutate(&bad, &state);
        parse_quietly(bad.data, bad.length);
        text_free(&bad);
    }
    text_free(&text);
}
END_TEST

/* ---- shapes ---- */

typedef struct Extent {
    int input, kernel, stride, padding, floored, ceiled;
} Extent;

/* torch.nn.MaxPool2d's extents in both modes. */
static const Extent extents[] = {
    {224, 11, 4, 2, 55, 56}, {55, 3, 2, 0, 27, 27}, {32, 3, 2, 0, 15, 16}, {28, 3, 2, 0, 13, 14},
    {6, 6, 1, 0, 1, 1},      {5, 2, 2, 1, 3, 3},    {2, 3, 2, 0, 0, 1},    {7, 2, 3, 1, 3, 3},
    {3, 1, 2, 0, 2, 2},      {4, 1, 2, 0, 2, 2},    {4, 2, 3, 1, 2, 2},    {10, 3, 4, 1, 3, 3},
    {1, 3, 1, 0, 0, 0},      {5, 3, 3, 0, 1, 2},    {1, 1, 5, 0, 1, 1},    {8, 3, 3, 1, 3, 3},
};

START_TEST(window_extents_are_pytorchs)
{
    const Extent *e = &extents[_i];
    int floored = window_extent(e->input, e->kernel, e->stride, e->padding, false);
    int ceiled = window_extent(e->input, e->kernel, e->stride, e->padding, true);
    ck_assert_int_eq(floored > 0 ? floored : 0, e->floored);
    ck_assert_int_eq(ceiled > 0 ? ceiled : 0, e->ceiled);
}
END_TEST

/* An op on operands of the given types, and the fault that it must cause; NULL for none. */
typedef struct Typing {
    Op op;
    Window window;
    int operands;
    Tensor in[3], given;
    const char *fault, *words; /* words: of the result, where there is no fault */
} Typing;

#define F32_4(n, h, w, c) {.dtype = DT_F32, .shape = {4, {n, h, w, c}}}
#define F32_2(n, c) {.dtype = DT_F32, .shape = {2, {n, c}}}
#define F32_1(n) {.dtype = DT_F32, .shape = {1, {n}}}
#define I32_1(n) {.dtype = DT_I32, .shape = {1, {n}}}
#define I32_0 {.dtype = DT_I32}
#define U8_4(n, h, w, c) {.dtype = DT_U8, .shape = {4, {n, h, w, c}}}

static const Typing typings[] = {
    {OP_CONV2D, {11, 11, 4, 4, 2, 2, false}, 3,
     {F32_4(2, 224, 224, 1), F32_4(96, 1, 11, 11), F32_1(96)}, I32_0, NULL, "2,55,55,96"},
    {OP_CONV2D, {11, 11, 1, 1, 0, 0, false}, 2, {F32_4(2, 9, 9, 1), F32_4(4, 1, 11, 11)}, I32_0,
     "conv2d's kernel 11x11 does not fit its input 9x9; use a smaller kernel_size or more padding",
     NULL},
    {OP_CONV2D, {11, 11, 1, 1, 1, 0, false}, 2, {F32_4(2, 7, 9, 1), F32_4(4, 1, 11, 11)}, I32_0,
     "conv2d's kernel 11x11 does not fit its padded input 9x9", NULL},
    {OP_CONV2D, {1, 1, 1, 1, 0, 0, false}, 2, {F32_4(2, 9, 9, 3), F32_4(4, 1, 1, 1)}, I32_0,
     "filter is for 1 input channels, but its input has 3", NULL},
    {OP_CONV2D, {1, 1, 1, 1, 0, 0, false}, 3, {F32_4(2, 9, 9, 1), F32_4(4, 1, 1, 1), F32_1(5)},
     I32_0, "extent 0 of bias is 5, but its other operands need 4", NULL},
    {OP_CONV2D, {1, 1, 0, 1, 0, 0, false}, 2, {F32_4(2, 9, 9, 1), F32_4(4, 1, 1, 1)}, I32_0,
     "stride 0x1 must be at least 1x1", NULL},
    {OP_CONV2D, {1, 1, 1, 1, 0, 0, false}, 2, {U8_4(2, 9, 9, 1), F32_4(4, 1, 1, 1)}, I32_0,
     "conv2d takes as input f32 of rank 4, not u8[2,9,9,1]", NULL},
    {OP_CONV2D, {1, 1, 1, 1, 0, 0, false}, 2, {F32_4(999, 99, 99, 1), F32_4(999, 1, 1, 1)}, I32_0,
     "2^31 elements", NULL},
    {OP_MAXPOOL, {3, 3, 2, 2, 0, 0, true}, 1, {F32_4(2, 32, 28, 5)}, I32_0, NULL, "2,16,14,5"},
    {OP_MAXPOOL, {3, 3, 2, 2, 2, 2, true}, 1, {F32_4(2, 32, 28, 5)}, I32_0,
     "padding 2x2 is more than half its kernel 3x3", NULL},
    {OP_MAXPOOL, {17, 17, 1, 1, 0, 0, true}, 1, {F32_4(2, 32, 28, 5)}, I32_0, "more than 256 taps",
     NULL},
    {OP_MAXPOOL_CODE, {16, 16, 1, 1, 0, 0, false}, 1, {F32_4(2, 16, 17, 5)}, I32_0, NULL,
     "2,1,2,5"},
    {OP_AVGPOOL, {17, 17, 1, 1, 0, 0, false}, 1, {F32_4(2, 17, 18, 5)}, I32_0, NULL, "2,1,2,5"},
    {OP_GAP, {0}, 1, {F32_4(2, 17, 18, 5)}, I32_0, NULL, "2,1,1,5"},
    {OP_FLATTEN, {0}, 1, {F32_4(2, 3, 4, 5)}, I32_0, NULL, "2,60"},
    {OP_FLATTEN_GRAD, {0}, 1, {F32_2(2, 60)}, F32_4(2, 3, 4, 5), NULL, "2,3,4,5"},
    {OP_FLATTEN_GRAD, {0}, 1, {F32_2(2, 61)}, F32_4(2, 3, 4, 5), "need 60", NULL},
    {OP_CONV2D_DGRAD, {3, 3, 2, 2, 1, 1, false}, 2, {F32_4(2, 4, 4, 8), F32_4(8, 5, 3, 3)},
     F32_4(2, 8, 7, 5), NULL, "2,8,7,5"},
    {OP_CONV2D_DGRAD, {3, 3, 2, 2, 1, 1, false}, 2, {F32_4(2, 4, 4, 8), F32_4(8, 5, 3, 3)},
     F32_4(2, 9, 7, 5), "extent 1 of the gradient is 4, but its other operands need 5", NULL},
    {OP_CONV2D_WGRAD, {3, 3, 2, 2, 1, 1, false}, 2, {F32_4(2, 8, 7, 5), F32_4(2, 4, 4, 8)},
     F32_4(8, 5, 3, 3), NULL, "8,5,3,3"},
    {OP_CONV2D_WGRAD, {3, 3, 2, 2, 1, 1, false}, 2, {F32_4(2, 8, 7, 5), F32_4(2, 4, 4, 8)},
     F32_4(8, 6, 3, 3), "extent 1 of the result is given as 6", NULL},
    {OP_MAXPOOL_GRAD, {3, 3, 2, 2, 0, 0, false}, 2, {F32_4(2, 3, 3, 8), U8_4(2, 3, 3, 8)},
     F32_4(2, 8, 7, 8), NULL, "2,8,7,8"},
    {OP_MAXPOOL_GRAD, {3, 3, 2, 2, 0, 0, false}, 2, {F32_4(2, 3, 3, 8), U8_4(2, 3, 2, 8)},
     F32_4(2, 8, 7, 8), "extent 2 of the code is 2", NULL},
    {OP_CROSS_ENTROPY, {0}, 2, {F32_2(4, 10), I32_1(4)}, I32_0, NULL, "4"},
    {OP_CROSS_ENTROPY, {0}, 2, {F32_2(4, 10), I32_1(5)}, I32_0, "need 4", NULL},
    {OP_CROSS_ENTROPY_GRAD, {0}, 3, {F32_2(4, 10), I32_1(4), I32_0}, I32_0, NULL, "4,10"},
    {OP_MEAN_VALID, {0}, 2, {F32_1(4), I32_0}, I32_0, NULL, ""},
    {OP_COUNT_VALID, {0}, 2, {F32_1(4), I32_0}, I32_0, "takes as rows i32 of rank 1", NULL},
    {OP_BIAS_GRAD, {0}, 1, {F32_4(2, 3, 4, 5)}, I32_0, NULL, "5"},
    {OP_FILTER_TRANSPOSE, {0}, 1, {F32_4(2, 3, 4, 5)}, I32_0, NULL, "3,2,4,5"},
    {OP_ADD, {0}, 2, {F32_2(2, 3), F32_2(3, 2)}, I32_0, "operand 2 is f32[3,2]", NULL},
    {OP_SGD_STEP, {0}, 3, {F32_2(2, 3), F32_2(2, 3), {.dtype = DT_F32}}, I32_0, NULL, "2,3"},
    {OP_RELU, {0}, 2, {F32_2(2, 3), F32_2(2, 3)}, I32_0, "relu takes 1 operand, not 2", NULL},
};

START_TEST(types_follow_from_operands)
{
    const Typing *t = &typings[_i];
    Pool *pool = pool_new();
    Diagnostics d;
    Node node[3] = {{.op = OP_INPUT}, {.op = OP_INPUT}, {.op = OP_INPUT}};
    Node *in[3] = {&node[0], &node[1], &node[2]};
    Attr attr = {.window = t->window};
    Tensor out = t->given;
    Text words = {0};
    diagnostics_init(&d, pool);
    for (int i = 0; i < 3; i++)
        node[i].tensor = t->in[i];
    bool good = infer_type(&d, t->op, t->operands, in, &attr, nowhere, &out);
    ck_assert_msg(good == (t->fault == NULL), "%s", d.count ? d.list[0].message : "no fault");
    ck_assert_int_eq(d.count, t->fault != NULL);
    if (t->fault)
        ck_assert_msg(strstr(d.list[0].message, t->fault) != NULL, "%s", d.list[0].message);
    text_append(&words, "%s", "");
    for (int i = 0; i < out.shape.rank; i++)
        text_append(&words, "%s%d", i ? "," : "", out.shape.dim[i]);
    if (t->words)
        ck_assert_str_eq(words.data, t->words);
    text_free(&words);
    pool_free(pool);
}
END_TEST

/* ---- graphs ---- */

typedef struct Fixture {
    Pool *pool;
    Module *module;
    Graph *graph;
    Storage *w;
} Fixture;

static Fixture fixture_new(void)
{
    Fixture f = {.pool = pool_new()};
    f.module = module_new(f.pool, "m");
    f.module->image_h = f.module->image_w = f.module->image_c = f.module->classes = 1;
    f.module->train.batch_size = 1;
    f.w = module_add_storage(f.module, "w", shape_of(1, 3, 0, 0, 0), ROLE_BIAS, nowhere);
    f.graph = module_add_graph(f.module, "train", 1);
    return f;
}

static Node *relu(Fixture *f, Node *x)
{
    return graph_add(f->graph, OP_RELU, 1, &x, NULL, nowhere);
}

static void expect_sound(const Fixture *f)
{
    Diagnostics d;
    diagnostics_init(&d, f->pool);
    ck_assert_msg(module_verify(f->module, &d), "%s", d.list[0].message);
}

START_TEST(inputs_stay_first)
{
    Fixture f = fixture_new();
    Node *a = relu(&f, graph_state(f.graph, f.w));
    Node *lr = graph_input(f.graph, "lr", DT_F32, shape_of(0, 0, 0, 0, 0), nowhere);
    ck_assert_ptr_eq(f.graph->node[0], lr);
    ck_assert_int_eq(lr->id, 0);
    ck_assert_int_eq(a->id, 1);
    ck_assert_ptr_eq(graph_find_input(f.graph, "lr"), lr);
    ck_assert_ptr_null(graph_find_input(f.graph, "step"));
    ck_assert_ptr_eq(graph_state(f.graph, f.w), a->in[0]);
    expect_sound(&f);
    pool_free(f.pool);
}
END_TEST

START_TEST(dead_nodes_and_states_go)
{
    Fixture f = fixture_new();
    Storage *unused = module_add_storage(f.module, "u", shape_of(1, 3, 0, 0, 0), ROLE_BIAS,
                                         nowhere);
    Node *dead = relu(&f, relu(&f, graph_state(f.graph, unused)));
    Node *kept = relu(&f, graph_state(f.graph, f.w));
    graph_output(f.graph, "loss", dead);
    graph_replace(f.graph, dead, kept);
    graph_update(f.graph, f.w, kept, nowhere);
    graph_remove_dead(f.graph);
    ck_assert_int_eq(f.graph->node_count, 2);
    ck_assert_int_eq(f.graph->state_count, 1);
    ck_assert_ptr_eq(graph_find_output(f.graph, "loss"), kept);
    int *uses = graph_use_counts(f.graph, f.pool);
    ck_assert_int_eq(uses[kept->id], 2);
    expect_sound(&f);
    pool_free(f.pool);
}
END_TEST

START_TEST(sorting_puts_definitions_before_uses)
{
    Fixture f = fixture_new();
    Node *a = relu(&f, graph_state(f.graph, f.w)), *b = relu(&f, a);
    Node *update = graph_update(f.graph, f.w, a, nowhere);
    Node *late = relu(&f, graph_state(f.graph, f.w));
    Node *order[] = {b, update, a, late};
    memcpy(f.graph->node, order, sizeof order);
    graph_output(f.graph, "loss", b);
    graph_sort(f.graph);
    Node *sorted[] = {a, b, late, update};
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_eq(f.graph->node[i], sorted[i]);
        ck_assert_int_eq(f.graph->node[i]->id, i);
    }
    expect_sound(&f);
    pool_free(f.pool);
}
END_TEST

START_TEST(sorting_a_cycle_is_our_fault)
{
    Fixture f = fixture_new();
    Node *a = relu(&f, graph_state(f.graph, f.w)), *b = relu(&f, a);
    a->in[0] = b;
    graph_sort(f.graph);
    pool_free(f.pool);
}
END_TEST

START_TEST(adding_a_wrong_node_is_our_fault)
{
    Fixture f = fixture_new();
    Node *w = graph_state(f.graph, f.w);
    graph_add(f.graph, OP_GAP, 1, &w, NULL, nowhere);
    pool_free(f.pool);
}
END_TEST

START_TEST(a_clone_shares_storage_only)
{
    Text text = read_file(planned_file), one = {0}, two = {0};
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", text.data, text.length);
    ck_assert_ptr_nonnull(m);
    Graph *g = module_find_graph(m, "train", TARGET_CPU);
    Graph *c = graph_clone(g, "train", TARGET_CPU);
    graph_print(g, &one);
    graph_print(c, &two);
    ck_assert_str_eq(one.data, two.data);
    for (int i = 0; i < g->node_count; i++) {
        ck_assert_ptr_ne(g->node[i], c->node[i]);
        ck_assert_ptr_eq(g->node[i]->storage, c->node[i]->storage);
    }
    for (int i = 0; i < g->kernel_count; i++)
        ck_assert_ptr_ne(g->kernel[i], c->kernel[i]);
    text_free(&text);
    text_free(&one);
    text_free(&two);
    pool_free(pool);
}
END_TEST

START_TEST(derived_inputs_and_outputs_are_those_of_the_text)
{
    Text text = read_file(planned_file), again = {0};
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", text.data, text.length);
    ck_assert_ptr_nonnull(m);
    Graph *g = m->graph[0];
    for (int i = 0; i < g->kernel_count; i++)
        g->kernel[i]->in_count = g->kernel[i]->out_count = 0;
    ck_assert(!module_verify(m, &d));
    kernel_derive_io(g, g->kernel[0]);
    graph_derive_io(g);
    module_print(m, &again);
    ck_assert_str_eq(text.data, again.data);
    text_free(&text);
    text_free(&again);
    pool_free(pool);
}
END_TEST

START_TEST(worker_values_hold_one_chunk)
{
    Text text = read_file(planned_file);
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", text.data, text.length);
    ck_assert_ptr_nonnull(m);
    Graph *g = m->graph[0];
    Node *image = g->kernel[0]->node[0], *wgrad = g->kernel[6]->node[3];
    ck_assert_int_eq(image->op, OP_NORMALIZE);
    ck_assert(is_per_image(g, image));
    ck_assert_int_eq(placed_tensor(g, image).shape.dim[0], g->chunk);
    ck_assert_int_eq(value_bytes(g, image), 32 * 32 * 4);
    ck_assert_int_eq(wgrad->op, OP_CONV2D_WGRAD);
    ck_assert(!is_per_image(g, wgrad));
    ck_assert_int_eq(value_bytes(g, wgrad), 25 * 16 * 4);
    text_free(&text);
    pool_free(pool);
}
END_TEST

START_TEST(a_kernel_prints_without_positions)
{
    Text text = read_file(planned_file), out = {0}, node = {0};
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", text.data, text.length);
    ck_assert_ptr_nonnull(m);
    kernel_print(m->graph[0], m->graph[0]->kernel[3], "// ", &out);
    ck_assert_str_eq(out.data, "// kernel gap rows chunk (%3) -> (%5) {\n"
                               "//   %5 : f32[2,1,1,3] {nchw16c} = gap %3 at worker+7808:64\n"
                               "// }\n");
    node_print(m->graph[0], m->graph[0]->kernel[3]->node[0], &node);
    ck_assert_str_eq(node.data, "%5 : f32[2,1,1,3] {nchw16c} = gap %3 at worker+7808:64");
    text_free(&text);
    text_free(&out);
    text_free(&node);
    pool_free(pool);
}
END_TEST

START_TEST(dot_names_every_node)
{
    Text text = read_file(planned_file), dot = {0};
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", text.data, text.length);
    ck_assert_ptr_nonnull(m);
    module_print_dot(m, &dot);
    ck_assert_int_eq(strncmp(dot.data, "digraph \"tiny\" {", 16), 0);
    for (int i = 0; i < m->graph[0]->node_count; i++) {
        char *label = pool_format(pool, "n0_%d [", i);
        ck_assert_ptr_nonnull(strstr(dot.data, label));
    }
    text_free(&text);
    text_free(&dot);
    pool_free(pool);
}
END_TEST

/* ---- memory and numbers ---- */

START_TEST(pools_grow_and_align)
{
    Pool *pool = pool_new();
    int *list = NULL, count = 0, capacity = 0;
    for (int i = 0; i < 10000; i++)
        POOL_PUSH(pool, list, count, capacity, i);
    for (int i = 0; i < 10000; i++)
        ck_assert_int_eq(list[i], i);
    for (size_t bytes = 0; bytes < 300000; bytes = bytes * 3 + 1) {
        char *p = pool_alloc(pool, bytes);
        ck_assert_int_eq((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < bytes; i++)
            ck_assert_int_eq(p[i], 0);
    }
    ck_assert_str_eq(pool_format(pool, "%d %s", 3, "x"), "3 x");
    pool_free(pool);
}
END_TEST

START_TEST(doubles_are_printed_shortest)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.001, "0.001"}, {1e-8, "1e-08"}, {3, "3"}, {0, "0"}, {-0.5, "-0.5"},
                 {1.0 / 3, "0.3333333333333333"}, {0.1 + 0.2, "0.30000000000000004"}};
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_str_eq(format_double(cases[i].value, out), cases[i].text);
}
END_TEST

START_TEST(twenty_diagnostics_are_kept)
{
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    for (int i = 0; i < 25; i++)
        diagnostics_add(&d, nowhere, 0, "fault %d", i);
    ck_assert_int_eq(d.count, MAX_DIAGNOSTICS);
    ck_assert_int_eq(d.total, 25);
    ck_assert_str_eq(d.list[19].message, "fault 19");
    ck_assert_int_eq(d.list[0].width, 1);
    pool_free(pool);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof *(list)))

static TCase *text_case(void)
{
    TCase *tests = tcase_create("text");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, planned_text_reads_back);
    tcase_add_test(tests, small_texts_read_back);
    tcase_add_test(tests, free_form_is_accepted);
    tcase_add_loop_test(tests, faults_are_named, 0, COUNT_OF(faults));
    tcase_add_test(tests, faults_have_places);
    tcase_add_test(tests, an_update_comes_after_all_reads);
    tcase_add_loop_test(tests, programs_are_whole, 0, COUNT_OF(no_programs));
    tcase_add_test(tests, truncated_text_is_a_fault_or_whole);
    tcase_add_test(tests, mutated_text_never_crashes);
    return tests;
}

static TCase *graph_case(void)
{
    TCase *tests = tcase_create("graphs");
    tcase_add_test(tests, inputs_stay_first);
    tcase_add_test(tests, dead_nodes_and_states_go);
    tcase_add_test(tests, sorting_puts_definitions_before_uses);
    tcase_add_exit_test(tests, sorting_a_cycle_is_our_fault, 1);
    tcase_add_exit_test(tests, adding_a_wrong_node_is_our_fault, 1);
    tcase_add_test(tests, a_clone_shares_storage_only);
    tcase_add_test(tests, derived_inputs_and_outputs_are_those_of_the_text);
    tcase_add_test(tests, worker_values_hold_one_chunk);
    tcase_add_test(tests, a_kernel_prints_without_positions);
    tcase_add_test(tests, dot_names_every_node);
    return tests;
}

static TCase *rest_case(void)
{
    TCase *tests = tcase_create("types and memory");
    tcase_add_loop_test(tests, window_extents_are_pytorchs, 0, COUNT_OF(extents));
    tcase_add_loop_test(tests, types_follow_from_operands, 0, COUNT_OF(typings));
    tcase_add_test(tests, pools_grow_and_align);
    tcase_add_test(tests, doubles_are_printed_shortest);
    tcase_add_test(tests, twenty_diagnostics_are_kept);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("ir");
    suite_add_tcase(suite, text_case());
    suite_add_tcase(suite, graph_case());
    suite_add_tcase(suite, rest_case());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

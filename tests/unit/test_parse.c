/* The text of the IR: it reads back as it was printed, and each fault is named in its place. */
#include "planned_ir.h"

/* ---- helpers ---- */

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
    Text text = planned_text();
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
    expect_round_trip("module m {\n"
                      "  dataset csv image=8x8x1 classes=3 label=\"a \\x22b\\x22\" "
                      "transform=[transpose,grayscale,center_crop=9x8,resize=256] "
                      "validation_split=0.25\n"
                      "  optimizer sgd lr=0.1 momentum=0 weight_decay=0\n"
                      "  train batch_size=2 epochs=1 log_every=100 checkpoint_every=1000 "
                      "init=pytorch sampler=balanced\n"
                      "}\n");
    expect_round_trip("module m {\n"
                      "  dataset csv image=8x8x1 classes=3 label=0\n"
                      "  optimizer sgd lr=0.1 momentum=0 weight_decay=0\n"
                      "  train batch_size=2 epochs=1 log_every=100 checkpoint_every=1000 "
                      "init=pytorch\n"
                      "}\n");
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

static void check_prints_as(const char *loose, const char *tidy)
{
    Pool *pool = pool_new();
    Diagnostics d;
    Text text = {0};
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "x.ir", loose, strlen(loose));
    ck_assert_msg(m != NULL, "%s", d.count ? d.list[0].message : "?");
    module_print(m, &text);
    ck_assert_str_eq(text.data, tidy);
    text_free(&text);
    pool_free(pool);
}

START_TEST(free_form_is_accepted)
{
    static const char loose[] =
        "# a comment\r\n" HEADER "\n\ngraph m.train   batch=2 stage=forward target=any {\n"
        INPUTS "%x:f32[2,8,8,1]=normalize %image # named, not numbered\n"
        "%5:f32[2,8,8,1]=relu %x\n%05:f32[2,8,8,1]=relu %5\n%0:f32[2,8,8,1]=relu %05\n"
        "\treturn loss=%x\n}\n\n";
    static const char tidy[] = HEADER "\ngraph m.train batch=2 stage=forward target=any {\n"
        "  %image : u8[2,8,8,1]  = input\n"
        "  %6     : f32[2,8,8,1] = normalize %image\n"
        "  %5     : f32[2,8,8,1] = relu %6\n"
        "  %7     : f32[2,8,8,1] = relu %5\n"
        "  %0     : f32[2,8,8,1] = relu %7\n"
        "  return loss=%6\n}\n";
    check_prints_as(loose, tidy);
}
END_TEST

/* Text may have any number, and passes add theirs: none gets so high that it no longer reads
 * back. */
START_TEST(highest_numbers_are_given_anew)
{
    static const char graph[] = HEADER "\ngraph m.train batch=2 stage=forward target=any {\n"
        "  %%image : u8[2,8,8,1]  = input\n"
        "  %%%-5d : f32[2,8,8,1] = normalize %%image\n"
        "  %%%-5d : f32[2,8,8,1] = relu %%%d\n"
        "  return loss=%%%d\n}\n";
    static const int number[][2] = {{1000000, 3}, {3, 99999999}};
    char high[sizeof graph + 64], low[sizeof graph + 64], kept[sizeof graph + 64];
    snprintf(low, sizeof low, graph, 0, 1, 0, 1);
    for (int i = 0; i < 2; i++) {
        const int *n = number[i];
        snprintf(high, sizeof high, graph, n[0], n[1], n[0], n[1]);
        check_prints_as(high, low);
    }
    snprintf(kept, sizeof kept, graph, 10000, 7, 10000, 7);
    check_prints_as(kept, kept);
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
    {"at chunk+4096", "at state+4096", "a value lies in shared, chunk, thread or partial"},
    {"tiny.yaml:5:5", "\"tiny.yaml:5:5", "the string has no end"},
    {"input at shared+3200:8", "input at shared+3200:8 7", "expected the end of the line"},
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
    {"state cpu=3328", "class_weight [1,2]\n  state cpu=3328", "there are 2 weights for 3 classes"},
    {"state cpu=3328", "class_weight [0,0,0]\n  state cpu=3328", "some class must weigh more"},
    {"state cpu=3328", "class_weight [1,-1,2]\n  state cpu=3328", "must be floats of at least 0"},
    {"= moment", "= average", "the average of a parameter is named @c.weight.ema"},
    {"= moment", "= classes", "the weights of classes are @class_weight [3]"},
    {"batch=2 stage", "batch=3 stage", "its first extent is not the batch"},
    {"chunk=1 shared", "chunk=3 shared", "a chunk must hold 1 to 2 images, not 3"},
    {"chunk=1 shared", "chunk=1 partials=1 shared", "expected '{'"},
    {" tile=7x1", "", "%1 (conv2d): its tile is missing or too large"},
    {" tile=5x1", " tile=65x1", "%15 (conv2d_wgrad): its tile is missing or too large"},
    {" tile=7x1", " math=i16 tile=7x1",
     "%1 (conv2d): only Winograd products on a CPU are in fixed"},
    {" tile=7x1", " tile=7x1 sparse=x", "%1 (conv2d): only 1x1 convolutions in row"},
    {" tile=5x1", " tile=5x1 sparse=dy", "%15 (conv2d_wgrad): only 1x1 convolutions in row"},
    {" tile=7x1", " tile=7x1 sparse=dy", "%1 (conv2d): it has no operand dy to be sparse"},
    {" tile=7x1", " tile=7x1 sparse=y", "'y' is not an operand"},
    {"image image chunk", "image image before", "images are worked on in the chunk phase"},
    {"update update after", "update update chunk", "a sum over images before all images"},
    {"metrics metrics after (%6", "metrics metrics chunk (%6", "the phase after the images"},
    {"gap rows chunk", "gap rows after", "a kernel of row ops cannot hold it"},
    {"c_backward pool_backward chunk", "c_backward pool_backward after",
     "a kernel of row ops cannot hold it"},
    {"c_wgrad conv_wgrad", "c_wgrad conv_backward", "'conv_backward' is not a class of kernels"},
    {"kernel gap rows", "kernel head rows", "there is another kernel of that name"},
    {"kernel gap rows", "kernel 1gap rows", "its name is not an identifier"},
    {"(%2) -> (%3, %4)", "(%2, %0) -> (%3, %4)", "it has inputs that no node reads"},
    {"(%2) -> (%3, %4)", "(%1) -> (%3, %4)", "its inputs are not what its nodes read"},
    {"(%2) -> (%3, %4)", "(%2) -> (%3)", "its outputs are not what others read"},
    {"-> (%7, %8, %10)", "-> (%7, %8, %9, %10)", "its outputs are not what others read"},
    {"at chunk+4096:3136 ", "at chunk+4000:3136 ", "its offset is not aligned"},
    {"at chunk+4096:3136 ", "at chunk+4096:3072 ", "another size than its value"},
    {"at chunk+4096:3136 ", "at chunk+9984:3136 ", "its place leaves the region"},
    {"at chunk+4096:3136 ", "at shared+4096:3136 ", "another size than its value"},
    {"at chunk+4096:3136 ", "", "it is kept in memory, but has no place"},
    {"at chunk+7232:576 ", "at chunk+4096:576 ", "overlaps %2 (relu) in memory"},
    {"at partial+3584:64", "at shared+3584:64", "a sum in parts lies in partial"},
    {"at shared+1600:1600", "at partial+1600:1600", "only sums in parts lie in partial"},
    {"at shared+1600:1600", "at chunk+1600:1600", "only values of one chunk lie in chunk"},
    {"at shared+3520:8", "at shared+3968:8", "overlaps"}, /* a copy but the first */
    {"shared=4096", "shared=4032", "its place leaves the region"},
    {"at shared+1600:1600", "at shared+3200:1600", "its place leaves the region"},
    {"at chunk+7232:3136 ", "at thread+7232:3136 ",
     "only strips, and images on their way, lie in thread"},
    {"{nchw16c}       = relu_grad", "{nchw16c strip=1} = relu_grad",
     "it cannot be held by strips of that height"},
    {"shared_bound=4096", "shared_bound=9312", "smaller than its lower bound"},
    {"chunk_bound=11136", "chunk_bound=11200", "smaller than its lower bound"},
    {"chunk_bound=11136", "chunk_bound=11136 thread_bound=64", "smaller than its lower bound"},
    {"{nchw16c}       = relu %1", "{nchw16c halo=1} = relu %1", "another size than its value"},
    {"{nchw16c}       = relu %1", "{vector 16} = relu %1", "its layout does not fit its shape"},
    {"{nhwc halo=2}", "{nhwc halo=1}", "its input lacks the halo that it reads"},
    {"%15       : f32[3,1,5,5] {filter c1 o16}", "%15       : f32[3,1,5,5] {filter c1 o32}",
     "its filter is not packed for its input and tile"},
    {"%3        : f32[2,3,3,3] {nchw16c}", "%3        : f32[2,3,3,3] {nchw8c}",
     "its maps do not lie in blocks of channels"},
    {"%16       : f32[3,1,5,5] {filter c1 o16}", "%16       : f32[3,1,5,5]",
     "its operands lie in different layouts"},
    {"%label    : i32[2]  ", "%label    : i32[2] {vector 16}  ", "an input is plain"},
    {"mean=[0.5] std=[0.25]", "mean=[0.5] std=[0]", "std must be greater than 0"},
    {"{factor=0.9}", "{factor=x}", "expected a finite number"},
    {"{factor=0.9}", "{factor=1e-46}", "expected a number that a float can be"},
    {"{factor=0.9}", "{factor=-1e39}", "expected a number that a float can be"},
    {"mean=[0.5] std=[0.25]", "mean=[1e39] std=[1]", "expected a number that a float can be"},
    {"mean=[0.5] std=[0.25]", "mean=[0] std=[1e-40]", "expected a number that a float can be"},
    {" classes=3", " classes=3 transform=[rotate]", "'rotate' is not a transform"},
    {" classes=3", " classes=3 transform=[transpose", "expected ']'"},
    {" classes=3", " classes=3 transform=[resize=0]", "expected a whole number from 1"},
    {" classes=3", " classes=3 transform=[center_crop=4]",
     "the transform center_crop has not the size that it is to have"},
    {" classes=3", " classes=3 transform=[grayscale=4]",
     "the transform grayscale has not the size"},
    {" classes=3", " classes=3 label=-1", "expected a whole number from 0"},
    {" classes=3", " classes=3 label=\"a", "the string has no end"},
    {" classes=3", " classes=3 validation_split=0", "expected a number greater than 0"},
    {" classes=3", " classes=3 validation_split=1",
     "validation_split must be above 0 and below 1"},
    {" init=", " sampler=balanced init=", "expected 'init='"},
};

START_TEST(faults_are_named)
{
    const Fault *f = &faults[_i];
    Text text = planned_text();
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
    {"%step     : i32[]                        = input at shared+3392:4",
     "%pace     : i32[]                        = input at shared+3392:4", "no input %pace"},
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
    Text text = planned_text(), changed = edited(text.data, f->from, f->to);
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
    Text text = planned_text();
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
    Text text = planned_text();
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

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof *(list)))

static TCase *text_case(void)
{
    TCase *tests = tcase_create("text");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, planned_text_reads_back);
    tcase_add_test(tests, small_texts_read_back);
    tcase_add_test(tests, free_form_is_accepted);
    tcase_add_test(tests, highest_numbers_are_given_anew);
    tcase_add_loop_test(tests, faults_are_named, 0, COUNT_OF(faults));
    tcase_add_test(tests, faults_have_places);
    tcase_add_test(tests, an_update_comes_after_all_reads);
    tcase_add_loop_test(tests, programs_are_whole, 0, COUNT_OF(no_programs));
    tcase_add_test(tests, truncated_text_is_a_fault_or_whole);
    tcase_add_test(tests, mutated_text_never_crashes);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("parse");
    suite_add_tcase(suite, text_case());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

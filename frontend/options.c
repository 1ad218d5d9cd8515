/* The command line of ninc. */
#include "frontend.h"

#include <getopt.h>
#include <string.h>
#include <unistd.h>

enum {
    OPTION_EMIT = 256,
    OPTION_TARGET,
    OPTION_PRECISION,
    OPTION_CUBIN,
    OPTION_CPU_LEVELS,
    OPTION_BATCH,
    OPTION_SET,
    OPTION_DUMP,
    OPTION_DUMP_DIR,
    OPTION_DISABLE_PASS,
    OPTION_TIME_PASSES,
    OPTION_MEMORY_REPORT,
    OPTION_LIST_PASSES,
    OPTION_LIST_OPS,
    OPTION_CHECK,
    OPTION_COLOR,
    OPTION_USAGE,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"emit", required_argument, NULL, OPTION_EMIT},
    {"target", required_argument, NULL, OPTION_TARGET},
    {"precision", required_argument, NULL, OPTION_PRECISION},
    {"cubin", required_argument, NULL, OPTION_CUBIN},
    {"cpu-levels", required_argument, NULL, OPTION_CPU_LEVELS},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"set", required_argument, NULL, OPTION_SET},
    {"dump", required_argument, NULL, OPTION_DUMP},
    {"dump-dir", required_argument, NULL, OPTION_DUMP_DIR},
    {"disable-pass", required_argument, NULL, OPTION_DISABLE_PASS},
    {"time-passes", no_argument, NULL, OPTION_TIME_PASSES},
    {"memory-report", no_argument, NULL, OPTION_MEMORY_REPORT},
    {"list-passes", no_argument, NULL, OPTION_LIST_PASSES},
    {"list-ops", no_argument, NULL, OPTION_LIST_OPS},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"color", required_argument, NULL, OPTION_COLOR},
    {"help", no_argument, NULL, 'h'},
    {"usage", no_argument, NULL, OPTION_USAGE},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static const char usage_text[] =
    "Usage: ninc [-o DIR] [--emit=KIND] [--target=cpu|cuda|all]\n"
    "            [--precision=fp32|tf32|bf16] [--cubin=sm_XX,...]\n"
    "            [--cpu-levels=LEVEL,...] [--batch=N] [--set=KEY=VALUE]\n"
    "            [-O0|-O1|-O2] [--dump=PASS[,PASS]|all]\n"
    "            [--dump-dir=DIR] [--disable-pass=PASS] [--time-passes]\n"
    "            [--memory-report] [--list-passes] [--list-ops] [--check] [-v] [-q]\n"
    "            [--color=WHEN] [-h] [--help] [--usage] [--version]\n"
    "            MODEL.yaml|GRAPH.ir|-\n";

/* A line an option, of at most 80 columns. */
static const char help_text[] =
    "Usage: ninc [options] MODEL.yaml|GRAPH.ir|-\n"
    "Compiles the description of an image classifier into a program that trains it.\n"
    "\n"
    "  -o, --output=DIR         directory of the artefacts, default MODEL_kernels\n"
    "      --emit=KIND          print ir, dot, c, cuda, plan, summary; make a library\n"
    "      --target=TARGET      which code the trainer has: cpu, cuda, or both: all\n"
    "      --precision=TYPE     of convolutions: fp32, the default, tf32 or bf16\n"
    "      --cubin=sm_XX,...    compile the GPU's kernels now, for these GPUs\n"
    "      --cpu-levels=LEVEL,...  instruction sets to compile for, default all\n"
    "      --batch=N            overrides the model's batch size\n"
    "      --set=KEY=VALUE      overrides one value of the model file\n"
    "  -O0, -O1, -O2            optimisation level, default -O2; -O0: a kernel an op\n"
    "\n"
    "      --dump=PASS,...      print the IR after these passes, or after all\n"
    "      --dump-dir=DIR       write the dumps as numbered files instead\n"
    "      --disable-pass=PASS  leave optional passes out\n"
    "      --time-passes        print the seconds that each pass takes\n"
    "      --memory-report      print what memory the programs need, and for what\n"
    "      --list-passes        print the passes and what they do\n"
    "      --list-ops           print the ops of the IR\n"
    "      --check              check the model, print what is asked for, and stop\n"
    "\n"
    "  -v, --verbose            say more\n"
    "  -q, --quiet              print errors only\n"
    "      --color=WHEN         of messages: auto, always or never\n"
    "  -h, --help               print this\n"
    "      --usage              print all options in short\n"
    "      --version            print the version\n"
    "\n"
    "Examples:\n"
    "  ninc models/nin.yaml -o nin_kernels && nin_kernels/trainer train\n"
    "  ninc --emit=summary --batch=64 --set train.epochs=1 models/nin.yaml\n"
    "More: man ninc, man ninc-model, man ninc-trainer.\n";

static OptionsResult usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
static OptionsResult answered_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void print_usage_error(const char *format, va_list ap)
{
    Text line = {0};

    text_append(&line, "ninc: ");
    text_append_v(&line, format, ap);
    print_message(stderr, line.data);
    text_free(&line);
}

static OptionsResult usage_error(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    print_usage_error(format, ap);
    va_end(ap);
    fprintf(stderr, "Try 'ninc --help'.\n");
    return OPTIONS_USAGE;
}

/* An error that says what was meant, so that the help is not needed. */
static OptionsResult answered_error(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    print_usage_error(format, ap);
    va_end(ap);
    return OPTIONS_USAGE;
}

/* "--emit must be ..., not 'x'", with the word of the NULL-terminated list that was meant. */
static OptionsResult wrong_word(const char *message, const char *value, const char *const *list)
{
    const char *near;
    int count = 0;

    while (list[count])
        count++;
    near = nearest_word(value, list, count, sizeof *list);
    return near ? answered_error("%s, not '%s'; did you mean '%s'?", message, value, near)
                : usage_error("%s, not '%s'", message, value);
}

static void list_ops(void)
{
    for (int op = 0; op < OP_COUNT; op++) {
        int low = op_min_operands((Op)op), high = op_max_operands((Op)op);
        char operands[32];

        snprintf(operands, sizeof operands, low == high ? "%d" : "%d to %d", low, high);
        printf("%-20s %-7s %s\n", op_name((Op)op), operands, op_what((Op)op));
    }
}

/* The index of `value` in a NULL-terminated list; -1 if it is not there. */
static int find_value(const char *const *list, const char *value)
{
    for (int i = 0; list[i]; i++)
        if (strcmp(list[i], value) == 0)
            return i;
    return -1;
}

static OptionsResult parse_emit(Options *o, const char *value)
{
    static const char *const kinds[] = {"ir",   "dot",     "c",       "cuda",
                                        "plan", "summary", "library", NULL};
    int kind = find_value(kinds, value);

    if (kind < 0)
        return wrong_word("--emit must be ir, dot, c, cuda, plan, summary or library", value,
                          kinds);
    o->emit = (EmitKind)(EMIT_IR + kind);
    return OPTIONS_RUN;
}

static OptionsResult parse_target(Options *o, const char *value)
{
    static const char *const targets[] = {"all", "cpu", "cuda", NULL};
    int target = find_value(targets, value);

    if (target < 0 && (strcmp(value, "gpu") == 0 || strcmp(value, "nvidia") == 0))
        return answered_error("--target must be cpu, cuda or all, not '%s'; did you mean 'cuda'?",
                           value);
    if (target < 0)
        return wrong_word("--target must be cpu, cuda or all", value, targets);
    o->pipeline.wanted[TARGET_CPU] = target != 2;
    o->pipeline.wanted[TARGET_CUDA] = target != 1;
    return OPTIONS_RUN;
}

/* Half precision is bf16 here: fp16 would need its loss scaled. */
static OptionsResult wrong_precision_word(const char *value, const char *const *precisions)
{
    static const char *const half[] = {"fp16", "f16", "float16", "half", "amp", "16", "mixed"};
    static const char message[] = "--precision must be fp32, tf32 or bf16";

    for (size_t i = 0; i < sizeof half / sizeof *half; i++)
        if (strcmp(value, half[i]) == 0)
            return answered_error("%s, not '%s'; did you mean 'bf16'?", message, value);
    if (strcmp(value, "float32") == 0 || strcmp(value, "float") == 0)
        return answered_error("%s, not '%s'; did you mean 'fp32'?", message, value);
    return wrong_word(message, value, precisions);
}

static OptionsResult parse_precision(Options *o, const char *value)
{
    static const char *const precisions[] = {
#define X(id, text) text,
        PASS_PRECISIONS(X)
#undef X
        NULL};
    int precision = find_value(precisions, value);

    if (precision < 0)
        return wrong_precision_word(value, precisions);
    o->pipeline.precision = (Precision)precision;
    return OPTIONS_RUN;
}

static OptionsResult parse_cpu_levels(Options *o, const char *value)
{
    const char *wrong = cpu_levels_parse(o->pool, value, &o->levels);

    if (wrong)
        return usage_error("an instruction set of --cpu-levels must be %s, not '%s'",
                           cpu_levels_text(o->pool, cpu_levels_known(false), "or"), wrong);
    return OPTIONS_RUN;
}

static OptionsResult parse_color(Options *o, const char *value)
{
    static const char *const modes[] = {"auto", "always", "never", NULL};
    int mode = find_value(modes, value);

    if (mode < 0)
        return wrong_word("--color must be auto, always or never", value, modes);
    o->color = (ColorMode)mode;
    return OPTIONS_RUN;
}

static OptionsResult parse_level(Options *o, const char *value)
{
    if (value[0] < '0' || value[0] > '2' || value[1] != '\0')
        return usage_error("the optimisation level must be -O0, -O1 or -O2, not '-O%s'", value);
    o->pipeline.level = value[0] - '0';
    return OPTIONS_RUN;
}

static OptionsResult add_set(Options *o, const char *set, const char *text)
{
    if (o->set_count == MAX_SETS)
        return usage_error("more than %d values set on the command line", (int)MAX_SETS);
    o->set[o->set_count] = set;
    o->set_text[o->set_count++] = text;
    return OPTIONS_RUN;
}

static OptionsResult parse_batch(Options *o, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || value[digits] != '\0' || digits > 9 || strspn(value, "0") == digits)
        return usage_error("--batch must be a whole number from 1 to 999999999, not '%s'", value);
    return add_set(o, pool_format(o->pool, "train.batch_size=%s", value),
                   pool_format(o->pool, "--set=train.batch_size=%s", value));
}

/* The last of several --dump or --disable-pass options does not replace the ones before. */
static const char *add_to_list(Pool *pool, const char *list, const char *value)
{
    return list ? pool_format(pool, "%s,%s", list, value) : value;
}

static OptionsResult show(const char *text)
{
    fputs(text, stdout);
    return OPTIONS_DONE;
}

/* -epochs and the like: a word with one dash, at which getopt stands still within the word. */
static const char *option_word(char **argv)
{
    const char *text = argv[optind - 1];

    if (optopt > 0 && (text[0] != '-' || text[1] == '-' || !strchr(text, optopt)))
        text = argv[optind];
    return text;
}

/* The number behind an unknown option, `--batch-size 32` or `--batch-size=32`; NULL: none. */
static const char *number_after(const char *option, char **argv)
{
    const char *next = argv[optind] == option ? argv[optind + 1] : argv[optind];
    const char *equals = strchr(option, '='), *value = equals ? equals + 1 : next;

    return value && *value && value[strspn(value, "0123456789.e-")] == '\0' ? value : NULL;
}

static OptionsResult unknown_option(Options *o, char **argv)
{
    const char *text = option_word(argv), *word = text + strspn(text, "-"), *near, *advice;
    const int count = (int)(sizeof long_options / sizeof *long_options) - 1;

    word = pool_format(o->pool, "%.*s", (int)strcspn(word, "="), word);
    text = pool_format(o->pool, "%.*s", (int)strcspn(text, "="), text);
    near = nearest_word(word, long_options, count, sizeof *long_options);
    advice = option_advice(o->pool, word, number_after(option_word(argv), argv));
    if (!advice && !near)
        advice = near_option_advice(word);
    if (optopt > 0 && strlen(word) < 3 && !advice)
        return usage_error("there is no option '-%c'", optopt);
    if (advice)
        return answered_error("there is no option '%s'; %s", text, advice);
    if (near)
        return answered_error("there is no option '%s'; did you mean '--%s'?", text, near);
    return usage_error("there is no option '%s'", text);
}

static OptionsResult parse_one(Options *o, int option, char **argv)
{
    switch (option) {
    case 'o':
        o->output = optarg;
        return *optarg ? OPTIONS_RUN : usage_error("--output needs a name");
    case 'O':
        o->level_given = true;
        return parse_level(o, optarg);
    case 'v':
        o->verbose = true;
        return OPTIONS_RUN;
    case 'q':
        o->quiet = true;
        return OPTIONS_RUN;
    case OPTION_EMIT:
        return parse_emit(o, optarg);
    case OPTION_TARGET:
        o->target_given = true;
        return parse_target(o, optarg);
    case OPTION_PRECISION:
        o->precision_given = true;
        return parse_precision(o, optarg);
    case OPTION_CUBIN:
        o->cubins = optarg;
        return *optarg ? OPTIONS_RUN : usage_error("--cubin needs an architecture, as sm_90a");
    case OPTION_CPU_LEVELS:
        return parse_cpu_levels(o, optarg);
    case OPTION_BATCH:
        return parse_batch(o, optarg);
    case OPTION_SET:
        return add_set(o, optarg, pool_format(o->pool, "--set=%s", optarg));
    case OPTION_DUMP:
        o->pipeline.dump = add_to_list(o->pool, o->pipeline.dump, optarg);
        return OPTIONS_RUN;
    case OPTION_DUMP_DIR:
        o->pipeline.dump_dir = optarg;
        return OPTIONS_RUN;
    case OPTION_DISABLE_PASS:
        o->pipeline.disable = add_to_list(o->pool, o->pipeline.disable, optarg);
        return OPTIONS_RUN;
    case OPTION_TIME_PASSES:
        o->pipeline.time = true;
        return OPTIONS_RUN;
    case OPTION_MEMORY_REPORT:
        o->memory_report = true;
        return OPTIONS_RUN;
    case OPTION_CHECK:
        o->check = true;
        return OPTIONS_RUN;
    case OPTION_COLOR:
        return parse_color(o, optarg);
    case OPTION_LIST_PASSES:
        pipeline_list(stdout);
        return OPTIONS_DONE;
    case OPTION_LIST_OPS:
        list_ops();
        return OPTIONS_DONE;
    case 'h':
        return show(help_text);
    case OPTION_USAGE:
        return show(usage_text);
    case OPTION_VERSION:
        return show("ninc " NINC_VERSION "\n");
    case ':':
        return usage_error("the option '%s' needs a value", argv[optind - 1]);
    default:
        if (optopt > OPTION_EMIT)
            return usage_error("the option '%s' takes no value", argv[optind - 1]);
        return unknown_option(o, argv);
    }
}

static bool wrong_precision(const Options *o)
{
    bool wrong = o->pipeline.precision == PRECISION_TF32 && !o->pipeline.wanted[TARGET_CUDA];

    if (wrong)
        fprintf(stderr, "ninc: a CPU has no tf32; give --precision=fp32 or bf16\n");
    return wrong;
}

static bool is_compiler_command(const char *word)
{
    return strcmp(word, "compile") == 0 || strcmp(word, "build") == 0 || strcmp(word, "help") == 0;
}

OptionsResult options_parse(Options *o, Pool *pool, int argc, char **argv)
{
    int option;

    *o = (Options){.pool = pool, .pipeline = {.level = 2}};
    o->pipeline.wanted[TARGET_CPU] = o->pipeline.wanted[TARGET_CUDA] = true;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":o:O:vqh", long_options, NULL)) != -1) {
        OptionsResult result = parse_one(o, option, argv);

        if (result != OPTIONS_RUN)
            return result;
    }
    if (optind == argc)
        return usage_error("name a model file");
    if (access(argv[optind], F_OK) != 0 && is_trainer_command(argv[optind]))
        return answered_error("'%s' is a command of the trainer, which ninc makes of a model: ninc "
                              "MODEL.yaml, then MODEL_kernels/trainer %s", argv[optind],
                              argv[optind]);
    if (access(argv[optind], F_OK) != 0 && is_compiler_command(argv[optind]))
        return answered_error("ninc has no commands; it compiles a model: ninc %s",
                              argv[optind + 1] ? argv[optind + 1] : "MODEL.yaml");
    if (optind + 1 < argc)
        return usage_error("one model file at a time; '%s' is one too many", argv[optind + 1]);
    if (o->verbose && o->quiet)
        return usage_error("--verbose and --quiet contradict each other");
    if (o->pipeline.dump_dir && !o->pipeline.dump)
        return usage_error("--dump-dir needs --dump, which says what to put there");
    if (o->check && o->emit != EMIT_ARTEFACTS)
        return usage_error("--check and --emit contradict each other: --check writes nothing");
    if (o->check && o->output)
        return usage_error("--check and --output contradict each other: --check writes nothing");
    if (o->emit == EMIT_C && !o->pipeline.wanted[TARGET_CPU])
        return usage_error("--emit=c prints the CPU's kernels, which --target=cuda leaves out");
    if (o->emit == EMIT_CUDA && !o->pipeline.wanted[TARGET_CUDA])
        return usage_error("--emit=cuda prints the GPU's kernels, which --target=cpu leaves out");
    if (o->cubins && !o->pipeline.wanted[TARGET_CUDA])
        return usage_error("--cubin compiles the GPU's kernels, which --target=cpu leaves out");
    if (o->levels && !o->pipeline.wanted[TARGET_CPU])
        return usage_error("--cpu-levels is of the CPU's kernels, which --target=cuda leaves out");
    if (!o->levels)
        o->levels = ALL_CPU_LEVELS;
    o->input = argv[optind];
    return wrong_precision(o) ? OPTIONS_WRONG : OPTIONS_RUN;
}

/* The command line of ninc. */
#include "frontend.h"

#include <getopt.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

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

static OptionsResult parse_output(Options *o, const char *value)
{
    o->output = value;
    return *value ? OPTIONS_RUN : usage_error("--output needs a name");
}

static OptionsResult parse_cubin(Options *o, const char *value)
{
    o->cubins = value;
    return *value ? OPTIONS_RUN : usage_error("--cubin needs an architecture, as sm_90a");
}

static OptionsResult parse_set(Options *o, const char *value)
{
    return add_set(o, value, pool_format(o->pool, "--set=%s", value));
}

static OptionsResult parse_dump(Options *o, const char *value)
{
    o->pipeline.dump = add_to_list(o->pool, o->pipeline.dump, value);
    return OPTIONS_RUN;
}

static OptionsResult parse_dump_dir(Options *o, const char *value)
{
    o->pipeline.dump_dir = value;
    return OPTIONS_RUN;
}

static OptionsResult parse_disable_pass(Options *o, const char *value)
{
    o->pipeline.disable = add_to_list(o->pool, o->pipeline.disable, value);
    return OPTIONS_RUN;
}

/* ---- options that are answered at once ---- */

static OptionsResult list_passes(Options *o, const char *value)
{
    (void)o, (void)value;
    pipeline_list(stdout);
    return OPTIONS_DONE;
}

static OptionsResult list_ops(Options *o, const char *value)
{
    (void)o, (void)value;
    for (int op = 0; op < OP_COUNT; op++) {
        int low = op_min_operands((Op)op), high = op_max_operands((Op)op);
        char operands[32];

        snprintf(operands, sizeof operands, low == high ? "%d" : "%d to %d", low, high);
        printf("%-20s %-7s %s\n", op_name((Op)op), operands, op_what((Op)op));
    }
    return OPTIONS_DONE;
}

static OptionsResult print_version(Options *o, const char *value)
{
    (void)o, (void)value;
    fputs("ninc " NINC_VERSION "\n", stdout);
    return OPTIONS_DONE;
}

static OptionsResult print_help(Options *o, const char *value);
static OptionsResult print_usage(Options *o, const char *value);

/* ---- the table ---- */

/* What an option takes, how --help and --usage show it, and what it does: calls `parse`, or sets
 * the bool at `flag`; `given`: also set where it is not 0. */
typedef struct Option {
    const char *name; /* NULL: only the letter */
    char letter;      /* 0: none */
    const char *argument;
    const char *usage; /* in --usage, where it is not the letter or the name with its argument */
    const char *help;
    OptionsResult (*parse)(Options *o, const char *value);
    size_t flag, given;
    bool ends_group; /* a blank line follows in --help */
} Option;

#define AT(member) offsetof(Options, member)

static const Option table[] = {
    {"output", 'o', "DIR", "-o DIR", "directory of the artefacts, default MODEL_kernels",
     parse_output, 0, 0, false},
    {"emit", 0, "KIND", NULL, "print ir, dot, c, cuda, plan, summary; make a library", parse_emit,
     0, 0, false},
    {"target", 0, "TARGET", "--target=cpu|cuda|all",
     "which code the trainer has: cpu, cuda, or both: all", parse_target, 0, AT(target_given),
     false},
    {"precision", 0, "TYPE", "--precision=fp32|tf32|bf16",
     "of convolutions: fp32, the default, tf32 or bf16", parse_precision, 0, AT(precision_given),
     false},
    {"cubin", 0, "sm_XX,...", NULL, "compile the GPU's kernels now, for these GPUs", parse_cubin,
     0, 0, false},
    {"cpu-levels", 0, "LEVEL,...", NULL, "instruction sets to compile for, default all",
     parse_cpu_levels, 0, 0, false},
    {"batch", 0, "N", NULL, "overrides the model's batch size", parse_batch, 0, 0, false},
    {"set", 0, "KEY=VALUE", NULL, "overrides one value of the model file", parse_set, 0, 0, false},
    {NULL, 'O', "0, -O1, -O2", "-O0|-O1|-O2",
     "optimisation level, default -O2; -O0: a kernel an op", parse_level, 0, AT(level_given), true},
    {"dump", 0, "PASS,...", "--dump=PASS[,PASS]|all",
     "print the IR after these passes, or after all", parse_dump, 0, 0, false},
    {"dump-dir", 0, "DIR", NULL, "write the dumps as numbered files instead", parse_dump_dir, 0, 0,
     false},
    {"disable-pass", 0, "PASS", NULL, "leave optional passes out", parse_disable_pass, 0, 0, false},
    {"time-passes", 0, NULL, NULL, "print the seconds that each pass takes", NULL,
     AT(pipeline.time), 0, false},
    {"memory-report", 0, NULL, NULL, "print what memory the programs need, and for what", NULL,
     AT(memory_report), 0, false},
    {"list-passes", 0, NULL, NULL, "print the passes and what they do", list_passes, 0, 0, false},
    {"list-ops", 0, NULL, NULL, "print the ops of the IR", list_ops, 0, 0, false},
    {"check", 0, NULL, NULL, "check the model, print what is asked for, and stop", NULL, AT(check),
     0, true},
    {"verbose", 'v', NULL, "-v", "say more", NULL, AT(verbose), 0, false},
    {"quiet", 'q', NULL, "-q", "print errors only", NULL, AT(quiet), 0, false},
    {"color", 0, "WHEN", NULL, "of messages: auto, always or never", parse_color, 0, 0, false},
    {"help", 'h', NULL, "-h] [--help", "print this", print_help, 0, 0, false},
    {"usage", 0, NULL, NULL, "print all options in short", print_usage, 0, 0, false},
    {"version", 0, NULL, NULL, "print the version", print_version, 0, 0, true},
};

enum { OPTION_COUNT = sizeof table / sizeof *table, FIRST_LONG = 256 };

/* What getopt returns for an option, and shows as optopt. */
static int value_of(int i)
{
    return table[i].letter ? table[i].letter : FIRST_LONG + i;
}

/* `-o, --output=DIR         directory ...`: of at most 80 columns. */
static OptionsResult print_help(Options *o, const char *value)
{
    (void)o, (void)value;
    fputs("Usage: ninc [options] MODEL.yaml|GRAPH.ir|-\n"
          "Compiles the description of an image classifier into a program that trains it.\n\n",
          stdout);
    for (const Option *p = table; p < table + OPTION_COUNT; p++) {
        char form[64];
        const char *argument = p->argument ? p->argument : "";

        if (p->name && p->letter)
            snprintf(form, sizeof form, "-%c, --%s%s%s", p->letter, p->name, *argument ? "=" : "",
                     argument);
        else if (p->name)
            snprintf(form, sizeof form, "    --%s%s%s", p->name, *argument ? "=" : "", argument);
        else
            snprintf(form, sizeof form, "-%c%s", p->letter, argument);
        printf("  %-23s  %s\n%s", form, p->help, p->ends_group ? "\n" : "");
    }
    fputs("Examples:\n"
          "  ninc models/nin.yaml -o nin_kernels && nin_kernels/trainer train\n"
          "  ninc --emit=summary --batch=64 --set train.epochs=1 models/nin.yaml\n"
          "More: man ninc, man ninc-model, man ninc-trainer.\n",
          stdout);
    return OPTIONS_DONE;
}

static OptionsResult print_usage(Options *o, const char *value)
{
    enum { COLUMNS = 80, INDENT = 12 };
    int column = printf("Usage: ninc");

    (void)o, (void)value;
    for (const Option *p = table; p < table + OPTION_COUNT; p++) {
        char form[64];

        if (p->usage)
            snprintf(form, sizeof form, "[%s]", p->usage);
        else
            snprintf(form, sizeof form, "[--%s%s%s]", p->name, p->argument ? "=" : "",
                     p->argument ? p->argument : "");
        if (column + 1 + (int)strlen(form) >= COLUMNS)
            column = printf("\n%*s", INDENT - 1, "") - 1;
        column += printf(" %s", form);
    }
    printf("\n%*sMODEL.yaml|GRAPH.ir|-\n", INDENT, "");
    return OPTIONS_DONE;
}

/* ---- the command line ---- */

/* The table as getopt has it; returns how many there are. */
static int long_options(struct option *list)
{
    int count = 0;

    for (int i = 0; i < OPTION_COUNT; i++)
        if (table[i].name)
            list[count++] = (struct option){
                table[i].name, table[i].argument ? required_argument : no_argument, NULL,
                value_of(i)};
    list[count] = (struct option){0};
    return count;
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
    struct option list[OPTION_COUNT + 1];
    const int count = long_options(list);

    word = pool_format(o->pool, "%.*s", (int)strcspn(word, "="), word);
    text = pool_format(o->pool, "%.*s", (int)strcspn(text, "="), text);
    near = nearest_word(word, list, count, sizeof *list);
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
    if (option == ':')
        return usage_error("the option '%s' needs a value", argv[optind - 1]);
    if (option == '?' && optopt >= FIRST_LONG)
        return usage_error("the option '%s' takes no value", argv[optind - 1]);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const Option *p = &table[i];

        if (value_of(i) != option)
            continue;
        if (p->given)
            *(bool *)((char *)o + p->given) = true;
        if (p->parse)
            return p->parse(o, optarg);
        *(bool *)((char *)o + p->flag) = true;
        return OPTIONS_RUN;
    }
    return unknown_option(o, argv);
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

/* What stands where the model file should. */
static OptionsResult check_file(const Options *o, char **argv)
{
    const char *file = argv[optind];

    if (!file)
        return usage_error("name a model file");
    if (access(file, F_OK) != 0 && is_trainer_command(file))
        return answered_error("'%s' is a command of the trainer, which ninc makes of a model: ninc "
                              "MODEL.yaml, then MODEL_kernels/trainer %s", file, file);
    if (access(file, F_OK) != 0 && is_compiler_command(file))
        return answered_error("ninc has no commands; it compiles a model: ninc %s",
                              argv[optind + 1] ? argv[optind + 1] : "MODEL.yaml");
    if (argv[optind + 1] && (!o->check || o->pipeline.dump))
        return usage_error("one model file at a time; '%s' is one too many", argv[optind + 1]);
    return OPTIONS_RUN;
}

/* Options that do not go together. */
static OptionsResult check_together(const Options *o)
{
    const bool *wanted = o->pipeline.wanted;
    const struct {
        bool wrong;
        const char *message;
    } rule[] = {
        {o->verbose && o->quiet, "--verbose and --quiet contradict each other"},
        {o->pipeline.dump_dir && !o->pipeline.dump,
         "--dump-dir needs --dump, which says what to put there"},
        {o->check && o->emit != EMIT_ARTEFACTS,
         "--check and --emit contradict each other: --check writes nothing"},
        {o->check && o->output,
         "--check and --output contradict each other: --check writes nothing"},
        {o->emit == EMIT_C && !wanted[TARGET_CPU],
         "--emit=c prints the CPU's kernels, which --target=cuda leaves out"},
        {o->emit == EMIT_CUDA && !wanted[TARGET_CUDA],
         "--emit=cuda prints the GPU's kernels, which --target=cpu leaves out"},
        {o->cubins && !wanted[TARGET_CUDA],
         "--cubin compiles the GPU's kernels, which --target=cpu leaves out"},
        {o->levels && !wanted[TARGET_CPU],
         "--cpu-levels is of the CPU's kernels, which --target=cuda leaves out"},
    };

    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++)
        if (rule[i].wrong)
            return usage_error("%s", rule[i].message);
    return OPTIONS_RUN;
}

OptionsResult options_parse(Options *o, Pool *pool, int argc, char **argv)
{
    struct option list[OPTION_COUNT + 1];
    OptionsResult result = OPTIONS_RUN;
    int option;

    *o = (Options){.pool = pool, .pipeline = {.level = 2}};
    o->pipeline.wanted[TARGET_CPU] = o->pipeline.wanted[TARGET_CUDA] = true;
    opterr = 0;
    long_options(list);
    while (result == OPTIONS_RUN &&
           (option = getopt_long(argc, argv, ":o:O:vqh", list, NULL)) != -1)
        result = parse_one(o, option, argv);
    if (result == OPTIONS_RUN)
        result = check_file(o, argv);
    if (result == OPTIONS_RUN)
        result = check_together(o);
    if (result != OPTIONS_RUN)
        return result;
    if (!o->levels)
        o->levels = ALL_CPU_LEVELS;
    o->inputs = argv + optind;
    return wrong_precision(o) ? OPTIONS_WRONG : OPTIONS_RUN;
}

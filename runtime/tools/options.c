/* The command line of the trainer. A flag is one line of a table: what it is called, what it takes,
 * which commands know it, where its value goes, and what --help says of it. */
#include "../../ir/numbers.h"
#include "tools.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COUNT = 1000000000, HELP_COLUMN = 24 };

#define TRAIN COMMAND_TRAIN
#define EVAL COMMAND_EVAL
#define PREDICT COMMAND_PREDICT
#define VERIFY COMMAND_VERIFY
#define PROFILE COMMAND_PROFILE
#define INFO COMMAND_INFO
#define EXPORT COMMAND_EXPORT
/* Those that open a device. */
#define ON_DEVICE (COMMAND_ANY & ~COMMAND_EXPORT)
/* Those that follow on training. */
#define SHOWN (EVAL | PREDICT)

/* What a flag takes, and the type of what it fills: nothing (bool), the name of a file or directory
 * (const char *), that of a file to write, a word, a whole number (int, int64_t, uint64_t), a
 * number of at least 0 (double), a device. */
typedef enum Kind {
    KIND_SWITCH,
    KIND_PATH,
    KIND_OUTPUT,
    KIND_TEXT,
    KIND_COUNT,
    KIND_LONG,
    KIND_SEED,
    KIND_RATE,
    KIND_DEVICE
} Kind;

typedef struct Flag {
    const char *name, *value; /* the value's name in --help; NULL: it takes none */
    Kind kind;
    int commands; /* bits of Command */
    size_t place; /* in Options */
    int64_t lowest, highest;
    const char *help; /* at most 80 - HELP_COLUMN letters: --help has a line a flag */
} Flag;

#define AT(field) offsetof(Options, field)

static const Flag flags[] = {
    {"data", "DIR", KIND_PATH, TRAIN | EVAL | PREDICT, AT(train.data), 0, 0,
     "the data set's directory, or 'random' images"},
    {"weights", "FILE", KIND_PATH, EVAL | PREDICT | EXPORT, AT(weights), 0, 0,
     "the parameters: .safetensors, a directory of checkpoints"},
    {"onnx", "FILE", KIND_OUTPUT, EXPORT, AT(onnx), 0, 0, "write the ONNX model there"},
    {"preprocessing", NULL, KIND_SWITCH, EXPORT, AT(preprocessing), 0, 0,
     "it takes the data set's bytes, resizes, normalises them"},
    {"epochs", "N", KIND_COUNT, TRAIN, AT(train.epochs), 0, MAX_COUNT,
     "passes over the training images; the model's by default"},
    {"max-steps", "N", KIND_LONG, TRAIN, AT(train.max_steps), 0, INT64_MAX,
     "stop after step N of the whole run"},
    {"lr", "X", KIND_RATE, TRAIN, AT(train.lr), 0, 0, "learning rate; the model's by default"},
    {"init", "FILE", KIND_PATH, TRAIN, AT(train.init), 0, 0,
     "start from these parameters: .safetensors, checkpoints"},
    {"init-partial", "FILE", KIND_PATH, TRAIN, AT(train.init_partial), 0, 0,
     "the same, but take only what fits, and say what does"},
    {"save", "FILE", KIND_OUTPUT, TRAIN, AT(train.save), 0, 0,
     "write the parameters there; MODEL.safetensors by default"},
    {"no-save", NULL, KIND_SWITCH, TRAIN, AT(train.no_save), 0, 0,
     "do not write them, where no --save says so"},
    {"no-shuffle", NULL, KIND_SWITCH, TRAIN, AT(train.no_shuffle), 0, 0,
     "take the training images in the order of the file"},
    {"no-eval", NULL, KIND_SWITCH, TRAIN, AT(train.no_eval), 0, 0,
     "leave out the test images after each epoch"},
    {"checkpoint-dir", "DIR", KIND_PATH, TRAIN, AT(train.checkpoint_dir), 0, 0,
     "write checkpoints there: step-N, latest and best"},
    {"checkpoint-every", "N", KIND_COUNT, TRAIN, AT(train.checkpoint_every), 1, MAX_COUNT,
     "steps between checkpoints; the model's by default"},
    {"keep", "N", KIND_COUNT, TRAIN, AT(train.keep), 1, MAX_COUNT,
     "remove checkpoints but the N newest, latest and best"},
    {"resume", "DIR", KIND_PATH, TRAIN, AT(train.resume), 0, 0,
     "go on from DIR's latest checkpoint, or a step-N in it"},
    {"log", "FILE", KIND_OUTPUT, TRAIN, AT(train.log), 0, 0, "write JSON lines there"},
    {"csv", "FILE", KIND_OUTPUT, TRAIN, AT(train.csv), 0, 0, "write the same as CSV there"},
    {"tensorboard", "DIR", KIND_PATH, TRAIN, AT(train.tensorboard), 0, 0,
     "write TensorBoard's event files there"},
    {"log-every", "N", KIND_COUNT, TRAIN, AT(train.log_every), 1, MAX_COUNT,
     "steps between log lines; the model's by default"},
    {"no-progress", NULL, KIND_SWITCH, TRAIN, AT(train.no_progress), 0, 0,
     "no progress bar on a terminal"},
    {"full", NULL, KIND_SWITCH, VERIFY, AT(full), 0, 0,
     "all images of a chunk instead of 2, and a whole step"},
    {"kernel", "NAME", KIND_TEXT, VERIFY, AT(kernel), 0, 0,
     "this kernel only, or train_step, eval_step"},
    {"list", NULL, KIND_SWITCH, VERIFY, AT(list), 0, 0, "print what --kernel takes, and end"},
    {"eval", NULL, KIND_SWITCH, PROFILE, AT(eval), 0, 0,
     "the forward pass alone, not a training step"},
    {"repeats", "N", KIND_COUNT, PROFILE, AT(repeats), 1, MAX_COUNT,
     "measurements, of which the median counts"},
    {"classes", "FILE", KIND_PATH, EVAL | PREDICT, AT(classes), 0, 0,
     "the classes' names, one a line"},
    {"json", "FILE", KIND_PATH, PROFILE | EVAL | PREDICT, AT(json), 0, 0,
     "write the result there; eval, predict: '-' prints it"},
    {"top", "K", KIND_COUNT, PREDICT, AT(top), 1, MAX_COUNT, "classes an image, default 5"},
    {"invert", NULL, KIND_SWITCH, PREDICT, AT(invert), 0, 0,
     "the images are negatives of the data set's"},
    {"heatmap", "OUT.png", KIND_OUTPUT, PREDICT, AT(heatmap), 0, 0,
     "draw where in one image the network sees the class"},
    {"class", "N", KIND_COUNT, PREDICT, AT(map_class), 0, MAX_COUNT,
     "what --heatmap shows; the most probable by default"},
    {"seed", "N", KIND_SEED, TRAIN | EVAL | VERIFY | PROFILE, AT(train.seed), 0, 0,
     "of all random numbers, default 1"},
    {"device", "DEVICE", KIND_DEVICE, ON_DEVICE, 0, 0, 0,
     "where it runs: auto, cpu, cuda, cuda:N or sim"},
    {"threads", "N", KIND_COUNT, ON_DEVICE, AT(train.device.threads), 1, MAX_THREADS,
     "threads of the CPU; what quota and mask allow by default"},
    {"verbose", NULL, KIND_SWITCH, ON_DEVICE, AT(train.device.verbose), 0, 0,
     "say what was tried to find a GPU"},
    {"help", NULL, KIND_SWITCH, COMMAND_ANY, 0, 0, 0, "print this"},
};

enum { FLAGS = sizeof flags / sizeof *flags };

/* Short names, of switches. */
static const struct Letter {
    char letter;
    const char *name;
} letters[] = {
    {'h', "help"},
    {'v', "verbose"},
};

enum { LETTERS = sizeof letters / sizeof *letters };

/* '\0': the flag has none. */
static char flag_letter(const char *name)
{
    for (int i = 0; i < LETTERS; i++)
        if (strcmp(letters[i].name, name) == 0)
            return letters[i].letter;
    return '\0';
}

static const Flag *find_flag(const char *name)
{
    for (int i = 0; i < FLAGS; i++)
        if (strcmp(flags[i].name, name) == 0)
            return &flags[i];
    return NULL;
}

static const Flag *letter_flag(int letter)
{
    for (int i = 0; i < LETTERS; i++)
        if (letters[i].letter == letter)
            return find_flag(letters[i].name);
    return NULL;
}

typedef struct CommandInfo {
    const char *name;
    Command command;
    const char *arguments; /* in --help; NULL: it takes none */
    const char *what, *example;
    const char *more; /* lines for its --help; NULL: none */
} CommandInfo;

static const CommandInfo commands[] = {
    {"train", TRAIN, NULL, "train the model", "trainer train --epochs 3 --save model.safetensors",
     NULL},
    {"eval", EVAL, NULL, "loss, accuracy and confusion of classes on the test images",
     "trainer eval --weights model.safetensors", NULL},
    {"predict", PREDICT, "IMAGE|DIRECTORY|@LIST...", "the classes of images",
     "trainer predict --weights model.safetensors photo.jpeg",
     "IMAGE is PNG, JPEG, PGM or PPM, '-' standard input; of a DIRECTORY the images\n"
     "in it are taken, of @LIST those that the text LIST names, one a line.\n"
     "An image is turned as its Exif data say, scaled, all of it, to the size of the\n"
     "data set's images, and gets their channels: gray, RGB, either with alpha."},
    {"verify", VERIFY, NULL, "compare every kernel with the naive evaluator",
     "trainer verify --device cuda", NULL},
    {"profile", PROFILE, NULL, "the time of each kernel, beside what the device can do",
     "trainer profile --threads 1", NULL},
    {"export", EXPORT, NULL, "write the forward pass for other software (ONNX)",
     "trainer export --weights model.safetensors --onnx model.onnx", NULL},
    {"info", INFO, NULL, "the model, its parameters, its memory plan, the devices", "trainer info",
     NULL},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

/* ---- help ---- */

static void print_flag(const Flag *f, FILE *out)
{
    char left[HELP_COLUMN * 2];
    char letter = flag_letter(f->name);
    if (letter)
        snprintf(left, sizeof left, "  -%c, --%s", letter, f->name);
    else
        snprintf(left, sizeof left, "  --%s%s%s", f->name, f->value ? "=" : "",
                 f->value ? f->value : "");
    fprintf(out, "%-*s%s\n", HELP_COLUMN, left, f->help);
}

static void print_command_help(const CommandInfo *c, FILE *out)
{
    fprintf(out, "usage: trainer %s [options]%s%s\n%s\n%s%s\n", c->name, c->arguments ? " " : "",
            c->arguments ? c->arguments : "", c->what, c->more ? c->more : "", c->more ? "\n" : "");
    for (int i = 0; i < FLAGS; i++)
        if (flags[i].commands & (int)c->command)
            print_flag(&flags[i], out);
    fprintf(out, "\nexample: %s\nmore: man ninc-trainer\n", c->example);
}

static void print_help(FILE *out)
{
    fputs("usage: trainer COMMAND [options]\n       trainer --version\n\ncommands:\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s%s\n", commands[i].name, commands[i].what);
    fputs("\n'trainer COMMAND --help' lists the options of a command.\n\nexamples:\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %s\n", commands[i].example);
}

static OptionsResult answered(void)
{
    if (fflush(stdout) == 0)
        return OPTIONS_DONE;
    fault("cannot write to standard output: %s", strerror(errno));
    return OPTIONS_WRONG;
}

/* ---- values ---- */

/* Says what is needed and, where the flag's help tells, what holds without it. */
static bool wrong_value(const Flag *f, const char *value, const char *wanted)
{
    static const char by_default[] = " by default";
    char text[80];
    const char *rest = strchr(f->help, ';'), *end = rest ? strstr(rest, by_default) : NULL;
    printable(value, text, sizeof text);
    if (end && end[sizeof by_default - 1] == '\0')
        fault("--%s %s: %s is needed; without the flag it is %.*s", f->name, text, wanted,
              (int)(end - rest) - 2, rest + 2);
    else
        fault("--%s %s: %s is needed", f->name, text, wanted);
    return false;
}

static bool read_integer(const Flag *f, const char *value, int64_t *out)
{
    char *end, wanted[80];
    errno = 0;
    long long n = strtoll(value, &end, 10);
    snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)f->lowest,
             (long long)f->highest);
    if (errno || end == value || *end || n < f->lowest || n > f->highest)
        return wrong_value(f, value, wanted);
    *out = n;
    return true;
}

static bool read_seed(const Flag *f, const char *value, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (errno || end == value || *end || *value < '0' || *value > '9')
        return wrong_value(f, value, "a whole number from 0 to 2^64-1");
    *out = n;
    return true;
}

static bool read_rate(const Flag *f, const char *value, double *out)
{
    char *end;
    double x = strtod(value, &end);
    if (end == value || *end || !fits_float(x) || x < 0)
        return wrong_value(f, value, "0, or a number that a float can be: 1.2e-38 to 3.4e38");
    *out = x;
    return true;
}

/* Standard output holds what the trainer says: a file there is wished for by its full name only. */
static bool refuse_dash(const Flag *f)
{
    fault("--%s -: a file is needed; write /dev/stdout for standard output, ./- for a file of that "
          "name",
          f->name);
    return false;
}

/* Of eval and predict JSON stands in for their text; profile prints its table in any case. */
static bool takes_dash(const Options *o, const Flag *f)
{
    return f->kind != KIND_OUTPUT && !(f->place == AT(json) && o->command == PROFILE);
}

static bool read_path(const Options *o, const Flag *f, const char *value, const char **out)
{
    if (*value == '\0') {
        fault("--%s '': the value is empty, %s is needed", f->name, f->value);
        return false;
    }
    if (strcmp(value, "-") == 0 && !takes_dash(o, f))
        return refuse_dash(f);
    *out = value;
    return true;
}

static bool read_device(const Flag *f, const char *value, Options *o)
{
    static const char *const names[] = {"auto", "cpu", "cuda", "sim"};
    static const char wanted[] = "auto, cpu, cuda, cuda:N or sim";
    if (device_parse(value, &o->table, &o->train.device.ordinal))
        return true;
    bool gpu = strncmp(value, "gpu", 3) == 0 || strncmp(value, "nvidia", 6) == 0;
    const char *near = gpu ? "cuda" : nearest_word(value, names, 4, sizeof *names);
    char text[80];
    if (!near)
        return wrong_value(f, value, wanted);
    fault("--device %s: %s is needed; did you mean '%s'?", printable(value, text, sizeof text),
          wanted, near);
    return false;
}

static bool set_flag(Options *o, const Flag *f, const char *value)
{
    void *place = (char *)o + f->place;
    int64_t n = 0;
    switch (f->kind) {
    case KIND_SWITCH: *(bool *)place = true; return true;
    case KIND_PATH:
    case KIND_OUTPUT: return read_path(o, f, value, place);
    case KIND_TEXT: *(const char **)place = value; return true;
    case KIND_LONG: return read_integer(f, value, place);
    case KIND_SEED: o->train.seed_given = true; return read_seed(f, value, place);
    case KIND_RATE: return read_rate(f, value, place);
    case KIND_DEVICE: return read_device(f, value, o);
    case KIND_COUNT: break;
    }
    if (!read_integer(f, value, &n))
        return false;
    *(int *)place = (int)n;
    return true;
}

/* ---- the line that goes on with a run ---- */

/* Flags that the checkpoint stands for. */
static bool is_resumed(const Flag *f)
{
    return f->place == AT(train.init) || f->place == AT(train.init_partial) ||
           f->place == AT(train.resume) || f->place == AT(train.checkpoint_dir);
}

static void append_flag(Text *out, const Flag *f, const char *value)
{
    char name[80];
    snprintf(name, sizeof name, "--%s", f->name);
    text_append_shell_word(out, name);
    if (value)
        text_append_shell_word(out, value);
}

/* ---- the line ---- */

/* A flag of other commands: what it would be here or, where that is not known, whose it is. */
static OptionsResult flag_of_others(const Options *o, const Flag *f, const CommandInfo *c)
{
    const char *advice = flag_advice(f->name, c->command);
    char list[160] = "";
    size_t used = 0;
    for (int i = 0; i < COMMANDS && used < sizeof list; i++)
        if (f->commands & (int)commands[i].command)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     commands[i].name);
    if (advice)
        fault("--%s does not belong to '%s'; %s", f->name, c->name, advice);
    else
        fault("--%s does not belong to '%s', but to %s; try: %s", f->name, c->name, list,
              o->help.data);
    return OPTIONS_WRONG;
}

/* The nearest flag that the command has or, with `others`, has not. */
static const char *nearest_flag(const char *word, int command, bool others)
{
    const char *names[FLAGS];
    int count = 0;
    for (int i = 0; i < FLAGS; i++)
        if (!(flags[i].commands & command) == others)
            names[count++] = flags[i].name;
    return nearest_word(word, names, count, sizeof *names);
}

/* Getopt takes the beginning of a name; one that several flags of any command share is none. */
static bool is_ambiguous(const char *word)
{
    int count = 0;
    for (int i = 0; i < FLAGS; i++)
        count += strncmp(flags[i].name, word, strlen(word)) == 0;
    return *word && count > 1;
}

/* The number that a flag was given, 32 of --batch=32 and --batch 32; NULL: none. */
static const char *number_of(const char *text, char **argv)
{
    const char *next = argv[optind] == text ? argv[optind + 1] : argv[optind];
    const char *equals = strchr(text, '='), *value = equals ? equals + 1 : next;
    return value && *value && value[strspn(value, "0123456789")] == '\0' ? value : NULL;
}

/* With the number for the advice's N. */
static void print_advice(const char *flag, const char *advice, const char *number)
{
    const char *gap = number ? strstr(advice, "=N ") : NULL;
    if (gap)
        fault("%s: no such flag; %.*s=%s%s", flag, (int)(gap - advice), advice, number, gap + 2);
    else
        fault("%s: no such flag; %s", flag, advice);
}

static OptionsResult unknown_flag(const Options *o, const CommandInfo *c, const char *text,
                                  char **argv)
{
    char shown[80], word[80];
    snprintf(word, sizeof word, "%s", text + strspn(text, "-"));
    word[strcspn(word, "=")] = '\0';
    printable(text, shown, sizeof shown);
    shown[strcspn(shown, "=")] = '\0';
    const char *near = nearest_flag(word, (int)c->command, false);
    const char *advice = flag_advice(word, c->command);
    if (!advice && !near)
        advice = near_flag_advice(word, c->command);
    const char *other = near || advice ? NULL : nearest_flag(word, (int)c->command, true);
    if (advice)
        print_advice(shown, advice, number_of(text, argv));
    else if (is_ambiguous(word))
        fault("%s: no such flag; several names begin so; try: %s", shown, o->help.data);
    else if (near)
        fault("%s: no such flag; did you mean '--%s'?", shown, near);
    else if (other)
        return flag_of_others(o, find_flag(other), c);
    else
        fault("%s: no such flag; try: %s", shown, o->help.data);
    return OPTIONS_WRONG;
}

static OptionsResult missing_value(const Options *o, const char *text)
{
    const char *name = text + strspn(text, "-");
    for (int i = 0; i < FLAGS; i++)
        if (strncmp(flags[i].name, name, strlen(name)) == 0) {
            fault("--%s: a value is missing: --%s=%s; try: %s", flags[i].name, flags[i].name,
                  flags[i].value ? flags[i].value : "", o->help.data);
            break;
        }
    return OPTIONS_WRONG;
}

/* What getopt could not take: of letters that stand together it has not gone on yet. */
static OptionsResult wrong_flag(const Options *o, const CommandInfo *c, int number, char **argv)
{
    const char *text = argv[optind - 1];
    if (number == ':')
        return missing_value(o, text);
    if (optopt > FLAGS) { /* a letter, as all that getopt has of it */
        if (text[0] != '-' || text[1] == '-' || !strchr(text, optopt))
            text = argv[optind];
        return unknown_flag(o, c, text, argv);
    }
    if (optopt > 0) {
        fault("--%s takes no value; try: %s", flags[optopt - 1].name, o->help.data);
        return OPTIONS_WRONG;
    }
    return unknown_flag(o, c, text, argv);
}

_Static_assert((int)FLAGS < 'A', "letters and numbers of flags differ");

/* The table in getopt's form: a flag's number is its index + 1. */
static void fill_options(struct option *out, char *short_options)
{
    *short_options++ = ':';
    for (int i = 0; i < LETTERS; i++)
        *short_options++ = letters[i].letter;
    *short_options = '\0';
    for (int i = 0; i < FLAGS; i++)
        out[i] = (struct option){flags[i].name, flags[i].value ? required_argument : no_argument,
                                 NULL, i + 1};
    out[FLAGS] = (struct option){0};
}

static OptionsResult parse_flags(Options *o, const CommandInfo *c, int argc, char **argv)
{
    struct option options[FLAGS + 1];
    char short_options[LETTERS + 2];
    int number;
    fill_options(options, short_options);
    opterr = 0;
    while ((number = getopt_long(argc, argv, short_options, options, NULL)) != -1) {
        if (number == '?' || number == ':')
            return wrong_flag(o, c, number, argv);
        const Flag *f = number > FLAGS ? letter_flag(number) : &flags[number - 1];
        if (!(f->commands & (int)c->command))
            return flag_of_others(o, f, c);
        if (strcmp(f->name, "help") == 0) {
            print_command_help(c, stdout);
            return answered();
        }
        if (!set_flag(o, f, optarg))
            return OPTIONS_WRONG;
        if (!is_resumed(f))
            append_flag(&o->line, f, f->value ? optarg : NULL);
        if ((f->commands & SHOWN) == SHOWN)
            append_flag(&o->shared, f, f->value ? optarg : NULL);
    }
    o->train.command = o->line.data;
    o->train.program = o->program.data;
    o->train.shared = o->shared.data;
    return OPTIONS_RUN;
}

/* What one flag demands of the others. */
static OptionsResult check_flags(const Options *o, const CommandInfo *c)
{
    char text[80];
    if (o->arguments > 0 && !c->arguments)
        fault("'%s' takes no argument '%s'; try: %s", c->name,
              printable(o->argument[0], text, sizeof text), o->help.data);
    else if (o->train.checkpoint_every >= 0 && !o->train.checkpoint_dir && !o->train.resume)
        fault("--checkpoint-every needs --checkpoint-dir DIR to write into");
    else if (o->train.keep > 0 && !o->train.checkpoint_dir && !o->train.resume)
        fault("--keep needs --checkpoint-dir DIR, whose checkpoints it removes");
    else if (o->train.save && o->train.no_save)
        fault("--save and --no-save contradict each other; give one of them");
    else if (o->train.init && o->train.init_partial)
        fault("--init and --init-partial contradict each other; give one of them");
    else if (o->train.resume && (o->train.init || o->train.init_partial))
        fault("--%s %s contradicts --resume %s, which takes the checkpoint's parameters; give one "
              "of them",
              o->train.init ? "init" : "init-partial",
              o->train.init ? o->train.init : o->train.init_partial, o->train.resume);
    else if ((o->command & (EVAL | PREDICT | EXPORT)) && !o->weights)
        fault("%s needs --weights FILE; 'trainer train' writes one, %s.safetensors", c->name,
              ninc_model.name);
    else if (o->command == PREDICT && o->arguments == 0)
        fault("predict needs an image; try: %s", o->help.data);
    else if (o->heatmap && o->arguments > 1)
        fault("--heatmap is of one image; %d are given", o->arguments);
    else if (o->map_class >= 0 && !o->heatmap)
        fault("--class needs --heatmap OUT.png, which shows it");
    else if (o->command == EXPORT && !o->onnx)
        fault("export needs --onnx FILE to write to");
    else
        return OPTIONS_RUN;
    return OPTIONS_WRONG;
}

static const CommandInfo *find_command(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* A command line that begins with a flag of some command, or with a file. */
static const char *command_for(const char *word)
{
    char name[80];
    snprintf(name, sizeof name, "%s", word + strspn(word, "-"));
    name[strcspn(name, "=")] = '\0';
    const Flag *f = *word == '-' ? find_flag(name) : NULL;
    for (int i = 0; f && i < COMMANDS; i++)
        if (f->commands & (int)commands[i].command)
            return commands[i].name;
    return ends_with(word, ".png") || ends_with(word, ".jpg") || ends_with(word, ".jpeg")
               ? "predict"
               : NULL;
}

static OptionsResult no_command(const Options *o, const char *word)
{
    char text[80];
    const char *near = nearest_word(word, commands, COMMANDS, sizeof *commands);
    const char *advice = command_advice(word), *first = command_for(word);
    printable(word, text, sizeof text);
    if (near)
        fault("no command '%s'; did you mean '%s'?", text, near);
    else if (advice)
        fault("no command '%s'; %s", text, advice);
    else if (first)
        fault("'%s' needs a command before it; try: trainer %s %s ...", text, first, text);
    else if (ends_with(word, ".yaml") || ends_with(word, ".yml") || ends_with(word, ".ir"))
        fault("no command '%s'; ninc compiles models, the trainer holds one", text);
    else
        fault("no command '%s'; try: %s", text, o->help.data);
    return OPTIONS_WRONG;
}

/* "trainer --help" or, of a command, "trainer COMMAND --help". */
static void set_help(Options *o, const char *program, const char *command)
{
    text_free(&o->help);
    text_append_shell_word(&o->help, program);
    text_append(&o->help, "%s%s --help", command ? " " : "", command ? command : "");
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static OptionsResult help(const char *command)
{
    const CommandInfo *c = command ? find_command(command) : NULL;
    if (c)
        print_command_help(c, stdout);
    else
        print_help(stdout);
    return answered();
}

OptionsResult options_parse(Options *o, int argc, char **argv)
{
    *o = (Options){.train = {.epochs = -1,
                             .max_steps = -1,
                             .lr = -1,
                             .checkpoint_every = -1,
                             .log_every = -1,
                             .seed = 1},
                   .top = 5,
                   .map_class = -1};
    if (argc < 2) {
        print_help(stderr);
        return OPTIONS_WRONG;
    }
    if (asks_for_help(argv[1]))
        return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(argv[1], "--version") == 0) {
        puts("trainer (ninc) " NINC_VERSION);
        return answered();
    }
    const CommandInfo *c = find_command(argv[1]);
    set_help(o, argv[0], c ? c->name : NULL);
    if (!c)
        return no_command(o, argv[1]);
    o->command = c->command;
    text_append_shell_word(&o->program, argv[0]);
    text_append_shell_word(&o->line, argv[0]);
    text_append_shell_word(&o->line, argv[1]);
    OptionsResult result = parse_flags(o, c, argc - 1, argv + 1);
    if (result != OPTIONS_RUN)
        return result;
    o->argument = argv + 1 + optind;
    o->arguments = argc - 1 - optind;
    return check_flags(o, c);
}

void options_free(Options *o)
{
    text_free(&o->line);
    text_free(&o->help);
    text_free(&o->program);
    text_free(&o->shared);
}

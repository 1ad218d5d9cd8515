/* The command line of the trainer. A flag is one line of a table: what it is called, what it takes,
 * which commands know it, where its value goes, and what --help says of it. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COUNT = 1000000000, MAX_THREADS = 1024, HELP_COLUMN = 24 };

#define TRAIN COMMAND_TRAIN
#define EVAL COMMAND_EVAL
#define PREDICT COMMAND_PREDICT
#define VERIFY COMMAND_VERIFY
#define PROFILE COMMAND_PROFILE
#define INFO COMMAND_INFO
#define EXPORT COMMAND_EXPORT
/* Those that open a device. */
#define ON_DEVICE (COMMAND_ANY & ~COMMAND_EXPORT)

/* What a flag takes, and the type of what it fills: nothing (bool), the name of a file or directory
 * (const char *), that of a file to write, a whole number (int, int64_t, uint64_t), a number of at
 * least 0 (double), a device. */
typedef enum Kind {
    KIND_SWITCH,
    KIND_PATH,
    KIND_OUTPUT,
    KIND_COUNT,
    KIND_LONG,
    KIND_SEED,
    KIND_RATE,
    KIND_DEVICE
} Kind;

typedef struct Flag {
    const char *name, *value; /* the value's name in --help; NULL: it takes none */
    Kind kind;
    int commands;  /* bits of Command */
    size_t place;  /* in Options */
    int64_t lowest, highest;
    const char *help; /* at most 80 - HELP_COLUMN letters: --help has a line a flag */
} Flag;

#define AT(field) offsetof(Options, field)

static const Flag flags[] = {
    {"data", "DIR", KIND_PATH, TRAIN | EVAL | PREDICT, AT(train.data), 0, 0,
     "the data set's directory, or 'random' images"},
    {"weights", "FILE", KIND_PATH, EVAL | PREDICT | EXPORT, AT(weights), 0, 0,
     "the parameters, .safetensors"},
    {"onnx", "FILE", KIND_OUTPUT, EXPORT, AT(onnx), 0, 0, "write the ONNX model there"},
    {"preprocessing", NULL, KIND_SWITCH, EXPORT, AT(preprocessing), 0, 0,
     "it takes the data set's bytes, resizes, normalises them"},
    {"epochs", "N", KIND_COUNT, TRAIN, AT(train.epochs), 0, MAX_COUNT,
     "passes over the training images; the model's by default"},
    {"max-steps", "N", KIND_LONG, TRAIN, AT(train.max_steps), 0, INT64_MAX,
     "stop after step N of the whole run"},
    {"lr", "X", KIND_RATE, TRAIN, AT(train.lr), 0, 0, "learning rate; the model's by default"},
    {"init", "FILE", KIND_PATH, TRAIN, AT(train.init), 0, 0,
     "start from these parameters, .safetensors"},
    {"init-partial", "FILE", KIND_PATH, TRAIN, AT(train.init_partial), 0, 0,
     "the same, but take only what fits, and say what does"},
    {"save", "FILE", KIND_OUTPUT, TRAIN, AT(train.save), 0, 0,
     "write the parameters there at the end, .safetensors"},
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
     "threads of the CPU; one a processor by default"},
    {"help", NULL, KIND_SWITCH, COMMAND_ANY, 0, 0, 0, "print this"},
};

enum { FLAGS = sizeof flags / sizeof *flags };

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
    {"info", INFO, NULL, "the model, its parameters, its memory plan, the devices",
     "trainer info", NULL},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

/* ---- help ---- */

static void print_flag(const Flag *f, FILE *out)
{
    char left[HELP_COLUMN * 2];
    snprintf(left, sizeof left, "  --%s%s%s", f->name, f->value ? "=" : "",
             f->value ? f->value : "");
    fprintf(out, "%-*s%s\n", HELP_COLUMN, left, f->help);
}

static void print_command_help(const CommandInfo *c, FILE *out)
{
    fprintf(out, "usage: trainer %s [options]%s%s\n%s\n%s%s\n", c->name, c->arguments ? " " : "",
            c->arguments ? c->arguments : "", c->what, c->more ? c->more : "",
            c->more ? "\n" : "");
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

static bool wrong_value(const Flag *f, const char *value, const char *wanted)
{
    char text[80];
    fault("--%s %s: %s is needed; try 'trainer --help'", f->name,
          printable(value, text, sizeof text), wanted);
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
    if (end == value || *end || !isfinite(x) || x < 0)
        return wrong_value(f, value, "a number of at least 0");
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
        fault("--%s '': the value is empty, %s is needed; try 'trainer --help'", f->name, f->value);
        return false;
    }
    if (strcmp(value, "-") == 0 && !takes_dash(o, f))
        return refuse_dash(f);
    *out = value;
    return true;
}

static bool read_device(const Flag *f, const char *value, Options *o)
{
    return device_parse(value, &o->table, &o->train.device.ordinal) ||
           wrong_value(f, value, "auto, cpu, cuda, cuda:N or sim");
}

static bool set_flag(Options *o, const Flag *f, const char *value)
{
    void *place = (char *)o + f->place;
    int64_t n = 0;
    switch (f->kind) {
    case KIND_SWITCH: *(bool *)place = true; return true;
    case KIND_PATH:
    case KIND_OUTPUT: return read_path(o, f, value, place);
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

static OptionsResult unknown_flag(const char *text, int why)
{
    char shown[80];
    fault("%s: %s; try 'trainer --help'", printable(text, shown, sizeof shown),
          why == ':' ? "a value is missing" : "no such flag, or not a full name");
    return OPTIONS_WRONG;
}

/* The table in getopt's form: a flag's number is its index + 1. */
static void fill_long_options(struct option *out)
{
    for (int i = 0; i < FLAGS; i++)
        out[i] = (struct option){flags[i].name, flags[i].value ? required_argument : no_argument,
                                 NULL, i + 1};
    out[FLAGS] = (struct option){0};
}

static OptionsResult parse_flags(Options *o, const CommandInfo *c, int argc, char **argv)
{
    struct option options[FLAGS + 1];
    int number;
    fill_long_options(options);
    opterr = 0;
    while ((number = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (number == '?' || number == ':')
            return unknown_flag(argv[optind - 1], number);
        const Flag *f = &flags[number - 1];
        if (!(f->commands & (int)c->command)) {
            fault("--%s does not belong to '%s'; try 'trainer %s --help'", f->name, c->name,
                  c->name);
            return OPTIONS_WRONG;
        }
        if (strcmp(f->name, "help") == 0) {
            print_command_help(c, stdout);
            return answered();
        }
        if (!set_flag(o, f, optarg))
            return OPTIONS_WRONG;
        if (!is_resumed(f))
            append_flag(&o->line, f, f->value ? optarg : NULL);
    }
    o->train.command = o->line.data;
    return OPTIONS_RUN;
}

/* What one flag demands of the others. */
static OptionsResult check_flags(const Options *o, const CommandInfo *c)
{
    char text[80];
    if (o->arguments > 0 && !c->arguments)
        fault("'%s' takes no argument '%s'; try 'trainer %s --help'", c->name,
              printable(o->argument[0], text, sizeof text), c->name);
    else if (o->train.checkpoint_every >= 0 && !o->train.checkpoint_dir && !o->train.resume)
        fault("--checkpoint-every needs --checkpoint-dir DIR to write into");
    else if (o->train.keep > 0 && !o->train.checkpoint_dir && !o->train.resume)
        fault("--keep needs --checkpoint-dir DIR, whose checkpoints it removes");
    else if (o->train.init && o->train.init_partial)
        fault("--init and --init-partial contradict each other; give one of them");
    else if (o->train.resume && (o->train.init || o->train.init_partial))
        fault("--%s %s contradicts --resume %s, which takes the checkpoint's parameters; give one "
              "of them",
              o->train.init ? "init" : "init-partial",
              o->train.init ? o->train.init : o->train.init_partial, o->train.resume);
    else if ((o->command & (EVAL | PREDICT | EXPORT)) && !o->weights)
        fault("%s needs --weights FILE.safetensors; 'trainer train --save FILE' writes one",
              c->name);
    else if (o->command == PREDICT && o->arguments == 0)
        fault("predict needs an image; try 'trainer predict --help'");
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

static OptionsResult no_command(const char *name)
{
    char text[80];
    fault("no command '%s'; try 'trainer --help'", printable(name, text, sizeof text));
    return OPTIONS_WRONG;
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
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return answered();
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("trainer (ninc) " NINC_VERSION);
        return answered();
    }
    const CommandInfo *c = find_command(argv[1]);
    if (!c)
        return no_command(argv[1]);
    o->command = c->command;
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
}

/* The command line of the trainer. */
#include "runtime.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_FAULT = 1, EXIT_USAGE = 2, MAX_COUNT = 1000000000, MAX_THREADS = 1024 };

static const char usage[] =
    "usage: trainer train   [--data DIR|random] [--device DEVICE] [--epochs N] [--max-steps N]\n"
    "                       [--seed N] [--threads N] [--init FILE.safetensors]\n"
    "                       [--save FILE.safetensors] [--no-shuffle] [--lr X]\n"
    "                       [--checkpoint-dir DIR] [--checkpoint-every N]\n"
    "                       [--log FILE.jsonl] [--log-every N] [--no-eval] [--no-progress]\n"
    "       trainer eval    --weights FILE.safetensors [--data DIR|random] [--device DEVICE]\n"
    "                       [--seed N] [--threads N]\n"
    "       trainer verify  [--full] [--seed N] [--device DEVICE] [--threads N]\n"
    "       trainer profile [--eval] [--json FILE] [--repeats N] [--seed N] [--device DEVICE]\n"
    "                       [--threads N]\n"
    "       trainer info    [--device DEVICE] [--threads N]\n"
    "\n"
    "train   trains the model; data is looked for in --data, $NINC_DATA/DATASET and\n"
    "        /usr/share/datasets/DATASET\n"
    "eval    loss and accuracy on the test images\n"
    "verify  every kernel against the naive evaluator (2 images; --full: the whole chunk and a\n"
    "        whole step)\n"
    "profile the time of each kernel, beside what the device can do, and of a training step\n"
    "        (--eval: of the forward pass alone), the median of --repeats measurements\n"
    "info    the model, its parameters, its memory plan, the devices\n"
    "\n"
    "DEVICE  auto (a GPU where there is one, else the CPU), cpu, cuda, cuda:N (GPU number N, from\n"
    "        0), sim (a simulated GPU: slow, exact)\n";

/* Flags by number; one bit each for the commands that take it. */
enum Command { TRAIN = 1, EVAL = 2, VERIFY = 4, INFO = 8, PROFILE = 16, ANY = 31 };

enum Flag {
    FLAG_DATA = 1,
    FLAG_DEVICE,
    FLAG_EPOCHS,
    FLAG_MAX_STEPS,
    FLAG_SEED,
    FLAG_THREADS,
    FLAG_INIT,
    FLAG_SAVE,
    FLAG_NO_SHUFFLE,
    FLAG_LR,
    FLAG_CHECKPOINT_DIR,
    FLAG_CHECKPOINT_EVERY,
    FLAG_LOG,
    FLAG_LOG_EVERY,
    FLAG_NO_EVAL,
    FLAG_NO_PROGRESS,
    FLAG_WEIGHTS,
    FLAG_FULL,
    FLAG_JSON,
    FLAG_REPEATS,
    FLAG_EVAL,
    FLAG_HELP,
    FLAG_RESUME,
    FLAG_KEEP,
    FLAG_TENSORBOARD,
    FLAG_COUNT
};

static const struct option long_options[] = {
    {"data", required_argument, NULL, FLAG_DATA},
    {"device", required_argument, NULL, FLAG_DEVICE},
    {"epochs", required_argument, NULL, FLAG_EPOCHS},
    {"max-steps", required_argument, NULL, FLAG_MAX_STEPS},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"threads", required_argument, NULL, FLAG_THREADS},
    {"init", required_argument, NULL, FLAG_INIT},
    {"save", required_argument, NULL, FLAG_SAVE},
    {"no-shuffle", no_argument, NULL, FLAG_NO_SHUFFLE},
    {"lr", required_argument, NULL, FLAG_LR},
    {"checkpoint-dir", required_argument, NULL, FLAG_CHECKPOINT_DIR},
    {"checkpoint-every", required_argument, NULL, FLAG_CHECKPOINT_EVERY},
    {"log", required_argument, NULL, FLAG_LOG},
    {"log-every", required_argument, NULL, FLAG_LOG_EVERY},
    {"no-eval", no_argument, NULL, FLAG_NO_EVAL},
    {"no-progress", no_argument, NULL, FLAG_NO_PROGRESS},
    {"weights", required_argument, NULL, FLAG_WEIGHTS},
    {"full", no_argument, NULL, FLAG_FULL},
    {"json", required_argument, NULL, FLAG_JSON},
    {"repeats", required_argument, NULL, FLAG_REPEATS},
    {"eval", no_argument, NULL, FLAG_EVAL},
    {"help", no_argument, NULL, FLAG_HELP},
    {"resume", required_argument, NULL, FLAG_RESUME},
    {"keep", required_argument, NULL, FLAG_KEEP},
    {"tensorboard", required_argument, NULL, FLAG_TENSORBOARD},
    {NULL, 0, NULL, 0},
};

static int commands_of(int flag)
{
    switch (flag) {
    case FLAG_DEVICE:
    case FLAG_THREADS:
    case FLAG_HELP: return ANY;
    case FLAG_SEED: return TRAIN | EVAL | VERIFY | PROFILE;
    case FLAG_DATA: return TRAIN | EVAL;
    case FLAG_WEIGHTS: return EVAL;
    case FLAG_FULL: return VERIFY;
    case FLAG_JSON:
    case FLAG_REPEATS:
    case FLAG_EVAL: return PROFILE;
    default: return TRAIN;
    }
}

typedef struct Options {
    TrainOptions train;
    const DeviceTable *table; /* NULL: the best that opens */
    const char *weights, *json;
    int repeats;
    bool full, eval, help;
} Options;

/* ---- values ---- */

static int usage_fault(const char *flag, const char *value, const char *wanted)
{
    char text[80];
    fault("--%s %s: %s is needed; try 'trainer --help'", flag, printable(value, text, sizeof text),
          wanted);
    return EXIT_USAGE;
}

static int parse_integer(const char *flag, const char *value, int64_t lowest, int64_t highest,
                         int64_t *out)
{
    char *end, wanted[80];
    errno = 0;
    long long n = strtoll(value, &end, 10);
    snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)lowest,
             (long long)highest);
    if (errno || end == value || *end || n < lowest || n > highest)
        return usage_fault(flag, value, wanted);
    *out = n;
    return 0;
}

static int parse_count(const char *flag, const char *value, int lowest, int highest, int *out)
{
    int64_t n = 0;
    int status = parse_integer(flag, value, lowest, highest, &n);
    if (status == 0)
        *out = (int)n;
    return status;
}

static int parse_seed(const char *value, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (errno || end == value || *end || *value < '0' || *value > '9')
        return usage_fault("seed", value, "a whole number from 0 to 2^64-1");
    *out = n;
    return 0;
}

static int parse_rate(const char *value, double *out)
{
    char *end;
    double x = strtod(value, &end);
    if (end == value || *end || !isfinite(x) || x < 0)
        return usage_fault("lr", value, "a number of at least 0");
    *out = x;
    return 0;
}

static int parse_device(Options *o, const char *value)
{
    if (device_parse(value, &o->table, &o->train.device.ordinal))
        return 0;
    return usage_fault("device", value, "auto, cpu, cuda, cuda:N or sim");
}

/* ---- flags ---- */

static int set_number(TrainOptions *o, int flag, const char *value)
{
    switch (flag) {
    case FLAG_EPOCHS: return parse_count("epochs", value, 0, MAX_COUNT, &o->epochs);
    case FLAG_MAX_STEPS: return parse_integer("max-steps", value, 0, INT64_MAX, &o->max_steps);
    case FLAG_SEED: return parse_seed(value, &o->seed);
    case FLAG_THREADS: return parse_count("threads", value, 1, MAX_THREADS, &o->device.threads);
    case FLAG_LR: return parse_rate(value, &o->lr);
    case FLAG_CHECKPOINT_EVERY:
        return parse_count("checkpoint-every", value, 1, MAX_COUNT, &o->checkpoint_every);
    case FLAG_LOG_EVERY: return parse_count("log-every", value, 1, MAX_COUNT, &o->log_every);
    default: return EXIT_USAGE;
    }
}

static int set_flag(Options *o, int flag, const char *value)
{
    TrainOptions *t = &o->train;
    switch (flag) {
    case FLAG_DATA: t->data = value; return 0;
    case FLAG_INIT: t->init = value; return 0;
    case FLAG_SAVE: t->save = value; return 0;
    case FLAG_CHECKPOINT_DIR: t->checkpoint_dir = value; return 0;
    case FLAG_LOG: t->log = value; return 0;
    case FLAG_WEIGHTS: o->weights = value; return 0;
    case FLAG_NO_SHUFFLE: t->no_shuffle = true; return 0;
    case FLAG_NO_EVAL: t->no_eval = true; return 0;
    case FLAG_NO_PROGRESS: t->no_progress = true; return 0;
    case FLAG_FULL: o->full = true; return 0;
    case FLAG_EVAL: o->eval = true; return 0;
    case FLAG_HELP: o->help = true; return 0;
    case FLAG_JSON: o->json = value; return 0;
    case FLAG_REPEATS: return parse_count("repeats", value, 1, MAX_COUNT, &o->repeats);
    case FLAG_DEVICE: return parse_device(o, value);
    case FLAG_RESUME:
    case FLAG_KEEP:
    case FLAG_TENSORBOARD:
        fault("--%s: not in this build; leave it out (--init and --save carry parameters over)",
              long_options[flag - 1].name);
        return EXIT_FAULT;
    default: return set_number(t, flag, value);
    }
}

static int parse_flags(Options *o, int argc, char **argv, int command, const char *name)
{
    int flag, index = 0;
    opterr = 0;
    while ((flag = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
        if (flag == '?' || flag == ':') {
            char text[80];
            fault("%s: %s; try 'trainer --help'", printable(argv[optind - 1], text, sizeof text),
                  flag == ':' ? "a value is missing" : "no such flag, or not a full name");
            return EXIT_USAGE;
        }
        if (!(commands_of(flag) & command)) {
            fault("--%s does not belong to '%s'; try 'trainer --help'", long_options[index].name,
                  name);
            return EXIT_USAGE;
        }
        int status = set_flag(o, flag, optarg);
        if (status)
            return status;
    }
    if (optind < argc) {
        char text[80];
        fault("'%s' takes no argument '%s'; try 'trainer --help'", name,
              printable(argv[optind], text, sizeof text));
        return EXIT_USAGE;
    }
    if (o->train.checkpoint_every >= 0 && !o->train.checkpoint_dir) {
        fault("--checkpoint-every needs --checkpoint-dir DIR to write into");
        return EXIT_USAGE;
    }
    return 0;
}

/* ---- commands ---- */

static int find_command(const char *name)
{
    static const struct {
        const char *name;
        int command;
    } known[] = {{"train", TRAIN},
                 {"eval", EVAL},
                 {"verify", VERIFY},
                 {"profile", PROFILE},
                 {"info", INFO}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].command;
    return 0;
}

static int run_eval(const Options *o)
{
    EvalOptions e = {.data = o->train.data,
                     .weights = o->weights,
                     .device = o->train.device,
                     .seed = o->train.seed};
    if (!e.weights) {
        fault("eval needs --weights FILE.safetensors; 'trainer train --save FILE' writes one");
        return EXIT_USAGE;
    }
    return evaluate(&ninc_model, o->table, &e);
}

static int run_command(int command, const Options *o)
{
    const TrainOptions *t = &o->train;
    VerifyOptions v = {.device = t->device, .seed = t->seed, .full = o->full};
    ProfileOptions p = {.device = t->device,
                        .seed = t->seed,
                        .repeats = o->repeats,
                        .eval = o->eval,
                        .json = o->json};
    switch (command) {
    case TRAIN: return train(&ninc_model, o->table, t);
    case EVAL: return run_eval(o);
    case VERIFY: return verify(&ninc_model, o->table, &v);
    case PROFILE: return profile(&ninc_model, o->table, &p);
    default: return info(&ninc_model, o->table, &t->device);
    }
}

static int bad_command(const char *name)
{
    char text[80];
    if (strcmp(name, "predict") == 0) {
        fault("%s: not in this build; it has train, eval, verify, profile and info", name);
        return EXIT_FAULT;
    }
    fault("no command '%s'; the commands are train, eval, verify, profile, info "
          "('trainer --help')",
          printable(name, text, sizeof text));
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    Options o = {.train = {.epochs = -1,
                           .max_steps = -1,
                           .lr = -1,
                           .checkpoint_every = -1,
                           .log_every = -1,
                           .seed = 1}};
    /* A reader that left and a file past its limit are errors of writing, not the end of us. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        fputs(usage, stdout);
        return fflush(stdout) == 0 ? 0 : EXIT_FAULT;
    }
    int command = find_command(argv[1]);
    if (!command)
        return bad_command(argv[1]);
    int status = parse_flags(&o, argc - 1, argv + 1, command, argv[1]);
    if (status)
        return status;
    if (o.help) {
        fputs(usage, stdout);
        return 0;
    }
    return run_command(command, &o);
}

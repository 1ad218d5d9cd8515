/* The trainer's flags and commands. A flag is one line of a table: what it is called, what it
 * takes, which commands know it, where its value goes, and what --help says of it. */
#include "flags.h"

#include <string.h>

enum { MAX_COUNT = 1000000000, HELP_COLUMN = 24 };

const Flag flag_table[] = {
    {"data", "DIR", KIND_PATH, TRAIN | EVAL | PREDICT | PREVIEW, AT(train.data), 0, 0,
     "the data set's directory, or 'random' images"},
    {"weights", "FILE", KIND_PATH, EVAL | PREDICT | EXPORT, AT(weights), 0, 0,
     "the parameters: .safetensors, a directory of checkpoints"},
    {"out", "OUT.png", KIND_OUTPUT, PREVIEW, AT(out), 0, 0, "draw the images there"},
    {"count", "N", KIND_COUNT, PREVIEW, AT(count), 1, 1000, "how many images, default 32"},
    {"epoch", "N", KIND_COUNT, PREVIEW, AT(epoch), 1, MAX_COUNT,
     "those that epoch N begins with, changed as in it; 1"},
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
    {"save-best", "FILE", KIND_OUTPUT, TRAIN, AT(train.save_best), 0, 0,
     "write those of the best evaluation so far there"},
    {"no-save", NULL, KIND_SWITCH, TRAIN, AT(train.no_save), 0, 0,
     "do not write them, where no --save says so"},
    {"no-shuffle", NULL, KIND_SWITCH, TRAIN | PREVIEW, AT(train.no_shuffle), 0, 0,
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
    {"csv", "FILE", KIND_PATH, TRAIN | EVAL | PREDICT, AT(train.csv), 0, 0,
     "log, or what is told of each image, as CSV"},
    {"tensorboard", "DIR", KIND_PATH, TRAIN, AT(train.tensorboard), 0, 0,
     "write TensorBoard's event files there"},
    {"log-every", "N", KIND_COUNT, TRAIN, AT(train.log_every), 1, MAX_COUNT,
     "steps between log lines; the model's by default"},
    {"no-progress", NULL, KIND_SWITCH, TRAIN | EVAL, AT(train.no_progress), 0, 0,
     "no progress bar on a terminal"},
    {"skip-bad-images", NULL, KIND_SWITCH, TRAIN | EVAL, AT(train.skip_bad), 0, 0,
     "leave out, and count, files that are no images"},
    {"full", NULL, KIND_SWITCH, VERIFY, AT(full), 0, 0,
     "all images of a chunk instead of 2, and a whole step"},
    {"kernel", "NAME", KIND_TEXT, VERIFY, AT(kernel), 0, 0,
     "this kernel only, or train_step, eval_step"},
    {"levels", "LIST", KIND_TEXT, VERIFY, AT(levels), 0, 0,
     "the CPU's instruction sets at once: all, or avx512,avx2"},
    {"list", NULL, KIND_SWITCH, VERIFY, AT(list), 0, 0, "print what --kernel takes, and end"},
    {"eval", NULL, KIND_SWITCH, PROFILE, AT(eval), 0, 0,
     "the forward pass alone, not a training step"},
    {"repeats", "N", KIND_COUNT, PROFILE, AT(repeats), 1, MAX_COUNT,
     "measurements, of which the median counts"},
    {"classes", "FILE", KIND_PATH, EVAL | PREDICT | PREVIEW, AT(classes), 0, 0,
     "the classes' names, one a line"},
    {"split", "SPLIT", KIND_SPLIT, EVAL, AT(split), 0, 0,
     "which images: test (the default), validation or train"},
    {"json", "FILE", KIND_PATH, PROFILE | EVAL | PREDICT, AT(json), 0, 0,
     "write the result there; eval, predict: '-' prints it"},
    {"mistakes", "OUT.png", KIND_OUTPUT, EVAL, AT(mistakes), 0, 0,
     "draw the images that are mistaken worst"},
    {"confusion", "OUT.png", KIND_OUTPUT, EVAL, AT(confusion), 0, 0,
     "draw which classes are taken for which"},
    {"top", "K", KIND_COUNT, PREDICT, AT(top), 1, MAX_COUNT, "classes an image, default 5"},
    {"invert", NULL, KIND_SWITCH, PREDICT, AT(invert), 0, 0,
     "the images are negatives of the data set's"},
    {"heatmap", "OUT.png", KIND_OUTPUT, PREDICT, AT(heatmap), 0, 0,
     "draw where in one image the network sees the class"},
    {"class", "N", KIND_COUNT, PREDICT, AT(map_class), 0, MAX_COUNT,
     "what --heatmap shows; the most probable by default"},
    {"seed", "N", KIND_SEED, TRAIN | EVAL | VERIFY | PROFILE | PREVIEW, AT(train.seed), 0, 0,
     "of all random numbers, default 1"},
    {"device", "DEVICE", KIND_DEVICE, ON_DEVICE, 0, 0, 0,
     "where it runs: auto, cpu, cuda, cuda:N or sim"},
    {"threads", "N", KIND_COUNT, ON_DEVICE, AT(train.device.threads), 1, MAX_THREADS,
     "threads of the CPU; what quota and mask allow by default"},
    {"verbose", NULL, KIND_SWITCH, ON_DEVICE, AT(train.device.verbose), 0, 0,
     "say what was tried to find a GPU"},
    {"help", NULL, KIND_SWITCH, COMMAND_ANY, 0, 0, 0, "print this"},
};

const int flag_count = sizeof flag_table / sizeof *flag_table;
_Static_assert(sizeof flag_table / sizeof *flag_table <= MOST_FLAGS, "MOST_FLAGS is too small");

const Letter letter_table[] = {
    {'h', "help"},
    {'v', "verbose"},
};

const int letter_count = sizeof letter_table / sizeof *letter_table;
_Static_assert(sizeof letter_table / sizeof *letter_table <= MOST_LETTERS, "MOST_LETTERS");

/* '\0': the flag has none. */
static char flag_letter(const char *name)
{
    for (int i = 0; i < letter_count; i++)
        if (strcmp(letter_table[i].name, name) == 0)
            return letter_table[i].letter;
    return '\0';
}

const Flag *find_flag(const char *name)
{
    for (int i = 0; i < flag_count; i++)
        if (strcmp(flag_table[i].name, name) == 0)
            return &flag_table[i];
    return NULL;
}

const Flag *letter_flag(int letter)
{
    for (int i = 0; i < letter_count; i++)
        if (letter_table[i].letter == letter)
            return find_flag(letter_table[i].name);
    return NULL;
}

const CommandInfo command_table[] = {
    {"train", TRAIN, NULL, "train the model", "trainer train --epochs 3 --save model.safetensors",
     NULL},
    {"eval", EVAL, NULL, "loss, accuracy and confusion of classes on the test images",
     "trainer eval --weights model.safetensors", NULL},
    {"predict", PREDICT, "IMAGE|DIRECTORY|@LIST...", "the classes of images",
     "trainer predict --weights model.safetensors photo.jpeg",
     "IMAGE is PNG, JPEG, WebP, GIF, BMP, PGM or PPM, '-' standard input; of a\n"
     "DIRECTORY the images in it are taken, of @LIST those that the text LIST names,\n"
     "one a line. An image is turned as its Exif data say, scaled, all of it, to the\n"
     "size of the data set's, and gets their channels: gray, RGB, either with alpha."},
    {"preview", PREVIEW, NULL, "a picture of training images as the network gets them",
     "trainer preview --out images.png", NULL},
    {"verify", VERIFY, NULL, "compare every kernel with the naive evaluator",
     "trainer verify --device cuda", NULL},
    {"profile", PROFILE, NULL, "the time of each kernel, beside what the device can do",
     "trainer profile --threads 1", NULL},
    {"export", EXPORT, NULL, "write the forward pass for other software (ONNX)",
     "trainer export --weights model.safetensors --onnx model.onnx", NULL},
    {"info", INFO, NULL, "the model, its parameters, its memory plan, the devices", "trainer info",
     NULL},
};

const int command_count = sizeof command_table / sizeof *command_table;

const CommandInfo *find_command(const char *name)
{
    for (int i = 0; i < command_count; i++)
        if (strcmp(name, command_table[i].name) == 0)
            return &command_table[i];
    return NULL;
}

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

void print_command_help(const CommandInfo *c, FILE *out)
{
    fprintf(out, "usage: trainer %s [options]%s%s\n%s\n%s%s\n", c->name, c->arguments ? " " : "",
            c->arguments ? c->arguments : "", c->what, c->more ? c->more : "", c->more ? "\n" : "");
    for (int i = 0; i < flag_count; i++)
        if (flag_table[i].commands & (int)c->command)
            print_flag(&flag_table[i], out);
    fprintf(out, "\nexample: %s\nmore: man ninc-trainer\n", c->example);
}

void print_help(FILE *out)
{
    fputs("usage: trainer COMMAND [options]\n       trainer --version\n\ncommands:\n", out);
    for (int i = 0; i < command_count; i++)
        fprintf(out, "  %-10s%s\n", command_table[i].name, command_table[i].what);
    fputs("\n'trainer COMMAND --help' lists the options of a command.\n\nexamples:\n", out);
    for (int i = 0; i < command_count; i++)
        if (command_table[i].command != INFO) /* which has none but its name */
            fprintf(out, "  %s\n", command_table[i].example);
}

/* The command line of the trainer: its commands, and one line a flag. */
#ifndef NINC_OPTIONS_H
#define NINC_OPTIONS_H

#include "../ir/ir.h"
#include "runtime.h"

enum { EXIT_FAULT = 1, EXIT_USAGE = 2 };

/* One bit each. */
typedef enum Command {
    COMMAND_TRAIN = 1,
    COMMAND_EVAL = 2,
    COMMAND_VERIFY = 4,
    COMMAND_PROFILE = 8,
    COMMAND_INFO = 16,
    COMMAND_PREDICT = 32,
    COMMAND_EXPORT = 64,
    COMMAND_ANY = 127,
} Command;

/* What the flags of all commands say. */
typedef struct Options {
    Command command;
    const DeviceTable *table; /* NULL: the best that opens */
    TrainOptions train;       /* what commands share stands here: data, device, seed */
    const char *weights, *json, *classes, *heatmap, *onnx, *kernel;
    int repeats, top, map_class;
    bool full, list, eval, invert, preprocessing;
    char *const *argument; /* what is no flag, for commands that take such */
    int arguments;
    /* For a shell: the command line but for what a checkpoint stands for, the program, and the
     * flags that go on with eval and predict. */
    Text line, program, shared;
    Text help; /* "trainer COMMAND --help", for a shell */
} Options;

typedef enum OptionsResult { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG } OptionsResult;

/* Reads the whole command line into *o. OPTIONS_DONE: it asked for help or the version,
 * which was printed; OPTIONS_WRONG: after a message; exit with EXIT_USAGE. */
OptionsResult options_parse(Options *o, int argc, char **argv);
void options_free(Options *o);

/* ---- advice.c ---- */

/* What a flag that the command has not (without its dashes), or a command that there is not, was
 * meant to be: the end of a message. NULL: not known. */
const char *flag_advice(const char *flag, Command command);
/* The same of a word that is nearly known. */
const char *near_flag_advice(const char *flag, Command command);
const char *command_advice(const char *word);

#endif

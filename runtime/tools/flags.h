/* Inside of the command line: what options_table.c (flags, commands, help), options_values.c and
 * options.c share. */
#ifndef NINC_FLAGS_H
#define NINC_FLAGS_H

#include "tools.h"

#include <stddef.h>

#define TRAIN COMMAND_TRAIN
#define EVAL COMMAND_EVAL
#define PREDICT COMMAND_PREDICT
#define VERIFY COMMAND_VERIFY
#define PROFILE COMMAND_PROFILE
#define INFO COMMAND_INFO
#define EXPORT COMMAND_EXPORT
#define PREVIEW COMMAND_PREVIEW
/* Those that open which images of a
 * data set (Split), a device. */
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
    KIND_SPLIT,
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

enum { MOST_FLAGS = 64, MOST_LETTERS = 8 };

/* Short names, of switches. */
typedef struct Letter {
    char letter;
    const char *name;
} Letter;

typedef struct CommandInfo {
    const char *name;
    Command command;
    const char *arguments; /* in --help; NULL: it takes none */
    const char *what, *example;
    const char *more; /* lines for its --help; NULL: none */
} CommandInfo;

/* ---- options_table.c ---- */

extern const Flag flag_table[];
extern const Letter letter_table[];
extern const CommandInfo command_table[];
extern const int flag_count, letter_count, command_count;

/* By name, or by letter; NULL: there is none such. */
const Flag *find_flag(const char *name);
const Flag *letter_flag(int letter);
const CommandInfo *find_command(const char *name);
void print_command_help(const CommandInfo *c, FILE *out);
void print_help(FILE *out);

/* ---- options_values.c ---- */

/* Puts the flag's value where it belongs; false after a message. */
bool set_flag(Options *o, const Flag *f, const char *value);

#endif

/* The command line of the trainer: reads it by the tables of options_table.c, and says what is
 * wrong with it. */
#include "flags.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

static OptionsResult answered(void)
{
    if (fflush(stdout) == 0)
        return OPTIONS_DONE;
    fault("cannot write to standard output: %s", strerror(errno));
    return OPTIONS_WRONG;
}

/* ---- the line that goes on with a run ---- */

/* Flags that the checkpoint stands for. */
static bool is_resumed(const Flag *f)
{
    return f->place == AT(train.init) || f->place == AT(train.init_partial) ||
           f->place == AT(train.resume) || f->place == AT(train.checkpoint_dir);
}

/* Flags that mean the same to eval and predict; what a run writes is its own. */
static bool goes_on(const Flag *f)
{
    return (f->commands & SHOWN) == SHOWN && f->place != AT(train.csv);
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
    for (int i = 0; i < command_count && used < sizeof list; i++)
        if (f->commands & (int)command_table[i].command)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     command_table[i].name);
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
    const char *names[flag_count];
    int count = 0;
    for (int i = 0; i < flag_count; i++)
        if (!(flag_table[i].commands & command) == others)
            names[count++] = flag_table[i].name;
    return nearest_word(word, names, count, sizeof *names);
}

/* Getopt takes the beginning of a name; one that several flags of any command share is none. */
static bool is_ambiguous(const char *word)
{
    int count = 0;
    for (int i = 0; i < flag_count; i++)
        count += strncmp(flag_table[i].name, word, strlen(word)) == 0;
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
    for (int i = 0; i < flag_count; i++)
        if (strncmp(flag_table[i].name, name, strlen(name)) == 0) {
            fault("--%s: a value is missing: --%s=%s; try: %s", flag_table[i].name,
                  flag_table[i].name, flag_table[i].value ? flag_table[i].value : "", o->help.data);
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
    if (optopt > flag_count) { /* a letter, as all that getopt has of it */
        if (text[0] != '-' || text[1] == '-' || !strchr(text, optopt))
            text = argv[optind];
        return unknown_flag(o, c, text, argv);
    }
    if (optopt > 0) {
        fault("--%s takes no value; try: %s", flag_table[optopt - 1].name, o->help.data);
        return OPTIONS_WRONG;
    }
    return unknown_flag(o, c, text, argv);
}

_Static_assert((int)MOST_FLAGS < 'A', "letters and numbers of flags differ");

/* The table in getopt's form: a flag's number is its index + 1. */
static void fill_options(struct option *out, char *short_options)
{
    *short_options++ = ':';
    for (int i = 0; i < letter_count; i++)
        *short_options++ = letter_table[i].letter;
    *short_options = '\0';
    for (int i = 0; i < flag_count; i++)
        out[i] = (struct option){
            flag_table[i].name, flag_table[i].value ? required_argument : no_argument, NULL, i + 1};
    out[flag_count] = (struct option){0};
}

static OptionsResult parse_flags(Options *o, const CommandInfo *c, int argc, char **argv)
{
    struct option options[MOST_FLAGS + 1];
    char short_options[MOST_LETTERS + 2];
    int number;
    fill_options(options, short_options);
    opterr = 0;
    while ((number = getopt_long(argc, argv, short_options, options, NULL)) != -1) {
        if (number == '?' || number == ':')
            return wrong_flag(o, c, number, argv);
        const Flag *f = number > flag_count ? letter_flag(number) : &flag_table[number - 1];
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
        if (goes_on(f))
            append_flag(&o->shared, f, f->value ? optarg : NULL);
    }
    o->train.command = o->line.data;
    o->train.program = o->program.data;
    o->train.shared = o->shared.data;
    return OPTIONS_RUN;
}

static bool is_dash(const char *path)
{
    return path && strcmp(path, "-") == 0;
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
    else if (o->train.save_best && o->train.no_eval)
        fault("--save-best follows the evaluations, which --no-eval leaves out; give one of them");
    else if (o->train.save && o->train.save_best && strcmp(o->train.save, o->train.save_best) == 0)
        fault("--save %s is what --save-best writes too; give two files", o->train.save);
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
    else if ((o->command & (EVAL | PREDICT)) && is_dash(o->json) && is_dash(o->train.csv))
        fault("--json - and --csv - contradict each other; give one of them a file");
    else if (o->heatmap && o->arguments > 1)
        fault("--heatmap is of one image; %d are given", o->arguments);
    else if (o->map_class >= 0 && !o->heatmap)
        fault("--class needs --heatmap OUT.png, which shows it");
    else if (o->levels && o->table && o->table->target != NINC_CPU)
        fault("--levels are instruction sets of the CPU; leave --device out, or give cpu");
    else if (o->levels && o->list)
        fault("--levels and --list contradict each other; give one of them");
    else if (o->command == PREVIEW && !o->out)
        fault("preview needs --out OUT.png to draw into");
    else if (o->command == EXPORT && !o->onnx)
        fault("export needs --onnx FILE to write to");
    else
        return OPTIONS_RUN;
    return OPTIONS_WRONG;
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
    for (int i = 0; f && i < command_count; i++)
        if (f->commands & (int)command_table[i].command)
            return command_table[i].name;
    return ends_with(word, ".png") || ends_with(word, ".jpg") || ends_with(word, ".jpeg")
               ? "predict"
               : NULL;
}

static OptionsResult no_command(const Options *o, const char *word)
{
    char text[80];
    const char *near = nearest_word(word, command_table, command_count, sizeof *command_table);
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
                   .split = SPLIT_TEST,
                   .count = 32,
                   .epoch = 1,
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

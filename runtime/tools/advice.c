/* What a wrong word of the trainer's command line was meant to be: names that other tools have for
 * our flags and commands, and what is compiled in, which ninc sets. */
#include "tools.h"

#include <stdio.h>
#include <string.h>

#define TRAIN COMMAND_TRAIN
#define EVAL COMMAND_EVAL
#define PREDICT COMMAND_PREDICT
#define EXPORT COMMAND_EXPORT
#define PREVIEW COMMAND_PREVIEW
#define ANY COMMAND_ANY

typedef struct Advice {
    const char *word;
    int commands; /* bits of Command */
    const char *text;
} Advice;

#define BATCH "the batch is compiled in: ninc --batch=N MODEL.yaml"
#define PRECISION "the precision is compiled in: ninc --precision=bf16 MODEL.yaml"
#define OPTIMIZER \
    "the optimizer is compiled in; for example ninc --set optimizer.sgd.momentum=0.9 MODEL.yaml"
#define OF_NINC "that is an option of ninc, which compiles the model; see ninc --help"
#define NO_FLAG "name the images without a flag"

static const Advice flags[] = {
    {"batch", ANY, BATCH},
    {"batch-size", ANY, BATCH},
    {"batch_size", ANY, BATCH},
    {"bs", ANY, BATCH},
    {"precision", ANY, PRECISION},
    {"amp", ANY, PRECISION},
    {"bf16", ANY, PRECISION},
    {"fp16", ANY, PRECISION},
    {"half", ANY, PRECISION},
    {"dtype", ANY, PRECISION},
    {"optimizer", ANY, OPTIMIZER},
    {"optim", ANY, OPTIMIZER},
    {"momentum", ANY, OPTIMIZER},
    {"weight-decay", ANY, OPTIMIZER},
    {"wd", ANY, OPTIMIZER},
    {"dataset", ANY,
     "the data set is compiled in: ninc --set input.dataset=mnist MODEL.yaml; --data DIR says "
     "where "
     "it is"},
    {"model", TRAIN, "the trainer is the model; --init FILE starts from parameters"},
    {"model", EVAL | PREDICT | EXPORT, "did you mean '--weights'?"},
    {"model", ANY, "the trainer is the model; leave it out"},
    {"target", ANY, OF_NINC},
    {"set", ANY, OF_NINC},
    {"emit", ANY, OF_NINC},
    {"dump", ANY, OF_NINC},
    {"cubin", ANY, OF_NINC},
    {"weights", TRAIN, "did you mean '--init', which starts from parameters?"},
    {"load", TRAIN, "did you mean '--init', which starts from parameters, or '--resume'?"},
    {"pretrained", TRAIN, "did you mean '--init', which starts from parameters?"},
    {"init", EVAL | PREDICT | EXPORT, "did you mean '--weights'?"},
    {"resume", EVAL | PREDICT | EXPORT, "did you mean '--weights'?"},
    {"checkpoint", TRAIN, "did you mean '--checkpoint-dir', or '--resume'?"},
    {"checkpoint", EVAL | PREDICT | EXPORT, "did you mean '--weights'?"},
    {"ckpt", TRAIN, "did you mean '--checkpoint-dir', or '--resume'?"},
    {"ckpt", EVAL | PREDICT | EXPORT, "did you mean '--weights'?"},
    {"save", EXPORT, "did you mean '--onnx'?"},
    {"output", TRAIN, "did you mean '--save'?"},
    {"o", TRAIN, "did you mean '--save'?"},
    {"output", EXPORT, "did you mean '--onnx'?"},
    {"o", EXPORT, "did you mean '--onnx'?"},
    {"output", EVAL | PREDICT, "did you mean '--json'?"},
    {"o", EVAL | PREDICT, "did you mean '--json'?"},
    {"learning-rate", TRAIN, "did you mean '--lr'?"},
    {"learning_rate", TRAIN, "did you mean '--lr'?"},
    {"epoch", TRAIN, "did you mean '--epochs'?"},
    {"output", PREVIEW, "did you mean '--out'?"},
    {"o", PREVIEW, "did you mean '--out'?"},
    {"n", PREVIEW, "did you mean '--count'?"},
    {"max-epochs", TRAIN, "did you mean '--epochs'?"},
    {"num-epochs", TRAIN, "did you mean '--epochs'?"},
    {"steps", TRAIN, "did you mean '--max-steps'?"},
    {"iterations", TRAIN, "did you mean '--max-steps'?"},
    {"gpu", ANY & ~EXPORT, "did you mean '--device cuda'?"},
    {"gpus", ANY & ~EXPORT, "did you mean '--device cuda'?"},
    {"cuda", ANY & ~EXPORT, "did you mean '--device cuda'?"},
    {"cpu", ANY & ~EXPORT, "did you mean '--device cpu'?"},
    {"workers", ANY & ~EXPORT, "did you mean '--threads'?"},
    {"num-workers", ANY & ~EXPORT, "did you mean '--threads'?"},
    {"jobs", ANY & ~EXPORT, "did you mean '--threads'?"},
    {"j", ANY & ~EXPORT, "did you mean '--threads'?"},
    {"data-dir", TRAIN | EVAL | PREDICT, "did you mean '--data'?"},
    {"d", TRAIN | EVAL | PREDICT, "did you mean '--data'?"},
    {"image", PREDICT, NO_FLAG},
    {"images", PREDICT, NO_FLAG},
    {"input", PREDICT, NO_FLAG},
    {"names", EVAL | PREDICT, "did you mean '--classes'?"},
    {"labels", EVAL | PREDICT, "did you mean '--classes'?"},
    {"topk", PREDICT, "did you mean '--top'?"},
    {"k", PREDICT, "did you mean '--top'?"},
};

static const Advice commands[] = {
    {"test", ANY, "did you mean 'eval'?"},
    {"evaluate", ANY, "did you mean 'eval'?"},
    {"validate", ANY, "did you mean 'eval'?"},
    {"infer", ANY, "did you mean 'predict'?"},
    {"inference", ANY, "did you mean 'predict'?"},
    {"classify", ANY, "did you mean 'predict'?"},
    {"fit", ANY, "did you mean 'train'?"},
    {"run", ANY, "did you mean 'train'?"},
    {"resume", ANY, "did you mean 'train --resume DIR'?"},
    {"bench", ANY, "did you mean 'profile'?"},
    {"benchmark", ANY, "did you mean 'profile'?"},
    {"convert", ANY, "did you mean 'export'?"},
    {"check", ANY, "did you mean 'verify'?"},
    {"summary", ANY, "did you mean 'info'?"},
    {"devices", ANY, "did you mean 'info'?"},
    {"version", ANY, "did you mean '--version'?"},
    {"compile", ANY, "ninc compiles models; the trainer holds one"},
};

static const char *find(const Advice *list, size_t count, const char *word, int command)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].word, word) == 0 && (list[i].commands & command))
            return list[i].text;
    return NULL;
}

const char *flag_advice(const char *flag, Command command)
{
    return find(flags, sizeof flags / sizeof *flags, flag, (int)command);
}

const char *near_flag_advice(const char *flag, Command command)
{
    const size_t count = sizeof flags / sizeof *flags;
    const char *near = nearest_word(flag, flags, (int)count, sizeof *flags);
    bool guess = near && strlen(near) > 2; /* letters are near to anything */
    return guess ? find(flags, count, near, (int)command) : NULL;
}

/* A flag in a command's place, of which all commands would say the same. */
static const char *flag_of_none(const char *word)
{
    char name[80];
    snprintf(name, sizeof name, "%s", word + strspn(word, "-"));
    name[strcspn(name, "=")] = '\0';
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(flags[i].word, name) == 0 && flags[i].commands == ANY)
            return flags[i].text;
    return NULL;
}

const char *command_advice(const char *word)
{
    if (*word == '-')
        return flag_of_none(word);
    return find(commands, sizeof commands / sizeof *commands, word, COMMAND_ANY);
}

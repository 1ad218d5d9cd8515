/* What a wrong word of ninc's command line was meant to be: the trainer's flags and commands, which
 * are values of the model file here, and the names that other compilers have for our options. */
#include "frontend.h"

#include <string.h>

typedef struct Advice {
    const char *word, *text;
} Advice;

#define SET(key) "ninc sets it in the model: --set " key
#define OF_TRAINER(flag) "that is a flag of the trainer: trainer train --" flag

static const Advice options[] = {
    {"epochs", SET("train.epochs=N")},
    {"epoch", SET("train.epochs=N")},
    {"batch-size", "did you mean '--batch'?"},
    {"batch_size", "did you mean '--batch'?"},
    {"bs", "did you mean '--batch'?"},
    {"lr", SET("optimizer.NAME.lr=X")},
    {"learning-rate", SET("optimizer.NAME.lr=X")},
    {"momentum", SET("optimizer.sgd.momentum=X")},
    {"weight-decay", SET("optimizer.NAME.weight_decay=X")},
    {"optimizer", SET("'optimizer={sgd: {lr: 0.1}}'")},
    {"log-every", SET("train.log_every=N")},
    {"checkpoint-every", SET("train.checkpoint_every=N")},
    {"dataset", SET("input.dataset=NAME")},
    {"classes", SET("input.classes=N")},
    {"name", SET("model=NAME")},
    {"seed", OF_TRAINER("seed=N")},
    {"data", OF_TRAINER("data=DIR")},
    {"weights", "that is a flag of the trainer: trainer eval --weights=FILE"},
    {"init", OF_TRAINER("init=FILE")},
    {"resume", OF_TRAINER("resume=DIR")},
    {"save", OF_TRAINER("save=FILE")},
    {"checkpoint-dir", OF_TRAINER("checkpoint-dir=DIR")},
    {"max-steps", OF_TRAINER("max-steps=N")},
    {"log", OF_TRAINER("log=FILE")},
    {"tensorboard", OF_TRAINER("tensorboard=DIR")},
    {"threads", OF_TRAINER("threads=N")},
    {"device", "that is a flag of the trainer, trainer train --device=cuda; did you mean "
               "'--target'?"},
    {"onnx", "that is a flag of the trainer: trainer export --onnx=FILE"},
    {"gpu", "did you mean '--target=cuda'?"},
    {"cuda", "did you mean '--target=cuda'?"},
    {"cpu", "did you mean '--target=cpu'?"},
    {"arch", "did you mean '--cubin'?"},
    {"gpu-architecture", "did you mean '--cubin'?"},
    {"fp32", "did you mean '--precision=fp32'?"},
    {"tf32", "did you mean '--precision=tf32'?"},
    {"bf16", "did you mean '--precision=bf16'?"},
    {"fp16", "did you mean '--precision=bf16'?"},
    {"half", "did you mean '--precision=bf16'?"},
    {"amp", "did you mean '--precision=bf16'?"},
    {"summary", "did you mean '--emit=summary'?"},
    {"emit-ir", "did you mean '--emit=ir'?"},
    {"ir", "did you mean '--emit=ir'?"},
    {"dot", "did you mean '--emit=dot'?"},
    {"library", "did you mean '--emit=library'?"},
    {"print-passes", "did you mean '--list-passes'?"},
    {"passes", "did you mean '--list-passes'?"},
    {"ops", "did you mean '--list-ops'?"},
    {"colour", "did you mean '--color'?"},
    {"input", "name the model file without an option"},
    {"model", "name the model file without an option"},
    {"dry-run", "did you mean '--check'?"},
    {"silent", "did you mean '--quiet'?"},
    {"out", "did you mean '--output'?"},
    {"output-dir", "did you mean '--output'?"},
    {"optimize", "did you mean '-O2'?"},
};

/* Commands of a trainer that were given to ninc. */
static const char *const commands[] = {"train",  "eval",    "predict", "verify",
                                       "export", "profile", "info"};

#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

static const char *find_advice(const char *word)
{
    for (int i = 0; i < COUNT(options); i++)
        if (strcmp(options[i].word, word) == 0)
            return options[i].text;
    return NULL;
}

const char *option_advice(Pool *pool, const char *word, const char *value)
{
    const char *advice = find_advice(word);
    size_t length = advice ? strlen(advice) : 0;

    if (!advice || !value || (strcmp(advice + length - 2, "=N") != 0 &&
                              strcmp(advice + length - 2, "=X") != 0))
        return advice;
    return pool_format(pool, "%.*s%s", (int)length - 1, advice, value);
}

const char *near_option_advice(const char *word)
{
    const char *near = nearest_word(word, options, COUNT(options), sizeof *options);

    return near && strlen(near) > 2 ? find_advice(near) : NULL;
}

bool is_trainer_command(const char *word)
{
    for (int i = 0; i < COUNT(commands); i++)
        if (strcmp(commands[i], word) == 0)
            return true;
    return false;
}

/* The trainer: runs the command that its command line names. */
#include "tools.h"

#include <signal.h>

static int run_eval(const Options *o)
{
    EvalOptions e = {.data = o->train.data,
                     .weights = o->weights,
                     .classes = o->classes,
                     .json = o->json,
                     .csv = o->train.csv,
                     .mistakes = o->mistakes,
                     .confusion = o->confusion,
                     .device = o->train.device,
                     .seed = o->train.seed,
                     .seed_given = o->train.seed_given,
                     .skip_bad = o->train.skip_bad,
                     .split = o->split};
    return evaluate(&ninc_model, o->table, &e);
}

static int run_predict(const Options *o)
{
    PredictOptions p = {.data = o->train.data,
                        .weights = o->weights,
                        .classes = o->classes,
                        .json = o->json,
                        .csv = o->train.csv,
                        .heatmap = o->heatmap,
                        .map_class = o->map_class,
                        .image = o->argument,
                        .images = o->arguments,
                        .top = o->top,
                        .invert = o->invert,
                        .device = o->train.device};
    return predict(&ninc_model, o->table, &p);
}

static int run_preview(const Options *o)
{
    PreviewOptions p = {.data = o->train.data,
                        .out = o->out,
                        .classes = o->classes,
                        .device = o->train.device,
                        .seed = o->train.seed,
                        .count = o->count,
                        .epoch = o->epoch,
                        .no_shuffle = o->train.no_shuffle};
    return preview(&ninc_model, o->table, &p);
}

static int run_verify(const Options *o)
{
    VerifyOptions v = {.device = o->train.device,
                       .seed = o->train.seed,
                       .full = o->full,
                       .list = o->list,
                       .kernel = o->kernel,
                       .levels = o->levels};
    return verify(&ninc_model, o->table, &v);
}

static int run_profile(const Options *o)
{
    ProfileOptions p = {.device = o->train.device,
                        .seed = o->train.seed,
                        .repeats = o->repeats,
                        .eval = o->eval,
                        .json = o->json};
    return profile(&ninc_model, o->table, &p);
}

static int run_export(const Options *o)
{
    ExportOptions e = {
        .weights = o->weights, .onnx = o->onnx, .preprocessing = o->preprocessing};
    return export_model(&ninc_model, &e);
}

static int run(const Options *o)
{
    switch (o->command) {
    case COMMAND_TRAIN: return train(&ninc_model, o->table, &o->train);
    case COMMAND_EVAL: return run_eval(o);
    case COMMAND_PREDICT: return run_predict(o);
    case COMMAND_PREVIEW: return run_preview(o);
    case COMMAND_VERIFY: return run_verify(o);
    case COMMAND_PROFILE: return run_profile(o);
    case COMMAND_INFO: return info(&ninc_model, o->table, &o->train.device);
    case COMMAND_EXPORT: return run_export(o);
    case COMMAND_ANY: break;
    }
    return EXIT_USAGE;
}

/* Before any library's own beginning. */
static void begin(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    (void)environment;
    threads_keep_mask();
}

__attribute__((section(".preinit_array"), used)) static void (*const beginning)(int, char **,
                                                                              char **) = begin;

int main(int argc, char **argv)
{
    Options o;
    open_standard_files();
    await_children();
    /* A reader that left and a file past its limit are errors of writing, not the end of us. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    int status = 0;
    switch (options_parse(&o, argc, argv)) {
    case OPTIONS_DONE: break;
    case OPTIONS_WRONG: status = EXIT_USAGE; break;
    case OPTIONS_RUN:
        bar_off = o.train.no_progress;
        status = run(&o);
        break;
    }
    options_free(&o);
    return status;
}

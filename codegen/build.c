/* From the planned module to the artefact directory: write the texts beside it, compile every CPU
 * variant in parallel, link the trainer with the texts that it carries along, then rename file by
 * file. */
#include "artefacts.h"

/* ---- the steps ---- */

static int run_steps(Build *b, const Product *product)
{
    const char *object[MAX_OBJECTS], *name[MAX_ARTEFACTS];
    double begin = clock_seconds();
    if (product->write(b) != 0)
        return -1;
    double emitted = clock_seconds();
    int objects = compile_objects(b, product->object_flags, object);
    if (objects < 0)
        return -1;
    double compiled = clock_seconds();
    if (product->link(b, object, objects) != 0)
        return -1;
    if (b->options->time)
        fprintf(stderr, "emit       %8.3f ms\ncompile    %8.3f ms\nlink       %8.3f ms\n",
                (emitted - begin) * 1e3, (compiled - emitted) * 1e3,
                (clock_seconds() - compiled) * 1e3);
    return build_stopped() ? -1 : build_publish(b, name, product->list(b, name));
}

int build_product(const Module *m, const BuildOptions *options, const Product *product)
{
    Build b = {.pool = pool_new(), .module = m, .options = options};
    int result = build_run(&b, product, run_steps);
    pool_free(b.pool);
    return result;
}

/* ---- the trainer ---- */

static int write_sources(Build *b)
{
    if (write_emitted(b, model_file(b, "ir"), module_print) != 0 || write_program(b) != 0)
        return -1;
    return write_texts(b, true);
}

static int link_trainer(Build *b, const char *const *object, int objects)
{
    static const char *const libraries[] = {
        "png16", "jpeg", "webpdemux",  "webp",    "gif",     "archive", "nettle",   "lzma",
        "zstd",  "bz2",  "protobuf-c", "jansson", "minizip", "z",       NINC_OPENMP};
    const char *path[MAX_OBJECTS + 4] = {scratch_path(b, "trainer")};
    bool whitens = b->module->data.zca_eps > 0; /* runtime/train/eigen.c */
    char *list = whitens ? "-Wl,-u,symmetric_eigen" : "";
    int count = 1;
    for (int i = 0; i < objects; i++)
        path[count++] = object[i];
    path[count++] = pool_format(b->pool, "%s/texts.s", b->scratch);
    path[count++] = pool_format(b->pool, "%s/libninc_runtime.a", b->scratch);
    for (int i = 0; i < (int)(sizeof libraries / sizeof *libraries); i++)
        list = pool_format(b->pool, "%s %s", list, static_library(b, libraries[i]));
    if (whitens)
        list = pool_format(b->pool, "%s %s %s", list, static_library(b, "lapack"),
                           static_library(b, "blas"));
    return compiler_run(b, "the trainer", NINC_LINK_FLAGS " -o", path,
                        pool_format(b->pool, "%s -lm -lpthread -ldl", list));
}

/* The trainer is last, so that where it stands the rest does too. */
static int list_artefacts(Build *b, const char **name)
{
    int count = 0;
    name[count++] = model_file(b, "ir");
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        if (has_text(b, target))
            name[count++] = model_file(b, code_target(target)->extension);
    name[count++] = "plan.c";
    name[count++] = "trainer";
    return count;
}

int build_artefacts(const Module *m, const BuildOptions *options)
{
    static const Product trainer = {"", write_sources, link_trainer, list_artefacts};
    return build_product(m, options, &trainer);
}

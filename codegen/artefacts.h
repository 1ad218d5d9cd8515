/* Inside of the build: what build.c (the trainer), library.c (the library), texts.c, commands.c and
 * scratch.c share. Functions that return int give 0, or -1 after printing what failed. */
#ifndef NINC_ARTEFACTS_H
#define NINC_ARTEFACTS_H

#include "../runtime/base/base.h"
#include "codegen.h"
#include "target.h"

enum { MAX_OBJECTS = 8, MAX_ARTEFACTS = 5 };

/* The sanitizers that the runtime was compiled with; the same for all that links it. */
#ifndef NINC_LINK_FLAGS
#define NINC_LINK_FLAGS ""
#endif

/* The OpenMP that the runtime was compiled for, as -l names it. */
#ifndef NINC_OPENMP
#define NINC_OPENMP "gomp"
#endif

/* A directory of ours in or beside the target; everything in it goes when the build ends. */
typedef struct Build {
    Pool *pool;
    const Module *module;
    const BuildOptions *options;
    char *scratch; /* path of the directory */
    char **file;   /* paths made in it */
    int files, file_capacity;
    char *cache; /* the cache directory; NULL: none */
    Hash compiler_hash;
} Build;

/* What is built of the module. */
typedef struct Product {
    const char *object_flags; /* for kernels and plan */
    int (*write)(Build *b);   /* the sources, into the scratch directory */
    int (*link)(Build *b, const char *const *object, int objects);
    int (*list)(Build *b, const char **name); /* the artefacts, in the order in which they appear;
                                                 returns how many */
} Product;

/* ---- build.c ---- */

int build_product(const Module *m, const BuildOptions *options, const Product *product);

/* ---- scratch.c: the scratch directory, its files and their way to the artefact directory ---- */

/* Prints "cannot WHAT PATH" and errno; always -1. */
int build_failed(const char *what, const char *path);
/* Whether a signal asked the build to stop. */
bool build_stopped(void);
/* Runs the steps in a scratch directory of their own, which goes whatever happens; signals stop
 * them. */
int build_run(Build *b, const Product *product, int (*steps)(Build *b, const Product *product));
/* The path of a file there, which will go with the directory. */
char *scratch_path(Build *b, const char *name);
int scratch_write(Build *b, const char *name, const char *data, size_t length);
/* Frees the text. */
int scratch_text(Build *b, const char *name, Text *text);
/* Renames the files into the artefact directory, in order. */
int build_publish(Build *b, const char *const *name, int count);

/* ---- commands.c: the C compiler ---- */

/* Every CPU variant of MODEL.c and plan.c at once, their paths to `object` (of MAX_OBJECTS);
 * returns how many, or -1. */
int compile_objects(Build *b, const char *flags, const char **object);
/* `CC flags path... libraries`; `what` is for messages. `path` ends with NULL. */
int compiler_run(Build *b, const char *what, const char *flags, const char *const *path,
                 const char *libraries);
/* Where the compiler finds a file of its libraries; NULL: nowhere. */
const char *compiler_file(Pool *pool, const char *file);
/* What a program gets that includes a header by <...>, with comments, its first 64 KB; NULL: it
 * finds none. */
char *compiler_header(Pool *pool, const char *header);
/* "-l:libNAME.a", or "-lNAME" where there is no such file. */
const char *static_library(Build *b, const char *name);
/* The same for linking a shared library, which not every libNAME.a is fit for. */
const char *shared_library(Build *b, const char *name);

/* ---- objects.c: objects that were compiled before; no messages, as all works without ---- */

/* Finds the cache directory, for the compiler of these words. */
void objects_open(Build *b, char *const *word, int count);
/* Where the object of a source, compiled with these flags, is kept; NULL: nowhere. */
char *object_entry(Build *b, const char *source, const char *flags);
/* Writes the object; false where the cache does not have it whole. */
bool object_take(const char *entry, const char *object);
/* Keeps an object for the next run. */
void object_keep(const char *entry, const char *object);

/* ---- texts.c: what is written for the compiler ---- */

/* Whether there is a text of the target's kernels. */
bool has_text(const Build *b, Target target);
/* MODEL.EXTENSION */
char *model_file(Build *b, const char *extension);
int write_emitted(Build *b, const char *name, Emit *emit);
/* MODEL.c and MODEL.cu of the targets that there are, plan.c, and the runtime's archive. */
int write_program(Build *b);
/* texts.s: the CUDA text and cubins, and, where `ir`, the text of MODEL.ir. */
int write_texts(Build *b, bool ir);

#endif

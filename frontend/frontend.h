/* The front end: from the command line and a YAML model to the IR, and from the IR to what the
 * user reads. One header for the folder: types first, then the prototypes by file.
 *
 *   source.c -> yaml.c -> override.c (--set) -> model.c, network.c, layers.c -> the passes
 *   render.c prints diagnostics; summary.c and memory.c print tables; main.c ties it together. */
#ifndef NINC_FRONTEND_H
#define NINC_FRONTEND_H

#include "../codegen/levels.h"
#include "../ir/ir.h"
#include "../passes/passes.h"

enum {
    MAX_YAML_BYTES = 1 << 20,
    MAX_IR_BYTES = 64 << 20,
    MAX_NESTING = 64,
    MAX_TREE_NODES = 100000, /* aliases expanded */
    MAX_ANCHORS = 1000,
    MAX_KEYS = 1000, /* of one mapping */
    MAX_LAYERS = 1000,
    MAX_NAME = 64,
    MAX_SETS = 64
};

/* ---- texts ---- */

/* A text that diagnostics may point into; `name` is what Loc.file holds. */
typedef struct Source Source;
struct Source {
    const char *name;
    const char *text; /* NUL-terminated; NULL when it could not be read */
    size_t length;
    Source *next;
};

/* ---- YAML tree ---- */

typedef enum TreeKind { TREE_SCALAR, TREE_SEQUENCE, TREE_MAPPING } TreeKind;

/* A node of the YAML tree. An alias is a copy of the anchored node that stands at the alias's own
 * place and shares the children. */
typedef struct Tree Tree;
struct Tree {
    TreeKind kind;
    Loc loc;
    int width; /* columns to underline */
    const char *text; /* scalar; NUL-terminated, but may hold NULs of its own */
    size_t length;
    bool quoted;
    Tree **item; /* sequence: the items; mapping: the values */
    Tree **key;  /* mapping: the keys, scalars */
    int count, item_capacity, key_capacity;
    int expanded; /* nodes from here down, aliases counted as often as they are used */
    bool open;    /* its end has not been read yet */
};

/* ---- reading typed values ---- */

typedef struct Reader {
    Pool *pool;
    Diagnostics *d;
} Reader;

typedef enum FieldKind {
    FIELD_INT,  /* int */
    FIELD_REAL, /* double */
    FIELD_BOOL, /* bool */
    FIELD_SIZE, /* int[2]: one number or [h, w] */
    FIELD_TREE  /* const Tree *, for the caller to read */
} FieldKind;

/* One key of a mapping: where its value goes in the caller's struct, and what it may be. */
typedef struct Field {
    const char *key;
    FieldKind kind;
    bool required;
    double low, high; /* bounds, inclusive */
    size_t offset;
    const char *example; /* "stride: 2", for messages */
} Field;

/* ---- command line ---- */

typedef enum EmitKind {
    EMIT_ARTEFACTS,
    EMIT_IR,
    EMIT_DOT,
    EMIT_C,
    EMIT_CUDA,
    EMIT_PLAN,
    EMIT_SUMMARY,
    EMIT_LIBRARY
} EmitKind;

typedef enum ColorMode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } ColorMode;

typedef struct Options {
    Pool *pool;
    const char *input;  /* "-": standard input */
    char *const *inputs; /* ends with NULL; more than one with --check alone */
    const char *output; /* NULL: not given */
    EmitKind emit;
    PipelineOptions pipeline;
    const char *cubins; /* GPU architectures to compile for now, "sm_86,sm_90a"; NULL: none */
    CpuLevelSet levels; /* instruction sets to compile for */
    const char *set[MAX_SETS]; /* KEY=VALUE or, from --batch=N, train.batch_size=N */
    const char *set_text[MAX_SETS]; /* the option as the user wrote it */
    int set_count;
    bool target_given, precision_given, level_given;
    bool check, memory_report, verbose, quiet;
    ColorMode color;
} Options;

/* What option parsing decided: go on, or leave with this exit code. */
typedef enum OptionsResult { OPTIONS_RUN = -1, OPTIONS_DONE = 0, OPTIONS_WRONG = 1,
                             OPTIONS_USAGE = 2 } OptionsResult;

/* ---- source.c ---- */

/* Reads a file of at most `limit` bytes ("-": standard input). Always returns a source; after a
 * diagnostic at 1:1 its text is NULL. */
Source *source_read(Pool *pool, Diagnostics *d, const char *path, size_t limit);
/* The place of line `line` (from 1) in the text, without its line break; false past the end. */
bool source_line(const Source *s, int line, const char **start, size_t *length);
/* The place of byte `offset`, with YAML's line breaks and columns in characters. */
Loc source_place(const Source *s, size_t offset);
/* Adds a diagnostic and returns false when the text cannot be YAML: empty, NUL, not UTF-8,
 * control characters. */
bool source_check_text(const Source *s, Diagnostics *d);
/* Length in bytes (1 to 4) of the UTF-8 character at p, its code point in *code; 0 if it is not
 * valid within `left` bytes. */
int utf8_decode(const char *p, size_t left, uint32_t *code);

/* ---- recognise.c ---- */

/* What a file is that is no model, and what to do with it: "an image; ...". NULL: not known. */
const char *recognise(Pool *pool, const char *path, const char *text, size_t length);
/* The model file that was meant by a path that there is not; NULL: none is near. */
const char *meant_file(Pool *pool, const char *path);
/* The first of the model files in a directory, with commas; NULL: none. */
const char *models_in(Pool *pool, const char *directory);

/* ---- yaml.c ---- */

/* Parses one YAML document. NULL after a diagnostic. Duplicate keys add diagnostics only. */
Tree *yaml_parse(Pool *pool, Diagnostics *d, const Source *source);
/* The value of `key` in a mapping, or NULL. */
Tree *tree_find(const Tree *mapping, const char *key);
/* True if the scalar is exactly `text`. */
bool tree_is(const Tree *scalar, const char *text);
/* True for an empty plain scalar, ~ or null. */
bool tree_is_null(const Tree *t);
void tree_append(Pool *pool, Tree *container, Tree *key, Tree *item);

/* ---- override.c ---- */

/* Applies the --set options to a copy of the path they name; NULL after a diagnostic. The source
 * "<command-line>" holds one option a line. */
Tree *override_apply(Pool *pool, Diagnostics *d, Tree *root, const Options *o, Source **sources);

/* ---- fields.c ---- */

void reader_fault(Reader *r, const Tree *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 'text' for a message, cut to a readable length. */
const char *reader_quote(Reader *r, const Tree *scalar);
/* Reads every field of a mapping into the struct at `out`; absent ones keep their value. Unknown
 * keys, missing ones and wrong values add diagnostics. `what` names the mapping in messages; `at`
 * is where a missing key is reported. A null tree reads as {}. */
bool read_fields(Reader *r, const Tree *mapping, const char *what, const Field *fields, int count,
                 void *out);
/* One value, as read_fields does it. */
bool read_int(Reader *r, const Tree *value, const Field *f, int *out);
bool read_real(Reader *r, const Tree *value, const Field *f, double *out);
/* One number or [h, w]. */
bool read_size(Reader *r, const Tree *value, const Field *f, int out[2]);
/* A name of the form [A-Za-z0-9_]+(\.[A-Za-z0-9_]+)* of at most MAX_NAME characters. */
bool read_name(Reader *r, const Tree *value, const char *what, const char **out);
/* `word`, or a mapping of one word to its settings; *settings is a null tree where there are
 * none. `what` names the thing chosen. */
bool read_choice(Reader *r, const Tree *t, const char *what, const Tree **word,
                 const Tree **settings);

/* Words that a scalar may be. */
typedef struct Words {
    const void *list; /* each entry starts with a const char * */
    int count;
    size_t stride;
} Words;

#define WORDS(array) ((Words){array, (int)(sizeof(array) / sizeof *(array)), sizeof *(array)})

/* The index of the scalar among the words; -1 after a diagnostic. */
int find_word(Reader *r, const Tree *t, const char *what, Words words);

/* ---- keys.c ---- */

/* What a word of another tool is here: our word for it, or what to do; both NULL: not known. */
typedef struct Meant {
    const char *word, *advice;
} Meant;

/* A key of the mapping `what`, as messages name it. */
Meant key_meant(const char *what, const char *key);
Meant layer_meant(const char *word);

/* ---- model.c ---- */

/* Builds the module of a model file: graph "train" at stage forward. NULL after diagnostics. */
Module *model_build(Pool *pool, Diagnostics *d, const Tree *root);

/* ---- augment.c ---- */

/* One op of input.augment, and where it stands. */
typedef struct Augmentation {
    Op op;
    AugmentAttr attr;
    const Tree *at;
} Augmentation;

typedef struct AugmentList {
    Augmentation item[MAX_AUGMENTS];
    int count;
} AugmentList;

/* What is done to training images of c, h, w (NULL: not known); false after a diagnostic. */
bool read_augment(Reader *r, const Tree *t, const int *image, AugmentList *out);
/* Adds the ops behind a u8 image; the last one's. */
Node *build_augment(Graph *g, Node *image, const AugmentList *list);

/* ---- training.c ---- */

/* The values of `optimizer` and `train`; false after a diagnostic. */
bool read_optimizer(Reader *r, const Tree *t, Optimizer *out);
bool read_train(Reader *r, const Tree *t, TrainSettings *out);
/* The value of an `init`, if there is one; *std of `normal`. */
bool read_init(Reader *r, const Tree *t, InitKind *out, double *std);

/* ---- network.c ---- */

/* Adds the layers of the sequence behind the map `x` f32[N,H,W,C] and returns the logits
 * f32[N,classes]; NULL after diagnostics. With x == NULL only keys and values are checked. */
Node *layers_build(Reader *r, Graph *g, const Tree *layers, Node *x);

/* ---- layers.c, with layers.h ---- */

/* False after a diagnostic for a tensor of 2^31 elements or more. `what` names it. */
bool check_elements(Reader *r, const Tree *at, const char *what, const int64_t extent[4]);

/* ---- options.c ---- */

/* Reads the command line; prints help, lists and usage errors itself. */
OptionsResult options_parse(Options *o, Pool *pool, int argc, char **argv);

/* ---- advice.c ---- */

/* What an option that ninc has not (without its dashes) was meant to be, the end of a message, with
 * the number that it was given, or NULL; NULL: not known. */
const char *option_advice(Pool *pool, const char *word, const char *number);
/* The same of a word that is nearly known. */
const char *near_option_advice(const char *word);
bool is_trainer_command(const char *word);

/* ---- asked.c ---- */

/* Whether what the options ask for can still take effect on the module, which may be text that has
 * passed where they decide; else a diagnostic at loc. */
bool asked_in_time(const Module *m, const Options *o, Diagnostics *d, Loc loc);
/* Drops the programs of text that are for other targets than those wanted. */
void asked_target(Module *m, const Options *o);

/* ---- render.c ---- */

/* Prints the diagnostics to `out`, sorted by place, each with its line and a caret. */
void render_diagnostics(FILE *out, Diagnostics *d, const Source *sources, bool color);
/* Its notes alone. */
void render_notes(FILE *out, const Diagnostics *d, const Source *sources, bool color);

/* ---- summary.c ---- */

/* One line a layer: output shape, parameters, MFLOP an image, kernel; and totals. With `kernels`
 * also one line a kernel. The module is at stage planned. */
void summary_print(const Module *m, bool kernels, Text *out);

/* ---- memory.c ---- */

/* State, shared, chunk and thread bytes of each program, the bounds, the largest values with the
 * kernels between which they live. */
void memory_print(const Module *m, Text *out);
/* Bytes that a training run on the target needs with this many threads (a GPU: 1), data set not
 * counted. */
int64_t memory_total(const Module *m, Target target, int threads);
/* The threads that a trainer would have, started like this ninc. */
int memory_threads(void);

#endif

/* The header of NumPy's .npy (numpy.lib.format): a magic number, a version, a length, and a Python
 * dictionary of exactly the three keys that stand there, of which nothing is ever run. */
#include "../../ir/ir.h"
#include "formats.h"

#include <ctype.h>
#include <string.h>

enum { MAGIC = 6, MOST_TEXT = 64 };

/* The types by what stands in 'descr' behind the byte order. */
static const struct {
    char name[3];
    NumberKind type;
} types[] = {
    {"b1", NUMBER_U8},  {"u1", NUMBER_U8},  {"i1", NUMBER_I8},  {"u2", NUMBER_U16},
    {"i2", NUMBER_I16}, {"u4", NUMBER_U32}, {"i4", NUMBER_I32}, {"u8", NUMBER_U64},
    {"i8", NUMBER_I64}, {"f4", NUMBER_F32}, {"f8", NUMBER_F64},
};

typedef struct Literal {
    const char *path, *at, *begin, *end;
    Numbers *out;
    bool descr, order, shape; /* the keys that were there */
} Literal;

static int wrong(const Literal *l, const char *what)
{
    return fault("%s: byte %lld of its header: %s; the header must be {'descr': '<u1', "
                 "'fortran_order': False, 'shape': (60000, 28, 28)} or its like",
                 l->path, (long long)(l->at - l->begin), what);
}

/* ---- the grammar ---- */

static void skip_blanks(Literal *l)
{
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\t' || *l->at == '\n'))
        l->at++;
}

static bool take(Literal *l, char c)
{
    skip_blanks(l);
    if (l->at == l->end || *l->at != c)
        return false;
    l->at++;
    return true;
}

/* A text in quotes of either kind, without a backslash. */
static int take_text(Literal *l, char text[MOST_TEXT])
{
    size_t length = 0;
    skip_blanks(l);
    char quote = l->at < l->end ? *l->at : '\0';
    if (quote != '\'' && quote != '"')
        return wrong(l, "a text in quotes is missing");
    for (l->at++; l->at < l->end && *l->at != quote; l->at++) {
        if (*l->at < ' ' || *l->at == '\\' || *l->at == 127 || length + 1 == MOST_TEXT)
            return wrong(l, "a text that is none of the format's");
        text[length++] = *l->at;
    }
    text[length] = '\0';
    return take(l, quote) ? 0 : wrong(l, "a quote is not closed");
}

static bool take_word(Literal *l, const char *word)
{
    size_t length = strlen(word);
    skip_blanks(l);
    if ((size_t)(l->end - l->at) < length || memcmp(l->at, word, length) != 0)
        return false;
    l->at += length;
    return true;
}

static int take_descr(Literal *l)
{
    char text[MOST_TEXT];
    skip_blanks(l);
    if (l->at < l->end && *l->at == '[')
        return fault("%s has fields, a structured array; save images and labels as arrays of "
                     "numbers of their own",
                     l->path);
    if (take_text(l, text) < 0)
        return -1;
    if (text[0] && strchr("<>|=", text[0]) && text[1] == 'O')
        return fault("%s holds pickled Python objects, which are programs and never run here; save "
                     "it as an array of numbers (numpy.stack, astype)",
                     l->path);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (text[0] && strchr("<>|", text[0]) && strcmp(text + 1, types[i].name) == 0 &&
            (text[0] != '|' || types[i].name[1] == '1')) {
            l->out->type = types[i].type;
            l->out->big_endian = text[0] == '>';
            return 0;
        }
    return fault("%s has elements of the type '%s'; integers of any width, 32-bit and 64-bit "
                 "floats can be read; save it with .astype('uint8')",
                 l->path, text);
}

static int take_order(Literal *l)
{
    if (take_word(l, "True"))
        l->out->by_columns = true;
    else if (!take_word(l, "False"))
        return wrong(l, "True or False is missing");
    return 0;
}

/* Python 2 wrote an L behind the long ones. */
static int take_number(Literal *l, int64_t *out)
{
    skip_blanks(l);
    if (l->at == l->end || !isdigit((unsigned char)*l->at))
        return wrong(l, "a whole number is missing");
    for (*out = 0; l->at < l->end && isdigit((unsigned char)*l->at); l->at++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, *l->at - '0', out))
            return wrong(l, "a number is too large");
    if (l->at < l->end && *l->at == 'L')
        l->at++;
    return 0;
}

static int take_shape(Literal *l)
{
    int rank = 0;
    bool comma = true;
    if (!take(l, '('))
        return wrong(l, "( is missing");
    while (!take(l, ')')) {
        if (!comma)
            return wrong(l, ", or ) is missing");
        if (rank == NUMBERS_MAX_RANK)
            return fault("%s has more than %d dimensions; images have 3 or 4, labels 1", l->path,
                         NUMBERS_MAX_RANK);
        if (take_number(l, &l->out->dim[rank++]) < 0)
            return -1;
        comma = take(l, ',');
    }
    if (rank == 1 && !comma)
        return wrong(l, "(N) is no shape, (N,) is");
    l->out->rank = rank;
    return 0;
}

static int take_entry(Literal *l)
{
    static const struct {
        const char *key;
        size_t seen;
        int (*take_value)(Literal *l);
    } keys[] = {
        {"descr", offsetof(Literal, descr), take_descr},
        {"fortran_order", offsetof(Literal, order), take_order},
        {"shape", offsetof(Literal, shape), take_shape},
    };
    char key[MOST_TEXT];
    if (take_text(l, key) < 0)
        return -1;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool *seen = (bool *)((char *)l + keys[i].seen);
        if (strcmp(key, keys[i].key) != 0)
            continue;
        if (*seen)
            return wrong(l, "a key stands there twice");
        *seen = true;
        return take(l, ':') ? keys[i].take_value(l) : wrong(l, ": is missing");
    }
    return wrong(l, "a key that the format has not");
}

static int take_dictionary(Literal *l)
{
    bool comma = true;
    if (!take(l, '{'))
        return wrong(l, "{ is missing");
    while (!take(l, '}')) {
        if (!comma)
            return wrong(l, ", or } is missing");
        if (take_entry(l) < 0)
            return -1;
        comma = take(l, ',');
    }
    skip_blanks(l);
    if (l->at != l->end)
        return wrong(l, "something stands behind the }");
    return l->descr && l->order && l->shape ? 0 : wrong(l, "a key is missing");
}

/* ---- the file ---- */

int npy_begin(const uint8_t raw[NPY_BEGIN], const char *path, size_t *header)
{
    if (memcmp(raw, "\x93NUMPY", MAGIC) != 0)
        return fault("%s does not begin as a .npy file does; it is not one", path);
    if (raw[6] < 1 || raw[6] > 3 || raw[7] != 0)
        return fault("%s has the version %d.%d of the .npy format; 1.0 to 3.0 are known", path,
                     raw[6], raw[7]);
    size_t length = raw[8] | (size_t)raw[9] << 8;
    *header = length + 10;
    if (raw[6] > 1)
        *header = (length | (size_t)raw[10] << 16 | (size_t)raw[11] << 24) + NPY_BEGIN;
    if (*header < NPY_BEGIN + 2 || *header > NPY_MOST_HEADER)
        return fault("%s: its .npy header says that it has %zu bytes; that cannot be", path,
                     *header);
    return 0;
}

int npy_header(const char *raw, size_t header, Numbers *out)
{
    size_t begin = raw[6] == 1 ? 10 : NPY_BEGIN;
    Literal l = {
        .path = out->path, .begin = raw, .at = raw + begin, .end = raw + header, .out = out};
    if (raw[header - 1] != '\n')
        return fault("%s: its .npy header does not end in a new line; it is damaged", out->path);
    return take_dictionary(&l);
}

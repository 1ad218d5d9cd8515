/* Tables of comma-separated values (RFC 4180) of an image a row, plain or gzipped: one column is
 * the label, the others are pixels. Rows are read in place, at the speed of the disk nearly: a set
 * has some fifty million fields. */
#include "../../ir/ir.h"
#include "formats.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    FIRST_BUFFER = 1 << 18,
    MOST_ROW = 1 << 26,
    FIRST_ROWS = 1024,
    NUMBER_TEXT = 64,
    SHOWN = 40
};

/* What the pixels are, as far as it is known. */
typedef enum Scale {
    SCALE_OPEN,  /* all are 0 or 1 */
    SCALE_WHOLE, /* 0 to 255 */
    SCALE_UNIT   /* 0 to 1 */
} Scale;

typedef struct Csv {
    GzipFile in;
    const CsvKind *kind;
    CsvTable *out;
    char *buffer, *row, *end; /* what was read; the row that is next; the end of what was read */
    size_t room;
    bool ended; /* the file is all in the buffer */
    long long line;
    int64_t columns, label; /* of a row; which one is the label */
    int64_t rows_room;
    Scale scale;
    bool has_points; /* pixels are written as 1.0 */
} Csv;

typedef struct Field {
    const char *begin, *end;
} Field;

/* ---- rows ---- */

/* More of the file behind what is left in the buffer. */
static int read_more(Csv *c)
{
    size_t left = (size_t)(c->end - c->row), got;
    memmove(c->buffer, c->row, left);
    if (c->room - left < c->room / 2) {
        if (c->room > MOST_ROW)
            return fault("%s:%lld: the row has more than %d bytes", c->in.path, c->line + 1,
                         MOST_ROW);
        c->room *= 2;
        c->buffer = xrealloc(c->buffer, c->room + 1);
    }
    c->row = c->buffer;
    if (gzip_some(&c->in, c->buffer + left, c->room - left, &got) < 0)
        return -1;
    c->end = c->buffer + left + got;
    c->ended = got < c->room - left;
    *c->end = '\0';
    return 0;
}

/* The next row without its end of line: 1, 0 at the end of the file, -1 after a message. */
static int next_row(Csv *c, Field *row)
{
    char *stop;
    while (!(stop = memchr(c->row, '\n', (size_t)(c->end - c->row))) && !c->ended)
        if (read_more(c) < 0)
            return -1;
    if (!stop && c->row == c->end)
        return 0;
    *row = (Field){c->row, stop ? stop : c->end};
    c->row = stop ? stop + 1 : c->end;
    c->line++;
    if (row->end > row->begin && row->end[-1] == '\r')
        row->end--;
    return 1;
}

/* ---- fields ---- */

static Field trimmed(Field f)
{
    while (f.begin < f.end && (*f.begin == ' ' || *f.begin == '\t'))
        f.begin++;
    while (f.end > f.begin && (f.end[-1] == ' ' || f.end[-1] == '\t'))
        f.end--;
    return f;
}

static bool is_quoted(Field f)
{
    return f.end - f.begin >= 2 && *f.begin == '"' && f.end[-1] == '"';
}

/* The field at *at, and *at behind its comma, or NULL where it is the row's last. Commas in quotes
 * are its own. */
static Field next_field(const char **at, const char *end)
{
    const char *stop = *at;
    bool quoted = false;
    while (stop < end && (quoted || *stop != ',')) {
        quoted = quoted != (*stop == '"');
        stop++;
    }
    Field f = trimmed((Field){*at, stop});
    *at = stop < end ? stop + 1 : NULL;
    return is_quoted(f) ? trimmed((Field){f.begin + 1, f.end - 1}) : f;
}

/* Of any way to write a number; false: it is none. */
static bool number_of(Field f, double *out)
{
    char text[NUMBER_TEXT], *end;
    size_t length = (size_t)(f.end - f.begin);
    if (length == 0 || length >= sizeof text || !memchr("+-.0123456789", *f.begin, 13))
        return false;
    memcpy(text, f.begin, length);
    text[length] = '\0';
    if (strspn(text, "+-.0123456789eE") != length) /* no hexadecimal ones */
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

static const char *shown(Field f, char out[SHOWN])
{
    char text[SHOWN];
    int length = f.end - f.begin < SHOWN ? (int)(f.end - f.begin) : SHOWN - 1;
    snprintf(text, sizeof text, "%.*s", length, f.begin);
    return printable(text, out, SHOWN);
}

static int wrong_field(const Csv *c, int64_t column, Field f, const char *needed)
{
    char text[SHOWN];
    return fault("%s:%lld: column %lld: '%s' is no %s", c->in.path, c->line, (long long)column + 1,
                 shown(f, text), needed);
}

/* ---- pixels ---- */

/* The pixels so far were 0 and 1 of a unit. */
static void scale_up(Csv *c, int64_t count)
{
    c->scale = SCALE_UNIT;
    for (int64_t i = 0; i < count; i++)
        c->out->image[i] = (uint8_t)(c->out->image[i] * UINT8_MAX);
}

/* `at` pixels were put before. */
static int put_any_pixel(Csv *c, int64_t column, Field f, int64_t at)
{
    double value;
    if (!number_of(f, &value))
        return wrong_field(c, column, f, "number");
    if (c->scale == SCALE_OPEN && value != 0 && value != 1) {
        if (value > 0 && value < 1)
            scale_up(c, at);
        else
            c->scale = SCALE_WHOLE;
    }
    c->has_points = c->has_points || memchr(f.begin, '.', (size_t)(f.end - f.begin));
    if (pixel_of(value, c->scale == SCALE_UNIT ? UINT8_MAX : 1, &c->out->image[at]) == 0)
        return 0;
    return wrong_field(c, column, f,
                       c->scale == SCALE_UNIT
                           ? "pixel: others are from 0 to 1, and times 255 they must be whole"
                           : "pixel, which is a whole number from 0 to 255");
}

/* The fast way of nearly all fields: up to three digits and a comma, or the end of the row. */
static const char *plain_pixel(const char *at, const char *end, unsigned *value)
{
    const char *begin = at;
    unsigned digit;
    for (*value = 0; at < end && (digit = (unsigned)(*at - '0')) < 10 && at - begin < 3; at++)
        *value = 10 * *value + digit;
    return at > begin && (at == end || *at == ',') && *value <= UINT8_MAX ? at : NULL;
}

static int put_label(Csv *c, Field f)
{
    double value;
    if (!number_of(f, &value) || floor(value) != value || fabs(value) > INT32_MAX)
        return wrong_field(c, c->label, f, "label, which is the whole number of a class");
    c->out->label[c->out->count] = (int32_t)value;
    return 0;
}

static int wrong_count(const Csv *c, int64_t columns)
{
    return fault("%s:%lld: the row has %lld column%s, the rows before have %lld", c->in.path,
                 c->line, (long long)columns, columns == 1 ? "" : "s", (long long)c->columns);
}

/* One image: its label and, at the end of those before, its pixels. */
static int put_row(Csv *c, Field row)
{
    const char *at = row.begin, *stop;
    int64_t pixel = c->out->count * c->out->pixels, column = 0;
    unsigned value;
    for (; at && column < c->columns; column++) {
        if (column != c->label && c->scale == SCALE_WHOLE &&
            (stop = plain_pixel(at, row.end, &value))) {
            c->out->image[pixel++] = (uint8_t)value;
            at = stop < row.end ? stop + 1 : NULL;
            continue;
        }
        Field f = next_field(&at, row.end);
        if (column == c->label ? put_label(c, f) < 0 : put_any_pixel(c, column, f, pixel++) < 0)
            return -1;
    }
    for (; at; column++)
        next_field(&at, row.end);
    if (column != c->columns)
        return wrong_count(c, column);
    c->out->count++;
    return 0;
}

static int make_room(Csv *c)
{
    CsvTable *t = c->out;
    if (t->count < c->rows_room)
        return 0;
    c->rows_room = c->rows_room ? 2 * c->rows_room : FIRST_ROWS;
    size_t bytes = (size_t)(c->rows_room * t->pixels);
    bool fits = memory_holds(bytes) && c->rows_room < INT32_MAX;
    uint8_t *image = fits ? realloc(t->image, bytes + 1) : NULL;
    int32_t *label = image ? realloc(t->label, (size_t)c->rows_room * sizeof *label) : NULL;
    t->image = image ? image : t->image;
    t->label = label ? label : t->label;
    return label ? 0 : fault("%s: no memory for %lld rows", c->in.path, (long long)c->rows_room);
}

/* ---- the first row ---- */

static bool is_named(Field f, const char *name)
{
    return strlen(name) == (size_t)(f.end - f.begin) &&
           strncasecmp(f.begin, name, strlen(name)) == 0;
}

/* The column of a name, -1: there is none. */
static int64_t find_column(Field row, const char *name)
{
    const char *at = row.begin;
    for (int64_t column = 0; at; column++)
        if (is_named(next_field(&at, row.end), name))
            return column;
    return -1;
}

static int64_t find_label(const CsvKind *kind, Field row)
{
    static const char *const usual[] = {"label", "class", "y"};
    int64_t found = -1;
    if (kind->label)
        return find_column(row, kind->label);
    for (size_t i = 0; i < sizeof usual / sizeof *usual && found < 0; i++)
        found = find_column(row, usual[i]);
    return found;
}

/* Whether it is a row of names: it begins with one, or names the label somewhere. */
static bool is_header(const CsvKind *kind, Field row)
{
    const char *at = row.begin;
    double value;
    Field first = next_field(&at, row.end);
    return (first.begin < first.end && !number_of(first, &value)) || find_label(kind, row) >= 0;
}

static int64_t count_columns(Field row)
{
    const char *at = row.begin;
    int64_t count = 0;
    for (; at; count++)
        next_field(&at, row.end);
    return count;
}

/* Such as Kaggle's test files, for which the labels are to be sent there. */
static int no_labels(const Csv *c)
{
    return fault("%s has %lld columns, the pixels of an image, and none of labels, as Kaggle's "
                 "test files are; it can be neither trained nor evaluated with: take a part of the "
                 "training images for that (validation_split), or 'train --no-eval'",
                 c->in.path, (long long)c->columns);
}

static int wrong_columns(const Csv *c)
{
    long long pixels = c->kind->pixels;
    if (c->columns == pixels)
        return no_labels(c);
    return fault("%s has %lld column%s; a label and the %lld pixels of an image are needed",
                 c->in.path, (long long)c->columns, c->columns == 1 ? "" : "s", pixels);
}

static int wrong_separator(const Csv *c, Field row)
{
    const char *other = memchr(row.begin, ';', (size_t)(row.end - row.begin)) ? "';'" : "tabs";
    return fault("%s:%lld: its columns are separated by %s; commas are needed", c->in.path, c->line,
                 other);
}

/* Which column is the label, where the row of names, if there is one, does not tell. */
static int unnamed_label(Csv *c, bool header)
{
    if (header && c->kind->label)
        return fault("%s:%lld: no column has the name %s", c->in.path, c->line, c->kind->label);
    if (header && !c->kind->pixels)
        return no_labels(c);
    c->label = 0;
    return 0;
}

/* Columns, and which one is the label. */
static int take_first(Csv *c, Field row, bool header)
{
    size_t bytes = (size_t)(row.end - row.begin);
    if (!memchr(row.begin, ',', bytes) &&
        (memchr(row.begin, ';', bytes) || memchr(row.begin, '\t', bytes)))
        return wrong_separator(c, row);
    c->columns = count_columns(row);
    c->out->pixels = c->columns - 1;
    if (c->kind->label_column > c->columns)
        return fault("%s:%lld: it has %lld columns; the model's label, %d, counted from 0, is none "
                     "of them",
                     c->in.path, c->line, (long long)c->columns, c->kind->label_column - 1);
    if (c->columns < 2 || (c->kind->pixels && c->out->pixels != c->kind->pixels))
        return wrong_columns(c);
    c->label = c->kind->label_column ? c->kind->label_column - 1
               : header              ? find_label(c->kind, row)
                                     : -1;
    return c->label < 0 ? unnamed_label(c, header) : 0;
}

/* Behind the mark that some editors write; 1, or -1 after a message. */
static int first_row(Csv *c, Field *row)
{
    int status = next_row(c, row);
    if (status == 0 || (status > 0 && c->ended && c->row == c->end && row->begin == row->end))
        return fault("%s is empty", c->in.path);
    if (status < 0)
        return -1;
    if (row->end - row->begin >= 2 &&
        (memcmp(row->begin, "\xff\xfe", 2) == 0 || memcmp(row->begin, "\xfe\xff", 2) == 0))
        return fault("%s is text in UTF-16; make it UTF-8 with 'iconv -f UTF-16 -t UTF-8'",
                     c->in.path);
    if (row->end - row->begin >= 3 && memcmp(row->begin, "\xef\xbb\xbf", 3) == 0)
        row->begin += 3;
    return 1;
}

/* ---- all ---- */

/* Empty lines are allowed at the end alone. */
static int only_empty_left(Csv *c)
{
    long long empty = c->line;
    Field row;
    int status;
    while ((status = next_row(c, &row)) > 0)
        if (row.begin < row.end)
            return fault("%s:%lld: the row is empty", c->in.path, empty);
    return status;
}

static int put_rows(Csv *c, Field row)
{
    int status = 1;
    while (status > 0) {
        if (row.begin == row.end)
            return only_empty_left(c);
        if (make_room(c) < 0 || put_row(c, row) < 0)
            return -1;
        status = next_row(c, &row);
    }
    return status;
}

static int read_table(Csv *c)
{
    Field row;
    if (first_row(c, &row) < 0)
        return -1;
    bool header = is_header(c->kind, row);
    if (take_first(c, row, header) < 0)
        return -1;
    int status = header ? next_row(c, &row) : 1;
    c->out->line = c->line;
    if (status > 0)
        status = put_rows(c, row);
    if (status == 0 && c->out->count == 0)
        return fault("%s has no rows of images", c->in.path);
    if (status == 0 && c->scale == SCALE_OPEN && c->has_points)
        scale_up(c, c->out->count * c->out->pixels);
    if (status == 0 && c->scale == SCALE_UNIT)
        notice("%s: its pixels are from 0 to 1 and taken times 255", c->in.path);
    return status;
}

int csv_read(const char *path, const CsvKind *kind, CsvTable *out)
{
    Csv c = {.kind = kind, .out = out, .room = FIRST_BUFFER};
    *out = (CsvTable){0};
    c.buffer = c.row = c.end = xmalloc(c.room + 1);
    int status = gzip_open(&c.in, path);
    if (status == 0)
        status = read_table(&c);
    gzip_close(&c.in);
    free(c.buffer);
    return status;
}

void csv_free(CsvTable *t)
{
    free(t->image);
    free(t->label);
    *t = (CsvTable){0};
}

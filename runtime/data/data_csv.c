/* Tables of an image a row: train.csv and test.csv, or SET_train.csv and SET_test.csv, as Kaggle
 * has them, with labels; a path may be one of the two. */
#include "../../ir/ir.h"
#include "data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LOOK = 1 << 12, LEAST_COLUMNS = 4 };

/* A table of pixels by the first row, of commas or of what somebody else separates columns by. */
static bool has_columns(const char *path)
{
    char text[LOOK], unused[8];
    size_t got = 0;
    int separators = 0, status;
    GzipFile f;
    Messages before = fault_silence(unused, sizeof unused);
    status = gzip_open(&f, path);
    if (status == 0)
        status = gzip_some(&f, text, sizeof text, &got);
    gzip_close(&f);
    fault_release(before);
    for (size_t i = 0; i < got && text[i] != '\n'; i++)
        separators += strchr(",;\t", text[i]) != NULL && text[i] != '\0';
    return separators >= LEAST_COLUMNS || status < 0; /* what is damaged is told by who reads it */
}

static bool is_table(const char *path)
{
    size_t length = strlen(path);
    return (length > 4 && strcasecmp(path + length - 4, ".csv") == 0) ||
           (length > 7 && strcasecmp(path + length - 7, ".csv.gz") == 0);
}

/* The table of a split; NULL: there is none. The count of those that it may be, as find_split's. */
static int find_table(const char *path, const char *set, Split split, char **out)
{
    Split named;
    *out = NULL;
    if (is_directory(path))
        return find_split(path, set, split, ".csv", out);
    /* A file of no split is the training images', and those that are evaluated. */
    bool is_named = names_split(path, ".csv", &named);
    if (is_named ? named == split : split != SPLIT_VALIDATION)
        *out = copy_text(path);
    else if (is_named)
        *out = find_sibling(path, ".csv", named, split);
    return *out ? 1 : 0;
}

/* A file is believed to be a table by its name, so that an empty one is told. */
bool data_csv_probe(const char *path)
{
    bool found = false;
    if (!is_directory(path))
        return is_table(path);
    for (Split split = SPLIT_TRAIN; split <= SPLIT_VALIDATION && !found; split++) {
        char *file;
        found = find_split(path, NULL, split, ".csv", &file) > 0 && has_columns(file);
        free(file);
    }
    return found;
}

bool data_csv_has(const char *path, Split split)
{
    char *file;
    int count = find_table(path, NULL, split, &file);
    free(file);
    return count > 0;
}

/* ---- the shape of an image ---- */

static int side_of(int64_t pixels)
{
    int side = (int)(sqrt((double)pixels) + 0.5);
    return (int64_t)side * side == pixels ? side : 0;
}

/* The model's, unless it makes something of the images: then squares, gray or of RGB pixels. */
static int find_shape(const NincModel *model, const char *path, int64_t pixels, Dataset *out)
{
    int gray = side_of(pixels), colour = pixels % 3 == 0 ? side_of(pixels / 3) : 0;
    out->h = model->image_h;
    out->w = model->image_w;
    out->c = model->image_c;
    if ((int64_t)out->h * out->w * out->c == pixels)
        return 0;
    if (!gray && !colour)
        return fault("%s has %lld pixels a row, which are no square, gray or of RGB pixels", path,
                     (long long)pixels);
    out->h = out->w = colour ? colour : gray;
    out->c = colour ? 3 : 1;
    return 0;
}

static int read_table(const DataRequest *request, const char *path, Dataset *out)
{
    const NincModel *model = request->model;
    CsvKind kind = {0};
    CsvTable t;
    if (model->data) {
        kind.label = model->data->label;
        kind.label_column = model->data->label_column;
    }
    if (!has_transform(model))
        kind.pixels = (int64_t)model->image_h * model->image_w * model->image_c;
    int status = csv_read(path, &kind, &t);
    if (status == 0)
        status = find_shape(model, path, t.pixels, out);
    if (status == 0) {
        out->image = t.image;
        out->label = t.label;
        out->count = (int)t.count;
        out->source = copy_text(path);
        out->first_line = t.line;
        t = (CsvTable){0};
    }
    csv_free(&t);
    return status;
}

int data_csv_read(const DataRequest *request, Dataset *out)
{
    static const char *const usual[] = {
        [SPLIT_TRAIN] = "train", [SPLIT_TEST] = "test", [SPLIT_VALIDATION] = "val"};
    const char *name = usual[request->split];
    char *file;
    int status, count = find_table(request->path, request->model->dataset, request->split, &file);
    if (count > 1)
        status = fault("%s has several tables whose names end in %s.csv; give the directory of one "
                       "set with --data",
                       request->path, name);
    else if (count == 0)
        status = fault(
            "%s %s table of the %s images; put %s.csv into its directory%s", request->path,
            is_directory(request->path) ? "has no" : "is not the", name, name,
            request->split == SPLIT_TEST ? "; 'train --no-eval' goes without test images" : "");
    else
        status = read_table(request, file, out);
    free(file);
    return status;
}

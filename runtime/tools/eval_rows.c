/* What the model makes of each image of a set: a table, and a picture of its worst mistakes. */
#include "../../ir/ir.h"
#include "tools.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MISTAKES = 64, LINE_BYTES = 320 };

int eval_rows_new(EvalRows *rows, int images, int classes)
{
    *rows = (EvalRows){.classes = classes};
    rows->row = calloc((size_t)images + 1, sizeof *rows->row);
    rows->probability = xmalloc((size_t)classes * sizeof *rows->probability);
    if (!rows->row)
        return fault("no memory for what is told of %d images", images);
    return 0;
}

void eval_rows_free(EvalRows *rows)
{
    free(rows->row);
    free(rows->probability);
    *rows = (EvalRows){0};
}

/* The first of equal classes counts, as in the confusion. */
void eval_rows_take(void *who, const StepInput *input, const float *logits)
{
    EvalRows *rows = who;
    for (int i = 0; i < input->valid; i++) {
        const float *logit = logits + (size_t)i * (size_t)rows->classes;
        int best = 0, label = input->data->label[input->index[i]];
        for (int k = 1; k < rows->classes; k++)
            if (logit[k] > logit[best])
                best = k;
        softmax(logit, rows->classes, rows->probability);
        rows->row[rows->count++] = (EvalRow){.image = input->index[i],
                                             .label = label,
                                             .predicted = best,
                                             .probability = rows->probability[best],
                                             .of_label = rows->probability[label]};
    }
}

/* ---- the table ---- */

static void write_row(CsvFile *csv, const EvalRow *row, const Dataset *data,
                      const ClassNames *names)
{
    if (data->file)
        csv_text(csv, data->file[row->image]);
    else
        csv_integer(csv, row->image);
    csv_integer(csv, row->label);
    csv_text(csv, names->name[row->label]);
    csv_integer(csv, row->predicted);
    csv_text(csv, names->name[row->predicted]);
    csv_real(csv, row->probability);
    csv_real(csv, row->of_label);
    csv_end_line(csv);
}

int eval_rows_csv(const EvalRows *rows, const Dataset *data, const ClassNames *names,
                  const char *path)
{
    static const char *const column[] = {"image",          "class",       "name",
                                         "predicted",      "predicted_name", "probability",
                                         "probability_of_class"};
    CsvFile csv;
    if (csv_open(&csv, path) < 0)
        return -1;
    for (int i = 0; i < (int)(sizeof column / sizeof *column); i++)
        csv_text(&csv, column[i]);
    csv_end_line(&csv);
    for (int i = 0; i < rows->count; i++)
        write_row(&csv, &rows->row[i], data, names);
    return csv_close(&csv);
}

/* ---- the picture ---- */

/* The least probability of the true class first; of equal ones the first image. */
static int by_mistake(const void *a, const void *b)
{
    const EvalRow *x = *(const EvalRow *const *)a, *y = *(const EvalRow *const *)b;
    if (x->of_label != y->of_label)
        return x->of_label < y->of_label ? -1 : 1;
    return x->image < y->image ? -1 : x->image > y->image;
}

/* The worst mistakes into `out` of rows->count; how many there are. */
static int find_mistakes(const EvalRows *rows, const EvalRow **out)
{
    int count = 0;
    for (int i = 0; i < rows->count; i++)
        if (rows->row[i].label != rows->row[i].predicted)
            out[count++] = &rows->row[i];
    qsort(out, (size_t)count, sizeof(EvalRow *), by_mistake);
    return count < MOST_MISTAKES ? count : MOST_MISTAKES;
}

/* "Shirt" and, beneath, "Coat 0.98". */
static void set_cell(GridCell *cell, const EvalRow *row, const Dataset *data,
                     const ClassNames *names, char line[LINE_BYTES])
{
    size_t bytes = (size_t)data->h * (size_t)data->w * (size_t)data->c;
    snprintf(line, LINE_BYTES, "%.12s %.2f", names->name[row->predicted], row->probability);
    *cell = (GridCell){{data->image + (size_t)row->image * bytes, data->h, data->w, data->c},
                       {names->name[row->label], line}};
}

static int draw_mistakes(const EvalRow *const *row, int count, const Dataset *data,
                         const ClassNames *names, const char *path)
{
    static char line[MOST_MISTAKES][LINE_BYTES];
    GridCell cell[MOST_MISTAKES];
    Image picture;
    for (int i = 0; i < count; i++)
        set_cell(&cell[i], row[i], data, names, line[i]);
    if (image_grid(cell, count, &picture) < 0)
        return -1;
    int status = image_write_png(path, &picture);
    image_free(&picture);
    return status;
}

int eval_rows_mistakes(const EvalRows *rows, const Dataset *data, const ClassNames *names,
                       const char *path)
{
    const EvalRow **row = xmalloc(((size_t)rows->count + 1) * sizeof *row);
    int count = find_mistakes(rows, row), status = 0;
    if (count > 0)
        status = draw_mistakes(row, count, data, names, path);
    else
        notice("no image is mistaken; %s is not written", path);
    free(row);
    return status;
}

/* An evaluation in words and as JSON. */
#include "../../ir/ir.h"
#include "tools.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* NUMBER_WIDTH: of a class's number and the blanks around it. */
enum { PAIRS = 10, NAME_WIDTH = 24, NUMBER_WIDTH = 5, MACRO_WIDTH = 13 };

static int64_t cell(const Evaluation *e, int label, int predicted)
{
    return e->confusion[(int64_t)label * e->classes + predicted];
}

ClassScore class_score(const Evaluation *e, int class)
{
    ClassScore s = {0};
    int64_t hits = cell(e, class, class);
    for (int k = 0; k < e->classes; k++) {
        s.images += cell(e, class, k);
        s.predicted += cell(e, k, class);
    }
    s.precision = mean((double)hits, s.predicted);
    s.recall = mean((double)hits, s.images);
    s.f1 = mean(2 * (double)hits, s.images + s.predicted);
    return s;
}

static double or_zero(double ratio)
{
    return isfinite(ratio) ? ratio : 0;
}

ClassScore macro_score(const Evaluation *e)
{
    ClassScore all = {0};
    int classes = 0;
    for (int k = 0; k < e->classes; k++) {
        ClassScore s = class_score(e, k);
        classes += s.images + s.predicted > 0;
        all.precision += or_zero(s.precision);
        all.recall += or_zero(s.recall);
        all.f1 += or_zero(s.f1);
        all.images += s.images;
        all.predicted += s.predicted;
    }
    all.precision = mean(all.precision, classes);
    all.recall = mean(all.recall, classes);
    all.f1 = mean(all.f1, classes);
    return all;
}

/* ---- text ---- */

/* Columns that a UTF-8 text of simple characters takes. */
static int columns(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += (*text & 0xC0) != 0x80;
    return n;
}

static int name_width(const ClassNames *names)
{
    int widest = (int)strlen("class");
    for (int i = 0; i < names->count; i++)
        if (columns(names->name[i]) > widest)
            widest = columns(names->name[i]);
    return widest < NAME_WIDTH ? widest : NAME_WIDTH;
}

/* Bytes of the first `most` columns. */
static int head_bytes(const char *text, int most)
{
    int n = 0;
    for (int at = 0; text[n]; n++) {
        at += (text[n] & 0xC0) != 0x80;
        if (at > most)
            break;
    }
    return n;
}

/* As wide as that; of a longer name the beginning, with '..'. */
static void print_name(const char *name, int width)
{
    if (columns(name) <= width)
        printf("%s%*s", name, width - columns(name), "");
    else if (width > 2)
        printf("%.*s..", head_bytes(name, width - 2), name);
    else
        printf("%*s", width, "");
}

static void print_ratio(double value)
{
    if (isfinite(value))
        printf("  %9.4f", value);
    else
        printf("  %9s", "-");
}

static void print_scores(const Evaluation *e, const ClassNames *names, int width)
{
    printf("\n%3s  %-*s  precision     recall         F1  images\n", "", width, "class");
    for (int k = 0; k < e->classes; k++) {
        ClassScore s = class_score(e, k);
        printf("%3d  ", k);
        print_name(names->name[k], width);
        print_ratio(s.precision);
        print_ratio(s.recall);
        print_ratio(s.f1);
        printf("  %6lld\n", (long long)s.images);
    }
    ClassScore all = macro_score(e);
    printf("%3s  %-*s", "", width, width < MACRO_WIDTH ? "macro" : "macro average");
    print_ratio(all.precision);
    print_ratio(all.recall);
    print_ratio(all.f1);
    printf("  %6lld\n", (long long)all.images);
}

/* Digits of the largest count. */
static int matrix_digits(const Evaluation *e)
{
    int digits = 3;
    for (int i = 0; i < e->classes * e->classes; i++) {
        int needed = snprintf(NULL, 0, "%lld", (long long)e->confusion[i]);
        digits = needed > digits ? needed : digits;
    }
    return digits;
}

/* Columns that a matrix leaves for the names; negative where it does not fit at all. */
static int matrix_room(const Evaluation *e)
{
    if (e->classes > TABLE_COLUMNS)
        return -1;
    return TABLE_COLUMNS - NUMBER_WIDTH - e->classes * (matrix_digits(e) + 2);
}

static void print_matrix(const Evaluation *e, const ClassNames *names, int width)
{
    int digits = matrix_digits(e);
    printf("\nrows: the class of the images; columns: what they are taken for\n%*s",
           width + NUMBER_WIDTH, "");
    for (int k = 0; k < e->classes; k++)
        printf("  %*d", digits, k);
    printf("\n");
    for (int row = 0; row < e->classes; row++) {
        printf("%3d  ", row);
        print_name(names->name[row], width);
        for (int k = 0; k < e->classes; k++) {
            if (cell(e, row, k))
                printf("  %*lld", digits, (long long)cell(e, row, k));
            else
                printf("  %*s", digits, ".");
        }
        printf("\n");
    }
}

/* The index of the largest confusion of two classes that is not `taken`; -1: there is none. */
static int64_t worst_pair(const Evaluation *e, const bool *taken)
{
    int64_t worst = -1, cells = (int64_t)e->classes * e->classes;
    for (int64_t i = 0; i < cells; i++) {
        bool wrong = i / e->classes != i % e->classes && e->confusion[i] > 0 && !taken[i];
        if (wrong && (worst < 0 || e->confusion[i] > e->confusion[worst]))
            worst = i;
    }
    return worst;
}

static void print_pairs(const Evaluation *e, const ClassNames *names)
{
    size_t cells = (size_t)e->classes * (size_t)e->classes;
    bool *taken = memset(xmalloc(cells), false, cells);
    printf("\nmost confused\n");
    for (int n = 0; n < PAIRS; n++) {
        int64_t at = worst_pair(e, taken);
        if (at < 0)
            break;
        taken[at] = true;
        int label = (int)(at / e->classes), predicted = (int)(at % e->classes);
        Text line = {0};
        text_append(&line, "  %lld of %lld images of %s (%d) are taken for %s (%d)",
                    (long long)e->confusion[at], (long long)class_score(e, label).images,
                    names->name[label], label, names->name[predicted], predicted);
        print_lines(stdout, line.data, TABLE_COLUMNS);
        text_free(&line);
    }
    free(taken);
}

int report_print(const Evaluation *e, const ClassNames *names, Split split)
{
    const Metrics *m = &e->metrics;
    int width = name_width(names);
    const char *of = split_names[split];
    printf("%s loss %.4f  %s accuracy %.4f  (%lld images)\n", of, mean(m->loss, m->weight), of,
           mean((double)m->correct, m->images), (long long)m->images);
    if (e->confusion)
        print_scores(e, names, width);
    if (!e->confusion && e->classes > CONFUSION_CLASSES)
        notice("of more than %d classes none are told apart", CONFUSION_CLASSES);
    else if (!e->confusion)
        notice("the model returns no logits: no classes are told apart");
    else if (matrix_room(e) >= 0)
        print_matrix(e, names, width < matrix_room(e) ? width : matrix_room(e));
    else
        print_pairs(e, names);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

/* ---- JSON ---- */

static json_t *scores_json(const Evaluation *e, const ClassNames *names)
{
    json_t *list = json_array();
    for (int k = 0; k < e->classes; k++) {
        ClassScore s = class_score(e, k);
        json_array_append_new(
            list, json_pack("{s:i, s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "class", k, "name",
                            json_name(names->name[k]), "precision", json_finite(s.precision),
                            "recall", json_finite(s.recall), "f1", json_finite(s.f1), "support",
                            (json_int_t)s.images, "images", (json_int_t)s.images, "predicted",
                            (json_int_t)s.predicted));
    }
    return list;
}

static json_t *macro_json(const Evaluation *e)
{
    ClassScore s = macro_score(e);
    return json_pack("{s:o, s:o, s:o}", "precision", json_finite(s.precision), "recall",
                     json_finite(s.recall), "f1", json_finite(s.f1));
}

static json_t *matrix_json(const Evaluation *e)
{
    json_t *rows = json_array();
    for (int label = 0; label < e->classes; label++) {
        json_t *row = json_array();
        for (int k = 0; k < e->classes; k++)
            json_array_append_new(row, json_integer(cell(e, label, k)));
        json_array_append_new(rows, row);
    }
    return rows;
}

int report_json(const Evaluation *e, const ClassNames *names, const EvalOptions *options)
{
    const Metrics *m = &e->metrics;
    json_t *data = options->data ? json_name(options->data) : json_null();
    json_t *all = json_pack(
        "{s:o, s:s, s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "weights", json_name(options->weights),
        "split", split_names[options->split], "data", data, "loss",
        json_finite(mean(m->loss, m->weight)), "accuracy",
        json_finite(mean((double)m->correct, m->images)), "images", (json_int_t)m->images,
        "classes", e->confusion ? scores_json(e, names) : json_null(), "macro",
        e->confusion ? macro_json(e) : json_null(), "confusion",
        e->confusion ? matrix_json(e) : json_null());
    return json_save(options->json, all);
}

/* ---- a picture ---- */

int report_picture(const Evaluation *e, const char *path)
{
    Image picture;
    if (!e->confusion)
        return fault("--confusion %s: of more than %d classes no picture is made", path,
                     CONFUSION_CLASSES);
    if (confusion_image(e->confusion, e->classes, &picture) < 0)
        return -1;
    int status = image_write_png(path, &picture);
    image_free(&picture);
    return status;
}

/* What predict says of each image: lines of text, JSON, CSV. */
#include "../../ir/ir.h"
#include "predict.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

static void print_prediction(const Predict *p, const Prediction *one)
{
    char file[DATA_PATH];
    printf("%s:", printable(one->file, file, sizeof file));
    for (int i = 0; i < p->told; i++)
        printf("%s %s %.2f", i ? "," : "", p->names.name[one->rank[i]], one->probability[i]);
    printf("\n");
}

int predict_print(const Predict *p)
{
    for (int i = 0; i < p->group && p->first + i < p->files.count; i++)
        if (p->list[p->first + i].probability)
            print_prediction(p, &p->list[p->first + i]);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

/* ---- JSON ---- */

static json_t *prediction_json(const Predict *p, const Prediction *one)
{
    if (one->error)
        return json_pack("{s:o, s:o}", "file", json_name(one->file), "error",
                         json_name(one->error));
    json_t *list = json_array();
    for (int i = 0; i < p->told; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:f}", "class", one->rank[i], "name",
                                              p->names.name[one->rank[i]], "probability",
                                              one->probability[i]));
    return json_pack("{s:o, s:o}", "file", json_name(one->file), "predictions", list);
}

static int save_json(const Predict *p)
{
    json_t *list = json_array();
    for (int i = 0; i < p->files.count; i++)
        json_array_append_new(list, prediction_json(p, &p->list[i]));
    return json_save(p->options->json, list);
}

/* ---- CSV ---- */

static void line_of_class(const Predict *p, CsvFile *csv, const Prediction *one, int i)
{
    csv_text(csv, one->file);
    csv_integer(csv, i + 1);
    csv_integer(csv, one->rank[i]);
    csv_text(csv, p->names.name[one->rank[i]]);
    csv_real(csv, one->probability[i]);
    csv_text(csv, "");
    csv_end_line(csv);
}

static void line_of_error(CsvFile *csv, const Prediction *one)
{
    csv_text(csv, one->file);
    for (int i = 0; i < 4; i++)
        csv_text(csv, "");
    csv_text(csv, one->error);
    csv_end_line(csv);
}

static int save_csv(const Predict *p)
{
    static const char *const column[] = {"file", "rank",        "class",
                                         "name", "probability", "error"};
    CsvFile csv;
    if (csv_open(&csv, p->options->csv) < 0)
        return -1;
    for (int i = 0; i < (int)(sizeof column / sizeof *column); i++)
        csv_text(&csv, column[i]);
    csv_end_line(&csv);
    for (int i = 0; i < p->files.count; i++) {
        if (p->list[i].error)
            line_of_error(&csv, &p->list[i]);
        for (int k = 0; p->list[i].probability && k < p->told; k++)
            line_of_class(p, &csv, &p->list[i], k);
    }
    return csv_close(&csv);
}

int predict_save(const Predict *p)
{
    int status = p->options->json ? save_json(p) : 0;
    if (p->options->csv && save_csv(p) < 0)
        status = -1;
    return status;
}

/* The names of the classes: of the data sets that are known, or from a file. */
#include "../../ir/ir.h"
#include "data.h"
#include "sets.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Those of the data set that was read, or lies there. */
static int own_names(const NincModel *model, const char *data, const Dataset *read, ClassNames *out)
{
    Dataset found = {0};
    if ((!read || !read->class_name) && dataset_names(model, data, &found) < 0)
        return -1;
    const Dataset *d = read && read->class_name ? read : &found;
    for (int i = 0; d->class_name && d->classes == model->classes && i < d->classes; i++)
        class_names_add_printable(out, d->class_name[i]);
    dataset_free(&found);
    return 0;
}

/* The digits of mnist are their numbers. */
static void default_names(const NincModel *model, ClassNames *out)
{
    const DataSet *known = find_data_set(model->dataset);
    bool named = known && known->classes == model->classes && known->class_name;
    for (int i = 0; i < model->classes; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        class_names_add(out, named ? known->class_name[i] : number);
    }
}

/* ---- from a file ---- */

/* Control characters become blanks; 0 or -1 after an error line. */
static int check_line(char *line, const char *path, int number)
{
    if (line[0] == '\0')
        return fault("%s:%d: the line is empty; a class name is needed on each", path, number);
    if (strlen(line) > CLASS_NAME_BYTES)
        return fault("%s:%d: a class name is longer than %d bytes", path, number, CLASS_NAME_BYTES);
    json_t *text = json_string(line);
    if (!text)
        return fault("%s:%d: the class name is not UTF-8", path, number);
    json_decref(text);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = ' ';
    return 0;
}

/* Makes the lines the names. */
static int take_names(const NincModel *model, const char *path, TextLines *lines, ClassNames *out)
{
    for (int i = 0; i < lines->count; i++)
        if (check_line(lines->line[i], path, i + 1) < 0)
            return -1;
    if (lines->count != model->classes)
        return fault("%s has %d class names, the model has %d classes; one a line is needed", path,
                     lines->count, model->classes);
    *out = (ClassNames){lines->line, lines->count};
    *lines = (TextLines){0};
    return 0;
}

static int names_of_file(const NincModel *model, const char *path, ClassNames *out)
{
    TextLines lines;
    int status = text_lines_read(path, &lines);
    if (status == 0)
        status = take_names(model, path, &lines, out);
    text_lines_free(&lines);
    return status;
}

/* The file that stands with the data set; NULL: none does. The caller frees it. */
static char *beside_data(const NincModel *model, const char *data)
{
    char directory[DATA_PATH];
    if (!dataset_directory(model, data, directory))
        return NULL;
    char *place = is_directory(directory) ? copy_text(directory) : directory_of(directory);
    char *path = join_path(place, "classes.txt");
    free(place);
    if (access(path, F_OK) == 0 || errno != ENOENT)
        return path;
    free(path);
    return NULL;
}

static int names_of_data(const NincModel *model, const NameSource *s, ClassNames *out)
{
    char *path = beside_data(model, s->data);
    int status = path ? names_of_file(model, path, out) : own_names(model, s->data, s->read, out);
    free(path);
    return status;
}

int class_names_read(const NincModel *model, const NameSource *s, ClassNames *out)
{
    bool data_first = s->data || (s->read && s->read->class_name);
    *out = (ClassNames){0};
    if (s->file)
        return names_of_file(model, s->file, out);
    if (data_first && names_of_data(model, s, out) < 0)
        return -1;
    for (int i = 0; out->count < model->classes && s->kept && i < s->kept->count; i++)
        class_names_add(out, s->kept->name[i]);
    if (out->count == 0 && !data_first && names_of_data(model, s, out) < 0)
        return -1;
    if (out->count == 0)
        default_names(model, out);
    return 0;
}

/* ---- with parameters ---- */

void class_names_to_keep(const NincModel *model, const char *data, const Dataset *read,
                         ClassNames *out)
{
    char why[256];
    ClassNames known = {0};
    *out = (ClassNames){0};
    Messages before = fault_hold(why, sizeof why);
    int status = own_names(model, data, read, out);
    fault_release(before);
    if (status < 0)
        notice("%s; the parameters are saved without names of classes", why);
    default_names(model, &known);
    bool same = true;
    for (int i = 0; i < out->count && same; i++)
        same = strcmp(out->name[i], known.name[i]) == 0;
    if (same)
        class_names_free(out);
    class_names_free(&known);
}

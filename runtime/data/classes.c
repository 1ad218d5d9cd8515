/* The names of the classes: of the data sets that are known, or from a file. */
#include "../../ir/ir.h"
#include "data.h"
#include "sets.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 254 };

static void add_name(ClassNames *names, const char *text)
{
    size_t bytes = strlen(text) + 1;
    names->name = xrealloc(names->name, ((size_t)names->count + 1) * sizeof *names->name);
    names->name[names->count++] = memcpy(xmalloc(bytes), text, bytes);
}

void class_names_free(ClassNames *names)
{
    for (int i = 0; i < names->count; i++)
        free(names->name[i]);
    free(names->name);
    *names = (ClassNames){0};
}

/* Those of the data set that was read, or lies there. */
static int own_names(const NincModel *model, const char *data, const Dataset *read, ClassNames *out)
{
    Dataset found = {0};
    if ((!read || !read->class_name) && dataset_names(model, data, &found) < 0)
        return -1;
    const Dataset *d = read && read->class_name ? read : &found;
    for (int i = 0; d->class_name && d->classes == model->classes && i < d->classes; i++) {
        char name[NAME_BYTES + 1];
        add_name(out, printable(d->class_name[i], name, sizeof name));
    }
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
        add_name(out, named ? known->class_name[i] : number);
    }
}

/* ---- from a file ---- */

/* Control characters become blanks; 0 or -1 after an error line. */
static int check_line(char *line, const char *path, int number)
{
    if (line[0] == '\0')
        return fault("%s:%d: the line is empty; a class name is needed on each", path, number);
    if (strlen(line) > NAME_BYTES)
        return fault("%s:%d: a class name is longer than %d bytes", path, number, NAME_BYTES);
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

/* The file that names the classes, NULL where none does. */
static const char *names_path(const NincModel *model, const char *file, const char *data,
                              char *room, size_t size)
{
    char directory[DATA_PATH];
    if (file)
        return file;
    if (!dataset_directory(model, data, directory))
        return NULL;
    char *beside = is_directory(directory) ? copy_text(directory) : directory_of(directory);
    snprintf(room, size, "%s/classes.txt", beside);
    free(beside);
    return room;
}

int class_names_read(const NincModel *model, const char *file, const char *data,
                     const Dataset *read, ClassNames *out)
{
    char room[DATA_PATH + 16];
    const char *path = names_path(model, file, data, room, sizeof room);
    TextLines lines;
    *out = (ClassNames){0};
    if (!path || (!file && access(path, F_OK) != 0 && errno == ENOENT)) {
        if (own_names(model, data, read, out) < 0)
            return -1;
        if (out->count == 0)
            default_names(model, out);
        return 0;
    }
    int status = text_lines_read(path, &lines);
    if (status == 0)
        status = take_names(model, path, &lines, out);
    text_lines_free(&lines);
    return status;
}

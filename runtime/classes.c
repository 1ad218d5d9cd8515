/* The names of the classes: of the data sets that are known, or from a file. */
#include "../ir/ir.h"
#include "json.h"
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KNOWN_CLASSES = 10, NAME_BYTES = 256 };

typedef struct KnownNames {
    const char *dataset, *name[KNOWN_CLASSES];
} KnownNames;

static const KnownNames known_names[] = {
    {"fashion-mnist",
     {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
      "Ankle boot"}},
    {"cifar10",
     {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}},
};

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

/* The digits of mnist are their numbers. */
static void default_names(const NincModel *model, ClassNames *out)
{
    const KnownNames *known = NULL;
    for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++)
        if (model->classes == KNOWN_CLASSES && strcmp(model->dataset, known_names[i].dataset) == 0)
            known = &known_names[i];
    for (int i = 0; i < model->classes; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        add_name(out, known ? known->name[i] : number);
    }
}

/* ---- from a file ---- */

/* Takes the line end off; 0 or -1 after an error line. */
static int check_line(char *line, const char *path, int number)
{
    size_t length = strlen(line);
    if (length + 1 == NAME_BYTES && line[length - 1] != '\n')
        return fault("%s:%d: a class name is longer than %d bytes", path, number, NAME_BYTES - 2);
    while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
        line[--length] = '\0';
    if (length == 0)
        return fault("%s:%d: the line is empty; a class name is needed on each", path, number);
    json_t *text = json_string(line);
    if (!text)
        return fault("%s:%d: the class name is not UTF-8", path, number);
    json_decref(text);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = ' ';
    return 0;
}

static int read_names(const NincModel *model, FILE *file, const char *path, ClassNames *out)
{
    char line[NAME_BYTES];
    int lines = 0;
    while (fgets(line, sizeof line, file)) {
        if (check_line(line, path, ++lines) < 0)
            return -1;
        if (lines <= model->classes)
            add_name(out, line);
    }
    if (ferror(file))
        return fault("cannot read %s: %s", path, strerror(errno));
    if (lines != model->classes)
        return fault("%s has %d class names, the model has %d classes; one a line is needed", path,
                     lines, model->classes);
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
    snprintf(room, size, "%s/classes.txt", directory);
    return room;
}

int class_names_read(const NincModel *model, const char *file, const char *data, ClassNames *out)
{
    char room[DATA_PATH + 16];
    const char *path = names_path(model, file, data, room, sizeof room);
    FILE *opened = path ? fopen(path, "r") : NULL;
    *out = (ClassNames){0};
    if (!opened && path && (file || errno != ENOENT))
        return fault("cannot read the class names of %s: %s", path, strerror(errno));
    if (!opened) {
        default_names(model, out);
        return 0;
    }
    int status = read_names(model, opened, path, out);
    fclose(opened);
    if (status < 0)
        class_names_free(out);
    return status;
}

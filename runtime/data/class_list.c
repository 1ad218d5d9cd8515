/* Lists of names of classes, and those that files of parameters keep. It knows no data set, so that
 * a C library with its parameters needs none. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

void class_names_add(ClassNames *names, const char *text)
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

void class_names_add_printable(ClassNames *names, const char *text)
{
    char name[CLASS_NAME_BYTES + 1];
    size_t bytes = strlen(printable(text, name, sizeof name));
    /* A character is not cut in two. */
    while (bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80)
        bytes--;
    name[bytes] = '\0';
    class_names_add(names, name);
}

int class_names_kept(const NincModel *model, const char *path, ClassNames *out)
{
    TextLines names;
    *out = (ClassNames){0};
    int status = tensor_file_classes(path, &names);
    if (names.count > 0 && names.count != model->classes)
        notice("%s names %d classes, the model has %d; the names are passed over", path,
               names.count, model->classes);
    for (int i = 0; names.count == model->classes && i < names.count; i++)
        class_names_add_printable(out, names.line[i]);
    text_lines_free(&names);
    return status;
}

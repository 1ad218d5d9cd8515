/* The image files that the arguments of predict name. */
#include "../../ir/ir.h"
#include "data.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void add_file(TextLines *out, char *path)
{
    out->line = xrealloc(out->line, ((size_t)out->count + 1) * sizeof *out->line);
    out->line[out->count++] = path;
}

/* Hidden files are left out: copies from a Mac have a ._NAME.jpg beside each. */
static bool is_image_name(const char *name)
{
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif",
                                          ".bmp", ".pgm", ".ppm",  ".pnm"};
    const char *dot = strrchr(name, '.');
    if (!dot || name[0] == '.')
        return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_directory(const char *directory, TextLines *out)
{
    struct dirent *entry;
    int first = out->count;
    DIR *d = opendir(directory);
    if (!d)
        return fault("cannot read %s: %s", directory, strerror(errno));
    char *plain = copy_text(directory); /* without a slash at the end */
    size_t length = strlen(plain);
    if (length > 1 && plain[length - 1] == '/')
        plain[length - 1] = '\0';
    while ((entry = readdir(d))) {
        char *path = join_path(plain, entry->d_name);
        if (is_image_name(entry->d_name) && is_regular(path))
            add_file(out, path);
        else
            free(path);
    }
    closedir(d);
    free(plain);
    if (out->count == first)
        return fault("the directory %s has no files *.png, *.jpg, *.jpeg, *.webp, *.gif, "
                     "*.bmp, *.pgm or *.ppm; give one that has (directories in it are not looked "
                     "into), or files",
                     directory);
    qsort(out->line + first, (size_t)(out->count - first), sizeof *out->line, by_name);
    return 0;
}

/* `path` of a text with the name of a file a line. */
static int add_list(const char *path, TextLines *out)
{
    TextLines lines;
    int first = out->count, status = text_lines_read(path, &lines);
    for (int i = 0; i < lines.count; i++)
        if (lines.line[i][0])
            add_file(out, copy_text(lines.line[i]));
    text_lines_free(&lines);
    if (status == 0 && out->count == first)
        return fault("the list %s names no image; write the name of a file on each line", path);
    return status;
}

int image_list(char *const *argument, int arguments, TextLines *out)
{
    int status = 0;
    *out = (TextLines){0};
    for (int i = 0; i < arguments && status == 0; i++) {
        if (argument[i][0] == '@')
            status = add_list(argument[i] + 1, out);
        else if (is_directory(argument[i]))
            status = add_directory(argument[i], out);
        else
            add_file(out, copy_text(argument[i]));
    }
    return status;
}

/* The files of data sets under the names that downloads have. */
#include "../../ir/ir.h"
#include "data.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *find_file(const char *directory, const char *name)
{
    char *path = join_path(directory, name);
    if (is_regular(path))
        return path;
    Text packed = {0};
    text_append(&packed, "%s.gz", path);
    free(path);
    if (is_regular(packed.data))
        return packed.data;
    text_free(&packed);
    return NULL;
}

char *find_place(const char *path, const char *below, const char *name)
{
    char *place[2] = {copy_text(path), join_path(path, below)}, *found = NULL;
    for (int i = 0; i < 2; i++) {
        char *file = found ? NULL : find_file(place[i], name);
        if (file)
            found = place[i];
        else
            free(place[i]);
        free(file);
    }
    return found;
}

/* ---- SET_SPLIT.EXTENSION ---- */

static const char *const words[][4] = {
    [SPLIT_TRAIN] = {"train", "training"},
    [SPLIT_TEST] = {"test", "testing", "t10k"},
    [SPLIT_VALIDATION] = {"val", "valid", "validation", "dev"},
};

static bool is_separator(char c)
{
    return c == '-' || c == '_' || c == '.' || c == ' ' || c == '/';
}

/* Where the extension, with .gz behind it or not, begins; NULL: it has another. */
static const char *extension_at(const char *file, const char *extension)
{
    size_t length = strlen(file), wanted = strlen(extension);
    if (length > 3 && strcasecmp(file + length - 3, ".gz") == 0)
        length -= 3;
    if (length <= wanted || strncasecmp(file + length - wanted, extension, wanted) != 0)
        return NULL;
    return file + length - wanted;
}

/* Where the word of a split stands in a file's name, just before `end`; NULL: it has none. */
static const char *word_at(const char *file, const char *end, Split split)
{
    for (size_t i = 0; i < sizeof words[0] / sizeof *words[0] && words[split][i]; i++) {
        size_t length = strlen(words[split][i]);
        const char *at = end - length;
        if ((size_t)(end - file) >= length && strncasecmp(at, words[split][i], length) == 0 &&
            (at == file || is_separator(at[-1])))
            return at;
    }
    return NULL;
}

bool names_split(const char *path, const char *extension, Split *split)
{
    const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *end = extension_at(file, extension);
    for (*split = SPLIT_TRAIN; end && *split <= SPLIT_VALIDATION; (*split)++)
        if (word_at(file, end, *split))
            return true;
    return false;
}

char *find_sibling(const char *path, const char *extension, Split from, Split to)
{
    const char *end = extension_at(path, extension), *word = word_at(path, end, from);
    for (size_t i = 0; i < sizeof words[0] / sizeof *words[0] && words[to][i]; i++) {
        Text name = {0};
        text_append(&name, "%.*s%s%s", (int)(word - path), path, words[to][i], end);
        if (is_regular(name.data))
            return name.data;
        text_free(&name);
    }
    return NULL;
}

/* 0: the set's name stands before; 1: nothing does; 2: another name. */
static int prefix_rank(const char *file, size_t length, const char *set)
{
    if (length == 0)
        return 1;
    return set && strlen(set) == length - 1 && strncasecmp(file, set, length - 1) == 0 ? 0 : 2;
}

int find_split(const char *directory, const char *set, Split split, const char *extension,
               char **out)
{
    enum { NONE = 3 };
    struct dirent *entry;
    int best = NONE, count[NONE] = {0};
    DIR *d = opendir(directory);
    *out = NULL;
    while (d && (entry = readdir(d))) {
        const char *end = extension_at(entry->d_name, extension);
        const char *word = end ? word_at(entry->d_name, end, split) : NULL;
        char *path = word ? join_path(directory, entry->d_name) : NULL;
        int rank = path && is_regular(path)
                       ? prefix_rank(entry->d_name, (size_t)(word - entry->d_name), set)
                       : NONE;
        if (rank < NONE)
            count[rank]++;
        if (rank < best) {
            free(*out);
            *out = path;
            path = NULL;
            best = rank;
        }
        free(path);
    }
    if (d)
        closedir(d);
    return best < NONE ? count[best] : 0;
}

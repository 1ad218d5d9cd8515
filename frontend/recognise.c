/* Files that are no model: what they are, by their first bytes, and what to do with them; and the
 * files that were meant by a name that there is not. */
#include "frontend.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NEIGHBOURS = 1000, LISTED = 3 };

#define PARAMETERS "compile the network's YAML file and start from them: trainer train --init=FILE"
#define PYTORCH \
    "a PyTorch file; write its network as YAML (man ninc-model), save the parameters with " \
    "safetensors.torch.save_file, and start from them: trainer train --init=FILE"
#define PACKED "compressed; unpack it first"
#define IMAGE "an image; a trainer takes it: trainer predict --weights=FILE IMAGE"

/* What begins with these bytes. */
static const struct Magic {
    const char *bytes;
    int count;
    const char *what;
} magics[] = {
    {"\x1f\x8b", 2, PACKED ": gunzip"},
    {"\xfd" "7zXZ", 5, PACKED ": unxz"},
    {"BZh", 3, PACKED ": bunzip2"},
    {"\x28\xb5\x2f\xfd", 4, PACKED ": unzstd"},
    {"\x89PNG", 4, IMAGE},
    {"\xff\xd8\xff", 3, IMAGE},
    {"\x89HDF", 4, "an HDF5 file, as Keras writes them; ninc reads networks written as YAML (man "
                   "ninc-model)"},
    {"\x80\x02\x8a\x0a", 4, PYTORCH},
    {"%PDF", 4, "a PDF file"},
    {"\0\0\x08", 3, "an IDX file of a data set; give its directory to the trainer: trainer train "
                    "--data=DIR"},
};

/* safetensors: the length of the header, eight bytes, then its JSON. */
static bool is_safetensors(const unsigned char *p, size_t length)
{
    uint64_t header = 0;

    for (int i = 7; length > 9 && i >= 0; i--)
        header = header << 8 | p[i];
    return length > 9 && p[8] == '{' && header >= 2 && header <= 100000000 && p[7] == 0;
}

/* A ModelProto: field 1, the version of the format, then the producer, the graph or the opset. */
static bool is_onnx(const unsigned char *p, size_t length)
{
    return length > 4 && p[0] == 0x08 && p[1] > 0 && p[1] < 32 &&
           (p[2] == 0x12 || p[2] == 0x1a || p[2] == 0x22 || p[2] == 0x3a || p[2] == 0x42);
}

static bool holds(const char *text, size_t length, const char *word)
{
    return memmem(text, length < 4096 ? length : 4096, word, strlen(word)) != NULL;
}

static const char *recognise_zip(const char *text, size_t length)
{
    if (holds(text, length, "data.pkl"))
        return PYTORCH;
    return holds(text, length, ".npy")
               ? "a NumPy file; ninc reads networks written as YAML (man ninc-model)"
               : PACKED ": unzip";
}

const char *recognise(Pool *pool, const char *path, const char *text, size_t length)
{
    const unsigned char *p = (const unsigned char *)text;

    if (length >= 4 && memcmp(text, "\177ELF", 4) == 0) {
        Text run = {0};
        const char *what;

        text_append(&run, "a program; if it is a trainer, run it:");
        text_append_shell_word(&run, strchr(path, '/') ? path : pool_format(pool, "./%s", path));
        what = pool_format(pool, "%s train", run.data);
        text_free(&run);
        return what;
    }
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (length >= (size_t)magics[i].count &&
            memcmp(text, magics[i].bytes, (size_t)magics[i].count) == 0)
            return magics[i].what;
    if (length >= 4 && memcmp(text, "PK\3\4", 4) == 0)
        return recognise_zip(text, length);
    if (is_safetensors(p, length))
        return "a safetensors file, which holds parameters and no network; " PARAMETERS;
    if (is_onnx(p, length))
        return "an ONNX model, which ninc cannot read; write the network as YAML (man "
               "ninc-model). A trainer writes ONNX: trainer export --onnx=FILE";
    return NULL;
}

/* ---- names ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

static bool is_model_name(const char *name)
{
    return name[0] != '.' &&
           (ends_with(name, ".yaml") || ends_with(name, ".yml") || ends_with(name, ".ir"));
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The model files of a directory, sorted. */
static int list_models(Pool *pool, const char *directory, const char **name)
{
    DIR *stream = opendir(directory);
    int count = 0;

    for (struct dirent *entry; stream && count < NEIGHBOURS && (entry = readdir(stream));)
        if (is_model_name(entry->d_name))
            name[count++] = pool_strdup(pool, entry->d_name);
    if (stream)
        closedir(stream);
    qsort(name, (size_t)count, sizeof *name, compare_names);
    return count;
}

/* The one of the names that `word` was meant to be: the same but for its suffix, or nearly so. */
static const char *meant_name(const char *word, const char *const *name, int count)
{
    size_t stem = strcspn(word, ".");

    for (int i = 0; i < count; i++)
        if (strcspn(name[i], ".") == stem && strncmp(name[i], word, stem) == 0)
            return name[i];
    return nearest_word(word, name, count, sizeof *name);
}

const char *meant_file(Pool *pool, const char *path)
{
    static const char *const elsewhere[] = {"models", "/usr/local/share/ninc/models",
                                            "/usr/share/ninc/models"};
    const char *slash = strrchr(path, '/'), *word = slash ? slash + 1 : path;
    const char **name = pool_alloc(pool, NEIGHBOURS * sizeof *name), *near;
    const char *directory = slash ? pool_format(pool, "%.*s", (int)(slash - path + 1), path) : "";
    int count = list_models(pool, *directory ? directory : ".", name);

    near = *word ? meant_name(word, name, count) : NULL;
    if (near)
        return pool_format(pool, "%s%s", directory, near);
    for (size_t i = 0; !slash && i < sizeof elsewhere / sizeof *elsewhere; i++) {
        count = list_models(pool, elsewhere[i], name);
        near = meant_name(word, name, count);
        if (near)
            return pool_format(pool, "%s/%s", elsewhere[i], near);
    }
    return NULL;
}

const char *models_in(Pool *pool, const char *directory)
{
    const char **name = pool_alloc(pool, NEIGHBOURS * sizeof *name);
    int count = list_models(pool, directory, name), slash = ends_with(directory, "/");
    const char *list = NULL;

    for (int i = 0; i < count && i < LISTED; i++)
        list = pool_format(pool, "%s%s%s%s%s", list ? list : "", list ? ", " : "", directory,
                           slash ? "" : "/", name[i]);
    return list && count > LISTED ? pool_format(pool, "%s, ...", list) : list;
}

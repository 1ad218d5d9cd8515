/* Parameters where users have them: in a file, in a checkpoint, in a directory of checkpoints. */
#include "train.h"

#include <stdlib.h>

typedef int ReadFn(const char *path, Weights *w);

static int read_from(const char *path, Weights *w, ReadFn *read)
{
    char *file;
    int status = checkpoint_parameters(path, &file);
    if (status == 0)
        status = read(file ? file : path, w);
    free(file);
    return status;
}

int weights_read(const char *path, Weights *w)
{
    return read_from(path, w, safetensors_read_foreign);
}

int weights_read_named(const char *path, Weights *w, ClassNames *names)
{
    char *file = NULL;
    *names = (ClassNames){0};
    if (weights_read(path, w) < 0)
        return -1;
    Messages before = fault_silence((char[256]){0}, 256); /* weights_read has said it */
    int status = checkpoint_parameters(path, &file);
    fault_release(before);
    if (status == 0)
        status = class_names_kept(w->model, file ? file : path, names);
    free(file);
    return status;
}

int weights_read_partial(const char *path, Weights *w)
{
    return read_from(path, w, safetensors_read_partial);
}

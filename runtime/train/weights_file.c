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

int weights_read_partial(const char *path, Weights *w)
{
    return read_from(path, w, safetensors_read_partial);
}

/* Files mapped into memory, to be read. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of an open file. */
static int map(FileMap *m, int fd, const char *path)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return fault("cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return fault("cannot read %s: it is not a file", path);
    if (s.st_size == 0)
        return fault("%s is empty; get the file again", path);
    void *bytes = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return fault("cannot map %s into memory: %s", path, strerror(errno));
    *m = (FileMap){bytes, (size_t)s.st_size};
    return 0;
}

int filemap_open(FileMap *m, const char *path)
{
    *m = (FileMap){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault("cannot read %s: %s", path, strerror(errno));
    int status = map(m, fd, path);
    close(fd);
    return status;
}

void filemap_close(FileMap *m)
{
    if (m->bytes)
        munmap(m->bytes, m->size);
    *m = (FileMap){0};
}

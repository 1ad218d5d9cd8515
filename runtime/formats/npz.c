/* NumPy's .npz: a zip archive of .npy files, by minizip. */
#include "../../ir/ir.h"
#include "formats.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* after string.h */
#include <minizip/unzip.h>
#include <zlib.h>

enum {
    MEMBER_NAME = 256,
    STORED = 0,
    DEFLATED = 8,
    DEFLATE_RATIO = 1032,
    ENCRYPTED = 1,
    END_RECORD = 22
};

/* Whether the file ends in the record that ends archives, and its comment: minizip also takes one
 * that is cut off there. */
static bool ends_whole(FILE *f, uint64_t size)
{
    uint8_t end[END_RECORD + UINT16_MAX];
    size_t count = size < sizeof end ? (size_t)size : sizeof end;
    if (fseeko(f, (off_t)(size - count), SEEK_SET) != 0 || fread(end, 1, count, f) != count)
        return false;
    for (size_t i = 0; i + END_RECORD <= count; i++)
        if (memcmp(end + i, "PK\5\6", 4) == 0 &&
            i + END_RECORD + end[i + 20] + 256u * end[i + 21] == count)
            return true;
    return false;
}

int npz_open(Npz *z, const char *path)
{
    struct stat s;
    *z = (Npz){.path = copy_text(path)};
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &s) != 0) {
        if (f)
            fclose(f);
        return fault("cannot read %s: %s", path, strerror(errno));
    }
    z->size = (uint64_t)s.st_size;
    bool whole = ends_whole(f, z->size);
    fclose(f);
    z->zip = whole ? unzOpen64(path) : NULL;
    if (!z->zip)
        return fault("%s is no whole zip archive, as .npz files are: its list of members, at the "
                     "end, is missing or damaged; get the file again",
                     path);
    return 0;
}

void npz_close(Npz *z)
{
    if (z->zip)
        unzClose(z->zip);
    free(z->path);
    *z = (Npz){0};
}

bool npz_has(const Npz *z, const char *array)
{
    char name[MEMBER_NAME];
    snprintf(name, sizeof name, "%s.npy", array);
    return unzLocateFile(z->zip, name, 1) == UNZ_OK;
}

void npz_list(const Npz *z, Text *out)
{
    char name[MEMBER_NAME], shown[MEMBER_NAME];
    int status = unzGoToFirstFile(z->zip);
    for (int i = 0; status == UNZ_OK && i < 12; i++) {
        if (unzGetCurrentFileInfo64(z->zip, NULL, name, sizeof name - 1, NULL, 0, NULL, 0) !=
            UNZ_OK)
            return;
        name[sizeof name - 1] = '\0';
        text_append(out, "%s%s", i ? ", " : "", printable(name, shown, sizeof shown));
        status = unzGoToNextFile(z->zip);
    }
    if (status == UNZ_OK)
        text_append(out, ", ...");
}

/* ---- a member ---- */

/* What the archive says of it can be. */
static int check_member(const Npz *z, const char *path, uint64_t *size)
{
    unz_file_info64 info;
    if (unzGetCurrentFileInfo64(z->zip, &info, NULL, 0, NULL, 0, NULL, 0) != UNZ_OK)
        return fault("%s: what the archive says of it is damaged; get the file again", path);
    if (info.flag & ENCRYPTED)
        return fault("%s is encrypted; save it without a password", path);
    if (info.compression_method != STORED && info.compression_method != DEFLATED)
        return fault("%s is compressed by the method %lu; numpy.savez and savez_compressed store "
                     "or deflate",
                     path, (unsigned long)info.compression_method);
    *size = info.uncompressed_size;
    if (info.compressed_size > z->size ||
        *size / (info.compression_method == STORED ? 1 : DEFLATE_RATIO) > info.compressed_size)
        return fault("%s: the archive says that it has %llu bytes, more than %llu compressed ones "
                     "can hold; the archive is damaged",
                     path, (unsigned long long)*size, (unsigned long long)info.compressed_size);
    return 0;
}

static int read_bytes_of(Npz *z, const char *path, void *out, size_t count)
{
    size_t done = 0;
    while (done < count) {
        size_t part = count - done < INT_MAX / 2 ? count - done : INT_MAX / 2;
        int got = unzReadCurrentFile(z->zip, (char *)out + done, (unsigned)part);
        if (got < 0)
            return fault("%s is damaged: it does not inflate behind byte %zu; get the file again",
                         path, done);
        if (got == 0)
            return fault("%s is truncated: %zu bytes are needed and only %zu are there; get the "
                         "file again",
                         path, count, done);
        done += (size_t)got;
    }
    return 0;
}

static int read_header(Npz *z, Numbers *out, size_t *header)
{
    uint8_t begin[NPY_BEGIN];
    if (read_bytes_of(z, out->path, begin, NPY_BEGIN) < 0 ||
        npy_begin(begin, out->path, header) < 0)
        return -1;
    char *text = xmalloc(*header);
    memcpy(text, begin, NPY_BEGIN);
    int status = read_bytes_of(z, out->path, text + NPY_BEGIN, *header - NPY_BEGIN);
    if (status == 0)
        status = npy_header(text, *header, out);
    free(text);
    return status;
}

/* The elements, which must be exactly what the archive says. */
static int read_elements(Npz *z, Numbers *out, size_t header, uint64_t size)
{
    int64_t item = numbers_item(out), bytes = 0;
    if (out->rank < 1 || out->dim[0] < 1 || out->dim[0] > INT32_MAX || item < 1)
        return fault("%s: its header says %lld items of %lld elements; from 1 to %d items are "
                     "possible",
                     out->path, out->rank > 0 ? (long long)out->dim[0] : 0LL, (long long)item,
                     INT32_MAX);
    if (__builtin_mul_overflow(item, out->dim[0] * number_types[out->type].bytes, &bytes) ||
        (uint64_t)bytes + header != size)
        return fault("%s: its header says %lld items of %lld %s, and the archive %llu bytes with "
                     "the header; it is damaged",
                     out->path, (long long)out->dim[0], (long long)item,
                     number_types[out->type].name, (unsigned long long)size);
    return numbers_room(out) < 0 ? -1 : read_bytes_of(z, out->path, out->raw, out->bytes);
}

static int read_member(Npz *z, Numbers *out)
{
    uint64_t size = 0;
    size_t header = 0;
    if (check_member(z, out->path, &size) < 0)
        return -1;
    if (unzOpenCurrentFile(z->zip) != UNZ_OK)
        return fault("%s: the archive's list and the member differ; get the file again", out->path);
    int status = read_header(z, out, &header);
    if (status == 0)
        status = read_elements(z, out, header, size);
    if (unzCloseCurrentFile(z->zip) != UNZ_OK && status == 0)
        return fault("%s is damaged: its check sum is wrong; get the file again", out->path);
    return status;
}

int npz_read(Npz *z, const char *array, Numbers *out)
{
    Text path = {0};
    text_append(&path, "%s: %s", z->path, array);
    *out = (Numbers){.path = path.data};
    if (!npz_has(z, array))
        return fault("%s has no array %s", z->path, array);
    return read_member(z, out);
}

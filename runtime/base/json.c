/* JSON for others to read. */
#include "../../ir/ir.h"
#include "base.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *json_finite(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

const char *json_number(double value, char *out)
{
    if (isfinite(value))
        snprintf(out, 32, "%.9g", value);
    else
        strcpy(out, "null");
    return out;
}

json_t *json_name(const char *text)
{
    json_t *exact = json_string(text);
    if (exact)
        return exact;
    size_t length = strlen(text);
    char *ascii = memcpy(xmalloc(length + 1), text, length + 1);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)ascii[i] >= 128)
            ascii[i] = '?';
    json_t *replaced = json_string(ascii);
    free(ascii);
    return replaced;
}

static int dump(const char *path, const json_t *value, FILE *file)
{
    if (json_dumpf(value, file, JSON_REAL_PRECISION(9)) == 0 &&
        fputc('\n', file) != EOF && fflush(file) == 0)
        return 0;
    return fault("cannot write %s: %s", path, strerror(errno));
}

int json_check(const char *path)
{
    return path && strcmp(path, "-") != 0 ? outfile_check(path) : 0;
}

int json_save(const char *path, json_t *value)
{
    OutFile out = {0};
    int status;
    if (strcmp(path, "-") == 0) {
        status = dump("to standard output", value, stdout);
    } else if ((status = outfile_open(&out, path)) == 0) {
        status = dump(path, value, out.file);
        if (status == 0)
            status = outfile_commit(&out);
        else
            outfile_abandon(&out);
    }
    json_decref(value);
    return status;
}

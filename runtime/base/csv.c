/* Tables as CSV (RFC 4180): commas between, CRLF behind each line, quotes where they are needed. */
#include "../../ir/ir.h"
#include "base.h"

#include <errno.h>
#include <math.h>
#include <string.h>

int csv_open(CsvFile *csv, const char *path)
{
    *csv = (CsvFile){.path = path, .file = stdout};
    if (strcmp(path, "-") == 0)
        return 0;
    if (outfile_open(&csv->out, path) < 0)
        return -1;
    csv->file = csv->out.file;
    return 0;
}

static void next_field(CsvFile *csv)
{
    if (csv->fields++ > 0)
        fputc(',', csv->file);
}

void csv_text(CsvFile *csv, const char *text)
{
    next_field(csv);
    if (!text[strcspn(text, ",\"\r\n")]) {
        fputs(text, csv->file);
        return;
    }
    fputc('"', csv->file);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', csv->file);
        fputc(*text, csv->file);
    }
    fputc('"', csv->file);
}

void csv_integer(CsvFile *csv, int64_t value)
{
    next_field(csv);
    fprintf(csv->file, "%lld", (long long)value);
}

void csv_real(CsvFile *csv, double value)
{
    next_field(csv);
    if (isfinite(value))
        fprintf(csv->file, "%.9g", value);
}

void csv_end_line(CsvFile *csv)
{
    fputs("\r\n", csv->file);
    csv->fields = 0;
}

int csv_close(CsvFile *csv)
{
    if (!csv->out.file) {
        if (fflush(stdout) == 0)
            return 0;
        return fault("cannot write to standard output: %s", strerror(errno));
    }
    if (!ferror(csv->file))
        return outfile_commit(&csv->out);
    fault("cannot write %s: %s", csv->path, strerror(errno));
    outfile_abandon(&csv->out);
    return -1;
}

void csv_abandon(CsvFile *csv)
{
    if (csv->out.file)
        outfile_abandon(&csv->out);
}

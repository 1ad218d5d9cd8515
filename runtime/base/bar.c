/* What progress bars are made of, and a small one for work before a run. */
#include "base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { USUAL_COLUMNS = 80, CELLS = 24, LINE = 256 };

bool bar_off;

bool bar_possible(int fd)
{
    const char *terminal = getenv("TERM");
    return !bar_off && isatty(fd) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

bool bar_unicode(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    const char *value = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !(value && *value); i++)
        value = getenv(names[i]);
    return value && (strcasestr(value, "utf-8") || strcasestr(value, "utf8"));
}

int bar_columns(int fd)
{
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return USUAL_COLUMNS;
}

const char *bar_duration(double seconds, char *out)
{
    if (!(seconds >= 0 && seconds < 1e8))
        return "?";
    long s = lround(seconds);
    if (s >= 3600)
        snprintf(out, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 32, "%ld:%02ld", s / 60, s % 60);
    return out;
}

char *bar_put(int64_t done, int64_t all, int cells, bool unicode, char *out)
{
    int inner = unicode ? 2 * cells : cells - 2;
    int64_t full = all > 0 ? inner * done / all : 0;
    if (!unicode)
        *out++ = '[';
    for (int i = 0; i < inner; i += unicode ? 2 : 1) {
        if (!unicode)
            *out++ = i < full ? '#' : '.';
        else
            out = stpcpy(out, i + 1 < full ? "\u2588" : i < full ? "\u258c" : "\u00b7");
    }
    if (!unicode)
        *out++ = ']';
    *out = '\0';
    return out;
}

/* Behind the line the cursor goes back to its start, as train/progress.c has it. */
bool bar_draw(const char *what, int64_t done, int64_t all, double seconds)
{
    char bar[4 * CELLS + 4], left[32], line[LINE];
    int columns = bar_columns(STDERR_FILENO);
    if (!bar_possible(STDERR_FILENO))
        return false;
    double rest = done > 0 ? seconds / (double)done * (double)(all - done) : -1;
    bar_put(done, all, CELLS, bar_unicode(), bar);
    int width = snprintf(line, sizeof line, "%s %s  %lld/%lld  %s left", what, bar, (long long)done,
                         (long long)all, bar_duration(rest, left));
    width -= (int)strlen(bar) - CELLS;
    if (width >= columns) /* a narrow terminal */
        snprintf(line, sizeof line, "%lld/%lld", (long long)done, (long long)all);
    fprintf(stderr, "\r\033[J%s\r", line);
    return true;
}

void bar_clear(void)
{
    fputs("\r\033[J", stderr);
}

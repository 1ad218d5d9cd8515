/* The progress bar: one line of a terminal, drawn over and over. It has no colours. */
#include "runtime.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FIELDS = 6, FIELD = 48, LEAST_BAR = 6, MOST_BAR = 24, USUAL_COLUMNS = 80 };

/* The fields of a line; a smaller rank stays longer. */
typedef struct Line {
    char text[FIELDS][FIELD];
    int rank[FIELDS];
} Line;

bool progress_possible(void)
{
    const char *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

/* 0:07, 12:34, 1:02:03; "?" of what cannot be told. `out` of 32 bytes. */
static const char *duration(double seconds, char *out)
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

static void fill_line(const Progress *p, Line *l)
{
    static const int ranks[FIELDS] = {2, 5, 1, 3, 4, 0};
    char epoch[32], run[32];
    memcpy(l->rank, ranks, sizeof ranks);
    snprintf(l->text[0], FIELD, "epoch %d/%d", p->epoch + 1, p->epochs);
    snprintf(l->text[1], FIELD, "step %lld/%lld", (long long)p->step, (long long)p->steps);
    snprintf(l->text[2], FIELD, "loss %.4f", p->loss);
    snprintf(l->text[3], FIELD, "accuracy %.4f", p->accuracy);
    snprintf(l->text[4], FIELD, "%.1f images/s", p->images_per_second);
    snprintf(l->text[5], FIELD, "%s/%s left", duration(p->epoch_seconds, epoch),
             duration(p->seconds, run));
}

/* Characters with two spaces between fields. */
static int width_of(const Line *l)
{
    int width = -2;
    for (int i = 0; i < FIELDS; i++)
        width += l->text[i][0] ? (int)strlen(l->text[i]) + 2 : 0;
    return width > 0 ? width : 0;
}

static void drop_least(Line *l)
{
    int least = 0;
    for (int i = 1; i < FIELDS; i++)
        if (l->text[i][0] && (!l->text[least][0] || l->rank[i] > l->rank[least]))
            least = i;
    l->text[least][0] = '\0';
}

/* "[####....]  " of what room there is; returns its length. */
static int put_bar(const Progress *p, int room, char *out)
{
    int cells = room - 4 < MOST_BAR ? room - 4 : MOST_BAR;
    if (cells < LEAST_BAR)
        return 0;
    int64_t full = p->steps > 0 ? cells * p->step / p->steps : 0;
    out[0] = '[';
    for (int i = 0; i < cells; i++)
        out[1 + i] = i < full ? '#' : '.';
    memcpy(out + 1 + cells, "]  ", 4);
    return cells + 4;
}

int progress_line(const Progress *p, int columns, char *out, size_t size)
{
    Line line;
    int room = columns - 1 < (int)size - 1 ? columns - 1 : (int)size - 1;
    fill_line(p, &line);
    while (width_of(&line) > 0 && width_of(&line) > room)
        drop_least(&line);
    int at = put_bar(p, room - width_of(&line), out);
    out[at] = '\0';
    for (int i = 0, first = 1; i < FIELDS; i++) {
        if (!line.text[i][0])
            continue;
        at += snprintf(out + at, size - (size_t)at, "%s%s", first ? "" : "  ", line.text[i]);
        first = 0;
    }
    return at;
}

static int terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return USUAL_COLUMNS;
}

void log_progress(Log *log, const Progress *progress)
{
    char line[512];
    if (!log->bar)
        return;
    progress_line(progress, terminal_columns(), line, sizeof line);
    printf("\r\033[K%s", line);
    fflush(stdout);
    log->drawn = true;
}

void log_clear(Log *log)
{
    if (!log->drawn)
        return;
    fputs("\r\033[K", stdout);
    fflush(stdout);
    log->drawn = false;
}

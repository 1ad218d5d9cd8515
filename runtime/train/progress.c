/* The progress bar: one line of a terminal, drawn over and over. It has no colours. */
#include "train.h"

#include <string.h>
#include <unistd.h>

enum { FIELD = 48, LEAST_BAR = 4, USUAL_BAR = 24, MOST_BAR = 48 };

/* What stands in a line, from left to right. */
typedef enum Field { EPOCH, BAR, STEP, LOSS, ACCURACY, LEFT, SPEED, FIELDS } Field;

/* What a line has room for, the most important first. */
static const Field importance[FIELDS] = {LEFT, STEP, BAR, EPOCH, LOSS, ACCURACY, SPEED};

/* The fields of a line; of the bar, which is as long as there is room, nothing. */
typedef struct Line {
    char text[FIELDS][FIELD];
    bool shown[FIELDS];
    int bar; /* cells */
} Line;

/* Two decimals; what is less than all does not look like all. */
static double rounded_down(double accuracy)
{
    return accuracy < 1 && accuracy > 0.99 ? 0.99 : accuracy;
}

static void fill_line(const Progress *p, Line *l)
{
    char number[32];
    memset(l, 0, sizeof *l);
    snprintf(l->text[EPOCH], FIELD, "epoch %d/%d", p->epoch + 1, p->epochs);
    snprintf(number, sizeof number, "%lld", (long long)p->epoch_steps);
    snprintf(l->text[STEP], FIELD, "%*lld/%s", (int)strlen(number), (long long)p->epoch_step,
             number);
    snprintf(l->text[LEFT], FIELD, "%s left", bar_duration(p->seconds, number));
    if (p->testing) {
        snprintf(l->text[LOSS], FIELD, p->validating ? "validation" : "test");
        return;
    }
    snprintf(l->text[LOSS], FIELD, "loss %.*f", p->loss < 0.1 ? 4 : 2, p->loss);
    snprintf(l->text[ACCURACY], FIELD, "acc %.2f", rounded_down(p->accuracy));
    snprintf(l->text[SPEED], FIELD, "%.0f images/s", p->images_per_second);
}

/* Between two fields: the bar follows its epoch closely. */
static int gap(int left)
{
    return left == EPOCH ? 1 : 2;
}

/* Columns of the fields that are shown. */
static int width_of(const Line *l)
{
    int width = 0, last = -1;
    for (int i = 0; i < FIELDS; i++) {
        if (!l->shown[i])
            continue;
        width += (last < 0 ? 0 : gap(last)) + (i == BAR ? l->bar : (int)strlen(l->text[i]));
        last = i;
    }
    return width;
}

/* The more important a field, the earlier it is tried; what has no room is left out, and so is all
 * that is less important, that the line does not change with the number of digits. */
static void choose_fields(Line *l, int room)
{
    l->bar = LEAST_BAR;
    for (int i = 0; i < FIELDS; i++) {
        Field f = importance[i];
        l->shown[f] = f == BAR || l->text[f][0];
        if (width_of(l) > room) {
            l->shown[f] = false;
            break;
        }
    }
    int most = l->shown[SPEED] ? MOST_BAR : USUAL_BAR;
    while (l->shown[BAR] && l->bar < most && width_of(l) < room)
        l->bar++;
}

int progress_line(const Progress *p, int columns, bool unicode, char out[PROGRESS_LINE])
{
    Line line;
    char *at = out;
    int last = -1;
    fill_line(p, &line);
    choose_fields(&line, columns - 1);
    *at = '\0';
    for (int i = 0; i < FIELDS; i++) {
        if (!line.shown[i])
            continue;
        at += sprintf(at, "%*s", last < 0 ? 0 : gap(last), "");
        at = i == BAR ? bar_put(p->epoch_step, p->epoch_steps, line.bar, unicode, at)
                      : stpcpy(at, line.text[i]);
        last = i;
    }
    return width_of(&line);
}

/* Behind the line the cursor goes back to its start: where a terminal that becomes narrower breaks
 * it into several, all of them are below the cursor. */
void log_progress(Log *log, const Progress *progress)
{
    char line[PROGRESS_LINE];
    if (!log->bar)
        return;
    progress_line(progress, bar_columns(STDOUT_FILENO), bar_unicode(), line);
    printf("\r\033[J%s\r", line);
    fflush(stdout);
    log->drawn = true;
}

void log_clear(Log *log)
{
    if (!log->drawn)
        return;
    fputs("\r\033[J", stdout);
    fflush(stdout);
    log->drawn = false;
}

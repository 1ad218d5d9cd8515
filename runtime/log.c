/* What a run tells: JSON lines in a file, plain lines and a progress bar on stdout. */
#include "runtime.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *json_number(double value, char *out)
{
    if (isfinite(value))
        snprintf(out, 32, "%.9g", value);
    else
        strcpy(out, "null");
    return out;
}

static int open_json(Log *log, const char *path, bool bar, const char *mode)
{
    *log = (Log){.path = path, .bar = bar};
    if (!path)
        return 0;
    log->json = fopen(path, mode);
    if (!log->json)
        return fault("cannot write the log %s: %s; choose another place", path, strerror(errno));
    return 0;
}

int log_open(Log *log, const char *path, bool bar)
{
    return open_json(log, path, bar, "w");
}

/* Whether a line stays: 1, 0, or -1 when it is no line of a log. */
static int line_stays(const char *line, size_t length, const LogCut *cut)
{
    json_t *root = json_loadb(line, length, 0, NULL);
    const json_t *number = json_object_get(root, "step");
    const char *event = json_string_value(json_object_get(root, "event"));
    int stays = -1;
    if (event && json_is_integer(number)) {
        json_int_t step = json_integer_value(number);
        bool dropped = (cut->train && strcmp(event, "train") == 0) ||
                       (cut->eval && strcmp(event, "eval") == 0);
        stays = step < cut->step || (step == cut->step && !dropped);
    }
    json_decref(root);
    return stays;
}

static int copy_lines(FILE *from, const char *path, const LogCut *cut, FILE *to)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    int status = 0, number = 0;
    while (status == 0 && (length = getline(&line, &size, from)) > 0 && line[length - 1] == '\n') {
        int stays = line_stays(line, (size_t)length, cut);
        number++;
        if (stays < 0)
            status =
                fault("line %d of %s is not of a trainer's log; give another --log", number, path);
        else if (stays)
            fwrite(line, 1, (size_t)length, to);
    }
    if (status == 0 && ferror(from))
        status = fault("cannot read the log %s: %s", path, strerror(errno));
    free(line);
    return status;
}

static int cut_log(const char *path, const LogCut *cut)
{
    OutFile out;
    FILE *file = fopen(path, "r");
    if (!file)
        return fault("cannot read the log %s: %s; choose another place", path, strerror(errno));
    int status = outfile_open(&out, path);
    if (status == 0) {
        status = copy_lines(file, path, cut, out.file);
        if (status == 0)
            status = outfile_commit(&out);
        else
            outfile_abandon(&out);
    }
    fclose(file);
    return status;
}

int log_continue(Log *log, const char *path, bool bar, const LogCut *cut)
{
    struct stat s;
    *log = (Log){0};
    if (path && stat(path, &s) == 0 && S_ISREG(s.st_mode) && cut_log(path, cut) < 0)
        return -1;
    return open_json(log, path, bar, "a");
}

static int flush_line(Log *log)
{
    if (fflush(log->json) == 0 && !ferror(log->json))
        return 0;
    return fault("cannot write the log %s: %s; make room or choose another place", log->path,
                 strerror(errno));
}

static int flush_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return fault("cannot write to standard output: %s", strerror(errno));
}

int log_train(Log *log, const LogEntry *e)
{
    char loss[32], accuracy[32], lr[32], speed[32];
    log_clear(log);
    printf("step %lld  epoch %d  loss %.4f  accuracy %.4f  %.1f images/s\n", (long long)e->step,
           e->epoch, e->loss, e->accuracy, e->images_per_second);
    if (flush_stdout() < 0)
        return -1;
    if (!log->json)
        return 0;
    fprintf(log->json,
            "{\"event\":\"train\",\"step\":%lld,\"epoch\":%d,\"loss\":%s,\"accuracy\":%s,"
            "\"lr\":%s,\"images_per_second\":%s}\n",
            (long long)e->step, e->epoch, json_number(e->loss, loss),
            json_number(e->accuracy, accuracy), json_number(e->lr, lr),
            json_number(e->images_per_second, speed));
    return flush_line(log);
}

int log_eval(Log *log, const LogEntry *e)
{
    char loss[32], accuracy[32];
    log_clear(log);
    printf("step %lld  epoch %d  test loss %.4f  test accuracy %.4f\n", (long long)e->step,
           e->epoch, e->loss, e->accuracy);
    if (flush_stdout() < 0)
        return -1;
    if (!log->json)
        return 0;
    fprintf(log->json,
            "{\"event\":\"eval\",\"step\":%lld,\"epoch\":%d,\"loss\":%s,\"accuracy\":%s}\n",
            (long long)e->step, e->epoch, json_number(e->loss, loss),
            json_number(e->accuracy, accuracy));
    return flush_line(log);
}

void log_progress(Log *log, const Progress *p)
{
    enum { WIDTH = 24 };
    char bar[WIDTH + 1];
    if (!log->bar)
        return;
    int full = p->steps > 0 ? (int)(WIDTH * p->step / p->steps) : 0;
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = '\0';
    long left = p->seconds_left < 1e7 ? lround(p->seconds_left) : 9999999;
    printf("\r\033[K[%s] %lld/%lld  loss %.4f  accuracy %.4f  %.1f images/s  %ld:%02ld:%02ld left",
           bar, (long long)p->step, (long long)p->steps, p->loss, p->accuracy, p->images_per_second,
           left / 3600, left / 60 % 60, left % 60);
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

int log_close(Log *log)
{
    int status = 0;
    log_clear(log);
    if (log->json && fclose(log->json) != 0)
        status = fault("cannot write the log %s: %s", log->path, strerror(errno));
    log->json = NULL;
    return status;
}

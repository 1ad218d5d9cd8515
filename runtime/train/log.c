/* What a run tells: plain lines on stdout, JSON lines and CSV in files, TensorBoard's events. */
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char csv_header[] = "event,step,epoch,loss,accuracy,lr,images_per_second\r\n";

/* ---- the files of a run that goes on ---- */

/* Whether a line about `event` at `step` stays. */
static int event_stays(const char *event, int64_t step, const LogCut *cut)
{
    bool dropped =
        strcmp(event, "train") == 0 ? cut->train : cut->eval;
    return step < cut->step || (step == cut->step && !dropped);
}

/* Whether a line stays: 1, 0, or -1 when it is no line of a log. */
static int json_stays(const char *line, size_t length, const LogCut *cut)
{
    json_t *root = json_loadb(line, length, 0, NULL);
    const json_t *step = json_object_get(root, "step");
    const char *event = json_string_value(json_object_get(root, "event"));
    int stays = -1;
    if (event && json_is_integer(step))
        stays = event_stays(event, json_integer_value(step), cut);
    json_decref(root);
    return stays;
}

static int csv_stays(const char *line, size_t length, const LogCut *cut)
{
    char event[16];
    long long step;
    if (length == sizeof csv_header - 1 && memcmp(line, csv_header, length) == 0)
        return 1;
    return sscanf(line, "%15[a-z],%lld,", event, &step) == 2 ? event_stays(event, step, cut) : -1;
}

static int copy_lines(FILE *from, const LogFile *log, const LogCut *cut, FILE *to)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    int status = 0, number = 0;
    while (status == 0 && (length = getline(&line, &size, from)) > 0 && line[length - 1] == '\n') {
        int stays =
            log->csv ? csv_stays(line, (size_t)length, cut) : json_stays(line, (size_t)length, cut);
        number++;
        if (stays < 0)
            status = fault("line %d of %s is not of a trainer's log; give another --%s", number,
                           log->path, log->csv ? "csv" : "log");
        else if (stays)
            fwrite(line, 1, (size_t)length, to);
    }
    if (status == 0 && ferror(from))
        status = fault("cannot read the log %s: %s", log->path, strerror(errno));
    free(line);
    return status;
}

static int cut_file(const LogFile *log, const LogCut *cut)
{
    OutFile out;
    FILE *file = fopen(log->path, "r");
    if (!file)
        return fault("cannot read the log %s: %s; choose another place", log->path,
                     strerror(errno));
    int status = outfile_open(&out, log->path);
    if (status == 0) {
        status = copy_lines(file, log, cut, out.file);
        if (status == 0)
            status = outfile_commit(&out);
        else
            outfile_abandon(&out);
    }
    fclose(file);
    return status;
}

/* ---- files ---- */

static int write_fault(const LogFile *log)
{
    return fault("cannot write the log %s: %s; make room or choose another place", log->path,
                 strerror(errno));
}

/* What failed once is told and not written again. */
static int flush_line(LogFile *log)
{
    if (fflush(log->file) == 0 && !ferror(log->file))
        return 0;
    int status = write_fault(log);
    fclose(log->file);
    log->file = NULL;
    return status;
}

/* The standard output or error that goes into the file, as /dev/stdout means it; -1: neither. */
static int stream_into(const char *path)
{
    struct stat named, stream;
    if (stat(path, &named) != 0 || !S_ISREG(named.st_mode))
        return -1;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &stream) == 0 && stream.st_dev == named.st_dev &&
            stream.st_ino == named.st_ino)
            return fd;
    return -1;
}

/* Lines that go where the program's own lines do stand between these, not over them. */
static FILE *open_to_write(const char *path, const LogCut *cut, int stream)
{
    int fd = stream < 0 ? -1 : fcntl(stream, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? fopen(path, cut ? "a" : "w") : fdopen(fd, "a");
}

static int open_file(LogFile *log, const LogCut *cut)
{
    struct stat s;
    int stream = log->path ? stream_into(log->path) : -1;
    bool old = log->path && cut && stream < 0 && stat(log->path, &s) == 0 && S_ISREG(s.st_mode);
    if (!log->path)
        return 0;
    if (old && cut_file(log, cut) < 0)
        return -1;
    log->file = open_to_write(log->path, cut, stream);
    if (!log->file)
        return fault("cannot write the log %s: %s; choose another place", log->path,
                     strerror(errno));
    if (!log->csv || (old && stat(log->path, &s) == 0 && s.st_size > 0))
        return 0;
    fputs(csv_header, log->file);
    return flush_line(log);
}

int log_open(Log *log, const LogOptions *options, const LogCut *cut)
{
    *log = (Log){.json = {.path = options->json},
                 .csv = {.path = options->csv, .csv = true},
                 .bar = options->bar};
    if (open_file(&log->json, cut) < 0 || open_file(&log->csv, cut) < 0)
        return -1;
    if (!options->tensorboard)
        return 0;
    bool whole = cut && cut->train && !cut->evaluated;
    log->board = tensorboard_open(options->tensorboard, cut ? cut->step - whole : 0);
    return log->board ? 0 : -1;
}

/* Standard output and error: a failure of each is told once, on the other. */
static int flush_streams(Log *log)
{
    bool stops = log->stop && *log->stop;
    int status = 0;
    if (!log->mute && (fflush(stdout) != 0 || ferror(stdout))) {
        log->mute = true;
        if (!stops)
            status = fault("cannot write to standard output: %s", strerror(errno));
    }
    if (!log->unheard && ferror(stderr)) {
        log->unheard = true;
        if (!stops) {
            printf("%s: error: cannot write to standard error\n", fault_program);
            fflush(stdout);
            status = -1;
        }
    }
    return status;
}

/* ---- lines ---- */

/* A number for CSV readers: nan and inf where it is not finite. `out` of 32 bytes. */
static const char *csv_number(double value, char *out)
{
    if (isnan(value))
        return "nan";
    snprintf(out, 32, "%.9g", value);
    return out;
}

static int write_json(LogFile *log, const LogEntry *e, bool eval)
{
    char loss[32], accuracy[32], lr[32], speed[32];
    if (!log->file)
        return 0;
    fprintf(log->file, "{\"event\":\"%s\",\"step\":%lld,\"epoch\":%d,\"loss\":%s,\"accuracy\":%s",
            eval ? "eval" : "train", (long long)e->step, e->epoch, json_number(e->loss, loss),
            json_number(e->accuracy, accuracy));
    if (eval && e->validation)
        fputs(",\"split\":\"validation\"", log->file);
    if (!eval)
        fprintf(log->file, ",\"lr\":%s,\"images_per_second\":%s", json_number(e->lr, lr),
                json_number(e->images_per_second, speed));
    fputs("}\n", log->file);
    return flush_line(log);
}

static int write_csv(LogFile *log, const LogEntry *e, bool eval)
{
    char loss[32], accuracy[32], lr[32], speed[32];
    if (!log->file)
        return 0;
    fprintf(log->file, "%s,%lld,%d,%s,%s,%s,%s\r\n",
            !eval ? "train" : e->validation ? "validation" : "eval", (long long)e->step, e->epoch,
            csv_number(e->loss, loss), csv_number(e->accuracy, accuracy),
            eval ? "" : csv_number(e->lr, lr), eval ? "" : csv_number(e->images_per_second, speed));
    return flush_line(log);
}

static int write_confusion(Tensorboard *board, const LogEntry *e, const Evaluation *evaluation)
{
    Image image;
    if (!evaluation || !evaluation->confusion)
        return 0;
    if (confusion_image(evaluation->confusion, evaluation->classes, &image) < 0)
        return -1;
    int status = tensorboard_image(
        board, e->step, e->validation ? "validation/confusion" : "test/confusion", &image);
    image_free(&image);
    return status;
}

static int write_events(Tensorboard *board, const LogEntry *e, bool eval,
                        const Evaluation *evaluation)
{
    const Scalar train[] = {{"train/loss", e->loss},
                            {"train/accuracy", e->accuracy},
                            {"train/learning_rate", e->lr},
                            {"train/images_per_second", e->images_per_second}};
    const Scalar test[] = {{e->validation ? "validation/loss" : "test/loss", e->loss},
                           {e->validation ? "validation/accuracy" : "test/accuracy", e->accuracy}};
    if (write_confusion(board, e, evaluation) < 0 ||
        tensorboard_scalars(board, e->step, eval ? test : train, eval ? 2 : 4) < 0)
        return -1;
    return tensorboard_flush(board);
}

void log_drop_board(Log *log)
{
    Messages before = fault_silence((char[64]){0}, 64);
    tensorboard_close(log->board);
    fault_release(before);
    log->board = NULL;
}

/* To each of the outputs, whatever becomes of the others. */
static int write_all(Log *log, const LogEntry *e, bool eval, const Evaluation *evaluation)
{
    int streams = flush_streams(log);
    int json = write_json(&log->json, e, eval), csv = write_csv(&log->csv, e, eval), board = 0;
    if (log->board && (board = write_events(log->board, e, eval, evaluation)) < 0)
        log_drop_board(log);
    return streams < 0 || json < 0 || csv < 0 || board < 0 ? -1 : 0;
}

int log_train(Log *log, const LogEntry *e)
{
    if (!e->quiet) {
        log_clear(log);
        printf("step %lld  epoch %d/%d  loss %.4f  accuracy %.4f  %.1f images/s\n",
               (long long)e->step, e->epoch + 1, e->epochs, e->loss, e->accuracy,
               e->images_per_second);
    }
    return write_all(log, e, false, NULL);
}

int log_eval(Log *log, const LogEntry *e, const Evaluation *evaluation)
{
    const char *of = e->validation ? "validation" : "test";
    log_clear(log);
    printf("step %lld  epoch %d/%d  %s loss %.4f  %s accuracy %.4f\n", (long long)e->step,
           e->epoch, e->epochs, of, e->loss, of, e->accuracy);
    return write_all(log, e, true, evaluation);
}

int log_check(Log *log)
{
    return flush_streams(log);
}

void log_say(Log *log, const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    log_clear(log);
    vprintf(format, ap);
    if (fflush(stdout) != 0 || ferror(stdout))
        vfprintf(stderr, format, again);
    va_end(again);
    va_end(ap);
}

static int close_file(LogFile *log)
{
    int status = 0;
    if (log->file && fclose(log->file) != 0)
        status = write_fault(log);
    log->file = NULL;
    return status;
}

int log_close(Log *log)
{
    log_clear(log);
    int json = close_file(&log->json), csv = close_file(&log->csv);
    int board = tensorboard_close(log->board);
    log->board = NULL;
    return json < 0 || csv < 0 || board < 0 ? -1 : 0;
}

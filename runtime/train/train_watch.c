/* How a training run goes: sums of loss and accuracy, log lines, the bar; dead networks and
 * losses that are not finite. */
#include "run.h"

#include <math.h>

/* A batch of so many images without a logit above zero is a dead network; fewer may be chance. */
enum { DEAD_IMAGES = 16 };

void run_fail(Run *r, int status)
{
    if (status < 0)
        r->failed = true;
}

/* So small a learning rate moves no parameter to speak of in the steps that are looked at. */
static const double TINY_LR = 1e-6;

static void add_sums(Sums *w, const Metrics *m, double seconds)
{
    w->loss += m->loss;
    w->weight += m->weight;
    w->correct += m->correct;
    w->images += m->images;
    w->seconds += seconds;
}

static void warn(Run *r, const char *seen, const char *advice)
{
    if (r->state.warned_stall || r->unlearnable)
        return;
    log_clear(&r->log);
    notice("not learning: %s; %s", seen, advice);
    r->state.warned_stall = true;
}

static const char dead[] = "the network is probably dead: try another --seed, a smaller --lr or "
                           "another init in the model";

/* `shown`: on standard output too. */
static int write_interval(Run *r, bool shown)
{
    LogEntry entry = {
        .step = r->state.step,
        .epoch = r->state.epoch,
        .epochs = r->state.epochs,
        .quiet = !shown,
        .loss = mean(r->state.logged.loss, r->state.logged.weight),
        .accuracy = (double)r->state.logged.correct / (double)r->state.logged.images,
        .lr = r->state.used_lr,
        .images_per_second = (double)r->state.logged.images / r->state.logged.seconds,
    };
    return log_train(&r->log, &entry);
}

static Watch *watch_of(Run *r)
{
    if (!r->watch)
        r->watch = watch_open(r->model, r->table, r->device);
    return r->watch;
}

int run_stop_diverged(Run *r, const char *loss)
{
    char bad[256], saved[64] = "";
    log_clear(&r->log);
    if (watch_find_bad(watch_of(r), bad, sizeof bad) < 0)
        return -1;
    if (r->checkpoints && r->saved_step >= 0)
        snprintf(saved, sizeof saved, "; the last good checkpoint is of step %lld",
                 (long long)r->saved_step);
    return fault("%s is not finite; %s; training stops and saves nothing more%s; try a smaller "
                 "--lr (it is %g), another --init or another --seed",
                 loss, bad, saved, r->state.lr);
}

/* The host learns of a bad loss when it reads the sums: on a GPU some steps later. */
static int stop_at_bad_step(Run *r)
{
    char loss[96];
    int64_t first = r->collected_step + 1, last = r->state.step;
    if (first >= last)
        snprintf(loss, sizeof loss, "the loss of step %lld", (long long)last);
    else
        snprintf(loss, sizeof loss, "the loss of one of the steps %lld to %lld", (long long)first,
                 (long long)last);
    write_interval(r, true);
    return run_stop_diverged(r, loss);
}

/* Single images may well have no logit above zero; a batch of them is a dead network. */
static void check_zero_logits(Run *r, const Metrics *m)
{
    int batch = device_target(r->model, r->table)->train.batch;
    r->zero_images = m->all_logits_zero ? r->zero_images + m->images : 0;
    if (r->zero_images >= (batch > DEAD_IMAGES ? batch : DEAD_IMAGES))
        warn(r, "all logits of a whole batch were zero", dead);
}

int run_collect(Run *r)
{
    Metrics m;
    if (r->table->read_metrics(r->device, &m) < 0)
        return -1;
    if (m.images == 0)
        return 0;
    double at = clock_seconds(), seconds = at - r->collected_at;
    r->collected_at = at;
    add_sums(&r->state.logged, &m, seconds);
    add_sums(&r->state.stall, &m, seconds);
    add_sums(&r->shown, &m, seconds);
    check_zero_logits(r, &m);
    if (!isfinite(m.loss))
        return stop_at_bad_step(r);
    r->collected_step = r->state.step;
    return 0;
}

/* What to try where so many steps did not help. A dead network's loss is at ln K; one far above has
 * logits, and wrong ones. */
static const char *stall_advice(const Run *r, bool far, char *out, size_t size)
{
    if (r->state.lr == 0)
        return "--lr is 0, which leaves all parameters as they are: give a larger one";
    if (r->state.lr < TINY_LR)
        snprintf(out, size, "--lr is only %g: try a larger one", r->state.lr);
    else if (far)
        snprintf(out, size, "try another --lr (it is %g) or another init in the model",
                 r->state.lr);
    else
        return dead;
    return out;
}

/* A network whose last layer is a ReLU can start dead: all logits stay 0, the loss at ln K. */
void run_check_stall(Run *r)
{
    char seen[160], advice[128];
    double chance = log(r->model->classes), loss = mean(r->state.stall.loss, r->state.stall.weight);
    double accuracy = mean((double)r->state.stall.correct, (double)r->state.stall.images);
    r->state.stall = (Sums){0};
    if (!(loss >= 0.99 * chance) || !(accuracy <= 1.2 / r->model->classes))
        return;
    bool far = loss > 1.2 * chance;
    snprintf(seen, sizeof seen,
             "over the last %d steps the loss was %s chance, ln %d = %.4f (mean %.4f, "
             "accuracy %.4f)",
             STALL_STEPS, far ? "above" : "no better than", r->model->classes, chance, loss,
             accuracy);
    warn(r, seen, stall_advice(r, far, advice, sizeof advice));
}

int run_log_interval(Run *r, bool last)
{
    if (run_collect(r) < 0)
        return -1;
    bool shown = r->state.step % r->show_every == 0 || last;
    if (r->state.logged.images > 0)
        run_fail(r, write_interval(r, shown));
    return 0;
}

int run_catch_up(Run *r)
{
    bool whole = r->resumed_from && r->state.step % r->log_every == 0;
    if (!whole || r->state.logged.images == 0 || r->state.step >= r->steps)
        return 0;
    if (run_log_interval(r, false) < 0)
        return -1;
    if (!r->failed)
        r->state.logged = (Sums){0};
    return 0;
}

/* Seconds between two drawings of the bar. */
static const double REDRAWN = 0.2;

int run_show_progress(Run *r)
{
    double at = clock_seconds();
    if (!r->log.bar || at - r->shown_at < REDRAWN)
        return 0;
    if (run_collect(r) < 0)
        return -1;
    int batch = device_target(r->model, r->table)->train.batch;
    int64_t left = r->steps - r->state.step;
    int64_t epoch_left = ceil_div(r->train.count - r->state.images, batch);
    int64_t epoch_step = ceil_div(r->state.images, batch);
    if (epoch_left > left)
        epoch_left = left;
    double seconds_a_step = (at - r->started_at) / (double)(r->state.step - r->first_step);
    Progress p = {
        .epoch_step = epoch_step,
        .epoch_steps = epoch_step + epoch_left,
        .epoch = r->state.epoch,
        .epochs = r->state.epochs,
        .loss = mean(r->shown.loss, r->shown.weight),
        .accuracy = mean((double)r->shown.correct, (double)r->shown.images),
        .images_per_second = (double)r->shown.images / r->shown.seconds,
        .seconds = seconds_a_step * (double)left,
    };
    log_progress(&r->log, &p);
    run_fail(r, log_check(&r->log));
    r->shown = (Sums){0};
    r->shown_at = at;
    return 0;
}

void run_show_evaluation(void *run, int images)
{
    Run *r = run;
    double at = clock_seconds();
    if (at - r->shown_at < REDRAWN)
        return;
    Progress p = {.epoch_step = images,
                  .epoch_steps = r->test.count,
                  .epoch = r->state.epoch,
                  .epochs = r->state.epochs,
                  .testing = true,
                  .validating = r->validates,
                  .seconds = (at - r->evaluating_at) / images * (r->test.count - images)};
    log_progress(&r->log, &p);
    r->shown_at = at;
}

void run_write_histograms(Run *r)
{
    if (!r->log.board || r->watched_step == r->state.step)
        return;
    r->watched_step = r->state.step;
    if (watch_histograms(watch_of(r), r->log.board, r->state.step) < 0) {
        r->failed = true;
        log_drop_board(&r->log);
    }
}

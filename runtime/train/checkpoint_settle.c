/* What a directory of checkpoints was left with: steps of a run that went back, and what became of
 * links in copying. */
#include "checkpoint_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Renames a directory to NAME.abandoned, with a number behind where that is taken. */
static int set_aside(const char *directory, const char *name)
{
    struct stat s;
    char *path = join_path(directory, name);
    size_t bytes = strlen(path) + 32;
    char *aside = xmalloc(bytes);
    snprintf(aside, bytes, "%s.abandoned", path);
    for (int i = 2; lstat(aside, &s) == 0; i++)
        snprintf(aside, bytes, "%s.abandoned-%d", path, i);
    int status = 0;
    if (is_real_directory(path) && rename(path, aside) != 0)
        status = fault("cannot rename %s to %s: %s; choose another place with --checkpoint-dir",
                       path, aside, strerror(errno));
    free(aside);
    free(path);
    return status;
}

static int set_step_aside(const char *directory, int64_t step)
{
    char *path = checkpoint_step_path(directory, step);
    int status = set_aside(directory, strrchr(path, '/') + 1);
    free(path);
    return status;
}

/* ---- going back ---- */

/* `best` and `latest` name what this run came from. */
static int point_back(const Checkpoints *c)
{
    const RunState *from = &c->from;
    char *best = checkpoint_step_path(c->directory, from->best_step);
    char *link = join_path(c->directory, "best");
    bool stands = from->best_accuracy >= 0 && access(best, F_OK) == 0;
    int status = 0;
    if (checkpoint_named(c->directory, "best") > from->step) {
        if (stands)
            status = checkpoint_point(c->directory, "best", from->best_step);
        else
            unlink(link);
    }
    free(link);
    free(best);
    return status == 0 ? checkpoint_point(c->directory, "latest", from->step) : -1;
}

static void tell_aside(const Checkpoints *c, int64_t first, int64_t last)
{
    char to[40] = "";
    if (last > first)
        snprintf(to, sizeof to, " to step-%08lld", (long long)last);
    notice("%s: the run went back to step %lld; what it had later, step-%08lld%s, is kept as "
           "step-*.abandoned: remove it, or take the ending off to resume from there",
           c->directory, (long long)c->from.step, (long long)first, to);
}

/* The steps after the one that the run came from are another run's from now on: one that cannot
 * read `latest` must not take them for this one's, nor is `best` there. They may be wanted, so they
 * are kept under another name. Where `latest` is no later, the one step that may be is this run's
 * own, from before it was killed. */
int checkpoint_leave_branch(Checkpoints *c)
{
    int count, later = 0, status = 0;
    if (c->on_branch || !c->options.resumed)
        return 0;
    c->on_branch = true;
    int64_t latest = checkpoint_named(c->directory, "latest");
    if (latest >= 0 && latest <= c->from.step)
        return 0;
    int64_t *step = checkpoint_list(c->directory, &count);
    while (later < count && step[later] > c->from.step)
        later++;
    bool went_back = later > 0 || latest >= 0;
    for (int i = later - 1; i >= 0 && status == 0; i--)
        status = set_step_aside(c->directory, step[i]);
    if (status == 0 && went_back)
        status = point_back(c);
    if (status == 0 && later > 0)
        tell_aside(c, step[later - 1], step[0]);
    free(step);
    return status;
}

/* ---- a directory that was copied ---- */

static bool same_checkpoint(const char *a, const char *b)
{
    uint32_t crc_a[CHECKPOINT_TENSOR_FILES], crc_b[CHECKPOINT_TENSOR_FILES];
    RunState state;
    char why[512];
    char *path_a = join_path(a, "state.json"), *path_b = join_path(b, "state.json");
    Messages before = fault_hold(why, sizeof why);
    bool same = state_read(path_a, NULL, &state, crc_a) == 0 &&
                state_read(path_b, NULL, &state, crc_b) == 0 &&
                memcmp(crc_a, crc_b, sizeof crc_a) == 0;
    fault_release(before);
    free(path_a);
    free(path_b);
    return same;
}

/* The copy of a step directory under a link's name becomes that step where it is missing or not
 * whole, goes where it is the same, and else is set aside. */
static int settle_copy(const Checkpoints *c, const char *name, const char *copy, int64_t step)
{
    char why[512];
    RunState state;
    char *path = checkpoint_step_path(c->directory, step < 0 ? 0 : step);
    int status = 0;
    if (step >= 0 && is_real_directory(path) && !checkpoint_is_whole(path, &state, why, sizeof why))
        status = set_step_aside(c->directory, step);
    if (step >= 0 && is_real_directory(path) && same_checkpoint(copy, path))
        checkpoint_remove(copy);
    else if (step < 0 || is_real_directory(path) || rename(copy, path) != 0) {
        status = set_aside(c->directory, name);
        notice("%s: %s is a directory, and no copy of a checkpoint that is there; it is kept as "
               "%s.abandoned",
               c->directory, name, name);
    }
    free(path);
    return status;
}

/* What a link became in copying is one again. */
static int settle_link(const Checkpoints *c, const char *name)
{
    struct stat s;
    char *path = join_path(c->directory, name);
    int64_t step = checkpoint_named(c->directory, name);
    int status = 0;
    if (lstat(path, &s) == 0 && !S_ISLNK(s.st_mode)) {
        if (S_ISDIR(s.st_mode))
            status = settle_copy(c, name, path, step);
        if (status == 0 && step >= 0)
            status = checkpoint_point(c->directory, name, step);
    }
    free(path);
    return status;
}

/* Where a copy lost it, `best` names again what the checkpoint says. */
static int settle_best(const Checkpoints *c)
{
    int64_t now = checkpoint_named(c->directory, "best");
    char *named = checkpoint_step_path(c->directory, now),
         *best = checkpoint_step_path(c->directory, c->from.best_step);
    bool lost = c->from.best_accuracy >= 0 && (now < 0 || !is_real_directory(named)) &&
                is_real_directory(best);
    free(named);
    free(best);
    return lost ? checkpoint_point(c->directory, "best", c->from.best_step) : 0;
}

int checkpoint_settle(const Checkpoints *c)
{
    for (int i = 0; i < CHECKPOINT_LINKS; i++)
        if (settle_link(c, checkpoint_links[i]) < 0)
            return -1;
    return settle_best(c);
}

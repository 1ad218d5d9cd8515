/* Inside of checkpoints: what checkpoint_dir.c (what lies in a directory), checkpoint_find.c,
 * checkpoint_write.c, checkpoint_settle.c and checkpoint.c (the writer) share. */
#ifndef NINC_CHECKPOINT_FILES_H
#define NINC_CHECKPOINT_FILES_H

#include "train.h"

#include <pthread.h>

enum { CHECKPOINT_MESSAGE = 8192, CHECKPOINT_LINKS = 2 };

struct Checkpoints {
    CheckpointOptions options;
    RunState from;  /* of options.resumed */
    bool on_branch; /* its checkpoints are the newest */
    char *directory;
    Weights *copy;
    RunState state; /* what `copy` belongs to */
    Lock lock;      /* on the directory */
    pthread_t thread;
    bool running;
    atomic_int status;                /* -1: a checkpoint could not be written */
    char message[CHECKPOINT_MESSAGE]; /* why, where that was not told yet; the thread's while it
                                         runs */
};

/* ---- checkpoint_dir.c ---- */

extern const char *const checkpoint_files[CHECKPOINT_TENSOR_FILES];
/* latest and best; in a directory that was copied they may be copies of step directories. */
extern const char *const checkpoint_links[CHECKPOINT_LINKS];

/* DIRECTORY/step-00001000; the caller frees it. */
char *checkpoint_step_path(const char *directory, int64_t step);
/* DIRECTORY/.NAME.partial-PID; the caller frees it. */
char *checkpoint_partial_path(const char *directory, const char *name);
/* The step that a directory is named after; -1: it is no step directory. */
int64_t checkpoint_step(const char *name);
/* The steps that have a directory, the newest first; the caller frees them. */
int64_t *checkpoint_list(const char *directory, int *count);
/* Removes a link, or a directory with its files; whatever cannot be removed stays. */
void checkpoint_remove(const char *path);
void checkpoint_remove_step(const char *directory, int64_t step);
/* Removes what killed writers left. */
void checkpoint_remove_leftovers(const char *directory);
int checkpoint_crc(const char *path, uint32_t *crc);
/* The state of a step directory, whose files are what was written; `model` as state_read has it. */
int checkpoint_state(const char *step_directory, const NincModel *model, RunState *state);
/* Whether a checkpoint of any model is whole; says nothing, but leaves in `why` what is wrong. */
bool checkpoint_is_whole(const char *step_directory, RunState *state, char *why, size_t size);
/* The step that DIRECTORY/NAME names, which is a link, where there are none a file with its text,
 * or a copy of the step directory, as some programs make it; -1: none. */
int64_t checkpoint_named(const char *directory, const char *name);

/* ---- checkpoint_write.c ---- */

/* Writes what `c` has a copy of, names it and removes what is not kept. */
int checkpoint_write(const Checkpoints *c);
/* Replaces DIRECTORY/NAME in one go: a link, or a text where the file system has none. */
int checkpoint_point(const char *directory, const char *name, int64_t step);

/* ---- checkpoint_settle.c ---- */

/* Sets the steps after the one that the run came from aside, once. */
int checkpoint_leave_branch(Checkpoints *c);
/* What links became in copying are links again. */
int checkpoint_settle(const Checkpoints *c);

#endif

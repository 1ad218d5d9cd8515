/* Compiled code kept between runs, and directories that are ours alone. What is taken from the
 * cache is run: only where nobody else could have put it there. */
#ifndef NINC_CACHE_H
#define NINC_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/* ---- cache.c ---- */

__extension__ typedef unsigned __int128 Hash;

Hash hash_start(void);
Hash hash_bytes(Hash h, const void *bytes, size_t count);
/* With its NUL, so that two texts do not run together. */
Hash hash_text(Hash h, const char *text);
/* $NINC_CACHE_DIR, $XDG_CACHE_HOME/ninc, ~/.cache/ninc, as an absolute path without links: made,
 * for its owner alone, where it is missing. False, after a notice (one a process), where it cannot
 * be written or others could have written there; then all works without it. `out` of PATH_MAX. */
bool cache_directory(char *out, size_t size);
/* DIRECTORY/KIND-HASHEXTENSION; a new KIND is named in cache_trim.c too. */
void cache_path(char *out, size_t size, const char *directory, const char *kind, Hash h,
                const char *extension);
/* The bytes of an entry, a NUL behind them; NULL where it is missing, damaged, a link, or not
 * written by us alone. */
unsigned char *cache_read(const char *path, size_t *size);
/* Appears under its name only when it is whole, so that trainers that run at once see no half of
 * one. -1 without a message, errno set. */
int cache_write(const char *path, const void *bytes, size_t size);
/* The bytes of any file, a NUL behind them; NULL without a message. */
unsigned char *read_bytes(const char *path, size_t *size);

/* ---- cache_trim.c ---- */

/* Removes the entries of the directory that were not used for longest, until all together take at
 * most $NINC_CACHE_MB megabytes (default 1024), but for the one named `keep`, which is about to be
 * used. A reader that loses one compiles it again. */
void cache_trim(const char *directory, const char *keep);

/* ---- private.c: directories that are ours alone ---- */

/* Whether nobody else can put or change files in the directory, an absolute path without links: it
 * belongs to us, with no rights to write for others, and nobody else can rename a directory that it
 * lies in. Else `why` says what speaks against it, for a message. */
bool directory_is_private(const char *path, char *why, size_t size);
/* A new directory NAME-XXXXXX of mode 0700 in $TMPDIR or /tmp, as an absolute path into `out`; -1
 * after a message. */
int private_directory(const char *name, char *out, size_t size);
/* Removes a directory of our own with all that is in it. */
void remove_directory(const char *path);

#endif

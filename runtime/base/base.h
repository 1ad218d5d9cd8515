/* The map of the runtime's lowest room, which knows nothing of networks, formats or devices.
 * Functions that return int give 0, or -1 after printing one line that names the file or setting at
 * fault and says what to do. */
#ifndef NINC_BASE_H
#define NINC_BASE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_t; /* of jansson.h */

/* What people read as a table has lines of at most so many columns. */
enum { TABLE_COLUMNS = 80 };

/* Where the messages of a thread go. */
typedef struct Messages {
    char *text; /* the first error is kept there and none is printed; NULL: they are printed */
    size_t size;
    bool silent; /* nothing else is printed either */
} Messages;

/* A file that is written beside its place and renamed when it is whole; a symbolic link stays, and
 * what it names is replaced or made. */
typedef struct OutFile {
    FILE *file;
    char *path, *temporary; /* temporary NULL: path is a device or pipe, written in place */
} OutFile;

/* A table that is written line by line. */
typedef struct CsvFile {
    const char *path;
    FILE *file;
    OutFile out; /* all zero: standard output */
    int fields;  /* of the line so far */
} CsvFile;

enum { INFILE_BEGIN = 16 };

typedef struct InFileLimits {
    size_t most; /* bytes */
    /* NULL, or whether a file that begins so is worth reading on; asked once it has INFILE_BEGIN
     * bytes. */
    bool (*begins)(const uint8_t *bytes, size_t size);
    int seconds; /* that a pipe may be silent; 0: 30 */
} InFileLimits;

/* A file in memory, read only; bytes NULL: none is. */
typedef struct FileMap {
    uint8_t *bytes;
    size_t size;
} FileMap;

/* The lines of a text without what editors leave around them: the byte order mark, blanks at both
 * ends, CR, empty lines at the end. */
typedef struct TextLines {
    char **line;
    int count;
} TextLines;

/* That no other run writes a file or directory: for as long as this process lives, on machines that
 * share it too where the file system can. */
typedef struct Lock {
    char *path; /* of the hidden file that is locked; NULL: none is */
    int fd;
} Lock;

typedef enum LockResult {
    LOCK_TAKEN,
    LOCK_NEEDLESS,   /* a device, a pipe, or nothing that can be written */
    LOCK_IMPOSSIBLE, /* why: errno */
    LOCK_OURS,       /* this process has it already */
    LOCK_ANOTHERS
} LockResult;

__extension__ typedef unsigned __int128 Hash;

/* A stream of random numbers: the key is the seed, the upper half of the counter the stream. */
typedef struct Random {
    uint32_t key[2], counter[4], block[4];
    int used; /* of block */
} Random;
/* Each purpose has its own streams; the number is added to these. */
#define STREAM_INIT ((uint64_t)1 << 32)   /* + index of the storage */
#define STREAM_EPOCH ((uint64_t)2 << 32)  /* + epoch */
#define STREAM_DATA ((uint64_t)3 << 32)   /* + 0 training, 1 test images */
#define STREAM_VERIFY ((uint64_t)4 << 32) /* + 1 + place of what is checked */
#define STREAM_SPLIT ((uint64_t)5 << 32)  /* + class */

/* What is known of items that are checked one after the other, by whichever process. */
typedef struct ApartState {
    int item; /* that is being checked; -1: none is begun */
    int checked, failed;
    char doing[192]; /* the item, for the line that says that it was lost */
} ApartState;

enum { APART_LOST = 3 };

enum { MAX_THREADS = 1024 };

typedef struct ThreadLimit {
    int threads;     /* 1..MAX_THREADS */
    double quota;    /* CPUs of time in a second that the cgroups allow; 0: no limit */
    char reason[64]; /* what makes them fewer than the machine's processors; "": nothing does */
} ThreadLimit;

typedef atomic_uint Word;

#define WORD_SLEEPS (1u << 31)

/* What a thread has learnt of its processor. All zero to begin with. */
typedef struct Patience {
    bool thrifty;    /* time spent spinning is taken from the others (a quota): never for long */
    bool crowded;    /* others want its processor */
    long long tried; /* when that was looked at last, nanoseconds */
    int calm;        /* such trials, one behind the other, that met nobody */
} Patience;

typedef bool WordReady(unsigned value, unsigned wanted);

/* ---- fault.c ---- */

/* The word that messages begin with. */
extern const char *fault_program;
/* Notices are not printed, by any thread. */
extern bool fault_errors_only;
/* Prints "trainer: error: ..." to stderr; always -1. */
int fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on the first error of this thread is kept in `text` and none is printed; NULL: they are
 * printed again. Returns what held before. */
Messages fault_hold(char *text, size_t size);
/* The same, and notices and details are dropped. */
Messages fault_silence(char *text, size_t size);
void fault_release(Messages before);
/* Prints "trainer: ..." to stderr. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints to stderr what belongs to the message before. */
void detail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Copies at most size-1 bytes of `text`, control characters as '?', for use in messages. */
const char *printable(const char *text, char *out, size_t size);

/* ---- bar.c ---- */

/* No bar is drawn. */
extern bool bar_off;
/* Whether a bar can be drawn there: a terminal that can go back in a line. */
bool bar_possible(int fd);
bool bar_unicode(void); /* by the locale's variables */
int bar_columns(int fd);
/* 0:07, 12:34, 1:02:03; "?" of what cannot be told. `out` of 32 bytes. */
const char *bar_duration(double seconds, char *out);
/* The bar alone, `cells` wide: [###....], or blocks with steps of half a cell, of 3 bytes a cell.
 * Returns its end. */
char *bar_put(int64_t done, int64_t all, int cells, bool unicode, char *out);
/* "WHAT bar 412/10000 1:19 left" on standard error, after so many seconds; false: not there. */
bool bar_draw(const char *what, int64_t done, int64_t all, double seconds);
void bar_clear(void);

/* ---- files.c ---- */

/* Whether `path` can be written at all: its directory exists and lets us. */
int outfile_check(const char *path);
int outfile_open(OutFile *out, const char *path);
/* Flushes to the disk and renames. On failure nothing is left behind. */
int outfile_commit(OutFile *out);
void outfile_abandon(OutFile *out);
/* The directory that holds `path`, and a copy of a text; the caller frees them. */
char *directory_of(const char *path);
char *copy_text(const char *text);
/* Whether the path leads to a directory, to a file that is no device or pipe, or is itself a
 * directory rather than a link to one. */
bool is_directory(const char *path);
bool is_regular(const char *path);
bool is_real_directory(const char *path);
/* "DIRECTORY/NAME"; the caller frees it. */
char *join_path(const char *directory, const char *name);
/* Makes the directory and those that it lies in; `what` it is, for the message. */
int make_directories(const char *path, const char *what);
/* What was renamed in the directory is on the disk. */
void directory_sync(const char *directory);
/* Through the symbolic links that the last part of a path may be, to a file that need not exist
 * yet. NULL, with errno: the links go in a circle. The caller frees it. */
char *resolve_links(const char *path);
/* Opens on /dev/null what is closed of standard input, output and error, so that no file that is
 * opened later takes what was meant for these. The first thing that a program does. */
void open_standard_files(void);
/* The first path of STEM.safetensors, STEM-2.safetensors, ... from `from` on (1: without a number)
 * that nothing has; *number: of it. The caller frees it. */
char *unused_name(const char *stem, int from, int *number);

/* ---- filemap.c ---- */

/* Maps a regular file that is not empty. */
int filemap_open(FileMap *m, const char *path);
/* Where the file is cut, or its disk fails, while it is mapped: who reads there ends the program
 * with this error and exit code 1, not by SIGBUS. Until it is closed. */
void filemap_guard(const FileMap *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void filemap_close(FileMap *m);

/* ---- infile.c ---- */

/* All bytes of a file or pipe that a user named, "-" being standard input; those so far where
 * `begins` says no. Devices, directories and what is larger are errors. The caller frees *bytes in
 * any case. */
int infile_read(const char *path, const InFileLimits *limits, uint8_t **bytes, size_t *size);

/* Reads any text that a user hands over; UTF-16 is an error that says so. */
int text_lines_read(const char *path, TextLines *out);
void text_lines_free(TextLines *lines);

/* ---- lock.c ---- */

/* Takes it without a word; `owner`: who has it, where it is another's. */
LockResult lock_try(Lock *lock, const char *path, char *owner, size_t size);
/* The same; an error names who has it. Where there are no locks it says so, and goes on. `shown`:
 * what `path` is in messages. */
int lock_take(Lock *lock, const char *path, const char *shown);
void lock_release(Lock *lock);
/* Removes the hidden files of all locks; a handler of signals may call it before it dies. */
void locks_remove(void);

/* ---- stop.c ---- */

/* The number of the signal that asked for an end; 0: none did. */
extern volatile sig_atomic_t stop_signal;
/* From here on a signal that asks for an end leaves no locks behind; those that are ignored stay
 * so. */
void stop_catch(void);
/* From here on the first one is noted in stop_signal alone; SIGINT and SIGTERM that come again end
 * at once. */
void stop_finishes(void);
/* "SIGTERM": the signal in stop_signal. */
const char *stop_name(void);

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

/* ---- cache.c: compiled code kept between runs ---- */

/* What is taken from the cache is run: only where nobody else could have put it there. */

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
 * most $NINC_CACHE_MB megabytes (default 1024), or where `keep` is of packed images those,
 * $NINC_CACHE_IMAGES_MB (65536), but for the one named `keep`, which is about to be used. A reader
 * that loses one makes it again. */
void cache_trim(const char *directory, const char *keep);

/* ---- command.c: commands that users give, words that are run, never text for a shell ---- */

/* The words of a command, NULL behind them: divided at blanks; quotes and backslashes keep blanks
 * together as in a shell, and nothing else means anything. All of it is one word where that is the
 * path of a program, whose name may have blanks. NULL, without a message, where a quote is not
 * closed or there is no word. One free() frees all. */
char **command_words(const char *command, int *count);
/* Runs a program, found through PATH, and keeps the first size-1 bytes that it prints; what it says
 * on standard error is dropped. -1, without a message, unless it ran and returned 0. */
int command_output(char *const *word, char *out, size_t size);
/* That the ends of programs can be waited for: who started this one may have ignored SIGCHLD, which
 * it inherits. Before it starts any. */
void await_children(void);

/* ---- json.c: JSON for others to read, by Jansson ---- */

/* A number; null where it is not finite. */
struct json_t *json_finite(double value);
/* A text; bytes that are no UTF-8, as file names may hold, become '?'. */
struct json_t *json_name(const char *text);
/* Whether json_save, or csv_open, can write to `path` at all; NULL: nothing will be written. */
int json_check(const char *path);
/* Writes `value`, and gives it up, to a file that appears whole or not at all, or to standard
 * output where `path` is "-". 0, or -1 after an error line. */
int json_save(const char *path, struct json_t *value);
/* The text of a JSON number: `null` when it is not finite. `out` of 32 bytes. */
const char *json_number(double value, char *out);

/* ---- csv.c: CSV (RFC 4180) ---- */

/* A file that appears whole (csv_close) or not at all; standard output where `path` is "-". */
int csv_open(CsvFile *csv, const char *path);
/* The next field of the line: quoted where it has to be; a number that is not finite is empty. */
void csv_text(CsvFile *csv, const char *text);
void csv_integer(CsvFile *csv, int64_t value);
void csv_real(CsvFile *csv, double value);
void csv_end_line(CsvFile *csv);
/* -1 after an error line: nothing was left behind. */
int csv_close(CsvFile *csv);
void csv_abandon(CsvFile *csv);

/* ---- random.c: Philox4x32-10 (Salmon et al., SC 2011) ---- */

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

Random random_stream(uint64_t seed, uint64_t stream);
uint32_t random_u32(Random *r);
/* Uniform in 0..n-1 without bias (Lemire's method), n > 0. */
uint32_t random_below(Random *r, uint32_t n);
/* Uniform in [-1, 1), in steps of 2^-23. */
float random_symmetric(Random *r);
/* Standard normal (Box-Muller). */
double random_normal(Random *r);
/* A permutation of 0..count-1 (Fisher-Yates). */
void random_permutation(Random *r, int32_t *order, int count);

/* ---- apart.c: work that may take its process along ---- */

/* Runs work(context, state) in a process of its own: it checks the items behind state->item, and
 * notes there which it begins. Where the process is lost with an item (it ends by a signal, or with
 * APART_LOST after a message: the device can be used no more), that item is printed as a fault and
 * counted as failed, and another process goes on behind it. Returns the exit status: work's, or
 * that of a process that was told to end. */
int apart_run(int (*work)(void *context, ApartState *state), void *context);

/* ---- threads.c: how many threads a process should use, and how a thread is bound ---- */

/* The least of: the affinity mask, the quotas of the cgroups (versions 1 and 2) that the process is
 * in, rounded up, OMP_NUM_THREADS and OMP_THREAD_LIMIT. `root` is "", or in tests a directory that
 * holds proc/ and what the mounts named there hold. */
ThreadLimit thread_limit(const char *root);

/* Before OpenMP's library starts: keeps the affinity mask, as OMP_PROC_BIND then binds the first
 * thread to one of its processors, and others would inherit that. */
void threads_keep_mask(void);
/* Binds the calling thread, number `thread` of a team, to a processor of its own where the first
 * thread was bound to one by OMP_PROC_BIND. */
void thread_bind(int thread);

/* ---- parallel.c ---- */

/* Calls part(who, i) for each i below `parts`, by so many threads (0: what thread_limit says), who
 * each take the next one. Messages of a thread are its own (fault_hold). */
void parallel_run(int threads, int parts, void (*part)(void *who, int i), void *who);

/* ---- wait.c ---- */

/* Waiting for another thread's word: spinning where nobody else wants the processor, asleep where
 * somebody does. The top bit of the word says that threads sleep on it; who changes the word so
 * that they may go on clears or sees it, and wakes them. */

/* Until the word, its top bit taken off, is ready; returns it. What was written before it was
 * changed is seen. */
unsigned word_wait(Word *word, WordReady *ready, unsigned wanted, Patience *patience);
/* All that sleep on the word. */
void word_wake(Word *word);

#endif

/* A bound on what the cache directory takes: the entries that were not used for longest go. */
#include "../../ir/ir.h"
#include "base.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LEFTOVER_SECONDS = 3600 };

typedef struct Entry {
    char name[96];
    off_t size;
    struct timespec used;
} Entry;

typedef struct Entries {
    Entry *at;
    size_t count, capacity;
    off_t total; /* bytes */
} Entries;

/* What a bound holds for: compiled code, packed images. */
typedef struct Group {
    const char *variable;
    long megabytes; /* where it is not set */
} Group;

static const Group code = {"NINC_CACHE_MB", 1024}, images = {"NINC_CACHE_IMAGES_MB", 65536};

static const struct {
    const char *name;
    const Group *group;
} kinds[] = {{"object", &code}, {"cubin", &code},   {"nvrtc", &code},
             {"sim", &code},    {"simcore", &code}, {"packed", &images}};

/* That of an entry, KIND-HASH, and what may follow it; NULL: nothing else in the directory is ours
 * to remove: it may be one that holds other files too. */
static const Group *group_of(const char *name)
{
    size_t kind = strcspn(name, "-");
    if (name[kind] != '-' || strlen(name) >= sizeof((Entry *)0)->name ||
        strspn(name + kind + 1, "0123456789abcdef") != 32)
        return NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == kind && strncmp(kinds[i].name, name, kind) == 0)
            return kinds[i].group;
    return NULL;
}

static void add_entry(Entries *e, const char *name, const struct stat *s)
{
    if (e->count == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 64;
        e->at = xrealloc(e->at, e->capacity * sizeof *e->at);
    }
    Entry *entry = &e->at[e->count++];
    strcpy(entry->name, name);
    entry->size = s->st_size;
    entry->used = s->st_mtim;
    e->total += s->st_size;
}

/* What a writer that was killed left behind goes at once when it is old. */
static void list_entries(int directory, DIR *d, const Group *group, Entries *e)
{
    struct dirent *file;
    struct stat s;
    while ((file = readdir(d))) {
        if (group_of(file->d_name) != group ||
            fstatat(directory, file->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(s.st_mode))
            continue;
        if (strstr(file->d_name, "partial-") && time(NULL) - s.st_mtime > LEFTOVER_SECONDS)
            unlinkat(directory, file->d_name, 0);
        else
            add_entry(e, file->d_name, &s);
    }
}

static int longest_unused_first(const void *a, const void *b)
{
    const struct timespec *s = &((const Entry *)a)->used, *t = &((const Entry *)b)->used;
    if (s->tv_sec != t->tv_sec)
        return s->tv_sec < t->tv_sec ? -1 : 1;
    return (s->tv_nsec > t->tv_nsec) - (s->tv_nsec < t->tv_nsec);
}

static off_t bound(const Group *group)
{
    const char *set = getenv(group->variable);
    char *end = NULL;
    long megabytes = set && isdigit((unsigned char)*set) ? strtol(set, &end, 10) : -1;
    if (megabytes < 0 || megabytes > 1 << 24 || *end)
        megabytes = group->megabytes;
    return (off_t)megabytes << 20;
}

void cache_trim(const char *path, const char *keep)
{
    Entries e = {0};
    const Group *group = group_of(keep);
    DIR *d = group ? opendir(path) : NULL;
    if (!d)
        return;
    off_t most = bound(group);
    list_entries(dirfd(d), d, group, &e);
    if (e.total > most)
        qsort(e.at, e.count, sizeof *e.at, longest_unused_first);
    for (size_t i = 0; i < e.count && e.total > most; i++)
        if (strcmp(e.at[i].name, keep) != 0 && unlinkat(dirfd(d), e.at[i].name, 0) == 0)
            e.total -= e.at[i].size;
    free(e.at);
    closedir(d);
}

/* What the fake libraries of tests share: the log of their calls, and what the environment sets. */
#ifndef NINC_FAKE_LIBRARY_H
#define NINC_FAKE_LIBRARY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line more in the file that $FAKE_LOG names. */
static void say(const char *line)
{
    const char *path = getenv("FAKE_LOG");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (f) {
        fprintf(f, "%s\n", line);
        fclose(f);
    }
}

/* The number behind `name` in the variable, `missing` where it does not stand there. */
static long setting(const char *variable, const char *name, long missing)
{
    const char *all = getenv(variable), *at = all ? strstr(all, name) : NULL;
    return at ? atol(at + strlen(name)) : missing;
}

#endif

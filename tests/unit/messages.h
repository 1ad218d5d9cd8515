/* The messages that a call prints to stderr. Include it in one file of a program only. */
#ifndef NINC_MESSAGES_H
#define NINC_MESSAGES_H

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static FILE *messages;
static int kept_stderr;

static void catch_errors(void)
{
    fflush(stderr);
    messages = tmpfile();
    ck_assert_ptr_nonnull(messages);
    kept_stderr = dup(STDERR_FILENO);
    dup2(fileno(messages), STDERR_FILENO);
}

/* The messages since catch_errors, valid until the next call. */
static const char *caught(void)
{
    static char text[4096];
    fflush(stderr);
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    rewind(messages);
    text[fread(text, 1, sizeof text - 1, messages)] = '\0';
    fclose(messages);
    return text;
}

static void expect_error(const char *wanted)
{
    const char *text = caught();
    ck_assert_msg(strstr(text, wanted), "expected '%s' in: %s", wanted, text);
}

#endif

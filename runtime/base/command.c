/* Words of commands, and what commands print: without a shell, so that no character of a path or of
 * a variable means anything to one. */
#include "../../ir/ir.h"
#include "base.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- words ---- */

static bool is_program(const char *path)
{
    return strchr(path, '/') && is_regular(path) && access(path, X_OK) == 0;
}

/* Copies one word, without its quotes, and ends it; NULL where a quote is not closed. Within
 * double quotes a backslash stands for itself unless a quote or a backslash follows. */
static const char *take_word(const char *at, char **out)
{
    char quote = '\0', *to = *out;
    for (; *at && (quote || !isspace((unsigned char)*at)); at++) {
        bool escapes = *at == '\\' && at[1] && quote != '\'';
        if (escapes && (!quote || at[1] == '"' || at[1] == '\\'))
            *to++ = *++at;
        else if (quote ? *at == quote : *at == '"' || *at == '\'')
            quote = quote ? '\0' : *at;
        else
            *to++ = *at;
    }
    *to++ = '\0';
    *out = to;
    return quote ? NULL : at;
}

char **command_words(const char *command, int *count)
{
    size_t length = strlen(command), most = length / 2 + 2;
    char **word = xmalloc(most * sizeof *word + length + most), *to = (char *)(word + most);
    *count = 0;
    if (is_program(command)) {
        word[(*count)++] = memcpy(to, command, length + 1);
        command += length;
    }
    for (const char *at = command + strspn(command, " \t\r\n\v\f"); at && *at;
         at += strspn(at, " \t\r\n\v\f")) {
        word[(*count)++] = to;
        at = take_word(at, &to);
        if (!at)
            *count = 0;
        if (!at)
            break;
    }
    word[*count] = NULL;
    if (*count > 0 && *word[0])
        return word;
    free(word);
    return NULL;
}

/* ---- what a command prints ---- */

void await_children(void)
{
    signal(SIGCHLD, SIG_DFL);
}

static pid_t start_to(char *const *word, int fd)
{
    pid_t pid;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawnp(&pid, word[0], &actions, NULL, word, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error ? -1 : pid;
}

/* To the end, so that the program is never held up. */
static void read_all(int fd, char *out, size_t size)
{
    char rest[4096];
    size_t used = 0;
    for (;;) {
        bool room = used + 1 < size;
        ssize_t n = read(fd, room ? out + used : rest, room ? size - 1 - used : sizeof rest);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        if (n > 0 && room)
            used += (size_t)n;
    }
    out[used] = '\0';
}

int command_output(char *const *word, char *out, size_t size)
{
    int pipe_end[2], status;
    out[0] = '\0';
    if (pipe2(pipe_end, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = start_to(word, pipe_end[1]);
    close(pipe_end[1]);
    if (pid > 0)
        read_all(pipe_end[0], out, size);
    close(pipe_end[0]);
    if (pid < 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

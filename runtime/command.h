/* Commands that users give, CC and CXX: words that are run, never text for a shell. */
#ifndef NINC_COMMAND_H
#define NINC_COMMAND_H

#include <stddef.h>

/* ---- command.c ---- */

/* The words of a command, NULL behind them: divided at blanks; quotes and backslashes keep blanks
 * together as in a shell, and nothing else means anything. All of it is one word where that is the
 * path of a program, whose name may have blanks. NULL, without a message, where a quote is not
 * closed or there is no word. One free() frees all. */
char **command_words(const char *command, int *count);
/* Runs a program, found through PATH, and keeps the first size-1 bytes that it prints; what it says
 * on standard error is dropped. -1, without a message, unless it ran and returned 0. */
int command_output(char *const *word, char *out, size_t size);

#endif

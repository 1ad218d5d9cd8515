/* Linked into every Check program, in the place of Check's own function: of the tests that a
 * program adds it keeps those whose names $CHECK matches, which is a part of a name or a shell
 * pattern. */
#include <check.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

void add_test(TCase *tests, const TTest *test, int signal_number, int exit_status, int first,
              int end) __asm__("__real__tcase_add_test");
void add_wanted_test(TCase *tests, const TTest *test, int signal_number, int exit_status, int first,
                     int end) __asm__("__wrap__tcase_add_test");

void add_wanted_test(TCase *tests, const TTest *test, int signal_number, int exit_status, int first,
                     int end)
{
    const char *wanted = getenv("CHECK");
    char pattern[4096];
    if (wanted && wanted[0]) {
        snprintf(pattern, sizeof pattern, "*%s*", wanted);
        if (fnmatch(pattern, test->name, 0) != 0)
            return;
    }
    add_test(tests, test, signal_number, exit_status, first, end);
}

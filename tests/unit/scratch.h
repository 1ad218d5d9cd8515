/* A directory of the test program's own, with the files that its tests write and read. Include it
 * in one file of a program only. */
#ifndef NINC_SCRATCH_H
#define NINC_SCRATCH_H

#include "../../ir/ir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static char directory[] = "/tmp/ninc-test-XXXXXX";

/* A path in the directory, valid until the next call. */
static inline const char *at(const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static inline void write_file(const char *name, const void *bytes, size_t count)
{
    FILE *f = fopen(at(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, count, f), count);
    ck_assert_int_eq(fclose(f), 0);
}

/* The bytes of a file, NUL-terminated; the caller frees them. */
static inline char *read_file(const char *name, size_t *count)
{
    FILE *f = fopen(at(name), "rb");
    ck_assert_ptr_nonnull(f);
    char *bytes = xmalloc(1 << 20);
    *count = fread(bytes, 1, (1 << 20) - 1, f);
    bytes[*count] = '\0';
    fclose(f);
    return bytes;
}

/* The main function of the program: each test after `before`, where that is no NULL. */
static inline int run_in_scratch(const char *name, const TTest *const *tests, size_t count,
                                 SFun before)
{
    Suite *s = suite_create(name);
    TCase *c = tcase_create(name);
    char command[64];
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    tcase_add_checked_fixture(c, before, NULL);
    tcase_set_timeout(c, 120);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0)
        fprintf(stderr, "%s is left over\n", directory);
    return failed ? 1 : 0;
}

#endif

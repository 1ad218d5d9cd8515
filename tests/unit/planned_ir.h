/* The text of a module at stage planned, for the tests of the IR. */
#ifndef NINC_PLANNED_IR_H
#define NINC_PLANNED_IR_H

#include "../../ir/ir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* It holds kernels of all phases, places and a train and an eval graph. */
static Text planned_text(void)
{
    static const char path[] = "tests/models/golden/ir/planned.ir";
    char block[4096];
    size_t count;
    Text text = {0};
    FILE *in = fopen(path, "r");
    ck_assert_msg(in != NULL, "%s is missing; run from the top of the source", path);
    while ((count = fread(block, 1, sizeof block, in)) > 0)
        text_write(&text, block, count);
    fclose(in);
    return text;
}

#endif

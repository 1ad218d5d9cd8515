/* The op table, and the words of the IR text for every enumeration. */
#include "ir.h"

typedef struct OpInfo {
    const char *name;
    int lo, hi;
    AttrClass attr;
    unsigned flags;
    const char *scalar, *what;
} OpInfo;

static const OpInfo op_table[] = {
#define X(id, text, lo, hi, attr, family, flags, expr, what) \
    {text, lo, hi, ATTR_##attr, flags, expr, what},
    IR_OPS(X)
#undef X
};

const char *op_name(Op op)
{
    return op_table[op].name;
}

int op_min_operands(Op op)
{
    return op_table[op].lo;
}

int op_max_operands(Op op)
{
    return op_table[op].hi;
}

AttrClass op_attr(Op op)
{
    return op_table[op].attr;
}

int op_rate_operand(Op op)
{
    return op_attr(op) == ATTR_RATE ? 2 : op_attr(op) == ATTR_ADAM ? 3 : -1;
}

double attr_lr_mult(Op op, const Attr *attr)
{
    return op_attr(op) == ATTR_ADAM ? attr->adam.lr_mult : attr->factor;
}

const char *op_scalar(Op op)
{
    return op_table[op].scalar;
}

const char *op_what(Op op)
{
    return op_table[op].what;
}

bool op_is_pointwise(Op op)
{
    return op_table[op].scalar[0] != '\0';
}

bool op_is(Op op, unsigned flags)
{
    return (op_table[op].flags & flags) != 0;
}

bool op_sums_images(Op op)
{
    return op_is(op, F_SUMS_IMAGES);
}

bool op_is_of_filters(Op op)
{
    return op_is(op, F_OF_FILTERS);
}

#define X(id, text) text,
const char *const role_names[] = {IR_ROLES(X)};
const char *const region_names[] = {IR_REGIONS(X)};
const char *const class_names[] = {IR_KERNEL_CLASSES(X)};
const char *const phase_names[] = {IR_PHASES(X)};
const char *const stage_names[] = {IR_STAGES(X)};
const char *const optimizer_names[] = {IR_OPTIMIZERS(X)};
const char *const init_names[] = {IR_INITS(X)};
const char *const transform_names[] = {IR_TRANSFORMS(X)};
const char *const sampler_names[] = {IR_SAMPLERS(X)};
const char *const math_names[] = {IR_MATHS(X)};
const char *const sparse_names[] = {IR_SPARSES(X)};
#undef X

#define X(id, text, ...) text,
const char *const target_names[] = {IR_TARGETS(X)};
#undef X

Shape shape_of(int rank, int d0, int d1, int d2, int d3)
{
    const int dim[TENSOR_MAX_RANK] = {d0, d1, d2, d3};
    Shape s = {.rank = rank};
    for (int i = 0; i < rank; i++)
        s.dim[i] = dim[i];
    return s;
}

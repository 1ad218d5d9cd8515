/* Within ir/: what a family of ops offers, a file each, and what the families share.
 *
 * Each op of the table has one OP_RULE in the file of its family: how its type follows from its
 * operands, how it is evaluated, how far rounding may move it, what its gradient is, and what it
 * costs. An op without one does not link. */
#ifndef NINC_FAMILY_H
#define NINC_FAMILY_H

#include "../ir.h"
#include "map.h"

/* One call of infer_type. `out` holds the given type where the op cannot infer it. */
typedef struct Infer {
    Diagnostics *d;
    Op op;
    int arity;
    Node *const *in;
    const Attr *attr;
    Loc loc;
    Tensor *out;
} Infer;

typedef struct OpRule {
    /* Checks operands and attributes, and gives the type; false after a diagnostic. */
    bool (*infer)(const Infer *f);
    /* From the values of the operands the node's: straight from the op's definition. */
    void (*eval)(Eval *e, const Node *n);
    /* From the squares of the operands' spreads the node's; see eval_spread.c. */
    void (*spread)(Eval *e, const Node *n);
    /* From dy, the gradient of the node's value, those of its operands. */
    void (*gradient)(Gradient *g, Node *n, Node *dy);
    /* Multiplications and additions of a contraction, over the logical shapes. */
    double (*work)(const Node *n);
} OpRule;

/* OP_RULE(family, ID) = {infer, eval, spread, gradient, work}; */
#define OP_RULE(family, id) const OpRule rule_##family##_##id

#define X(id, text, lo, hi, attr, family, ...) extern OP_RULE(family, id);
IR_OPS(X)
#undef X

/* ---- ../shape.c: types ---- */

/* Words of a type, for messages. */
typedef struct TypeText {
    char text[64];
} TypeText;

TypeText type_text(const Tensor *t);
/* Adds the diagnostic, behind the op's name; false. */
bool type_fault(const Infer *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Operand i, called `what`, is of that dtype and rank. */
bool type_expect(const Infer *f, int i, const char *what, DType dtype, int rank);
bool type_expect_extent(const Infer *f, int i, const char *what, int axis, int32_t extent);
/* A map [N,H,W,C] of floats. */
bool type_expect_map(const Infer *f, int i, const char *what);
const int32_t *type_dims(const Infer *f, int i);
DType type_dtype(const Infer *f, int i);
/* The result's type; false where it is too large. */
bool type_give(const Infer *f, DType dtype, Shape shape);
bool type_give_map(const Infer *f, DType dtype, const int32_t *d, int h, int w, int c);
/* Checks the type that the caller gave. */
bool type_given(const Infer *f, DType dtype, int rank);
bool type_given_extent(const Infer *f, int axis, int32_t extent);
/* The rules of one window whatever its input. */
bool type_window(const Infer *f);

typedef struct Extent {
    int h, w;
} Extent;

/* Output rows and columns of the window over h x w. */
bool type_slide(const Infer *f, int h, int w, Extent *out);
/* Operands of one shape, the first `floats` of that dtype, the rest counts; scalars are broadcast
 * where another operand has that shape. */
bool type_pointwise(const Infer *f, DType dtype, int floats);

/* ---- ../eval.c: values; eval.h has the maps ---- */

/* One element from those of the operands. */
typedef double ElementRule(const Node *n, const double *x);

/* Operands of rank 0 are broadcast. */
void eval_elementwise(Eval *e, const Node *n, ElementRule *rule);
/* The caller frees it. */
double *eval_zeroed(int64_t count);

/* ---- dropout.c ---- */

/* Philox4x32-10 (Salmon et al. 2011): four random words out of a counter of four. */
void eval_philox(uint32_t c[4], uint32_t key0, uint32_t key1);

/* ---- ../eval_spread.c: spreads ---- */

/* The square of an element's spread from those of the operands, and their values. */
typedef double SpreadRule(const Eval *e, const Node *n, const double *square, const double *x);

static inline double square_of(double x)
{
    return x * x;
}

void spread_elementwise(Eval *e, const Node *n, SpreadRule *rule);
/* The root of the sum of the squares where the first operand is exact. */
double spread_of_change(Eval *e, const Node *n, SpreadRule *rule);
/* Whether an error may bring a value of this square of a spread across zero. */
bool spread_is_near(const Eval *e, double value, double square);
/* An op that is linear does to squares what it does to values, with the squares of its coefficients
 * (eval_factor), and rounds at each of its terms. */
void spread_linear(Eval *e, const Node *n);
/* The same of sums of so many terms. */
void spread_sum(Eval *e, const Node *n, double terms);
/* Half of the last place of what is stored, relative. */
double spread_unit(const Node *n);

/* Terms that depend on each other, such as one gradient at all pixels of an image, come to much
 * more on their way than in the end, and each sum on the way is rounded: by errors of independent
 * signs, but for equal terms in a row, which are rounded alike. The terms themselves may come of a
 * few gradients and weights that were rounded before they were spread over the pixels: their errors
 * are of one sign, up to the unit times the sum of the magnitudes (Higham 3.1, 4.2). Sums of rows
 * as they grow. */
typedef struct Partials {
    double *sum, *last, *run; /* the last term; sums since another one came, their magnitudes */
    double *square;           /* of the runs before */
    double *magnitude;        /* of all terms */
    int count;
} Partials;

Partials partials_new(int count); /* the caller frees `sum` */
void partials_add(const Partials *p, double weight, const double *row);
/* What they count among the squares of spreads, of terms that were rounded by `unit`. */
double partials_count(const Eval *e, const Partials *p, int i, double unit);

/* ---- rules.c ---- */

const OpRule *op_rule(Op op);
/* For ops that autodiff never meets. */
void no_gradient(Gradient *g, Node *n, Node *dy);
/* For ops that are no contractions. */
double no_work(const Node *n);

/* ---- gradient.c ---- */

/* Appends a backward op of the forward node n; `like` gives the result's type. */
Node *gradient_op(Gradient *g, const Node *n, Op op, Node *x, Node *y, const Node *like);

#endif

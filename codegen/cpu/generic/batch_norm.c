/* Batch norm and its gradient; statistics of the batch, summed in double, an image after the
 * other. */
#include "generic.h"

/* The valid images that the operand counts, as an int. */
static const char *valid_of(const CpuEmitter *e, const Node *n, int operand)
{
    return pool_format(e->pool, "%s[0]", value_name(e, n->in[operand]));
}

static const char *inverse_std(const CpuEmitter *e, const Node *n, const Node *var)
{
    return pool_format(e->pool, "1 / sqrtf(%s + %.9gf)", element_at(e, var, "c"),
                       n->attr.norm.eps);
}

/* Over each channel c, and in it all pixels of the images below `images`. */
static void open_channels(CpuEmitter *e, const Node *x)
{
    open_loop(e, "c", map_dim(x, 3));
    emit_line(e, "double sum = 0;");
}

static void open_sum(CpuEmitter *e, const Node *x, const char *images)
{
    emit_open(e, "for (ptrdiff_t n = 0; n < %s; n++)", images);
    open_loop(e, "h", map_dim(x, 1));
    open_loop(e, "w", map_dim(x, 2));
}

/* Closes the loops over pixels, and gives the channel sum / (images * pixels). */
static void close_mean(CpuEmitter *e, const Node *n, const char *images)
{
    const Node *x = n->in[0];
    close_loops(e, 3);
    emit_write(e, n, "c", pool_format(e->pool, "(float)(sum / ((double)%s * %d))", images,
                                      map_dim(x, 1) * map_dim(x, 2)));
    close_loops(e, 1);
}

static void emit_mean(CpuEmitter *e, const Node *n)
{
    const char *images = valid_of(e, n, 1);
    open_channels(e, n->in[0]);
    open_sum(e, n->in[0], images);
    emit_line(e, "sum += %s;", read_map(e, n->in[0], "n", "h", "w", "c"));
    close_mean(e, n, images);
}

static void emit_var(CpuEmitter *e, const Node *n)
{
    const char *images = valid_of(e, n, 2);
    open_channels(e, n->in[0]);
    open_sum(e, n->in[0], images);
    emit_line(e, "const double d = %s - %s;", read_map(e, n->in[0], "n", "h", "w", "c"),
              element_at(e, n->in[1], "c"));
    emit_line(e, "sum += d * d;");
    close_mean(e, n, images);
}

static void close_sum(CpuEmitter *e, const Node *n, const char *value)
{
    close_loops(e, 3);
    emit_write(e, n, "c", value);
    close_loops(e, 1);
}

static void emit_sum(CpuEmitter *e, const Node *n)
{
    open_channels(e, n->in[0]);
    open_sum(e, n->in[0], "range->images");
    emit_line(e, "sum += %s;", read_map(e, n->in[0], "n", "h", "w", "c"));
    close_sum(e, n, "(float)sum");
}

static void emit_dot(CpuEmitter *e, const Node *n)
{
    open_channels(e, n->in[0]);
    emit_line(e, "const float inverse = %s;", inverse_std(e, n, n->in[3]));
    open_sum(e, n->in[0], "range->images");
    emit_line(e, "sum += %s *", read_map(e, n->in[0], "n", "h", "w", "c"));
    emit_line(e, "       ((double)%s - %s);", read_map(e, n->in[1], "n", "h", "w", "c"),
              element_at(e, n->in[2], "c"));
    close_sum(e, n, "(float)(sum * inverse)");
}

/* y = (x - mean) * scale + bias */
static void emit_norm(CpuEmitter *e, const Node *n)
{
    bool affine = n->arity > 3;
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "const float scale = %s%s%s;", inverse_std(e, n, n->in[2]), affine ? " * " : "",
              affine ? element_at(e, n->in[3], "c") : "");
    open_pixels(e, n);
    write_pixel(e, n, pool_format(e->pool, "(%s - %s) * scale%s%s",
                                  read_map(e, n->in[0], "n", "h", "w", "c"),
                                  element_at(e, n->in[1], "c"), affine ? " + " : "",
                                  affine ? element_at(e, n->in[4], "c") : ""));
    close_loops(e, 4);
}

/* dx = scale * (dy - mean of dy - (x - mean) * slope), 0 from the valid images on */
static void emit_grad(CpuEmitter *e, const Node *n)
{
    const char *valid = valid_of(e, n, 6);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "const float inverse = %s;", inverse_std(e, n, n->in[3]));
    emit_line(e, "const float count = (float)%s * %d;", valid, map_dim(n, 1) * map_dim(n, 2));
    emit_line(e, "const float scale = inverse%s%s;", n->arity > 7 ? " * " : "",
              n->arity > 7 ? element_at(e, n->in[7], "c") : "");
    emit_line(e, "const float offset = %s / count;", element_at(e, n->in[4], "c"));
    emit_line(e, "const float slope = %s / count * inverse;", element_at(e, n->in[5], "c"));
    open_pixels(e, n);
    emit_line(e, "const float inside = %s - offset -", read_map(e, n->in[0], "n", "h", "w", "c"));
    emit_line(e, "                     (%s - %s) * slope;",
              read_map(e, n->in[1], "n", "h", "w", "c"), element_at(e, n->in[2], "c"));
    write_pixel(e, n, pool_format(e->pool, "n < %s ? scale * inside : 0", valid));
    close_loops(e, 4);
}

void generic_batch_norm(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_BATCH_NORM] = emit_norm, [OP_BATCH_MEAN] = emit_mean,
        [OP_BATCH_VAR] = emit_var,         [OP_BATCH_SUM] = emit_sum,
        [OP_BATCH_DOT] = emit_dot,         [OP_BATCH_NORM_GRAD] = emit_grad,
    };
    emit_of_family(e, n, by_op);
}

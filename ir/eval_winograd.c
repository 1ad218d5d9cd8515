/* The evaluator's Winograd ops, in double: transforms square by square, products frequency by
 * frequency. That they amount to a convolution is what the tests check. */
#include "eval.h"

#include <stdlib.h>

/* A tile, its frequencies, or a filter. */
typedef double Square[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_SIZE];

/* y = L x L^T */
static void transform(const WinogradTransform *l, Square x, Square y)
{
    Square half = {{0}};
    memset(y, 0, sizeof(Square));
    for (int i = 0; i < l->rows; i++)
        for (int k = 0; k < l->columns; k++)
            for (int j = 0; j < l->columns; j++)
                half[i][j] += l->at[i][k] * x[k][j];
    for (int i = 0; i < l->rows; i++)
        for (int j = 0; j < l->rows; j++)
            for (int k = 0; k < l->columns; k++)
                y[i][j] += half[i][k] * l->at[j][k];
}

static WinogradTransform transform_of(const Eval *e, const Node *node)
{
    WinogradTransform l = winograd_transform(node);
    for (int i = 0; i < l.rows; i++)
        for (int j = 0; j < l.columns; j++)
            l.at[i][j] = eval_factor(e, l.at[i][j]);
    return l;
}

/* The square at (row, column) of channel c of image n; zero outside of the map. */
static void read_square(const Map *m, int n, int row, int column, int c, Square x)
{
    for (int i = 0; i < WINOGRAD_MAX_SIZE; i++)
        for (int j = 0; j < WINOGRAD_MAX_SIZE; j++) {
            int h = row + i, w = column + j;
            bool inside = h >= 0 && w >= 0 && h < m->h && w < m->w;
            x[i][j] = inside ? map_at(m, n, h, w)[c] : 0;
        }
}

/* winograd_input, winograd_output_grad: the map's square of each tile to its frequencies. A tile's
 * square of the gradient has no margin. */
static void eval_map_transform(Eval *e, const Node *node)
{
    const Winograd *w = &node->attr.winograd;
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    WinogradTransform l = transform_of(e, node);
    bool margin = node->op == OP_WINOGRAD_INPUT;
    int columns = winograd_tile_columns(w);
    PARALLEL_FOR
    for (int piece = 0; piece < y.n * y.w; piece++) {
        int n = piece / y.w, t = piece % y.w;
        int row = t / columns * w->tile - (margin ? w->padding_h : 0);
        int column = t % columns * w->tile - (margin ? w->padding_w : 0);
        Square in, out;
        for (int c = 0; c < x.c; c++) {
            read_square(&x, n, row, column, c, in);
            transform(&l, in, out);
            for (int f = 0; f < y.h; f++)
                map_at(&y, n, f, t)[c] = out[f / l.rows][f % l.rows];
        }
    }
}

static void eval_output(Eval *e, const Node *node)
{
    const Winograd *w = &node->attr.winograd;
    Map m = eval_map(e, node->in[0]), y = eval_map(e, node);
    const double *bias = node->arity > 1 ? eval_value(e, node->in[1]) : NULL;
    WinogradTransform l = transform_of(e, node);
    int columns = winograd_tile_columns(w);
    PARALLEL_FOR
    for (int piece = 0; piece < m.n * m.w; piece++) {
        int n = piece / m.w, t = piece % m.w;
        int row = t / columns * w->tile, column = t % columns * w->tile;
        Square in, out;
        for (int c = 0; c < m.c; c++) {
            for (int f = 0; f < m.h; f++)
                in[f / l.columns][f % l.columns] = map_at(&m, n, f, t)[c];
            transform(&l, in, out);
            for (int i = 0; i < w->tile && row + i < y.h; i++)
                for (int j = 0; j < w->tile && column + j < y.w; j++)
                    map_at(&y, n, row + i, column + j)[c] = out[i][j] + (bias ? bias[c] : 0);
        }
    }
}

/* winograd_filter, winograd_filter_grad: every square of [O,I,.,.] */
static void eval_filter_transform(Eval *e, const Node *node)
{
    const double *in = eval_value(e, node->in[0]);
    double *out = eval_value(e, node);
    const int32_t *dim = node->tensor.shape.dim;
    WinogradTransform l = transform_of(e, node);
    Square x, y;
    for (int64_t pair = 0; pair < (int64_t)dim[0] * dim[1]; pair++) {
        for (int i = 0; i < l.columns * l.columns; i++)
            x[i / l.columns][i % l.columns] = in[pair * l.columns * l.columns + i];
        transform(&l, x, y);
        for (int i = 0; i < l.rows * l.rows; i++)
            out[pair * l.rows * l.rows + i] = y[i / l.rows][i % l.rows];
    }
}

/* y[n,f,t,o] = sum over c of x[n,f,t,c] filter[o,c,f] */
static void eval_multiply(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    double *by_tap = eval_filter_by_tap(e, node->in[1], false);
    PARALLEL_FOR
    for (int piece = 0; piece < y.n * y.h; piece++) {
        int n = piece / y.h, f = piece % y.h;
        memset(map_at(&y, n, f, 0), 0, (size_t)y.w * (size_t)y.c * sizeof(double));
        for (int t = 0; t < y.w; t++)
            for (int c = 0; c < x.c; c++)
                add_scaled(map_at(&y, n, f, t), map_at(&x, n, f, t)[c],
                           by_tap + ((int64_t)f * x.c + c) * y.c, y.c);
    }
    free(by_tap);
}

/* filter[o,c,f] = sum over n,t of x[n,f,t,c] dy[n,f,t,o] */
static void eval_wgrad(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), dy = eval_map(e, node->in[1]);
    double *out = eval_value(e, node);
    PARALLEL_FOR
    for (int piece = 0; piece < x.h * x.c; piece++) {
        int f = piece / x.c, c = piece % x.c;
        double *sum = xmalloc((size_t)dy.c * sizeof *sum);
        memset(sum, 0, (size_t)dy.c * sizeof *sum);
        for (int n = 0; n < x.n; n++)
            for (int t = 0; t < x.w; t++)
                add_scaled(sum, map_at(&x, n, f, t)[c], map_at(&dy, n, f, t), dy.c);
        for (int o = 0; o < dy.c; o++)
            out[((int64_t)o * x.c + c) * x.h + f] = sum[o];
        free(sum);
    }
}

void eval_winograd(Eval *e, const Node *n)
{
    switch ((int)n->op) {
    case OP_WINOGRAD_INPUT:
    case OP_WINOGRAD_OUTPUT_GRAD: eval_map_transform(e, n); return;
    case OP_WINOGRAD_FILTER:
    case OP_WINOGRAD_FILTER_GRAD: eval_filter_transform(e, n); return;
    case OP_WINOGRAD_MULTIPLY: eval_multiply(e, n); return;
    case OP_WINOGRAD_OUTPUT: eval_output(e, n); return;
    case OP_WINOGRAD_WGRAD: eval_wgrad(e, n); return;
    }
    internal_error("%s is no Winograd op", op_name(n->op));
}

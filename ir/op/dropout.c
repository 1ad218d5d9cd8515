/* Dropout (Srivastava et al. 2014): a value is kept with the probability 1 - p, and then divided by
 * that. What is kept follows from seed, step, layer and the value's place in the batch alone, by
 * Philox4x32-10 (Salmon et al. 2011): no mask is stored, and all devices, chunks and layouts have
 * the same. The gradient is the same op, of the same layer, of dy. */
#include "family.h"

enum { DROPOUT_TAG = 0x64726f70 }; /* no other stream of random numbers has it */

void eval_philox(uint32_t c[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
        uint32_t first = (uint32_t)(b >> 32) ^ c[1] ^ key0;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ key1;
        c[3] = (uint32_t)a;
        c[1] = (uint32_t)b;
        c[0] = first;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

uint32_t dropout_threshold(const DropoutAttr *a)
{
    double words = a->p * 4294967296.0;
    return words < 4294967295.0 ? (uint32_t)words : UINT32_MAX;
}

static void eval_dropout(Eval *e, const Node *n)
{
    Map x = eval_map(e, n->in[0]), y = eval_map(e, n);
    const DropoutAttr *a = &n->attr.dropout;
    Eval *values = e->of ? e->of : e;
    uint32_t seed = (uint32_t)(int32_t)eval_value(values, n->in[1])[0];
    uint32_t step = (uint32_t)(int32_t)eval_value(values, n->in[2])[0];
    uint32_t quads = ((uint32_t)y.w + 3) / 4;
    double scale = eval_factor(e, 1 / (1 - a->p));
    for (int row = 0; row < y.n * y.h; row++)
        for (int w = 0; w < y.w; w++)
            for (int c = 0; c < y.c; c++) {
                int64_t at = ((int64_t)row * y.w + w) * y.c + c;
                uint32_t word[4] = {(uint32_t)row * quads + (uint32_t)w / 4, (uint32_t)c, step,
                                    DROPOUT_TAG};
                /* of four pixels of a row, of one channel */
                eval_philox(word, seed, (uint32_t)a->layer);
                y.data[at] = word[w % 4] >= dropout_threshold(a) ? x.data[at] * scale : 0;
            }
}

static void spread_dropout(Eval *e, const Node *n)
{
    spread_sum(e, n, 1);
}

static bool infer_dropout(const Infer *f)
{
    const DropoutAttr *a = &f->attr->dropout;
    if (!(a->p >= 0 && a->p <= DROPOUT_MOST))
        return type_fault(f, "'s p must be in [0, 0.999]");
    return type_expect_map(f, 0, "x") && type_expect(f, 1, "seed", DT_I32, 0) &&
           type_expect(f, 2, "step", DT_I32, 0) &&
           type_give(f, type_dtype(f, 0), f->in[0]->tensor.shape);
}

static void gradient_dropout(Gradient *g, Node *n, Node *dy)
{
    Node *in[] = {dy, n->in[1], n->in[2]};
    Tensor type = {.dtype = n->tensor.dtype, .shape = n->tensor.shape};
    g->give(g, n->in[0], graph_add_typed(g->graph, n->op, 3, in, &n->attr, &type, n->loc), n->loc);
}

OP_RULE(dropout, DROPOUT) = {infer_dropout, eval_dropout, spread_dropout, gradient_dropout,
                             no_work};

/* The op table: one line an op. Everyone who must know every op expands a column of it, or
 * switches over Op without a default, so that a new op does not compile until it is complete.
 *
 * X(id, text, min operands, max operands, attribute class, scalar expression)
 *
 * The scalar expression is that of a pointwise op, in C, over its operands a, b, c, d, e (already
 * of the computing type), the attribute `k` (ATTR_FACTOR) or `adam` (ATTR_ADAM), and MAX-free
 * functions SQRT and POW; "" for ops that are not pointwise. A rank-0 operand is broadcast. */
#ifndef NINC_OPS_H
#define NINC_OPS_H

#define IR_OPS(X)                                                                                  \
    /* leaves; `state` reads an @name and is printed as that name, never as a line */              \
    X(INPUT, "input", 0, 0, NONE, "")                                                              \
    X(STATE, "state", 0, 0, NONE, "")                                                              \
    /* image u8[N,h,w,C] -> f32[N,H,W,C], (u8/255 - mean)/std; resize also interpolates */         \
    X(NORMALIZE, "normalize", 1, 1, IMAGE, "")                                                     \
    X(RESIZE, "resize", 1, 1, IMAGE, "")                                                           \
    /* forward: conv2d x, filter OIHW[, bias]; the rest take x */                                  \
    X(CONV2D, "conv2d", 2, 3, WINDOW, "")                                                          \
    X(RELU, "relu", 1, 1, NONE, "a <= 0 ? 0 : a")                                                  \
    X(MAXPOOL, "maxpool", 1, 1, WINDOW, "")                                                        \
    X(MAXPOOL_CODE, "maxpool_code", 1, 1, WINDOW, "") /* u8: kh*KW + kw of the first maximum */    \
    /* avgpool divides by the part of the window inside the padded input (count_include_pad) */    \
    X(AVGPOOL, "avgpool", 1, 1, WINDOW, "")                                                        \
    X(GAP, "gap", 1, 1, NONE, "")         /* [N,H,W,C] -> [N,1,1,C], mean over the map */          \
    X(FLATTEN, "flatten", 1, 1, NONE, "") /* [N,H,W,C] -> [N,C*H*W], in PyTorch's order c,h,w */   \
    X(ADD, "add", 2, 2, NONE, "a + b")                                                             \
    /* loss, by row n; rows from valid on count nothing */                                         \
    X(CROSS_ENTROPY, "cross_entropy", 2, 2, NONE, "") /* logits[N,K], label[N] -> nll[N] */        \
    X(CORRECT, "correct", 2, 2, NONE, "") /* logits, label -> i32[N]: first argmax is the label */ \
    X(MEAN_VALID, "mean_valid", 2, 2, NONE, "")   /* f32[N], valid -> f32[] */                     \
    X(COUNT_VALID, "count_valid", 2, 2, NONE, "") /* i32[N], valid -> i32[] */                     \
    /* backward */                                                                                 \
    X(CROSS_ENTROPY_GRAD, "cross_entropy_grad", 3, 3, NONE, "") /* logits, label, valid */         \
    X(CONV2D_DGRAD, "conv2d_dgrad", 2, 2, WINDOW, "")           /* dy, filter -> dx */             \
    X(CONV2D_WGRAD, "conv2d_wgrad", 2, 2, WINDOW, "")           /* x, dy -> dfilter */             \
    X(BIAS_GRAD, "bias_grad", 1, 1, NONE, "")                   /* dy -> [C], sum over N,H,W */    \
    X(RELU_GRAD, "relu_grad", 2, 2, NONE, "b > 0 ? a : 0")      /* dy, y */                        \
    X(MAXPOOL_GRAD, "maxpool_grad", 2, 2, WINDOW, "")           /* dy, code -> dx */               \
    X(AVGPOOL_GRAD, "avgpool_grad", 1, 1, WINDOW, "")           /* dy -> dx */                     \
    X(GAP_GRAD, "gap_grad", 1, 1, NONE, "")                     /* dy[N,1,1,C] -> dx */            \
    X(FLATTEN_GRAD, "flatten_grad", 1, 1, NONE, "")             /* dy[N,C*H*W] -> dx */            \
    /* dy, transposed filter IOHW -> dx: the same as conv2d_dgrad by the filter itself */          \
    X(CONV2D_TRANSPOSE, "conv2d_transpose", 2, 2, WINDOW, "")                                      \
    /* OIHW -> IOHW with both kernel axes reversed: a stride-1 dgrad is conv2d by this filter */   \
    X(FILTER_TRANSPOSE, "filter_transpose", 1, 1, NONE, "")                                        \
    /* Winograd convolution F(tile x tile, kernel x kernel), stride 1 (winograd.c): maps become */ \
    /* [N,A*A,T,C]: A*A frequencies of T tiles, A = tile + kernel - 1; filters [O,C,A,A] */        \
    X(WINOGRAD_INPUT, "winograd_input", 1, 1, WINOGRAD, "")   /* x -> B^T x B of each tile */      \
    X(WINOGRAD_FILTER, "winograd_filter", 1, 1, WINOGRAD, "") /* filter -> G filter G^T */         \
    /* transformed x and filter -> [N,A*A,T,O], for each frequency a product over C */             \
    X(WINOGRAD_MULTIPLY, "winograd_multiply", 2, 2, WINOGRAD, "")                                  \
    X(WINOGRAD_OUTPUT, "winograd_output", 1, 2, WINOGRAD, "") /* m[, bias] -> A^T m A + bias */    \
    X(WINOGRAD_OUTPUT_GRAD, "winograd_output_grad", 1, 1, WINOGRAD, "") /* dy -> A dy A^T */       \
    /* transformed x, dy -> [O,C,A,A], for each frequency a sum over images and tiles */           \
    X(WINOGRAD_WGRAD, "winograd_wgrad", 2, 2, WINOGRAD, "")                                        \
    X(WINOGRAD_FILTER_GRAD, "winograd_filter_grad", 1, 1, WINOGRAD, "") /* du -> G^T du G */       \
    /* a convolution of a resized image over the source image (fold.c): folded filters are */      \
    /* [O,I*classes,EH,EW], one filter for each pair of a class of rows and one of columns */      \
    X(FOLD_FILTER, "fold_filter", 1, 1, FOLD, "")             /* filter -> folded filters */       \
    X(CONV2D_FOLDED, "conv2d_folded", 2, 3, FOLD, "")         /* image, folded filters[, bias] */  \
    X(CONV2D_FOLDED_WGRAD, "conv2d_folded_wgrad", 2, 2, FOLD, "") /* image, dy -> dfolded */       \
    X(FOLD_FILTER_GRAD, "fold_filter_grad", 1, 1, FOLD, "")   /* dfolded -> dfilter */             \
    /* the same numbers as another floating-point dtype, rounded to nearest even */              \
    X(CAST, "cast", 1, 1, NONE, "")                                                                \
    /* optimizer: PyTorch's SGD and Adam spelled out */                                            \
    X(WEIGHT_DECAY, "weight_decay", 2, 2, FACTOR, "a + k * b") /* gradient, parameter */           \
    X(MOMENTUM, "momentum", 2, 2, FACTOR, "k * a + b")         /* velocity, gradient */            \
    X(SGD_STEP, "sgd_step", 3, 3, NONE, "a - c * b")           /* parameter, direction, lr */      \
    X(ADAM_M, "adam_m", 2, 2, FACTOR, "k * a + (1 - k) * b")   /* m, gradient */                   \
    X(ADAM_V, "adam_v", 2, 2, FACTOR, "k * a + (1 - k) * b * b") /* v, gradient */                 \
    /* parameter, m, v, lr, step (f32 and i32 scalars; step counts from 1) */                      \
    X(ADAM_STEP, "adam_step", 5, 5, ADAM,                                                          \
      "a - d / (1 - POW(adam_beta1, e)) * b / (SQRT(c) / SQRT(1 - POW(adam_beta2, e)) + adam_eps)")\
    /* writes its operand to an @name in place; printed `@name : type = update %value` */          \
    X(UPDATE, "update", 1, 1, NONE, "")

#endif

/* The op table: one line an op. Everyone who must know every op expands a column of it, or
 * switches over Op without a default, so that a new op does not compile until it is complete.
 *
 * X(id, text, min operands, max operands, attribute class, scalar expression, what it computes)
 *
 * The scalar expression is that of a pointwise op, in C, over its operands a, b, c, d, e (already
 * of the computing type), the attribute `k` (ATTR_FACTOR) or `adam` (ATTR_ADAM), and MAX-free
 * functions SQRT and POW; "" for ops that are not pointwise. A rank-0 operand is broadcast. What an
 * op computes is for --list-ops: operands -> result, of at most 51 columns. */
#ifndef NINC_OPS_H
#define NINC_OPS_H

#define IR_OPS(X)                                                                                   \
    /* leaves; `state` reads an @name and is printed as that name, never as a line */               \
    X(INPUT, "input", 0, 0, NONE, "", "what the trainer gives to each step")                        \
    X(STATE, "state", 0, 0, NONE, "", "reads an @name")                                             \
    /* image u8[N,h,w,C] -> f32[N,H,W,C], (u8/255 - mean)/std; resize also interpolates */          \
    X(NORMALIZE, "normalize", 1, 1, IMAGE, "", "image -> (u8 / 255 - mean) / std")                  \
    X(RESIZE, "resize", 1, 1, IMAGE, "", "image -> normalized, bilinearly interpolated")            \
    /* forward, of maps [N,H,W,C] and filters OIHW */                                               \
    X(CONV2D, "conv2d", 2, 3, WINDOW, "", "x, filter[, bias] -> convolution")                       \
    X(RELU, "relu", 1, 1, NONE, "a <= 0 ? 0 : a", "x -> max(x, 0)")                                 \
    X(MAXPOOL, "maxpool", 1, 1, WINDOW, "", "x -> maximum of each window")                          \
    X(MAXPOOL_CODE, "maxpool_code", 1, 1, WINDOW, "",                                               \
      "x -> u8: kh*KW + kw of each window's first maximum")                                         \
    /* avgpool divides by the part of the window inside the padded input (count_include_pad) */     \
    X(AVGPOOL, "avgpool", 1, 1, WINDOW, "", "x -> mean of each window, padding counted")            \
    X(GAP, "gap", 1, 1, NONE, "", "x -> [N,1,1,C]: mean of the whole map")                          \
    X(FLATTEN, "flatten", 1, 1, NONE, "", "x -> [N,C*H*W], in PyTorch's order c, h, w")             \
    X(ADD, "add", 2, 2, NONE, "a + b", "x, y -> x + y")                                             \
    /* loss, by row n; rows from valid on count nothing */                                          \
    X(CROSS_ENTROPY, "cross_entropy", 2, 2, NONE, "",                                               \
      "logits[N,K], label[N] -> loss of each image")                                                \
    X(CORRECT, "correct", 2, 2, NONE, "", "logits, label -> i32[N]: first argmax is the label")     \
    X(MEAN_VALID, "mean_valid", 2, 2, NONE, "", "x[N], valid -> mean of the first `valid`")         \
    X(COUNT_VALID, "count_valid", 2, 2, NONE, "", "x[N], valid -> sum of the first `valid`")        \
    /* backward: dy is the gradient of a result, dx of an operand */                                \
    X(CROSS_ENTROPY_GRAD, "cross_entropy_grad", 3, 3, NONE, "",                                     \
      "logits, label, valid -> dlogits of the mean loss")                                           \
    X(CONV2D_DGRAD, "conv2d_dgrad", 2, 2, WINDOW, "", "dy, filter -> dx of conv2d")                 \
    X(CONV2D_WGRAD, "conv2d_wgrad", 2, 2, WINDOW, "", "x, dy -> dfilter of conv2d")                 \
    X(BIAS_GRAD, "bias_grad", 1, 1, NONE, "", "dy -> [C]: sum over images and pixels")              \
    X(RELU_GRAD, "relu_grad", 2, 2, NONE, "b > 0 ? a : 0", "dy, y -> dy where y > 0, else 0")       \
    X(MAXPOOL_GRAD, "maxpool_grad", 2, 2, WINDOW, "",                                               \
      "dy, code -> dx: dy at each window's maximum")                                                \
    X(AVGPOOL_GRAD, "avgpool_grad", 1, 1, WINDOW, "", "dy -> dx: dy shared out over each window")   \
    X(GAP_GRAD, "gap_grad", 1, 1, NONE, "", "dy[N,1,1,C] -> dx: dy shared out over the map")        \
    X(FLATTEN_GRAD, "flatten_grad", 1, 1, NONE, "", "dy[N,C*H*W] -> dx[N,H,W,C]")                   \
    /* the same as conv2d_dgrad by the filter itself */                                             \
    X(CONV2D_TRANSPOSE, "conv2d_transpose", 2, 2, WINDOW, "",                                       \
      "dy, transposed filter -> dx of conv2d")                                                      \
    /* a stride-1 dgrad is conv2d by this filter */                                                 \
    X(FILTER_TRANSPOSE, "filter_transpose", 1, 1, NONE, "",                                         \
      "OIHW -> IOHW, both kernel axes reversed")                                                    \
    /* Winograd convolution F(tile x tile, kernel x kernel), stride 1 (winograd.c): maps become     \
     * [N,A*A,T,C]: A*A frequencies of T tiles, A = tile + kernel - 1; filters [O,C,A,A] */         \
    X(WINOGRAD_INPUT, "winograd_input", 1, 1, WINOGRAD, "", "x -> B^T x B of each tile")            \
    X(WINOGRAD_FILTER, "winograd_filter", 1, 1, WINOGRAD, "", "filter -> G filter G^T")             \
    X(WINOGRAD_MULTIPLY, "winograd_multiply", 2, 2, WINOGRAD, "",                                   \
      "both transformed -> a product over C a frequency")                                           \
    X(WINOGRAD_OUTPUT, "winograd_output", 1, 2, WINOGRAD, "",                                       \
      "m[, bias] -> A^T m A + bias of each tile")                                                   \
    X(WINOGRAD_OUTPUT_GRAD, "winograd_output_grad", 1, 1, WINOGRAD, "",                             \
      "dy -> A dy A^T of each tile")                                                                \
    X(WINOGRAD_WGRAD, "winograd_wgrad", 2, 2, WINOGRAD, "",                                         \
      "x, dy, both transformed -> a sum over tiles")                                                \
    X(WINOGRAD_FILTER_GRAD, "winograd_filter_grad", 1, 1, WINOGRAD, "",                             \
      "that sum -> G^T sum G: dfilter")                                                             \
    /* a convolution of a resized image over the source image (fold.c): folded filters are          \
     * [O,I*classes,EH,EW], one filter for each pair of a class of rows and one of columns */       \
    X(FOLD_FILTER, "fold_filter", 1, 1, FOLD, "", "filter -> filters folded with the resize")       \
    X(CONV2D_FOLDED, "conv2d_folded", 2, 3, FOLD, "",                                               \
      "image, folded filters[, bias] -> convolution")                                               \
    X(CONV2D_FOLDED_WGRAD, "conv2d_folded_wgrad", 2, 2, FOLD, "",                                   \
      "image, dy -> gradient of the folded filters")                                                \
    X(FOLD_FILTER_GRAD, "fold_filter_grad", 1, 1, FOLD, "", "that gradient -> dfilter")             \
    X(CAST, "cast", 1, 1, NONE, "", "x -> another float dtype, to nearest even")                    \
    /* optimizer: PyTorch's SGD and Adam spelled out */                                             \
    X(WEIGHT_DECAY, "weight_decay", 2, 2, FACTOR, "a + k * b",                                      \
      "g, parameter -> g + factor * parameter")                                                     \
    X(MOMENTUM, "momentum", 2, 2, FACTOR, "k * a + b", "velocity, g -> factor * velocity + g")      \
    X(SGD_STEP, "sgd_step", 3, 3, NONE, "a - c * b", "parameter, g, lr -> parameter - lr * g")      \
    X(ADAM_M, "adam_m", 2, 2, FACTOR, "k * a + (1 - k) * b", "m, g -> mean of gradients")           \
    X(ADAM_V, "adam_v", 2, 2, FACTOR, "k * a + (1 - k) * b * b",                                    \
      "v, g -> mean of squared gradients")                                                          \
    /* lr and step are scalars, f32 and i32; step counts from 1 */                                  \
    X(ADAM_STEP, "adam_step", 5, 5, ADAM,                                                           \
      "a - d / (1 - POW(adam_beta1, e)) * b / (SQRT(c) / SQRT(1 - POW(adam_beta2, e)) + adam_eps)", \
      "parameter, m, v, lr, step -> parameter")                                                     \
    /* printed `@name : type = update %value` */                                                    \
    X(UPDATE, "update", 1, 1, NONE, "", "writes its operand to an @name in place")

#endif

/* The op table: one line an op. Everyone who must know every op expands a column of it, or asks for
 * a flag, or switches over Op without a default, so that a new op does not compile until it is
 * complete.
 *
 * X(id, text, min operands, max operands, attribute class, family, flags, scalar expression,
 *   what it computes)
 *
 * The family is the file of ir/op/ that infers the op's type, evaluates it, and says what it costs.
 *
 * The scalar expression is that of a pointwise op, in C, over its operands a, b, c, d, e (already
 * of the computing type), the attribute `k` (ATTR_FACTOR) or `adam` (ATTR_ADAM), and MAX-free
 * functions SQRT, POW, EXP, EXPM1 (e^x - 1), LOG1P (log(1 + x), x from 0 to 1), TANH and NORMCDF
 * (the standard normal distribution's); "" for ops that are not pointwise. Where it is of maps
 * (OF_MAPS), the epilogues are made from it, those of the CPU of vectors: its conditions are
 * comparisons, joined by & and |, before a ? and nowhere else, its numbers whole or floats (0.5f),
 * and it calls neither SQRT nor POW. A rank-0 operand is broadcast. What an op computes is for
 * --list-ops: operands -> result, of at most 51 columns. */
#ifndef NINC_OPS_H
#define NINC_OPS_H

/* What holds of some ops. X(id, meaning) */
#define IR_OP_FLAGS(X)                                                                             \
    X(FORWARD, "may stand in a graph before autodiff")                                             \
    X(AUGMENT, "changes a u8 image, in training only")                                             \
    X(GIVEN, "its type does not follow from its operands, and is given")                           \
    X(SILENT, "has no line in the recipe: another node stands for it, or it changes no value")     \
    X(RESULT, "of the rows or sums that a step returns")                                           \
    X(HEAD, "works on the rows of logits [N,K]")                                                   \
    X(SUMS_ROWS, "sums rows over the batch, once all images are done")                             \
    X(CONTRACTION, "a sum of products over channels or pixels")                                    \
    X(CONVOLUTION, "gives the map of a convolution, whatever the passes made of it")               \
    X(WGRAD, "the gradient of a convolution's filter, or of a folded one")                         \
    X(FILTERED, "its first operand is a map, the others are filters and biases")                   \
    X(FREQUENCIES, "a product frequency by frequency")                                             \
    X(TILES, "reads a map in tiles")                                                               \
    X(POOL, "pools a map") X(POOL_GRAD, "the gradient of such an op")                              \
    X(ROWS, "runs strip by strip of a map's rows")                                                 \
    X(NEIGHBOURS, "reads other rows of its map than those that it works on, whatever its window")  \
    X(SUMS_IMAGES, "a sum over images: a weight or bias gradient")                                 \
    X(STATISTIC, "a sum over all images, read by ops of their chunk, which is then the batch")     \
    X(OF_FILTERS, "filters in, filters out: no images")                                            \
    X(OF_MAPS, "pointwise, of maps of any float dtype")                                            \
    X(READS_F32, "reads f32 alone") X(GIVES_F32, "gives f32, whatever it reads")                   \
    X(ACTIVATION, "an activation or its gradient")                                                 \
    X(OPTIMIZER, "a step of an optimizer")                                                         \
    X(OF_GRADIENTS, "a number of the gradients of all parameters")                                 \
    X(FRACTION, "its values lie between 0 and 1, or -1 and 1 where it keeps zero")                 \
    X(KEEPS_ZERO, "pointwise, and zero where all its maps or parameters are: f(0, ...) = 0")

typedef enum OpFlagBit {
#define X(id, meaning) BIT_##id,
    IR_OP_FLAGS(X)
#undef X
        OP_FLAG_COUNT
} OpFlagBit;

typedef enum OpFlag {
#define X(id, meaning) F_##id = 1 << BIT_##id,
    IR_OP_FLAGS(X)
#undef X
} OpFlag;

#define IR_OPS(X)                                                                                  \
    /* leaves; `state` reads an @name and is printed as that name, never as a line */              \
    X(INPUT, "input", 0, 0, NONE, leaf, F_FORWARD | F_GIVEN | F_SILENT, "",                        \
      "what the trainer gives to each step")                                                       \
    X(STATE, "state", 0, 0, NONE, leaf, F_GIVEN | F_SILENT, "", "reads an @name")                  \
    /* image u8[N,h,w,C], seed, epoch i32[], index i32[N] -> an image of that size, drawn anew in  \
     * each epoch by the image's number in the data set: torchvision's transforms, in training */  \
    X(RANDOM_CROP, "random_crop", 4, 4, AUGMENT, augment, F_FORWARD | F_AUGMENT, "",               \
      "image, seed, epoch, index -> moved, zeros behind")                                          \
    X(RANDOM_RESIZED_CROP, "random_resized_crop", 4, 4, AUGMENT, augment, F_FORWARD | F_AUGMENT,   \
      "", "image, seed, epoch, index -> a part, enlarged")                                         \
    X(RANDOM_HORIZONTAL_FLIP, "random_horizontal_flip", 4, 4, AUGMENT, augment,                    \
      F_FORWARD | F_AUGMENT, "", "image, seed, epoch, index -> mirrored or not")                   \
    X(RANDOM_ROTATION, "random_rotation", 4, 4, AUGMENT, augment, F_FORWARD | F_AUGMENT, "",       \
      "image, seed, epoch, index -> turned, zeros behind")                                         \
    X(RANDOM_ERASING, "random_erasing", 4, 4, AUGMENT, augment, F_FORWARD | F_AUGMENT, "",         \
      "image, seed, epoch, index -> a part of it zeros")                                           \
    X(COLOR_JITTER, "color_jitter", 4, 4, AUGMENT, augment, F_FORWARD | F_AUGMENT, "",             \
      "image, seed, epoch, index -> other colours")                                                \
    /* image u8[N,h,w,C] -> f32[N,H,W,C], (u8/255 - mean)/std; resize also interpolates */         \
    X(NORMALIZE, "normalize", 1, 1, IMAGE, image, F_FORWARD, "",                                   \
      "image -> (u8 / 255 - mean) / std")                                                          \
    X(RESIZE, "resize", 1, 1, IMAGE, image, F_FORWARD | F_GIVEN, "",                               \
      "image -> normalized, bilinearly interpolated")                                              \
    /* of images that are maps already, each by itself (Goodfellow et al. 2013) */                 \
    X(IMAGE_STATS, "image_stats", 1, 1, NONE, whiten, F_FORWARD | F_GIVES_F32, "",                 \
      "x -> [N,1,1,2]: an image's mean, norm of the rest")                                         \
    X(CONTRAST, "contrast", 2, 2, CONTRAST, whiten, F_FORWARD, "",                                 \
      "x, stats -> (x - mean) * scale / norm")                                                     \
    X(UNFLATTEN, "unflatten", 1, 1, NONE, whiten, F_FORWARD | F_GIVEN, "",                         \
      "x[N,1,1,H*W*C] -> map, in the order h, w, c")                                               \
    /* forward, of maps [N,H,W,C] and filters OIHW */                                              \
    X(CONV2D, "conv2d", 2, 3, WINDOW, conv,                                                        \
      F_FORWARD | F_CONTRACTION | F_CONVOLUTION | F_FILTERED | F_ROWS, "",                         \
      "x, filter[, bias] -> convolution")                                                          \
    X(RELU, "relu", 1, 1, NONE, pointwise, F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,    \
      "a <= 0 ? 0 : a", "x -> max(x, 0)")                                                          \
    X(SIGMOID, "sigmoid", 1, 1, NONE, pointwise,                                                   \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_FRACTION,                                           \
      "1 / (1 + EXP(-a))", "x -> 1 / (1 + exp(-x))")                                               \
    X(RELU6, "relu6", 1, 1, NONE, activation,                                                      \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "a <= 0 ? 0 : a >= 6 ? 6 : a",          \
      "x -> min(max(x, 0), 6)")                                                                    \
    X(LEAKY_RELU, "leaky_relu", 1, 1, FACTOR, activation,                                          \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "a > 0 ? a : k * a",                    \
      "x -> x where x > 0, else factor * x")                                                       \
    X(ELU, "elu", 1, 1, FACTOR, activation,                                                        \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "a > 0 ? a : k * EXPM1(a)",             \
      "x -> x where x > 0, else factor * (exp(x) - 1)")                                            \
    X(TANH, "tanh", 1, 1, NONE, activation,                                                        \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_FRACTION | F_KEEPS_ZERO, "TANH(a)", "x -> tanh(x)") \
    X(GELU, "gelu", 1, 1, NONE, activation,                                                        \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "a * NORMCDF(a)",                       \
      "x -> x times the normal distribution's at x")                                               \
    X(SILU, "silu", 1, 1, NONE, activation,                                                        \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "a / (1 + EXP(-a))",                    \
      "x -> x / (1 + exp(-x))")                                                                    \
    X(HARDSWISH, "hardswish", 1, 1, NONE, activation,                                              \
      F_FORWARD | F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,                                         \
      "a <= -3 ? 0 : a >= 3 ? a : a * (a + 3) * 0.166666667f",                                     \
      "x -> x * min(max(x + 3, 0), 6) / 6")                                                        \
    X(SOFTPLUS, "softplus", 1, 1, NONE, activation, F_FORWARD | F_OF_MAPS | F_ACTIVATION,          \
      "(a > 0 ? a : 0) + LOG1P(EXP(a > 0 ? -a : a))", "x -> log(1 + exp(x))")                      \
    X(MAXPOOL, "maxpool", 1, 1, WINDOW, pool, F_FORWARD | F_POOL | F_ROWS | F_NEIGHBOURS, "",      \
      "x -> maximum of each window")                                                               \
    X(MAXPOOL_CODE, "maxpool_code", 1, 1, WINDOW, pool, F_ROWS | F_NEIGHBOURS, "",                 \
      "x -> u8: kh*KW + kw of each window's first maximum")                                        \
    /* avgpool divides by the part of the window inside the padded input (count_include_pad), or   \
     * that inside the input itself */                                                             \
    X(AVGPOOL, "avgpool", 1, 1, WINDOW, pool, F_FORWARD | F_POOL | F_ROWS | F_NEIGHBOURS, "",      \
      "x -> mean of each window")                                                                  \
    X(GAP, "gap", 1, 1, NONE, gap, F_FORWARD | F_ROWS | F_GIVES_F32, "",                           \
      "x -> [N,1,1,C]: mean of the whole map")                                                     \
    X(DROPOUT, "dropout", 3, 3, DROPOUT, dropout, F_FORWARD | F_OF_MAPS | F_ROWS, "",              \
      "x, seed, step -> 0 or x / (1 - p), by chance")                                              \
    X(FLATTEN, "flatten", 1, 1, NONE, flatten, F_FORWARD | F_SILENT | F_READS_F32, "",             \
      "x -> [N,C*H*W], in PyTorch's order c, h, w")                                                \
    X(BATCH_NORM, "batch_norm", 3, 5, NORM, batch_norm, F_FORWARD | F_FILTERED | F_ROWS, "",       \
      "x, mean, var[, weight, bias] -> normalized")                                                \
    /* s = k + alpha / size * sum of squares over `size` channels around each */                   \
    X(LRN, "lrn", 1, 1, LRN, lrn, F_FORWARD | F_ROWS, "", "x -> x / s^beta, by channels")          \
    X(ADD, "add", 2, 2, NONE, pointwise, F_FORWARD | F_OF_MAPS | F_KEEPS_ZERO, "a + b",            \
      "x, y -> x + y")                                                                             \
    X(CONCAT, "concat", 2, 5, NONE, concat, F_FORWARD | F_OF_MAPS, "",                             \
      "x, y, ... -> their channels side by side")                                                  \
    /* loss, by row n; rows from valid on count nothing */                                         \
    X(CROSS_ENTROPY, "cross_entropy", 2, 3, SMOOTHING, loss, F_FORWARD | F_RESULT | F_HEAD, "",    \
      "logits[N,K], label[N][, weight[K]] -> loss of each")                                        \
    X(CORRECT, "correct", 2, 2, NONE, loss, F_FORWARD | F_RESULT | F_HEAD, "",                     \
      "logits, label -> i32[N]: first argmax is the label")                                        \
    /* a third operand is what their sum is divided by, in place of their number */                \
    X(MEAN_VALID, "mean_valid", 2, 3, NONE, loss, F_FORWARD | F_RESULT | F_SUMS_ROWS, "",          \
      "x[N], valid[, divisor] -> mean of the first `valid`")                                       \
    X(COUNT_VALID, "count_valid", 2, 2, NONE, loss, F_FORWARD | F_RESULT | F_SUMS_ROWS, "",        \
      "x[N], valid -> sum of the first `valid`")                                                   \
    /* backward: dy is the gradient of a result, dx of an operand */                               \
    X(CROSS_ENTROPY_GRAD, "cross_entropy_grad", 3, 5, SMOOTHING, loss, F_HEAD, "",                 \
      "logits, label, valid[, weight, divisor] -> dlogits")                                        \
    X(CONV2D_DGRAD, "conv2d_dgrad", 2, 2, WINDOW, conv, F_GIVEN | F_CONTRACTION | F_FILTERED, "",  \
      "dy, filter -> dx of conv2d")                                                                \
    X(CONV2D_WGRAD, "conv2d_wgrad", 2, 2, WINDOW, conv,                                            \
      F_GIVEN | F_CONTRACTION | F_WGRAD | F_SUMS_IMAGES | F_ROWS, "", "x, dy -> dfilter of conv2d")\
    X(BIAS_GRAD, "bias_grad", 1, 1, NONE, conv, F_SUMS_IMAGES | F_ROWS, "",                        \
      "dy -> [C]: sum over images and pixels")                                                     \
    X(RELU_GRAD, "relu_grad", 2, 2, NONE, pointwise, F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,      \
      "b > 0 ? a : 0", "dy, y -> dy where y > 0, else 0")                                          \
    X(SIGMOID_GRAD, "sigmoid_grad", 2, 2, NONE, pointwise,                                         \
      F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "a * b * (1 - b)", "dy, y -> dy * y * (1 - y)")     \
    X(RELU6_GRAD, "relu6_grad", 2, 2, NONE, activation, F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,   \
      "(b > 0) & (b < 6) ? a : 0", "dy, y -> dy where 0 < y < 6, else 0")                          \
    X(LEAKY_RELU_GRAD, "leaky_relu_grad", 2, 2, FACTOR, activation,                                \
      F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "b > 0 ? a : k * a",                                \
      "dy, x or y -> dy where > 0, else factor * dy")                                      \
    X(ELU_GRAD, "elu_grad", 2, 2, FACTOR, activation, F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,     \
      "b > 0 ? a : k * a * EXP(b)", "dy, x -> dy where x > 0, else factor * dy * exp(x)")          \
    X(TANH_GRAD, "tanh_grad", 2, 2, NONE, activation, F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,     \
      "a * (1 - b * b)", "dy, y -> dy * (1 - y^2)")                                                \
    X(GELU_GRAD, "gelu_grad", 2, 2, NONE, activation, F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,     \
      "a * (NORMCDF(b) + b * (EXP(-0.5f * b * b) * 0.398942280f))", "dy, x -> dx of gelu")         \
    X(SILU_GRAD, "silu_grad", 2, 2, NONE, activation, F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,     \
      "a * (1 + b / (1 + EXP(b))) / (1 + EXP(-b))", "dy, x -> dx of silu")                         \
    X(HARDSWISH_GRAD, "hardswish_grad", 2, 2, NONE, activation,                                    \
      F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO,                                                     \
      "b < -3 ? 0 : b > 3 ? a : a * (b * 0.333333333f + 0.5f)", "dy, x -> dx of hardswish")        \
    X(SOFTPLUS_GRAD, "softplus_grad", 2, 2, NONE, activation,                                      \
      F_OF_MAPS | F_ACTIVATION | F_KEEPS_ZERO, "a / (1 + EXP(-b))", "dy, x -> dy / (1 + exp(-x))") \
    X(SLICE, "slice", 1, 1, SLICE, concat, F_OF_MAPS, "", "x -> some of its channels")             \
    X(MAXPOOL_GRAD, "maxpool_grad", 2, 2, WINDOW, pool,                                            \
      F_GIVEN | F_POOL_GRAD | F_ROWS | F_NEIGHBOURS, "",                                           \
      "dy, code -> dx: dy at each window's maximum")                                               \
    X(AVGPOOL_GRAD, "avgpool_grad", 1, 1, WINDOW, pool,                                            \
      F_GIVEN | F_POOL_GRAD | F_ROWS | F_NEIGHBOURS, "",                                           \
      "dy -> dx: dy shared out over each window")                                                  \
    X(GAP_GRAD, "gap_grad", 1, 1, NONE, gap, F_GIVEN | F_ROWS | F_NEIGHBOURS | F_READS_F32, "",    \
      "dy[N,1,1,C] -> dx: dy shared out over the map")                                             \
    X(FLATTEN_GRAD, "flatten_grad", 1, 1, NONE, flatten, F_GIVEN | F_GIVES_F32, "",                \
      "dy[N,C*H*W] -> dx[N,H,W,C]")                                                                \
    /* the same as conv2d_dgrad by the filter itself */                                            \
    X(CONV2D_TRANSPOSE, "conv2d_transpose", 2, 2, WINDOW, conv,                                    \
      F_GIVEN | F_CONTRACTION | F_FILTERED | F_ROWS | F_NEIGHBOURS, "",                            \
      "dy, transposed filter -> dx of conv2d")                                                     \
    /* a stride-1 dgrad is conv2d by this filter */                                                \
    X(FILTER_TRANSPOSE, "filter_transpose", 1, 1, NONE, conv, F_OF_FILTERS | F_SILENT, "",         \
      "OIHW -> IOHW, both kernel axes reversed")                                                   \
    /* Winograd convolution F(tile x tile, kernel x kernel), stride 1 (winograd.c): maps become    \
     * [N,A*A,T,C]: A*A frequencies of T tiles, A = tile + kernel - 1; filters [O,C,A,A] */        \
    X(WINOGRAD_INPUT, "winograd_input", 1, 1, WINOGRAD, winograd, F_TILES | F_SILENT, "",          \
      "x -> B^T x B of each tile")                                                                 \
    X(WINOGRAD_FILTER, "winograd_filter", 1, 1, WINOGRAD, winograd, F_OF_FILTERS | F_SILENT, "",   \
      "filter -> G filter G^T")                                                                    \
    X(WINOGRAD_MULTIPLY, "winograd_multiply", 2, 2, WINOGRAD, winograd,                            \
      F_CONTRACTION | F_FREQUENCIES | F_FILTERED | F_SILENT, "",                                   \
      "both transformed -> a product over C a frequency")                                          \
    X(WINOGRAD_OUTPUT, "winograd_output", 1, 2, WINOGRAD, winograd,                                \
      F_CONVOLUTION | F_FILTERED | F_ROWS, "", "m[, bias] -> A^T m A + bias of each tile")         \
    X(WINOGRAD_OUTPUT_GRAD, "winograd_output_grad", 1, 1, WINOGRAD, winograd, F_TILES, "",         \
      "dy -> A dy A^T of each tile")                                                               \
    X(WINOGRAD_WGRAD, "winograd_wgrad", 2, 2, WINOGRAD, winograd,                                  \
      F_CONTRACTION | F_FREQUENCIES | F_SUMS_IMAGES, "",                                           \
      "x, dy, both transformed -> a sum over tiles")                                               \
    X(WINOGRAD_FILTER_GRAD, "winograd_filter_grad", 1, 1, WINOGRAD, winograd, F_OF_FILTERS, "",    \
      "that sum -> G^T sum G: dfilter")                                                            \
    /* a convolution of a resized image over the source image (fold.c): folded filters are         \
     * [O,I*classes,EH,EW], one filter for each pair of a class of rows and one of columns */      \
    X(FOLD_FILTER, "fold_filter", 1, 1, FOLD, fold, F_OF_FILTERS | F_SILENT, "",                   \
      "filter -> filters folded with the resize")                                                  \
    X(CONV2D_FOLDED, "conv2d_folded", 2, 3, FOLD, fold,                                            \
      F_CONTRACTION | F_CONVOLUTION | F_FILTERED | F_ROWS | F_NEIGHBOURS, "",                      \
      "image, folded filters[, bias] -> convolution")                                              \
    X(CONV2D_FOLDED_WGRAD, "conv2d_folded_wgrad", 2, 2, FOLD, fold,                                \
      F_CONTRACTION | F_WGRAD | F_SUMS_IMAGES | F_ROWS | F_NEIGHBOURS, "",                         \
      "image, dy -> gradient of the folded filters")                                               \
    X(FOLD_FILTER_GRAD, "fold_filter_grad", 1, 1, FOLD, fold, F_OF_FILTERS, "",                    \
      "that gradient -> dfilter")                                                                  \
    /* batch norm: of the pixels of the first `valid` images, whose number is `count` below */     \
    X(BATCH_MEAN, "batch_mean", 2, 2, NONE, batch_norm, F_STATISTIC, "",                           \
      "x, valid -> [C]: mean over images and pixels")                                              \
    X(BATCH_VAR, "batch_var", 3, 3, NONE, batch_norm, F_STATISTIC, "",                             \
      "x, mean, valid -> [C]: mean of (x - mean)^2")                                               \
    X(BATCH_SUM, "batch_sum", 1, 1, NONE, batch_norm, F_STATISTIC, "",                             \
      "dy -> [C]: dbias")                                                                          \
    X(BATCH_DOT, "batch_dot", 4, 4, NORM, batch_norm, F_STATISTIC, "",                             \
      "dy, x, mean, var -> [C]: dweight")                                                          \
    X(BATCH_NORM_GRAD, "batch_norm_grad", 7, 8, NORM, batch_norm, F_ROWS, "",                      \
      "dy, x, mean, var, dbias, dweight, valid[, weight]")                                         \
    X(LRN_GRAD, "lrn_grad", 2, 2, LRN, lrn, F_ROWS, "", "dy, x -> dx of lrn")                      \
    X(UNBIASED, "unbiased", 2, 2, FACTOR, optimizer, F_KEEPS_ZERO,                                 \
      "a * (k * b) / (k * b - 1)", "var, valid -> var * count / (count - 1)")                      \
    X(RUNNING, "running", 2, 2, FACTOR, optimizer, F_KEEPS_ZERO, "(1 - k) * a + k * b",            \
      "running, batch's -> running statistic")                                                     \
    X(COUNT_BATCH, "count_batch", 1, 1, NONE, optimizer, 0, "a + 1", "batches -> batches + 1")     \
    X(CAST, "cast", 1, 1, NONE, pointwise, F_GIVEN | F_SILENT | F_KEEPS_ZERO, "",                  \
      "x -> another float dtype, to nearest even")                                                 \
    /* optimizer: PyTorch's spelled out; operand 1 is made of the gradient, but of clip and        \
     * weight_decay, whose operand 0 is it, and of adamw_decay, which has none */                  \
    /* clip_grad_norm_: the squares of each gradient are added to those before */                  \
    X(SQUARE_SUM, "square_sum", 1, 2, NONE, optimizer, F_OF_GRADIENTS, "",                         \
      "g[, sum] -> sum + sum of the squares of g")                                                 \
    X(CLIP_FACTOR, "clip_factor", 1, 1, FACTOR, optimizer, F_OF_GRADIENTS | F_FRACTION, "",        \
      "sum -> min(1, factor / (sqrt(sum) + 1e-6))")                                                \
    X(CLIP, "clip", 2, 2, NONE, optimizer, F_OPTIMIZER | F_KEEPS_ZERO, "a * b",                    \
      "g, clip_factor -> g * clip_factor")                                                         \
    X(WEIGHT_DECAY, "weight_decay", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO,           \
      "a + k * b", "g, parameter -> g + factor * parameter")                                       \
    X(MOMENTUM, "momentum", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO, "k * a + b",      \
      "velocity, g -> factor * velocity + g")                                                      \
    X(NESTEROV, "nesterov", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO, "k * a + b",      \
      "velocity, g -> g, a step of the velocity ahead")                                            \
    X(SGD_STEP, "sgd_step", 3, 3, RATE, optimizer, F_OPTIMIZER | F_KEEPS_ZERO, "a - c * b",        \
      "parameter, g, lr -> parameter - lr * g")                                                    \
    X(ADAM_M, "adam_m", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO,                       \
      "k * a + (1 - k) * b", "m, g -> mean of gradients")                                          \
    X(ADAM_V, "adam_v", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO,                       \
      "k * a + (1 - k) * b * b", "v, g -> mean of squared gradients")                              \
    /* the gradient by the root of the mean of its squares; the factor is eps */                   \
    X(RMSPROP_SCALE, "rmsprop_scale", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO,         \
      "b / (SQRT(a) + k)", "v, g -> g / (sqrt(v) + factor)")                                       \
    /* weight decay that does not go through the gradient: of what a step starts from */           \
    X(ADAMW_DECAY, "adamw_decay", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO,             \
      "a - k * b * a", "parameter, lr -> parameter * (1 - factor * lr)")                           \
    /* lr and step are scalars, f32 and i32, of lr lr_mult times as much; step counts from 1 */    \
    X(ADAM_STEP, "adam_step", 5, 5, ADAM, optimizer, F_OPTIMIZER | F_KEEPS_ZERO,                   \
      "a - d / (1 - POW(adam_beta1, e)) * b / (SQRT(c) / SQRT(1 - POW(adam_beta2, e)) + adam_eps)",\
      "parameter, m, v, lr, step -> parameter")                                                    \
    /* an exponential mean of a parameter over the steps */                                        \
    X(EMA, "ema", 2, 2, FACTOR, optimizer, F_OPTIMIZER | F_KEEPS_ZERO, "k * a + (1 - k) * b",      \
      "average, parameter -> average of parameters")                                               \
    /* printed `@name : type = update %value` */                                                   \
    X(UPDATE, "update", 1, 1, NONE, leaf, F_SILENT | F_KEEPS_ZERO, "",                             \
      "writes its operand to an @name in place")

#endif

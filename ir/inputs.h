/* The inputs of a training step and of an evaluation: all that a graph is given.
 *
 * X(id, name, dtype, shape, needed, who gives it)
 *
 * shape: IMAGES [N,h,w,C] of the data set's images, ROWS [N], SCALAR. needed: every program has
 * it; the others only where an op reads them. */
#ifndef NINC_INPUTS_H
#define NINC_INPUTS_H

#define GRAPH_INPUTS(X)                                                                            \
    X(IMAGE, "image", U8, IMAGES, true, "the data set")                                            \
    X(LABEL, "label", I32, ROWS, true, "the data set")                                             \
    X(VALID, "valid", I32, SCALAR, true, "the trainer: images of the batch that count")            \
    X(LR, "lr", F32, SCALAR, false, "the trainer: the learning rate")                              \
    X(STEP, "step", I32, SCALAR, false, "the trainer: steps, from 1")                              \
    X(SEED, "seed", I32, SCALAR, false, "the trainer: what a run draws random numbers from")       \
    X(EPOCH, "epoch", I32, SCALAR, false, "the trainer: epochs that are done")                     \
    X(INDEX, "index", I32, ROWS, false, "the trainer: each image's number in the data set")        \
    X(LABEL_WEIGHT, "label_weight", F32, SCALAR, false,                                            \
      "the trainer: the weights of the valid images' classes, added up")

/* Those that the trainer gives by number: X(name, member of StepInput) */
#define GRAPH_SCALARS(X) X("valid", valid) X("lr", lr) X("step", step) X("seed", seed)      \
    X("epoch", epoch) X("label_weight", label_weight)

#endif

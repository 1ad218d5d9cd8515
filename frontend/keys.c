/* What keys and words of other tools are here: PyTorch's, Keras's and Caffe's names for layers and
 * their settings. */
#include "frontend.h"

#include <string.h>
#include <strings.h>

/* A word in the mapping `what` (NULL: in any), and the key that stands for it, or what to do. */
typedef struct Meaning {
    const char *what, *word, *key, *advice;
} Meaning;

#define BEFORE "it is taken from the layer before; leave it out"
#define IN_TRAIN "it stands in train"
#define IN_INPUT "it stands in input"
#define IN_TRANSFORM "it stands in transform, as in transform: [resize: 256, center_crop: 224]"
#define IN_OPTIMIZER "it stands in the optimizer, as in optimizer: {adam: {lr: 0.001}}"
#define OF_TRAINER(flag) "the trainer is told: trainer train --" flag
#define OF_CONV2D "only a conv2d has it: write the block as conv2d and relu layers"
#define OF_GROUPS "it is a conv2d with as many groups as it reads channels"
#define NO_SUCH(text) "there is no " text " yet; leave it out"

static const Meaning keys[] = {
    {NULL, "in_channels", NULL, BEFORE},
    {NULL, "in_features", NULL, BEFORE},
    {NULL, "input_shape", NULL, BEFORE},
    {NULL, "num_features", NULL, BEFORE},
    {NULL, "kernel", "kernel_size", NULL},
    {NULL, "ksize", "kernel_size", NULL},
    {NULL, "window", "kernel_size", NULL},
    {NULL, "pool_size", "kernel_size", NULL},
    {NULL, "filter_size", "kernel_size", NULL},
    {"mlpconv", "size", "kernel_size", NULL},
    {"conv2d", "size", "kernel_size", NULL},
    {"maxpool", "size", "kernel_size", NULL},
    {"avgpool", "size", "kernel_size", NULL},
    {NULL, "filters", "out_channels", NULL},
    {NULL, "num_filters", "out_channels", NULL},
    {NULL, "num_output", "out_channels", NULL},
    {"mlpconv", "channels", "out_channels", NULL},
    {"conv2d", "channels", "out_channels", NULL},
    {NULL, "out_features", "out_channels", NULL},
    {NULL, "units", "out_channels", NULL},
    {NULL, "pad", "padding", NULL},
    {"mlpconv", "bias", NULL, "its convolutions have one; a conv2d can do without: bias: false"},
    {"mlpconv", "activation", NULL, "a ReLU follows each of its convolutions; leave it out"},
    {"conv2d", "activation", NULL, "add a layer behind it: - relu"},
    {NULL, "padding_mode", NULL, NO_SUCH("other padding than zeros")},
    {"mlpconv", "dilation", NULL, OF_CONV2D},
    {"mlpconv", "groups", NULL, OF_CONV2D},
    {NULL, "dilation", NULL, "only a conv2d has it; leave it out"},
    {NULL, "groups", NULL, "only a conv2d has them; leave it out"},
    {NULL, "dilations", "dilation", NULL},
    {NULL, "dilation_rate", "dilation", NULL},
    {"conv2d", "group", "groups", NULL},
    {"conv2d", "depth_multiplier", NULL, "out_channels says it: a multiple of groups"},
    {NULL, "count_include_pad", NULL, "only an avgpool has it; leave it out"},
    {NULL, "divisor_override", NULL, NO_SUCH("other divisor of an average")},
    {"dropout", "rate", "p", NULL},
    {"dropout", "dropout_ratio", "p", NULL},
    {"normalize", "gcn", "global_contrast", NULL},
    {"normalize", "contrast", "global_contrast", NULL},
    {"normalize", "whiten", "zca", NULL},
    {"normalize", "whitening", "zca", NULL},
    {"global_contrast", "sqrt_bias", NULL, NO_SUCH("bias of the norm")},
    {"global_contrast", "min_divisor", "eps", NULL},
    {"zca", "filter_bias", "eps", NULL},
    {"local_response_norm", "local_size", "size", NULL},
    {"local_response_norm", "n", "size", NULL},
    {"local_response_norm", "bias", "k", NULL},
    {"local_response_norm", "depth_radius", NULL,
     "size is 2 * depth_radius + 1, and alpha is size times the other's"},
    {"flatten", "start_dim", NULL, "it makes one row an image; leave it out"},
    {"input", "num_classes", "classes", NULL},
    {"input", "size", "shape", NULL},
    {"input", "image_size", "shape", NULL},
    {"input", "input_shape", "shape", NULL},
    {"input", "data", "dataset", NULL},
    {"input", "name", "dataset", NULL},
    {"input", "channels", NULL, "it is the first number of shape: [channels, height, width]"},
    {"input", "path", NULL, OF_TRAINER("data=DIR")},
    {"input", "root", NULL, OF_TRAINER("data=DIR")},
    {"input", "batch_size", NULL, IN_TRAIN},
    {"input", "transforms", "transform", NULL},
    {"input", "preprocessing", "transform", NULL},
    {"input", "center_crop", NULL, IN_TRANSFORM},
    {"input", "grayscale", NULL, IN_TRANSFORM},
    {"input", "transpose", NULL, IN_TRANSFORM},
    {"input", "val_split", "validation_split", NULL},
    {"input", "validation", "validation_split", NULL},
    {"input", "label_column", "label", NULL},
    {"input", "target", "label", NULL},
    {"input", "sampler", NULL, IN_TRAIN ", as in train: {sampler: balanced, ...}"},
    {"train", "validation_split", NULL, IN_INPUT},
    {"train", "val_split", NULL, IN_INPUT ", as validation_split"},
    {"input", "augmentation", "augment", NULL},
    {"input", "augmentations", "augment", NULL},
    {"train", "augment", NULL, "it stands in input"},
    {"train", "augmentation", NULL, "it stands in input, as augment"},
    {"random_erasing", "ratio", NULL, "it is from 0.3 to 3.3; leave it out"},
    {"random_erasing", "value", NULL, "it is 0; leave it out"},
    {"random_rotation", "angle", "degrees", NULL},
    {"random_resized_crop", "size", NULL, "an image keeps its size; leave it out"},
    {"random_crop", "size", NULL, "an image keeps its size; leave it out"},
    {"color_jitter", "hue", NULL, NO_SUCH("change of hue")},
    {NULL, "beta1", "betas", NULL},
    {NULL, "beta2", "betas", NULL},
    {NULL, "epsilon", "eps", NULL},
    {NULL, "amsgrad", NULL, NO_SUCH("AMSGrad")},
    {"rmsprop", "rho", "alpha", NULL},
    {"rmsprop", "centered", NULL, NO_SUCH("centered RMSprop")},
    {"train", "batch", "batch_size", NULL},
    {"train", "num_epochs", "epochs", NULL},
    {"train", "max_epochs", "epochs", NULL},
    {"batch_norm", "init", NULL, "it begins as PyTorch's does, and changes nothing; leave it out"},
    {NULL, "trainable", NULL, "freeze: true leaves a layer's parameters as they are"},
    {NULL, "requires_grad", NULL, "freeze: true leaves a layer's parameters as they are"},
    {"cross_entropy", "smoothing", "label_smoothing", NULL},
    {"cross_entropy", "weights", "weight", NULL},
    {"cross_entropy", "class_weight", "weight", NULL},
    {"cross_entropy", "class_weights", "weight", NULL},
    {"train", "scheduler", "schedule", NULL},
    {"train", "early_stopping", "early_stop", NULL},
    {"train", "patience", NULL, "it stands in early_stop: {patience: 5}"},
    {"train", "clip_norm", "clip_grad_norm", NULL},
    {"train", "grad_clip", "clip_grad_norm", NULL},
    {"train", "ema_decay", "ema", NULL},
    {"train", "model_ema", "ema", NULL},
    {"train", "lr_scheduler", "schedule", NULL},
    {"train", "warmup", NULL, "it stands in the schedule, as in schedule: {cosine_annealing: "
                              "{warmup: 500}}"},
    {"one_cycle", "unit", NULL, "it goes by steps; leave it out"},
    {"train", "lr", NULL, IN_OPTIMIZER},
    {"train", "learning_rate", NULL, IN_OPTIMIZER},
    {"train", "optimizer", NULL, "it stands beside train, not in it"},
    {"train", "loss", NULL, "it stands beside train, not in it"},
    {"train", "seed", NULL, OF_TRAINER("seed=N")},
    {"train", "device", NULL, OF_TRAINER("device=cuda")},
    {"train", "threads", NULL, OF_TRAINER("threads=N")},
    {"train", "shuffle", NULL, OF_TRAINER("no-shuffle")},
    {"train", "precision", NULL, "ninc is told: ninc --precision=bf16 MODEL.yaml"},
    {"the model file", "name", "model", NULL},
    {"the model file", "network", "layers", NULL},
    {"the model file", "net", "layers", NULL},
    {"the model file", "architecture", "layers", NULL},
    {"the model file", "data", "input", NULL},
    {"the model file", "dataset", NULL, "it stands in input, as in input: {dataset: mnist, ...}"},
    {"the model file", "shape", NULL, "it stands in input"},
    {"the model file", "classes", NULL, "it stands in input"},
    {"the model file", "training", "train", NULL},
    {"the model file", "criterion", "loss", NULL},
    {"the model file", "epochs", NULL, IN_TRAIN ": train.epochs"},
    {"the model file", "batch_size", NULL, IN_TRAIN ": train.batch_size"},
    {"the model file", "log_every", NULL, IN_TRAIN ": train.log_every"},
    {"the model file", "checkpoint_every", NULL, IN_TRAIN ": train.checkpoint_every"},
    {"the model file", "init", NULL, IN_TRAIN ": train.init"},
    {"the model file", "lr", NULL, IN_OPTIMIZER},
    {"the model file", "learning_rate", NULL, IN_OPTIMIZER},
    {"the model file", "precision", NULL, "ninc is told: ninc --precision=bf16 MODEL.yaml"},
    {NULL, "learning_rate", "lr", NULL},
};

static const Meaning words[] = {
    {NULL, "dense", "linear", NULL},
    {NULL, "fc", "linear", NULL},
    {NULL, "fully_connected", "linear", NULL},
    {NULL, "innerproduct", "linear", NULL},
    {NULL, "softmax", NULL, "it is part of loss: cross_entropy; leave it out"},
    {NULL, "logsoftmax", NULL, "it is part of loss: cross_entropy; leave it out"},
    {NULL, "log_softmax", NULL, "it is part of loss: cross_entropy; leave it out"},
    {NULL, "swish", "silu", NULL},
    {NULL, "hard_swish", "hardswish", NULL},
    {NULL, "leakyrelu", "leaky_relu", NULL},
    {NULL, "lrn", "local_response_norm", NULL},
    {NULL, "localresponsenorm", "local_response_norm", NULL},
    {NULL, "nin_block", "mlpconv", NULL},
    {NULL, "ninblock", "mlpconv", NULL},
    {NULL, "nin", "mlpconv", NULL},
    {NULL, "cccp", "mlpconv", NULL},
    {NULL, "convolution", "conv2d", NULL},
    {NULL, "adaptiveavgpool2d", "gap", NULL},
    {NULL, "adaptive_avg_pool2d", "gap", NULL},
    {NULL, "globalaveragepooling2d", "gap", NULL},
    {NULL, "global_average_pool", "gap", NULL},
    {NULL, "globalavgpool", "gap", NULL},
    {NULL, "global_avg_pool", "gap", NULL},
    {NULL, "max_pooling2d", "maxpool", NULL},
    {NULL, "maxpooling2d", "maxpool", NULL},
    {NULL, "averagepooling2d", "avgpool", NULL},
    {NULL, "averagepool", "avgpool", NULL},
    {NULL, "depthwise", NULL, OF_GROUPS},
    {NULL, "depthwise_conv2d", NULL, OF_GROUPS},
    {NULL, "depthwiseconv2d", NULL, OF_GROUPS},
    {NULL, "separableconv2d", NULL, OF_GROUPS ", and one with kernel_size: 1 behind it"},
    {NULL, "view", "flatten", NULL},
    {NULL, "reshape", "flatten", NULL},
};

#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

static Meant find(const Meaning *list, int count, const char *what, const char *word)
{
    for (int i = 0; i < count; i++)
        if ((!list[i].what || strcmp(list[i].what, what) == 0) &&
            strcasecmp(list[i].word, word) == 0)
            return (Meant){list[i].key, list[i].advice};
    return (Meant){NULL, NULL};
}

Meant key_meant(const char *what, const char *key)
{
    return find(keys, COUNT(keys), what, key);
}

Meant layer_meant(const char *word)
{
    return find(words, COUNT(words), "", word);
}

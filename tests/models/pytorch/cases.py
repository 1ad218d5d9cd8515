"""The networks and cases of reference.py: what is compared, of which settings."""

SEED = dict(
    input=dict(dataset="fashion-mnist", shape=[1, 224, 224], resize="bilinear",
               mean=[0.0], std=[1.0]),
    data_shape=[1, 28, 28], classes=10,
    layers=[
        ("mlpconv", dict(name="conv.0", out_channels=96, kernel_size=11, stride=4, padding=2)),
        ("maxpool", dict(kernel_size=3, stride=2)),
        ("mlpconv", dict(name="conv.2", out_channels=256, kernel_size=5, padding=2)),
        ("maxpool", dict(kernel_size=3, stride=2)),
        ("mlpconv", dict(name="conv.4", out_channels=384, kernel_size=3, padding=1)),
        ("maxpool", dict(kernel_size=3, stride=2)),
        ("mlpconv", dict(name="conv.6", out_channels=10, kernel_size=3, padding=1)),
        ("avgpool", dict(kernel_size=6, stride=1)),
        ("flatten", {})])


def idx(classes, data_shape, **keys):
    """The input of a small case: IDX files of the hash rule's images."""
    return dict(classes=classes, data_shape=data_shape,
                input=dict(dataset="idx", classes=classes, data_shape=data_shape, **keys))

# Three channels, stride 3, no padding, channels that are no multiple of 16, 1x1 maps.
STRIDES = dict(
    idx(7, [3, 17, 19], shape=[3, 17, 19], mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]),
    layers=[
        ("mlpconv", dict(name="a", out_channels=[7, 9, 5], kernel_size=[3, 2], stride=3)),
        ("avgpool", dict(kernel_size=2, ceil_mode=True)),
        ("conv2d", dict(name="b", out_channels=18, kernel_size=3)),
        ("relu", {}),
        ("conv2d", dict(name="c", out_channels=33, kernel_size=3, padding=1)),
        ("relu", {}),
        ("conv2d", dict(name="d", out_channels=7, kernel_size=1)),
        ("flatten", {})])

# Padded and ragged pools of both kinds, a stride that leaves a remainder, a resize to odd sizes.
POOLS = dict(
    idx(10, [1, 28, 28], shape=[1, 33, 31], resize="bilinear", mean=[0.3], std=[0.5]),
    layers=[
        ("conv2d", dict(name="a", out_channels=20, kernel_size=5, stride=2, padding=2)),
        ("relu", {}),
        ("maxpool", dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
        ("mlpconv", dict(name="b", out_channels=[17, 31, 33], kernel_size=3, padding=1)),
        ("avgpool", dict(kernel_size=[3, 2], stride=2, padding=1, ceil_mode=True)),
        ("maxpool", dict(kernel_size=2, ceil_mode=True)),
        ("conv2d", dict(name="c", out_channels=10, kernel_size=[2, 3], padding=[0, 1])),
        ("gap", {}),
        ("flatten", {})])

# No bias, different strides in rows and columns, and a flatten of a map that is not 1x1.
FLATTEN = dict(
    idx(12, [1, 13, 11], shape=[1, 13, 11], mean=[0.5], std=[0.5]),
    layers=[
        ("conv2d", dict(name="a", out_channels=6, kernel_size=4, stride=[2, 1], padding=[1, 0],
                        bias=False)),
        ("relu", {}),
        ("maxpool", dict(kernel_size=[2, 3])),
        ("conv2d", dict(name="b", out_channels=2, kernel_size=1)),
        ("flatten", {})])

# The shape of a Network in Network, small.
BLOCKS = dict(
    idx(10, [1, 20, 20], shape=[1, 20, 20], mean=[0.5], std=[0.5]),
    layers=[
        ("mlpconv", dict(name="a", out_channels=[24, 16, 20], kernel_size=5, padding=2)),
        ("maxpool", dict(kernel_size=3, stride=2, ceil_mode=True)),
        ("mlpconv", dict(name="b", out_channels=[40, 24, 17], kernel_size=3, padding=1)),
        ("maxpool", dict(kernel_size=3, stride=2)),
        ("mlpconv", dict(name="c", out_channels=[32, 16, 10], kernel_size=3, padding=1)),
        ("avgpool", dict(kernel_size=4)),
        ("flatten", {})])


def activated(layers):
    """A convolution before each of the activations."""
    return [layer for i, activation in enumerate(layers)
            for layer in (("conv2d", dict(name=f"c.{i}", out_channels=9 + i, kernel_size=3,
                                          padding=1)), activation)]

# Every activation that is in no other case, of values of both signs.
CURVES = dict(
    idx(7, [2, 8, 7], shape=[2, 8, 7], mean=[0.4, 0.5], std=[0.3, 0.25]),
    layers=activated([
        ("tanh", {}), ("gelu", {}), ("silu", {}), ("leaky_relu", dict(negative_slope=0.2)),
        ("elu", dict(alpha=0.7)), ("hardswish", {}), ("softplus", {}), ("relu6", {})]) + [
            ("flatten", {}), ("linear", dict(name="fc.0", out_features=7))])

# Average pools whose windows lie in the padding or reach past it, of what is inside the map or not.
AVERAGES = dict(
    idx(7, [2, 14, 13], shape=[2, 14, 13], mean=[0.4, 0.5], std=[0.3, 0.25]),
    layers=[
        ("conv2d", dict(name="a", out_channels=18, kernel_size=3, padding=1)),
        ("relu", {}),
        ("avgpool", dict(kernel_size=3, stride=1, padding=1, count_include_pad=False)),
        ("conv2d", dict(name="b", out_channels=20, kernel_size=1)),
        ("avgpool", dict(kernel_size=[3, 2], stride=2, padding=1, ceil_mode=True,
                         count_include_pad=False)),
        ("conv2d", dict(name="c", out_channels=7, kernel_size=3, padding=1)),
        ("avgpool", dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
        ("avgpool", dict(kernel_size=2, ceil_mode=True, count_include_pad=False)),
        ("flatten", {}),
        ("linear", dict(name="d", out_features=7))])

# Windows of channels of odd and even sizes, wider than the map, before and behind pools.
LRNS = dict(
    idx(7, [2, 14, 13], shape=[2, 14, 13], mean=[0.4, 0.5], std=[0.3, 0.25]),
    layers=[
        ("conv2d", dict(name="a", out_channels=20, kernel_size=3, padding=1)),
        ("relu", {}),
        ("local_response_norm", dict(size=5, alpha=0.5, k=2.0)),
        ("maxpool", dict(kernel_size=2)),
        ("local_response_norm", dict(size=4, alpha=1.0, beta=0.6)),
        ("conv2d", dict(name="b", out_channels=18, kernel_size=3, padding=1)),
        ("relu", {}),
        ("local_response_norm", dict(size=40, alpha=2.0)),
        ("conv2d", dict(name="c", out_channels=7, kernel_size=1)),
        ("gap", {}),
        ("flatten", {})])

# Sigmoids of maps with borders and of rows, matrices behind maps and behind each other.
LINEAR = dict(
    idx(7, [2, 14, 13], shape=[2, 14, 13], mean=[0.4, 0.5], std=[0.3, 0.25]),
    layers=[
        ("conv2d", dict(name="a", out_channels=20, kernel_size=3, padding=1)),
        ("sigmoid", {}),
        ("conv2d", dict(name="b", out_channels=9, kernel_size=3, stride=2, padding=1)),
        ("relu", {}),
        ("maxpool", dict(kernel_size=2)),
        ("flatten", {}),
        ("linear", dict(name="fc.0", out_features=40)),
        ("sigmoid", {}),
        ("linear", dict(name="fc.2", out_features=33, bias=False)),
        ("relu", {}),
        ("linear", dict(name="fc.4", out_features=7))])

# Batch norms behind convolutions, a pool and a ReLU, with and without weights, and of rows.
NORMS = dict(
    idx(7, [3, 12, 13], shape=[3, 12, 13], mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]),
    layers=[
        ("conv2d", dict(name="a", out_channels=20, kernel_size=3, padding=1, bias=False)),
        ("batch_norm", dict(name="a_norm")),
        ("relu", {}),
        ("maxpool", dict(kernel_size=3, stride=2, ceil_mode=True)),
        ("batch_norm", dict(name="pool_norm", momentum=0.3)),
        ("conv2d", dict(name="b", out_channels=33, kernel_size=3, padding=1)),
        ("relu", {}),
        ("batch_norm", dict(name="b_norm", affine=False, eps=0.001)),
        ("conv2d", dict(name="c", out_channels=18, kernel_size=1, bias=False)),
        ("batch_norm", dict(name="c_norm")),
        ("sigmoid", {}),
        ("gap", {}),
        ("flatten", {}),
        ("linear", dict(name="fc", out_features=24, bias=False)),
        ("batch_norm", dict(name="fc_norm")),
        ("relu", {}),
        ("linear", dict(name="out", out_features=7))])


# Groups of whole vectors and of a part of one, of one channel with strides 1 and 2 and with two
# outputs, and dilation.
GROUPED = dict(
    idx(10, [3, 17, 18], shape=[3, 17, 18], mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]),
    layers=[
        ("conv2d", dict(name="a", out_channels=32, kernel_size=3, padding=2, dilation=2)),
        ("relu", {}),
        ("conv2d", dict(name="b", out_channels=32, kernel_size=3, padding=1, groups=32)),
        ("relu", {}),
        ("conv2d", dict(name="c", out_channels=48, kernel_size=3, padding=1, groups=2)),
        ("relu", {}),
        ("conv2d", dict(name="d", out_channels=48, kernel_size=3, stride=2, padding=1, groups=48,
                        bias=False)),
        ("relu", {}),
        ("conv2d", dict(name="e", out_channels=20, kernel_size=[3, 2], padding=[3, 1],
                        dilation=[3, 2], groups=4)),
        ("relu", {}),
        ("conv2d", dict(name="f", out_channels=40, kernel_size=3, padding=1, groups=20)),
        ("relu", {}),
        ("conv2d", dict(name="g", out_channels=10, kernel_size=1, groups=2)),
        ("gap", {}),
        ("flatten", {})])


def nin_bn():
    """The layers of models/nin_bn.yaml."""
    widths = (((192, 5), (160, 1), (96, 1)), ((192, 5), (192, 1), (192, 1)),
              ((192, 3), (192, 1), (192, 1)))
    pool = dict(kernel_size=3, stride=2, padding=1)
    layers = []
    for b, block in enumerate(widths):
        for i, (channels, size) in enumerate(block):
            layers += [("conv2d", dict(name=f"conv.{b}.{i}", out_channels=channels,
                                       kernel_size=size, padding=size // 2, bias=False)),
                       ("batch_norm", dict(name=f"norm.{b}.{i}")), ("relu", {})]
        layers += [("maxpool", pool)] if b == 0 else [("avgpool", pool)] if b == 1 else []
    return layers + [("gap", {}), ("flatten", {}), ("linear", dict(name="fc", out_features=10))]


NIN_BN = dict(idx(10, [3, 32, 32], shape=[3, 32, 32], mean=[0.4914, 0.4824, 0.4467],
                  std=[0.2471, 0.2435, 0.2616]), layers=nin_bn())



# What skips layers: sums of two and three maps, of a ReLU's, of convolutions behind a batch norm and
# of a shortcut with a stride, and the image itself beside what is made of it.
RESIDUAL = dict(
    idx(7, [3, 14, 13], shape=[3, 14, 13], mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]),
    layers=[
        ("conv2d", dict(name="stem", out_channels=20, kernel_size=3, padding=1)),
        ("relu", dict(name="first")),
        ("conv2d", dict(name="a", out_channels=20, kernel_size=3, padding=1, bias=False)),
        ("batch_norm", dict(name="a_norm")),
        ("relu", {}),
        ("conv2d", dict(name="b", out_channels=20, kernel_size=3, padding=1, bias=False)),
        ("batch_norm", dict(name="b_norm")),
        ("add", dict(inputs=["b_norm", "first"])),
        ("relu", dict(name="second")),
        ("conv2d", dict(name="c", out_channels=33, kernel_size=3, stride=2, padding=1)),
        ("relu", {}),
        ("conv2d", dict(name="d", out_channels=33, kernel_size=3, padding=1)),
        ("conv2d", dict(name="shortcut", input="second", out_channels=33, kernel_size=1,
                        stride=2)),
        ("conv2d", dict(name="of_image", input="image", out_channels=33, kernel_size=2,
                        stride=2, padding=[0, 1])),
        ("maxpool", dict(name="halved", input="of_image", kernel_size=[1, 2], stride=1,
                         padding=[0, 1])),
        ("conv2d", dict(name="of_halved", out_channels=33, kernel_size=[1, 2])),
        ("add", dict(inputs=["shortcut", "d", "of_halved"])),
        ("relu", {}),
        ("gap", {}),
        ("flatten", {}),
        ("linear", dict(name="fc", out_features=7))])

# Branches side by side: channels that are no multiples of a vector, a pool's, and a map that is in
# two concatenations.
INCEPTION = dict(
    idx(7, [2, 14, 13], shape=[2, 14, 13], mean=[0.4, 0.5], std=[0.3, 0.25]),
    layers=[
        ("conv2d", dict(name="stem", out_channels=18, kernel_size=3, padding=1)),
        ("relu", dict(name="first")),
        ("conv2d", dict(name="a", out_channels=10, kernel_size=1)),
        ("relu", dict(name="branch_a")),
        ("conv2d", dict(name="b.0", input="first", out_channels=12, kernel_size=1)),
        ("relu", {}),
        ("conv2d", dict(name="b.1", out_channels=20, kernel_size=3, padding=1)),
        ("relu", dict(name="branch_b")),
        ("maxpool", dict(input="first", kernel_size=3, stride=1, padding=1)),
        ("conv2d", dict(name="c", out_channels=7, kernel_size=1)),
        ("relu", dict(name="branch_c")),
        ("concat", dict(name="both", inputs=["branch_a", "branch_b", "branch_c"])),
        ("conv2d", dict(name="d", out_channels=16, kernel_size=3, padding=1)),
        ("relu", dict(name="branch_d")),
        ("concat", dict(inputs=["branch_d", "branch_b"])),
        ("maxpool", dict(kernel_size=3, stride=2, ceil_mode=True)),
        ("conv2d", dict(name="e", out_channels=7, kernel_size=1)),
        ("gap", {}),
        ("flatten", {})])

# Dropout of maps with and without borders, of a pool's and a ReLU's, and of rows.
DROPOUT = dict(
    idx(7, [2, 14, 13], shape=[2, 14, 13], mean=[0.4, 0.5], std=[0.3, 0.25]),
    layers=[
        ("conv2d", dict(name="a", out_channels=20, kernel_size=3, padding=1)),
        ("relu", {}),
        ("dropout", dict(p=0.3)),
        ("conv2d", dict(name="b", out_channels=18, kernel_size=3, padding=1)),
        ("relu", {}),
        ("maxpool", dict(kernel_size=3, stride=2, ceil_mode=True)),
        ("dropout", {}),
        ("conv2d", dict(name="c", out_channels=9, kernel_size=3, stride=2, padding=1)),
        ("dropout", dict(p=0.1)),
        ("flatten", {}),
        ("linear", dict(name="d", out_features=40)),
        ("relu", {}),
        ("dropout", {}),
        ("linear", dict(name="e", out_features=7))])

# What is trained with every optimizer and schedule.
TINY = dict(
    idx(5, [1, 9, 8], shape=[1, 9, 8], mean=[0.5], std=[0.5]),
    layers=[
        ("conv2d", dict(name="a", out_channels=6, kernel_size=3, padding=1)),
        ("relu", {}),
        ("maxpool", dict(kernel_size=3, stride=2)),
        ("flatten", {}),
        ("linear", dict(name="b", out_features=5))])

# Of 8 steps, 2 an epoch; by epochs and by steps, some with a warm-up.
SCHEDULES = dict(
    step=dict(step=dict(step_size=1, gamma=0.5)),
    multi_step=dict(multi_step=dict(milestones=[2, 5, 6], gamma=0.3, unit="step")),
    exponential=dict(exponential=dict(gamma=0.8, unit="step", warmup=3)),
    cosine_annealing=dict(cosine_annealing=dict(t_max=8, eta_min=0.0005, unit="step")),
    linear=dict(linear=dict(start_factor=0.25, end_factor=0.9, total_iters=3)),
    poly=dict(poly=dict(power=1.5, total_iters=10, unit="step", warmup=2)),
    reduce_on_plateau=dict(reduce_on_plateau=dict(factor=0.2, patience=0, metric="accuracy")),
    one_cycle=dict(one_cycle=dict(max_lr=0.02, total_steps=8, pct_start=0.4)))

OPTIMIZERS = dict(
    sgd=dict(sgd=dict(lr=0.05, momentum=0.9, weight_decay=5.0e-4)),
    nesterov=dict(sgd=dict(lr=0.05, momentum=0.9, weight_decay=5.0e-4, nesterov=True)),
    adam=dict(adam=dict(lr=0.01, weight_decay=0.01)),
    adamw=dict(adamw=dict(lr=0.01, weight_decay=0.1)),
    rmsprop=dict(rmsprop=dict(lr=0.002, alpha=0.9, momentum=0.5, weight_decay=0.01)))


def nin_cifar10():
    """The layers of models/nin_cifar10.yaml."""
    rates = dict(lr_mult=[1, 2], weight_decay_mult=[1, 0])
    pool, conv = ("maxpool", dict(kernel_size=3, stride=2, ceil_mode=True)), "conv2d"
    return [
        ("mlpconv", dict(name="conv.0", out_channels=[192, 160, 96], kernel_size=5, padding=2,
                         **rates)), pool, ("dropout", dict(p=0.5)),
        ("mlpconv", dict(name="conv.2", out_channels=[192, 192, 192], kernel_size=5, padding=2,
                         **rates)), pool, ("dropout", dict(p=0.5)),
        (conv, dict(name="conv.4.0", out_channels=192, kernel_size=3, padding=1, **rates)),
        ("relu", {}),
        (conv, dict(name="conv.4.2", out_channels=192, kernel_size=1, **rates)), ("relu", {}),
        (conv, dict(name="conv.4.4", out_channels=10, kernel_size=1, lr_mult=0.1,
                    weight_decay_mult=[1, 0])), ("relu", {}), ("gap", {}), ("flatten", {})]


NIN_CIFAR10 = dict(idx(10, [3, 32, 32], shape=[3, 32, 32], mean=[0.4914, 0.4822, 0.4465],
                       std=[0.2470, 0.2435, 0.2616]), layers=nin_cifar10())


def cases():
    for name, base, lr in (("strides", STRIDES, 0.02), ("pools", POOLS, 0.02),
                           ("flatten", FLATTEN, 0.02), ("blocks", BLOCKS, 0.02),
                           ("linear", LINEAR, 0.02), ("norms", NORMS, 0.02),
                           ("grouped", GROUPED, 0.01), ("lrns", LRNS, 0.02),
                           ("averages", AVERAGES, 0.02), ("curves", CURVES, 0.02),
                           ("residual", RESIDUAL, 0.01), ("inception", INCEPTION, 0.012),
                           ("dropout", DROPOUT, 0.002)):
        # 11 images in batches of 4: every third step has 3.
        yield name + "_sgd", dict(
            base, batch=4, images=11, steps=20, compare_after=[20],
            optimizer=dict(sgd=dict(lr=lr, momentum=0.9, weight_decay=5.0e-4)))
        yield name + "_adam", dict(base, batch=4, images=11, steps=3, compare_after=[3],
                                   optimizer=dict(adam=dict(lr=0.001, weight_decay=0.01)))
    for name, steps, keys in (
            ("nesterov", 20, dict(sgd=dict(lr=0.02, momentum=0.9, weight_decay=5.0e-4,
                                           nesterov=True))),
            ("adamw", 3, dict(adamw=dict(lr=0.001, weight_decay=0.1))),
            ("rmsprop", 3, dict(rmsprop=dict(lr=0.001, alpha=0.9, momentum=0.5)))):
        yield "flatten_" + name, dict(FLATTEN, batch=4, images=11, steps=steps,
                                      compare_after=[steps], optimizer=keys)
    own = [("conv2d", dict(FLATTEN["layers"][0][1], lr_mult=2, weight_decay_mult=0.5)),
           *FLATTEN["layers"][1:3],
           ("conv2d", dict(FLATTEN["layers"][3][1], lr_mult=[0.5, 3], weight_decay_mult=[2, 0])),
           *FLATTEN["layers"][4:]]
    yield "flatten_own", dict(FLATTEN, layers=own, batch=4, images=11, steps=20,
                              compare_after=[20],
                              optimizer=dict(sgd=dict(lr=0.02, momentum=0.9,
                                                      weight_decay=1.0e-2)))
    yield "flatten_smoothed", dict(FLATTEN, batch=4, images=11, steps=20, compare_after=[20],
                                   loss=dict(label_smoothing=0.2),
                                   optimizer=dict(sgd=dict(lr=0.02, momentum=0.9)))
    yield "norms_ema", dict(NORMS, batch=4, images=11, steps=20, compare_after=[20], ema=0.9,
                            optimizer=dict(sgd=dict(lr=0.02, momentum=0.9)))
    weights = [0.5, 2.0, 1.0, 0.25, 3.0, 1.0, 0.0, 1.5, 0.75, 1.0, 4.0, 0.1]
    for name, smoothing in (("weighted", {}), ("weighted_smoothed", dict(label_smoothing=0.2))):
        yield "flatten_" + name, dict(FLATTEN, batch=4, images=11, steps=20, compare_after=[20],
                                      loss=dict(weight=weights, **smoothing),
                                      optimizer=dict(sgd=dict(lr=0.02, momentum=0.9)))
    # The norm of the gradients is about 1 to 3: some steps are clipped, others are not.
    yield "flatten_clip", dict(FLATTEN, batch=4, images=11, steps=20, compare_after=[20],
                               clip_grad_norm=1.4,
                               optimizer=dict(sgd=dict(lr=0.05, momentum=0.9,
                                                       weight_decay=5.0e-4)))
    # A small rate, for the same reason as below.
    yield "nin_bn", dict(NIN_BN, batch=4, images=11, steps=3, compare_after=[3],
                         optimizer=dict(sgd=dict(lr=0.0005, momentum=0.9, weight_decay=5.0e-4)))
    # 6 images in batches of 4. The state after the first step serves the slow -O0 program.
    # Small rates: its ReLUs and pools amplify rounding, and more so the further it moves.
    yield "nin_sgd", dict(SEED, batch=4, images=6, steps=8, compare_after=[1, 8],
                          optimizer=dict(sgd=dict(lr=0.0005, momentum=0.9)))
    yield "nin_adam", dict(SEED, batch=4, images=6, steps=3, compare_after=[1, 3],
                           optimizer=dict(adam=dict(lr=0.0001, betas=[0.9, 0.999], eps=1.0e-8)))
    # Its schedule as the model's, by steps.
    yield "nin_cifar10", dict(NIN_CIFAR10, batch=4, images=11, steps=4, compare_after=[4],
                              schedule=dict(multi_step=dict(milestones=[2, 3], gamma=0.1,
                                                            unit="step")),
                              optimizer=dict(sgd=dict(lr=0.002, momentum=0.9,
                                                      weight_decay=1.0e-4)))
    for name, keys in OPTIMIZERS.items():
        yield "scheduled_" + name, dict(TINY, batch=4, images=7, steps=8, compare_after=[8],
                                        optimizer=keys, schedules=SCHEDULES)

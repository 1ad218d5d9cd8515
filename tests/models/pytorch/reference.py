#!/usr/bin/env python3
"""Makes the PyTorch values that tests/suites/parity.sh compares ninc with. Run by hand:

    python3 tests/models/pytorch/reference.py            # all cases; Debian's python3-torch serves

Each case is one network, one optimizer, a few steps from fixed weights on fixed images, once in
float64 and twice in float32 (contiguous and channels_last). Written for each, and committed:

    CASE.yaml   the model file (also made here, so that both sides have one source)
    CASE.json   losses of the float64 run, and samples of how far each parameter moved

Weights and images follow the hash rule below, which tests/tools/parity_tool.c has as well, so neither
needs to be committed. Bounds follow from what PyTorch's own float32 differs from its float64:
max(1e-4, 10 x) for losses, max(1e-3, 10 x) for parameters relative to how far each moved.
"""
import copy
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
SCALE = 2.4  # times PyTorch's default bound: with the default itself the gradients hardly matter
SAMPLES = 96
AROUND_ONE = set()
NORM_FAN_IN = 16  # its values lie within 0.6 of their centre


def hashes(name, count):
    """splitmix64 of (FNV-1a of name) + i, for i < count, as uint64."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def centre(name):
    """What the initial values lie around: 1 for a batch norm's weight and variance."""
    return 1 if name in AROUND_ONE else 0


def initial(name, shape, fan_in):
    """float32 values, uniform in +-SCALE/sqrt(fan_in) around the centre."""
    unit = (hashes(name, math.prod(shape)) >> np.uint64(40)).astype(np.float64) / 2.0**24
    values = centre(name) + (2 * unit - 1) * (SCALE / math.sqrt(fan_in))
    return values.astype(np.float32).reshape(shape)


def sampled(name, count):
    """Indices of the elements that are compared: all of them where there are few."""
    if count <= SAMPLES:
        return np.arange(count)
    return (hashes(name + "#sample", SAMPLES) % np.uint64(count)).astype(np.int64)


def pair(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value, value)


def mlpconv(name, out_channels, kernel_size, stride=1, padding=0):
    """The primitive layers that `mlpconv` stands for."""
    a, b, c = out_channels if isinstance(out_channels, list) else [out_channels] * 3
    return [("conv2d", dict(name=name + ".0", out_channels=a, kernel_size=kernel_size,
                            stride=stride, padding=padding)), ("relu", {}),
            ("conv2d", dict(name=name + ".2", out_channels=b, kernel_size=1)), ("relu", {}),
            ("conv2d", dict(name=name + ".4", out_channels=c, kernel_size=1)), ("relu", {})]


ACTIVATIONS = dict(sigmoid=torch.sigmoid, tanh=torch.tanh, relu6=F.relu6, gelu=F.gelu, silu=F.silu,
                   hardswish=F.hardswish, softplus=F.softplus, leaky_relu=F.leaky_relu, elu=F.elu)


class Network(nn.Module):
    """A model file's layers as PyTorch modules, with its parameter names."""

    def __init__(self, spec):
        super().__init__()
        self.spec, self.steps, self.fan_in, self.convs = spec, [], {}, {}
        channels = spec["input"]["shape"][0]
        for kind, keys in spec["layers"]:
            for primitive, p in mlpconv(**keys) if kind == "mlpconv" else [(kind, keys)]:
                channels = self.add(primitive, p, channels)

    def values(self):
        """What the layers so far give for one image; batch norms by their running statistics."""
        x = self.eval()(torch.zeros(1, *self.spec["input"]["shape"]))
        self.train()
        return x

    def add(self, kind, p, channels):
        if kind == "batch_norm":
            return self.add_norm(p)
        if kind == "linear":
            channels = self.values().shape[1]
            layer = nn.Linear(channels, p["out_features"], bias=p.get("bias", True))
            return self.add_parameters(kind, p, layer, channels, p["out_features"])
        if kind != "conv2d":
            self.steps.append((kind, p))
            return channels
        conv = nn.Conv2d(channels, p["out_channels"], pair(p["kernel_size"]),
                         pair(p.get("stride", 1)), pair(p.get("padding", 0)),
                         pair(p.get("dilation", 1)), p.get("groups", 1), p.get("bias", True))
        fan_in = channels // conv.groups * math.prod(conv.kernel_size)
        return self.add_parameters(kind, p, conv, fan_in, p["out_channels"])

    def add_parameters(self, kind, p, conv, fan_in, outputs):
        self.convs[p["name"]] = conv
        self.attach(p["name"], conv)
        self.steps.append((kind, p))
        with torch.no_grad():
            for key, parameter in conv.named_parameters():
                name = p["name"] + "." + key
                self.fan_in[name] = fan_in
                parameter.copy_(torch.tensor(initial(name, tuple(parameter.shape), fan_in)))
        return outputs

    def add_norm(self, p):
        x = self.values()
        make = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
        keys = {k: p[k] for k in ("eps", "momentum", "affine") if k in p}
        AROUND_ONE.update(p["name"] + "." + key for key in ("weight", "running_var"))
        norm = make(x.shape[1], **keys)
        self.add_parameters("batch_norm", p, norm, NORM_FAN_IN, x.shape[1])
        with torch.no_grad():
            for key in ("running_mean", "running_var"):
                name, buffer = p["name"] + "." + key, getattr(norm, key)
                self.fan_in[name] = NORM_FAN_IN
                buffer.copy_(torch.tensor(initial(name, tuple(buffer.shape), NORM_FAN_IN)))
        return x.shape[1]

    def attach(self, name, conv):
        """As part NAME of nested modules, so that state_dict() has the model file's keys."""
        at = self
        *path, last = name.split(".")
        for part in path:
            if part not in at._modules:
                at.add_module(part, nn.Module())
            at = at._modules[part]
        at.add_module(last, conv)

    def named(self):
        return [(f"{name}.{key}", p) for name, conv in self.convs.items()
                for part in (conv.named_parameters(), conv.named_buffers())
                for key, p in part if key != "num_batches_tracked"]

    def batches(self):
        return [name + ".num_batches_tracked" for name, conv in self.convs.items()
                if isinstance(conv, nn.modules.batchnorm._BatchNorm)]

    def forward(self, x):
        for kind, p in self.steps:
            if kind in ("conv2d", "linear", "batch_norm"):
                x = self.convs[p["name"]](x)
            elif kind == "relu":
                x = F.relu(x)
            elif kind in ACTIVATIONS:
                x = ACTIVATIONS[kind](x, **p)
            elif kind in ("maxpool", "avgpool"):
                pool = F.max_pool2d if kind == "maxpool" else F.avg_pool2d
                keys = {k: p[k] for k in ("ceil_mode", "count_include_pad") if k in p}
                x = pool(x, pair(p["kernel_size"]), pair(p.get("stride", p["kernel_size"])),
                         pair(p.get("padding", 0)), **keys)
            elif kind == "local_response_norm":
                keys = {k: v for k, v in p.items() if k not in ("name", "input")}
                x = F.local_response_norm(x, **keys)
            elif kind == "gap":
                x = x.mean((2, 3), keepdim=True)
            else:
                x = x.flatten(1)
        return x


def data(spec):
    """u8 images [count, h, w, c] and labels by the hash rule."""
    c, h, w = spec["data_shape"]
    n = spec["images"]
    image = (hashes("images", n * h * w * c) >> np.uint64(56)).astype(np.uint8)
    label = (hashes("labels", n) >> np.uint64(32)) % np.uint64(spec["classes"])
    return image.reshape(n, h, w, c), label.astype(np.int64)


def prepare(spec, image, dtype):
    """u8 [n, h, w, c] -> normalised NCHW of the input's shape."""
    keys = spec["input"]
    x = torch.tensor(image).permute(0, 3, 1, 2).to(dtype) / 255
    if "resize" in keys:
        x = F.interpolate(x, keys["shape"][1:], mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(keys.get(k, [d]), dtype=dtype).view(1, -1, 1, 1)
                 for k, d in (("mean", 0.0), ("std", 1.0)))
    return ((x - mean) / std).contiguous()


def groups(spec, network, keys):
    """A group a parameter, with what its layer has other multiples of."""
    layers = {p["name"]: p for _, p in spec["layers"] if "name" in p}
    out = []
    for name, parameter in network.named_parameters():
        layer, _, which = name.rpartition(".")
        group = dict(params=[parameter])
        for key, mult in (("lr", "lr_mult"), ("weight_decay", "weight_decay_mult")):
            value = layers.get(layer, {}).get(mult, 1)
            if isinstance(value, list):
                value = value[which == "bias"]
            if value != 1:
                group[key] = keys[key] * value
        out.append(group)
    return out


def optimizer(spec, network):
    (kind, keys), = spec["optimizer"].items()
    parameters = groups(spec, network, keys)
    make = dict(sgd=torch.optim.SGD, adam=torch.optim.Adam, adamw=torch.optim.AdamW,
                rmsprop=torch.optim.RMSprop)[kind]
    return make(parameters, **keys)


def average(mean, network, decay):
    """As timm's ModelEma: parameters by the decay, buffers as they are."""
    with torch.no_grad():
        for m, p in zip(mean.parameters(), network.parameters()):
            m.mul_(decay).add_(p, alpha=1 - decay)
        for m, p in zip(mean.buffers(), network.buffers()):
            m.copy_(p)


def run(spec, dtype, memory_format):
    """Losses of all steps, and {step: {name: float64 array}} at spec["compare_after"]."""
    network = Network(spec).to(dtype).to(memory_format=memory_format)
    step_of = optimizer(spec, network)
    image, label = data(spec)
    x = prepare(spec, image, dtype).contiguous(memory_format=memory_format)
    y = torch.tensor(label)
    mean = copy.deepcopy(network)
    criterion = dict(spec.get("loss", {}))
    if "weight" in criterion:
        criterion["weight"] = torch.tensor(criterion["weight"], dtype=dtype)
    losses, after, at = [], {}, 0
    for step in range(1, spec["steps"] + 1):
        end = min(at + spec["batch"], len(y))
        loss = F.cross_entropy(network(x[at:end]), y[at:end], **criterion)
        step_of.zero_grad()
        loss.backward()
        if "clip_grad_norm" in spec:
            nn.utils.clip_grad_norm_(network.parameters(), spec["clip_grad_norm"])
        step_of.step()
        average(mean, network, spec.get("ema", 0))
        losses.append(loss.item())
        at = end % len(y)
        if step in spec["compare_after"]:
            after[step] = {k: p.detach().double().contiguous().numpy().copy()
                           for k, p in (mean if "ema" in spec else network).named()}
    return losses, after, network


def rounded(value):
    return float(f"{value:.9g}")


def reference(case, spec):
    losses, after, network = run(spec, torch.float64, torch.contiguous_format)
    singles = [run(spec, torch.float32, f)[:2]
               for f in (torch.contiguous_format, torch.channels_last)]
    loss_error = max(abs(a - b) for single, _ in singles for a, b in zip(single, losses))
    worst = 0.0
    parameters = []
    for name, p in network.named():
        start = initial(name, tuple(p.shape), network.fan_in[name]).astype(np.float64)
        entry = dict(name=name, shape=list(p.shape), fan_in=network.fan_in[name], after=[])
        if centre(name):
            entry["centre"] = centre(name)
        for step in spec["compare_after"]:
            moved = after[step][name] - start
            norm = np.linalg.norm(moved)
            assert norm > 0, f"{case}: {name} does not move"
            error = max(np.linalg.norm(s[step][name] - after[step][name]) for _, s in singles)
            worst = max(worst, error / norm)
            delta = moved.ravel()[sampled(name, moved.size)]
            entry["after"].append(dict(
                step=step, tolerance=rounded(max(1e-3, 10 * error / norm)), moved=rounded(norm),
                delta=[rounded(d) for d in delta]))
        parameters.append(entry)
    c, h, w = spec["data_shape"]
    result = dict(images=spec["images"], height=h, width=w, channels=c, classes=spec["classes"],
                  scale=SCALE, steps=spec["steps"],
                  loss_tolerance=rounded(max(1e-4, 10 * loss_error)), loss=losses,
                  parameters=parameters)
    if network.batches():
        result["batches"] = network.batches()
    with open(os.path.join(HERE, case + ".json"), "w") as out:
        lines = [f'"{k}": {json.dumps(v)}' for k, v in result.items() if k != "parameters"]
        rows = ",\n".join(json.dumps(p) for p in parameters)
        out.write("{" + ",\n".join(lines) + ',\n"parameters": [\n' + rows + "]}\n")
    print(f"{case}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, fp32 off by {loss_error:.1e} in the "
          f"losses, {worst:.1e} in the parameters")


def flow(value):
    """YAML flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else f"{value:.1e}"
    return str(value)


TRAIN_KEYS = ("clip_grad_norm", "ema")


def write_model(case, spec):
    lines = ["# Made by tests/models/pytorch/reference.py.", f"model: {case}",
             f"input: {flow(spec['input'])}", "layers:"]
    lines += [f"  - {kind}: {flow(keys)}" if keys else f"  - {kind}"
              for kind, keys in spec["layers"]]
    loss = spec.get("loss")
    lines += ["loss: " + (flow(dict(cross_entropy=loss)) if loss else "cross_entropy"),
              f"optimizer: {flow(spec['optimizer'])}",
              "train: " + flow(dict(batch_size=spec["batch"], epochs=100, init="pytorch",
                                    **{k: spec[k] for k in TRAIN_KEYS if k in spec}))]
    with open(os.path.join(HERE, case + ".yaml"), "w") as out:
        out.write("\n".join(lines) + "\n")


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


def cases():
    for name, base, lr in (("strides", STRIDES, 0.02), ("pools", POOLS, 0.02),
                           ("flatten", FLATTEN, 0.02), ("blocks", BLOCKS, 0.02),
                           ("linear", LINEAR, 0.02), ("norms", NORMS, 0.02),
                           ("grouped", GROUPED, 0.01), ("lrns", LRNS, 0.02),
                           ("averages", AVERAGES, 0.02), ("curves", CURVES, 0.02)):
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


def main():
    for case, spec in cases():
        if len(sys.argv) == 1 or case in sys.argv[1:]:
            write_model(case, spec)
            reference(case, spec)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes the PyTorch values that tests/suites/parity.sh compares ninc with. Run by hand:

    python3 tests/models/pytorch/reference.py            # all cases; Debian's python3-torch serves

Each case is one network, one optimizer, a few steps from fixed weights on fixed images, once in
float64 and twice in float32 (contiguous and channels_last). Written for each, and committed:

    CASE.yaml   the model file (also made here, so that both sides have one source)
    CASE.json   losses of the float64 run, and samples of how far each parameter moved; where a case
                has schedules, those with each of them, which the model file has not

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
from torch.optim import lr_scheduler

from cases import cases

HERE = os.path.dirname(os.path.abspath(__file__))
SCALE = 2.4  # times PyTorch's default bound: with the default itself the gradients hardly matter
SAMPLES = 96
AROUND_ONE = set()
NORM_FAN_IN = 16  # its values lie within 0.6 of their centre
MOST_ERROR = 0.01  # what float32 may be off, of how far a parameter moved
RUN_SEED = 7  # of tests/suites/parity.sh's runs, which dropout draws by


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


RATES = ("lr_mult", "weight_decay_mult")  # keys of any layer with parameters
ACTIVATIONS = dict(relu=F.relu, sigmoid=torch.sigmoid, tanh=torch.tanh, relu6=F.relu6, gelu=F.gelu, silu=F.silu,
                   hardswish=F.hardswish, softplus=F.softplus, leaky_relu=F.leaky_relu, elu=F.elu)


def product(a, factor):
    """High and low words of 32 bits of a * factor."""
    whole = a.astype(np.uint64) * np.uint64(factor)
    return (whole >> np.uint64(32)).astype(np.uint32), whole.astype(np.uint32)


def philox(c, key):
    """Philox4x32-10 (Salmon et al. 2011) of arrays of words."""
    key = list(key)
    for _ in range(10):
        (high0, low0), (high2, low2) = product(c[0], 0xD2511F53), product(c[2], 0xCD9E8D57)
        c = [high2 ^ c[1] ^ np.uint32(key[0]), low2, high0 ^ c[3] ^ np.uint32(key[1]), low0]
        key = [(k + more) % 2**32 for k, more in zip(key, (0x9E3779B9, 0xBB67AE85))]
    return c


def kept(shape, p, layer, step):
    """What dropout keeps of a map [n, c, h, w] or of rows [n, c], as 1 or 0, as ninc draws it: a
    counter is four pixels of a row of all images, of one channel."""
    n, c, h, w = (*shape, 1, 1)[:4]
    row, channel, column = np.meshgrid(np.arange(n * h), np.arange(c), np.arange(w), indexing="ij")
    counter = [np.uint32(row * ((w + 3) // 4) + column // 4), np.uint32(channel),
               np.full_like(row, step, np.uint32), np.full_like(row, 0x64726F70, np.uint32)]
    words = np.stack(philox(counter, (RUN_SEED, layer)))
    word = np.take_along_axis(words, column[None] % 4, 0)[0]
    return (word >= int(p * 2**32)).reshape(n, h, c, w).transpose(0, 2, 1, 3).reshape(shape)


class Network(nn.Module):
    """A model file's layers as PyTorch modules, with its parameter names."""

    def __init__(self, spec):
        super().__init__()
        self.spec, self.steps, self.fan_in, self.convs = spec, [], {}, {}
        self.step = 0  # of training, from 1, for dropout
        for kind, keys in spec["layers"]:
            for primitive, p in self.primitives(kind, keys):
                self.add(primitive, p)

    @staticmethod
    def primitives(kind, keys):
        if kind != "mlpconv":
            return [(kind, keys)]
        rates = {k: keys[k] for k in RATES if k in keys}
        layers = mlpconv(**{k: v for k, v in keys.items() if k not in RATES})
        return [(k, dict(p, **rates) if p else p) for k, p in layers]

    def values(self, layer=None):
        """What the layers so far, or one of them, give for one image; batch norms by their running
        statistics."""
        with torch.no_grad():
            x = self.eval()(torch.zeros(1, *self.spec["input"]["shape"]))
        self.train()
        return x if layer is None else self.value[layer]

    def add(self, kind, p):
        if kind == "batch_norm":
            return self.add_norm(p)
        if kind == "linear":
            channels = self.values(p.get("input")).shape[1]
            layer = nn.Linear(channels, p["out_features"], bias=p.get("bias", True))
            return self.add_parameters(kind, p, layer, channels)
        if kind != "conv2d":
            return self.steps.append((kind, p))
        channels = self.values(p.get("input")).shape[1]
        conv = nn.Conv2d(channels, p["out_channels"], pair(p["kernel_size"]),
                         pair(p.get("stride", 1)), pair(p.get("padding", 0)),
                         pair(p.get("dilation", 1)), p.get("groups", 1), p.get("bias", True))
        fan_in = channels // conv.groups * math.prod(conv.kernel_size)
        return self.add_parameters(kind, p, conv, fan_in)

    def add_parameters(self, kind, p, conv, fan_in):
        self.convs[p["name"]] = conv
        self.attach(p["name"], conv)
        self.steps.append((kind, p))
        with torch.no_grad():
            for key, parameter in conv.named_parameters():
                name = p["name"] + "." + key
                self.fan_in[name] = fan_in
                parameter.copy_(torch.tensor(initial(name, tuple(parameter.shape), fan_in)))

    def add_norm(self, p):
        x = self.values(p.get("input"))
        make = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
        keys = {k: p[k] for k in ("eps", "momentum", "affine") if k in p}
        AROUND_ONE.update(p["name"] + "." + key for key in ("weight", "running_var"))
        norm = make(x.shape[1], **keys)
        self.add_parameters("batch_norm", p, norm, NORM_FAN_IN)
        with torch.no_grad():
            for key in ("running_mean", "running_var"):
                name, buffer = p["name"] + "." + key, getattr(norm, key)
                self.fan_in[name] = NORM_FAN_IN
                buffer.copy_(torch.tensor(initial(name, tuple(buffer.shape), NORM_FAN_IN)))

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

    def drop(self, x, p, layer):
        if not self.training:
            return x
        return x * torch.tensor(kept(tuple(x.shape), p, layer, self.step)).to(x) / (1 - p)

    def apply(self, kind, p, x):
        """One layer of its input, or of the list of them."""
        keys = {k: v for k, v in p.items() if k not in ("name", "input", "inputs")}
        if kind in ("conv2d", "linear", "batch_norm"):
            return self.convs[p["name"]](x)
        if kind in ACTIVATIONS:
            return ACTIVATIONS[kind](x, **keys)
        if kind in ("maxpool", "avgpool"):
            pool = F.max_pool2d if kind == "maxpool" else F.avg_pool2d
            size = keys.pop("kernel_size")
            stride, padding = keys.pop("stride", size), keys.pop("padding", 0)
            return pool(x, pair(size), pair(stride), pair(padding), **keys)
        if kind == "local_response_norm":
            return F.local_response_norm(x, **keys)
        return dict(gap=lambda: x.mean((2, 3), keepdim=True), flatten=lambda: x.flatten(1),
                    add=lambda: sum(x), concat=lambda: torch.cat(x, 1))[kind]()

    def forward(self, x):
        self.value, dropouts = dict(image=x), 0
        for kind, p in self.steps:
            if "inputs" in p:
                x = [self.value[name] for name in p["inputs"]]
            elif "input" in p:
                x = self.value[p["input"]]
            if kind == "dropout":
                x = self.drop(x, p.get("p", 0.5), dropouts)
                dropouts += 1
            else:
                x = self.apply(kind, p, x)
            if "name" in p:
                self.value[p["name"]] = x
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
    """A group a parameter, with what its layer has other multiples of; a module that was written
    by hand has none."""
    layers = {p["name"]: p for _, p in getattr(network, "steps", []) if "name" in p}
    out = []
    for name, parameter in network.named_parameters():
        layer, _, which = name.rpartition(".")
        group = dict(params=[parameter])
        for key, mult in zip(("lr", "weight_decay"), RATES):
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


SCHEDULERS = dict(
    step=lr_scheduler.StepLR, multi_step=lr_scheduler.MultiStepLR,
    exponential=lr_scheduler.ExponentialLR, cosine_annealing=lr_scheduler.CosineAnnealingLR,
    linear=lr_scheduler.LinearLR, poly=lr_scheduler.PolynomialLR,
    reduce_on_plateau=lr_scheduler.ReduceLROnPlateau,
    one_cycle=lambda o, **keys: lr_scheduler.OneCycleLR(o, cycle_momentum=False, **keys))


class Schedule:
    """The rate of each step: of PyTorch's scheduler, by steps or epochs, times that of a warm-up."""

    def __init__(self, spec, step_of):
        self.step_of, self.scheduler, self.warmup, self.used = step_of, None, 0, []
        for kind, keys in spec.get("schedule", {}).items():
            keys = dict({"T_max" if k == "t_max" else k: v for k, v in keys.items()})
            self.warmup = keys.pop("warmup", 0)
            self.by_step = keys.pop("unit", "epoch") == "step" or kind == "one_cycle"
            self.metric = keys.pop("metric", "loss") if kind == "reduce_on_plateau" else None
            if self.metric:
                keys["mode"] = "max" if self.metric == "accuracy" else "min"
            self.scheduler = SCHEDULERS[kind](step_of, **keys)

    def make_step(self, step):
        rates = [group["lr"] for group in self.step_of.param_groups]
        for group in self.step_of.param_groups:
            group["lr"] *= min(1, step / self.warmup) if self.warmup else 1
        self.used.append(self.step_of.param_groups[0]["lr"])
        self.step_of.step()
        for group, rate in zip(self.step_of.param_groups, rates):
            group["lr"] = rate

    def advance(self, ends_epoch, network, x, y):
        """After a step. What reduces on a plateau follows the test images, which are the others."""
        if not self.scheduler or not (self.by_step or ends_epoch):
            return
        if not self.metric:
            self.scheduler.step()
            return
        network.eval()
        with torch.no_grad():
            logits = network(x)
        network.train()
        self.scheduler.step(F.cross_entropy(logits, y).item() if self.metric == "loss" else
                            (logits.argmax(1) == y).double().mean().item())


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
    schedule = Schedule(spec, step_of)
    image, label = data(spec)
    x = prepare(spec, image, dtype).contiguous(memory_format=memory_format)
    y = torch.tensor(label)
    mean = copy.deepcopy(network)
    criterion = dict(spec.get("loss", {}))
    if "weight" in criterion:
        criterion["weight"] = torch.tensor(criterion["weight"], dtype=dtype)
    losses, after, at = [], {}, 0
    for step in range(1, spec["steps"] + 1):
        network.step = step
        end = min(at + spec["batch"], len(y))
        loss = F.cross_entropy(network(x[at:end]), y[at:end], **criterion)
        step_of.zero_grad()
        loss.backward()
        if "clip_grad_norm" in spec:
            nn.utils.clip_grad_norm_(network.parameters(), spec["clip_grad_norm"])
        schedule.make_step(step)
        average(mean, network, spec.get("ema", 0))
        losses.append(loss.item())
        at = end % len(y)
        schedule.advance(at == 0, network, x, y)
        if step in spec["compare_after"]:
            after[step] = {k: p.detach().double().contiguous().numpy().copy()
                           for k, p in (mean if "ema" in spec else network).named()}
    assert not schedule.scheduler or len(set(schedule.used)) > 1, "all steps have one rate"
    return losses, after, network


def rounded(value):
    return float(f"{value:.9g}")


def moved(case, spec, runs, name, p, network):
    """How far a parameter moved in float64, the first of the runs, and how far others may be off."""
    (_, after, _), *singles = runs
    start = initial(name, tuple(p.shape), network.fan_in[name]).astype(np.float64)
    entry = dict(name=name, shape=list(p.shape), fan_in=network.fan_in[name], after=[])
    if centre(name):
        entry["centre"] = centre(name)
    for step in spec["compare_after"]:
        way = after[step][name] - start
        norm = np.linalg.norm(way)
        assert norm > 0, f"{case}: {name} does not move"
        error = max(np.linalg.norm(s[step][name] - after[step][name]) for _, s, _ in singles)
        assert error < MOST_ERROR * norm, f"{case}: {name} is off by {error / norm} in float32"
        delta = way.ravel()[sampled(name, way.size)]
        entry["after"].append(dict(
            step=step, tolerance=rounded(max(1e-3, 10 * error / norm)), moved=rounded(norm),
            delta=[rounded(d) for d in delta]))
    return entry


def reference(case, spec):
    """What the case's file has of the run: losses, and of each parameter how far it moved."""
    runs = [run(spec, torch.float64, torch.contiguous_format)] + [
        run(spec, torch.float32, f) for f in (torch.contiguous_format, torch.channels_last)]
    losses, _, network = runs[0]
    loss_error = max(abs(a - b) for single, *_ in runs[1:] for a, b in zip(single, losses))
    parameters = [moved(case, spec, runs, name, p, network) for name, p in network.named()]
    worst = max(a["tolerance"] for p in parameters for a in p["after"])
    print(f"{case}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, fp32 off by {loss_error:.1e}, "
          f"parameters may be by {worst:.1e}")
    result = dict(loss_tolerance=rounded(max(1e-4, 10 * loss_error)), loss=losses,
                  parameters=parameters)
    if network.batches():
        result["batches"] = network.batches()
    return result


def lines_of(result):
    """JSON, a line each parameter."""
    lines = [f'"{k}": {json.dumps(v)}' for k, v in result.items() if k != "parameters"]
    rows = ",\n".join(json.dumps(p) for p in result.get("parameters", []))
    return ",\n".join(lines + ([f'"parameters": [\n{rows}]'] if rows else []))


def write_reference(case, spec):
    """One run, or one with each of the case's schedules."""
    c, h, w = spec["data_shape"]
    text = lines_of(dict(images=spec["images"], height=h, width=w, channels=c,
                         classes=spec["classes"], scale=SCALE, steps=spec["steps"]))
    if "schedules" in spec:
        variants = [
            f'"{name}": {{"schedule": {json.dumps(flow(keys))},\n' +
            lines_of(reference(f"{case} {name}", dict(spec, schedule=keys))) + "}"
            for name, keys in spec["schedules"].items()]
        text += ',\n"variants": {\n' + ",\n".join(variants) + "}"
    else:
        text += ",\n" + lines_of(reference(case, spec))
    with open(os.path.join(HERE, case + ".json"), "w") as out:
        out.write("{" + text + "}\n")


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


TRAIN_KEYS = ("clip_grad_norm", "ema", "schedule")


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


def main():
    for case, spec in cases():
        if len(sys.argv) == 1 or case in sys.argv[1:]:
            write_model(case, spec)
            write_reference(case, spec)


if __name__ == "__main__":
    main()

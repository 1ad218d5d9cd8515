#!/usr/bin/env python3
"""Makes the NumPy values that tests/suites/test_normalize.sh compares ninc with. Run by hand:

    python3 tests/models/normalize/reference.py

Each case is a linear classifier on normalized images, in float64: CASE.yaml, and CASE.json with what
the training images say (the parameters of input.scale and input.zca) and the loss on them. Global
contrast normalization and ZCA are pylearn2's (datasets/preprocessing.py: scale, no use_std, a mean
that is subtracted, min_divisor; filter_bias, covariance by the number of images), spelled out here.
Images and the classifier's weights follow the hash rule of tests/models/pytorch/reference.py, which
tests/tools/parity_tool.c has as well.
"""
import json
import math
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPE = {"images": 70, "height": 4, "width": 3, "channels": 2, "classes": 3}
SCALE = 2.4

CASES = {
    "all": {"mean": "auto", "std": "auto", "contrast": (20.0, 1e-6), "zca": 0.1},
    "means": {"mean": "auto", "std": [0.25, 0.3]},
    "deviations": {"mean": [0.4, 0.5], "std": "auto", "zca": 0.05},
    "contrast": {"mean": [0.4, 0.5], "std": [0.25, 0.3], "contrast": (5.0, 1.05)},
}


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


def initial(name, shape, fan_in):
    unit = (hashes(name, math.prod(shape)) >> np.uint64(40)).astype(np.float64) / 2.0**24
    return ((2 * unit - 1) * (SCALE / math.sqrt(fan_in))).astype(np.float32).reshape(shape)


def data():
    n, h, w, c = (SHAPE[k] for k in ("images", "height", "width", "channels"))
    image = (hashes("images", n * h * w * c) >> np.uint64(56)).astype(np.float64)
    label = (hashes("labels", n) >> np.uint64(32)) % np.uint64(SHAPE["classes"])
    return image.reshape(n, h, w, c), label.astype(int)


def global_contrast_normalize(X, scale, min_divisor):
    X = X - X.mean(axis=1)[:, np.newaxis]
    normalizers = np.sqrt((X**2).sum(axis=1)) / scale
    normalizers[normalizers < min_divisor] = 1.0
    return X / normalizers[:, np.newaxis]


def zca(X, filter_bias):
    """The mean, and the matrix that a centred image, a row, is multiplied by."""
    mean = X.mean(axis=0)
    C = X - mean
    eigs, eigv = np.linalg.eigh(C.T @ C / X.shape[0] + filter_bias * np.identity(X.shape[1]))
    return mean, (eigv * np.sqrt(1.0 / eigs)) @ eigv.T


def normalize(case, image, values):
    """The images as the network gets them; what the trainer has to find out, into values."""
    unit = image / 255
    own_mean, own_std = unit.mean(axis=(0, 1, 2)), unit.std(axis=(0, 1, 2))
    auto = [key for key in ("mean", "std") if case[key] == "auto"]
    mean = own_mean if case["mean"] == "auto" else np.array(case["mean"])
    std = own_std if case["std"] == "auto" else np.array(case["std"])
    if auto:
        given_mean = 0 if case["mean"] == "auto" else mean
        given_std = 1 if case["std"] == "auto" else std
        weight = given_std / std
        values["input.scale.weight"] = (weight * np.ones(2)).reshape(2, 1, 1, 1)
        values["input.scale.bias"] = (given_mean - mean) / given_std * weight
    x = ((unit - mean) / std).reshape(len(image), -1)
    if "contrast" in case:
        x = global_contrast_normalize(x, *case["contrast"])
    if "zca" in case:
        offset, P = zca(x, case["zca"])
        h, w, c = image.shape[1:]
        values["input.zca.weight"] = P.reshape(-1, h, w, c).transpose(0, 3, 1, 2)
        values["input.zca.bias"] = -(offset @ P)
        x = (x - offset) @ P
    return x.reshape(image.shape).transpose(0, 3, 1, 2)


def loss(x, label):
    weight, bias = initial("c.weight", (3, 2, 4, 3), 24), initial("c.bias", (3,), 24)
    logits = np.einsum("nchw,kchw->nk", x, weight.astype(np.float64)) + bias
    logits -= logits.max(axis=1, keepdims=True)
    return -np.mean(logits[np.arange(len(x)), label] - np.log(np.exp(logits).sum(axis=1)))


MODEL = """model: {name}
input: {{dataset: idx, classes: 3, shape: [2, 4, 3], mean: {mean}, std: {std}{normalize}}}
layers:
  - conv2d: {{name: c, out_channels: 3, kernel_size: [4, 3]}}
  - flatten
loss: cross_entropy
optimizer: {{sgd: {{lr: 0.1}}}}
train: {{batch_size: 16, epochs: 1}}
"""


def write(name, case):
    keys = []
    if "contrast" in case:
        keys.append("global_contrast: {scale: %g, eps: %.2e}" % case["contrast"])
    if "zca" in case:
        keys.append("zca: {eps: %g}" % case["zca"])
    given = ", normalize: {%s}" % ", ".join(keys) if keys else ""
    with open(os.path.join(HERE, name + ".yaml"), "w", encoding="utf-8") as f:
        f.write(MODEL.format(name=name, mean=case["mean"], std=case["std"], normalize=given))
    image, label = data()
    values = {}
    x = normalize(case, image, values)
    result = dict(SHAPE, scale=SCALE, parameters=[
        {"name": "c.weight", "shape": [3, 2, 4, 3], "fan_in": 24},
        {"name": "c.bias", "shape": [3], "fan_in": 24}])
    result["loss"] = loss(x, label)
    result["values"] = [
        {"name": key, "shape": list(v.shape), "value": [float("%.9g" % e) for e in v.ravel()]}
        for key, v in values.items()]
    with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as f:
        json.dump(result, f)
        f.write("\n")


if __name__ == "__main__":
    for item in CASES.items():
        write(*item)

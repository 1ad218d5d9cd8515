#!/usr/bin/env python3
"""Runs an exported model as others will, and compares its logits: check_onnx.py MODEL DATA LOGITS

MODEL.onnx passes onnx's checker, with its shapes inferred; ONNX Runtime gives for the test images of
the IDX directory DATA the numbers of the file LOGITS, f32[count, classes], within 1e-5. An input
that is not bytes is prepared here, by nothing but what the model's metadata say.
"""
import json
import struct
import sys

import numpy as np
import onnx
import onnxruntime


def read_idx(path):
    with open(path, "rb") as f:
        rank = struct.unpack(">I", f.read(4))[0] & 255
        extent = struct.unpack(f">{rank}I", f.read(4 * rank))
        return np.frombuffer(f.read(), dtype=np.uint8).reshape(extent)


def test_images(directory, channels):
    """u8 [count, height, width, channels]"""
    if channels == 1:
        return read_idx(f"{directory}/t10k-images-idx3-ubyte")[..., None]
    return read_idx(f"{directory}/t10k-images-idx4-ubyte")


def bilinear(x, axis, size):
    """Half-pixel centres, the border repeated."""
    extent = x.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * extent / size - 0.5, 0, extent - 1)
    low = np.floor(at).astype(int)
    part = (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    high = np.minimum(low + 1, extent - 1)
    return x.take(low, axis) * (1 - part) + x.take(high, axis) * part


def prepared(images, said):
    """f32 [count, channels, height, width], normalised."""
    x = images.transpose(0, 3, 1, 2) / 255.0
    channels, height, width = json.loads(said["shape"])
    if said.get("resize") == "bilinear":
        x = bilinear(bilinear(x, 2, height), 3, width)
    mean, std = (np.array(json.loads(said[key])).reshape(channels, 1, 1) for key in ("mean", "std"))
    return ((x - mean) / std).astype(np.float32)


def main():
    path, data, logits = sys.argv[1:]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    said = {p.key: p.value for p in model.metadata_props}
    classes = int(said["classes"])
    images = test_images(data, json.loads(said["data_shape"])[0])
    want = np.fromfile(logits, dtype=np.float32).reshape(len(images), classes)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (inlet,), (outlet,) = session.get_inputs(), session.get_outputs()
    assert (inlet.name, outlet.name) in (("input", "logits"), ("image", "logits"))
    batch = images if inlet.name == "image" else prepared(images, said)
    for count in (len(images), 1):  # N is free
        got = session.run(None, {inlet.name: batch[:count]})[0]
        worst = np.abs(got - want[:count]).max()
        print(f"{count} images: logits up to {np.abs(want).max():.3g}, off by {worst:.1e}")
        assert got.shape == (count, classes) and worst <= 1e-5 * max(1, np.abs(want).max())
    assert want.std(axis=0).max() > 1e-3, "the images make no difference"


main()

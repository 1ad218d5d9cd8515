#!/usr/bin/env python3
"""Parameters between ninc and PyTorch (tests/suites/test_pytorch.sh):

    roundtrip.py load CASE WEIGHTS LOGITS   ninc's file into PyTorch's module, key by key; the
                                            module's logits are those of LOGITS, f32[count, classes]
    roundtrip.py save CASE WEIGHTS LOSS     PyTorch's own parameters, and the losses of a few steps

CASE is one of reference.py's, or `nin`: the seed network as PyTorch's users write it.
"""
import json
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import reference


def block(inputs, outputs, kernel_size, stride, padding):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, stride, padding), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 1), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 1), nn.ReLU())


class NiN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            block(1, 96, 11, 4, 2), nn.MaxPool2d(3, 2),
            block(96, 256, 5, 1, 2), nn.MaxPool2d(3, 2),
            block(256, 384, 3, 1, 1), nn.MaxPool2d(3, 2),
            block(384, 10, 3, 1, 1), nn.AvgPool2d(6, 1), nn.Flatten())

    def forward(self, x):
        return self.conv(x)


def network(case):
    """The module, with PyTorch's initial parameters at reference.py's scale, and its spec."""
    torch.manual_seed(7)
    spec = dict(reference.cases())["nin_sgd" if case == "nin" else case]
    net = NiN() if case == "nin" else reference.Network(spec)
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.Conv2d):
                m.reset_parameters()
                for p in m.parameters():
                    p *= reference.SCALE
    return net, spec


def load(case, weights, logits):
    net, spec = network(case)
    net.load_state_dict(load_file(weights), strict=True)
    net.eval()
    image, _ = reference.data(spec)
    with torch.no_grad():
        got = net(reference.prepare(spec, image, torch.float32)).numpy()
    want = np.fromfile(logits, dtype=np.float32).reshape(got.shape)
    worst, largest = np.abs(got - want).max(), np.abs(got).max()
    print(f"{case}: logits up to {largest:.3g}, off by {worst:.1e}")
    assert worst <= 1e-5 * max(1, largest)
    assert got.std(axis=0).max() > 1e-3, "the images make no difference"


def save(case, weights, losses, steps=3):
    net, spec = network(case)
    save_file(net.state_dict(), weights)
    image, label = reference.data(spec)
    x, y = reference.prepare(spec, image, torch.float32), torch.tensor(label)
    step_of = reference.optimizer(spec, net)
    batch, out = spec["batch"], []
    for step in range(steps):
        at = step % ((len(y) + batch - 1) // batch) * batch
        loss = F.cross_entropy(net(x[at:at + batch]), y[at:at + batch])
        step_of.zero_grad()
        loss.backward()
        step_of.step()
        out.append(loss.item())
    with open(losses, "w") as f:
        json.dump(dict(loss=out), f)


{"load": load, "save": save}[sys.argv[1]](*sys.argv[2:])

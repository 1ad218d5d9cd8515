#!/usr/bin/env python3
"""torchvision's networks and ours of the same name (tests/suites/test_torchvision.sh):

    published.py data DIR COUNT              images and labels of ImageNet's kind, at random
    published.py save NAME WEIGHTS           a state_dict of torchvision's, as --init meets it
    published.py compare NAME WEIGHTS DATA LOGITS
                    ninc's parameters into torchvision's module, no key missing and none too many;
                    its logits for the test images of DATA are those of LOGITS, f32[count, 1000]
"""
import sys

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file, save_file

IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def network(name):
    torch.manual_seed(11)
    net = getattr(torchvision.models, name.removesuffix("_torchvision"))(weights=None)
    for module in net.modules():
        # Running statistics as after some training, so that they count.
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked += 5
    return net.eval()


def images(directory):
    raw = np.fromfile(f"{directory}/t10k-images-idx4-ubyte", dtype=np.uint8)
    extent = raw[4:20].view(">i4")
    x = torch.from_numpy(raw[20:].reshape(extent)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(IMAGENET[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (x - mean) / std


def data(directory, count):
    draw = np.random.default_rng(5)
    pixels = draw.integers(0, 256, (int(count), 224, 224, 3), dtype=np.uint8)
    labels = draw.integers(0, 1000, int(count)).astype(">i4")
    for part in ("train", "t10k"):
        for name, kind, values in (("images-idx4", 0x08, pixels), ("labels-idx1", 0x0c, labels)):
            with open(f"{directory}/{part}-{name}-ubyte", "wb") as f:
                f.write(bytes([0, 0, kind, values.ndim]))
                f.write(np.array(values.shape, dtype=">i4").tobytes() + values.tobytes())


def save(name, weights):
    save_file(network(name).state_dict(), weights)


def compare(name, weights, data, logits):
    net = network(name)
    net.load_state_dict(load_file(weights), strict=True)
    with torch.no_grad():
        want = net(images(data)).numpy()
    got = np.fromfile(logits, dtype=np.float32).reshape(want.shape)
    worst, largest = np.abs(got - want).max(), np.abs(want).max()
    print(f"{name}: logits up to {largest:.3g}, off by {worst:.1e}")
    assert worst <= 1e-5 * max(1, largest)
    assert want.std(axis=0).max() > 1e-4 * largest, "the images make no difference"


{"data": data, "save": save, "compare": compare}[sys.argv[1]](*sys.argv[2:])

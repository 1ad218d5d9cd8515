#!/usr/bin/env python3
"""Augmentation beside torchvision's functional transforms on the same draws.

    augment.py NINC AUGMENT_TOOL DIRECTORY

What is drawn is computed here, by Philox and in Python's floats; torchvision does the rest. Crops,
flips and what is erased must be equal. A rotation may take another pixel where it falls between
two (of 1 in 1000 at most: float32 against fixed point). Bilinear sums, whose weights are 4096ths
here, and products with factors, which are 65536ths, are rounded in another place now and then: by
1 at most, of 1 in 40 and 1 in 400 pixels."""
import math
import subprocess
import sys

import torch
import torchvision.transforms.functional as F
from torchvision.transforms import InterpolationMode

N, SEED, EPOCH, TAG = 64, 11, 3, 0x6175676D
MODEL = """model: augmented
input:
  dataset: idx
  classes: 2
  shape: [{c}, {h}, {w}]
  augment: [{op}]
layers:
  - conv2d: {{name: a, out_channels: 2, kernel_size: 1}}
  - gap
  - flatten
loss: cross_entropy
optimizer: {{sgd: {{lr: 0.1}}}}
train: {{batch_size: {n}, epochs: 1}}
"""


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & 0xFFFFFFFF, a >> 32 ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def draw(image, block=0):
    """Four numbers from 0 to 1."""
    return [word / 2**32 for word in philox((image, EPOCH, block, TAG), (SEED, 0))]


def box(image, block, h, w, scale, ratio):
    """Two sides, of which the first is to the second as the ratio that is drawn; a place."""
    u = draw(image, block)
    area = h * w * (scale[0] + u[0] * (scale[1] - scale[0]))
    aspect = math.exp(math.log(ratio[0]) + u[1] * math.log(ratio[1] / ratio[0]))
    return round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect)), u[2], u[3]


def crop(x, n, padding=4):
    h, w = x.shape[-2:]
    top, left = (int(u * (2 * padding + 1)) for u in draw(n)[:2])
    return F.crop(F.pad(x, [padding] * 4), top, left, h, w)


def flip(x, n):
    return F.hflip(x) if draw(n)[0] < 0.5 else x


def rotate(x, n, degrees=40):
    angle = (2 * draw(n)[0] - 1) * degrees
    return F.rotate(x, angle, interpolation=InterpolationMode.NEAREST)


def erase(x, n):
    h, w = x.shape[-2:]
    if draw(n)[0] >= 0.5:
        return x
    for block in range(1, 11):
        height, width, down, across = box(n, block, h, w, (0.02, 0.33), (0.3, 3.3))
        if height < h and width < w:
            top, left = int(down * (h - height + 1)), int(across * (w - width + 1))
            return F.erase(x, top, left, height, width, torch.zeros(1, dtype=x.dtype))
    return x


def resized_crop(x, n):
    h, w = x.shape[-2:]
    for block in range(1, 11):
        width, height, down, across = box(n, block, h, w, (0.08, 1), (0.75, 1.3333))
        if 0 < width <= w and 0 < height <= h:
            top, left = int(down * (h - height + 1)), int(across * (w - width + 1))
            return F.resized_crop(x, top, left, height, width, [h, w])
    return None


def jitter(which):
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[which]

    def apply(x, n):
        return adjust(x, 0.4 + draw(n)[which] * 1.2)
    return apply


CASES = [  # op, what torchvision does, how far off, of how many at most
    ("random_crop: {padding: 4}", crop, 0, 0),
    ("random_horizontal_flip", flip, 0, 0),
    ("random_erasing", erase, 0, 0),
    ("random_rotation: {degrees: 40}", rotate, 255, 1 / 1000),
    ("random_resized_crop", resized_crop, 1, 1 / 40),
    ("color_jitter: {brightness: 0.6}", jitter(0), 1, 1 / 400),
    ("color_jitter: {contrast: 0.6}", jitter(1), 1, 1 / 400),
    ("color_jitter: {saturation: 0.6}", jitter(2), 1, 1 / 400),
]


def ours(ninc, tool, directory, op, x):
    n, c, h, w = x.shape
    model = f"{directory}/augmented.yaml"
    entry = "{" + op + "}" if ":" in op else op
    with open(model, "w", encoding="ascii") as f:
        f.write(MODEL.format(c=c, h=h, w=w, op=entry, n=n))
    text = subprocess.run([ninc, "--emit=ir", "--target=cpu", model], check=True,
                          capture_output=True).stdout
    with open(f"{directory}/augmented.ir", "wb") as f:
        f.write(text)
    pixels = x.permute(0, 2, 3, 1).contiguous()
    out = subprocess.run([tool, f"{directory}/augmented.ir", str(SEED), str(EPOCH)], check=True,
                         input=bytes(pixels.flatten().tolist()), capture_output=True).stdout
    return torch.tensor(list(out), dtype=torch.uint8).view(n, h, w, c).permute(0, 3, 1, 2)


def smooth(generator, n, c, h, w):
    """Images with edges and slopes, as photographs have them; some noise."""
    x = torch.rand((n, c, h // 4 + 1, w // 4 + 1), generator=generator)
    x = torch.nn.functional.interpolate(x, (h, w), mode="bilinear", align_corners=False)
    x = x * 235 + 20 * torch.rand((n, c, h, w), generator=generator)
    return x.to(torch.uint8)


def main():
    ninc, tool, directory = sys.argv[1:]
    generator = torch.Generator().manual_seed(1)
    failed = False
    for shape in ((3, 32, 32), (1, 28, 20)):
        for op, theirs, most, part in CASES:
            if "saturation" in op and shape[0] == 1:
                continue
            x = smooth(generator, N, *shape)
            got = ours(ninc, tool, directory, op, x)
            off = total = worst = changed = 0
            for i in range(N):
                want = theirs(x[i], i)
                if want is None:
                    continue
                difference = (got[i].int() - want.int()).abs()
                worst = max(worst, difference.max().item())
                off += (difference > 0).sum().item()
                changed += (got[i] != x[i]).sum().item()
                total += difference.numel()
            good = worst <= most and off <= part * total and changed > total / 50
            failed |= not good
            print(f"{'ok' if good else 'WRONG'} {op} {shape}: off by {worst} at most, "
                  f"{off / total:.5f} of the pixels")
    sys.exit(failed)


main()

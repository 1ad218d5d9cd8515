#!/usr/bin/env python3
"""What the recipes of models/ learn: test accuracy, time and memory, beside PyTorch's.

    make bench-learning                                       # every recipe, three seeds each
    make bench-learning LEARNING_OPTIONS="--model models/nin_fashion.yaml --seeds 1"
    PYTHON=/path/to/venv/bin/python make bench-learning LEARNING_OPTIONS=--pytorch

Each recipe is compiled, trained from the data set's own files and evaluated on its test images as
a user would: `ninc MODEL`, `trainer train --seed S`, `trainer eval`. Medians over the seeds are
compared with what the recipe promises: an accuracy, and the minutes that training may take on two
cores. --pytorch trains the same recipe there too: the same network, loss, optimizer, schedule,
augmentation and exponential mean, in batches of tensors, eagerly, in the memory format that is
faster here, on as many threads.

A run of all takes hours; what was measured goes to bench/results/learning-KIND.json (--output),
recipe by recipe, and into bench/README.md's table. SKIP lines say what could not be measured.
"""
import argparse
import contextlib
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

import bench

# A recipe: the model file, what of it is set otherwise (ninc --set), the precision, the accuracy,
# and the minutes on two cores, or None where none are promised.
FASHION = "dataset: fashion-mnist, mean: [0.2860], std: [0.3530]"
MOVED = "augment: [{random_crop: {padding: 2}}, random_horizontal_flip]"
RECIPES = [
    ("models/nin_fashion.yaml", {}, "fp32", 0.93, 5),
    ("models/nin_fashion_best.yaml", {}, "bf16", 0.945, 60),
    ("models/nin_224.yaml", {}, "bf16", 0.88, None),
    ("models/lenet.yaml",
     {"optimizer": "{adam: {lr: 0.003}}",
      "train": "{batch_size: 64, epochs: 20, init: xavier_uniform,"
               " schedule: {cosine_annealing: {}}}"},
     "fp32", 0.89, None),
    ("models/vgg_cifar10.yaml",
     {"input": f"{{{FASHION}, shape: [1, 32, 32], resize: bilinear, {MOVED}}}",
      "train": "{batch_size: 128, epochs: 8, schedule: {one_cycle: {max_lr: 0.1}}}"},
     "bf16", 0.93, None),
    ("models/resnet20.yaml",
     {"input": f"{{{FASHION}, shape: [1, 28, 28], {MOVED}}}",
      "train": "{batch_size: 128, epochs: 12, schedule: {one_cycle: {max_lr: 0.2}}}"},
     "bf16", 0.93, None),
]
TABLE = ("<!-- learning table -->", "<!-- end of learning table -->")
DATA = "/usr/share/datasets"  # Debian's


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", nargs="+", help="only these model files")
    p.add_argument("--seeds", type=int, default=3, help="train with the seeds 1 to N")
    p.add_argument("--precision", choices=bench.PRECISIONS, help="instead of the recipes' own")
    p.add_argument("--epochs", type=int, help="instead of the recipes' own")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--pytorch", action="store_true", help="train the same recipe there too")
    p.add_argument("--pytorch-seeds", type=int, default=1)
    p.add_argument("--python", default=os.environ.get("PYTHON") or sys.executable,
                   help="interpreter that has torch (default: $PYTHON, else this one)")
    p.add_argument("--data", help="directory of the data set")
    p.add_argument("--ninc", default="./ninc")
    p.add_argument("--output", help="the JSON file (default: bench/results/learning-KIND.json)")
    p.add_argument("--torch-worker", help=argparse.SUPPRESS)
    return p.parse_args()


# ---- ninc ----

def compile_recipe(options, model, sets, precision, scratch):
    directory = os.path.join(scratch, os.path.basename(model))
    command = [options.ninc, model, f"--precision={precision}", "--target=cpu", "-q", "-o",
               directory] + [f"--set={key}={value}" for key, value in sets.items()]
    if options.epochs:
        command.append(f"--set=train.epochs={options.epochs}")
    bench.run_measured(command)
    return os.path.join(directory, "trainer")


def train_once(options, trainer, seed):
    """(accuracy, seconds, peak MB)"""
    weights, result = (f"{trainer}-{seed}.{kind}" for kind in ("safetensors", "json"))
    where = ["--data", options.data] if options.data else []
    where += ["--device", "cpu", "--threads", str(options.threads)]
    began = time.monotonic()
    _, memory = bench.run_measured([trainer, "train", "--seed", str(seed), "--save", weights,
                                    "--no-progress", *where])
    seconds = time.monotonic() - began
    bench.run_measured([trainer, "eval", "--weights", weights, "--json", result, *where])
    with open(result) as f:
        accuracy = json.load(f)["accuracy"]
    return accuracy, seconds, memory


# ---- PyTorch: the same recipe, a process a seed ----

def read_split(directory, part):
    """u8 images [N,1,H,W] and labels of a directory of IDX files, gzipped or not."""
    import gzip
    import numpy as np
    import torch

    def read(what, rank):
        path = os.path.join(directory, f"{part}-{what}-idx{rank}-ubyte")
        opened = open(path, "rb") if os.path.exists(path) else gzip.open(path + ".gz", "rb")
        with opened as f:
            data = f.read()
        shape = np.frombuffer(data, ">i4", rank, 4)
        return torch.from_numpy(np.frombuffer(data, np.uint8, -1, 4 + 4 * rank)
                                .reshape(shape.tolist()).copy())
    return read("images", 3).unsqueeze(1), read("labels", 1).long()


def augmented(x, steps):
    """A batch of u8 images, each drawn for itself."""
    import torch
    import torch.nn.functional as F
    n, _, h, w = x.shape
    for step in steps:
        (kind, keys), = step.items() if isinstance(step, dict) else [(step, {})]
        if kind == "random_crop":
            pad = keys["padding"]
            top, left = torch.randint(0, 2 * pad + 1, (2, n))
            padded = F.pad(x, (pad,) * 4)
            rows = top[:, None] + torch.arange(h)
            cols = left[:, None] + torch.arange(w)
            x = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], cols[:, None, :]]
            x = x.permute(0, 3, 1, 2)
        elif kind == "random_horizontal_flip":
            turned = torch.rand(n) < keys.get("p", 0.5)
            x = torch.where(turned[:, None, None, None], x.flip(3), x)
        elif kind == "random_erasing":
            x = x.clone()
            low, high = keys.get("scale", [0.02, 0.33])
            for i in (torch.rand(n) < keys.get("p", 0.5)).nonzero().flatten().tolist():
                area = h * w * float(torch.empty(1).uniform_(low, high))
                ratio = math.exp(float(torch.empty(1).uniform_(math.log(0.3), math.log(1 / 0.3))))
                eh, ew = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
                if 0 < eh < h and 0 < ew < w:
                    top = int(torch.randint(0, h - eh + 1, (1,)))
                    left = int(torch.randint(0, w - ew + 1, (1,)))
                    x[i, :, top:top + eh, left:left + ew] = 0
        else:
            raise SystemExit(f"no PyTorch of the augmentation {kind}")
    return x


def make_schedule(model, optimizer, steps_an_epoch, epochs):
    """(scheduler, whether it advances by steps), or (None, False)."""
    from torch.optim import lr_scheduler as s
    settings = model["train"].get("schedule")
    if not settings:
        return None, False
    (kind, keys), = settings.items() if isinstance(settings, dict) else [(settings, {})]
    keys = dict(keys or {})
    by_step = keys.pop("unit", "epoch") == "step"
    whole = epochs * (steps_an_epoch if by_step else 1)
    if kind == "one_cycle":
        return s.OneCycleLR(optimizer, total_steps=steps_an_epoch * epochs, cycle_momentum=False,
                            **keys), True
    if kind == "cosine_annealing":
        return s.CosineAnnealingLR(optimizer, keys.get("t_max", whole),
                                   keys.get("eta_min", 0)), by_step
    if kind == "multi_step":
        return s.MultiStepLR(optimizer, keys["milestones"], keys.get("gamma", 0.1)), by_step
    raise SystemExit(f"no PyTorch of the schedule {kind}")


def make_optimizer(model, network):
    import torch
    (kind, keys), = model["optimizer"].items()
    keys = {k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()}
    make = dict(sgd=torch.optim.SGD, adam=torch.optim.Adam, adamw=torch.optim.AdamW)[kind]
    return make(network.parameters(), **keys)


def initialise(model, network):
    """As `train: {init: ...}` says; biases are 0 but with PyTorch's own."""
    import torch.nn as nn
    how = model["train"].get("init", "pytorch")
    if how == "pytorch":
        return
    draw = dict(kaiming_normal=lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
                xavier_uniform=nn.init.xavier_uniform_)
    if how not in draw:
        raise SystemExit(f"no PyTorch of the initialisation {how}")
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            draw[how](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def torch_worker(options):
    """Trains and evaluates one seed; prints one line of JSON."""
    import torch
    import torch.nn.functional as F
    import yaml
    path, sets, precision, seed = json.loads(options.torch_worker)
    model = bench.read_model(path)
    model.update((key, yaml.safe_load(value)) for key, value in sets.items())
    torch.set_num_threads(options.threads)
    torch.manual_seed(seed)
    directory = options.data or os.path.join(DATA, model["input"]["dataset"])
    train, test = read_split(directory, "train"), read_split(directory, "t10k")
    network = bench.build_network(model).to(memory_format=torch.channels_last)
    initialise(model, network)
    settings, loss_keys = model["train"], model["loss"]
    smoothing = loss_keys["cross_entropy"].get("label_smoothing", 0) \
        if isinstance(loss_keys, dict) else 0
    optimizer = make_optimizer(model, network)
    batch, count = settings["batch_size"], len(train[0])
    epochs = options.epochs or settings["epochs"]
    steps = -(-count // batch)
    scheduler, by_step = make_schedule(model, optimizer, steps, epochs)
    decay = settings.get("ema")
    mean = torch.optim.swa_utils.AveragedModel(
        network, avg_fn=lambda a, p, n: decay * a + (1 - decay) * p) if decay else None
    scale, shift = (torch.tensor(model["input"].get(key, [value])).view(1, -1, 1, 1)
                    for key, value in (("std", 1.0), ("mean", 0.0)))

    def forward(of, images):
        x = (images.float() / 255 - shift) / scale
        if "resize" in model["input"]:
            x = F.interpolate(x, model["input"]["shape"][1:], mode="bilinear", align_corners=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return of(x.contiguous(memory_format=torch.channels_last)).float()

    began = time.monotonic()
    for _ in range(epochs):
        network.train()
        order = torch.randperm(count)
        for at in range(0, count, batch):
            chosen = order[at:at + batch]
            images = augmented(train[0][chosen], model["input"].get("augment", []))
            loss = F.cross_entropy(forward(network, images), train[1][chosen],
                                   label_smoothing=smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if "clip_grad_norm" in settings:
                torch.nn.utils.clip_grad_norm_(network.parameters(), settings["clip_grad_norm"])
            optimizer.step()
            if mean:
                mean.update_parameters(network)
            if scheduler and by_step:
                scheduler.step()
        if scheduler and not by_step:
            scheduler.step()
    seconds = time.monotonic() - began
    tested = mean.module if mean else network
    if mean:  # running statistics are the network's own
        for name, value in network.named_buffers():
            tested.get_buffer(name).copy_(value)
    tested.eval()
    with torch.no_grad():
        right = sum(int((forward(tested, x).argmax(1) == y).sum())
                    for x, y in zip(test[0].split(500), test[1].split(500)))
    print(json.dumps(dict(accuracy=right / len(test[1]), seconds=seconds, mb=bench.peak_mb(),
                          version=torch.__version__)), flush=True)


def torch_once(options, model, sets, precision, seed):
    command = [options.python, os.path.join("bench", "learning.py"), "--threads",
               str(options.threads), "--torch-worker", json.dumps([model, sets, precision, seed])]
    for flag in ("epochs", "data"):
        if getattr(options, flag):
            command += ["--" + flag, str(getattr(options, flag))]
    done = subprocess.run(command, cwd=bench.TOP, capture_output=True, text=True)
    if done.returncode != 0:
        raise bench.Skip(bench.last_line(done.stderr))
    return json.loads(bench.last_line(done.stdout))


# ---- both ----

def measure(options, recipe, scratch):
    model, sets, precision, goal, minutes = recipe
    precision = options.precision or precision
    name = os.path.splitext(os.path.basename(model))[0]
    result = dict(model=name, sets=sets, precision=precision,
                  goal=goal, minutes=minutes)
    print(f"\n{model}, {precision}: at least {goal}"
          + (f" within {minutes} minutes" if minutes else ""), flush=True)
    try:
        trainer = compile_recipe(options, model, sets, precision, scratch)
        runs = []
        for seed in range(1, options.seeds + 1):
            runs.append(train_once(options, trainer, seed))
            print("  ninc, seed {}: {:.4f} in {:.0f} s, {:.0f} MB".format(seed, *runs[-1]),
                  flush=True)
    except bench.Skip as reason:
        print(f"  SKIP: {reason}")
        return dict(result, skip=str(reason))
    result.update(accuracies=[r[0] for r in runs], accuracy=statistics.median(r[0] for r in runs),
                  seconds=statistics.median(r[1] for r in runs), mb=max(r[2] for r in runs))
    if options.pytorch:
        beside_torch(options, model, sets, precision, result)
    met = result["accuracy"] >= goal and (not minutes or result["seconds"] <= 60 * minutes)
    print(f"  {'met' if met else 'MISSED'}: median {result['accuracy']:.4f} "
          f"in {result['seconds']:.0f} s")
    return result


def beside_torch(options, model, sets, precision, result):
    runs = []
    with contextlib.suppress(KeyboardInterrupt):
        for seed in range(1, options.pytorch_seeds + 1):
            try:
                runs.append(torch_once(options, model, sets, precision, seed))
            except bench.Skip as reason:
                print(f"  SKIP PyTorch: {reason}")
                break
            print("  PyTorch {version}, seed {seed}: {accuracy:.4f} in {seconds:.0f} s, "
                  "{mb:.0f} MB".format(seed=seed, **runs[-1]), flush=True)
    if runs:
        result.update(pytorch_accuracies=[r["accuracy"] for r in runs],
                      pytorch_seconds=statistics.median(r["seconds"] for r in runs),
                      pytorch_mb=max(r["mb"] for r in runs), pytorch=runs[0]["version"])


def table(rows):
    lines = ["| model | precision | accuracy, each seed | minutes | MB | PyTorch's accuracy | "
             "minutes | MB |", "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        if "skip" in r:
            continue
        seeds = " ".join(f"{a:.4f}" for a in r["accuracies"])
        theirs = "- | - | -"
        if "pytorch_seconds" in r:
            theirs = (" ".join(f"{a:.4f}" for a in r["pytorch_accuracies"])
                      + f" | {r['pytorch_seconds'] / 60:.1f} | {r['pytorch_mb']:.0f}")
        lines.append(f"| {r['model']} | {r['precision']} | {seeds} | {r['seconds'] / 60:.1f} | "
                     f"{r['mb']:.0f} | {theirs} |")
    return lines


def kept(path, rows):
    """The rows of an earlier run that this one has not, then this one's."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(path) as f:
        new = {r["model"] for r in rows}
        return [r for r in json.load(f)["rows"] if r["model"] not in new] + rows
    return rows


def main():
    options = arguments()
    if options.torch_worker:
        return torch_worker(options)
    recipes = [r for r in RECIPES if not options.model or r[0] in options.model]
    if not recipes:
        sys.exit("no such recipe; they stand in RECIPES of bench/learning.py")
    device = bench.processor()
    load = bench.warn_if_busy(options)
    path = options.output or os.path.join(bench.HERE, "results",
                                          f"learning-{bench.file_name(device)}.json")
    rows = []
    with tempfile.TemporaryDirectory(prefix="ninc-learning-") as scratch:
        for recipe in recipes:
            rows.append(measure(options, recipe, scratch))
    whole = not options.epochs and not options.precision and options.seeds >= 3
    measured = [r for r in rows if "skip" not in r]
    if measured and (whole or options.output):
        result = dict(device=device, date=datetime.date.today().isoformat(),
                      threads=options.threads, load_average=load, rows=kept(path, measured))
        bench.write_json(path, result)
        if whole:
            bench.write_table(TABLE, [f"{device}, {options.threads} threads, {result['date']}, "
                                      "`make bench-learning`:", ""] + table(result["rows"]))
    else:
        print("\n" + "\n".join(table(measured)))
    return None


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""ninc beside PyTorch on one model: images/s of a training step, memory, time to the first step.

    make bench                                          # models/nin.yaml, batches 16 and 64
    make bench BENCH_OPTIONS="--model models/nin_fashion.yaml --batch 64"

Both sides run the same network on the same number of threads, in turns (ninc, PyTorch, ninc,
PyTorch, ...), and the medians are compared; PyTorch is given its better memory format. Prints the
commands that it runs, and writes bench/results/NAME.json, NAME being the model's and the machine's
kind. Ratios count: absolute figures depend on what else the machine does.

SKIP lines say what could not be measured, and why.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
FORMATS = ("contiguous", "channels_last")


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="models/nin.yaml")
    p.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    p.add_argument("--memory-batches", type=int, nargs=2, default=[16, 128],
                   help="ninc's memory at these two batch sizes is compared")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    p.add_argument("--seconds", type=float, default=6, help="about how long each measurement takes")
    p.add_argument("--ninc", default="./ninc")
    p.add_argument("--output", help="the JSON file (default: bench/results/NAME.json)")
    p.add_argument("--torch-worker", help=argparse.SUPPRESS)
    return p.parse_args()


def run_measured(command):
    """Runs it; (output, seconds, peak resident MB, seconds from start to its first step)."""
    environment = dict(os.environ)
    environment.pop("OMP_NUM_THREADS", None)
    start, first, lines = time.monotonic(), None, []
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env=environment) as process:
        for line in process.stdout:
            lines.append(line)
            if first is None and re.search(r"step\W+1\b", line):
                first = time.monotonic() - start
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{''.join(lines)}")
    return "".join(lines), time.monotonic() - start, usage.ru_maxrss / 1024, first


# ---- PyTorch: the network that a model file describes, one configuration a process ----

def read_model(path):
    try:
        import yaml
    except ImportError:
        sys.exit("SKIP: PyTorch side: python3-yaml is not installed")
    with open(os.path.join(TOP, path)) as f:
        return yaml.safe_load(f)


def build_network(model):
    import torch.nn as nn
    modules, channels = [], model["input"]["shape"][0]

    def conv(out_channels, kernel_size, stride=1, padding=0, bias=True):
        nonlocal channels
        modules.append(nn.Conv2d(channels, out_channels, kernel_size, stride, padding, bias=bias))
        channels = out_channels

    def mlpconv(out_channels, kernel_size, stride=1, padding=0):
        three = out_channels if isinstance(out_channels, list) else [out_channels] * 3
        conv(three[0], kernel_size, stride, padding)
        modules.append(nn.ReLU())
        for c in three[1:]:
            conv(c, 1)
            modules.append(nn.ReLU())

    for layer in model["layers"]:
        (kind, keys), = layer.items() if isinstance(layer, dict) else [(layer, {})]
        keys = {k: v for k, v in keys.items() if k != "name"}
        if kind == "conv2d":
            conv(**keys)
        elif kind == "mlpconv":
            mlpconv(**keys)
        else:
            make = dict(relu=nn.ReLU, maxpool=nn.MaxPool2d, avgpool=nn.AvgPool2d,
                        flatten=nn.Flatten, gap=lambda: nn.AdaptiveAvgPool2d(1))[kind]
            modules.append(make(**keys))
    if "flatten" not in model["layers"]:
        modules.append(nn.Flatten())
    return nn.Sequential(*modules)


def torch_worker(options):
    """One PyTorch process: u8 batches resized and trained on, as ninc's trainer does."""
    import torch
    import torch.nn.functional as F
    memory_format, batch = options.torch_worker.split(":")
    batch = int(batch)
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    layout = getattr(torch, {"contiguous": "contiguous_format"}.get(memory_format, memory_format))
    model = read_model(options.model)
    shape = model["input"]["shape"]
    source = [shape[0], 28, 28] if "resize" in model["input"] else shape
    network = build_network(model).to(memory_format=layout)
    (kind, keys), = model["optimizer"].items()
    optimizer = (torch.optim.Adam if kind == "adam" else torch.optim.SGD)(
        network.parameters(), **{k: tuple(v) if isinstance(v, list) else v
                                 for k, v in keys.items()})
    images = torch.randint(0, 256, [1024] + source, dtype=torch.uint8)
    labels = torch.randint(0, 10, [1024])

    def step(number):
        at = number * batch % (1024 - batch + 1)
        x = images[at:at + batch].float() / 255
        if "resize" in model["input"]:
            x = F.interpolate(x, shape[1:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(network(x.contiguous(memory_format=layout)), labels[at:at + batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    step(0)
    print("step 1", flush=True)
    step(1)
    start, steps = time.monotonic(), 0
    while time.monotonic() - start < options.seconds or steps < 2:
        step(steps + 2)
        steps += 1
    print(f"images_per_second {steps * batch / (time.monotonic() - start):.3f}")
    print(f"version {torch.__version__}")


def measure_torch(options, batch, memory_format):
    command = [sys.executable, os.path.join("bench", "bench.py"), "--model", options.model,
               "--threads", str(options.threads), "--seconds", str(options.seconds),
               "--torch-worker", f"{memory_format}:{batch}"]
    output, _, memory, first = run_measured(command)
    return dict(images_per_second=float(re.search(r"images_per_second (\S+)", output)[1]),
                memory_mb=memory, first_step_s=first, command=" ".join(command),
                version=re.search(r"version (\S+)", output)[1])


# ---- ninc ----

def compile_model(options, batch, directory):
    command = [options.ninc, options.model, f"--batch={batch}", "-q", "-o", directory]
    _, seconds, _, _ = run_measured(command)
    return dict(command=" ".join(command), compile_s=seconds)


def measure_ninc(options, batch, directory, seconds):
    """One run of the trainer; images/s from its log, without the first steps."""
    log = os.path.join(directory, "bench.jsonl")
    rate = options.rate.get(batch, 50)
    steps = max(4, int(rate * seconds / batch) + 2)
    command = [os.path.join(directory, "trainer"), "train", "--data", "random", "--no-eval",
               "--no-progress", "--epochs", "100000", "--max-steps", str(steps), "--log-every", "1",
               "--log", log, "--threads", str(options.threads)]
    _, _, memory, first = run_measured(command)
    with open(log) as f:
        rates = [json.loads(line)["images_per_second"] for line in f if '"train"' in line][2:]
    # Equal numbers of images a line: the harmonic mean is the rate over all of them.
    options.rate[batch] = statistics.harmonic_mean(rates)
    return dict(images_per_second=options.rate[batch], memory_mb=memory, first_step_s=first,
                command=" ".join(command))


# ---- both ----

def summary(runs):
    out = {k: statistics.median(r[k] for r in runs)
           for k in ("images_per_second", "memory_mb", "first_step_s") if runs[0][k] is not None}
    return dict(out, command=runs[0]["command"], runs=len(runs),
                all_images_per_second=[round(r["images_per_second"], 2) for r in runs])


def compare_batch(options, batch, with_torch, scratch):
    directory = os.path.join(scratch, f"batch{batch}")
    result = dict(batch=batch, compiled=compile_model(options, batch, directory))
    measure_ninc(options, batch, directory, options.seconds / 3)  # learns the rate
    best = None
    if with_torch:
        trial = {f: measure_torch(options, batch, f) for f in FORMATS}
        best = max(FORMATS, key=lambda f: trial[f]["images_per_second"])
        result["pytorch_formats"] = {f: trial[f]["images_per_second"] for f in FORMATS}
        result["pytorch_version"] = trial[best]["version"]
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(measure_ninc(options, batch, directory, options.seconds))
        if best:
            theirs.append(measure_torch(options, batch, best))
    result["ninc"] = summary(ours)
    if best:
        result["pytorch"] = dict(summary(theirs), memory_format=best)
    report(result)
    return result


def row(name, side):
    print(f"  {name:26s} {side['images_per_second']:9.1f} img/s {side['memory_mb']:8.0f} MB "
          f"{side.get('first_step_s', float('nan')):7.2f} s to the first step")


def report(result):
    print(f"\nbatch {result['batch']}")
    print(f"  $ {result['compiled']['command']}   # {result['compiled']['compile_s']:.1f} s")
    print(f"  $ {result['ninc']['command']}")
    row("ninc", result["ninc"])
    if "pytorch" not in result:
        return
    ours, theirs = result["ninc"], result["pytorch"]
    print(f"  $ {theirs['command']}")
    row(f"PyTorch {theirs['memory_format']}", theirs)
    result["speed_ratio"] = ours["images_per_second"] / theirs["images_per_second"]
    result["memory_ratio"] = ours["memory_mb"] / theirs["memory_mb"]
    print(f"  ninc / PyTorch: speed {result['speed_ratio']:.2f}x, "
          f"memory {result['memory_ratio']:.3f}x")


def memory_growth(options, scratch):
    small, large = options.memory_batches
    memory = {}
    for batch in (small, large):
        directory = os.path.join(scratch, f"batch{batch}")
        if not os.path.exists(directory):
            compile_model(options, batch, directory)
        memory[batch] = measure_ninc(options, batch, directory, 0)["memory_mb"]
    ratio = memory[large] / memory[small]
    print(f"\nninc's memory: batch {small} {memory[small]:.0f} MB, batch {large} "
          f"{memory[large]:.0f} MB, {ratio:.2f}x")
    return dict(batches=[small, large], memory_mb=[memory[small], memory[large]], ratio=ratio)


def compile_time(options):
    """Median milliseconds of ninc without the C compiler."""
    command = [options.ninc, options.model, "--emit=c"]
    times = sorted(run_measured(command)[1] for _ in range(5))
    print(f"$ {' '.join(command)}   # {1000 * times[2]:.0f} ms without the C compiler")
    return 1000 * times[2]


def torch_is_there():
    probe = subprocess.run([sys.executable, "-c", "import torch, yaml"], capture_output=True,
                           text=True)
    if probe.returncode != 0:
        print("SKIP: PyTorch side: " + probe.stderr.strip().splitlines()[-1]
              + " (Debian: apt-get install python3-torch python3-yaml)")
    return probe.returncode == 0


def processor():
    """Model name of the CPU, in words that can stand in a file name."""
    name = platform.machine()
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    return found[1] if found else name


def main():
    options = arguments()
    if options.torch_worker:
        return torch_worker(options)
    options.rate = {}
    name = os.path.splitext(os.path.basename(options.model))[0]
    print(f"{options.model} on {processor()}, {options.threads} threads, "
          f"{options.rounds} rounds; load average {os.getloadavg()[0]:.2f}")
    with_torch = torch_is_there()
    with tempfile.TemporaryDirectory(prefix="ninc-bench-") as scratch:
        result = dict(model=options.model, processor=processor(), threads=options.threads,
                      load_average=os.getloadavg()[0],
                      emit_ms=compile_time(options),
                      batches=[compare_batch(options, b, with_torch, scratch)
                               for b in options.batch],
                      memory_growth=memory_growth(options, scratch))
    path = options.output or os.path.join(HERE, "results", name + "-cpu.json")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as out:
        json.dump(result, out, indent=1)
        out.write("\n")
    print(f"\nwritten: {os.path.relpath(path, TOP)}")


if __name__ == "__main__":
    main()

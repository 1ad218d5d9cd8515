#!/usr/bin/env python3
"""ninc beside PyTorch on the CPU: images/s of a training step and of inference, and peak memory.

    make bench                                   # the whole table, about 100 minutes
    make bench BENCH_OPTIONS=--quick             # one round, without torch.compile: 20 minutes
    make bench BENCH_OPTIONS="--model models/nin.yaml --batch 16 --precision fp32"
    PYTHON=/path/to/venv/bin/python make bench   # the interpreter that has torch

Both sides compute the same network from the same kind of u8 images on the same number of threads,
in turns (ninc, PyTorch, ninc, ...); medians are compared, and the lowest and highest are shown.
PyTorch is given the best of contiguous and channels_last, and of eager and torch.compile; bf16 is
torch.autocast there and --precision=bf16 here. Ratios count, and only those of a quiet machine: a
thread that must share its processor slows all down.

Memory is the peak of what is resident: of PyTorch that of its most economical way, so without what
torch.compile itself takes. The whole table goes to bench/results/cpu-KIND.json, KIND being the
machine's, and into bench/README.md; a part of it, or --quick, only to --output.

SKIP lines say what could not be measured, and why.
"""
import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
NIN, FASHION = "models/nin.yaml", "models/nin_fashion.yaml"
CIFAR = "tests/models/plain/nin_cifar10.yaml"  # without dropout, as in the results that there are
# One row a model, at a batch that both sides' memory allows; models that differ from another one
# in the number of classes alone have none: nin_cifar100 stands for nin_cifar10 with its dropout.
MODELS = [("lenet", 256), ("lenet_caffe", 64), ("nin_mnist", 128), ("nin_cifar100", 128),
          ("nin_bn", 64), ("nin_d2l", 16),
          ("nin_imagenet", 16), ("alexnet", 32), ("alexnet_torchvision", 32), ("vgg_cifar10", 64),
          ("vgg11", 8), ("vgg11_bn", 8), ("vgg16", 8), ("resnet20", 64), ("resnet18", 16),
          ("mobilenet", 64)]
STEPS = [(NIN, 16, "train"), (NIN, 128, "train"), (CIFAR, 32, "train"), (CIFAR, 128, "train"),
         (FASHION, 64, "train"), (NIN, 1, "eval"), (NIN, 16, "eval")] + [
             (f"models/{name}.yaml", batch, mode)
             for name, batch in MODELS for mode in ("train", "eval")]
PRECISIONS = ("fp32", "bf16")
FORMATS = ("contiguous", "channels_last")
IMAGES = 1024  # of the random data set, as in ninc's --data random
RANDOM_TEST_IMAGES = 256  # of the same
TABLE = ("<!-- cpu table -->", "<!-- end of cpu table -->")


class Skip(Exception):
    """A measurement that cannot be made; its text says why."""


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", nargs="+", help="only these model files")
    p.add_argument("--batch", type=int, nargs="+", help="only these batch sizes")
    p.add_argument("--mode", nargs="+", choices=("train", "eval"), help="only these")
    p.add_argument("--precision", nargs="+", choices=PRECISIONS, help="only these")
    p.add_argument("--quick", action="store_true", help="one round of a second, eager only")
    p.add_argument("--processor-time", action="store_true",
                   help="one thread, seconds of the processor instead of the clock's, eager only: "
                        "for a busy machine")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    p.add_argument("--seconds", type=float, default=2, help="about how long each measurement takes")
    p.add_argument("--limit", type=float, default=7200, help="start no row after so many seconds")
    p.add_argument("--python", default=os.environ.get("PYTHON") or sys.executable,
                   help="interpreter that has torch (default: $PYTHON, else this one)")
    p.add_argument("--ninc", default="./ninc")
    p.add_argument("--output", help="the JSON file (default: bench/results/cpu-KIND.json)")
    p.add_argument("--torch-worker", help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1
    if options.processor_time:
        options.threads = 1
    return options


def chosen_rows(options):
    """(model, batch, mode, precision) of each row; a model outside of the table is trained."""
    def wanted(value, choice):
        return not choice or value in choice
    steps = [s for s in STEPS if wanted(s[0], options.model) and wanted(s[1], options.batch)
             and wanted(s[2], options.mode)]
    if not steps and options.model and options.batch:
        steps = [(m, b, mode) for m in options.model for b in options.batch
                 for mode in options.mode or ["train"]]
    return [s + (p,) for s in steps for p in PRECISIONS if wanted(p, options.precision)]


def is_whole_table(options):
    return not (options.quick or options.model or options.batch or options.mode
                or options.precision or options.processor_time)


# ---- processes ----

def peak_mb(process="self"):
    """Peak resident MB of a process; 0 when it has ended. (What wait4 tells is no less than what
    the process that started it had.)"""
    try:
        with open(f"/proc/{process}/status") as f:
            found = re.search(r"^VmHWM:\s*(\d+) kB", f.read(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) / 1024 if found else 0


def run_measured(command):
    """Runs it; (output, peak resident MB)."""
    environment = dict(os.environ)
    environment.pop("OMP_NUM_THREADS", None)
    peak = 0
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(command, cwd=TOP, stdout=output, stderr=subprocess.STDOUT,
                              env=environment) as process:
            while process.poll() is None:
                peak = max(peak, peak_mb(process.pid))
                time.sleep(0.01)
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        raise Skip(f"{' '.join(command)}: exit {process.returncode}: {last_line(text)}")
    return text, peak


def processor_seconds():
    """Of all processes so far that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


# ---- PyTorch: the network that a model file describes, one configuration a process ----

def read_model(path):
    import yaml
    with open(os.path.join(TOP, path)) as f:
        return yaml.safe_load(f)


def pair(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value, value)


def primitive_layers(model):
    """(kind, keys) of each layer, with the primitive layers that `mlpconv` stands for."""
    for layer in model["layers"]:
        (kind, keys), = layer.items() if isinstance(layer, dict) else [(layer, {})]
        keys = dict(keys or {})
        if kind != "mlpconv":
            yield kind, keys
            continue
        name, out, last = keys.get("name"), keys["out_channels"], keys
        out = out if isinstance(out, list) else [out] * 3
        for i, channels in enumerate(out):
            keys = {k: v for k, v in last.items() if k != "name"} if i == 0 else dict(kernel_size=1)
            yield "conv2d", dict(keys, out_channels=channels)
            yield "relu", dict(name=name) if i == 2 and name else {}


def make_layer(kind, keys, shape):
    """The PyTorch module of a layer, or the name of what make_network does itself; shape: of what
    it reads, [channels, height, width] or [values]."""
    import torch.nn as nn

    def window(*more):
        named = {"kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", *more}
        return {k: v if isinstance(v, bool) else pair(v) for k, v in keys.items() if k in named}
    if kind == "conv2d":
        plain = {k: keys[k] for k in ("groups", "bias") if k in keys}
        return nn.Conv2d(shape[0], keys["out_channels"], **window("dilation"), **plain)
    if kind == "linear":
        return nn.Linear(shape[0], keys["out_features"], bias=keys.get("bias", True))
    if kind == "batch_norm":
        make = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
        return make(shape[0], **{k: keys[k] for k in ("eps", "momentum", "affine") if k in keys})
    if kind in ("maxpool", "avgpool"):
        return (nn.MaxPool2d if kind == "maxpool" else nn.AvgPool2d)(**window())
    if kind == "local_response_norm":
        return nn.LocalResponseNorm(**{k: v for k, v in keys.items() if k not in ("name", "input")})
    if kind in ("add", "concat"):
        return kind
    make = dict(relu=lambda: nn.ReLU(inplace=True), sigmoid=nn.Sigmoid, tanh=nn.Tanh,
                flatten=nn.Flatten, gap=lambda: nn.AdaptiveAvgPool2d(1),
                dropout=lambda: nn.Dropout(keys.get("p", 0.5)))
    if kind not in make:
        raise SystemExit(f"no PyTorch module is known for the layer {kind}")
    return make[kind]()


def build_network(model):
    """A model file's layers, each of which reads the one before or those that it names."""
    import torch
    import torch.nn as nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts, self.steps, values = nn.ModuleList(), [], {}
            self.read = {n for _, keys in primitive_layers(model)
                         for n in keys.get("inputs", []) + [keys.get("input")]}
            x = torch.zeros(2, *model["input"]["shape"])
            for kind, keys in primitive_layers(model):
                names = keys.get("inputs") or ([keys["input"]] if "input" in keys else [None])
                of = values[names[0]] if names[0] else x
                part = make_layer(kind, keys, of.shape[1:])
                joins = isinstance(part, str)
                if not joins:
                    self.parts.append(part)
                self.steps.append((part if joins else len(self.parts) - 1, names,
                                   keys.get("name")))
                with torch.no_grad():
                    x = self.run(self.steps[-1], x, values)

        def run(self, step, x, values):
            part, names, name = step
            read = [values[n] if n else x for n in names]
            if part == "add":
                x = sum(read[1:], read[0])
            elif part == "concat":
                x = torch.cat(read, 1)
            else:
                x = self.parts[part](read[0])
            if name in self.read:
                values[name] = x
            return x

        def forward(self, x):
            values = {}
            for step in self.steps:
                x = self.run(step, x, values)
            return x.flatten(1)
    return Network()


def make_forward(model, network, layout):
    """u8 images and labels -> loss, or (labels None) logits."""
    import torch
    import torch.nn.functional as F
    shape = model["input"]["shape"]
    mean, std = (torch.tensor(model["input"].get(key, [value])).view(1, -1, 1, 1)
                 for key, value in (("mean", 0.0), ("std", 1.0)))

    def forward(images, labels):
        x = (images.float() / 255 - mean) / std
        if "resize" in model["input"]:
            x = F.interpolate(x, shape[1:], mode="bilinear", align_corners=False)
        out = network(x.contiguous(memory_format=layout))
        return out if labels is None else F.cross_entropy(out, labels)
    return forward


def make_optimizer(model, network):
    import torch
    (kind, keys), = model["optimizer"].items()
    keys = {k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()}
    make = torch.optim.Adam if kind == "adam" else torch.optim.SGD
    try:
        return make(network.parameters(), fused=True, **keys)
    except (RuntimeError, TypeError):  # PyTorch before 2.4
        return make(network.parameters(), **keys)


def make_step(model, batch, mode, precision, memory_format, way):
    """step(n): a training step or a forward pass on the n-th images."""
    import torch
    layout = getattr(torch, {"contiguous": "contiguous_format"}.get(memory_format, memory_format))
    network = build_network(model).to(memory_format=layout)
    shape = model["input"]["shape"]
    source = [shape[0], 28, 28] if "resize" in model["input"] else shape
    images = torch.randint(0, 256, [IMAGES] + source, dtype=torch.uint8)
    labels = torch.randint(0, 10, [IMAGES])
    forward = make_forward(model, network, layout)
    if way == "compile":
        if mode == "eval":
            import torch._inductor.config
            torch._inductor.config.freezing = True  # parameters are constants
        forward = torch.compile(forward)
    optimizer = make_optimizer(model, network)
    network.train(mode == "train")

    def step(number):
        at = number * batch % (IMAGES - batch + 1)
        x, y = images[at:at + batch], labels[at:at + batch]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = forward(x, y if mode == "train" else None)
        if mode == "train":
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return step


def torch_worker(options):
    """Warms up, says `ready VERSION`; then for each line of seconds one of JSON."""
    import torch
    model, batch, mode, precision, memory_format, way = options.torch_worker.split(":")
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    batch = int(batch)
    with torch.set_grad_enabled(mode == "train"):
        step = make_step(read_model(model), batch, mode, precision, memory_format, way)
        for number in range(2):
            step(number)
        print("ready", torch.__version__, flush=True)
        clock = time.process_time if options.processor_time else time.monotonic
        for line in sys.stdin:
            start, steps = clock(), 0
            while clock() - start < float(line):
                steps += 1
                step(steps)
            rate = steps * batch / (clock() - start)
            print(json.dumps(dict(images_per_second=rate, mb=peak_mb())), flush=True)


class Torch:
    """A PyTorch process that is warm, and idle between measurements."""

    def __init__(self, options, row, memory_format, way):
        configuration = ":".join(str(part) for part in row + (memory_format, way))
        self.command = [options.python, os.path.join("bench", "bench.py"), "--threads",
                        str(options.threads), "--torch-worker", configuration]
        if options.processor_time:
            self.command.append("--processor-time")
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, cwd=TOP, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True)
        words = self.answer("ready").split()
        self.config = f"{way}, {memory_format}, {words[1]}"

    def answer(self, beginning):
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line
        self.process.wait()
        self.errors.seek(0)
        raise Skip(last_line(self.errors.read()))

    def measure(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return json.loads(self.answer("{"))

    def close(self):
        """Without input it ends, and with it what torch.compile started."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def try_torch(options, row, memory_format, way):
    """(worker, its first measurement), or None after a SKIP line."""
    try:
        worker = Torch(options, row, memory_format, way)
        trial = worker.measure(options.seconds)
    except Skip as reason:
        print(f"  SKIP PyTorch {way}, {memory_format}: {reason}")
        return None
    print(f"  trial: PyTorch {worker.config}: {trial['images_per_second']:.1f} images/s, "
          f"{trial['mb']:.0f} MB")
    return worker, trial


def best_torch(options, row):
    """The fastest way, still running, and the least memory of all ways; (None, None): none."""
    best, megabytes = None, []

    def compete(memory_format, way):
        nonlocal best
        tried = try_torch(options, row, memory_format, way)
        if not tried:
            return
        worker, rate = tried[0], tried[1]["images_per_second"]
        megabytes.append(tried[1]["mb"])
        slower = worker
        if not best or rate > best[1]:
            slower, best = best and best[0], (worker, rate, memory_format)
        if slower:
            slower.close()

    for memory_format in FORMATS:
        compete(memory_format, "eager")
    # Compiling takes long: only what was the better one eagerly.
    if not options.quick and not options.processor_time:
        compete(best[2] if best else FORMATS[-1], "compile")
    return (best[0], min(megabytes)) if best else (None, None)


# ---- ninc ----

def has_bf16(options, model):
    """Whether ninc computes in bf16 on the CPU: its IR then has such values."""
    text, _ = run_measured([options.ninc, model, "--precision=bf16", "--target=cpu", "--emit=ir"])
    return "bf16[" in text


class Ninc:
    """A trainer compiled for one row."""

    def __init__(self, options, row, scratch):
        self.model, self.batch, self.mode, precision = row
        if precision == "bf16" and not has_bf16(options, self.model):
            raise Skip("ninc computes in fp32 only on the CPU (its IR has no bf16 value)")
        name = os.path.splitext(os.path.basename(self.model))[0]
        self.directory = os.path.join(scratch, f"{name}-{self.batch}-{precision}")
        self.options = ["--device", "cpu", "--threads", str(options.threads)]
        command = [options.ninc, self.model, f"--batch={self.batch}", f"--precision={precision}",
                   "--target=cpu", "-q", "-o", self.directory]
        run_measured(command)
        self.command = " ".join(command)
        self.processor_time = options.processor_time
        self.memory = 0
        self.rate = self.measure(0)  # learns how many steps a measurement takes
        if self.mode == "eval" and not self.memory:
            self.memory = self.eval_memory()

    def run(self, command, *flags):
        """(output, peak MB) of a command of the trainer."""
        return run_measured([os.path.join(self.directory, "trainer"), command] + list(flags)
                            + self.options)

    def train(self, steps, *flags):
        # On random images the rates that models are trained with may diverge.
        rate = [] if self.model in (NIN, CIFAR, FASHION) else ["--lr", "1e-6"]
        return self.run("train", "--data", "random", "--no-eval", "--no-progress", "--epochs",
                        "100000", "--max-steps", str(steps), "--log-every", "1", *rate, *flags)

    def measure(self, seconds):
        """Images a second."""
        if self.processor_time:
            return self.measure_processor(seconds)
        return self.measure_train(seconds) if self.mode == "train" else self.measure_eval()

    def measure_processor(self, seconds):
        """Images a second of the processor: what a run takes more than a shorter one; of inference
        what a whole run over the test images takes."""
        if self.mode == "eval":
            if not self.memory:
                self.memory = self.eval_memory()
            before = processor_seconds()
            self.run("eval", "--data", "random", "--weights",
                     os.path.join(self.directory, "bench.safetensors"))
            return RANDOM_TEST_IMAGES / (processor_seconds() - before)
        steps = max(3, int(self.rate * seconds / self.batch)) if seconds else 3
        taken = []
        for count in (2, 2 + steps):
            before = processor_seconds()
            self.memory = max(self.memory, self.train(count)[1])
            taken.append(processor_seconds() - before)
        return steps * self.batch / max(taken[1] - taken[0], 1e-6)

    def measure_train(self, seconds):
        """From the log, without the first step."""
        log = os.path.join(self.directory, "bench.jsonl")
        steps = max(3, int(self.rate * seconds / self.batch) + 2) if seconds else 3
        _, memory = self.train(steps, "--log", log)
        self.memory = max(self.memory, memory)
        with open(log) as f:
            rates = [json.loads(line)["images_per_second"] for line in f if '"train"' in line][1:]
        # Equal numbers of images a line: the harmonic mean is the rate over all of them.
        return statistics.harmonic_mean(rates)

    def measure_eval(self):
        path = os.path.join(self.directory, "profile.json")
        self.run("profile", "--eval", "--repeats", "5", "--json", path)
        with open(path) as f:
            return self.batch / json.load(f)["step_seconds"]

    def eval_memory(self):
        """Of a pass over the test images: profile's own buffers do not count."""
        weights = os.path.join(self.directory, "bench.safetensors")
        self.train(1, "--save", weights)
        return self.run("eval", "--data", "random", "--weights", weights)[1]


# ---- both ----

def measure_row(options, row, with_torch, scratch):
    model, batch, mode, precision = row
    name = os.path.splitext(os.path.basename(model))[0]
    result = dict(model=name, batch=batch, mode=mode, precision=precision)
    print(f"\n{model}, batch {batch}, {mode}, {precision}", flush=True)
    try:
        if time.monotonic() > options.deadline:
            raise Skip(f"--limit: {options.limit:.0f} seconds are over")
        ninc = Ninc(options, row, scratch)
    except Skip as reason:
        print(f"  SKIP: {reason}")
        return dict(result, skip=str(reason))
    print(f"  $ {ninc.command}")
    worker, megabytes = best_torch(options, row) if with_torch else (None, None)
    with contextlib.closing(worker) if worker else contextlib.nullcontext():
        take_turns(options, ninc, worker, megabytes, result)
    return result


def take_turns(options, ninc, worker, megabytes, result):
    """Fills in the row's medians."""
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(ninc.measure(options.seconds))
        if worker:
            theirs.append(worker.measure(options.seconds)["images_per_second"])
    result.update(ninc_images_per_second=statistics.median(ours), ninc_mb=ninc.memory)
    report("ninc", ours, ninc.memory)
    if worker:
        result.update(pytorch_images_per_second=statistics.median(theirs),
                      pytorch_config=worker.config, pytorch_mb=megabytes,
                      ratio=statistics.median(ours) / statistics.median(theirs))
        report("PyTorch " + worker.config, theirs, megabytes)
        print(f"  ninc / PyTorch: speed {result['ratio']:.2f}x, "
              f"memory {ninc.memory / megabytes:.3f}x", flush=True)


def report(name, rates, megabytes):
    print(f"  {name:48s} {statistics.median(rates):9.1f} images/s "
          f"({min(rates):.1f} to {max(rates):.1f}) {megabytes:8.0f} MB")


def table(result):
    lines = ["| model | step | batch | precision | ninc images/s | PyTorch images/s | ratio | "
             "ninc MB | PyTorch MB | PyTorch's best |", "|---|---|---|---|---|---|---|---|---|---|"]
    for r in result["rows"]:
        start = f"| {r['model']} | {r['mode']} | {r['batch']} | {r['precision']} | "
        if "skip" in r:
            lines.append(start + "SKIP | - | - | - | - | - |")
            continue
        theirs = "ratio" in r
        lines.append(
            start + f"{r['ninc_images_per_second']:.1f} | "
            + (f"{r['pytorch_images_per_second']:.1f} | {r['ratio']:.2f}x | " if theirs
               else "- | - | ")
            + f"{r['ninc_mb']:.0f} | "
            + (f"{r['pytorch_mb']:.0f} | {r['pytorch_config']} |" if theirs else "- | - |"))
    return lines


def write_table(markers, lines):
    """Puts a machine's table between the markers in bench/README.md, in place of the one that it
    had. lines[0] begins with the machine's name and a comma; tables stand apart by such lines."""
    path = os.path.join(HERE, "README.md")
    with open(path) as f:
        text = f.read()
    begin, end = text.find(markers[0]), text.find(markers[1])
    if begin < 0 or end < begin:
        print(f"SKIP the table of bench/README.md: it has no place marked {markers[0]}")
        return
    begin += len(markers[0])
    tables = re.split(r"\n\n(?=[^|\n])", text[begin:end].strip("\n"))
    machine = lines[0].split(",")[0] + ","
    tables = [t for t in tables if "|" in t and not t.startswith(machine)] + ["\n".join(lines)]
    with open(path, "w") as f:
        f.write(text[:begin] + "\n" + "\n\n".join(tables) + "\n" + text[end:])


def write_json(path, result):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as out:
        json.dump(result, out, indent=1)
        out.write("\n")
    print(f"\nwritten: {os.path.relpath(path, TOP)}")


def torch_is_there(python=sys.executable):
    try:
        probe = subprocess.run([python, "-c", "import torch, yaml; print(torch.__version__)"],
                               capture_output=True, text=True)
    except OSError as error:
        print(f"SKIP: PyTorch side: {python}: {error.strerror}")
        return None
    if probe.returncode != 0:
        print(f"SKIP: PyTorch side: {python}: {last_line(probe.stderr)} (name an interpreter that "
              "has torch and yaml by $PYTHON; Debian: apt-get install python3-torch python3-yaml)")
        return None
    return probe.stdout.strip()


def warn_if_busy(options):
    """Threads wait for each other after every loop: one that must share its processor makes all of
    them many times slower, and not both sides equally."""
    load, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load + options.threads > processors + 0.5:
        print(f"WARNING: load average {load:.1f} beside {options.threads} threads on {processors} "
              "processors: figures, and also ratios, will be wrong; wait, or use fewer --threads")
    return load


def processor():
    """Model name of the CPU."""
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    return found[1].strip() if found else platform.machine()


def file_name(device):
    """NVIDIA H200 -> h200, Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz ->
    intel_xeon_platinum_8481c."""
    name = re.sub(r"^nvidia\s+|\((r|tm)\)|\bcpu\b|\bprocessor\b|\d+-core|@.*", " ", device.lower())
    return re.sub(r"[^a-z0-9]+", "_", name).strip("_")


def main():
    options = arguments()
    if options.torch_worker:
        return torch_worker(options)
    rows = chosen_rows(options)
    if not rows:
        sys.exit("no such row; a model outside of the table needs --model and --batch")
    device = processor()
    options.deadline = time.monotonic() + options.limit
    print(f"{device}, {options.threads} threads, {options.rounds} rounds")
    load = warn_if_busy(options)
    version = torch_is_there(options.python)
    with tempfile.TemporaryDirectory(prefix="ninc-bench-") as scratch:
        measured = [measure_row(options, row, version, scratch) for row in rows]
    result = dict(device=device, date=datetime.date.today().isoformat(), threads=options.threads,
                  torch=version, load_average=load, rows=measured)
    lines = table(result)
    print("\n" + "\n".join(lines))
    whole = is_whole_table(options) and version
    if options.output or whole:
        write_json(options.output or os.path.join(HERE, "results",
                                                  f"cpu-{file_name(device)}.json"), result)
    if whole:
        write_table(TABLE, [f"{device}, {options.threads} threads, PyTorch {version}, "
                            f"{result['date']}, `make bench`:", ""] + lines)
    return None


if __name__ == "__main__":
    main()

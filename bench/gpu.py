#!/usr/bin/env python3
"""A training step on the GPU: ninc beside PyTorch, both on this machine, in one run.

    make bench-gpu
    make bench-gpu BENCH_OPTIONS="--batch 128 --precision bf16"

Models: models/nin.yaml and models/nin_cifar10.yaml, on random images that lie on the device.
PyTorch runs eagerly and under torch.compile with CUDA graphs (mode="reduce-overhead"), in NHWC
(channels_last); the faster one counts. fp32 forbids tf32, tf32 allows it, bf16 is autocast. Steps
are timed with CUDA events on both sides; medians of --rounds groups of steps. One process at a time
uses the GPU while it is timed; PyTorch's warm up several at once, since they compile for long.

Prints each kernel's time beside its floor, max(bytes / copy bandwidth, FLOP / matrix peak), both
ceilings measured here. The whole table goes to bench/results/DEVICE.json and into bench/README.md;
a part of it only to --output, and so does a table without PyTorch's side.
SKIP lines say what could not be measured, and why. Ends within --seconds: ninc comes first, then
PyTorch by batch in the order of --torch-batch.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import bench

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
PRECISIONS = ("fp32", "tf32", "bf16")
WAYS = ("eager", "compile")
LARGE, LARGE_AT_ONCE = 512, 6  # of batches from here on so many share the GPU's memory
WARM_SECONDS = 150  # that PyTorch processes may take until they are warm
TIMING_SECONDS = 6  # about, of one of them then
PROFILE_SECONDS = 120  # at most, of ninc's compilation or profile
TABLE = ("<!-- gpu table -->", "<!-- end of gpu table -->")
MODELS = ["models/nin.yaml", "models/nin_cifar10.yaml"]
BATCHES = [16, 128, 1024]


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", nargs="+", default=MODELS)
    p.add_argument("--batch", type=int, nargs="+", default=BATCHES)
    p.add_argument("--torch-batch", type=int, nargs="+", default=[128, 1024, 16])
    p.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    p.add_argument("--rounds", type=int, default=7, help="groups of steps; their median counts")
    p.add_argument("--group", type=float, default=0.15, help="seconds a group of steps")
    p.add_argument("--seconds", type=float, default=450, help="limit for all of it")
    p.add_argument("--ninc", default="./ninc")
    p.add_argument("--output", help="the JSON file (default: bench/results/DEVICE.json, where the "
                   "table is whole)")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    return p.parse_args()


# ---- PyTorch: one process a configuration ----

def make_step(model_path, batch, precision, way, device="cuda"):
    """The training step as a function without arguments, which returns the loss."""
    import torch
    import torch.nn.functional as F
    torch.manual_seed(1)
    allow = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allow
    torch.backends.cudnn.allow_tf32 = allow
    torch.backends.cudnn.benchmark = True
    model = bench.read_model(model_path)
    shape = model["input"]["shape"]
    source = [shape[0], 28, 28] if "resize" in model["input"] else shape
    network = bench.build_network(model).to(device, memory_format=torch.channels_last)
    (kind, keys), = model["optimizer"].items()
    keys = {k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()}
    optimizer = (torch.optim.Adam if kind == "adam" else torch.optim.SGD)(
        network.parameters(), fused=True, **(dict(keys, capturable=True) if kind == "adam"
                                             else keys))
    images = torch.randint(0, 256, [batch] + source, dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, [batch], device=device)

    def loss_of():
        x = images.float() / 255
        if "resize" in model["input"]:
            x = F.interpolate(x, shape[1:], mode="bilinear", align_corners=False)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            return F.cross_entropy(network(x).float(), labels)

    forward = torch.compile(loss_of, mode="reduce-overhead") if way == "compile" else loss_of

    def step():
        if way == "compile":
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss
    return step


def time_steps(options, step):
    """Median seconds of a step, by CUDA events around groups of steps."""
    import torch

    def group(count):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(count):
            step()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / count
    once = group(3)
    count = max(3, int(options.group / once))
    return statistics.median(group(count) for _ in range(options.rounds))


def worker(options):
    """Warms up, says `ready`, waits for a line, times, prints one JSON line."""
    import torch
    model_path, batch, precision, way = options.worker.split(":")
    torch.cuda.reset_peak_memory_stats()
    step = make_step(model_path, int(batch), precision, way)
    for _ in range(12):
        step()
    torch.cuda.synchronize()
    print("ready", flush=True)
    sys.stdin.readline()
    seconds = time_steps(options, step)
    print(json.dumps(dict(seconds=seconds, bytes=torch.cuda.max_memory_reserved(),
                          version=torch.__version__)), flush=True)


def start_worker(options, configuration):
    command = [sys.executable, os.path.join("bench", "gpu.py"), "--worker",
               ":".join(str(c) for c in configuration), "--rounds", str(options.rounds),
               "--group", str(options.group)]
    errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would stop it
    process = subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=errors, text=True, start_new_session=True,
                               env=dict(os.environ, TORCHINDUCTOR_COMPILE_THREADS="2",
                                        OMP_NUM_THREADS="2"))
    process.errors = errors
    return process


def torch_waves(options, keys):
    """Configurations that warm up together."""
    waves, at_once = [], max(2, (os.cpu_count() or 2) * 3 // 4)
    for batch in options.torch_batch:
        size = min(at_once, LARGE_AT_ONCE) if batch >= LARGE else at_once
        of_batch = [k + (w,) for k in keys if k[1] == batch for w in WAYS]
        waves += [of_batch[i:i + size] for i in range(0, len(of_batch), size)]
    return waves


def measure_torch(options, keys):
    """{configuration: result}; all of a wave are warm before the first of them is timed."""
    results = {}
    for wave in torch_waves(options, keys):
        warm_until = min(options.deadline - TIMING_SECONDS * len(wave),
                         time.monotonic() + WARM_SECONDS)
        started = []
        if time.monotonic() < warm_until - 10:
            started = [(c, start_worker(options, c)) for c in wave]
        else:
            results.update((c, dict(error="the time is over")) for c in wave)
        ready = [(c, p, wait_ready(p, warm_until)) for c, p in started]
        for configuration, process, warm in ready:
            results[configuration] = finish_worker(process, warm)
        for configuration in wave:
            if "error" in results[configuration]:
                print(f"SKIP PyTorch {configuration}: {results[configuration]['error']}")
    return results


def wait_ready(process, until):
    """Whether it says `ready` in time."""
    left = max(0.0, until - time.monotonic())
    return bool(select.select([process.stdout], [], [], left)[0]) and \
        process.stdout.readline().strip() == "ready"


def finish_worker(process, warm):
    output, why, late = "", "it ended without a word", False
    try:
        if warm:
            output = process.communicate("go\n", timeout=10 * TIMING_SECONDS)[0]
        else:
            process.wait(0.5)  # it has just died, or is late
    except subprocess.TimeoutExpired:
        why, late = "its steps take too long" if warm else "it was not warm in time", True
        os.killpg(process.pid, signal.SIGKILL)  # with those that compile for it
        process.wait()
    if output.startswith("{"):
        return json.loads(output.splitlines()[0])
    process.errors.seek(0)
    lines = process.errors.read().strip().splitlines()
    return dict(error=lines[-1] if lines and not late else why)


# ---- ninc ----

def run(command):
    """None, or the last line of what went wrong."""
    try:
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True,
                              timeout=PROFILE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{os.path.basename(command[0])} takes longer than {PROFILE_SECONDS} s"
    lines = (done.stderr or done.stdout).strip().splitlines()
    return None if done.returncode == 0 else lines[-1] if lines else f"exit {done.returncode}"


def compile_ninc(options, keys, scratch):
    """{key: (directory, command, error or None)}, several at once."""
    def compile_one(key):
        model, batch, precision = key
        directory = os.path.join(scratch, f"{os.path.basename(model)}-{batch}-{precision}")
        command = [options.ninc, model, f"--batch={batch}", f"--precision={precision}",
                   "--target=cuda", "-q", "-o", directory]
        return key, (directory, command, run(command))
    with concurrent.futures.ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        return dict(pool.map(compile_one, keys))


def profile_ninc(options, compiled):
    """One `trainer profile`; its JSON, or {"error": ...}."""
    directory, command, error = compiled
    out = os.path.join(directory, "profile.json")
    profile = [os.path.join(directory, "trainer"), "profile", "--device", "cuda", "--repeats",
               str(options.rounds), "--json", out]
    error = error or run(profile)
    if error:
        return dict(error=error)
    with open(out) as f:
        return dict(json.load(f), command=" ; ".join(" ".join(c) for c in (command, profile)))


# ---- ceilings ----

def ceilings():
    """Copy bandwidth in bytes/s and matrix rates in FLOP/s, measured on this GPU."""
    import torch

    def seconds(f):
        f()
        times = []
        for _ in range(10):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            f()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(times)
    source = torch.empty(1 << 31, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    out = dict(bytes_per_second=2 * source.numel() / seconds(lambda: target.copy_(source)))
    del source, target
    n = 8192
    for precision in PRECISIONS:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
        out[precision] = 2 * n ** 3 / seconds(lambda: torch.mm(a, b))
    torch.cuda.empty_cache()
    return out


# ---- reporting ----

def report_kernels(profile, precision, peak):
    print(f"  {'kernel':34s} {'class':18s} {'us':>9s} {'floor us':>9s} {'of floor':>8s}")
    for k in profile["kernels"]:
        floor = max(k["bytes"] / peak["bytes_per_second"], k["flop"] / peak[precision])
        k["floor_seconds"] = floor
        print(f"  {k['name']:34s} {k['class']:18s} {k['seconds'] * 1e6:9.1f} {floor * 1e6:9.1f} "
              f"{floor / k['seconds']:8.0%}" if k["seconds"] > 0 else f"  {k['name']}: no time")


def make_row(model, batch, precision, profile, torch_results):
    row = dict(model=model, batch=batch, precision=precision,
               ninc_us_per_image=profile["step_seconds"] * 1e6 / batch,
               pytorch_us_per_image=None, pytorch_config=None, ratio=None,
               ninc_bytes=profile["arena_bytes"], pytorch_bytes=None)
    best = min((w for w in WAYS if "seconds" in torch_results.get(w, {})),
               key=lambda w: torch_results[w]["seconds"], default=None)
    if best:
        theirs = torch_results[best]
        autocast = ", autocast" if precision == "bf16" else ""
        row.update(pytorch_us_per_image=theirs["seconds"] * 1e6 / batch,
                   pytorch_config=f"{best}, channels_last{autocast}, {theirs['version']}",
                   pytorch_bytes=theirs["bytes"])
        row["ratio"] = row["pytorch_us_per_image"] / row["ninc_us_per_image"]
    return row


def table(result):
    lines = ["| model | batch | precision | ninc us/image | PyTorch us/image | ratio | "
             "ninc MB | PyTorch MB | PyTorch's best |", "|---|---|---|---|---|---|---|---|---|"]
    for r in result["rows"]:
        theirs = r["pytorch_config"] is not None
        lines.append(
            f"| {r['model']} | {r['batch']} | {r['precision']} | {r['ninc_us_per_image']:.2f} | "
            + (f"{r['pytorch_us_per_image']:.2f} | {r['ratio']:.2f}x | " if theirs else "- | - | ")
            + f"{r['ninc_bytes'] / 1e6:.0f} | "
            + (f"{r['pytorch_bytes'] / 1e6:.0f} | {r['pytorch_config']} |" if theirs
               else "- | - |"))
    return lines


def is_whole_table(options, result):
    """Each model, batch and precision, and both sides: what is published."""
    asked = (options.model, options.batch, options.precision)
    return (asked == (MODELS, BATCHES, list(PRECISIONS)) and
            any(r["pytorch_config"] for r in result["rows"]))


def gpu_name():
    """(name, driver version) of the first GPU, or None after a SKIP line."""
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version",
                               "--format=csv,noheader"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    line = done.stdout.strip().splitlines()
    return [part.strip() for part in line[0].split(",")] if done.returncode == 0 and line else None


def report_ninc(key, profile, peak):
    model, batch, precision = key
    print(f"\n{model} batch {batch} {precision}")
    if "error" in profile:
        print(f"SKIP ninc: {profile['error']}")
        return
    print(f"  $ {profile['command']}\n  step {profile['step_seconds'] * 1e6:.1f} us", flush=True)
    if peak:
        report_kernels(profile, precision, peak)


def write_results(options, gpu, peak, profiles, theirs):
    rows, details = [], []
    for (model, batch, precision), profile in profiles.items():
        if "error" in profile:
            continue
        name = os.path.splitext(os.path.basename(model))[0]
        ways = {w: theirs.get((model, batch, precision, w), {}) for w in WAYS}
        rows.append(make_row(name, batch, precision, profile, ways))
        details.append(dict(model=name, batch=batch, precision=precision,
                            kernels=profile["kernels"],
                            pytorch={w: r for w, r in ways.items() if r}))
    result = dict(device=gpu[0], driver=gpu[1], date=datetime.date.today().isoformat(),
                  ceilings=peak, rows=rows, details=details)
    print("\n" + "\n".join(table(result)))
    whole = is_whole_table(options, result)
    if options.output or whole:
        bench.write_json(options.output or os.path.join(
            HERE, "results", bench.file_name(gpu[0]) + ".json"), result)
    if whole:
        bench.write_table(TABLE, [f"{result['device']}, driver {result['driver']}, "
                                  f"{result['date']}, `make bench-gpu`:", ""] + table(result))


def main():
    options = arguments()
    if options.worker:
        return worker(options)
    gpu = gpu_name()
    if not gpu:
        print("SKIP: bench-gpu needs an NVIDIA GPU, and nvidia-smi shows none")
        return 0
    options.deadline = time.monotonic() + options.seconds
    with_torch = bench.torch_is_there()
    keys = [(m, b, p) for m in options.model for b in options.batch for p in options.precision]
    profiles = {}
    with tempfile.TemporaryDirectory(prefix="ninc-bench-") as scratch:
        compiled = compile_ninc(options, keys, scratch)
        peak = ceilings() if with_torch else None
        for key in keys:
            profiles[key] = profile_ninc(options, compiled[key])
            report_ninc(key, profiles[key], peak)
    theirs = measure_torch(options, keys) if with_torch else {}
    write_results(options, gpu, peak, profiles, theirs)
    return int(any("error" in p for p in profiles.values()))


if __name__ == "__main__":
    sys.exit(main())

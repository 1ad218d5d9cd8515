#!/usr/bin/env python3
"""A training step on the GPU: ninc beside PyTorch, both on this machine, in one run.

    make bench-gpu
    make bench-gpu BENCH_OPTIONS="--batch 128 --precision bf16"
    python3 bench/gpu.py --rows rows.jsonl --torch models/nin.yaml:128:bf16

Models: models/nin.yaml and tests/models/plain/nin_cifar10.yaml, on random images that lie on the
device.
PyTorch runs in NHWC (channels_last): eagerly, under torch.compile with CUDA graphs
(mode="reduce-overhead"), and with the whole step, optimizer and all, as one CUDA graph; on asking
(--ways) also under mode="max-autotune", and a compiled step as one graph. The fastest one counts.
fp32 forbids tf32, tf32 allows it, bf16 is autocast. Steps are timed with CUDA events on both sides;
medians of --rounds groups of steps. One process at a time uses the GPU while it is timed; PyTorch's
warm up several at once, since they compile for long.

Prints each kernel's time beside its floor, max(bytes / copy bandwidth, FLOP / matrix peak), both
ceilings measured here. The whole table goes to bench/results/DEVICE.json and into bench/README.md;
a part of it only to --output, and so does a table without PyTorch's side.
SKIP lines say what could not be measured, and why. Ends within --seconds: ninc comes first, then
PyTorch by batch in the order of --torch-batch.

With --torch only PyTorch runs, and what it gives goes to the file of --rows as it comes, one JSON
object a line (tests/first_contact.sh; bench/table.py makes the table). What the file has is not
measured again. Exit 1: something could not be measured; 3: the time was over before all of it was.
"""
import argparse
import concurrent.futures
import ctypes
import datetime
import glob
import json
import os
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
WAYS = ("eager", "compile", "graph")
MODES = {"compile": "reduce-overhead", "max-autotune": "max-autotune", "compile-graph": "default"}
ALL_WAYS = ("eager", "graph", "compile", "compile-graph", "max-autotune")
SLOW_WAY, SLOW_SECONDS = "max-autotune", 360  # its kernels are tuned while it warms up
NOT_WARM, TOO_LATE = "it was not warm in time", "the time is over"
EXIT_UNFINISHED = 3
LARGE, LARGE_AT_ONCE = 512, 6  # of batches from here on so many share the GPU's memory
WARM_SECONDS = 150  # that PyTorch processes may take until they are warm
TIMING_SECONDS = 6  # about, of one of them then
PROFILE_SECONDS = 120  # at most, of ninc's compilation or profile
TABLE = ("<!-- gpu table -->", "<!-- end of gpu table -->")
MODELS = ["models/nin.yaml", "tests/models/plain/nin_cifar10.yaml"]
BATCHES = [16, 128, 1024]


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", nargs="+", default=MODELS)
    p.add_argument("--batch", type=int, nargs="+", default=BATCHES)
    p.add_argument("--torch-batch", type=int, nargs="+", default=[128, 1024, 16])
    p.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    p.add_argument("--ways", nargs="+", default=list(WAYS), choices=ALL_WAYS,
                   help="how PyTorch runs")
    p.add_argument("--rounds", type=int, default=7, help="groups of steps; their median counts")
    p.add_argument("--group", type=float, default=0.15, help="seconds a group of steps")
    p.add_argument("--seconds", type=float, default=450, help="limit for all of it")
    p.add_argument("--ninc", default="./ninc")
    p.add_argument("--output", help="the JSON file (default: bench/results/DEVICE.json, where the "
                   "table is whole)")
    p.add_argument("--torch", nargs="+", metavar="MODEL:BATCH:PRECISION",
                   help="PyTorch alone, these rows")
    p.add_argument("--rows", help="the file of JSON lines that --torch adds to")
    p.add_argument("--phase", type=int, default=5, help="noted in the lines")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    options = p.parse_args()
    if bool(options.torch) != bool(options.rows):
        p.error("--torch and --rows FILE belong together")
    return options


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
        # A graph must cast the weights in every step: nothing of that may be kept from before it.
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16",
                            cache_enabled=not way.endswith("graph")):
            return F.cross_entropy(network(x).float(), labels)

    forward = torch.compile(loss_of, mode=MODES[way]) if way in MODES else loss_of

    def step():
        if way in ("compile", "max-autotune"):
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss
    return whole_step_graph(step, optimizer) if way.endswith("graph") else step


def whole_step_graph(step, optimizer):
    """The step, its optimizer too, as one CUDA graph; as PyTorch's notes on CUDA graphs have it:
    warm on a stream of its own, gradients first made inside the graph's memory."""
    import torch
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(11):  # cuDNN's choice, compilation, the optimizer's state
            step()
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


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
    """Warms up, says `ready`, waits for a line, times, prints one JSON line. Ends with its parent,
    however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if options.worker == "ceilings":
        print(json.dumps(ceilings()), flush=True)
        return
    import torch
    model_path, batch, precision, way = options.worker.split(":")
    torch.cuda.reset_peak_memory_stats()
    step = make_step(model_path, int(batch), precision, way)
    for _ in range(12):
        step()
    torch.cuda.synchronize()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
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


def torch_waves(configurations):
    """Configurations that warm up together, in their order: of one way's slowness and one size."""
    waves, at_once = [], max(2, (os.cpu_count() or 2) * 3 // 4)
    for c in configurations:
        kind = (c[3] == SLOW_WAY, c[1] >= LARGE)
        size = min(at_once, LARGE_AT_ONCE) if c[1] >= LARGE else at_once
        if not waves or waves[-1][0] != kind or len(waves[-1][1]) == size:
            waves.append((kind, []))
        waves[-1][1].append(c)
    return [wave for _, wave in waves]


def torch_results(options, configurations):
    """(configuration, result) of each, as they come; all of a wave are warm before the first of
    them is timed."""
    for wave in torch_waves(configurations):
        now = time.monotonic()
        warm_until = min(options.deadline - TIMING_SECONDS * len(wave),
                         now + (SLOW_SECONDS if wave[0][3] == SLOW_WAY else WARM_SECONDS))
        cut_short = warm_until < now + WARM_SECONDS
        if warm_until < now + 10:
            for configuration in wave:
                yield configuration, dict(error=TOO_LATE)
            continue
        started = [(c, start_worker(options, c)) for c in wave]
        ready = [(c, p, wait_ready(p, warm_until)) for c, p in started]
        for configuration, process, warm in ready:
            result = finish_worker(process, warm)
            if cut_short and result.get("error") == NOT_WARM:
                result = dict(error=TOO_LATE)
            yield configuration, result


def measure_torch(options, keys):
    """{configuration: result}"""
    configurations = [k + (w,) for batch in options.torch_batch for k in keys if k[1] == batch
                      for w in options.ways]
    results = {}
    for configuration, result in torch_results(options, configurations):
        results[configuration] = result
        if "error" in result:
            print(f"SKIP PyTorch {configuration}: {result['error']}")
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
        why, late = "its steps take too long" if warm else NOT_WARM, True
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


# ---- PyTorch alone, line by line ----

def row_name(configuration):
    model, batch, precision, way = configuration
    name = os.path.splitext(os.path.basename(model))[0]
    return f"torch {name}-{batch}-{precision} {way}"


def read_rows(path):
    """{name: the last line of that name}; a line that was cut off is none."""
    rows = {}
    if os.path.exists(path):
        with open(path, errors="replace") as f:
            for line in f:
                try:
                    row = json.loads(line)
                    rows[row["row"]] = row
                except (ValueError, KeyError, TypeError):
                    pass
    return rows


def add_row(options, name, result):
    """One line, in one piece; `error` is its text."""
    row = dict(row=name, phase=options.phase, status="error" if "error" in result else "ok")
    row.update((("text" if k == "error" else k), v) for k, v in result.items())
    line = json.dumps(row, separators=(",", ":")) + "\n"
    with open(options.rows, "a") as f:
        f.write(line)
    shown = result.get("error") or f"{result['seconds'] * 1e6:.1f} us a step" \
        if "seconds" in result or "error" in result else "done"
    print(f"{row['status']:7s} {name}: {shown}", flush=True)


def measure_ceilings():
    """In a process of its own, whose memory then is free."""
    command = [sys.executable, os.path.join("bench", "gpu.py"), "--worker", "ceilings"]
    try:
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        return dict(error="it takes longer than 90 s")
    if done.returncode == 0:
        return json.loads(done.stdout)
    return dict(error=bench.last_line(done.stderr))


def torch_rows(options):
    """The exit status."""
    options.rows = os.path.abspath(options.rows)
    options.deadline = time.monotonic() + options.seconds
    if not bench.torch_is_there():
        return 1
    wanted = []
    for text in options.torch:
        model, batch, precision = text.rsplit(":", 2)
        wanted += [(model, int(batch), precision, way) for way in options.ways]
    wanted.sort(key=lambda c: (c[3] == SLOW_WAY, c[1] >= LARGE))
    there = read_rows(options.rows)
    if "ceilings" not in there:
        add_row(options, "ceilings", measure_ceilings())
    left = 0
    for configuration, result in torch_results(
            options, [c for c in wanted if row_name(c) not in there]):
        if result.get("error") == TOO_LATE:
            left += 1
            continue
        add_row(options, row_name(configuration), result)
    there = read_rows(options.rows)
    if left:
        print(f"{left} left: the time is over; call again")
        return EXIT_UNFINISHED
    names = ["ceilings"] + [row_name(c) for c in wanted]
    return int(any(there.get(name, {}).get("status") != "ok" for name in names))


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
    best = min((w for w, r in torch_results.items() if "seconds" in r),
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
    return (asked == (MODELS, BATCHES, list(PRECISIONS)) and set(WAYS) <= set(options.ways) and
            any(r["pytorch_config"] for r in result["rows"]))


def gpu_name():
    """(name, driver version) of the first GPU; None where nvidia-smi shows none."""
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version",
                               "--format=csv,noheader"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    line = done.stdout.strip().splitlines()
    return [part.strip() for part in line[0].split(",")] if done.returncode == 0 and line else None


def without_gpu():
    """The exit status where nvidia-smi shows no GPU: a machine that has one may not say SKIP."""
    there = sorted(glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/dxg"))
    if there:
        print(f"error: there is a GPU ({there[0]}), but nvidia-smi does not show it: look at "
              "nvidia-smi, and that it is in $PATH")
        return 1
    print("SKIP: bench-gpu needs an NVIDIA GPU, and nvidia-smi shows none")
    return 0


def report_ninc(key, profile, peak):
    model, batch, precision = key
    print(f"\n{model} batch {batch} {precision}")
    if "error" in profile:
        print(f"SKIP ninc: {profile['error']}")
        return
    print(f"  $ {profile['command']}\n  step {profile['step_seconds'] * 1e6:.1f} us", flush=True)
    if peak:
        report_kernels(profile, precision, peak)


def make_result(gpu, peak, profiles, theirs, ways):
    """The table's rows and what they come from. profiles: {(model, batch, precision): a profile of
    ninc's, or {"error": ...}}; theirs: {(model, batch, precision, way): result}."""
    rows, details = [], []
    for (model, batch, precision), profile in profiles.items():
        if "error" in profile:
            continue
        name = os.path.splitext(os.path.basename(model))[0]
        of_ways = {w: theirs.get((model, batch, precision, w), {}) for w in ways}
        rows.append(make_row(name, batch, precision, profile, of_ways))
        details.append(dict(model=name, batch=batch, precision=precision,
                            kernels=profile["kernels"],
                            pytorch={w: r for w, r in of_ways.items() if r}))
    return dict(device=gpu[0], driver=gpu[1], date=datetime.date.today().isoformat(),
                ceilings=peak, rows=rows, details=details)


def publish(result, how):
    """Into bench/README.md; `how` is the command that measured it."""
    bench.write_table(TABLE, [f"{result['device']}, driver {result['driver']}, {result['date']}, "
                              f"`{how}`:", ""] + table(result))


def results_path(result):
    return os.path.join(HERE, "results", bench.file_name(result["device"]) + ".json")


def write_results(options, gpu, peak, profiles, theirs):
    result = make_result(gpu, peak, profiles, theirs, options.ways)
    print("\n" + "\n".join(table(result)))
    whole = is_whole_table(options, result)
    if options.output or whole:
        bench.write_json(options.output or results_path(result), result)
    if whole:
        publish(result, "make bench-gpu")


def main():
    options = arguments()
    if options.worker:
        return worker(options)
    if options.torch:
        return torch_rows(options)
    gpu = gpu_name()
    if not gpu:
        return without_gpu()
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

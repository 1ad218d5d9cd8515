#!/usr/bin/env python3
"""What checkpoints take of training on the CPU: images/s with them beside images/s without.

    make bench-checkpoint                        # about 4 minutes
    make bench-checkpoint BENCH_OPTIONS="--model models/nin.yaml --steps 200 --every 50"

Both sides are `trainer train` on random images, from the line that it starts with to its end, in
turns; medians are compared, and the lowest and highest are shown. It needs a quiet machine.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bench

STEPS = re.compile(r"batch (\d+), (\d+) steps")


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=bench.FASHION)
    p.add_argument("--steps", type=int, default=1000, help="of each measurement")
    p.add_argument("--every", type=int, default=100, help="steps from one checkpoint to the next")
    p.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--directory", help="where checkpoints are written (default: $TMPDIR or /tmp)")
    p.add_argument("--ninc", default="./ninc")
    return p.parse_args()


def run(command, steps):
    """Images/s of a training run, without its start."""
    with subprocess.Popen(command, cwd=bench.TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        first = STEPS.search(process.stdout.readline())
        start = time.monotonic()
        _, errors = process.communicate()
        seconds = time.monotonic() - start
    if process.returncode != 0 or not first or int(first[2]) != steps:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}: {bench.last_line(errors)}")
    return int(first[1]) * steps / seconds


def measure(options, plain, checkpointed, directory):
    """Lists of images/s: (without, with)."""
    without, with_checkpoints = [], []
    for _ in range(options.rounds):
        without.append(run(plain, options.steps))
        shutil.rmtree(directory, ignore_errors=True)
        with_checkpoints.append(run(checkpointed, options.steps))
        written = sum(name.startswith("step-") for name in os.listdir(directory))
        if written != options.steps // options.every:
            sys.exit(f"{directory} has {written} checkpoints, not {options.steps // options.every}")
    return without, with_checkpoints


def show(name, command, rates):
    print(f"  $ {' '.join(command)}")
    print(f"  {name:20} {statistics.median(rates):9.1f} images/s  "
          f"({min(rates):.1f} to {max(rates):.1f})")


def main():
    options = arguments()
    if options.steps < options.every or options.steps % options.every:
        sys.exit("--steps must be a multiple of --every")
    print(f"{bench.processor()}, {options.threads} threads, {options.rounds} rounds")
    bench.warn_if_busy(options)
    with tempfile.TemporaryDirectory(prefix="ninc-bench-", dir=options.directory) as scratch:
        kernels, directory = os.path.join(scratch, "kernels"), os.path.join(scratch, "run")
        subprocess.run([options.ninc, "-q", "--target=cpu", "-o", kernels, options.model],
                       cwd=bench.TOP, check=True, stdout=subprocess.DEVNULL)
        plain = [os.path.join(kernels, "trainer"), "train", "--device", "cpu", "--data", "random",
                 "--no-eval", "--max-steps", str(options.steps), "--epochs", str(options.steps),
                 "--threads", str(options.threads)]
        checkpointed = plain + ["--checkpoint-dir", directory, "--checkpoint-every",
                                str(options.every)]
        without, with_checkpoints = measure(options, plain, checkpointed, directory)
    show("without checkpoints", plain, without)
    show(f"one every {options.every}", checkpointed, with_checkpoints)
    ratio = statistics.median(with_checkpoints) / statistics.median(without)
    print(f"  with / without: {ratio:.4f}; checkpoints take {100 * (1 - ratio):.2f} % of training")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes tests/models/pytorch/schedules.txt: learning rates of PyTorch's schedulers, which
tests/unit/test_rate.c compares ninc's with. Run by hand; Debian's python3-torch serves.

A line is a name and the rates of the units 0, 1, ...; the base is 0.1. `metric` is what the line
behind it, of reduce_on_plateau, was given after each unit.
"""
import math
import os

import torch
from torch.optim import lr_scheduler as S

UNITS = 30
BASE = 0.1
METRIC = [2.0 * math.exp(-min(i, 8) / 4) + 0.3 * ((i * 7) % 5) / 5 for i in range(UNITS)]


def rates(make, metric=None):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    scheduler = make(optimizer)
    out = []
    for i in range(UNITS):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([metric[i]] if metric else []))
    return out


CASES = [
    ("step", lambda o: S.StepLR(o, 7, 0.3), None),
    ("multi_step", lambda o: S.MultiStepLR(o, [3, 11, 12], 0.5), None),
    ("exponential", lambda o: S.ExponentialLR(o, 0.9), None),
    ("cosine_annealing", lambda o: S.CosineAnnealingLR(o, UNITS, 0.001), None),
    ("cosine_annealing_short", lambda o: S.CosineAnnealingLR(o, 12), None),
    ("linear", lambda o: S.LinearLR(o, 0.25, 0.8, 9), None),
    ("linear_default", lambda o: S.LinearLR(o, 0.3333333), None),
    ("poly", lambda o: S.PolynomialLR(o, UNITS, 2.0), None),
    ("poly_short", lambda o: S.PolynomialLR(o, 10, 0.5), None),
    ("one_cycle", lambda o: S.OneCycleLR(o, 0.4, UNITS, cycle_momentum=False), None),
    ("one_cycle_settings", lambda o: S.OneCycleLR(o, 0.4, UNITS, pct_start=0.45, div_factor=10,
                                                  final_div_factor=100, cycle_momentum=False), None),
    ("reduce_on_plateau", lambda o: S.ReduceLROnPlateau(o, "min", 0.5, 2), METRIC),
    ("reduce_on_plateau_accuracy", lambda o: S.ReduceLROnPlateau(o, "max", 0.1, 3),
     [1 - m / 3 for m in METRIC]),
]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "schedules.txt"), "w") as out:
        out.write("# Made by tests/models/pytorch/schedules.py.\n")
        for name, make, metric in CASES:
            for head, row in (("metric", metric), (name, rates(make, metric))):
                if row:
                    out.write(head + "".join(f" {v:.17g}" for v in row) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The table of ninc beside PyTorch on a GPU from the lines that tests/first_contact.sh wrote.

    python3 bench/table.py rows.jsonl             prints it
    python3 bench/table.py --kernels rows.jsonl   and each kernel's time beside its floor
    python3 bench/table.py --write rows.jsonl     and puts it into bench/README.md, all it is from
                                                  into bench/results/DEVICE.json

Of a row that several lines tell of the last one counts. Rows that failed are listed below the
table, on stderr. Needs neither a GPU nor PyTorch. Exit 1: there is no row of ninc's.
"""
import argparse
import sys

import gpu


def read_files(paths):
    rows = {}
    for path in paths:
        with open(path):  # one that is missing is an error, not an empty one
            rows.update(gpu.read_rows(path))
    return rows


def split_name(name):
    """nin-128-bf16 -> (nin, 128, bf16); None: of no such form."""
    parts = name.rsplit("-", 2)
    return (parts[0], int(parts[1]), parts[2]) if len(parts) == 3 and parts[1].isdigit() else None


def sides(rows):
    """({key: ninc's profile}, {key + (way,): PyTorch's result}) of the rows that are right."""
    ours, theirs = {}, {}
    for name, row in rows.items():
        what, *words = name.split()
        key = split_name(words[0]) if words else None
        if row.get("status") != "ok" or not key:
            continue
        if what == "profile" and key[2] in gpu.PRECISIONS:
            ours[key] = row["profile"]
        elif what == "torch" and len(words) == 2:
            theirs[key + (words[1],)] = row
    return ours, theirs


def device(rows):
    """(name, driver)"""
    seen = rows.get("nvidia-smi", {})
    if seen.get("status") == "ok" and "," in seen.get("text", ""):
        return [part.strip() for part in seen["text"].split(",")[:2]]
    text = rows.get("device", {}).get("text", "an unknown GPU")
    return [text.split(",")[0].partition(" ")[2] or text, "unknown"]


def report_kernels(ours, ceilings):
    for (model, batch, precision), profile in ours.items():
        print(f"\n{model} batch {batch} {precision}: step {profile['step_seconds'] * 1e6:.1f} us")
        gpu.report_kernels(profile, precision, ceilings)


def order(key):
    """As in the table of bench/gpu.py."""
    model, batch, precision = key
    return model, batch, gpu.PRECISIONS.index(precision)


def report_faults(rows):
    bad = [(n, r) for n, r in rows.items() if r.get("status") not in ("ok", "skip")]
    for name, row in bad:
        print(f"{row.get('status')}: {name}: {row.get('text', '')[:200]}", file=sys.stderr)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="+")
    p.add_argument("--kernels", action="store_true")
    p.add_argument("--write", action="store_true")
    options = p.parse_args()
    rows = read_files(options.rows)
    ours, theirs = sides(rows)
    ours = {key: ours[key] for key in sorted(ours, key=order)}
    ceilings = rows.get("ceilings", {})
    ceilings = ceilings if ceilings.get("status") == "ok" else None
    result = gpu.make_result(device(rows), ceilings, ours, theirs, gpu.ALL_WAYS)
    print("\n".join(gpu.table(result)))
    if options.kernels and ceilings:
        report_kernels(ours, ceilings)
    report_faults(rows)
    if not ours:
        print("error: no line of these files is a profile that went well", file=sys.stderr)
        return 1
    if options.write:
        gpu.bench.write_json(gpu.results_path(result), result)
        gpu.publish(result, "make first-contact")
    return 0


if __name__ == "__main__":
    sys.exit(main())

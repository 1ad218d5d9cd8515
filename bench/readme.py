#!/usr/bin/env python3
"""What README shows of bench/results/cpu-*.json: a table, or a picture (--picture) as SVG.

Training steps of the models beside PyTorch, in the fastest of its ways, in the same run on the same
threads. Rows are chosen by ROWS alone; numbers come from the files. Needs nothing but Python."""
import glob
import html
import json
import os
import sys

ROWS = [("nin", 16, "fp32"), ("nin", 16, "bf16"), ("nin_cifar10", 128, "fp32"),
        ("nin_cifar10", 128, "bf16"), ("nin_fashion", 64, "fp32"), ("nin_fashion", 64, "bf16")]
HERE = os.path.dirname(os.path.abspath(__file__))


def machines():
    """[(name, results, {row of ROWS: its measurement})], the rows that a file has not left out."""
    out = []
    for path in sorted(glob.glob(os.path.join(HERE, "results", "cpu-*.json"))):
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
        rows = {(r["model"], r["batch"], r["precision"]): r for r in results["rows"]
                if r["mode"] == "train" and r.get("ratio")}
        name = results["device"].replace("(R)", "").replace(" Processor", "")
        out.append((name, results, {key: rows[key] for key in ROWS if key in rows}))
    return out


def table():
    """A row a model and precision, three columns a machine; the picture has one model more."""
    found = machines()
    assert all(results["threads"] == 2 for _, results, _ in found), "README says two threads"
    print("| model, batch, precision | " + " | ".join(
        f"{name}: ninc | PyTorch | ratio" for name, _, _ in found) + " |")
    print("|---" * (1 + 3 * len(found)) + "|")
    for row in (row for row in ROWS if row[0] != "nin_cifar10"):
        cells = [f"{row[0]}, {row[1]}, {row[2]}"]
        for _, _, rows in found:
            r = rows[row]
            cells += [f"{r[side + '_images_per_second']:.0f} ({r[side + '_mb']:.0f} MB)"
                      for side in ("ninc", "pytorch")] + [f"{r['ratio']:.1f}x"]
        print("| " + " | ".join(cells) + " |")


def text(x, y, content, anchor="start", size=12, colour="#333", weight="normal"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{html.escape(content)}</text>')


def panel(left, name, rows, scale):
    """Two bars a row, PyTorch's one unit long."""
    out = [text(left, 54, name, size=14, weight="bold")]
    for i, ((model, batch, precision), r) in enumerate(rows.items()):
        y = 68 + 34 * i
        ninc = scale * r["ratio"]
        out += [text(left, y + 17, f"{model} {precision}"),
                f'<rect x="{left + 112}" y="{y}" width="{ninc:.1f}" height="13" fill="#2a7f62"/>',
                f'<rect x="{left + 112}" y="{y + 14}" width="{scale}" height="11" fill="#c8c8c8"/>',
                text(left + 118 + ninc, y + 11,
                     f"{r['ninc_images_per_second']:.0f} images/s, {r['ratio']:.1f}x",
                     size=11, colour="#2a7f62"),
                text(left + 118 + scale, y + 23, f"{r['pytorch_images_per_second']:.0f}", size=10,
                     colour="#777")]
    return out


def picture():
    found = machines()
    width, height = 410 * len(found) + 20, 78 + 34 * len(ROWS)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
          f'width="{width}" height="{height}" font-family="sans-serif">')
    print(f'<rect width="{width}" height="{height}" fill="white"/>')
    print(text(16, 26, "Training on two threads of a CPU: images a second, ninc (green) beside the "
               "fastest way of PyTorch (gray)", size=14))
    for i, (name, _, rows) in enumerate(found):
        print("\n".join(panel(16 + 410 * i, name, rows, 52)))
    print("</svg>")


if __name__ == "__main__":
    picture() if "--picture" in sys.argv[1:] else table()

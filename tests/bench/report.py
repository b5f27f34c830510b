# SPDX-License-Identifier: MIT
"""What both benchmarks leave behind in build/bench: a table, the same as CSV, and a plot of it."""

import csv
import os
import pathlib
import platform

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build" / "bench"
NO_PLOT = "no plot: apt install python3-matplotlib"
COLORS = {"yes": "#2a7", "no": "#c54", "": "#888"}


class Bar:
    """One row of the plot; `met` is "yes", "no" or, without an aim, nothing."""

    def __init__(self, name, value, text, met):
        self.name, self.value, self.text, self.met = name, value, text, met


def machine():
    return (f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} processors, load average "
            f"{os.getloadavg()[0]:.1f}")


def table(rows):
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(row[key]) for key in head) + " |" for row in rows])


def write_csv(file, rows):
    with open(file, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot(name, bars, axis):
    """Ratios, so that every figure fits into one picture. Returns the files' names, or what is missing."""
    try:
        import matplotlib
    except ImportError:
        return NO_PLOT
    matplotlib.use("Agg")
    from matplotlib import pyplot
    bars = bars[::-1]
    values = [bar.value for bar in bars]
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.32 * len(bars)))
    drawn = axes.barh([bar.name for bar in bars], values, color=[COLORS[bar.met] for bar in bars])
    axes.bar_label(drawn, [" " + bar.text for bar in bars], fontsize=8)
    axes.axvline(1, color="#888", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(min(values + [0.2]) * 0.8, max(values + [2]) * 4)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(axis)
    figure.tight_layout()
    for kind in ("svg", "png"):
        figure.savefig(FOLDER / f"{name}.{kind}", dpi=130)
    pyplot.close(figure)
    return f"{name}.svg, {name}.png"


def write(name, title, text, rows, bars, axis):
    """Everything of one benchmark; says where it is."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.md").write_text(f"# {title}\n\n{text}\n\n{table(rows)}\n", encoding="utf-8")
    write_csv(FOLDER / f"{name}.csv", rows)
    print(f"written to {FOLDER / name}.md, {name}.csv; {plot(name, bars, axis)}")

"""Runs the benchmarks, each in a process of its own, so that peaks of memory and warm caches do not mix.

`python -m tests.bench [NAMES...]` prints a table and writes build/bench.json; `--readme` puts the figures that
have a target into README.md. A missed target is shown, and is no error; a benchmark that crashes is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench.json"
README = ROOT / "README.md"
MARKS = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)


def names() -> list[str]:
    """The benchmarks there are, without their `bench_`."""
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def machine() -> str:
    """What the figures were measured on, in a line."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = models[0] if models else platform.machine()
    memory = round(psutil.virtual_memory().total / 2**30)
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}, Python {python}"


def run_apart(name: str) -> list[Figure] | None:
    """Run one benchmark in a process of its own; None when it crashed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "tests.bench", name, "--write", str(out)]
        code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        if code != 0 or not out.exists():
            print(f"{name} crashed (exit code {code})", file=sys.stderr)
            return None
        figures: list[Figure] = json.loads(out.read_text())
        return figures


def keep(figures: list[Figure], *, whole: bool) -> list[Figure]:
    """Write the results; those of benchmarks that were not run now stay."""
    before = [] if whole or not RESULTS.exists() else json.loads(RESULTS.read_text())
    merged = {row["name"]: row for row in [*before, *figures]}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(list(merged.values()), indent=1) + "\n")
    return list(merged.values())


def verdict(row: Figure) -> str:
    """Whether the target was met, in a word."""
    return {True: "met", False: "MISSED", None: ""}[row["met"]]


def cells(row: Figure) -> list[str]:
    """A row as text."""
    return [row["name"], f"{row['value']:,.10g}", row["unit"], row["target"] or "", verdict(row)]


def show(figures: list[Figure]) -> None:
    """Print an aligned table."""
    table = [["figure", "value", "unit", "target", ""], *map(cells, figures)]
    widths = [max(len(line[at]) for line in table) for at in range(5)]
    for line in table:
        name, value, *rest = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(name, value.strip().rjust(widths[1]), *rest, sep="  ")


def markdown(figures: list[Figure]) -> str:
    """The figures that have a target, as README shows them."""
    lines = ["| measured | value | target | |", "|---|---|---|---|"]
    for row in figures:
        if row["target"] is not None:
            name, value, unit, target, met = cells(row)
            lines.append(f"| {name} | {value} {unit} | {target} | {met} |")
    machines = sorted({row["machine"] for row in figures})
    return "\n".join([*lines, "", f"Measured by `make bench` on {'; '.join(machines)}.", ""])


def write_readme() -> int:
    """Put the last results into README.md."""
    text = README.read_text()
    if not RESULTS.exists() or not MARKS.search(text):
        print(f"needs {RESULTS} and the marks <!-- bench --> <!-- /bench --> in {README}", file=sys.stderr)
        return 1
    table = markdown(json.loads(RESULTS.read_text()))
    README.write_text(MARKS.sub(lambda _: table, text))
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all if none is named")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--readme", action="store_true", help="write the last results into README.md, run nothing")
    parser.add_argument("--write", type=Path, metavar="FILE", help="run one benchmark here and write its figures")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - set(names())):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    return chosen


def main() -> int:
    """Return the exit code."""
    chosen = arguments()
    if chosen.list:
        print("\n".join(names()))
        return 0
    if chosen.readme:
        return write_readme()
    if chosen.write:
        figures = [row for name in chosen.names for row in importlib.import_module(f"tests.bench.bench_{name}").run()]
        chosen.write.write_text(json.dumps(figures))
        return 0
    results = [run_apart(name) for name in chosen.names or names()]
    here = machine()
    measured = [{**row, "machine": here} for figures in results if figures for row in figures]
    keep(measured, whole=not chosen.names)
    show(measured)
    return 1 if None in results else 0


if __name__ == "__main__":
    sys.exit(main())

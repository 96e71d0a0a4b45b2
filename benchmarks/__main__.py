"""Measure trackbridge and its peers in one run: ``python -m benchmarks [--quick] [NAME …]``.

Names: imports, log_metric, drain, memory, search, history, jobs, sweeps, serving, gateway, pages,
deployments, remote, sagemaker, copying, migration; all of them by default. The figures are printed as a
markdown table, and kept as JSON in ``benchmarks/results``.
``--quick`` measures little, to see that everything works: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.figures import Figure, markdown

NAMES = (
    "imports",
    "log_metric",
    "drain",
    "memory",
    "search",
    "history",
    "jobs",
    "sweeps",
    "serving",
    "gateway",
    "pages",
    "deployments",
    "remote",
    "sagemaker",
    "copying",
    "migration",
)
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="measure little, to see that everything works")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    where = machine.describe()
    figures: list[Figure] = []
    for name in options.names or NAMES:
        print(f"{time.strftime('%H:%M:%S')} {name} ...", file=sys.stderr, flush=True)
        figures += importlib.import_module(f"benchmarks.{name}").measure(quick=options.quick)
    keep(where, figures, quick=options.quick)
    print(f"{markdown(figures)}\n{machine.sentence(where)}")
    if options.quick:
        print("\nMeasured with --quick: these figures mean nothing.")


def keep(where: dict[str, object], figures: list[Figure], *, quick: bool) -> None:
    """Write the figures into a file of their own."""
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": where, "quick": quick, "figures": [figure.as_json() for figure in figures]}
    path = RESULTS / f"{time.strftime('%Y-%m-%dT%H%M%S', time.gmtime())}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"kept in {path}", file=sys.stderr)


if __name__ == "__main__":
    main()

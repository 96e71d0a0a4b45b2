"""How long it takes until a program or the command line can be used."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import workers
from benchmarks.figures import Figure, at_most

REPETITIONS = 21
MLFLOW_REPETITIONS = 3


def measure(*, quick: bool) -> list[Figure]:
    """Return the times, by turns, so that what disturbs one disturbs all."""
    programs = {
        "bare": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import trackbridge"],
        "help": [_script("bridge"), "--help"],
    }
    theirs = {
        "import": [sys.executable, "-c", "import mlflow"],
        "help": [_script("mlflow"), "--help"],
    }
    ms = _medians_ms(programs, 3 if quick else REPETITIONS)
    their_ms = _medians_ms(theirs, 1 if quick else MLFLOW_REPETITIONS)
    ours = ms["import"] - ms["bare"]
    return [
        Figure(
            "`import trackbridge`, above bare Python",
            "ms",
            ours,
            {"`import mlflow`": their_ms["import"] - ms["bare"]},
            (at_most(30, ours, "ms"),),
            note=f"bare Python itself takes {ms['bare']:.0f} ms; what a program uses is loaded at first use",
        ),
        Figure(
            "`bridge --help`",
            "ms",
            ms["help"],
            {"`mlflow --help`": their_ms["help"]},
            (at_most(150, ms["help"], "ms"),),
        ),
    ]


def _script(name: str) -> str:
    """Return an installed command of this environment."""
    return str(Path(sys.executable).parent / name)


def _medians_ms(programs: dict[str, Sequence[str]], repetitions: int) -> dict[str, float]:
    """Run each program so many times, by turns, after one time that compiles it."""
    taken: dict[str, list[float]] = {name: [] for name in programs}
    with workers.temporary_folder() as folder:
        for _ in range(repetitions + 1):
            for name, command in programs.items():
                began = time.perf_counter()
                subprocess.run(
                    command, cwd=folder, env=workers.environment(), stdout=subprocess.DEVNULL, check=True
                )
                taken[name].append((time.perf_counter() - began) * 1000)
    return {name: median(times[1:]) for name, times in taken.items()}

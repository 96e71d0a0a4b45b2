"""What a job costs: ``bridge run empty.py`` against ``python empty.py``, with ``mlflow run`` beside it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import workers
from benchmarks.figures import Figure, at_most

REPETITIONS = 15
MLFLOW_REPETITIONS = 3
OVERHEAD_MS_MAX = 200
PROJECT = """\
name: empty
entry_points:
  main:
    command: "python empty.py"
"""


def measure(*, quick: bool) -> list[Figure]:
    """Return the overheads, by turns, so that what disturbs one disturbs all."""
    with workers.temporary_folder() as folder:
        (folder / "empty.py").write_text("", encoding="utf-8")
        (folder / "MLproject").write_text(PROJECT, encoding="utf-8")
        (folder / "requirements.txt").write_text("six\n", encoding="utf-8")
        ours = {
            "bare": [sys.executable, "empty.py"],
            "here": [_script("bridge"), "run", "empty.py"],
            "environment": [_script("bridge"), "run", "empty.py", "--requirements", "requirements.txt"],
        }
        theirs = {"mlflow": [_script("mlflow"), "run", ".", "--env-manager", "local"]}
        ms = _medians_ms(ours, folder, 3 if quick else REPETITIONS)
        ms |= _medians_ms(theirs, folder, 1 if quick else MLFLOW_REPETITIONS)
    peers = {"`mlflow run --env-manager local`": ms["mlflow"] - ms["bare"]}
    return [
        _figure("`bridge run` of an empty script", ms["here"] - ms["bare"], peers, ms["bare"]),
        _figure("the same in a cached environment", ms["environment"] - ms["bare"], peers, ms["bare"]),
    ]


def _figure(name: str, overhead_ms: float, peers: dict[str, float], bare_ms: float) -> Figure:
    return Figure(
        f"{name}, above running it bare",
        "ms",
        overhead_ms,
        peers,
        (at_most(OVERHEAD_MS_MAX, overhead_ms, "ms"),),
        note=f"to the end of the command, its run closed; bare, the script takes {bare_ms:.0f} ms",
    )


def _script(name: str) -> str:
    """Return an installed command of this environment."""
    return str(Path(sys.executable).parent / name)


def _medians_ms(programs: Mapping[str, Sequence[str]], folder: Path, repetitions: int) -> dict[str, float]:
    """Run each program so many times, by turns, after one time that fills caches."""
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repetitions + 1):
        for name, command in programs.items():
            began = time.perf_counter()
            subprocess.run(
                command, cwd=folder, env=workers.environment(), capture_output=True, check=True, timeout=300
            )
            taken[name].append((time.perf_counter() - began) * 1000)
    return {name: median(times[1:]) for name, times in taken.items()}

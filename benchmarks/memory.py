"""How much memory a program and its delivery child take while the program logs ten million points."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import workers
from benchmarks.drain import KEYS
from benchmarks.figures import Figure, at_most

if TYPE_CHECKING:
    import psutil

POINTS = 10_000_000
POINTS_QUICK = 200_000
SAMPLE_S = 0.05
FIND_CHILDREN_S = 1.0
MEGABYTE = 1_000_000


def measure(*, quick: bool) -> list[Figure]:
    """Return the peak of both together."""
    points = POINTS_QUICK if quick else POINTS
    with workers.temporary_folder() as folder:
        began = time.monotonic()
        process = subprocess.Popen(
            workers.command("memory", "log_points", points),
            cwd=folder,
            env=workers.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        together, each = watch(process)
        elapsed_s = time.monotonic() - began
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        if process.wait() != 0:
            raise SystemExit("logging failed; its error is above")
        run_id = json.loads(lines[-1])["run_id"]
        stored = workers.run("memory", "count_points", run_id, folder=folder)["stored"]
    if stored != points:
        raise SystemExit(f"{points:,} points were logged, and {stored:,} are stored")
    peak = together / MEGABYTE
    return [
        Figure(
            f"memory while logging {points:,} points",
            "MB",
            peak,
            targets=(at_most(250, peak, "MB"),),
            note=f"{points:,} points in {elapsed_s:.0f} s until all were delivered; peak of the resident "
            "memory of program and child together, sampled every 50 ms; each at its own peak: "
            f"{', '.join(f'{size / MEGABYTE:.0f}' for size in each)} MB",
        )
    ]


def watch(program: subprocess.Popen[str]) -> tuple[int, list[int]]:
    """Sample the resident memory of a program and its children, until all of them have ended.

    Returns:
        The peak of their sum, and the peak of each, in bytes.
    """
    import psutil

    peaks: dict[psutil.Process, int] = {psutil.Process(program.pid): 0}
    together, next_look = 0, 0.0
    while True:
        if time.monotonic() >= next_look:
            _find_children(peaks)
            next_look = time.monotonic() + FIND_CHILDREN_S
        sizes = {process: _resident_bytes(process) for process in peaks}
        together = max(together, sum(sizes.values()))
        for process, size in sizes.items():
            peaks[process] = max(peaks[process], size)
        if program.poll() is not None and not any(sizes.values()):
            return together, sorted(peaks.values(), reverse=True)
        time.sleep(SAMPLE_S)


def _find_children(known: dict[psutil.Process, int]) -> None:
    import psutil

    for process in list(known):
        try:
            for child in process.children(recursive=True):
                known.setdefault(child, 0)
        except psutil.NoSuchProcess:
            continue


def _resident_bytes(process: psutil.Process) -> int:
    import psutil

    try:
        return 0 if process.status() == psutil.STATUS_ZOMBIE else int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


# Workers.


def log_points(points: str) -> dict[str, str]:
    """Log with the delivery child running, and wait until it has delivered."""
    import trackbridge as tb

    tb.set_tracking_uri(Path("store"))
    with tb.start_run() as run:
        for step in range(int(points) // len(KEYS)):
            for key in KEYS:
                tb.log_metric(key, 0.5 + step, step)
        tb.flush()
    return {"run_id": run.info.run_id}


def count_points(run_id: str) -> dict[str, int]:
    """Count what is stored."""
    import trackbridge as tb

    client = tb.Client(Path("store"))
    return {"stored": sum(len(client.get_metric_columns(run_id, key)) for key in KEYS)}

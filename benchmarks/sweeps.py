"""What a job of a sweep costs: 200 jobs, 4 at a time, against the same script run bare and by ``mlflow run``.

The script logs one metric with trackbridge, which the sweep goes by. All processes that a way of running it
leaves behind (deliverers, runners) are waited for: their time counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks import workers
from benchmarks.figures import Figure, at_least, at_most

JOBS = 200
MLFLOW_JOBS = 24
AT_ONCE = 4
OVERHEAD_MS_MAX = 200
RATIO_MIN = 10
LISTED = 1000
LISTINGS = 5
LISTING_S_MAX = 2.0
PR_SET_CHILD_SUBREAPER = 36
SCRIPT = """\
import argparse
import trackbridge as tb

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
x = parser.parse_args().x
with tb.start_run():
    tb.log_metric("loss", (x - 100) ** 2)
"""
FOREIGN = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
"""What ``mlflow run`` sets; without them the script logs where it logs when it is run bare."""

PROJECT = f"""\
name: trial
entry_points:
  main:
    parameters:
      x: float
    command: "env {" ".join(f"-u {name}" for name in FOREIGN)} {sys.executable} trial.py --x {{x}}"
"""


def measure(*, quick: bool) -> list[Figure]:
    """Return the overheads of a job, and the time of listing many."""
    jobs, theirs = (8, 4) if quick else (JOBS, MLFLOW_JOBS)
    bare = workers.run("sweeps", "bare", jobs)
    ours = workers.run("sweeps", "ours", jobs)
    mlflow = workers.run("sweeps", "mlflow", theirs)
    wall = {name: one["slot_ms"] - bare["slot_ms"] for name, one in (("ours", ours), ("mlflow", mlflow))}
    cpu = {name: one["cpu_ms"] - bare["cpu_ms"] for name, one in (("ours", ours), ("mlflow", mlflow))}
    peer = "`mlflow run --env-manager local`"
    note = f"{jobs} jobs, {AT_ONCE} at a time; mlflow run: {theirs}"
    listing = workers.run("sweeps", "listing", 50 if quick else LISTED)
    return [
        Figure(
            "a job of `bridge sweep`, above running its script bare",
            "ms",
            wall["ours"],
            {peer: wall["mlflow"]},
            (
                at_most(OVERHEAD_MS_MAX, wall["ours"], "ms"),
                at_least(RATIO_MIN, wall["mlflow"] / max(wall["ours"], 1e-3), "times less than mlflow run"),
            ),
            note=f"time of one of the {AT_ONCE} places until it takes the next job; {note}; bare, the script "
            f"takes {bare['slot_ms']:.0f} ms so",
        ),
        Figure(
            "the same in processor time",
            "ms",
            cpu["ours"],
            {peer: cpu["mlflow"]},
            (at_least(RATIO_MIN, cpu["mlflow"] / max(cpu["ours"], 1e-3), "times less than mlflow run"),),
            note=f"user and system time of every process; {note}; bare, the script takes "
            f"{bare['cpu_ms']:.0f} ms",
        ),
        Figure(
            f"`bridge jobs list --limit {LISTED}`",
            "s",
            listing["seconds"],
            targets=(at_most(LISTING_S_MAX, listing["seconds"], "s"),),
            note=f"{listing['jobs']:.0f} jobs that have ended, in the local store; the whole command",
        ),
    ]


# Workers, each a process of its own.


def bare(count: str) -> dict[str, float]:
    """Run the script so many times, by itself."""
    return _timed(
        int(count), lambda: _at_once(int(count), lambda x: [sys.executable, "trial.py", "--x", str(x)])
    )


def mlflow(count: str) -> dict[str, float]:
    """Run the script so many times by ``mlflow run``."""
    Path("MLproject").write_text(PROJECT, encoding="utf-8")
    Path("trial.py").write_text(SCRIPT, encoding="utf-8")
    command = [_installed("mlflow"), "run", ".", "--env-manager", "local", "-P"]
    _run([*command, "x=0"])  # its database is made
    return _timed(int(count), lambda: _at_once(int(count), lambda x: [*command, f"x={x}"]))


def ours(count: str) -> dict[str, float]:
    """Run the script so many times by ``bridge sweep``."""
    command = [_installed("bridge"), "sweep", "trial.py", "-P", f"x=int(1, {count})", "--metric", "loss"]
    command += ["--sampler", "grid", "--parallel", str(AT_ONCE), "--json"]
    return _timed(int(count), lambda: _run(command))


def listing(count: str) -> dict[str, float]:
    """List so many jobs that have ended: one that ran, and copies of its row."""
    from trackbridge.domain.ids import mint_id

    Path(".bridge").mkdir()
    Path("empty.py").write_text("", encoding="utf-8")
    _run([_installed("bridge"), "run", "empty.py"])
    columns = "spec, status, reason, attempt, exit_code, submit_time, start_time, end_time"
    copy = f"INSERT INTO job (job_id, key, {columns}) SELECT ?, ?, {columns} FROM job LIMIT 1"
    with contextlib.closing(sqlite3.connect(".bridge/store.db")) as store, store:
        store.executemany(copy, [(mint_id(), f"copy {number}") for number in range(int(count) - 1)])
    taken = []
    for _ in range(LISTINGS):
        began = time.perf_counter()
        done = _run([_installed("bridge"), "jobs", "list", "--limit", count])
        taken.append(time.perf_counter() - began)
        assert done.stdout.count("\n") == int(count) + 1
    return {"seconds": median(taken), "jobs": int(count)}


def _timed(count: int, work: Callable[[], object]) -> dict[str, float]:
    """Return the time that a place is taken by a job, and the processor time of a job, in milliseconds."""
    ctypes.CDLL(None).prctl(
        PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0
    )  # what is left behind becomes ours to wait for
    Path("trial.py").write_text(SCRIPT, encoding="utf-8")
    _run([sys.executable, "trial.py", "--x", "0"])  # fills caches, makes the store
    _reap()
    before, began = _processor_s(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    _reap()
    processor_s = _processor_s() - before
    return {"slot_ms": seconds * AT_ONCE / count * 1000, "cpu_ms": processor_s / count * 1000}


def _reap() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _at_once(count: int, command: Callable[[int], list[str]]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as places:
        list(places.map(lambda x: _run(command(x)), range(1, count + 1)))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done


def _installed(name: str) -> str:
    return str(Path(sys.executable).parent / name)

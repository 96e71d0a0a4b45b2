"""One call of ``log_metric`` in a tight loop, while the delivery child delivers; and its lag.

The bare loop encodes the same record and writes it with ``write(2)`` to a file beside the journal: nothing
could be both durable against ``kill -9`` and cheaper. It has the machine for itself, ours shares it with
delivery.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from array import array
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import workers
from benchmarks.figures import Figure, Target, at_most

SECONDS = 30.0
SECONDS_QUICK = 2.0
REPETITIONS = 3
CALLS_PER_SECOND_MAX = 1_000_000
MLFLOW_CALLS = 400
MLFLOW_CALLS_QUICK = 30
SAMPLE_S = 0.05
READ_BYTES = 64 * 1024


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of one call, and the lag."""
    seconds = SECONDS_QUICK if quick else SECONDS
    bare, ours = [], []
    for _ in range(1 if quick else REPETITIONS):
        bare.append(workers.run("log_metric", "bare_loop", seconds / 3))
        ours.append(_ours_with_lag(seconds))
    calls = MLFLOW_CALLS_QUICK if quick else MLFLOW_CALLS
    theirs = workers.run("log_metric", "mlflow_loop", calls)
    value = {name: median(run[name] for run in ours) for name in ours[0]}
    base = {name: median(run[name] for run in bare) for name in bare[0]}
    ratio = value["median_us"] / base["median_us"]
    tail = value["p99_us"] / base["p99_us"]
    less = theirs["median_us"] / value["median_us"]
    lag_s = max(run["lag_s_max"] for run in ours)
    return [
        Figure(
            "one `log_metric`, median",
            "µs",
            value["median_us"],
            {
                "bare loop": base["median_us"],
                "mlflow on SQLite": theirs["median_us"],
                "mlflow, `synchronous=False`": theirs["async_median_us"],
            },
            (
                at_most(10, value["median_us"], "µs"),
                at_most(6, ratio, "times the bare loop"),
                Target("at least 500 times less than mlflow", less >= 500),
            ),
            note=f"{len(ours)} times {seconds:g} s with delivery running: {value['calls']:,.0f} calls each",
        ),
        Figure(
            "one `log_metric`, 99th percentile",
            "µs",
            value["p99_us"],
            {"bare loop": base["p99_us"], "mlflow on SQLite": theirs["p99_us"]},
            (at_most(5, tail, "times the bare loop"),),
        ),
        Figure(
            "delivery lag in that loop, greatest",
            "s",
            lag_s,
            targets=(at_most(2, lag_s, "s"),),
            note="age of the oldest point that is not in the store yet, sampled every 50 ms; median "
            f"{value['lag_s_median']:.2f} s; the rest was delivered {value['flush_s']:.2f} s after the loop",
        ),
    ]


# Workers.


def bare_loop(seconds: str) -> dict[str, float]:
    """Encode and write the same record, and nothing else."""
    from zlib import crc32

    import msgspec

    from trackbridge.journal.format import FRAME

    encode, pack, write, clock = msgspec.msgpack.Encoder().encode, FRAME.pack, os.write, time.perf_counter_ns
    run_id, now_ms = "0" * 32, time.time_ns() // 1_000_000
    descriptor = os.open("bare.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    durations = _durations(float(seconds))
    end = clock() + int(float(seconds) * 1e9)
    count, after = 0, 0
    while after < end:
        before = clock()
        body = encode((3, run_id, "loss", 0.5 + count, now_ms, count))
        write(descriptor, pack(len(body), crc32(body, count), count) + body)
        after = clock()
        durations[count] = after - before
        count += 1
    return _statistics(durations, count)


def our_loop(seconds: str) -> dict[str, float]:
    """Call ``log_metric`` with the delivery child running, then wait until all is delivered and count it."""
    import trackbridge as tb

    tb.set_tracking_uri(Path("store"))
    clock, log_metric = time.perf_counter_ns, tb.log_metric
    durations = _durations(float(seconds))
    with tb.start_run() as run:
        log_metric("first", 0.0)
        print("begin", flush=True)
        end = clock() + int(float(seconds) * 1e9)
        count, after = 0, 0
        while after < end:
            before = clock()
            log_metric("loss", 0.5 + count, count)
            after = clock()
            durations[count] = after - before
            count += 1
        print("end", flush=True)
        began = time.monotonic()
        tb.flush()
        flush_s = time.monotonic() - began
    stored = len(tb.Client().get_metric_columns(run.info.run_id, "loss"))
    if stored != count:
        raise SystemExit(f"{count:,} points were logged, and {stored:,} are stored")
    return {**_statistics(durations, count), "flush_s": flush_s}


def mlflow_loop(calls: str) -> dict[str, float]:
    """Call ``mlflow.log_metric`` on the store that mlflow makes by default in an empty folder."""
    import mlflow

    clock, count = time.perf_counter_ns, int(calls)
    durations: dict[bool, array[int]] = {True: array("q", [0]) * count, False: array("q", [0]) * count}
    with mlflow.start_run():
        if not mlflow.get_tracking_uri().startswith("sqlite:"):
            raise SystemExit(f"mlflow's default store is {mlflow.get_tracking_uri()}, not SQLite")
        for synchronous, taken in durations.items():
            mlflow.log_metric(f"warm-{synchronous}", 0.0, 0, synchronous=synchronous)
            for step in range(count):
                before = clock()
                mlflow.log_metric(f"loss-{synchronous}", 0.5 + step, step, synchronous=synchronous)
                taken[step] = clock() - before
        mlflow.flush_async_logging()
    found, found_async = _statistics(durations[True], count), _statistics(durations[False], count)
    return {**found, "async_median_us": found_async["median_us"], "async_p99_us": found_async["p99_us"]}


def _durations(seconds: float) -> array[int]:
    return array("q", [0]) * int(seconds * CALLS_PER_SECOND_MAX)


def _statistics(durations: array[int], count: int) -> dict[str, float]:
    import numpy as np

    taken = np.frombuffer(durations, dtype="int64", count=count)
    middle, high = np.percentile(taken, [50, 99])
    return {
        "calls": count,
        "median_us": middle / 1000,
        "p99_us": high / 1000,
        "max_us": int(taken.max()) / 1000,
    }


# The lag, looked at from outside.


def _ours_with_lag(seconds: float) -> dict[str, Any]:
    """Run our loop, and look meanwhile how old the oldest point is that is not delivered."""
    import json

    with workers.temporary_folder() as folder:
        process = subprocess.Popen(
            workers.command("log_metric", "our_loop", seconds),
            cwd=folder,
            env=workers.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()  # "begin"
        over = threading.Event()
        lags: list[float] = []
        sampler = threading.Thread(target=_sample, args=(folder / "store" / "journal", over, lags))
        sampler.start()
        process.stdout.readline()  # "end"
        over.set()
        sampler.join()
        last = process.stdout.read().splitlines()
        if process.wait() != 0:
            raise SystemExit("the loop failed; its error is above")
    result: dict[str, Any] = json.loads(last[-1])
    return {**result, "lag_s_max": max(lags), "lag_s_median": median(lags)}


def _sample(root: Path, over: threading.Event, lags: list[float]) -> None:
    while not over.wait(SAMPLE_S):
        oldest_ms = oldest_pending_ms(root)
        lags.append(0.0 if oldest_ms is None else time.time() - oldest_ms / 1000)


def oldest_pending_ms(root: Path) -> int | None:
    """Return the time of the first point that the only journal below ``root`` has still to deliver."""
    from trackbridge.journal.cursors import load_cursor
    from trackbridge.journal.folder import journals
    from trackbridge.journal.format import HEADER_BYTES

    (folder,) = journals(root)
    position = load_cursor(folder, folder.describe().destinations[0]).position
    for number in folder.segment_numbers():
        if number < position.segment:
            continue
        offset = max(position.offset, HEADER_BYTES) if number == position.segment else HEADER_BYTES
        with open(folder.segment(number), "rb") as segment:
            segment.seek(offset)
            found = _first_point_ms(segment.read(READ_BYTES))
        if found is not None:
            return found
    return None


def _first_point_ms(data: bytes) -> int | None:
    import msgspec

    from trackbridge.domain.records import METRIC_KIND
    from trackbridge.journal.format import FRAME, FRAME_BYTES

    offset = 0
    while offset + FRAME_BYTES <= len(data):
        end = offset + FRAME_BYTES + int(FRAME.unpack_from(data, offset)[0])
        if end > len(data):
            break
        record = msgspec.msgpack.decode(data[offset + FRAME_BYTES : end])
        if record[0] == METRIC_KIND:
            return int(record[4])
        offset = end
    return None

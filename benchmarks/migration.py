"""Migration: from folder to folder, and between two MLflow servers beside mlflow-export-import.

Between servers three copy the same runs in turn, to the same server emptied each time: ours; the smallest
number of REST calls that moves the same data, issued bare on as many threads; and mlflow-export-import, from
an environment of its own (requirements/export-import.txt, made by ``make bench``). What each lost is found
by comparing the target with what the corpus script wrote. Servers and clients share one machine.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import workers
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.migration_corpus import POINTS_LONG, Json, Rest, batches, lost, root_of, write

LOCAL_RUNS, LOCAL_RUNS_QUICK = 1000, 40
LOCAL_METRICS, LOCAL_POINTS, LOCAL_PARAMS = 5, 200, 10
LOCAL_FILES, LOCAL_FILE_BYTES = 5, 100_000
LOCAL_ROUNDS, LOCAL_ROUNDS_QUICK = 5, 2
MANY_RUNS, MANY_RUNS_QUICK = 20_000, 500
SERVER_RUNS, SERVER_RUNS_QUICK = 300, 20
SERVER_ROUNDS, SERVER_ROUNDS_QUICK = 3, 1
POINTS_LONG_QUICK = 3000
AT_ONCE = 4
"""Runs on their way at the same time: what ``bridge migrate`` does without ``--transfers``."""
MEMORY_MB_MAX = 300
EXPORT_IMPORT = workers.ROOT / ".venv-export-import/bin"


def measure(*, quick: bool) -> list[Figure]:
    """Return all figures."""
    folders, peak_mb = _folders(quick=quick)
    servers = _servers(quick=quick)
    peaks_mb = {**peak_mb, "between servers": max(found["peak_mb"] for found in servers["ours"])}
    return [folders, *_between_servers(servers), _memory(peaks_mb)]


# From folder to folder.


def _folders(*, quick: bool) -> tuple[Figure, dict[str, float]]:
    count = LOCAL_RUNS_QUICK if quick else LOCAL_RUNS
    many = MANY_RUNS_QUICK if quick else MANY_RUNS
    seen: dict[str, list[dict[str, float]]] = {"copy_folder": [], "copy_bare": []}
    with workers.temporary_folder() as folder:
        workers.run("migration", "fill", folder / "source", count, LOCAL_FILES)
        for number in range(LOCAL_ROUNDS_QUICK if quick else LOCAL_ROUNDS):
            for kind, found in seen.items():
                target = folder / f"{kind}-{number}"
                found.append(_copied(kind, folder / "source", target, folder / f"home-{number}"))
                shutil.rmtree(target)
        workers.run("migration", "fill", folder / "many", many, 0)
        peak_mb = _copied("copy_folder", folder / "many", folder / "copies", folder / "home")["peak_mb"]
    rates = {kind: median(count / one["elapsed_s"] for one in found) for kind, found in seen.items()}
    points = LOCAL_METRICS * LOCAL_POINTS
    figure = Figure(
        f"runs of {points:,} points and {LOCAL_FILES} files of {LOCAL_FILE_BYTES:,} bytes to another folder",
        "runs/s",
        rates["copy_folder"],
        {"their files alone, copied and synced one by one": rates["copy_bare"]},
        (at_least(100, rates["copy_folder"], "runs/s"),),
        more_is_better=True,
        note=f"median of rounds in turn; {count:,} runs, planned, copied and compared; "
        f"{seen['copy_folder'][0]['cpu_s'] / count * 1e3:.1f} ms of processor time for a run",
    )
    kept = max(found["peak_mb"] for found in seen["copy_folder"])
    return figure, {f"{count:,} runs with files": kept, f"{many:,} small runs": peak_mb}


def _copied(kind: str, source: Path, target: Path, home: Path) -> dict[str, float]:
    return workers.run("migration", kind, source, target, BRIDGE_HOME=str(home))


def fill(folder: str, count: str, files: str) -> dict[str, int]:
    """Write runs into a folder, waiting for no disk."""
    from trackbridge.delivery.connect import open_uri
    from trackbridge.domain.batches import Batch, MetricColumns, Setting
    from trackbridge.domain.runs import RunStatus
    from trackbridge.resolve.uri import parse
    from trackbridge.testing.contracts.samples import digest_of, run_spec

    adapter, chance = open_uri(parse(folder)), random.Random(int(count))
    gathered: Any = adapter.gathering()  # type: ignore[attr-defined]
    scratch = Path("content")
    for number in range(int(count)):
        started = 1_700_000_000_000 + number
        spec = run_spec(f"run {number}", experiment=f"experiment {number % 20}", start_time=started)
        gathered.tracking.open_run(spec)
        batch = Batch(run_id=spec.run_id)
        for key in range(LOCAL_METRICS if int(files) else 1):
            columns = batch.metrics[f"metric {key}"] = MetricColumns()
            steps = range(LOCAL_POINTS if int(files) else 2)
            columns.steps.extend(steps)
            columns.timestamps.extend(1_700_000_000_000 + step for step in steps)
            columns.values.extend(chance.random() for _ in steps)
            columns.sequences.extend(steps)
        batch.params = [Setting(f"param {key}", str(key), key) for key in range(LOCAL_PARAMS)]
        gathered.tracking.write(batch)
        for index in range(int(files)):
            content = chance.randbytes(LOCAL_FILE_BYTES)
            scratch.write_bytes(content)
            gathered.artifacts.put(
                spec.run_id, f"files/{index}.bin", scratch, digest=digest_of(content), size=len(content)
            )
        gathered.tracking.close_run(spec.run_id, status=RunStatus.FINISHED, end_time=1_700_000_100_000)
    gathered.settle()
    adapter.close()
    return {"runs": int(count)}


def copy_folder(source: str, target: str) -> dict[str, float]:
    """Migrate one folder to another, as ``bridge migrate`` does it."""
    import trackbridge as tb

    began = time.perf_counter()
    report = tb.migrate.plan(source, target).apply()
    found = _seen(began)
    if not report.is_complete:
        raise SystemExit("the migration is not complete")
    return found


def copy_bare(source: str, target: str) -> dict[str, float]:
    """Copy the files of the runs alone, each one synced before the next."""
    began = time.perf_counter()
    for file in sorted((Path(source) / "artifacts").rglob("*.bin")):
        copy = Path(target) / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with copy.open("wb") as writer:
            writer.write(file.read_bytes())
            writer.flush()
            os.fsync(writer.fileno())
    return _seen(began)


# Between servers.


def _servers(*, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Copy the same runs in turn by each, and return what was seen."""
    from tests.support.mlflow_servers import mlflow_server

    count = SERVER_RUNS_QUICK if quick else SERVER_RUNS
    seen: dict[str, list[dict[str, Any]]] = {"bare": [], "ours": [], "theirs": []}
    with (
        workers.temporary_folder() as folder,
        mlflow_server(folder / "source", on_disk=True) as source,
        mlflow_server(folder / "target", on_disk=True) as target,
    ):
        written = write(source.url, count, POINTS_LONG_QUICK if quick else POINTS_LONG)
        for number in range(SERVER_ROUNDS_QUICK if quick else SERVER_ROUNDS):
            for kind, found in seen.items():
                if kind == "theirs" and number:
                    continue  # it takes many times as long as the others
                target.reset()
                home = {"BRIDGE_HOME": str(folder / f"home-{number}")}
                done = workers.run("migration", kind, source.url, target.url, **home)
                found.append({**done, "runs": count, "lost": dict(lost(target.url, written))})
    return seen


def _between_servers(seen: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    def rates(kind: str) -> list[float]:
        return [found["runs"] / found["elapsed_s"] for found in seen[kind]]

    ours, bare, theirs = rates("ours"), rates("bare"), rates("theirs")[0]
    share = median(our / most for our, most in zip(ours, bare, strict=True))
    times = median(ours) / theirs
    one = {kind: found[0] for kind, found in seen.items()}
    speed = Figure(
        f"runs between two MLflow servers, {one['ours']['runs']:,} of them",
        "runs/s",
        median(ours),
        {"the smallest number of calls, bare": median(bare), "mlflow-export-import 1.2.0": theirs},
        (
            at_least(0.8, share, f"of what the servers allow (it is {share:.2f})"),
            at_least(2, times, f"times as fast as mlflow-export-import (it is {times:.2f})"),
        ),
        more_is_better=True,
        note=f"median of rounds in turn, mlflow-export-import once; {one['ours']['calls']:,} calls to both "
        f"servers, {one['bare']['calls']:,} are the fewest; each of them {AT_ONCE} runs at a time, "
        "mlflow-export-import with its threads",
    )
    ours_lost = max(sum(found["lost"].values()) for found in seen["ours"])
    kept = Figure(
        "things that are not at the target as the script wrote them at the source",
        "things",
        ours_lost,
        targets=(at_most(0, ours_lost, "things"),),
        note=f"counted by run and kind; ours: {_told(one['ours']['lost'])}; mlflow-export-import 1.2.0: "
        f"{_told(one['theirs']['lost'])}",
    )
    return [speed, kept]


def _told(lacking: dict[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in sorted(lacking.items())) or "none"


def ours(source: str, target: str) -> dict[str, float]:
    """Migrate with ours, and count the requests."""
    import requests

    import trackbridge as tb

    calls, send = [0], requests.Session.send

    def counted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        return send(*arguments, **options)

    requests.Session.send = counted  # type: ignore[method-assign]
    began = time.perf_counter()
    report = tb.migrate.plan(source, target).apply()
    found = _seen(began)
    if not report.is_complete:
        raise SystemExit("the migration is not complete")
    return {**found, "calls": calls[0]}


def theirs(source: str, target: str) -> dict[str, float]:
    """Export from the source and import into the target with mlflow-export-import, with threads."""
    began = time.perf_counter()
    for program, option, uri in (
        ("export-experiments", "--output-dir", source),
        ("import-experiments", "--input-dir", target),
    ):
        names = ("--experiments", "all") if program.startswith("export") else ("--use-src-user-id", "True")
        done = subprocess.run(
            [str(EXPORT_IMPORT / program), *names, option, "exported", "--use-threads", "True"],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")
    return _seen(began)


def bare(source: str, target: str) -> dict[str, float]:
    """Copy by the fewest calls that move the same data; nothing is looked at before or afterwards."""
    began = time.perf_counter()
    here, there = Rest(source), Rest(target)
    experiments = {
        item["experiment_id"]: there.post(
            "experiments/create", name=item["name"], tags=item.get("tags") or []
        )["experiment_id"]
        for item in here.experiments()
    }
    runs = list(here.runs(list(experiments)))
    natives: dict[str, str] = {}

    def copied(run: Json) -> None:
        natives[run["info"]["run_id"]] = _copied_bare(run, here, there, experiments, natives)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        left = {run["info"]["run_id"]: run for run in runs}
        while left:
            ready = [run for run in left.values() if _parent_of(run) not in left]
            list(pool.map(copied, ready))
            for run in ready:
                del left[run["info"]["run_id"]]
    return {**_seen(began), "calls": here.calls + there.calls}


def _parent_of(run: Json) -> str:
    tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags") or ()}
    return tags.get("mlflow.parentRunId", "")


def _copied_bare(
    run: Json, here: Rest, there: Rest, experiments: dict[str, str], natives: dict[str, str]
) -> str:
    info, data = run["info"], run["data"]
    native = info["run_id"]
    parent = natives.get(_parent_of(run), "")
    created = there.post(
        "runs/create",
        experiment_id=experiments[info["experiment_id"]],
        user_id=info.get("user_id", ""),
        start_time=info["start_time"],
        run_name=info.get("run_name", ""),
        tags=[
            {**tag, "value": parent} if tag["key"] == "mlflow.parentRunId" else tag for tag in data["tags"]
        ],
    )["run"]
    copy = created["info"]["run_id"]
    metrics = [point for item in data.get("metrics") or () for point in here.history(native, item["key"])]
    for body in batches(metrics, data.get("params") or []):
        there.post("runs/log-batch", run_id=copy, **body)
    datasets = (run.get("inputs") or {}).get("dataset_inputs") or []
    if datasets:
        there.post("runs/log-inputs", run_id=copy, datasets=datasets)
    for path, content in here.files(root_of(run)).items():
        there.put(root_of(created), path, content)
    there.post("runs/update", run_id=copy, status=info["status"], end_time=info["end_time"])
    if info["lifecycle_stage"] == "deleted":
        there.post("runs/delete", run_id=copy)
    return str(copy)


# Memory.


def _memory(peaks_mb: dict[str, float]) -> Figure:
    most = max(peaks_mb.values())
    return Figure(
        "memory while a migration is planned, applied and compared",
        "MB",
        most,
        targets=(at_most(MEMORY_MB_MAX, most, "MB"),),
        note="peak of the resident memory: "
        + ", ".join(f"{what} {peak:.0f}" for what, peak in peaks_mb.items()),
    )


def _seen(began: float) -> dict[str, float]:
    elapsed_s = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    return {"elapsed_s": elapsed_s, "peak_mb": used.ru_maxrss * 1024 / 1e6, "cpu_s": cpu_s}

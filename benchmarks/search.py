"""Searching many runs: with a condition on a metric and one on a param, and with none that is selective.

mlflow is measured twice. As it leaves its store, SQLite (3.40, for one) joins without an index, which takes
seconds for the selective search and minutes for the others; so these are measured only after an ``ANALYZE``,
which mlflow does not do by itself. Our target holds against the faster of the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from benchmarks import stores, workers
from benchmarks.figures import Figure, Target, at_most

RUNS = 100_000
RUNS_QUICK = 1_000
REPETITIONS = 15
MLFLOW_REPETITIONS = 5
FIRST = 100
ANALYZED = "mlflow on SQLite after `ANALYZE`"
ORDER = ["metrics.acc DESC"]
QUERIES = {
    "selective": "metrics.acc > 0.9 and params.lr = '0.1'",
    "none": "",
    "everything": "metrics.loss >= 0 and params.depth LIKE '%'",
}


def measure(*, quick: bool) -> list[Figure]:
    """Return the times of a search."""
    runs = RUNS_QUICK if quick else RUNS
    ours = stores.kept("stores", "build_ours", runs)
    theirs = stores.kept("stores", "build_mlflow", runs)
    analyzed = stores.kept("stores", "build_analyzed", runs)
    found = workers.run("search", "our_search", ours)
    as_it_is = workers.run("search", "mlflow_search", theirs, "selective")["selective"]["ms"]
    their_found = workers.run("search", "mlflow_search", analyzed, *QUERIES)
    for name in QUERIES:
        if found[name]["ids"] != their_found[name]["ids"]:
            raise SystemExit(f"the search {QUERIES[name]!r} finds other runs in mlflow")
    ms = {name: found[name]["ms"] for name in QUERIES}
    their_ms = {name: their_found[name]["ms"] for name in QUERIES}
    times_faster = min(as_it_is, their_ms["selective"]) / ms["selective"]
    return [
        Figure(
            f"search of {runs:,} runs: a metric and a param condition, by metric, first {FIRST}",
            "ms",
            ms["selective"],
            {"mlflow on SQLite": as_it_is, ANALYZED: their_ms["selective"]},
            (
                at_most(60, ms["selective"], "ms"),
                Target("at least 12 times faster than mlflow", times_faster >= 12),
            ),
            note=f"`{QUERIES['selective']}` order by `{ORDER[0]}`; five params and five metrics a run; both "
            f"find the same runs; the first search of a process takes "
            f"{found['selective']['first_ms']:.0f} ms (mlflow "
            f"{their_found['selective']['first_ms']:,.0f} ms)",
        ),
        Figure(
            "the same without a condition",
            "ms",
            ms["none"],
            {ANALYZED: their_ms["none"]},
            (at_most(400, ms["none"], "ms"),),
        ),
        Figure(
            "the same with conditions that every run fulfils",
            "ms",
            ms["everything"],
            {ANALYZED: their_ms["everything"]},
            (at_most(400, ms["everything"], "ms"),),
            note=f"`{QUERIES['everything']}`",
        ),
    ]


# Workers.


def our_search(folder: str) -> dict[str, dict[str, object]]:
    """Search our store."""
    import trackbridge as tb

    client = tb.Client(Path(folder))
    experiment = client.get_experiment_by_name(stores.EXPERIMENT)
    assert experiment is not None
    ids = [experiment.experiment_id]

    def search(text: str) -> list[str]:
        return [run.info.run_id for run in client.search_runs(ids, text, max_results=FIRST, order_by=ORDER)]

    return _timed(search, QUERIES, REPETITIONS)


def mlflow_search(folder: str, *names: str) -> dict[str, dict[str, object]]:
    """Search mlflow's store, in process, by the queries of these names."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{Path(folder) / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(stores.EXPERIMENT)
    assert experiment is not None
    ids = [experiment.experiment_id]

    def search(text: str) -> list[str]:
        return [run.info.run_id for run in client.search_runs(ids, text, max_results=FIRST, order_by=ORDER)]

    return _timed(search, names, MLFLOW_REPETITIONS)


def _timed(
    search: Callable[[str], list[str]], names: Iterable[str], repetitions: int
) -> dict[str, dict[str, object]]:
    results: dict[str, dict[str, object]] = {}
    for name in names:
        taken_ms = []
        for _ in range(repetitions + 1):
            began = time.perf_counter()
            ids = search(QUERIES[name])
            taken_ms.append((time.perf_counter() - began) * 1000)
        results[name] = {"ms": median(taken_ms[1:]), "first_ms": taken_ms[0], "ids": ids}
    return results

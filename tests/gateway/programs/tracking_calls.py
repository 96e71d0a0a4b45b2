"""Each call of tracking: experiments, runs, metrics, params, tags, batches, data sets, searches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunTag,
    ViewType,
)

from tests.gateway.programs.notes import Notes

START_MS = 1_700_000_000_000
MISSING = "0123456789abcdef0123456789abcdef"
LONG = "x" * 9000


def names(found: Any) -> dict[str, Any]:
    """Show a page by what its items are called, and whether another follows."""
    called = [getattr(item, "name", None) or item.info.run_name for item in found]
    return {"names": called, "has more": bool(getattr(found, "token", None))}


def experiments(client: MlflowClient, note: Notes) -> str:
    """Make, read, change, delete and search experiments; return the id of one."""
    first = note("experiment create", lambda: client.create_experiment(f"{note.mark}-a"), str.isalnum)
    note.named("experiment a", first)
    tagged = client.create_experiment(f"{note.mark}-b", tags={"team": "blue", "n": "1"})
    note.named("experiment b", tagged)
    note("experiment create twice", lambda: client.create_experiment(f"{note.mark}-a"))
    note("experiment without name", lambda: client.create_experiment(""))
    note("experiment with long name", lambda: client.create_experiment(note.mark + LONG))
    note("experiment", lambda: client.get_experiment(first))
    note("experiment with tags", lambda: client.get_experiment(tagged))
    note("experiment missing", lambda: client.get_experiment("987654321"))
    note("experiment of no number", lambda: client.get_experiment("no-number"))
    note("experiment by name", lambda: client.get_experiment_by_name(f"{note.mark}-b"))
    note("experiment by missing name", lambda: client.get_experiment_by_name(f"{note.mark}-none"))
    note("experiment Default", lambda: client.get_experiment("0"), lambda one: [one.experiment_id, one.name])
    note("experiment Default by name", lambda: client.get_experiment_by_name("Default").experiment_id)
    _experiment_tags(client, note, first)
    _renamed(client, note)
    _experiment_searches(client, note)
    _deleted_experiments(client, note, first, tagged)
    return str(tagged)


def _renamed(client: MlflowClient, note: Notes) -> None:
    other = client.create_experiment(f"{note.mark}-old")
    note.named("experiment old", other)
    note("experiment rename to another's", lambda: client.rename_experiment(other, f"{note.mark}-b"))
    note("experiment rename missing", lambda: client.rename_experiment("987654321", f"{note.mark}-n"))
    note("experiment rename", lambda: client.rename_experiment(other, f"{note.mark}-new"))
    note("experiment renamed", lambda: client.get_experiment(other).name)
    note("experiment by old name", lambda: client.get_experiment_by_name(f"{note.mark}-old") is None)


def _experiment_tags(client: MlflowClient, note: Notes, experiment: str) -> None:
    note("experiment tag", lambda: client.set_experiment_tag(experiment, "owner", "ann"))
    note("experiment tag again", lambda: client.set_experiment_tag(experiment, "owner", "bea"))
    note("experiment tag empty", lambda: client.set_experiment_tag(experiment, "empty", ""))
    note("experiment tag of a missing", lambda: client.set_experiment_tag("987654321", "a", "b"))
    note("experiment tag too long", lambda: client.set_experiment_tag(experiment, "long", LONG))
    note("experiment tag with bad key", lambda: client.set_experiment_tag(experiment, "a*b?", "c"))
    note("experiment tags", lambda: client.get_experiment(experiment).tags)
    if hasattr(client, "delete_experiment_tag"):
        client.set_experiment_tag(experiment, "gone", "1")
        note("experiment tag delete", lambda: client.delete_experiment_tag(experiment, "gone"))
        note("experiment tag delete missing", lambda: client.delete_experiment_tag(experiment, "none"))
        note("experiment tag then", lambda: client.get_experiment(experiment).tags.get("gone"))
        client.set_experiment_tag(experiment, "gone", "")


def _experiment_searches(client: MlflowClient, note: Notes) -> None:
    for letter in "cdef":
        client.create_experiment(f"{note.mark}-s-{letter}", tags={"letter": letter, "team": "red"})
    like = f"name LIKE '{note.mark}-s-%'"
    searches: dict[str, dict[str, Any]] = {
        "like": {"filter_string": like, "order_by": ["name"]},
        "ilike": {"filter_string": f"name ILIKE '{note.mark.upper()}-S-%'", "order_by": ["name DESC"]},
        "equal": {"filter_string": f"name = '{note.mark}-s-c'"},
        "unequal": {"filter_string": f"{like} AND name != '{note.mark}-s-c'", "order_by": ["name ASC"]},
        "tag": {"filter_string": f"{like} AND tags.letter = 'd'"},
        "tags": {
            "filter_string": f"{like} AND tags.team = 'red' AND tags.letter != 'd'",
            "order_by": ["name"],
        },
        "page": {"filter_string": like, "order_by": ["name"], "max_results": 3},
        "newest first": {"filter_string": like},
        "by time": {"filter_string": like, "order_by": ["creation_time ASC", "name ASC"]},
        "created": {"filter_string": f"{like} AND creation_time > {START_MS}", "order_by": ["name"]},
        "bad filter": {"filter_string": "name LIKE"},
        "bad field": {"filter_string": "colour = 'red'"},
        "bad order": {"order_by": ["colour"]},
        "none": {"max_results": 0},
        "too many": {"max_results": 50_001},
        "bad token": {"page_token": "%%%"},
    }
    for label, asked in searches.items():
        note(f"experiments {label}", _searching(client.search_experiments, asked), names)
    asked = {"filter_string": like, "order_by": ["name"], "max_results": 3}
    token = client.search_experiments(**asked).token
    note("experiments next page", lambda: client.search_experiments(**asked, page_token=token), names)


def _searching(search: Callable[..., Any], asked: dict[str, Any]) -> Callable[[], Any]:
    return lambda: search(**asked)


def _deleted_experiments(client: MlflowClient, note: Notes, first: str, other: str) -> None:
    inside = client.create_run(first, run_name="inside").info.run_id
    note("experiment delete", lambda: client.delete_experiment(first))
    note("experiment deleted", lambda: client.get_experiment(first))
    note("experiment deleted by name", lambda: client.get_experiment_by_name(f"{note.mark}-a"))
    note("experiment delete twice", lambda: client.delete_experiment(first))
    note("experiment delete missing", lambda: client.delete_experiment("987654321"))
    note("experiment name of a deleted", lambda: client.create_experiment(f"{note.mark}-a"))
    note("run in a deleted experiment", lambda: client.create_run(first))
    note("run of a deleted experiment", lambda: client.get_run(inside).info.lifecycle_stage)
    mine = f"name LIKE '{note.mark}-_'"
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        asked = {"view_type": view, "filter_string": mine, "order_by": ["name"]}
        label = f"experiments {ViewType.to_string(view)}"
        note(label, _searching(client.search_experiments, asked), names)
    note("experiment restore", lambda: client.restore_experiment(first))
    note("experiment restored", lambda: client.get_experiment(first))
    note("run of a restored experiment", lambda: client.get_run(inside).info.lifecycle_stage)
    note("experiment restore twice", lambda: client.restore_experiment(first))
    note("experiment restore missing", lambda: client.restore_experiment("987654321"))
    note("experiment restore an active", lambda: client.restore_experiment(other))


def runs(client: MlflowClient, note: Notes, experiment: str) -> str:
    """Open, change, end, delete and restore runs; return the id of one."""
    made = note(
        "run create",
        lambda: client.create_run(experiment, START_MS, {"a": "1", "mlflow.user": "ann"}, "first"),
        lambda run: [run.info.run_name, run.info.status, run.info.start_time, run.data.tags],
    )
    run = str(made.info.run_id)
    note.named("run first", run)
    note("run", lambda: client.get_run(run))
    plain = client.create_run(experiment)
    note.named("run unnamed", plain.info.run_id)
    note("run unnamed", lambda: client.get_run(plain.info.run_id))
    note("run in no experiment", lambda: client.create_run("987654321"))
    note("run missing", lambda: client.get_run(MISSING))
    note("run of no id", lambda: client.get_run("no/id"))
    note("run with two names", lambda: client.create_run(experiment, None, {"mlflow.runName": "b"}, "a"))
    _updates(client, note, run)
    _endings(client, note, experiment)
    _deleted_runs(client, note, experiment)
    note("parent of a run without", lambda: client.get_parent_run(run))
    child = client.create_run(experiment, tags={"mlflow.parentRunId": run}, run_name="child").info.run_id
    note("parent of a run", lambda: client.get_parent_run(child).info.run_id)
    return run


def _updates(client: MlflowClient, note: Notes, run: str) -> None:
    note("run update name", lambda: client.update_run(run, name="renamed"))
    note("run update status", lambda: client.update_run(run, "SCHEDULED"))
    note("run updated", lambda: client.get_run(run).info)
    note("run update back", lambda: client.update_run(run, "RUNNING", "first"))
    note("run update nothing", lambda: client.update_run(run))
    note("run update missing", lambda: client.update_run(MISSING, "FINISHED"))
    note("run update to no status", lambda: client.update_run(run, "SLEEPING"))
    note("run renamed by tag", lambda: client.set_tag(run, "mlflow.runName", "tagged"))
    note("run named by tag", lambda: client.get_run(run).info.run_name)


def _endings(client: MlflowClient, note: Notes, experiment: str) -> None:
    for status in ("FINISHED", "FAILED", "KILLED"):
        run = client.create_run(experiment, START_MS, run_name=f"ends {status}").info.run_id
        note.named(f"run {status}", run)
        note(f"run ends {status}", lambda: client.set_terminated(run, status, START_MS + 5))  # noqa: B023
        note(f"run ended {status}", lambda: client.get_run(run))  # noqa: B023
    run = client.create_run(experiment, run_name="ends now").info.run_id
    note("run ends", lambda: client.set_terminated(run))
    note("run ended", lambda: [client.get_run(run).info.status, client.get_run(run).info.end_time])
    note("metric of an ended run", lambda: client.log_metric(run, "late", 1.0, START_MS, 1))
    note("run with a late metric", lambda: client.get_run(run).data.metrics)
    note("run ends again", lambda: client.set_terminated(run, "FAILED", START_MS + 9))
    note("run ended again", lambda: [client.get_run(run).info.status, client.get_run(run).info.end_time])
    note("run goes on", lambda: client.update_run(run, "RUNNING"))
    note("run that went on", lambda: [client.get_run(run).info.status, client.get_run(run).info.end_time])
    note("run missing ends", lambda: client.set_terminated(MISSING))


def _deleted_runs(client: MlflowClient, note: Notes, experiment: str) -> None:
    run = client.create_run(experiment, run_name="deleted").info.run_id
    client.log_param(run, "kept", "yes")
    note("run delete", lambda: client.delete_run(run))
    note("run deleted", lambda: [client.get_run(run).info.lifecycle_stage, client.get_run(run).data.params])
    note("run delete twice", lambda: client.delete_run(run))
    note("run delete missing", lambda: client.delete_run(MISSING))
    writes: dict[str, Callable[[], Any]] = {
        "metric": lambda: client.log_metric(run, "m", 1.0),
        "param": lambda: client.log_param(run, "p", 1),
        "tag": lambda: client.set_tag(run, "t", 1),
        "tag deletion": lambda: client.delete_tag(run, "mlflow.user"),
        "batch": lambda: client.log_batch(run, [Metric("m", 1.0, 1, 1)]),
        "end": lambda: client.set_terminated(run),
        "name": lambda: client.update_run(run, name="new"),
    }
    for label, write in writes.items():
        note(f"{label} of a deleted run", write)
    found = lambda view: client.search_runs([experiment], "attributes.run_name = 'deleted'", view)  # noqa: E731
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        note(f"deleted run seen by {ViewType.to_string(view)}", lambda: found(view), names)  # noqa: B023
    note("run restore", lambda: client.restore_run(run))
    note("run restored", lambda: client.get_run(run).info.lifecycle_stage)
    note("run restore twice", lambda: client.restore_run(run))
    note("run restore missing", lambda: client.restore_run(MISSING))
    note("metric of a restored run", lambda: client.log_metric(run, "m", 1.0))


def values(client: MlflowClient, note: Notes, experiment: str) -> None:
    """Log metrics, params and tags in every way, and read them."""
    run = client.create_run(experiment, START_MS, run_name="values").info.run_id
    note.named("run values", run)
    points = {"pi": 3.141592653589793, "nan": math.nan, "inf": math.inf, "minus inf": -math.inf}
    points |= {"minus zero": -0.0, "tiny": 5e-324, "huge": 1.7976931348623157e308, "whole": 7}
    for key, value in points.items():
        note(f"metric {key}", lambda: client.log_metric(run, key, value, START_MS + 1, 3))  # noqa: B023
        note(f"history of {key}", lambda: client.get_metric_history(run, key))  # noqa: B023
    for label, (value, timestamp, step) in {
        "first": (1.0, 10, 0),
        "same": (1.0, 10, 0),
        "later step": (2.0, 5, 4),
        "other value": (9.0, 5, 4),
        "earlier step": (3.0, 99, 2),
        "negative step": (4.0, 7, -3),
        "big step": (5.0, 7, 2**53 + 1),
    }.items():
        note(f"point {label}", lambda: client.log_metric(run, "many", value, timestamp, step))  # noqa: B023
    note("points", lambda: client.get_metric_history(run, "many"), sorted_points)
    note("metric now", lambda: client.log_metric(run, "now", 1.0))
    note("history now", lambda: client.get_metric_history(run, "now"))
    note("history of no metric", lambda: client.get_metric_history(run, "none"))
    note("history of no run", lambda: client.get_metric_history(MISSING, "many"))
    for key in ("a/b", "a b", "a.b-c_d", "ä", "a*b", "/a", "a/../b", "", "k" * 250, "k" * 251):
        note(f"metric key {key}", lambda: client.log_metric(run, key, 1.0, 1, 1))  # noqa: B023
        note(f"param key {key}", lambda: client.log_param(run, key, "v"))  # noqa: B023
        note(f"tag key {key}", lambda: client.set_tag(run, key, "v"))  # noqa: B023
    note("metric of no run", lambda: client.log_metric(MISSING, "a", 1.0))
    note("metric of text", lambda: client.log_metric(run, "text", "1.5"))
    note("metric of no number", lambda: client.log_metric(run, "text", "many"))
    _params(client, note, run)
    _tags(client, note, run)
    note("run with values", lambda: client.get_run(run).data, data)


def data(shown: Any) -> dict[str, Any]:
    """Show all that a run holds."""
    return {"metrics": shown.metrics, "params": shown.params, "tags": shown.tags}


def sorted_points(points: Any) -> list[Any]:
    """Show a history in an order that does not depend on when it was written."""
    return sorted([point.step, point.timestamp, point.value] for point in points)


def _params(client: MlflowClient, note: Notes, run: str) -> None:
    note("param", lambda: client.log_param(run, "rate", 0.1))
    note("param again", lambda: client.log_param(run, "rate", 0.1))
    note("param otherwise", lambda: client.log_param(run, "rate", 0.2))
    note("param empty", lambda: client.log_param(run, "empty", ""))
    note("param None", lambda: client.log_param(run, "nothing", None))
    note("param of umlauts", lambda: client.log_param(run, "umlauts", "äöü €"))
    note("param of 6000", lambda: client.log_param(run, "p6000", "x" * 6000))
    note("param of 6001", lambda: client.log_param(run, "p6001", "x" * 6001))
    note("param of no run", lambda: client.log_param(MISSING, "rate", 1))


def _tags(client: MlflowClient, note: Notes, run: str) -> None:
    note("tag", lambda: client.set_tag(run, "colour", "red"))
    note("tag again", lambda: client.set_tag(run, "colour", "blue"))
    note("tag empty", lambda: client.set_tag(run, "empty", ""))
    note("tag deleted", lambda: client.set_tag(run, "gone", "1"))
    note("tag delete", lambda: client.delete_tag(run, "gone"))
    note("tag delete missing", lambda: client.delete_tag(run, "none"))
    note("tag delete of no run", lambda: client.delete_tag(MISSING, "none"))
    note("tag of 8000", lambda: client.set_tag(run, "t8000", "x" * 8000))
    note("tag of 8001", lambda: client.set_tag(run, "t8001", "x" * 8001))
    note("tag of no run", lambda: client.set_tag(MISSING, "colour", "red"))
    note("tag note", lambda: client.set_tag(run, "mlflow.note.content", "# A *note*"))
    note("tag of ours", lambda: client.set_tag(run, "bridge.run_id", "stolen"))


def batches(client: MlflowClient, note: Notes, experiment: str) -> None:
    """Log batches of every kind."""
    run = client.create_run(experiment, START_MS, run_name="batches").info.run_id
    note.named("run batches", run)
    metrics = [Metric("loss", 1 / (step + 1), START_MS + step, step) for step in range(20)]
    everything = {
        "metrics": metrics,
        "params": [Param("a", "1"), Param("b", "2")],
        "tags": [RunTag("t", "u")],
    }
    note("batch", lambda: client.log_batch(run, **everything))
    note("batch again", lambda: client.log_batch(run, **everything))
    note("batch empty", lambda: client.log_batch(run))
    note("batch read", lambda: client.get_run(run).data, data)
    note("batch history", lambda: client.get_metric_history(run, "loss"), sorted_points)
    one = lambda key, value: client.log_batch(run, params=[Param(key, value)])  # noqa: E731
    note("batch param otherwise", lambda: one("a", "other"))
    note("batch of one param twice", lambda: client.log_batch(run, params=[Param("c", "1"), Param("c", "2")]))
    note("batch of one param again", lambda: client.log_batch(run, params=[Param("d", "1"), Param("d", "1")]))
    mixed = {"metrics": [Metric("good", 1.0, 1, 1)], "params": [Param("a*", "1")]}
    note("batch with a bad key", lambda: client.log_batch(run, **mixed))
    note("batch of 1000", lambda: client.log_batch(run, [Metric("k", 1.0, n, n) for n in range(1000)]))
    note("batch of 1001", lambda: client.log_batch(run, [Metric("k", 1.0, n, n) for n in range(1001)]))
    note(
        "batch of 100 params", lambda: client.log_batch(run, params=[Param(f"h{n}", "") for n in range(100)])
    )
    note(
        "batch of 101 params", lambda: client.log_batch(run, params=[Param(f"i{n}", "") for n in range(101)])
    )
    note("batch of 101 tags", lambda: client.log_batch(run, tags=[RunTag(f"i{n}", "") for n in range(101)]))
    note("batch of no run", lambda: client.log_batch(MISSING, metrics))
    note("batches read", lambda: client.get_run(run).data, data)
    note("batch of 1000 read", lambda: client.get_metric_history(run, "k"), len)


def datasets(client: MlflowClient, note: Notes, experiment: str) -> None:
    """Log what a run reads."""
    run = client.create_run(experiment, START_MS, run_name="reads").info.run_id
    note.named("run reads", run)
    train = DatasetInput(
        Dataset("train", "d1", "local", '{"uri": "train.csv"}', '{"columns": 3}', '{"rows": 5}'),
        [InputTag("mlflow.data.context", "training"), InputTag("a", "b")],
    )
    bare = DatasetInput(Dataset("bare", "d2", "http", '{"url": "http://x/y"}'))
    note("inputs", lambda: client.log_inputs(run, [train, bare]))
    note("inputs again", lambda: client.log_inputs(run, [train]))
    note("inputs of no run", lambda: client.log_inputs(MISSING, [train]))
    note("inputs none", lambda: client.log_inputs(run, []))
    note("run with inputs", lambda: client.get_run(run).inputs, _inputs)
    for label, text in {
        "name": "datasets.name = 'train'",
        "digest": "dataset.digest = 'd2'",
        "context": "datasets.context = 'training'",
        "missing": "datasets.name = 'test'",
    }.items():
        note(f"runs by data set's {label}", lambda: client.search_runs([experiment], text), names)  # noqa: B023


def _inputs(inputs: Any) -> list[Any]:
    ordered = sorted(inputs.dataset_inputs, key=lambda one: str(one.dataset.name))
    return [[dict(one.dataset), sorted([tag.key, tag.value] for tag in one.tags)] for one in ordered]


SEARCHES = {
    "all": "",
    "metric above": "metrics.acc > 0.5",
    "metric equal": "metrics.acc = 0.25",
    "metric unequal": "metrics.acc != 0.25",
    "metric spelled otherwise": "metric.acc >= 0.75",
    "metric quoted": "metrics.`a metric` < 3",
    "two": "metrics.acc > 0.2 AND params.kind = 'even'",
    "param unequal": "params.kind != 'even'",
    "param like": "params.kind LIKE 'e%'",
    "param ilike": "params.kind ILIKE 'EV%'",
    "param in": "params.number IN ('1', '3')",
    "param not in": "params.number NOT IN ('1', '3')",
    "tag": "tags.colour = 'red'",
    "tag missing": "tags.only = 'x'",
    "tag double quoted": 'tags."colour" = "red"',
    "tag is null": "tags.only IS NULL",
    "param is not null": "params.number IS NOT NULL",
    "name": "attributes.run_name = 's-2'",
    "name like": "run_name LIKE 's-%'",
    "status": "attributes.status = 'FINISHED'",
    "status lower": "status = 'running'",
    "start": f"attributes.start_time >= {START_MS + 3}",
    "user": "attributes.user_id = 'bea'",
    "run id in": "attributes.run_id IN ('{first}', '{second}')",
    "or": "params.kind = 'even' OR params.kind = 'odd'",
    "no operator": "params.kind",
    "no quotes": "params.kind = even",
    "text for a number": "metrics.acc = 'high'",
    "number for a text": "params.number = 1",
    "like for a number": "metrics.acc LIKE '1%'",
    "unknown entity": "colours.red = '1'",
    "unknown attribute": "attributes.colour = '1'",
    "unclosed": "params.kind = 'even",
    "parentheses": "(params.kind = 'even')",
}
ORDERS = {
    "metric": ["metrics.acc DESC"],
    "metric rising": ["metrics.acc ASC", "attributes.run_name"],
    "param": ["params.kind", "attributes.start_time DESC"],
    "tag": ["tags.colour DESC", "run_name ASC"],
    "start": ["attributes.start_time ASC"],
    "end": ["end_time DESC", "start_time"],
    "unknown": ["colour"],
    "bad direction": ["metrics.acc SIDEWAYS"],
}


def searches(client: MlflowClient, note: Notes) -> None:
    """Search runs by every kind of filter, order and page."""
    experiment = client.create_experiment(f"{note.mark}-searched")
    note.named("experiment searched", experiment)
    made = [_searched_run(client, experiment, number) for number in range(6)]
    search = lambda **asked: client.search_runs([experiment], **asked)  # noqa: E731
    for label, text in SEARCHES.items():
        asked = text.replace("{first}", made[0]).replace("{second}", made[1])
        note(f"runs {label}", lambda: search(filter_string=asked), names)  # noqa: B023
    for label, order in ORDERS.items():
        note(f"runs ordered by {label}", lambda: search(order_by=order), names)  # noqa: B023
    page = search(max_results=4, order_by=["attributes.run_name"])
    note("runs page", lambda: page, names)
    rest = {"max_results": 4, "order_by": ["attributes.run_name"], "page_token": page.token}
    note("runs next page", lambda: search(**rest), names)
    note("runs none", lambda: search(max_results=0), names)
    note("runs too many", lambda: search(max_results=50_001), names)
    note("runs bad token", lambda: search(page_token="%%%"), names)
    note("runs of no experiment", lambda: client.search_runs(["987654321"]), names)
    note("runs of nowhere", lambda: client.search_runs([]), names)
    note("run found", lambda: search(filter_string="run_name = 's-1'")[0].data, data)


def _searched_run(client: MlflowClient, experiment: str, number: int) -> str:
    user = "ann" if number < 4 else "bea"
    tags = {"colour": "red" if number % 3 else "blue", "mlflow.user": user}
    run = client.create_run(experiment, START_MS + number, tags, f"s-{number}").info.run_id
    if number != 5:  # one has no value to be ordered by, and one has no number
        value = math.nan if number == 4 else number * 0.25
        client.log_metric(run, "acc", value, START_MS, 0)
    client.log_metric(run, "a metric", number, START_MS, 0)
    client.log_param(run, "kind", "odd" if number % 2 else "even")
    client.log_param(run, "number", number)
    if number == 0:
        client.set_tag(run, "only", "x")
        client.set_terminated(run, "FINISHED", START_MS + 50)
    return str(run)


def tracking(client: MlflowClient, note: Notes) -> tuple[str, str]:
    """Touch all of it; return the ids of an experiment and of a run."""
    experiment = experiments(client, note)
    run = runs(client, note, experiment)
    values(client, note, experiment)
    batches(client, note, experiment)
    datasets(client, note, experiment)
    searches(client, note)
    return experiment, run

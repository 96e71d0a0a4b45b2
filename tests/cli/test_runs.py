"""``bridge experiments`` and ``bridge runs``: list, show, delete, restore, compare."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, log_run
from trackbridge.cli.finding_runs import short_ids
from trackbridge.domain.runs import DatasetInput

HOSTILE = "evil\x1b[31m\x1b]0;title\x07\nname\u202e\x9b2J"


@pytest.fixture
def ids(client: tb.Client) -> dict[str, str]:
    """Two runs of wine and one of beer."""
    found = {
        "first": log_run(client, "first", params={"lr": 0.1, "same": 1}, metrics={"loss": [3.0, 2.0, 1.0]}),
        "second": log_run(client, "second", params={"lr": 0.2, "same": 1}, metrics={"loss": [4.0, 2.0, 0.5]}),
        "other": log_run(client, "other", experiment="beer", metrics={"acc": [0.5]}, status="FAILED"),
    }
    client.flush()
    return found


@pytest.mark.usefixtures("ids")
def test_lists(bridge: Bridge) -> None:
    assert bridge("experiments", "list").out.split()[:2] == ["NAME", "ID"]
    listed = bridge(
        *("runs", "list", "--experiment", "wine", "--order-by", "metrics.loss DESC"),
        *("--columns", "name,status,duration,metrics.loss,params.lr"),
    )
    assert listed.out == (
        "NAME    STATUS    DURATION  loss  params.lr\n"
        "first   FINISHED  1m 00s    1     0.1\n"
        "second  FINISHED  1m 00s    0.5   0.2\n"
    )
    assert listed.err == ""


def test_a_long_name_of_a_metric_makes_no_column_of_its_length(bridge: Bridge, client: tb.Client) -> None:
    log_run(client, "long", metrics={"m" * 250: [1.0]})
    client.flush()
    heading, row = bridge("runs", "list").out.splitlines()
    assert heading.endswith(" " + "m" * 59 + "…")
    assert row.endswith(" 1")


def test_lists_as_json(bridge: Bridge, ids: dict[str, str]) -> None:
    result = bridge("runs", "list", "--filter", "metrics.loss < 1", "--json")
    run, summary = result.objects
    assert run["type"] == "run"
    assert run["run"]["info"]["run_id"] == ids["second"]
    assert run["run"]["data"]["metrics"] == {"loss": 0.5}
    assert run["experiment"] == "wine"
    assert summary == {"type": "summary", "runs": 1, "has_more": False}
    experiments = bridge("experiments", "list", "--json")
    assert {item["name"] for item in experiments.objects[:-1]} == {"wine", "beer"}
    assert experiments.summary == {"type": "summary", "experiments": 2}


@pytest.mark.usefixtures("ids")
def test_limit_order_and_more(bridge: Bridge) -> None:
    result = bridge("runs", "list", "--limit", "1", "--order-by", "metrics.loss DESC", "--columns", "name")
    assert result.out == "NAME\nfirst\n"
    assert result.err == "there are more; see them with --limit 10\n"


def test_nothing_there_yet(bridge: Bridge) -> None:
    assert bridge("runs", "list").err == "there are no such runs\n"
    assert bridge("experiments", "list").err == "there are no experiments; the first run makes one\n"
    assert bridge("runs", "list", "--json").summary == {"type": "summary", "runs": 0, "has_more": False}


def test_wrong_filter_shows_the_place(bridge: Bridge) -> None:
    result = bridge("runs", "list", "--filter", "metrics.acc >> 3", code=2)
    assert result.out == ""
    assert "\n  metrics.acc >> 3\n               ^\n" in result.err


def test_wrong_column_is_a_usage_error(bridge: Bridge, client: tb.Client) -> None:
    log_run(client, "any")
    assert "'speed' is none of" in bridge("runs", "list", "--columns", "name,speed", code=2).err


def test_show_by_id_prefix_and_name(bridge: Bridge, ids: dict[str, str]) -> None:
    by_name = bridge("runs", "show", "first").out
    assert by_name == bridge("runs", "show", ids["first"]).out
    assert f"  id             {ids['first']}\n" in by_name
    assert "Params\n  lr    0.1\n  same  1\n" in by_name
    prefix = next(ids["first"][:n] for n in range(1, 33) if not ids["second"].startswith(ids["first"][:n])
                  and not ids["other"].startswith(ids["first"][:n]))  # fmt: skip
    assert bridge("runs", "show", prefix, "--json").summary["run"]["info"]["run_name"] == "first"


def test_show_what_belongs_to_a_run(bridge: Bridge, client: tb.Client, project: Path) -> None:
    outer = log_run(client, "outer")
    inner = log_run(client, "inner", tags={"mlflow.parentRunId": outer})
    stray = log_run(client, "stray", tags={"mlflow.parentRunId": "elsewhere"})
    tags = {"mlflow.data.context": "training"}
    client.log_inputs(inner, [DatasetInput(name="iris", digest="d1", tags=tags)])
    client.log_text(inner, "x" * 1234, "plots of loss/a.txt")
    client.log_text(inner, "x", "b.txt")
    client.flush()
    shown = bridge("runs", "show", "inner").out
    experiment = client.get_experiment_by_name("wine")
    assert experiment is not None
    assert f"  experiment     wine ({experiment.experiment_id})\n" in shown
    assert f"  parent         outer {short_ids((outer, inner))[outer]}\n" in shown
    assert "Data sets\n  iris  d1 (training)\n" in shown
    assert "Artifacts\n  b.txt                1 byte\n  plots of loss/a.txt  1.2 kB\n" in shown
    folder = Path(next(line.split(None, 1)[1] for line in shown.splitlines() if " artifacts " in line))
    assert folder.is_relative_to(project / ".bridge")
    assert (folder / "plots of loss/a.txt").read_text() == "x" * 1234
    summary = bridge("runs", "show", inner, "--json").summary
    assert (summary["experiment"], summary["has_more_artifacts"]) == ("wine", False)
    assert [item["path"] for item in summary["artifacts"]] == ["b.txt", "plots of loss/a.txt"]
    assert "parent         elsewhere (not in this store)\n" in bridge("runs", "show", stray).out
    assert "parent" not in bridge("runs", "show", outer).out


def test_show_names_twenty_artifacts(bridge: Bridge, client: tb.Client) -> None:
    run = log_run(client, "many")
    for number in range(21):
        client.log_text(run, "", f"files/{number:02}.txt")
    client.flush()
    shown = bridge("runs", "show", run).out
    assert "files/19.txt  0 bytes\n  ...           and more\n" in shown
    assert "files/20.txt" not in shown
    summary = bridge("runs", "show", run, "--json").summary
    assert (len(summary["artifacts"]), summary["has_more_artifacts"]) == (20, True)


def test_ambiguous_name_lists_the_candidates(bridge: Bridge, client: tb.Client) -> None:
    ids = [log_run(client, "twin"), log_run(client, "twin")]
    result = bridge("runs", "show", "twin", code=2)
    assert "'twin' means 2 runs: " in result.err
    for identifier in ids:
        assert identifier[:12] in result.err
    assert "name one by its id" in result.err


def test_unknown_run_and_experiment(bridge: Bridge, ids: dict[str, str]) -> None:
    assert "there is no run 'nobody'" in bridge("runs", "show", "nobody", code=1).err
    result = bridge("experiments", "show", "nothing", "--json", code=1)
    assert result.objects[-1]["type"] == "error"
    assert result.objects[-1]["error"] == "NotFound"
    assert result.objects[-1]["exit_code"] == 1
    assert "% quote' OR 1" in bridge("runs", "show", "% quote' OR 1", code=1).err


def test_delete_and_restore(bridge: Bridge, ids: dict[str, str]) -> None:
    refused = bridge("runs", "delete", "first", code=2)
    assert "add --yes" in refused.err
    assert bridge("runs", "list", "--json").summary["runs"] == 3
    bridge("runs", "delete", "first", "second", "--yes")
    assert bridge("runs", "list", "--json").summary["runs"] == 1
    assert bridge("runs", "list", "--deleted", "--json").summary["runs"] == 2
    assert bridge("runs", "list", "--all", "--json").summary["runs"] == 3
    bridge("runs", "restore", "first")
    assert bridge("runs", "list", "--json").summary["runs"] == 2


@pytest.mark.usefixtures("ids")
def test_delete_and_restore_experiment(bridge: Bridge) -> None:
    assert bridge("experiments", "show", "wine", "--json").summary["runs"] == 2
    assert "add --yes" in bridge("experiments", "delete", "wine", code=2).err
    bridge("experiments", "delete", "wine", "--yes")
    assert [item.get("name") for item in bridge("experiments", "list", "--json").objects] == ["beer", None]
    assert bridge("runs", "list", "--json").summary["runs"] == 1
    bridge("experiments", "restore", "wine")
    assert bridge("runs", "list", "--json").summary["runs"] == 3


@pytest.mark.usefixtures("ids")
def test_other_uri(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bridge("runs", "list", "--uri", "./elsewhere", "--json").summary["runs"] == 0
    monkeypatch.setenv("BRIDGE_TRACKING_URI", "./elsewhere")
    assert bridge("runs", "list", "--json").summary["runs"] == 0
    assert bridge("runs", "list", "--uri", "./.bridge", "--json").summary["runs"] == 3


def test_hostile_names_do_not_reach_the_terminal(bridge: Bridge, client: tb.Client) -> None:
    texts: dict[str, object] = {HOSTILE: HOSTILE}
    points = {HOSTILE: [1.0, 2.0]}
    run_id = log_run(client, HOSTILE, experiment=HOSTILE, params=texts, tags=texts, metrics=points)
    other = log_run(client, "plain", metrics=points)
    for arguments in (
        ("runs", "list"),
        ("runs", "list", "--columns", f"name,experiment,params.{HOSTILE},tags.{HOSTILE}"),
        ("runs", "show", run_id),
        ("runs", "compare", run_id, other),
        ("runs", "log", run_id),
        ("runs", "delete", run_id, "--yes"),
        ("runs", "restore", run_id),
        ("experiments", "list"),
        ("experiments", "show", HOSTILE),
    ):
        result = bridge(*arguments)
        assert not set("\x1b\x07\x9b\u202e") & set(result.out + result.err), arguments
        as_json = bridge(*arguments, "--json")
        assert not set("\x1b\x07\x9b\u202e") & set(as_json.out), arguments
        assert as_json.summary
    shown = bridge("runs", "show", run_id, "--json").summary["run"]
    assert shown["info"]["run_name"] == HOSTILE
    assert shown["data"]["params"] == {HOSTILE: HOSTILE}


def test_error_with_a_hostile_name(bridge: Bridge, client: tb.Client) -> None:
    log_run(client, HOSTILE)
    log_run(client, HOSTILE)
    result = bridge("runs", "show", HOSTILE, code=2)
    assert "\x1b" not in result.err
    assert len(result.err.splitlines()) == 1


def test_compare(bridge: Bridge, ids: dict[str, str]) -> None:
    result = bridge("runs", "compare", "first", "second")
    lines = result.out.splitlines()
    short = short_ids((ids["first"], ids["second"]))
    assert lines[0].split() == ["first", short[ids["first"]], "second", short[ids["second"]], "CHANGE"]
    assert lines[1].split() == ["params", "lr", "0.1", "0.2"]
    assert lines[2].split() == ["metrics", "loss", "1", "0.5", "-0.5"]
    assert lines[4:7] == ["loss", "  * first", "  + second"]
    assert "same" not in result.out
    assert "same" in bridge("runs", "compare", "first", "second", "--equal", "--no-curves").out


def test_compare_as_json(bridge: Bridge, ids: dict[str, str]) -> None:
    result = bridge("runs", "compare", "first", "second", "--json")
    by_type: dict[str, list[dict[str, object]]] = {}
    for item in result.objects:
        by_type.setdefault(str(item["type"]), []).append(item)
    values = {ids["first"]: "0.1", ids["second"]: "0.2"}
    assert by_type["difference"][0] == {"type": "difference", "kind": "params", "key": "lr", "values": values}
    assert [curve["values"] for curve in by_type["curve"]] == [[3.0, 2.0, 1.0], [4.0, 2.0, 0.5]]
    assert result.summary["curves"] == ["loss"]


def test_compare_cuts_long_values_for_people_only(bridge: Bridge, client: tb.Client) -> None:
    names = ("--no-curves", log_run(client, "a", params={"text": "x" * 400}), log_run(client, "b"))
    client.flush()
    shown = bridge("runs", "compare", *names).out
    assert f"{'x' * 59}…" in shown
    assert max(map(len, shown.splitlines())) < 200
    (difference,) = [item for item in bridge("runs", "compare", *names, "--json").objects[:-1]
                     if item["key"] == "text"]  # fmt: skip
    assert "x" * 400 in difference["values"].values()


def test_compare_needs_two_runs(bridge: Bridge, ids: dict[str, str]) -> None:
    assert "at least two" in bridge("runs", "compare", "first", code=2).err
    assert "same run" in bridge("runs", "compare", "first", ids["first"], code=2).err


def test_compare_equal_runs(bridge: Bridge, client: tb.Client) -> None:
    first, second = log_run(client, "a"), log_run(client, "b")
    result = bridge("runs", "compare", first, second)
    assert result.out == ""
    assert result.err == "params, metrics and tags are equal\n"


def test_compare_draws_what_can_be_drawn(bridge: Bridge, client: tb.Client) -> None:
    strange = [math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300, 5e-324, 2.0**60, 1.7e308, -1.7e308]
    log_run(client, "strange", metrics={"loss": strange})
    log_run(client, "nothing", metrics={"loss": [math.nan, math.nan]})
    assert (
        "not drawn: 7 points, NaN or (nearly) infinite" in bridge("runs", "compare", "strange", "nothing").out
    )
    on_log_scale = bridge("runs", "compare", "strange", "nothing", "--log-scale").out
    assert "loss (log scale)" in on_log_scale
    assert "not drawn: 8 points, not positive or not finite" in on_log_scale
    result = bridge("runs", "compare", "strange", "nothing", "--json")
    curve = next(item for item in result.objects if item["type"] == "curve")
    assert curve["values"][:3] == ["NaN", "Infinity", "-Infinity"]
    assert json.dumps(curve["values"][6]) == "5e-324"


def test_compare_metric_that_nobody_has(bridge: Bridge, ids: dict[str, str]) -> None:
    result = bridge("runs", "compare", "first", "second", "--metric", "speed")
    assert "no run has the metric 'speed'" in result.err


def test_flat_and_single_point_curves(bridge: Bridge, client: tb.Client) -> None:
    log_run(client, "flat", metrics={"loss": [1.0] * 5})
    log_run(client, "point", metrics={"loss": [1.0]})
    assert "┤" in bridge("runs", "compare", "flat", "point").out
    assert "┤" in bridge("runs", "compare", "flat", "point", "--log-scale").out

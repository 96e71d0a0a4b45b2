"""Drift: the figures against numpy and scipy, every form of payload, bounds, hostile input, the page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from tests.support.endpoint_scenes import Scene, new_scene
from trackbridge.api.baselines import baseline_of as summary_of
from trackbridge.domain.baselines import BASELINE_FILE
from trackbridge.domain.deployments import CapturedPayload, DeploymentSpec
from trackbridge.errors import MissingExtra, NotFound, Rejected
from trackbridge.operations import drift_figures
from trackbridge.operations.drift import DriftReport, baseline_of, checked_baseline, drift_of
from trackbridge.operations.drift_figures import psi_of
from trackbridge.operations.drift_page import drift_page
from trackbridge.operations.drift_payloads import inputs_of, predictions_of

RNG = np.random.default_rng(7)
JSON, CSV = "application/json", "text/csv"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = new_scene(tmp_path)
    made.deploy(1, capture_percent=100)
    return made


def keep(scene: Scene, bodies: Sequence[Any], answers: Sequence[Any] = (), **fields: Any) -> None:
    """Let the endpoint wine have captured these requests, one each millisecond."""
    kept = scene.state.deployments.captured.setdefault("wine", [])
    for number, body in enumerate(bodies):
        answer = answers[number] if number < len(answers) else {"predictions": []}
        payload = CapturedPayload(
            **{
                "deployment": "v1",
                "request_id": f"r{len(kept)}",
                "time": len(kept),
                "content_type": JSON,
                "request": body if isinstance(body, bytes) else json.dumps(body).encode(),
                "response": json.dumps(answer).encode(),
                "status": 200,
                **fields,
            }
        )
        kept.append(payload)


def split(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return {"dataframe_split": {"columns": list(columns), "data": rows}}


def report_of(scene: Scene, baseline: Any, **options: Any) -> DriftReport:
    plain = json.loads(json.dumps(baseline))
    return drift_of(scene.place(), "wine", "v1", since=0, baseline=plain, **options)


def compared(scene: Scene, before: Mapping[str, Any], after: Mapping[str, Any]) -> DriftReport:
    keep(scene, [split(after)])
    return report_of(scene, summary_of(before))


# Figures.


def test_psi_is_the_sum_over_the_bins() -> None:
    expected, found = [400, 300, 200, 100], [100, 200, 300, 400]
    before = (np.array(expected) + 0.5) / (1000 + 2)
    after = (np.array(found) + 0.5) / (1000 + 2)
    assert psi_of(expected, found) == pytest.approx(float(((after - before) * np.log(after / before)).sum()))
    assert psi_of(expected, [4 * count for count in expected]) == pytest.approx(0, abs=1e-6)
    assert psi_of([], []) == psi_of([3], [0]) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=12))
def test_psi_is_never_negative_and_the_same_both_ways(bins: list[tuple[int, int]]) -> None:
    left, right = [a for a, _ in bins], [b for _, b in bins]
    assert psi_of(left, right) >= 0
    assert psi_of(left, right) == pytest.approx(psi_of(right, left))
    assert psi_of(left, left) == 0


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_ks_of_few_values_is_scipy_s(scene: Scene, shift: float) -> None:
    before = RNG.integers(0, 8, 900).tolist()
    after = (RNG.integers(0, 8, 300) + shift).tolist()
    (found,) = compared(scene, {"x": before}, {"x": after}).columns
    wanted = ks_2samp(before, after, method="asymp")
    assert found.ks == pytest.approx(wanted.statistic)
    assert found.ks_p == pytest.approx(wanted.pvalue)


@pytest.mark.parametrize("is_old", [False, True])
def test_ks_of_many_values_is_nearly_scipy_s(scene: Scene, is_old: bool) -> None:
    before, after = RNG.lognormal(size=3000), RNG.lognormal(0.4, size=700)
    baseline = summary_of({"x": before.tolist()})
    if is_old:  # as it was written before the values were kept
        del baseline["columns"][0]["cumulative"]
    keep(scene, [split({"x": after.tolist()})])
    (found,) = report_of(scene, baseline).columns
    wanted = ks_2samp(before, after).statistic
    assert found.ks is not None
    assert wanted - (0.15 if is_old else 0.011) <= found.ks <= wanted + 1e-9
    assert found.exceeds(0.05)


def test_ks_of_many_ties_is_no_larger_than_scipy_s(scene: Scene) -> None:
    # Fewer points are kept than values: between two of them the baseline does have something.
    before = [0.0] * 1500 + np.linspace(1, 2, 1500).tolist()
    after = [0.0] * 150 + np.linspace(1, 2, 150).tolist()
    (found,) = compared(scene, {"x": before}, {"x": after}).columns
    assert found.ks is not None
    assert found.ks <= ks_2samp(before, after).statistic + 1e-9


def test_what_has_not_moved_is_not_told(scene: Scene) -> None:
    columns = {
        "normal": RNG.normal(size=2000).tolist(),
        "skewed": np.where(RNG.random(2000) < 0.6, 0, RNG.lognormal(size=2000)).tolist(),
        "whole": RNG.integers(0, 5, 2000).tolist(),
        "text": RNG.choice(["a", "b", "c"], 2000).tolist(),
        "flag": (RNG.random(2000) < 0.1).tolist(),
        "gaps": [None if gap else 1.0 for gap in RNG.random(2000) < 0.2],
    }
    again = {name: [values[place] for place in range(0, 2000, 13)] for name, values in columns.items()}
    report = compared(scene, columns, again)
    assert len(report.columns) == 6
    assert (report.worst, report.worst_column) == (0.0, "")
    assert all(column.psi_chance > column.psi for column in report.columns)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(RNG.normal(size=900).tolist(), RNG.normal(1, size=300).tolist(), id="shift"),
        pytest.param(RNG.normal(size=900).tolist(), RNG.normal(0, 3, size=300).tolist(), id="spread"),
        pytest.param([5.0] * 900, [7.0] * 300, id="a constant"),
        pytest.param([5.0] * 900, [None] * 300, id="missing"),
        pytest.param([5.0] * 900, ["five"] * 300, id="of another kind"),
        pytest.param(["a", "b"] * 450, ["a", "c"] * 150, id="a new text"),
        pytest.param(["a", "b"] * 450, ["a", None] * 150, id="no text"),
        pytest.param([True, False] * 450, [True] * 300, id="flag"),
    ],
)
def test_what_has_moved_is_told(scene: Scene, before: list[Any], after: list[Any]) -> None:
    report = compared(scene, {"x": before}, {"x": after})
    (found,) = report.columns
    assert found.exceeds(0.2)
    assert (report.worst, report.worst_column) == (found.psi, "input:x")
    assert sum(share.found for share in found.shares) == found.rows == 300


def test_too_few_rows_say_nothing(scene: Scene) -> None:
    report = compared(scene, {"x": RNG.normal(size=900).tolist()}, {"x": [0.1, 0.2, 0.3]})
    assert report.columns[0].psi > 0.2
    assert report.worst == 0.0
    assert not report.columns[0].exceeds(0.2)


def test_times_are_numbers(scene: Scene) -> None:
    import datetime

    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    moments = [start + datetime.timedelta(hours=hour) for hour in range(900)]
    sent = [moment.isoformat().replace("+00:00", "Z") for moment in moments[::3]]
    (found,) = compared(scene, {"at": moments}, {"at": sent}).columns
    assert (found.kind, found.missing) == ("time", 0)
    assert not found.exceeds(0.0)
    assert any("2026-01" in share.label for share in found.shares)


def test_predictions_have_a_baseline_of_their_own(scene: Scene) -> None:
    baseline = summary_of({"x": [1.0, 2.0] * 300}, predictions=[0.0, 1.0] * 300)
    bodies = [split({"x": [1.0, 2.0]})] * 100
    keep(scene, bodies, [{"predictions": [1.0, 1.0]}] * 100)
    report = report_of(scene, baseline)
    assert report.worst_column == "prediction:prediction"
    assert [(column.part, column.rows) for column in report.columns] == [("input", 200), ("prediction", 200)]


def test_without_scipy_it_says_what_to_install(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(drift_figures.importlib, "import_module", absent)
    with pytest.raises(MissingExtra) as caught:
        compared(scene, {"x": [1.0, 2.0]}, {"x": [1.0]})
    assert caught.value.hint == "pip install 'trackbridge[drift]'"


# Payloads.

NAMES = ["a", "b"]
WANTED = {"a": [1, 3], "b": [2.5, None]}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2.5], [3, None]]}, "params": {"k": 1}},
        {"dataframe_split": {"columns": ["b", "a"], "index": [0, 1], "data": [[2.5, 1], [None, 3]]}},
        {"dataframe_split": {"data": [[1, 2.5], [3, None]]}},
        {"dataframe_records": [{"a": 1, "b": 2.5}, {"a": 3, "b": None}]},
        {"inputs": [[1, 2.5], [3, None]]},
        {"inputs": {"a": [1, 3], "b": [2.5, None]}},
        {"inputs": {"a": [[1], [3]], "b": [[2.5], [None]]}},
        {"instances": [{"a": 1, "b": 2.5}, {"a": 3, "b": None}]},
        {"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2.5], [3, None]]}},
        {"input_data": [[1, 2.5], [3, None]]},
        [{"a": 1, "b": 2.5}, {"a": 3, "b": None}],
    ],
)
def test_every_form_of_a_request(body: Any) -> None:
    found = inputs_of(json.dumps(body).encode(), JSON, NAMES)
    assert found is not None
    assert (found.columns, found.rows) == (WANTED, 2)


def test_csv_and_what_is_no_json() -> None:
    found = inputs_of(b"\xef\xbb\xbfa,b\n1,2.5\n3,\n", "text/csv; charset=utf-8", NAMES)
    assert found is not None
    assert found.columns == {"a": ["1", "3"], "b": ["2.5", None]}
    lenient = inputs_of(b'{"inputs": [[1, NaN]]}', JSON, NAMES)
    assert lenient is not None
    assert math.isnan(lenient.columns["b"][0])


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"null",
        b"7",
        b'"text"',
        b"[]",
        b"\xff\xfe",
        b'{"inputs": [[1, 2, 3]]}',
        b'{"inputs": [[1], [2, 3]]}',
        b'{"inputs": []}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}',
        b"[" * 100_000,
        b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_what_is_no_request_is_none(body: bytes | None) -> None:
    assert inputs_of(body, JSON, NAMES) is None


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([JSON, CSV, "", "x"]))
def test_no_body_raises(body: bytes, content_type: str) -> None:
    for table in (inputs_of(body, content_type, NAMES), predictions_of(body, ())):
        assert table is None or all(len(values) <= table.rows for values in table.columns.values())


@pytest.mark.parametrize(
    ("answer", "columns"),
    [
        ({"predictions": [1, 2]}, {"prediction": [1, 2]}),
        ({"predictions": [[1], [2]]}, {"prediction": [1, 2]}),
        ({"predictions": [{"class": "a", "p": 0.5}]}, {"class": ["a"], "p": [0.5]}),
        ({"predictions": {"class": ["a", "b"]}}, {"class": ["a", "b"]}),
        ([1.5], {"prediction": [1.5]}),
    ],
)
def test_every_form_of_an_answer(answer: Any, columns: dict[str, list[Any]]) -> None:
    found = predictions_of(json.dumps(answer).encode(), ())
    assert found is not None
    assert found.columns == columns


def test_rows_without_names_are_what_the_model_takes(scene: Scene) -> None:
    baseline = summary_of({"y": [0.0, 1.0] * 50, "a": [1.0] * 100, "b": [2.0] * 100}) | {"inputs": ["a", "b"]}
    keep(scene, [{"inputs": [[1.0, 2.0]] * 60}])
    report = report_of(scene, baseline)
    assert [column.name for column in report.columns] == ["a", "b"], "the target is no input"
    assert report.worst == 0.0
    assert report.unseen == ()


def test_what_the_model_takes_and_nobody_sends_has_moved(scene: Scene) -> None:
    baseline = summary_of({"a": [1.0] * 100, "b": [2.0] * 100}) | {"inputs": ["a", "b"]}
    keep(scene, [{"inputs": {"a": [1.0] * 60}}])
    report = report_of(scene, baseline)
    assert (report.worst_column, report.columns[1].missing, report.unseen) == ("input:b", 60, ("b",))


# Bounds, and what cannot be used.


def test_what_cannot_be_read_is_counted(scene: Scene) -> None:
    keep(scene, [b"\xff", {"nonsense": []}, None, {"inputs": {"other": [1.0]}}])
    keep(scene, [{"inputs": {"x": [1.0]}}], status=400)
    keep(scene, [{"inputs": {"x": [1.0]}}], status=None)
    report = report_of(scene, summary_of({"x": [1.0, 2.0], "z": [0.0, 1.0]}))
    assert (report.requests, report.failed, report.unreadable) == (6, 1, 3)
    assert (report.requests_counted, report.rows) == (2, 2)
    assert (report.unknown, report.unseen) == (("other",), ("z",))


def test_more_rows_than_wanted_are_sampled_evenly(scene: Scene) -> None:
    # The first half is low, the second high: any sample that is not even would be one-sided.
    keep(scene, [{"inputs": {"x": [0.0] * 10}}] * 500 + [{"inputs": {"x": [1.0] * 10}}] * 500)
    report = report_of(scene, summary_of({"x": [0.0, 1.0] * 500}), rows_max=700)
    assert 350 <= report.rows <= 700
    assert report.requests == 1000
    (column,) = report.columns
    counts = {share.label: share.found for share in column.shares}
    assert abs(counts["0"] - counts["1"]) <= 20
    assert report.worst == 0.0


def test_one_huge_request_is_counted_whole(scene: Scene) -> None:
    keep(scene, [{"inputs": {"x": [1.0] * 5000}}])
    assert report_of(scene, summary_of({"x": [1.0, 2.0]}), rows_max=10).rows == 5000


def test_nothing_captured(scene: Scene) -> None:
    report = report_of(scene, summary_of({"x": [1.0]}))
    assert (report.rows, report.worst, report.columns, report.unseen) == (0, 0.0, (), ())


NUMBER = {"name": "x", "kind": "number", "count": 2, "edges": [0.0, 1.0], "counts": [2]}


@pytest.mark.parametrize(
    "baseline",
    [
        {},
        {"format": 2, "rows": 1, "columns": []},
        {"format": 1, "rows": 1, "columns": "x"},
        {"format": 1, "rows": 1, "columns": [{**NUMBER, "count": 3}]},
        {"format": 1, "rows": 1, "columns": [{**NUMBER, "edges": [1.0, 0.0]}]},
        {"format": 1, "rows": 1, "columns": [{**NUMBER, "counts": [-2]}]},
        {"format": 1, "rows": 1, "columns": [{**NUMBER, "cumulative": [[1.0, 1], [0.0, 2]]}]},
        {"format": 1, "rows": 1, "columns": [{**NUMBER, "cumulative": [[0.0, 1]]}]},
        {"format": 1, "rows": 1, "columns": [{"name": "t", "kind": "text", "count": 2, "top": [["a", 1]]}]},
    ],
)
def test_a_baseline_that_is_none_is_refused(baseline: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match=BASELINE_FILE) as caught:
        checked_baseline(baseline)
    assert "training_data" in str(caught.value.hint)


# The baseline of a model.


def test_the_baseline_lies_in_the_model(scene: Scene) -> None:
    model = scene.folder / "model-1"
    spec = DeploymentSpec(endpoint="e", deployment="d", model="models:/wine/1", model_source=model.as_uri())
    assert baseline_of(spec, scene.models) is None
    wanted = json.loads(json.dumps(summary_of({"x": [1.0, 2.0]})))
    (model / BASELINE_FILE).write_text(json.dumps(wanted))
    assert baseline_of(spec, scene.models) == wanted
    (model / BASELINE_FILE).write_text("{")
    with pytest.raises(Rejected, match="cannot be used"):
        baseline_of(spec, scene.models)
    gone = DeploymentSpec(endpoint="e", deployment="d", model="m", model_source="file:///never/was")
    with pytest.raises(NotFound):
        baseline_of(gone, scene.models)


# The page.


class _Page(HTMLParser):
    """Collects what a page would load, its text, and whether its elements are balanced."""

    VOID = ("meta", "rect")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.loads += [str(value) for name, value in attributes if name in ("src", "href", "action")]
        self.loads += [tag] * (tag in ("script", "link", "iframe", "img", "object"))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_loads_nothing(scene: Scene) -> None:
    hostile = "<script>alert(1)</script>\"'\ud800"
    before = {hostile: [1.0, 2.0] * 100, "calm": [0.0, 1.0] * 100, "text": ["<b>", "&"] * 100}
    baseline = summary_of(before)
    name = baseline["columns"][0]["name"]
    keep(scene, [split({name: [9.0] * 200, "calm": [0.0, 1.0] * 100, "text": ["<b>", "&"] * 100})])
    report = report_of(scene, baseline)
    page = drift_page(report, threshold=0.2, target="file:/x?password=hunter2", model="models:/<wine>/1")
    parsed = _Page(page)
    assert parsed.open == []
    assert parsed.loads == []
    assert "url(" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script>" not in page
    assert "1 of 3 columns moved" in parsed.text
    assert "prefers-color-scheme: dark" in page
    assert page.encode().decode() == page
    calm = drift_page(report, threshold=99.0, target="t", model="m")
    assert "No column moved" in calm

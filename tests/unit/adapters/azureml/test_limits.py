"""Azure ML's limits: both sides of each, told before anything is sent, with their source."""

from __future__ import annotations

import re
import warnings
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from tests.unit.adapters.azureml.rig import opened
from trackbridge.errors import NotFound, Rejected
from trackbridge.testing.emulators.azureml import AzureMlEmulator, asset_kinds, names, rules
from trackbridge.transport.http import HttpClient
from trackbridge_adapters.azureml.arm import Arm
from trackbridge_adapters.azureml.capabilities import HISTORY_PAGE_MAX
from trackbridge_adapters.azureml.capabilities import LIMITS as CAPABILITIES
from trackbridge_adapters.azureml.datastores import Datastores
from trackbridge_adapters.azureml.limits import LIMITS, AzureLimitWarning, check, most

COUNTED = [what for what, limit in LIMITS.items() if limit.most is not None]
EDGES = {
    "asset.name": (
        ["a", "9", "a-b_C", "a" * 255],
        ["", "-a", "_a", "a.b", "a b", "a/b", "é", "a" * 256, "a\n"],
    ),
    "registry.asset.name": (
        ["a", "a.b", "Phi-3.5_mini", "a" * 255],
        ["", ".a", "a.", "-a", "a b", "a" * 256],
    ),
    "registry.model.name": (["a", "a-b_C", "a" * 255], ["", "a.b", "-a", "a" * 256]),
    "asset.version": (["1", "2024-01-01", "1.0.2", "a" * 255], ["", "..", "1/2", "1 2", "a" * 256]),
    "datastore.name": (["a", "a" * 255], ["", "a" * 256, "a.b"]),
    "registry.name": (["abc", "a" * 33], ["ab", "a" * 34, "-ab", "a.b"]),
}


@pytest.mark.parametrize("what", COUNTED)
def test_a_number_is_taken_up_to_its_limit(what: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(what, most(what))
    if LIMITS[what].is_hard:
        with pytest.raises(Rejected, match="at most") as caught:
            check(what, most(what) + 1)
        assert LIMITS[what].source in str(caught.value)
        assert caught.value.hint == LIMITS[what].advice
    else:
        with pytest.warns(AzureLimitWarning, match="at most"):
            check(what, most(what) + 1)


@pytest.mark.parametrize("what", ["experiment.name", "blob.name", "metric.name"])
def test_a_text_is_taken_up_to_its_length(what: str) -> None:
    check(what, "x" * most(what))
    with pytest.raises(Rejected, match="characters"):
        check(what, "x" * (most(what) + 1))


@pytest.mark.parametrize("what", EDGES)
def test_a_name_is_taken_or_refused_by_its_pattern(what: str) -> None:
    good, bad = EDGES[what]
    for text in good:
        check(what, text)
    for text in bad:
        with pytest.raises(Rejected):
            check(what, text)


def test_a_name_that_mlflow_might_take_is_only_warned_of() -> None:
    with pytest.warns(AzureLimitWarning, match=r"mfe.json.*\)\. Use letters, digits"):
        check("model.name", "a name with spaces")


def test_every_pattern_has_its_edges_tested() -> None:
    assert {what for what, limit in LIMITS.items() if limit.pattern and limit.is_hard} == set(EDGES)


def test_what_the_adapter_declares_is_in_the_table() -> None:
    assert CAPABILITIES.metrics_per_write_max == most("batch.points.sent") <= most("batch.points")
    assert CAPABILITIES.param_value_chars_max == most("run.param.value")
    assert CAPABILITIES.tag_value_chars_max == most("run.tag.value")
    assert CAPABILITIES.params_per_run_max == most("run.params")
    assert CAPABILITIES.metric_names_per_run_advised == most("metric.names")
    assert most("history.page") == HISTORY_PAGE_MAX


def test_the_emulator_has_the_same_limits_from_sources_of_its_own() -> None:
    """The adapter's table and the emulator's rules are written apart; where they differ, one is wrong."""
    emulated = {
        "batch.points": rules.ROWS_PER_METRIC_MAX,
        "run.params": rules.PARAMS_PER_RUN_MAX,
        "run.tags": rules.TAGS_PER_RUN_MAX,
        "experiment.tags": rules.TAGS_PER_RUN_MAX,
        "run.tag.key": rules.TAG_KEY_CHARS_MAX,
        "run.tag.value": rules.VALUE_CHARS_MAX,
        "run.param.value": rules.VALUE_CHARS_MAX,
        "metric.name": rules.METRIC_NAME_CHARS_MAX,
        "experiment.name": rules.EXPERIMENT_NAME_CHARS_MAX,
        "history.page": rules.HISTORY_RESULTS_MAX,
        "model.files": asset_kinds.FILES_MAX,
    }
    assert {what: most(what) for what in emulated} == emulated


@pytest.mark.parametrize("text", [*EDGES["asset.name"][0], *EDGES["asset.name"][1]])
def test_the_emulator_takes_the_names_that_we_take(text: str) -> None:
    is_taken = re.compile(names.PATTERN).fullmatch(text) is not None
    assert is_taken == (text in EDGES["asset.name"][0])


@pytest.mark.parametrize(
    ("name", "tags", "problem"),
    [
        ("e" * 257, {}, "experiment name has 257 characters"),
        ("wine", {str(number): "x" for number in range(51)}, "experiment tags would be 51"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused_before_anything_is_sent(
    name: str, tags: dict[str, str], problem: str, azure: AzureMlEmulator, tmp_path: Path
) -> None:
    with closing(opened(azure, tmp_path)) as adapter, pytest.raises(Rejected, match=problem):
        adapter.tracking.ensure_experiment(name, experiment_id="0" * 32, tags=tags)
    assert not azure.calls


def test_a_datastore_that_cannot_be_is_not_asked_for() -> None:
    nobody = cast("Arm", None)
    datastores = Datastores(
        nobody, "/scope", http=HttpClient(adapter="azureml"), token=None, clock_ms=lambda: 0
    )
    with pytest.raises(NotFound, match="no datastore is called"):
        datastores.get("a datastore")

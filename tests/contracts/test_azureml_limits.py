"""The adapter's table of limits against what the emulator refuses: published shapes, and MLflow's routes."""

from __future__ import annotations

import re

import pytest

from trackbridge.testing.emulators.azureml import rules, shapes
from trackbridge_adapters.azureml.limits import LIMITS, most

NAMES = (
    "a",
    "a" * 255,
    "a" * 256,
    "-a",
    "_a",
    "a-_b",
    "a.b",
    "a.",
    ".a",
    "a" * 254 + ".",
    "." * 3,
    "a b",
    "a/b",
    "ä",
    "A1",
    "",
    "1",
    "a\n",
    "a" * 33,
    "a" * 34,
    "ab",
)
PUBLISHED = {
    "asset.name": [("ModelVersion", "name"), ("DataVersionBase", "name"), ("EnvironmentVersion", "name")],
    "model.name": [("ModelContainer", "name")],
    "datastore.name": [("Datastore", "name")],
    "registry.asset.name": [("RegistryModelVersion", "name")],
    "registry.model.name": [("RegistryModelContainer", "name")],
}


@pytest.mark.parametrize(
    ("limit", "shape", "part"),
    [(limit, shape, part) for limit, places in PUBLISHED.items() for shape, part in places],
)
def test_a_name_that_one_takes_the_other_takes(limit: str, shape: str, part: str) -> None:
    pattern, ours = shapes.published()["names"][shape][part], LIMITS[limit].pattern
    assert ours is not None

    # .NET's "$" and Python's leave a newline at the end; ours does not, and no path can hold one.
    names = [name for name in NAMES if not name.endswith("\n")]
    assert {name for name in names if re.search(pattern, name)} == {
        name for name in names if re.fullmatch(ours, name)
    }


@pytest.mark.parametrize(
    ("limit", "enforced"),
    [
        ("batch.points", rules.ROWS_PER_METRIC_MAX),
        ("run.params", rules.PARAMS_PER_RUN_MAX),
        ("run.tags", rules.TAGS_PER_RUN_MAX),
        ("experiment.tags", rules.TAGS_PER_RUN_MAX),
        ("run.tag.key", rules.TAG_KEY_CHARS_MAX),
        ("run.tag.value", rules.VALUE_CHARS_MAX),
        ("run.param.value", rules.VALUE_CHARS_MAX),
        ("metric.name", rules.METRIC_NAME_CHARS_MAX),
        ("experiment.name", rules.EXPERIMENT_NAME_CHARS_MAX),
        ("history.page", rules.HISTORY_RESULTS_MAX),
    ],
)
def test_a_number_of_the_adapter_is_the_one_that_is_enforced(limit: str, enforced: int) -> None:
    assert most(limit) == enforced


def test_what_is_sent_at_once_is_less_than_what_is_refused() -> None:
    assert most("batch.points.sent") <= most("batch.points")
    assert most("batch.params") <= most("run.params")
    assert most("batch.tags") <= most("run.tags")

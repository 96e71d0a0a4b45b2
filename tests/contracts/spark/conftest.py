"""What runs of the contract on Spark, and how its Java starts.

Every job starts a Java, which takes some seconds. So what only the backend of drivers answers (keys, logs,
listing), and what is repeated for each hostile text, is left to that backend's own binding, unless this
folder or a file of it is named: ``pytest tests/contracts/spark`` runs everything.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.opt_in import is_asked_for
from tests.support.spark_submissions import quick_environment

FOLDER = Path(__file__).resolve().parent
OF_THE_DRIVERS_BACKEND = (
    "ConcurrencyTests",
    "ConflictTests",
    "FinalTests",
    "KeyTests",
    "LimitTests",
    "ListTests",
    "LogTests",
    "ReopenedTests",
)
REPEATED = ("test_a_hostile_text",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_asked_for(config, FOLDER):
        return
    here = f"{FOLDER}{os.sep}"
    left = [item for item in items if str(item.path).startswith(here) and is_left_out(item)]
    config.hook.pytest_deselected(items=left)
    gone = set(left)
    items[:] = [item for item in items if item not in gone]


def is_left_out(item: pytest.Item) -> bool:
    origin = getattr(item, "function", None)
    name = getattr(origin, "__qualname__", "")
    return name.startswith(OF_THE_DRIVERS_BACKEND) or item.name.startswith(REPEATED)


@pytest.fixture(scope="session")
def _java(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return quick_environment(tmp_path_factory.mktemp("java"))


@pytest.fixture
def quick(_java: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Spark's Java start quickly."""
    for name, value in _java.items():
        monkeypatch.setenv(name, value)

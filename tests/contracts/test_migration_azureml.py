"""Everything from a local store to Azure ML and back, compared with what was written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.corpus import LARGE, Size, history_problems, problems, write_corpus
from tests.support.migrations import local_side, migrate, pair_of, to_do, unended
from trackbridge.domain.migration import Selection, Symbol
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml import open_workspace

SIZE = Size(runs=8, points=10, long_points=900, files=1, large_bytes=LARGE, models=2, versions=3)


def azure_side(azureml: AzureMlEmulator, home: Path) -> Side:
    context = AdapterContext(home=home, options=azureml.options, clock_ms=lambda: time.time_ns() // 1_000_000)
    adapter = open_workspace(azureml.uri, context=context, credential=azureml.credential())
    return side_of(adapter, azureml.uri)


@pytest.fixture
def workspace(azureml: AzureMlEmulator, tmp_path: Path) -> Iterator[Side]:
    side = azure_side(azureml, tmp_path / "bridge")
    yield side
    side.close()


def test_there_and_back_nothing_is_lost(workspace: Side, tmp_path: Path) -> None:
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, SIZE)
    there = pair_of(source, workspace, tmp_path / "home")
    planned = plan_migration(there, Asked())
    account = migrate(there)
    assert account.remaining == []
    assert account.unexplained() == {}
    expected = {loss for change in planned.changes for loss in losses_of(change)}
    assert set(account.losses) == expected
    assert problems(corpus, workspace.adapter, registry_uri=source.uri, renumbered=True) == []
    assert len(to_do(plan_migration(there, Asked()))) == unended(corpus)
    back = pair_of(workspace, local_side(tmp_path / "b"), tmp_path / "home")
    assert migrate(back).remaining == []
    assert problems(corpus, back.target.adapter, registry_uri=source.uri, renumbered=True) == []
    assert history_problems(corpus, back.target.adapter, registry_uri=source.uri) == []
    assert {item.symbol for item in check(back, Selection(), download=True)} == {Symbol.SAME}

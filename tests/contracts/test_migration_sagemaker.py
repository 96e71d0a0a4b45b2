"""Everything from a local store to SageMaker and back, compared with what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.corpus import LARGE, Size, history_problems, problems, write_corpus
from tests.support.migrations import local_side, migrate, pair_of, to_do
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import Selection, Symbol, Treatment
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked
from trackbridge.operations.migrate.planning import plan_migration
from trackbridge.operations.migrate.side import side_of
from trackbridge.resolve.uri import parse

SIZE = Size(runs=7, points=6, long_points=40, files=1, large_bytes=LARGE, models=1, versions=3)


def test_there_and_back_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, SIZE)
    with sagemaker_emulator() as emulator:
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        uri = parse(emulator.uri)
        cloud = side_of(open_uri(uri), uri.text)
        there = pair_of(source, cloud, tmp_path / "home")
        account = migrate(there)
        assert account.remaining == []
        assert account.unexplained() == {}
        assert {loss.treatment for loss in account.losses} == {Treatment.RENUMBERED}
        assert problems(corpus, cloud.adapter, registry_uri=source.uri, renumbered=True) == []
        assert to_do(plan_migration(there, Asked())) == []
        back = pair_of(cloud, local_side(tmp_path / "b"), tmp_path / "home")
        assert migrate(back).remaining == []
        assert problems(corpus, back.target.adapter, registry_uri=source.uri, renumbered=True) == []
        assert history_problems(corpus, back.target.adapter, registry_uri=source.uri) == []
        assert {item.symbol for item in check(back, Selection(), download=True)} == {Symbol.SAME}

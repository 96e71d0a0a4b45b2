"""Everything from a local store to an MLflow server and back, compared with what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.corpus import LARGE, Size, history_problems, problems, write_corpus
from tests.support.migrations import local_side, migrate, pair_of, to_do, unended
from tests.support.mlflow_servers import FLOOR, NEWEST, MlflowServer
from tests.support.part_workers import Workers
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import Selection, Symbol
from trackbridge.operations.migrate.applying import Applying
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.resolve.uri import parse

SIZE = Size(runs=8, points=10, long_points=1500, files=1, large_bytes=LARGE, models=1, versions=3)


@pytest.fixture(params=[NEWEST, FLOOR])
def behind(request: pytest.FixtureRequest) -> MlflowServer:
    """Servers of both versions, one after the other, with nothing in them."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, MlflowServer)
    server.reset()
    return server


@pytest.fixture
def server(behind: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Side:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    return side_of(open_uri(parse(behind.url)), behind.url)


def test_there_and_back_nothing_is_lost(server: Side, tmp_path: Path) -> None:
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, SIZE)
    there = pair_of(source, server, tmp_path / "home")
    planned = plan_migration(there, Asked())
    account = migrate(there)
    assert account.remaining == []
    assert account.unexplained() == {}
    assert set(account.losses) == {loss for change in planned.changes for loss in losses_of(change)}
    assert problems(corpus, server.adapter, registry_uri=source.uri, renumbered=True) == []
    assert len(to_do(plan_migration(there, Asked()))) == unended(corpus)
    back = pair_of(server, local_side(tmp_path / "b"), tmp_path / "home")
    assert migrate(back).remaining == []
    assert problems(corpus, back.target.adapter, registry_uri=source.uri, renumbered=True) == []
    assert history_problems(corpus, back.target.adapter, registry_uri=source.uri) == []
    assert {item.symbol for item in check(back, Selection(), download=True)} == {Symbol.SAME}
    home = pair_of(server, source, tmp_path / "home")
    planned_home = to_do(plan_migration(home, Asked()))
    assert len([line for line in planned_home if "experiment Default" not in line]) == unended(corpus)


@pytest.mark.parametrize(
    ("behind", "breaks_after"), [(NEWEST, None), (NEWEST, 5), (FLOOR, 5)], indirect=["behind"]
)
def test_a_part_that_two_workers_begin_is_there_once(
    server: Side, behind: MlflowServer, tmp_path: Path, breaks_after: int | None
) -> None:
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, Size(runs=6, points=4, long_points=8, files=1, models=0))
    pair = pair_of(source, server, tmp_path / "home")
    workers = Workers(repeats=True, breaks_after=breaks_after)
    account = migrate(pair, how=Applying(engine=workers))
    assert (account.remaining, account.unexplained()) == ([], {})
    assert problems(corpus, server.adapter, registry_uri=source.uri, renumbered=True) == []
    copies = behind.rows("SELECT value FROM tags WHERE key = 'bridge.run_id'")
    assert sorted(str(value) for (value,) in copies) == sorted(corpus.runs)


def test_nested_runs_are_nested_for_mlflows_own_users(
    server: Side, behind: MlflowServer, tmp_path: Path
) -> None:
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, Size(runs=6, points=2, long_points=2, files=0, models=0))
    migrate(pair_of(source, server, tmp_path / "home"))
    rows = behind.rows(
        "SELECT run_uuid, key, value FROM tags WHERE key IN ('mlflow.parentRunId', 'bridge.run_id')"
    )
    ours = {str(run): str(value) for run, key, value in rows if key == "bridge.run_id"}
    parents = {ours[str(run)]: ours[str(value)] for run, key, value in rows if key == "mlflow.parentRunId"}
    wanted = {
        run.run_id: run.tags["mlflow.parentRunId"]
        for run in corpus.runs.values()
        if "mlflow.parentRunId" in run.tags
    }
    assert wanted
    assert parents == wanted

"""Everything from a local store to managed MLflow, whose files lie in a bucket, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.corpus import LARGE, Size, history_problems, problems, write_corpus
from tests.support.migrations import local_side, migrate, pair_of, to_do, unended
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from tests.support.s3_servers import BUCKET, s3_client
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import Selection, Symbol
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.resolve.uri import parse
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow

SIZE = Size(runs=8, points=10, long_points=1500, files=1, large_bytes=LARGE, models=1, versions=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("managed")
    with mlflow_server(folder, artifacts=f"s3://{BUCKET}/some root") as server:
        yield server


@pytest.fixture
def managed(server: MlflowServer, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    server.reset()
    with SignedMlflow(server.url) as aws:
        environment = {
            **aws.environment(),
            "AWS_ENDPOINT_URL_S3": s3,
            "BRIDGE_HOME": str(tmp_path / "bridge"),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        side = side_of(open_uri(parse(aws.arn)), aws.arn)
        yield side
        side.close()


def test_there_and_back_nothing_is_lost(managed: Side, s3: str, tmp_path: Path) -> None:
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, SIZE)
    there = pair_of(source, managed, tmp_path / "home")
    planned = plan_migration(there, Asked())
    account = migrate(there)
    assert account.remaining == []
    assert account.unexplained() == {}
    assert set(account.losses) == {loss for change in planned.changes for loss in losses_of(change)}
    assert problems(corpus, managed.adapter, registry_uri=source.uri, renumbered=True) == []
    assert s3_client(s3).list_objects_v2(Bucket=BUCKET, Prefix="some root/")["KeyCount"] > len(corpus.runs)
    assert len(to_do(plan_migration(there, Asked()))) == unended(corpus)
    back = pair_of(managed, local_side(tmp_path / "b"), tmp_path / "home")
    assert migrate(back).remaining == []
    assert problems(corpus, back.target.adapter, registry_uri=source.uri, renumbered=True) == []
    assert history_problems(corpus, back.target.adapter, registry_uri=source.uri) == []
    assert {item.symbol for item in check(back, Selection(), download=True)} == {Symbol.SAME}

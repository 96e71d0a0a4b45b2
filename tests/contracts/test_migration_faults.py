"""Migrations between a real MLflow server and a folder: bad weather on either side, and kills on the way."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.migrations import PassingTime, any_side, killer, local_side, migrate, pair_of
from tests.support.mlflow_servers import MlflowServer
from trackbridge.calls.world import World
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import State
from trackbridge.domain.plans import Action
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.resolve.uri import parse
from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather

SIZE = Size(
    experiments=2, runs=6, points=5, long_points=200, files=1, large_bytes=20_000, models=1, versions=3
)
STORM = Weather(
    too_many=0.06,
    error=0.03,
    unavailable=0.03,
    reset_before=0.03,
    reset_in_body=0.02,
    reset_after=0.03,
    half_answer=0.03,
    retry_after_s=0.2,
)


@pytest.fixture
def proxy(newest: MlflowServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultProxy]:
    """Bad weather on demand in front of a server that has nothing."""
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    newest.reset()
    with FaultProxy(newest.url) as proxy:
        yield proxy


def patient(url: str) -> Side:
    """Open a server, whose waits take no time."""
    time = PassingTime()
    return side_of(open_uri(parse(url)), url, world=World(clock_s=time.now_s, wait=time.wait))


def found(corpus: Corpus, pair: Pair) -> list[str]:
    return problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True)


def until_done(pair: Pair) -> int:
    """Migrate until everything is there, as a user does who repeats the command; return how often."""
    for times in range(1, 20):
        account = migrate(pair, how=Applying(bounds=Bounds(transfers=2)))
        assert account.exit_code in (0, 3, 5), account.remaining
        assert account.is_complete or all(outcome.error for outcome in account.remaining)
        if account.is_complete:
            return times
    raise AssertionError("it gets nowhere")


def test_a_storm_at_the_target(proxy: FaultProxy, tmp_path: Path) -> None:
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, SIZE)
    pair = pair_of(source, patient(proxy.url), tmp_path / "home")
    proxy.weather = STORM
    until_done(pair)
    faults = proxy.counts
    proxy.weather = Weather()
    assert all(faults[name] > 0 for name in ("too_many", "reset_after", "half_answer")), faults
    assert found(corpus, pair) == []


def test_a_storm_at_the_source(proxy: FaultProxy, tmp_path: Path) -> None:
    source = patient(proxy.url)
    corpus = write_corpus(source.adapter, SIZE)
    pair = pair_of(source, local_side(tmp_path / "b"), tmp_path / "home")
    proxy.weather = STORM
    until_done(pair)
    proxy.weather = Weather()
    assert found(corpus, pair) == []


def test_a_server_that_goes_away_on_the_way(proxy: FaultProxy, tmp_path: Path) -> None:
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, SIZE)
    pair = pair_of(source, patient(proxy.url), tmp_path / "home")
    plan = plan_migration(pair, Asked())
    planned = sum(change.action is not Action.KEEP for change in plan.changes)
    seen: Counter[str] = Counter()

    def point(name: str) -> None:
        seen[name] += 1
        if seen["ended"] == 2:
            proxy.weather = Weather(is_down=True)

    account = apply_migration(plan, pair, Applying(bounds=Bounds(transfers=1), on_point=point))
    assert account.exit_code in (3, 5)
    assert account.stopped
    assert account.states[State.DONE] + len(account.remaining) == planned
    proxy.weather = Weather()
    again = pair_of(source, patient(proxy.url), tmp_path / "home")
    assert migrate(again).exit_code == 0
    assert found(corpus, again) == []


def test_killed_at_random_points_between_a_server_and_a_folder(
    newest: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There and back, killed several times each way; nothing is there twice."""
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    newest.reset()
    source = local_side(tmp_path / "a")
    corpus = write_corpus(source.adapter, SIZE)
    rng, kills = random.Random(3), 0
    folder, back, home = f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}", tmp_path / "home"
    with killer() as killed:
        for start, end in ((folder, newest.url), (newest.url, back)):
            for _ in range(4):
                kills += killed(start, end, home, rng.randrange(1, 20)) == -signal.SIGKILL
            assert killed(start, end, home, 0) == 0
    assert kills >= 4
    for start, end in ((folder, newest.url), (newest.url, back)):
        pair = pair_of(any_side(start), any_side(end), home)
        assert problems(corpus, pair.target.adapter, registry_uri=source.uri, renumbered=True) == []
        versions = Counter(version.origin for version in pair.target.versions("wine"))
        assert set(versions.values()) == {1}

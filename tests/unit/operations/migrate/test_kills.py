"""A migration whose process is killed again and again ends as one that nobody disturbed."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.corpus import Corpus, problems
from tests.support.migrations import KillAt, killer, local_side, migrate, pair_of, to_do
from trackbridge.operations.migrate.applying import Applying
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration


def test_killed_at_thirty_random_points_it_ends_the_same(corpus: Corpus, tmp_path: Path) -> None:
    """One migration after the other, each killed time and again until it is through."""
    rng = random.Random(0)
    kills, rounds = 0, 0
    with killer() as killed:
        while kills < 30 or rounds < 2:
            folder = tmp_path / f"round {rounds}"
            while killed(tmp_path / "a", folder / "b", folder / "home", rng.randrange(1, 150)) != 0:
                kills += 1
                assert kills < 300, "it gets nowhere"
            rounds += 1
            assert_same_as_undisturbed(corpus, tmp_path, folder)
    assert kills >= 30


def test_killed_at_any_moment_it_ends_the_same(corpus: Corpus, tmp_path: Path) -> None:
    rng = random.Random(1)
    places = tmp_path / "a", tmp_path / "b", tmp_path / "home"
    with killer() as killed:
        endings = [killed(*places, f"{rng.uniform(0.0, 0.3):.3f}s") for _ in range(8)]
        assert set(endings) <= {0, -signal.SIGKILL}
        assert killed(*places, 0) == 0
    assert_same_as_undisturbed(corpus, tmp_path, tmp_path)


def assert_same_as_undisturbed(corpus: Corpus, tmp_path: Path, folder: Path) -> None:
    pair = pair_of(local_side(tmp_path / "a"), local_side(folder / "b"), folder / "home")
    assert problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True) == []
    origins = Counter(version.origin for name in corpus.models for version in pair.target.versions(name))
    assert set(origins.values()) == {1}
    unended = [run for run in corpus.runs.values() if not run.status.is_final]
    assert len(to_do(plan_migration(pair, Asked()))) == len(unended)


def test_every_step_is_a_point_at_which_it_can_be_killed(pair: Pair, corpus: Corpus) -> None:
    names: Counter[str] = Counter()
    kill = KillAt(0)

    def point(name: str) -> None:
        names[name] += 1
        kill(name)

    migrate(pair, how=Applying(on_point=point))
    assert names["opened"] == names["written"] == len(corpus.runs)
    assert names["file"] == sum(len(run.files) for run in corpus.runs.values())
    assert names["experiment"] == len(corpus.experiments)
    assert {"ended", "deleted", "closed", "model", "payload", "version", "label", "history", "ledger"} <= set(
        names
    )
    assert kill.passed == sum(names.values())


@pytest.mark.parametrize("point", [1, 7, 60, 150])
def test_killed_once_it_is_gone_on_with(corpus: Corpus, tmp_path: Path, point: int) -> None:
    with killer() as killed:
        assert killed(tmp_path / "a", tmp_path / "b", tmp_path / "home", point) == -signal.SIGKILL
    pair = pair_of(local_side(tmp_path / "a"), local_side(tmp_path / "b"), tmp_path / "home")
    assert migrate(pair).exit_code == 0
    assert problems(corpus, pair.target.adapter, registry_uri=pair.source.uri, renumbered=True) == []

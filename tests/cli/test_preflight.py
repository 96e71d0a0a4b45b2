"""Pre-flights as users of ``bridge migrate``, ``bridge apply`` and ``bridge models sync`` see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge
from tests.support.migrations import local_side
from tests.support.preflights import lend_small, register_folder, with_example
from trackbridge.testing.contracts.deployment_models import answering, failing

Promoted = Callable[[Path], None]


@pytest.fixture
def promoted(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Promoted:
    """Register a model at ``./a`` and give it an alias."""
    lend_small(tmp_path_factory.mktemp("index") / "index", monkeypatch)

    def promote(model: Path) -> None:
        side = local_side(project / "a")
        number = register_folder(side, with_example(model), "wine")
        assert side.registry is not None
        side.registry.set_alias("wine", "champion", version=number)
        side.close()

    return promote


def test_a_model_that_fails_is_copied_and_keeps_no_alias(
    bridge: Bridge, promoted: Promoted, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    promoted(failing(tmp_path_factory.mktemp("models")))
    result = bridge("migrate", "./a", "./b", "--yes", code=3)
    assert "version wine/1: pre-flight failed: it fails on its own input example" in result.err
    assert "it was not promoted" in result.out
    assert "--no-preflight" in result.out + result.err
    shown = bridge("models", "show", "wine", "--uri", "./b", "--json").objects
    assert "champion" not in str(shown)
    bridge("migrate", "./a", "./b", "--yes", "--no-preflight")
    assert "champion" in str(bridge("models", "show", "wine", "--uri", "./b", "--json").objects)


def test_a_saved_plan_keeps_whether_there_is_a_pre_flight(
    bridge: Bridge, promoted: Promoted, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    promoted(failing(tmp_path_factory.mktemp("models")))
    bridge("migrate", "./a", "./b", "--out", "with.plan")
    bridge("migrate", "./a", "./c", "--out", "without.plan", "--no-preflight")
    events = bridge("apply", "with.plan", "--yes", "--json", code=3).objects
    assert [item["verdict"] for item in events if item["type"] == "preflight"] == ["failed"]
    assert "preflight" not in {
        item["type"] for item in bridge("apply", "without.plan", "--yes", "--json").objects
    }


def test_a_sync_looks_too_and_says_what_it_found(
    bridge: Bridge, promoted: Promoted, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("models")
    promoted(answering(folder, "good", 1.0))
    assert "pre-flight passed: its input example was scored: 2 rows" in (
        bridge("models", "sync", "./a", "./b", "--yes").err
    )
    promoted(failing(folder))
    result = bridge("models", "sync", "./a", "./b", "--two-way", "--yes", code=3)
    assert "pre-flight failed" in result.err
    bridge("models", "sync", "./a", "./b", "--two-way", "--yes", "--no-preflight")
    assert "3 items the same, 0 items not" in bridge("models", "diff", "./a", "./b").out


def test_plain_files_are_promoted_and_that_is_said(
    bridge: Bridge, promoted: Promoted, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "weights").write_bytes(b"1")
    side = local_side(project / "a")
    number = register_folder(side, folder, "wine")
    assert side.registry is not None
    side.registry.set_stage("wine", number, stage="Production")
    side.close()
    result = bridge("migrate", "./a", "./b", "--yes")
    assert "1 version promoted without a pre-flight" in result.err
    assert "plain files" in result.err
    assert not (project / ".bridge" / "preflight").exists()

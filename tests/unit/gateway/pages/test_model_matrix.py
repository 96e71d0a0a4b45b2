"""Models by backend: compared by origin and digest, with the places that do not answer told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.page_sites import Site
from trackbridge.domain.models import ModelVersion, Origin
from trackbridge.errors import Unavailable
from trackbridge.operations import model_matrix
from trackbridge.operations.asking import Answer
from trackbridge.operations.migrate.migration import Migration
from trackbridge.operations.model_matrix import Held, SyncState, matrix_of
from trackbridge.resolve.remotes import add_remote


def version(number: int, *, digest: str = "", alias: str = "", registry: str = "") -> ModelVersion:
    return ModelVersion(
        name="wine",
        version=str(number),
        source="x",
        digest=digest or f"sha256:{number}",
        aliases=(alias,) if alias else (),
        origin=Origin(registry=registry, name="wine", version=str(number)) if registry else None,
    )


def state(here: list[ModelVersion], there: list[ModelVersion]) -> tuple[SyncState, int, int]:
    held = [
        Answer(place="a", value=Held(uri="A", models={"wine": tuple(here)})),
        Answer(place="b", value=Held(uri="B", models={"wine": tuple(there)})),
    ]
    ((_, cell),) = (row.cells for row in matrix_of(held).rows)
    return cell.state, cell.missing, cell.extra


def test_how_places_compare() -> None:
    own = [version(1), version(2)]
    copies = [version(1, registry="A"), version(2, registry="A")]
    assert state(own, copies) == (SyncState.IN_STEP, 0, 0)
    assert state(own, copies[:1]) == (SyncState.BEHIND, 1, 0)
    assert state(own[:1], copies) == (SyncState.AHEAD, 0, 1)
    assert state(own, [version(1), version(2)]) == (SyncState.DIVERGED, 2, 2)
    assert state(own, [version(1, registry="A", digest="sha256:x"), copies[1]])[0] is SyncState.OTHER_FILES
    assert state(own, [copies[0], version(2, registry="A", alias="best")])[0] is SyncState.OTHER_LABELS


def test_a_place_without_the_model_and_one_that_did_not_answer() -> None:
    found = matrix_of(
        [
            Answer(place="a", value=Held(uri="A", models={"wine": (version(1),)})),
            Answer(place="b", value=Held(uri="B", models={})),
            Answer(place="c", trouble="nobody answers", hint="look"),
        ]
    )
    assert found.places == ("a", "b")
    assert [cell.state for cell in found.rows[0].cells] == [SyncState.REFERENCE, SyncState.ABSENT]
    assert found.troubles == (("c", "nobody answers", "look"),)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_the_page_over_remotes(
    site: Site,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gate: threading.Event,
    request: pytest.FixtureRequest,
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("1")
    site.gateway.client.register_model(folder, "wine")
    add_remote("lab", str(project / "lab"))
    with Migration(None, "lab") as migration:
        migration.apply_mirror(migration.plan_mirror((), two_way=False, policy="fail"), preflight=False)
    site.gateway.client.register_model(folder, "beer")
    text = site.get("/models/matrix")
    assert text.count(">in step<") == 1
    assert text.count(">compared with<") == 2
    assert text.count(">absent<") == 1
    add_remote("down", "https://tracking.example.org")
    add_remote("hangs", "https://other.example.org")
    real = model_matrix.held_at

    def some(uri: str, settings: object) -> Held:
        if "tracking.example" in uri:
            raise Unavailable("nobody answers", hint="look whether it runs")
        if "other.example" in uri:
            gate.wait(60.0)
        return real(uri, settings)  # type: ignore[arg-type]

    monkeypatch.setattr(model_matrix, "held_at", some)
    request.getfixturevalue("one_hangs")
    text = site.get("/models/matrix")
    assert "<strong>down</strong> cannot be asked: nobody answers" in text
    assert "<strong>hangs</strong> cannot be asked: it did not answer within" in text
    assert text.count(">in step<") == 1

"""Large artifacts go in parts, which an interruption does not lose; each place has its own notes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.journals import Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryArtifacts
from trackbridge.delivery import sending
from trackbridge.delivery.lane import Progress
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import Unavailable

SMALL, LARGE = b"x" * 999, b"y" * 1000


class InParts(MemoryArtifacts):
    """Notes a part and goes away, as many times as it is told to."""

    def __init__(self, adapter: MemoryAdapter, interruptions: int) -> None:
        super().__init__(adapter.state, adapter.capabilities())
        self.interruptions = interruptions
        self.wholes: list[str] = []
        self.states: list[tuple[str, Path, bool]] = []

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        self.wholes.append(path)
        return super().put(run_id, path, file, digest=digest, size=size)

    def put_resumable(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path
    ) -> ArtifactInfo:
        self.states.append((path, state, state.exists()))
        if self.interruptions:
            self.interruptions -= 1
            state.write_text("a part")
            raise Unavailable("gone in the middle")
        state.unlink(missing_ok=True)
        return super().put(run_id, path, file, digest=digest, size=size)


class Large(Bench):
    """A bench whose backend takes parts."""

    def __init__(self, root: Path, interruptions: int = 0) -> None:
        adapter = MemoryAdapter()
        self.state = adapter.state
        self.artifacts = InParts(adapter, interruptions)
        adapter.artifacts = self.artifacts
        super().__init__(root, adapter)


@pytest.fixture(autouse=True)
def _small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RESUMABLE_BYTES_MIN", len(LARGE))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Large]:
    bench = Large(tmp_path / "journal", interruptions=1)
    yield bench
    bench.lane.close()


def logged(bench: Large, **files: bytes) -> str:
    recorder = bench.run()
    for path, content in files.items():
        recorder.content(content, path)
    recorder.close(RunStatus.FINISHED)
    bench.writer.close()
    return recorder.run_id


def test_a_large_file_goes_on_with_what_was_noted_also_in_another_process(bench: Large) -> None:
    run_id = logged(bench, small=SMALL, large=LARGE)
    while not bench.artifacts.states:
        bench.lane.advance()
    bench.lane.close()
    bench.lane = bench.new_lane()
    assert bench.deliver() is Progress.FINISHED
    (_, first, had_notes), (_, second, found_notes) = bench.artifacts.states
    assert (first, had_notes, found_notes) == (second, False, True)
    assert first.parent == bench.lane.folder.staged
    assert set(bench.artifacts.wholes) == {"small"}
    assert {path: file.content for path, file in bench.state.files[run_id].items()} == {
        "small": SMALL,
        "large": LARGE,
    }


def test_the_same_bytes_at_two_paths_have_notes_of_their_own(bench: Large) -> None:
    bench.artifacts.interruptions = 0
    logged(bench, one=LARGE, two=LARGE)
    assert bench.deliver() is Progress.FINISHED
    states = {path: state for path, state, _ in bench.artifacts.states}
    assert set(states) == {"one", "two"}
    assert states["one"] != states["two"]
    assert not any(state.exists() for state in states.values())

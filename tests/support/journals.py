"""Journals for tests of delivery: written through the real recorder, delivered to a backend in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.memory_adapter import MemoryAdapter
from trackbridge.api.recorder import RunRecorder
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.world import World
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.connect import Registries
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.lane import Lane, Progress
from trackbridge.domain.ids import mint_id
from trackbridge.domain.records import OpenMode, RunOpened
from trackbridge.journal.writer import JournalWriter, WriterOptions
from trackbridge.ports.adapter import Adapter

URI = "memory:"


def opened(run_id: str = "", *, how: OpenMode = OpenMode.CREATE, experiment: str = "tests") -> RunOpened:
    """Return a record that opens a run."""
    return RunOpened(
        run_id=run_id or mint_id(),
        experiment_id="e" * 32,
        experiment_name=experiment,
        name="a run",
        user="tester",
        start_time=1_700_000_000_000,
        tags={"mlflow.runName": "a run"},
        how=how,
    )


class Bench:
    """A writer, a backend and the lane between them; lane and backend can be replaced as after a crash."""

    def __init__(
        self, root: Path, adapter: Adapter | None = None, *, uris: tuple[str, ...] = (URI,), **options: object
    ) -> None:
        self.root = root
        self.adapter = adapter or MemoryAdapter()
        self.writer = JournalWriter(root, uris, options=WriterOptions(**options))  # type: ignore[arg-type]
        self.dead_letters = DeadLetters(root)
        self.lane = self.new_lane()

    def run(self, **how: object) -> RunRecorder:
        """Open a run."""
        return RunRecorder(self.writer, opened(**how))  # type: ignore[arg-type]

    def backend(self, uri: str) -> Backend:
        """Open the backend behind a pipeline that tries once and waits for nothing."""
        piped = wrap_adapter(self.adapter, CallPolicy(attempts_max=1), world=World())
        assert piped.tracking is not None
        return Backend(
            uri=uri,
            tracking=piped.tracking,
            artifacts=piped.artifacts,
            capabilities=piped.capabilities(),
            registry=Registries(uri, piped).open,
        )

    def new_lane(self, open_backend: Callable[[str], Backend] | None = None) -> Lane:
        """Return a lane as another process would make it."""
        return Lane(
            self.writer.folder,
            URI,
            open_backend=open_backend or self.backend,
            dead_letters=self.dead_letters,
        )

    def deliver(self, *, attempts_max: int = 10_000) -> Progress:
        """Advance until there is nothing more to do; obstacles are met again at once."""
        for _ in range(attempts_max):
            progress = self.lane.advance()
            if progress in (Progress.IDLE, Progress.FINISHED):
                return progress
        raise AssertionError(f"still not delivered: {self.lane.cursor.problem}")

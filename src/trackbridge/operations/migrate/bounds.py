"""How fast, how much and how long: what a user allows a migration to take of two backends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from trackbridge.calls.observe import Observer
from trackbridge.calls.pipeline import Pipeline, WrappedAdapter
from trackbridge.calls.places import Places
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.throttle import Throttle
from trackbridge.calls.timeout import Timeouts
from trackbridge.calls.world import World
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.streams import Original, StreamedArtifacts

if TYPE_CHECKING:
    from typing_extensions import Buffer

TRANSFERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a user allows; None is without bound.

    Args:
        transfers: Runs on their way at the same time.
        calls_per_s: Calls to each of the two backends.
        bytes_per_s: Bytes of files.
        bytes_max: Bytes of files after which no other run is begun.
        duration_s_max: Seconds after which no other run is begun.
    """

    transfers: int = TRANSFERS
    calls_per_s: float | None = None
    bytes_per_s: float | None = None
    bytes_max: int | None = None
    duration_s_max: float | None = None


@dataclass(slots=True)
class Spending:
    """What was taken so far of the bounds. Any thread may use it."""

    bounds: Bounds
    world: World = field(default_factory=World)
    on_bytes: Callable[[int], None] = lambda count: None
    bytes_done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started_s: float = 0.0
    _next_s: float = 0.0

    def __post_init__(self) -> None:
        self._started_s = self.world.clock_s()

    def spend(self, count: int) -> None:
        """Count bytes of files, and wait as long as their rate asks for."""
        self.on_bytes(count)
        rate = self.bounds.bytes_per_s
        with self._lock:
            self.bytes_done += count
            if rate is None:
                return
            now = self.world.clock_s()
            self._next_s = max(now, self._next_s) + count / rate
            wait_s = self._next_s - now
        self.world.pause(wait_s)

    def note(self, count: int) -> None:
        """Count bytes of files that somebody else moved, who waited for them."""
        self.on_bytes(count)
        with self._lock:
            self.bytes_done += count

    def share(self, sharers: int) -> Bounds:
        """Return what one of so many may take at the same time of what is left."""
        bounds = self.bounds
        most, duration_s = bounds.bytes_max, bounds.duration_s_max
        passed_s = self.world.clock_s() - self._started_s
        return Bounds(
            transfers=bounds.transfers,
            calls_per_s=None if bounds.calls_per_s is None else bounds.calls_per_s / sharers,
            bytes_per_s=None if bounds.bytes_per_s is None else bounds.bytes_per_s / sharers,
            bytes_max=None if most is None else max(most - self.bytes_done, 0),
            duration_s_max=None if duration_s is None else max(duration_s - passed_s, 0.0),
        )

    def reached(self) -> str | None:
        """Return which bound was reached, None while there is none."""
        most, duration_s = self.bounds.bytes_max, self.bounds.duration_s_max
        if most is not None and self.bytes_done >= most:
            return f"{self.bytes_done:,} bytes were moved, and {most:,} are allowed"
        if duration_s is not None and self.world.clock_s() - self._started_s >= duration_s:
            return f"the {duration_s:g} s that are allowed have passed"
        return None


class PacedThrottle(Throttle):
    """A pace that the user sets, beside the one that the backend teaches."""

    def __init__(self, world: World, *, calls_per_s: float, rate_per_s_min: float = 0.1) -> None:
        super().__init__(world, rate_per_s_min=rate_per_s_min)
        self._paced_world = world
        self._interval_s = 1.0 / calls_per_s
        self._turn_lock = threading.Lock()
        self._turn_s = 0.0

    def take_turn(self, deadline_s: float) -> None:
        """Wait for the user's pace, then for the backend's."""
        with self._turn_lock:
            now = self._paced_world.clock_s()
            turn_s = max(now, self._turn_s)
            self._turn_s = turn_s + self._interval_s
        self._paced_world.pause(turn_s - now)
        super().take_turn(deadline_s)


def paced_adapter(
    adapter: Adapter, policy: CallPolicy, *, throttle: Throttle, observer: Observer | None, world: World
) -> Adapter:
    """Return an adapter behind a call pipeline whose pace it may share with others."""
    capabilities = adapter.capabilities()
    pipeline = Pipeline(capabilities, policy, observer, world, throttle, Places(world), Timeouts())
    return WrappedAdapter(adapter, pipeline)


def throttle_of(calls_per_s: float | None, world: World) -> Throttle:
    """Return the pace of a backend: the user's, where one was named, and the one that the backend teaches."""
    return Throttle(world) if calls_per_s is None else PacedThrottle(world, calls_per_s=calls_per_s)


def metered(store: ArtifactStore, spending: Spending) -> ArtifactStore:
    """Return an artifact store whose bytes count, and wait, as they are read."""
    kind = _MeteredStreams if isinstance(store, StreamedArtifacts) else _Metered
    return cast("ArtifactStore", kind(store, spending))


class _Metered:
    """Stands for an artifact store; reading from it is counted."""

    def __init__(self, store: Any, spending: Spending) -> None:
        self._store = store
        self._spending = spending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open(self, run_id: str, path: str) -> BinaryIO:
        """Open a file for reading."""
        return cast("BinaryIO", _MeteredFile(self._store.open(run_id, path), self._spending))


class _MeteredStreams(_Metered):
    """The same for a store whose files go in a stream."""

    def original(self, run_id: str, path: str) -> Original:
        """Return a file for reading."""
        return _MeteredOriginal(self._store.original(run_id, path), self._spending)

    def replica(self, run_id: str, path: str) -> Any:
        """Return the place for a file."""
        return self._store.replica(run_id, path)


class _MeteredFile:
    def __init__(self, file: Any, spending: Spending) -> None:
        self._file = file
        self._spending = spending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(size)
        self._spending.spend(len(content))
        return content


class _MeteredOriginal(Original):
    def __init__(self, original: Original, spending: Spending) -> None:
        self._original = original
        self._spending = spending
        self.address = original.address
        self.size = original.size
        self.version = original.version
        self.digest = original.digest

    def read(self, start: int) -> Iterator[Buffer]:
        """Yield the bytes from a place on."""
        blocks = self._original.read(start)
        with closing(cast("Any", blocks)):
            for block in blocks:
                self._spending.spend(memoryview(block).nbytes)
                yield block

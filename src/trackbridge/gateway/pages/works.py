"""Work that takes longer than a request: each in a thread of its own, told on a page that survives a reload.

What is done here can be interrupted at any point and done again, so the end of the program ends it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import msgspec

from trackbridge.domain.ids import mint_id
from trackbridge.errors import BridgeError, LimitReached, Locked, NotFound

RUNNING_MAX = 8
KEPT_MAX = 100
"""So many works are remembered; of those that are over, the oldest is forgotten first."""
LINES_MAX = 500

_log = logging.getLogger(__name__)


class WorkState(str, Enum):
    """How far a work is."""

    RUNNING = "running"
    DONE = "done"
    PARTLY = "partly done"
    FAILED = "failed"


class Line(msgspec.Struct, frozen=True):
    """Something that a work told; ``time`` is milliseconds since 1970."""

    time: int
    text: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a work ended. ``text`` is one sentence, ``problems`` what did not work, ``result`` what it made."""

    text: str
    problems: tuple[str, ...] = ()
    result: Any = None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A work as it stands. Times are milliseconds since 1970; ``total`` is 0 where nobody knows it.

    ``kind`` says which page shows its result, ``back`` where one comes from.
    """

    work_id: str
    kind: str
    title: str
    back: str
    user: str
    state: WorkState
    begun_ms: int
    ended_ms: int | None = None
    lines: tuple[Line, ...] = ()
    reached: int = 0
    total: int = 0
    text: str = ""
    hint: str = ""
    problems: tuple[str, ...] = ()
    result: Any = None

    @property
    def is_over(self) -> bool:
        """True once nothing will be done any more."""
        return self.state is not WorkState.RUNNING


class Work:
    """One work, as the thread that does it sees it."""

    def __init__(self, kind: str, title: str, subjects: frozenset[str], back: str, user: str) -> None:
        self.subjects = subjects
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=LINES_MAX)
        self._shown = Shown(
            work_id=mint_id(),
            kind=kind,
            title=title,
            back=back,
            user=user,
            state=WorkState.RUNNING,
            begun_ms=_now_ms(),
        )

    def tell(self, text: str) -> None:
        """Add a line."""
        with self._lock:
            self._lines.append(Line(_now_ms(), text))

    def reach(self, reached: int, total: int) -> None:
        """Say how much of how much is done."""
        with self._lock:
            self._shown = msgspec.structs.replace(self._shown, reached=reached, total=total)

    def end(self, state: WorkState, **fields: Any) -> None:
        """Say how it ended."""
        with self._lock:
            self._shown = msgspec.structs.replace(self._shown, state=state, ended_ms=_now_ms(), **fields)

    @property
    def shown(self) -> Shown:
        """The work as it stands."""
        with self._lock:
            return msgspec.structs.replace(self._shown, lines=tuple(self._lines))


class Works:
    """The works of a gateway. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works: dict[str, Work] = {}
        self._held: set[str] = set()

    def start(
        self,
        kind: str,
        title: str,
        subjects: frozenset[str],
        do: Callable[[Work], Outcome],
        *,
        back: str,
        user: str = "",
    ) -> Shown:
        """Begin a work and return it.

        Args:
            kind: Which page shows its result.
            title: What is done, for people.
            subjects: What nobody else may work on meanwhile.
            do: Does it.
            back: The page that one comes from.
            user: Who began it.

        Raises:
            Locked: Somebody works on one of the subjects here.
            LimitReached: Too much is under way.
        """
        work = Work(kind, title, subjects, back, user)
        with self._lock:
            self._hold(subjects)
            self._works[work.shown.work_id] = work
            self._forget_oldest()
        # A daemon: whatever is under way can be gone on with, and must not hold up the end of the program.
        threading.Thread(target=self._run, args=(work, do), name=f"work-{kind}", daemon=True).start()
        return work.shown

    def get(self, work_id: str) -> Shown:
        """Return a work.

        Raises:
            NotFound: There is none, or it is forgotten.
        """
        with self._lock:
            work = self._works.get(work_id)
        if work is None:
            raise NotFound(
                f"no work {work_id[:40]!r} is known here",
                hint="the gateway was started again, or it is long over; what it did is done",
            )
        return work.shown

    def list(self) -> list[Shown]:
        """Return every work that is known, the newest first."""
        with self._lock:
            works = list(self._works.values())
        return [work.shown for work in reversed(works)]

    @contextlib.contextmanager
    def holding(self, *subjects: str) -> Iterator[None]:
        """Keep others from working on the subjects meanwhile.

        Raises:
            Locked: Somebody does.
        """
        wanted = frozenset(subjects)
        with self._lock:
            self._hold(wanted)
        try:
            yield
        finally:
            self._release(wanted)

    def _hold(self, subjects: frozenset[str]) -> None:
        taken = sorted(subjects & self._held)
        if taken:
            raise Locked(
                f"{taken[0]} is being changed here already",
                operation="pages",
                hint="wait until that is over; the page of works shows it",
            )
        if sum(not work.shown.is_over for work in self._works.values()) >= RUNNING_MAX:
            raise LimitReached(f"{RUNNING_MAX} works are under way", hint="wait until one of them is over")
        self._held |= subjects

    def _release(self, subjects: frozenset[str]) -> None:
        with self._lock:
            self._held -= subjects

    def _forget_oldest(self) -> None:
        over = (work_id for work_id, work in self._works.items() if work.shown.is_over)
        for work_id in list(over)[: max(0, len(self._works) - KEPT_MAX)]:
            del self._works[work_id]

    def _run(self, work: Work, do: Callable[[Work], Outcome]) -> None:
        try:
            outcome = do(work)
        except BridgeError as error:
            self._end(work, WorkState.FAILED, text=str(error), hint=error.hint or "")
        except Exception:  # a fault of ours: its text may hold anything, so only the log has it
            _log.exception("the work %s failed", work.shown.work_id)
            self._end(work, WorkState.FAILED, text="the gateway failed; its log says why")
        else:
            state = WorkState.PARTLY if outcome.problems else WorkState.DONE
            fields = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
            self._end(work, state, **fields)

    def _end(self, work: Work, state: WorkState, **fields: Any) -> None:
        self._release(work.subjects)
        work.end(state, **fields)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

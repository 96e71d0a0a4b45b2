"""Trouble on demand in any cloud: what is to go wrong, how often, before or after the work was done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass
class Fault:
    """Something that is to go wrong: the next ``left`` times (None: always), or beyond a rate."""

    pattern: str
    refused: Callable[[], Exception]
    left: int | None
    per_second: float | None = None
    is_after: bool = False
    seen_s: list[float] = field(default_factory=list)


class Faults:
    """What is to go wrong.

    Args:
        now_s: The cloud's clock.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._faults.clear()

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _check(self, *names: str, is_after: bool) -> None:
        """Raise what is to go wrong with a request that has one of these names."""
        with self._lock:
            for fault in self._faults:
                if (
                    fault.is_after == is_after
                    and any(fnmatchcase(name, fault.pattern) for name in names)
                    and self._is_due(fault)
                ):
                    raise fault.refused()

    def _is_due(self, fault: Fault) -> bool:
        if fault.per_second is not None:
            now_s = self._now_s()
            fault.seen_s = [seen_s for seen_s in fault.seen_s if now_s - 1 < seen_s <= now_s]
            if len(fault.seen_s) < fault.per_second:
                fault.seen_s.append(now_s)
                return False
        if fault.left is None:
            return True
        fault.left -= 1
        return fault.left >= 0

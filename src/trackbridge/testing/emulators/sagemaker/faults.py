"""Trouble on demand: throttling, and a service that fails before or after it did its work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from trackbridge.testing.emulators.sagemaker.refusal import Refused


@dataclass
class _Fault:
    operation: str
    code: str
    message: str
    status: int
    left: int | None
    per_second: float | None = None
    is_after: bool = False
    seen_s: list[float] = field(default_factory=list)


class Faults:
    """What is to go wrong, by operation; names may hold ``*``, such as ``BatchPutMetrics`` or ``*Trial*``.

    Args:
        now_s: AWS's clock.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()

    def throttle(
        self, operation: str = "*", *, times: int | None = None, per_second: float | None = None
    ) -> None:
        """Refuse calls as too many: the next ``times``, or those beyond a rate; with neither, all."""
        fault = _Fault(operation, "ThrottlingException", "Rate exceeded", 400, times, per_second)
        with self._lock:
            self._faults.append(fault)

    def fail(
        self,
        operation: str = "*",
        *,
        times: int | None = 1,
        code: str = "InternalFailure",
        message: str = "The request processing has failed because of an unknown error.",
        status: int = 500,
        after: bool = False,
    ) -> None:
        """Let calls fail: before anything was done, or ``after``, when only the answer is lost."""
        with self._lock:
            self._faults.append(_Fault(operation, code, message, status, times, is_after=after))

    def clear(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._faults.clear()

    def check(self, operation: str, *, is_after: bool = False) -> None:
        """Raise what is to go wrong with a call.

        Raises:
            Refused: That.
        """
        with self._lock:
            for fault in self._faults:
                if (
                    fault.is_after == is_after
                    and fnmatchcase(operation, fault.operation)
                    and self._is_due(fault)
                ):
                    raise Refused(fault.code, fault.message, fault.status)

    def _is_due(self, fault: _Fault) -> bool:
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

"""Workers that share nothing with who sends them their parts, in this process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from trackbridge.operations.migrate.elsewhere import apply_here
from trackbridge.operations.migrate.partitions import Applied, Common, Part, decoded, encoded


class Workers:
    """Applies parts in this process; everything goes to them and back as bytes.

    Args:
        width: Parts at the same time.
        repeats: Whether each part is begun by one worker and done by another one.
        breaks_after: Steps after which the first of the two gets no further; None lets it do all of it.
    """

    def __init__(self, *, width: int = 3, repeats: bool = False, breaks_after: int | None = None) -> None:
        self.width = width
        self.repeats = repeats
        self.breaks_after = breaks_after
        self.parts: list[Part] = []
        self.cancelled = False
        self.still_writing = ""
        self.before: Callable[[Part], None] = lambda part: None
        self._lock = threading.Lock()
        self._common = b""

    def begin(self, common: Common) -> None:
        self._common = encoded(common)

    def apply(self, part: Part) -> Applied:
        with self._lock:
            self.parts.append(part)
        self.before(part)
        sent = decoded(encoded(part), Part)
        common = decoded(self._common, Common)
        if self.repeats:
            apply_here(sent, common, is_repeated=False, on_point=self._breaking())
        return decoded(encoded(apply_here(sent, common, is_repeated=self.repeats)), Applied)

    def cancel(self) -> str:
        self.cancelled = True
        return self.still_writing

    def _breaking(self) -> Callable[[str], None]:
        """Return what breaks every run at one of its steps, each at another one."""
        passed = itertools.count(1)

        def point(name: str) -> None:
            if self.breaks_after is not None and next(passed) % self.breaks_after == 0:
                raise RuntimeError(f"broken at {name}")

        return point

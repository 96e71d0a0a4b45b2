"""Which paths of a run are taken, so that a new file needs no look before it is sent.

What is known can be old: somebody else may have written or deleted meanwhile. A path that looks taken is
looked at again; one that looks free is written on the condition that nothing is there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator


class Taken:
    """The files and folders of one run. Any thread may use it.

    Args:
        paths: The files that are there.
        most: With more files than so many it knows nothing: no path can be claimed.
    """

    def __init__(self, paths: Iterable[str], *, most: int) -> None:
        self._files = set(paths)
        self._folders = {folder for path in self._files for folder in ancestors(path)}
        self._most = most
        self._lock = threading.Lock()

    def claim(self, path: str) -> bool:
        """Take a path for a file that is about to be sent; False where something may be in the way."""
        with self._lock:
            if len(self._files) > self._most or path in self._files or path in self._folders:
                return False
            above = list(ancestors(path))
            if any(folder in self._files for folder in above):
                return False
            self._files.add(path)
            self._folders.update(above)
            return True


def ancestors(path: str) -> Iterator[str]:
    """Yield the folders above a path, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path

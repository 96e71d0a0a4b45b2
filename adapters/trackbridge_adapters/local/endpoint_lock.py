"""The lock that one operation on an endpoint holds against others."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from getpass import getuser
from types import TracebackType

from trackbridge.errors import Locked
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.endpoint_folders import EndpointFolder
from trackbridge_adapters.local.locks import hold, release


class EndpointLock(AbstractContextManager[None]):
    """Held from its making to the end of the ``with`` block, or of the process."""

    def __init__(self, folder: EndpointFolder, now_ms: int) -> None:
        path = folder.operation_lock
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = hold(path)
        if descriptor is None:
            raise Locked(
                f"endpoint {folder.endpoint!r} is being changed by {_shown(path.read_bytes())}",
                adapter=ADAPTER,
                operation="deployments.lock",
                hint="wait until that is done, then plan again",
            )
        self._descriptor = descriptor
        holder = json.dumps({"user": _user(), "pid": os.getpid(), "since": now_ms}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, holder, 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        release(self._descriptor)


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return str(os.getuid())


def _shown(holder: bytes) -> str:
    try:
        about = json.loads(holder)
        since = datetime.fromtimestamp(about["since"] / 1000, timezone.utc)
        return f"{about['user']} (process {about['pid']}) since {since:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, KeyError, TypeError):
        return "another process"

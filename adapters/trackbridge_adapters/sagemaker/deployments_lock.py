"""Who changes an endpoint now: an object in the bucket, written only under conditions.

It says until when it holds, and is renewed by a thread while its process lives; a process that was killed
holds it for ``HELD_S`` at most. Clocks of machines that share a bucket must agree to some seconds, as AWS
asks for anyway.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from types import TracebackType

import msgspec

from trackbridge.errors import BridgeError, Conflict, Locked
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import Bucket
from trackbridge_adapters.sagemaker.deployments_names import FOLDER

HELD_S = 60.0
RENEWED_S = 15.0
OPERATION = "deployments.lock"


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock. ``until`` 0 is nobody any more; times are milliseconds since 1970."""

    token: str
    who: str
    since: int
    until: int


class EndpointLock:
    """A lock that is held from the making on, until its block ends.

    Raises:
        Locked: Somebody else holds it.
    """

    def __init__(self, bucket: Bucket, endpoint: str, clock_ms: Callable[[], int]) -> None:
        self._bucket = bucket
        self._endpoint = endpoint
        self._key = f"{FOLDER}/{endpoint}/lock.json"
        self._clock_ms = clock_ms
        now = clock_ms()
        self._own = Holder(token=secrets.token_hex(16), who=_who(), since=now, until=self._until())
        self._version = self._take()
        self._ended = threading.Event()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._renew, name=f"lock of {endpoint}", daemon=True)
        self._thread.start()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._lost is None:
            with suppress(BridgeError):  # it is another's, or ends by itself: what was done is done
                self._write(msgspec.structs.replace(self._own, until=0), self._version)

    def check(self) -> None:
        """Return if the lock is still held.

        Raises:
            Locked: It was lost: it could not be renewed in time.
        """
        if self._lost is not None:
            raise Locked(
                f"the lock of {self._endpoint!r} was lost: {self._lost}",
                adapter=ADAPTER,
                operation=OPERATION,
                hint="see how the endpoint stands, then apply the plan again",
            )

    def _until(self) -> int:
        return self._clock_ms() + round(HELD_S * 1000)

    def _take(self) -> str:
        held = self._bucket.get(self._key)
        holder = self._decoded(held[0]) if held is not None else None
        if holder is not None and holder.until > self._clock_ms():
            raise self._locked(holder)
        try:
            return self._write(self._own, held[1] if held is not None else None)
        except Conflict:
            now = self._bucket.get(self._key)
            holder = self._decoded(now[0]) if now is not None else None
            if now is not None and holder is not None and holder.token == self._own.token:
                return now[1]  # it was taken; only the answer got lost
            raise self._locked(holder) from None

    def _write(self, holder: Holder, version: str | None) -> str:
        return self._bucket.put(self._key, msgspec.json.encode(holder), match=version, absent=version is None)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_S):
            try:
                is_ours = self._renew_once()
            except BridgeError as error:  # the network: there is time until it ends
                if self._clock_ms() > self._own.until:
                    self._lost = str(error)
                    return
                continue
            if not is_ours:
                self._lost = "somebody else has it"
                return

    def _renew_once(self) -> bool:
        """Let the lock hold for longer; False when it is somebody else's."""
        renewed = msgspec.structs.replace(self._own, until=self._until())
        try:
            self._version, self._own = self._write(renewed, self._version), renewed
        except Conflict:
            now = self._bucket.get(self._key)
            holder = self._decoded(now[0]) if now is not None else None
            if now is None or holder is None or holder.token != self._own.token:
                return False
            self._version, self._own = now[1], holder  # it was renewed; only the answer got lost
        return True

    def _decoded(self, data: bytes) -> Holder | None:
        try:
            return msgspec.json.decode(data, type=Holder)
        except msgspec.DecodeError:
            return None  # nobody's: what cannot be read is taken over

    def _locked(self, holder: Holder | None) -> Locked:
        told = "somebody else, since just now"
        if holder is not None:
            since = datetime.fromtimestamp(holder.since / 1000, timezone.utc)
            told = f"{holder.who}, since {since:%Y-%m-%d %H:%M:%S} UTC"
        return Locked(
            f"the endpoint {self._endpoint!r} is being changed by {told}",
            adapter=ADAPTER,
            operation=OPERATION,
            hint=f"wait until that is done; a process that was killed keeps the lock for {HELD_S:g} s",
        )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        user = "somebody"
    return f"{user} on {socket.gethostname()} (process {os.getpid()})"

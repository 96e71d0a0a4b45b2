"""Writes that are made lasting together: what a backend has whose own disk is what a write waits for."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable

from trackbridge.ports.adapter import Adapter


class Gathering(Adapter, Protocol):
    """The tracking and artifact ports of a backend without their promise that a call that returned lasts.

    What was written is there for everybody at once, and outlives the death of the process. A loss of power
    may take of it what ``settle`` did not reach, in any part; what has a digest has its bytes even then.
    The other ports are None. One thread at a time.
    """

    @abstractmethod
    def settle(self) -> None:
        """Make lasting all that was written so far. What is written afterwards never lasts without it.

        Raises:
            BridgeError: The disk refuses; nothing can be said of what was written since the last time.
        """
        ...


@runtime_checkable
class GatheringAdapter(Protocol):
    """What an adapter has beside its ports when its writes can be made lasting together."""

    @abstractmethod
    def gathering(self) -> Gathering:
        """Return the ports for writes that are made lasting together; contacts nobody."""
        ...

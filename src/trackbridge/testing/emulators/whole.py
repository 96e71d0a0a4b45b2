"""What an emulator as a whole has, whichever cloud it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from trackbridge.testing.emulators.cloud import EmulatedCloud
from trackbridge.testing.emulators.containers import Image, Images


class Answering(Protocol):
    """What answers requests, and keeps what went wrong inside of it."""

    failures: list[str]


Services = TypeVar("Services", bound=Answering)


class Emulator(Generic[Services]):
    """An emulator; its services are there once its context is entered."""

    cloud: EmulatedCloud
    _images: Callable[[Any], Images]
    _services: Services | None = None

    def declare_image(self, pattern: str, *, train: Sequence[str] = (), serve: Sequence[str] = ()) -> None:
        """Say what images hold whose name matches a pattern: the commands that train and that serve.

        ``{port}`` in a command is the port to listen on. No image is ever pulled; see ``Images``.
        """
        self.cloud.part(self._images).declare(pattern, Image(train=train, serve=serve))

    def raise_failures(self) -> None:
        """Raise what went wrong inside of the emulator: for the end of a test.

        Raises:
            AssertionError: Something did.
        """
        failures = self._answering().failures
        if failures:
            raise AssertionError("the emulator failed:\n" + "\n".join(failures))
        self.cloud.clock.raise_errors()

    def _answering(self) -> Services:
        if self._services is None:
            raise RuntimeError("enter the emulator's context first")
        return self._services

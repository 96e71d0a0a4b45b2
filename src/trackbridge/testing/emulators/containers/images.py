"""What the images of containers hold: none is ever pulled, its programs run on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

COMMAND_VARIABLE = "BRIDGE_EMULATED_COMMAND"
"""A variable of a container's Environment that says what runs in place of its image's own program."""


@dataclass(frozen=True, slots=True)
class Image:
    """The programs of an image.

    ``train`` and ``serve`` are command lines; ``{port}`` in one stands for the port to listen on.
    ``has_toolkit`` says that AWS's training toolkit is in it, which sets ``SM_*``.
    """

    train: Sequence[str] = ()
    serve: Sequence[str] = ()
    has_toolkit: bool = False


class Images:
    """The images that are known, by patterns of their names; the one that was declared last wins."""

    def __init__(self) -> None:
        self._declared: list[tuple[str, Image]] = []

    def declare(self, pattern: str, image: Image) -> None:
        """Say what images hold whose name matches a pattern (``*`` and ``?``)."""
        self._declared.append((pattern, image))

    def find(self, name: str) -> Image:
        """Return an image; one without programs when its name is unknown."""
        return next((i for pattern, i in reversed(self._declared) if fnmatchcase(name, pattern)), Image())

    def command(self, name: str, program: str, environment: Mapping[str, str]) -> list[str]:
        """Return what runs for a program (``train``, ``serve``) of an image; empty when nothing is known."""
        if COMMAND_VARIABLE in environment:
            return split_command(environment[COMMAND_VARIABLE])
        image = self.find(name)
        return list(image.train if program == "train" else image.serve)


def split_command(command: str) -> list[str]:
    """Return a command line as the shell splits it; the shell is left to refuse one that it cannot split."""
    try:
        return shlex.split(command)
    except ValueError:
        return ["/bin/sh", "-c", command]  # which tells in the log what is wrong with it


def unknown_image(name: str, program: str) -> str:
    """Say that nobody knows what an image's program is, and what to do."""
    return (
        f"The emulator does not know the program {program!r} of image {name!r}: it pulls no images. "
        f"Declare it with emulator.declare_image(...), or set "
        f"{COMMAND_VARIABLE} in the container's Environment."
    )

"""What a destination calls a run: noted beside the journal by whoever delivers, for the program to tell."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from trackbridge.journal.cursors import key_of
from trackbridge.journal.folder import JournalFolder


class Native(msgspec.Struct, frozen=True):
    """A run's id at a destination, where that differs from ours, and its page in a browser."""

    native_id: str | None = None
    native_url: str | None = None


def note_native(folder: JournalFolder, destination: str, run_id: str, native: Native) -> None:
    """Keep what a destination calls a run. Where that cannot be kept, the program does not get to know it."""
    path = _path(folder, destination, run_id)
    draft = path.with_suffix(".draft")
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        draft.write_bytes(msgspec.json.encode(native))
        draft.replace(path)


def find_native(folder: JournalFolder, destination: str, run_id: str) -> Native | None:
    """Return what a destination calls a run; None while that is not known."""
    try:
        return msgspec.json.decode(_path(folder, destination, run_id).read_bytes(), type=Native)
    except (OSError, msgspec.DecodeError):
        return None


def _path(folder: JournalFolder, destination: str, run_id: str) -> Path:
    return folder.path / "native" / key_of(f"{destination}\n{run_id}")

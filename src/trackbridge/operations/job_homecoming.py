"""Journals that were written elsewhere come to this machine, to be delivered from here.

::

    <address>/journal/<id>/...  -->  <root>/.<id>/  -->  <root>/<id>/  -->  delivered, and gone
                                     file by file        by one rename

A platform keeps a copy of a job's folder, which may be of any moment: a journal in it may be cut off
anywhere, or lack files and empty folders. What is damaged is told by delivery, as with any journal. Nothing
of it is trusted: names that no journal has are left out, and a journal that names a destination which nobody
here asked for is not taken.

A journal that its own machine has delivered whole is noted there (``journal/delivered/<id>``), and does not
come: the platform's copy of it is of an earlier moment.

An interrupted call is gone on with: files that are whole are not fetched again. What was delivered is noted
(``<root>/arrived/<id>``), so that another call has nothing to do until more was written; delivering a journal
again changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trackbridge.domain.ids import is_minted
from trackbridge.domain.secrets import shown
from trackbridge.errors import JournalCorrupt, NotFound, Unavailable
from trackbridge.journal.cursors import expect_sent, load_cursor
from trackbridge.journal.folder import DELIVERED, JournalFolder
from trackbridge.operations.uri_files import UriFiles
from trackbridge.transport.file_locks import held

JOURNALS = "journal"
SMALL_BYTES_MAX = 1024 * 1024
"""Of a description or a cursor; a larger one is none."""
_BLOCK_BYTES = 1024 * 1024
_SEGMENT = re.compile(r"[0-9]{8}\.log")
_SMALL = re.compile(r"journal\.json|closed|cursor-[0-9a-f]{16}\.json")
_STAGED = re.compile(r"staged/[0-9a-f]{32}(?:\.[0-9a-f]{16})?")
_MARKER = re.compile(r"(?:open|created|inherited|resumed)/[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_FOLDERS = ("staged", "open", "created", "inherited", "resumed")


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A journal that was not taken, and why."""

    journal: str
    why: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Journals that are here now, those that are known to be delivered, and those that were not taken."""

    root: Path
    journals: Mapping[str, str]
    known: tuple[str, ...]
    left_behind: tuple[LeftBehind, ...]

    def note_delivered(self) -> None:
        """Note which of the journals that came are delivered by now, so that they need not come again."""
        for journal_id, fingerprint in self.journals.items():
            if not (self.root / journal_id).exists():
                _note(self.root, journal_id, fingerprint)


def bring_home(
    files: UriFiles,
    root: Path,
    *,
    accepts: Callable[[str], bool],
) -> Arrival:
    """Bring the journals below an address to the folder of journals here; delivering them is the caller's.

    Args:
        files: A folder with journals below ``journal/``, or that folder itself.
        root: The folder of journals of this machine.
        accepts: Tells whether a journal may be delivered to a tracking URI that it names.

    Raises:
        Unavailable: The files cannot be read now; another call goes on from there.
        BridgeError: They cannot be read at all.
    """
    place = files if files.address.rstrip("/").endswith(f"/{JOURNALS}") else files.below(JOURNALS)
    listed = place.listed()
    found = _journals_in(listed)
    came: dict[str, str] = {}
    known: list[str] = []
    left: list[LeftBehind] = []
    for journal_id, sizes in sorted(found.items()):
        fingerprint = _fingerprint(sizes)
        if f"{DELIVERED}/{journal_id}" in listed or _noted(root, journal_id) == fingerprint:
            known.append(journal_id)
            continue
        with held(root / "arrived" / ".lock"):
            fetching = _Fetching(place, journal_id, sizes, root)
            why = fetching.run(accepts)
        if why is None:
            came[journal_id] = fingerprint
        elif why == _DELIVERED:
            _note(root, journal_id, fingerprint)
            known.append(journal_id)
        else:
            left.append(LeftBehind(journal_id, why))
    return Arrival(root, came, tuple(known), tuple(left))


_DELIVERED = "delivered"


def _journals_in(listed: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the files of each journal with their sizes, without those that no journal has."""
    found: dict[str, dict[str, int]] = {}
    for path, size in listed.items():
        journal_id, _, name = path.partition("/")
        if is_minted(journal_id) and _is_of_a_journal(name):
            found.setdefault(journal_id, {})[name] = size
    return found


def _is_of_a_journal(name: str) -> bool:
    return any(form.fullmatch(name) for form in (_SEGMENT, _SMALL, _STAGED, _MARKER))


def _fingerprint(sizes: Mapping[str, int]) -> str:
    """Return what changes when more was written: of segments and staged files."""
    lines = [f"{name} {sizes[name]}" for name in sorted(sizes) if not _SMALL.fullmatch(name)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _noted(root: Path, journal_id: str) -> str | None:
    try:
        return (root / "arrived" / journal_id).read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _note(root: Path, journal_id: str, fingerprint: str) -> None:
    """Keep what was delivered; where that cannot be kept, it is delivered again, which changes nothing."""
    path = root / "arrived" / journal_id
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".draft").write_text(fingerprint, encoding="ascii")
        path.with_suffix(".draft").replace(path)


class _Fetching:
    """One journal on its way."""

    def __init__(self, place: UriFiles, journal_id: str, sizes: Mapping[str, int], root: Path) -> None:
        self._place = place
        self._journal_id = journal_id
        self._sizes = sizes
        self._root = root
        self._hidden = JournalFolder(root / f".{journal_id}")

    def run(self, accepts: Callable[[str], bool]) -> str | None:
        """Bring it here; return why not, None when it is here."""
        self._hidden.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (self._hidden.path / name).mkdir(exist_ok=True)
        for name in self._named(_SMALL):
            if self._sizes[name] <= SMALL_BYTES_MAX:
                (self._hidden.path / name).unlink(missing_ok=True)  # it is replaced where it lies
                self._fetch(name)
        why = self._look(accepts)
        if why is None:
            for name in (*self._named(_SEGMENT), *self._named(_STAGED), *self._named(_MARKER)):
                self._fetch(name)
            why = self._settle_in()
        shutil.rmtree(self._hidden.path, ignore_errors=True)
        return why

    def _named(self, form: re.Pattern[str]) -> list[str]:
        return sorted(name for name in self._sizes if form.fullmatch(name))

    def _look(self, accepts: Callable[[str], bool]) -> str | None:
        """Return why the journal need not, or may not, come."""
        if not self._named(_SEGMENT):
            return _DELIVERED  # it has no records
        (self._hidden.path / "journal.json").touch()  # a missing one is told as a damaged one is
        try:
            destinations = JournalFolder(self._root / self._journal_id).described_by(
                self._hidden.path / "journal.json"
            )
        except JournalCorrupt:
            return None  # it goes where whoever delivers it says
        strange = [uri for uri in destinations if not accepts(uri)]
        if strange:
            told = [shown(uri, chars_max=200) for uri in strange]
            return f"it is for {', '.join(told)}; to deliver it there, say --uri {told[0]}"
        cursors = [load_cursor(self._hidden, uri) for uri in destinations]
        return _DELIVERED if all(cursor.finished for cursor in cursors) else None

    def _fetch(self, name: str) -> None:
        """Bring one file here whole; one that is here already is left."""
        target, size = self._hidden.path / name, self._sizes[name]
        if target.exists() and target.stat().st_size >= size:
            return
        part = target.with_name(f"{target.name}.part")
        with closing(self._opened(name)) as source, part.open("wb") as copy:
            while block := source.read(_BLOCK_BYTES):
                copy.write(block)
        if part.stat().st_size < size:
            raise Unavailable(
                f"{name} of journal {self._journal_id} ended after {part.stat().st_size:,} of {size:,} bytes",
                operation="sync",
                resource=self._place.address,
                hint="run it again: it goes on from there",
            )
        part.replace(target)

    def _opened(self, name: str) -> BinaryIO:
        try:
            return self._place.open(f"{self._journal_id}/{name}")
        except NotFound as error:  # it was listed a moment ago
            raise Unavailable(
                f"{name} of journal {self._journal_id} has gone meanwhile: is its job still running?",
                operation="sync",
                resource=self._place.address,
                hint="run it again when the job has ended",
            ) from error

    def _settle_in(self) -> str | None:
        """Give the journal its name here, or add what is new of it to the one that is here."""
        here = JournalFolder(self._root / self._journal_id)
        if not here.path.exists():
            with contextlib.suppress(JournalCorrupt):
                for uri in here.described_by(self._hidden.path / "journal.json"):
                    expect_sent(self._hidden, uri)
            self._hidden.path.rename(here.path)
            return None
        if here.writer_lives():
            return "the program that writes it lives on this machine"
        lock = here.lock_delivery()
        if lock is None:
            return "another process is delivering it"
        try:
            for path in sorted(self._hidden.path.rglob("*")):
                name = path.relative_to(self._hidden.path).as_posix()
                if path.is_file() and not name.startswith(("cursor-", "journal.json")):
                    _add(path, here.path / name)
            with contextlib.suppress(JournalCorrupt):
                for uri in here.describe().destinations:
                    expect_sent(here, uri)
        finally:
            lock.release()
        return None


def _add(path: Path, target: Path) -> None:
    """Put a file in its place, unless what is there is longer: segments only grow."""
    target.parent.mkdir(exist_ok=True)
    if not target.exists() or target.stat().st_size < path.stat().st_size:
        os.replace(path, target)

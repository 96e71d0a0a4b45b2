"""Which files of a folder are sent to another machine, and what stays behind."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

import msgspec

from trackbridge.errors import InvalidInput
from trackbridge_adapters._jobs.ignore_patterns import IgnorePatterns

OPERATION = "jobs.code"
IGNORE_FILE = ".bridgeignore"
NEVER_SENT = frozenset([".git", ".bridge", ".venv", "__pycache__", "mlruns"])
EXECUTABLE, PLAIN = 0o755, 0o644

_PIECE_BYTES = 1024 * 1024


class CodeFile(msgspec.Struct, frozen=True):
    """One file: its path below the folder (with ``/``), where it lies, its size in bytes, and its mode.

    The mode is 0o755 for what can be executed and 0o644 for the rest, as in git: what else the permissions
    say belongs to the machine where the file lies.
    """

    path: str
    source: str
    size_bytes: int
    mode: int


class CodeFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent of a folder, by path, and the folders and patterns that stay behind."""

    files: tuple[CodeFile, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


def list_code(code_dir: str | None, ignore_file: str | None = None) -> CodeFiles:
    """List a folder's files but for what its ignore file excludes; ``.gitignore`` is never looked at.

    The ignore file holds patterns as git takes them; by default it is the folder's ``.bridgeignore``, where
    there is one. Folders that never belong to a job's code stay behind in any case: ``.git``, ``.bridge``,
    ``.venv``, ``__pycache__``, ``mlruns``; links are followed within the folder only.

    Raises:
        InvalidInput: There is no such folder or ignore file, a pattern of it is wrong, a link leads out of
            the folder, nowhere or round in circles, or something in it cannot be read or sent.
    """
    if code_dir is None:
        if ignore_file is not None:
            raise _invalid("there is an ignore file, but no folder of code", ignore_file, "name the folder")
        return CodeFiles()
    if "\0" in code_dir or not os.path.isdir(code_dir):
        raise _invalid(f"{code_dir!r} is not a folder", code_dir, "name one that exists")
    patterns = _patterns(code_dir, ignore_file)
    try:
        lister = _Lister(code_dir, patterns)
        files = sorted(lister.list_folder(code_dir, "", ()), key=lambda file: file.path)
    except OSError as error:
        raise _invalid(
            f"the code cannot be read: {error}", code_dir, "make it readable, or exclude it"
        ) from error
    return CodeFiles(files=tuple(files), ignored=tuple(sorted(lister.ignored)))


def digest_of(code: CodeFiles) -> str:
    """Return the SHA-256 over paths, modes and contents: equal code has an equal digest.

    Raises:
        InvalidInput: A file cannot be read any more.
    """
    total = hashlib.sha256()
    for file in code.files:
        total.update(f"{file.path}\0{file.mode:o}\0{_content_digest(file.source)}\n".encode())
    return total.hexdigest()


class _Lister:
    """Walks a folder; ``ignored`` collects what stays behind."""

    def __init__(self, root: str, patterns: IgnorePatterns) -> None:
        self.ignored: set[str] = set()
        self._root = os.path.realpath(root)
        self._patterns = patterns

    def list_folder(self, folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[CodeFile]:
        """Yield the files of a folder whose path below the root is ``prefix``, and of those in it."""
        real = os.path.realpath(folder)
        if real in above:
            raise _invalid("the link leads round in circles", folder, "remove it, or exclude it")
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            yield from self._list_entry(entry, prefix + entry.name, (*above, real))

    def _list_entry(self, entry: os.DirEntry[str], path: str, above: tuple[str, ...]) -> Iterator[CodeFile]:
        is_folder = entry.is_dir()
        if self._stays_behind(entry.name, path, is_folder=is_folder):
            return
        if entry.is_symlink():
            self._check_link(entry.path)
        _check_name(path)
        if is_folder:
            yield from self.list_folder(entry.path, f"{path}/", above)
            return
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _invalid("this is neither a file nor a folder", entry.path, "remove it, or exclude it")
        mode = EXECUTABLE if status.st_mode & stat.S_IXUSR else PLAIN
        yield CodeFile(path, entry.path, status.st_size, mode)

    def _stays_behind(self, name: str, path: str, *, is_folder: bool) -> bool:
        pattern = self._patterns.excluding(path, is_folder=is_folder)
        if name not in NEVER_SENT and pattern is None:
            return False
        # Of many files that one pattern excludes, the pattern says enough.
        self.ignored.add(f"{path}/" if is_folder else pattern or path)
        return True

    def _check_link(self, path: str) -> None:
        target = os.path.realpath(path)
        if not os.path.exists(target):
            raise _invalid("the link leads nowhere", path, "remove it, or exclude it")
        if os.path.commonpath((target, self._root)) != self._root:
            raise _invalid("the link leads out of the folder", path, "copy the content, or exclude the link")


def _patterns(code_dir: str, ignore_file: str | None) -> IgnorePatterns:
    path = os.path.join(code_dir, IGNORE_FILE) if ignore_file is None else ignore_file
    if ignore_file is None and not os.path.lexists(path):
        return IgnorePatterns(())
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the name
        raise _invalid(f"the ignore file cannot be read: {error}", path, "name a text file") from error
    try:
        return IgnorePatterns(lines)
    except ValueError as error:
        raise _invalid(f"a pattern is wrong: {error}", path, "write it as git takes it") from error


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise _invalid("the name is not valid Unicode", ascii(path), "rename it, or exclude it") from error


def _content_digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError as error:
        raise _invalid(f"a file of the code cannot be read: {error}", path, "make it readable") from error
    return digest.hexdigest()


def _invalid(message: str, resource: str, hint: str) -> InvalidInput:
    return InvalidInput(message, operation=OPERATION, resource=resource, hint=hint)

"""The content digest of a model: the same for a folder, an archive of it and a migrated copy.

A model's payload is a set of members, each a relative path with ``/`` and its bytes. The digest is::

    content = SHA-256 of the member's bytes                     32 bytes
    member  = SHA-256 of content followed by the path in UTF-8  32 bytes
    digest  = "sha256:" + hexadecimal SHA-256 of all member hashes, sorted by their bytes, one after another

- A single file counts as a folder that holds only this file. Folders themselves are no members.
- Of two members with one path the later one counts, as when an archive is unpacked. ``./a`` is ``a``.
- ``MLmodel`` at the top is taken without what a registry or a run writes into it: the lines that begin with
  ``run_id:``, ``model_id:``, ``model_uuid:`` or ``artifact_path:``, each with the lines that continue it
  (they begin with a space or a tab).
- Left out is what is put around a payload to serve or to label it: ``code/inference.py``, all below
  ``code/bridge_server/``, mlflow's ``registered_model_meta``, and SageMaker's
  ``sagemaker_inference_specification.json`` and ``sagemaker_evaluation_group_….json``.

So the digest does not depend on order, times, modes, owners, compression, or on where a model is registered.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from trackbridge.errors import InvalidInput, NotFound

MLMODEL = "MLmodel"
WRAPPER_FILES = frozenset(
    {"code/inference.py", "registered_model_meta", "sagemaker_inference_specification.json"}
)
WRAPPER_FOLDERS = ("code/bridge_server/",)
WRAPPER_GROUP = re.compile(r"sagemaker_evaluation_group_[^/]*\.json")

_PREFIX = "sha256:"
_CHUNK_BYTES = 1024 * 1024
_IDENTITY_KEYS = (b"run_id:", b"model_id:", b"model_uuid:", b"artifact_path:")


class ModelDigest:
    """Gathers the members of a payload, in any order."""

    def __init__(self) -> None:
        self._members: dict[str, bytes] = {}

    def add(self, path: str, content: IO[bytes]) -> None:
        """Take a member and read its bytes to the end; only ``MLmodel`` is held in memory."""
        path = _normal(path)
        if path == MLMODEL:
            self._put(path, hashlib.sha256(without_identity(content.read())).digest())
            return
        digest = hashlib.sha256()
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
        self._put(path, digest.digest())

    def add_known(self, path: str, digest: str) -> None:
        """Take a member by the digest of its bytes (``sha256:…``), for which ``needs_bytes`` is false."""
        path = _normal(path)
        assert not needs_bytes(path), "the digest of MLmodel is not that of its bytes"
        self._put(path, bytes.fromhex(digest.removeprefix(_PREFIX)))

    def text(self) -> str:
        """Return the digest of what was taken so far: ``sha256:`` and 64 hexadecimal digits."""
        return _PREFIX + hashlib.sha256(b"".join(sorted(self._members.values()))).hexdigest()

    def _put(self, path: str, content: bytes) -> None:
        if not is_wrapper(path):
            name = path.encode(errors="surrogateescape")
            self._members[path] = hashlib.sha256(content + name).digest()


def digest_of_path(path: Path) -> str:
    """Return the digest of a folder, or of a single file, of this machine.

    Symbolic links to files are followed; those to folders are not.

    Raises:
        NotFound: There is nothing at the path.
        InvalidInput: It is neither a file nor a folder, or a member cannot be read.
    """
    digest = ModelDigest()
    for name, file in files_of(path):
        try:
            with file.open("rb") as content:
                digest.add(name, content)
        except OSError as error:
            raise InvalidInput(
                f"{file} cannot be read: {error.strerror}", operation="models", hint="make it readable"
            ) from error
    return digest.text()


def digest_of_members(members: Iterable[tuple[str, IO[bytes]]]) -> str:
    """Return the digest of members that come as (path, stream), for example out of a tar file."""
    digest = ModelDigest()
    for path, content in members:
        digest.add(path, content)
    return digest.text()


def files_of(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the relative name and the place of every member of a folder, or of a single file.

    Raises:
        NotFound: There is nothing at the path.
        InvalidInput: It is neither a file nor a folder, or holds what is neither, or what cannot be read.
    """
    if path.is_file():
        yield path.name, path
        return
    if not path.exists():
        raise NotFound(f"there is no model at {path}", operation="models", hint="name a file or a folder")
    if not path.is_dir():
        raise InvalidInput(
            f"{path} is neither a file nor a folder", operation="models", hint="name a file or a folder"
        )
    for parent, folders, names in os.walk(path, onerror=_refuse_unreadable):
        folders.sort()
        for name in sorted(names):
            file = Path(parent) / name
            if not file.is_file():  # reading a pipe would wait for ever
                raise InvalidInput(
                    f"{file} is no file that can be read", operation="models", hint="take it out of the model"
                )
            yield file.relative_to(path).as_posix(), file


def _refuse_unreadable(error: OSError) -> None:
    """Raise for a folder that would otherwise be passed over."""
    raise InvalidInput(
        f"{error.filename} cannot be read: {error.strerror}", operation="models", hint="make it readable"
    ) from error


def needs_bytes(path: str) -> bool:
    """Tell whether a member's bytes are needed, not only the digest of them."""
    return _normal(path) == MLMODEL


def is_wrapper(path: str) -> bool:
    """Tell whether a member is put around a payload rather than being part of it."""
    is_known = path in WRAPPER_FILES or path.startswith(WRAPPER_FOLDERS)
    return is_known or WRAPPER_GROUP.fullmatch(path) is not None


def without_identity(mlmodel: bytes) -> bytes:
    """Return the bytes of an ``MLmodel`` file without the ids of run and model."""
    kept: list[bytes] = []
    is_dropping = False
    for line in mlmodel.splitlines(keepends=True):
        is_continued = line[:1] in (b" ", b"\t")
        is_dropping = line.startswith(_IDENTITY_KEYS) or (is_dropping and is_continued)
        if not is_dropping:
            kept.append(line)
    return b"".join(kept)


def _normal(path: str) -> str:
    return path.removeprefix("./")

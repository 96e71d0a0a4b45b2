"""What others linked as outputs of a component, beside the files of a run that lie in our bucket.

AWS's SDK and jobs keep files anywhere in S3 and link them by name. For a reader such a name is a file or a
folder at the top of the run, where the run has none of that name. A link to anything but S3 is no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

from trackbridge.errors import AuthError, NotFound, Rejected
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry, Files
from trackbridge_adapters.sagemaker.arn import ADAPTER

SCHEME = "s3://"


class LinkedFiles(Files):
    """Files of a run for readers.

    Args:
        own: Those in our bucket.
        links: Returns the addresses that are linked now, by name.
        opened: Returns the files below an ``s3://`` address.
    """

    keeps_digests = True
    may_collide = False

    def __init__(
        self, own: Files, links: Callable[[], Mapping[str, str]], opened: Callable[[str], Files]
    ) -> None:
        self.root = own.root
        self._own = own
        self._links = links
        self._opened = opened

    def problem(self, path: str) -> str | None:
        """Return why the store cannot hold a path."""
        return self._own.problem(path)

    def address(self, path: str) -> str:
        """Return where the bytes of a path lie."""
        name, _, below = path.partition("/")
        target = self._links().get(name, "")
        own = self._own.address(name)
        if not target.startswith(SCHEME) or target.rstrip("/") == own or self._own.find(name) is not None:
            return self._own.address(path)
        return f"{target.rstrip('/')}/{below}".rstrip("/")

    def held(self, path: str) -> Entry | None:
        """Return what is at a path."""
        return self.find(path)

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        """Write to our bucket."""
        return self._own.put(path, source, digest=digest, size=size)

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        try:
            return self._own.open(path)
        except NotFound:
            found = self._theirs(path)
            if found is None:
                raise
        return found[0].open(found[1])

    def find(self, path: str) -> Entry | None:
        """Return what is at a path."""
        entry = self._own.find(path)
        found = self._theirs(path) if entry is None else None
        if found is None:
            return entry
        entry = found[0].find(found[1])
        return None if entry is None else replace(entry, name=path.rpartition("/")[2])

    def children(self, folder: str) -> Sequence[Entry]:
        """Return what lies directly in a folder."""
        entries = list(self._own.children(folder))
        if not folder:
            known = {entry.name for entry in entries}
            return [*entries, *self._linked(known)]
        found = self._theirs(folder) if not entries else None
        return entries if found is None else found[0].children(found[1])

    def delete(self, path: str, entry: Entry) -> None:
        """Delete what lies in our bucket; of what lies elsewhere only the link goes, by whoever calls."""
        if self._own.find(path) is not None:
            self._own.delete(path, entry)
        elif "/" in path:
            raise Rejected(
                "the artifact lies where somebody else has put it",
                adapter=ADAPTER,
                operation="artifacts.delete",
                resource=self.address(path),
                hint="delete it there, or the whole link that leads to it",
            )

    def digest(self, path: str) -> str | None:
        """Return the digest that is kept beside the bytes."""
        found = self._theirs(path) if self._own.find(path) is None else None
        return self._own.digest(path) if found is None else found[0].digest(found[1])

    def presign(self, path: str, expires_s: int) -> str:
        """Return an address that anybody can read from for so many seconds."""
        found = self._theirs(path) if self._own.find(path) is None else None
        return self._own.presign(path, expires_s) if found is None else found[0].presign(found[1], expires_s)

    def _theirs(self, path: str) -> tuple[Files, str] | None:
        """Return the linked files that a path leads into, and the rest of the path."""
        name, _, below = path.partition("/")
        target = self._links().get(name, "")
        if not target.startswith(SCHEME) or target.rstrip("/") == self._own.address(name):
            return None
        return self._opened(target), below

    def _linked(self, known: set[str]) -> Iterator[Entry]:
        for name in sorted(set(self._links()) - known):
            found = self._theirs(name) if "/" not in name else None
            if found is None:
                continue
            try:
                entry = found[0].find("")
            except NotFound:  # the bucket is gone
                continue
            except AuthError:  # that it is linked can be told all the same
                entry = Entry(name, digest="")
            if entry is not None:
                yield replace(entry, name=name)

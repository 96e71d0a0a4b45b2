"""Files that go from one store to another without a disk between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable

from trackbridge.domain.artifacts import ArtifactInfo

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Original(Protocol):
    """A file as it was when it was looked at: bytes of any other state of it are refused."""

    address: str
    """The store's own address."""
    size: int
    """Bytes."""
    version: str
    """What changes with the bytes; "" where the store tells nothing of the kind."""
    digest: str | None
    """``sha256:…`` where the store keeps one."""

    @abstractmethod
    def read(self, start: int) -> Iterator[Buffer]:
        """Yield the bytes from a place on, in blocks of any length.

        Raises:
            NotFound: The file is gone.
            Conflict: It holds other bytes by now.
            Transient: The connection broke; a call that begins where it broke goes on.
        """
        ...


class Replica(Protocol):
    """Where a file is to lie; nothing is seen there until all of it is. Several threads call ``send``."""

    address: str
    """The store's own address."""
    parts_max: int
    """How many parts a file may have."""

    @abstractmethod
    def held(self) -> tuple[int, str | None] | None:
        """Return size and digest of the file that is there; None where there is none."""
        ...

    @abstractmethod
    def whole(self, content: bytes, digest: str) -> str:
        """Write a small file and return its version."""
        ...

    @abstractmethod
    def begin(self, count: int, digest: str) -> str:
        """Begin a file of so many parts and return the id of the upload.

        Args:
            count: Parts.
            digest: Of all bytes; "" where it is not known yet.

        Raises:
            Rejected: The store takes no parts here.
        """
        ...

    @abstractmethod
    def knows(self, upload: str) -> bool:
        """Tell whether parts can still be added to an upload that was begun earlier."""
        ...

    @abstractmethod
    def send(self, upload: str, number: int, content: bytes) -> str:
        """Send a part, the first has number 1, and return the tag that the store gives it."""
        ...

    @abstractmethod
    def complete(self, upload: str, tags: list[str], digest: str) -> str:
        """Make the file of all parts, at once, and return its version."""
        ...

    @abstractmethod
    def abort(self, upload: str) -> None:
        """Let the store drop the parts."""
        ...

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
        ...


@runtime_checkable
class StreamedArtifacts(Protocol):
    """What an artifact store has beside its port when its files can go in a stream.

    One attempt each, as for the port; what they hand out makes one attempt as well.
    """

    @abstractmethod
    def original(self, run_id: str, path: str) -> Original:
        """Return a file for reading.

        Raises:
            NotFound: There is no such file (a folder is not a file).
        """
        ...

    @abstractmethod
    def replica(self, run_id: str, path: str) -> Replica | None:
        """Return the place for a file; None where this run's store takes a file from this machine only.

        Raises:
            NotFound: There is no such run, where the store knows runs.
            Rejected: The path is both a file and a folder, or the store cannot hold it.
        """
        ...


@runtime_checkable
class AddressedArtifacts(Protocol):
    """What an artifact store has beside its port when it reads files that are no run's.

    They have addresses of the backend's own, such as those of models that others registered there.
    """

    @abstractmethod
    def reads(self, address: str) -> bool:
        """Tell whether an address is of a kind that is read here; nobody is asked."""
        ...

    @abstractmethod
    def address_for_registry(self, address: str, *, is_elsewhere: bool) -> str:
        """Return an address as a registry is to be given it: one elsewhere needs the place in it.

        Raises:
            ConfigError: The address leaves open of which place it is, and nothing here says it.
        """
        ...

    @abstractmethod
    def known_digest_at(self, address: str) -> str | None:
        """Return the digest of a model where it was kept when it was registered at that address, else None.

        Raises:
            NotFound: There is no such version.
        """
        ...

    @abstractmethod
    def members_at(self, address: str) -> list[tuple[str, ArtifactInfo]]:
        """Return the files at an address: the name within it, and what to open.

        Raises:
            NotFound: There is nothing.
            ConfigError: It is of a place that this store does not see.
        """
        ...

    @abstractmethod
    def open_at(self, address: str, path: str) -> BinaryIO:
        """Open a file at an address, by the path that ``members_at`` gave; the caller closes it.

        Raises:
            NotFound: There is no such file.
        """
        ...

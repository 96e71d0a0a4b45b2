"""Where the files of runs go."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import BinaryIO, Protocol

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.paging import Page
from trackbridge.ports.capabilities import Feature, needs


class ArtifactStore(Protocol):
    """Files of runs, addressed by run id and relative path.

    Same rules as for TrackingStore: one attempt, any thread, only ``trackbridge.errors``, every write
    repeatable. Paths are checked by ``domain.artifacts.checked_path`` before they reach a store; a store
    refuses what it cannot hold with ``Rejected`` and never writes outside of the run's own folder.
    """

    # Required.

    @abstractmethod
    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        """Store the bytes of a local file, which does not change during the call.

        The same digest at the same path is a no-op. Another digest replaces the old bytes at once:
        a reader sees the whole old or the whole new file. ``digest`` is ``sha256:…`` of the bytes.

        Raises:
            NotFound: There is no such run, where the store knows runs.
            Rejected: The bytes read do not have the digest or the size, the path is both a file and a
                folder, or the store cannot hold the path.
        """
        ...

    @abstractmethod
    def open(self, run_id: str, path: str) -> BinaryIO:
        """Open a file for reading; the caller closes it.

        Raises:
            NotFound: There is no such file (a folder is not a file).
        """
        ...

    @abstractmethod
    def stat(self, run_id: str, path: str) -> ArtifactInfo:
        """Describe a file or folder, with its size and, where known, its digest.

        Raises:
            NotFound: There is no such path.
        """
        ...

    @abstractmethod
    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        """List the direct children of a folder ("" is the root) in order of path.

        A folder that does not exist is empty. A prefix that is a file lists that file alone.

        Raises:
            InvalidInput: ``token`` was not given out by this listing.
        """
        ...

    # Optional.

    @needs(Feature.ARTIFACTS_DELETE)
    @abstractmethod
    def delete(self, run_id: str, path: str) -> None:
        """Delete a file, or a folder with all in it. Deleting what is absent succeeds."""
        ...

    @needs(Feature.ARTIFACTS_PRESIGN)
    @abstractmethod
    def presign(self, run_id: str, path: str, *, expires_s: int) -> str:
        """Return an address that anybody can read the file from for so many seconds.

        Raises:
            NotFound: There is no such file.
        """
        ...

    @needs(Feature.ARTIFACTS_RESUMABLE_UPLOAD)
    @abstractmethod
    def put_resumable(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path
    ) -> ArtifactInfo:
        """Do as ``put`` in parts, noting finished parts in the file ``state``.

        Called again with the same arguments after an interruption it sends only the missing parts;
        once done it removes ``state``. Where a run's store keeps no parts, it does as ``put``.
        """
        ...

"""The files of runs in the bucket, and links to them where Studio looks for a run's outputs.

Small new files go by one request, on the condition that nothing is there; large ones in parallel parts that
are kept, so that after a kill only the missing ones are sent. The digest lies beside the bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.paging import Page
from trackbridge.errors import AuthError
from trackbridge.ports.capabilities import Capabilities
from trackbridge.transport.buckets import require_obstore
from trackbridge_adapters._mlflow_rest.artifacts import StoredArtifacts
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters._mlflow_rest.artifacts_places import parts_in, s3_keys, s3_store
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.artifacts_addressed import AddressedFiles
from trackbridge_adapters.sagemaker.artifacts_linked import SCHEME, LinkedFiles
from trackbridge_adapters.sagemaker.artifacts_links import Links
from trackbridge_adapters.sagemaker.backend import Backend

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles

Result = TypeVar("Result")


class Runs(Protocol):
    """What is asked of the tracking store."""

    @abstractmethod
    def component_of(self, run_id: str) -> str:
        """Return the name of a run's trial component.

        Raises:
            NotFound: There is no such run.
        """
        ...

    @abstractmethod
    def artifacts_prefix(self, run_id: str) -> str:
        """Return below which key of the bucket a run's files lie.

        Raises:
            NotFound: There is no such run.
        """
        ...


class SageMakerArtifacts(AddressedFiles, StoredArtifacts):
    """Files of the runs of one place, and of models that others registered there.

    Args:
        backend: The place.
        runs: Knows which runs there are.
    """

    def __init__(self, backend: Backend, runs: Runs) -> None:
        super().__init__(ADAPTER, backend.context.home)
        self._backend = backend
        self._runs = runs
        self._links = Links(backend.clients, runs.component_of, backend.context.clock_ms)

    def _place_of(self, run_id: str) -> Files:
        bucket, folder = self._backend.bucket, self._runs.artifacts_prefix(run_id)
        store, clock_ms = bucket.store(write=False), self._backend.context.clock_ms
        from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles

        return ObjectFiles(
            store,
            bucket.address(folder),
            bucket.key(folder),
            adapter=ADAPTER,
            parts_of=parts_in(
                store,
                lambda: s3_keys(bucket.options),
                clock_ms,
                adapter=ADAPTER,
                verify=self._backend.access.verify,
            ),
            creates=True,
        )

    def _files_to_read(self, run_id: str, path: str) -> Files | None:
        own = super()._files_to_read(run_id, path)
        if own is None:
            return None
        return LinkedFiles(own, lambda: self._links.addresses(run_id), self._files_at)

    def _files_at(self, address: str) -> ObjectFiles:
        """Return the files below any address in S3."""
        require_obstore(extra="aws", adapter=ADAPTER)
        from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles

        name, _, prefix = address.removeprefix(SCHEME).partition("/")
        bucket = self._backend.bucket
        store = bucket.store(write=False) if name == bucket.name else s3_store(name, bucket.options)
        return ObjectFiles(store, address, prefix, adapter=ADAPTER)

    def _declared(self) -> Capabilities:
        return self._backend.capabilities

    def _put(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path | None
    ) -> ArtifactInfo:
        self._backend.bucket.store(write=True)
        put = partial(super()._put, run_id, path, file, digest=digest, size=size, state=state)
        info = self._with_good_keys(put)
        name, _, below = path.partition("/")
        root = self._files_of(run_id).address(name)
        self._links.add(run_id, name, f"{root}/" if below else root)
        return info

    def open(self, run_id: str, path: str) -> BinaryIO:
        """Do as the port says."""
        return self._with_good_keys(partial(super().open, run_id, path))

    def stat(self, run_id: str, path: str) -> ArtifactInfo:
        """Do as the port says."""
        return self._with_good_keys(partial(super().stat, run_id, path))

    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        """Do as the port says."""
        found = partial(super().list, run_id, prefix, max_results=max_results, token=token)
        return self._with_good_keys(found)

    def delete(self, run_id: str, path: str) -> None:
        """Do as the port says, and take away the link to what is gone."""
        self._with_good_keys(partial(super().delete, run_id, path))
        name = path.partition("/")[0]
        own = super()._files_to_read(run_id, name)
        if own is not None and self._links.knows(run_id, name) and own.find(name) is None:
            self._links.remove(run_id, name)

    def _with_good_keys(self, work: Callable[[], Result]) -> Result:
        """Work; once more with other keys, where there are some and S3 refuses those in use."""
        used = self._backend.bucket.keys_in_use
        try:
            return work()
        except AuthError as error:
            if not self._backend.bucket.renewed(error, used):
                raise
        self._files.clear()  # the stores in there have the old keys
        return work()

"""What a package says of a version's files and metrics: where they lie in S3, as they are or packed.

A folder of MLflow is used in place, uncompressed (``ModelDataSource`` with an ``S3Prefix``): nothing is
uploaded again. A container needs an image, so that only with the option ``image`` there is an inference
specification; without it the package says where the model lies, and a deployment adds the rest.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from trackbridge.domain.artifacts import ArtifactInfo, split_artifact_uri
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.runs import Run
from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError, NotFound, Rejected
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.tracking import TrackingStore
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import Bucket
from trackbridge_adapters.sagemaker.limits import fits
from trackbridge_adapters.sagemaker.registry_native import SERVICE
from trackbridge_adapters.sagemaker.registry_projection import inference
from trackbridge_adapters.sagemaker.registry_records import FOLDER
from trackbridge_adapters.sagemaker.registry_settings import RegistrySettings

ARCHIVE = ".tar.gz"
OPERATION = "CreateModelPackage"
JSON_TYPE = "application/json"
COMMIT_TAG, REPOSITORY_TAG = "mlflow.source.git.commit", "mlflow.source.git.repoURL"


@dataclass(frozen=True, slots=True)
class Placed:
    """Files in S3: the address of a folder (it ends with a slash), or of one file."""

    address: str
    is_folder: bool


class Payloads:
    """Looks for payloads. Any thread may use it.

    Args:
        bucket: Where files of runs lie, and archives and metrics are put.
        artifacts: The files of runs.
        tracking: The runs, for their metrics; None says nothing about metrics.
        settings: What packages say beyond their model.
    """

    def __init__(
        self,
        bucket: Bucket,
        artifacts: ArtifactStore,
        tracking: TrackingStore | None,
        settings: RegistrySettings,
    ) -> None:
        self._bucket = bucket
        self._artifacts = artifacts
        self._tracking = tracking
        self._settings = settings

    def described(self, spec: ModelVersionSpec, folder: str) -> dict[str, Any]:
        """Return what the request for a package says of its payload.

        Args:
            spec: The version.
            folder: Of the model's record, below ``registry/``.

        Raises:
            NotFound: There is nothing at the source.
            Rejected: It is to be packed and cannot be.
        """
        placed = self._placed(spec.source)
        address = spec.source if placed is None else placed.address
        request: dict[str, Any] = {}
        if fits(SERVICE, OPERATION, "SourceUri", address):
            request["SourceUri"] = address
        if placed is not None and self._settings.image:
            source = self._data_source(placed, spec, folder)
            request["InferenceSpecification"] = inference(
                self._settings.image, self._settings.instance_types, source
            )
        return request | self._of_run(spec, folder)

    # Where it lies.

    def _placed(self, source: str) -> Placed | None:
        """Return where a payload lies; None where that is not S3, and cannot be looked at from here."""
        artifact = split_artifact_uri(source)
        if artifact is not None:
            return self._of_artifact(*artifact, source)
        if not source.startswith("s3://"):
            return None
        if source.startswith(f"{self._bucket.root}/"):
            return self._of_own(source)
        is_folder = not source.endswith(ARCHIVE)
        return Placed(f"{source.rstrip('/')}/" if is_folder else source, is_folder)

    def _of_artifact(self, run_id: str, path: str, source: str) -> Placed:
        if path:
            try:
                info = self._artifacts.stat(run_id, path)
            except (NotFound, Rejected) as error:  # a text that can be no run's id
                raise _nothing_at(source) from error
            address = str(info.native_uri).rstrip("/")
            return Placed(f"{address}/" if info.is_dir else address, info.is_dir)
        try:
            first = next(iter(self._artifacts.list(run_id, max_results=1)), None)
        except (NotFound, Rejected) as error:
            raise _nothing_at(source) from error
        if first is None:
            raise _nothing_at(source)
        return Placed(str(first.native_uri).rstrip("/").removesuffix(first.path), is_folder=True)

    def _of_own(self, source: str) -> Placed:
        key = source[len(self._bucket.root) + 1 :].rstrip("/")
        below = next(self._bucket.list(key), None) if key else None
        if below is not None and below != key:
            return Placed(f"{self._bucket.address(key)}/", is_folder=True)
        if not key or self._bucket.get(key) is None:
            raise _nothing_at(source)
        return Placed(self._bucket.address(key), is_folder=False)

    def _data_source(self, placed: Placed, spec: ModelVersionSpec, folder: str) -> dict[str, str]:
        if placed.is_folder and self._settings.archive:
            address = self._packed(spec, folder)
            return {"S3Uri": address, "S3DataType": "S3Object", "CompressionType": "Gzip"}
        compression = "Gzip" if placed.address.endswith(ARCHIVE) else "None"
        kind = "S3Prefix" if placed.is_folder else "S3Object"
        return {"S3Uri": placed.address, "S3DataType": kind, "CompressionType": compression}

    # Packed.

    def _packed(self, spec: ModelVersionSpec, folder: str) -> str:
        """Pack the files of a folder, where that was not done yet; return the archive's address.

        Equal files give equal archives, so that packing again after an interruption changes nothing.
        """
        artifact = split_artifact_uri(spec.source)
        if artifact is None:
            raise Rejected(
                f"{shown(spec.source, chars_max=200)!r} cannot be packed: it is no artifact of a run here",
                adapter=ADAPTER,
                hint="log the model as an artifact, or leave out the option model_archive",
            )
        name = hashlib.sha256(f"{spec.source}\n{spec.digest}".encode()).hexdigest()
        key = f"{FOLDER}/{folder}/archives/{name}/model{ARCHIVE}"
        if next(self._bucket.list(f"{FOLDER}/{folder}/archives/{name}"), None) is None:
            with tempfile.TemporaryFile() as file:
                self._pack(*artifact, file)
                self._bucket.put_file(key, file)
        return self._bucket.address(key)

    def _pack(self, run_id: str, path: str, file: IO[bytes]) -> None:
        with (
            gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            for info in self._files(run_id, path):
                member = tarfile.TarInfo(info.path[len(path) :].lstrip("/"))
                member.size, member.mode = info.file_size or 0, 0o644
                with closing(self._artifacts.open(run_id, info.path)) as content:
                    archive.addfile(member, content)

    def _files(self, run_id: str, path: str) -> Iterator[ArtifactInfo]:
        """Yield the files below a folder, in order of path."""
        token: str | None = None
        while True:
            page = self._artifacts.list(run_id, path, token=token)
            for info in page:
                if info.is_dir:
                    yield from self._files(run_id, info.path)
                else:
                    yield info
            token = page.token
            if token is None:
                return

    # What the run tells.

    def _of_run(self, spec: ModelVersionSpec, folder: str) -> dict[str, Any]:
        """Return where the code came from, and the run's metrics, which are put into S3 for that."""
        run = self._run(spec.run_id)
        if run is None:
            return {}
        told = {
            "GeneratedBy": f"run {run.info.run_id}",
            "CommitId": run.data.tags.get(COMMIT_TAG, ""),
            "Repository": run.data.tags.get(REPOSITORY_TAG, ""),
        }
        request: dict[str, Any] = {
            "MetadataProperties": {
                name: text
                for name, text in told.items()
                if text and fits(SERVICE, OPERATION, f"MetadataProperties.{name}", text)
            }
        }
        if run.data.metrics:
            request["ModelMetrics"] = {"ModelQuality": {"Statistics": self._statistics(run, folder)}}
        return request

    def _run(self, run_id: str | None) -> Run | None:
        if run_id is None or self._tracking is None:
            return None
        try:
            return self._tracking.get_run(run_id)
        except (NotFound, Rejected):  # a run of another backend
            return None

    def _statistics(self, run: Run, folder: str) -> dict[str, str]:
        values = {key: {"value": _number(value)} for key, value in sorted(run.data.metrics.items())}
        data = msgspec.json.encode({"version": 0.0, "metrics": values})
        digest = hashlib.sha256(data).hexdigest()
        # Named by its content: it is not changed by what the run logs later.
        key = f"{FOLDER}/{folder}/metrics/{digest}.json"
        self._bucket.put(key, data)
        return {
            "ContentType": JSON_TYPE,
            "ContentDigest": f"sha256:{digest}",
            "S3Uri": self._bucket.address(key),
        }


def _number(value: float) -> float | str:
    """Return a value as JSON can have it; AWS's own files have "NaN" and "Infinity" as texts."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else f"{'-' if value < 0 else ''}Infinity"


def _nothing_at(source: str) -> BridgeError:
    return NotFound(
        f"nothing lies at {shown(source, chars_max=200)!r}",
        adapter=ADAPTER,
        hint="log the model first; 'bridge sync status' shows what was not delivered yet",
    )

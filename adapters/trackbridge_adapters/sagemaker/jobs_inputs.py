"""Where a job's inputs lie in S3: addresses as they are, files of this machine once they are uploaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.domain.file_uris import file_path
from trackbridge.domain.model_references import RegisteredReference, parse_model_reference
from trackbridge.errors import AuthError, BridgeError, InvalidInput, NotFound, Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.artifacts_linked import SCHEME
from trackbridge_adapters.sagemaker.backend import Backend

if TYPE_CHECKING:
    from trackbridge_adapters.sagemaker.registry import SageMakerRegistry
    from trackbridge_adapters.sagemaker.tracking import SageMakerTracking

RUNS, MODELS, ARTIFACTS = "runs:/", "models:/", "bridge-artifacts:/"
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input: its address in S3, and the name of the file, where it is one and not a folder.

    ``local`` holds the files that are uploaded there first, by their paths below the address.
    """

    address: str
    file: str = ""
    local: tuple[tuple[str, str], ...] = ()


class Inputs:
    """Finds inputs.

    Args:
        backend: The place.
        tracking: For ``runs:/``.
        registry: For ``models:/``.
    """

    def __init__(self, backend: Backend, tracking: SageMakerTracking, registry: SageMakerRegistry) -> None:
        self._backend = backend
        self._tracking = tracking
        self._registry = registry

    def find(self, name: str, text: str) -> Input:
        """Return where an input is, having looked that it is there.

        Raises:
            Rejected: It is not there, or not where jobs of SageMaker can read it.
        """
        try:
            if text.startswith(SCHEME):
                return self._in_s3(text)
            if text.startswith((RUNS, ARTIFACTS)):
                run_id, _, path = text.partition(":/")[2].lstrip("/").partition("/")
                return self._in_s3(self._address_of(run_id, path))
            if text.startswith(MODELS):
                return self._in_s3(self._model(text))
            if text.startswith("file:"):
                return self._local(str(file_path(text)))
            if ":" not in text.partition("/")[0]:
                return self._local(text)
        except (NotFound, InvalidInput) as error:
            raise _wrong(name, f"{text}: {error.message}", error.hint or "check the address") from error
        raise _wrong(
            name,
            f"jobs of SageMaker cannot read {text}",
            "copy it first, and give the copy: s3://BUCKET/KEY, or a folder of this machine",
        )

    def _in_s3(self, address: str) -> Input:
        bucket, _, key = address.removeprefix(SCHEME).partition("/")
        try:
            if key and not key.endswith("/"):
                if self._first(bucket, key) == key:
                    return Input(address=address, file=key.rpartition("/")[2])
                key += "/"
            if self._first(bucket, key) is None:
                raise NotFound("there is nothing", hint="check it: aws s3 ls " + address)
        except AuthError:  # the job's role may be allowed more
            name = key.rpartition("/")[2]
            return Input(address=address, file=name if "." in name else "")
        return Input(address=f"{SCHEME}{bucket}/{key}")

    def _first(self, bucket: str, prefix: str) -> str | None:
        found = self._backend.clients.call("s3", "ListObjectsV2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
        return next((str(row["Key"]) for row in found.get("Contents", ())), None)

    def _address_of(self, run_id: str, path: str) -> str:
        prefix = self._tracking.artifacts_prefix(run_id)
        return self._backend.bucket.address(f"{prefix}/{path}" if path else prefix)

    def _model(self, text: str) -> str:
        reference = parse_model_reference(text)
        if not isinstance(reference, RegisteredReference):
            raise NotFound("that names no model", hint="write models:/NAME/3 or models:/NAME@ALIAS")
        number = reference.version
        if reference.alias is not None:
            number = self._registry.get_model(reference.name).aliases.get(reference.alias)
        if number is None:
            raise NotFound("there is no such version", hint="write models:/NAME/3 or models:/NAME@ALIAS")
        version = self._registry.get_version(reference.name, number)
        source = version.source
        if source.startswith(ARTIFACTS):
            run_id, _, path = source.removeprefix(ARTIFACTS).lstrip("/").partition("/")
            return self._address_of(run_id, path)
        if not source.startswith(SCHEME):
            raise NotFound(f"its files are at {source}", hint="register a copy that lies in S3")
        return source

    def _local(self, path: str) -> Input:
        files = tuple(_files_below(path))
        if not files:
            raise NotFound("there is nothing on this machine", hint="name a file or a folder with files")
        address = self._backend.bucket.address(f"inputs/{_digest(files)}")
        name = files[0][0] if os.path.isfile(path) else ""
        return Input(address=f"{address}/{name}", file=name, local=files)


def _files_below(path: str) -> Iterator[tuple[str, str]]:
    """Yield what lies there: the path below it, and the file."""
    if os.path.isfile(path):
        yield Path(path).name, path
        return
    for root, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(root, name)
            yield Path(file).relative_to(path).as_posix(), file


def _digest(files: tuple[tuple[str, str], ...]) -> str:
    total = hashlib.sha256()
    for below, path in files:
        content = hashlib.sha256()
        try:
            with open(path, "rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    content.update(piece)
        except OSError as error:
            raise Rejected(
                f"a file of the inputs cannot be read: {error}",
                adapter=ADAPTER,
                resource=path,
                hint="make it readable",
            ) from error
        total.update(f"{below}\0{content.hexdigest()}\n".encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def _wrong(name: str, message: str, hint: str) -> BridgeError:
    return Rejected(f"the input {name}: {message}", adapter=ADAPTER, operation="jobs.check", hint=hint)

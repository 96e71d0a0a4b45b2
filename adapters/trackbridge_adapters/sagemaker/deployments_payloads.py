"""Models in S3: used where they lie when that is S3, else uploaded once for each content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import Bucket

FOLDER = "payloads"
SCHEME = "s3://"
UPLOADS_AT_ONCE = 8
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+")
_SAFE = re.compile(r"[a-zA-Z0-9]{1,128}")


def can_read(source: str) -> bool:
    """Tell whether SageMaker fetches a model from an address itself."""
    return _S3.fullmatch(source) is not None


class Payloads:
    """The models of a place that were brought from elsewhere. Any thread may use it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def address_of(self, spec: DeploymentSpec, payload: Path | None) -> str:
        """Return where in S3 a deployment's model lies, uploading it when it is not there yet.

        A mark is written last, beside the folder, so that an upload which broke off is made again.

        Raises:
            Rejected: It did not come along, and is not there; or it is no folder.
        """
        if can_read(spec.model_source):
            return spec.model_source
        digest = spec.model_digest or (_digest(payload) if payload is not None else "")
        name = digest.rpartition(":")[2]
        if not _SAFE.fullmatch(name):
            name = hashlib.sha256(digest.encode()).hexdigest()
        folder, mark = f"{FOLDER}/{name}", f"{FOLDER}/{name}.complete"
        if digest and self._bucket.get(mark) is not None:
            return self._bucket.address(folder)
        if payload is None:
            raise _rejected(
                "the change brings a model, and its payload did not come along",
                "hand over the folder that holds the model",
            )
        if not payload.is_dir():
            raise _rejected(f"{payload} is not a folder", "hand over the folder that holds the model")
        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
            list(pool.map(lambda path: self._put(folder, payload, path), _files(payload)))
        self._bucket.put(mark, b"")
        return self._bucket.address(folder)

    def _put(self, folder: str, payload: Path, path: Path) -> None:
        with open(path, "rb") as file:
            self._bucket.put_file(f"{folder}/{path.relative_to(payload).as_posix()}", file)


def _files(payload: Path) -> Iterator[Path]:
    yield from sorted(path for path in payload.rglob("*") if path.is_file())


def _digest(payload: Path) -> str:
    total = hashlib.sha256()
    for path in _files(payload):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content} {path.relative_to(payload).as_posix()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _rejected(message: str, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation="deployments.apply", hint=hint)

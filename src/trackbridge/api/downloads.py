"""Files of runs on this machine: whole, and with the bytes that were logged, or not there at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import Rejected, Unavailable
from trackbridge.ports.artifacts import ArtifactStore

BLOCK_BYTES = 1024 * 1024


def download_file(artifacts: ArtifactStore, run_id: str, info: ArtifactInfo, target: Path) -> Path:
    """Bring a file here; it takes its name when all of it has come and was checked.

    Args:
        artifacts: Has the file.
        run_id: Of the file.
        info: As ``list`` or ``stat`` told of it.
        target: Where it goes; folders are made.

    Raises:
        Rejected: The bytes are not those that were logged.
        Unavailable: Fewer bytes came than the file has.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name[:200]}.part")
    digest, size = hashlib.sha256(), 0
    with artifacts.open(run_id, info.path) as source, draft.open("wb") as copy:
        while block := source.read(BLOCK_BYTES):
            copy.write(block)
            digest.update(block)
            size += len(block)
    found = f"sha256:{digest.hexdigest()}"
    if not _is(info, found, size):
        now = artifacts.stat(run_id, info.path)
        if not _is(now, found, size):  # nor was it replaced since we were told of it
            draft.unlink()
            raise _wrong(now, found, size)
    return draft.replace(target)


def _is(info: ArtifactInfo, digest: str, size: int) -> bool:
    return info.digest == digest if info.digest else info.file_size in (None, size)


def _wrong(info: ArtifactInfo, digest: str, size: int) -> Rejected | Unavailable:
    if info.file_size not in (None, size):
        return Unavailable(
            f"{size:,} of {info.file_size:,} bytes came",
            operation="download_artifacts",
            resource=info.path,
            hint="try again",
        )
    return Rejected(
        f"the bytes have the digest {digest}, and those that were logged {info.digest}",
        operation="download_artifacts",
        resource=info.path,
        hint="somebody changed the file in the store; log it again",
    )

"""The files of a model in an artifact store, and their digest without reading more bytes than needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from trackbridge.domain.artifacts import ArtifactInfo, checked_path
from trackbridge.domain.model_digest import ModelDigest, needs_bytes
from trackbridge.errors import NotFound
from trackbridge.ports.artifacts import ArtifactStore


def payload_members(artifacts: ArtifactStore, run_id: str, path: str) -> list[tuple[str, ArtifactInfo]]:
    """Return the name within the payload, and the description, of each of its files.

    Raises:
        NotFound: There is nothing at the path.
        InvalidInput: The store names a path that leads out of its folder.
    """
    if path:  # else all that a logged model has
        root = artifacts.stat(run_id, checked_path(path))
        if not root.is_dir:
            return [(path.rpartition("/")[2], root)]
    members = [(info.path.removeprefix(f"{path}/"), info) for info in _files(artifacts, run_id, path)]
    for name, _ in members:
        checked_path(name)
    if not members:
        raise NotFound(f"the folder {path!r} is empty", resource=f"run {run_id}", operation="models")
    return sorted(members, key=lambda member: member[0])


def payload_digest(artifacts: ArtifactStore, run_id: str, path: str) -> str:
    """Return the digest of a model; the bytes of files whose digest the store does not know are read.

    Raises:
        NotFound: There is nothing at the path.
    """
    digest = ModelDigest()
    for name, info in payload_members(artifacts, run_id, path):
        if info.digest is not None and not needs_bytes(name):
            digest.add_known(name, info.digest)
            continue
        with contextlib.closing(artifacts.open(run_id, info.path)) as content:
            digest.add(name, content)
    return digest.text()


def known_payload_digest(artifacts: ArtifactStore, run_id: str, path: str) -> str | None:
    """Return the digest of a model where the store knows those of its files, else None.

    Raises:
        NotFound: There is nothing at the path.
    """
    members = payload_members(artifacts, run_id, path)
    if any(info.digest is None and not needs_bytes(name) for name, info in members):
        return None
    return payload_digest(artifacts, run_id, path)


def _files(artifacts: ArtifactStore, run_id: str, folder: str) -> Iterator[ArtifactInfo]:
    token: str | None = None
    while True:
        page = artifacts.list(run_id, folder, token=token)
        for info in page:
            if info.is_dir:
                yield from _files(artifacts, run_id, info.path)
            else:
                yield info
        token = page.token
        if token is None:
            return

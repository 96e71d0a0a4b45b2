"""What the payload of a version is, seen before it is copied, and what that means for the target.

=========================================  =========================================================
at the source                              at the target
=========================================  =========================================================
a folder of MLflow                         the same folder: ``mlflow_model`` in Azure ML, a folder that
                                           containers are given as it is in SageMaker
SageMaker's ``model.tar.gz``, with an      the folder that it holds: a model of MLflow's everywhere
``MLmodel`` in it
``model.tar.gz`` with code of its own      the folder that it holds, as plain files (``custom_model`` in
(``code/inference.py``), or with none      Azure ML); that the container which loads it stays behind is told
Azure ML's custom model, file or folder    the same files
=========================================  =========================================================

The content digest is that of what the archive holds, so it stays the same whichever of these it becomes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import Enum
from typing import IO, BinaryIO

from trackbridge.domain.artifacts import ArtifactInfo, split_artifact_uri
from trackbridge.domain.migration import Loss, Treatment
from trackbridge.domain.model_digest import MLMODEL
from trackbridge.domain.models import ModelVersion
from trackbridge.errors import BridgeError
from trackbridge.operations.migrate.side import Side
from trackbridge.operations.model_archives import is_archive, members_of_archive
from trackbridge.operations.model_payloads import Source, at_registry, is_packed, source_of

INFERENCE = "code/inference.py"
"""Where AWS's containers look for the code that loads a model."""
LOOK_BYTES_MAX = 64 * 1024 * 1024
"""A larger archive is not read while planning: it is copied, and seen then."""


class Format(str, Enum):
    """What a payload that lies in no run is."""

    MLFLOW = "mlflow"
    FILES = "files"
    CODE = "code"
    UNSEEN = "unseen"


class Found:
    """What was seen of a payload. ``inner`` is the folder of an ``MLmodel`` that is not at the top."""

    __slots__ = ("format", "inner", "is_archive", "is_foreign")

    def __init__(self, kind: Format, *, archive: bool, foreign: bool, inner: str = "") -> None:
        self.format = kind
        self.is_archive = archive
        self.is_foreign = foreign
        self.inner = inner

    def losses(self, subject: str) -> Iterator[Loss]:
        """Yield what is done about it."""
        if self.is_archive:
            yield Loss(
                item=subject,
                field="packing",
                treatment=Treatment.REWRITTEN,
                detail=self._packing(),
            )
        reason = self._loading()
        if reason:
            yield Loss(item=subject, field="loading", treatment=Treatment.REFUSED, detail=reason)

    def _packing(self) -> str:
        if self.format is Format.UNSEEN:
            return "its archive is unpacked; what it holds is seen when it is copied"
        return "its archive is unpacked; names and bytes of what it holds are the same"

    def _loading(self) -> str:
        """Return why nothing at the target loads it; "" where something does, or did not before either."""
        if not self.is_foreign or self.format not in (Format.FILES, Format.CODE):
            return ""
        with_code = f", and {INFERENCE} runs only in AWS's containers" if self.format is Format.CODE else ""
        where = f"; one lies in the folder {self.inner!r}" if self.inner else ""
        return (
            f"it has no MLmodel at its top{with_code}{where}: its files are all there, as a custom model, "
            "and the container that loads them (image, environment) stays at the source"
        )


def format_of(side: Side, version: ModelVersion) -> Found | None:
    """Look at the payload of a version; None for one in a run, and where there is nothing to be seen.

    What cannot be read is told when it is copied.
    """
    if split_artifact_uri(version.source) is not None:
        return None
    address = at_registry(version, side.registry).source
    try:
        return _seen(source_of(address, side.artifacts), address)
    except BridgeError:
        return None


def _seen(source: Source, address: str) -> Found:
    members = source.members()
    is_foreign = address.startswith("s3://")
    if len(members) == 1 and is_archive(members[0][0]):
        return _seen_archive(source, members[0][1], packed=is_packed(address))
    return _found([name for name, _ in members], archive=False, foreign=is_foreign)


def _seen_archive(source: Source, info: ArtifactInfo, *, packed: bool) -> Found:
    size = info.file_size
    if size is None or size > LOOK_BYTES_MAX:
        return Found(Format.UNSEEN, archive=packed, foreign=packed)
    with contextlib.closing(source.open(info)) as archive:
        found = _found(list(_names(archive, size)), archive=True, foreign=packed)
    if packed or found.format is Format.MLFLOW:
        return found
    return Found(Format.FILES, archive=False, foreign=False)  # a file like any other


def _names(archive: BinaryIO, size: int) -> Iterator[str]:
    """Yield the names in an archive, no more than needed."""
    members: Iterator[tuple[str, IO[bytes]]] = members_of_archive(archive, packed_bytes=size)
    for name, _ in members:
        yield name
        if name == MLMODEL:
            return


def _found(names: list[str], *, archive: bool, foreign: bool) -> Found:
    if MLMODEL in names:
        return Found(Format.MLFLOW, archive=archive, foreign=foreign)
    inner = next((name[: -len(MLMODEL) - 1] for name in names if name.endswith(f"/{MLMODEL}")), "")
    kind = Format.CODE if INFERENCE in names else Format.FILES
    return Found(kind, archive=archive, foreign=foreign, inner=inner)

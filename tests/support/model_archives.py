"""Archives of models: as AWS's SDK builds them, and such as nobody should be given."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

INFERENCE = b"def model_fn(model_dir):\n    return 1\n"


def repacked(model: Path) -> bytes:
    """Return the archive of a folder as ``sagemaker.utils.repack_model`` builds it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        archive.add(model, arcname="/")
    return made.getvalue()


def archive_of(members: Mapping[str, bytes]) -> bytes:
    """Return an archive of files."""
    return archived(lambda tar: [add(tar, name, content) for name, content in members.items()])


def archived(fill: Callable[[tarfile.TarFile], object], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive that a function has filled."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=form) as archive:
        fill(archive)
    return made.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes = b"x", *, kind: bytes = tarfile.REGTYPE) -> None:
    """Add a member of any kind under any name."""
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    member.size = len(content) if kind == tarfile.REGTYPE else 0
    archive.addfile(member, io.BytesIO(content))

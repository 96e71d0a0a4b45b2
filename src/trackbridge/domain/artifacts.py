"""Files of a run: their paths and what is known of each."""

from __future__ import annotations

import msgspec

from trackbridge.errors import InvalidInput

ARTIFACT_SCHEME = "bridge-artifacts"
PATH_BYTES_MAX = 1024
SEGMENT_BYTES_MAX = 255  # the longest file name on ext4, APFS and NTFS


class ArtifactInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One file or folder of a run.

    ``path`` is relative, with ``/``. ``digest`` is ``sha256:`` and 64 hexadecimal digits, None where the
    store does not know it. A folder has neither size nor digest.
    """

    path: str
    is_dir: bool = False
    file_size: int | None = None
    digest: str | None = None
    native_uri: str | None = None


def artifact_uri(run_id: str, path: str = "") -> str:
    """Return the address of an artifact that stays the same before and after delivery."""
    return f"{ARTIFACT_SCHEME}:/{run_id}/{path}" if path else f"{ARTIFACT_SCHEME}:/{run_id}"


def split_artifact_uri(uri: str) -> tuple[str, str] | None:
    """Return run id and path of such an address ("" is the run's root); None for any other address."""
    if not uri.startswith(f"{ARTIFACT_SCHEME}:"):
        return None
    run_id, _, path = uri.removeprefix(f"{ARTIFACT_SCHEME}:").lstrip("/").partition("/")
    return run_id, path


def checked_path(path: str) -> str:
    """Return the artifact path unchanged, or say why no store may hold it.

    Raises:
        InvalidInput: The path is empty, absolute, climbs (``..``), holds NUL, a backslash or a lone
            surrogate, or is too long.
    """
    problem = _problem(path)
    if problem:
        raise InvalidInput(
            f"artifact path {path[:80]!r} {problem}",
            operation="log_artifact",
            hint="use a relative path such as 'plots/loss.png'",
        )
    return path


def _problem(path: str) -> str | None:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    segments = path.split("/")
    if not path:
        return "is empty"
    if len(encoded) > PATH_BYTES_MAX:
        return f"has {len(encoded)} bytes; the limit is {PATH_BYTES_MAX}"
    if "\0" in path or "\\" in path:
        return "holds a NUL or a backslash"
    if any(segment in ("", ".", "..") for segment in segments):
        return "must be relative, without empty, '.' or '..' parts"
    if any(len(segment.encode()) > SEGMENT_BYTES_MAX for segment in segments):
        return f"has a part of more than {SEGMENT_BYTES_MAX} bytes"
    return None

"""Kinds of file systems: on some, locks and write-ahead logs cannot be relied on."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
    | {"fuse.blobfuse2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"}
)


def file_system_of(folder: Path, mounts: str) -> str:
    """Return the type of the file system that holds a folder, given the text of ``/proc/mounts``."""
    kind, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = Path(_unescaped(fields[1]))
        if place in (folder, *folder.parents) and len(place.parts) >= depth:
            kind, depth = fields[2], len(place.parts)
    return kind


def _unescaped(field: str) -> str:
    """Undo the octal escapes that the kernel writes for blanks."""
    for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escape, char)
    return field

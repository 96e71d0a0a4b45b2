"""Reads and writes the emulator's S3 from inside, for what SageMaker itself downloads and uploads."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from trackbridge.testing.emulators.sagemaker.core import Cloud


class Place(NamedTuple):
    """A bucket, and a key or the prefix of keys in it."""

    bucket: str
    key: str

    def below(self, name: str) -> Place:
        """Return the place of a name below this one."""
        return Place(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def place_of(uri: str) -> Place:
    """Read ``s3://BUCKET/KEY``."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return Place(bucket, key)


def bucket_exists(cloud: Cloud, bucket: str) -> bool:
    """Say whether there is such a bucket."""
    return bucket in cloud.s3().buckets


def region_of(cloud: Cloud, bucket: str) -> str | None:
    """Return where a bucket is; None when there is none."""
    return str(cloud.s3().buckets[bucket].region_name) if bucket_exists(cloud, bucket) else None


def read(cloud: Cloud, place: Place) -> bytes | None:
    """Return an object's content; None when it is not there."""
    if not bucket_exists(cloud, place.bucket):
        return None
    for is_last in (False, True):
        found = cloud.s3().get_object(place.bucket, place.key)
        try:
            return None if found is None else bytes(found.value)
        except ValueError:  # moto closes an object's file when another is put in its place
            if is_last:
                raise
    return None


def write(cloud: Cloud, place: Place, content: bytes) -> None:
    """Put an object; nothing happens when its bucket is gone, as with SageMaker's uploads."""
    if bucket_exists(cloud, place.bucket):
        cloud.s3().put_object(place.bucket, place.key, content)


def keys_below(cloud: Cloud, prefix: Place) -> list[str]:
    """Return the keys that begin so, in order."""
    if not bucket_exists(cloud, prefix.bucket):
        return []
    bucket = cloud.s3().get_bucket(prefix.bucket)
    found = cloud.s3().list_objects(bucket, prefix.key, None, None, None)[0]
    return sorted(key.name for key in found)


def objects(cloud: Cloud, uri: str, *, is_manifest: bool = False) -> dict[str, Place]:
    """Return where a data source's objects are, by the path that they get in a container.

    A prefix that names an object gives its last name; one that names a folder, what is below it; any other
    prefix keeps the name from its last slash on.
    """
    if is_manifest:
        return dict(_listed_in_manifest(cloud, place_of(uri)))
    prefix = place_of(uri)
    found: dict[str, Place] = {}
    for key in keys_below(cloud, prefix):
        if not key.endswith("/"):
            found[_path_below(prefix.key, key)] = Place(prefix.bucket, key)
    return found


def _path_below(prefix: str, key: str) -> str:
    if key == prefix:
        return key.rpartition("/")[2]
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    if key.startswith(folder):
        return key[len(folder) :]
    return key[len(prefix.rpartition("/")[0]) :].lstrip("/")


def _listed_in_manifest(cloud: Cloud, manifest: Place) -> Iterator[tuple[str, Place]]:
    content = read(cloud, manifest)
    try:
        first, *names = json.loads(content or b"[]")
        root = place_of(str(first["prefix"]))
    except (ValueError, KeyError, TypeError):
        return  # a manifest that nobody can read lists nothing
    for name in names:
        yield str(name), Place(root.bucket, f"{root.key}{name}")


def download(cloud: Cloud, found: dict[str, Place], folder: Path) -> int:
    """Write objects into a folder; returns how many bytes they are.

    Raises:
        OSError: A key names a place outside of the folder, or a file where another key needs a folder.
    """
    size = 0
    for path, place in found.items():
        content = read(cloud, place)
        if content is None:
            continue
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise OSError(f"{place} would lie outside of its folder")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        size += len(content)
    return size


def files_below(folder: Path) -> list[Path]:
    """Return a folder's files, in order; links are followed as SageMaker's upload follows them."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def upload_folder(cloud: Cloud, folder: Path, target: Place) -> int:
    """Put each file below a place; returns how many there were."""
    found = files_below(folder)
    for path in found:
        write(cloud, target.below(path.relative_to(folder).as_posix()), path.read_bytes())
    return len(found)


def packed(folders: Iterable[Path]) -> bytes:
    """Return what is in the folders as one tar.gz; a later folder's file stands for an earlier one's."""
    found = {path.relative_to(folder).as_posix(): path for folder in folders for path in files_below(folder)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, path in found.items():
            archive.add(path.resolve(), name)
    return buffer.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Unpack a tar.gz; members that would leave the folder are refused by ``tarfile`` itself."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
            return
        for member in archive.getmembers():
            if member.isreg() and not Path(member.name).is_absolute() and ".." not in Path(member.name).parts:
                archive.extract(member, folder)

"""Bringing an input of a job to this machine, for jobs that run here.

::

    python -m trackbridge.operations.job_inputs s3://bucket/data FOLDER

The files below the address come into the folder; an address of one file brings that file. What has come
whole is not fetched again.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from trackbridge.errors import BridgeError, NotFound, Rejected, Unavailable
from trackbridge.operations.uri_files import UriFiles, open_files


def bring(address: str, folder: Path, *stores: object) -> int:
    """Bring the files at an address into a folder; return how many there are.

    Args:
        address: Where they are, as ``uri_files.open_files`` takes it.
        folder: Where they are to be; it is made.
        stores: Artifact stores that may read the address; else one that does is opened.

    Raises:
        NotFound: There is nothing.
        Rejected: A file's path leads out of the folder.
        BridgeError: The files cannot be read now.
    """
    files, sizes = _found(address, *stores)
    folder.mkdir(parents=True, exist_ok=True)
    for path, size in sizes.items():
        _copy(files, path, size, _target(folder, path))
    return len(sizes)


def _found(address: str, *stores: object) -> tuple[UriFiles, dict[str, int]]:
    files = open_files(address, *stores)
    sizes = files.listed()
    if not sizes:
        above, _, name = address.rstrip("/").rpartition("/")
        files = open_files(above, *stores)
        sizes = {path: size for path, size in files.listed().items() if path == name}
    if not sizes:
        raise NotFound("there are no files for the input", resource=address, hint="look at its address")
    return files, sizes


def _target(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in path:
        raise Rejected(f"the path {path!r} leads out of the input's folder", hint="rename the file there")
    return folder.joinpath(*parts)


def _copy(files: UriFiles, path: str, size: int, target: Path) -> None:
    if target.is_file() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    with closing(files.open(path)) as source, partial.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1024 * 1024)
    got = partial.stat().st_size
    if got < size:
        raise Unavailable(
            f"{path} ended after {got:,} of {size:,} bytes",
            resource=files.address,
            hint="submit the job again",
        )
    os.replace(partial, target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring one input; the local backend starts this for each that is elsewhere.

    Returns:
        0 when it is there, else the exit code of the error, which is written to stderr.
    """
    address, folder = sys.argv[1:] if arguments is None else arguments
    try:
        bring(address, Path(folder))
    except BridgeError as error:
        hint = f" ({error.hint})" if error.hint else ""
        sys.stderr.write(f"trackbridge: {error}{hint}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

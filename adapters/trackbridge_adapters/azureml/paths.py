"""``azureml://…/paths/…``: files of datastores, jobs and runs of a workspace.

================================================================  ==========================================
address                                                           files of
================================================================  ==========================================
``azureml://datastores/D/paths/P``                                a datastore
``azureml://subscriptions/S/resourcegroups/G/workspaces/W/``      a datastore of that workspace
``datastores/D/paths/P``
``azureml://jobs/J/outputs/O/paths/P``                            an output of a job; ``artifacts`` is its run
``azureml://…experiments/E/runs/R/artifacts/P``, ``runs:/R/P``    a run
================================================================  ==========================================

A path is taken as it is written: ``%`` and ``?`` are letters of it, as for azure-ai-ml.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError, Conflict, NotFound, Rejected, Transient
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry, Files
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.datastores import DEFAULT, Datastores

RUN_OUTPUT = "artifacts"
FORWARDS_MAX = 3
BREAKS_MAX = 3
"""How often in a row a download may break off before anything of it came."""
PART = ".bridge-part"
"""How the names of files end that are on their way to this machine; the process comes behind it."""
LEFT_S = 3600.0
"""What nobody has written to for so long is no download any more."""
_LEFT = re.compile(rf"{re.escape(PART)}(\d{{1,18}})-[0-9a-f]{{8}}$")
_DATASTORE = re.compile(
    r"azureml://(?:subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"(?:/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<workspace>[^/]+)/)?"
    r"datastores/(?P<name>[^/]+)/paths(?:/(?P<path>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_JOB = re.compile(
    r"azureml://(?:subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"(?:/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<workspace>[^/]+)/)?"
    r"jobs/(?P<name>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths(?:/(?P<path>.*))?)?",
    re.IGNORECASE | re.DOTALL,
)
_RUN = re.compile(
    r"azureml://(?:.*/)?experiments/[^/]+/runs/(?P<name>[^/]+)/artifacts(?:/(?P<path>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_SHORT_RUN = re.compile(r"runs:/+(?P<name>[^/]+)(?:/(?P<path>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AzurePath:
    """What an address names.

    ``kind`` is ``datastore``, ``job`` or ``run``, ``name`` is which; ``output`` is a job's. ``workspace`` is
    "" where the address leaves open which one is meant, else ``SUBSCRIPTION/GROUP/WORKSPACE`` in lower case.
    """

    kind: str
    name: str
    path: str
    output: str = ""
    workspace: str = ""


class Found(NamedTuple):
    """Files, and a path among them."""

    files: Files
    path: str


def parse_path(uri: str) -> AzurePath:
    """Read an address.

    Raises:
        ConfigError: It is none of the forms, or its path leads out of its folder.
    """
    for kind, pattern in (("datastore", _DATASTORE), ("job", _JOB), ("run", _RUN), ("run", _SHORT_RUN)):
        match = pattern.fullmatch(uri)
        if match is not None:
            named = match.groupdict()
            path = _checked(uri, named.get("path") or "")
            parts = [named.get(part) or "" for part in ("subscription", "group", "workspace")]
            where = "/".join(parts).lower() if all(parts) else ""
            return AzurePath(kind, match["name"], path, named.get("output") or "", where)
    raise ConfigError(
        f"{shown(uri, chars_max=200)!r} names no files of a workspace",
        adapter=ADAPTER,
        hint="write azureml://datastores/NAME/paths/PATH, or azureml://jobs/NAME/outputs/artifacts/paths/PATH",
    )


def full_path(uri: str, workspace: Workspace) -> str:
    """Return an address of a datastore or a job with its workspace in it, that of others as it is.

    Raises:
        ConfigError: It is none of the forms.
    """
    named = parse_path(uri)
    if named.workspace or named.kind == "run":
        return uri
    scope = (
        f"azureml://subscriptions/{workspace.subscription}/resourcegroups/{workspace.group}"
        f"/workspaces/{workspace.name}"
    )
    return f"{scope}/{uri.partition('://')[2]}"


def _checked(uri: str, path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") for part in parts) or "\0" in path:
        raise ConfigError(f"the path of {shown(uri, chars_max=200)!r} leads elsewhere", adapter=ADAPTER)
    return "/".join(parts)


class Paths:
    """Opens addresses of one workspace. Any thread may use it.

    Args:
        workspace: Which; addresses of another one are refused.
        datastores: Of the workspace; they ask for the outputs of jobs as well.
        files_of_run: Returns the files of a run, given its id.
    """

    def __init__(
        self,
        workspace: Workspace,
        datastores: Datastores,
        files_of_run: Callable[[str], Files],
    ) -> None:
        self._workspace = workspace
        self._datastores = datastores
        self._files_of_run = files_of_run

    def find(self, uri: str) -> Found:
        """Return the files that an address is among, and its path there.

        Raises:
            ConfigError: It is no address of this workspace.
            NotFound: There is no such datastore, job or run.
        """
        for _ in range(FORWARDS_MAX):
            named = self._ours(uri)
            if named.kind == "datastore":
                return Found(self._datastores.files(named.name), named.path)
            if named.kind == "run" or named.output == RUN_OUTPUT:
                return Found(self._files_of_run(named.name), named.path)
            uri = f"{self._output(named)}/{named.path}"
        raise ConfigError("the job's output names itself", adapter=ADAPTER, resource=shown(uri))

    def open(self, uri: str) -> BinaryIO:
        """Open a file for reading; the caller closes it.

        Raises:
            NotFound: There is no such file (a folder is not a file).
        """
        found = self.find(uri)
        entry = found.files.find(found.path) if found.path else None
        if entry is None or entry.is_dir:
            raise _nothing(uri)
        return found.files.open(found.path)

    def list(self, uri: str) -> list[ArtifactInfo]:
        """Return what lies directly in a folder, in order of path, files with their sizes; a file alone.

        Paths are relative to the datastore, output or run.
        """
        found = self.find(uri)
        children = list(found.files.children(found.path))
        if children or not found.path:
            start = f"{found.path}/" if found.path else ""
            return sorted(
                (_info(found.files, start + item.name, item) for item in children), key=lambda info: info.path
            )
        entry = found.files.find(found.path)
        return [] if entry is None or entry.is_dir else [_info(found.files, found.path, entry)]

    def download(self, uri: str, folder: Path) -> Path:
        """Bring a file, or a folder with all in it, into a folder, and return where it is there.

        A file takes its name when all of it has come, with the digest that is kept beside it. Where a
        download breaks off, it goes on from there.

        Raises:
            NotFound: There is nothing at the address.
            Conflict: A file was changed while it was read.
            Rejected: A name would lie outside of the folder, or bytes are not those of their digest.
        """
        return fetch(self.find(uri), uri, folder)

    def _ours(self, uri: str) -> AzurePath:
        named = parse_path(uri)
        here = self._workspace.address.removeprefix("azureml://")
        if named.workspace not in ("", here):
            raise ConfigError(
                f"the files are of the workspace {named.workspace}, this one is {here}",
                adapter=ADAPTER,
                hint=f"open azureml://{named.workspace}",
            )
        return named

    def _output(self, named: AzurePath) -> str:
        """Return the address of a named output of a job."""
        outputs = self._datastores.job_outputs(named.name)
        if named.output not in outputs:
            known = ", ".join(sorted(outputs)) or "none"
            raise NotFound(
                f"the job has no output {named.output!r}",
                adapter=ADAPTER,
                resource=f"job {shown(named.name)}",
                hint=f"its outputs: {known}; what its run logged is the output 'artifacts'",
            )
        told = str((outputs[named.output] or {}).get("uri") or "").rstrip("/")
        if told:
            return told.replace("${{name}}", named.name)
        return f"azureml://datastores/{DEFAULT}/paths/azureml/{named.name}/{named.output}"


def fetch(found: Found, uri: str, folder: Path) -> Path:
    """Do as ``Paths.download`` with what was found at an address."""
    name = found.path.rpartition("/")[2]
    target = folder / name if name else folder
    entry = found.files.find(found.path) if found.path else None
    if entry is not None and not entry.is_dir:
        _clear(target.parent)
        _fetch(found.files, found.path, entry, target)
        return target
    cleared: set[Path] = set()
    for path, item in files_below(found.files, found.path):
        place = _within(target, path[len(found.path) :].lstrip("/"))
        if place.parent not in cleared:
            cleared.add(place.parent)
            _clear(place.parent)
        _fetch(found.files, path, item, place)
    if not cleared:
        raise _nothing(uri)
    return target


def files_below(files: Files, folder: str) -> Iterator[tuple[str, Entry]]:
    """Yield the path of every file in a folder and below, in order, with what its listing tells."""
    for entry in sorted(files.children(folder), key=lambda item: item.name):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir:
            yield from files_below(files, path)
        else:
            yield path, entry


def _within(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or PurePosixPath(path).is_absolute() or "\\" in path:
        raise Rejected(f"the name {shown(path)!r} leads out of the folder", adapter=ADAPTER)
    return folder.joinpath(*parts)


def _fetch(files: Files, path: str, listed: Entry, target: Path) -> None:
    # Listings of storage tell no digest, and write versions otherwise than answers to reads.
    entry = listed if listed.digest is not None else files.find(path)
    if entry is None or entry.is_dir:
        raise Conflict("the file is gone that was listed", adapter=ADAPTER, resource=files.address(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}{PART}{os.getpid()}-{os.urandom(4).hex()}")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as writer:
            for block in blocks_of(files, path, entry):
                digest.update(block)
                writer.write(block)
        check_digest(files, path, entry, f"sha256:{digest.hexdigest()}")
        part.replace(target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _clear(folder: Path) -> None:
    """Remove what downloads have left in a folder that were killed: of no process here, and old.

    The folder may be shared with other machines, whose processes are not seen: what they write is new.
    """
    if not folder.is_dir():
        return
    for left in folder.iterdir():
        found = _LEFT.search(left.name)
        if found is None or _is_alive(int(found[1])):
            continue
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_S:
                left.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True


def blocks_of(files: Files, path: str, entry: Entry, start: int = 0) -> Iterator[Any]:
    """Yield a file's bytes; what broke off goes on where it broke, unless nothing comes several times."""
    place, size, breaks = start, entry.size or 0, 0
    while place < size:
        began = place
        try:
            for block in files.read_from(path, place, entry.version):
                place += len(block)
                yield block
        except Transient:
            breaks = breaks + 1 if place == began else 0
            if breaks > BREAKS_MAX:
                raise
        else:
            if place == began:
                raise Conflict(
                    "the file is shorter than it was", adapter=ADAPTER, resource=files.address(path)
                )


def check_digest(files: Files, path: str, entry: Entry, digest: str) -> None:
    """Raise if bytes that were read have another digest than is kept beside them.

    Raises:
        Rejected: They have.
    """
    if entry.digest and entry.digest != digest:
        raise Rejected(
            f"the bytes have the digest {digest}, and the store says {entry.digest}",
            adapter=ADAPTER,
            resource=files.address(path),
            hint="the file is damaged where it lies; log it again",
        )


def _info(files: Files, path: str, entry: Entry) -> ArtifactInfo:
    if entry.is_dir:
        return ArtifactInfo(path=path, is_dir=True, native_uri=files.address(path))
    return ArtifactInfo(
        path=path, file_size=entry.size, digest=entry.digest or None, native_uri=files.address(path)
    )


def _nothing(uri: str) -> NotFound:
    return NotFound(
        "there is no such file",
        adapter=ADAPTER,
        resource=shown(uri, chars_max=200),
        hint="list the folder that it should be in",
    )

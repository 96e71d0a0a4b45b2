"""From the name of a model to its files on this machine.

::

    "models:/wine@champion" -> resolve_version -> ModelVersion -> materialise -> <cache>/<digest>/

The cache holds each payload once, under its digest, whatever it is registered as::

    <cache>/<64 hex>/            whole: it came here by one rename, after its digest was found right
    <cache>/<64 hex>.part/       on its way; files of it that are whole are not fetched again
    <cache>/<64 hex>.spoiled/    was changed after it came here, and is about to be removed
    <cache>/<64 hex>.lock        held by the process that fetches it

An archive that the backend keeps in place of a folder, as SageMaker does, is unpacked.

A process that is killed leaves the part behind, and the next one goes on with it. What is here is checked by
its digest each time; what Python writes into it (``__pycache__``) does not count.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from trackbridge.delivery.payload_members import known_payload_digest, payload_members
from trackbridge.domain.artifacts import ArtifactInfo, artifact_uri, checked_path, split_artifact_uri
from trackbridge.domain.file_uris import file_path
from trackbridge.domain.model_digest import MLMODEL, ModelDigest, digest_of_members, digest_of_path, files_of
from trackbridge.domain.model_references import (
    PathReference,
    RegisteredReference,
    RunReference,
    parse_model_reference,
)
from trackbridge.domain.models import STAGES, ModelVersion
from trackbridge.domain.secrets import shown
from trackbridge.errors import InvalidInput, Locked, NotFound, Rejected, Unsupported
from trackbridge.operations.model_archives import holds_mlmodel, is_archive, members_of_archive, unpack
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.registry import FileKeepingRegistry, ModelRegistry
from trackbridge.ports.streams import AddressedArtifacts

CACHE_FOLDER = "model-cache"
"""Name of the cache within the project's folder; what is deployed has a folder of its own and its own end."""
LOCK_WAIT_S = 600.0
"""How long to wait for another process that fetches the same payload."""

MLMODEL_BYTES_MAX = 8 * 1024 * 1024

_POLL_S = 0.05
_CHUNK_BYTES = 1024 * 1024

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are here, and with those of the whole payload."""


def resolve_version(reference: str, registry: ModelRegistry) -> ModelVersion:
    """Return the registered version that ``models:/…`` names.

    Raises:
        InvalidInput: The text names no registered model.
        NotFound: There is no such model, version or alias, or no version in the stage.
    """
    parsed = parse_model_reference(reference)
    if not isinstance(parsed, RegisteredReference):
        raise InvalidInput(
            f"{shown(reference, chars_max=120)!r} is no registered model",
            operation="models",
            hint=f"register it first: bridge models register {shown(reference, chars_max=120)} NAME",
        )
    return registered_version(parsed, registry)


def resolve_model(reference: str, registry: Callable[[], ModelRegistry]) -> ModelVersion:
    """Return the version that a name of any form means; one that is not registered has an empty name.

    Args:
        reference: ``models:/…``, ``runs:/…``, ``bridge-artifacts:/…`` or a path.
        registry: Returns the registry; called only when it is needed.

    Raises:
        InvalidInput: The text has none of the forms.
        NotFound: There is no such model, version or alias, or no version in the stage.
    """
    place = split_artifact_uri(reference)
    parsed = RunReference(*place) if place is not None else parse_model_reference(reference)
    if isinstance(parsed, RegisteredReference):
        return registered_version(parsed, registry())
    return unregistered_version(parsed)


def unregistered_version(reference: RunReference | PathReference) -> ModelVersion:
    """Return what stands for a model that is not registered: only its source is known."""
    if isinstance(reference, RunReference):
        source = artifact_uri(reference.run_id, reference.path)
        return ModelVersion(name="", version="", source=source, run_id=reference.run_id)
    return ModelVersion(name="", version="", source=reference.path.absolute().as_uri())


def registered_version(reference: RegisteredReference, registry: ModelRegistry) -> ModelVersion:
    """Return a registered version by its number or name, its alias, its stage, or as the newest.

    Raises:
        NotFound: There is none.
    """
    if reference.version is not None:
        return _numbered(reference, reference.version, registry)
    if reference.alias is not None:
        return _aliased(reference, registry)
    for version in all_versions(registry, reference.name):
        if reference.stage in (None, version.stage):
            return version
    registry.get_model(reference.name)  # says so when there is no such model at all
    raise NotFound(
        f"{reference} names no version",
        operation="models",
        hint=f"see what there is: bridge models show {reference.name}",
    )


def _numbered(reference: RegisteredReference, version: str, registry: ModelRegistry) -> ModelVersion:
    """Return a version by what names it, which may be a stage that is written wrongly."""
    try:
        return registry.get_version(reference.name, version)
    except (NotFound, Rejected, InvalidInput):
        if version.isdecimal():
            raise
        registry.get_model(reference.name)
    raise NotFound(
        f"{version[:40]!r} is neither a version of the model {reference.name!r} nor a stage",
        operation="models",
        hint=f"see what there is: bridge models show {reference.name}; stages are {', '.join(STAGES)}",
    )


def _aliased(reference: RegisteredReference, registry: ModelRegistry) -> ModelVersion:
    aliases = registry.get_model(reference.name).aliases
    version = aliases.get(reference.alias or "")
    if version is None:
        known = ", ".join(sorted(aliases)) or "none"
        raise NotFound(
            f"the model {reference.name!r} has no alias {reference.alias!r}",
            operation="models",
            hint=f"its aliases: {known}; set one with: bridge models alias {reference.name}/NUMBER ALIAS",
        )
    return registry.get_version(reference.name, version)


def all_versions(registry: ModelRegistry, name: str) -> Iterator[ModelVersion]:
    """Yield the versions of a model, newest first."""
    token: str | None = None
    while True:
        page = registry.list_versions(name, token=token)
        yield from page
        token = page.token
        if token is None:
            return


def reference_of(version: ModelVersion) -> str:
    """Return the text that names a version: ``models:/wine/3``, else its source."""
    return f"models:/{version.name}/{version.version}" if version.name else version.source


def at_registry(version: ModelVersion, registry: ModelRegistry | None) -> ModelVersion:
    """Return a version with the address of its files in its registry, where that keeps them itself."""
    if not version.name or not isinstance(registry, FileKeepingRegistry):
        return version
    return msgspec.structs.replace(version, source=registry.address_of(version.name, version.version))


def reader_of(address: str, *stores: ArtifactStore | None) -> ArtifactStore | None:
    """Return the first store that reads an address which is no run's; for any other the last."""
    for store in stores:
        if isinstance(store, AddressedArtifacts) and store.reads(address):
            return store
    return stores[-1]


# The files.


def materialise(
    version: ModelVersion,
    artifacts: ArtifactStore | None,
    *,
    cache: Path,
    on_progress: OnProgress | None = None,
) -> Path:
    """Bring the payload of a version to this machine and return its folder, which is not to be changed.

    A payload that is here already is not fetched again, nor are files of it that an interrupted call has
    fetched. A single file lies in a folder of its own.

    Args:
        version: What to fetch; where neither it nor the store knows a digest it is fetched each time, since
            nobody knows whether it has changed.
        artifacts: Where ``bridge-artifacts:`` sources lie; None where the backend stores no files.
        cache: The folder of payloads, usually ``<home>/models``.
        on_progress: Told how many bytes of how many are here.

    Raises:
        NotFound: There is nothing at the source.
        Rejected: The bytes at the source are not those that were registered.
        Locked: Another process has been fetching the same payload for ten minutes.
        Unsupported: The source is nothing that can be read from here.
    """
    source = source_of(version.source, artifacts)
    digest = version.digest or source.known_digest()
    if digest is not None and _is_whole(cache / _hex_of(digest), digest):
        return cache / _hex_of(digest)
    key = hashlib.sha256(version.source.encode()).hexdigest()[:32] if digest is None else _hex_of(digest)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{key}.lock"):
        part = cache / f"{key}.part"
        if digest is None:
            shutil.rmtree(part, ignore_errors=True)
        elif _is_whole(cache / key, digest):  # another process was faster
            return cache / key
        is_resumed = part.is_dir()
        _fetch(source, part, on_progress or _silent)
        if is_resumed and _is_spoiled(part, digest):  # a leftover had the right size and the wrong bytes
            shutil.rmtree(part)
            _fetch(source, part, on_progress or _silent)
        _unpack_archive(part, source, digest)
        return _complete(part, version, digest, cache)


def _is_whole(folder: Path, digest: str) -> bool:
    """Tell whether a payload is here as it came."""
    if not folder.is_dir():
        return False
    if digest_of_path(folder) == digest:
        return True
    found = ModelDigest()
    for name, file in files_of(folder):
        if "__pycache__" not in name.split("/"):
            with file.open("rb") as content:
                found.add(name, content)
    return found.text() == digest


def _discard(folder: Path) -> None:
    """Take away a payload that somebody has changed since it came here."""
    spoiled = folder.with_name(f"{folder.name}.spoiled")
    shutil.rmtree(spoiled, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(spoiled)
    shutil.rmtree(spoiled, ignore_errors=True)


def _complete(part: Path, version: ModelVersion, digest: str | None, cache: Path) -> Path:
    """Give a fetched payload its name, once its digest is found right."""
    found = digest_of_path(part)
    if digest not in (None, found):
        shutil.rmtree(part)
        raise Rejected(
            f"the files of {reference_of(version)} are not those that were registered: "
            f"their digest is {found}, not {digest}",
            operation="models",
            resource=shown(version.source, chars_max=200),
            hint="somebody has changed them; put them back, or register what is there as a new version",
        )
    whole = cache / _hex_of(found)
    if _is_whole(whole, found):
        shutil.rmtree(part)
        return whole
    _discard(whole)
    _sync(part)
    with contextlib.suppress(OSError):  # the same payload came here under another name meanwhile
        part.rename(whole)
    if not whole.is_dir():
        raise Locked(f"{whole} cannot be made", operation="models", hint="see that the folder is writable")
    return whole


def _hex_of(digest: str) -> str:
    found = digest.removeprefix("sha256:")
    if len(found) != 64 or set(found) - set("0123456789abcdef"):
        raise InvalidInput(f"{digest[:80]!r} is no digest of a model", operation="models")
    return found


class Source:
    """Where the files of a payload are read from: a run's artifacts."""

    def __init__(self, artifacts: ArtifactStore, run_id: str, path: str) -> None:
        self._artifacts = artifacts
        self._run_id = run_id
        self._path = path

    def members(self) -> list[tuple[str, ArtifactInfo]]:
        """Return the name within the payload, and the description, of each file."""
        return payload_members(self._artifacts, self._run_id, self._path)

    def known_digest(self) -> str | None:
        """Return the digest of the payload where it can be told without reading it."""
        return known_payload_digest(self._artifacts, self._run_id, self._path)

    def open(self, info: ArtifactInfo) -> BinaryIO:
        """Open a file for reading."""
        return self._artifacts.open(self._run_id, info.path)

    @property
    def is_packed(self) -> bool:
        """True where an archive is how the backend keeps a folder: what it holds is the payload."""
        return False


class FolderSource(Source):
    """A file or a folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._root = path

    def members(self) -> list[tuple[str, ArtifactInfo]]:
        """Return the name within the payload, and the description, of each file."""
        return [
            (name, ArtifactInfo(path=str(file), file_size=file.stat().st_size))
            for name, file in files_of(self._root)
        ]

    def known_digest(self) -> str | None:
        """Return None: the files have to be read."""
        return None

    def open(self, info: ArtifactInfo) -> BinaryIO:
        """Open a file for reading."""
        return open(info.path, "rb")


class AddressSource(Source):
    """Files that are no run's, at an address of the backend's own."""

    def __init__(self, artifacts: AddressedArtifacts, address: str) -> None:
        self._store = artifacts
        self._address = address

    def members(self) -> list[tuple[str, ArtifactInfo]]:
        """Return the name within the payload, and the description, of each file.

        Raises:
            InvalidInput: A name leads out of the folder.
        """
        found = self._store.members_at(self._address)
        for name, _ in found:
            checked_path(name)
        return found

    def known_digest(self) -> str | None:
        """Return None: the files have to be read."""
        return None

    def open(self, info: ArtifactInfo) -> BinaryIO:
        """Open a file for reading."""
        return self._store.open_at(self._address, info.path)

    @property
    def is_packed(self) -> bool:
        """True for SageMaker's archives: the service unpacks them for whatever loads the model."""
        return is_packed(self._address)


def source_of(address: str, artifacts: ArtifactStore | None) -> Source:
    """Return what reads the payload at an address.

    Raises:
        Unsupported: The address is of a kind that cannot be read from here.
    """
    if address.startswith("file:"):
        return FolderSource(file_path(address))
    if address.startswith("/"):
        return FolderSource(Path(address))
    if isinstance(artifacts, AddressedArtifacts) and artifacts.reads(address):
        return AddressSource(artifacts, address)
    place = split_artifact_uri(address)
    if place is None and address.startswith("runs:/"):
        reference = parse_model_reference(address)
        assert isinstance(reference, RunReference)
        place = (reference.run_id, reference.path)
    if place is None or artifacts is None:
        raise Unsupported(
            f"a model cannot be read from {shown(address, chars_max=120)}",
            operation="models",
            hint="log the model to a run and register that, or name the tracking URI that holds its files",
        )
    return Source(artifacts, *place)


def mlmodel_at(address: str, artifacts: ArtifactStore | None) -> str | None:
    """Return the ``MLmodel`` of the payload at an address, None where there is none; nothing else is read.

    Raises:
        NotFound: There is nothing at the address.
        Unsupported: It cannot be read from here.
    """
    place = split_artifact_uri(address)
    if place is not None and artifacts is not None:
        path = f"{place[1]}/{MLMODEL}".lstrip("/")
        try:
            content = artifacts.open(place[0], path)
        except NotFound:
            return None
    else:
        source = source_of(address, artifacts)
        info = next((info for name, info in source.members() if name == MLMODEL), None)
        if info is None:
            return None
        content = source.open(info)
    with contextlib.closing(content):
        return content.read(MLMODEL_BYTES_MAX).decode("utf-8", "replace")


def is_packed(address: str) -> bool:
    """Tell whether an address is that of one of SageMaker's archives, which mean what they hold."""
    return address.startswith("s3://") and is_archive(address)


def digest_at(address: str, artifacts: AddressedArtifacts) -> str:
    """Return the digest of a model at an address of a backend's own; where none is kept its bytes are read.

    Raises:
        NotFound: There is nothing.
    """
    known = artifacts.known_digest_at(address)
    if known is not None:
        return known
    digest = ModelDigest()
    members = artifacts.members_at(address)
    if is_packed(address) and len(members) == 1:
        info = members[0][1]
        with contextlib.closing(artifacts.open_at(address, info.path)) as archive:
            return digest_of_members(members_of_archive(archive, packed_bytes=info.file_size or 0))
    for name, info in sorted(members, key=lambda member: member[0]):
        with contextlib.closing(artifacts.open_at(address, info.path)) as content:
            digest.add(name, content)
    return digest.text()


def _fetch(source: Source, part: Path, on_progress: OnProgress) -> None:
    """Bring every file of a payload into the part that is not in it already, and remove what is not of it."""
    members = source.members()
    total = sum(info.file_size or 0 for _, info in members)
    wanted = {name for name, _ in members}
    if part.is_dir():
        for name, file in list(files_of(part)):
            if name not in wanted:
                file.unlink()
    done = 0
    on_progress(done, total)
    for name, info in members:
        if not _is_here(part / name, info):
            _copy(source, info, part / name, lambda more: on_progress(done + more, total))  # noqa: B023
        done += info.file_size or 0
        on_progress(done, total)


def _unpack_archive(part: Path, source: Source, digest: str | None) -> None:
    """Put what an archive holds in its place, where that is the payload; a digest that is known decides.

    Raises:
        Rejected: The archive is not to be trusted.
    """
    archive = _sole_archive(part)
    if archive is None or digest == digest_of_path(part):
        return
    if digest is None and not (source.is_packed or holds_mlmodel(archive)):
        return  # a file like any other
    unpacked = part.with_suffix(".unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        unpack(archive, unpacked)
    finally:
        shutil.rmtree(part)  # what was refused is fetched anew
    unpacked.rename(part)


def _is_spoiled(part: Path, digest: str | None) -> bool:
    """Tell whether a leftover has the wrong bytes; of an archive only unpacking it can tell."""
    return digest != digest_of_path(part) and _sole_archive(part) is None


def _sole_archive(part: Path) -> Path | None:
    files = list(files_of(part))
    return files[0][1] if len(files) == 1 and is_archive(files[0][0]) else None


def _is_here(file: Path, info: ArtifactInfo) -> bool:
    """Tell whether an earlier call has fetched a file; whether rightly is seen by the digest of the whole."""
    return file.is_file() and info.file_size is not None and file.stat().st_size == info.file_size


def _copy(source: Source, info: ArtifactInfo, target: Path, on_bytes: Callable[[int], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}.draft"
    copied = 0
    with contextlib.closing(source.open(info)) as content, draft.open("wb") as copy:
        while chunk := content.read(_CHUNK_BYTES):
            copy.write(chunk)
            copied += len(chunk)
            on_bytes(copied)
    draft.replace(target)


def _sync(folder: Path) -> None:
    """See to it that what is renamed next survives a power cut."""
    for _, file in files_of(folder):
        with file.open("rb") as content:
            os.fsync(content.fileno())


def _silent(done: int, total: int) -> None:
    pass


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the death of the process releases.

    Raises:
        Locked: Somebody else has it all the time.
    """
    pause, waited_s = threading.Event(), 0.0
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(descriptor):
            if waited_s >= LOCK_WAIT_S:
                raise Locked(
                    "another process is fetching this model",
                    operation="models",
                    resource=str(path),
                    hint="wait for it, or end it",
                )
            pause.wait(_POLL_S)
            waited_s += _POLL_S
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

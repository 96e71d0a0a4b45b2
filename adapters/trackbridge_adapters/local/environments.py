"""Virtual environments for jobs, made by uv and kept for the next job with the same requirements.

``environments/<key>/ready`` is written last, so that what a killed build has left does not count and is made
anew. An environment is built where it stays, because it holds its own path. The lock beside it is held by who
builds, and by the uv process itself: as long as that goes on, nobody builds at the same place.

Imports little: a job's runner pays for each import with the user's time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from trackbridge_adapters.local import locks

TYPE_CHECKING = False  # that of typing, without the 4 ms that its import takes
if TYPE_CHECKING:
    from typing import NoReturn

PAUSE_S = 0.1
TAIL_BYTES = 2000
CHOOSING = (
    "UV_CONSTRAINT",
    "UV_DEFAULT_INDEX",
    "UV_EXCLUDE_NEWER",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_NO_INDEX",
    "UV_OVERRIDE",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
    "UV_TORCH_BACKEND",
)
"""Variables of uv by which the same requirements become other packages."""

_OURS = re.compile(
    r"\s*trackbridge\s*(?P<extras>\[[^\]]*\])?\s*(?:[<>=!~(][^;@\[]*)?(?P<marker>;.*)?", re.IGNORECASE
)
_LOGIN = re.compile(r"//[^/@\s]*@")
_PATH = re.compile(r"(?:[^@\s]+\s*@\s*)?(?P<scheme>file://(?:localhost)?)?(?P<path>[/.~\\][^;\s]*)")

Call = Callable[[Sequence[str], int], int]


class BuildFailed(Exception):
    """The environment cannot be made; the text says why."""


class Environment:
    """One environment that is complete."""

    __slots__ = ("folder",)

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def python(self) -> str:
        """Path of its interpreter."""
        return os.path.join(self.folder, "bin", "python")

    def enter(self, variables: dict[str, str]) -> None:
        """Set variables as activation does."""
        programs = os.path.dirname(self.python)
        variables["VIRTUAL_ENV"] = self.folder
        variables["PATH"] = programs + os.pathsep + variables.get("PATH", os.defpath)
        variables.pop("PYTHONHOME", None)


class Builder:
    """Makes environments, each once.

    Args:
        folder: Where they lie.
        uv: Path of the uv program.
        log: File that ``call`` appends the output to.
        call: Runs a command, keeping a descriptor open in it, and returns the exit code.
        pause: Waits so many seconds; raises when the job is to end.
    """

    def __init__(self, folder: str, uv: str, *, log: str, call: Call, pause: Callable[[float], None]) -> None:
        self._folder = folder
        self._uv = uv
        self._log = log
        self._call = call
        self._pause = pause

    def ensure(
        self,
        requirements: Sequence[str],
        *,
        python: str | None = None,
        variables: Mapping[str, str] = os.environ,
    ) -> Environment:
        """Return the environment of these requirements, which may take minutes the first time.

        Args:
            requirements: As pip takes them, one each.
            python: The version of its interpreter, which uv brings where it is not here; by default that of
                this process.
            variables: Those that ``call`` gives to uv; what chooses packages makes another environment.

        Raises:
            BuildFailed: It cannot be made.
            OSError: The disk is full or not ours.
        """
        wanted = sorted(wanted_of(requirements))
        ours = LocalInstallation.find() if any(map(_is_ours, wanted)) else None
        folder = os.path.join(self._folder, _key(wanted, ours, python, variables))
        if not _is_ready(folder):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            lock = locks.hold(f"{folder}.lock")
            while lock is None:
                self._pause(PAUSE_S)
                lock = locks.hold(f"{folder}.lock")
            try:
                if not _is_ready(folder):
                    self._build(folder, wanted, ours, lock, python or sys.executable)
            finally:
                locks.release(lock)
        return Environment(folder)

    def _build(
        self, folder: str, wanted: Sequence[str], ours: LocalInstallation | None, lock: int, python: str
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._run(lock, "venv", "--quiet", "--no-project", "--python", python, folder)
        if ours is not None:
            wheel = ours.write_wheel(folder)
            wanted = [ours.replaced(requirement, wheel) for requirement in wanted]
        listed = os.path.join(folder, "requirements.txt")
        with open(listed, "w", encoding="utf-8") as file:
            file.writelines(f"{requirement}\n" for requirement in wanted)
        if wanted:
            made = Environment(folder).python
            self._run(lock, "pip", "install", "--python", made, "--requirement", listed)
        with open(os.path.join(folder, "ready"), "wb") as file:
            os.fsync(file.fileno())

    def _run(self, lock: int, *words: str) -> None:
        if not self._uv:
            raise BuildFailed("uv, which makes environments, was not found")
        before = os.path.getsize(self._log)
        try:
            code = self._call([self._uv, *words], lock)
        except OSError as error:
            raise BuildFailed(f"{self._uv} cannot be started: {error}") from error
        if code != 0:
            _fail(f"uv {words[0]} ended with exit code {code}", self._log, before)


class LocalInstallation:
    """This trackbridge, where it was installed from a folder: no index has it, or has another.

    It is taken along as a wheel of its own metadata, with its dependencies and extras, whose only content
    leads to the folders of its source.
    """

    def __init__(self, name: str, metadata: bytes, entry_points: bytes) -> None:
        self._name = name
        self._metadata = metadata
        self._entry_points = entry_points
        self._sources = sorted({_source("trackbridge"), _source("trackbridge_adapters")})

    @classmethod
    def find(cls) -> LocalInstallation | None:
        """Return it; None where it came from an index, which has it for the environment, too."""
        for place in sys.path:
            for name in _dist_infos(place):
                folder = os.path.join(place, name)
                try:
                    if not json.loads(_content(folder, "direct_url.json"))["url"].startswith("file:"):
                        return None
                except FileNotFoundError:
                    return None
                named = name.removesuffix(".dist-info")
                return cls(named, _content(folder, "METADATA"), _content(folder, "entry_points.txt"))
        return None

    @property
    def identity(self) -> str:
        """What an environment with it depends on."""
        return repr((self._metadata, self._entry_points, self._sources))

    def write_wheel(self, folder: str) -> str:
        """Write the wheel into a folder and return its path."""
        import zipfile

        path = os.path.join(folder, f"{self._name}-py3-none-any.whl")
        info = f"{self._name}.dist-info"
        files = {
            "_trackbridge.pth": "".join(f"{source}\n" for source in self._sources).encode(),
            f"{info}/METADATA": self._metadata,
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": self._entry_points,
        }
        record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in {**files, f"{info}/RECORD": record.encode()}.items():
                wheel.writestr(name, content)
        return path

    def replaced(self, requirement: str, wheel: str) -> str:
        """Return the requirement, led to the wheel if it is one of trackbridge."""
        found = _OURS.fullmatch(requirement)
        if found is None:
            return requirement
        from pathlib import Path

        return f"trackbridge{found['extras'] or ''} @ {Path(wheel).as_uri()} {found['marker'] or ''}".rstrip()


def wanted_of(requirements: Iterable[str]) -> Iterator[str]:
    """Leave out blank lines and comments, as they come from a file of requirements."""
    for line in requirements:
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if text:
            yield text


def path_of(requirement: str) -> str | None:
    """Return the path of a requirement that is a file or a folder; None for any other."""
    found = _PATH.match(requirement)
    if found is None:
        return None
    from urllib.parse import unquote

    return unquote(found["path"]) if found["scheme"] else found["path"]


def _is_ours(requirement: str) -> bool:
    return _OURS.fullmatch(requirement) is not None


def _is_ready(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "ready"))


def _key(
    wanted: Sequence[str], ours: LocalInstallation | None, python: str | None, variables: Mapping[str, str]
) -> str:
    """Return the name of the environment: a digest of all that it depends on."""
    interpreter = [f"python {python}"] if python else [sys.version, sys.base_prefix]
    parts = [*interpreter, ours.identity if ours else "", *_chosen_by(variables)]
    for requirement in wanted:
        parts += (requirement, *_state_of(path_of(requirement)))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _chosen_by(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield what variables have uv choose by; who signs in there makes no difference."""
    for name in CHOOSING:
        for word in variables.get(name, "").split():
            yield f"{name}={_LOGIN.sub('//', word)}"
            yield from _state_of(word if name in ("UV_CONSTRAINT", "UV_OVERRIDE") else None)


def _state_of(path: str | None) -> Iterator[str]:
    """Yield what changes when the files of a local requirement do."""
    if path is None:
        return
    for place, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            yield _stamp(os.path.join(place, name))
    if os.path.isfile(path):
        yield _stamp(path)


def _stamp(path: str) -> str:
    status = os.stat(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _dist_infos(place: str) -> list[str]:
    try:
        names = os.listdir(place)
    except OSError:  # an archive, or nothing
        return []
    return [name for name in names if name.startswith("trackbridge-") and name.endswith(".dist-info")]


def _content(folder: str, name: str) -> bytes:
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def _source(package: str) -> str:
    """Return the folder that holds a package of ours."""
    import importlib.util

    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return os.path.dirname(os.path.dirname(found.origin))


def _fail(message: str, log: str, start: int) -> NoReturn:
    """Fail with the last lines that uv wrote.

    Raises:
        BuildFailed: Always.
    """
    with open(log, "rb") as file:
        file.seek(max(start, os.path.getsize(log) - TAIL_BYTES))
        tail = file.read().decode("utf-8", "replace").strip()
    from trackbridge.domain.secrets import redact

    raise BuildFailed(f"{message}: {redact(tail)}")

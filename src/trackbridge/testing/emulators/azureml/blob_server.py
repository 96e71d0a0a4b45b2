"""Azurite, Microsoft's own emulator of Blob storage: set up in the user's cache, run as a process.

``npm ci`` fetches what ``azurite/package-lock.json`` pins. Nothing is fetched when the emulator starts.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from trackbridge.testing.emulators.azureml.child_server import ChildServer

VERSION = "3.37.0"
FOLDER_VARIABLE = "BRIDGE_AZURITE"
"""Names the folder that Azurite is set up in, when it is not the user's cache."""
READY_S = 120.0
SETUP_S = 900.0
LOOK_S = 0.5
"""How often it is looked how far npm has come."""
SETUP_MB = 370
"""What is fetched takes about as much on the disk."""
_MAIN = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
_LISTENS = re.compile(r"successfully listen\w* (?:on|at) http://127\.0\.0\.1:(\d+)")
_LISTENS_WITH_TLS = re.compile(r"TLS at https://127\.0\.0\.1:(\d+)")
_PINNED = Path(__file__).parent / "azurite"
_START = _PINNED / "start.js"


class NotSetUp(Exception):
    """Azurite, or what it needs, is not there; says what to do."""


def folder() -> Path:
    """Return where Azurite is set up, or is to be."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "trackbridge" / f"azurite-{VERSION}"


def is_set_up() -> bool:
    """Tell whether Azurite is there."""
    return (folder() / _MAIN).is_file()


def packages() -> list[str]:
    """Return the packages that are pinned, as paths below the folder."""
    locked = json.loads((_PINNED / "package-lock.json").read_text(encoding="utf-8"))
    return [name for name in locked["packages"] if name]


def set_up(on_progress: Callable[[int], None] | None = None) -> Path:
    """Fetch what is pinned into ``folder()``; returns it. A folder that is whole is kept.

    Args:
        on_progress: Called now and then with how many of ``packages()`` are there.

    Raises:
        NotSetUp: npm is not there, or failed.
    """
    place = folder()
    if is_set_up():
        return place
    npm = shutil.which("npm")
    if npm is None:
        raise NotSetUp("npm is not installed; on Debian and Ubuntu: apt install nodejs npm")
    place.parent.mkdir(parents=True, exist_ok=True)
    # Made beside, and moved: a fetch that was cut off leaves nothing that looks whole.
    made = Path(tempfile.mkdtemp(prefix=".azurite-", dir=place.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_PINNED / name, made / name)
        _run_npm(npm, made, on_progress or (lambda count: None))
        with contextlib.suppress(OSError):
            made.rename(place)  # unless somebody else was quicker
        if not is_set_up():
            raise NotSetUp(f"{place} is there, and holds no Azurite {VERSION}: remove it, and set up again")
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def _run_npm(npm: str, place: Path, on_progress: Callable[[int], None]) -> None:
    """Let npm fetch what is pinned in a folder.

    Raises:
        NotSetUp: It failed, or took too long.
    """
    command = [npm, "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
    waited, names = 0.0, packages()
    with subprocess.Popen(
        command,
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            while waited < SETUP_S:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said, _ = process.communicate(timeout=LOOK_S)
                    break
                waited += LOOK_S
                on_progress(sum((place / name / "package.json").is_file() for name in names))
            else:
                raise NotSetUp(f"npm ci was not done after {SETUP_S:.0f} s; is the network slow? Try again")
        finally:
            process.kill()  # where it still runs
    if process.returncode:
        raise NotSetUp(f"npm ci failed: {said.strip()[-500:]}")


class BlobServer(ChildServer):
    """An Azurite that runs, on a free port of this machine; with TLS on another, when it has a certificate.

    Args:
        keys: The accounts, and their keys in Base64.
        certificate: A file with the certificate of TLS, and its key.
        token_key: What tokens for storage are signed with, which it takes with TLS only, as Azure does.
        kept_in: Where blobs are kept; in memory without it.

    Raises:
        NotSetUp: It is not set up, or did not start.
    """

    def __init__(
        self,
        keys: Mapping[str, str],
        *,
        certificate: Path | None = None,
        token_key: bytes = b"",
        kept_in: Path | None = None,
    ) -> None:
        node = shutil.which("node")
        if node is None:
            raise NotSetUp("node is not installed: apt install nodejs npm, on Debian and Ubuntu")
        if not is_set_up():
            raise NotSetUp(f"Azurite is not set up in {folder()}: bridge emulate azureml --setup")
        place = ["--location", str(kept_in)] if kept_in else ["--inMemoryPersistence"]
        settings = (
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            "0",
            "--skipApiVersionCheck",
            "--disableTelemetry",
            *(("--oauth", "basic") if token_key else ()),
        )
        accounts = ";".join(f"{name}:{key}" for name, key in keys.items())
        self._port = 0
        self._tls_port = 0 if certificate else -1
        self._told: list[str] = []
        super().__init__(
            [node, str(_START), str(folder() / _MAIN), *settings, "--silent", *place],
            cwd=kept_in or tempfile.gettempdir(),
            stderr=subprocess.STDOUT,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(Path.home()),
                "AZURITE_ACCOUNTS": accounts,
                "BRIDGE_TLS": str(certificate or ""),
                "BRIDGE_TOKENS": base64.b64encode(token_key).decode(),
            },
        )

    def wait(self) -> str:
        """Wait until it listens; returns its address.

        Raises:
            NotSetUp: It did not start.
        """
        self._is_ready.wait(READY_S)
        if not (self._port and self._tls_port):
            self.close()
            raise NotSetUp("Azurite did not start: " + " ".join(self._told[-5:])[-500:])
        return f"http://127.0.0.1:{self._port}"

    @property
    def tls_port(self) -> int:
        """Where it listens with TLS, after ``wait``."""
        assert self._tls_port > 0, "wait first; it needs a certificate"
        return self._tls_port

    def _is_listening(self, line: str) -> bool:
        self._told = [*self._told[-20:], line]
        if (found := _LISTENS.search(line)) is not None:
            self._port = int(found[1])
        if (found := _LISTENS_WITH_TLS.search(line)) is not None:
            self._tls_port = int(found[1])
        return bool(self._port and self._tls_port)

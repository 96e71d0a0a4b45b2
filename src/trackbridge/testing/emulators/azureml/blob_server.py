"""Azurite, Microsoft's own emulator of Blob storage: set up in the user's cache, run as a process.

``npm ci`` fetches what ``azurite/package-lock.json`` pins. Nothing is fetched when the emulator starts.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from trackbridge.testing.emulators.azureml.child_server import ChildServer

VERSION = "3.37.0"
FOLDER_VARIABLE = "BRIDGE_AZURITE"
"""Names the folder that Azurite is set up in, when it is not the user's cache."""
READY_S = 120.0
SETUP_S = 600.0
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


def set_up() -> Path:
    """Fetch what is pinned into ``folder()``; returns it. A folder that is whole is kept.

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
        command = [npm, "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(
            command, cwd=made, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SETUP_S
        )
        if done.returncode:
            raise NotSetUp(f"npm ci failed: {(done.stderr or done.stdout).strip()[-500:]}")
        with contextlib.suppress(OSError):
            made.rename(place)  # unless somebody else was quicker
        if not is_set_up():
            raise NotSetUp(f"{place} is there, and holds no Azurite {VERSION}: remove it, and set up again")
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


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

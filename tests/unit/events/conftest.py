"""A project of its own for each test, receivers, and packages with subscribers installed beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.receivers import Receiver, receiving
from trackbridge.events import publishing
from trackbridge.events.store import FOLDER, EventStore
from trackbridge.events.subscribers import GROUP

SECRET = "correct horse battery staple"

Configure = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in list(os.environ):
        if name.startswith(("BRIDGE_", "MLFLOW_", "XDG_", "OTEL_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "project"
    (folder / ".bridge").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    publishing._forget()
    yield folder
    publishing._forget()
    end_dispatchers(folder)


@pytest.fixture
def store(project: Path) -> EventStore:
    return EventStore(project / ".bridge" / FOLDER)


@pytest.fixture
def receiver(project: Path) -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def configure(project: Path) -> Configure:
    """Write webhooks into the project's settings."""

    def configure(text: str = "", **urls: str) -> None:
        hooks = [
            f'[webhooks.{name}]\nurl = "{url}"\nsecret_env = "HOOK_SECRET"' for name, url in urls.items()
        ]
        (project / ".bridge/config.toml").write_text("\n".join([textwrap.dedent(text), *hooks]))

    return configure


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package with subscribers: names, and the text of its module, which has them as functions."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))

    def install(module: str, *names: str, package: str = "their-package", group: str = GROUP) -> None:
        name = package.replace("-", "_") + "_module"
        monkeypatch.delitem(sys.modules, name, raising=False)  # of an earlier test
        (site / f"{name}.py").write_text(textwrap.dedent(module))
        info = site / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{item} = {name}:{item}\n" for item in names)
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")

    return install


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds, generously."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def run_program(text: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own and return how it ended."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


def processes(folder: Path) -> list[int]:
    """Return the dispatchers and workers that run in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == folder:
                command = (entry / "cmdline").read_bytes()
                if b"trackbridge.events" in command:
                    found.append(int(entry.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def end_dispatchers(folder: Path) -> None:
    for process_id in processes(folder):
        try:
            os.kill(process_id, signal.SIGKILL)
        except ProcessLookupError:
            continue

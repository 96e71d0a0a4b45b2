"""Build contexts of images without an engine: their Dockerfile read strictly, their server run as it says.

The server runs in a virtual environment of its own, with the context's wheel and the libraries of this one,
and sees the context's model at ``/opt/ml/model``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.testing.emulators.containers import Containers, Launch, Server, free_port

READY_S = 120.0
PAIR = re.compile(r'([A-Za-z_][A-Za-z0-9_.-]*)=(?:"((?:[^"\\]|\\.)*)"|([^\s"\\]+))(?:\s+|$)')
ESCAPE = re.compile(r'\\(["\\$])')


@dataclass
class Dockerfile:
    """What a Dockerfile says, instruction by instruction."""

    instructions: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, context: Path) -> Dockerfile:
        """Read the Dockerfile of a context; fails on what an engine would refuse, or we never write."""
        made = cls()
        text = (context / "Dockerfile").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
            if line:
                made._take(line, context)
        names = [name for name, _ in made.instructions]
        assert names[0] == "FROM"
        assert names.count("FROM") == names.count("ENTRYPOINT") == names.count("HEALTHCHECK") == 1
        assert names.index("USER") > max(place for place, name in enumerate(names) if name in ("RUN", "COPY"))
        return made

    def _take(self, line: str, context: Path) -> None:
        name, _, rest = line.partition(" ")
        self.instructions.append((name, rest))
        if name in ("ENV", "LABEL"):
            (self.environment if name == "ENV" else self.labels).update(pairs(rest))
        elif name == "FROM":
            assert re.fullmatch(r"[a-z0-9][\w./-]*:[\w.-]+(@sha256:[0-9a-f]{64})?", rest), (
                "a tag, no 'latest'"
            )
        elif name == "COPY":
            *sources, target = rest.split(" ")
            assert sources
            assert all((context / source).exists() and ".." not in source for source in sources), sources
            assert target.endswith("/")
        elif name == "HEALTHCHECK":
            assert all(isinstance(part, str) for part in json.loads(rest.partition(" CMD ")[2]))
        elif name == "ENTRYPOINT":
            assert all(isinstance(part, str) for part in json.loads(rest))
        elif name == "USER":
            assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", rest), "not root, by number"
        elif name == "EXPOSE":
            assert rest.isdecimal()
        elif name == "STOPSIGNAL":
            assert rest == "SIGTERM"
        elif name == "WORKDIR":
            assert rest.startswith("/")
        else:
            assert name == "RUN", f"{name} is nothing that we write"

    def argument(self, name: str) -> str:
        """Return what follows the only instruction of a name."""
        (found,) = [rest for given, rest in self.instructions if given == name]
        return found

    @property
    def entrypoint(self) -> list[str]:
        """What a container runs."""
        return list(json.loads(self.argument("ENTRYPOINT")))

    @property
    def health(self) -> list[str]:
        """What says whether a container is well."""
        return list(json.loads(self.argument("HEALTHCHECK").partition(" CMD ")[2]))


def pairs(text: str) -> dict[str, str]:
    """Return names and values of an ENV or LABEL, as an engine reads them."""
    found, end = {}, 0
    while end < len(text):
        match = PAIR.match(text, end)
        assert match is not None, text[end:]
        value = match[3] if match[2] is None else match[2]
        assert not re.search(r"(?<!\\)(?:\\\\)*\$", value), f"{match[1]} would have a variable put in"
        found[match[1]], end = ESCAPE.sub(r"\1", value), match.end()
    return found


def install(context: Path, folder: Path) -> Path:
    """Return the Python of a virtual environment in which a context's wheel is installed."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    (wheel,) = (context / "wheels").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True)
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "dependencies.pth").write_text("\n".join(sorted(libraries)) + "\n", encoding="utf-8")
    return python


@contextmanager
def serving(context: Path, python: Path, log: list[str]) -> Iterator[Server]:
    """Run the server of a context as its image would, and give it once it answers."""
    said = Dockerfile.read(context)
    containers = Containers("bridge-image-", roots=("/opt/ml",))
    try:
        folder = containers.folder("image")
        shutil.copytree(context / "model", folder / "opt" / "ml" / "model")
        server = Server(containers, ready="/ping", port=free_port())
        _, *arguments = said.entrypoint
        variables = {
            **said.environment,
            "BRIDGE_SERVING_PORT": str(server.port),
            "TMPDIR": str(folder / "work"),
        }
        if not containers.is_mounted:
            variables["BRIDGE_MODEL_PATH"] = "/opt/ml/model"  # is rewritten to where it really is
        server.run(Launch([str(python), *arguments], folder, variables, log.append))
        server.wait_until_ready(READY_S, lambda: True)
        yield server
        server.end()
    finally:
        containers.close()

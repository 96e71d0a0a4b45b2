"""Pages are run: their blocks one after the other, in one folder, as somebody would who follows them."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.snippets import ROOT, Block, Page
from tests.support.endpoints import no_process_left
from trackbridge.testing.emulators.azureml.blob_server import FOLDER_VARIABLE

BLOCK_S = 400
OTHERS = ("BRIDGE_", "MLFLOW_", "AWS_", "AZURE", "IDENTITY_", "MSI_", "PYTEST_", "VIRTUAL_ENV")
"""How variables begin that would lead a page somewhere else."""
OF_THE_SHELL = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})
PREPARED = Path(__file__).parent / "prepared"
INTERPRETER = Path(__file__).parent / "snippet_interpreter.py"
RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""For an interpreter that takes ``-c`` alone, as ``warm_python`` does."""
PROGRAMS = {
    "bridge": "tests.docs.snippet_bridge",
    "trackbridge": "tests.docs.snippet_bridge",
    "pip": "tests.docs.snippet_pip",
}
"""What stands in for programs: ``bridge`` confirms by itself, ``pip`` looks whether all is there."""
ELISIONS = ("[…]", "…")


class WentWrong(AssertionError):
    """A block did not do what its page says."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a block ended, and what it printed."""

    code: int
    out: str
    err: str


class Place:
    """The folder of a page, its variables, and its interpreter, which takes ``-c``."""

    def __init__(self, folder: Path, variables: Mapping[str, str], python: str = sys.executable) -> None:
        self.root = folder
        self.folder = folder / "project"
        self.folder.mkdir()
        self.cwd = self.folder
        self.environ = {**_environment(folder), **variables}
        self.programs = (python, "-c", RUN)
        self._interpreter: subprocess.Popen[str] | None = None

    def shell(self, text: str) -> Outcome:
        """Run lines of a shell; what they export and where they go lasts."""
        after = self.root / "after"
        script = f"set -e -o pipefail\n{text}\nenv -0 > {after}.env\npwd > {after}.cwd\n"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.cwd, env=self.environ, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=BLOCK_S, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            pairs = Path(f"{after}.env").read_text(encoding="utf-8").rstrip("\0").split("\0")
            found = dict(pair.split("=", 1) for pair in pairs)
            self.environ = {name: value for name, value in found.items() if name not in OF_THE_SHELL}
            self.cwd = Path(Path(f"{after}.cwd").read_text(encoding="utf-8").strip())
        return Outcome(done.returncode, done.stdout, done.stderr)

    def python(self, text: str, name: str) -> Outcome:
        """Run a program in the page's interpreter, with the names of those before it."""
        if self._interpreter is None:
            self._interpreter = subprocess.Popen(
                [*self.programs, str(INTERPRETER)], cwd=self.cwd, env=self.environ, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._interpreter.stdin is not None
        assert self._interpreter.stdout is not None
        asked = {
            "text": text,
            "name": name,
            "environ": self.environ,
            "cwd": str(self.cwd),
            "out": str(self.root),
        }
        self._interpreter.stdin.write(json.dumps(asked) + "\n")
        self._interpreter.stdin.flush()
        answer = self._interpreter.stdout.readline()
        printed = [(self.root / f"python.{kind}").read_text(encoding="utf-8") for kind in ("out", "err")]
        return Outcome(json.loads(answer) if answer else -1, *printed)

    def close(self) -> None:
        """End the interpreter, delete the endpoints of this machine, and see that no process is left."""
        if self._interpreter is not None:
            assert self._interpreter.stdin is not None
            self._interpreter.stdin.close()
            self._interpreter.wait(BLOCK_S)
            assert self._interpreter.stdout is not None
            self._interpreter.stdout.close()
        if (self.folder / ".bridge").is_dir():
            self.shell(f"bridge endpoints list --json --target {self.folder}/.bridge > {self.root}/endpoints")
            told = (self.root / "endpoints").read_text(encoding="utf-8").splitlines()
            for name in {line["endpoint"] for text in told if "endpoint" in (line := json.loads(text))}:
                self.shell(f"bridge endpoints delete {name} --target {self.folder}/.bridge")
        no_process_left(self.root)


def _environment(folder: Path) -> dict[str, str]:
    """Return the variables of a page: nothing of the user's own projects, clouds and settings."""
    programs = folder / "bin"
    programs.mkdir()
    for name, module in PROGRAMS.items():
        path = programs / name
        path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -P -m {module} "$@"\n')
        path.chmod(0o755)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    own = {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": cache,
        "XDG_CONFIG_HOME": str(folder / "home/.config"),
        "XDG_STATE_HOME": str(folder / "home/.local/state"),
        "BRIDGE_DELIVERY_EXIT_WAIT_S": "60",
        "BRIDGE_READ_WAIT_S": "60",
        "COLUMNS": "160",
    }
    (folder / "home").mkdir()
    kept = {k: v for k, v in os.environ.items() if k == FOLDER_VARIABLE or not k.startswith(OTHERS)}
    return kept | own


def run_page(page: Page, place: Place) -> int:
    """Run the blocks of a page; return how many were run.

    Raises:
        WentWrong: One did not end, or did not print, as the page says.
    """
    for name in page.prepared:
        _prepare(name, place)
    last = Outcome(0, "", "")
    count = 0
    for block in page.blocks:
        if block.kind == "file":
            path = place.folder / block.said
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.kind == "runs":
            last = _run(block, place)
            count += 1
        elif block.kind == "prints":
            _compare(block, last.out)
    return count


def _run(block: Block, place: Place) -> Outcome:
    is_python = block.language == "python"
    outcome = place.python(block.text, block.place) if is_python else place.shell(block.commands)
    wanted = int(block.said.removeprefix("exits ") or 0)
    if outcome.code != wanted:
        said = f"{block.place}: ended with {outcome.code}, not {wanted}"
        raise WentWrong(f"{said}\n{block.text}\n{outcome.out}\n{outcome.err}")
    return outcome if not wanted else Outcome(outcome.code, outcome.out + outcome.err, "")


def _prepare(said: str, place: Place) -> None:
    """Run a script of ``prepared/``; ``wine at azureml:`` runs it with that tracking URI."""
    name, _, uri = said.partition(" at ")
    script = PREPARED / f"{name}.py"
    assert script.is_file(), f"there is no {script}"
    before = f"BRIDGE_TRACKING_URI={uri} " if uri else ""
    outcome = place.shell(f"{before}{shlex.join([*place.programs, str(script)])}")
    if outcome.code:
        raise WentWrong(f"prepared/{name}.py: {outcome.out}\n{outcome.err}")


def _compare(block: Block, printed: str) -> None:
    """See that a block is what was printed; a line of an elision stands for any lines."""
    wanted, found = comparable(block.text), comparable(printed)
    if not is_alike(wanted.splitlines(), found.splitlines()):
        difference = "\n".join(
            difflib.unified_diff(wanted.splitlines(), found.splitlines(), "page", "run", n=9)
        )
        raise WentWrong(f"{block.place}: it printed something else\n{difference}")


def is_alike(wanted: list[str], found: list[str]) -> bool:
    """Tell whether lines are the wanted ones, in their order, with anything in place of an elision."""
    rows = [""]
    for line in wanted:
        if line.strip() in ELISIONS:
            rows.append(r"(?:.*\n)*?")
        else:
            rows.append(
                "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", line)) + r"\n"
            )
    return re.fullmatch("".join(rows), "".join(f"{line}\n" for line in found)) is not None


def comparable(text: str) -> str:
    """Return what is the same each time: no ids, times, names of users, nor how wide columns are."""
    plain = re.sub(r"\b[0-9a-f]{12,32}\b", "<id>", text.strip())
    plain = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?Z?", "<time>", plain)
    plain = re.sub(r"\b(?:\d[\d.,]* (?:ms|µs|s|min)|\d+[dhm] \d+[hms])\b", "<duration>", plain)
    plain = re.sub(r"\b127\.0\.0\.1:\d+", "<address>", plain)
    plain = re.sub(r"\S+(?= +<id>$)", "<user>", plain, flags=re.MULTILINE)
    return "\n".join(re.sub(r" +", " ", line).rstrip() for line in plain.splitlines())

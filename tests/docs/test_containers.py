"""docs/containers.md: its tables are complete, and its program runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tests.support.scoring_servers import save_obedient_model
from trackbridge.serving import container
from trackbridge.serving.application import SCORING_PATHS
from trackbridge.testing.contracts.deployment_models import answering, spec_for
from trackbridge_adapters.docker.checks import OPTIONS
from trackbridge_adapters.docker.context import write_context

PAGE = (Path(__file__).resolve().parents[2] / "docs/containers.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """Return the first cell of each row of a table."""
    table = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0]
    return [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]


def test_it_names_every_variable() -> None:
    known = set(re.findall(r"``(BRIDGE_[A-Z_]+)``", container.__doc__ or ""))
    assert set(re.findall(r"BRIDGE_[A-Z_]+", " ".join(rows("variable")))) == known
    source = Path(container.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r'"(BRIDGE_[A-Z_]+)"', source))
    assert read <= known


def test_it_names_every_option_and_route() -> None:
    assert [cell.strip("`") for cell in rows("option (`-C`)")] == list(OPTIONS_IN_ORDER)
    assert set(OPTIONS_IN_ORDER) == set(OPTIONS)
    assert all(f"POST {path}" in " ".join(rows("route")) for path in SCORING_PATHS)


OPTIONS_IN_ORDER = ("base_image", "system_packages", "extras", "package", "pins", "trial")


def test_it_names_every_file(tmp_path: Path) -> None:
    model = answering(tmp_path, "one", 1.0)
    folder = tmp_path / "context"
    folder.mkdir()
    write_context(folder, spec_for(model, "wine", "v1"), model)
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert {cell.strip("`/") for cell in rows("file")} == there


def test_its_program_serves(tmp_path: Path) -> None:
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    save_obedient_model(tmp_path / "model")
    ready = "trackbridge.serving.container"
    assert ready in block
    program = block.replace("python -m", f"exec {shlex.quote(sys.executable)} -m")
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen(["/bin/sh", "-c", program], cwd=tmp_path, stdout=out, env=os.environ)
    try:
        deadline = time.monotonic() + 60
        while b"is ready" not in (tmp_path / "out").read_bytes():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        line = json.loads((tmp_path / "out").read_bytes().splitlines()[-1])
        assert line["port"] > 0
    finally:
        process.terminate()
    assert process.wait(60) == 0

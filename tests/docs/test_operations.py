"""docs/operations.md and docs/security.md: places, modes, bounds and variables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.messages import FOLDERS
from tests.docs.test_environment import rows
from trackbridge.events import store
from trackbridge.journal import writer
from trackbridge.journal.format import RECORD_BYTES_MAX
from trackbridge.resolve.config import SETTINGS
from trackbridge_adapters.local.endpoint_logs import LOG_BYTES_MAX

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs/security.md").read_text(encoding="utf-8")
LOGGED = """
import trackbridge as tb

tb.set_experiment("modes")
with tb.start_run() as run:
    tb.log_metric("loss", 1.0)
    tb.log_text("kept", "note.txt")
    import os, sys
    for folder, _, names in os.walk(".bridge/journal"):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            print(oct(os.stat(path).st_mode & 0o777), path)
"""


def test_every_place_in_a_project_is_one_that_the_code_names() -> None:
    table = OPERATIONS.split("| in `.bridge` |")[1].split("\n\n")[0]
    places = re.findall(r"`([\w./-]+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:]))
    code = "\n".join(
        path.read_text(encoding="utf-8") for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
    )
    assert len(places) > 15
    names = {place.rstrip("/").rpartition("/")[2].removesuffix("-wal") for place in places}
    assert [name for name in names if f'"{name}"' not in code] == []


def test_bounds_are_those_of_the_code() -> None:
    assert (writer.BYTES_MAX, writer.FREE_SHARE_MAX) == (10 * 1000**3, 0.1)
    assert "10 GB, or a tenth of the free disk if that is less" in OPERATIONS
    assert f"| {RECORD_BYTES_MAX >> 20} MiB |" in OPERATIONS
    assert f"| {LOG_BYTES_MAX >> 20} MiB each |" in OPERATIONS
    assert f"| {store.UNDELIVERED_MAX:,}, or {store.UNDELIVERED_BYTES_MAX // 10**6} MB," in OPERATIONS


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_variables_that_a_page_names_are_in_the_reference(page: str) -> None:
    known = {name for name, _ in rows()} | {setting.variable for setting in SETTINGS.values()}
    known |= {"BRIDGE_LIVE_AWS_BUCKET", "BRIDGE_LIVE_AZURE_WORKSPACE"}  # of tests against real accounts
    beginnings = tuple(name.removesuffix("*") for name in known if name.endswith("*"))
    named = set(re.findall(r"\bBRIDGE_[A-Z_]*[A-Z]\b", (ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert [name for name in sorted(named - known) if not name.startswith(beginnings)] == []


def test_what_waits_is_for_its_owner_alone_and_the_rest_is_as_umask_says(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "MLFLOW_"))}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env={**kept, "BRIDGE_DELIVERY": "off"},
            capture_output=True, text=True, timeout=120, umask=0o022,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "trackbridge", "init")
    modes = dict(line.split(" ")[::-1] for line in run("-c", LOGGED).splitlines())
    folders = [mode for path, mode in modes.items() if re.fullmatch(r"\.bridge/journal/[0-9a-f]{32}", path)]
    assert folders == ["0o700"]
    records = {path.rpartition("/")[2]: mode for path, mode in modes.items() if path.endswith(".log")}
    assert records["00000001.log"] == "0o600"
    run("-m", "trackbridge", "gateway", "tokens", "add", "reader", "--scope", "read")
    found = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / ".bridge").iterdir()}
    assert found["gateway-tokens.json"] == "0o600"
    assert (found["store.db"], found["config.toml"], found["artifacts"]) == ("0o644", "0o644", "0o755")
    for words in (
        "0700, files 0600 |",
        "0600; open to others, nobody is let in",
        "by umask: 0644, folders 0755",
    ):
        assert words in SECURITY

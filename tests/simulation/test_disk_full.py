"""A full disk: the program lives, the user is told, nothing that was accepted is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# The store, its journal and a ballast share a small disk of their own. The program logs until records are
# refused, frees the ballast, goes on, and counts what was accepted by what the journal says it refused.
PROGRAM = """
import json, os, sys, time, warnings
import trackbridge as tb

store = sys.argv[1]
ballast = os.path.join(store, "ballast")
with open(ballast, "wb") as file:
    file.write(bytes(2_000_000))
tb.set_tracking_uri("file:" + store)
tb.set_experiment("full")
run = tb.start_run()
writer = tb.Client().session.writer
accepted = []

def log(step):
    before = writer.refused
    tb.log_metric("loss", step / 3, step=step)
    if writer.refused == before:
        accepted.append(step)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    step = 0
    while writer.refused < 50 and step < 1_000_000:
        log(step)
        step += 1
    full_after = step
    tb.log_text("x" * 4_000_000, "large.txt")  # is refused as well, and does not raise
    os.unlink(ballast)
    deadline = time.monotonic() + 30
    while len(accepted) < full_after + 2000 and time.monotonic() < deadline:
        log(step)
        step += 1
        if writer.refused > 50 and step % 100 == 0:
            time.sleep(0.05)
tb.end_run()
tb.flush(60)
found = list(tb.Client().get_metric_columns(run.info.run_id, "loss").steps)
print(json.dumps({
    "refused": writer.refused,
    "accepted": len(accepted),
    "missing": len(set(accepted) - set(found)),
    "twice": len(found) - len(set(found)),
    "status": str(tb.get_run(run.info.run_id).info.status),
    "told": [str(item.message) for item in caught],
}))
"""


def on_small_disk(folder: Path, megabytes: int, *command: str) -> list[str]:
    """Return a command that runs another with a small disk mounted at a folder, for itself alone."""
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs "$0" && exec "$@"'
    flags = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    return ["unshare", *flags, "sh", "-c", script, str(folder), *command]


def can_mount(folder: Path) -> bool:
    """Tell whether this user may mount a small disk; some systems forbid it. CI must be able to."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(on_small_disk(folder, 1, "true"), capture_output=True).returncode == 0


def test_a_small_disk_fills_and_clears(tmp_path: Path) -> None:
    if not can_mount(tmp_path) and "CI" not in os.environ:
        pytest.skip("no mount namespaces for this user; test_writer.py fills a quota instead")
    process = subprocess.run(
        on_small_disk(tmp_path, 6, sys.executable, "-c", PROGRAM, str(tmp_path)),
        env={**os.environ, "BRIDGE_JOURNAL_BYTES_MAX": "1GB"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["refused"] >= 50
    assert result["missing"] == 0
    assert result["twice"] == 0
    assert result["status"] == "FINISHED"
    assert any("refuses records" in text for text in result["told"])
    assert any("accepts records again" in text for text in result["told"])

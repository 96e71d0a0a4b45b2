"""``bridge doctor`` finds what is wrong, and says what to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, log_run
from trackbridge.delivery import circuit
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.errors import AuthError
from trackbridge.journal.reader import Damage
from trackbridge.journal.writer import JournalWriter
from trackbridge.operations import doctor
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity


def findings(bridge: Bridge, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    return bridge("doctor", *arguments, "--json", code=code).objects[:-1]


def about(found: list[dict[str, Any]], subject: str, severity: str) -> list[dict[str, Any]]:
    return [item for item in found if item["subject"] == subject and item["severity"] == severity]


def test_all_is_well(bridge: Bridge, client: tb.Client) -> None:
    log_run(client, "any")
    client.flush()
    result = bridge("doctor")
    assert "ERROR" not in result.out
    assert {"versions", "home", "tracking URI", "database", "journals", "clock", "adapters"} <= {
        item["subject"] for item in findings(bridge)
    }


def test_remotes_are_named_that_are_not_looked_at(bridge: Bridge, project: Path) -> None:
    bridge("remotes", "add", "here", f"file:{project}/.bridge")
    bridge("remotes", "add", "moon", "https://moon.example")
    (told,) = about(findings(bridge), "remotes", "ok")
    assert (told["message"], told["fix"]) == ("not looked at: moon", "bridge doctor moon")
    assert not about(findings(bridge, "here"), "remotes", "ok")


def test_nothing_is_made(bridge: Bridge, project: Path) -> None:
    bridge("doctor")
    assert list(project.iterdir()) == []


def test_every_error_and_warning_has_a_fix(bridge: Bridge, project: Path) -> None:
    root = project / ".bridge/journal"
    writer = JournalWriter(root, (f"file:{project}/.bridge",))
    writer.close()
    letters = DeadLetters(root)
    letters.add("file:/x", "j" * 32, [(1, "r", "MetricLogged", "no", b"")])
    letters.add_damages("j" * 32, [Damage(1, 32, 10, 2, "damaged records")])
    (writer.folder.path / "delivery.log").write_text("Traceback\nValueError: token=hunter2 \x1b[31m\n")
    found = findings(bridge)
    (left_behind,) = about(found, "journals", "warning")
    assert "1 journal left behind" in left_behind["message"]
    assert left_behind["fix"] == "bridge sync run"
    assert "1 record rejected by file:/x" in about(found, "dead letters", "warning")[0]["message"]
    assert (
        "1 damaged place in journals; at most 2 records lost"
        in about(found, "damage", "warning")[0]["message"]
    )
    log = about(found, "delivery", "warning")[0]["message"]
    assert "ValueError: token=***" in log
    assert "hunter2" not in log
    assert all(item["fix"] for item in found if item["severity"] != "ok")
    shown = bridge("doctor").out
    assert "\x1b" not in shown
    assert "nothing is wrong, 4 warnings" in shown


def test_a_long_outage_that_is_over_is_no_finding(
    bridge: Bridge, project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit, "CIRCUIT_S", 0.0)
    watched = circuit.Circuit("https://example.org")
    watched.fail("connection refused")
    watched.succeed()
    writer = JournalWriter(project / ".bridge/journal", (f"file:{project}/.bridge",))
    writer.close()
    log = writer.folder.path / "delivery.log"
    log.write_text("".join(f"{message}\n" for message in caplog.messages))
    assert len(caplog.messages) == 2
    assert about(findings(bridge), "delivery", "warning") == []
    log.write_text(log.read_text() + "ValueError: at last\n")
    assert "reported in" in about(findings(bridge), "delivery", "warning")[0]["message"]


def test_unknown_backend(bridge: Bridge) -> None:
    (error,) = about(findings(bridge, "sagemaker:", code=1), "backend", "error")
    assert "AWS_REGION" in error["fix"]
    assert "neither a remote nor a scheme" in bridge("doctor", "nobody", code=1).out


def test_uri_by_option(bridge: Bridge, project: Path) -> None:
    (shown,) = about(findings(bridge, "--uri", "./store"), "tracking URI", "ok")
    assert shown["message"] == f"file:{project}/store"
    assert about(findings(bridge, "./store", "--uri", "./store"), "tracking URI", "ok") == [shown]
    assert "name one" in bridge("doctor", "./store", "--uri", "./other", code=2).err


def test_adapters_are_one_line(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    (adapters,) = about(findings(bridge), "adapters", "ok")
    assert adapters["message"] == "azureml, databricks, docker, file, http, https, mlflow, sagemaker, spark"
    monkeypatch.setattr("trackbridge.resolve.entry_points.installed_names", lambda: frozenset({"file"}))
    (missing,) = about(findings(bridge), "adapters", "warning")
    assert missing["message"].endswith(": azureml, databricks, docker, http, https, mlflow, sagemaker, spark")
    assert "reinstall" in missing["fix"]


def test_wrong_setting(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_STRICT", "perhaps")
    monkeypatch.setenv("BRIDGE_STRIKT", "yes")
    found = findings(bridge, code=1)
    assert "BRIDGE_STRICT" in about(found, "settings", "error")[0]["message"]
    assert about(found, "settings", "warning")[0]["fix"] == "did you mean BRIDGE_STRICT?"
    assert bridge("doctor", code=1).out.splitlines()[-1] == "1 error, 1 warning"


def test_sick_backend(bridge: Bridge, project: Path) -> None:
    (project / "file").write_text("not a folder")
    (error,) = about(findings(bridge, "./file", code=1), "backend", "error")
    assert "is a file, not a folder" in error["message"]
    assert error["fix"]


def test_write_probes(bridge: Bridge, project: Path) -> None:
    (project / "store").mkdir()
    assert not about(findings(bridge, "./store", "--write"), "folder", "error")


class Refusing:
    """A backend that does not know who asks."""

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises

    def check(self, *, write: bool) -> tuple[Finding, ...]:
        if self.raises:
            raise AuthError("who are you", hint="log in")
        return (Finding(severity=Severity.ERROR, subject=CREDENTIALS, message="expired", fix="log in"),)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("raises", [True, False])
def test_refused_credentials_end_with_6(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    backend = Refusing(raises=raises)
    monkeypatch.setattr("trackbridge.delivery.connect.open_uri", lambda uri, settings: backend)
    assert about(findings(bridge, code=6), CREDENTIALS, "error")[0]["fix"] == "log in"


def test_clock_behind(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    assert about(findings(bridge, code=1), "clock", "error")


def test_journal_written_in_the_future(bridge: Bridge, project: Path) -> None:
    writer = JournalWriter(project / ".bridge/journal", (f"file:{project}/.bridge",))
    later = time.time() + 3600
    os.utime(writer.folder.segment(1), (later, later))
    assert "in the future" in about(findings(bridge), "clock", "warning")[0]["message"]
    writer.close()


def test_network_file_system(bridge: Bridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(doctor, "MOUNTS", mounts)
    (warning,) = about(findings(bridge), "journal file system", "warning")
    assert "nfs4" in warning["message"]
    assert "BRIDGE_HOME" in warning["fix"]


def test_disk_that_is_nearly_full(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_BYTES_MIN", 10**18)
    assert "GB free" in about(findings(bridge), "journal disk", "warning")[0]["message"]


def test_missing_package_that_a_setting_needs(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setenv("BRIDGE_SYSTEM_METRICS", "yes")
    (error,) = about(findings(bridge, code=1), "extras", "error")
    assert error["fix"] == "pip install 'trackbridge[system]'"
    assert bridge("doctor", code=1).out.splitlines()[-1] == "1 error"


def test_what_is_optional_reads_like_no_fault(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "psutil" else name)
    shown = bridge("doctor").out
    assert "optional extras: system: without psutil\n" in shown
    assert "\n         if wanted: pip install 'trackbridge[system]'\n" in shown
    assert "fix:" not in shown
    assert shown.endswith("all is well\n")

"""``bridge sync``: what is left behind is seen and delivered; dead letters are shown, replayed, dropped."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge_process, log_run, rest_of
from tests.support.journals import opened
from trackbridge.api.recorder import RunRecorder
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.runs import RunStatus
from trackbridge.journal.folder import journals
from trackbridge.journal.writer import JournalWriter

POINTS = 500
PROGRAM = f"""
import os, signal, sys, trackbridge as tb
client = tb.Client()
run_id = client.create_run(client.open_experiment("wine").experiment_id, run_name="victim").info.run_id
for step in range({POINTS}):
    client.log_metric(run_id, "loss", step / 3, step=step)
if sys.argv[1] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sys.stdin.readline()
client.set_terminated(run_id)
"""


def start_program(how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def kill_a_program() -> None:
    assert start_program("die").wait(timeout=60) == -signal.SIGKILL


def test_nothing_to_do(bridge: Bridge) -> None:
    assert bridge("sync", "status").err == "there are no journals: nothing is waiting to be delivered\n"
    assert bridge("sync", "run").out == "everything is delivered (0 records by this command)\n"
    assert bridge("sync", "dead-letters").err == "there are no dead letters\n"
    assert bridge("sync", "replay", "--all", "--json").summary["delivered"] == 0


def test_killed_program_is_seen_and_delivered(bridge: Bridge, project: Path) -> None:
    kill_a_program()
    status = bridge("sync", "status", "--json")
    journal = status.objects[0]
    assert journal["writer_lives"] is False
    assert journal["is_being_delivered"] is False
    destination = {"uri": file_uri(project / ".bridge"), "delivered": 0, "rejected": 0, "problem": None}
    pending = journal["destinations"][0].pop("pending")
    assert journal["destinations"] == [destination]
    assert pending >= POINTS
    assert status.summary["pending"] == pending
    shown = bridge("sync", "status").out.splitlines()[1]
    assert f"dead {journal['pid']} on {journal['host']}" in shown
    assert shown.rstrip().endswith(f"{pending:,}")

    done = bridge("sync", "run", "--json")
    assert done.summary == {"type": "summary", "delivered": pending, "left": 0, "dead_letters": 0}
    assert bridge("sync", "status", "--json").summary["journals"] == 0
    run = bridge("runs", "show", "victim", "--json").summary["run"]
    assert run["info"]["status"] == "KILLED"
    points = bridge("runs", "log", "victim", "--json").summary["points"]
    assert points == {"loss": POINTS}


def test_living_program_without_delivery(bridge: Bridge) -> None:
    program = start_program("wait")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    journal = bridge("sync", "status", "--json").objects[0]
    assert journal["writer_lives"] is True
    assert journal["pid"] == program.pid
    assert bridge("sync", "run", "--json").summary["delivered"] >= POINTS
    assert bridge("runs", "show", "victim", "--json").summary["run"]["info"]["status"] == "RUNNING"
    after = bridge("sync", "status", "--json")
    assert after.summary["journals"] == 1
    assert after.summary["pending"] == 0
    program.communicate("end\n", timeout=60)
    assert bridge("runs", "show", "victim", "--json").summary["run"]["info"]["status"] == "FINISHED"


def test_destination_that_is_away(bridge: Bridge, project: Path) -> None:
    """What cannot be delivered now is left, with the reason; exit 5. It goes once the destination is back."""
    kill_a_program()
    store = project / ".bridge"
    database = store / "store.db"
    database.mkdir()  # SQLite cannot open a folder
    result = bridge("sync", "run", "--json", code=5)
    left = next(item for item in result.objects if item["type"] == "left")
    assert left["pending"] >= POINTS
    assert left["why"]
    assert result.summary["left"] == 1
    assert bridge("sync", "status", "--json").objects[0]["destinations"][0]["problem"] == left["why"]
    assert "left in journal" in bridge("sync", "run", code=5).out
    database.rmdir()
    assert bridge("sync", "run", "--json").summary["left"] == 0


def test_damaged_description_goes_to_the_uri_named(bridge: Bridge, project: Path) -> None:
    kill_a_program()
    (folder,) = journals(project / ".bridge/journal")
    (folder.path / "journal.json").write_text("{")
    result = bridge("sync", "run", code=5)
    assert "cannot be read" in result.out
    assert "bridge sync run URI" in result.out
    assert "?" in bridge("sync", "status").out
    bridge("sync", "run", "./.bridge")
    assert bridge("runs", "show", "victim", "--json").summary["run"]["info"]["status"] == "KILLED"


def test_torn_journal_is_told(bridge: Bridge, project: Path) -> None:
    kill_a_program()
    (folder,) = journals(project / ".bridge/journal")
    segment = folder.segment(1)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    bridge("sync", "run")
    status = bridge("sync", "status")
    assert "damage: journal" in status.out
    assert "lost" in status.out
    assert bridge("sync", "status", "--json").summary["damages"] == 1


def test_follow_delivers_what_comes_later_until_ctrl_c(project: Path) -> None:
    kill_a_program()
    follower = bridge_process("sync", "run", "--follow")
    assert follower.stderr is not None
    assert follower.stderr.readline().endswith("records delivered\n")
    kill_a_program()
    assert follower.stderr.readline().endswith("records delivered\n")
    follower.send_signal(signal.SIGINT)
    code, _, errors = rest_of(follower)
    assert errors.strip() == "interrupted"
    assert code == 130
    assert list(journals(project / ".bridge/journal")) == []


@pytest.fixture
def rejected(bridge: Bridge, client: tb.Client, project: Path) -> str:
    """The id of a run whose experiment was deleted before delivery: all its records are dead letters."""
    log_run(client, "old", experiment="tests")
    client.flush()
    bridge("experiments", "delete", "tests", "--yes")
    writer = JournalWriter(project / ".bridge/journal", (file_uri(project / ".bridge"),))
    recorder = RunRecorder(writer, opened())
    recorder.params({"lr": "0.1"})
    recorder.metric("loss", 0.5, 0, 1_700_000_000_000)
    recorder.close(RunStatus.FINISHED)
    writer.close()
    bridge("sync", "run")
    return recorder.run_id


def test_dead_letters_are_listed(bridge: Bridge, rejected: str) -> None:
    result = bridge("sync", "dead-letters", "--json")
    letters = result.objects[:-1]
    assert result.summary["dead_letters"] == len(letters)
    assert {letter["run_id"] for letter in letters} == {rejected}
    assert {"RunOpened", "ParamsSet", "MetricLogged", "RunClosed"} <= {letter["kind"] for letter in letters}
    assert "deleted" in letters[0]["reason"]
    shown = bridge("sync", "dead-letters")
    columns = ["NUMBER", "KIND", "RUN", "DESTINATION", "TIME", "(UTC)", "REASON"]
    assert shown.out.splitlines()[0].split() == columns
    assert "bridge sync replay --all" in shown.err
    metric = next(letter for letter in letters if letter["kind"] == "MetricLogged")
    whole = bridge("sync", "dead-letters", "--show", str(metric["number"]), "--json").summary
    assert whole["record"]["key"] == "loss"
    assert "value        0.5\n" in bridge("sync", "dead-letters", "--show", str(metric["number"])).out
    assert bridge("sync", "status", "--json").summary["dead_letters"] != {}
    limited = bridge("sync", "dead-letters", "--limit", "2")
    assert f"{len(letters) - 2} more" in limited.err


def test_replay_end_to_end(bridge: Bridge, rejected: str) -> None:
    count = bridge("sync", "dead-letters", "--json").summary["dead_letters"]
    again = bridge("sync", "replay", "--all", "--json", code=1)
    assert again.summary == {"type": "summary", "delivered": 0, "kept": count, "waiting": 0, "left": count}
    bridge("experiments", "restore", "tests")
    replayed = bridge("sync", "replay", "--all", "--json")
    assert replayed.summary == {"type": "summary", "delivered": count, "kept": 0, "waiting": 0, "left": 0}
    assert bridge("sync", "dead-letters", "--json").summary["dead_letters"] == 0
    run = bridge("runs", "show", rejected, "--json").summary["run"]
    assert run["info"]["status"] == "FINISHED"
    assert run["data"]["params"] == {"lr": "0.1"}
    assert run["data"]["metrics"] == {"loss": 0.5}


def test_replay_of_some(bridge: Bridge, rejected: str) -> None:
    letters = bridge("sync", "dead-letters", "--json").objects[:-1]
    numbers = {letter["kind"]: str(letter["number"]) for letter in letters}
    bridge("experiments", "restore", "tests")
    result = bridge("sync", "replay", numbers["MetricLogged"], code=1)  # the run is not there yet
    assert f"{numbers['MetricLogged']} kept: " in result.out
    bridge("sync", "replay", numbers["RunOpened"], numbers["MetricLogged"])
    assert bridge("runs", "show", rejected, "--json").summary["run"]["data"]["metrics"] == {"loss": 0.5}
    assert "there is no dead letter 999" in bridge("sync", "replay", "999", code=1).err


def test_what_is_left_is_all_that_remains(bridge: Bridge, rejected: str) -> None:
    letters = bridge("sync", "dead-letters", "--json").objects[:-1]
    opening = str(next(letter["number"] for letter in letters if letter["kind"] == "RunOpened"))
    bridge("experiments", "restore", "tests")
    left = len(letters) - 1
    assert bridge("sync", "replay", opening).out == f"1 dead letter delivered, {left} left\n"
    result = bridge("sync", "replay", "--all", "--json")
    assert (result.summary["delivered"], result.summary["left"]) == (left, 0)


def test_uri_by_option(bridge: Bridge) -> None:
    assert bridge("sync", "run", "--uri", "./store", "--json").summary["left"] == 0
    assert "neither a remote nor a scheme" in bridge("sync", "run", "--uri", "nobody", code=1).err
    assert "name one" in bridge("sync", "run", "./store", "--uri", "./other", code=2).err


def test_replay_partly(bridge: Bridge, client: tb.Client, rejected: str) -> None:
    """A param that was given another value meanwhile stays a dead letter; the rest goes: exit 3."""
    letters = bridge("sync", "dead-letters", "--json").objects[:-1]
    opening = str(next(letter["number"] for letter in letters if letter["kind"] == "RunOpened"))
    bridge("experiments", "restore", "tests")
    bridge("sync", "replay", opening)
    client.log_param(rejected, "lr", "0.2")
    client.flush()
    result = bridge("sync", "replay", "--all", "--json", code=3)
    assert result.summary["kept"] == 1
    assert bridge("sync", "dead-letters", "--json").objects[0]["kind"] == "ParamsSet"


def test_replay_while_the_destination_is_away(bridge: Bridge, project: Path, rejected: str) -> None:
    database = project / ".bridge/store.db"
    database.rename(project / "aside")
    database.mkdir()
    result = bridge("sync", "replay", "--all", "--json", code=5)
    assert result.summary["waiting"] == bridge("sync", "dead-letters", "--json").summary["dead_letters"]


def test_drop(bridge: Bridge, rejected: str) -> None:
    letters = bridge("sync", "dead-letters", "--json").objects[:-1]
    first = str(letters[0]["number"])
    assert "add --yes" in bridge("sync", "drop", first, code=2).err
    assert bridge("sync", "drop", first, "--yes").out == "1 dead letter dropped\n"
    assert bridge("sync", "dead-letters", "--json").summary["dead_letters"] == len(letters) - 1
    bridge("sync", "drop", "--all", "--yes")
    assert bridge("sync", "dead-letters", "--json").summary["dead_letters"] == 0


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_neither_numbers_nor_all(bridge: Bridge, command: str) -> None:
    assert "--all" in bridge("sync", command, code=2).err
    assert "--all" in bridge("sync", command, "3", "--all", code=2).err


def test_what_programs_outside_of_projects_left_is_seen_and_delivered(
    bridge: Bridge, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = project.parent / "home" / ".local" / "state" / "trackbridge"
    monkeypatch.setenv("BRIDGE_HOME", str(state))
    kill_a_program()
    monkeypatch.delenv("BRIDGE_HOME")
    kill_a_program()  # one in the project beside it
    found = bridge("sync", "status", "--json").objects
    assert len([item for item in found if item["type"] == "journal"]) == 2
    assert "left behind" in bridge("doctor").out
    assert bridge("sync", "run", "--json").summary["left"] == 0
    assert list(journals(state / "journal")) == []


@pytest.fixture
def elsewhere(rejected: str, project: Path) -> DeadLetters:
    """Dead letters of programs outside of any project; they are numbered from 1 as those of the project."""
    folder = project.parent / "home/.local/state/trackbridge/journal"
    folder.mkdir(parents=True)
    letters = DeadLetters(folder)
    body = msgspec.msgpack.encode(opened("elsewhere"))
    letters.add(file_uri(project / ".bridge"), "j", [(1, "elsewhere", "RunOpened", "no", body)])
    return letters


def test_each_dead_letter_has_a_name_of_its_own(
    bridge: Bridge, elsewhere: DeadLetters, rejected: str
) -> None:
    letters = bridge("sync", "dead-letters", "--json").objects[:-1]
    names = {letter["name"]: letter for letter in letters}
    assert len(names) == len(letters)
    firsts = [item for item in letters if item["number"] == 1]
    ours, theirs = sorted(firsts, key=lambda item: str(item["journal"] == "j"))
    assert [item["name"].partition(".")[0] for item in (ours, theirs)] == ["1", "1"]
    assert {name for name in names if "." in name} == {ours["name"], theirs["name"]}
    shown = bridge("sync", "dead-letters").out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == [item["name"] for item in letters]

    for command in (["dead-letters", "--show", "1"], ["drop", "1", "--yes"], ["replay", "1"]):
        refused = bridge("sync", *command, code=1).err
        assert "there are several dead letters 1" in refused
        assert ours["name"] in refused
        assert theirs["name"] in refused
    assert bridge("sync", "dead-letters", "--show", theirs["name"], "--json").summary["run_id"] == "elsewhere"

    assert bridge("sync", "drop", theirs["name"], "--yes").out == "1 dead letter dropped\n"
    assert elsewhere.read() == []
    left = bridge("sync", "dead-letters", "--json").objects[:-1]
    assert [item["name"] for item in left] == [str(item["number"]) for item in left]
    assert bridge("sync", "dead-letters", "--show", ours["name"], "--json").summary["run_id"] == rejected
    assert "there is no dead letter" in bridge("sync", "drop", theirs["name"], "--yes", code=1).err


def test_what_several_folders_keep_is_told_by_name(bridge: Bridge, elsewhere: DeadLetters) -> None:
    count = bridge("sync", "dead-letters", "--json").summary["dead_letters"]
    with sqlite3.connect(elsewhere._path) as connection:
        connection.execute("UPDATE dead_letter SET body = ?", (b"\xc1",))
    again = bridge("sync", "replay", "--all", "--json", code=1)
    assert again.summary["kept"] == count
    kept = [item for item in again.objects if item["type"] == "kept"]
    assert len({item["name"] for item in kept}) == count
    (damaged,) = elsewhere.read()
    reasons = {item["name"]: item["reason"] for item in kept}
    assert damaged.reason in reasons.values()
    assert sorted(name.partition(".")[0] for name in reasons if "." in name) == ["1", "1"]


@pytest.mark.parametrize("name", ["abc", "1.", "1.xyz", "-1", "\u0661", "9" * 40])
def test_what_names_no_dead_letter(bridge: Bridge, rejected: str, name: str) -> None:
    assert "there is no dead letter" in bridge("sync", "drop", "--yes", "--", name, code=1).err

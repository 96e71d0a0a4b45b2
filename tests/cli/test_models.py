"""``bridge models``: registering, promoting, describing, showing and fetching from the command line."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge_process, log_run, rest_of
from trackbridge.domain.model_digest import digest_of_path


@pytest.fixture
def folder(project: Path) -> Path:
    made = project / "exported"
    made.mkdir()
    (made / "weights.bin").write_bytes(b"1234")
    return made


@pytest.fixture
def wine(bridge: Bridge, folder: Path) -> Bridge:
    """Register two versions of a model."""
    for content in (b"1", b"2"):
        (folder / "weights.bin").write_bytes(content)
        bridge("models", "register", "./exported", "wine")
    return bridge


def test_registering_says_what_to_do_next(bridge: Bridge, folder: Path) -> None:
    result = bridge(
        "models",
        "register",
        "./exported",
        "wine",
        "--tag",
        "team=red",
        "--description",
        "mine",
        "--why",
        "new",
    )
    assert "registered wine/1" in result.out
    assert "bridge models alias wine/1 champion" in result.out
    again = bridge("models", "register", str(folder), "wine", "--json").summary["version"]
    assert (again["version"], again["tags"], again["description"]) == ("1", {"team": "red"}, "mine")
    assert again["digest"] == digest_of_path(folder)


def test_registering_what_a_run_logged(bridge: Bridge, client: tb.Client, folder: Path) -> None:
    run_id = log_run(client, "first")
    client.log_artifacts(run_id, folder, "net")
    version = bridge("models", "register", f"runs:/{run_id}/net", "wine", "--json").summary["version"]
    assert (version["run_id"], version["source"]) == (run_id, f"bridge-artifacts:/{run_id}/net")
    absent = bridge("models", "register", f"runs:/{run_id}/absent", "wine", code=1)
    assert absent.err


def test_listing(wine: Bridge) -> None:
    wine("models", "alias", "wine/1", "champion")
    wine("models", "register", "./exported", "beer")
    result = wine("models", "list")
    lines = [line.split() for line in result.out.splitlines()]
    assert [line[:2] for line in lines[1:]] == [["beer", "1"], ["wine", "2"]]
    assert "champion: 1" in result.out
    found = wine("models", "list", "--filter", "name LIKE 'wi%'", "--json")
    assert [item["model"]["name"] for item in found.objects[:-1]] == ["wine"]
    assert found.summary == {"type": "summary", "models": 1, "has_more": False}
    assert "--limit 10" in wine("models", "list", "--limit", "1").err
    assert wine("models", "list", "--filter", "nmae = 'a'", code=2).err


def test_an_empty_registry(bridge: Bridge) -> None:
    assert "bridge models register" in bridge("models", "list").err
    assert bridge("models", "show", "wine", code=1).err
    assert "nothing is known" in bridge("models", "history", "wine").err


def test_showing(wine: Bridge) -> None:
    wine("models", "alias", "wine/2", "champion")
    wine("models", "describe", "wine", "all wines")
    result = wine("models", "show", "wine")
    assert "all wines" in result.out
    assert "champion" in result.out
    shown = wine("models", "show", "wine", "--json")
    assert [item["version"]["version"] for item in shown.objects[:-1]] == ["2", "1"]
    for text in ("wine@champion", "models:/wine/2", "wine/latest"):
        assert wine("models", "show", text, "--json").summary["version"]["version"] == "2"
    assert "bridge-artifacts:/" in wine("models", "show", "wine/2").out


def test_promoting(wine: Bridge) -> None:
    wine("models", "alias", "wine/1", "champion", "--why", "best")
    assert "version 2" in wine("models", "alias", "wine/2", "champion").out
    wine("models", "stage", "wine/1", "production")
    changed = wine("models", "stage", "wine/2", "Production", "--archive-existing", "--json").summary[
        "version"
    ]
    assert changed["stage"] == "Production"
    assert wine("models", "show", "wine/1", "--json").summary["version"]["stage"] == "Archived"
    wine("models", "approve", "wine@champion", "--why", "reviewed")
    assert wine("models", "show", "wine/2", "--json").summary["version"]["approval"] == "approved"
    wine("models", "reject", "wine/2", "--why", "biased")
    wine("models", "alias", "wine", "champion", "--remove")
    history = wine("models", "history", "wine", "--json")
    changes = [item["change"] for item in history.objects[:-1]]
    assert [(change["what"], change["after"], change["why"]) for change in changes[:3]] == [
        ("alias:champion", None, ""),
        ("approval", "rejected", "biased"),
        ("approval", "approved", "reviewed"),
    ]
    assert "biased" in wine("models", "history", "wine/2", "--limit", "2").out


def test_tagging_and_describing(wine: Bridge) -> None:
    wine("models", "tag", "wine/2", "team=red", "auc=0.9")
    wine("models", "tag", "wine/2", "--remove", "auc")
    wine("models", "tag", "wine", "kind=drink")
    wine("models", "describe", "wine/2", "the second")
    version = wine("models", "show", "wine/2", "--json").summary["version"]
    assert (version["tags"], version["description"]) == ({"team": "red"}, "the second")
    assert wine("models", "show", "wine", "--json").summary["model"]["tags"] == {"kind": "drink"}
    assert "KEY=VALUE" in wine("models", "tag", "wine", code=2).err


def test_deleting_asks_first(wine: Bridge) -> None:
    assert "--yes" in wine("models", "delete", "wine/1", code=2).err
    wine("models", "delete", "wine/1", "--yes", "--why", "old")
    assert wine("models", "show", "wine/1", code=1).err
    wine("models", "delete", "wine", "--yes")
    assert wine("models", "list", "--json").summary["models"] == 0
    history = wine("models", "history", "wine", "--json")
    assert "deleted" in [item["change"]["what"] for item in history.objects[:-1]]
    assert wine("models", "delete", "wine", "--yes", code=1).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("alias", "wine", "champion"),
        ("stage", "wine", "Production"),
        ("approve", "wine"),
        ("history", "wine@champion"),
    ],
)
def test_a_version_has_to_be_named(wine: Bridge, arguments: tuple[str, ...]) -> None:
    assert "wine/3" in wine("models", *arguments, code=2).err


def test_a_version_that_is_no_number_is_looked_for(wine: Bridge) -> None:
    told = wine("models", "show", "wine/Prodction", code=1).err
    assert "'Prodction' is neither a version of the model 'wine' nor a stage" in told
    assert "Staging, Production, Archived" in told
    assert "no registered model 'beer'" in wine("models", "show", "beer/v-x", code=1).err


@pytest.mark.parametrize("name", ["wine/9", "wine@absent", "beer/1", "wine/Staging"])
def test_an_absent_version(wine: Bridge, name: str) -> None:
    assert "hint" in wine("models", "show", name, code=1).err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("show", "wien"), "did you mean 'wine'? see: bridge models list"),
        (("show", "wien/1"), "did you mean 'wine'? see: bridge models list"),
        (("alias", "wien/1", "champion"), "did you mean 'wine'?"),
        (("compare", "wine/1", "wien/2"), "did you mean 'wine'?"),
        (("download", "models:/wien/1", "here"), "did you mean 'wine'?"),
        (("show", "wine/9"), "'wine' has the versions 2, 1; see: bridge models show wine"),
        (("show", "wine@champoin"), "'wine' has the alias champion; see: bridge models show wine"),
        (("show", "wien", "--uri", "./.bridge"), "see: bridge models list --uri ./.bridge"),
    ],
)
def test_a_name_that_is_nearly_one(wine: Bridge, arguments: tuple[str, ...], hint: str) -> None:
    wine("models", "alias", "wine/2", "champion")
    assert hint in wine("models", *arguments, code=1).err


def test_a_name_far_from_all_gets_the_usual_hint(wine: Bridge) -> None:
    told = wine("models", "show", "beer", code=1).err
    assert "'bridge models list' shows those that there are" in told
    assert "did you mean" not in told


def test_names_are_looked_up_once_and_to_a_bound(
    wine: Bridge, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge.cli.near_names.NAMES_MAX", 1)
    wine("models", "register", str(folder), "ale")
    told = wine("models", "show", "wien", code=1).err
    assert "did you mean" not in told, "only the first page of names is looked through"
    assert "'bridge models show' lists" in wine("models", "show", "wine/9", code=1).err


def test_deploying_a_name_that_is_nearly_one(wine: Bridge) -> None:
    told = wine("deploy", "models:/wien/1", "--endpoint", "wine", code=1).err
    assert "did you mean 'wine'? see: bridge models list" in told


def test_fetching(wine: Bridge, project: Path) -> None:
    cached = Path(wine("models", "download", "wine/2").out.strip())
    assert (cached / "weights.bin").read_bytes() == b"2"
    copy = wine("models", "download", "models:/wine/1", "copy", "--json").summary["path"]
    assert (project / copy / "weights.bin").read_bytes() == b"1"
    assert wine("models", "download", "./exported").out.strip() == "exported"


def test_names_do_not_steer_the_terminal(bridge: Bridge, folder: Path) -> None:
    bridge("models", "register", "./exported", "wine", "--description", "\x1b[2Jgone\nline")
    result = bridge("models", "show", "wine/1")
    assert "\x1b" not in result.out


def test_another_store(wine: Bridge, folder: Path, project: Path) -> None:
    wine("models", "register", "./exported", "beer", "--uri", "./other")
    assert wine("models", "list", "--json", "--uri", "./other").summary["models"] == 1
    assert wine("models", "show", "beer", code=1).err
    assert "beer" not in wine("models", "list").out


SERVED = """
import sys
import trackbridge as tb

def double(model_input):
    return [2 * value for value in model_input["a"]]

with tb.start_run():
    tb.log_model(double, registered_model_name="double")
"""


def test_serving(project: Path) -> None:
    subprocess.run([sys.executable, "-c", SERVED], check=True, timeout=240)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = bridge_process("models", "serve", "double/1", "--port", str(port))
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/ping")
        body = json.dumps({"dataframe_split": {"columns": ["a"], "data": [[1], [4]]}}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/invocations", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.loads(answer.read())["predictions"] == [2, 8]
    finally:
        server.send_signal(signal.SIGTERM)
        code, _, errors = rest_of(server)
    assert code == 0
    assert address in errors


def _wait_for(address: str) -> None:
    """Wait until a server answers that it is ready."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, "the server is not ready in time"
            time.sleep(0.05)

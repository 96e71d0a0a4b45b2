"""``bridge init``, ``config`` and ``remotes``."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.cli.conftest import Bridge
from trackbridge.cli.init import config_text
from trackbridge.resolve.config import SETTINGS, Settings

IN_FORCE = ("tracking_uri", "registry_uri", "run_id", "user", "home", "journal_bytes_max")


def test_init(bridge: Bridge, project: Path) -> None:
    file = project / ".bridge/config.toml"
    assert bridge("init").out == f"made {file}\n"
    assert file.read_text() == config_text()
    assert not (project / ".gitignore").exists()
    file.write_text('experiment_name = "mine"\n')
    assert bridge("init").out == f"found {file}\n"
    assert file.read_text() == 'experiment_name = "mine"\n'


def test_init_explains_every_setting_and_sets_none(bridge: Bridge, project: Path) -> None:
    bridge("init")
    text = (project / ".bridge/config.toml").read_text()
    for setting in SETTINGS.values():
        assert (f"\n#{setting.name} = " in text) is setting.in_files
    origins = {line.name: line.origin for line in Settings().describe()}
    assert {name for name, origin in origins.items() if origin != "default"} == {"delivery"}  # of the fixture


def test_every_default_in_the_file_may_be_uncommented(bridge: Bridge, project: Path) -> None:
    bridge("init")
    file = project / ".bridge/config.toml"
    settings = [line for line in file.read_text().splitlines() if re.match(r"#\w+ = ", line)]
    settings.remove('#uri = "azureml:"')
    assert len(settings) > 8
    file.write_text("\n".join(line[1:] for line in settings if not line.endswith('""')))
    assert bridge("config", "show", "--json").summary["problems"] == 0


@pytest.mark.parametrize("name", ["wine", 'quo"te \\ und Ümlaut\n[remotes.x]'])
def test_init_with_a_name(bridge: Bridge, name: str) -> None:
    bridge("init", "--name", name)
    assert Settings().value("experiment_name") == name
    bridge("init", "--name", name)
    assert Settings().value("experiment_name") == name
    assert "already" in bridge("init", "--name", "another", code=1).err


def test_init_adds_a_name_to_a_file_that_has_none(bridge: Bridge, project: Path) -> None:
    (project / ".bridge").mkdir()
    file = project / ".bridge/config.toml"
    file.write_text('# mine\n[remotes.prod]\nuri = "./prod"\n')
    bridge("init", "--name", "wine")
    assert Settings().value("experiment_name") == "wine"
    assert "# mine" in file.read_text()
    assert bridge("remotes", "list", "--json").summary["remotes"] == 1


def test_init_with_an_empty_name(bridge: Bridge) -> None:
    assert "use a name" in bridge("init", "--name", " ", code=2).err


def test_init_gitignore(bridge: Bridge, project: Path) -> None:
    ignored = project / ".gitignore"
    ignored.write_text("*.pyc")
    bridge("init", "--gitignore")
    bridge("init", "--gitignore")
    assert ignored.read_text() == "*.pyc\n.bridge/\n"


def test_init_while_another_home_is_set(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_HOME", "elsewhere")
    assert "BRIDGE_HOME is set" in bridge("init").err


def test_config_show(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge("init", "--name", "wine")
    monkeypatch.setenv("BRIDGE_TRACKNG_URI", "./typo")
    result = bridge("config", "show")
    rows = {line.split()[0]: line.split() for line in result.out.splitlines()}
    assert rows["delivery"] == ["delivery", "off", "environment", "(BRIDGE_DELIVERY)"]
    assert rows["experiment_name"][1:3] == ["wine", "project"]
    assert result.err.startswith("warning: the variable BRIDGE_TRACKNG_URI is no setting; did you mean")


def test_config_show_tells_what_is_in_force_where_nothing_is_set(
    bridge: Bridge, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    result = bridge("config", "show")
    rows = {line.split()[0]: re.split(r"  +", line) for line in result.out.splitlines()[1:]}
    assert {row[2] for name, row in rows.items() if name != "delivery"} == {"default"}
    assert {name: rows[name][1] for name in IN_FORCE} == {
        "tracking_uri": f"file:{project}/.bridge",
        "registry_uri": "(the first tracking URI)",
        "run_id": "(none)",
        "user": "ada",
        "home": f"{project}/.bridge",
        "journal_bytes_max": "(a tenth of the free disk, 10 GB at most)",
    }
    values = {item["name"]: item["value"] for item in bridge("config", "show", "--json").objects[:-1]}
    assert {name: values[name] for name in IN_FORCE} == {
        "tracking_uri": f"file:{project}/.bridge",
        "registry_uri": f"file:{project}/.bridge",
        "run_id": None,
        "user": "ada",
        "home": f"{project}/.bridge",
        "journal_bytes_max": None,
    }
    assert not (project / ".bridge").exists()


def test_config_show_tells_what_is_set_and_no_name_where_there_is_none(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_JOURNAL_BYTES_MAX", "2GB")
    monkeypatch.setenv("BRIDGE_TRACKING_URI", "nobody")
    monkeypatch.setattr("getpass.getuser", Mock(side_effect=KeyError("uid not found")))
    values = {item["name"]: item["value"] for item in bridge("config", "show", "--json").objects[:-1]}
    assert values["journal_bytes_max"] == "2000000000"
    assert (values["user"], values["registry_uri"]) == (None, None)
    assert "(login name)" in bridge("config", "show").out


def test_config_show_marks_what_is_wrong(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_READ_WAIT_S", "soon")
    result = bridge("config", "show", code=1)
    assert "WRONG: read_wait_s from environment (BRIDGE_READ_WAIT_S)" in result.out
    as_json = bridge("config", "show", "--json", code=1)
    assert as_json.summary == {
        "type": "summary",
        "settings": len(SETTINGS),
        "problems": 1,
        "unknown_variables": 0,
    }
    wrong = next(item for item in as_json.objects if item.get("name") == "read_wait_s")
    assert "has a value that is not allowed" in wrong["problem"]


def test_config_show_of_a_broken_file(bridge: Bridge, project: Path) -> None:
    (project / ".bridge").mkdir()
    (project / ".bridge/config.toml").write_text("= nonsense")
    assert "not valid TOML" in bridge("config", "show", code=1).out


def test_config_path(bridge: Bridge, project: Path) -> None:
    file = project / ".bridge/config.toml"
    assert bridge("config", "path").out.splitlines()[0] == f"project  {file}  (does not exist)"
    bridge("init")
    assert bridge("config", "path").out.splitlines()[0] == f"project  {file}"
    assert bridge("config", "path", "--json").summary["project"] == str(file)


def test_remotes(bridge: Bridge, project: Path) -> None:
    assert "there are no remotes" in bridge("remotes", "list").err
    uri = f"file:{project}/lab"
    assert bridge("remotes", "add", "lab", "./lab", "--option", "busy_timeout_s=9").out == f"lab is {uri}\n"
    listed = bridge("remotes", "list")
    assert listed.out.splitlines()[1].split() == ["lab", uri, "busy_timeout_s=9", "project"]
    assert bridge("remotes", "list", "--json").objects[0]["options"] == {"busy_timeout_s": "9"}
    assert bridge("runs", "list", "--uri", "lab", "--json").summary["runs"] == 0
    bridge("remotes", "rename", "lab", "office")
    bridge("remotes", "remove", "office")
    assert "there is no remote 'office'" in bridge("remotes", "remove", "office", code=1).err


def test_remotes_of_the_user(bridge: Bridge, project: Path) -> None:
    bridge("remotes", "add", "lab", "./lab", "--user")
    assert bridge("remotes", "list", "--json").objects[0]["scope"] == "user"
    assert not (project / ".bridge").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("lab", "https://user:secret@host"), 1, "credential"),
        (("lab", "./lab", "--option", "nonsense"), 2, "KEY=VALUE"),
        (("lab", "./lab", "--option", "token=abc"), 1, "credential"),
        (("la b", "./lab"), 1, "is no name"),
    ],
)
def test_remotes_that_are_refused(bridge: Bridge, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = bridge("remotes", "add", *arguments, code=code)
    assert said in result.err
    assert "secret" not in result.err
    assert "abc" not in result.err

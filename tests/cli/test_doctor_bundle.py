"""``bridge doctor --bundle``: all that a bug report needs, and no secret in it."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.conftest import Bridge
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.domain.records import ParamsSet, TagsSet
from trackbridge.journal.reader import Damage
from trackbridge.journal.writer import JournalWriter
from trackbridge.operations import bundle as bundles
from trackbridge.operations.scrubber import Scrubber

KEY_64 = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
GATEWAY = "bridge_" + "0a1b2c3d_Zm9vYmFyYmF6cXV4cXV1eA"
AWS_ID, AWS_SECRET = "AKIA" + "IOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY_LINES = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"

VARIABLES = {
    "WINE_API_TOKEN": "grapes-of-wrath",
    "AZURE_DEVOPS_EXT_PAT": "of-a-pipeline",
    "OPENAI_KEY": "of-a-vendor",
    "PROD": 'quoted "and\\ slashed',
    "HOOKS": "signs-the-hooks",
    "AWS_ACCESS_KEY_ID": AWS_ID,
    "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
    "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=https;AccountName=wine;AccountKey={KEY_64}",
    "HTTPS_PROXY": "http://me:proxy%20pass@proxy.example.org:3128",
    "MLFLOW_TRACKING_URI": "https://me:server-pass@mlflow.example.org",
}
SECRETS = {
    **{name: VARIABLES[name] for name in ("WINE_API_TOKEN", "PROD", "HOOKS", "AWS_ACCESS_KEY_ID")},
    **{name: VARIABLES[name] for name in ("AZURE_DEVOPS_EXT_PAT", "OPENAI_KEY")},
    "AWS secret": AWS_SECRET,
    "storage key": KEY_64,
    "proxy": "proxy%20pass",
    "proxy, unquoted": "proxy pass",
    "mlflow": "server-pass",
    "webhook's path": "T0SECRETPATH",
    "gateway": GATEWAY,
    "SAS": "c2lnbmF0dXJlLW9mLWEtc2Fz",
    "private key": KEY_LINES,
    "cut private key": KEY_LINES.swapcase(),
    "param": "the-value-of-a-param",
    "tag": "the value of a tag",
    "quoted by a backend": "what-the-backend-quotes",
    "password in a reason": "hunter2",
    "password in JSON": "swordfish",
}
LOG = f"""{KEY_LINES.swapcase()}
-----END PRIVATE KEY-----
Traceback (most recent call last):
ConnectionError: grapes-of-wrath was refused, {VARIABLES["PROD"]} too; key {AWS_SECRET} {KEY_64}
PUT https://wine.blob.core.windows.net/c/b?sv=2024-11-04&sp=rw&sig=c2lnbmF0dXJlLW9mLWEtc2Fz failed
of-a-pipeline and of-a-vendor were refused
asked with {GATEWAY} at run 0123456789abcdef0123456789abcdef through me:proxy pass@proxy
-----BEGIN PRIVATE KEY-----
{KEY_LINES}
-----END PRIVATE KEY-----
{{"password": "swordfish", "user": "me"}}
"""


@pytest.fixture
def sick_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a secret in every place from which a report is made."""
    monkeypatch.setattr("trackbridge.operations.doctor.LOG_LINES_MAX", 100)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    home = project / ".bridge"
    home.mkdir()
    (home / "config.toml").write_text(
        '[remotes.prod]\nuri = "https://example.org"\ntoken_env = "PROD"\n'
        '[webhooks.team]\nurl = "https://hooks.example.org/services/T0SECRETPATH"\nsecret_env = "HOOKS"\n'
    )
    writer = JournalWriter(home / "journal", ("https://mlflow.example.org",))
    writer.close()
    (writer.folder.path / "delivery.log").write_text(LOG)
    letters = DeadLetters(home / "journal")
    records = {
        1: ParamsSet("r" * 32, 0, {"lr": SECRETS["param"]}),
        2: TagsSet("r" * 32, 0, {"note": SECRETS["tag"]}),
    }
    reasons = {
        1: f"the-value-of-a-param is longer than 500 characters: '{SECRETS['quoted by a backend']}'",
        2: "HTTP 400: the value of a tag is refused; password=hunter2",
    }
    items = [
        (number, "r" * 32, "ParamsSet", reasons[number], msgspec.msgpack.encode(records[number]))
        for number in records
    ]
    letters.add("https://mlflow.example.org", "j" * 32, [*items, (3, "r" * 32, "New", "grapes", b"\xc1")])
    letters.add_damages("j" * 32, [Damage(1, 32, 10, 2, "damaged records")])
    return project


def texts(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_no_secret_is_in_it(bridge: Bridge, sick_project: Path) -> None:
    shown = bridge("doctor", "--bundle", "report.zip", code=1)
    found = texts(sick_project / "report.zip")
    leaks = {
        (kind, name)
        for name, text in {**found, "stdout": shown.out, "stderr": shown.err}.items()
        for kind, secret in SECRETS.items()
        for written in (secret, json.dumps(secret)[1:-1])
        if written in text
    }
    assert leaks == set()
    assert stat.S_IMODE((sick_project / "report.zip").stat().st_mode) == 0o600


def test_what_a_reader_needs_is_in_it(bridge: Bridge, sick_project: Path) -> None:
    bridge("doctor", "--bundle", "report.zip", code=1)
    found = texts(sick_project / "report.zip")
    (log,) = (text for name, text in found.items() if name.startswith("logs/"))
    assert "ConnectionError: *** was refused" in log
    assert "at run 0123456789abcdef0123456789abcdef" in log
    assert "https://wine.blob.core.windows.net/c/b?sv=2024-11-04&sp=rw&sig=***" in log
    content: dict[str, Any] = {name: json.loads(text) for name, text in found.items() if ".json" in name}
    assert content["dead-letters.json"][0]["reason"] == "… is longer than 500 characters: '…'"
    assert content["dead-letters.json"][1]["reason"] == "HTTP 400: … is refused; password=***"
    assert "cannot be read" in content["dead-letters.json"][2]["reason"]
    variables = content["environment.json"]
    assert variables["WINE_API_TOKEN"] is None
    assert variables["BRIDGE_DELIVERY"] == "off"
    settings = content["settings.json"]
    assert settings["remotes"][0]["options"] == {"token_env": "PROD"}
    assert settings["webhooks"][0]["target"] == "https://hooks.example.org"
    lines = {line["name"]: line for line in settings["settings"]}
    assert lines["delivery"]["origin"] == "environment (BRIDGE_DELIVERY)"
    assert lines["tracking_uri"]["problem"]
    assert "settings" in {item["subject"] for item in content["findings.json"]}
    (journals,) = (item for item in content["journals.json"] if item["journals"])
    assert journals["journals"][0]["lanes"][0]["destination"] == "https://mlflow.example.org"
    assert journals["dead_letters"] == {"https://mlflow.example.org": 3}
    assert len(journals["damages"]) == 1
    assert "msgspec" in content["versions.json"]["packages"]
    assert content["platform.json"]["journals"][0]["free_bytes"] > 0


def test_what_is_in_it_is_shown(bridge: Bridge, project: Path) -> None:
    result = bridge("doctor", "--bundle", "--json")
    files = [item for item in result.objects if item["type"] == "file"]
    path = project / result.summary["bundle"]
    assert path.name.startswith("bridge-doctor-")
    assert {item["name"]: item["bytes"] for item in files} == {
        name: len(text.encode()) for name, text in texts(path).items()
    }
    listed = texts(path)["README.txt"]
    assert all(item["name"] in listed for item in files if item["name"] != "README.txt")
    assert list(project.iterdir()) == [path], "nothing else is made"
    assert "settings.json" in bridge("doctor", "--bundle", "other.zip").out


def test_a_file_is_not_overwritten_nor_mistaken(bridge: Bridge, project: Path) -> None:
    (project / "there.zip").write_text("mine")
    assert "there already" in bridge("doctor", "--bundle", "there.zip", code=1).err
    assert (project / "there.zip").read_text() == "mine"
    assert "No such file" in bridge("doctor", "--bundle", "nowhere/report.zip", code=1).err
    assert "goes before --bundle" in bridge("doctor", "--bundle", "prod", code=2).err


def test_names_that_are_no_text_and_logs_that_cannot_be_read(
    bridge: Bridge, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD_\udcff", "x")
    (project / ".bridge/journal" / ("j" * 32) / "delivery.log").mkdir(parents=True)
    bridge("doctor", "--bundle", "report.zip")
    found = texts(project / "report.zip")
    assert r"ODD_\udcff" in found["environment.json"]
    assert found["logs/00-jjjjjjjjjjjj-delivery.log"] == "this log cannot be read: Is a directory\n"


def test_a_broken_configuration_is_told(bridge: Bridge, project: Path) -> None:
    (project / ".bridge").mkdir()
    (project / ".bridge/config.toml").write_text('password = "swordfish"\n')
    bridge("doctor", "--bundle", "report.zip", code=1)
    found = texts(project / "report.zip")
    assert "is no setting" in json.loads(found["settings.json"])["remotes"]["problem"]
    assert "swordfish" not in "".join(found.values())


def test_the_end_of_a_long_log_begins_with_a_whole_line(
    bridge: Bridge, sick_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (log,) = sick_project.glob(".bridge/journal/*/delivery.log")
    log.write_text("first line with token=hunter2-and-more\nlast line\n")
    monkeypatch.setattr(bundles, "LOG_TAIL_BYTES", 25)
    bridge("doctor", "--bundle", "report.zip", code=1)
    (text,) = (text for name, text in texts(sick_project / "report.zip").items() if "delivery.log" in name)
    assert text == "last line\n"


@pytest.mark.parametrize(
    "harmless",
    [
        "0123456789abcdef0123456789abcdef",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "123e4567-e89b-12d3-a456-426614174000",
        'File "/usr/lib/python3.11/site-packages/trackbridge_adapters/_mlflow_rest/places.py", line 3',
        "azureml://subscriptions/123e4567-e89b-12d3-a456-426614174000/resourceGroups/g/workspaces/Wine1",
        "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/Wine",
        "/data/wine/.bridge is there",
    ],
)
def test_what_is_no_secret_stays(harmless: str) -> None:
    assert Scrubber({"CI": "true", "A_TOKEN": "abc", "PWD": "/data/wine"})(harmless) == harmless


def test_the_home_of_the_user_is_not_told() -> None:
    assert Scrubber({}, user_folder="/home/someone")("/home/someone/wine/.bridge") == "~/wine/.bridge"

"""How to sign in to an MLflow server: options, then variables, then the credentials file; nothing guessed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from trackbridge.errors import BridgeError, ConfigError
from trackbridge.transport.http import ANSWER_S
from trackbridge_adapters.mlflow.config import OPTIONS, login_of

SECRET = "hunter2Xy9"
USER = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SECRET}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def header(options: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    authentication = login_of(options, environment).authentication
    if authentication is None:
        return None
    return authentication(requests.Request("GET", "http://host/").prepare()).headers["Authorization"]


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_without_anything_nobody_signs_in():
    login = login_of({}, {})
    assert (login.authentication, login.verify, login.certificate, login.answer_s) == (
        None,
        True,
        None,
        ANSWER_S,
    )


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({}, {"MLFLOW_TRACKING_TOKEN": SECRET}, f"Bearer {SECRET}"),
        ({}, USER, basic("me", SECRET)),
        ({}, {**USER, "MLFLOW_TRACKING_TOKEN": "other"}, basic("me", SECRET)),
        ({"token_env": "MINE"}, {**USER, "MINE": SECRET}, f"Bearer {SECRET}"),
        (
            {"username_env": "U", "password_env": "P"},
            {"U": "a", "P": SECRET, "MLFLOW_TRACKING_TOKEN": "other"},
            basic("a", SECRET),
        ),
    ],
)
def test_who_signs_in(options, environment, expected):
    assert header(options, environment) == expected


def test_the_credentials_file_fills_in_what_the_environment_leaves_open(home):
    (home / ".mlflow").mkdir()
    (home / ".mlflow/credentials").write_text(
        f"[mlflow]\nmlflow_tracking_username = filed\nmlflow_tracking_password = {SECRET}%x\n"
    )
    assert header({}, {}) == basic("filed", f"{SECRET}%x")
    assert header({}, {"MLFLOW_TRACKING_USERNAME": "me"}) == basic("me", f"{SECRET}%x")
    assert header({}, USER) == basic("me", SECRET)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"no section", b"[mlflow]\n[mlflow]\n"])
def test_a_credentials_file_that_cannot_be_read_is_named_and_not_shown(content, home):
    (home / ".mlflow").mkdir()
    (home / ".mlflow/credentials").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        login_of({}, {})
    assert "credentials" in str(caught.value)
    assert caught.value.hint


def test_a_token_file_wins_over_every_variable(home):
    (home / "token").write_text(f"{SECRET}\n")
    assert header({"token_file": str(home / "token")}, USER) == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({"insecure": "true"}, {}, False),
        ({"insecure": "false"}, {"MLFLOW_TRACKING_INSECURE_TLS": "true"}, True),
        ({}, {"MLFLOW_TRACKING_INSECURE_TLS": "true"}, False),
        ({}, {"MLFLOW_TRACKING_INSECURE_TLS": "false"}, True),
        ({}, {"MLFLOW_TRACKING_INSECURE_TLS": ""}, True),
    ],
)
def test_which_certificates_are_trusted(options, environment, expected):
    assert login_of(options, environment).verify is expected


def test_files_of_certificates(home):
    for name in ("ca", "own", "key"):
        (home / name).write_text("x")
    options = {name: str(home / file) for name, file in (("ca_file", "ca"), ("certificate", "own"))}
    login = login_of({**options, "certificate_key": str(home / "key")}, {})
    assert (login.verify, login.certificate) == (str(home / "ca"), (str(home / "own"), str(home / "key")))
    variables = {
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(home / "ca"),
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(home / "own"),
    }
    login = login_of({}, variables)
    assert (login.verify, login.certificate) == (str(home / "ca"), str(home / "own"))


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf", "1e9"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(ConfigError):
        login_of({"timeout_s": text}, {})


def test_mlflows_own_time_to_wait_counts():
    assert login_of({}, {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}).answer_s == 120.0
    assert login_of({"timeout_s": "7"}, {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}).answer_s == 7.0


@pytest.mark.parametrize(
    "options",
    [
        {"token": SECRET},
        {"tokenenv": "X"},
        {"token_env": "UNSET"},
        {"token_env": ""},
        {"username_env": "USER_NAME"},
        {"ca_file": "/no/such/file"},
        {"certificate": "/no/such/file"},
        {"token_file": "/no/such/file"},
    ],
)
def test_a_wrong_option_is_refused_with_the_next_step(options):
    with pytest.raises(BridgeError) as caught:
        login_of(options, {"USER_NAME": "me"})
    assert caught.value.hint
    assert SECRET not in f"{caught.value} {caught.value.hint}"


def test_no_option_holds_a_credential_itself():
    assert not OPTIONS & {"token", "username", "password"}

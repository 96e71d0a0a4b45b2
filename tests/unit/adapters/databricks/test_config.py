"""Which workspace, and how to sign in: the forms of the URI, options, profiles, variables; hostile files."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.errors import BridgeError, ConfigError
from trackbridge_adapters.databricks.config import CONFIG_BYTES_MAX, canonical_uri, login_of

TOKEN = "dapi" + "0123456789abcdef" * 2
OTHER = "dapi" + "fedcba9876543210" * 2
SECRET = "dose0123456789abcdef"
HOST = "https://one.cloud.databricks.com"
VARIABLES = {"DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": TOKEN}
PROFILES = f"""
[DEFAULT]
host = https://default.cloud.databricks.com
token = {OTHER}

[one]
host = {HOST}/?o=12345
token = {TOKEN}

[hostless]
token = {TOKEN}

[tokenless]
host = {HOST}

[principal]
host = one.cloud.databricks.com
client_id = 1234
client_secret = {SECRET}

[half]
host = {HOST}
client_id = 1234

[browser]
host = {HOST}
auth_type = databricks-cli

[old]
host = {HOST}
username = me
password = {SECRET}

[percent]
host = {HOST}
token = a%b%(c)s
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".databrickscfg"
    path.write_text(PROFILES, encoding="utf-8")
    return path


@pytest.mark.parametrize("uri", ["databricks", "databricks:", "databricks-uc:", "databricks-uc"])
def test_without_a_profile_the_variables_count(file: Path, uri: str):
    login = login_of(uri, {}, VARIABLES)
    assert (login.host, login.token) == (HOST, TOKEN)


@pytest.mark.parametrize("uri", ["databricks://one", "databricks-uc://one"])
def test_a_named_profile_counts_before_the_variables(file: Path, uri: str):
    environment = {"DATABRICKS_HOST": "https://elsewhere.example.org", "DATABRICKS_TOKEN": OTHER}
    login = login_of(uri, {}, environment)
    assert (login.host, login.token) == (HOST, TOKEN), "and the query of a browser's address is dropped"


def test_a_profile_may_be_named_by_a_variable(file: Path):
    assert login_of("databricks", {}, {"DATABRICKS_CONFIG_PROFILE": "one"}).token == TOKEN


def test_the_uri_names_the_profile_before_the_variable_does(file: Path):
    login = login_of("databricks://one", {}, {"DATABRICKS_CONFIG_PROFILE": "old"})
    assert login.token == TOKEN


def test_without_anything_the_default_profile_counts(file: Path):
    login = login_of("databricks", {}, {})
    assert (login.host, login.token) == ("https://default.cloud.databricks.com", OTHER)


def test_the_file_of_profiles_may_be_elsewhere(file: Path, tmp_path: Path):
    moved = file.rename(tmp_path / "profiles")
    assert login_of("databricks://one", {}, {"DATABRICKS_CONFIG_FILE": str(moved)}).token == TOKEN
    assert login_of("databricks://one", {"config_file": "~/profiles"}, {}).token == TOKEN


def test_a_profile_has_nothing_from_the_default_one(file: Path):
    with pytest.raises(ConfigError, match="nothing to sign in"):
        login_of("databricks://tokenless", {}, {})
    with pytest.raises(ConfigError, match="no host"):
        login_of("databricks://hostless", {}, {})


def test_a_token_of_a_variable_is_not_sent_to_the_host_of_a_profile(file: Path):
    with pytest.raises(ConfigError, match="nothing to sign in"):
        login_of("databricks://tokenless", {}, {"DATABRICKS_TOKEN": TOKEN})


def test_a_token_without_a_host_is_not_sent_to_the_default_profile(file: Path):
    assert login_of("databricks", {}, {"DATABRICKS_TOKEN": TOKEN}).token == OTHER


def test_a_service_principal_signs_in_with_its_secret(file: Path):
    login = login_of("databricks://principal", {}, {})
    assert (login.host, login.client_id, login.client_secret, login.token) == (HOST, "1234", SECRET, None)
    environment = {
        "DATABRICKS_HOST": HOST,
        "DATABRICKS_CLIENT_ID": "1234",
        "DATABRICKS_CLIENT_SECRET": SECRET,
    }
    assert login_of("databricks", {}, environment).client_secret == SECRET


def test_options_go_before_all(file: Path, tmp_path: Path):
    options = {"host": "https://two.example.org", "token_env": "MINE", "experiment_folder": "/Shared/team"}
    login = login_of("databricks://one", options, {"MINE": OTHER})
    assert (login.host, login.token, login.experiment_folder) == (
        "https://two.example.org",
        OTHER,
        "/Shared/team",
    )
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    login = login_of("databricks", {"host": HOST, "token_file": "~/token"}, {})
    assert (login.token_file, login.token) == (tmp_path / "token", None)


@pytest.mark.parametrize("uri", ["databricks", "databricks://one", "databricks://principal"])
def test_what_is_of_another_host_is_not_sent_to_the_host_of_the_options(file: Path, uri: str):
    environment = VARIABLES if uri == "databricks" else {}
    with pytest.raises(ConfigError, match="nothing to sign in"):
        login_of(uri, {"host": "https://two.example.org"}, environment)
    assert login_of(uri, {"host": f"{HOST}/"}, environment).host == HOST


def test_a_token_that_is_of_no_host_is_for_the_host_of_the_options(file: Path):
    login = login_of("databricks", {"host": HOST}, {"DATABRICKS_TOKEN": TOKEN})
    assert (login.host, login.token) == (HOST, TOKEN)


def test_the_console_of_the_account_is_no_workspace(file: Path):
    with pytest.raises(ConfigError, match="not a workspace"):
        login_of("databricks", {}, {**VARIABLES, "DATABRICKS_HOST": "https://accounts.cloud.databricks.com"})


def test_a_percent_sign_is_a_character(file: Path):
    assert login_of("databricks://percent", {}, {}).token == "a%b%(c)s"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("one.cloud.databricks.com", HOST),
        ("https://one.cloud.databricks.com/", HOST),
        ("https://one.cloud.databricks.com/?o=1#setting/x", HOST),
        ("https://adb-1.2.azuredatabricks.net:443", "https://adb-1.2.azuredatabricks.net:443"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_a_host_is_written_in_many_ways(file: Path, text: str, host: str):
    assert login_of("databricks", {}, {"DATABRICKS_HOST": text, "DATABRICKS_TOKEN": TOKEN}).host == host


@pytest.mark.parametrize(
    "text",
    [
        "http://one.cloud.databricks.com",
        "ftp://one.cloud.databricks.com",
        f"https://token:{TOKEN}@one.cloud.databricks.com",
        "https://one.cloud.databricks.com@evil.example.org",
        "https://a b",
        "https://",
        "https://[::1",
        "https://host\nevil",
        "https://höst",
        "..",
        "x" * 300,
    ],
)
def test_no_host_is_guessed(file: Path, text: str):
    with pytest.raises(ConfigError) as caught:
        login_of("databricks", {}, {"DATABRICKS_HOST": text, "DATABRICKS_TOKEN": TOKEN})
    assert caught.value.hint
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "options", "environment", "says"),
    [
        ("databricks://missing", {}, {}, "no profile 'missing'"),
        ("databricks://one/x", {}, {}, "names no profile"),
        ("databricks:one", {}, {}, "names no profile"),
        ("databricks://half", {}, {}, "no client_secret"),
        ("databricks://browser", {}, {}, "databricks-cli"),
        ("databricks://old", {}, {}, "user names and passwords"),
        ("databricks://one", {"tokn": "x"}, {}, "'tokn' is unknown"),
        ("databricks://one", {"token_env": "MINE"}, {}, "MINE"),
        ("databricks://one", {"token_file": "/no/such"}, {}, "/no/such"),
        ("databricks://one", {"ca_file": "/no/such"}, {}, "/no/such"),
        ("databricks://one", {"client_secret_env": "MINE"}, {}, "MINE"),
        ("databricks://one", {"timeout_s": "0"}, {}, "timeout_s"),
        ("databricks://one", {"timeout_s": "soon"}, {}, "timeout_s"),
        ("databricks://one", {"experiment_folder": "Shared"}, {}, "experiment_folder"),
        ("databricks://one", {"experiment_folder": "/Shared//x"}, {}, "experiment_folder"),
        ("databricks", {}, {"DATABRICKS_HOST": HOST}, "nothing to sign in"),
    ],
)
def test_what_is_wrong_is_told_with_the_next_step(
    file: Path, uri: str, options: dict[str, str], environment: dict[str, str], says: str
):
    with pytest.raises(ConfigError, match=says) as caught:
        login_of(uri, options, environment)
    assert caught.value.hint
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_without_a_file_of_profiles_its_absence_is_told(file: Path):
    file.unlink()
    with pytest.raises(ConfigError, match="DATABRICKS_HOST is not set"):
        login_of("databricks", {}, {})
    with pytest.raises(ConfigError, match="does not exist"):
        login_of("databricks://one", {}, {})


@pytest.mark.parametrize(
    "content",
    [
        f"token = {TOKEN}\n".encode(),
        f"[one]\nhost = {HOST}\n{TOKEN}\n".encode(),
        f"[one\ntoken = {TOKEN}".encode(),
        b"\x00\xff\xfe" + TOKEN.encode(),
        b"[one]\nhost = " + b"x" * CONFIG_BYTES_MAX,
    ],
    ids=["no section", "no value", "torn", "binary", "huge"],
)
def test_a_file_that_is_none_is_told_without_its_content(file: Path, content: bytes):
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        login_of("databricks://one", {}, {})
    assert TOKEN not in f"{caught.value}{caught.value.hint}"
    assert caught.value.__cause__ is None


def test_a_folder_is_no_file_of_profiles(file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        login_of("databricks://one", {"config_file": str(tmp_path)}, {})


def test_a_profile_that_is_there_twice_has_the_later_values(file: Path):
    file.write_text(
        f"\ufeff[one]\nhost = {HOST}\ntoken = {OTHER}\n[one]\ntoken = {TOKEN}\n", encoding="utf-8"
    )
    assert login_of("databricks://one", {}, {}).token == TOKEN


@pytest.mark.parametrize("uri", ["databricks://one", "databricks://principal"])
def test_a_login_does_not_show_its_secret(file: Path, uri: str):
    shown = repr(login_of(uri, {}, {}))
    assert TOKEN not in shown
    assert SECRET not in shown
    assert HOST in shown


def test_a_name_of_a_profile_is_no_way_out_of_the_file(file: Path):
    for name in ("\0", "%00", "..", "DEFAULT\n"):
        with pytest.raises(BridgeError):
            login_of(f"databricks://{name}", {}, {})


@pytest.mark.parametrize(
    ("uri", "environment", "expected"),
    [
        ("databricks:", {}, "databricks://DEFAULT"),
        ("databricks-uc:", {"DATABRICKS_CONFIG_PROFILE": "lab"}, "databricks-uc://lab"),
        ("databricks:", {**VARIABLES, "DATABRICKS_CONFIG_PROFILE": "lab"}, "databricks://lab"),
        ("databricks:", VARIABLES, "databricks:?host=https%3A%2F%2Fone.cloud.databricks.com"),
        ("databricks://one", {"DATABRICKS_CONFIG_PROFILE": "lab"}, "databricks://one"),
        ("databricks:", {"DATABRICKS_CONFIG_PROFILE": "a b"}, "databricks:"),
    ],
)
def test_a_uri_without_profile_gets_what_it_means_here(
    uri: str, environment: dict[str, str], expected: str, tmp_path: Path
) -> None:
    assert canonical_uri(uri, options={}, environment=environment, folder=tmp_path) == expected


def test_a_uri_with_a_host_means_the_same_everywhere(tmp_path: Path) -> None:
    options = {"host": HOST}
    assert canonical_uri("databricks:", options=options, environment={}, folder=tmp_path) == "databricks:"
    assert login_of("databricks:", options, VARIABLES).token == TOKEN
    with pytest.raises(ConfigError, match="nothing to sign in"):  # the token is of another host
        login_of("databricks:", options, {**VARIABLES, "DATABRICKS_HOST": "https://two.cloud.databricks.com"})

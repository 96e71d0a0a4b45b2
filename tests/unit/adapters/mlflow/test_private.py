"""What ``mlflow+URI`` means: the store, where its files go, its password, and what is refused at once."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from trackbridge.errors import ConfigError, MissingExtra, Unavailable
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.mlflow import private, private_server
from trackbridge_adapters.mlflow.private import PrivateServer, Store, store_of
from trackbridge_adapters.mlflow.service import service_of

HOME = Path("/project/.bridge")
SECRET = "s3cret/päss@word"
ALLOWED = {"MLFLOW_ALLOW_FILE_STORE": "true"}


def context(**options: str) -> AdapterContext:
    return AdapterContext(home=HOME, options=options, clock_ms=lambda: 0)


@pytest.mark.parametrize(
    ("uri", "artifacts"),
    [
        ("sqlite:////data/runs.db", "/data/mlruns"),
        ("sqlite+pysqlite:////data/runs.db", "/data/mlruns"),
        ("sqlite://", "/project/.bridge/mlruns"),
        ("postgresql://me@host/db", "/project/.bridge/mlruns"),
        ("/data/mlruns", "/data/mlruns"),
        ("file:///data/ml%20runs", "/data/ml runs"),
    ],
)
def test_files_of_new_experiments_lie_where_mlflow_would_put_them(uri, artifacts):
    assert store_of(uri, context(), ALLOWED).artifacts == artifacts
    variable = {**ALLOWED, "MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://variable"}
    assert store_of(uri, context(), variable).artifacts == "s3://variable"
    assert store_of(uri, context(artifact_root="s3://option"), variable).artifacts == "s3://option"


def test_only_folders_take_a_point_twice():
    assert store_of("/data/mlruns", context(), ALLOWED).is_folder
    assert store_of("file:///data/mlruns", context(), ALLOWED).is_folder
    assert not store_of("sqlite:////data/runs.db", context()).is_folder


def test_a_password_comes_from_the_variable_that_the_option_names_and_is_never_shown():
    store = store_of("postgresql://me@host/db", context(password_env="PG"), {"PG": SECRET})
    assert store.password == SECRET
    assert SECRET not in repr(store)
    assert private_server._with_password(store.uri, SECRET) == (
        "postgresql://me:s3cret%2Fp%C3%A4ss%40word@host/db"
    )
    with pytest.raises(ConfigError, match="PG"):
        store_of("postgresql://me@host/db", context(password_env="PG"), {})


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="token_env"):
        store_of("sqlite:////x.db", context(token_env="T"))


@pytest.mark.parametrize("uri", ["bridge:", "bridge+http://host", "BRIDGE:"])
def test_our_own_plugin_is_not_asked_to_ask_us(uri):
    with pytest.raises(ConfigError, match="asking us"):
        store_of(uri, context())


def test_without_mlflow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        store_of("sqlite:////x.db", context())
    assert caught.value.hint == "pip install 'trackbridge[mlflow]'"


def test_a_folder_is_refused_in_mlflows_own_words_before_anything_is_logged(tmp_path):
    with pytest.raises(ConfigError, match="maintenance mode") as caught:
        store_of(str(tmp_path / "mlruns"), context(), {})
    assert type(caught.value.__cause__).__name__ == "MlflowException"
    assert "mlflow+sqlite" in str(caught.value.hint)
    assert not (tmp_path / "mlruns").exists()


def test_mlflows_prefix_before_a_server_changes_nothing(tmp_path):
    plain, prefixed = (service_of(f"{prefix}http://host:5000", context()) for prefix in ("", "mlflow+"))
    assert plain.address == prefixed.address == prefixed.base_url() == "http://host:5000"


def test_opening_starts_nothing(tmp_path):
    service = service_of("mlflow+sqlite:////x.db", context())
    assert service.address == "mlflow+sqlite:////x.db"
    service.close()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (private_server.DRIVER, MissingExtra),
        (private_server.CONFIGURATION, ConfigError),
        (private_server.TROUBLE, Unavailable),
    ],
)
def test_why_it_does_not_come_up(kind, error, tmp_path):
    server = PrivateServer(Store("sqlite:////x.db", "/x"), tmp_path)
    problem = tmp_path / "problem"
    problem.write_text(f'{{"kind": "{kind}", "words": "Oops: postgresql://me:hunter2@host is wrong"}}')
    found = server._failure(problem)
    assert type(found) is error
    assert "Oops" in found.message
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_server_that_died_without_a_word_may_come_up_the_next_time(content, tmp_path):
    server = PrivateServer(Store("sqlite:////x.db", "/x"), tmp_path)
    (tmp_path / "problem").write_text(content)
    found = server._failure(tmp_path / "problem")
    assert type(found) is Unavailable
    assert "log" in str(found.hint)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "mlflow-servers").write_text("in the way")
    server = PrivateServer(Store("sqlite:////x.db", "/x"), tmp_path)
    with pytest.raises(Unavailable, match="folder"):
        server.base_url()


@pytest.mark.parametrize("error", [ImportError("No module named 'psycopg2'"), ModuleNotFoundError("x")])
def test_a_missing_driver_is_known_as_one(error):
    assert private_server._kind(error) == private_server.DRIVER


def test_what_will_be_wrong_again_is_told_from_what_may_pass():
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
    from sqlalchemy.exc import ArgumentError, OperationalError

    refused = MlflowException("no", error_code=INVALID_PARAMETER_VALUE)
    for error in (refused, ArgumentError("x")):
        assert private_server._kind(error) == private_server.CONFIGURATION
    for error in (OperationalError("select", {}, OSError("down")), MlflowException("x"), OSError("disk")):
        assert private_server._kind(error) == private_server.TROUBLE


def test_variables_that_would_lead_mlflow_elsewhere_stay_behind(tmp_path, monkeypatch):
    taken: list[dict[str, str]] = []
    monkeypatch.setattr(private.subprocess, "Popen", lambda command, **named: taken.append(named["env"]))
    for name in (
        "MLFLOW_TRACKING_URI",
        "BRIDGE_HOME",
        "MLFLOW_SERVER_ALLOWED_HOSTS",
        "_MLFLOW_STATIC_PREFIX",
    ):
        monkeypatch.setenv(name, "x")
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "PGPASSFILE"):
        monkeypatch.setenv(name, "kept")
    server = PrivateServer(Store("sqlite:////x.db", "/x", SECRET), tmp_path)
    server._folder.mkdir(parents=True)
    server._start()
    (environment,) = taken
    names = {name for name in environment if "MLFLOW" in name or "BRIDGE" in name}
    assert names == {
        "MLFLOW_ALLOW_FILE_STORE",
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE",
        "MLFLOW_DISABLE_TELEMETRY",
        "TRACKBRIDGE_PRIVATE_STORE",
        "TRACKBRIDGE_PRIVATE_ARTIFACTS",
        "TRACKBRIDGE_PRIVATE_PASSWORD",
    }
    assert environment["PGPASSFILE"] == "kept"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"", b"/no/trackbridge-mlflow-x/socket", b"/"])
def test_an_address_that_leads_nowhere_is_forgotten(content, tmp_path):
    server = PrivateServer(Store("sqlite:////x.db", "/x"), tmp_path)
    server._folder.mkdir(parents=True)
    address = server._folder / "address"
    address.write_bytes(content)
    assert server._running() is None
    private_server.forget_address(server._folder)


def test_only_folders_of_sockets_are_deleted_with_an_address(tmp_path):
    for name, is_left in (("trackbridge-mlflow-1", False), ("precious", True)):
        place = tmp_path / name
        place.mkdir()
        (tmp_path / "address").write_text(f"{place}/socket")
        private_server.forget_address(tmp_path)
        assert place.exists() is is_left
        assert not (tmp_path / "address").exists()

"""From an artifact URI, the environment and options to the right store of obstore's."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from trackbridge.errors import ConfigError, MissingExtra, Unsupported
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters._mlflow_rest.artifacts_dbfs import DbfsFiles
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters._mlflow_rest.artifacts_folder import FolderFiles
from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles
from trackbridge_adapters._mlflow_rest.artifacts_parts_azure import AzureParts
from trackbridge_adapters._mlflow_rest.artifacts_parts_s3 import S3Parts
from trackbridge_adapters._mlflow_rest.artifacts_places import Places, StoreOptions
from trackbridge_adapters._mlflow_rest.artifacts_proxy import ROUTE, ProxiedFiles
from trackbridge_adapters.mlflow.service import service_of

SERVER = "http://127.0.0.1:9"
ACCOUNT = "AccountName=acct;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "verysecret"}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[RestAdapter]:
    context = AdapterContext(home=tmp_path / "home", options={}, clock_ms=lambda: 0)
    adapter = RestAdapter(service_of(SERVER, context), context)
    yield adapter
    adapter.close()


def files_of(adapter: RestAdapter, root: str, environment: Mapping[str, str], **options: Any) -> Files:
    return Places(adapter.tracking, StoreOptions(environment=environment, **options)).files(root)


def store_of(adapter: RestAdapter, root: str, environment: Mapping[str, str], **options: Any) -> Any:
    files = files_of(adapter, root, environment, **options)
    assert isinstance(files, ObjectFiles)
    assert "verysecret" not in repr(StoreOptions(environment=environment, **options))
    return files._store


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({"MLFLOW_S3_ENDPOINT_URL": "http://minio:9000"}, "http://minio:9000"),
        (
            {"AWS_ENDPOINT_URL": "http://all:1", "MLFLOW_S3_ENDPOINT_URL": "http://minio:9000"},
            "http://minio:9000",
        ),
        (
            {"AWS_ENDPOINT_URL_S3": "http://s3:2", "MLFLOW_S3_ENDPOINT_URL": "http://minio:9000"},
            "http://s3:2",
        ),
        ({"AWS_ENDPOINT_URL": "http://all:1"}, "http://all:1"),
        ({}, None),
    ],
)
def test_the_endpoint_of_s3_is_the_most_special_one(
    adapter: RestAdapter, environment: dict[str, str], endpoint: str | None
) -> None:
    store = store_of(
        adapter, "s3://bucket/1/run/artifacts", {**KEYS, **environment, "AWS_REGION": "eu-west-1"}
    )
    assert isinstance(store, S3Store)
    config = dict(store.config)
    assert (config["bucket"], config["region"], config.get("endpoint")) == ("bucket", "eu-west-1", endpoint)
    # A server of one's own has the bucket in its path, AWS in its host.
    assert config["virtual_hosted_style_request"] == str(endpoint is None).lower()


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_options_win_over_the_environment(adapter: RestAdapter, name: str) -> None:
    store = store_of(adapter, "s3://bucket/x", {**KEYS, name: "eu-west-1"}, s3={"region": "us-west-2"})
    assert store.config["region"] == "us-west-2"
    assert store_of(adapter, "s3a://bucket/x", {**KEYS, name: "eu-west-1"}).config["region"] == "eu-west-1"


def test_runs_of_one_bucket_share_its_connections(adapter: RestAdapter) -> None:
    places = Places(adapter.tracking, StoreOptions(environment=KEYS))
    one, two, other = (places.files(root) for root in ("s3://bucket/1", "s3://bucket/2", "s3://another/1"))
    assert isinstance(one, ObjectFiles)
    assert isinstance(two, ObjectFiles)
    assert isinstance(other, ObjectFiles)
    assert one._store is two._store
    assert one._store is not other._store


@pytest.mark.parametrize(
    ("root", "environment", "account", "container", "secret"),
    [
        (
            "wasbs://box@acct.blob.core.windows.net/1",
            {"AZURE_STORAGE_CONNECTION_STRING": ACCOUNT},
            "acct",
            "box",
            "account_key",
        ),
        (
            "abfss://box@acct.dfs.core.windows.net/1",
            {"AZURE_STORAGE_ACCESS_KEY": "c2VjcmV0"},
            "acct",
            "box",
            "account_key",
        ),
        ("az://box/1", {"AZURE_STORAGE_CONNECTION_STRING": ACCOUNT}, "acct", "box", "account_key"),
        (
            "wasbs://box@acct.blob.core.windows.net/1",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;SharedAccessSignature=sv=1&sig=a%3D=="},
            "acct",
            "box",
            "sas_key",
        ),
        (
            "wasbs://box@other.blob.core.windows.net/1",
            {"AZURE_STORAGE_CONNECTION_STRING": ACCOUNT, "AZURE_STORAGE_ACCESS_KEY": "b3RoZXI="},
            "other",
            "box",
            "account_key",
        ),
    ],
)
def test_account_container_and_secret_of_azure(
    adapter: RestAdapter, root: str, environment: dict[str, str], account: str, container: str, secret: str
) -> None:
    store = store_of(adapter, root, environment)
    assert isinstance(store, AzureStore)
    config = dict(store.config)
    assert (config["account_name"], config["container_name"]) == (account, container)
    assert secret in config
    if account == "other":
        assert config["account_key"] == "b3RoZXI=", "the key of another account was taken"


def test_an_endpoint_of_ones_own_in_a_connection_string(adapter: RestAdapter) -> None:
    text = f"{ACCOUNT};BlobEndpoint=http://127.0.0.1:10000/acct"
    store = store_of(adapter, "az://box/1", {"AZURE_STORAGE_CONNECTION_STRING": text})
    assert store.config["endpoint"] == "http://127.0.0.1:10000/acct"


def test_google_takes_its_settings_and_no_parts(adapter: RestAdapter) -> None:
    files = files_of(adapter, "gs://bucket/1", {}, gcs={"skip_signature": True})
    assert isinstance(files, ObjectFiles)
    assert isinstance(files._store, GCSStore)
    assert files.parts("x", resumable=True) is None


@pytest.mark.parametrize(
    ("root", "environment", "kind"),
    [
        ("s3://bucket/1", KEYS, S3Parts),
        (
            "wasbs://box@acct.blob.core.windows.net/1",
            {"AZURE_STORAGE_CONNECTION_STRING": ACCOUNT},
            AzureParts,
        ),
    ],
)
def test_buckets_keep_parts_for_calls_that_ask_for_it(
    adapter: RestAdapter, root: str, environment: dict[str, str], kind: type
) -> None:
    files = files_of(adapter, root, environment)
    parts = files.parts("x", resumable=True)
    assert isinstance(parts, kind)
    assert isinstance(parts, S3Parts | AzureParts)
    parts.close()
    assert files.parts("x", resumable=False) is None


def test_a_name_that_obstore_signs_wrongly_is_not_signed(adapter: RestAdapter) -> None:
    environment = {"AZURE_STORAGE_CONNECTION_STRING": ACCOUNT}
    files = files_of(adapter, "az://box/1", environment)
    assert files.parts("a b", resumable=True) is None
    with pytest.raises(Unsupported, match="escapes"):
        files.presign("a b", 60)
    assert "sig=" in files.presign("ab", 60)


@pytest.mark.parametrize("host", ["", SERVER.removeprefix("http://")])
def test_both_names_of_the_servers_routes(adapter: RestAdapter, host: str) -> None:
    for root in (f"mlflow-artifacts://{host}/1/run/artifacts", f"{SERVER}{ROUTE}/1/run/artifacts"):
        files = files_of(adapter, root, {})
        assert isinstance(files, ProxiedFiles)
        assert files._route("x y") == f"{ROUTE}/1/run/artifacts/x%20y"


@pytest.mark.parametrize(("text", "asks"), [("", True), ("true", True), ("false", False), ("0", False)])
def test_mlflows_own_switch_keeps_files_whole(adapter: RestAdapter, text: str, asks: bool) -> None:
    environment = {"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": text}
    parts = files_of(adapter, "mlflow-artifacts:/1/run/artifacts", environment).parts("x", resumable=False)
    assert (parts is not None) == asks
    if parts is not None:
        parts.close()


@pytest.mark.parametrize(
    "root",
    [
        "mlflow-artifacts://another.example/1/run",
        "http://another.example/api/2.0/mlflow-artifacts/artifacts/1/run",
        "http://127.0.0.1:9/elsewhere/1/run",
        "ftp://host/1/run",
        "dbfs://profile@databricks/1/run",
    ],
)
def test_what_cannot_be_reached_says_what_to_do(adapter: RestAdapter, root: str) -> None:
    with pytest.raises(ConfigError):
        files_of(adapter, root, {})


def test_folders_and_dbfs(adapter: RestAdapter, tmp_path: Path) -> None:
    assert isinstance(files_of(adapter, tmp_path.as_uri(), {}), FolderFiles)
    assert isinstance(files_of(adapter, str(tmp_path), {}), FolderFiles)
    assert isinstance(files_of(adapter, "dbfs:/databricks/mlflow/1/run/artifacts", {}), DbfsFiles)


def test_buckets_name_what_is_missing(adapter: RestAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtra, match="need obstore") as caught:
        files_of(adapter, "s3://bucket/1/ab/artifacts", {})
    assert caught.value.hint == "pip install 'trackbridge[buckets]'"


def test_hdfs_names_what_is_missing(adapter: RestAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(MissingExtra, match="fsspec and pyarrow"):
        files_of(adapter, "hdfs://namenode:8020/mlflow/1/run/artifacts", {})


def test_hdfs_without_hadoop_names_its_variables(
    adapter: RestAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert importlib.util.find_spec("pyarrow") is not None
    monkeypatch.setenv("ARROW_LIBHDFS_DIR", "/nonexistent")
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    with pytest.raises(ConfigError) as refused:
        files_of(adapter, "hdfs://namenode:8020/mlflow/1/run/artifacts", {})
    assert "HADOOP_HOME" in (refused.value.hint or "")

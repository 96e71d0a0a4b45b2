"""The Databricks double refuses what the service refuses; no server is needed for that."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from trackbridge.testing.emulators.databricks import PRINCIPAL, SECRET, USER, Databricks
from trackbridge.testing.emulators.databricks_catalog import TAGS_MAX, Catalog
from trackbridge.testing.emulators.databricks_files import BLOCK_BYTES_MAX, WorkspaceFiles
from trackbridge.testing.emulators.databricks_rules import PARAMS_PER_RUN_MAX, broken_rule
from trackbridge.testing.emulators.databricks_storage import AWS, BLOB, GCP, LAKE, PART_BYTES_MIN, Storage
from trackbridge.testing.emulators.databricks_workspace import Folders
from trackbridge.testing.emulators.front import Result

NOBODY = "http://127.0.0.1:9"
LENGTH = {"Content-Length": "1"}
SIGNED = {**LENGTH, "x-amz-server-side-encryption": "AES256"}
FORM = b"grant_type=client_credentials&scope=all-apis"


class Clock:
    """A clock that a test sets."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def code_of(result: Result) -> tuple[int, str]:
    return result.status, str(json.loads(result.body).get("error_code") or "")


def error_in_storage(result: Result) -> tuple[int, str]:
    return result.status, result.headers.get("x-ms-error-code", "")


def signed(storage: Storage, permission: str, **bound: object) -> str:
    return str(storage.address("", "run/a.txt", permission, **bound)["signed_uri"])


@pytest.fixture
def databricks() -> Iterator[Databricks]:
    with Databricks(NOBODY) as databricks:
        yield databricks


# Storage.


@pytest.mark.parametrize("kind", [AWS, GCP])
def test_an_address_is_good_for_what_it_was_signed_for(kind: str) -> None:
    clock = Clock()
    storage = Storage(clock, kind=kind, seconds=10)
    to_write, to_read = signed(storage, "w"), signed(storage, "r")
    assert storage.answer("PUT", to_write, SIGNED, b"1").status == 200
    assert storage.answer("GET", to_read, {}, b"").body == b"1"
    wrong = (403, "SignatureDoesNotMatch")
    assert error_in_storage(storage.answer("PUT", to_read, SIGNED, b"2")) == wrong
    assert error_in_storage(storage.answer("GET", to_write, {}, b"")) == wrong
    assert error_in_storage(storage.answer("GET", to_read.replace("a.txt", "b.txt"), {}, b"")) == wrong
    assert error_in_storage(storage.answer("GET", to_read.partition("?")[0], {}, b"")) == wrong
    with_token = {"Authorization": "Bearer x"}
    assert error_in_storage(storage.answer("GET", to_read, with_token, b"")) == (400, "InvalidArgument")
    clock.now += 11
    assert error_in_storage(storage.answer("GET", to_read, {}, b"")) == (403, "AccessDenied")
    assert storage.objects == {"run/a.txt": b"1"}


def test_s3_wants_a_length_the_signed_header_and_parts_that_fit() -> None:
    storage = Storage(Clock())
    to_write = signed(storage, "w")
    assert error_in_storage(storage.answer("PUT", to_write, {}, b"1")) == (411, "MissingContentLength")
    assert error_in_storage(storage.answer("PUT", to_write, LENGTH, b"1")) == (403, "SignatureDoesNotMatch")
    upload = storage.begin()
    parts = [b"x" * PART_BYTES_MIN, b"y"]
    etags: list[dict[str, Any]] = []
    for number, part in enumerate(parts, 1):
        address = signed(storage, "w", uploadId=upload, partNumber=number)
        etags.append(
            {"part_number": number, "etag": storage.answer("PUT", address, SIGNED, part).headers["ETag"]}
        )
    wrong = [{**etags[0], "etag": "other"}, etags[1]]
    assert storage.complete("run/a.txt", upload, etags[:1]) == "InvalidPartOrder"
    assert storage.complete("run/a.txt", upload, etags[::-1]) == "InvalidPartOrder"
    assert storage.complete("run/a.txt", upload, wrong) == "InvalidPart"
    assert storage.complete("run/a.txt", upload, etags) is None
    assert storage.objects == {"run/a.txt": b"".join(parts)}
    assert storage.complete("run/a.txt", upload, etags) == "NoSuchUpload"


def test_s3_takes_no_small_part_but_the_last() -> None:
    storage = Storage(Clock())
    upload = storage.begin()
    etags = []
    for number in (1, 2):
        address = signed(storage, "w", uploadId=upload, partNumber=number)
        etag = storage.answer("PUT", address, SIGNED, b"x").headers["ETag"]
        etags.append({"part_number": number, "etag": etag})
    assert storage.complete("run/a.txt", upload, etags) == "EntityTooSmall"


def test_blob_storage_wants_the_kind_of_blob_and_blocks_that_were_sent() -> None:
    storage = Storage(Clock(), kind=BLOB)
    to_write = signed(storage, "w")
    assert error_in_storage(storage.answer("PUT", to_write, LENGTH, b"1")) == (400, "MissingRequiredHeader")
    blocks = b"<BlockList><Latest>YQ==</Latest></BlockList>"
    refused = storage.answer("PUT", f"{to_write}&comp=blocklist", LENGTH, blocks)
    assert error_in_storage(refused) == (400, "InvalidBlockList")
    assert storage.answer("PUT", f"{to_write}&comp=block&blockid=YQ%3D%3D", LENGTH, b"1").status == 201
    assert storage.objects == {}, "a block alone is no file"
    assert storage.answer("PUT", f"{to_write}&comp=blocklist", LENGTH, blocks).status == 201
    assert storage.objects == {"run/a.txt": b"1"}


def test_data_lake_storage_keeps_what_is_flushed_at_its_end() -> None:
    storage = Storage(Clock(), kind=LAKE)
    to_write = signed(storage, "w")
    append, flush = f"{to_write}&action=append&position=0", f"{to_write}&action=flush&position="
    assert error_in_storage(storage.answer("PATCH", append, LENGTH, b"1")) == (404, "PathNotFound")
    assert storage.answer("PUT", f"{to_write}&resource=file", LENGTH, b"").status == 201
    assert storage.answer("PATCH", append, LENGTH, b"12").status == 202
    wrong = storage.answer("PATCH", f"{flush}1", LENGTH, b"")
    assert error_in_storage(wrong) == (400, "InvalidFlushPosition")
    assert storage.answer("PATCH", append, LENGTH, b"12").status == 202
    assert storage.answer("PATCH", f"{flush}2", LENGTH, b"").status == 201
    assert storage.objects == {"run/a.txt": b"12"}


# Who asks.


def test_tokens_end_and_are_told_apart_from_none(databricks: Databricks) -> None:
    me = "/api/2.0/preview/scim/v2/Me"
    token = databricks.environment()["DATABRICKS_TOKEN"]
    good = {"Authorization": f"Bearer {token}"}
    assert json.loads(databricks.answer("GET", me, good, b"").body)["userName"] == USER
    assert code_of(databricks.answer("GET", me, {}, b"")) == (401, "401")
    assert code_of(databricks.answer("GET", me, {"Authorization": "Bearer x"}, b"")) == (403, "403")
    databricks.clock_skew_s = 3601
    assert code_of(databricks.answer("GET", me, good, b"")) == (403, "403")


@pytest.mark.parametrize(
    ("login", "body", "status"),
    [
        (f"{PRINCIPAL}:{SECRET}", FORM, 200),
        (f"{PRINCIPAL}:wrong", FORM, 401),
        (f"{USER}:{SECRET}", FORM, 401),
        (f"{PRINCIPAL}:", FORM, 401),
        (f"{PRINCIPAL}:{SECRET}", b"grant_type=password&scope=all-apis", 400),
        (f"{PRINCIPAL}:{SECRET}", b"grant_type=client_credentials&scope=sql", 400),
        (f"{PRINCIPAL}:{SECRET}", b"\xff", 400),
    ],
)
def test_a_service_principal_signs_in_with_its_secret(
    databricks: Databricks, login: str, body: bytes, status: int
) -> None:
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    answer = databricks.answer("POST", "/oidc/v1/token", headers, body)
    assert answer.status == status
    if status == 200:
        token = json.loads(answer.body)["access_token"]
        assert databricks.issuer.user_of(f"Bearer {token}") == PRINCIPAL


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/version"),
        ("POST", "/api/2.0/mlflow/registered-models/alias"),
        ("POST", "/api/3.0/mlflow/traces"),
        ("POST", "/api/2.0/mlflow/logged-models"),
        ("DELETE", "/api/2.0/mlflow/artifacts/list"),
        ("GET", "/api/2.0/mlflow/unity-catalog/registered-models/get-latest-versions"),
    ],
)
def test_a_route_that_is_not_there_is_told_by_its_code(
    databricks: Databricks, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {databricks.issuer.personal(USER)}"}
    assert code_of(databricks.answer(method, path, headers, b"{}")) == (404, "ENDPOINT_NOT_FOUND")


def test_what_needs_a_permission_is_refused_without_it() -> None:
    with Databricks(NOBODY, permissions=frozenset({"read"})) as databricks:
        headers = {"Authorization": f"Bearer {databricks.issuer.personal(USER)}"}
        for route in ("mlflow/runs/log-batch", "mlflow/artifacts/credentials-for-write", "workspace/mkdirs"):
            refused = databricks.answer("POST", f"/api/2.0/{route}", headers, b"{}")
            assert code_of(refused) == (403, "PERMISSION_DENIED")


# Folders, limits, files.


def test_an_experiment_is_a_path_of_a_folder_that_exists() -> None:
    folders = Folders((USER,))
    problems = {
        "churn": (400, "INVALID_PARAMETER_VALUE"),
        "/Shared//churn": (400, "INVALID_PARAMETER_VALUE"),
        "/Shared/../churn": (400, "INVALID_PARAMETER_VALUE"),
        "/Shared/team/churn": (404, "RESOURCE_DOES_NOT_EXIST"),
        "/Shared": (400, "RESOURCE_ALREADY_EXISTS"),
        "/churn": (403, "PERMISSION_DENIED"),
    }
    for name, problem in problems.items():
        refused = folders.place(USER, name)[1]
        assert refused is not None, name
        assert code_of(refused) == problem, name
    assert folders.place(USER, "/Workspace/Shared/churn") == ("/Shared/churn", None)
    assert folders.make(USER, "/Shared/team/sub", lambda path: False).status == 200
    assert folders.place(USER, "/Shared/team/sub/churn") == ("/Shared/team/sub/churn", None)
    in_the_way = folders.make(USER, "/Shared/churn/sub", lambda path: path == "/Shared/churn")
    assert code_of(in_the_way) == (400, "RESOURCE_ALREADY_EXISTS")
    for path in ("/Users/someone@example.com/x", "/Other"):
        assert code_of(folders.make(USER, path, lambda path: False)) == (403, "PERMISSION_DENIED")


def test_limits_of_a_call_and_of_a_run() -> None:
    def batch(**counts: int) -> dict[str, Any]:
        return {
            kind: [{"key": f"k{n}", "value": "1"} for n in range(count)] for kind, count in counts.items()
        }

    def problem(request: dict[str, Any], run: dict[str, Any] | None = None) -> str:
        broken = broken_rule("runs/log-batch", request, 100, run)
        return "" if broken is None else broken.code

    assert problem(batch(metrics=800, params=100, tags=100)) == ""
    assert problem(batch(metrics=801, params=100, tags=100)) == "INVALID_PARAMETER_VALUE"
    for kind, most in (("metrics", 1000), ("params", 100), ("tags", 100)):
        assert problem(batch(**{kind: most})) == ""
        assert problem(batch(**{kind: most + 1})) == "INVALID_PARAMETER_VALUE"
    held = {"data": {"params": [{"key": f"p{n}"} for n in range(PARAMS_PER_RUN_MAX)]}}
    assert problem({"params": [{"key": "p1", "value": "1"}]}, held) == ""
    assert problem({"params": [{"key": "new", "value": "1"}]}, held) == "RESOURCE_LIMIT_EXCEEDED"
    assert problem({"params": [{"key": "p", "value": "é" * 3001}]}) == "INVALID_PARAMETER_VALUE"
    assert problem({"tags": [{"key": "é" * 126, "value": "1"}]}) == "INVALID_PARAMETER_VALUE"
    assert broken_rule("runs/log-batch", {}, 1024 * 1024 + 1, None) is not None


def test_dbfs_keeps_out_of_what_databricks_manages() -> None:
    files = WorkspaceFiles(Clock())
    for path in (
        "/databricks/mlflow-tracking/1/2/artifacts/a",
        "/databricks/mlflow-registry/a",
        "/Volumes/a",
    ):
        assert code_of(files.dbfs("GET", "get-status", {"path": path})) == (403, "PERMISSION_DENIED")
    large = base64.b64encode(b"x" * (BLOCK_BYTES_MAX + 1)).decode()
    refused = files.dbfs("POST", "put", {"path": "/mnt/a", "contents": large})
    assert code_of(refused) == (400, "MAX_BLOCK_SIZE_EXCEEDED")
    assert files.dbfs("POST", "put", {"path": "/mnt/a", "contents": ""}).status == 200
    again = files.dbfs("POST", "put", {"path": "/mnt/a", "contents": ""})
    assert code_of(again) == (400, "RESOURCE_ALREADY_EXISTS")


def test_the_files_api_serves_volumes_and_pending_versions_only() -> None:
    files = WorkspaceFiles(Clock())
    volume = "/api/2.0/fs/files/Volumes/main/ml/files"
    assert code_of(files.answer("PUT", "/api/2.0/fs/files/tmp/x", b"")) == (400, "INVALID_PARAMETER_VALUE")
    assert code_of(files.answer("PUT", f"{volume}/a/b.txt", b"1")) == (404, "NOT_FOUND")
    assert files.answer("PUT", "/api/2.0/fs/directories/Volumes/main/ml/files/a", b"").status == 204
    assert files.answer("PUT", f"{volume}/a/b.txt", b"1").status == 204
    assert code_of(files.answer("PUT", f"{volume}/a/b.txt", b"2")) == (400, "RESOURCE_ALREADY_EXISTS")
    assert files.answer("GET", f"{volume}/a/b.txt", b"").body == b"1"
    refused = files.answer("PUT", "/api/2.0/fs/files/Models/main/ml/churn/1/MLmodel", b"1")
    assert code_of(refused) == (403, "PERMISSION_DENIED")


# Unity Catalog.


def test_a_version_is_pending_until_its_files_are_there() -> None:
    clock = Clock()
    files = WorkspaceFiles(clock)
    catalog = Catalog(clock, files.below)
    files.takes_model_file = catalog.takes
    name = {"name": "Main.ML.Churn"}
    created = catalog.answer("POST", "registered-models/create", USER, name)
    assert json.loads(created.body)["registered_model"]["name"] == "main.ml.churn"
    made = catalog.answer("POST", "model-versions/create", USER, {**name, "source": "x", "tags": []})
    version = json.loads(made.body)["model_version"]
    assert (version["version"], version["status"]) == ("1", "PENDING_REGISTRATION")
    of_version = {**name, "version": "1"}
    refused = catalog.answer("POST", "model-versions/finalize", USER, of_version)
    assert code_of(refused) == (400, "INVALID_STATE")
    file = "/api/2.0/fs/files/Models/main/ml/churn/1/MLmodel"
    assert files.answer("PUT", file, b"1").status == 204
    done = catalog.answer("POST", "model-versions/finalize", USER, of_version)
    assert json.loads(done.body)["model_version"]["status"] == "READY"
    assert files.answer("PUT", f"{file}?overwrite=true", b"2").status == 403


def test_names_and_tags_of_unity_catalog_have_rules() -> None:
    catalog = Catalog(Clock(), lambda folder: [])

    def create(name: str, *keys: str) -> tuple[int, str]:
        tags = [{"key": key, "value": "1"} for key in keys]
        return code_of(catalog.answer("POST", "registered-models/create", USER, {"name": name, "tags": tags}))

    assert create("main.ml.a b") == (400, "INVALID_PARAMETER_VALUE")
    assert create("churn") == (400, "INVALID_PARAMETER_VALUE")
    assert create("other.ml.churn") == (404, "CATALOG_DOES_NOT_EXIST")
    assert create("main.other.churn") == (404, "SCHEMA_DOES_NOT_EXIST")
    assert create("main.ml.churn", "a.b") == (400, "INVALID_PARAMETER_VALUE")
    many = [f"k{number}" for number in range(TAGS_MAX + 1)]
    assert create("main.ml.churn", *many) == (400, "RESOURCE_LIMIT_EXCEEDED")
    assert create("main.ml.churn", *many[1:]) == (200, "")
    assert create("main.ml.churn") == (400, "RESOURCE_ALREADY_EXISTS")
    listed = json.loads(catalog.answer("GET", "registered-models/search", USER, {}).body)
    assert "tags" not in listed["registered_models"][0]

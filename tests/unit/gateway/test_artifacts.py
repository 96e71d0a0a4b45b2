"""Files of runs and models as clients list, fetch and delete them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.asgi_calls import Told
from tests.support.file_gateways import PROXY, FileGateway, file_gateway
from trackbridge.delivery.spills import SPILL_FOLDER
from trackbridge.domain.ids import mint_id
from trackbridge.gateway.artifact_downloads import content_type_of, disposition_of

LARGE = bytes(range(256)) * 12_000  # three blocks of a download
TAG = f'"sha256:{hashlib.sha256(LARGE).hexdigest()}"'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileGateway]:
    with file_gateway(tmp_path_factory.mktemp("artifacts")) as made:
        recorder = made.gateway.runs.recorder(made.run_id)
        recorder.content(b"hello", "a/b.txt")
        recorder.content(b"", "a/empty.html")
        recorder.content(LARGE, "large.bin")
        recorder.content("ä".encode(), "a/ä b.csv")
        yield made


def _listed(told: Told) -> list[tuple[str, bool, int | None]]:
    assert told.status == 200, told.content
    return [(file["path"], file["is_dir"], file.get("file_size")) for file in told.json().get("files", [])]


def test_a_run_lists_its_files_and_where_they_lie(files: FileGateway) -> None:
    told = files.call("GET", "/api/2.0/mlflow/artifacts/list", query={"run_id": files.run_id})
    assert told.json()["root_uri"] == f"mlflow-artifacts:/0/{files.run_id}/artifacts"
    assert _listed(told) == [("a", True, None), ("large.bin", False, len(LARGE))]
    told = files.call(
        "GET", "/ajax-api/2.0/mlflow/artifacts/list", query={"run_uuid": files.run_id, "path": "a/"}
    )
    assert _listed(told) == [("a/b.txt", False, 5), ("a/empty.html", False, None), ("a/ä b.csv", False, 2)]


def test_an_empty_token_asks_for_the_first_page(files: FileGateway) -> None:
    query = {"run_id": files.run_id, "page_token": ""}
    told = files.call("GET", "/api/2.0/mlflow/artifacts/list", query=query)
    assert _listed(told) == [("a", True, None), ("large.bin", False, len(LARGE))]


@pytest.mark.parametrize("path", ["none", "large.bin"])
def test_what_is_no_folder_lists_nothing(files: FileGateway, path: str) -> None:
    query = {"run_id": files.run_id, "path": path}
    assert _listed(files.call("GET", "/api/2.0/mlflow/artifacts/list", query=query)) == []


def test_the_proxy_lists_names_in_a_folder(files: FileGateway) -> None:
    place = f"0/{files.run_id}/artifacts/a"
    told = files.call("GET", f"{PROXY}/artifacts", query={"path": place})
    assert _listed(told) == [("b.txt", False, 5), ("empty.html", False, None), ("ä b.csv", False, 2)]
    assert "root_uri" not in told.json()


def test_what_we_keep_beside_a_runs_files_is_not_listed(files: FileGateway) -> None:
    run_id = files.run()
    recorder = files.gateway.runs.recorder(run_id)
    recorder.content(b"{}", f"{SPILL_FOLDER}/params.json")
    recorder.content(b"{}", "bridge-models/m-1.json")
    recorder.content(b"", "seen")
    query = {"run_id": run_id}
    assert _listed(files.call("GET", "/api/2.0/mlflow/artifacts/list", query=query)) == [
        ("seen", False, None)
    ]


def test_a_file_is_sent_as_mlflow_sends_it_and_never_as_a_page(files: FileGateway) -> None:
    for path in (files.at("a/b.txt"), f"/get-artifact?run_uuid={files.run_id}&path=a/b.txt"):
        path, _, query = path.partition("?")
        told = files.call("GET", path, query=dict(part.split("=") for part in query.split("&") if part))
        assert (told.status, told.content, told.is_whole) == (200, b"hello", True)
        assert told.headers["content-type"] == "text/plain"
        assert told.headers["content-disposition"] == "attachment; filename=b.txt"
        assert told.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in told.headers["content-security-policy"]
        assert told.headers["content-length"] == "5"


def test_pages_are_told_to_be_stored(files: FileGateway) -> None:
    told = files.call("GET", files.at("a/empty.html"))
    assert told.headers["content-type"] == "text/html"
    assert told.headers["content-disposition"].startswith("attachment")
    assert (told.content, told.headers["content-length"]) == (b"", "0")


def test_names_are_encoded_once(files: FileGateway) -> None:
    told = files.call("GET", files.at(quote("a/ä b.csv")))
    assert told.content.decode() == "ä"
    assert (
        told.headers["content-disposition"]
        == "attachment; filename=\"a b.csv\"; filename*=UTF-8''%C3%A4%20b.csv"
    )


def test_a_large_file_comes_in_blocks(files: FileGateway) -> None:
    told = files.call("GET", files.at("large.bin"))
    assert told.content == LARGE
    assert told.blocks == 4  # three and the end
    assert told.headers["etag"] == TAG


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1048575-1048577", 1048575, 1048578),
        ("bytes=3000000-", 3000000, len(LARGE)),
    ],
)
def test_a_part_can_be_asked_for(files: FileGateway, asked: str, start: int, end: int) -> None:
    told = files.call("GET", files.at("large.bin"), headers={"range": asked, "if-range": TAG})
    assert (told.status, told.content) == (206, LARGE[start:end])
    assert told.headers["content-range"] == f"bytes {start}-{end - 1}/{len(LARGE)}"
    assert told.headers["content-length"] == str(end - start)


def test_the_end_can_be_asked_for(files: FileGateway) -> None:
    assert files.call("GET", files.at("large.bin"), headers={"range": "bytes=-7"}).content == LARGE[-7:]


@pytest.mark.parametrize(
    "asked", ["bytes=5-1", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "bytes=x-y", f"bytes=0-{'1' * 5000}"]
)
def test_ranges_that_mean_nothing_mean_all(files: FileGateway, asked: str) -> None:
    told = files.call("GET", files.at("a/b.txt"), headers={"range": asked})
    assert (told.status, told.content) == (200, b"hello")


def test_a_part_of_another_state_is_not_sent(files: FileGateway) -> None:
    told = files.call("GET", files.at("a/b.txt"), headers={"range": "bytes=1-2", "if-range": TAG})
    assert (told.status, told.content) == (200, b"hello")


def test_what_is_behind_the_end_is_416(files: FileGateway) -> None:
    told = files.call("GET", files.at("a/b.txt"), headers={"range": "bytes=5-"})
    assert (told.status, told.headers["content-range"], told.content) == (416, "bytes */5", b"")


def test_who_has_the_file_gets_it_not_again(files: FileGateway) -> None:
    told = files.call("GET", files.at("large.bin"), headers={"if-none-match": f'"x", W/{TAG}'})
    assert (told.status, told.content) == (304, b"")


def test_head_tells_the_length_alone(files: FileGateway) -> None:
    told = files.call("HEAD", files.at("large.bin"))
    assert (told.status, told.content, told.headers["content-length"]) == (200, b"", str(len(LARGE)))


def test_a_folder_is_no_file_and_nothing_is_404(files: FileGateway) -> None:
    for path, status, code in (
        ("a", 400, "INVALID_PARAMETER_VALUE"),
        ("none", 404, "RESOURCE_DOES_NOT_EXIST"),
    ):
        told = files.call("GET", files.at(path))
        assert (told.status, told.json()["error_code"]) == (status, code)


def test_a_run_that_is_not_is_404(files: FileGateway) -> None:
    absent = f"{0:012x}{mint_id()[12:]}"  # minted long ago
    query = {"run_id": absent, "path": "x"}
    for path in ("/api/2.0/mlflow/artifacts/list", "/get-artifact"):
        assert files.call("GET", path, query=query).status == 404
    assert files.call("GET", files.at("x", absent)).status == 404
    assert files.call("PUT", files.at("x", absent), b"x").status == 404
    assert files.call("GET", "/get-artifact", query={"path": "x"}).status in (400, 404)


HOSTILE = [
    "..",
    "../x",
    "a/../../x",
    "%2e%2e/x",
    "%252e%252e/x",
    "%2fetc/passwd",
    "a%5cb",
    "a%00b",
    "a%23b",
    "/x",
]


@pytest.mark.parametrize("path", [*HOSTILE, "x" * 300, "a%0ab"])
def test_hostile_paths_are_400_everywhere(files: FileGateway, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert files.call(method, files.at(path), b"x" if method == "PUT" else b"").status == 400
    asked = {"run_id": files.run_id, "path": path.replace("%00", "\0").replace("%0a", "\n")}
    for address in ("/api/2.0/mlflow/artifacts/list", "/get-artifact"):
        told = files.call("GET", address, query=asked)
        assert (told.status, told.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    told = files.call(
        "GET", f"{PROXY}/artifacts", query={"path": f"0/{files.run_id}/artifacts/{asked['path']}"}
    )
    assert told.status == 400


@pytest.mark.parametrize("path", ["", "0", "etc/passwd", "0/x/y", "0/models/m-1"])
def test_places_of_nobody_hold_nothing(files: FileGateway, path: str) -> None:
    assert files.call("PUT", f"{PROXY}/artifacts/{path}", b"x").status in (400, 404)
    assert files.call("GET", f"{PROXY}/artifacts", query={"path": path}).status in (400, 404)


def test_files_and_folders_are_deleted(files: FileGateway) -> None:
    run_id = files.run()
    for path in ("a/1", "a/2", "b"):
        assert files.call("PUT", files.at(path, run_id), b"x").status == 200
    told = files.call("DELETE", files.at("a", run_id))
    assert (told.status, told.json()) == (200, {})
    query = {"run_id": run_id}
    assert _listed(files.call("GET", "/api/2.0/mlflow/artifacts/list", query=query)) == [("b", False, 1)]
    assert files.call("DELETE", files.at("", run_id)).status == 200
    assert _listed(files.call("GET", "/api/2.0/mlflow/artifacts/list", query=query)) == []


def test_a_store_that_signs_nothing_says_so_in_mlflows_words(files: FileGateway) -> None:
    told = files.call("GET", f"{PROXY}/presigned/0/{files.run_id}/artifacts/a/b.txt")
    assert (told.status, told.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    for what in ("download", "upload"):
        body = {"run_id": files.run_id, "path": "a/b.txt"}
        told = files.call.json("POST", f"/api/2.0/mlflow/artifacts/presigned-{what}-url", body)
        assert told.status == 400
        assert told.json()["message"].startswith(f"Presigned {what} is not supported for")


@pytest.fixture(scope="module")
def model_id(files: FileGateway) -> str:
    """A logged model whose files a client has sent."""
    body = {"experiment_id": "0", "name": "wine", "source_run_id": files.run_id}
    told = files.call.json("POST", "/api/2.0/mlflow/logged-models", body)
    assert told.status == 200, told.content
    made = told.json()["model"]["info"]
    assert made["artifact_uri"].startswith("mlflow-artifacts:/0/models/")
    place = made["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert files.call("PUT", f"{PROXY}/artifacts/{place}/MLmodel", b"flavors: {}").status == 200
    assert files.call("PUT", f"{PROXY}/artifacts/{place}/data/x", b"1").status == 200
    found: str = made["model_id"]
    return found


def test_a_logged_model_has_files_of_its_own(files: FileGateway, model_id: str) -> None:
    base = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts"
    told = files.call("GET", f"{base}/directories")
    assert _listed(told) == [("MLmodel", False, 11), ("data", True, None)]
    assert told.json()["root_uri"] == f"mlflow-artifacts:/0/models/{model_id}/artifacts"
    told = files.call("GET", f"{base}/directories", query={"artifact_directory_path": "data"})
    assert _listed(told) == [("data/x", False, 1)]
    first = files.call("GET", f"{base}/directories", query={"page_token": ""})
    assert _listed(first) == [("MLmodel", False, 11), ("data", True, None)]
    told = files.call("GET", f"{base}/files", query={"artifact_file_path": "MLmodel"})
    assert (told.content, told.headers["content-type"]) == (b"flavors: {}", "text/plain")
    assert files.call("GET", f"{base}/files").status == 400
    assert files.call("GET", f"{base}/files", query={"artifact_file_path": "../x"}).status == 400
    proxied = files.call("GET", f"{PROXY}/artifacts", query={"path": f"0/models/{model_id}/artifacts"})
    assert _listed(proxied) == [("MLmodel", False, 11), ("data", True, None)]
    query = {"run_id": files.run_id}
    shown = _listed(files.call("GET", "/api/2.0/mlflow/artifacts/list", query=query))
    assert "wine" not in [path for path, _, _ in shown]
    listed = files.call("GET", "/api/2.0/mlflow/artifacts/list", query={**query, "path": "wine"})
    assert _listed(listed) == []  # a client adds the model's own files


def test_a_logged_model_that_is_not_is_404(files: FileGateway) -> None:
    absent = f"m-{files.run_id}-00000000"
    assert (
        files.call("GET", f"/ajax-api/2.0/mlflow/logged-models/{absent}/artifacts/directories").status == 404
    )
    assert files.call("PUT", f"{PROXY}/artifacts/0/models/{absent}/artifacts/x", b"x").status == 404


def test_the_files_of_a_registered_version_are_sent(files: FileGateway) -> None:
    run_id = files.run()
    files.gateway.runs.recorder(run_id).content(b"flavors: {}\n", "model/MLmodel")
    post = "/api/2.0/mlflow/"
    assert files.call.json("POST", f"{post}registered-models/create", {"name": "wine"}).status == 200
    source = f"mlflow-artifacts:/0/{run_id}/artifacts/model"
    made = files.call.json(
        "POST", f"{post}model-versions/create", {"name": "wine", "source": source, "run_id": run_id}
    )
    assert made.status == 200, made.content
    query = {"name": "wine", "version": "1", "path": "MLmodel"}
    assert files.call("GET", "/model-versions/get-artifact", query=query).content == b"flavors: {}\n"
    told = files.call("GET", f"{PROXY}/artifacts", query={"path": "registered-models/wine/1/artifacts"})
    assert _listed(told) == [("MLmodel", False, 12)]
    assert files.call("PUT", f"{PROXY}/artifacts/registered-models/wine/1/artifacts/x", b"x").status == 501
    assert files.call("GET", "/model-versions/get-artifact", query={**query, "version": "2"}).status == 404
    assert (
        files.call("GET", "/model-versions/get-artifact", query={**query, "path": "../MLmodel"}).status == 400
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "text/plain"),
        ("MLmodel", "text/plain"),
        ("a.png", "image/png"),
        ("a", "application/octet-stream"),
    ],
)
def test_media_types_are_mlflows(name: str, kind: str) -> None:
    assert content_type_of(name) == kind


def test_a_name_is_quoted_where_it_must_be() -> None:
    assert disposition_of('a"b c') == 'attachment; filename="a\\"b c"'
    assert (
        disposition_of("日本語")
        == "attachment; filename=download; filename*=UTF-8''%E6%97%A5%E6%9C%AC%E8%AA%9E"
    )

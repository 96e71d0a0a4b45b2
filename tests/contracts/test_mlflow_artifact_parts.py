"""Large files through a real MLflow server that signs addresses of its bucket, or does not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_mlflow_artifacts import open_run, open_server
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from tests.support.s3_servers import BUCKET, KEY, REGION, SECRET, uploads_of
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.ids import mint_id
from trackbridge.errors import Unavailable
from trackbridge.testing.contracts.samples import digest_of
from trackbridge_adapters._mlflow_rest import artifacts_parts_proxy
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters._mlflow_rest.artifacts_parts import PART_BYTES_MIN
from trackbridge_adapters._mlflow_rest.artifacts_parts_proxy import Offer

PARTS = 3


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory, s3: str) -> Iterator[MlflowServer]:
    """A server whose own files are in a bucket."""
    environment = {
        "AWS_ENDPOINT_URL_S3": s3,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        server = mlflow_server(tmp_path_factory.mktemp("signing"), artifacts=f"proxied:s3://{BUCKET}/behind")
        with server as running:
            yield running


@pytest.fixture(params=["newest", "floor"])
def plain(request: pytest.FixtureRequest) -> MlflowServer:
    """A server whose own files are in a folder."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, MlflowServer)
    return server


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(1024) * ((PARTS - 1) * PART_BYTES_MIN // 1024 + 7)


@pytest.fixture
def file(content: bytes, tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(content)
    return tmp_path / "file"


class Opened:
    """An adapter with one run, which counts what goes to the server and to the bucket."""

    def __init__(self, server: MlflowServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server.reset()
        self.adapter: RestAdapter = open_server(server, home)
        self.run_id = mint_id()
        open_run(self.adapter, self.run_id)
        self.sent: list[str] = []
        self.parts: list[str] = []
        self.failures: list[Exception] = []
        send, opened = self.adapter.tracking.wire.send, self

        def counted(method: str, path: str, **named: Any) -> Any:
            self.sent.append(f"{method} {path.split('/mlflow-artifacts/')[-1].split('/')[0]}")
            return send(method, path, **named)

        class Bucket(artifacts_parts_proxy.HttpClient):
            def request(self, method: str, url: str, **named: Any) -> Any:
                assert "Authorization" not in (named.get("headers") or {})
                opened.parts.append(url)
                if len(opened.parts) > 1 and opened.failures:
                    raise opened.failures.pop()
                return super().request(method, url, **named)

        monkeypatch.setattr(self.adapter.tracking.wire, "send", counted)
        monkeypatch.setattr(artifacts_parts_proxy, "HttpClient", Bucket)

    @property
    def offer(self) -> Offer:
        artifacts: Any = self.adapter.artifacts
        found = artifacts._places._offer
        assert isinstance(found, Offer)
        return found

    def put(self, path: str, file: Path, content: bytes, state: Path | None = None) -> ArtifactInfo:
        store, named = self.adapter.artifacts, {"digest": digest_of(content), "size": len(content)}
        assert store is not None
        if state is None:
            return store.put(self.run_id, path, file, **named)  # type: ignore[arg-type]
        return store.put_resumable(self.run_id, path, file, state=state, **named)  # type: ignore[arg-type]

    def digest_read(self, path: str) -> str:
        assert self.adapter.artifacts is not None
        with self.adapter.artifacts.open(self.run_id, path) as reader:
            return digest_of(reader.read())

    def listed(self, folder: str = "") -> list[str]:
        assert self.adapter.artifacts is not None
        return [item.path for item in self.adapter.artifacts.list(self.run_id, folder)]


def test_a_large_file_goes_to_the_servers_bucket_in_parts(
    signing: MlflowServer,
    s3: str,
    tmp_path: Path,
    content: bytes,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Opened(signing, tmp_path / "home", monkeypatch)
    for path, state in (("folder/ü b.bin", None), ("again.bin", tmp_path / "state")):
        assert opened.put(path, file, content, state).file_size == len(content)
        assert opened.digest_read(path) == digest_of(content)
    assert len(opened.parts) == 2 * PARTS
    assert opened.sent.count("POST mpu") == 4
    assert "PUT artifacts" not in opened.sent
    assert not (tmp_path / "state").exists()
    assert uploads_of(s3) == []
    opened.adapter.close()


def test_after_a_failure_only_what_is_missing_is_sent(
    signing: MlflowServer,
    s3: str,
    tmp_path: Path,
    content: bytes,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, state = Opened(signing, tmp_path / "home", monkeypatch), tmp_path / "state"
    opened.offer.has_worked = True
    opened.failures = [Unavailable("the bucket is away")]
    with pytest.raises(Unavailable):
        opened.put("a.bin", file, content, state)
    assert opened.listed() == [], "half a file is seen"
    notes = state.read_text()
    assert "http" not in notes
    assert "Signature" not in notes
    there = notes.count("\n") - 1
    opened.parts.clear()
    opened.put("a.bin", file, content, state)
    assert len(opened.parts) == PARTS - there < PARTS
    assert opened.digest_read("a.bin") == digest_of(content)
    assert uploads_of(s3) == []
    opened.adapter.close()


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from tests.contracts.test_mlflow_artifacts import digest_of, open_server
    from trackbridge_adapters._mlflow_rest import artifacts_parts_proxy

    class Server:
        url = sys.argv[1]

    folder, file = Path(sys.argv[2]), Path(sys.argv[3])
    send, sent = artifacts_parts_proxy.ProxyParts.send, []

    def killed(self, upload, number, content):
        if number == 2:
            while (folder / "state").read_bytes().count(b"\\n") < 2:
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return send(self, upload, number, content)

    artifacts_parts_proxy.ProxyParts.send = killed
    content = file.read_bytes()
    open_server(Server, folder / "home").artifacts.put_resumable(
        sys.argv[4], "a.bin", file, digest=digest_of(content), size=len(content), state=folder / "state"
    )
"""


def test_what_a_killed_process_left_is_dropped_and_the_file_arrives(
    signing: MlflowServer,
    s3: str,
    tmp_path: Path,
    content: bytes,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Opened(signing, tmp_path / "home", monkeypatch)
    script = [
        sys.executable,
        "-c",
        textwrap.dedent(KILLED),
        signing.url,
        str(tmp_path),
        str(file),
        opened.run_id,
    ]
    killed = subprocess.run(script, cwd=Path(__file__).parents[2], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(uploads_of(s3)) == 1
    assert opened.listed() == [], "half a file is seen"
    opened.put("a.bin", file, content, tmp_path / "state")
    assert opened.digest_read("a.bin") == digest_of(content)
    assert uploads_of(s3) == [], "the parts of the killed process are still paid for"
    opened.adapter.close()


def test_a_bucket_that_is_out_of_reach_is_written_to_by_the_server(
    signing: MlflowServer,
    s3: str,
    tmp_path: Path,
    content: bytes,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Opened(signing, tmp_path / "home", monkeypatch)

    class Unreachable(artifacts_parts_proxy.HttpClient):
        def request(self, *_: Any, **__: Any) -> Any:
            raise Unavailable("no route to the bucket")

    monkeypatch.setattr(artifacts_parts_proxy, "HttpClient", Unreachable)
    for path in ("a.bin", "b.bin"):
        opened.put(path, file, content, tmp_path / "state")
        assert opened.digest_read(path) == digest_of(content)
    assert opened.offer.is_declined
    assert opened.sent.count("PUT artifacts") == 2
    assert opened.sent.count("POST mpu") == 2, "it was asked again, or not told that the upload is given up"
    assert uploads_of(s3) == []
    opened.adapter.close()


def test_a_server_without_parts_gets_the_whole_and_is_asked_once(
    plain: MlflowServer, tmp_path: Path, content: bytes, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(plain, tmp_path / "home", monkeypatch)
    for path, state in (("a.bin", None), ("b.bin", tmp_path / "state")):
        opened.put(path, file, content, state)
        assert opened.digest_read(path) == digest_of(content)
    assert (opened.sent.count("POST mpu"), opened.sent.count("PUT artifacts")) == (1, 2)
    assert not (tmp_path / "state").exists()
    opened.adapter.close()


def test_a_whole_upload_that_breaks_off_leaves_no_file_that_looks_whole(
    plain: MlflowServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(plain, tmp_path / "home", monkeypatch)
    root = opened.adapter.tracking.artifact_root(opened.run_id).removeprefix("mlflow-artifacts:/")
    head = f"PUT /api/2.0/mlflow-artifacts/artifacts/{root}/broken.bin HTTP/1.1\r\nHost: x\r\n"
    with closing(socket.create_connection(("127.0.0.1", plain.port), timeout=30)) as connection:
        connection.sendall(
            f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[: 5 * 1024 * 1024]
        )
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    (tmp_path / "whole").write_bytes(b"whole")
    opened.put("whole.bin", tmp_path / "whole", b"whole")
    assert opened.listed() == ["whole.bin"]
    opened.adapter.close()

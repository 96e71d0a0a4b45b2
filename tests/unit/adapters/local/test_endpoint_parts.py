"""What endpoints of the local backend are made of: telemetry, logs, payloads, folders, settings, checks."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from pathlib import Path

import msgspec
import pytest

from tests.support.endpoints import wait_until
from trackbridge.domain.deployments import Autoscale, DeploymentSpec
from trackbridge.domain.serving import ServingSettings
from trackbridge.errors import AuthError, InvalidInput, MissingExtra, Rejected, Unavailable, Unsupported
from trackbridge_adapters.local import endpoint_checks, endpoint_folders, endpoint_logs, endpoint_router
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.endpoint_client import _meaning
from trackbridge_adapters.local.endpoint_folders import EndpointFolder, make_private
from trackbridge_adapters.local.endpoint_payloads import (
    digest_of_folder,
    keeping,
    payload_folder,
    remove_unused,
    removing,
    take_in,
)
from trackbridge_adapters.local.endpoint_routes import Route, Routes
from trackbridge_adapters.local.endpoint_servers import server_settings
from trackbridge_adapters.local.endpoint_telemetry import (
    Telemetry,
    compact,
    read_figures,
    write_figures,
)

SPEC = DeploymentSpec(endpoint="wine", deployment="v1", model="models:/wine/1", model_digest="sha256:abc")
NOW_S = 1_700_000_000


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(Settings(folder=tmp_path / "store"))


# Telemetry.


def test_what_could_not_be_written_is_counted_once(database: Database) -> None:
    telemetry = Telemetry()
    for is_full in (False, True, False):  # of one second, some of which is in the store already
        telemetry.count("v1", NOW_S, status=200, latency_s=0.01)
        figures = telemetry.take()
        try:
            with database.writing("test") as connection:
                write_figures(connection, "wine", figures)
                if is_full:
                    raise RuntimeError("the disk is full")
        except RuntimeError:
            telemetry.give_back(figures)
    with database.writing("test") as connection:
        found = read_figures(connection, "wine", "v1", now_s=NOW_S, window_s=1)
    assert found.requests == 3


def test_quantiles_are_right_within_two_percent(database: Database) -> None:
    rng = random.Random(1)
    latencies = [math.exp(rng.gauss(-6, 1.5)) for _ in range(5000)]
    telemetry = Telemetry()
    for number, latency_s in enumerate(latencies):
        telemetry.count("v1", NOW_S + number % 60, status=200, latency_s=latency_s)
    with database.writing("test") as connection:
        write_figures(connection, "wine", telemetry.take())
        found = read_figures(connection, "wine", "v1", now_s=NOW_S, window_s=60)
    assert found.requests == 5000
    for share, actual in (
        (0.50, found.latency_p50_ms),
        (0.95, found.latency_p95_ms),
        (0.99, found.latency_p99_ms),
    ):
        assert actual == pytest.approx(
            1000 * sorted(latencies)[math.ceil(share * len(latencies)) - 1], rel=0.02
        )


def test_answers_are_counted_by_kind(database: Database) -> None:
    telemetry = Telemetry()
    for status in (200, 204, 400, 404, 429, 500, 503, 0):
        telemetry.count("v1", NOW_S, status=status, latency_s=0.01)
    telemetry.count_copy("v1", NOW_S)
    with database.writing("test") as connection:
        write_figures(connection, "wine", telemetry.take())
        found = read_figures(connection, "wine", "v1", now_s=NOW_S, window_s=1)
    assert (found.requests, found.errors, found.refused, found.mirrored) == (8, 3, 3, 1)


def test_a_window_ends_where_it_ends_and_compaction_keeps_the_figures(database: Database) -> None:
    telemetry = Telemetry()
    ages_s = (10, 100, 4990, 4999, 80_000, 90_000)
    for age_s in ages_s:
        telemetry.count("v1", NOW_S - age_s, status=200, latency_s=0.01)
    with database.writing("test") as connection:
        write_figures(connection, "wine", telemetry.take())
        for _ in range(2):
            compact(connection, "wine", now_s=NOW_S)
            counts = [
                read_figures(connection, "wine", "v1", now_s=NOW_S, window_s=window_s).requests
                for window_s in (60, 3600, 7200, 86_400)
            ]
            assert counts == [1, 2, 4, 5]
        rows = connection.execute("SELECT count(*) FROM endpoint_metric").fetchone()[0]
    assert rows == 4, "two seconds, and two minutes"


def test_what_cannot_be_written_is_kept_within_bounds() -> None:
    telemetry = Telemetry()
    for second in range(5000):
        telemetry.count("v1", second, status=200, latency_s=0.01)
        if second % 100 == 99:
            telemetry.give_back(telemetry.take())
    kept = telemetry.take()
    assert len(kept) <= 700
    assert sum(figures.requests for figures in kept.values()) == 5000


def test_the_router_goes_on_while_the_store_is_full(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.writing("test") as connection:
        connection.execute(
            "INSERT INTO endpoint (name, generation, sockets, creation_time) VALUES ('wine', 1, '/x', 0)"
        )
    monkeypatch.setattr(endpoint_router, "FLUSH_S", 0.02)
    full = threading.Event()
    telemetry, taken = Telemetry(), []
    updating = database.updating

    def may_be_full(*arguments: str) -> object:
        if full.is_set():
            raise Unavailable("the disk of the store is full")
        return updating(*arguments)

    monkeypatch.setattr(database, "updating", may_be_full)
    full.set()
    keeper = endpoint_router.Keeper(
        database, "wine", telemetry, take_over=taken.append, stop=lambda: taken.append("stop")
    )
    keeper.start()
    telemetry.count("v1", int(time.time()), status=200, latency_s=0.01)
    wait_until(lambda: bool(taken), "the routes, which need no writing")
    full.clear()

    def requests() -> int:
        with database.reading("test") as connection:
            assert connection is not None
            return read_figures(connection, "wine", "v1", now_s=int(time.time()), window_s=3600).requests

    wait_until(lambda: requests() == 1, "the telemetry, once there is room")
    keeper.end()
    assert "the disk of the store is full" in capsys.readouterr().err


# Routes.


def routes(**shares: int) -> Routes:
    made = {
        name: Route(deployment=name, socket=name, timeout_s=1, body_bytes_max=1, has_failed=False)
        for name in ("a", "b", "c")
    }
    return Routes(made, traffic=shares, mirror={})


def test_turns_are_taken_evenly() -> None:
    chosen = routes(a=50, b=30, c=20)
    names = [route.deployment for route in (chosen.next() for _ in range(100)) if route]
    assert [names.count(name) for name in "abc"] == [50, 30, 20]
    assert "aaa" not in "".join(names), "nobody gets long series"


def test_traffic_of_what_is_not_there_goes_to_the_others() -> None:
    chosen = routes(a=50, gone=50)
    assert {route.deployment for route in (chosen.next() for _ in range(10)) if route} == {"a"}
    assert routes().next() is None
    assert routes(gone=100).next() is None


# Logs.


def test_a_log_is_read_in_pieces_without_breaking_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_logs, "PIECE_BYTES", 7)
    log = tmp_path / "v1.log"
    text = "größer 漢字 🚀\n" * 20
    log.write_text(text, "utf-8")
    pieces, cursor, done = [], "", False
    while not done:
        chunk = endpoint_logs.read_log(log, cursor, is_over=True)
        pieces.append(chunk.text)
        cursor, done = chunk.cursor, chunk.done
    assert "".join(pieces) == text


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "v1.log"
    log.write_bytes(b"a\xff\xfeb\xc3")
    chunk = endpoint_logs.read_log(log, "", is_over=True)
    assert chunk.text == "a\ufffd\ufffdb\ufffd"
    assert chunk.done
    going_on = endpoint_logs.read_log(log, "", is_over=False)
    assert going_on.text == "a\ufffd\ufffdb", "the rest of the character may still come"
    assert not going_on.done


def test_a_cursor_stays_right_when_a_large_log_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_logs, "LOG_BYTES_MAX", 100)
    log = tmp_path / "v1.log"
    log.write_text("old\n" * 50, "utf-8")
    cursor = endpoint_logs.read_log(log, "", is_over=False).cursor
    endpoint_logs.bound_log(log)
    with log.open("a") as file:
        file.write("new\n")
    assert endpoint_logs.read_log(log, cursor, is_over=False).text == "new\n"
    assert endpoint_logs.read_log(log, "", is_over=False).text == "new\n"
    endpoint_logs.bound_log(log)
    assert log.read_text() == "new\n", "it is small"


def test_a_cursor_of_another_log_or_beyond_the_end_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    one.write_text("one, and longer", "utf-8")
    other.write_text("other", "utf-8")
    cursor = endpoint_logs.read_log(one, "", is_over=False).cursor
    with pytest.raises(InvalidInput):
        endpoint_logs.read_log(other, cursor, is_over=False)
    one.write_text("", "utf-8")
    with pytest.raises(InvalidInput):
        endpoint_logs.read_log(one, cursor, is_over=False)


# Payloads.


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    folder = tmp_path / "payload"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}", "utf-8")
    (folder / "deep" / "er" / "data.bin").write_bytes(b"\0" * 1000)
    return folder


def test_a_payload_is_copied_whole_or_not_at_all(
    tmp_path: Path, payload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    target = payload_folder(store, "sha256:abc")
    with keeping(store), monkeypatch.context() as patch:
        patch.setattr("trackbridge_adapters.local.endpoint_payloads._sync", _disk_full)
        with pytest.raises(OSError, match="full"):
            take_in(payload, target)
    assert sorted(path.name for path in (store / "models").iterdir()) == [".lock"]
    with keeping(store):
        take_in(payload, target)
        (payload / "MLmodel").write_text("changed", "utf-8")
        take_in(payload, target)
    assert (target / "MLmodel").read_text() == "flavors: {}"
    assert (target / "deep" / "er" / "data.bin").stat().st_size == 1000


def _disk_full(path: Path) -> None:
    raise OSError(28, "the disk is full")


def test_a_payload_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "store" / "models").mkdir(parents=True)
    with pytest.raises(Rejected):
        take_in(tmp_path / "absent", payload_folder(tmp_path / "store", "sha256:abc"))


@pytest.mark.parametrize("digest", ["sha256:../../x", "..", "", "a/b", "x" * 300, "\0"])
def test_a_digest_leads_nowhere_else(tmp_path: Path, digest: str) -> None:
    assert payload_folder(tmp_path, digest).parent == tmp_path / "models"


def test_the_digest_of_a_folder_is_that_of_its_content(payload: Path) -> None:
    before = digest_of_folder(payload)
    os.utime(payload / "MLmodel", (1, 1))
    assert digest_of_folder(payload) == before
    (payload / "MLmodel").rename(payload / "other")
    assert digest_of_folder(payload) != before


def test_unused_payloads_are_removed_unless_one_is_taken_in(tmp_path: Path, payload: Path) -> None:
    store = tmp_path / "store"
    with removing(store) as may:
        assert not may, "there are none"
    with keeping(store):
        for digest in ("sha256:used", "sha256:unused"):
            take_in(payload, payload_folder(store, digest))
        with removing(store) as may:
            assert not may
    with removing(store) as may:
        assert may
        remove_unused(store, {"sha256:used"})
    assert sorted(path.name for path in (store / "models").iterdir()) == [".lock", "used"]


# Folders and the token.


def test_the_token_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    folder = EndpointFolder(tmp_path, "wine")
    folder.make()
    token = folder.read_token()
    folder.make()
    assert folder.read_token() == token
    assert len(token) >= 40
    assert folder.token.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert [place.name for place in folder.path.iterdir() if place.name.startswith("token")] == ["token"]


def test_a_token_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        EndpointFolder(tmp_path, "wine").read_token()


def test_sockets_lie_in_a_short_folder(tmp_path: Path) -> None:
    short = EndpointFolder(Path("/s"), "wine")
    assert short.choose_sockets() == short.run
    long = EndpointFolder(tmp_path / ("x" * 100), "w" * 32)
    sockets = long.choose_sockets()
    assert len(os.fsencode(sockets)) <= 60
    assert sockets != EndpointFolder(tmp_path / ("x" * 100), "w" * 31).choose_sockets()


def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_folders, "_SHORT_ROOT", tmp_path)
    make_private(tmp_path / "mine" / "abc")
    make_private(tmp_path / "mine" / "abc")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(AuthError):
        make_private(tmp_path / "open" / "abc")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(AuthError):
        make_private(tmp_path / "link" / "abc")


# What is handed to a server.


def test_a_server_runs_as_the_spec_says(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(
        SPEC,
        instance_count=3,
        capture_percent=5,
        request_timeout_s=7.5,
        options={"queue_max": "9", "body_bytes_max": "1000"},
    )
    folder = EndpointFolder(tmp_path, "wine")
    settings = server_settings(folder, spec, socket="/s", ready_file="/r")
    assert (settings.workers, settings.queue_max, settings.body_bytes_max) == (3, 9, 1000)
    assert (settings.request_timeout_s, settings.name, settings.model) == (7.5, "wine/v1", "models:/wine/1")
    assert settings.capture is not None
    assert (settings.capture.percent, settings.capture.folder) == (5, str(folder.captures("v1")))
    assert msgspec.json.decode(msgspec.json.encode(settings), type=ServingSettings) == settings
    assert server_settings(folder, SPEC, socket="/s", ready_file="/r").capture is None


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "python:3.11"},
        {"instance_type": "ml.m5.large"},
        {"instance_count": 10_000},
        {"request_timeout_s": float("nan")},
        {"request_timeout_s": float("inf")},
        {"variables": {"A=B": "1"}},
        {"variables": {"A": "\0"}},
        {"options": {"queue_max": "0"}},
        {"options": {"queue_max": "many"}},
        {"options": {"body_bytes_max": "-1"}},
    ],
    ids=str,
)
def test_what_a_machine_cannot_hold_is_rejected(fields: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        endpoint_checks.check_spec(msgspec.structs.replace(SPEC, **fields))  # type: ignore[arg-type]


def test_a_machine_does_not_grow() -> None:
    bounds = Autoscale(instances_min=1, instances_max=3, requests_per_instance_target=100.0)
    with pytest.raises(Unsupported, match="does not grow"):
        endpoint_checks.check_spec(msgspec.structs.replace(SPEC, autoscale=bounds))


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_checks, "PROGRAMS", ("httptools", "no_such_package"))
    with pytest.raises(MissingExtra, match="no_such_package"):
        endpoint_checks.check_programs()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error_code": "BAD_REQUEST", "message": "no such column"}', "Rejected"),
        (401, b"", "AuthError"),
        (404, b'{"message": "no deployment"}', "NotFound"),
        (413, b"\xff\xfe", "Rejected"),
        (422, b"[1]", "Rejected"),
        (429, b"{}", "RateLimited"),
        (500, b'{"message": 5}', "Rejected"),
        (502, b"null", "TimedOut"),
        (503, b"", "Unavailable"),
        (504, b"", "TimedOut"),
    ],
)
def test_each_status_has_a_meaning(status: int, body: bytes, error: str) -> None:
    found = _meaning(status, body, "7", "wine")
    assert type(found).__name__ == error
    assert found.hint
    assert getattr(found, "retry_after_s", 7.0) == 7.0

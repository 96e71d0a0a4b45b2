"""Workers and the main process: killed, ended, broken from the start, replaced by another server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scoring_servers import (
    Server,
    order,
    running,
    save_obedient_model,
    start,
    together,
    wait_until,
)
from trackbridge.domain.serving import Capture, ServingSettings
from trackbridge.errors import ConfigError, MissingExtra
from trackbridge.serving import serve

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_obedient_model(tmp_path_factory.mktemp("model") / "obedient")


@pytest.fixture(scope="module")
def two_workers(warm: None, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("two")
    with running(folder, model_path=str(model), workers=2, request_timeout_s=3.0) as server:
        yield server


def worker_of(server: Server) -> int:
    process_id: int = server.invoke(order("echo")).content["predictions"][0]
    return process_id


def is_running(process_id: int) -> bool:
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize("do", ["kill", "exit"])
def test_a_worker_that_dies_under_load_is_replaced_at_once(two_workers: Server, do: str) -> None:
    server = two_workers
    over, statuses = threading.Event(), []

    def load() -> None:
        while not over.is_set():
            try:
                statuses.append(server.invoke(order("echo")).status)
            except OSError:
                statuses.append(0)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    victim = worker_of(server)
    with pytest.raises(ConnectionError):
        server.invoke(order(do))
    count = len(statuses)
    wait_until(lambda: len(statuses) > count + 50)
    over.set()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {0, 200}
    assert statuses.count(0) <= len(threads)  # those that the dead worker had in its hands
    assert statuses[-20:] == [200] * 20
    assert server.process.poll() is None
    assert is_running(victim) or worker_of(server) != victim


def test_numbers_of_a_dead_worker_still_count(two_workers: Server) -> None:
    server = two_workers
    before = server.metric("bridge_serving_requests_total")
    for _ in range(10):
        server.invoke(order("echo"))
    worker = worker_of(server)
    # An answer is counted just after it was sent; the worker must not die in between.
    wait_until(lambda: server.metric("bridge_serving_requests_total") >= before + 11)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: together(lambda: server.invoke(order("echo")).status) == [200])
    wait_until(lambda: server.metric("bridge_serving_requests_total") >= before + 12)


def test_a_worker_whose_model_hangs_is_replaced(two_workers: Server) -> None:
    server = two_workers
    assert server.invoke(order("sleep", 3600.0)).status == 504
    wait_until(lambda: "another takes its place" in server.log())
    wait_until(lambda: "ended with 4" in server.log())
    wait_until(lambda: together(*[lambda: server.invoke(order("echo")).status] * 4) == [200] * 4)


def test_what_was_accepted_is_answered_before_the_end(model: Path, tmp_path: Path) -> None:
    with running(
        tmp_path, model_path=str(model), socket=str(tmp_path / "s"), workers=2, queue_max=8
    ) as server:
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(server.invoke(order("sleep", 0.3))))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.metric("bridge_serving_in_flight") == 6)
        idle = server.connect()
        server.process.terminate()
        for thread in threads:
            thread.join()
        assert [answer.status for answer in answers] == [200] * 6
        assert server.process.wait(30) == 0
        assert idle.recv(1) == b""
        assert not (tmp_path / "s").exists()


def last_answer_to_pings(connection: socket.socket) -> bytes:
    """Ask for the health until it is bad."""
    answer = b"HTTP/1.1 200"
    while answer.startswith(b"HTTP/1.1 200"):
        connection.sendall(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = connection.recv(4096)
        while not answer.partition(b"\r\n\r\n")[2]:
            answer += connection.recv(4096)
    return answer


def test_a_drain_is_bounded_and_tells_health_checks(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, model_path=str(model), drain_s=1.0) as server:
        alive = server.connect()
        thread = threading.Thread(target=lambda: together(lambda: server.invoke(order("sleep", 3600.0))))
        thread.start()
        wait_until(lambda: server.metric("bridge_serving_in_flight") == 1)
        server.process.terminate()
        answer = last_answer_to_pings(alive)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in answer
        assert server.process.wait(30) == 0
        thread.join()


def test_orphans_serve_on_until_another_server_takes_over(model: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with running(tmp_path / "first", model_path=str(model), socket=path) as first:
        orphan = worker_of(first)
        os.kill(first.main, signal.SIGKILL)
        first.process.wait()
        assert worker_of(first) == orphan
        with running(tmp_path / "second", model_path=str(model), socket=path) as second:
            assert worker_of(second) != orphan
            wait_until(lambda: not is_running(orphan))
            assert second.invoke(order("echo")).status == 200


def test_orphans_end_after_a_while(model: Path, tmp_path: Path) -> None:
    with running(tmp_path, model_path=str(model), orphan_s=0.5) as server:
        orphan = worker_of(server)
        os.kill(server.main, signal.SIGKILL)
        wait_until(lambda: not is_running(orphan))
        assert "the main process is dead" in server.log()


@pytest.mark.parametrize(
    ("at_load", "reason"),
    [
        ("raise ValueError('weights are torn')", "ValueError: weights are torn"),
        ("import a_package_that_is_nowhere", "No module named 'a_package_that_is_nowhere'"),
        ("os._exit(7)", "the process that loads it ended with 7"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path: Path, at_load: str, reason: str) -> None:
    model = save_obedient_model(tmp_path / "model", at_load=at_load)
    process = start(tmp_path, {"model_path": str(model), "port": 0, "ready_file": str(tmp_path / "ready")})
    assert process.wait(60) == 1
    last = (tmp_path / "log").read_text(encoding="utf-8").splitlines()[-1]
    assert last.startswith("error: the model in")
    assert reason in last
    assert not (tmp_path / "ready").exists()


def test_while_the_model_is_loaded_the_server_is_unhealthy(cold: None, tmp_path: Path) -> None:
    go = tmp_path / "go"
    at_load = f"[time.sleep(0.02) for _ in iter(lambda: os.path.exists({str(go)!r}), True)]"
    model = save_obedient_model(tmp_path / "model", at_load=at_load)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(tmp_path, {"model_path": str(model), "port": port, "ready_file": str(tmp_path / "ready")})
    try:
        server = Server(process, tmp_path / "log", {"port": port})
        wait_until(lambda: isinstance(together(lambda: server.request("GET", "/ping").status)[0], int))
        assert server.request("GET", "/health").status == 503
        assert server.invoke(order("echo")).content["message"] == "The model is being loaded."
        assert server.request("GET", "/metrics").status == 200
        go.touch()
        wait_until(lambda: server.request("GET", "/ping").status == 200)
        wait_until((tmp_path / "ready").exists)
        assert json.loads((tmp_path / "ready").read_bytes()) == {"pid": process.pid, "port": port}
        other = start(tmp_path / "other", {"model_path": str(model), "port": port})
        assert other.wait(60) == 1
        assert "cannot listen" in (tmp_path / "other" / "log").read_text(encoding="utf-8")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_worker_that_loads_takes_no_request_from_one_that_is_ready(tmp_path: Path) -> None:
    go, loaded = tmp_path / "go", tmp_path / "loaded"
    waits = f"iter(lambda: os.path.exists({str(go)!r}) or not os.path.exists({str(loaded)!r}), True)"
    at_load = f"[time.sleep(0.02) for _ in {waits}]; open({str(loaded)!r}, 'w').close()"
    model = save_obedient_model(tmp_path / "model", at_load=at_load)
    with running(tmp_path / "server", model_path=str(model), workers=2) as server:
        workers = {worker_of(server) for _ in range(50)}  # each a connection of its own
        assert len(workers) == 1
        go.touch()
        wait_until(lambda: worker_of(server) not in workers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "port or on a socket"),
        ({"port": 0, "socket": "s"}, "port or on a socket"),
        ({"port": 0, "workers": 0}, "workers"),
        ({"port": 0, "queue_max": -1}, "queue_max"),
        ({"port": 0, "request_timeout_s": 0}, "request_timeout_s"),
        ({"port": 0, "capture": Capture(percent=101, folder=".")}, "percent"),
        ({"port": 0}, "holds no MLmodel"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        serve(ServingSettings(model_path=str(tmp_path), **changes))  # type: ignore[arg-type]


def test_who_counts_in_this_process_afterwards_needs_no_folder(model: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", COUNTS_AFTERWARDS, str(model)], capture_output=True, text=True
    )
    assert (told.stdout, told.returncode) == ("1.0\n", 0), told.stderr


COUNTS_AFTERWARDS = """
import sys
from pathlib import Path
from trackbridge.serving.metrics import leave_folder, use_folder
use_folder(Path(sys.argv[1]))
from prometheus_client import Gauge, CollectorRegistry
leave_folder()
registry = CollectorRegistry()
Gauge("in_flight", "Requests.", registry=registry).inc()
print(registry.get_sample_value("in_flight"))
"""


@pytest.mark.parametrize(("module", "extra"), [("httptools", "serve"), ("mlflow.pyfunc", "mlflow")])
def test_missing_packages_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, model: Path, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=module) as caught:
        serve(ServingSettings(model_path=str(model), port=0))
    assert caught.value.hint == f"pip install 'trackbridge[{extra}]'"


@pytest.mark.parametrize("content", [None, "{", '{"model_path": 1}', "\xff"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, content: str | None) -> None:
    from trackbridge.serving.__main__ import main

    if content is not None:
        (tmp_path / "config.json").write_text(content, encoding="latin-1")
    assert main([str(tmp_path / "config.json")]) == 1
    assert main([]) == 2


def test_a_model_behind_a_link_is_served(tmp_path: Path) -> None:
    save_obedient_model(tmp_path / "model")
    (tmp_path / "link").symlink_to("model")
    with running(tmp_path / "server", model_path=str(tmp_path / "link")) as server:
        assert server.invoke(order("echo")).status == 200

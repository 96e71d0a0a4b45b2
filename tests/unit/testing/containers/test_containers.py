"""Containers of every emulated cloud: the paths that they see, where they begin, and servers among them."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trackbridge.testing.emulators.containers import (
    COMMAND_VARIABLE,
    Container,
    Containers,
    Image,
    Images,
    Launch,
    NotServing,
    Server,
    free_port,
    mounts,
)

WAIT_S = 120.0
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(3)
        self.send_response(201); self.send_header("X-Seen", self.path); self.end_headers()
        self.wfile.write(body[::-1])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(params=["mounted", "rewritten"])
def pool(request: pytest.FixtureRequest) -> Iterator[Containers]:
    made = Containers("bridge-test-")
    if request.param == "rewritten":
        made.is_mounted = False
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines_of(
    pool: Containers, command: str, *, roots: tuple[str, ...], work: str = "", **more: str
) -> list[str]:
    """Run a command of the shell; a file of each root is there before."""
    folder = pool.folder("c")
    for root in roots:
        (folder / root.lstrip("/")).mkdir(parents=True)
        (folder / root.lstrip("/") / "given").write_text(root)
    lines: list[str] = []
    container = pool.launch(
        Launch(["/bin/sh", "-c", command], folder, more, lines.append, roots=roots, work=work)
    )
    assert container.wait(WAIT_S) == 0, lines
    pool.discard(container, folder)
    return lines


@pytest.mark.parametrize("root_chars_max", [1000, 0])
@pytest.mark.parametrize("ends", [Containers.forget, lambda pool, container: pool.close()])
def test_temporary_files_go_with_who_made_them(
    pool: Containers,
    ends: Callable[[Containers, Container], None],
    root_chars_max: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trackbridge.testing.emulators.containers.pool.ROOT_CHARS_MAX", root_chars_max)
    lines: list[str] = []
    command = [
        "python3",
        "-c",
        "import tempfile, time; print(tempfile.mkdtemp(), flush=True); time.sleep(600)",
    ]
    container = pool.launch(Launch(command, pool.folder("a" * 60), {}, lines.append))
    until(lambda: bool(lines))
    made = Path(lines[0])
    assert made.is_dir()
    assert len(made.parent.name) < 10, "paths of sockets in it are short"
    above = Path(tempfile.gettempdir()).resolve()
    assert made.parent.parent == above if root_chars_max == 0 else made.is_relative_to(above)

    ends(pool, container)

    assert not made.parent.exists()


def test_a_program_that_is_not_there_leaves_no_temporary_files(pool: Containers) -> None:
    folder = pool.folder("c")
    before = set(folder.parent.iterdir())
    pool.is_mounted = False

    with pytest.raises(FileNotFoundError):
        pool.launch(Launch(["/there-is/none"], folder, {}, print))

    assert set(folder.parent.iterdir()) == before


@pytest.mark.parametrize("root", ["/opt/of-a-test", "/mnt/of-a-test/deeper", "/var/of-a-test"])
def test_a_root_that_is_not_there_is_seen_beside_what_is(pool: Containers, root: str) -> None:
    parent = "/" + root.split("/")[1]
    before = sorted(os.listdir(parent))

    lines = lines_of(
        pool, f"cat {root}/given; echo; echo x > {root}/made; ls {root}; ls -A {parent}", roots=(root,)
    )

    assert lines[:3] == [root, "given", "made"]
    seen = {*before, root.split("/")[2]} if pool.is_mounted else set(before)
    assert sorted(lines[3:]) == sorted(seen)
    assert sorted(os.listdir(parent)) == before


def test_a_root_that_is_there_is_seen_as_the_containers_own(pool: Containers) -> None:
    assert lines_of(pool, "cat /srv/given; echo; ls /srv", roots=("/srv",)) == ["/srv", "given"]


def test_several_roots_with_one_parent_are_all_seen(pool: Containers) -> None:
    roots = ("/var/one-of-a-test", "/var/two-of-a-test")

    assert lines_of(pool, f"cat {roots[0]}/given; echo; cat {roots[1]}/given", roots=roots) == list(roots)


def test_a_root_without_a_parent_is_rewritten_in_commands_and_variables(pool: Containers) -> None:
    lines = lines_of(
        pool, "cat /of-a-test/given; echo; cat $FILE", roots=("/of-a-test",), FILE="/of-a-test/given"
    )

    assert lines == ["/of-a-test"] * 2
    assert not Path("/of-a-test").exists()


def test_a_program_begins_where_it_is_told(pool: Containers) -> None:
    (line,) = lines_of(pool, "pwd", roots=("/var/of-a-test",), work="/var/of-a-test")

    if pool.is_mounted:
        assert line == "/var/of-a-test"
    else:
        assert line.endswith("/var/of-a-test")


def test_links_beside_a_root_stay_links(pool: Containers) -> None:
    links = [name for name in os.listdir("/var") if Path("/var", name).is_symlink()]

    lines = lines_of(
        pool, "for l in /var/*; do [ -L $l ] && echo ${l##*/}; done; true", roots=("/var/of-a-test",)
    )

    assert sorted(lines) == sorted(links)


def test_a_folder_is_not_made_when_all_is_closed(pool: Containers) -> None:
    pool.close()

    with pytest.raises(OSError, match="closed"):
        pool.folder("c")


@pytest.mark.parametrize("path", ["/var/app/../x", "/var/apples", "/etc", ""])
def test_a_path_elsewhere_is_not_inside(path: str) -> None:
    assert mounts.inside(Path("/folder"), path, "/var/app") is None
    assert mounts.inside(Path("/folder"), "/var/app/x", "/var/app") == Path("/folder/var/app/x")


# Servers.


def _server(pool: Containers, lines: list[str]) -> tuple[Server, Path]:
    server, folder = Server(pool, ready="/ready"), pool.folder("s")
    server.port = free_port()
    command = [sys.executable, "-c", SERVER, str(server.port)]
    server.run(Launch(command, folder, {}, lines.append))
    return server, folder


def test_a_server_is_waited_for_asked_and_ended(pool: Containers) -> None:
    server, _ = _server(pool, [])

    server.wait_until_ready(WAIT_S, lambda: True)
    answer = server.ask("/score", b"abc", {"A": "b"}, WAIT_S)
    status, headers, pieces = server.stream("/score", b"xyz", {}, WAIT_S)

    assert (answer.status, answer.body, answer.headers["x-seen"]) == (201, b"cba", "/score")
    assert (status, b"".join(pieces), headers["x-seen"]) == (201, b"zyx", "/score")
    assert (server.ping(timeout_s=WAIT_S), server.ping("/other", WAIT_S)) == (True, False)
    server.end()
    assert not server.is_running()
    assert not server.ping()


def test_a_server_that_breaks_off_is_told_and_can_be_started_again(pool: Containers) -> None:
    server, folder = _server(pool, [])
    server.wait_until_ready(WAIT_S, lambda: True)

    with pytest.raises(NotServing, match="broke off"):
        server.ask("/score", b"die", {}, WAIT_S)
    until(lambda: not server.is_running())
    with pytest.raises(NotServing, match="exit code 3"):
        server.wait_until_ready(WAIT_S, lambda: True)
    server.run(Launch([sys.executable, "-c", SERVER, str(server.port)], folder, {}, print))
    server.wait_until_ready(WAIT_S, lambda: True)


def test_a_server_that_is_not_wanted_is_not_waited_for(pool: Containers) -> None:
    server = Server(pool, ready="/ready")
    server.run(Launch(["/bin/sleep", "60"], pool.folder("s"), {}, print))

    with pytest.raises(NotServing, match="not wanted"):
        server.wait_until_ready(WAIT_S, lambda: False)
    with pytest.raises(NotServing, match="no ping was answered with 200 within 0 s"):
        server.wait_until_ready(0, lambda: True)


def test_a_program_that_is_not_there_cannot_serve(pool: Containers) -> None:
    pool.is_mounted = False

    with pytest.raises(NotServing, match="unable to start container process: No such file"):
        Server(pool, ready="/").run(Launch(["/no/such"], pool.folder("s"), {}, print))


# Images.


def test_images_are_found_by_their_last_pattern_and_by_variable() -> None:
    images = Images()
    images.declare("*/mine:*", Image(serve=("old",)))
    images.declare("*/mine:2", Image(serve=("new", "{port}"), train=("learn",)))

    assert images.command("here/mine:1", "serve", {}) == ["old"]
    assert images.command("here/mine:2", "serve", {}) == ["new", "{port}"]
    assert images.command("here/mine:2", "train", {}) == ["learn"]
    assert images.command("other", "serve", {}) == []
    assert images.command("other", "serve", {COMMAND_VARIABLE: "run 'a b'"}) == ["run", "a b"]
    assert images.command("other", "serve", {COMMAND_VARIABLE: "run 'a"}) == ["/bin/sh", "-c", "run 'a"]


def test_ports_are_not_given_twice() -> None:
    """The kernel may give one again at once: whoever it is for listens only later."""
    assert len({free_port() for _ in range(500)}) == 500

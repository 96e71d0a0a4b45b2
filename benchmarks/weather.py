"""A long run in bad weather, by hand: ``python -m benchmarks.weather [--points N] [--outage-s S] …``.

A program logs so many points to a real ``mlflow server``. In the middle the server is killed, and started
again after the outage; with ``--kill-client`` the program is killed meanwhile, too, and with
``--token-life-s`` the server wants a token that expires so often (the program reads it from a file that is
renewed). Afterwards the server's own database is compared with what was logged: nothing may be missing and
nothing twice. The program waits for its delivery at its end as long as it does by default, and says what is
left. By default a million points and two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks import workers

PROGRAM = """
import json, os, sys, time
import trackbridge as tb

uri, points, pace, notes = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
tb.set_tracking_uri(uri)
account = os.open(notes, os.O_WRONLY | os.O_CREAT, 0o600)
longest = total = 0
began = time.monotonic()
with tb.start_run():
    for step in range(points):
        before = time.perf_counter_ns()
        tb.log_metric("loss", 0.5 + step, step)
        taken = time.perf_counter_ns() - before
        longest, total = max(longest, taken), total + taken
        if step % 100 == 99:
            seconds = time.monotonic() - began
            times = {"total_us": total / 1e3, "longest_ms": longest / 1e6, "at": time.time()}
            os.pwrite(account, json.dumps({"returned": step + 1, **times}).ljust(200).encode(), 0)
            if step / pace > seconds:
                time.sleep(step / pace - seconds)
"""
DELIVERED_S_MAX = 1800.0


def main() -> None:
    """Run it, and print what came of it as JSON; the exit code is 1 when something is missing or twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weather", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--pace", type=float, default=4_000.0, help="points a second that the program logs")
    parser.add_argument("--outage-s", type=float, default=120.0)
    parser.add_argument("--kill-client", action="store_true", help="kill the program during the outage")
    parser.add_argument("--token-life-s", type=float, default=0.0, help="0 is a server without tokens")
    result = measure(parser.parse_args())
    print(json.dumps(result, indent=2))
    raise SystemExit(0 if result["missing"] == result["twice"] == 0 else 1)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Log through the outage, and compare."""
    from tests.support.mlflow_servers import mlflow_server

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        mlflow_server(Path(name) / "server", on_disk=True) as server,
    ):
        folder = Path(name)
        gate = (
            tokens(server.url, folder, options.token_life_s)
            if options.token_life_s
            else nullcontext(server.url)
        )
        with gate as url:
            began = time.monotonic()
            program = _start(url, folder, options)
            ended_at: list[float] = []
            threading.Thread(target=_note_end, args=(program, ended_at)).start()
            _wait(lambda: _notes(folder).get("returned", 0) >= options.points / 2, "the program logs half")
            before = _notes(folder)
            server.kill()
            threading.Event().wait(options.outage_s / 2)
            if options.kill_client:
                program.kill()
            threading.Event().wait(options.outage_s / 2)
            during = _notes(folder)
            server.start()
            _wait(lambda: ended_at and not _journals(folder), "everything is delivered")
            notes = _notes(folder)
            elapsed_s = time.monotonic() - began
        ((stored, distinct, last),) = server.rows(
            "SELECT count(*), count(DISTINCT step), max(step) FROM metrics WHERE key = 'loss'"
        )
        ((status,),) = server.rows("SELECT status FROM runs")
        told = (folder / "told").read_text(encoding="utf-8").strip()
    assert isinstance(stored, int)
    assert isinstance(distinct, int)
    assert isinstance(last, int)
    return {
        "points": (logged := max(last + 1, notes["returned"]) if options.kill_client else options.points),
        "missing": logged - distinct,
        "twice": stored - distinct,
        "status": status,
        "calls_during_outage": during["returned"] - before["returned"],
        "mean_us_before_outage": before["total_us"] / before["returned"],
        "mean_us_during_outage": (during["total_us"] - before["total_us"])
        / (during["returned"] - before["returned"]),
        "longest_ms": notes["longest_ms"],
        "exit_s": None if options.kill_client else round(ended_at[0] - notes["at"], 1),
        "told": told.replace(url, "URL"),
        "elapsed_s": round(elapsed_s, 1),
    }


def _note_end(program: subprocess.Popen[bytes], ended_at: list[float]) -> None:
    program.wait()
    ended_at.append(time.time())


def _start(url: str, folder: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    environment = workers.environment(BRIDGE_HOME=str(folder / "home"))
    if options.token_life_s:
        remote = f'[remotes.server]\nuri = "{url}"\ntoken_file = "{folder / "token"}"\n'
        (folder / "home").mkdir()
        (folder / "home" / "config.toml").write_text(remote, encoding="utf-8")
    arguments = [url, str(options.points), str(options.pace), str(folder / "notes")]
    with (folder / "told").open("wb") as told:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], env=environment, cwd=folder, stderr=told
        )


def _notes(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "notes").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _journals(folder: Path) -> bool:
    from trackbridge.journal.folder import journals

    return any(True for _ in journals(folder / "home" / "journal"))


def _wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + DELIVERED_S_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"in vain, until {what}")
        time.sleep(0.05)


@contextmanager
def tokens(target: str, folder: Path, life_s: float) -> Iterator[str]:
    """Stand before the server and let through only who has the present token, which lies in a file."""
    valid: dict[str, float] = {}
    over = threading.Event()

    def renew() -> None:
        while True:
            token = secrets.token_hex(16)
            valid[token] = time.monotonic() + life_s
            draft = folder / "token.draft"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(token)
            draft.replace(folder / "token")
            if over.wait(life_s * 0.8):
                return

    threading.Thread(target=renew, daemon=True).start()
    handler = type("Handler", (_Gate,), {"target": target, "valid": valid})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _wait((folder / "token").exists, "there is a token")
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()


class _Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    target: str
    valid: dict[str, float]

    def do_POST(self) -> None:
        self._pass_on()

    def do_GET(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self._pass_on()

    def do_PATCH(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        import requests

        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.valid.get(token, 0.0) < time.monotonic():
            self._answer(401, b'{"error_code": "UNAUTHENTICATED", "message": "the token has expired"}')
            return
        try:
            answer = requests.request(
                self.command,
                self.target + self.path,
                data=body,
                headers={"Content-Type": self.headers.get("Content-Type", "application/json")},
                timeout=60,
            )
        except requests.RequestException:
            self._answer(502, b"the server is gone")
            return
        self._answer(answer.status_code, answer.content)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    main()

"""Several processes on one registry: no half version, no number twice, whoever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.adapters.local.conftest import OpenStore
from trackbridge.domain.models import ChangeReason, ModelVersion, ModelVersionSpec
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.config import Settings

PROCESSES = 4
VERSIONS = 12
STATEMENTS_MAX = 200
REASON = ChangeReason(user="ann", why="because")

CREATOR = """
import sys
from pathlib import Path
from tests.unit.adapters.local.test_registry_processes import create_versions
create_versions(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""

Write = Callable[[LocalAdapter], object]


def create(adapter: LocalAdapter, key: str) -> ModelVersion:
    spec = ModelVersionSpec(name="wine", source=f"s3://{key}", digest="d", tags={"key": key, "other": "1"})
    return adapter.registry.create_version(spec, key=key, reason=REASON)


def create_versions(folder: Path, prefix: str, count: int) -> None:
    """Create versions when a line comes in, saying after each what its number is."""
    adapter = LocalAdapter(Settings(folder=folder), lambda: 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    adapter.registry.ensure_model("wine")
    for number in range(count):
        sys.stdout.write(f"{create(adapter, f'{prefix}{number}').version}\n")
        sys.stdout.flush()
    adapter.close()


def start_creator(folder: Path, prefix: str, count: int) -> subprocess.Popen[str]:
    """Start a process that waits for a line before it begins."""
    process = subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(folder), prefix, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def said_by_all(processes: list[subprocess.Popen[str]]) -> list[list[str]]:
    """Let the processes begin at once; return the numbers that each was given."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def check_whole(adapter: LocalAdapter, count: int) -> None:
    """See that versions 1 to ``count`` are there, each with all that belongs to it."""
    versions = list(adapter.registry.list_versions("wine"))
    assert [item.version for item in versions] == [str(number) for number in range(count, 0, -1)]
    assert all(item.tags == {"key": item.source.removeprefix("s3://"), "other": "1"} for item in versions)
    created = [item.version for item in adapter.registry.list_changes("wine") if item.what == "created"]
    assert created == [*(item.version for item in versions), None]


def test_processes_that_create_at_once_get_different_numbers(folder: Path, open_store: OpenStore) -> None:
    processes = [start_creator(folder, f"{number} ", VERSIONS) for number in range(PROCESSES)]
    said = said_by_all(processes)
    assert sorted(int(number) for numbers in said for number in numbers) == list(
        range(1, PROCESSES * VERSIONS + 1)
    )
    check_whole(open_store(), PROCESSES * VERSIONS)


def test_processes_that_create_with_the_same_keys_get_the_same_versions(
    folder: Path, open_store: OpenStore
) -> None:
    said = said_by_all([start_creator(folder, "same ", VERSIONS) for _ in range(PROCESSES)])
    assert said == [[str(number) for number in range(1, VERSIONS + 1)]] * PROCESSES
    check_whole(open_store(), VERSIONS)


@pytest.mark.parametrize("acknowledged", [1, 5, 23])
def test_what_a_killed_process_had_created_is_whole_and_can_be_created_again(
    folder: Path, open_store: OpenStore, acknowledged: int
) -> None:
    process = start_creator(folder, "k", 100_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    for _ in range(acknowledged):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    said = acknowledged + len([line for line in process.stdout.readlines() if line.endswith("\n")])
    process.wait()
    process.stdin.close()
    process.stdout.close()

    adapter = open_store()
    stored = len(list(adapter.registry.list_versions("wine", max_results=10_000)))
    assert said <= stored <= said + 1, "a version may be committed before it is acknowledged"
    check_whole(adapter, stored)
    again = [create(adapter, f"k{number}").version for number in range(stored + 1)]
    assert again == [str(number) for number in range(1, stored + 2)], "no number twice, none left out"
    check_whole(adapter, stored + 1)


# Killed at each step.

WRITES: dict[str, Write] = {
    "ensure_model": lambda adapter: adapter.registry.ensure_model("beer", tags={"a": "1"}, reason=REASON),
    "create_version": lambda adapter: create(adapter, "new"),
    "set_tags": lambda adapter: adapter.registry.set_tags(
        "wine", "1", tags={"key": None, "other": "2", "new": "3"}, reason=REASON
    ),
    "set_alias": lambda adapter: adapter.registry.set_alias("wine", "champion", version="2", reason=REASON),
    "delete_version": lambda adapter: adapter.registry.delete_version("wine", "1", reason=REASON),
    "delete_model": lambda adapter: adapter.registry.delete_model("wine", reason=REASON),
}


def opened(folder: Path) -> LocalAdapter:
    return LocalAdapter(Settings(folder=folder), lambda: 1)


def prepare(folder: Path) -> None:
    """Make a store with two versions and an alias."""
    adapter = opened(folder)
    adapter.registry.ensure_model("wine", tags={"a": "1"})
    create(adapter, "a")
    create(adapter, "b")
    adapter.registry.set_alias("wine", "champion", version="1")
    adapter.close()


def everything(folder: Path) -> list[object]:
    """Return all that can be read."""
    adapter = opened(folder)
    registry = adapter.registry
    names = ("wine", "beer")
    seen = [
        registry.list_models(),
        *(registry.list_versions(name) for name in names),
        *(registry.list_changes(name) for name in names),
    ]
    adapter.close()
    return list(seen)


def is_done_before_the_kill(folder: Path, write: Write, statement: int) -> bool:
    """Write in a child that is killed at the n-th SQL statement; tell whether it had ended before that."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            adapter = opened(folder)
            with adapter._database.reading("test") as connection:
                assert connection is not None
            left = iter(range(statement))

            def count(_: str) -> None:
                if next(left, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)

            adapter._database._idle[-1][0].set_trace_callback(count)
            write(adapter)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("name", WRITES)
def test_a_write_killed_at_any_statement_is_done_or_not_and_can_be_repeated(
    name: str, tmp_path: Path
) -> None:
    write, original, done = WRITES[name], tmp_path / "original", tmp_path / "done"
    prepare(original)
    shutil.copytree(original, done)
    write(opened(done))
    before, after = everything(original), everything(done)
    assert before != after
    for statement in range(STATEMENTS_MAX):
        folder = tmp_path / str(statement)
        shutil.copytree(original, folder)
        ended = is_done_before_the_kill(folder, write, statement)
        assert everything(folder) == (after if ended else before)
        write(opened(folder))
        assert everything(folder) == after
        if ended:
            break
    else:
        pytest.fail(f"the write did not end within {STATEMENTS_MAX} statements")
    assert statement > 3, "it was killed somewhere within"

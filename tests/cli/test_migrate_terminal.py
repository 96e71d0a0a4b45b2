"""``bridge migrate`` as people see it: a live bar on a terminal, and Ctrl-C at any time."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge, bridge_process, clean_environment
from tests.cli.test_process import on_a_terminal
from tests.support.corpus import Corpus, Size, problems, write_corpus
from tests.support.migrations import local_side
from tests.support.processes import eventually

SIZE = Size(experiments=2, runs=20, points=3, long_points=5, files=2, file_bytes=4000, models=1, versions=2)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BAR = re.compile(
    r"copying .*?(?P<done>\d+)/(?P<total>\d+) +(?P<runs>\d+) runs +[\d.,]+ [KM]?i?B +[\d.,]+ [KM]?i?B/s"
    r" +[\d.]+ runs/s +(?P<left>\d:\d\d:\d\d)"
)


@pytest.fixture
def corpus(project: Path) -> Corpus:
    side = local_side(project / "a")
    corpus = write_corpus(side.adapter, SIZE)
    side.close()
    return corpus


def found(project: Path, corpus: Corpus) -> list[str]:
    source, target = local_side(project / "a"), local_side(project / "b")
    try:
        return problems(corpus, target.adapter, registry_uri=source.uri, renumbered=True)
    finally:
        source.close()
        target.close()


def test_a_live_bar_with_runs_bytes_rate_and_the_time_that_is_left(project: Path, corpus: Corpus) -> None:
    arguments = ("migrate", "./a", "./b", "--bwlimit", "50K", "--transfers", "1")
    code, screen = on_a_terminal(*arguments, keys=b"y\n", COLUMNS="140", LINES="40")
    assert code == 0, screen
    plain = CONTROL.sub("", screen)
    bars = list(BAR.finditer(plain))
    assert bars, plain[-3000:]
    seen = [int(bar["done"]) for bar in bars]
    assert seen == sorted(seen)
    assert len(set(seen)) > 1, "it moves"
    assert {int(bar["total"]) for bar in bars} == {len(corpus.runs) + 2 + 1 + len(corpus.versions)}
    assert any(int(bar["runs"]) > 0 for bar in bars)
    assert f"{len(corpus.runs)} runs," in plain
    assert found(project, corpus) == []


def test_no_bar_off_a_terminal(bridge: Bridge, corpus: Corpus) -> None:
    assert "copying" not in bridge("migrate", "./a", "./b", "--yes").err


@pytest.mark.parametrize("signals", [1, 3])
def test_interrupted_it_says_what_remains_and_goes_on(
    project: Path, corpus: Corpus, bridge: Bridge, signals: int
) -> None:
    arguments = ("migrate", "./a", "./b", "--yes", "--json", "--transfers", "2", "--bwlimit", "20K")
    process = bridge_process(*arguments, cwd=project, env={**clean_environment(), "BRIDGE_DELIVERY": "off"})
    assert process.stdout is not None
    lines: list[str] = []
    while sum('"state": "done"' in line and '"run ' in line for line in lines) < 2:
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended too early"
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    lines += process.stdout.readlines()
    assert process.wait(timeout=120) == 130
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    if signals == 1:
        summary = json.loads(lines[-1])
        assert summary["type"] == "summary"
        assert summary["complete"] is False
        assert summary["account"]["stopped"] == "interrupted"
        left = [item for item in summary["account"]["remaining"] if item["state"] == "left"]
        done = summary["done"]["done"]
        assert done + len(left) == sum(sum(kind.values()) for kind in summary["planned"].values())
    bridge("migrate", "./a", "./b", "--yes")
    assert found(project, corpus) == []


def test_interrupted_while_the_target_does_not_answer_it_ends_at_once(project: Path, corpus: Corpus) -> None:
    """Waits between attempts end, too: nobody sits them out."""
    from tests.support.scripted_servers import Answer, scripted_server

    with scripted_server() as server:
        server.answer = lambda request: Answer(503, headers={"Retry-After": "60"})
        arguments = ("migrate", "./a", server.url, "--yes", "--json")
        environment = {**clean_environment(), "BRIDGE_DELIVERY": "off"}
        process = bridge_process(*arguments, cwd=project, env=environment)
        eventually(lambda: len(server.requests) > 0, "the first call")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert json.loads(out.splitlines()[-1])["type"] in ("summary", "error")

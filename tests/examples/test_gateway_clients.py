"""The examples for the gateway: programs in other languages that track through a real one, with a token."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tree_sitter_language_pack import get_parser

import trackbridge as tb
from tests.examples.running import EXAMPLES, PROGRAM_S
from tests.support.gateways import gateway
from tests.support.processes import eventually
from trackbridge.errors import NotFound
from trackbridge.gateway.routes import Scope
from trackbridge.gateway.tokens import TokenFile

FOLDER = EXAMPLES / "gateway"
COMMANDS = {
    "curl": ("sh", "log_run.sh"),
    "java": ("java", "LogRun.java"),
    "r": ("Rscript", "log_run.R"),
}
PRESENT = [language for language, (program, _) in COMMANDS.items() if shutil.which(program)]
"""R may be missing on a machine; its program is parsed then, and no more."""


class Place(NamedTuple):
    url: str
    token: str
    client: tb.Client


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A gateway that demands tokens, and a client of the folder behind it."""
    folder = tmp_path_factory.mktemp("gateway")
    token = TokenFile(folder / "tokens.json").add("trainer", Scope.WRITE, now_ms=1)
    arguments = ["--tokens", str(folder / "tokens.json")]
    with gateway(f"file:{folder}/store", home=folder / "home", arguments=arguments) as served:
        yield Place(served.url, token, tb.Client(f"{folder}/store"))


def run_program(language: str, place: Place, token: str) -> subprocess.CompletedProcess[str]:
    program, script = COMMANDS[language]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.run(
        [program, str(FOLDER / script), place.url],
        env={**kept, "MLFLOW_TRACKING_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )


def is_finished(client: tb.Client, run_id: str) -> bool:
    try:
        return client.get_run(run_id).info.status == "FINISHED"
    except NotFound:
        return False


@pytest.mark.parametrize("language", PRESENT)
def test_a_program_tracks_its_run(language: str, place: Place, tmp_path: Path) -> None:
    done = run_program(language, place, place.token)
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.removesuffix("\n")
    assert re.fullmatch("[0-9a-f]{32}", run_id), done.stdout
    eventually(lambda: is_finished(place.client, run_id), "the delivery of the run")
    run = place.client.get_run(run_id)
    assert run.info.run_name == language
    assert place.client.get_experiment(run.info.experiment_id).name == language
    assert run.info.end_time is not None
    assert run.info.end_time >= run.info.start_time > 1_700_000_000_000
    assert run.data.params == {"rate": "0.1"}
    assert run.data.tags["language"] == language
    history = place.client.get_metric_history(run.info.run_id, "loss")
    assert sorted(point.step for point in history) == list(range(5))
    for point in history:
        assert point.value == pytest.approx(1 / (point.step + 1), rel=1e-5)
    (file,) = place.client.list_artifacts(run.info.run_id)
    content = Path(place.client.download_artifacts(run.info.run_id, file.path, tmp_path)).read_text()
    logged = {"curl": (FOLDER / "log_run.sh").read_text(), "java": "logged by java\n", "r": "logged by r\n"}
    assert content == logged[language]


@pytest.mark.parametrize("language", PRESENT)
def test_a_program_that_is_refused_fails(language: str, place: Place) -> None:
    done = run_program(language, place, "wrong")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "401" in done.stderr
    assert "wrong" not in done.stderr


def test_clients_that_every_machine_has_are_run() -> None:
    assert {"curl", "java"} <= set(PRESENT)


def has_errors(program: str) -> bool:
    return bool(get_parser("r").parse(program.encode()).root_node.has_error)


def test_the_program_in_r_parses() -> None:
    program = (FOLDER / "log_run.R").read_text(encoding="utf-8")
    assert not has_errors(program)
    for right, wrong in ((")\n", "\n"), ("<- function(", "<- function"), ("}\n", "\n"), ("%in%", "%in")):
        assert right in program
        assert has_errors(program.replace(right, wrong, 1)), (right, wrong)

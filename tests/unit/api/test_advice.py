"""A limit that a destination documents and may not enforce is told at the end of a run, once."""

from __future__ import annotations

import warnings
from pathlib import Path

import msgspec
import pytest

import trackbridge as tb
from trackbridge.api.advice import LimitWarning
from trackbridge.api.reading import Reader
from trackbridge.errors import ConfigError
from trackbridge.ports.capabilities import Capabilities

NAMES_ADVISED = 60


@pytest.fixture
def advising(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the destination advise a number of names of metrics."""
    declared = Reader.capabilities.fget
    assert declared is not None

    def capabilities(reader: Reader) -> Capabilities:
        found: Capabilities = declared(reader)
        limits = msgspec.structs.replace(found.limits, metric_names_per_run_advised=NAMES_ADVISED)
        return msgspec.structs.replace(found, limits=limits)

    monkeypatch.setattr(Reader, "capabilities", property(capabilities))


def log_names(count: int) -> None:
    tb.log_metrics({f"metric_{number}": 1.0 for number in range(count)})


def test_a_run_with_more_names_is_told_and_keeps_them_all(project: Path, advising: None) -> None:
    with (
        pytest.warns(LimitWarning, match=r"has 61 names of metrics; local documents 60 a run") as caught,
        tb.start_run() as run,
    ):
        log_names(NAMES_ADVISED + 1)
    (told,) = (one for one in caught if one.category is LimitWarning)
    assert told.filename == __file__
    assert len(tb.get_run(run.info.run_id).data.metrics) == NAMES_ADVISED + 1


def test_the_client_tells_as_well(project: Path, advising: None) -> None:
    client = tb.Client()
    run = client.create_run(client.create_experiment("wine"))
    for number in range(NAMES_ADVISED + 1):
        client.log_metric(run.info.run_id, f"metric_{number}", 1.0)
    with pytest.warns(LimitWarning, match="61 names"):
        client.set_terminated(run.info.run_id)


def test_as_many_as_advised_are_not_told(project: Path, advising: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tb.start_run():
            log_names(NAMES_ADVISED)


def test_a_destination_that_advises_nothing_tells_nothing(project: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tb.start_run():
            log_names(NAMES_ADVISED + 1)


def test_a_destination_that_cannot_be_opened_lets_the_run_end(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capabilities(reader: Reader) -> Capabilities:
        raise ConfigError("an option is wrong")

    with tb.start_run() as run:
        log_names(NAMES_ADVISED + 1)
        monkeypatch.setattr(Reader, "capabilities", property(capabilities))
    assert run.info.status == "FINISHED"

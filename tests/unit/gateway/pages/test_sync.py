"""The pages of delivery: backlog and rate, dead letters replayed and dropped, migrations, doctor."""

from __future__ import annotations

import math
import re
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.support.page_sites import Site, fields_of, refused
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.replay import ReplayReport
from trackbridge.domain.migration import Kind, Loss, Treatment
from trackbridge.gateway.pages import doctor, sync
from trackbridge.gateway.pages.sync import Rates
from trackbridge.operations.migrate.ledger import Entry, Ledger, pairs_of
from trackbridge.ports.findings import Finding, Severity

JOURNAL = "a" * 32


def letters_of(project: Path) -> DeadLetters:
    root = project / ".bridge" / "journal"
    root.mkdir(exist_ok=True)
    return DeadLetters(root)


@pytest.fixture
def letters(project: Path) -> DeadLetters:
    """Three dead letters."""
    store = letters_of(project)
    rows = [(number, f"run{number}", "MetricLogged", f"reason {number} <b>", b"") for number in (1, 2, 3)]
    store.add("https://tracking.example.org", JOURNAL, rows)
    return store


def test_rates_are_of_what_was_delivered_between_looks() -> None:
    now = 0.0
    rates = Rates(lambda: now)
    a, b = ("j1", "A"), ("j2", "A")
    assert rates.look({a: (10, 90), b: (0, 5)}) == {}
    now = 2.0
    assert rates.look({a: (50, 50), ("j3", "B"): (4, 0)}) == {"A": (40 + 5) / 2, "B": 2.0}
    now = 61.0
    assert rates.look({a: (50, 50)}) == {"A": 0.0, "B": 0.0}


def test_backlog(site: Site, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "RATE_SPAN_S_MIN", math.inf)  # however slow this machine is
    assert "Nothing is waiting" in site.get("/sync")
    client = site.gateway.client
    run = client.create_run(client.open_experiment("wine").experiment_id)
    client.log_metric(run.info.run_id, "loss", 0.5)
    text = site.get("/sync")
    assert "not known yet" in text
    assert "alive" in text
    assert 'hx-trigger="every 2s"' in text
    assert "<html" not in site.get("/sync", fragment=True)


def test_dead_letters_with_reason(site: Site, letters: DeadLetters) -> None:
    text = site.get("/sync")
    assert "Dead letters <span" in text
    assert "reason 2 &lt;b&gt;" in text
    assert "run2" in site.get("/sync/letter/2")
    assert "there is no dead letter 9" in site.get("/sync/letter/9", status=404)


def test_chosen_letters_are_dropped_once_confirmed(site: Site, letters: DeadLetters) -> None:
    assert "no dead letter is chosen" in site.get("/sync/drop", status=400)
    text = site.get("/sync/drop", letter="2")
    assert "1 dead letters; they are gone for good" in text
    assert "1 dead letters dropped" in site.confirm("/sync/drop", letter="2")
    assert letters.numbers() == [1, 3]
    assert "there is no dead letter" in site.confirm(
        "/sync/drop", status=404, meanwhile=lambda: letters.remove([1]), letter="1"
    )
    text = site.confirm(
        "/sync/drop",
        status=409,
        meanwhile=lambda: letters.add("x", JOURNAL, [(9, "r", "MetricLogged", "no", b"")]),
        all="yes",
    )
    assert "has changed since it was shown" in text
    assert len(letters.numbers()) == 2


def test_letters_are_replayed_in_the_background(
    site: Site, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def replayed(root: Path, numbers: list[int], connect: object) -> ReplayReport:
        asked.append(list(numbers))
        letters.remove([1])
        return ReplayReport(delivered=[1], kept={2: "still no"}, waiting={3: "nobody answers"})

    monkeypatch.setattr(sync, "replay", replayed)
    site.confirm("/sync/replay", all="yes")
    text = site.finished()
    assert asked == [[1, 2, 3]]
    assert ">partly done<" in text
    assert "delivered: 1; left: 2" in text
    assert "2 refused again: still no" in text
    assert "3 not taken now: nobody answers" in text


def test_a_destination_that_is_gone_keeps_the_letters(site: Site, project: Path) -> None:
    store = letters_of(project)
    store.add("nonsense://x", JOURNAL, [(1, "r", "MetricLogged", "no", b"")])
    site.confirm("/sync/replay", letter="1")
    text = site.finished()
    assert "delivered: 0; left: 1" in text
    assert store.numbers() == [1]


def test_who_may_only_read_drops_and_replays_nothing(site: Site, letters: DeadLetters) -> None:
    plans = {path: fields_of(site.get(path, all="yes")) for path in ("/sync/drop", "/sync/replay")}
    site.may_only_read()
    for path, fields in plans.items():
        assert refused(partial(site.send, path, fields)).status == 403
    assert len(letters.numbers()) == 3


def test_migrations(site: Site, project: Path) -> None:
    assert "Nothing was copied" in site.get("/sync/migrations")
    ledger = Ledger(project / ".bridge", source="azureml:", target="sagemaker:")
    loss = Loss(item="run 1", field="metrics.loss", treatment=Treatment.CLAMPED, detail="too large")
    ledger.put(
        [
            Entry(kind=Kind.RUN, source_id="1", target_id="a", losses=(loss, loss), time=1_700_000_000_000),
            Entry(kind=Kind.RUN, source_id="2", target_id="b", time=1_700_000_001_000),
            Entry(kind=Kind.VERSION, source_id="w/1", target_id="w/1", time=5),
        ]
    )
    (found,) = pairs_of(project / ".bridge")
    assert (found.counts, found.losses, found.is_applying) == ({"run": 2, "version": 1}, 2, False)
    assert found.last_ms == 1_700_000_001_000
    with ledger.applying():
        assert "goes on" in site.get("/sync/migrations")
    text = site.get("/sync/migrations")
    assert "at rest" in text
    assert "2 runs" in text
    ledger.close()


def test_doctor(site: Site, letters: DeadLetters) -> None:
    text = site.get("/doctor")
    assert "rejected by https://tracking.example.org" in text
    assert "bridge sync dead-letters, then bridge sync replay --all" in text
    assert text.index(">warning<") < text.index(">ok<")
    assert "is no place that is known here" in site.get("/doctor", place="https://evil.org", status=404)


def test_what_is_optional_is_no_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Finding(severity=Severity.OK, subject="extras", message="without psutil", fix="pip install psutil"),
        Finding(severity=Severity.OK, subject="clock", message="right"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda uri, *, write: found)
    text = site.get("/doctor")
    assert ">optional<" in text
    assert text.index(">optional<") < text.index(">ok<")
    assert "All is well" in text


@pytest.mark.usefixtures("one_hangs")
def test_doctor_does_not_wait_for_a_place_that_hangs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def hangs(uri: str, *, write: bool) -> list[Finding]:
        gate.wait(60.0)
        return [Finding(severity=Severity.OK, subject="x", message="y")]

    monkeypatch.setattr(doctor, "examine", hangs)
    text = site.get("/doctor")
    gate.set()
    assert "it did not answer within 15 s" in text
    assert "Findings" not in text


def test_a_number_that_was_given_again_is_another_dead_letter(site: Site, letters: DeadLetters) -> None:
    def replaced() -> None:
        letters.remove([3])
        letters.add("https://other.example.org", JOURNAL, [(9, "r", "MetricLogged", "no", b"")])

    assert "has changed since" in site.confirm("/sync/drop", status=409, meanwhile=replaced, letter="3")
    assert sorted(letters.numbers()) == [1, 2, 3]


def test_the_command_for_all_says_all(site: Site, letters: DeadLetters) -> None:
    assert "bridge sync drop --all --json" in site.get("/sync/drop", letter="2", all="yes")


def test_long_values_of_a_plan_that_begin_alike_are_told_apart(site: Site, letters: DeadLetters) -> None:
    rows = [(number, "r", "MetricLogged", "x" * 500 + str(number), b"") for number in (8, 9)]
    letters.add("https://tracking.example.org", JOURNAL, rows)
    digests = re.findall("501 characters, sha256 ([0-9a-f]{12})", site.get("/sync/drop", all="yes"))
    assert len(set(digests)) == 2

"""``bridge events``, and what doctor says about subscribers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge
from tests.support.receivers import Receiver, receiving
from trackbridge.domain.events import RUN_CLOSED
from trackbridge.events.messages import new_event
from trackbridge.events.store import BUS, FOLDER, EventStore, Tally

SECRET = "correct horse"


@pytest.fixture
def receiver(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    with receiving() as made:
        configure(project, f'url = "{made.url}"\nsecret_env = "HOOK_SECRET"\nevents = ["run.*"]')
        yield made


@pytest.fixture
def store(project: Path) -> EventStore:
    return EventStore(project / ".bridge" / FOLDER)


def configure(project: Path, content: str) -> None:
    (project / ".bridge").mkdir(exist_ok=True)
    (project / ".bridge/config.toml").write_text(f"[webhooks.audit]\n{content}\n")


def keep(store: EventStore, *subjects: str) -> None:
    for subject in subjects:
        event = new_event(RUN_CLOSED, subject=subject, source="", data=None, time_ms=5)
        store.add("webhook:audit", event, attempts=1, next_ms=None, problem="HTTP 404")


def test_nobody(bridge: Bridge, project: Path) -> None:
    assert "there are no subscribers" in bridge("events", "list").err
    assert "delivered, 0 left" in bridge("events", "retry").out
    assert list(project.iterdir()) == []


def test_list(bridge: Bridge, receiver: Receiver, store: EventStore) -> None:
    keep(store, "a", "b")
    store.count({"webhook:audit": Tally(delivered=5, failed=2, problem="down", problem_ms=7)})
    store.count({BUS: Tally(dropped=3, lost=1)})
    result = bridge("events", "list")
    assert "audit" in result.out
    assert "3 events found no room, 1 went down with a dispatcher" in result.out
    subscriber, summary = bridge("events", "list", "--json").objects
    assert subscriber["target"] == receiver.url.removesuffix("/hook")
    assert (subscriber["delivered"], subscriber["failed"], subscriber["undelivered"]) == (5, 2, 2)
    assert subscriber["events"] == ["run.*"]
    assert (summary["undelivered"], summary["dropped"], summary["lost"]) == (2, 3, 1)


def test_list_with_a_wrong_one(bridge: Bridge, project: Path) -> None:
    configure(project, 'url = "https://me:hunter2@example.org/"')
    result = bridge("events", "list", code=1)
    assert "WRONG" in result.out
    assert "hunter2" not in result.out + result.err
    assert bridge("events", "list", "--json", code=1).objects[0]["hint"]
    assert "credential" in bridge("events", "test", "audit", code=1).err


def test_test(bridge: Bridge, receiver: Receiver) -> None:
    assert bridge("events", "test", "audit").out == "webhook:audit: HTTP 204\n"
    (request,) = receiver.requests
    assert request.headers["X-Bridge-Event"] == "bridge.test"
    receiver.answers = [500]
    assert "HTTP 500" in bridge("events", "test", "audit", code=5).out
    receiver.answers = [404]
    summary = bridge("events", "test", "webhook:audit", "--json", code=1).summary
    assert "HTTP 404" in summary["problem"]
    assert not summary["delivered"]
    assert "did you mean 'audit'" in bridge("events", "test", "audti", code=1).err


def test_retry(bridge: Bridge, receiver: Receiver, store: EventStore) -> None:
    keep(store, "a", "b", "c")
    receiver.answers = [404]
    assert "2 events delivered, 1 left" in bridge("events", "retry", code=3).out
    assert receiver.subjects() == ["a", "b", "c"]
    receiver.answers = [404]
    assert "0 events delivered, 1 left" in bridge("events", "retry", "audit", code=1).out
    receiver.answers = [503]
    assert bridge("events", "retry", "--json", code=5).summary["left"] == 1
    assert "1 event delivered, 0 left" in bridge("events", "retry").out
    assert store.undelivered() == {}
    assert {item.headers["X-Bridge-Delivery"] for item in receiver.requests if item.event["subject"] == "a"}


def test_retry_stops_at_a_receiver_that_is_down(
    bridge: Bridge, receiver: Receiver, store: EventStore
) -> None:
    keep(store, "a", "b", "c")
    receiver.default = 503
    assert "0 events delivered, 3 left" in bridge("events", "retry", code=5).out
    assert receiver.subjects() == ["a"]


def about_events(bridge: Bridge) -> list[dict[str, str]]:
    return [item for item in bridge("doctor", "--json").objects[:-1] if item["subject"] == "events"]


def test_doctor(
    bridge: Bridge, receiver: Receiver, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [item["message"] for item in about_events(bridge)] == ["told to audit"]
    keep(store, "a")
    store.count({"webhook:audit": Tally(failed=1, problem="HTTP 404", problem_ms=7)})
    monkeypatch.delenv("HOOK_SECRET")
    found = about_events(bridge)
    assert [item["severity"] for item in found] == ["warning", "warning"]
    assert "HOOK_SECRET is not set" in found[0]["message"]
    assert "webhook:audit has not got 1 event: HTTP 404" in found[1]["message"]
    assert found[1]["fix"] == "bridge events retry"


def test_doctor_with_a_broken_entry_point(
    bridge: Bridge, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site/broken_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trackbridge.subscribers]\nwatch = no_such_module:watch\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (found,) = about_events(bridge)
    assert found["severity"] == "warning"
    assert "entry_point:watch is told nothing" in found["message"]
    assert "broken-package" in found["fix"]


def test_doctor_with_a_dispatcher_that_crashed(bridge: Bridge, receiver: Receiver, store: EventStore) -> None:
    store.path.parent.mkdir()
    (store.path.parent / "dispatcher.log").write_text("Traceback\nValueError: token=hunter2\n")
    (found,) = about_events(bridge)
    assert "Traceback | ValueError: token=***" in found["message"]
    assert found["fix"]


def test_doctor_with_wrong_settings(bridge: Bridge, project: Path) -> None:
    configure(project, 'url = "https://x/"\nsecret = "hunter2"')
    (found,) = about_events(bridge)
    assert "credential" in found["message"]
    assert "secret_env" in found["fix"]
    assert "hunter2" not in str(found)

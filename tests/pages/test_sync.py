"""Deliveries in a browser: backlog, dead letters dropped and replayed, migrations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.pages.browsing import Watched
from tests.pages.worlds import World, world
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.domain.migration import Kind
from trackbridge.operations.migrate.ledger import Entry, Ledger


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("sync")) as made:
        ledger = Ledger(made.project / ".bridge", source="azureml:", target="sagemaker:")
        ledger.put([Entry(kind=Kind.RUN, source_id="1", target_id="a", time=1_700_000_000_000)])
        ledger.close()
        yield made


@pytest.fixture(scope="module")
def server_url(wine: World) -> str:
    return wine.url


def test_backlog_letters_and_migrations(at: Watched, wine: World) -> None:
    page = at.open("/sync")
    expect(page.get_by_role("region", name="Backlog by backend")).to_contain_text("tracking.example.org")
    run = wine.client.create_run(wine.client.open_experiment("late").experiment_id)
    wine.client.log_metric(run.info.run_id, "loss", 0.5)
    journals = page.get_by_role("region", name="Journals")
    expect(journals).to_contain_text("alive")  # by itself
    at.check_accessible()
    at.check_narrow()
    at.shoot("sync")
    page.get_by_role("link", name="2", exact=True).click()
    expect(page.get_by_role("heading", name="Dead letter 2")).to_be_visible()
    at.check_accessible()
    at.open("/sync/migrations")
    expect(page.get_by_role("row", name="azureml: sagemaker:")).to_contain_text("1 run")
    at.check_accessible()
    at.check_narrow()


def test_letters_are_dropped_and_replayed_once_confirmed(at: Watched, wine: World) -> None:
    letters = DeadLetters(wine.project / ".bridge" / "journal")
    page = at.open("/sync")
    page.get_by_label("Dead letter 2", exact=True).check()
    page.get_by_role("button", name="Plan to drop").click()
    expect(page.get_by_text("they are gone for good")).to_be_visible()
    at.check_accessible()
    assert letters.numbers() == [1, 2, 3]
    page.get_by_role("button", name="Drop").click()
    expect(page.get_by_role("status")).to_contain_text("1 dead letters dropped")
    assert letters.numbers() == [1, 3]
    letters.add("nonsense://x", "b" * 32, [(1, "run9", "MetricLogged", "no", b"")])
    letters.remove([1, 3])
    at.open("/sync")
    page.get_by_label("All 1").check()
    page.get_by_role("button", name="Plan to replay").click()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("status")).to_contain_text("delivered: 0; left: 1", timeout=60_000)
    at.check_accessible()

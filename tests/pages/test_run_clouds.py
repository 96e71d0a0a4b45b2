"""Experiments and runs of SageMaker Experiments, which neither searches nor sorts for us, in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.pages.browsing import Watched
from tests.support.gateways import ServedGateway, gateway
from tests.support.sagemaker_emulators import sagemaker_emulator

START_MS = 1_700_000_000_000
PATIENT = {"BRIDGE_READ_WAIT_S": "120"}
"""What was logged is delivered before it is read; on a busy machine that may take a while."""


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("cloud") / "home"
    with (
        sagemaker_emulator() as aws,
        gateway("sagemaker:", home=home, pages=True, environment={**aws.environment(), **PATIENT}) as served,
    ):
        experiment = served.api("POST", "experiments/create", {"name": "wines"})["experiment_id"]
        for number in range(3):
            _log(served, experiment, number)
        yield served.url


def _log(served: ServedGateway, experiment: str, number: int) -> None:
    """Log one run as any of mlflow's clients would."""
    body = {"experiment_id": experiment, "run_name": f"run-{number}", "start_time": START_MS + number}
    identifier = served.api("POST", "runs/create", body)["run"]["info"]["run_id"]
    points = [
        {"key": "loss", "value": (number + 1) / (step + 1), "timestamp": START_MS + step, "step": step}
        for step in range(5)
    ]
    params = [{"key": "lr", "value": f"0.{number + 1}"}]
    served.api("POST", "runs/log-batch", {"run_id": identifier, "metrics": points, "params": params})
    end = {"run_id": identifier, "status": "FINISHED", "end_time": START_MS + 60_000}
    served.api("POST", "runs/update", end)


def test_runs_of_a_cloud_are_listed_searched_and_compared(at: Watched) -> None:
    page = at.open("/experiments")
    page.get_by_role("link", name="wines", exact=True).click()
    rows = page.locator("table.runs tbody th")
    expect(rows).to_have_text(["run-2", "run-1", "run-0"])
    page.get_by_role("button", name="loss").click()
    page.get_by_role("combobox", name="Search").fill("params.lr != '0.2'")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(rows).to_have_text(["run-2", "run-0"])
    page.get_by_label("Select all on this page").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("figcaption")).to_contain_text("10 points")
    page.get_by_role("link", name="run-2").click()
    expect(page.get_by_role("row", name="loss")).to_contain_text("0.6")
    expect(page.locator("#live svg polyline")).to_have_count(1)
    at.check_accessible()

"""Endpoints of the local target, from deploy to delete: real servers, real deaths of the command."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge_process, rest_of
from tests.support.warm_python import warm_python
from trackbridge.domain.deployments import EndpointState
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.operations.opening import open_place
from trackbridge.testing.contracts.deployment_models import answering, broken

DEPLOY = ("deploy", "--endpoint", "wine", "--yes")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Options of a deployment whose servers need not import mlflow; the first test has none of them."""
    with warm_python(tmp_path_factory.mktemp("warm")) as python:
        yield ("-C", f"python={python}")


@pytest.fixture
def wine(bridge: Bridge, project: Path, tmp_path: Path) -> Iterator[None]:
    """The model wine: version 1 answers 1, version 2 answers 2, version 3 cannot be loaded."""
    registry = open_place().registry
    registry.ensure_model("wine")
    payloads = [answering(tmp_path, "one", 1.0), answering(tmp_path, "two", 2.0), broken(tmp_path)]
    for number, payload in enumerate(payloads, start=1):
        spec = ModelVersionSpec(name="wine", source=payload.as_uri(), digest=digest_of_path(payload))
        registry.create_version(spec, key=str(number))
    yield
    if observed() is not None:
        bridge("endpoints", "delete", "wine", "--yes")
    assert observed() is None


def observed() -> EndpointState | None:
    return open_place().target.observe("wine")


def traffic() -> dict[str, int]:
    state = observed()
    return {} if state is None else {name: share for name, share in state.traffic.items() if share}


@pytest.mark.usefixtures("wine")
def test_the_whole_life_of_an_endpoint(bridge: Bridge, project: Path) -> None:
    deployed = bridge(*DEPLOY, "models:/wine/1")
    assert "$(cat " in deployed.out
    assert "  go back  bridge endpoints delete wine\n" in deployed.out, "there was nothing before"
    token_file = Path(deployed.out.partition("$(cat ")[2].partition(")")[0])
    assert token_file.read_text().strip() not in deployed.out + deployed.err
    row = '{"inputs": [[1.0]]}'
    assert json.loads(bridge("endpoints", "invoke", "wine", "--data", row).out) == {"predictions": [1.0]}
    assert _curl(deployed.out) == {"predictions": [1.0]}

    second = bridge(*DEPLOY, "models:/wine/2", "--traffic", "10")
    assert "  go back  bridge endpoints rollback wine\n" in second.out
    told = bridge("endpoints", "rollback", "wine", "--plan")
    assert "note: back to revision 2, which was: v1 (models:/wine/1) 100 %\n" in told.err
    told = bridge("endpoints", "rollback", "wine", "--to", "1", "--plan")
    assert "note: back to revision 1, which was: no endpoint\n" in told.err
    endpoint = tb.endpoint("wine")
    answers = [endpoint.predict([[1.0]])[0] for _ in range(20)]
    assert answers.count(2.0) == 2
    assert endpoint.traffic == {"v1": 90, "v2": 10}

    refused = bridge(*DEPLOY, "models:/wine/3", code=3)
    assert "this model cannot be loaded" in refused.err
    assert "  stands   v3 (models:/wine/3): FAILED, 0 %" in refused.out
    assert "go back with: bridge endpoints rollback wine" in refused.err
    assert traffic() == {"v1": 90, "v2": 10}
    bridge("endpoints", "rollback", "wine", "--yes")
    state = observed()
    assert state is not None
    assert [found.deployment for found in state.deployments] == ["v1", "v2"]

    bridge("endpoints", "rollback", "wine", "--to", "2", "--yes")
    assert traffic() == {"v1": 100}
    bridge("endpoints", "delete", "wine", "--yes")
    bridge("endpoints", "rollback", "wine", "--yes")
    assert endpoint.predict([[1.0]]) == [1.0]


def _curl(shown: str) -> object:
    """Run the line that was shown for curl, as a shell would, with Python in curl's place."""
    line = next(line for line in shown.splitlines() if line.strip().startswith("curl"))
    fake = 'curl() { for word in "$@"; do printf \'%s\\0\' "$word"; done; }'
    words = line.strip().replace("@ROWS.json", """'{"inputs": [[1.0]]}'""")
    done = subprocess.run(["sh", "-c", f"{fake}; {words}"], capture_output=True, check=True)
    url, *options = [word.decode() for word in done.stdout.split(b"\0") if word]
    headers = dict(option.split(": ", 1) for option in options if ": " in option and option[0] != "{")
    from urllib.request import Request, urlopen

    with urlopen(Request(url, options[-1].encode(), headers), timeout=30) as answer:
        return json.load(answer)


@pytest.mark.usefixtures("wine")
def test_a_deploy_that_is_killed_is_gone_on_with(
    bridge: Bridge, project: Path, quick: tuple[str, ...]
) -> None:
    bridge(*DEPLOY, *quick, "models:/wine/1")
    plan = ("--endpoint", "wine", "--traffic", "25", "--out", "wine.plan")
    bridge("deploy", *quick, "models:/wine/2", *plan)
    for number in (1, 2):  # killed as soon as it has begun this change
        process = bridge_process("apply", "wine.plan", "--yes")
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(f"[{number}/2]"):
                break
        process.send_signal(signal.SIGKILL)
        rest_of(process)
        assert traffic() in ({"v1": 100}, {"v1": 75, "v2": 25})
    bridge("apply", "wine.plan", "--yes")
    assert traffic() == {"v1": 75, "v2": 25}
    bridge("endpoints", "rollback", "wine", "--yes")
    assert traffic() == {"v1": 100}


@pytest.mark.usefixtures("wine")
def test_of_two_deploys_at_once_one_wins(bridge: Bridge, project: Path, quick: tuple[str, ...]) -> None:
    bridge(*DEPLOY, *quick, "models:/wine/1")
    for name in ("a", "b"):
        there = ("--endpoint", "wine", "--deployment", name)
        bridge("deploy", *quick, "models:/wine/2", *there, "--out", f"{name}.plan")
    processes = [bridge_process("apply", f"{name}.plan", "--yes") for name in ("a", "b")]
    ends: list[tuple[int, str, str]] = []
    threads = [threading.Thread(target=lambda p=item: ends.append(rest_of(p))) for item in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(code for code, _, _ in ends)
    assert codes[0] == 0, ends
    assert codes[1] in (1, 11), ends  # stale, or locked
    loser = next(errors for code, _, errors in ends if code)
    assert "has changed since the plan was made" in loser or "being changed" in loser, loser
    assert sorted(traffic().values()) == [100]


def test_a_store_elsewhere(bridge: Bridge, project: Path, tmp_path: Path, quick: tuple[str, ...]) -> None:
    """The model, its files and the endpoint lie in a store that no setting names."""
    store = str(tmp_path / "store")
    payload = answering(tmp_path, "one", 1.0)
    registry = open_place(store).registry
    registry.ensure_model("wine")
    registry.create_version(
        ModelVersionSpec(name="wine", source=payload.as_uri(), digest=digest_of_path(payload)), key="1"
    )
    there = ("--endpoint", "wine", "--target", store, "--uri", store)
    bridge("deploy", *quick, "models:/wine/1", *there, "--out", "wine.plan")
    applied = bridge("apply", "wine.plan", "--yes")
    assert f"  go back  bridge endpoints delete wine --target {open_place(store).uri}\n" in applied.out
    try:
        assert tb.endpoint("wine", target=store).predict([[1.0]]) == [1.0]
        assert (tmp_path / "store/models").is_dir()
        assert (tmp_path / "store/model-cache").is_dir()
        assert not (project / ".bridge").exists() or not list((project / ".bridge").glob("model*"))
    finally:
        bridge("endpoints", "delete", "wine", "--target", store, "--yes")

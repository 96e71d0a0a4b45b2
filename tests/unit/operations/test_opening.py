"""What ``local``, a URI and nothing mean, and what a backend without a port says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.memory_adapter import MemoryAdapter
from trackbridge.errors import ConfigError, Unsupported
from trackbridge.operations.endpoint_listing import endpoint_places
from trackbridge.operations.migrate.whereabouts import places
from trackbridge.operations.opening import Opened, find_place, open_place, remote_uris, user_name
from trackbridge.operations.waiting import Pace
from trackbridge.ports.capabilities import Feature
from trackbridge.resolve.config import Settings
from trackbridge.resolve.home import Surroundings


def settings(cwd: Path, **environ: str) -> Settings:
    return Settings(Surroundings(cwd, {"HOME": str(cwd), **environ}))


def test_local_is_the_store_of_the_tracking_uri(tmp_path: Path) -> None:
    there = settings(tmp_path, BRIDGE_TRACKING_URI="./store")
    assert find_place("local", settings=there).uri.path == tmp_path / "store"
    assert find_place(None, settings=there).uri.path == tmp_path / "store"


def test_local_is_the_projects_store_when_runs_go_elsewhere(tmp_path: Path) -> None:
    (tmp_path / ".bridge").mkdir()
    away = settings(tmp_path, BRIDGE_TRACKING_URI="https://mlflow.example.com")
    assert find_place("local", settings=away).uri.path == tmp_path / ".bridge"
    assert find_place(None, settings=away).uri.scheme == "https"


def test_of_several_the_first(tmp_path: Path) -> None:
    both = settings(tmp_path, BRIDGE_TRACKING_URI="./one,./two")
    assert find_place("local", settings=both).uri.path == tmp_path / "one"
    assert find_place("./three,./four", settings=both).uri.path == tmp_path / "three"


def test_what_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_place("moon", settings=settings(tmp_path))


def test_a_remote_is_the_place_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / ".bridge").mkdir()
    (tmp_path / ".bridge/config.toml").write_text(
        '[remotes.azure]\nuri = "azureml:"\n[remotes.lab]\nuri = "./lab"\n'
    )
    workspace = {
        "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000001",
        "AZURE_RESOURCE_GROUP": "group",
        "AZURE_WORKSPACE_NAME": "workspace",
    }
    there = settings(tmp_path, BRIDGE_TRACKING_URI="azureml:", **workspace)
    uri = find_place(None, settings=there).uri.text
    assert uri.endswith("/group/workspace")
    assert remote_uris(there)["azure"] == uri
    assert set(endpoint_places(there)) == {"local", "azure", "lab"}
    assert set(places(there)) == {"azure", "lab"}
    assert remote_uris(settings(tmp_path))["azure"] == "azureml:"  # there is no config.json


def test_a_remote_with_the_name_local_is_itself(tmp_path: Path) -> None:
    (tmp_path / ".bridge").mkdir()
    (tmp_path / ".bridge/config.toml").write_text('[remotes.local]\nuri = "./shared"\n')
    assert remote_uris(settings(tmp_path)) == {"local": f"file:{tmp_path}/shared"}


def test_a_port_that_is_not_there() -> None:
    adapter = MemoryAdapter()
    adapter.jobs = adapter.deployments = adapter.registry = adapter.tracking = None
    place = Opened("memory:here", adapter)
    for name in ("jobs", "target", "registry", "tracking"):
        with pytest.raises(Unsupported) as raised:
            getattr(place, name)
        assert raised.value.hint == "name another place, for example: local"


def test_who_acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_name(settings(tmp_path, BRIDGE_USER="anna")) == "anna"

    def fail() -> str:
        raise KeyError("uid")

    monkeypatch.setattr("trackbridge.operations.opening.getpass.getuser", fail)
    assert user_name(settings(tmp_path)) == ""


def test_waits_are_a_share_of_the_time_waited_so_far() -> None:
    waits: list[float] = []
    pace = Pace(wait_s_min=0.02, wait_s_max=5.0, clock=lambda: 100.0, pause=waits.append)
    for since_s in (100.0, 99.0, 0.0):
        pace.wait(since_s)
    assert waits == [0.02, 0.1, 5.0]


def test_a_port_that_is_not_there_says_why(tmp_path: Path) -> None:
    adapter = MemoryAdapter(missing={Feature.DEPLOYMENTS_INVOKE: "its model serving is not spoken to"})
    adapter.deployments = None
    with pytest.raises(Unsupported, match="serves no models: its model serving is not spoken to"):
        _ = Opened("memory:here", adapter).target

"""What differs between the backends that speak MLflow's REST protocol, as data.

A backend's adapter is a function that fills in a ``Service`` and hands it to ``adapter.RestAdapter``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from trackbridge.errors import BridgeError
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capability, Feature, Limits, Tier
from trackbridge.ports.findings import Finding
from trackbridge.transport.http import HttpClient

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking
    from trackbridge_adapters._mlflow_rest.wire import Wire

HISTORY_PAGE_MAX = 25_000
"""Points of a history in one answer, as mlflow's own client asks for them."""


def _same(name: str) -> str:
    return name


def _alone(name: str) -> tuple[str, ...]:
    return (name,)


def _no_address(experiment_id: str, run_id: str) -> str | None:
    return None


def _no_fix(error: BridgeError) -> str | None:
    return None


def _as_mlflow(answer: requests.Response, body: Mapping[str, Any], resource: str) -> BridgeError | None:
    return None


def _any(name: str, tags: Mapping[str, str]) -> None:
    """Refuse none: the server tells."""


def _no_findings(wire: Wire, write: bool) -> tuple[Finding, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One endpoint.

    Args:
        adapter: Name of the backend: ``mlflow``, ``azureml``, ``sagemaker``, ``databricks``.
        address: The tracking URI; what is remembered of the server is kept under it.
        base_url: Returns where the routes begin, without ``/api/2.0/mlflow``; may ask the cloud at its first
            call and then remembers. Raises only ``trackbridge.errors``.
        http: Sends the requests, with the backend's authentication.
        limits: What the backend holds.
        gaps: Features that MLflow has and this backend does not, each with its reason.
        artifacts: Returns the artifact store, given the tracking store (which knows native ids and where a
            run's artifacts lie); None has none.
        run_url: Native experiment id and native run id to the address that people open in a browser.
        experiment_name: Our experiment name to the backend's (Databricks wants workspace paths).
        our_experiment_name: The way back.
        experiment_names: Every name of ours that leads to a backend's name, its own first: an experiment is
            shown by the one that it was opened with, and one that somebody else made by the first.
        make_room: Makes what a new experiment of a backend's name needs, where creating it was answered with
            "not found" (on Databricks, its folder); None where nothing can be missing.
        platform_run: Native id of the run that a cloud job is; its status is the platform's, and a run that
            is opened with this id attaches to it.
        dedups_points: True when the same point written twice is one (mlflow on SQL).
        history_page_max: Points of a history asked for at once.
        error_of: Reads an answer of 400 or more that is not MLflow's own (its body, {} where that is no JSON
            object, and the route); None leaves it to the shared table.
        fix_of: What to do about an error of the service, where the error does not say it.
        check: Findings for ``bridge doctor`` beyond those that are common to all.
        refuse_experiment: Raises ``Rejected`` for a name, or tags, that no experiment can have there.
        close: Called once when the adapter is closed.
    """

    adapter: str
    address: str
    base_url: Callable[[], str]
    http: HttpClient
    limits: Limits
    tier: Tier = Tier.EMULATED
    gaps: Mapping[Feature, Capability] = field(default_factory=dict)
    artifacts: Callable[[RestTracking], ArtifactStore] | None = None
    run_url: Callable[[str, str], str | None] = _no_address
    experiment_name: Callable[[str], str] = _same
    our_experiment_name: Callable[[str], str] = _same
    experiment_names: Callable[[str], tuple[str, ...]] = _alone
    make_room: Callable[[Wire, str], None] | None = None
    platform_run: str | None = None
    dedups_points: bool = True
    history_page_max: int = HISTORY_PAGE_MAX
    error_of: Callable[[requests.Response, Mapping[str, Any], str], BridgeError | None] = _as_mlflow
    fix_of: Callable[[BridgeError], str | None] = _no_fix
    check: Callable[[Wire, bool], tuple[Finding, ...]] = _no_findings
    refuse_experiment: Callable[[str, Mapping[str, str]], None] = _any
    close: Callable[[], None] = lambda: None

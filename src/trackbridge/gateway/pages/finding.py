"""Runs by their ids in one question where the backend can, and the names of experiments."""

from __future__ import annotations

from collections.abc import Sequence

from trackbridge.api.client import Client
from trackbridge.domain.runs import Experiment, Run
from trackbridge.errors import NotFound
from trackbridge.ports.capabilities import Feature

EXPERIMENTS_MAX = 1000


def all_experiments(client: Client) -> dict[str, Experiment]:
    """Return the experiments, deleted ones too, by id; the newest 1,000."""
    return {
        found.experiment_id: found
        for found in client.search_experiments(view_type="all", max_results=EXPERIMENTS_MAX)
    }


def names_of(experiments: dict[str, Experiment]) -> dict[str, str]:
    """Return the names of experiments by id."""
    return {identifier: found.name for identifier, found in experiments.items()}


def runs_of(client: Client, ids: Sequence[str], experiments: Sequence[str]) -> list[Run]:
    """Return runs by their ids, in that order, deleted or not.

    Args:
        client: Of the backend.
        ids: Of the runs.
        experiments: Where they may be.

    Raises:
        NotFound: One of them does not exist.
    """
    found = _searched(client, ids, experiments) if len(ids) > 1 else {}
    return [found.get(identifier) or client.reader.get_run(identifier) for identifier in ids]


def known_runs(client: Client, ids: Sequence[str], experiments: Sequence[str]) -> list[Run]:
    """Return those of the runs that exist."""
    found: list[Run] = []
    searched = _searched(client, ids, experiments) if len(ids) > 1 else {}
    for identifier in ids:
        try:
            found.append(searched.get(identifier) or client.reader.get_run(identifier))
        except NotFound:
            continue
    return found


def _searched(client: Client, ids: Sequence[str], experiments: Sequence[str]) -> dict[str, Run]:
    capabilities = client.reader.capabilities
    can = (
        capabilities.supports(Feature.TRACKING_SEARCH)
        and ("attributes", "IN") in capabilities.search_comparisons
    )
    if not can or not experiments or not all(identifier.isalnum() for identifier in ids):
        return {}
    listed = ", ".join(f"'{identifier}'" for identifier in ids)
    runs = client.search_runs(experiments, f"run_id IN ({listed})", "all", max_results=len(ids))
    return {run.info.run_id: run for run in runs}

"""From what people type for a run (its id, the beginning of it, or its name) to the run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from trackbridge.api.client import Client, ViewType
from trackbridge.api.display import format_time
from trackbridge.api.results import Run
from trackbridge.cli.options import all_experiments
from trackbridge.errors import InvalidInput, NotFound, Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

CANDIDATES_MAX = 10
SHORT_ID_CHARS = 12

_ID_PREFIX = re.compile(r"[A-Za-z0-9-]{1,64}")  # nothing that LIKE reads in another way


def find_run(client: Client, text: str, *, view: str = ViewType.ACTIVE_ONLY) -> Run:
    """Return the run of an id, of a unique beginning of an id, or of a name.

    Runs of the view are looked at first, then all.

    Raises:
        NotFound: There is none.
        ClickException: There are several; the message lists them.
    """
    if not text:
        raise InvalidInput("the name of a run is empty", hint="bridge runs list")
    try:
        return client.get_run(text)
    except (NotFound, Rejected):
        pass  # no whole id; some backends refuse what cannot be one
    for looked_at in dict.fromkeys((view, ViewType.ALL)):
        found = _matching(client, text, looked_at)
        if len(found) == 1:
            return found[0]
        if found:
            raise click.ClickException(f"{_listing(text, found)}; name one by its id")
    raise NotFound(f"there is no run {text!r}", hint="bridge runs list --all")


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return the beginning of each id that tells it from the others, 12 characters or more."""
    whole = list(ids)
    length = SHORT_ID_CHARS
    while len({identifier[:length] for identifier in whole}) < len(set(whole)):
        length += 1
    return {identifier: identifier[:length] for identifier in whole}


def _matching(client: Client, text: str, view: str) -> Sequence[Run]:
    experiments = [found.experiment_id for found in all_experiments(client, ViewType.ALL)]
    if not experiments:
        return []
    conditions = ["run_name = '{}'".format(text.replace("'", "''"))]
    if _ID_PREFIX.fullmatch(text):
        conditions.append(f"run_id LIKE '{text}%'")
    return client.search_runs(
        experiments, " OR ".join(conditions), view, max_results=CANDIDATES_MAX, order_by=["start_time DESC"]
    )


def _listing(text: str, runs: Sequence[Run]) -> str:
    ids = short_ids(run.info.run_id for run in runs)
    candidates = ", ".join(
        f"{ids[run.info.run_id]} ({run.info.run_name}, {format_time(run.info.start_time)})" for run in runs
    )
    count = f"{len(runs)} or more" if len(runs) == CANDIDATES_MAX else f"{len(runs)}"
    return f"{text!r} means {count} runs: {candidates}"

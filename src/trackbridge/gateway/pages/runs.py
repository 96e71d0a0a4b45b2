"""The table of runs: search, order, columns, selection and pages, all of it in the address."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.api.recorder import now_ms
from trackbridge.api.results import Runs
from trackbridge.domain.plans import Action, Plan
from trackbridge.domain.plans import Change as PlanChange
from trackbridge.domain.runs import LifecycleStage, Run
from trackbridge.errors import InvalidInput, InvalidQuery
from trackbridge.gateway.pages import run_table
from trackbridge.gateway.pages.completion import complete
from trackbridge.gateway.pages.experiments import VIEWS, basis_of, chosen_view
from trackbridge.gateway.pages.finding import all_experiments, names_of, runs_of
from trackbridge.gateway.pages.forms import Change, Done, change_routes
from trackbridge.gateway.pages.layout import HEADERS, Pages, View

SIZES = (25, 50, 100, 200)
SIZE = 50
TRAIL_MAX = 10
"""How many pages one can go back one by one."""
SELECTED_MAX = 100


def run_table_routes(pages: Pages) -> list[Route]:
    """Return the routes of the table of runs."""
    return [
        pages.route("/runs", runs),
        pages.route("/runs/complete", completion),
        *change_routes(pages, DELETE),
        *change_routes(pages, RESTORE),
    ]


@dataclass(frozen=True)
class Trail:
    """The way to a page: its number, and the tokens of the last pages up to it.

    In an address it is one field, ``3:token token``. The first page has none.
    """

    number: int = 1
    tokens: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Trail:
        """Read it from an address.

        Raises:
            InvalidInput: It is none.
        """
        number, _, tokens = text.partition(":")
        if not text:
            return cls()
        if not number.isdecimal() or len(number) > 9 or not tokens.split():
            raise InvalidInput("the page is none that was given out", hint="go back to the first page")
        return cls(int(number), tuple(tokens.split()))

    def __str__(self) -> str:
        return f"{self.number}:{' '.join(self.tokens)}" if self.tokens else ""

    def on(self, token: str) -> Trail:
        """Return the way to the next page."""
        return Trail(self.number + 1, (*self.tokens, token)[-TRAIL_MAX:])

    @property
    def back(self) -> Trail | None:
        """The way to the page before, None where it is not known."""
        if self.number == 2:
            return Trail()
        return Trail(self.number - 1, self.tokens[:-1]) if len(self.tokens) > 1 else None


def runs(view: View) -> Response:
    """Show the runs of experiments."""
    experiments, chosen = all_experiments(view.client), view.values("experiment")
    for identifier in chosen:
        if identifier not in experiments:  # older than those that are listed, or nowhere
            experiments[identifier] = view.client.get_experiment(identifier)
    searched = chosen or [found.experiment_id for found in experiments.values()]
    trail, size, sort = Trail.of(view.value("page")), _size(view), view.value("sort")
    found, problem = Runs(), None
    try:
        found = view.client.search_runs(
            searched,
            view.value("q"),
            chosen_view(view),
            max_results=size,
            order_by=run_table.order_of(sort),
            page_token=trail.tokens[-1] if trail.tokens else None,
        )
    except InvalidQuery as error:
        problem = error
    columns = run_table.chosen_columns(view.values("col"), found)
    names = names_of(experiments)
    shown = {run.info.run_id for run in found}
    selected = view.values("run")[:SELECTED_MAX]
    return view.page(
        "runs.html",
        title=", ".join(names[identifier] for identifier in chosen) or "All runs",
        section="experiments",
        twin=_twin(view, [names[identifier] for identifier in chosen]),
        runs=found,
        columns=columns,
        cells=[[run_table.cell(run, column, names) for column in columns] for run in found],
        sort=sort,
        next_sorts=[run_table.next_sort(column, sort) for column in columns],
        seen=view.pages.keys.of(view.client, tuple(searched)),
        attributes=run_table.ATTRIBUTES,
        experiments=chosen,
        names=names,
        problem=problem,
        q=view.value("q"),
        stage=chosen_view(view),
        stages=VIEWS,
        size=size,
        sizes=SIZES,
        trail=trail,
        next_page=trail.on(found.token) if found.token else None,
        selected=selected,
        elsewhere=[identifier for identifier in selected if identifier not in shown],
    )


def completion(view: View) -> Response:
    """Tell what may stand at a place of the filter, as JSON."""
    experiments = view.values("experiment") or list(all_experiments(view.client))
    at = view.value("at")
    text = view.value("text")[:10_000]
    place = int(at) if at.isdecimal() and len(at) < 9 else len(text)
    found = complete(text, place, view.pages.keys.of(view.client, tuple(experiments)))
    return json_response(found)


def json_response(value: object) -> Response:
    """Return an answer for a script of ours; NaN and infinities become null."""
    return Response(msgspec.json.encode(value), media_type="application/json", headers=HEADERS)


def _size(view: View) -> int:
    text = view.value("size")
    return int(text) if text in map(str, SIZES) else SIZE


def _twin(view: View, names: list[str]) -> str:
    parts = ["bridge runs list", *(f"--experiment {shlex.quote(name)}" for name in names)]
    if view.value("q"):
        parts.append(f"--filter {shlex.quote(view.value('q'))}")
    parts += [f"--order-by {shlex.quote(order)}" for order in run_table.order_of(view.value("sort"))]
    return " ".join([*parts, "--json"])


# To delete and to restore.


def chosen_runs(view: View) -> list[Run]:
    """Return the runs that a form names.

    Raises:
        InvalidInput: None, or more than 100.
    """
    ids = view.values("run")
    if not ids:
        raise InvalidInput("no run is chosen", hint="go back and tick the runs")
    if len(ids) > SELECTED_MAX:
        raise InvalidInput(f"{len(ids)} runs are chosen", hint=f"choose at most {SELECTED_MAX} at a time")
    experiments = view.values("experiment") or list(all_experiments(view.client))
    return runs_of(view.client, ids, experiments)


def _planned(view: View, operation: str, wanted: LifecycleStage) -> Plan:
    found = chosen_runs(view)
    action = Action.DELETE if wanted is LifecycleStage.DELETED else Action.CREATE
    changes = tuple(
        PlanChange(
            action=Action.KEEP if run.info.lifecycle_stage is wanted else action,
            subject=f"run {run.info.run_name} ({run.info.run_id})",
            before={"stage": run.info.lifecycle_stage.value, "status": run.info.status.value},
            after={"stage": wanted.value},
            why="it can be restored" if wanted is LifecycleStage.DELETED else "",
        )
        for run in found
    )
    states = [(run.info.run_id, run.info.lifecycle_stage) for run in found]
    return Plan(
        operation=operation, basis=basis_of(operation, states), changes=changes, created_time=now_ms()
    )


def _delete(view: View, plan: Plan) -> Done:
    return _done(view, plan, "deleted", view.client.delete_run)


def _restore(view: View, plan: Plan) -> Done:
    return _done(view, plan, "restored", view.client.restore_run)


def _done(view: View, plan: Plan, what: str, act: Callable[[str], None]) -> Done:
    ids = view.values("run")
    for identifier in ids:
        act(identifier)
    count = "1 run was" if len(ids) == 1 else f"{len(ids)} runs were"
    address, link = ("/experiments", "To the experiments")
    if len(ids) == 1:
        address, link = f"/runs/{ids[0]}", "To the run"
    return Done(f"{count} {what}.", address, link, tuple(change.subject for change in plan.changes))


DELETE = Change(
    "/runs/delete",
    "Delete runs",
    "Delete",
    lambda view: _planned(view, "runs.delete", LifecycleStage.DELETED),
    _delete,
    section="experiments",
    is_dangerous=True,
    twin=lambda view: _command(view, "delete"),
)
RESTORE = Change(
    "/runs/restore",
    "Restore runs",
    "Restore",
    lambda view: _planned(view, "runs.restore", LifecycleStage.ACTIVE),
    _restore,
    section="experiments",
    twin=lambda view: _command(view, "restore"),
)


def _command(view: View, verb: str) -> str:
    return f"bridge runs {verb} {' '.join(view.values('run')[:5])} --json"

"""The experiments: a list with search, to delete and to restore."""

from __future__ import annotations

import hashlib

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.api.recorder import now_ms
from trackbridge.api.results import Experiments
from trackbridge.domain.plans import Action, Plan
from trackbridge.domain.plans import Change as PlanChange
from trackbridge.domain.runs import LifecycleStage
from trackbridge.errors import InvalidInput, InvalidQuery
from trackbridge.gateway.pages.forms import Change, Done, change_routes
from trackbridge.gateway.pages.layout import Pages, View

SIZE = 50
VIEWS = ("active", "deleted", "all")


def experiment_routes(pages: Pages) -> list[Route]:
    """Return the routes of the experiments."""
    return [
        pages.route("/", lambda view: view.redirect("/experiments")),
        pages.route("/experiments", experiments),
        *change_routes(pages, DELETE),
        *change_routes(pages, RESTORE),
    ]


def experiments(view: View) -> Response:
    """Show the experiments."""
    text, stage = view.value("q"), chosen_view(view)
    problem: InvalidQuery | None = None
    found = Experiments()
    try:
        found = view.client.search_experiments(
            stage, max_results=SIZE, filter_string=text, page_token=view.value("page") or None
        )
    except InvalidQuery as error:
        problem = error
    return view.page(
        "experiments.html",
        title="Experiments",
        section="experiments",
        twin="bridge experiments list --json",
        experiments=found,
        problem=problem,
        q=text,
        stage=stage,
        stages=VIEWS,
    )


def chosen_view(view: View) -> str:
    """Return which of the deleted are looked at: ``active``, ``deleted`` or ``all``."""
    found = view.value("view", VIEWS[0])
    return found if found in VIEWS else VIEWS[0]


def basis_of(*parts: object) -> str:
    """Return a digest of what a plan was made from."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _planned(view: View, operation: str, wanted: LifecycleStage) -> Plan:
    ids = view.values("experiment")
    if not ids:
        raise InvalidInput("no experiment is chosen", operation=operation, hint="choose one in the list")
    found = [view.client.get_experiment(identifier) for identifier in ids]
    changes = tuple(
        PlanChange(
            action=Action.KEEP if experiment.lifecycle_stage is wanted else _action(wanted),
            subject=f"experiment {experiment.name}",
            before={"stage": experiment.lifecycle_stage.value},
            after={"stage": wanted.value},
            why="with all its runs; it can be restored" if wanted is LifecycleStage.DELETED else "",
        )
        for experiment in found
    )
    states = [(experiment.experiment_id, experiment.lifecycle_stage) for experiment in found]
    return Plan(
        operation=operation, basis=basis_of(operation, states), changes=changes, created_time=now_ms()
    )


def _action(wanted: LifecycleStage) -> Action:
    return Action.DELETE if wanted is LifecycleStage.DELETED else Action.CREATE


def _delete(view: View, plan: Plan) -> Done:
    for identifier in view.values("experiment"):
        view.client.delete_experiment(identifier)
    return _done(plan, "deleted")


def _restore(view: View, plan: Plan) -> Done:
    for identifier in view.values("experiment"):
        view.client.restore_experiment(identifier)
    return _done(plan, "restored")


def _done(plan: Plan, what: str) -> Done:
    subjects = tuple(change.subject for change in plan.changes)
    return Done(f"The experiment was {what}.", "/experiments", "To the experiments", subjects)


def _twin(verb: str) -> str:
    return f"bridge experiments {verb} NAME --json"


DELETE = Change(
    "/experiments/delete",
    "Delete an experiment",
    "Delete",
    lambda view: _planned(view, "experiments.delete", LifecycleStage.DELETED),
    _delete,
    section="experiments",
    is_dangerous=True,
    twin=lambda view: _twin("delete"),
)
RESTORE = Change(
    "/experiments/restore",
    "Restore an experiment",
    "Restore",
    lambda view: _planned(view, "experiments.restore", LifecycleStage.ACTIVE),
    _restore,
    section="experiments",
    twin=lambda view: _twin("restore"),
)

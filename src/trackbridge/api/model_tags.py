"""What a run remembers in its tags of the models that it logged, and of those that it read.

::

    bridge.model.<model id>         {"name": …, "path": …, "step": …, "created": …, "status": …, …}
    bridge.model_output.<model id>  step, where another run has its files
    bridge.model_input.<model id>   "read"

A tag for each, so that none grows beyond what a backend holds. The rest of a logged model lies in a document
among the run's files; see ``logged_models``.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trackbridge.domain.runs import RESERVED_TAG_PREFIX

MODEL = "bridge.model."
MODEL_OUTPUT = "bridge.model_output."
MODEL_INPUT = "bridge.model_input."
TAG_MODEL_ID = f"{RESERVED_TAG_PREFIX}model_id"
"""Of a registered version: the logged model that it was registered from."""


class Summary(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of a logged model without opening its document. ``path`` lies in the run's files."""

    name: str
    path: str
    created: int
    updated: int
    status: str = "PENDING"
    type: str | None = None
    step: int | None = None
    has_run: bool = True
    is_deleted: bool = False


def encoded(summary: Summary) -> str:
    """Return a summary as the value of a tag."""
    return msgspec.json.encode(summary).decode()


def summaries(tags: Mapping[str, str]) -> dict[str, Summary]:
    """Return the models that a run logged, by id, in the order of their making."""
    found = {
        key.removeprefix(MODEL): msgspec.json.decode(value, type=Summary)
        for key, value in tags.items()
        if key.startswith(MODEL)
    }
    return dict(sorted(found.items(), key=lambda item: (item[1].created, item[0])))


def outputs(tags: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the models that a run put out, as id and step."""
    own = [(name, found.step) for name, found in summaries(tags).items() if found.step is not None]
    others = [
        (key.removeprefix(MODEL_OUTPUT), int(value))
        for key, value in tags.items()
        if key.startswith(MODEL_OUTPUT)
    ]
    return own + sorted(others)


def inputs(tags: Mapping[str, str]) -> list[str]:
    """Return the ids of the models that a run read."""
    return sorted(key.removeprefix(MODEL_INPUT) for key in tags if key.startswith(MODEL_INPUT))


def without(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that a user set."""
    return {
        key: value for key, value in tags.items() if not key.startswith((MODEL, MODEL_OUTPUT, MODEL_INPUT))
    }


def at(tags: Mapping[str, str], path: str) -> tuple[str, str] | None:
    """Return the model that has what lies at a path of the run, and its path there; None: no model has."""
    for model_id, summary in summaries(tags).items():
        if path == summary.path or path.startswith(f"{summary.path}/"):
            return model_id, path[len(summary.path) + 1 :]
    return None


def newest_path(tags: Mapping[str, str], path: str) -> str:
    """Return where a path below a model's name lies: the name means the newest model of it in the run."""
    by_name = {summary.name: summary for summary in summaries(tags).values() if not summary.is_deleted}
    for name, summary in by_name.items():
        if path == name or path.startswith(f"{name}/"):
            return summary.path + path.removeprefix(name)
    return path

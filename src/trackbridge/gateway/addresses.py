"""Where the gateway tells its clients that files lie, and what such an address means.

::

    mlflow-artifacts:/<experiment id>/<run id>/artifacts                    a run
    mlflow-artifacts:/<experiment id>/models/<model id>/artifacts           a logged model
    mlflow-artifacts:/<experiment id>/traces/<trace id>/artifacts           a trace
    mlflow-artifacts:/registered-models/<name>/<version>/artifacts          a registered version, read only

As ``mlflow server`` has them: a client asks for ``/api/2.0/mlflow-artifacts/artifacts/`` and what follows the
scheme. The experiment ``Default`` is ``0`` in them. The last form is ours alone: the files of a version that
others registered lie where only the backend's own addresses lead.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from enum import Enum

from trackbridge.domain.artifacts import checked_path
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.runs import DEFAULT_EXPERIMENT, RunInfo
from trackbridge.errors import InvalidInput, NotFound

SCHEME = "mlflow-artifacts"
ROUTE = "/api/2.0/mlflow-artifacts/artifacts"
"""Where the files are asked for."""

TOLD_DEFAULT_ID = "0"
_DEFAULT_ID = experiment_id_of(DEFAULT_EXPERIMENT)
_FOLDER = "artifacts"
_DECODINGS_MAX = 10  # as often as mlflow's own server decodes a path to look at it


class Kind(str, Enum):
    """Whose files they are; the value is the folder that they lie in."""

    RUN = ""
    MODEL = "models"
    TRACE = "traces"
    VERSION = "registered-models"


@dataclass(frozen=True)
class Place:
    """A file or folder of a run, a logged model, a trace or a registered version.

    ``experiment_id`` is ours, "" for a version. ``owner`` is the id of the run, the model or the trace; of a
    version it is the name, a slash and the number. ``path`` lies below it: "" is all of its files.
    """

    experiment_id: str
    owner: str
    path: str = ""
    kind: Kind = Kind.RUN

    @property
    def uri(self) -> str:
        """The address that clients are told."""
        told = TOLD_DEFAULT_ID if self.experiment_id == _DEFAULT_ID else self.experiment_id
        folder = (self.kind.value,) if self.kind is Kind.VERSION else (told, self.kind.value)
        parts = (*folder, self.owner, _FOLDER, self.path)
        return f"{SCHEME}:/{'/'.join(part for part in parts if part)}"


def artifact_uri_of(info: RunInfo) -> str:
    """Return where clients find the files of a run."""
    return Place(info.experiment_id, info.run_id).uri


def model_uri_of(experiment_id: str, model_id: str) -> str:
    """Return where clients find the files of a logged model; the id of the experiment is ours."""
    return Place(experiment_id, model_id, kind=Kind.MODEL).uri


def trace_uri_of(experiment_id: str, trace_id: str) -> str:
    """Return where clients find the files of a trace; the id of the experiment is ours."""
    return Place(experiment_id, trace_id, kind=Kind.TRACE).uri


def version_uri_of(name: str, version: str) -> str:
    """Return where clients find the files of a registered version whose address only the backend reads."""
    return Place("", f"{name}/{version}", kind=Kind.VERSION).uri


def split(path: str) -> Place:
    """Return what lies at a path of the proxy, as it is in an address behind the scheme.

    Args:
        path: Decoded once, as the path of a request is.

    Raises:
        InvalidInput: The path climbs, is absolute, or is else one that no file can have.
        NotFound: No run, logged model or trace has files there.
    """
    path = _safe(path)
    parts = path.split("/")
    kind = _kind_of(parts)
    start = 1 if kind is Kind.RUN else 2
    is_whole = len(parts) >= start + 2 and parts[start + 1] == _FOLDER and "" not in parts[: start + 1]
    if not is_whole or parts[start].startswith("."):  # nobody's id, but folders of stores begin so
        raise NotFound(
            f"neither a run nor a logged model has files at {path[:200]!r}",
            operation="artifacts",
            hint=f"use the artifact URI that the run tells: {SCHEME}:/<experiment id>/<run id>/{_FOLDER}",
        )
    below = "/".join(parts[start + 2 :])
    below = safe_path(below) if below else ""
    if kind is Kind.VERSION:
        return Place("", f"{parts[1]}/{parts[2]}", below, kind)
    experiment_id = _DEFAULT_ID if parts[0] == TOLD_DEFAULT_ID else parts[0]
    return Place(experiment_id, parts[start], below, kind)


def _kind_of(parts: list[str]) -> Kind:
    if parts[0] == Kind.VERSION.value:
        return Kind.VERSION
    return next((kind for kind in (Kind.MODEL, Kind.TRACE) if parts[1:2] == [kind.value]), Kind.RUN)


def place_of(uri: str) -> Place | None:
    """Return what an address means that a client sends; None for one of another kind.

    A client may name the host (``mlflow-artifacts://host:5000/…``) or the route that it stands for
    (``http://host:5000/api/2.0/mlflow-artifacts/artifacts/…``).

    Raises:
        InvalidInput: As ``split``.
        NotFound: As ``split``.
    """
    try:
        parsed = urllib.parse.urlsplit(uri)
    except ValueError:  # brackets that are no address of a host
        return None
    if parsed.scheme not in (SCHEME, "http", "https"):
        return None
    if parsed.query or parsed.fragment:
        raise _invalid(uri, "has a '?' or '#'")
    if parsed.scheme == SCHEME:
        return split(parsed.path.lstrip("/"))
    _, route, path = parsed.path.partition(f"{ROUTE}/")
    return split(path) if route else None


def safe_path(path: str) -> str:
    """Return a path without the slashes at its end, or say why none can be such.

    Raises:
        InvalidInput: It is empty, absolute, climbs, holds what no path may, or would do so when it is
            decoded once more: some proxy or store may do that.
    """
    return checked_path(_safe(path))


def _safe(path: str) -> str:
    path = path.rstrip("/") if path.strip("/") else path
    form = path
    for _ in range(_DECODINGS_MAX):
        _check(form, path)
        decoded = urllib.parse.unquote(form)
        if decoded == form:
            return path
        form = decoded
    raise _invalid(path, "is encoded too often")


def _check(form: str, path: str) -> None:
    if any(ord(letter) < ord(" ") or letter == "\x7f" for letter in form):
        raise _invalid(path, "holds a control character")
    if "\\" in form or "#" in form:
        raise _invalid(path, "holds a backslash or '#'")
    if form.startswith(("/", "file:")) or form[1:3] == ":/":
        raise _invalid(path, "is absolute")
    if any(part in (".", "..") for part in form.split("/")):
        raise _invalid(path, "has '.' or '..' as a part")


def _invalid(path: str, problem: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid path: {path[:80]!r} {problem}",  # the first two words are those of mlflow's server
        operation="artifacts",
        hint="use a relative path such as 'plots/loss.png'",
    )

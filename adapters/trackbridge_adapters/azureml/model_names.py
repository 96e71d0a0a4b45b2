"""Names of models that Azure ML does not take, as names that it takes: always the same way, and back.

A name that fits stays as it is. Any other becomes ``<readable part>--<base32 of its UTF-8>``, in lower case;
one that could be read as such already is treated so as well, so that none can be mistaken for another's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from trackbridge.errors import Rejected
from trackbridge_adapters._mlflow_rest.wire import PREFIX, Json, Wire
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.limits import problem

CHARS_MAX = 255
MARK = "--"
READABLE_CHARS_MAX = 40
_UNREADABLE = re.compile(r"[^A-Za-z0-9]+")
_ENCODED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*--(?P<code>[a-z2-7]+)")
_MODEL_ROUTES = ("registered-models/", "model-versions/")
_FILTERED = re.compile(r"name = (?P<quote>['\"])(?P<name>.*)(?P=quote)", re.DOTALL)
_NAMED = ("registered_model", "model_version")
_LISTED = ("registered_models", "model_versions")


def native_name(name: str) -> str:
    """Return the name of a model as Azure ML has it.

    Raises:
        Rejected: It is too long for that.
    """
    if problem("model.name", name) is None and model_name(name) == name:
        return name
    code = base64.b32encode(name.encode("utf-8", "surrogatepass")).decode().rstrip("=").lower()
    readable = _UNREADABLE.sub("_", name)[:READABLE_CHARS_MAX].strip("_")
    native = f"{readable or 'model'}{MARK}{code}"
    if len(native) <= CHARS_MAX and name:
        return native
    raise Rejected(
        f"{name[:60]!r} is no name that Azure ML takes, and too long to be written in one that it takes",
        adapter=ADAPTER,
        hint="use letters, digits, '-' and '_', at most 255, a letter or digit first; or a shorter name",
    )


def model_name(native: str) -> str:
    """Return the name of a model as users know it."""
    match = _ENCODED.fullmatch(native)
    if match is None:
        return native
    code = match["code"].upper()
    try:
        name = base64.b32decode(code + "=" * (-len(code) % 8)).decode("utf-8", "surrogatepass")
    except (binascii.Error, UnicodeDecodeError):
        return native
    return name if _is_made_of(native, name) else native


def _is_made_of(native: str, name: str) -> bool:
    code = base64.b32encode(name.encode("utf-8", "surrogatepass")).decode().rstrip("=").lower()
    readable = _UNREADABLE.sub("_", name)[:READABLE_CHARS_MAX].strip("_") or "model"
    return native == f"{readable}{MARK}{code}"


class NamingWire(Wire):
    """The routes of models, with names as users know them."""

    def get(self, route: str, query: Mapping[str, Any] | None = None, *, prefix: str = PREFIX) -> Json:
        """Ask a route that reads."""
        return _outward(super().get(route, _inward(route, query or {}), prefix=prefix))

    def _with_body(self, method: str, route: str, body: Mapping[str, Any], prefix: str) -> Json:
        return _outward(super()._with_body(method, route, _inward(route, body), prefix))


def _inward(route: str, asked: Mapping[str, Any]) -> Json:
    """Return what is asked with Azure ML's names."""
    told = dict(asked)
    if not route.startswith(_MODEL_ROUTES):
        return told
    if "name" in told:
        told["name"] = native_name(str(told["name"]))
    match = _FILTERED.fullmatch(str(told.get("filter") or ""))
    if match is not None:
        told["filter"] = f"name = '{native_name(match['name'])}'"
    return told


def _outward(answer: Json) -> Json:
    """Return an answer with the names that users know."""
    for key in _NAMED:
        if isinstance(answer.get(key), dict):
            _rename(answer[key])
    for key in _LISTED:
        for found in answer.get(key) or ():
            _rename(found)
    return answer


def _rename(found: Json) -> None:
    if "name" in found:
        found["name"] = model_name(str(found["name"]))
    for version in found.get("latest_versions") or ():
        _rename(version)

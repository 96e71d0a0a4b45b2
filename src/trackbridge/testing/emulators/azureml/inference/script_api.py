"""What scoring scripts import of Azure's server: ``rawhttp`` and ``AMLResponse``."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

PACKAGES = ("azureml_inference_server_http.api", "azureml.contrib.services")


class AMLRequest:
    """A request, as ``run`` of a script with ``@rawhttp`` gets it: what of Flask's request scripts use."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], data: bytes) -> None:
        self.method, self.headers, self.data = method, headers, data
        self.path = urlsplit(target).path
        self.args = {name: values[-1] for name, values in parse_qs(urlsplit(target).query).items()}

    def get_data(self, as_text: bool = False) -> Any:
        """Return the body."""
        return self.data.decode() if as_text else self.data

    def get_json(self, *, force: bool = False, silent: bool = False) -> Any:
        """Return the body's JSON."""
        try:
            return json.loads(self.data)
        except ValueError:
            if silent:
                return None
            raise

    json = property(get_json)


class AMLResponse:
    """What ``run`` may return to say status and headers itself."""

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: Mapping[str, str] | None = None,
        json_str: bool = False,
    ) -> None:
        is_json = json_str or message is None
        text = json.dumps({} if message is None else message) if is_json else message
        self.data = text if isinstance(text, bytes) else str(text).encode()
        self.status_code = status_code
        kind = "application/json" if is_json else "text/html; charset=utf-8"
        self.headers = {"Content-Type": kind, **(response_headers or {})}


class RawHttp:
    """Remembers whether ``@rawhttp`` was used."""

    is_asked = False

    @classmethod
    def rawhttp(cls, function: Callable[..., Any]) -> Callable[..., Any]:
        """Mark ``run`` as one that wants the request itself."""
        cls.is_asked = True
        return function


def install() -> None:
    """Make the modules importable that are not there."""
    for package in PACKAGES:
        parts = package.split(".")
        for depth in range(1, len(parts) + 1):
            _ensure(".".join(parts[:depth]))
        _put(f"{package}.aml_request", rawhttp=RawHttp.rawhttp, AMLRequest=AMLRequest)
        _put(f"{package}.aml_response", AMLResponse=AMLResponse)


def _ensure(name: str) -> None:
    if name in sys.modules:
        return
    try:
        is_there = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        is_there = False
    if not is_there:
        made = ModuleType(name)
        made.__path__ = []
        sys.modules[name] = made


def _put(name: str, **members: Any) -> None:
    made = ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made

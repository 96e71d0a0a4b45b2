"""An emulator of Azure ML for tests, and requests to it without any client of Azure's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import requests

from tests.support.azureml_calls import VERSION, Told
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

PACE = 0.02
"""Seconds that a second of a life cycle takes in tests."""
CALL_S = 150
"""Longer than the MLflow server may take to start: the first call of its routes waits for it."""


@contextmanager
def azureml_emulator(**settings: Any) -> Iterator[AzureMlEmulator]:
    """Run one, quick; ``mlflow=""`` starts sooner, for what needs no runs."""
    with AzureMlEmulator(**{"pace": PACE, **settings}) as emulator:
        yield emulator


def ask(
    emulator: AzureMlEmulator,
    method: str,
    path: str,
    content: Any = None,
    *,
    version: str = VERSION,
    token: str | None = None,
    **query: str,
) -> Told:
    """Send a request below the workspace, or to a path that begins with ``/``, with a token of its own."""
    place = path if path.startswith("/") else f"{emulator.scope}/{path}".rstrip("/")
    asked = {**({"api-version": version} if version else {}), **query}
    own = emulator.cloud.issuer.issue(audience=f"https://{emulator.suffixes.resource_manager}").token
    given = own if token is None else token
    answer = requests.request(
        method,
        f"{emulator.url}{place}?{urlencode(asked)}",
        json=content,
        headers={"Authorization": f"Bearer {given}"} if given else {},
        timeout=CALL_S,
    )
    return Told(answer.status_code, json.loads(answer.content) if answer.content else None, answer.headers)

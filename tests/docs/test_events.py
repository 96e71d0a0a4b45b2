"""docs/events.md: every event has a row, and the receiver's check works."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from trackbridge.domain.events import KINDS
from trackbridge.events import webhooks
from trackbridge.events.telemetry import __doc__ as telemetry_documentation

PAGE = (Path(__file__).resolve().parents[2] / "docs/events.md").read_text(encoding="utf-8")
SECRET, BODY = "correct horse", b'{"id": "\xc3\xbc"}'


def test_every_event_has_a_row() -> None:
    assert tuple(re.findall(r"^\| `(\w+\.\w+)` \|", PAGE, re.MULTILINE)) == KINDS


def test_metrics_are_those_of_the_module() -> None:
    assert telemetry_documentation is not None
    named = re.findall(r"``(trackbridge\.[a-z.]+)``  ", telemetry_documentation)
    assert len(named) == 3
    assert all(f"`{name}`" in PAGE for name in named)


@pytest.fixture
def is_genuine() -> Any:
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    return names["is_genuine"]


def headers(secret: str = SECRET, *, age_s: int = 0) -> dict[str, str]:
    timestamp = str(int(time.time()) - age_s)
    return {
        "X-Bridge-Timestamp": timestamp,
        "X-Bridge-Signature": webhooks.signature(secret, timestamp, BODY),
    }


def test_the_receiver_s_check(is_genuine: Any) -> None:
    assert is_genuine(SECRET, headers(), BODY)
    assert not is_genuine("another", headers(), BODY)
    assert not is_genuine(SECRET, headers(), BODY + b" ")
    assert not is_genuine(SECRET, headers(age_s=3600), BODY)
    assert not is_genuine(SECRET, {**headers(), "X-Bridge-Timestamp": str(int(time.time()) + 1)}, BODY)

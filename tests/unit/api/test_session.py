"""How long the end of a session waits."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import cast

import pytest

from trackbridge.api import fluent, session
from trackbridge.api.client import Client
from trackbridge.errors import ConfigError
from trackbridge.resolve.config import OriginKind


class _Hanging:
    """Delivery in a thread that never ends; what was waited for it is noted."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []
        self.was_hurried = False

    def hurry(self) -> None:
        self.was_hurried = True

    def join(self, timeout_s: float) -> None:
        self.waited_s.append(timeout_s)


@pytest.mark.parametrize(("flush_s", "rest_s"), [(10.0, 0.0), (4.0, 6.0), (12.0, 0.0)])
def test_closing_waits_as_long_as_told_and_not_once_more_for_the_thread(
    project: Path, monkeypatch: pytest.MonkeyPatch, flush_s: float, rest_s: float
) -> None:
    with fluent.start_run():
        fluent.log_metric("loss", 1.0)
    (made,) = session.all_sessions()
    hanging, now_s = _Hanging(), [1000.0]

    def flush(timeout_s: float) -> dict[str, int]:
        assert timeout_s == 10.0
        now_s[0] += flush_s
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(made, "flush", flush)
        patch.setattr(made, "_service", hanging)
        patch.setattr(made, "_service_thread", hanging)
        patch.setattr(time, "monotonic", lambda: now_s[0])
        made.close(10.0)
    assert hanging.was_hurried
    assert hanging.waited_s == [rest_s]


def test_options_of_the_uris_are_settings_of_the_session(project: Path) -> None:
    uris = "file:./a?delivery=thread&read_wait_s=7,file:./b?read_wait_s=9&strict=true"
    made = Client(uris).session
    assert [made.settings.value(name) for name in ("delivery", "read_wait_s", "strict")] == [
        "thread",
        7,
        True,
    ]
    assert made.is_strict
    assert made.settings.resolve("read_wait_s").origin.kind is OriginKind.URI
    with pytest.raises(ConfigError, match="delivery"):
        Client("file:./c?delivery=never").create_run("0")
    with pytest.raises(ConfigError, match="experiment_name"):
        Client("file:./d?experiment_name=wine").search_experiments()


@pytest.mark.parametrize(
    ("at_a_terminal", "told"), [(True, "delivering 3 to slow:; waiting up to"), (False, "")]
)
def test_a_long_wait_at_the_end_is_told_at_a_terminal(
    at_a_terminal: bool, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow:
        delivers_in_background = True

        def flush(self, timeout_s: float) -> dict[str, int]:
            return {"slow:": 3, "quick:": 0}

    monkeypatch.setattr(sys.stderr, "isatty", lambda: at_a_terminal)
    left_s = session._told_wait(cast(session.Session, Slow()), 10.0)
    assert 9 < left_s <= 10
    shown = capsys.readouterr().err
    assert told in shown
    assert bool(shown) == at_a_terminal

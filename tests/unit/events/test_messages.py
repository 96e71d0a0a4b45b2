"""Lines between processes: bounded, without secrets, whatever the values."""

from __future__ import annotations

import pytest

from trackbridge.calls.observe import CallObservation
from trackbridge.domain.events import RUN_CLOSED
from trackbridge.events.messages import (
    MESSAGE_BYTES_MAX,
    UNENCODABLE,
    Message,
    decode,
    encode,
    new_event,
    without_secrets,
)


def message(**data: object) -> Message:
    return Message(event=new_event(RUN_CLOSED, subject="r", source="file:/x", data=data, time_ms=5))


def test_there_and_back() -> None:
    sent = message(text="Ümlaut\n\0", number=1.5, nothing=None, items=[1, {"a": True}])
    line = encode(sent)
    assert line.count(b"\n") == 1
    assert decode(line) == sent


def test_a_call_there_and_back() -> None:
    sent = Message(
        call=CallObservation(adapter="local", operation="tracking.write", attempt=2, elapsed_s=0.5)
    )
    assert decode(encode(sent)) == sent


def test_what_json_does_not_know_is_named_by_its_type() -> None:
    event = decode(encode(message(thing=object(), status={1, 2}))).event
    assert event is not None
    assert event.data["thing"] == "<object>"


def test_too_much_data_is_left_out() -> None:
    line = encode(message(text="x" * MESSAGE_BYTES_MAX))
    event = decode(line).event
    assert event is not None
    assert event.subject == "r"
    assert list(event.data) == ["omitted"]
    sent = Message(event=new_event(RUN_CLOSED, subject="s" * 10**6, source="f" * 10**6, data=None, time_ms=5))
    assert len(encode(sent)) < MESSAGE_BYTES_MAX


def test_no_unicode_is_an_error_of_the_known_kind() -> None:
    with pytest.raises(UNENCODABLE):
        encode(message(text="\ud800"))


def test_secrets_are_masked_in_any_depth() -> None:
    event = new_event(
        RUN_CLOSED,
        subject="https://me:hunter2@host/x",
        source="https://host/?sig=hunter2",
        data={"api_key": "hunter2", "why": [{"text": "password=hunter2"}], "token": ["hunter2"], "acc": 0.5},
        time_ms=5,
    )
    safe = without_secrets(event)
    assert "hunter2" not in repr(safe)
    assert safe.data["acc"] == 0.5


def test_nesting_without_end_is_cut() -> None:
    nested: list[object] = ["password=hunter2"]
    for _ in range(100):
        nested = [nested]
    safe = without_secrets(new_event(RUN_CLOSED, subject="r", source="", data={"x": nested}, time_ms=5))
    assert "hunter2" not in repr(safe)

"""What travels from a program to its dispatcher, and on to the workers: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trackbridge.calls.observe import CallObservation
from trackbridge.domain.events import Event
from trackbridge.domain.ids import mint_id
from trackbridge.domain.secrets import MASK, is_secret_name, redact

MESSAGE_BYTES_MAX = 65_536
"""A larger event goes without its data."""
DEPTH_MAX = 20

UNENCODABLE = (TypeError, ValueError, OverflowError, RecursionError)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event, the observation of a call, or what did not come through before.

    ``dropped`` counts events that found the queue full, ``lost`` those that went down with a dispatcher.
    """

    event: Event | None = None
    call: CallObservation | None = None
    dropped: int = 0
    lost: int = 0


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one message. ``answer`` is what the subscriber said, ``problem`` why it failed.

    ``is_transient`` is a failure that the same event may not meet later, ``retry_after_s`` when. Without
    ``is_loaded``, the subscriber itself could not be had.
    """

    delivered: bool
    answer: str = ""
    problem: str = ""
    is_transient: bool = False
    retry_after_s: float | None = None
    is_loaded: bool = True


_encoder = msgspec.json.Encoder(enc_hook=lambda value: f"<{type(value).__name__}>")
_message_decoder = msgspec.json.Decoder(Message)
_reply_decoder = msgspec.json.Decoder(Reply)


def new_event(kind: str, *, subject: str, source: str, data: Mapping[str, Any] | None, time_ms: int) -> Event:
    """Return an event with an id of its own."""
    return Event(
        event_id=mint_id(), kind=kind, time=time_ms, source=source, subject=subject, data=dict(data or {})
    )


def encode(message: Message | Reply) -> bytes:
    """Return the line of a message; values that JSON does not know are named by their type.

    Raises:
        ValueError: And the others of UNENCODABLE, for what cannot be encoded at all.
    """
    line = _encoder.encode(message) + b"\n"
    if len(line) <= MESSAGE_BYTES_MAX or not isinstance(message, Message) or message.event is None:
        return line
    data = {"omitted": f"the data takes more than {MESSAGE_BYTES_MAX} bytes"}
    event = msgspec.structs.replace(
        message.event,
        data=data,
        subject=message.event.subject[:MAX_TEXT_CHARS],
        source=message.event.source[:MAX_TEXT_CHARS],
    )
    return _encoder.encode(Message(event=event)) + b"\n"


MAX_TEXT_CHARS = 4_000


def decode(line: bytes) -> Message:
    """Return the message of a line.

    Raises:
        DecodeError: It is none.
    """
    return _message_decoder.decode(line)


def decode_reply(line: bytes) -> Reply:
    """Return the reply of a line.

    Raises:
        DecodeError: It is none.
    """
    return _reply_decoder.decode(line)


def without_secrets(event: Event) -> Event:
    """Return the event with every recognisable secret masked, in whatever depth."""
    return msgspec.structs.replace(
        event,
        subject=redact(event.subject),
        source=redact(event.source),
        data={key: _masked(key, value, 0) for key, value in event.data.items()},
    )


def _masked(name: str, value: Any, depth: int) -> Any:
    if is_secret_name(name) and isinstance(value, str):
        return MASK
    if isinstance(value, str):
        return redact(value)
    if depth > DEPTH_MAX:
        return MASK
    if isinstance(value, dict):
        return {key: _masked(key, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(name, item, depth + 1) for item in value]
    return value

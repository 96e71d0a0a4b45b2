"""Where nothing listens on this machine."""

from __future__ import annotations

import pytest

from trackbridge.transport.loopback import refused_here


def wrapped(cause: BaseException) -> Exception:
    error = RuntimeError("of a library")
    error.__context__ = OSError("between")
    error.__context__.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://me:key@127.0.0.1:9/path?sig=a", "http://127.0.0.1:9"),
        ("https://localhost/a", "https://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.8.0.3:1", "http://127.8.0.3:1"),
        ("http://127.0.0.1.example.com:9", None),
        ("http://10.0.0.1:9", None),
        ("", None),
    ],
)
def test_only_addresses_of_this_machine(url: str, place: str | None) -> None:
    assert refused_here(wrapped(ConnectionRefusedError()), url) == place


@pytest.mark.parametrize("cause", [TimeoutError(), ConnectionResetError(), ValueError()])
def test_only_what_was_refused(cause: BaseException) -> None:
    assert refused_here(wrapped(cause), "http://127.0.0.1:9") is None

"""Which forms are taken."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from trackbridge.errors import AuthError
from trackbridge.gateway.pages.tokens import COOKIE, check_token, new_token


def request(**headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"bridge:5000"), *named]}
    )


TOKEN = "z4xiaOKF5lNNTPerK8-BrZSFjL-Zs44CCScJZvbeT6Y"
HELD = f"{COOKIE}={TOKEN}"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin", "origin": "https://behind.a.proxy"},
        {"origin": "http://bridge:5000"},
    ],
)
def test_a_form_of_our_own_pages_is_taken(headers: dict[str, str]) -> None:
    check_token(request(cookie=HELD, **headers), TOKEN)


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"cookie": HELD}, ""),
        ({"cookie": HELD}, TOKEN[::-1]),
        ({}, TOKEN),
        ({}, ""),
        ({"cookie": f"{COOKIE}="}, ""),
        ({"cookie": HELD}, "ü"),
        ({"cookie": HELD, "sec_fetch_site": "cross-site"}, TOKEN),
        ({"cookie": HELD, "sec_fetch_site": "same-site"}, TOKEN),
        ({"cookie": HELD, "origin": "http://bridge:5001"}, TOKEN),
        ({"cookie": HELD, "origin": "null"}, TOKEN),
    ],
)
def test_another_form_is_refused(headers: dict[str, str], sent: str) -> None:
    with pytest.raises(AuthError) as refused:
        check_token(request(**headers), sent)
    assert TOKEN not in str(refused.value)
    assert "open the page again" in str(refused.value.hint)


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100

"""Tokens against cross-site requests: a random cookie that a form has to repeat.

Nothing is kept on the server, so that any of several gateways takes the form of another. A cookie that
somebody planted from a neighbouring host is of no use either: the browser's own word on where the form stood
is asked first.
"""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request

from trackbridge.errors import AuthError

COOKIE = "bridge_csrf"
FIELD = "csrf"


def new_token() -> str:
    """Return a new token of 256 random bits."""
    return secrets.token_urlsafe(32)


def check_token(request: Request, sent: str) -> None:
    """Let a request pass whose form is one of our own pages.

    Raises:
        AuthError: It comes from elsewhere, or its token is not that of the cookie.
    """
    if not _is_from_here(request):
        raise _refused("the form was sent from another site")
    cookie = request.cookies.get(COOKIE, "")
    if not cookie or not hmac.compare_digest(cookie.encode(), sent.encode()):
        raise _refused("the form's token is missing or out of date")


def _is_from_here(request: Request) -> bool:
    """Ask what the browser says of the page that sent the form; if it says nothing, the token decides."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _refused(message: str) -> AuthError:
    return AuthError(
        message, operation="form", hint="open the page again and confirm there; cookies are needed"
    )

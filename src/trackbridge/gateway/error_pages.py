"""An error as a page, for who looks with a browser; programs get it as JSON, as mlflow's do."""

from __future__ import annotations

from html import escape
from http.client import responses

import msgspec

HTML = b"text/html; charset=utf-8"
HEADERS = (
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_API_PREFIXES = ("/api/", "/ajax-api/")


def is_for_a_browser(path: str, headers: dict[bytes, bytes]) -> bool:
    """Tell whether somebody looks at an address, other than those of the REST API, with a browser."""
    return b"text/html" in headers.get(b"accept", b"") and not path.startswith(_API_PREFIXES)


def error_page(status: int, answer: bytes, request_id: bytes) -> bytes:
    """Return the page that tells an error.

    Args:
        status: Of the answer, as HTTP numbers it.
        answer: The error as JSON.
        request_id: By which a failure of ours is found in the log.
    """
    from trackbridge.gateway.pages.static_files import address

    told = msgspec.json.decode(answer)
    title = escape(responses.get(status, "It did not work"))
    told_more = f"<p>This is request {request_id.decode('ascii')} in the gateway's log.</p>"
    more = told_more if status >= 500 else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>'
        f'{title} · trackbridge</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="stylesheet" href="{address("pages.css")}"></head>\n<body><main><h1>{title}</h1>'
        f'<div class="error" role="alert"><p>{escape(told["message"])}</p></div>{more}'
        '<p><a href="/experiments">To the experiments</a></p></main></body>\n</html>\n'
    ).encode("utf-8", "replace")

"""What a browser is told when there is no page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.page_sites import Site
from trackbridge.gateway.application import Application, application

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture
def served(site: Site) -> Application:
    return application(site.gateway, has_pages=True)


def ask(served: Application, path: str, accept: str) -> tuple[int, dict[str, str], str]:
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"accept", accept.encode())],
        "client": ("127.0.0.1", 4711),
        "scheme": "http",
        "server": ("127.0.0.1", 5000),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(served(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(item.get("body", b"") for item in sent[1:]).decode()


def test_a_browser_gets_a_page_without_what_it_could_run(served: Application) -> None:
    status, headers, text = ask(served, "/expe<b>riments", BROWSER)
    assert status == 404
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "<h1>Not Found</h1>" in text
    assert "/expe&lt;b&gt;riments" in text


@pytest.mark.parametrize(("path", "accept"), [("/nothing", "*/*"), ("/api/2.0/mlflow/nothing", BROWSER)])
def test_programs_get_json(served: Application, path: str, accept: str) -> None:
    status, headers, text = ask(served, path, accept)
    assert (status, headers["content-type"]) == (404, "application/json")
    assert json.loads(text)["error_code"] == "ENDPOINT_NOT_FOUND"


def test_a_fault_of_ours_is_a_page_that_names_the_request(
    served: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("password=x")

    monkeypatch.setattr(served.gateway.client, "search_experiments", fails)
    status, headers, text = ask(served, "/experiments", BROWSER)
    assert status == 500
    assert headers["x-request-id"] in text
    assert "password" not in text

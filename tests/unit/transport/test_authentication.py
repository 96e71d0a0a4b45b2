"""Tokens and passwords: what is sent, when a file is read again, and that none of them is shown."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path

import pytest
import requests

from tests.support.scripted_servers import Answer, Request, scripted_server
from trackbridge.errors import AuthError
from trackbridge.transport.authentication import BasicLogin, BearerToken, TokenFile
from trackbridge.transport.http import Authentication, HttpClient

SECRET = "hunter2Xy9"


def header_of(authentication: Authentication) -> str:
    request = authentication(requests.Request("GET", "http://host/").prepare())
    return request.headers["Authorization"]


def replace(path: Path, token: str) -> None:
    """Put a token there as those who rotate them do: by renaming."""
    other = path.with_suffix(".new")
    other.write_text(token)
    os.replace(other, path)


def test_a_bearer_token_is_sent_without_white_space_around_it():
    assert header_of(BearerToken(f" {SECRET}\n", adapter="x")) == f"Bearer {SECRET}"


def test_a_name_and_a_password_of_any_letters_are_sent():
    kind, encoded = header_of(BasicLogin("jörg", "pä:ss", adapter="x")).split()
    assert (kind, base64.b64decode(encoded).decode()) == ("Basic", "jörg:pä:ss")


@pytest.mark.parametrize("token", ["", "  ", "a\r\nX-Injected: 1", "a\nb", "tökén"])
def test_what_no_header_may_hold_is_refused(token):
    with pytest.raises(AuthError) as caught:
        BearerToken(token, adapter="x")
    assert caught.value.hint
    assert token.strip() == "" or token not in str(caught.value)


def test_a_token_file_is_read_again_when_it_was_replaced(tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")
    authentication = TokenFile(path, adapter="x")
    assert header_of(authentication) == "Bearer first"
    replace(path, "other")
    assert header_of(authentication) == "Bearer other"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"a\nb"])
def test_a_token_file_that_holds_none_is_an_error_of_credentials(content, tmp_path):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AuthError) as caught:
        header_of(TokenFile(path, adapter="x"))
    assert caught.value.hint


def test_renewing_the_same_token_does_not_help(tmp_path):
    path = tmp_path / "token"
    path.write_text("same")
    authentication = TokenFile(path, adapter="x")
    header_of(authentication)
    assert not authentication.renew()


def test_a_thread_whose_token_expired_gets_the_one_that_another_thread_has_read_already(tmp_path):
    path = tmp_path / "token"
    path.write_text("first")
    authentication = TokenFile(path, adapter="x")
    header_of(authentication)
    replace(path, "other")
    thread = threading.Thread(target=lambda: header_of(authentication))
    thread.start()
    thread.join()
    assert authentication.renew()
    assert header_of(authentication) == "Bearer other"
    assert not authentication.renew()


def test_a_refused_request_is_sent_again_with_the_token_that_was_rotated_meanwhile(tmp_path):
    path = tmp_path / "token"
    path.write_text("first")
    authentication = TokenFile(path, adapter="x")

    def answer(request: Request) -> Answer:
        if request.headers["Authorization"] == "Bearer first":
            replace(path, "other")
            thread = threading.Thread(target=lambda: header_of(authentication))
            thread.start()
            thread.join()
            return Answer(status=401)
        return Answer()

    with scripted_server() as server:
        server.answer = answer
        client = HttpClient(adapter="x", authentication=authentication)
        assert client.request("GET", server.url).status_code == 200


@pytest.mark.parametrize(
    "make", [BearerToken, lambda token, adapter: BasicLogin("me", token, adapter=adapter)]
)
def test_no_secret_is_shown(make):
    authentication = make(SECRET, adapter="x")
    assert SECRET not in repr(authentication)
    assert base64.b64encode(f"me:{SECRET}".encode()).decode() not in repr(authentication)

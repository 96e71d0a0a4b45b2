"""Tokens, proxies, hosts and origins: who is let in, and who is not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from trackbridge.errors import ConfigError, Conflict, NotFound
from trackbridge.gateway.authentication import IDENTITY, Access, AccessOptions, Identity, guarded, is_loopback
from trackbridge.gateway.routes import Scope
from trackbridge.gateway.tokens import TokenFile
from trackbridge.serving.answers import Refusal

OPEN = AccessOptions()


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "folder" / "tokens.json")


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"authorization": f"Bearer {token}".encode()}


def basic(user: str, password: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Basic " + base64.b64encode(f"{user}:{password}".encode())}


def refused(access: Access, headers: dict[bytes, bytes], client: str = "127.0.0.1") -> int:
    with pytest.raises(Refusal) as caught:
        access.identify(headers, client)
    return caught.value.status


def place(access: Access, method: str = "GET", given: Any = None, **headers: str) -> int:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    pairs += given or []
    try:
        access.check_place(method, dict(pairs), pairs)
    except Refusal as refusal:
        return refusal.status
    return 200


# The file.


def test_only_a_salted_hash_of_a_token_is_kept(tokens: TokenFile) -> None:
    first = tokens.add("ci", Scope.WRITE, now_ms=1)
    second = tokens.add("reader", Scope.READ, now_ms=2)
    assert first != second
    text = tokens.path.read_text()
    assert first.rpartition("_")[2] not in text
    assert second[16:] not in text
    assert tokens.path.stat().st_mode & 0o777 == 0o600
    kept = json.loads(text)["tokens"]
    assert kept[0]["salt"] != kept[1]["salt"]
    assert [(entry.name, entry.scope, entry.created_at) for entry in tokens.entries()] == [
        ("ci", Scope.WRITE, 1),
        ("reader", Scope.READ, 2),
    ]


def test_a_token_is_found_and_nothing_like_it(tokens: TokenFile) -> None:
    token = tokens.add("ci", Scope.WRITE, now_ms=1)
    other = tokens.add("other", Scope.READ, now_ms=1)
    found = tokens.find(token)
    assert found is not None
    assert (found.name, found.scope) == ("ci", Scope.WRITE)
    mixed = token[:16] + other[16:]
    for wrong in ("", "x", token[:-1], token + "a", token.upper(), mixed, token[:-1] + "é", "\udcff" * 9):
        assert tokens.find(wrong) is None


def test_a_removed_token_is_not_let_in_any_more_and_a_new_one_is(tokens: TokenFile) -> None:
    served = TokenFile(tokens.path)
    first = tokens.add("first", Scope.READ, now_ms=1)
    assert served.find(first) is not None
    second = tokens.add("second", Scope.READ, now_ms=2)
    assert served.find(second) is not None
    tokens.remove("first")
    assert served.find(first) is None
    assert served.find(second) is not None


def test_names_are_unique_and_known(tokens: TokenFile) -> None:
    tokens.add("ci", Scope.READ, now_ms=1)
    with pytest.raises(Conflict):
        tokens.add("ci", Scope.WRITE, now_ms=1)
    with pytest.raises(NotFound):
        tokens.remove("nobody")
    for name in ("", "a b", "x" * 65, "-x", "a\n"):
        with pytest.raises(ConfigError):
            tokens.add(name, Scope.READ, now_ms=1)


def test_a_file_that_others_may_read_is_not_used(
    tokens: TokenFile, capfd: pytest.CaptureFixture[str]
) -> None:
    token = tokens.add("ci", Scope.READ, now_ms=1)
    served = TokenFile(tokens.path)
    assert served.find(token) is not None
    os.chmod(tokens.path, 0o640)
    with pytest.raises(ConfigError, match="open to others"):
        tokens.entries()
    assert served.find(token) is None
    assert served.find(token) is None
    told = capfd.readouterr().err
    assert told.count("nobody is let in") == 1
    assert token not in told
    os.chmod(tokens.path, 0o600)
    assert served.find(token) is not None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"tokens": [{"name": "x"}]}', b"\xff"])
def test_a_file_of_something_else_lets_nobody_in(tokens: TokenFile, content: bytes) -> None:
    token = tokens.add("ci", Scope.READ, now_ms=1)
    served = TokenFile(tokens.path)
    assert served.find(token) is not None
    tokens.path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a file of tokens"):
        tokens.entries()
    assert served.find(token) is None


def test_a_file_that_goes_away_lets_nobody_in(tokens: TokenFile) -> None:
    token = tokens.add("ci", Scope.READ, now_ms=1)
    served = TokenFile(tokens.path)
    assert served.find(token) is not None
    tokens.path.unlink()
    assert served.find(token) is None


# Who it is.


def test_tokens_come_as_bearer_or_as_a_password(tokens: TokenFile) -> None:
    write = tokens.add("ci", Scope.WRITE, now_ms=1)
    read = tokens.add("reader", Scope.READ, now_ms=1)
    access = Access(AccessOptions(token_file=tokens.path))
    assert access.identify(bearer(write), "127.0.0.1") == Identity("ci", Scope.WRITE)
    assert access.identify({b"authorization": f"bearer  {read} ".encode()}, "") == Identity(
        "reader", Scope.READ
    )
    assert access.identify(basic("anybody", write), "127.0.0.1") == Identity("ci", Scope.WRITE)
    wrong = [
        {}, bearer(""), bearer("x"), basic(write, ""), basic("ci", "x"), {b"authorization": write.encode()},
        {b"authorization": b"Basic !!"}, {b"authorization": b"Basic " + base64.b64encode(b"\xff\xff")},
        {b"authorization": b"Digest " + write.encode()}, {b"authorization": b"\xff\xfe \x80"},
    ]  # fmt: skip
    for headers in wrong:
        assert refused(access, headers) == 401


def test_who_may_read_may_not_write() -> None:
    assert Identity("a", Scope.WRITE).may(Scope.READ)
    assert Identity("a", Scope.READ).may(Scope.READ)
    assert not Identity("a", Scope.READ).may(Scope.WRITE)
    assert not Identity("", None).may(Scope.READ)


def test_a_proxy_names_the_user_and_nobody_else_does(tokens: TokenFile) -> None:
    token = tokens.add("ci", Scope.WRITE, now_ms=1)
    options = AccessOptions(
        host="0.0.0.0",
        trusted_header="X-Forwarded-User",
        trusted_proxies=("10.0.0.1", "fd00::/8"),
        trusted_scope=Scope.READ,
    )
    access = Access(options)
    header = {b"x-forwarded-user": b"anna"}
    assert access.identify(header, "10.0.0.1") == Identity("anna", Scope.READ)
    assert access.identify(header, "::ffff:10.0.0.1") == Identity("anna", Scope.READ)
    assert access.identify(header, "fd00::7") == Identity("anna", Scope.READ)
    for client in ("10.0.0.2", "127.0.0.1", "", "nonsense"):
        assert refused(access, header, client) == 401
    assert refused(access, {b"x-forwarded-user": b"  "}, "10.0.0.1") == 401
    both = Access(
        AccessOptions(token_file=tokens.path, trusted_header="X-User", trusted_proxies=("10.0.0.1",))
    )
    assert both.identify(bearer(token), "10.0.0.2").name == "ci"


def test_nobody_is_asked_on_loopback_only() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert Access(AccessOptions(host=host)).identify({}, "127.0.0.1") == Identity("", Scope.WRITE)
    for host in ("0.0.0.0", "::", "10.0.0.5", "tracking.example"):
        with pytest.raises(ConfigError, match="could read and write"):
            Access(AccessOptions(host=host))
    assert Access(AccessOptions(host="0.0.0.0", is_insecure=True)).is_open
    assert not is_loopback("127.0.0.1.example")


@pytest.mark.parametrize(
    "options",
    [
        AccessOptions(trusted_header="X-User"),
        AccessOptions(trusted_proxies=("10.0.0.1",)),
        AccessOptions(trusted_header="X-User", trusted_proxies=("proxy.example",)),
        AccessOptions(token_file=Path("/nowhere/tokens.json")),
    ],
)
def test_half_an_option_is_refused(options: AccessOptions) -> None:
    with pytest.raises(ConfigError):
        Access(options)


# From where.


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5000", "127.0.0.1:5000", "[::1]:5000", "10.1.2.3"])
def test_names_of_this_server(host: str) -> None:
    assert place(Access(OPEN), host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a@evil.example",
        "evil",
        "[",
        ":80",
    ],
)
def test_names_that_somebody_else_lets_point_here(host: str) -> None:
    assert place(Access(OPEN), host=host) == 403


def test_a_host_is_no_longer_than_a_name() -> None:
    """What is known of hosts is kept."""
    assert place(Access(OPEN), host="a" * 60_000) == 400


def test_named_hosts_are_the_only_ones() -> None:
    access = Access(AccessOptions(allowed_hosts=("Tracking.example",)))
    assert place(access, host="tracking.example:443") == 200
    for host in ("localhost", "127.0.0.1", "10.0.0.1", socket.gethostname()):
        assert place(access, host=host) == 403
    assert place(Access(AccessOptions(host="0.0.0.0", is_insecure=True)), host=socket.gethostname()) == 200
    assert place(access) == 400


@pytest.mark.parametrize("name", [b"host", b"authorization", b"origin", b"content-type"])
def test_a_header_that_is_given_twice_means_nothing(name: bytes) -> None:
    assert place(Access(OPEN), given=[(name, b"localhost"), (name, b"other")], host="localhost") == 400


def test_pages_of_others_may_not_write() -> None:
    access = Access(AccessOptions(allowed_origins=("https://tracking.example/",)))
    host = "localhost:5000"
    assert place(access, "POST", host=host) == 200
    assert place(access, "POST", host=host, origin="http://localhost:5000") == 200
    assert place(access, "POST", host=host, origin="https://tracking.example") == 200
    for origin in ("http://evil.example", "http://localhost:5001", "null", "", "localhost:5000", "http://"):
        assert place(access, "POST", host=host, origin=origin) == 403
    assert place(access, "DELETE", host=host, sec_fetch_site="cross-site") == 403
    assert place(access, "POST", host=host, sec_fetch_site="same-origin") == 200
    assert place(access, "GET", host=host, origin="http://evil.example") == 200  # it sees no answer


# Endpoints of Starlette.


def test_a_guarded_endpoint_demands_its_scope() -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("in")

    def status(needed: Scope | None, scope: Scope | None) -> int:
        asked = Request({"type": "http", "headers": [], IDENTITY: Identity("a", scope)})
        try:
            return asyncio.run(guarded(endpoint, needed)(asked)).status_code
        except Refusal as refusal:
            return refusal.status

    assert status(Scope.WRITE, Scope.WRITE) == 200
    assert status(Scope.WRITE, Scope.READ) == 403
    assert status(Scope.READ, None) == 403
    assert status(None, None) == 200

"""Bounds of a client's rate and of a body's size and pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from trackbridge.gateway import limits as limits_module
from trackbridge.gateway.limits import AddressBound, BoundedBody, Limits, RateLimiter
from trackbridge.serving.answers import Refusal
from trackbridge.serving.bodies import ClientGone


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def messages(*chunks: bytes, ends: bool = True) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return a ``receive`` that gives these chunks, then waits for ever, or tells of the connection's end."""
    left = [
        {"type": "http.request", "body": chunk, "more_body": not ends or number < len(chunks) - 1}
        for number, chunk in enumerate(chunks)
    ]

    async def receive() -> dict[str, Any]:
        if left:
            return left.pop(0)
        if not ends:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive


def body(*chunks: bytes, ends: bool = True, clock: Clock | None = None, **options: Any) -> BoundedBody:
    headers = options.pop("headers", {b"transfer-encoding": b"chunked"})
    return BoundedBody(messages(*chunks, ends=ends), headers, Limits(**options), clock=clock or Clock())


def test_a_client_has_its_rate_and_two_seconds_of_it_saved() -> None:
    clock = Clock()
    limiter = RateLimiter(10.0, clock=clock)
    for _ in range(20):
        limiter.check("a")
    with pytest.raises(Refusal) as caught:
        limiter.check("a")
    assert (caught.value.status, caught.value.headers) == (429, ((b"retry-after", b"1"),))
    limiter.check("b")  # another's is another's
    clock.now = 0.5
    for _ in range(5):
        limiter.check("a")
    with pytest.raises(Refusal):
        limiter.check("a")
    clock.now = 1000.0
    for _ in range(20):
        limiter.check("a")
    with pytest.raises(Refusal):
        limiter.check("a")


def test_a_slow_rate_says_how_long_to_wait() -> None:
    limiter = RateLimiter(0.1, clock=Clock())
    limiter.check("a")
    with pytest.raises(Refusal) as caught:
        limiter.check("a")
    assert dict(caught.value.headers)[b"retry-after"] == b"10"


def test_no_rate_is_no_bound() -> None:
    limiter = RateLimiter(0.0, clock=Clock())
    for _ in range(1000):
        limiter.check("a")


def test_the_longest_silent_client_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "CLIENTS_MAX", 2)
    limiter = RateLimiter(0.5, clock=Clock())
    for client in ("a", "b", "c", "a"):  # the second "a" would be one too many, were it remembered
        limiter.check(client)
    with pytest.raises(Refusal):
        limiter.check("c")


def test_an_address_has_its_connections_and_others_have_theirs() -> None:
    bound = AddressBound(2)
    assert [bound.take("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert bound.take("192.0.2.2")
    bound.leave("192.0.2.1")  # the one that was refused
    assert not bound.take("192.0.2.1")
    for _ in range(3):
        bound.leave("192.0.2.1")
    assert bound.take("192.0.2.1")
    for address in ("192.0.2.1", "192.0.2.2"):
        bound.leave(address)
    assert len(bound) == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", ""])
def test_this_machine_and_trusted_proxies_have_no_bound_of_their_own(address: str) -> None:
    bound = AddressBound(1, free=("10.0.0.0/8",))
    assert all(bound.take(address) for _ in range(10))
    assert len(bound) == 0


def test_what_one_client_can_call_itself_is_one_address() -> None:
    bound = AddressBound(1)
    assert bound.take("2001:db8::1")
    assert not bound.take("2001:db8::ffff:2")
    assert bound.take("2001:db8:0:1::1")
    assert bound.take("192.0.2.1")
    assert not bound.take("::ffff:192.0.2.1")
    assert bound.take("fe80::1%eth0")
    assert not bound.take("fe80::1%eth1")


def test_no_bound_for_an_address() -> None:
    bound = AddressBound(0)
    assert all(bound.take("192.0.2.1") for _ in range(10))


def test_an_address_has_a_quarter_of_the_connections_unless_said_otherwise() -> None:
    assert Limits().of_one_address == 500
    assert Limits(connections_max=2).of_one_address == 1
    assert Limits(connections_per_address_max=7).of_one_address == 7
    assert Limits(connections_per_address_max=0).of_one_address == 0


def test_a_body_is_read_whole() -> None:
    read = body(b"ab", b"cd", b"e")
    assert asyncio.run(read.read()) == b"abcde"
    assert (read.size, read.has_more) == (5, False)
    assert asyncio.run(body(b"one").read()) == b"one"


def test_a_client_that_leaves_in_the_middle() -> None:
    read = body(b"ab", ends=False)
    read._receive = messages()
    with pytest.raises(ClientGone):
        asyncio.run(read.read())


def test_a_declared_body_that_is_too_large_is_refused_before_it_comes() -> None:
    read = body(b"x" * 11, headers={b"content-length": b"11"}, body_bytes_max=10)
    with pytest.raises(Refusal) as caught:
        asyncio.run(read.read())
    assert (caught.value.status, read.size) == (413, 0)


def test_a_body_that_grows_too_large() -> None:
    read = body(b"x" * 6, b"x" * 6, b"x" * 6, body_bytes_max=10)
    with pytest.raises(Refusal) as caught:
        asyncio.run(read.read())
    assert (caught.value.status, read.size, read.has_more) == (413, 12, True)
    asyncio.run(read.discard(is_asked_for=True))
    assert (read.size, read.has_more) == (18, False)


def test_what_is_refused_is_read_on_up_to_a_bound_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "DISCARDED_BYTES_MAX", 3)
    read = body(b"xx", b"xx", b"xx")
    asyncio.run(read.discard(is_asked_for=True))
    assert (read.size, read.has_more) == (4, True)
    waiting = body(b"xx")
    asyncio.run(waiting.discard(is_asked_for=False))
    assert waiting.size == 0


def test_a_client_that_falls_silent() -> None:
    read = body(b"x", ends=False, body_timeout_s=0.01)
    with pytest.raises(Refusal) as caught:
        asyncio.run(read.read())
    assert (caught.value.status, caught.value.is_last) == (408, True)


def test_a_client_that_drips() -> None:
    clock = Clock()
    read = body(b"x", b"x", ends=False, clock=clock, body_timeout_s=5.0, body_rate_min=1000)

    async def drip() -> None:
        await read()
        clock.now = 5.1  # two bytes where a hundred should be
        await read()

    with pytest.raises(Refusal) as caught:
        asyncio.run(drip())
    assert caught.value.status == 408

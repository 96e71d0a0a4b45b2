"""Requests to a deployment target, and what is known of them afterwards."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from trackbridge.domain.deployments import EndpointRevision
from trackbridge.errors import BridgeError, InvalidInput, Locked, NotFound, Rejected, Unsupported
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.deployments_base import ENDPOINT, JSON, DeploymentTests
from trackbridge.testing.contracts.tracking_base import GARBAGE_TOKENS, all_pages

REQUESTS = 400
REQUESTS_BY_PERCENT = {0: 50, 10: REQUESTS, 50: 100, 100: 50}
"""Chance makes nothing of 0 and 100; who shares otherwise than told is found at 10."""
CHUNKS_MAX = 10_000

INVOKE, TRAFFIC, MIRROR = (
    Feature.DEPLOYMENTS_INVOKE,
    Feature.DEPLOYMENTS_TRAFFIC,
    Feature.DEPLOYMENTS_MIRROR,
)
LOGS, METRICS = Feature.DEPLOYMENTS_LOGS, Feature.DEPLOYMENTS_METRICS
REVISIONS, LOCK = Feature.DEPLOYMENTS_REVISIONS, Feature.DEPLOYMENTS_LOCK


class RequestTests(DeploymentTests):
    """Serving."""

    @requires(INVOKE)
    def test_the_model_answers(self) -> None:
        self.deploy("one", endpoint="alone")
        body = self.target.invoke("alone", b'{"inputs": [[1.0], [2.0]]}', content_type=JSON)
        assert b"[1.0,1.0]" in body.replace(b" ", b"")

    @requires(INVOKE, TRAFFIC)
    @pytest.mark.parametrize("percent", REQUESTS_BY_PERCENT)
    def test_requests_are_shared(self, percent: int) -> None:
        self.pair(v1=100 - percent, v2=percent)
        count, share = REQUESTS_BY_PERCENT[percent], percent / 100
        answers = Counter(self.ask() for _ in range(count))
        assert set(answers) <= {1.0, 2.0}
        deviation = (count * share * (1 - share)) ** 0.5
        assert abs(answers[2.0] - count * share) <= 5 * deviation, "5 standard deviations of pure chance"

    @requires(INVOKE, TRAFFIC)
    def test_a_named_deployment_answers_whatever_its_share(self) -> None:
        self.pair(v1=100)
        assert [self.ask("v2"), self.ask("v1"), self.ask("v2")] == [2.0, 1.0, 2.0]

    @requires(INVOKE)
    def test_an_unknown_endpoint_is_not_found(self) -> None:
        with pytest.raises(NotFound):
            self.ask(endpoint="never-was")

    @requires(INVOKE)
    @pytest.mark.parametrize("name", ["v9", "..", "a\r\nb", ""])
    def test_an_unknown_deployment_is_not_found(self, name: str) -> None:
        self.deploy("one", endpoint="alone")
        with pytest.raises(NotFound):
            self.ask(name, "alone")

    @requires(INVOKE)
    @pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"nonsense": 1}', b"\xff\xfe", b"null"])
    def test_a_payload_that_is_none_is_rejected(self, payload: bytes) -> None:
        self.deploy("one", endpoint="alone")
        with pytest.raises(Rejected):
            self.target.invoke("alone", payload, content_type=JSON)
        assert self.ask(endpoint="alone") == 1.0

    @requires(INVOKE)
    def test_a_content_type_that_nobody_knows_is_rejected(self) -> None:
        self.deploy("one", endpoint="alone")
        with pytest.raises(Rejected):
            self.target.invoke("alone", b"1", content_type="application/x-unknown")

    @requires(INVOKE, TRAFFIC)
    def test_a_model_that_fails_says_so(self) -> None:
        self.pair()
        self.deploy("fails", "v3", traffic_percent=0)
        with pytest.raises(BridgeError) as caught:
            self.ask("v3")
        assert not isinstance(caught.value, (NotFound, Unsupported))
        self.remove("v3")

    @requires(INVOKE, TRAFFIC, MIRROR, METRICS)
    def test_a_mirror_gets_copies_and_never_answers(self) -> None:
        self.pair()
        self.share(v1=100, mirror={"v2": 50})
        before = self.metrics("v2")
        assert {self.ask() for _ in range(100)} == {1.0}
        self.wait_until(lambda: self.metrics("v2").mirrored > before.mirrored, "the count of the copies")
        self.wait_until(lambda: self.metrics("v2").mirrored >= before.mirrored + 20, "most of the copies")
        assert self.metrics("v2").mirrored <= before.mirrored + 80
        assert self.metrics("v2").requests == before.requests, "copies are counted apart"
        self.share(v1=100)

    @requires(INVOKE, TRAFFIC, MIRROR)
    def test_a_mirror_that_fails_is_not_seen(self) -> None:
        self.pair()
        self.deploy("fails", "v2", traffic_percent=0, mirror_percent=self.mirror_percent_max)
        assert self.deployment("v2").mirror_percent == self.mirror_percent_max
        assert {self.ask() for _ in range(50)} == {1.0}
        self.remove("v2")
        assert {self.ask() for _ in range(5)} == {1.0}

    # Logs.

    @requires(LOGS)
    def test_logs_are_read_in_pieces(self) -> None:
        self.deploy("one", endpoint="alone")
        pieces: list[str] = []
        cursor = ""
        for _ in range(CHUNKS_MAX):
            chunk = self.target.read_logs("alone", "v1", cursor=cursor)
            assert not chunk.done, "the deployment is still there"
            if chunk.cursor == cursor or (not chunk.text and pieces):
                break
            pieces.append(chunk.text)
            cursor = chunk.cursor
        again = self.target.read_logs("alone", "v1", cursor="")
        assert "".join(pieces).startswith(again.text)

    @requires(LOGS)
    def test_logs_end_with_the_deployment(self) -> None:
        spec = self.spec("broken", endpoint="logged")
        self.apply(self.plan(spec)[:-1], spec)
        self.delete("logged")
        text, cursor = "", ""
        for _ in range(CHUNKS_MAX):
            chunk = self.target.read_logs("logged", "v1", cursor=cursor)
            text, cursor = text + chunk.text, chunk.cursor
            if chunk.done:
                break
        assert chunk.done
        assert text

    @requires(LOGS)
    @pytest.mark.parametrize(("endpoint", "deployment"), [("never-was", "v1"), ("alone", "v9"), ("..", "..")])
    def test_logs_of_what_never_was_are_not_found(self, endpoint: str, deployment: str) -> None:
        self.deploy("one", endpoint="alone")
        with pytest.raises(NotFound):
            self.target.read_logs(endpoint, deployment)

    @requires(LOGS)
    @pytest.mark.parametrize("cursor", [token for token in GARBAGE_TOKENS if token])
    def test_a_cursor_that_was_not_given_out_is_refused(self, cursor: str) -> None:
        self.deploy("one", endpoint="alone")
        with pytest.raises(InvalidInput):
            self.target.read_logs("alone", "v1", cursor=cursor)

    # Metrics.

    @requires(METRICS, INVOKE, TRAFFIC)
    def test_requests_are_counted(self) -> None:
        self.pair()
        self.deploy("one", "counted", traffic_percent=0)  # of v1, earlier requests may still be on their way
        self.share(counted=100)
        before = self.metrics("counted")
        for _ in range(20):
            self.ask()
        with pytest.raises(Rejected):
            self.target.invoke(ENDPOINT, b"{", content_type=JSON)
        self.wait_until(lambda: self.metrics("counted").requests >= before.requests + 21, "the telemetry")
        found = self.metrics("counted")
        assert found.requests == before.requests + 21
        assert (found.refused, found.errors) == (before.refused + 1, before.errors)
        assert found.latency_p50_ms is not None
        assert found.latency_p95_ms is not None
        assert found.latency_p99_ms is not None
        assert 0 < found.latency_p50_ms <= found.latency_p95_ms <= found.latency_p99_ms
        self.share(v1=100)
        self.remove("counted")

    @requires(METRICS, INVOKE, TRAFFIC)
    def test_failures_are_counted(self) -> None:
        self.pair()
        self.deploy("fails", "v3", traffic_percent=0)
        before = self.metrics("v3")
        for _ in range(3):
            with pytest.raises(BridgeError):
                self.ask("v3")
        self.wait_until(lambda: self.metrics("v3").requests >= before.requests + 3, "the telemetry")
        found = self.metrics("v3")
        failed = found.errors + found.refused - before.errors - before.refused
        assert (found.requests - before.requests, failed) == (3, 3)
        self.remove("v3")

    @requires(METRICS)
    def test_without_requests_there_are_no_latencies(self) -> None:
        self.deploy("one", endpoint="unasked")
        (found,) = self.target.read_metrics("unasked", window_s=60)
        assert (found.requests, found.errors, found.latency_p50_ms) == (0, 0, None)
        self.delete("unasked")

    @requires(METRICS)
    def test_metrics_of_what_never_was_are_not_found(self) -> None:
        with pytest.raises(NotFound):
            self.target.read_metrics("never-was", window_s=60)

    # Revisions and the lock.

    @requires(REVISIONS)
    def test_revisions_are_numbered_and_listed_newest_first(self) -> None:
        one, two = self.spec("one"), self.spec("two", "v2")
        saved = [
            self.target.save_revision(self.revision("kept", *specs)) for specs in ((), (one,), (one, two))
        ]
        assert [revision.number for revision in saved] == [1, 2, 3]
        assert [revision.deployments for revision in saved] == [(), (one,), (one, two)]
        for size in (1, 2, 1000):
            listed = all_pages(
                lambda token, size=size: self.target.list_revisions("kept", max_results=size, token=token),  # type: ignore[misc]
                size=size,
            )
            assert listed == saved[::-1]

    @requires(REVISIONS)
    def test_the_same_state_twice_in_a_row_is_one_revision(self) -> None:
        one = self.spec("one")
        first = self.target.save_revision(self.revision("twice", one))
        assert self.target.save_revision(self.revision("twice", one)) == first
        later = msgspec.structs.replace(first, operation="rollback", why="slower", time=first.time + 1)
        assert self.target.save_revision(msgspec.structs.replace(later, number=0)) == later
        assert list(self.target.list_revisions("twice")) == [later]
        other = self.target.save_revision(self.revision("twice"))
        assert self.target.save_revision(self.revision("twice", one)).number == other.number + 1

    @requires(REVISIONS)
    def test_revisions_outlive_the_endpoint(self) -> None:
        self.apply(self.plan(self.spec("one", endpoint="outlived"))[:1])
        saved = self.target.save_revision(self.revision("outlived"))
        self.delete("outlived")
        assert list(self.target.list_revisions("outlived")) == [saved]

    @requires(REVISIONS)
    def test_there_may_be_no_revision(self) -> None:
        assert list(self.target.list_revisions("never-was")) == []

    @requires(REVISIONS)
    @pytest.mark.parametrize("token", GARBAGE_TOKENS)
    def test_a_token_that_was_not_given_out_is_refused(self, token: str) -> None:
        self.target.save_revision(self.revision("tokens", self.spec("one")))
        with pytest.raises(InvalidInput):
            self.target.list_revisions("tokens", token=token)

    def revision(self, endpoint: str, *deployments: object) -> EndpointRevision:
        """Return a revision to save."""
        return EndpointRevision(
            endpoint=endpoint,
            deployments=deployments,  # type: ignore[arg-type]
            operation="deploy",
            user="somebody",
            time=1_700_000_000_000,
        )

    @requires(LOCK)
    def test_one_of_two_gets_the_lock(self) -> None:
        other = self.open_again()
        with self.target.lock("locked"):
            with pytest.raises(Locked) as caught:
                self.target_of(other).lock("locked")
            assert "since" in str(caught.value)
            with self.target_of(other).lock("another"):
                pass
        with self.target_of(other).lock("locked"):
            pass
        other.close()

    @requires(LOCK)
    def test_the_lock_is_held_from_the_call_on(self) -> None:
        held = self.target.lock("locked")
        with pytest.raises(Locked):
            self.target.lock("locked")
        with held:
            pass

    @requires(LOCK)
    def test_the_lock_ends_with_the_block_however_that_ends(self) -> None:
        with pytest.raises(KeyError), self.target.lock("locked"):
            raise KeyError("anything")
        with self.target.lock("locked"):
            pass

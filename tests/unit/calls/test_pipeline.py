"""The order of the pipeline, and what it makes of answers and errors."""

import inspect
import threading

import pytest

from trackbridge.calls import CallPolicy, wrap, wrap_adapter
from trackbridge.calls.call import PORTS, READS, operations_of
from trackbridge.errors import (
    BridgeError,
    Conflict,
    Exhausted,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
    Unsupported,
)
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import SUPPORTED, Capabilities, Feature
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.tracking import TrackingStore


class Script:
    """A tracking store that gives prepared answers, one a call, and remembers who asked."""

    folder = "an attribute of its own"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.close_count = 0

    def _answer(self, *arguments):
        self.calls.append(arguments)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def get_run(self, run_id):
        return self._answer(run_id)

    def write(self, batch):
        return self._answer(batch)

    def close_run(self, run_id, *, status, end_time):
        return self._answer(run_id, status, end_time)

    def metric_history(self, run_id, key):
        return self._answer(run_id, key)

    def put_trace(self, trace):
        return self._answer(trace)

    def own_method(self):
        return "own"


@pytest.fixture
def piped(capabilities, world):
    def build(store, **options):
        return wrap(store, TrackingStore, capabilities=capabilities, world=world, **options)

    return build


def test_a_call_passes_with_its_arguments(piped):
    store = Script("run", None)
    wrapped = piped(store)
    assert wrapped.get_run("r") == "run"
    wrapped.close_run("r", status="FINISHED", end_time=1)
    assert store.calls == [("r",), ("r", "FINISHED", 1)]


def test_only_transient_errors_are_repeated(piped, clock):
    store = Script(Unavailable("down"), TimedOut("late", ambiguous=True), RateLimited("slow"), "run")
    assert piped(store).get_run("r") == "run"
    assert len(store.calls) == 4
    assert len(clock.waits) >= 3


@pytest.mark.parametrize(
    "error", [NotFound("x"), Rejected("x"), Conflict("x"), Unsupported("x"), BridgeError("x")]
)
def test_other_errors_of_ours_pass_at_once_and_say_where(error, piped):
    store = Script(error)
    with pytest.raises(type(error)) as caught:
        piped(store).get_run("r")
    assert caught.value is error
    assert (error.adapter, error.operation) == ("fake", "tracking.get_run")
    assert len(store.calls) == 1


def test_what_an_adapter_says_about_the_place_is_kept(piped):
    with pytest.raises(NotFound) as caught:
        piped(Script(NotFound("x", adapter="a", operation="o"))).get_run("r")
    assert (caught.value.adapter, caught.value.operation) == ("a", "o")


def test_a_foreign_error_is_a_bug_report_and_never_repeated(piped):
    store = Script(KeyError("https://user:hunter2Xy9@host"), "never")
    with pytest.raises(BridgeError, match="raised KeyError") as caught:
        piped(store).get_run("r")
    assert type(caught.value) is BridgeError
    assert caught.value.operation == "tracking.get_run"
    assert "bug of the adapter fake" in caught.value.hint
    assert isinstance(caught.value.__cause__, KeyError)
    assert "hunter2Xy9" not in str(caught.value)
    assert len(store.calls) == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_pass_unchanged(interrupt, piped):
    with pytest.raises(interrupt):
        piped(Script(interrupt())).get_run("r")


def test_an_undeclared_feature_is_refused_before_the_adapter_is_asked(piped):
    store, seen = Script(), []
    with pytest.raises(Unsupported, match="it has no traces"):
        piped(store, observer=seen.append).put_trace("trace")
    assert store.calls == []
    assert [(one.attempt, one.error) for one in seen] == [(0, "Unsupported")]


def test_a_declared_feature_passes(piped):
    assert piped(Script("history")).metric_history("r", "loss") == "history"


def test_a_method_that_the_adapter_lacks_is_unsupported(piped):
    with pytest.raises(Unsupported, match=r"fake has no tracking\.list_runs"):
        piped(Script()).list_runs("e")


def test_the_proxy_looks_like_the_object(piped):
    store = Script()
    wrapped = piped(store)
    assert isinstance(wrapped, Script)
    assert wrapped.folder == "an attribute of its own"
    assert wrapped.own_method() == "own"
    assert inspect.signature(wrapped.get_run) == inspect.signature(TrackingStore.get_run)
    assert "Script" in repr(wrapped)
    with pytest.raises(AttributeError):
        _ = wrapped.nothing_of_that_name


def test_every_attempt_is_observed(piped, clock):
    seen = []
    store = Script(
        lambda: clock.wait(2.0) or (_ for _ in ()).throw(RateLimited("slow", retry_after_s=9.0)),
        lambda: clock.wait(1.0) or "run",
    )
    assert piped(store, observer=seen.append).get_run("r") == "run"
    first, second = seen
    assert (first.adapter, first.operation, first.attempt) == ("fake", "tracking.get_run", 1)
    assert (first.error, first.retry_after_s, first.elapsed_s) == ("RateLimited", 9.0, 2.0)
    assert (second.attempt, second.error, second.retry_after_s) == (2, None, None)
    assert second.elapsed_s == 1.0


def test_the_order_is_observe_check_retry_throttle_timeout_adapter(capabilities, world, clock, monkeypatch):
    from trackbridge.calls import pipeline

    steps = []

    def spy(owner, name, step):
        original = getattr(owner, name)

        def noted(*arguments, **options):
            steps.append(step)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, noted)

    spy(pipeline, "Observation", "observe")
    spy(pipeline, "_check_capability", "capability check")
    spy(pipeline, "_retry", "retry")
    spy(pipeline.Throttle, "take_turn", "throttle")
    spy(pipeline.Timeouts, "run", "timeout")
    store = Script(
        lambda: steps.append("adapter") or (_ for _ in ()).throw(Unavailable("x")),
        lambda: steps.append("adapter"),
    )
    wrap(store, TrackingStore, capabilities=capabilities, world=world).get_run("r")
    attempt = ["throttle", "timeout", "adapter"]
    assert steps == ["observe", "capability check", "retry", *attempt, *attempt]


def test_an_observer_with_a_bug_is_not_hidden_and_not_repeated(piped):
    def broken(_):
        raise ZeroDivisionError

    store = Script("run")
    with pytest.raises(ZeroDivisionError):
        piped(store, observer=broken).get_run("r")
    assert len(store.calls) == 1


class FakeAdapter:
    registry = jobs = deployments = None

    def __init__(self, capabilities, tracking):
        self._capabilities = capabilities
        self.tracking = tracking
        self.artifacts = None
        self.closed = 0

    def capabilities(self):
        return self._capabilities

    def check(self, *, write=False):
        return ("finding", write)

    def close(self):
        self.closed += 1


def test_an_adapter_is_wrapped_with_all_its_ports(capabilities, world):
    adapter = FakeAdapter(capabilities, Script(Unavailable("x"), "run"))
    wrapped = wrap_adapter(adapter, world=world)
    assert wrapped.tracking.get_run("r") == "run"
    assert wrapped.artifacts is None
    assert wrapped.jobs is None
    assert wrapped.capabilities() is capabilities
    assert wrapped.check(write=True) == ("finding", True)
    wrapped.close()
    wrapped.close()
    assert adapter.closed == 2


def test_closing_ends_a_wait_between_attempts(capabilities):
    adapter = FakeAdapter(capabilities, Script(*[Unavailable("down")] * 9))
    waiting = threading.Event()
    wrapped = wrap_adapter(
        adapter,
        CallPolicy(backoff_s=10**6, backoff_s_max=10**6, elapsed_s_max=10**9),
        observer=lambda _: waiting.set(),
    )
    errors = []

    def call():
        try:
            wrapped.tracking.get_run("r")
        except Exhausted as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert waiting.wait(30)
    wrapped.close()
    thread.join(30)
    assert not thread.is_alive()
    assert "closed meanwhile" in str(errors[0])


def test_every_method_of_every_port_is_known_as_read_or_write():
    writes = {
        "artifacts": {"put", "delete", "put_resumable"},
        "tracking": {
            "ensure_experiment",
            "open_run",
            "write",
            "close_run",
            "delete_run",
            "restore_run",
            "delete_experiment",
            "restore_experiment",
            "put_logged_model",
            "link_models",
            "put_trace",
        },
        "registry": {
            "ensure_model",
            "create_version",
            "set_tags",
            "set_description",
            "set_alias",
            "set_stage",
            "set_approval",
            "delete_version",
            "delete_model",
        },
        "jobs": {"submit", "cancel"},
        "deployments": {"apply", "delete", "invoke", "save_revision", "lock", "start_batch"},
    }
    written = {f"{port}.{name}" for port, names in writes.items() for name in names}
    known = {f"{name}.{method}" for port, name in PORTS.items() for method in operations_of(port)}
    assert READS | written == known
    assert not READS & written


def test_reads_of_other_ports_are_named_by_port(capabilities, world):
    class Store:
        def stat(self, run_id, path):
            raise NotFound("x")

    with pytest.raises(NotFound) as caught:
        wrap(Store(), ArtifactStore, capabilities=capabilities, world=world).stat("r", "p")
    assert caught.value.operation == "artifacts.stat"


def test_a_request_to_a_model_is_never_sent_twice(world):
    class Endpoint:
        asked = 0

        def observe(self, endpoint):
            raise Unavailable("down")

        def invoke(self, endpoint, payload, *, content_type, deployment=None):
            self.asked += 1
            raise TimedOut("no answer", ambiguous=True)

    features = {Feature.DEPLOYMENTS_INVOKE: SUPPORTED}
    port = Endpoint()
    target = wrap(
        port, DeploymentTarget, capabilities=Capabilities(adapter="fake", features=features), world=world
    )
    with pytest.raises(TimedOut):
        target.invoke("wine", b"{}", content_type="application/json")
    assert port.asked == 1
    with pytest.raises(Exhausted, match="6 attempts"):
        target.observe("wine")

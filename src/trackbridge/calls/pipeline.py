"""Every call of a port goes through ``perform``; the proxies here only lead there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

from trackbridge.calls.call import PORTS, Attempt, Operation, operations_of
from trackbridge.calls.observe import Observation, Observer
from trackbridge.calls.places import Places
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.throttle import Throttle
from trackbridge.calls.timeout import Timeouts
from trackbridge.calls.world import World
from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError, Unsupported
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Capabilities, feature_of
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore

Port = TypeVar("Port")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What the calls to one backend share: one pace, its places, one set of threads, one observer."""

    capabilities: Capabilities
    policy: CallPolicy
    observer: Observer | None
    world: World
    throttle: Throttle
    places: Places
    timeouts: Timeouts

    @classmethod
    def build(
        cls,
        capabilities: Capabilities,
        policy: CallPolicy | None = None,
        *,
        observer: Observer | None = None,
        world: World | None = None,
    ) -> Pipeline:
        """Return a pipeline with a pace and threads of its own."""
        policy, world = policy or CallPolicy(), world or World()
        throttle = Throttle(world, rate_per_s_min=policy.rate_per_s_min)
        return cls(capabilities, policy, observer, world, throttle, Places(world), Timeouts())


def perform(operation: Operation, attempt: Attempt, pipeline: Pipeline) -> Any:
    """Make one call: observe -> capability check -> retry -> throttle -> a place -> timeout -> the adapter.

    Raises:
        Unsupported: The backend does not declare the feature that the method needs.
        Exhausted: Every attempt that the policy allows failed with a ``Transient`` error.
        BridgeError: What the adapter raised; anything else that it raised, as a ``BridgeError`` that says so.
    """
    world, policy, throttle = pipeline.world, pipeline.policy, pipeline.throttle
    deadline_s = world.clock_s() + policy.elapsed_s_max
    observation = Observation(operation, pipeline.observer, world)

    _check_capability(operation, pipeline.capabilities, observation)

    def one_attempt() -> Any:
        throttle.take_turn(deadline_s)
        try:
            with pipeline.places.taken(deadline_s):
                return pipeline.timeouts.run(attempt, operation, _time_left_s(policy, world, deadline_s))
        except BridgeError as error:
            throttle.learn(error)
            _complete(error, operation)
            raise
        except Exception as error:
            raise _translated(error, operation) from error

    if not operation.is_repeatable:
        return observation.watch(one_attempt)
    return _retry(lambda: observation.watch(one_attempt), operation, policy, world, deadline_s)


def wrap(
    port_object: Port,
    port: type[Any],
    *,
    capabilities: Capabilities,
    policy: CallPolicy | None = None,
    observer: Observer | None = None,
    world: World | None = None,
) -> Port:
    """Return an object whose methods of the port go through a pipeline of its own; all else is the object's.

    A method that the object does not have raises ``Unsupported``. ``isinstance`` answers as for the object.
    """
    pipeline = Pipeline.build(capabilities, policy, observer=observer, world=world)
    return cast("Port", _PortProxy(port_object, port, pipeline))


def wrap_adapter(
    adapter: Adapter,
    policy: CallPolicy | None = None,
    *,
    observer: Observer | None = None,
    world: World | None = None,
) -> Adapter:
    """Return an adapter whose ports all go through one pipeline. Closing it ends every wait at once."""
    return WrappedAdapter(
        adapter, Pipeline.build(adapter.capabilities(), policy, observer=observer, world=world)
    )


class WrappedAdapter:
    """An adapter with its ports wrapped; ``check`` is left alone, since a sick backend is its subject."""

    tracking: TrackingStore | None
    artifacts: ArtifactStore | None
    registry: ModelRegistry | None
    jobs: JobBackend | None
    deployments: DeploymentTarget | None

    def __init__(self, adapter: Adapter, pipeline: Pipeline) -> None:
        self._adapter = adapter
        self._pipeline = pipeline
        for port, name in PORTS.items():
            port_object = getattr(adapter, name)
            setattr(self, name, None if port_object is None else _PortProxy(port_object, port, pipeline))

    def capabilities(self) -> Capabilities:
        """Return what the backend declares."""
        return self._pipeline.capabilities

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Look whether the backend can be used."""
        return self._adapter.check(write=write)

    def close(self) -> None:
        """End every wait between attempts, then close the adapter. Closing twice succeeds."""
        self._pipeline.world.closing.set()
        self._pipeline.timeouts.close()
        self._adapter.close()


class _PortProxy:
    """Stands for a port object. Its methods are made once, so that a call costs no look-up of its own."""

    def __init__(self, target: object, port: type[Any], pipeline: Pipeline) -> None:
        self._target = target
        for name in operations_of(port):
            operation = Operation(
                pipeline.capabilities.adapter,
                f"{PORTS.get(port, port.__name__)}.{name}",
                feature_of(port, name),
            )
            setattr(self, name, _method(target, name, getattr(port, name), operation, pipeline))

    def __getattr__(self, name: str) -> Any:
        if name == "_target":  # a copy that has no state yet
            raise AttributeError(name)
        return getattr(self._target, name)

    def __repr__(self) -> str:
        return f"<calls to {self._target!r}>"

    @property
    def __class__(self) -> type[Any]:
        return type(self._target)

    @__class__.setter
    def __class__(self, _: type[Any]) -> None:
        raise TypeError("the class of a wrapped port cannot be changed")


def _method(
    target: object, name: str, declared: Callable[..., Any], operation: Operation, pipeline: Pipeline
) -> Callable[..., Any]:
    @wraps(declared)
    def call(*arguments: Any, **options: Any) -> Any:
        method = getattr(target, name, None) or _absent(operation)
        return perform(operation, lambda: method(*arguments, **options), pipeline)

    return call


def _absent(operation: Operation) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise Unsupported(
            f"{operation.adapter} has no {operation.name}",
            adapter=operation.adapter,
            operation=operation.name,
        )

    return refuse


def _check_capability(operation: Operation, capabilities: Capabilities, observation: Observation) -> None:
    if operation.feature is None:
        return
    try:
        capabilities.require(operation.feature, operation=operation.name)
    except Unsupported as error:
        observation.refused(error)
        raise


def _retry(
    attempt: Attempt, operation: Operation, policy: CallPolicy, world: World, deadline_s: float
) -> Any:
    from trackbridge.calls.retry import retry_transient  # tenacity costs 28 ms

    return retry_transient(attempt, operation, policy, world, deadline_s)


def _time_left_s(policy: CallPolicy, world: World, deadline_s: float) -> float | None:
    return None if policy.timeout_s is None else min(policy.timeout_s, deadline_s - world.clock_s())


def _complete(error: BridgeError, operation: Operation) -> None:
    """Say where an error comes from, where the adapter did not."""
    error.adapter = error.adapter or operation.adapter
    error.operation = error.operation or operation.name


def _translated(error: Exception, operation: Operation) -> BridgeError:
    return BridgeError(
        f"the adapter raised {type(error).__name__}: {shown(str(error))}",
        adapter=operation.adapter,
        operation=operation.name,
        hint=f"this is a bug of the adapter {operation.adapter}: please report it with the traceback",
    )

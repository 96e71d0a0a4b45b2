"""What the suites share: binding to an adapter, and the rule for features that are not declared."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

from trackbridge.errors import Unsupported
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Capabilities, Feature, Limits

Test = TypeVar("Test", bound=Callable[..., None])


class Contract:
    """Base of the suites. ``adapter`` is the one fixture that a binding gives."""

    opened: Adapter
    capabilities: Capabilities

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Refuse to replace a contract's test: a binding that needs that does not fulfil the contract."""
        super().__init_subclass__(**arguments)
        for name in vars(cls):
            owner = next((base for base in cls.__mro__[1:] if name in vars(base)), None)
            if name.startswith("test") and owner is not None:
                raise TypeError(
                    f"{cls.__name__}.{name} would replace the test of {owner.__name__}; rename it"
                )

    @pytest.fixture
    def adapter(self) -> Adapter:
        """Return an opened, empty adapter."""
        raise TypeError(f"{type(self).__name__} needs a fixture 'adapter' that returns an opened adapter")

    @pytest.fixture(autouse=True)
    def _bind(self, adapter: Adapter) -> Iterator[None]:
        self.opened = adapter
        self.capabilities = adapter.capabilities()
        yield
        adapter.close()

    @property
    def limits(self) -> Limits:
        """The declared limits."""
        return self.capabilities.limits

    def declared_reason(self, feature: Feature) -> str:
        """Return why a feature is not there; fail when the adapter does not say."""
        capability = self.capabilities.features.get(feature)
        assert capability is not None, f"{feature.value} is neither supported nor declared absent"
        assert capability.reason, f"{feature.value} is declared absent without a reason"
        return capability.reason


def requires(*features: Feature) -> Callable[[Test], Test]:
    """Mark a contract's test as needing features.

    All declared: the test must pass. Otherwise it must end in ``Unsupported`` with the declared reason,
    raised by the port call that needs the feature; it is then an expected failure with that reason.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(self: Contract, *arguments: Any, **named: Any) -> None:
            missing = [feature for feature in features if not self.capabilities.supports(feature)]
            if not missing:
                test(self, *arguments, **named)
                return
            reasons = [self.declared_reason(feature) for feature in missing]
            refused = _refusal(lambda: test(self, *arguments, **named))
            if refused is not None:
                assert any(reason in refused for reason in reasons), (
                    f"Unsupported does not give the declared reason {reasons}: {refused}"
                )
                pytest.xfail("; ".join(reasons))
            names = ", ".join(feature.value for feature in missing)
            pytest.fail(f"{names} works although it is not declared; declare it")

        return run  # type: ignore[return-value]

    return decorate


def each(argument: str, cases: Iterable[object]) -> Callable[[Test], Test]:
    """Have one test ask the same of every case, in one state of the backend; all that fail are told.

    For cases that do not disturb each other: an empty backend for each of them costs more than the question.
    """
    asked = tuple(cases)

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(self: Contract, *arguments: Any, **named: Any) -> None:
            failed: list[tuple[object, Exception]] = []
            for case in asked:
                try:
                    test(self, *arguments, **named, **{argument: case})
                except Unsupported:
                    raise
                except Exception as error:
                    failed.append((case, error))
            if failed:
                told = "\n".join(f"{argument} {case!r:.200}: {error!r}" for case, error in failed)
                raise AssertionError(f"{len(failed)} of {len(asked)} failed:\n{told}") from failed[0][1]

        whole = inspect.signature(test)
        others = [given for given in whole.parameters.values() if given.name != argument]
        run.__signature__ = whole.replace(parameters=others)  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


def _refusal(call: Callable[[], None]) -> str | None:
    try:
        call()
    except Unsupported as error:
        return str(error)
    return None

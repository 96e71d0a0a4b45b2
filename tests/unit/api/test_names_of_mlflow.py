"""What mlflow's users look for in the package, and do not find there, is named."""

from __future__ import annotations

import pytest

import trackbridge as tb


@pytest.mark.parametrize("name", ["create_experiment", "get_experiment_by_name", "delete_run"])
def test_a_method_of_the_client_is_named(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"it is a method here: trackbridge\.Client\(\)\.{name}"):
        getattr(tb, name)


def test_the_client_is_named() -> None:
    with pytest.raises(AttributeError, match=r"it is trackbridge\.Client here"):
        _ = tb.MlflowClient


@pytest.mark.parametrize("name", ["no_such_thing", "__path_of_somebody__", "_private"])
def test_what_is_nowhere_is_not_explained(name: str) -> None:
    with pytest.raises(AttributeError) as raised:
        getattr(tb, name)
    assert str(raised.value) == f"module 'trackbridge' has no attribute {name!r}"

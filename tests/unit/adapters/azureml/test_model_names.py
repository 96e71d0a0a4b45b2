"""Names of models that Azure ML does not take, there and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trackbridge.errors import Rejected
from trackbridge_adapters.azureml.limits import problem
from trackbridge_adapters.azureml.model_names import model_name, native_name


@given(st.text(min_size=1, max_size=60))
@example("Ünïcode 漢字")
@example('it\'s a "model"')
@example("wine--mfrgg")
@example("_begins")
@example("a.b")
def test_every_name_is_taken_and_comes_back(name: str) -> None:
    native = native_name(name)
    assert problem("model.name", native) is None
    assert model_name(native) == name


@pytest.mark.parametrize("name", ["wine", "Wine_2-b", "a" * 255, "a--b", "x--1"])
def test_a_name_that_fits_stays_as_it_is(name: str) -> None:
    assert native_name(name) == name
    assert model_name(name) == name


@given(st.text(alphabet="ab-_2", min_size=1, max_size=20), st.text(alphabet="ab-_2", min_size=1, max_size=20))
def test_no_two_names_become_one(one: str, other: str) -> None:
    assert (native_name(one) == native_name(other)) == (one == other)


@pytest.mark.parametrize("native", ["wine--mfrgh", "other--mfrgg", "wine--", "--mfrgg", "wine--MFRGG"])
def test_what_others_have_named_so_is_shown_as_it_is(native: str) -> None:
    assert model_name(native) == native


def test_the_example_of_the_documentation() -> None:
    text = (Path(__file__).parents[4] / "docs/azureml.md").read_text(encoding="utf-8")
    assert f"`wine (red)`, is known to Azure ML as `{native_name('wine (red)')}`" in text


@pytest.mark.parametrize("name", ["", "漢" * 200, "a b" * 100])
def test_a_name_that_cannot_be_written_is_refused(name: str) -> None:
    with pytest.raises(Rejected, match="Azure ML takes"):
        native_name(name)

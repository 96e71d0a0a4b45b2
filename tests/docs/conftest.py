"""What pages that are run need: the emulators, one of each for all pages of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.snippet_runs import Place, run_page
from tests.docs.snippets import read_page
from tests.support.azureml_emulators import azureml_emulator
from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.support.warm_python import warm_python

Variables = Callable[[str], dict[str, str]]
IMPORTED = (
    *("sklearn.datasets", "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing", "pandas"),
    *("mlflow.sklearn", "mlflow.pyfunc"),
)
"""What takes most of the seconds of a page's programs, done once for all pages."""


@pytest.fixture(scope="module")
def emulators() -> Iterator[dict[str, object]]:
    """The emulators that pages have asked for so far, one of each for all pages."""
    with ExitStack() as stack:
        yield {"stack": stack}


@pytest.fixture
def variables_of(emulators: dict[str, object]) -> Iterator[Variables]:
    """What a page's programs find an emulator by; empty again after the page."""
    used = []

    def begun(name: str) -> dict[str, str]:
        stack = emulators["stack"]
        assert isinstance(stack, ExitStack)
        if name not in emulators:
            is_azure = name == "azureml"
            entered = azureml_emulator(leads_on=True) if is_azure else sagemaker_emulator()
            emulators[name] = stack.enter_context(entered)  # type: ignore[arg-type]
        emulator: object = emulators[name]
        used.append(emulator)
        if name == "azureml":
            emulator.wait_for_mlflow()  # type: ignore[attr-defined]
            return dict(emulator.environment())  # type: ignore[attr-defined]
        return {**emulator.environment(), **emulator.prepare_jobs()}  # type: ignore[attr-defined]

    yield begun
    for emulator in used:
        emulator.raise_failures()  # type: ignore[attr-defined]
        emulator.reset()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An interpreter for programs that need not import what they train with."""
    with warm_python(tmp_path_factory.mktemp("warm"), IMPORTED) as path:
        yield path


@pytest.fixture
def run(tmp_path: Path, variables_of: Variables, python: str) -> Iterator[Callable[[str], int]]:
    """Runs a page; how many of its blocks ran."""
    with ExitStack() as stack:

        def ran(name: str) -> int:
            page = read_page(name)
            wanted = [variables_of(emulator) for emulator in page.emulators]
            place = Place(tmp_path, {key: value for found in wanted for key, value in found.items()}, python)
            stack.callback(place.close)
            return run_page(page, place)

        yield ran

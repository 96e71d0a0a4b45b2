"""Environments of jobs on the emulator: which conda files need no conda."""

from __future__ import annotations

import pytest

from trackbridge.testing.emulators.azureml.jobs_environments import Recipe, recipe_of


@pytest.mark.parametrize(
    ("content", "recipe"),
    [
        (
            "dependencies: [python=3.11, pip, {pip: [a==1, '--no-index']}]",
            Recipe("3.11", ("a==1", "--no-index")),
        ),
        ('{"dependencies": ["python==3.10.4", "pip=24", "setuptools", "wheel"]}', Recipe("3.10.4", ())),
        ("dependencies: [python=3.11, numpy, {pip: [a]}]", None),
        ("dependencies: ['python>=3.9', {pip: [a]}]", None),
        ("dependencies: [python=3.11, pipdeptree]", None),
        ("dependencies: [pip, {pip: [a]}]", None),
        ("dependencies: [python=3.11, {conda: [a]}]", None),
        ("dependencies: python=3.11", None),
        ("name: [", None),
        ("", None),
    ],
)
def test_only_python_and_packages_of_pip_are_built(content: str, recipe: Recipe | None) -> None:
    assert recipe_of(content) == recipe

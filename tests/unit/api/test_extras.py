"""A missing package is named together with the command that installs it."""

import sys

import pytest

from trackbridge.api.extras import require, require_package
from trackbridge.errors import MissingExtra


def test_an_installed_module_is_returned() -> None:
    assert require("json", extra="frames", purpose="a test").loads("1") == 1


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MissingExtra, match="sampling needs psutil") as raised:
        require("psutil", extra="system", purpose="sampling")
    assert raised.value.hint == "pip install 'trackbridge[system]'"


def test_a_missing_package_names_the_command() -> None:
    with pytest.raises(MissingExtra) as raised:
        require_package("no_such_module_anywhere", install="it", purpose="a test")
    assert raised.value.hint == "pip install it"

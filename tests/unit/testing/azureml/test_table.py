"""The table of what is emulated: every module of routes is in it, and only what is there."""

from __future__ import annotations

from importlib.util import find_spec

from trackbridge.testing.emulators.azureml import table
from trackbridge.testing.emulators.azureml.core import PROVIDER
from trackbridge.testing.emulators.azureml.routes import MODULES, PACKAGE, VERSIONS, all_routes


def test_every_module_of_routes_is_told_once() -> None:
    told = [module for area in table.AREAS for module in area.modules]

    assert sorted(told) == sorted(MODULES)


def test_what_is_said_to_be_there_is_there() -> None:
    for area in table.AREAS:
        assert all(find_spec(f"{PACKAGE}.{module}") is not None for module in area.modules), area.name
        assert (area.routes() > 0) == bool(area.modules), area.name


def test_routes_name_only_published_api_versions() -> None:
    for _, route in all_routes():
        # Extensions of a resource have the versions of their own provider.
        if route.template.rpartition("/providers/")[2].startswith(PROVIDER):
            assert set(route.versions) <= set(VERSIONS), route.template

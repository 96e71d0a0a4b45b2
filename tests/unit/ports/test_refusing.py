"""A port of which an adapter writes only what it has."""

from __future__ import annotations

import inspect

import pytest

from trackbridge.errors import Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capabilities, Feature, absent, refusing

CAPABILITIES = Capabilities(
    adapter="shelf",
    features={
        Feature.ARTIFACTS_DELETE: SUPPORTED,
        Feature.ARTIFACTS_PRESIGN: absent(Absence.NEVER, "a shelf has no address"),
    },
)
Port = refusing(ArtifactStore, CAPABILITIES)


class Shelf(Port):  # type: ignore[misc, valid-type]
    put = open = stat = list = delete = lambda *_, **__: "done"


def test_what_is_absent_is_refused_with_its_reason() -> None:
    shelf = Shelf()
    with pytest.raises(Unsupported, match="a shelf has no address"):
        shelf.presign("run", "path", expires_s=1)
    with pytest.raises(Unsupported, match="the adapter does not declare it"):
        shelf.put_resumable("run", "path", None, digest="", size=0, state=None)
    assert shelf.delete("run", "path") == "done"


def test_a_refused_method_is_called_as_in_the_port() -> None:
    assert inspect.signature(Port.presign) == inspect.signature(ArtifactStore.presign)


def test_what_is_declared_or_required_has_to_be_written() -> None:
    assert Port.__abstractmethods__ == {"put", "open", "stat", "list", "delete"}
    with pytest.raises(TypeError, match="abstract"):
        Port()

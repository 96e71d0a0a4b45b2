"""An opened local adapter in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.local.job_rig import Rig
from trackbridge.domain.file_uris import file_uri
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.local import open_adapter
from trackbridge_adapters.local.adapter import LocalAdapter

OpenStore = Callable[..., LocalAdapter]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the store, which does not exist yet."""
    return tmp_path / "a store, 100% ours?#"


@pytest.fixture
def open_store(folder: Path) -> Iterator[OpenStore]:
    """Return a function that opens the store again, as another program would."""
    opened: list[LocalAdapter] = []

    def open_again(**options: str) -> LocalAdapter:
        context = AdapterContext(home=folder, options=options, clock_ms=lambda: 1000)
        adapter = open_adapter(file_uri(folder), context=context)
        assert isinstance(adapter, LocalAdapter)
        opened.append(adapter)
        return adapter

    yield open_again
    for adapter in opened:
        adapter.close()


@pytest.fixture
def adapter(open_store: OpenStore) -> LocalAdapter:
    """Return an opened, empty adapter."""
    return open_store()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return a store whose jobs are ended after the test."""
    made = Rig(tmp_path)
    yield made
    made.close()

"""What Microsoft's client does to files and to itself, as the emulator shows it; ours does not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_written import contents, model_of_ours
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.azureml import client
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml import open_adapter
from trackbridge_adapters.azureml.registry import AzureRegistry
from trackbridge_adapters.azureml.registry_organisation import OrganisationRegistry

REGISTRY = "test-registry"


def test_a_gitignore_takes_files_out_of_their_model_and_not_of_ours(
    ours: Adapter, sdk: Any, folder: Path, tmp_path: Path
) -> None:
    from azure.ai.ml.entities import Model

    (folder / ".gitignore").write_text("*.bin\n*.pkl\n")
    assert isinstance(ours.registry, AzureRegistry)

    sdk.models.create_or_update(Model(name="theirs", version="1", path=str(folder), type="custom_model"))
    model_of_ours(ours, folder, "ours")

    theirs = contents(ours.registry.download("theirs", "1", tmp_path / "theirs"))
    assert sorted(theirs) == [".gitignore", "MLmodel"]
    assert contents(ours.registry.download("ours", "1", tmp_path / "ours")) == contents(folder)


def seen_while(work: Callable[[], object], look: Callable[[], object]) -> set[object]:
    """Do some work, and look at something from another thread again and again until it is done."""
    seen: set[object] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen.add(look())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return seen


def test_sharing_moves_all_threads_of_their_client_to_the_registry_and_none_of_ours(
    azure: AzureMlEmulator, context: AdapterContext, ours: Adapter, sdk: Any, folder: Path
) -> None:
    for _ in range(2):
        model_of_ours(ours, folder)
    assert isinstance(ours.registry, AzureRegistry)
    registry = ours.registry
    shared = open_adapter(f"azureml://registries/{REGISTRY}", context=context)
    assert isinstance(shared.registry, OrganisationRegistry)
    organisation = shared.registry

    theirs = seen_while(
        lambda: sdk.models.share(
            "digits", "1", share_with_name="theirs", share_with_version="1", registry_name=REGISTRY
        ),
        lambda: sdk.models._registry_name,
    )
    mine = seen_while(
        lambda: organisation.share(f"{azure.uri}/models/digits/versions/2", name="ours", version="1"),
        lambda: tuple(item.name for item in registry.list_models().items),
    )

    assert REGISTRY in theirs
    assert mine == {("digits",)}
    assert [item.name for item in organisation.list_models().items] == ["ours", "theirs"]
    shared.close()


def test_in_a_notebook_their_client_reports_to_microsoft_and_the_one_from_here_does_not(
    azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.ai.ml._telemetry import logging_handler

    reports: list[object] = []
    monkeypatch.setattr(logging_handler, "in_jupyter_notebook", lambda: True)
    monkeypatch.setattr(logging_handler, "setup_azure_monitor", reports.append)
    client(azure, enable_telemetry=True)
    assert len(reports) == 1
    client(azure)
    assert len(reports) == 1

"""Microsoft's own client as the other side; 77 packages in an environment of its own, so only when asked for.

``make peers-azureml`` runs the folder with the oldest azure-ai-ml that we keep up with, and with the newest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_peers import MLMODEL as MLMODEL
from tests.support.azureml_peers import azure as azure
from tests.support.azureml_peers import context as context
from tests.support.azureml_peers import folder as folder
from tests.support.azureml_peers import ours as ours
from tests.support.azureml_peers import running as running
from tests.support.opt_in import is_asked_for
from trackbridge.testing.azureml import client
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave everything here out unless it was asked for."""
    return None if is_asked_for(config, Path(__file__).parent) else True


@pytest.fixture
def sdk(azure: AzureMlEmulator) -> Any:
    """A stock MLClient of the workspace."""
    return client(azure)

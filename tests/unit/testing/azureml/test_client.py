"""What ``trackbridge.testing.azureml.client`` says when nothing leads it to an emulator."""

from __future__ import annotations

import pytest

from trackbridge.errors import ConfigError
from trackbridge.testing import azureml


def test_without_an_emulator_in_the_environment_it_says_which_variables_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE", *azureml.PLACE.values()):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigError, match="AZURE_WORKSPACE_NAME") as refused:
        azureml.client()

    assert "bridge emulate azureml" in str(refused.value.hint)

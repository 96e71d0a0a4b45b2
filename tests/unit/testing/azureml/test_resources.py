"""Ids of resources: where case counts, and where it does not."""

from __future__ import annotations

import pytest

from trackbridge.testing.emulators.azureml.resources import Resources, resource_key

SCOPE = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (SCOPE, SCOPE.upper(), True),
        (f"{SCOPE}/models/M", f"{SCOPE}/models/m", False),
        (f"{SCOPE}/models/M", f"{SCOPE.lower()}/MODELS/M/", True),
        (f"{SCOPE}/models/m/versions/A", f"{SCOPE}/models/m/versions/a", False),
        (f"{SCOPE}/jobs/J", f"{SCOPE}/jobs/j", False),
        (f"{SCOPE}/datastores/D", f"{SCOPE}/datastores/d", True),
        (f"{SCOPE}/onlineEndpoints/E/deployments/D", f"{SCOPE}/onlineendpoints/e/Deployments/d", True),
        ("azureml://registries/R/models/M/versions/1", "azureml://registries/r/models/M/versions/1", True),
        ("azureml://registries/R/models/M/versions/1", "azureml://registries/R/models/m/versions/1", False),
    ],
)
def test_case_counts_in_the_names_of_assets_and_jobs_alone(one: str, other: str, is_same: bool) -> None:
    """mfe.json 2024-04-01 calls these case-sensitive; resource-name-rules all others insensitive."""
    assert (resource_key(one) == resource_key(other)) == is_same


def test_a_workspace_that_is_called_as_a_type_keeps_its_resources_apart() -> None:
    resources = Resources(lambda: 0.0)
    scope = SCOPE.replace("/workspaces/W", "/workspaces/models")
    resources.put(f"{scope}/datastores/D", {})
    resources.put(f"{scope}/models/M", {})
    resources.put(f"{scope}/models/m", {})
    assert f"{scope.upper()}/Datastores/d" in resources
    assert [held["name"] for held in resources.children(f"{scope}/Models")] == ["M", "m"]
    assert resources.delete(f"{scope}/models/M")
    assert [held["name"] for held in resources.children(f"{scope}/models")] == ["m"]
